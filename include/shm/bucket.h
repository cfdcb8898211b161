/* Token buckets: GCRA, one 64-bit word (the theoretical arrival time in ns of clock_ns()), changed by CAS.
 * The burst is the limit of one minute; refill is continuous. Exact over all processes. */
#ifndef PENSTOCK_SHM_BUCKET_H
#define PENSTOCK_SHM_BUCKET_H
#include "shm/shm.h"

enum bucket { BUCKET_REQUESTS, BUCKET_TOKENS, BUCKET_KINDS };
struct bucket_ask {
    uint32_t entity;
    enum bucket kind;
    uint64_t per_minute; /* UINT64_MAX: no limit, skipped; 0: nothing passes */
    uint64_t cost;       /* more than per_minute counts as per_minute: it passes when the bucket is full */
};
struct bucket_verdict {
    bool ok;
    size_t refused;      /* index of the ask that refused, when !ok */
    uint64_t wait_ns;    /* until that bucket would let it through; UINT64_MAX: never */
};
/* All or none, in the order given: put the most specific first. */
struct bucket_verdict buckets_take(struct shm *s, const struct bucket_ask *asks, size_t n, uint64_t now_ns);
void buckets_give_back(struct shm *s, const struct bucket_ask *asks, size_t n, uint64_t now_ns);
/* The real cost is known: more (delta > 0, the bucket may go into debt) or less. */
void bucket_settle(struct shm *s, const struct bucket_ask *reserved, int64_t delta, uint64_t now_ns);
/* What is left now, and how long until it is full again. */
void bucket_look(const struct shm *s, uint32_t entity, enum bucket kind, uint64_t per_minute, uint64_t now_ns,
                 uint64_t *remaining, uint64_t *full_in_ns);

/* A rest: the entity (a provider key, a target) is not to be used until then. The later of two wins. */
void rest_until(struct shm *s, uint32_t entity, uint64_t until_ns); /* UINT64_MAX: until rest_clear */
uint64_t rest_left_ns(const struct shm *s, uint32_t entity, uint64_t now_ns);
void rest_clear(struct shm *s, uint32_t entity);
/* A share set by hand; 0: as configured. */
void weight_set(struct shm *s, uint32_t entity, uint32_t weight);
uint32_t weight_of(const struct shm *s, uint32_t entity, uint32_t configured);
#endif
