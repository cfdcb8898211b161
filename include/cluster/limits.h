/* Limits of a cluster (doc/cluster.md). A request is let in by what its host holds of all its buckets (shm/lease.h); what is
 * missing is asked of the server, with a lease for those who come next, by one script: all or none. With cluster.exact
 * nothing is held, and every request asks. When the server cannot be asked, or has not answered within cluster.timeout, the
 * host's own share decides. Workers. */
#ifndef PENSTOCK_CLUSTER_LIMITS_H
#define PENSTOCK_CLUSTER_LIMITS_H
#include "base/arena.h"
#include "cluster/cluster.h"
#include "shm/bucket.h"

/* A request's question to the server, in the request; zero-initialised asks nothing. */
enum limits_state { LIMITS_NONE, LIMITS_ASKED, LIMITS_GRANTED, LIMITS_REFUSED, LIMITS_AWAY };
struct limits_call;
struct limits_ask {
    void (*done)(void *arg); /* from the loop, never from inside limits_take(): ask again with the same */
    void *arg;
    struct arena *arena; /* the request's */
    struct patience *patience; /* likewise */
    enum limits_state state;
    struct limits_call *call;
    struct cluster *c;
    struct bucket_ask *asks; /* in the arena */
    size_t n;
    struct bucket_verdict verdict;
};
/* As buckets_take(). *wait: nothing is decided yet, done comes within cluster.timeout. ask NULL: it cannot wait, what is
 * held here or the share decides at once. */
struct bucket_verdict limits_take(struct cluster *c, const struct bucket_ask *asks, size_t n, struct limits_ask *ask,
                                  bool *wait);
/* It is not wanted any more, whatever it is: what it was granted and did not take is given back. Always before its request goes. */
void limits_drop(struct limits_ask *ask);
void limits_give_back(struct cluster *c, const struct bucket_ask *asks, size_t n);
/* used: of each ask, in place of what was reserved. */
void limits_settle(struct cluster *c, const struct bucket_ask *asks, const uint64_t *used, size_t n);
/* As bucket_look(), of all hosts together. */
void limits_look(struct cluster *c, uint32_t entity, enum bucket kind, uint64_t limit, uint64_t *remaining,
                 uint64_t *full_in_ns);
#endif
