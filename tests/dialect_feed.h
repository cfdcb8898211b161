/* Feeding streams to pipes in pieces, for the tests of dialect/. */
#ifndef PENSTOCK_TESTS_DIALECT_FEED_H
#define PENSTOCK_TESTS_DIALECT_FEED_H
#include "base/sse.h"
#include "dialect/pipe.h"
#include <stdio.h>
#include <stdlib.h>

enum feed { FEED_WHOLE, FEED_BYTES, FEED_RANDOM };

static inline uint32_t feed_random(uint32_t *state) {
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

/* Pushes the stream in pieces, finishes it, and gives client bytes and what was seen (in the arena). */
static inline bool feed_stream(struct arena *a, const struct dialect *client, const struct dialect *provider,
                               struct str body, const struct pipe_opt *o, enum feed how, uint32_t seed,
                               struct buf *out, struct observed *seen) {
    struct pipe *p = pipe_new(a, client, provider, o);
    uint32_t state = seed;
    bool ok = true;
    for (size_t at = 0; at < body.n && ok;) {
        size_t n = how == FEED_WHOLE ? body.n : how == FEED_BYTES ? 1 : 1 + feed_random(&state) % 97;
        if (n > body.n - at)
            n = body.n - at;
        ok = pipe_push(p, body.p + at, n, out);
        at += n;
    }
    ok = pipe_finish(p, out) && ok;
    *seen = *pipe_seen(p);
    pipe_free(p);
    return ok;
}

/* --- a stream through a reader alone --- */

struct feed_reading {
    const struct provider_face *face;
    struct stream_reader *r;
};

static inline bool feed_frame(void *arg, const struct sse_event *ev) {
    struct feed_reading *rd = arg;
    if (!ev->comment)
        rd->face->read_event(rd->r, ev->name, ev->data);
    return true;
}

/* The stream's bytes, or as many as frame, and its end. */
static inline void feed_reader(struct arena *a, const struct dialect *provider, struct str body, event_fn *fn,
                               void *arg) {
    struct feed_reading rd = {.face = provider->provider};
    struct sse s;
    rd.r = rd.face->reader_new(a, 0, fn, arg);
    sse_init(&s, 0);
    if (sse_push(&s, body.p, body.n, feed_frame, &rd) == 0)
        sse_finish(&s, feed_frame, &rd);
    sse_free(&s);
    rd.face->reader_end(rd.r);
}

/* The whole file, or a buffer without bytes. */
static inline bool read_file(const char *path, struct buf *out) {
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    char block[8192];
    size_t n;
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_add(out, block, n);
    bool ok = !ferror(f);
    fclose(f);
    return ok && buf_ok(out);
}
#endif
