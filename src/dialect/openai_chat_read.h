/* What the files that read a chat request share. Private to openai_chat_*.c. */
#ifndef PENSTOCK_SRC_DIALECT_OPENAI_CHAT_READ_H
#define PENSTOCK_SRC_DIALECT_OPENAI_CHAT_READ_H
#include "openai_chat.h"

struct oc_rd {
    struct arena *a;
    struct chat *c;
    struct fault *f;
    size_t i;             /* of the message */
    size_t calls;         /* legacy function calls so far */
    struct str last_call; /* the id we gave to the last of them */
    bool lenient;         /* an answer of a provider: what is wrong with it is passed over */
};

/* openai_chat_turns.c */
bool oc_refuse(struct oc_rd *r, enum fault_class c, struct str param,
               const char *what);                                      /* false, or true if lenient */
void oc_keep(struct oc_rd *r, struct str name, struct json_object *v); /* in `extra` */
void oc_take_cache_point(struct json_object *o, bool *point, struct str *ttl);
bool oc_read_messages(struct oc_rd *r, struct json_object *v);
#endif
