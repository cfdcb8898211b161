#include "seqlock.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#define SLOT_BITS 9
#define NO_SLOT   511U /* a process without a slot goes by its pid */
#define LIFE_MASK ((1U << (32 - SLOT_BITS)) - 1)

uint32_t seq_me(const struct shm *s) {
    if (s->slot == SHM_NONE)
        return ((uint32_t)getpid() & LIFE_MASK) << SLOT_BITS | NO_SLOT;
    return (s->life & LIFE_MASK) << SLOT_BITS | (s->slot + 1);
}

static bool writer_dead(const struct shm *s, uint32_t writer) {
    uint32_t slot = writer & ((1U << SLOT_BITS) - 1), life = writer >> SLOT_BITS;
    if (slot == NO_SLOT)
        return kill((pid_t)life, 0) != 0 && errno == ESRCH;
    return slot == 0 || slot > SHM_MAX_SLOTS || (atomic_load(&s->slots[slot - 1].life) & LIFE_MASK) != life;
}

bool seq_free(const struct shm *s, uint64_t value) {
    return (uint32_t)value == 0 || writer_dead(s, (uint32_t)value);
}

static uint64_t next_sequence(uint64_t value) {
    return ((value >> 32) + 1) << 32;
}

bool seq_lock(struct shm *s, word *w, unsigned tries) {
    for (unsigned i = 0; i < tries; i++) {
        uint64_t was = atomic_load_explicit(w, memory_order_relaxed);
        if (seq_free(s, was) &&
            atomic_compare_exchange_strong_explicit(w, &was, next_sequence(was) | seq_me(s),
                                                    memory_order_acquire, memory_order_relaxed)) {
            atomic_thread_fence(memory_order_release); /* no change is seen before the word */
            return true;
        }
        shm_backoff(i);
    }
    return false;
}

void seq_unlock(word *w) {
    uint64_t was = atomic_load_explicit(w, memory_order_relaxed);
    atomic_store_explicit(w, next_sequence(was), memory_order_release);
}
