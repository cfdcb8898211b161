/* Several hosts that share one view by a Redis or Valkey (doc/cluster.md). Each process has a link of its own (link.h): workers
 * ask for what their requests need, the scribe tells the server that its host lives, and hears what other hosts tell.
 * All of our keys begin with the prefix and {c}, so that they have one slot in a Redis Cluster and each decision is one
 * script. The server's clock is the only one that counts. */
#ifndef PENSTOCK_CLUSTER_CLUSTER_H
#define PENSTOCK_CLUSTER_CLUSTER_H
#include "base/loop.h"
#include "cluster/link.h"
#include "conf/conf.h"
#include "shm/shm.h"

struct cluster;
/* NULL: no cluster is configured. scribe: this process is that. conf and shm outlive it. */
struct cluster *cluster_new(struct loop *l, struct shm *s, const struct conf *c, bool scribe);
void cluster_free(struct cluster *c);
/* How long a request has waited for the server, in the request; zero-initialised has not. Of all its questions together none
 * waits beyond cluster.timeout; one at a time waits. */
struct patience {
    uint64_t spent_ns, since_ns;
};
/* It is linked, or has found that it cannot be. */
bool cluster_settled(const struct cluster *c);
/* It can be asked, and has not been late. false: nobody is to wait for it. */
bool cluster_ready(const struct cluster *c);
#endif
