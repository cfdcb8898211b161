/* Health of an entity: how often it failed lately, how often in a row, and how slow it is against itself.
 * Each word is changed on its own; a record that another process overtakes is at worst weighed a little
 * differently.
 *
 * The window is kept in cells of 1, 8 and 64 s, eight of each: a reader that asks for a window takes the
 * finest that still reaches back so far, so a window of 5 s and one of 5 minutes are both sharp to an eighth.
 */
#include "base/clock.h"
#include "layout.h"

/* --- the window: cells of {epoch 24, requests 20, errors 20} --- */

#define CELL_BITS 20
#define CELL_MAX  ((1U << CELL_BITS) - 1)
#define EPOCH_MAX ((1U << 24) - 1)

static const uint64_t cell_ms[HEALTH_SCALES] = {1000, 8000, 64000};

static uint64_t cell_pack(uint64_t epoch, uint64_t requests, uint64_t errors) {
    return (epoch & EPOCH_MAX) << (2 * CELL_BITS) | requests << CELL_BITS | errors;
}

static uint64_t cell_epoch(uint64_t cell) {
    return cell >> (2 * CELL_BITS);
}

static void cell_add(word *cell, uint64_t epoch, bool error) {
    uint64_t was = atomic_load_explicit(cell, memory_order_relaxed), next;
    do {
        bool same = cell_epoch(was) == (epoch & EPOCH_MAX);
        uint64_t requests = same ? was >> CELL_BITS & CELL_MAX : 0, errors = same ? was & CELL_MAX : 0;
        if (requests == CELL_MAX) /* full: the rate stays what it is */
            return;
        next = cell_pack(epoch, requests + 1, errors + error);
    } while (
        !atomic_compare_exchange_weak_explicit(cell, &was, next, memory_order_relaxed, memory_order_relaxed));
}

static int scale_for(uint64_t window_ms) {
    for (int i = 0; i < HEALTH_SCALES - 1; i++) {
        if (window_ms <= cell_ms[i] * HEALTH_CELLS)
            return i;
    }
    return HEALTH_SCALES - 1;
}

struct health_count health_count(const struct shm *s, uint32_t entity, uint64_t window_ms, uint64_t since_ms,
                                 uint64_t now_ns) {
    struct health_count sum = {0, 0};
    struct shm_state *e = state_of(s, entity);
    if (!e)
        return sum;
    int scale = scale_for(window_ms);
    uint64_t width = cell_ms[scale], epoch = now_ns / 1000000U / width;
    uint64_t cells = window_ms / width + (window_ms % width != 0);
    cells = cells > HEALTH_CELLS ? HEALTH_CELLS : cells;
    for (uint64_t i = 0; i < cells && i <= epoch && (epoch - i) * width >= since_ms; i++) {
        uint64_t cell =
            atomic_load_explicit(&e->cell[scale][(epoch - i) % HEALTH_CELLS], memory_order_relaxed);
        if (cell_epoch(cell) != ((epoch - i) & EPOCH_MAX))
            continue;
        sum.requests += cell >> CELL_BITS & CELL_MAX;
        sum.errors += cell & CELL_MAX;
    }
    return sum;
}

/* --- averages: two 32-bit values in one word --- */

struct pair {
    float a;
    union {
        float b;
        uint32_t n;
    };
};
_Static_assert(sizeof(struct pair) == sizeof(uint64_t), "a pair is one word");

static struct pair pair_load(word *w) {
    uint64_t bits = atomic_load_explicit(w, memory_order_relaxed);
    struct pair p;
    memcpy(&p, &bits, sizeof p);
    return p;
}

static bool pair_swap(word *w, struct pair was, struct pair is) {
    uint64_t from, to;
    memcpy(&from, &was, sizeof from);
    memcpy(&to, &is, sizeof to);
    return atomic_compare_exchange_strong_explicit(w, &from, to, memory_order_relaxed, memory_order_relaxed);
}

static float moved(float average, float sample, float weight) {
    return average > 0 ? average + (sample - average) * weight : sample;
}

#define SWAP_TRIES  16    /* then the sample is left out: it is one of many */
#define FAST_WEIGHT 0.2F  /* about the last ten calls */
#define SLOW_WEIGHT 0.01F /* about the last two hundred */

static float at_least_one(uint64_t ms) {
    return ms ? (float)ms : 1.0F; /* 0 is "unknown" */
}

static void latency_add(struct shm_state *e, uint64_t latency_ms, uint64_t first_byte_ms) {
    for (int i = 0; i < SWAP_TRIES; i++) {
        struct pair was = pair_load(&e->latency), is = was;
        is.a = moved(was.a, at_least_one(latency_ms), FAST_WEIGHT);
        if (first_byte_ms)
            is.b = moved(was.b, (float)first_byte_ms, FAST_WEIGHT);
        if (pair_swap(&e->latency, was, is))
            break;
    }
    for (int i = 0; i < SWAP_TRIES; i++) {
        struct pair was = pair_load(&e->baseline), is = was;
        is.n = was.n < 1000 ? was.n + 1 : was.n;
        float weight =
            1.0F / (float)is.n; /* a plain mean at first, so that the first call does not rule it */
        is.a = moved(was.a, at_least_one(latency_ms), weight > SLOW_WEIGHT ? weight : SLOW_WEIGHT);
        if (pair_swap(&e->baseline, was, is))
            break;
    }
}

/* --- the module --- */

void health_record(struct shm *s, uint32_t entity, enum outcome o, uint64_t latency_ms,
                   uint64_t first_byte_ms, uint64_t now_ns) {
    struct shm_state *e = state_of(s, entity);
    if (!e || o == OUTCOME_NEUTRAL)
        return;
    for (int i = 0; i < HEALTH_SCALES; i++) {
        uint64_t epoch = now_ns / 1000000U / cell_ms[i];
        cell_add(&e->cell[i][epoch % HEALTH_CELLS], epoch, o == OUTCOME_FAILED);
    }
    if (o == OUTCOME_OK) { /* how long a failure took says nothing about the speed of answers */
        latency_add(e, latency_ms, first_byte_ms);
        if (atomic_load_explicit(&e->failures_in_a_row, memory_order_relaxed))
            atomic_store_explicit(&e->failures_in_a_row, 0, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&e->failures_in_a_row, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&e->last_wall_ms, (uint64_t)clock_wall_ms(), memory_order_relaxed);
}

void health_fault(struct shm *s, uint32_t entity, unsigned fault, int64_t wall_ms) {
    struct shm_state *e = state_of(s, entity);
    if (e)
        atomic_store_explicit(&e->last_fault, (uint64_t)wall_ms << 8 | (fault & 0xff), memory_order_relaxed);
}

/* 1 up to one and a half times the baseline, falling to 0.5 at four times. */
static double latency_factor(double latency, double baseline) {
    if (latency <= 0 || baseline <= 0)
        return 1;
    double over = latency / baseline - 1.5;
    return over <= 0 ? 1 : over >= 2.5 ? 0.5 : 1 - over / 5;
}

static double row_factor(unsigned failures) {
    return failures >= 10 ? 0 : 1 - failures / 10.0;
}

void health_look(const struct shm *s, uint32_t entity, uint64_t window_ms, uint64_t now_ns,
                 struct health *out) {
    *out = (struct health){.score = 100};
    struct shm_state *e = state_of(s, entity);
    if (!e)
        return;
    struct health_count n = health_count(s, entity, window_ms, 0, now_ns);
    struct pair latency = pair_load(&e->latency), baseline = pair_load(&e->baseline);
    out->latency_ms = latency.a;
    out->first_byte_ms = latency.b;
    out->requests = n.requests;
    out->errors = n.errors;
    out->error_rate = n.requests ? (double)n.errors / (double)n.requests : 0;
    out->failures_in_a_row = atomic_load_explicit(&e->failures_in_a_row, memory_order_relaxed);
    out->last_ms = (int64_t)atomic_load_explicit(&e->last_wall_ms, memory_order_relaxed);
    uint64_t fault = atomic_load_explicit(&e->last_fault, memory_order_relaxed);
    out->last_fault = fault & 0xff;
    out->last_fault_ms = (int64_t)(fault >> 8);
    double score = 100 * (1 - out->error_rate) * latency_factor(latency.a, baseline.a) *
                   row_factor(out->failures_in_a_row);
    out->score = (unsigned)(score + 0.5);
    out->degraded = out->error_rate > 0.1 || out->score < 70;
}
