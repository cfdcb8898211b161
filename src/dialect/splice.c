/* Edits of a JSON object by byte spans. */
#include "splice.h"

#include "base/json_walk.h"

void splice_grow(struct arena *a, struct splice *s, size_t more) {
    s->many = arena_array(a, SPLICE_MAX + more, sizeof *s->many);
    memcpy(s->many, s->few, s->n * sizeof *s->many);
    s->more = more;
}

size_t splice_open(const struct splice *s) {
    size_t open = 0;
    while (s->body.p[open] != '{')
        open++;
    return open + 1;
}

void splice_put(struct splice *s, size_t at, size_t cut, struct str put) {
    struct splice_edit *edit = s->many ? s->many : s->few;
    size_t i = s->n++;
    if (i >= SPLICE_MAX + s->more)
        return;
    /* In order of place; at one place what is put in goes before what is cut. */
    for (; i > 0 && (edit[i - 1].at > at || (edit[i - 1].at == at && cut == 0)); i--)
        edit[i] = edit[i - 1];
    edit[i] = (struct splice_edit){at, cut, put};
}

void splice_value(struct splice *s, struct str value, struct str put) {
    splice_put(s, (size_t)(value.p - s->body.p), value.n, put);
}

/* From the first byte of a member's key to the last byte of its value, and one of the commas around it. */
void splice_remove(struct splice *s, struct str value) {
    struct str body = s->body;
    size_t from = (size_t)(value.p - body.p), to = from + value.n;
    while (from > 0 && body.p[--from] != ':')
        ;
    while (from > 0 && body.p[--from] != '"')
        ;
    while (from > 0 && body.p[--from] != '"') /* a key spelt with escapes has no quote inside either */
        ;
    while (to < body.n && json_space(body.p[to]))
        to++;
    if (to < body.n && body.p[to] == ',') {
        to++;
        while (to < body.n && json_space(body.p[to]))
            to++;
    } else {
        size_t before = from;
        while (before > 0 && json_space(body.p[before - 1]))
            before--;
        if (before > 0 && body.p[before - 1] == ',')
            from = before - 1;
    }
    splice_put(s, from, to - from, STR_NONE);
}

struct str splice_quoted(struct arena *a, const char *before, struct str text, const char *after) {
    struct buf b;
    buf_init(&b, 0);
    buf_addz(&b, before);
    json_quote(&b, text);
    buf_addz(&b, after);
    struct str s = arena_dup(a, buf_str(&b));
    buf_free(&b);
    return s;
}

void splice_model(struct arena *a, struct splice *s, const struct ask *ask, struct str model) {
    if (model.n == 0 || (ask->model_span.raw.p && str_eq(model, ask->model)))
        return;
    if (ask->model_span.raw.p)
        splice_value(s, ask->model_span.raw, splice_quoted(a, "", model, ""));
    else
        splice_put(s, splice_open(s), 0, splice_quoted(a, "\"model\":", model, ","));
}

bool splice_write(struct arena *a, const struct splice *s, struct buf *out, struct fault *f) {
    const struct splice_edit *edit = s->many ? s->many : s->few;
    size_t more = 0, at = 0, room = SPLICE_MAX + s->more, n = s->n < room ? s->n : room;
    for (size_t i = 0; i < n; i++)
        more += edit[i].put.n;
    buf_room(out, s->body.n + more);
    for (size_t i = 0; i < n; i++) {
        buf_add(out, s->body.p + at, edit[i].at - at);
        buf_adds(out, edit[i].put);
        at = edit[i].at + edit[i].cut;
    }
    buf_add(out, s->body.p + at, s->body.n - at);
    if (buf_ok(out) && s->n <= room)
        return true;
    fault_set(f, a, FAULT_TOO_LARGE, "the request is too large");
    return false;
}
