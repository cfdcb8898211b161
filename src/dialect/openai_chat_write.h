/* What whole answers and streams of chunks share. Private to openai_chat_*.c. */
#ifndef PENSTOCK_SRC_DIALECT_OPENAI_CHAT_WRITE_H
#define PENSTOCK_SRC_DIALECT_OPENAI_CHAT_WRITE_H
#include "openai_chat.h"

/* openai_chat_reply.c */
const char *oc_finish_word(enum stop_reason stop);
bool oc_tells_native(enum stop_reason stop, struct str native); /* where finish_reason says less than it */
bool oc_has_usage(const struct usage *u);
void oc_write_usage(struct jw *w, const struct usage *u);         /* the member */
void oc_write_id(struct buf *out, const struct mint *m);          /* the member */
void oc_write_thinking_block(struct jw *w, const struct part *p); /* THINKING with a signature, or redacted */
/* The members of a call: all of them, or its signature as Google's own OpenAI endpoint has it. */
void oc_write_call(struct jw *w, const struct part *p);
void oc_write_call_signature(struct jw *w, struct str signature, struct str origin);
#endif
