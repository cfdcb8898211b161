/* OpenAI's embeddings, both faces. */
#include "answer.h"
#include "encode.h"
#include "openai_chat.h"
#include "peek.h"
#include "splice.h"
#include "vectors.h"

#include <json-c/linkhash.h>

#include "base/hash.h"

enum { F_MODEL, F_INPUT, F_FORMAT, F_DIMENSIONS, F_USER, F_ROUTING, F_INPUT_TYPE, FIELDS };
enum { INPUTS_MAX = 65536 };

static const struct peek_field fields[FIELDS] = {
    [F_MODEL] = {"model", PEEK_KIND(STRING), "a string", true, false},
    [F_INPUT] = {"input", PEEK_KIND(STRING) | PEEK_KIND(ARRAY), "a string or an array", true, true},
    [F_FORMAT] = {"encoding_format", PEEK_KIND(STRING), "float or base64", false, false},
    [F_DIMENSIONS] = {"dimensions", PEEK_KIND(NUMBER), "an integer", false, false},
    [F_USER] = {"user", PEEK_KIND(STRING), "a string", false, false},
    [F_ROUTING] = {"routing", PEEK_KIND(OBJECT), "an object", false, false},
    [F_INPUT_TYPE] = {"input_type", PEEK_KIND(STRING), "a string", false, false},
};

/* What the texts are for. OpenAI has no word for it; servers of its API that need one take "input_type". */
static const struct {
    const char *word;
    enum embed_purpose purpose;
} purposes[] = {
    {"query", EMBED_QUERY},           {"search_query", EMBED_QUERY},
    {"document", EMBED_DOCUMENT},     {"search_document", EMBED_DOCUMENT},
    {"passage", EMBED_DOCUMENT},      {"classification", EMBED_CLASSIFICATION},
    {"clustering", EMBED_CLUSTERING},
};

/* --- from clients --- */

static bool refuse(struct arena *a, const char *param, const char *what, struct fault *f) {
    fault_set(f, a, FAULT_BAD_REQUEST, "'%s': %s", param, what);
    f->param = str_of(param);
    return false;
}

static bool peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    struct json_value v[FIELDS];
    uint64_t dimensions;
    if (!peek_object(a, body, fields, FIELDS, v, ask, f) ||
        !peek_count(a, "dimensions", v[F_DIMENSIONS], &dimensions, f))
        return false;
    if (v[F_FORMAT].raw.p && !json_string_is(v[F_FORMAT], "float") && !json_string_is(v[F_FORMAT], "base64"))
        return refuse(a, "encoding_format", "expected float or base64", f);
    ask->model_span = v[F_MODEL];
    ask->model = json_text(a, v[F_MODEL]);
    ask->routing_span = v[F_ROUTING];
    ask->routing = v[F_ROUTING].raw;
    if (v[F_USER].raw.p)
        ask->user = json_text(a, v[F_USER]);
    return true;
}

struct reading {
    struct arena *a;
    struct embed *e;
    struct embed_input **end;
    bool numbers, bad;
};

static void add_input(struct reading *r, struct str text, struct str tokens) {
    struct embed_input *in = arena_alloc(r->a, sizeof *in);
    in->text = text;
    in->tokens = tokens;
    *r->end = in;
    r->end = &in->next;
    r->e->ninputs++;
}

static bool each_input(void *arg, struct str key, struct json_value v) {
    struct reading *r = arg;
    (void)key;
    if (v.kind == JSON_STRING)
        add_input(r, json_text(r->a, v), STR_NONE);
    else if (v.kind == JSON_ARRAY)
        add_input(r, STR_NONE, v.raw);
    else if (v.kind == JSON_NUMBER)
        r->numbers = true;
    else
        r->bad = true;
    return !r->bad && r->e->ninputs < INPUTS_MAX;
}

static bool keep_unknown(void *arg, struct str key, struct json_value v) {
    struct embed *e = arg;
    struct json_error err;
    for (size_t i = 0; i < FIELDS; i++)
        if (json_key_is(key, fields[i].name))
            return true;
    struct json_object *tree = json_tree(v.raw, &err);
    if (!tree)
        return true; /* null is as if it were absent */
    if (!e->extra)
        e->extra = chat_hold(e->arena, json_object_new_object());
    json_object_object_add(e->extra, arena_dupz(e->arena, key), tree);
    return true;
}

static void read_purpose(struct embed *e, struct str body) {
    struct json_value v;
    if (!json_member(body, "input_type", &v) || v.kind != JSON_STRING)
        return;
    for (size_t i = 0; i < sizeof purposes / sizeof *purposes; i++)
        if (json_string_is(v, purposes[i].word))
            e->purpose = purposes[i].purpose;
}

static bool read_embed(struct arena *a, const struct ask *ask, struct embed **out, struct fault *f) {
    struct embed *e = arena_alloc(a, sizeof *e);
    struct reading r = {.a = a, .e = e, .end = &e->inputs};
    struct json_value v;
    e->arena = a;
    e->model = ask->model;
    e->user = ask->user;
    if (json_member(ask->body, "encoding_format", &v))
        e->base64 = json_string_is(v, "base64");
    if (json_member(ask->body, "dimensions", &v))
        json_u64(v, &e->dimensions);
    read_purpose(e, ask->body);
    json_each(ask->body, keep_unknown, e);
    json_member(ask->body, "input", &v);
    if (v.kind == JSON_STRING)
        add_input(&r, json_text(a, v), STR_NONE);
    else
        json_each(v.raw, each_input, &r);
    if (r.bad || (r.numbers && e->ninputs > 0))
        return refuse(a, "input", "expected texts or arrays of token ids", f);
    if (r.numbers)
        add_input(&r, STR_NONE, v.raw);
    if (e->ninputs == 0)
        return refuse(a, "input", "there is nothing in it", f);
    *out = e;
    return true;
}

static void write_vector(struct jw *w, const struct embedding *e, bool base64) {
    jw_key(w, "embedding");
    if (base64) { /* little-endian, as it lies here */
        struct buf b;
        buf_init(&b, 0);
        base64_encode(&b, e->v, e->n * sizeof *e->v);
        jw_str(w, buf_str(&b));
        buf_free(&b);
        return;
    }
    jw_arr(w);
    for (size_t i = 0; i < e->n; i++)
        vector_write(w, e->v[i]);
    jw_arr_end(w);
}

static void write_embed(struct buf *out, const struct embed_reply *r, const struct mint *m,
                        const struct ask *ask) {
    struct json_value v;
    bool base64 = ask->body.n && json_member(ask->body, "encoding_format", &v) && json_string_is(v, "base64");
    struct jw w;
    jw_init(&w, out);
    jw_obj(&w);
    jw_kz(&w, "object", "list");
    jw_key(&w, "data");
    jw_arr(&w);
    for (size_t i = 0; i < r->n; i++) {
        jw_obj(&w);
        jw_kz(&w, "object", "embedding");
        jw_ku64(&w, "index", i);
        write_vector(&w, &r->list[i], base64);
        jw_obj_end(&w);
    }
    jw_arr_end(&w);
    jw_kstr(&w, "model", m->model);
    uint64_t input = r->usage.known ? r->usage.input : usage_estimate(ask->input_bytes);
    jw_key(&w, "usage");
    jw_obj(&w);
    jw_ku64(&w, "prompt_tokens", input);
    jw_ku64(&w, "total_tokens", input);
    jw_obj_end(&w);
    jw_obj_end(&w);
}

static const struct client_face client = {
    .peek = peek,
    .read_embed = read_embed,
    .write_embed = write_embed,
    .write_fault = oc_write_fault,
    .write_stream_fault = oc_write_stream_fault,
    .stream_type = "application/json",
};

/* --- to providers --- */

static bool splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
                   struct fault *f) {
    struct splice s = {.body = ask->body};
    splice_model(a, &s, ask, o->model);
    if (ask->routing_span.raw.p)
        splice_remove(&s, ask->routing_span.raw);
    return splice_write(a, &s, out, f);
}

static bool write_inputs(struct encoder *r, const struct embed *e, bool mistral) {
    jw_key(&r->w, "input");
    jw_arr(&r->w);
    for (const struct embed_input *in = e->inputs; in; in = in->next) {
        if (in->tokens.n == 0)
            jw_str(&r->w, in->text);
        else if (!mistral)
            jw_raw(&r->w, in->tokens);
        else if (!encode_unsupported(r, STR("input"), "is of token ids, which " NO_EQUIVALENT))
            return false;
    }
    jw_arr_end(&r->w);
    return true;
}

static bool is_mistrals(const char *key) {
    return strcmp(key, "output_dimension") == 0 || strcmp(key, "output_dtype") == 0 ||
           strcmp(key, "metadata") == 0;
}

static bool write_unknown(struct encoder *r, const struct embed *e, bool mistral) {
    if (!e->extra)
        return true;
    json_object_object_foreach(e->extra, key, v) {
        if (r->o->pass_unsupported || (mistral && is_mistrals(key))) {
            jw_keys(&r->w, str_of(key));
            jw_tree(&r->w, v);
        } else if (!encode_unsupported(r, str_of(key), NO_EQUIVALENT)) {
            return false;
        }
    }
    return true;
}

/* Mistral refuses members that it does not know: the size has another name there, and a user none. */
static bool write_request(struct arena *a, const struct embed *e, const struct encode_opt *o, struct buf *out,
                          struct buf *dropped, struct fault *f) {
    struct encoder r = {.a = a, .o = o, .dropped = dropped, .f = f};
    bool mistral = o->quirks & QUIRK_MISTRAL;
    jw_init(&r.w, out);
    jw_obj(&r.w);
    jw_kstr(&r.w, "model", o->model);
    if (!write_inputs(&r, e, mistral))
        return false;
    jw_kz(&r.w, "encoding_format", "float");
    if (e->dimensions)
        jw_ku64(&r.w, mistral ? "output_dimension" : "dimensions", e->dimensions);
    if (e->user.n && mistral)
        encode_report(&r, STR("user"));
    else if (e->user.n)
        jw_kstr(&r.w, "user", e->user);
    if (!write_unknown(&r, e, mistral))
        return false;
    jw_obj_end(&r.w);
    return true;
}

/* A list of embeddings and no error. */
static bool check(struct arena *a, struct str body, struct json_value *data, struct fault *f) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    struct json_value v;
    struct said said;
    if (json_scan(body, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT)
        return said_garbage(a, f, "is not a JSON object");
    if (json_member(body, "error", &v) && v.kind != JSON_NULL) {
        said_error(a, v, &said);
        said_fault(a, 0, &said, f);
        return false;
    }
    if (!json_member(body, "data", data) || data->kind != JSON_ARRAY)
        return said_garbage(a, f, "has no embeddings");
    return true;
}

/* Mistral's has completion_tokens of 0 besides. */
static struct usage usage_of(struct str body) {
    struct usage u = USAGE_NONE;
    struct json_value v;
    if (json_member(body, "usage", &v) && v.kind == JSON_OBJECT)
        oc_usage(v.raw, &u);
    return u;
}

static bool tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o,
                      struct fault *f) {
    struct json_value data;
    (void)quirks;
    if (!check(a, body, &data, f))
        return false;
    o->usage = usage_of(body);
    o->output = o->ended = true;
    o->stop = STOP_END;
    return true;
}

struct vectors {
    struct arena *a;
    struct embed_reply *r;
    size_t room;
    bool bad;
};

static bool count_one(void *arg, struct str key, struct json_value v) {
    (void)key, (void)v;
    ++*(size_t *)arg;
    return true;
}

static bool read_base64(struct arena *a, struct json_value v, struct embedding *e) {
    struct buf b;
    buf_init(&b, (size_t)VECTOR_MAX * sizeof(float));
    bool ok = base64_decode(&b, json_text(a, v)) && buf_ok(&b) && buf_len(&b) % sizeof(float) == 0;
    if (ok) {
        float *numbers = arena_array(a, buf_len(&b) / sizeof(float) + 1, sizeof *numbers);
        memcpy(numbers, buf_at(&b), buf_len(&b));
        *e = (struct embedding){numbers, buf_len(&b) / sizeof(float)};
    }
    buf_free(&b);
    return ok;
}

static bool each_embedding(void *arg, struct str key, struct json_value v) {
    struct vectors *s = arg;
    struct embedding e = {NULL, 0};
    struct json_value m;
    uint64_t index = s->r->n;
    (void)key;
    bool ok = v.kind == JSON_OBJECT && json_member(v.raw, "embedding", &m) &&
              (m.kind == JSON_STRING ? read_base64(s->a, m, &e) : vector_read(s->a, m, &e));
    if (ok && json_member(v.raw, "index", &m))
        json_u64(m, &index);
    if (!ok || index >= s->room)
        return !(s->bad = true);
    s->r->list[index] = e;
    s->r->n++;
    return true;
}

static struct embed_reply *read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    struct vectors s = {.a = a, .r = arena_alloc(a, sizeof *s.r)};
    struct json_value data, v;
    (void)quirks;
    if (!check(a, body, &data, f))
        return NULL;
    json_each(data.raw, count_one, &s.room);
    s.r->list = arena_array(a, s.room + 1, sizeof *s.r->list);
    json_each(data.raw, each_embedding, &s);
    if (s.bad) {
        said_garbage(a, f, "has embeddings that cannot be read");
        return NULL;
    }
    if (json_member(body, "model", &v))
        s.r->model = json_text(a, v);
    s.r->usage = usage_of(body);
    return s.r;
}

static const struct provider_face provider = {
    .path = "/embeddings",
    .splice = splice,
    .write_embed = write_request,
    .read_embed = read_reply,
    .tap_reply = tap_reply,
    .read_fault = said_read_fault,
};

const struct dialect dialect_openai_embeddings = {"openai_embeddings", OP_EMBED, &client, &provider};
