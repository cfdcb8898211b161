/* What goes through as it came, since only providers of the same API understand it: a row for each family of
 * endpoints. Looked at are the model's name on the way out, and what was used on the way back. */
#include "answer.h"
#include "openai_chat.h"
#include "peek.h"
#include "splice.h"

enum { F_MODEL, F_ROUTING, FIELDS };

static const struct peek_field fields[FIELDS] = {
    [F_MODEL] = {"model", PEEK_KIND(STRING), "a string", false, false},
    [F_ROUTING] = {"routing", PEEK_KIND(OBJECT), "an object", false, false},
};

static bool peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    struct json_value v[FIELDS];
    if (!peek_object(a, body, fields, FIELDS, v, ask, f))
        return false;
    ask->model_span = v[F_MODEL];
    ask->model = v[F_MODEL].raw.p ? json_text(a, v[F_MODEL]) : STR_NONE;
    ask->routing_span = v[F_ROUTING];
    ask->routing = v[F_ROUTING].raw;
    ask->input_bytes = body.n;
    return true;
}

static bool splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
                   struct fault *f) {
    struct splice s = {.body = ask->body};
    splice_model(a, &s, ask, o->model);
    if (ask->routing_span.raw.p)
        splice_remove(&s, ask->routing_span.raw);
    return splice_write(a, &s, out, f);
}

/* Where "usage": begins that is followed by an object; what is inside a string has its quotes escaped. */
static ptrdiff_t last_usage(struct str tail) {
    static const struct str key = {"\"usage\"", 7};
    ptrdiff_t last = -1, at;
    for (size_t from = 0; (at = str_find(str_skip(tail, from), key)) >= 0; from += (size_t)at + key.n)
        if (from + (size_t)at == 0 || tail.p[from + (size_t)at - 1] != '\\')
            last = (ptrdiff_t)(from + (size_t)at + key.n);
    return last;
}

static struct str object_at(struct str s) {
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' && !(quoted && s.p[i - 1] == '\\'))
            quoted = !quoted;
        if (quoted)
            continue;
        depth += s.p[i] == '{';
        depth -= s.p[i] == '}';
        if (depth == 0)
            return str_make(s.p, i + 1);
    }
    return STR_NONE;
}

/* OP_PASS: the last bytes of an answer or stream; its usage stands at the end, behind the pictures. */
static bool tap_tail(struct arena *a, struct str tail, unsigned quirks, struct observed *o, struct fault *f) {
    (void)a, (void)quirks, (void)f;
    ptrdiff_t at = last_usage(tail);
    if (at < 0)
        return true;
    struct str rest = str_trim(str_skip(tail, (size_t)at));
    if (rest.n == 0 || rest.p[0] != ':')
        return true;
    struct str object = object_at(str_trim(str_skip(rest, 1)));
    enum json_kind kind;
    if (object.n && json_scan(object, &kind, NULL, NULL, NULL) == 0 && kind == JSON_OBJECT)
        oc_usage(object, &o->usage);
    return true;
}

static const struct client_face client = {
    .peek = peek,
    .write_fault = oc_write_fault,
    .write_stream_fault = oc_write_stream_fault,
    .stream_type = "text/event-stream",
};
static const struct provider_face uses_tokens = {
    .path = "{rest}",
    .splice = splice,
    .tap_reply = tap_tail,
    .read_fault = said_read_fault,
};
/* What they tell of was used, and billed, when it was made. */
static const struct provider_face keeps_things = {
    .path = "{rest}",
    .splice = splice,
    .read_fault = said_read_fault,
};

#define PASS(name, provider)                                                                                 \
    { #name, OP_PASS, &client, &provider }
const struct dialect dialect_moderations = PASS(moderations, uses_tokens);
const struct dialect dialect_images = PASS(images, uses_tokens);
const struct dialect dialect_audio = PASS(audio, uses_tokens);
const struct dialect dialect_rerank = PASS(rerank, uses_tokens);
const struct dialect dialect_files = PASS(files, keeps_things);
const struct dialect dialect_batches = PASS(batches, keeps_things);
const struct dialect dialect_stored_responses = PASS(stored_responses, keeps_things);
