/* What whole answers and streams of chunks share. Private to openai_chat_*.c. */
#ifndef PENSTOCK_SRC_DIALECT_OPENAI_CHAT_WRITE_H
#define PENSTOCK_SRC_DIALECT_OPENAI_CHAT_WRITE_H
#include "free_text.h"
#include "openai_chat.h"

/* openai_chat_reply.c */
const char *oc_finish_word(enum stop_reason stop);
bool oc_tells_native(enum stop_reason stop, struct str native); /* where finish_reason says less than it */
bool oc_has_usage(const struct usage *u);
void oc_write_usage(struct jw *w, const struct usage *u);               /* the member */
void oc_write_id(struct buf *out, const struct mint *m);                /* the member */
void oc_write_image(struct jw *w, const struct part *p, int64_t index); /* as OpenRouter has it */
/* index: among those of the answer, in streams: OpenAI's libraries put lists together by it; else -1. */
void oc_write_thinking_block(struct jw *w, const struct part *p,
                             int64_t index); /* THINKING with a signature, or redacted */
/* The names of the free-text tools that were asked for; NULL: none. */
struct json_object *oc_custom_names(struct arena *a, const struct ask *ask);
/* Asked with `functions`, as before there were tools: a call is told as `function_call`. */
bool oc_is_legacy(const struct ask *ask);
bool oc_is_custom(struct json_object *names, struct str name);
/* The members of a call (custom: in that form, text is its input), or its signature as Google's own OpenAI
 * endpoint has it. */
void oc_write_call(struct jw *w, const struct part *p);
void oc_write_call_signature(struct jw *w, struct str signature, struct str origin);
#endif
