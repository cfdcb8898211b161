/* Of what the keys of both caches are made. Private to policy/: cache.c has them. */
#ifndef PENSTOCK_SRC_POLICY_CACHE_KEY_H
#define PENSTOCK_SRC_POLICY_CACHE_KEY_H
#include "policy/cache.h"

/* Whose answer, of which surface, model and first target, stream or not, with which headers for the provider.
 */
void cache_scope(struct plane *p, struct arena *a, const struct exchange *x, const struct caller *c,
                 const struct dialect *client, const struct ask *ask, const struct plan *plan,
                 struct buf *out);
/* For json_canonical(): the members that do not change the answer. arg: the client's struct dialect. */
bool cache_silent(void *arg, unsigned depth, struct str key);
bool cache_fetch(struct plane *p, struct arena *a, const uint8_t key[INDEX_KEY], struct reply_head *h,
                 struct str *body);
#endif
