/* The pieces of the Cohere v2 chat dialect, for one another. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_COHERE_H
#define PENSTOCK_SRC_DIALECT_COHERE_H
#include "dialect/dialect.h"

/* cohere_request.c */
bool co_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f);

/* cohere_answer.c */
enum stop_reason co_stop(struct str finish_reason);
struct usage co_usage(struct str checked); /* a "usage" object, or "meta" of other answers */
struct reply *co_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f);
struct stream_reader *co_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg);
void co_read_event(struct stream_reader *r, struct str name, struct str data);
void co_reader_end(struct stream_reader *r);
#endif
