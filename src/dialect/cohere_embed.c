/* Cohere's v2 embeddings. What the texts are for must be said there (of models from v3 on), and is a document
 * where the client did not say it: what is stored is far more than what is asked. */
#include "answer.h"
#include "cohere.h"
#include "encode.h"
#include "vectors.h"

#include <json-c/linkhash.h>

static const char *input_type(enum embed_purpose p) {
    switch (p) {
    case EMBED_QUERY:
        return "search_query";
    case EMBED_CLASSIFICATION:
        return "classification";
    case EMBED_CLUSTERING:
    case EMBED_SIMILARITY: /* has no word of its own; both compare texts of one kind */
        return "clustering";
    case EMBED_UNSET:
    case EMBED_DOCUMENT:
        break;
    }
    return "search_document";
}

static bool check(struct encoder *e, const struct embed *in) {
    for (const struct embed_input *x = in->inputs; x; x = x->next)
        if (x->tokens.n > 0 && !encode_unsupported(e, STR("input"), "is of token ids, which " NO_EQUIVALENT))
            return false;
    if (!in->extra)
        return true;
    json_object_object_foreach(in->extra, key, v) {
        (void)v;
        if (!encode_unsupported(e, str_of(key), NO_EQUIVALENT))
            return false;
    }
    return true;
}

static bool write_embed(struct arena *a, const struct embed *in, const struct encode_opt *o, struct buf *out,
                        struct buf *dropped, struct fault *f) {
    struct encoder e = {.a = a, .o = o, .dropped = dropped, .f = f};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    if (!check(&e, in))
        return false;
    jw_init(&e.w, out);
    jw_obj(&e.w);
    jw_kstr(&e.w, "model", o->model);
    jw_key(&e.w, "texts");
    jw_arr(&e.w);
    for (const struct embed_input *x = in->inputs; x; x = x->next)
        if (x->tokens.n == 0)
            jw_str(&e.w, x->text);
    jw_arr_end(&e.w);
    jw_kz(&e.w, "input_type", input_type(in->purpose));
    jw_key(&e.w, "embedding_types");
    jw_arr(&e.w);
    jw_z(&e.w, "float");
    jw_arr_end(&e.w);
    if (in->dimensions)
        jw_ku64(&e.w, "output_dimension", in->dimensions);
    jw_obj_end(&e.w);
    return true;
}

static struct embed_reply *failed(struct arena *a, struct str body, struct fault *f) {
    struct said said;
    said_body(a, body, &said);
    if (said.message.n) { /* {"id", "message": "text"} is an error */
        said_fault(a, 0, &said, f);
        return NULL;
    }
    fault_set(f, a, FAULT_SERVER, "the provider's answer has no embeddings");
    f->from_provider = true;
    return NULL;
}

static struct embed_reply *read_embed(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    struct json_value v;
    struct embed_reply *r = arena_alloc(a, sizeof *r);
    (void)quirks;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    r->usage = USAGE_NONE;
    if (json_scan(body, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT ||
        !json_path(body, &v, "embeddings", "float", NULL) || !vectors_read(a, v, r))
        return failed(a, body, f);
    if (json_member(body, "id", &v) && v.kind == JSON_STRING)
        r->id = json_text(a, v);
    if (json_member(body, "meta", &v) && v.kind == JSON_OBJECT)
        r->usage = co_usage(v.raw);
    return r;
}

static const struct provider_face provider = {
    .path = "/v2/embed",
    .write_embed = write_embed,
    .read_embed = read_embed,
    .read_fault = said_read_fault,
};

const struct dialect dialect_cohere_embed = {"cohere_embed", OP_EMBED, NULL, &provider};
