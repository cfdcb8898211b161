/* embedContent and batchEmbedContents: one text, and several, each with its own model, purpose and size. */
#include "answer.h"
#include "encode.h"
#include "gemini.h"
#include "splice.h"
#include "vectors.h"

#include <json-c/linkhash.h>

enum { INPUTS_MAX = 4096 };

static const struct {
    const char *word;
    enum embed_purpose purpose;
} purposes[] = {
    {"RETRIEVAL_QUERY", EMBED_QUERY},          {"RETRIEVAL_DOCUMENT", EMBED_DOCUMENT},
    {"CLASSIFICATION", EMBED_CLASSIFICATION},  {"CLUSTERING", EMBED_CLUSTERING},
    {"SEMANTIC_SIMILARITY", EMBED_SIMILARITY},
};

static bool refuse(struct arena *a, struct fault *f, struct str param, const char *why) {
    fault_set(f, a, FAULT_BAD_REQUEST, "Invalid value at '" STR_FMT "': %s", STR_ARG(param), why);
    f->param = param;
    return false;
}

/* --- requests of clients --- */

static bool count_text(void *arg, struct str key, struct json_value v) {
    (void)key;
    if (v.kind == JSON_STRING)
        *(uint64_t *)arg += v.raw.n - 2;
    else if (v.kind == JSON_OBJECT || v.kind == JSON_ARRAY)
        json_each(v.raw, count_text, arg);
    return true;
}

static bool peek_for(struct arena *a, struct str body, struct ask *ask, struct fault *f, const char *member,
                     enum json_kind want) {
    enum json_kind kind = JSON_NULL;
    struct json_error err = {0, NULL};
    struct json_value v;
    *ask = (struct ask){.rest = ask->rest, .query = ask->query, .body = body, .n = 1};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    ask->model = gm_model_of(a, ask->rest);
    if (json_scan(body, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT) {
        fault_set(f, a, FAULT_BAD_REQUEST, "Invalid JSON payload received.");
        return false;
    }
    if (!json_member(body, member, &v) || v.kind != want)
        return refuse(a, f, str_of(member), want == JSON_ARRAY ? "expected an array" : "expected a content");
    json_each(v.raw, count_text, &ask->input_bytes);
    if (json_member(body, "routing", &v)) {
        if (v.kind != JSON_OBJECT)
            return refuse(a, f, STR("routing"), "expected an object");
        ask->routing_span = v;
        ask->routing = v.raw;
    }
    return true;
}

static bool peek_one(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    return peek_for(a, body, ask, f, "content", JSON_OBJECT);
}

static bool peek_batch(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    return peek_for(a, body, ask, f, "requests", JSON_ARRAY);
}

static struct json_object *either(struct json_object *o, const char *camel, const char *snake) {
    struct json_object *v = jo_get(o, camel);
    return v ? v : jo_get(o, snake);
}

static void keep(struct embed *e, const char *name, struct json_object *v) {
    if (!e->extra)
        e->extra = chat_hold(e->arena, json_object_new_object());
    json_object_object_add(e->extra, name, json_object_get(v));
}

/* What each request of a batch says for itself is said once elsewhere: the first one's is taken. */
static void take_options(struct embed *e, struct json_object *o) {
    struct json_object *task = either(o, "taskType", "task_type"), *title = jo_get(o, "title");
    struct json_object *size = either(o, "outputDimensionality", "output_dimensionality");
    bool known = !task || str_is(jo_text(task), "TASK_TYPE_UNSPECIFIED");
    for (size_t i = 0; task && i < sizeof purposes / sizeof *purposes; i++)
        if (str_is(jo_text(task), purposes[i].word)) {
            e->purpose = purposes[i].purpose;
            known = true;
        }
    if (!known)
        keep(e, "taskType", task);
    if (json_object_is_type(title, json_type_string))
        e->title = jo_text(title);
    if (json_object_is_type(size, json_type_int) && json_object_get_int64(size) > 0)
        e->dimensions = (uint64_t)json_object_get_int64(size);
}

static bool add_input(struct embed *e, struct embed_input ***end, struct json_object *o, struct str where,
                      struct fault *f) {
    struct json_object *parts = jo_arr(jo_obj(o, "content"), "parts");
    struct embed_input *in = arena_alloc(e->arena, sizeof *in);
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; parts && i < json_object_array_length(parts); i++) {
        struct json_object *text = jo_get(json_object_array_get_idx(parts, i), "text");
        if (!json_object_is_type(text, json_type_string)) {
            buf_free(&b);
            return refuse(e->arena, f, where, "only text can be embedded by this model");
        }
        buf_adds(&b, jo_text(text));
    }
    in->text = arena_dup(e->arena, buf_str(&b));
    buf_free(&b);
    if (in->text.n == 0)
        return refuse(e->arena, f, where, "there is no text in it");
    **end = in;
    *end = &in->next;
    e->ninputs++;
    return true;
}

static bool read_request(struct arena *a, const struct ask *ask, struct embed **out, struct fault *f) {
    struct json_error err;
    struct json_object *tree = chat_hold(a, json_tree(ask->body, &err)), *list = jo_arr(tree, "requests");
    struct embed *e = arena_alloc(a, sizeof *e);
    struct embed_input **end = &e->inputs;
    size_t n = list ? json_object_array_length(list) : 0;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    e->arena = a;
    e->model = ask->model;
    take_options(e, list ? json_object_array_get_idx(list, 0) : tree);
    if (list && (n == 0 || n > INPUTS_MAX))
        return refuse(a, f, STR("requests"), "expected at least one, and not so many");
    for (size_t i = 0; i < n; i++)
        if (!add_input(e, &end, json_object_array_get_idx(list, i),
                       arena_printf(a, "requests[%zu].content", i), f))
            return false;
    if (!list && !add_input(e, &end, tree, STR("content"), f))
        return false;
    *out = e;
    return true;
}

/* --- answers to clients --- */

static void write_values(struct jw *w, const struct embedding *e) {
    jw_obj(w);
    jw_key(w, "values");
    jw_arr(w);
    for (size_t i = 0; i < e->n; i++)
        vector_write(w, e->v[i]);
    jw_arr_end(w);
    jw_obj_end(w);
}

static void write_one_reply(struct buf *out, const struct embed_reply *r, const struct mint *m,
                            const struct ask *ask) {
    static const struct embedding none = {NULL, 0};
    struct jw w;
    (void)m;
    (void)ask;
    jw_init(&w, out);
    jw_obj(&w);
    jw_key(&w, "embedding");
    write_values(&w, r->n ? &r->list[0] : &none);
    jw_obj_end(&w);
}

static void write_batch_reply(struct buf *out, const struct embed_reply *r, const struct mint *m,
                              const struct ask *ask) {
    struct jw w;
    (void)m;
    (void)ask;
    jw_init(&w, out);
    jw_obj(&w);
    jw_key(&w, "embeddings");
    jw_arr(&w);
    for (size_t i = 0; i < r->n; i++)
        write_values(&w, &r->list[i]);
    jw_arr_end(&w);
    jw_obj_end(&w);
}

/* --- requests to Gemini --- */

static void write_input(struct jw *w, const struct embed *e, const struct embed_input *in, struct str model) {
    jw_obj(w);
    jw_kstr(w, "model", model);
    jw_key(w, "content");
    jw_obj(w);
    jw_key(w, "parts");
    jw_arr(w);
    jw_obj(w);
    jw_kstr(w, "text", in->text);
    jw_obj_end(w);
    jw_arr_end(w);
    jw_obj_end(w);
    for (size_t i = 0; i < sizeof purposes / sizeof *purposes; i++)
        if (e->purpose == purposes[i].purpose)
            jw_kz(w, "taskType", purposes[i].word);
    if (e->title.n > 0 && e->purpose == EMBED_DOCUMENT)
        jw_kstr(w, "title", e->title);
    if (e->dimensions)
        jw_ku64(w, "outputDimensionality", e->dimensions);
    if (jo_get(e->extra, "taskType"))
        jw_kstr(w, "taskType", jo_str(e->extra, "taskType"));
    jw_obj_end(w);
}

static bool check(struct encoder *e, const struct embed *in) {
    for (const struct embed_input *x = in->inputs; x; x = x->next)
        if (x->tokens.n > 0 && !encode_unsupported(e, STR("input"), "is of token ids, which " NO_EQUIVALENT))
            return false;
    if (!in->extra)
        return true;
    json_object_object_foreach(in->extra, key, v) {
        (void)v;
        if (strcmp(key, "taskType") != 0 && !encode_unsupported(e, str_of(key), NO_EQUIVALENT))
            return false;
    }
    return true;
}

static bool write_batch(struct arena *a, const struct embed *e, const struct encode_opt *o, struct buf *out,
                        struct buf *dropped, struct fault *f) {
    struct encoder en = {.a = a, .o = o, .dropped = dropped, .f = f};
    struct str model = arena_printf(a, "models/" STR_FMT, STR_ARG(o->model));
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    if (!check(&en, e))
        return false;
    jw_init(&en.w, out);
    jw_obj(&en.w);
    jw_key(&en.w, "requests");
    jw_arr(&en.w);
    for (const struct embed_input *in = e->inputs; in; in = in->next)
        write_input(&en.w, e, in, model);
    jw_arr_end(&en.w);
    jw_obj_end(&en.w);
    return true;
}

static bool write_one(struct arena *a, const struct embed *e, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f) {
    struct encoder en = {.a = a, .o = o, .dropped = dropped, .f = f};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    if (!check(&en, e))
        return false;
    if (e->ninputs != 1)
        return encode_bad(&en, STR("input"), "this endpoint takes one text at a time");
    jw_init(&en.w, out);
    write_input(&en.w, e, e->inputs, arena_printf(a, "models/" STR_FMT, STR_ARG(o->model)));
    return true;
}

/* --- the same dialect --- */

struct renaming {
    struct str body;
    size_t at; /* written so far */
    struct str name;
    struct buf *out;
};

static bool rename_one(void *arg, struct str key, struct json_value v) {
    struct renaming *r = arg;
    struct json_value model;
    (void)key;
    if (v.kind != JSON_OBJECT || !json_member(v.raw, "model", &model))
        return true;
    size_t at = (size_t)(model.raw.p - r->body.p);
    buf_add(r->out, r->body.p + r->at, at - r->at);
    json_quote(r->out, r->name);
    r->at = at + model.raw.n;
    return true;
}

/* Every request names its model, which must be the one in the path. */
static bool splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
                   struct fault *f) {
    struct json_value list;
    struct buf plain;
    buf_init(&plain, 0);
    bool ok = gm_splice(a, ask, o, &plain, f);
    if (ok && str_eq(o->model, ask->model)) {
        buf_adds(out, buf_str(&plain));
    } else if (ok) {
        struct renaming r = {.body = buf_str(&plain), .out = out};
        r.name = arena_printf(a, "models/" STR_FMT, STR_ARG(o->model));
        if (json_member(r.body, "requests", &list) && list.kind == JSON_ARRAY)
            json_each(list.raw, rename_one, &r);
        else
            rename_one(&r, STR_NONE, (struct json_value){JSON_OBJECT, r.body});
        buf_adds(out, str_skip(r.body, r.at));
    }
    buf_free(&plain);
    return ok;
}

/* --- answers of Gemini --- */

struct reading {
    struct arena *a;
    struct embed_reply *r;
    size_t n;
    float *v;
};

static bool count_one(void *arg, struct str key, struct json_value v) {
    (void)key;
    (void)v;
    ++*(size_t *)arg;
    return true;
}

static bool one_number(void *arg, struct str key, struct json_value v) {
    struct reading *rd = arg;
    double d = 0;
    (void)key;
    json_double(v, &d);
    rd->v[rd->n++] = (float)d;
    return true;
}

static bool one_embedding(void *arg, struct str key, struct json_value v) {
    struct reading *rd = arg;
    struct json_value values;
    size_t n = 0;
    (void)key;
    struct embedding *e = &rd->r->list[rd->r->n++];
    if (v.kind != JSON_OBJECT || !json_member(v.raw, "values", &values) || values.kind != JSON_ARRAY)
        return true;
    json_each(values.raw, count_one, &n);
    rd->v = arena_array(rd->a, n ? n : 1, sizeof *rd->v);
    rd->n = 0;
    json_each(values.raw, one_number, rd);
    *e = (struct embedding){rd->v, n};
    return true;
}

/* The value that has them: an array of embeddings, or a single one. */
static bool find(struct arena *a, struct str body, struct json_value *v, struct usage *u, struct fault *f) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    struct json_value m;
    *u = USAGE_NONE;
    if (json_scan(body, &kind, NULL, NULL, &err) == 0 && kind == JSON_OBJECT) {
        if (json_member(body, "error", v) && v->kind != JSON_NULL) {
            gm_error(a, *v, f);
            return false;
        }
        if (json_member(body, "usageMetadata", &m) && m.kind == JSON_OBJECT)
            *u = gm_usage(m.raw);
        if ((json_member(body, "embeddings", v) && v->kind == JSON_ARRAY) ||
            (json_member(body, "embedding", v) && v->kind == JSON_OBJECT))
            return true;
    }
    fault_set(f, a, FAULT_SERVER, "the provider's answer has no embeddings");
    f->from_provider = true;
    return false;
}

static struct embed_reply *read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    struct json_value v;
    struct usage u;
    size_t n = 0;
    (void)quirks;
    if (!find(a, body, &v, &u, f))
        return NULL;
    struct embed_reply *r = arena_alloc(a, sizeof *r);
    struct reading rd = {.a = a, .r = r};
    r->usage = u;
    if (v.kind == JSON_ARRAY)
        json_each(v.raw, count_one, &n);
    r->list = arena_array(a, n + 1, sizeof *r->list);
    if (v.kind == JSON_ARRAY)
        json_each(v.raw, one_embedding, &rd);
    else
        one_embedding(&rd, STR_NONE, v);
    return r;
}

static bool tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o,
                      struct fault *f) {
    struct json_value v;
    (void)quirks;
    if (!find(a, body, &v, &o->usage, f)) {
        o->fault = *f;
        return false;
    }
    o->stop = STOP_END;
    o->output = o->ended = true;
    return true;
}

static const struct client_face one_client = {
    .peek = peek_one,
    .read_embed = read_request,
    .write_embed = write_one_reply,
    .write_fault = gm_write_fault,
    .write_stream_fault = gm_write_stream_fault,
    .stream_type = "application/json",
};
static const struct provider_face one_provider = {
    .stop_is_end = true,
    .path = "/models/{model}:embedContent",
    .splice = splice,
    .write_embed = write_one,
    .read_embed = read_reply,
    .tap_reply = tap_reply,
    .read_fault = gm_read_fault,
};
static const struct client_face batch_client = {
    .peek = peek_batch,
    .read_embed = read_request,
    .write_embed = write_batch_reply,
    .write_fault = gm_write_fault,
    .write_stream_fault = gm_write_stream_fault,
    .stream_type = "application/json",
};
static const struct provider_face batch_provider = {
    .stop_is_end = true,
    .path = "/models/{model}:batchEmbedContents",
    .splice = splice,
    .write_embed = write_batch,
    .read_embed = read_reply,
    .tap_reply = tap_reply,
    .read_fault = gm_read_fault,
};

const struct dialect dialect_gemini_embed = {"gemini_embed", OP_EMBED, &one_client, &one_provider};
const struct dialect dialect_gemini_batch_embed = {"gemini_batch_embed", OP_EMBED, &batch_client,
                                                   &batch_provider};
