/* Requests that wait for a limit, of all workers: in which order they try again. Weighted fair queueing by tokens: each has
 * a virtual time at which it would be done if every key were served by its weight, and of those that wait for the same
 * entity's limit the earliest tries. A place belongs to a process (slot and life): those of the dead are free at once. */
#ifndef PENSTOCK_SHM_QUEUE_H
#define PENSTOCK_SHM_QUEUE_H
#include "shm/shm.h"

#define QUEUE_PLACES 10000 /* of all workers; queue.max_depth is at most so much */

/* A place for a request of `key` that waits for `blocked` and takes `cost` tokens; SHM_NONE: at_most wait already. */
uint32_t queue_join(struct shm *s, uint32_t key, uint64_t cost, unsigned weight, uint32_t blocked, uint32_t at_most);
uint64_t queue_end(const struct shm *s, uint32_t place); /* its virtual time: the earlier the sooner */
/* It waits for another entity's limit now. Mine only, and so are the next two. */
void queue_blocked(struct shm *s, uint32_t place, uint32_t entity);
/* May it try? No other that waits for the same entity comes before it. */
bool queue_turn(struct shm *s, uint32_t place);
/* It was let in (served), or has left. */
void queue_leave(struct shm *s, uint32_t place, bool served);
/* What one that was served has used in the end, where `cost` was booked for it: the key's others come so much later, or
 * sooner. */
void queue_settle(struct shm *s, uint32_t key, uint64_t cost, uint64_t used, unsigned weight);
/* Does anybody wait for the limit of one of these? Who comes now must not pass before them. The first of the list for which
 * somebody does, or SHM_NONE. */
uint32_t queue_any(const struct shm *s, const uint32_t *entity, size_t n);
uint32_t queue_depth(const struct shm *s);
uint32_t queue_reach(const struct shm *s); /* how many places a look goes over: up to the last that is taken */
#endif
