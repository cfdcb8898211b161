/* Counts of the half window that is passing and of the one before: {epoch 16, count 48} each. What is past
 * weighs as much as the window still covers of it. */
#include "shm/extra.h"

#include "layout.h"

#define HALF_NS    UINT64_C(5000000000)
#define COUNT_BITS 48
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)
#define EPOCH_MASK UINT64_C(0xffff)

static uint64_t epoch_of(uint64_t now_ns) {
    return (now_ns / HALF_NS) & EPOCH_MASK;
}

static uint64_t count_in(uint64_t w, uint64_t epoch) {
    return w >> COUNT_BITS == epoch ? w & COUNT_MASK : 0;
}

/* What the half before still counts. */
static double weight_of_past(word cell[2], uint64_t now_ns) {
    uint64_t before = (epoch_of(now_ns) - 1) & EPOCH_MASK;
    double left = 1.0 - (double)(now_ns % HALF_NS) / (double)HALF_NS;
    return left * (double)count_in(atomic_load_explicit(&cell[before & 1], memory_order_relaxed), before);
}

void extra_request(struct shm *s, uint64_t now_ns) {
    uint64_t epoch = epoch_of(now_ns);
    word *w = &s->head->requests[epoch & 1];
    uint64_t was = atomic_load_explicit(w, memory_order_relaxed), is;
    do
        is = epoch << COUNT_BITS | (count_in(was, epoch) + 1);
    while (!atomic_compare_exchange_weak_explicit(w, &was, is, memory_order_relaxed, memory_order_relaxed));
}

bool extra_take(struct shm *s, enum extra kind, double share, unsigned least, uint64_t now_ns) {
    uint64_t epoch = epoch_of(now_ns), is;
    word *requests = s->head->requests, *taken = s->head->extra[kind], *w = &taken[epoch & 1];
    uint64_t now = atomic_load_explicit(&requests[epoch & 1], memory_order_relaxed);
    double most = share * ((double)count_in(now, epoch) + weight_of_past(requests, now_ns)),
           past = weight_of_past(taken, now_ns);
    if (most < (double)least)
        most = (double)least;
    uint64_t was = atomic_load_explicit(w, memory_order_relaxed);
    do {
        if ((double)count_in(was, epoch) + past + 1 > most)
            return false;
        is = epoch << COUNT_BITS | (count_in(was, epoch) + 1);
    } while (!atomic_compare_exchange_weak_explicit(w, &was, is, memory_order_relaxed, memory_order_relaxed));
    return true;
}
