/* What this host knows of the cluster it is part of, one view for all its processes. */
#ifndef PENSTOCK_SHM_HOSTS_H
#define PENSTOCK_SHM_HOSTS_H
#include "shm/shm.h"

/* Of my own connection to the cluster's server. Kept in my slot: what a dead process said is forgotten. */
enum hosts_link { LINK_OFF, LINK_AWAY, LINK_SLOW, LINK_THERE };
void hosts_set_link(struct shm *s, enum hosts_link l);
/* The scribe: this host's id (random, never 0, kept in state_dir), and how many hosts there are, this one included. */
void hosts_set(struct shm *s, uint64_t me, uint32_t n);

/* Likewise, why nobody asks the server although it is there: it has been away, and not all hosts have told yet what they used
 * meanwhile; or it takes no writes. */
enum hosts_apart { HOSTS_TOGETHER, HOSTS_CATCHING_UP, HOSTS_REFUSED };
void hosts_set_apart(struct shm *s, enum hosts_apart why);
enum hosts_apart hosts_apart(const struct shm *s);

/* When a cache of the cluster was cleared last, by the server's clock in ms; the latest that was heard of. */
void hosts_set_cleared(struct shm *s, uint64_t server_ms);
uint64_t hosts_cleared(const struct shm *s);

struct hosts {
    uint64_t me;                /* 0: not known yet */
    uint32_t n;                 /* hosts last seen, at least 1 */
    uint32_t processes, linked; /* of this host: that want a connection, that have a good one */
    enum hosts_apart apart;
};
void hosts_look(const struct shm *s, struct hosts *out);
/* The cheap parts of it. */
uint64_t hosts_me(const struct shm *s);
uint32_t hosts_n(const struct shm *s);
#endif
