/* countTokens: a request as for an answer, of which only the tokens are counted. */
#include "count.h"
#include "gemini.h"

static const char members[] = "generateContentRequest";

static bool peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    enum json_kind kind = JSON_NULL;
    struct json_error err = {0, NULL};
    struct json_value inner;
    struct str rest = ask->rest, query = ask->query;
    bool ok = json_scan(body, &kind, NULL, NULL, &err) == 0 && kind == JSON_OBJECT &&
              (json_member(body, members, &inner) || json_member(body, "generate_content_request", &inner)) &&
              inner.kind == JSON_OBJECT;
    ask->stream = false;
    if (!gm_peek(a, ok ? inner.raw : body, ask, f))
        return false;
    uint64_t bytes = ask->input_bytes;
    *ask = (struct ask){.rest = rest, .query = query, .body = body, .n = 1, .model = ask->model};
    ask->input_bytes = bytes;
    return true;
}

static bool read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f) {
    struct json_error err;
    struct json_object *tree = chat_hold(a, json_tree(ask->body, &err));
    struct json_object *inner = jo_obj(tree, members);
    if (!inner)
        inner = jo_obj(tree, "generate_content_request");
    return gm_read_tree(a, inner ? inner : tree, ask, out, f);
}

static void write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask) {
    struct jw w;
    (void)m;
    (void)ask;
    jw_init(&w, out);
    jw_obj(&w);
    jw_ku64(&w, "totalTokens", r->usage.input);
    if (r->usage.cache_read)
        jw_ku64(&w, "cachedContentTokenCount", r->usage.cache_read);
    jw_obj_end(&w);
}

/* {"generateContentRequest":{"model":"models/X", ...}}: only so are tools and instructions counted too. */
static bool write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                          struct buf *dropped, struct fault *f) {
    struct buf inner;
    buf_init(&inner, out->max);
    bool ok = gm_write_request(a, c, o, &inner, dropped, f);
    if (ok) {
        BUF_ADD(out, "{\"generateContentRequest\":{\"model\":");
        json_quote(out, arena_printf(a, "models/" STR_FMT, STR_ARG(o->model)));
        BUF_ADD(out, ",");
        buf_adds(out, str_skip(buf_str(&inner), 1));
        BUF_ADD(out, "}");
    }
    buf_free(&inner);
    return ok;
}

/* The model inside must be the one in the path. */
static bool splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
                   struct fault *f) {
    struct json_value inner, model;
    struct str name = arena_printf(a, "models/" STR_FMT, STR_ARG(o->model));
    if (str_eq(o->model, ask->model) || !json_member(ask->body, members, &inner) ||
        inner.kind != JSON_OBJECT || !json_member(inner.raw, "model", &model))
        return gm_splice(a, ask, o, out, f);
    size_t at = (size_t)(model.raw.p - ask->body.p);
    buf_add(out, ask->body.p, at);
    json_quote(out, name);
    buf_adds(out, str_skip(ask->body, at + model.raw.n));
    return true;
}

static bool error_in(struct arena *a, struct str body, struct fault *f) {
    struct json_value v;
    if (!json_member(body, "error", &v) || v.kind == JSON_NULL)
        return false;
    gm_error(a, v, f);
    return true;
}

static const struct count_shape shape = {"totalTokens", error_in};

static struct reply *read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    (void)quirks;
    return count_reply(a, body, &shape, f);
}

static bool tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o,
                      struct fault *f) {
    (void)quirks;
    return count_tap(a, body, &shape, o, f);
}

static const struct client_face client = {
    .peek = peek,
    .read_request = read_request,
    .write_reply = write_reply,
    .write_fault = gm_write_fault,
    .write_stream_fault = gm_write_stream_fault,
    .stream_type = "application/json",
    .names = &gm_names,
};
static const struct provider_face provider = {
    .stop_is_end = true,
    .path = "/models/{model}:countTokens",
    .splice = splice,
    .write_request = write_request,
    .read_reply = read_reply,
    .tap_reply = tap_reply,
    .read_fault = gm_read_fault,
};
const struct dialect dialect_gemini_count = {"gemini_count", OP_COUNT, &client, &provider};
