/* A claim: {key's upper half 32, writer 32}, the writer as in seqlock.h. Who waits for it: {the same half,
 * time of the last word of them, in ms 32}. */
#include "shm/claim.h"

#include "base/clock.h"
#include "seqlock.h"

static word *place(const struct shm *s, uint64_t key) {
    return &s->claims[key % CLAIM_PLACES].claim;
}

static word *waits(const struct shm *s, uint64_t key) {
    return &s->claims[key % CLAIM_PLACES].waits;
}

static uint64_t claim_of(uint64_t key, uint32_t writer) {
    return key >> 32 << 32 | writer;
}

enum claim claim_take(struct shm *s, uint64_t key) {
    word *w = place(s, key);
    uint64_t was = atomic_load(w);
    while (seq_free(s, was))
        if (atomic_compare_exchange_weak(w, &was, claim_of(key, seq_me(s))))
            return CLAIM_MINE;
    return was >> 32 == key >> 32 ? CLAIM_OTHERS : CLAIM_NONE;
}

bool claim_stands(const struct shm *s, uint64_t key) {
    uint64_t is = atomic_load(place(s, key));
    return is >> 32 == key >> 32 && !seq_free(s, is);
}

uint32_t claim_holder(const struct shm *s, uint64_t key) {
    return claim_stands(s, key) ? (uint32_t)atomic_load(place(s, key)) : 0;
}

void claim_wait(struct shm *s, uint64_t key) {
    atomic_store_explicit(waits(s, key), claim_of(key, (uint32_t)clock_ms()), memory_order_relaxed);
}

bool claim_waited(const struct shm *s, uint64_t key) {
    uint64_t is = atomic_load_explicit(waits(s, key), memory_order_relaxed);
    return is >> 32 == key >> 32 && (uint32_t)clock_ms() - (uint32_t)is < CLAIM_WAIT_MS;
}

void claim_release(struct shm *s, uint64_t key) {
    uint64_t mine = claim_of(key, seq_me(s));
    MUST(atomic_compare_exchange_strong(place(s, key), &mine, 0));
}
