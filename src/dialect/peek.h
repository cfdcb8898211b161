/* The quick look at a request: one scan by a table of the members of its object. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_PEEK_H
#define PENSTOCK_SRC_DIALECT_PEEK_H
#include "dialect/dialect.h"

#define PEEK_KIND(k) (1U << JSON_##k)
struct peek_field {
    const char *name;
    unsigned kinds;   /* PEEK_KIND() that it may have; null is as if it were absent */
    const char *want; /* "a string", for the error */
    bool required;
    bool text; /* its strings count as input of the model, but for those that hold files */
};
/* Fills ask->body and ->input_bytes and values[] (raw.p NULL when absent), keeps ask->rest and ->query. A
 * body that is no JSON object, a member of another kind, a doubled or missing one: false and *f. */
bool peek_object(struct arena *a, struct str body, const struct peek_field *fields, size_t n,
                 struct json_value *values, struct ask *ask, struct fault *f);
/* A member, anywhere in messages, that brings what is not text: a part's type, or Gemini's members for it. */
bool peek_not_text(struct str key, struct json_value v);
/* An integer >= 0; absent: 0. false and *f. */
bool peek_count(struct arena *a, const char *name, struct json_value v, uint64_t *out, struct fault *f);
#endif
