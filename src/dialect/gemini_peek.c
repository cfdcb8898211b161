/* A client's request, looked at before a target is chosen. The model and whether a stream is wanted are in
 * the path, so that the body itself goes upstream as it came. */
#include "gemini.h"
#include "peek.h"
#include "splice.h"

#include "base/json_walk.h"

struct peek {
    struct arena *a;
    struct ask *ask;
    struct fault *f;
    bool contents, bad;
    unsigned depth;
};

static bool refuse(struct peek *p, struct str param, const char *why) {
    fault_set(p->f, p->a, FAULT_BAD_REQUEST, "Invalid value at '" STR_FMT "': %s", STR_ARG(param), why);
    p->f->param = param;
    p->bad = true;
    return false;
}

/* snake_case is as good as camelCase here. */
static bool key_is(struct str key, const char *camel, const char *snake) {
    return json_key_is(key, camel) || json_key_is(key, snake);
}

/* Text anywhere in contents, instructions and tools; base64 is no text for the model. */
static bool count(void *arg, struct str key, struct json_value v) {
    struct peek *p = arg;
    if (key.n && peek_not_text(key, v))
        p->ask->more_than_text = true;
    if (v.kind == JSON_STRING) {
        if (key.n == 0 || !(json_key_is(key, "data") || key_is(key, "thoughtSignature", "thought_signature")))
            p->ask->input_bytes += v.raw.n - 2;
    } else if (v.kind == JSON_OBJECT || v.kind == JSON_ARRAY) {
        json_each(v.raw, count, p); /* as deep as the scanner lets through */
    }
    return true;
}

static bool whole(struct peek *p, struct json_value v, uint64_t *n) {
    if (v.kind == JSON_STRING)
        v = gm_number(json_text(p->a, v));
    return json_u64(v, n);
}

static bool config_member(void *arg, struct str key, struct json_value v) {
    struct peek *p = arg;
    uint64_t n;
    if (v.kind == JSON_NULL)
        return true;
    if (key_is(key, "maxOutputTokens", "max_output_tokens")) {
        if (!whole(p, v, &p->ask->max_tokens))
            return refuse(p, STR("generationConfig.maxOutputTokens"), "expected an integer");
    } else if (key_is(key, "candidateCount", "candidate_count")) {
        if (!whole(p, v, &n) || n == 0 || n > 128)
            return refuse(p, STR("generationConfig.candidateCount"), "expected an integer from 1 to 128");
        p->ask->n = n;
    }
    return true;
}

static bool member(void *arg, struct str key, struct json_value v) {
    struct peek *p = arg;
    bool object = v.kind == JSON_OBJECT, null = v.kind == JSON_NULL;
    if (json_key_is(key, "contents")) {
        if (v.kind != JSON_ARRAY)
            return refuse(p, STR("contents"), "expected an array of contents");
        p->contents = true;
        json_each(v.raw, count, p);
    } else if (key_is(key, "systemInstruction", "system_instruction")) {
        if (!object && !null && v.kind != JSON_STRING)
            return refuse(p, STR("systemInstruction"), "expected a content");
        count(p, key, v);
    } else if (json_key_is(key, "tools")) {
        if (v.kind != JSON_ARRAY && !null)
            return refuse(p, STR("tools"), "expected an array");
        count(p, key, v);
    } else if (key_is(key, "generationConfig", "generation_config")) {
        if (!object && !null)
            return refuse(p, STR("generationConfig"), "expected an object");
        if (object)
            json_each(v.raw, config_member, p);
    } else if (json_key_is(key, "routing")) {
        p->ask->routing_span = v;
        p->ask->routing = v.raw;
        if (!object)
            return refuse(p, STR("routing"), "expected an object");
    }
    return !p->bad;
}

struct json_value gm_number(struct str text) {
    struct json_value v = {.kind = JSON_NULL, .raw = str_trim(text)};
    struct json_error err;
    if (json_scan(v.raw, &v.kind, NULL, NULL, &err) != 0 || v.kind != JSON_NUMBER)
        v.kind = JSON_NULL;
    return v;
}

static int hex_of(char c) {
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

static struct str unescape(struct arena *a, struct str s) {
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int hi = s.p[i] == '%' && i + 2 < s.n ? hex_of(s.p[i + 1]) : -1;
        int lo = hi >= 0 ? hex_of(s.p[i + 2]) : -1;
        out[n++] = lo >= 0 ? (char)(hi << 4 | lo) : s.p[i];
        i += lo >= 0 ? 2 : 0;
    }
    return str_make(out, n);
}

static bool wants_sse(struct str query) {
    struct str pair;
    while (str_next(&query, '&', &pair))
        if (str_is(pair, "alt=sse") || str_is(pair, "%24alt=sse") || str_is(pair, "$alt=sse"))
            return true;
    return false;
}

struct str gm_model_of(struct arena *a, struct str rest) {
    return unescape(a, rest);
}

bool gm_peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    struct peek p = {.a = a, .ask = ask, .f = f};
    enum json_kind kind = JSON_NULL;
    struct json_error err = {0, NULL};
    bool stream = ask->stream;
    *ask = (struct ask){.rest = ask->rest, .query = ask->query, .body = body, .n = 1, .stream = stream};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    ask->model = gm_model_of(a, ask->rest);
    ask->array = stream && !wants_sse(ask->query);
    ask->include_usage = true; /* every client of this dialect is told */
    if (json_scan(body, &kind, NULL, NULL, &err) != 0) {
        fault_set(f, a, FAULT_BAD_REQUEST, "Invalid JSON payload received. %s at byte %zu.",
                  err.why ? err.why : "malformed", err.offset);
        return false;
    }
    if (kind != JSON_OBJECT) {
        fault_set(f, a, FAULT_BAD_REQUEST, "Invalid JSON payload received. Expected an object.");
        return false;
    }
    json_each(body, member, &p);
    if (!p.bad && !p.contents)
        refuse(&p, STR("contents"), "contents are required");
    return !p.bad;
}

bool gm_splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
               struct fault *f) {
    (void)o; /* the model is in the path */
    struct splice s = {.body = ask->body};
    if (ask->routing_span.raw.p)
        splice_remove(&s, ask->routing_span.raw);
    return splice_write(a, &s, out, f);
}
