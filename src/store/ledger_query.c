/* What the ledger tells: sums over a span of time, grouped as asked. One walk over the hourly sums inside one
 * read transaction; names are copied out of the map before it ends. */
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "pack.h"
#include "sums.h"
#include <stdlib.h>

struct bucket { /* of the hash table: a group, and what it is found by */
    uint64_t hash;
    uint32_t span; /* day or hour number, 0 when not grouped by time */
    struct bucket *next;
    struct ledger_sum *row;
};
enum { BUCKETS = 4096 };

struct query {
    struct arena *arena;
    unsigned group_by;
    uint32_t until; /* first hour that does not count */
    size_t max, n, cap;
    struct ledger_sum **rows;
    struct bucket **buckets;
    struct ledger_sum *total;
    bool truncated;
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

static uint32_t span_of(const struct query *q, uint32_t hour) {
    return q->group_by & GROUP_HOUR ? hour : q->group_by & GROUP_DAY ? hour / 24 : 0;
}

/* Names that are not grouped by are empty from here on. */
static void mask(const struct query *q, struct sums_names *n) {
    if (!(q->group_by & GROUP_KEY))
        n->key = STR_NONE;
    if (!(q->group_by & GROUP_TENANT))
        n->tenant = STR_NONE;
    if (!(q->group_by & GROUP_PROVIDER))
        n->provider = STR_NONE;
    if (!(q->group_by & GROUP_MODEL))
        n->model = STR_NONE;
    if (!(q->group_by & GROUP_SURFACE))
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

static struct ledger_sum *new_row(struct query *q, const struct sums_names *n) {
    char when[CLOCK_RFC3339_SIZE];
    struct ledger_sum *row = arena_alloc(q->arena, sizeof *row);
    row->key = arena_dup(q->arena, n->key);
    row->tenant = arena_dup(q->arena, n->tenant);
    row->provider = arena_dup(q->arena, n->provider);
    row->model = arena_dup(q->arena, n->model);
    row->surface = arena_dup(q->arena, n->surface);
    clock_rfc3339(when, (int64_t)n->hour * HOUR_MS);
    if (q->group_by & GROUP_DAY)
        row->day = arena_dup(q->arena, str_make(when, 10));
    if (q->group_by & GROUP_HOUR)
        row->hour = arena_printf(q->arena, "%.19sZ", when);
    if (q->n == q->cap) {
        size_t cap = q->cap ? q->cap * 2 : 64;
        struct ledger_sum **rows = arena_array(q->arena, cap, sizeof(struct ledger_sum *));
        if (q->n)
            memcpy(rows, q->rows, q->n * sizeof *rows);
        q->rows = rows;
        q->cap = cap;
    }
    return q->rows[q->n++] = row;
}

static struct ledger_sum *row_for(struct query *q, const struct sums_names *n) {
    uint32_t span = span_of(q, n->hour);
    uint64_t hash = hash_group(span, n);
    struct bucket **at = &q->buckets[hash % BUCKETS];
    for (struct bucket *b = *at; b; b = b->next) {
        if (same_group(b, hash, span, n))
            return b->row;
    }
    if (q->n == q->max) {
        q->truncated = true;
        return NULL;
    }
    struct bucket *b = arena_alloc(q->arena, sizeof *b);
    *b = (struct bucket){.hash = hash, .span = span, .next = *at, .row = new_row(q, n)};
    *at = b;
    return b->row;
}

static bool take_sum(void *arg, struct str key, struct str value) {
    struct query *q = arg;
    struct sums_names names;
    struct sums sums;
    if (!sums_read_key(key, &names) || !sums_unpack(value, &sums))
        return true; /* damaged: the writer says so */
    if (names.hour >= q->until)
        return false;
    mask(q, &names);
    struct ledger_sum *row = row_for(q, &names);
    if (row)
        add_to(row, &sums);
    add_to(q->total, &sums);
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

struct ledger_sum *ledger_query(struct arena *a, struct db_txn *t, int64_t from_ms, int64_t to_ms,
                                unsigned group_by, size_t max, size_t *n, struct ledger_sum *total,
                                bool *truncated) {
    *total = (struct ledger_sum){0};
    struct query q = {.arena = a,
                      .group_by = group_by,
                      .max = max,
                      .until = to_ms > 0 ? sums_hour(to_ms - 1) : 0,
                      .buckets = arena_array(a, BUCKETS, sizeof(struct bucket *)),
                      .total = total};
    if (q.until < UINT32_MAX)
        q.until += to_ms > 0;
    unsigned char from[4];
    key_u32(from, sums_hour(from_ms));
    if (from_ms < to_ms)
        db_each(t, TABLE_SUMS, str_make((const char *)from, sizeof from), take_sum, &q);
    if (q.n)
        qsort(q.rows, q.n, sizeof(struct ledger_sum *), by_group);
    struct ledger_sum *out = arena_array(a, q.n ? q.n : 1, sizeof *out);
    for (size_t i = 0; i < q.n; i++)
        out[i] = *q.rows[i];
    *n = q.n;
    *truncated = q.truncated;
    return out;
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
