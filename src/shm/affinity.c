/* A word: {hash 36, minute 14, entity 14}. */
#include "shm/affinity.h"

#include "layout.h"

#define ENTITY_BITS 14
#define MINUTE_BITS 14
#define MINUTE_NS   UINT64_C(60000000000)
#define KEPT        30 /* minutes */
_Static_assert(SHM_MAX_ENTITIES < 1 << ENTITY_BITS, "an entity must fit, and be told from none");

static word *place(const struct shm *s, uint64_t conversation) {
    return &s->affinity[conversation % AFFINITY_PLACES];
}

static uint64_t minute(uint64_t now_ns) {
    return now_ns / MINUTE_NS & ((1U << MINUTE_BITS) - 1);
}

static uint64_t hash_part(uint64_t conversation) {
    return conversation >> (ENTITY_BITS + MINUTE_BITS) << (ENTITY_BITS + MINUTE_BITS);
}

void affinity_put(struct shm *s, uint64_t conversation, uint32_t target, uint64_t now_ns) {
    if (target >= SHM_MAX_ENTITIES)
        return;
    uint64_t w = hash_part(conversation) | minute(now_ns) << ENTITY_BITS | (target + 1);
    atomic_store_explicit(place(s, conversation), w, memory_order_relaxed);
}

uint32_t affinity_find(const struct shm *s, uint64_t conversation, uint64_t now_ns) {
    uint64_t w = atomic_load_explicit(place(s, conversation), memory_order_relaxed);
    uint64_t age = (minute(now_ns) - (w >> ENTITY_BITS)) & ((1U << MINUTE_BITS) - 1);
    uint32_t entity = (uint32_t)(w & ((1U << ENTITY_BITS) - 1));
    bool known = entity != 0 && hash_part(w) == hash_part(conversation) && age <= KEPT;
    return known ? entity - 1 : SHM_NONE;
}
