/* The answers of the built-in provider. They depend on the bytes of the request and on nothing else (no
 * clock, no random numbers), so that tests can be exact and a cache can be checked against them. */
#include "mock_answer.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/json.h"
#include "llm/usage.h"
#include <inttypes.h>
#include <stdio.h>

enum {
    CREATED = 1700000000, /* a constant: the same request gives the same bytes */
    MAX_ECHO = 2048,      /* bytes of the user's message that come back */
    MAX_GENERATED = 1000000,
    SCHEMA_DEPTH = 8,
    STEPS_PER_CALL = 3 /* the name, and the arguments in two pieces */
};

static const char *const words[] = {"water", "runs", "down",   "the",   "penstock", "and", "turns", "a",
                                    "wheel", "that", "lights", "every", "lamp",     "of",  "our",   "valley"};
#define NWORDS (sizeof words / sizeof words[0])

/* --- reading --- */

struct reading {
    struct mock_answer *a;
    struct str messages, tools, tool_choice, response_format;
    uint64_t max_tokens, text_bytes;
    struct str user; /* the last user message */
    bool after_tool; /* the conversation ends with a tool's result */
    struct str tool; /* its text */
};

static bool on_member(void *arg, struct str key, struct json_value v) {
    struct reading *r = arg;
    if (json_key_is(key, "model") && v.kind == JSON_STRING) {
        r->a->model = arena_dup(r->a->arena, json_text(r->a->arena, v));
    } else if (json_key_is(key, "messages") && v.kind == JSON_ARRAY) {
        r->messages = v.raw;
    } else if (json_key_is(key, "stream")) {
        r->a->stream = json_true(v);
    } else if (json_key_is(key, "stream_options") && v.kind == JSON_OBJECT) {
        struct json_value u;
        r->a->include_usage = json_member(v.raw, "include_usage", &u) && json_true(u);
    } else if (json_key_is(key, "max_tokens") || json_key_is(key, "max_completion_tokens")) {
        json_u64(v, &r->max_tokens);
    } else if (json_key_is(key, "n")) {
        json_u64(v, &r->a->n);
    } else if (json_key_is(key, "tools") && v.kind == JSON_ARRAY) {
        r->tools = v.raw;
    } else if (json_key_is(key, "tool_choice")) {
        r->tool_choice = v.raw;
    } else if (json_key_is(key, "response_format") && v.kind == JSON_OBJECT) {
        r->response_format = v.raw;
    }
    return true;
}

struct parts {
    struct reading *r;
    struct str text; /* the last part's */
};

static bool on_part(void *arg, struct str key, struct json_value v) {
    struct parts *p = arg;
    struct json_value text;
    (void)key;
    if (v.kind == JSON_OBJECT && json_member(v.raw, "text", &text) && text.kind == JSON_STRING) {
        p->text = json_text(p->r->a->arena, text);
        p->r->text_bytes += p->text.n;
    }
    return true;
}

static bool on_message(void *arg, struct str key, struct json_value v) {
    struct reading *r = arg;
    struct json_value role, content;
    (void)key;
    if (v.kind != JSON_OBJECT || !json_member(v.raw, "role", &role) || role.kind != JSON_STRING) {
        r->a->bad = "each message must be an object with a role";
        return true;
    }
    struct parts p = {r, STR_NONE};
    if (json_member(v.raw, "content", &content)) {
        if (content.kind == JSON_STRING) {
            p.text = json_text(r->a->arena, content);
            r->text_bytes += p.text.n;
        } else if (content.kind == JSON_ARRAY) {
            json_each(content.raw, on_part, &p);
        }
    }
    r->after_tool = json_string_is(role, "tool");
    if (r->after_tool)
        r->tool = p.text;
    else if (json_string_is(role, "user"))
        r->user = p.text;
    return true;
}

/* --- values for a schema --- */

static void value_for(struct jw *w, struct str schema, unsigned depth);

struct required {
    struct jw *w;
    struct str properties;
    struct arena *arena;
    unsigned depth;
};

static bool on_required(void *arg, struct str key, struct json_value v) {
    struct required *q = arg;
    (void)key;
    if (v.kind != JSON_STRING)
        return true;
    struct str name = json_text(q->arena, v);
    struct json_value schema = {JSON_NULL, STR_NONE};
    char *z = arena_dupz(q->arena, name);
    if (q->properties.n)
        json_member(q->properties, z, &schema);
    jw_keys(q->w, name);
    value_for(q->w, schema.kind == JSON_OBJECT ? schema.raw : STR_NONE, q->depth);
    return true;
}

/* An object with the required properties, in their order. */
static void object_for(struct jw *w, struct str schema, unsigned depth) {
    struct json_value required, properties;
    struct required q = {.w = w, .arena = arena_new(0), .depth = depth + 1};
    jw_obj(w);
    if (schema.n && depth < SCHEMA_DEPTH && json_member(schema, "required", &required) &&
        required.kind == JSON_ARRAY) {
        if (json_member(schema, "properties", &properties) && properties.kind == JSON_OBJECT)
            q.properties = properties.raw;
        json_each(required.raw, on_required, &q);
    }
    jw_obj_end(w);
    arena_free(q.arena);
}

static bool on_first(void *arg, struct str key, struct json_value v) {
    struct str *first = arg;
    (void)key;
    *first = v.raw;
    return false;
}

static void value_for(struct jw *w, struct str schema, unsigned depth) {
    struct json_value v, type = {JSON_NULL, STR_NONE};
    struct str first = STR_NONE;
    if (schema.n && json_member(schema, "const", &v)) {
        jw_raw(w, v.raw);
        return;
    }
    if (schema.n && json_member(schema, "enum", &v) && v.kind == JSON_ARRAY) {
        json_each(v.raw, on_first, &first);
        if (first.n) {
            jw_raw(w, first);
            return;
        }
    }
    if (schema.n)
        json_member(schema, "type", &type);
    if (json_string_is(type, "integer") || json_string_is(type, "number"))
        jw_int(w, 1);
    else if (json_string_is(type, "boolean"))
        jw_bool(w, true);
    else if (json_string_is(type, "null"))
        jw_null(w);
    else if (json_string_is(type, "array"))
        jw_arr(w), jw_arr_end(w);
    else if (json_string_is(type, "object"))
        object_for(w, schema, depth);
    else
        jw_z(w, "text");
}

static struct str json_for(struct arena *a, struct str schema) {
    struct buf out;
    struct jw w;
    buf_init(&out, 64 * 1024);
    jw_init(&w, &out);
    object_for(&w, schema, 0);
    struct str s = buf_ok(&out) ? arena_dup(a, buf_str(&out)) : STR("{}");
    buf_free(&out);
    return s;
}

/* --- tool calls --- */

struct choosing {
    struct reading *r;
    struct str named; /* tool_choice: this one */
    bool any;         /* tool_choice: required */
};

/* "call NAME" in the user's message, NAME as a whole word. */
static bool asked_for(struct str text, struct str name) {
    while (text.n) {
        ptrdiff_t at = str_find(text, STR("call "));
        if (at < 0)
            return false;
        text = str_skip(text, (size_t)at + 5);
        if (text.n >= name.n && memcmp(text.p, name.p, name.n) == 0) {
            char end = text.n > name.n ? text.p[name.n] : ' ';
            if (!(end == '_' || end == '-' || (end >= '0' && end <= '9') || (end >= 'a' && end <= 'z') ||
                  (end >= 'A' && end <= 'Z')))
                return true;
        }
    }
    return false;
}

static bool on_tool(void *arg, struct str key, struct json_value v) {
    struct choosing *c = arg;
    struct mock_answer *a = c->r->a;
    struct json_value f, name, schema;
    (void)key;
    if (v.kind != JSON_OBJECT || !json_member(v.raw, "function", &f) || f.kind != JSON_OBJECT ||
        !json_member(f.raw, "name", &name) || name.kind != JSON_STRING)
        return true;
    struct str n = json_text(a->arena, name);
    bool take = c->named.n ? str_eq(c->named, n) : (!c->r->after_tool && n.n && asked_for(c->r->user, n));
    if (c->any && !c->named.n && a->ncalls == 0)
        take = true;
    if (!take || a->ncalls == MOCK_MAX_CALLS)
        return true;
    bool has = json_member(f.raw, "parameters", &schema) && schema.kind == JSON_OBJECT;
    a->calls[a->ncalls].name = arena_dup(a->arena, n);
    a->calls[a->ncalls++].arguments = json_for(a->arena, has ? schema.raw : STR_NONE);
    return true;
}

static void choose_tools(struct reading *r) {
    struct choosing c = {.r = r};
    struct json_value named, choice = {JSON_NULL, r->tool_choice};
    if (r->tools.n == 0)
        return;
    if (choice.raw.n)
        choice.kind = choice.raw.p[0] == '{' ? JSON_OBJECT : choice.raw.p[0] == '"' ? JSON_STRING : JSON_NULL;
    if (json_string_is(choice, "none"))
        return;
    c.any = json_string_is(choice, "required");
    if (choice.kind == JSON_OBJECT && json_path(choice.raw, &named, "function", "name", NULL) &&
        named.kind == JSON_STRING)
        c.named = json_text(r->a->arena, named);
    json_each(r->tools, on_tool, &c);
}

/* --- the answer --- */

static struct str echo(struct arena *a, const char *lead, struct str text) {
    char *cut = arena_alloc(a, MAX_ECHO);
    str_copy(cut, MAX_ECHO, str_trim(text));
    return arena_printf(a, "%s%s", lead, cut);
}

static struct str structured(struct reading *r) {
    struct json_value type, schema;
    if (!r->response_format.n || !json_member(r->response_format, "type", &type))
        return STR_NONE;
    if (json_string_is(type, "json_schema") &&
        json_path(r->response_format, &schema, "json_schema", "schema", NULL) && schema.kind == JSON_OBJECT)
        return json_for(r->a->arena, schema.raw);
    return json_string_is(type, "json_object") ? STR("{\"answer\": \"text\"}") : STR_NONE;
}

static struct str sentence(struct reading *r) {
    struct str text = structured(r);
    if (text.n)
        return text;
    if (r->after_tool)
        return echo(r->a->arena, "The tool said: ", r->tool);
    if (r->user.n)
        return echo(r->a->arena, "You said: ", r->user);
    return STR("Hello from the mock provider.");
}

/* The end of the word that begins at `at`; spaces belong to the word behind them. */
static size_t word_end(struct str s, size_t at) {
    size_t i = at;
    while (i < s.n && s.p[i] == ' ')
        i++;
    while (i < s.n && s.p[i] != ' ')
        i++;
    return i;
}

static void measure(struct mock_answer *a, uint64_t max) {
    uint64_t n = 0;
    if (a->ncalls) {
        for (size_t i = 0; i < a->ncalls; i++)
            n += usage_estimate(a->calls[i].name.n + a->calls[i].arguments.n);
        a->units = STEPS_PER_CALL * a->ncalls;
        a->completion_tokens = n * a->n;
        return;
    }
    if (a->generated) {
        a->cut = max && a->generated > max;
        if (a->cut)
            a->generated = max;
        n = a->generated;
    } else {
        size_t at = 0;
        for (; at < a->text.n && (!max || n < max); n++)
            at = word_end(a->text, at);
        a->cut = at < a->text.n;
        a->text.n = at;
    }
    a->units = n;
    a->completion_tokens = n * a->n;
}

static void read_request(struct mock_answer *a, struct str body, uint64_t asked_words) {
    struct reading r = {.a = a};
    enum json_kind kind;
    struct json_error err;
    if (json_scan(body, &kind, on_member, &r, &err) != 0 || kind != JSON_OBJECT) {
        a->bad = "the body is not a JSON object";
        return;
    }
    if (!r.messages.n) {
        a->bad = "messages is required";
        return;
    }
    if (a->n < 1 || a->n > MOCK_MAX_CHOICES) {
        a->bad = "n is out of range";
        return;
    }
    json_each(r.messages, on_message, &r);
    a->prompt_tokens = usage_estimate(r.text_bytes);
    choose_tools(&r);
    a->generated = asked_words < MAX_GENERATED ? asked_words : MAX_GENERATED;
    if (!a->ncalls && !a->generated)
        a->text = sentence(&r);
    measure(a, r.max_tokens);
}

/* A request's arena holds its unescaped texts; an open stream shall hold only its answer. */
static struct mock_answer *shrink(const struct mock_answer *a) {
    struct arena *small = arena_new(sizeof *a + a->text.n + a->model.n + 64);
    struct mock_answer *b = arena_alloc(small, sizeof *b);
    *b = *a;
    b->arena = small;
    b->model = arena_dup(small, a->model);
    b->text = arena_dup(small, a->text);
    for (size_t i = 0; i < a->ncalls; i++) {
        b->calls[i].name = arena_dup(small, a->calls[i].name);
        b->calls[i].arguments = arena_dup(small, a->calls[i].arguments);
    }
    return b;
}

struct mock_answer *mock_answer_new(struct str body, uint64_t asked_words) {
    struct mock_answer a = {.arena = arena_new(0), .n = 1, .model = STR("mock")};
    a.seed = hash64(body.p ? body.p : "", body.n);
    snprintf(a.id, sizeof a.id, "chatcmpl-mock%016" PRIx64, a.seed);
    read_request(&a, body, asked_words);
    struct mock_answer *b = shrink(&a);
    arena_free(a.arena);
    return b;
}

void mock_answer_free(struct mock_answer *a) {
    if (a)
        arena_free(a->arena);
}

/* --- writing --- */

static const char *finish_reason(const struct mock_answer *a) {
    return a->ncalls ? "tool_calls" : a->cut ? "length" : "stop";
}

static struct str generated_word(const struct mock_answer *a, uint64_t i) {
    return str_of(words[(a->seed + i) % NWORDS]);
}

static void begin(struct jw *w, const struct mock_answer *a, const char *object) {
    jw_obj(w);
    jw_kz(w, "id", a->id);
    jw_kz(w, "object", object);
    jw_kint(w, "created", CREATED);
    jw_kstr(w, "model", a->model);
    jw_kz(w, "system_fingerprint", "fp_mock");
}

static void put_usage(struct jw *w, const struct mock_answer *a) {
    jw_key(w, "usage");
    jw_obj(w);
    jw_ku64(w, "prompt_tokens", a->prompt_tokens);
    jw_ku64(w, "completion_tokens", a->completion_tokens);
    jw_ku64(w, "total_tokens", a->prompt_tokens + a->completion_tokens);
    jw_obj_end(w);
}

static void call_id(char id[40], const struct mock_answer *a, size_t i) {
    snprintf(id, 40, "call_mock%016" PRIx64, hash64_more(a->seed, &(unsigned char){(unsigned char)i}, 1));
}

static void put_call_head(struct jw *w, const struct mock_answer *a, size_t i) {
    char id[40];
    call_id(id, a, i);
    jw_kz(w, "id", id);
    jw_kz(w, "type", "function");
}

static void put_function(struct jw *w, struct str name, struct str arguments) {
    jw_key(w, "function");
    jw_obj(w);
    if (name.n)
        jw_kstr(w, "name", name);
    jw_kstr(w, "arguments", arguments);
    jw_obj_end(w);
}

static void put_message(struct jw *w, const struct mock_answer *a) {
    jw_key(w, "message");
    jw_obj(w);
    jw_kz(w, "role", "assistant");
    if (a->ncalls) {
        jw_knull(w, "content");
        jw_key(w, "tool_calls");
        jw_arr(w);
        for (size_t i = 0; i < a->ncalls; i++) {
            jw_obj(w);
            put_call_head(w, a, i);
            put_function(w, a->calls[i].name, a->calls[i].arguments);
            jw_obj_end(w);
        }
        jw_arr_end(w);
    } else if (a->generated) {
        struct buf text;
        buf_init(&text, 0);
        for (uint64_t i = 0; i < a->generated; i++) {
            if (i)
                buf_addc(&text, ' ');
            buf_adds(&text, generated_word(a, i));
        }
        jw_kstr(w, "content", buf_str(&text));
        buf_free(&text);
    } else {
        jw_kstr(w, "content", a->text);
    }
    jw_knull(w, "refusal");
    jw_obj_end(w);
}

void mock_answer_whole(const struct mock_answer *a, struct buf *out) {
    struct jw w;
    jw_init(&w, out);
    begin(&w, a, "chat.completion");
    jw_key(&w, "choices");
    jw_arr(&w);
    for (uint64_t i = 0; i < a->n; i++) {
        jw_obj(&w);
        jw_ku64(&w, "index", i);
        put_message(&w, a);
        jw_knull(&w, "logprobs");
        jw_kz(&w, "finish_reason", finish_reason(a));
        jw_obj_end(&w);
    }
    jw_arr_end(&w);
    put_usage(&w, a);
    jw_obj_end(&w);
}

/* --- streaming --- */

static void put_fragment(struct jw *w, const struct mock_answer *a, uint64_t unit) {
    size_t i = (size_t)(unit / STEPS_PER_CALL), piece = (size_t)(unit % STEPS_PER_CALL);
    struct str all = a->calls[i].arguments, half = {all.p, all.n / 2};
    jw_key(w, "tool_calls");
    jw_arr(w);
    jw_obj(w);
    jw_ku64(w, "index", i);
    if (piece == 0) {
        put_call_head(w, a, i);
        put_function(w, a->calls[i].name, STR(""));
    } else {
        while (half.n && ((unsigned char)all.p[half.n] & 0xC0) == 0x80)
            half.n--; /* not inside a character */
        put_function(w, STR_NONE, piece == 1 ? half : str_skip(all, half.n));
    }
    jw_obj_end(w);
    jw_arr_end(w);
}

static void put_word(struct jw *w, struct mock_answer *a, uint64_t unit, uint64_t choice) {
    if (a->generated) {
        char text[16];
        snprintf(text, sizeof text, "%s%s", unit ? " " : "", words[(a->seed + unit) % NWORDS]);
        jw_kz(w, "content", text);
        return;
    }
    if (choice == 0) {
        a->unit_at = a->unit_end;
        a->unit_end = word_end(a->text, a->unit_at);
    }
    jw_kstr(w, "content", str_make(a->text.p + a->unit_at, a->unit_end - a->unit_at));
}

static void put_delta(struct jw *w, struct mock_answer *a, uint64_t step) {
    jw_key(w, "delta");
    jw_obj(w);
    if (step < a->n) {
        jw_kz(w, "role", "assistant");
        if (a->ncalls)
            jw_knull(w, "content");
        else
            jw_kz(w, "content", "");
        jw_knull(w, "refusal");
    } else if (step < a->n + a->units * a->n) {
        uint64_t unit = (step - a->n) / a->n;
        if (a->ncalls)
            put_fragment(w, a, unit);
        else
            put_word(w, a, unit, (step - a->n) % a->n);
    }
    jw_obj_end(w);
}

static void put_choice(struct jw *w, struct mock_answer *a, uint64_t step) {
    jw_obj(w);
    jw_ku64(w, "index", step % a->n); /* roles, units and ends come in turn for all choices */
    put_delta(w, a, step);
    jw_knull(w, "logprobs");
    if (step >= a->n + a->units * a->n)
        jw_kz(w, "finish_reason", finish_reason(a));
    else
        jw_knull(w, "finish_reason");
    jw_obj_end(w);
}

bool mock_answer_next(struct mock_answer *a, struct buf *out) {
    uint64_t step = a->step, ends = 2 * a->n + a->units * a->n, usage = ends + (a->include_usage ? 1 : 0);
    if (step > usage)
        return false;
    a->step++;
    BUF_ADD(out, "data: ");
    if (step == usage) {
        BUF_ADD(out, "[DONE]\n\n");
        return true;
    }
    struct jw w;
    jw_init(&w, out);
    begin(&w, a, "chat.completion.chunk");
    jw_key(&w, "choices");
    jw_arr(&w);
    if (step < ends)
        put_choice(&w, a, step);
    jw_arr_end(&w);
    if (step == ends)
        put_usage(&w, a);
    else if (a->include_usage)
        jw_knull(&w, "usage");
    jw_obj_end(&w);
    BUF_ADD(out, "\n\n");
    return true;
}

uint64_t mock_answer_given(const struct mock_answer *a) {
    uint64_t body = a->step > a->n ? a->step - a->n : 0, all = a->units * a->n;
    return body < all ? body : all;
}
