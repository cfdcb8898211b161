/* One scan of a request for what must be known before a target is chosen. */
#include "peek.h"

#include "base/json_walk.h"

struct peek {
    struct arena *a;
    const struct peek_field *fields;
    size_t n;
    struct json_value *values;
    struct ask *ask;
    struct fault *f;
};

static const char *kind_name(enum json_kind k) {
    static const char *const names[] = {"null", "a boolean", "a number", "a string", "an array", "an object"};
    return names[k];
}

static bool refuse(struct peek *p, const char *name, const char *what, const char *more) {
    fault_set(p->f, p->a, FAULT_BAD_REQUEST, "'%s': %s%s", name, what, more);
    p->f->param = str_of(name);
    return false;
}

/* --- text that the model reads --- */

/* Files, pictures and signatures as base64 are no text for the model. */
static bool holds_file(struct str key) {
    static const char *const names[] = {"data",
                                        "signature",
                                        "url",
                                        "image_url",
                                        "file_data",
                                        "encrypted_content",
                                        "inlineData",
                                        "inline_data",
                                        "thoughtSignature",
                                        "thought_signature"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (json_key_is(key, names[i]))
            return true;
    return false;
}

bool peek_not_text(struct str key, struct json_value v) {
    static const char *const types[] = {"image",        "image_url", "input_image",     "document",
                                        "document_url", "file",      "input_file",      "input_audio",
                                        "audio",        "video_url", "container_upload"};
    static const char *const members[] = {"inlineData", "inline_data", "fileData", "file_data"};
    if (v.kind == JSON_STRING && json_key_is(key, "type"))
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (json_string_is(v, types[i]))
                return true;
    if (v.kind == JSON_OBJECT)
        for (size_t i = 0; i < sizeof members / sizeof *members; i++)
            if (json_key_is(key, members[i]))
                return true;
    return false;
}

static bool measure(void *arg, struct str key, struct json_value v) {
    struct ask *ask = arg;
    if (key.n && peek_not_text(key, v))
        ask->more_than_text = true;
    if (key.n && holds_file(key))
        return true;
    if (v.kind == JSON_STRING)
        ask->input_bytes += v.raw.n - 2;
    else if (v.kind == JSON_OBJECT || v.kind == JSON_ARRAY)
        json_each(v.raw, measure, arg); /* as deep as the scan has let pass */
    return true;
}

/* --- members --- */

static bool member(void *arg, struct str key, struct json_value v) {
    struct peek *p = arg;
    for (size_t i = 0; i < p->n; i++) {
        const struct peek_field *field = &p->fields[i];
        if (!json_key_is(key, field->name))
            continue;
        /* Readers differ on which of two counts: we must not check another one than the provider uses. */
        if (p->values[i].raw.p)
            return refuse(p, field->name, "is given twice", "");
        if (v.kind == JSON_NULL)
            return true;
        if (!(field->kinds & 1U << v.kind))
            return refuse(p, field->name, arena_printf(p->a, "expected %s, got ", field->want).p,
                          kind_name(v.kind));
        p->values[i] = v;
        if (field->text)
            measure(p->ask, STR_NONE, v);
        return true;
    }
    return true;
}

bool peek_object(struct arena *a, struct str body, const struct peek_field *fields, size_t n,
                 struct json_value *values, struct ask *ask, struct fault *f) {
    struct peek p = {a, fields, n, values, ask, f};
    enum json_kind kind = JSON_NULL;
    struct json_error err = {0, NULL};
    *ask = (struct ask){.rest = ask->rest, .query = ask->query, .body = body, .n = 1};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    for (size_t i = 0; i < n; i++)
        values[i] = (struct json_value){JSON_NULL, STR_NONE};
    size_t at = 0;
    while (at < body.n && json_space(body.p[at]))
        at++;
    bool object = at < body.n && body.p[at] == '{'; /* an array would give its elements to member() */
    int rc = json_scan(body, &kind, object ? member : NULL, &p, &err);
    if (fault_is(f))
        return false;
    if (rc != 0) {
        fault_set(f, a, FAULT_BAD_REQUEST, "The body of the request is not JSON: %s at byte %zu.",
                  err.why ? err.why : "malformed", err.offset);
        return false;
    }
    if (!object) {
        fault_set(f, a, FAULT_BAD_REQUEST, "The body of the request must be a JSON object.");
        return false;
    }
    for (size_t i = 0; i < n; i++)
        if (fields[i].required && !values[i].raw.p)
            return refuse(&p, fields[i].name, "Field required", "");
    return true;
}

bool peek_count(struct arena *a, const char *name, struct json_value v, uint64_t *out, struct fault *f) {
    *out = 0;
    if (!v.raw.p || json_u64(v, out))
        return true;
    fault_set(f, a, FAULT_BAD_REQUEST, "'%s': expected an integer that is not negative", name);
    f->param = str_of(name);
    return false;
}
