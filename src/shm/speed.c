/* Two floats in one word, and beside it when it was changed last: a reader that meets the one without the
 * other is wrong by the decay between two answers. */
#include "shm/speed.h"

#include "layout.h"
#include <math.h>

#define DECAY_MS 10000.0 /* as Finagle's: after so long a sample weighs 1/e */
#define TRIES    16

struct two {
    float first_byte, per_token;
};
_Static_assert(sizeof(struct two) == sizeof(uint64_t), "both are one word");

static double decay_of(struct shm_state *e, uint64_t now_ms) {
    uint64_t then = atomic_load_explicit(&e->speed_ms, memory_order_relaxed);
    return now_ms > then ? exp(-(double)(now_ms - then) / DECAY_MS) : 1;
}

static float peak(float was, double sample, double weight) {
    if (sample <= 0)
        return was;
    return sample > (double)was ? (float)sample : (float)((double)was * weight + sample * (1 - weight));
}

void speed_record(struct shm *s, uint32_t entity, double first_byte_ms, double per_token_ms,
                  uint64_t now_ns) {
    struct shm_state *e = state_of(s, entity);
    uint64_t now_ms = now_ns / 1000000, was, is;
    if (!e)
        return;
    double weight = decay_of(e, now_ms);
    was = atomic_load_explicit(&e->speed, memory_order_relaxed);
    for (int i = 0; i < TRIES; i++) {
        struct two t;
        memcpy(&t, &was, sizeof t);
        t.first_byte = peak(t.first_byte, first_byte_ms, weight);
        t.per_token = peak(t.per_token, per_token_ms, weight);
        memcpy(&is, &t, sizeof is);
        if (atomic_compare_exchange_strong_explicit(&e->speed, &was, is, memory_order_relaxed,
                                                    memory_order_relaxed))
            break;
    }
    atomic_store_explicit(&e->speed_ms, now_ms, memory_order_relaxed);
}

struct speed speed_look(const struct shm *s, uint32_t entity, uint64_t now_ns) {
    struct shm_state *e = state_of(s, entity);
    if (!e)
        return (struct speed){0, 0};
    uint64_t bits = atomic_load_explicit(&e->speed, memory_order_relaxed);
    double weight = decay_of(e, now_ns / 1000000);
    struct two t;
    memcpy(&t, &bits, sizeof t);
    return (struct speed){(double)t.first_byte * weight, (double)t.per_token * weight};
}
