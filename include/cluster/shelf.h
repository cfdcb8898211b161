/* The second level of the exact cache: answers that any host has kept, at the cluster's server, for as long as they are
 * good. Those of before the last clearing that this host has heard of are not taken, whatever was cleared. Workers. */
#ifndef PENSTOCK_CLUSTER_SHELF_H
#define PENSTOCK_CLUSTER_SHELF_H
#include "base/arena.h"
#include "cluster/cluster.h"
#include "shm/index.h"

/* A request's question, in the request; zero-initialised asks nothing. */
struct shelf_call;
struct shelf_ask {
    void (*done)(void *arg); /* from the loop, within cluster.timeout */
    void *arg;
    struct arena *arena;
    struct patience *patience;
    bool asked, known;
    struct str value; /* what was found, in the arena; or empty */
    struct shelf_call *call;
};
/* true: done comes. most: bytes of a value. Once for each ask. */
bool shelf_find(struct cluster *c, const uint8_t key[INDEX_KEY], size_t most, struct shelf_ask *ask);
void shelf_drop(struct shelf_ask *ask); /* before its request goes */
void shelf_put(struct cluster *c, const uint8_t key[INDEX_KEY], struct str value, uint64_t ttl_ms);
#endif
