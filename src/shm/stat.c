/* Counters and histograms. Those of a process have one writer and cost a load and a store; those of an entity
 * are shared and added to atomically. Totals never fall: the dead are folded into the past. */
#include "layout.h"

#define X(n, p, h) {p, h},
const struct stat_row stat_rows[STAT_COUNTERS_N] = {STAT_COUNTERS(X)};
const struct stat_row entity_rows[ENTITY_COUNTERS_N] = {ENTITY_COUNTERS(X)};
#undef X

/* --- per process --- */

static void bump(struct shm *s, word *mine, word *past, uint64_t n) {
    if (s->slot == SHM_NONE) { /* the master, or a child that has not entered its slot yet */
        atomic_fetch_add_explicit(past, n, memory_order_relaxed);
        return;
    }
    uint64_t v = atomic_load_explicit(mine, memory_order_relaxed);
    atomic_store_explicit(mine, v + n, memory_order_relaxed);
}

static struct shm_stats *my_stats(struct shm *s) {
    return s->slot == SHM_NONE ? &s->head->past : &s->slots[s->slot].stats;
}

void stat_add(struct shm *s, enum stat_counter c, uint64_t n) {
    bump(s, &my_stats(s)->counter[c], &s->head->past.counter[c], n);
}

static int status_class(int status) {
    return status == 499 ? 0 : status / 100;
}

void stat_status(struct shm *s, int status) {
    int k = status_class(status);
    if (k >= 0 && k < STATUS_CLASSES)
        bump(s, &my_stats(s)->status[k], &s->head->past.status[k], 1);
}

static void fold(word *past, word *slot) {
    uint64_t n = atomic_load_explicit(slot, memory_order_relaxed);
    if (n == 0)
        return;
    atomic_fetch_add_explicit(past, n, memory_order_relaxed);
    atomic_store_explicit(slot, 0, memory_order_relaxed);
}

/* The master is the only one that folds, so one sequence word is enough. If it is killed in here everything
 * ends with it. */
void stat_fold(struct shm *s, uint32_t slot) {
    struct shm_stats *from = &s->slots[slot].stats;
    atomic_fetch_add(&s->head->fold_seq, 1);
    atomic_thread_fence(memory_order_release);
    for (int i = 0; i < STAT_COUNTERS_N; i++)
        fold(&s->head->past.counter[i], &from->counter[i]);
    for (int i = 0; i < STATUS_CLASSES; i++)
        fold(&s->head->past.status[i], &from->status[i]);
    atomic_fetch_add(&s->head->fold_seq, 1);
}

/* A counter's offset in struct shm_stats stands for it in all slots. */
static uint64_t sum_once(const struct shm *s, size_t at) {
    uint64_t sum = atomic_load_explicit((word *)(void *)((char *)&s->head->past + at), memory_order_relaxed);
    for (uint32_t i = 0, n = slot_high(s); i < n; i++)
        sum += atomic_load_explicit((word *)(void *)((char *)&s->slots[i].stats + at), memory_order_relaxed);
    return sum;
}

/* Between the two looks at the sequence nothing was folded, so nothing was counted twice or missed. The bound
 * is for a master that is stopped (SIGSTOP, a debugger) in the middle of it. */
static uint64_t sum_of(const struct shm *s, size_t at) {
    uint64_t sum = 0;
    for (unsigned tries = 0; tries < 5000; tries++) {
        uint64_t before = atomic_load_explicit(&s->head->fold_seq, memory_order_acquire);
        sum = sum_once(s, at);
        atomic_thread_fence(memory_order_acquire);
        if (before % 2 == 0 && atomic_load_explicit(&s->head->fold_seq, memory_order_relaxed) == before)
            break;
        shm_backoff(tries);
    }
    return sum;
}

uint64_t stat_sum(const struct shm *s, enum stat_counter c) {
    return sum_of(s, offsetof(struct shm_stats, counter) + (size_t)c * sizeof(word));
}

uint64_t stat_status_sum(const struct shm *s, int klass) {
    if (klass < 0 || klass >= STATUS_CLASSES)
        return 0;
    return sum_of(s, offsetof(struct shm_stats, status) + (size_t)klass * sizeof(word));
}

/* --- per entity --- */

void entity_add(struct shm *s, uint32_t entity, enum entity_counter c, uint64_t n) {
    struct shm_state *e = state_of(s, entity);
    if (e && n)
        atomic_fetch_add_explicit(&e->counter[c], n, memory_order_relaxed);
}

uint64_t entity_count(const struct shm *s, uint32_t entity, enum entity_counter c) {
    struct shm_state *e = state_of(s, entity);
    return e ? atomic_load_explicit(&e->counter[c], memory_order_relaxed) : 0;
}

uint64_t entity_turn(struct shm *s, uint32_t entity) {
    struct shm_state *e = state_of(s, entity);
    return e ? atomic_fetch_add_explicit(&e->turn, 1, memory_order_relaxed) : 0;
}

/* --- histograms --- */

const double hist_bounds_seconds[HIST_BUCKETS - 1] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,  2,
                                                      4,    8,     15,   30,  60,   120, 300};

static struct shm_hist *hist_of(const struct shm *s, uint32_t entity, enum histogram h) {
    return entity < SHM_MAX_ENTITIES ? s->hist + (size_t)entity * HIST_KINDS + h : NULL;
}

void hist_add(struct shm *s, uint32_t entity, enum histogram h, uint64_t ms) {
    struct shm_hist *p = hist_of(s, entity, h);
    if (!p)
        return;
    int i = 0;
    while (i < HIST_BUCKETS - 1 && (double)ms > hist_bounds_seconds[i] * 1000.0)
        i++;
    atomic_fetch_add_explicit(&p->count[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->sum_ms, ms, memory_order_relaxed);
}

void hist_look(const struct shm *s, uint32_t entity, enum histogram h, struct hist *out) {
    *out = (struct hist){.n = 0};
    struct shm_hist *p = hist_of(s, entity, h);
    if (!p)
        return;
    for (int i = 0; i < HIST_BUCKETS; i++) {
        out->count[i] = atomic_load_explicit(&p->count[i], memory_order_relaxed);
        out->n += out->count[i]; /* so that the parts always add up to the whole */
    }
    out->sum_seconds = (double)atomic_load_explicit(&p->sum_ms, memory_order_relaxed) / 1000.0;
}

double hist_quantile(const struct hist *h, double q) {
    double rank = q * (double)h->n, below = 0;
    if (h->n == 0)
        return 0;
    for (int i = 0; i < HIST_BUCKETS - 1; i++) {
        double count = (double)h->count[i], from = i ? hist_bounds_seconds[i - 1] : 0;
        if (count > 0 && below + count >= rank)
            return from + (hist_bounds_seconds[i] - from) * (rank > below ? (rank - below) / count : 0);
        below += count;
    }
    return hist_bounds_seconds[HIST_BUCKETS - 2]; /* beyond the last bound no more is known */
}
