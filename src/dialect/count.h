/* Answers that are a count of tokens. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_COUNT_H
#define PENSTOCK_SRC_DIALECT_COUNT_H
#include "dialect/dialect.h"

struct count_shape {
    const char *member; /* the one that has the number */
    /* An error in an answer that began well; true: there was one, and *f is it. NULL: the dialect has none.
     */
    bool (*error)(struct arena *a, struct str body, struct fault *f);
};
/* As a provider face's read_reply and tap_reply. */
struct reply *count_reply(struct arena *a, struct str body, const struct count_shape *shape, struct fault *f);
bool count_tap(struct arena *a, struct str body, const struct count_shape *shape, struct observed *o,
               struct fault *f);
#endif
