/* Which target a conversation was answered by last, so that it meets the prompt cache that it warmed. A bounded table of
 * single words without locks: of two conversations in one place the later one stays, and nothing else is lost than a
 * preference. */
#ifndef PENSTOCK_SHM_AFFINITY_H
#define PENSTOCK_SHM_AFFINITY_H
#include "shm/shm.h"

void affinity_put(struct shm *s, uint64_t conversation, uint32_t target, uint64_t now_ns);
/* The target's entity, or SHM_NONE when none is known for the last half hour. */
uint32_t affinity_find(const struct shm *s, uint64_t conversation, uint64_t now_ns);
#endif
