/* The semantic cache: an answer of the exact cache is given again to a request whose last message says the same in other
 * words. Everything but the text of that message must be equal (scope, model, system prompt, earlier turns, tools,
 * parameters), and so must what lexical_guard() finds in the two texts; they are told apart by a digest of it all. */
#ifndef PENSTOCK_POLICY_SEMANTIC_H
#define PENSTOCK_POLICY_SEMANTIC_H
#include "base/vector.h"
#include "policy/cache.h"

enum { SEMANTIC_TEXT_MAX = 8192 /* bytes */ };
struct semantic { /* of one request */
    struct str text;
    uint8_t partition[INDEX_KEY];
    double threshold;
    bool embedded; /* vector is there */
    struct vector vector;
};
/* After cache_ticket(): sets t->semantic, or leaves it NULL when this request is not looked for by meaning. Embedded
 * already, unless a provider has to do it: then semantic_take() when its numbers have come. */
void semantic_ticket(struct plane *p, struct arena *a, const struct exchange *x, const struct caller *c,
                     const struct dialect *client, const struct ask *ask, const struct plan *plan,
                     struct cache_ticket *t);
void semantic_take(struct semantic *s, const float *v, size_t n); /* what has no direction is not taken */
bool semantic_find(struct plane *p, struct arena *a, const struct cache_ticket *t, struct reply_head *h, struct str *body,
                   double *similarity);
/* By cache_store(), when the answer is stored. */
void semantic_store(struct plane *p, const struct cache_ticket *t, const struct reply_head *h);
#endif
