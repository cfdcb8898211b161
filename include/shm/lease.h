/* What this host holds of the limits that a cluster shares, for all its workers. A lease is units of a bucket that the
 * cluster's server has counted as used, and that are spent here; below zero it is a debt: used here, and not counted there
 * yet. Every number is one atomic that stands for itself. Beside the leases each bucket (shm/bucket.h) goes on as this
 * host's own share, filled with what is used here, so that it is right at the moment when it has to decide alone.
 *
 * A request's units come from here in one piece or not at all; several requests may take and give at once. What a killed
 * worker had taken counts as used, as with buckets. */
#ifndef PENSTOCK_SHM_LEASE_H
#define PENSTOCK_SHM_LEASE_H
#include "shm/bucket.h"

uint64_t lease_cost(const struct bucket_ask *a); /* what it is charged: never more than the limit */
bool lease_take(struct shm *s, const struct bucket_ask *a);
void lease_add(struct shm *s, uint32_t entity, enum bucket kind, int64_t units);
void lease_owe(struct shm *s, const struct bucket_ask *a); /* its cost was used without a lease */
int64_t lease_held(const struct shm *s, uint32_t entity, enum bucket kind);
/* All that is held, or owed, is the caller's now. */
int64_t lease_empty(struct shm *s, uint32_t entity, enum bucket kind);
/* The same of a debt only, 0 or above, and not more than this host's share says has been used of late. */
uint64_t lease_debt(struct shm *s, const struct bucket_ask *a, uint64_t share, uint64_t now_ns);

/* How much to take at a time beyond what is needed: grows while leases are spent at once, shrinks when they last, and never
 * is more than `most`. */
uint64_t lease_size(struct shm *s, const struct bucket_ask *a, uint64_t most, uint64_t now_ms);
/* The server has answered: so much is left there, and the next `cost` units fit in wait_us (0: now). */
void lease_seen(struct shm *s, const struct bucket_ask *a, uint64_t left, uint64_t wait_us, uint64_t now_ms);
/* It is known to be spent; how long still. 0: ask. */
uint64_t lease_dry_ms(const struct shm *s, const struct bucket_ask *a, uint64_t now_ms);
/* As bucket_look(), by what the server said last and what is held here. */
void lease_look(const struct shm *s, uint32_t entity, enum bucket kind, uint64_t limit, uint64_t now_ms, uint64_t *remaining,
                uint64_t *full_in_ns);
/* Something lies here that nobody has asked more of for idle_ms: then its limit, else 0. */
uint64_t lease_idle(const struct shm *s, uint32_t entity, enum bucket kind, uint64_t idle_ms, uint64_t now_ms);

/* What this host may use of what the server said was left while it is late: an even part for each host, so that all together
 * use no more than that, but a request that fits whole. false: it has not said anything for fresh_ms. */
bool lease_part(const struct shm *s, const struct bucket_ask *a, uint32_t hosts, uint64_t fresh_ms, uint64_t now_ms, uint64_t *part);
/* Its cost is used without a lease, unless more than `part` would be owed then: false, and *wait_ns until it would fit. */
bool lease_owe_within(struct shm *s, const struct bucket_ask *a, uint64_t part, uint64_t *wait_ns);

/* This host's own share, when it decides alone. Used whichever way it was let in. */
struct bucket_ask lease_share(const struct bucket_ask *a, uint32_t hosts);
void lease_note(struct shm *s, const struct bucket_ask *share, uint64_t now_ns);
#endif
