/* Ollama's native chat and embeddings. This file is their rows; the work is in ollama_*.c. */
#include "ollama.h"

#include "answer.h"
#include "encode.h"
#include "vectors.h"

static const struct provider_face provider = {
    .path = "/api/chat",
    .framing = FRAMING_LINES,
    .write_request = ol_write_request,
    .read_reply = ol_read_reply,
    .read_fault = said_read_fault,
    .reader_new = ol_reader_new,
    .read_event = ol_read_event,
    .reader_end = ol_reader_end,
};

const struct dialect dialect_ollama = {"ollama", OP_CHAT, NULL, &provider};

/* --- embeddings --- */

static bool write_embed(struct arena *a, const struct embed *in, const struct encode_opt *o, struct buf *out,
                        struct buf *dropped, struct fault *f) {
    struct encoder e = {.a = a, .o = o, .dropped = dropped, .f = f};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    if (in->purpose != EMBED_UNSET)
        encode_report(&e, STR("taskType")); /* its models are told by words in the text itself */
    jw_init(&e.w, out);
    jw_obj(&e.w);
    jw_kstr(&e.w, "model", o->model);
    jw_key(&e.w, "input");
    jw_arr(&e.w);
    for (const struct embed_input *x = in->inputs; x; x = x->next) {
        if (x->tokens.n == 0)
            jw_str(&e.w, x->text);
        else if (!encode_unsupported(&e, STR("input"), "is of token ids, which " NO_EQUIVALENT))
            return false;
    }
    jw_arr_end(&e.w);
    if (in->dimensions)
        jw_ku64(&e.w, "dimensions", in->dimensions);
    jw_obj_end(&e.w);
    return true;
}

/* /api/embed gives "embeddings"; the older /api/embeddings gave one "embedding". */
static struct embed_reply *read_embed(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    struct json_value v;
    struct said said;
    struct embed_reply *r = arena_alloc(a, sizeof *r);
    (void)quirks;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    r->list = arena_alloc(a, sizeof *r->list);
    bool object = json_scan(body, &kind, NULL, NULL, &err) == 0 && kind == JSON_OBJECT, ok = false;
    if (object && json_member(body, "embeddings", &v))
        ok = vectors_read(a, v, r);
    else if (object && json_member(body, "embedding", &v))
        ok = vector_read(a, v, r->list), r->n = 1;
    if (ok) {
        r->usage = ol_usage(body);
        return r;
    }
    said_body(a, body, &said);
    if (said.message.n == 0)
        said.message = STR("the provider's answer has no embeddings");
    said_fault(a, 0, &said, f);
    return NULL;
}

static const struct provider_face embed_provider = {
    .path = "/api/embed",
    .write_embed = write_embed,
    .read_embed = read_embed,
    .read_fault = said_read_fault,
};

const struct dialect dialect_ollama_embed = {"ollama_embed", OP_EMBED, NULL, &embed_provider};
