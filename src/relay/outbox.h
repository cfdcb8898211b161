/* Usage records that found the ring full: kept here, bounded, and put in as soon as there is room. */
#ifndef PENSTOCK_RELAY_OUTBOX_H
#define PENSTOCK_RELAY_OUTBOX_H
#include "base/loop.h"
#include "base/str.h"
#include "shm/shm.h"

struct outbox;
struct outbox *outbox_new(struct loop *l, struct shm *s);
bool outbox_put(struct outbox *o, uint32_t type,
                struct str record); /* never blocks; false: dropped and counted, beyond its bound */
bool outbox_empty(const struct outbox *o);
void outbox_free(struct outbox *o); /* a last try for what is left; what finds no room is counted, and told */
#endif
