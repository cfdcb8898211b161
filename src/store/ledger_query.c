/* What the ledger tells: sums over a span of time, grouped as asked. One walk over the hourly sums, in steps;
 * names are copied out of the map before a step's transaction ends. */
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "pack.h"
#include "sums.h"
#include <limits.h>
#include <stdlib.h>

struct bucket { /* of the hash table: a group, and what it is found by */
    uint64_t hash;
    uint32_t span; /* day or hour number, 0 when not grouped by time */
    struct bucket *next;
    struct ledger_sum *row;
};
enum { BUCKETS = 4096 };

struct grouping {
    unsigned by;
    size_t n, cap;
    struct ledger_sum **rows;
    struct bucket **buckets;
    bool truncated;
};
struct ledger_query {
    struct arena *arena;
    uint32_t until; /* first hour that does not count */
    struct db_place place;
    size_t max;
    struct ledger_sum total;
    size_t n;
    struct grouping *groupings;
};

static void add_to(struct ledger_sum *to, const struct sums *s) {
    struct sums now = {
#define X(name) .name = to->name,
        LEDGER_COUNTS(X)
#undef X
            .cost_nano = to->cost_nano};
    sums_merge(&now, s);
#define X(name) to->name = now.name;
    LEDGER_COUNTS(X)
#undef X
    to->cost_nano = now.cost_nano;
}

/* --- groups --- */

static uint32_t span_of(unsigned by, uint32_t hour) {
    return by & GROUP_HOUR ? hour : by & GROUP_DAY ? hour / 24 : 0;
}

/* Names that are not grouped by are empty from here on. */
static void mask(unsigned by, struct sums_names *n) {
    if (!(by & GROUP_KEY))
        n->key = STR_NONE;
    if (!(by & GROUP_TENANT))
        n->tenant = STR_NONE;
    if (!(by & GROUP_PROVIDER))
        n->provider = STR_NONE;
    if (!(by & GROUP_MODEL))
        n->model = STR_NONE;
    if (!(by & GROUP_SURFACE))
        n->surface = STR_NONE;
}

static uint64_t hash_name(uint64_t h, struct str s) {
    h = hash64_more(h, s.p, s.n);
    return hash64_more(h, "", 1);
}

static uint64_t hash_group(uint32_t span, const struct sums_names *n) {
    uint64_t h = hash64(&span, sizeof span);
    h = hash_name(h, n->key);
    h = hash_name(h, n->tenant);
    h = hash_name(h, n->provider);
    h = hash_name(h, n->model);
    return hash_name(h, n->surface);
}

static bool same_group(const struct bucket *b, uint64_t hash, uint32_t span, const struct sums_names *n) {
    return b->hash == hash && b->span == span && str_eq(b->row->key, n->key) &&
           str_eq(b->row->tenant, n->tenant) && str_eq(b->row->provider, n->provider) &&
           str_eq(b->row->model, n->model) && str_eq(b->row->surface, n->surface);
}

static struct ledger_sum *new_row(struct arena *a, struct grouping *g, const struct sums_names *n) {
    char when[CLOCK_RFC3339_SIZE];
    struct ledger_sum *row = arena_alloc(a, sizeof *row);
    row->key = arena_dup(a, n->key);
    row->tenant = arena_dup(a, n->tenant);
    row->provider = arena_dup(a, n->provider);
    row->model = arena_dup(a, n->model);
    row->surface = arena_dup(a, n->surface);
    clock_rfc3339(when, (int64_t)n->hour * HOUR_MS);
    if (g->by & GROUP_DAY)
        row->day = arena_dup(a, str_make(when, 10));
    if (g->by & GROUP_HOUR)
        row->hour = arena_printf(a, "%.19sZ", when);
    if (g->n == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 64;
        struct ledger_sum **rows = arena_array(a, cap, sizeof(struct ledger_sum *));
        if (g->n)
            memcpy(rows, g->rows, g->n * sizeof *rows);
        g->rows = rows;
        g->cap = cap;
    }
    return g->rows[g->n++] = row;
}

static struct ledger_sum *row_for(struct ledger_query *q, struct grouping *g, const struct sums_names *n) {
    uint32_t span = span_of(g->by, n->hour);
    uint64_t hash = hash_group(span, n);
    struct bucket **at = &g->buckets[hash % BUCKETS];
    for (struct bucket *b = *at; b; b = b->next) {
        if (same_group(b, hash, span, n))
            return b->row;
    }
    if (g->n == q->max) {
        g->truncated = true;
        return NULL;
    }
    struct bucket *b = arena_alloc(q->arena, sizeof *b);
    *b = (struct bucket){.hash = hash, .span = span, .next = *at, .row = new_row(q->arena, g, n)};
    *at = b;
    return b->row;
}

static bool take_sum(void *arg, struct str key, struct str value) {
    struct ledger_query *q = arg;
    struct sums_names names;
    struct sums sums;
    if (!sums_read_key(key, &names) || !sums_unpack(value, &sums))
        return true; /* damaged: the writer says so */
    if (names.hour >= q->until)
        return false;
    for (size_t i = 0; i < q->n; i++) {
        struct sums_names by = names;
        mask(q->groupings[i].by, &by);
        struct ledger_sum *row = row_for(q, &q->groupings[i], &by);
        if (row)
            add_to(row, &sums);
    }
    add_to(&q->total, &sums);
    return true;
}

/* --- order --- */

static int compare(struct str a, struct str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int by_group(const void *va, const void *vb) {
    const struct ledger_sum *a = *(struct ledger_sum *const *)va, *b = *(struct ledger_sum *const *)vb;
    int c = compare(a->day, b->day);
    if (c == 0)
        c = compare(a->hour, b->hour);
    if (c == 0)
        c = compare(a->key, b->key);
    if (c == 0)
        c = compare(a->tenant, b->tenant);
    if (c == 0)
        c = compare(a->provider, b->provider);
    if (c == 0)
        c = compare(a->model, b->model);
    return c ? c : compare(a->surface, b->surface);
}

/* --- one query --- */

struct ledger_query *ledger_query_new(struct arena *a, int64_t from_ms, int64_t to_ms,
                                      const unsigned *group_by, size_t n, size_t max) {
    struct ledger_query *q = arena_alloc(a, sizeof *q);
    unsigned char from[4];
    *q = (struct ledger_query){.arena = a, .max = max, .n = n};
    if (from_ms < to_ms)
        q->until = sums_until(to_ms);
    key_u32(from, sums_hour(from_ms));
    db_place_set(&q->place, str_make((const char *)from, sizeof from));
    q->groupings = arena_array(a, n, sizeof *q->groupings);
    for (size_t i = 0; i < n; i++)
        q->groupings[i] =
            (struct grouping){.by = group_by[i], .buckets = arena_array(a, BUCKETS, sizeof(struct bucket *))};
    return q;
}

bool ledger_query_step(struct ledger_query *q, struct db_txn *t, unsigned at_most) {
    return db_some(t, TABLE_SUMS, &q->place, at_most, take_sum, q);
}

void ledger_query_sums(struct ledger_query *q, size_t i, struct ledger_sums *out) {
    struct grouping *g = &q->groupings[i];
    if (g->n)
        qsort(g->rows, g->n, sizeof(struct ledger_sum *), by_group);
    *out = (struct ledger_sums){.rows = arena_array(q->arena, g->n ? g->n : 1, sizeof *out->rows),
                                .n = g->n,
                                .total = q->total,
                                .truncated = g->truncated};
    for (size_t r = 0; r < g->n; r++)
        out->rows[r] = *g->rows[r];
}

struct ledger_sum *ledger_query(struct arena *a, struct db_txn *t, int64_t from_ms, int64_t to_ms,
                                unsigned group_by, size_t max, size_t *n, struct ledger_sum *total,
                                bool *truncated) {
    struct ledger_sums sums;
    struct ledger_query *q = ledger_query_new(a, from_ms, to_ms, &group_by, 1, max);
    ledger_query_step(q, t, UINT_MAX);
    ledger_query_sums(q, 0, &sums);
    *n = sums.n;
    *total = sums.total;
    *truncated = sums.truncated;
    return sums.rows;
}

/* --- money alone --- */

struct costs {
    void (*fn)(void *arg, int64_t hour_ms, const struct ledger_sum *names, int64_t cost_nano);
    void *arg;
};

static bool take_cost(void *arg, struct str key, struct str value) {
    const struct costs *c = arg;
    struct sums_names n;
    struct sums sums;
    if (sums_read_key(key, &n) && sums_unpack(value, &sums) && sums.cost_nano > 0)
        c->fn(
            c->arg, (int64_t)n.hour * HOUR_MS,
            &(struct ledger_sum){.key = n.key, .tenant = n.tenant, .provider = n.provider, .model = n.model},
            sums.cost_nano);
    return true;
}

void ledger_each_cost(struct db_txn *t, int64_t from_ms,
                      void (*fn)(void *arg, int64_t hour_ms, const struct ledger_sum *names,
                                 int64_t cost_nano),
                      void *arg) {
    struct costs c = {fn, arg};
    unsigned char from[4];
    key_u32(from, sums_hour(from_ms));
    db_each(t, TABLE_SUMS, str_make((const char *)from, sizeof from), take_cost, &c);
}
