/* A request on its way out and an answer on its way back, between any two dialects. The only door to the
 * faces. Same dialect on both sides: bytes pass untouched but for splices, the reader runs beside as a tap.
 * Different dialects: reader -> events -> writer. */
#ifndef PENSTOCK_DIALECT_PIPE_H
#define PENSTOCK_DIALECT_PIPE_H
#include "dialect/dialect.h"

/* Do bytes pass untouched between them? */
bool pipe_same(const struct dialect *client, const struct dialect *provider, unsigned quirks);
/* Where they do not, a chat request is read into its canonical form once: *chat, NULL before. Nothing to do
 * for the same dialect and for embeddings. */
bool pipe_read(struct arena *a, const struct dialect *client, const struct dialect *provider, unsigned quirks,
               const struct ask *ask, struct chat **chat, struct fault *f);

/* The body for the provider. false and *f (UNSUPPORTED names its param). *chat caches the canonical request
 * between attempts: pass the same pointer, initially NULL. */
bool pipe_request(struct arena *a, const struct dialect *client, const struct dialect *provider,
                  const struct ask *ask, const struct encode_opt *o, struct chat **chat, struct buf *out,
                  struct buf *dropped, struct fault *f);

struct pipe_opt {
    unsigned quirks; /* of the provider */
    bool hide_usage; /* streams of the same dialect: usage was asked upstream by us, not by the client */
    const struct mint *mint;
    const struct ask *ask;
    size_t max_frame; /* 0: 16 MiB */
    event_fn *watch;  /* sees the events of an answer, of a whole one too, also beside passing bytes, which are
                       * read once more for it; NULL: nobody */
    void *watch_arg;
};

/* A whole answer with a success status: checked (an empty body, garbage, an error inside a 200 are faults),
 * and as the client's dialect. Same dialect: *out is `body` itself and `scratch` stays empty. */
bool pipe_reply(struct arena *a, const struct dialect *client, const struct dialect *provider,
                struct str body, const struct pipe_opt *o, struct buf *scratch, struct str *out,
                struct observed *seen, struct fault *f);

/* A stream. Bytes go in as they come, client bytes are appended to `out` (whole frames only). */
/* The answer to a count of tokens (OP_COUNT) that nobody was asked for. */
void pipe_count(struct arena *a, const struct dialect *client, uint64_t tokens, const struct pipe_opt *o, struct buf *out);

struct pipe;
struct pipe *pipe_new(struct arena *a, const struct dialect *client, const struct dialect *provider,
                      const struct pipe_opt *o);
/* Appends to *out. After seen->fault is set nothing more is appended; the caller decides (fail over before
 * the commit; pipe_fault after it). false: a frame passed its bound (seen->fault says so). */
bool pipe_push(struct pipe *p, const void *bytes, size_t n, struct buf *out);
/* The provider's bytes are over: true when the answer was complete by its dialect; else seen->fault is set
 * (a stream without its end is a truncated stream, one without any event is an empty answer). */
bool pipe_finish(struct pipe *p, struct buf *out);
/* Somebody else's bytes have gone out before this pipe's. */
void pipe_begun(struct pipe *p);
/* The client dialect's last words of a stream that failed midway. Never a [DONE]. */
void pipe_fault(struct pipe *p, const struct fault *f, struct str request_id, struct buf *out);
void pipe_unwatch(struct pipe *p); /* nobody is to see events any more; not from inside of watch */
const struct observed *pipe_seen(const struct pipe *p);
void pipe_free(struct pipe *p); /* also by the arena's end */
#endif
