/* The pieces of the Bedrock Converse dialect, for one another. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_BEDROCK_H
#define PENSTOCK_SRC_DIALECT_BEDROCK_H
#include "dialect/dialect.h"

/* bedrock_request.c */
bool br_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f);

/* bedrock_answer.c */
struct reply *br_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f);
void br_read_fault(struct arena *a, int status, struct str body,
                   struct str (*header)(void *arg, const char *name), void *arg, struct fault *f);
/* An exception in place of an event of a stream: its name, perhaps with more behind a ':', and its payload.
 */
void br_exception(struct arena *a, struct str name, struct str data, struct fault *f);
struct stream_reader *br_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg);
void br_read_event(struct stream_reader *r, struct str name, struct str data);
void br_reader_end(struct stream_reader *r);
#endif
