/* The pieces of the Anthropic Messages dialect, for one another. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_ANTHROPIC_H
#define PENSTOCK_SRC_DIALECT_ANTHROPIC_H
#include "dialect/dialect.h"

/* anthropic_peek.c */
bool an_peek(struct arena *a, struct str body, struct ask *ask, struct fault *f);
bool an_count_peek(struct arena *a, struct str body, struct ask *ask, struct fault *f);
bool an_splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
               struct fault *f);

/* anthropic_read.c */
bool an_read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f);

/* anthropic_writer.c */
void an_write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask);
void an_write_count(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask);
void an_write_fault(struct buf *out, const struct fault *f, struct str request_id);
void an_write_stream_fault(struct stream_writer *w, struct buf *out, const struct fault *f,
                           struct str request_id);
struct stream_writer *an_writer_new(struct arena *a, const struct mint *m, const struct ask *ask);
void an_write_event(struct stream_writer *w, const struct event_item *ev, struct buf *out);

/* anthropic_request.c */
bool an_write_count_request(struct arena *a, const struct chat *c, const struct encode_opt *o,
                            struct buf *out, struct buf *dropped, struct fault *f);
bool an_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f);

/* anthropic_reply.c */
struct an_counts { /* as they come: input excludes what was cached */
    uint64_t input, cache_read, cache_write, write_5m, write_1h, output, thinking;
    bool any;
};
void an_counts_take(struct str checked, struct an_counts *c); /* a "usage" object; zeros erase nothing */
struct usage an_usage(const struct an_counts *c);
enum stop_reason an_stop(struct str stop_reason);
/* A text block's citations that have a URL, as annotations of its `chars` characters; empty when there are
 * none. */
struct str an_annotations(struct arena *a, struct json_object *citations, uint64_t chars);
/* The fault that an {"type":"error","error":{}} object tells of, inside an answer that began well. */
void an_error(struct arena *a, struct str checked, struct fault *f);
struct reply *an_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f);
bool an_tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o, struct fault *f);
bool an_tap_event(struct arena *a, struct str name, struct str data, unsigned quirks, bool hide_usage,
                  struct observed *o);
void an_read_fault(struct arena *a, int status, struct str body,
                   struct str (*header)(void *arg, const char *name), void *arg, struct fault *f);

/* anthropic_stream.c */
struct stream_reader *an_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg);
void an_read_event(struct stream_reader *r, struct str name, struct str data);
void an_reader_end(struct stream_reader *r);
#endif
