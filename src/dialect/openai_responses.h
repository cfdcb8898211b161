/* The pieces of the OpenAI Responses dialect, for one another. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_OPENAI_RESPONSES_H
#define PENSTOCK_SRC_DIALECT_OPENAI_RESPONSES_H
#include "dialect/dialect.h"

#define RS_NAME "openai_responses"
/* Redacted thinking of another dialect inside its wrapping, to be told from a signature. */
#define RS_REDACTED "redacted:"

/* openai_responses_peek.c */
extern const struct client_names rs_names;
bool rs_peek(struct arena *a, struct str body, struct ask *ask, struct fault *f);
bool rs_splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
               struct fault *f);

/* openai_responses_tools.c: functions in a "namespace" are told to others as functions with one name for
 * both, 64 letters at most, and no two alike; always the same for the same list. Others are called what they
 * are. */
struct rs_tool {
    struct str flat, space, name; /* space empty: not in a namespace */
    bool custom;
};
struct rs_tools {
    struct arena *a;
    struct rs_tool *list;
    size_t n;
    struct json_object *by_flat, *by_own; /* places in the list */
};
bool rs_is_namespace(struct json_object *tool);
void rs_tools_init(struct rs_tools *t, struct arena *a,
                   struct json_object *tools); /* of a request; NULL: none */
const struct rs_tool *rs_tool_by_flat(const struct rs_tools *t, struct str flat); /* NULL: none of them */
struct str rs_tool_flat(const struct rs_tools *t, struct str space, struct str name);

/* openai_responses_items.c, openai_responses_request.c */
struct rs_read {
    struct arena *a;
    struct chat *c;
    struct fault *f;
    size_t i;             /* of the input item */
    struct message *turn; /* the assistant's message that items are added to, or NULL */
    struct rs_tools tools;
};
bool rs_refuse(struct rs_read *r, enum fault_class c, struct str param, const char *what);
void rs_keep(struct rs_read *r, struct str name, struct json_object *v);
bool rs_read_input(struct rs_read *r, struct json_object *input);
bool rs_read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f);
/* openai_responses_encode.c */
bool rs_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f);

/* openai_responses_reply.c */
enum stop_reason rs_stop(struct str status, struct str reason);
struct str rs_annotations(struct arena *a, struct json_object *list, bool to_chat);
struct str rs_reasoning_text(struct arena *a, struct json_object *item);
void rs_error(struct arena *a, struct str body,
              struct fault *f); /* {"error":{}}, or its members at the top */
bool rs_tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o, struct fault *f);
struct reply *rs_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f);
bool rs_tap_event(struct arena *a, struct str name, struct str data, unsigned quirks, bool hide_usage,
                  struct observed *o);

/* openai_responses_stream.c */
struct stream_reader *rs_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg);
void rs_read_event(struct stream_reader *r, struct str name, struct str data);
void rs_reader_end(struct stream_reader *r);

/* openai_responses_object.c: the "response" object, whole and inside events */
struct rs_object {
    struct arena *a;
    struct str id, model;
    int64_t created;
    struct json_object *asked; /* the client's request, or NULL */
    struct rs_tools tools;     /* of it */
    bool encrypted;            /* reasoning is given out with its opaque state */
};
void rs_object_init(struct rs_object *o, struct arena *a, const struct mint *m, const struct ask *ask);
/* items: the inside of the "output" array. status NULL: by the stop reason. error: of a failed one, or NULL.
 */
void rs_write_object(struct jw *w, const struct rs_object *o, const char *status, enum stop_reason stop,
                     struct str native, struct str items, const struct usage *u, const struct fault *error);
bool rs_is_custom(const struct rs_object *o, struct str flat);
struct str rs_item_id(const struct rs_object *o, const struct part *p, unsigned n);
/* One part of an answer as an item; begun: as it looks before anything of it is known. */
void rs_write_item(struct jw *w, const struct rs_object *o, const struct part *p, struct str id, bool begun);
void rs_write_content(struct jw *w, const struct part *p, bool begun);
struct str rs_error_code(const struct fault *f);

/* openai_responses_writer.c */
void rs_write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask);
void rs_write_stream_fault(struct stream_writer *w, struct buf *out, const struct fault *f,
                           struct str request_id);
struct stream_writer *rs_writer_new(struct arena *a, const struct mint *m, const struct ask *ask);
void rs_write_event(struct stream_writer *w, const struct event_item *ev, struct buf *out);
#endif
