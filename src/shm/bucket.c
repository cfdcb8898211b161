/* Token buckets as GCRA: one word per bucket, the time at which it will be full again (the theoretical
 * arrival time). A word is changed by CAS and stands for itself, so there is nothing a dead process could
 * leave half done, and 0, the beginning, is a full bucket. Because the word is a time, a changed limit needs
 * no conversion. */
#include "layout.h"

#define X(name, option, unit, seconds, words) {BUCKET_##unit, UINT64_C(seconds) * 1000000000, words},
const struct bucket_row bucket_rows[BUCKET_KINDS] = {BUCKETS(X)};
#undef X

#define TAT_HORIZON (UINT64_MAX / 4) /* no debt reaches further, so that sums of times do not overflow */

static uint64_t sat_add(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) || sum > TAT_HORIZON ? TAT_HORIZON : sum;
}

static uint64_t period(const struct bucket_ask *a) {
    return bucket_rows[a->kind].period_ns;
}

/* The time it takes to refill `units`. Rounded down, so that as many as the limit always fit into the period.
 */
static uint64_t cost_ns(const struct bucket_ask *a, uint64_t units) {
    if (units == 0)
        return 0;
    if (units <= UINT64_MAX / period(a)) { /* nearly always, and several times as fast */
        uint64_t ns = units * period(a) / a->limit;
        return ns == 0 ? 1 : ns > TAT_HORIZON ? TAT_HORIZON : ns;
    }
    unsigned __int128 ns = (unsigned __int128)units * period(a) / a->limit;
    return ns == 0 ? 1 : ns > TAT_HORIZON ? TAT_HORIZON : (uint64_t)ns;
}

static uint64_t charged(const struct bucket_ask *a) {
    return a->cost < a->limit ? a->cost : a->limit;
}

static word *tat_of(const struct shm *s, const struct bucket_ask *a) {
    struct shm_state *e = state_of(s, a->entity);
    return e && a->limit != UINT64_MAX ? &e->bucket[a->kind] : NULL;
}

/* 0: it passes, and *next is the word after it. */
static uint64_t wait_for(const struct bucket_ask *a, uint64_t tat, uint64_t now_ns, uint64_t *next) {
    if (a->limit == 0)
        return UINT64_MAX;
    *next = sat_add(tat > now_ns ? tat : now_ns, cost_ns(a, charged(a)));
    uint64_t most = sat_add(now_ns, period(a));
    return *next > most ? *next - most : 0;
}

static uint64_t bucket_check(const struct shm *s, const struct bucket_ask *a, uint64_t now_ns) {
    uint64_t next;
    word *w = tat_of(s, a);
    return w ? wait_for(a, atomic_load_explicit(w, memory_order_relaxed), now_ns, &next) : 0;
}

static uint64_t bucket_take(struct shm *s, const struct bucket_ask *a, uint64_t now_ns) {
    word *w = tat_of(s, a);
    if (!w)
        return 0;
    uint64_t tat = atomic_load_explicit(w, memory_order_relaxed), next, wait;
    do {
        wait = wait_for(a, tat, now_ns, &next);
    } while (wait == 0 && !atomic_compare_exchange_weak_explicit(w, &tat, next, memory_order_relaxed,
                                                                 memory_order_relaxed));
    return wait;
}

/* A word that falls below now means a full bucket, as any other does that is not in the future. */
static void refund(word *w, uint64_t ns) {
    uint64_t tat = atomic_load_explicit(w, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(w, &tat, tat > ns ? tat - ns : 0, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

void buckets_give_back(struct shm *s, const struct bucket_ask *asks, size_t n, uint64_t now_ns) {
    (void)now_ns;
    for (size_t i = 0; i < n; i++) {
        word *w = tat_of(s, &asks[i]);
        if (w && asks[i].limit > 0)
            refund(w, cost_ns(&asks[i], charged(&asks[i])));
    }
}

/* One attempt at all of them. True when the verdict stands; false when another process came between the look
 * and the taking, and what was taken has been given back. */
static bool attempt(struct shm *s, const struct bucket_ask *asks, size_t n, uint64_t now_ns,
                    struct bucket_verdict *v) {
    v->wait_ns = 0;
    for (size_t i = 0; i < n && n > 1; i++) {
        uint64_t wait = bucket_check(s, &asks[i], now_ns);
        if (wait > v->wait_ns) {
            v->refused = i;
            v->wait_ns = wait;
        }
    }
    if (v->wait_ns > 0)
        return true;
    for (size_t i = 0; i < n; i++) {
        v->refused = i;
        v->wait_ns = bucket_take(s, &asks[i], now_ns);
        if (v->wait_ns > 0) {
            buckets_give_back(s, asks, i, now_ns);
            return i == 0; /* nothing was held meanwhile: final */
        }
    }
    v->ok = true;
    v->refused = 0;
    return true;
}

/* The look first, because what is taken and given back is missed by others in between: as long as a bucket is
 * plainly spent none of the others is touched. When two collide in the taking they look again; as with gauges
 * (slot.c) the refused call that gave back last sees only what is really taken. */
struct bucket_verdict buckets_take(struct shm *s, const struct bucket_ask *asks, size_t n, uint64_t now_ns) {
    struct bucket_verdict v = {.ok = false};
    for (unsigned tries = 0; tries < 100 && !attempt(s, asks, n, now_ns, &v); tries++)
        shm_backoff(tries);
    return v;
}

void bucket_settle(struct shm *s, const struct bucket_ask *reserved, int64_t delta, uint64_t now_ns) {
    word *w = tat_of(s, reserved);
    if (!w || reserved->limit == 0 || delta == 0)
        return;
    if (delta < 0) { /* what was never charged (a cost above the limit) is not given back */
        uint64_t less = (uint64_t)0 - (uint64_t)delta, had = charged(reserved);
        uint64_t real = reserved->cost > less ? reserved->cost - less : 0;
        if (real < had)
            refund(w, cost_ns(reserved, had) - cost_ns(reserved, real));
        return;
    }
    uint64_t more = cost_ns(reserved, (uint64_t)delta);
    uint64_t tat = atomic_load_explicit(w, memory_order_relaxed), next;
    do {
        next = sat_add(tat > now_ns ? tat : now_ns, more);
    } while (
        !atomic_compare_exchange_weak_explicit(w, &tat, next, memory_order_relaxed, memory_order_relaxed));
}

void bucket_look(const struct shm *s, uint32_t entity, enum bucket kind, uint64_t limit, uint64_t now_ns,
                 uint64_t *remaining, uint64_t *full_in_ns) {
    struct bucket_ask a = {.entity = entity, .kind = kind, .limit = limit};
    word *w = tat_of(s, &a);
    uint64_t tat = w ? atomic_load_explicit(w, memory_order_relaxed) : 0;
    *full_in_ns = tat > now_ns ? tat - now_ns : 0;
    *remaining = limit;
    if (w && *full_in_ns > 0) {
        uint64_t left = *full_in_ns < period(&a) ? period(&a) - *full_in_ns : 0;
        *remaining = (uint64_t)((unsigned __int128)left * limit / period(&a));
    }
}

/* --- rests --- */

void rest_until(struct shm *s, uint32_t entity, uint64_t until_ns) {
    struct shm_state *e = state_of(s, entity);
    if (!e)
        return;
    uint64_t is = atomic_load_explicit(&e->rest, memory_order_relaxed);
    while (is < until_ns && !atomic_compare_exchange_weak_explicit(
                                &e->rest, &is, until_ns, memory_order_relaxed, memory_order_relaxed))
        ;
}

uint64_t rest_left_ns(const struct shm *s, uint32_t entity, uint64_t now_ns) {
    struct shm_state *e = state_of(s, entity);
    uint64_t until = e ? atomic_load_explicit(&e->rest, memory_order_relaxed) : 0;
    if (until == UINT64_MAX)
        return UINT64_MAX;
    return until > now_ns ? until - now_ns : 0;
}

void rest_clear(struct shm *s, uint32_t entity) {
    struct shm_state *e = state_of(s, entity);
    if (e)
        atomic_store_explicit(&e->rest, 0, memory_order_relaxed);
}

void weight_set(struct shm *s, uint32_t entity, uint32_t weight) {
    struct shm_state *e = state_of(s, entity);
    if (e)
        atomic_store_explicit(&e->weight, weight, memory_order_relaxed);
}

uint32_t weight_of(const struct shm *s, uint32_t entity, uint32_t configured) {
    struct shm_state *e = state_of(s, entity);
    uint32_t weight = e ? atomic_load_explicit(&e->weight, memory_order_relaxed) : 0;
    return weight ? weight : configured;
}
