/* One single-producer single-consumer ring of records per slot: the worker writes, the scribe reads.
 * Positions are byte offsets that only grow; the scribe commits its position in LMDB in the same transaction as the
 * records, so that nothing is counted twice or lost when either dies. A record is published whole or not at all. */
#ifndef PENSTOCK_SHM_RING_H
#define PENSTOCK_SHM_RING_H
#include "shm/shm.h"

/* Writes one record of `type` (not 0) made of two pieces into my slot's ring. false: no room (nothing written).
 * *pos: where its payload lies, for ring_peek. A record may be at most half of the ring. Wakes the scribe if asleep. */
bool ring_put(struct shm *s, uint32_t type, struct str a, struct str b, uint64_t *pos);
/* Where the payload of a record of n bytes would come to lie if it was put next. What points at it may be published
 * before it is there: ring_copy fails until then. false: it would not fit. */
bool ring_where(const struct shm *s, size_t n, uint64_t *pos);
size_t ring_room(const struct shm *s); /* the largest payload that would be taken now */
size_t ring_max(const struct shm *s);  /* the largest payload ever taken */

/* Scribe only. The next record at *cursor of a slot's ring: false when there is none. Pointers into the ring, valid
 * until ring_release passes them. A cursor behind what was released is moved up to it. A scribe that starts releases
 * the position it finds committed (its predecessor may have died between the two), then goes on from there. */
bool ring_next(struct shm *s, uint32_t slot, uint64_t *cursor, uint32_t *type, struct str *payload);
uint64_t ring_tail(const struct shm *s, uint32_t slot);     /* released so far */
uint64_t ring_head(const struct shm *s, uint32_t slot);
void ring_release(struct shm *s, uint32_t slot, uint64_t upto); /* after the commit */

/* Any process: copies n bytes at pos of a slot's ring while they are still there. false: released meanwhile. */
bool ring_copy(const struct shm *s, uint32_t slot, uint64_t pos, void *out, size_t n);

/* Waking the scribe: it says it sleeps; a writer that finds it asleep writes the eventfd once. After
 * ring_scribe_sleeps(s, true) it must look at all rings once more before it waits; ring_scribe_sleeps(s, false)
 * also empties the eventfd. */
int ring_wake_fd(const struct shm *s);        /* eventfd, made by shm_create, non-blocking, inherited */
void ring_scribe_sleeps(struct shm *s, bool sleeps);
void ring_wake(struct shm *s);
#endif
