/* The quick look at a Messages request, and its way to a provider that speaks the same: the client's bytes.
 */
#include "anthropic.h"
#include "peek.h"
#include "splice.h"

enum { F_MODEL, F_MESSAGES, F_MAX_TOKENS, F_STREAM, F_SYSTEM, F_TOOLS, F_METADATA, F_ROUTING, FIELDS };

static const struct peek_field fields[FIELDS] = {
    [F_MODEL] = {"model", PEEK_KIND(STRING), "a string", true, false},
    [F_MESSAGES] = {"messages", PEEK_KIND(ARRAY), "an array of objects", true, true},
    [F_MAX_TOKENS] = {"max_tokens", PEEK_KIND(NUMBER), "an integer", true, false},
    [F_STREAM] = {"stream", PEEK_KIND(BOOL), "a boolean", false, false},
    [F_SYSTEM] = {"system", PEEK_KIND(STRING) | PEEK_KIND(ARRAY), "a string or an array of blocks", false,
                  true},
    [F_TOOLS] = {"tools", PEEK_KIND(ARRAY), "an array of objects", false, true},
    [F_METADATA] = {"metadata", PEEK_KIND(OBJECT), "an object", false, false},
    [F_ROUTING] = {"routing", PEEK_KIND(OBJECT), "an object", false, false},
};

static bool peek(struct arena *a, struct str body, bool count, struct ask *ask, struct fault *f) {
    struct peek_field mine[FIELDS];
    struct json_value v[FIELDS], user;
    memcpy(mine, fields, sizeof mine);
    mine[F_MAX_TOKENS].required = !count;
    if (!peek_object(a, body, mine, FIELDS, v, ask, f) ||
        !peek_count(a, "max_tokens", v[F_MAX_TOKENS], &ask->max_tokens, f))
        return false;
    if (!count && ask->max_tokens == 0) {
        fault_set(f, a, FAULT_BAD_REQUEST, "'max_tokens': must be at least 1");
        f->param = STR("max_tokens");
        return false;
    }
    ask->model_span = v[F_MODEL];
    ask->model = json_text(a, v[F_MODEL]);
    ask->stream_span = v[F_STREAM];
    ask->stream = !count && v[F_STREAM].raw.p && json_true(v[F_STREAM]);
    ask->include_usage = true; /* it is in every stream of this dialect */
    ask->routing_span = v[F_ROUTING];
    if (v[F_ROUTING].raw.p)
        ask->routing = v[F_ROUTING].raw;
    if (v[F_METADATA].raw.p && json_member(v[F_METADATA].raw, "user_id", &user) && user.kind == JSON_STRING)
        ask->user = json_text(a, user);
    return true;
}

bool an_peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    return peek(a, body, false, ask, f);
}

bool an_count_peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    return peek(a, body, true, ask, f);
}

/* On Vertex the model is in the path, and the version in the body. */
static void splice_vertex(struct splice *s, const struct ask *ask) {
    struct json_value v;
    splice_remove(s, ask->model_span.raw);
    if (!json_member(ask->body, "anthropic_version", &v))
        splice_put(s, splice_open(s), 0, STR("\"anthropic_version\":\"vertex-2023-10-16\","));
}

bool an_splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
               struct fault *f) {
    struct splice s = {.body = ask->body};
    if (o->quirks & QUIRK_VERTEX)
        splice_vertex(&s, ask);
    else
        splice_model(a, &s, ask, o->model);
    if (ask->routing_span.raw.p)
        splice_remove(&s, ask->routing_span.raw);
    return splice_write(a, &s, out, f);
}
