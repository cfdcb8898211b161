/* The first look at a Responses request: one scan that checks what must be checked before a target is chosen,
 * and the splice that makes the provider's body out of the client's bytes. */
#include "openai_responses.h"
#include "peek.h"
#include "splice.h"

#include <stdarg.h>
#include <stdio.h>

enum { DEPTH_MAX = 16 }; /* of items that are measured */

enum field {
    F_MODEL,
    F_INPUT,
    F_STREAM,
    F_ROUTING,
    F_MAX_OUTPUT_TOKENS,
    F_TEMPERATURE,
    F_TOP_P,
    F_TOOLS,
    F_TOOL_CHOICE,
    F_USER,
    F_INSTRUCTIONS,
    F_TEXT,
    F_REASONING,
    F_INCLUDE,
    F_STORE,
    FIELDS
};
#define KIND(k) (1U << JSON_##k)
static const struct {
    const char *name;
    unsigned kinds; /* besides null; 0: any */
    const char *want;
} fields[FIELDS] = {
    [F_MODEL] = {"model", KIND(STRING), "a string"},
    [F_INPUT] = {"input", KIND(STRING) | KIND(ARRAY), "a string or an array of items"},
    [F_STREAM] = {"stream", KIND(BOOL), "a boolean"},
    [F_ROUTING] = {"routing", KIND(OBJECT), "an object"},
    [F_MAX_OUTPUT_TOKENS] = {"max_output_tokens", KIND(NUMBER), "an integer"},
    [F_TEMPERATURE] = {"temperature", KIND(NUMBER), "a number"},
    [F_TOP_P] = {"top_p", KIND(NUMBER), "a number"},
    [F_TOOLS] = {"tools", KIND(ARRAY), "an array of objects"},
    [F_TOOL_CHOICE] = {"tool_choice", KIND(STRING) | KIND(OBJECT), "a string or an object"},
    [F_USER] = {"user", KIND(STRING), "a string"},
    [F_INSTRUCTIONS] = {"instructions", KIND(STRING) | KIND(ARRAY), "a string"},
    [F_TEXT] = {"text", KIND(OBJECT), "an object"},
    [F_REASONING] = {"reasoning", KIND(OBJECT), "an object"},
    [F_INCLUDE] = {"include", KIND(ARRAY), "an array of strings"},
    [F_STORE] = {"store", KIND(BOOL), "a boolean"},
};

struct peek {
    struct arena *a;
    struct ask *ask;
    struct fault *f;
    uint32_t seen;
    size_t item;
    unsigned depth;
};

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

static bool wrong_type(struct peek *p, struct str param, const char *want, enum json_kind got) {
    static const char *const names[] = {"null", "a boolean", "a number", "a string", "an array", "an object"};
    return refuse(p, "invalid_type", param,
                  "Invalid type for '" STR_FMT "': expected %s, but got %s instead.", STR_ARG(param), want,
                  names[got]);
}

/* Text that the model reads, wherever in an item it stands; pictures and files as base64 are none. */
static bool measure(void *arg, struct str key, struct json_value v) {
    static const char *const texts[] = {"text",    "content", "arguments", "output",
                                        "refusal", "input",   "summary",   ""};
    struct peek *p = arg;
    if (peek_not_text(key, v))
        p->ask->more_than_text = true;
    if (v.kind == JSON_STRING)
        for (size_t i = 0; i + 1 < sizeof texts / sizeof *texts; i++)
            if (json_key_is(key, texts[i]))
                p->ask->input_bytes += v.raw.n - 2;
    if ((v.kind == JSON_ARRAY || v.kind == JSON_OBJECT) && p->depth < DEPTH_MAX) {
        p->depth++;
        json_each(v.raw, measure, p);
        p->depth--;
    }
    return true;
}

static bool input_item(void *arg, struct str key, struct json_value v) {
    struct peek *p = arg;
    (void)key;
    struct str at = arena_printf(p->a, "input[%zu]", p->item++);
    if (v.kind != JSON_OBJECT)
        return wrong_type(p, at, "an object", v.kind);
    json_each(v.raw, measure, p);
    return true;
}

static bool take_input(struct peek *p, struct json_value v) {
    if (v.kind == JSON_STRING)
        p->ask->input_bytes += v.raw.n - 2;
    else if (v.kind == JSON_ARRAY)
        json_each(v.raw, input_item, p);
    return !fault_is(p->f);
}

static bool take_limit(struct peek *p, struct json_value v) {
    if (v.kind == JSON_NULL || json_u64(v, &p->ask->max_tokens))
        return true;
    return refuse(p, "invalid_value", STR("max_output_tokens"),
                  "Invalid 'max_output_tokens': expected a non-negative integer.");
}

static bool take_field(struct peek *p, enum field field, struct json_value v) {
    struct ask *ask = p->ask;
    bool null = v.kind == JSON_NULL;
    if (!(fields[field].kinds & 1U << v.kind) && (!null || field == F_ROUTING))
        return wrong_type(p, str_of(fields[field].name), fields[field].want, v.kind);
    switch (field) {
    case F_MODEL: /* null: left out */
        ask->model_span = v;
        if (!null)
            ask->model = json_text(p->a, v);
        break;
    case F_INPUT:
        return take_input(p, v);
    case F_STREAM:
        ask->stream_span = v;
        ask->stream = json_true(v);
        break;
    case F_ROUTING:
        ask->routing_span = v;
        ask->routing = v.raw;
        break;
    case F_MAX_OUTPUT_TOKENS:
        return take_limit(p, v);
    case F_USER:
        if (!null)
            ask->user = json_text(p->a, v);
        break;
    case F_TOOLS:
    case F_INSTRUCTIONS:
    case F_TEXT:
        if (!null)
            ask->input_bytes += v.raw.n;
        break;
    default:
        break;
    }
    return true;
}

static bool top_member(void *arg, struct str key, struct json_value v) {
    struct peek *p = arg;
    for (int i = 0; i < FIELDS; i++) {
        if (!json_key_is(key, fields[i].name))
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

bool rs_peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    struct peek p = {.a = a, .ask = ask, .f = f};
    enum json_kind kind = JSON_NULL;
    struct json_error err = {0, NULL};
    *ask = (struct ask){.rest = ask->rest, .query = ask->query, .body = body, .n = 1, .include_usage = true};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    size_t at = 0;
    while (at < body.n && memchr(" \t\r\n", body.p[at], 4))
        at++;
    bool object = at < body.n && body.p[at] == '{';
    int rc = json_scan(body, &kind, object ? top_member : NULL, &p, &err);
    if (fault_is(f))
        return false;
    if (rc != 0)
        return refuse(&p, "", STR_NONE, "We could not parse the JSON body of your request: %s at byte %zu.",
                      err.why ? err.why : "malformed", err.offset);
    if (!object)
        return refuse(&p, "invalid_type", STR_NONE, "The body of the request must be a JSON object.");
    return true;
}

bool rs_splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
               struct fault *f) {
    struct splice es = {.body = ask->body};
    splice_model(a, &es, ask, o->model);
    if (ask->routing_span.raw.p)
        splice_remove(&es, ask->routing_span.raw);
    return splice_write(a, &es, out, f);
}
