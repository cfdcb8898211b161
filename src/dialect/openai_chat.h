/* The pieces of the OpenAI chat dialect, for one another. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_OPENAI_CHAT_H
#define PENSTOCK_SRC_DIALECT_OPENAI_CHAT_H
#include "dialect/dialect.h"

#define OC_NAME       "openai_chat"
#define OC_FOR_GOOGLE "gemini" /* the origin of extra_content.google.thought_signature, in calls */

/* The origin of thinking whose signature is elements of OpenRouter's reasoning_details, as JSON with commas
 * between them: each is whatever the model behind it demands back (signed text, summaries, encrypted
 * thinking). */
#define OC_DETAILS "reasoning_details"

/* mistral_chat.c */
#define MISTRAL_AGENT "mistral-client-" /* User-Agent of Mistral's SDKs begins so */

/* openai_chat_peek.c */
bool oc_peek(struct arena *a, struct str body, struct ask *ask, struct fault *f);

/* openai_chat_splice.c */
bool oc_splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
               struct fault *f);

/* openai_chat_details.c */
struct oc_details;
struct oc_details *oc_details_new(struct arena *a);
/* The elements of a chunk's or a whole answer's list (NULL: none); fragments of one are joined. */
void oc_details_add(struct oc_details *d, struct json_object *list);
/* All that were added since, for a signature; empty: none, or more than is kept. */
struct str oc_details_take(struct oc_details *d);
/* An array of what signatures of this origin say; empty when it is none. */
struct str oc_details_array(struct arena *a, struct str signatures);

/* openai_chat_request.c */
bool oc_read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f);
/* openai_chat_turns.c */
bool oc_split_data_url(struct str url, struct str *media, struct str *data); /* false: not one of base64 */
/* The same reading for a message of an answer; leniently, since it is not the client's. seed: for ids of
 * calls that have none (call_id_minted). */
void oc_read_message(struct arena *a, struct chat *c, struct message *m, struct json_object *o,
                     uint64_t seed);
/* openai_chat_encode.c */
bool oc_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f);

/* openai_chat_tap.c */
bool oc_tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o, struct fault *f);
bool oc_tap_event(struct arena *a, struct str name, struct str data, unsigned quirks, bool hide_usage,
                  struct observed *o);
void oc_usage(struct str checked, struct usage *u); /* a "usage" object's bytes */
enum stop_reason oc_stop(struct str finish_reason);

/* openai_chat_answer.c */
struct json_object *oc_first_choice(struct json_object *answer); /* or NULL */
/* Of an element of "images" (OpenRouter); false: it is elsewhere, and only *url is known. */
bool oc_image(struct json_object *image, struct str *media, struct str *data, struct str *url);
struct reply *oc_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f);
/* openai_chat_reader.c */
struct str oc_call_signature(struct json_object *call); /* Google's; or empty */
struct stream_reader *oc_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg);
void oc_read_event(struct stream_reader *r, struct str name, struct str data);
void oc_reader_end(struct stream_reader *r);

/* openai_chat_reply.c */
void oc_write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask);
void oc_write_fault(struct buf *out, const struct fault *f, struct str request_id);
void oc_write_stream_fault(struct stream_writer *w, struct buf *out, const struct fault *f,
                           struct str request_id);
/* openai_chat_writer.c */
struct stream_writer *oc_writer_new(struct arena *a, const struct mint *m, const struct ask *ask);
void oc_writer_mistral(struct stream_writer *w); /* calls whole in one chunk, usage in that of the stop */
void oc_write_event(struct stream_writer *w, const struct event_item *ev, struct buf *out);
#endif
