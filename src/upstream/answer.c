#include "answer.h"

enum { MAX_IN = 256 * 1024 }; /* a head that is not over, or what was read when the sink was full */

void answer_init(struct answer *a, const struct answer_sink *sink, void *arg) {
    *a = (struct answer){.sink = sink, .arg = arg};
    answer_head_init(&a->head);
    buf_init(&a->in, MAX_IN);
    buf_init(&a->out, 0);
}

void answer_reset(struct answer *a, bool bodiless, size_t most) {
    answer_head_reset(&a->head);
    inflate_free(a->inflate);
    a->inflate = NULL;
    a->phase = ANSWER_HEAD;
    a->bodiless = bodiless;
    a->most = most;
    a->close = a->foreign = false;
    a->error = CALL_OK;
    buf_free(&a->in);
    buf_free(&a->out);
}

void answer_free(struct answer *a) {
    answer_reset(a, false, 0);
    answer_head_free(&a->head);
}

static enum answer_state bad(struct answer *a, enum call_error e) {
    a->error = e;
    return ANSWER_BAD;
}

/* --- the head --- */

static bool has_option(struct str list, const char *name) {
    struct str one;
    while (str_next(&list, ',', &one))
        if (str_isi(str_trim(one), name))
            return true;
    return false;
}

struct framing {
    bool close, keep_alive, chunked;
    bool coded, packed; /* packed: by what inflate.c undoes */
};

/* One coding at most can be undone here. */
static void note_coding(struct str value, struct framing *r) {
    if (value.n == 0 || str_isi(value, "identity") || str_isi(value, "none"))
        return;
    r->packed =
        !r->coded && (str_isi(value, "gzip") || str_isi(value, "x-gzip") || str_isi(value, "deflate"));
    r->coded = true;
}

static bool note_transfer(struct str list, struct framing *r) {
    struct str one;
    while (str_next(&list, ',', &one)) {
        one = str_trim(one);
        if (str_isi(one, "identity"))
            continue;
        if (r->chunked || !str_isi(one, "chunked"))
            return false;
        r->chunked = true;
    }
    return true;
}

static bool note_field(const struct call_header *f, struct framing *r) {
    if (str_is(f->name, "connection")) {
        r->close = r->close || has_option(f->value, "close");
        r->keep_alive = r->keep_alive || has_option(f->value, "keep-alive");
    } else if (str_is(f->name, "content-encoding")) {
        note_coding(f->value, r);
    } else if (str_is(f->name, "transfer-encoding")) {
        return note_transfer(f->value, r);
    }
    return true;
}

/* RFC 9112, 6.3. */
static bool frame(struct answer *a) {
    const struct answer_head *h = &a->head;
    struct framing r = {.close = false};
    for (size_t i = 0; i < h->nlines; i++)
        if (!note_field(&h->headers[i], &r))
            return false;
    a->close = r.close || (h->old && !r.keep_alive) || (r.chunked && h->length >= 0);
    if (a->bodiless || h->status == 204 || h->status == 304 || (!r.chunked && h->length == 0)) {
        a->phase = ANSWER_END;
        return true;
    }
    if (r.chunked) {
        a->phase = ANSWER_CHUNKS;
        chunks_init_answer(&a->chunks, MAX_HEAD);
    } else if (h->length > 0) {
        a->phase = ANSWER_LENGTH;
        a->left = (uint64_t)h->length;
    } else {
        a->phase = ANSWER_CLOSE;
        a->close = true;
    }
    if (r.coded)
        a->inflate = r.packed ? inflate_new() : NULL;
    a->foreign = r.coded && !a->inflate;
    return !a->foreign;
}

/* As far as it is there: whatever speaks first and is not HTTP/1 is found out without waiting for a line's
 * end. */
static bool may_be_http(struct str in) {
    while (in.n && (*in.p == '\r' || *in.p == '\n'))
        in = str_skip(in, 1);
    struct str want = STR("HTTP/1.");
    size_t n = in.n < want.n ? in.n : want.n;
    return n == 0 || memcmp(in.p, want.p, n) == 0;
}

static enum answer_state take_head(struct answer *a, struct str *in) {
    struct answer_head *h = &a->head;
    while (!h->done) {
        if (h->status == 0 && !may_be_http(*in))
            return bad(a, CALL_PROTOCOL);
        const char *lf = in->n ? memchr(in->p, '\n', in->n) : NULL;
        if (!lf)
            return h->bytes + in->n > MAX_HEAD ? bad(a, CALL_TOO_LARGE) : ANSWER_MORE;
        size_t n = (size_t)(lf - in->p) + 1;
        enum call_error e = answer_head_line(h, str_make(in->p, n));
        *in = str_skip(*in, n);
        if (e != CALL_OK)
            return bad(a, e);
    }
    if (!frame(a))
        return bad(a, CALL_PROTOCOL);
    return a->sink->head(a->arg, h->status, h->headers, h->nlines) == FLOW_OK ? ANSWER_MORE
                                                                              : bad(a, CALL_STOPPED);
}

/* --- the body --- */

/* The next bytes of the body that lie in one piece; none when framing was all there was. */
static bool next_piece(struct answer *a, struct str *in, struct str *piece) {
    size_t n = in->n < a->most ? in->n : a->most;
    if (a->inflate && n > INFLATE_STEP)
        n = INFLATE_STEP;
    if (a->phase == ANSWER_CHUNKS) {
        size_t used = 0;
        enum parse r = chunks_feed(&a->chunks, in->p, n, &used, piece);
        *in = str_skip(*in, used);
        if (r == PARSE_DONE)
            a->phase = ANSWER_END;
        return r != PARSE_BAD;
    }
    if (a->phase == ANSWER_LENGTH) {
        n = n < a->left ? n : (size_t)a->left;
        a->left -= n;
        if (a->left == 0)
            a->phase = ANSWER_END;
    }
    *piece = str_make(in->p, n);
    *in = str_skip(*in, n);
    return true;
}

static enum answer_state give(struct answer *a, struct str piece) {
    switch (a->sink->data(a->arg, piece.p, piece.n)) {
    case FLOW_OK:
        return ANSWER_MORE;
    case FLOW_FULL:
        return ANSWER_FULL;
    default:
        return bad(a, CALL_STOPPED);
    }
}

static enum answer_state give_out(struct answer *a) {
    if (buf_len(&a->out) == 0)
        return ANSWER_MORE;
    enum answer_state r = give(a, buf_str(&a->out));
    if (r == ANSWER_MORE)
        buf_free(&a->out);
    return r;
}

static enum answer_state take_piece(struct answer *a, struct str piece) {
    if (a->inflate) {
        a->foreign = !inflate_more(a->inflate, piece, &a->out); /* "deflate" may mean RFC 1951 alone */
        return a->foreign ? bad(a, CALL_PROTOCOL) : give_out(a);
    }
    enum answer_state r = give(a, piece);
    if (r == ANSWER_FULL)
        buf_adds(&a->out, piece);
    return r;
}

static enum answer_state take_body(struct answer *a, struct str *in) {
    enum answer_state r = give_out(a);
    while (r == ANSWER_MORE && a->phase != ANSWER_END && in->n > 0) {
        struct str piece = STR_NONE;
        if (!next_piece(a, in, &piece))
            return bad(a, CALL_PROTOCOL);
        if (piece.n > 0)
            r = take_piece(a, piece);
    }
    if (r != ANSWER_MORE || a->phase != ANSWER_END)
        return r;
    return !a->inflate || inflate_whole(a->inflate) ? ANSWER_WHOLE : bad(a, CALL_RESET);
}

/* --- the bytes --- */

enum answer_state answer_feed(struct answer *a, const char *p, size_t n) {
    bool kept = buf_len(&a->in) > 0;
    if (kept)
        buf_add(&a->in, p, n);
    struct str in = kept ? buf_str(&a->in) : str_make(p, n);
    size_t all = in.n;
    enum answer_state r = a->phase == ANSWER_HEAD ? take_head(a, &in) : ANSWER_MORE;
    if (r == ANSWER_MORE && a->phase != ANSWER_HEAD)
        r = take_body(a, &in);
    if (kept)
        buf_consume(&a->in, all - in.n);
    else
        buf_adds(&a->in, in);
    if (buf_len(&a->in) == 0)
        buf_free(&a->in);
    return buf_ok(&a->in) ? r : bad(a, CALL_TOO_LARGE);
}

enum answer_state answer_go_on(struct answer *a) {
    return answer_feed(a, "", 0);
}

enum answer_state answer_eof(struct answer *a) {
    if (a->phase == ANSWER_CLOSE)
        a->phase = ANSWER_END;
    return a->phase == ANSWER_END ? answer_go_on(a) : bad(a, CALL_RESET);
}

bool answer_keeps(const struct answer *a) {
    return a->phase == ANSWER_END && !a->close && buf_len(&a->in) == 0;
}
