/* Of the half window that is passing and of the one before: {epoch 16, requests 24, retries 24} each. What is
 * past weighs as much as the window still covers of it. */
#include "shm/retry.h"

#include "layout.h"

#define HALF_NS    UINT64_C(5000000000)
#define COUNT_BITS 24
#define COUNT_MAX  ((UINT64_C(1) << COUNT_BITS) - 1)
#define EPOCH_MASK UINT64_C(0xffff)

struct half_window {
    uint64_t requests, retries;
};

static uint64_t epoch_of(uint64_t now_ns) {
    return (now_ns / HALF_NS) & EPOCH_MASK;
}

static struct half_window unpack(uint64_t w, uint64_t epoch) {
    if (w >> (2 * COUNT_BITS) != epoch)
        return (struct half_window){0, 0};
    return (struct half_window){w >> COUNT_BITS & COUNT_MAX, w & COUNT_MAX};
}

static uint64_t pack(struct half_window h, uint64_t epoch) {
    uint64_t requests = h.requests < COUNT_MAX ? h.requests : COUNT_MAX,
             retries = h.retries < COUNT_MAX ? h.retries : COUNT_MAX;
    return epoch << (2 * COUNT_BITS) | requests << COUNT_BITS | retries;
}

static word *cell(struct shm *s, uint64_t epoch) {
    return &s->head->retry[epoch & 1];
}

void retry_request(struct shm *s, uint64_t now_ns) {
    uint64_t epoch = epoch_of(now_ns);
    word *w = cell(s, epoch);
    uint64_t was = atomic_load_explicit(w, memory_order_relaxed), is;
    do {
        struct half_window h = unpack(was, epoch);
        h.requests++;
        is = pack(h, epoch);
    } while (!atomic_compare_exchange_weak_explicit(w, &was, is, memory_order_relaxed, memory_order_relaxed));
}

bool retry_take(struct shm *s, double share, unsigned least, uint64_t now_ns) {
    uint64_t epoch = epoch_of(now_ns), before = (epoch - 1) & EPOCH_MASK;
    word *w = cell(s, epoch);
    double left = 1.0 - (double)(now_ns % HALF_NS) / (double)HALF_NS;
    struct half_window past = unpack(atomic_load_explicit(cell(s, before), memory_order_relaxed), before);
    uint64_t was = atomic_load_explicit(w, memory_order_relaxed), is;
    do {
        struct half_window h = unpack(was, epoch);
        double requests = (double)h.requests + left * (double)past.requests,
               retries = (double)h.retries + left * (double)past.retries;
        if (retries >= (double)least && retries + 1 > share * requests)
            return false;
        h.retries++;
        is = pack(h, epoch);
    } while (!atomic_compare_exchange_weak_explicit(w, &was, is, memory_order_relaxed, memory_order_relaxed));
    return true;
}
