/* What may be answered from the cache, under which key, and what may be stored. */
#ifndef PENSTOCK_POLICY_CACHE_H
#define PENSTOCK_POLICY_CACHE_H
#include "policy/auth.h"
#include "policy/route.h"
#include "store/replies.h"

/* A worker's own memory of canonical forms: a saving, never the truth. */
struct cache_memo;
struct cache_memo *cache_memo_new(void);
void cache_memo_free(struct cache_memo *m);

struct cache_ticket {
    bool read, store; /* allowed for this request */
    uint8_t key[INDEX_KEY];
    uint64_t model_hash, owner_hash;
    uint64_t epoch; /* at lookup: a clear in between forbids the store */
    uint64_t ttl_ms;
    struct semantic *semantic; /* semantic.h; NULL: by its key alone */
};
/* Decides, and computes the key: SHA-256 over scope, surface, model, first target, the headers that go to the provider
 * and change its answer, and the canonical body without the members that do not (user, metadata, routing, store). A request's hints may
 * switch it off, and shorten cache.ttl for its answer. */
void cache_ticket(struct plane *p, struct arena *a, const struct exchange *x, const struct caller *c,
                  const struct dialect *client, const struct ask *ask, const struct plan *plan,
                  struct cache_ticket *t);
bool cache_find(struct plane *p, struct arena *a, const struct cache_ticket *t, struct reply_head *h,
                struct str *body);
/* One that another host has kept (cluster/shelf.h): true and as found, and kept here from now on. */
bool cache_adopt(struct plane *p, struct arena *a, const struct cache_ticket *t, struct str value, struct reply_head *h,
                 struct str *body);
/* Into my ring and the index. A full ring or a body over max_entry is no error: it is not stored. */
void cache_store(struct plane *p, const struct cache_ticket *t, struct reply_head *h, struct str body);
#endif
