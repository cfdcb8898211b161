/* The pieces of the Gemini dialect (generateContent and its neighbours), for one another. Private to
 * dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_GEMINI_H
#define PENSTOCK_SRC_DIALECT_GEMINI_H
#include "dialect/dialect.h"

#define GM_ORIGIN "gemini" /* of thoughtSignature */
/* Ids of calls that had none begin so: they are ours, and Gemini is never shown them. */
#define GM_MINTED "call_gm_"

/* gemini_reply.c */
struct usage gm_usage(struct str checked); /* a usageMetadata object */
/* finishReason, by its name or (with enum-encoding=int) its number. */
enum stop_reason gm_stop(struct str finish_reason);
void gm_error(struct arena *a, struct json_value error,
              struct fault *f); /* inside an answer that began well */
struct reply *gm_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f);
bool gm_tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o, struct fault *f);
bool gm_tap_event(struct arena *a, struct str name, struct str data, unsigned quirks, bool hide_usage,
                  struct observed *o);
void gm_read_fault(struct arena *a, int status, struct str body,
                   struct str (*header)(void *arg, const char *name), void *arg, struct fault *f);

/* gemini_stream.c */
struct stream_reader *gm_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg);
void gm_read_event(struct stream_reader *r, struct str name, struct str data);
void gm_reader_end(struct stream_reader *r);
/* A whole answer: its candidate number `choice` (false: there is none), from START to END. */
void gm_reader_choose(struct stream_reader *r, uint64_t choice);
bool gm_reader_whole(struct stream_reader *r, struct str checked);

/* gemini_partial.c: arguments of a call that come in pieces, each for a path in them. */
struct gm_partial;
struct gm_partial *gm_partial_new(struct arena *a);
bool gm_partial_add(struct gm_partial *p, struct json_value partial_args); /* false: too much */
struct json_object *gm_partial_tree(struct gm_partial *p);

/* gemini_request.c, gemini_contents.c */
bool gm_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f);

/* gemini_peek.c */
bool gm_peek(struct arena *a, struct str body, struct ask *ask, struct fault *f);
bool gm_splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
               struct fault *f);

extern const struct client_names gm_names;
struct json_value gm_number(struct str text); /* what a string says, as proto3 has it; JSON_NULL: no number */
struct str gm_model_of(struct arena *a, struct str rest); /* the path's, its escapes undone */

/* gemini_read.c */
/* The tree is held by the arena. */
bool gm_read_tree(struct arena *a, struct json_object *tree, const struct ask *ask, struct chat **out,
                  struct fault *f);
bool gm_read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f);

/* gemini_writer.c */
void gm_write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask);
void gm_write_fault(struct buf *out, const struct fault *f, struct str request_id);
void gm_write_stream_fault(struct stream_writer *w, struct buf *out, const struct fault *f,
                           struct str request_id);
struct stream_writer *gm_writer_new(struct arena *a, const struct mint *m, const struct ask *ask);
void gm_write_event(struct stream_writer *w, const struct event_item *ev, struct buf *out);
#endif
