/* The hot path of a chat request: one scan that checks what must be checked before a target is chosen. No
 * tree is built. */
#include "base/json_walk.h"
#include "openai_chat.h"
#include "peek.h"

#include <stdarg.h>
#include <stdio.h>

enum field {
    F_MODEL,
    F_MESSAGES,
    F_STREAM,
    F_STREAM_OPTIONS,
    F_ROUTING,
    F_MAX_TOKENS,
    F_MAX_COMPLETION_TOKENS,
    F_N,
    F_TEMPERATURE,
    F_TOP_P,
    F_TOOLS,
    F_TOOL_CHOICE,
    F_STOP,
    F_USER,
    F_RESPONSE_FORMAT,
    FIELDS
};
#define FIELD(name)                                                                                          \
    { name, sizeof(name) - 1 }
static const struct {
    const char *name;
    size_t n;
} fields[FIELDS] = {
    [F_MODEL] = FIELD("model"),
    [F_MESSAGES] = FIELD("messages"),
    [F_STREAM] = FIELD("stream"),
    [F_STREAM_OPTIONS] = FIELD("stream_options"),
    [F_ROUTING] = FIELD("routing"),
    [F_MAX_TOKENS] = FIELD("max_tokens"),
    [F_MAX_COMPLETION_TOKENS] = FIELD("max_completion_tokens"),
    [F_N] = FIELD("n"),
    [F_TEMPERATURE] = FIELD("temperature"),
    [F_TOP_P] = FIELD("top_p"),
    [F_TOOLS] = FIELD("tools"),
    [F_TOOL_CHOICE] = FIELD("tool_choice"),
    [F_STOP] = FIELD("stop"),
    [F_USER] = FIELD("user"),
    [F_RESPONSE_FORMAT] = FIELD("response_format"),
};

struct peek {
    struct arena *a;
    struct ask *ask;
    struct fault *f;
    uint32_t seen;
    uint64_t max_tokens, max_completion_tokens;
    size_t message;                             /* index of the one that is looked at */
    bool role_seen, content_seen, may_be_empty; /* of that one */
    bool usage_seen;
};

/* --- refusing, in OpenAI's words --- */

__attribute__((format(printf, 4, 5))) static bool refuse(struct peek *p, const char *code, struct str param,
                                                         const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fault_set(p->f, p->a, FAULT_BAD_REQUEST, "%s", text);
    p->f->type = STR("invalid_request_error");
    p->f->code = str_of(code);
    p->f->param = param;
    return false;
}

static const char *kind_name(enum json_kind k) {
    static const char *const names[] = {"null", "a boolean", "a number", "a string", "an array", "an object"};
    return names[k];
}

static bool wrong_type(struct peek *p, struct str param, const char *want, enum json_kind got) {
    return refuse(p, "invalid_type", param,
                  "Invalid type for '" STR_FMT "': expected %s, but got %s instead.", STR_ARG(param), want,
                  kind_name(got));
}

/* A key without its escapes; a key that has any is rare. */
static struct str plain_key(struct arena *a, struct str key) {
    if (key.n == 0 || !memchr(key.p, '\\', key.n))
        return key;
    return json_text(a, (struct json_value){JSON_STRING, str_make(key.p - 1, key.n + 2)});
}

/* --- messages --- */

static bool known_role(struct json_value v) {
    static const char *const roles[] = {"user", "assistant", "system", "tool", "developer", "function"};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (json_string_is(v, roles[i]))
            return true;
    return false;
}

static bool part_member(void *arg, struct str key, struct json_value v) {
    struct peek *p = arg;
    if (v.kind == JSON_STRING && json_key_is(key, "text"))
        p->ask->input_bytes += v.raw.n - 2;
    else if (peek_not_text(key, v))
        p->ask->more_than_text = true;
    return true;
}

/* Parts are only measured here: what is not text (images and sound as base64) is no text for the model. */
static bool content_part(void *arg, struct str key, struct json_value v) {
    (void)key;
    if (v.kind == JSON_OBJECT)
        json_each(v.raw, part_member, arg);
    return true;
}

static struct str at_message(struct peek *p, const char *rest) {
    return arena_printf(p->a, "messages[%zu]%s", p->message, rest);
}

/* With tools there may be nothing said; whoever else says nothing would be left out in silence. */
static bool speaks_in_calls(struct json_value role) {
    return json_string_is(role, "assistant") || json_string_is(role, "tool") ||
           json_string_is(role, "function");
}

static bool message_member(void *arg, struct str raw_key, struct json_value v) {
    struct peek *p = arg;
    struct str key = plain_key(p->a, raw_key);
    if (str_is(key, "role")) {
        if (v.kind != JSON_STRING)
            return wrong_type(p, at_message(p, ".role"), "a string", v.kind);
        if (!known_role(v))
            return refuse(p, "invalid_value", at_message(p, ".role"),
                          "Invalid value: '%.*s'. Supported values are: 'system', 'assistant', 'user', "
                          "'function', 'tool', and 'developer'.",
                          v.raw.n > 66 ? 64 : (int)v.raw.n - 2, v.raw.p + 1);
        p->role_seen = true;
        p->may_be_empty = speaks_in_calls(v);
    } else if (str_is(key, "content")) {
        p->content_seen = v.kind == JSON_STRING || (v.kind == JSON_ARRAY && v.raw.n > 2);
        if (v.kind == JSON_STRING)
            p->ask->input_bytes += v.raw.n - 2;
        else if (v.kind == JSON_ARRAY)
            json_each(v.raw, content_part, p);
        else if (v.kind != JSON_NULL)
            return wrong_type(p, at_message(p, ".content"), "a string or an array of parts", v.kind);
    } else if (str_is(key, "tool_calls") && v.kind == JSON_ARRAY) {
        p->ask->input_bytes += v.raw.n;
    }
    return true;
}

/* The members of the object at p, which has been scanned. Behind it, or NULL after a fault. */
static const char *walk_message(struct peek *p, const char *at, const char *end) {
    p->role_seen = p->content_seen = p->may_be_empty = false;
    at = json_members(at, end, message_member, p);
    if (at && !p->role_seen) {
        refuse(p, "missing_required_parameter", at_message(p, ".role"),
               "Missing required parameter: 'messages[%zu].role'.", p->message);
        return NULL;
    }
    if (at && !p->content_seen && !p->may_be_empty) {
        refuse(p, "missing_required_parameter", at_message(p, ".content"),
               "Missing required parameter: 'messages[%zu].content'.", p->message);
        return NULL;
    }
    return at;
}

/* One pass over array and members together. */
static bool take_messages(struct peek *p, struct json_value v) {
    if (v.kind != JSON_ARRAY)
        return wrong_type(p, STR("messages"), "an array of objects", v.kind);
    const char *end = v.raw.p + v.raw.n - 1, *at = json_skip_space(v.raw.p + 1, end);
    for (; at < end; p->message++) {
        if (*at != '{')
            return wrong_type(p, at_message(p, ""), "an object", json_kind_of(*at));
        at = walk_message(p, at, end);
        if (!at)
            return false;
        at = json_skip_space(at, end);
        if (at < end && *at == ',')
            at = json_skip_space(at + 1, end);
    }
    if (p->message == 0)
        return refuse(p, "empty_array", STR("messages"),
                      "Invalid 'messages': empty array. Expected an array with minimum length 1.");
    return true;
}

/* --- the other members --- */

static bool option_member(void *arg, struct str key, struct json_value v) {
    struct peek *p = arg;
    if (!json_key_is(key, "include_usage"))
        return true;
    if (p->usage_seen)
        return refuse(p, "duplicate_parameter", STR("stream_options.include_usage"),
                      "'stream_options.include_usage' is given twice.");
    p->usage_seen = true;
    if (v.kind != JSON_BOOL && v.kind != JSON_NULL)
        return wrong_type(p, STR("stream_options.include_usage"), "a boolean", v.kind);
    p->ask->include_usage = json_true(v);
    return true;
}

static bool take_integer(struct peek *p, struct json_value v, const char *name, uint64_t *out) {
    if (v.kind == JSON_NULL)
        return true;
    if (v.kind != JSON_NUMBER)
        return wrong_type(p, str_of(name), "an integer", v.kind);
    if (!json_u64(v, out))
        return refuse(p, "invalid_value", str_of(name), "Invalid '%s': expected a non-negative integer.",
                      name);
    return true;
}

static bool take_n(struct peek *p, struct json_value v) {
    if (!take_integer(p, v, "n", &p->ask->n))
        return false;
    if (p->ask->n < 1 || p->ask->n > 128)
        return refuse(p, "invalid_value", STR("n"), "Invalid 'n': expected an integer between 1 and 128.");
    return true;
}

static bool of_kind(struct peek *p, enum field field, struct json_value v, unsigned kinds, const char *want) {
    if (v.kind == JSON_NULL || (kinds & 1U << v.kind))
        return true;
    return wrong_type(p, str_of(fields[field].name), want, v.kind);
}
#define KIND(k) (1U << JSON_##k)

static bool take_field(struct peek *p, enum field field, struct json_value v) {
    struct ask *ask = p->ask;
    switch (field) {
    case F_MODEL:
        ask->model_span = v;
        if (v.kind == JSON_STRING)
            ask->model = json_text(p->a, v);
        return of_kind(p, field, v, KIND(STRING), "a string"); /* null: left out */
    case F_MESSAGES:
        return take_messages(p, v);
    case F_STREAM:
        ask->stream_span = v;
        ask->stream = ask->stream || json_true(v);
        return of_kind(p, field, v, KIND(BOOL), "a boolean");
    case F_STREAM_OPTIONS:
        ask->stream_options_span = v;
        if (v.kind == JSON_OBJECT)
            json_each(v.raw, option_member, p);
        return !fault_is(p->f) && of_kind(p, field, v, KIND(OBJECT), "an object");
    case F_ROUTING:
        ask->routing_span = v;
        ask->routing = v.raw;
        return of_kind(p, field, v, KIND(OBJECT), "an object");
    case F_MAX_TOKENS:
        return take_integer(p, v, "max_tokens", &p->max_tokens);
    case F_MAX_COMPLETION_TOKENS:
        return take_integer(p, v, "max_completion_tokens", &p->max_completion_tokens);
    case F_N:
        return take_n(p, v);
    case F_TEMPERATURE:
    case F_TOP_P:
        return of_kind(p, field, v, KIND(NUMBER), "a number");
    case F_TOOLS:
        ask->input_bytes += v.raw.n;
        return of_kind(p, field, v, KIND(ARRAY), "an array of objects");
    case F_TOOL_CHOICE:
        return of_kind(p, field, v, KIND(STRING) | KIND(OBJECT), "a string or an object");
    case F_STOP:
        return of_kind(p, field, v, KIND(STRING) | KIND(ARRAY), "a string or an array of strings");
    case F_USER:
        if (v.kind == JSON_STRING)
            ask->user = json_text(p->a, v);
        return of_kind(p, field, v, KIND(STRING), "a string");
    case F_RESPONSE_FORMAT:
        ask->input_bytes += v.raw.n;
        return of_kind(p, field, v, KIND(OBJECT), "an object");
    case FIELDS:
        break;
    }
    return true;
}

static bool top_member(void *arg, struct str raw_key, struct json_value v) {
    struct peek *p = arg;
    struct str key = plain_key(p->a, raw_key);
    for (int i = 0; i < FIELDS; i++) {
        if (fields[i].n != key.n || memcmp(fields[i].name, key.p, key.n) != 0)
            continue;
        /* Readers differ on which of two counts: we must not check another one than the provider uses. */
        if (p->seen & 1U << i)
            return refuse(p, "duplicate_parameter", str_of(fields[i].name), "'%s' is given twice.",
                          fields[i].name);
        p->seen |= 1U << i;
        return take_field(p, (enum field)i, v);
    }
    return true;
}

bool oc_peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    struct peek p = {.a = a, .ask = ask, .f = f};
    enum json_kind kind = JSON_NULL;
    struct json_error err = {0, NULL};
    *ask = (struct ask){.rest = ask->rest, .query = ask->query, .stream = ask->stream, .body = body, .n = 1};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    int rc = -1;
    /* An array at the top would call top_member with its elements: look first. */
    size_t at = 0;
    while (at < body.n && json_space(body.p[at]))
        at++;
    bool object = at < body.n && body.p[at] == '{';
    rc = json_scan(body, &kind, object ? top_member : NULL, &p, &err);
    if (fault_is(f))
        return false;
    if (rc != 0) {
        refuse(&p, "", STR_NONE, "We could not parse the JSON body of your request: %s at byte %zu.",
               err.why ? err.why : "malformed", err.offset);
        return false;
    }
    if (!object) {
        refuse(&p, "invalid_type", STR_NONE, "The body of the request must be a JSON object, but is %s.",
               kind_name(kind));
        return false;
    }
    if (!(p.seen & 1U << F_MESSAGES))
        return refuse(&p, "missing_required_parameter", STR("messages"),
                      "Missing required parameter: 'messages'.");
    ask->max_tokens = p.max_completion_tokens ? p.max_completion_tokens : p.max_tokens;
    return true;
}
