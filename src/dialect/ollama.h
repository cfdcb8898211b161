/* The pieces of Ollama's native dialect, for one another. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_OLLAMA_H
#define PENSTOCK_SRC_DIALECT_OLLAMA_H
#include "dialect/dialect.h"

/* ollama_request.c */
bool ol_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f);

/* ollama_answer.c. They also read the answers of /api/generate, which say "response" in place of a message.
 */
struct usage ol_usage(struct str checked);
struct reply *ol_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f);
struct stream_reader *ol_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg);
void ol_read_event(struct stream_reader *r, struct str name, struct str data);
void ol_reader_end(struct stream_reader *r);
#endif
