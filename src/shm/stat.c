/* Counters and histograms. Those of a slot have one writer and cost a load and a store; those of an entity
 * are shared and added to atomically. Nothing is ever taken away: a slot's next owner counts on from where
 * the last one stopped, so there is no moment at which a total could be seen to fall or to count the dead
 * twice. */
#include "layout.h"

#define X(n, p, h) {p, h},
const struct stat_row stat_rows[STAT_COUNTERS_N] = {STAT_COUNTERS(X)};
const struct stat_row entity_rows[ENTITY_COUNTERS_N] = {ENTITY_COUNTERS(X)};
#undef X

/* --- per process --- */

static void bump(struct shm *s, word *mine, word *others, uint64_t n) {
    if (s->slot == SHM_NONE) { /* the master, or a child that has not entered its slot yet */
        atomic_fetch_add_explicit(others, n, memory_order_relaxed);
        return;
    }
    uint64_t v = atomic_load_explicit(mine, memory_order_relaxed);
    atomic_store_explicit(mine, v + n, memory_order_relaxed);
}

static struct shm_stats *my_stats(struct shm *s) {
    return s->slot == SHM_NONE ? &s->head->master : &s->slots[s->slot].stats;
}

void stat_add(struct shm *s, enum stat_counter c, uint64_t n) {
    bump(s, &my_stats(s)->counter[c], &s->head->master.counter[c], n);
}

static int status_class(int status) {
    return status == 499 ? 0 : status / 100;
}

void stat_status(struct shm *s, int status) {
    int k = status_class(status);
    if (k >= 0 && k < STATUS_CLASSES)
        bump(s, &my_stats(s)->status[k], &s->head->master.status[k], 1);
}

void stat_error(struct shm *s, unsigned type) {
    if (type < STAT_ERROR_TYPES)
        bump(s, &my_stats(s)->error[type], &s->head->master.error[type], 1);
}

/* A counter's offset in struct shm_stats stands for it in all slots. */
static uint64_t sum_of(const struct shm *s, size_t at) {
    uint64_t sum =
        atomic_load_explicit((word *)(void *)((char *)&s->head->master + at), memory_order_relaxed);
    for (uint32_t i = 0, n = slot_high(s); i < n; i++)
        sum += atomic_load_explicit((word *)(void *)((char *)&s->slots[i].stats + at), memory_order_relaxed);
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

uint64_t stat_error_sum(const struct shm *s, unsigned type) {
    if (type >= STAT_ERROR_TYPES)
        return 0;
    return sum_of(s, offsetof(struct shm_stats, error) + (size_t)type * sizeof(word));
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

/* clang-format off */
#define LONG_TIMES {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300}
#define TOKENS     {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864, 268435456}
const double hist_bounds[HIST_KINDS][HIST_BUCKETS - 1] = {
    [HIST_LATENCY] = LONG_TIMES,
    [HIST_FIRST_BYTE] = LONG_TIMES,
    [HIST_PER_TOKEN] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2.5},
    [HIST_OVERHEAD] = {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5},
    [HIST_INPUT_TOKENS] = TOKENS, /* as OpenTelemetry's conventions advise for gen_ai.client.token.usage */
    [HIST_OUTPUT_TOKENS] = TOKENS,
};
/* clang-format on */
static const double units[HIST_KINDS] = {
#define X(n, u) u,
    HISTOGRAMS(X)
#undef X
};

static struct shm_hist *hist_of(const struct shm *s, uint32_t entity, enum histogram h) {
    return entity < SHM_MAX_ENTITIES ? s->hist + (size_t)entity * HIST_KINDS + h : NULL;
}

void hist_add(struct shm *s, uint32_t entity, enum histogram h, uint64_t sample) {
    struct shm_hist *p = hist_of(s, entity, h);
    if (!p)
        return;
    int i = 0;
    while (i < HIST_BUCKETS - 1 && (double)sample > hist_bounds[h][i] * units[h])
        i++;
    atomic_fetch_add_explicit(&p->count[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->sum, sample, memory_order_relaxed);
}

void hist_look(const struct shm *s, uint32_t entity, enum histogram h, struct hist *out) {
    *out = (struct hist){.kind = h};
    struct shm_hist *p = hist_of(s, entity, h);
    if (!p)
        return;
    for (int i = 0; i < HIST_BUCKETS; i++) {
        out->count[i] = atomic_load_explicit(&p->count[i], memory_order_relaxed);
        out->n += out->count[i]; /* so that the parts always add up to the whole */
    }
    out->sum = (double)atomic_load_explicit(&p->sum, memory_order_relaxed) / units[h];
}

double hist_quantile(const struct hist *h, double q) {
    const double *bounds = hist_bounds[h->kind];
    double rank = q * (double)h->n, below = 0;
    if (h->n == 0)
        return 0;
    for (int i = 0; i < HIST_BUCKETS - 1; i++) {
        double count = (double)h->count[i], from = i ? bounds[i - 1] : 0;
        if (count > 0 && below + count >= rank)
            return from + (bounds[i] - from) * (rank > below ? (rank - below) / count : 0);
        below += count;
    }
    return bounds[HIST_BUCKETS - 2]; /* beyond the last bound no more is known */
}
