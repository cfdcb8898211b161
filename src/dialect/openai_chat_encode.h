/* What the files that write a chat request share. Private to openai_chat_*.c. */
#ifndef PENSTOCK_SRC_DIALECT_OPENAI_CHAT_ENCODE_H
#define PENSTOCK_SRC_DIALECT_OPENAI_CHAT_ENCODE_H
#include "encode.h"
#include "openai_chat.h"

struct oc_wr {
    struct encoder e;
    size_t i; /* of the message */
};

/* openai_chat_messages.c */
bool oc_mistral(const struct oc_wr *r);
void oc_open_typed(struct oc_wr *r, const char *type); /* an object that begins with its type */
bool oc_write_messages(struct oc_wr *r);               /* the member */
#endif
