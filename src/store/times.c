/* Times of answers by the hour. Key {hour u32, provider \0 model}; value a version, the sums, and the buckets
 * that have something in them. */
#include "store/times.h"

#include <limits.h>

#include "base/die.h"
#include "pack.h"
#include "sums.h"

enum {
    VERSION = 1,
    KEY_MAX = 4 + 128 + 1 + 256,
    GATHER_MAX = 64,
    PACKED_MAX = 1 + 3 * 8 + 2 + 8 * TIMES_BUCKETS
};
_Static_assert(KEY_MAX <= 511, "a key of LMDB");

/* --- one histogram --- */

/* floor(2 * log2(ms)), in integers. */
static unsigned bucket_of(uint64_t ms) {
    const uint64_t most = UINT64_C(1) << (TIMES_BUCKETS / 2);
    if (ms < 2)
        return 0;
    if (ms >= most)
        return TIMES_BUCKETS - 1;
    unsigned k = 63 - (unsigned)__builtin_clzll(ms);
    return 2 * k + (ms * ms >= UINT64_C(1) << (2 * k + 1));
}

static double bound(unsigned i) {
    const double root = 1.4142135623730951;
    return i == 0 ? 0 : (double)(UINT64_C(1) << (i / 2)) * (i % 2 ? root : 1);
}

static void add(uint64_t *to, uint64_t n) {
    if (__builtin_add_overflow(*to, n, to))
        *to = UINT64_MAX;
}

void times_add(struct times *t, uint64_t ms) {
    add(&t->n, 1);
    add(&t->ms, ms);
    add(&t->count[bucket_of(ms)], 1);
    t->most = ms > t->most ? ms : t->most;
}

void times_merge(struct times *to, const struct times *more) {
    add(&to->n, more->n);
    add(&to->ms, more->ms);
    to->most = more->most > to->most ? more->most : to->most;
    for (unsigned i = 0; i < TIMES_BUCKETS; i++)
        add(&to->count[i], more->count[i]);
}

double times_average(const struct times *t) {
    return t->n ? (double)t->ms / (double)t->n : 0;
}

double times_quantile(const struct times *t, double q) {
    double rank = q * (double)t->n, below = 0, most = (double)t->most;
    for (unsigned i = 0; i < TIMES_BUCKETS; i++) {
        double here = (double)t->count[i];
        if (here <= 0 || below + here < rank) {
            below += here;
            continue;
        }
        double from = bound(i), to = i + 1 < TIMES_BUCKETS ? bound(i + 1) : most;
        to = to < most ? to : most;
        from = from < to ? from : to;
        return from + (to - from) * (rank - below) / here;
    }
    return most;
}

/* --- its bytes --- */

static size_t pack(char out[PACKED_MAX], const struct times *t) {
    unsigned first = 0, last = TIMES_BUCKETS;
    while (first < last && !t->count[first])
        first++;
    while (last > first && !t->count[last - 1])
        last--;
    char *to = pack_u8(out, VERSION);
    to = pack_u64(to, t->n);
    to = pack_u64(to, t->ms);
    to = pack_u64(to, t->most);
    to = pack_u8(to, first);
    to = pack_u8(to, last - first);
    for (unsigned i = first; i < last; i++)
        to = pack_u64(to, t->count[i]);
    return (size_t)(to - out);
}

static bool unpack(struct str packed, struct times *t) {
    struct unpack u = {.p = packed.p, .n = packed.n};
    unsigned version = unpack_u8(&u);
    *t = (struct times){.n = unpack_u64(&u)};
    t->ms = unpack_u64(&u);
    t->most = unpack_u64(&u);
    unsigned first = unpack_u8(&u), n = unpack_u8(&u);
    if (version != VERSION || u.bad || first + n > TIMES_BUCKETS)
        return false;
    for (unsigned i = first; i < first + n; i++)
        t->count[i] = unpack_u64(&u);
    return !u.bad && u.n == 0;
}

/* --- the batch --- */

struct gathered {
    unsigned char key[KEY_MAX];
    size_t n;
    struct times times;
};
/* There is one ledger and one writer, so there is one of these. */
static struct {
    struct gathered *list;
    size_t n;
} batch;

static size_t put(unsigned char *to, struct str s, size_t most) {
    s = pack_cut(s, most);
    for (size_t i = 0; i < s.n; i++)
        to[i] = s.p[i] ? (unsigned char)s.p[i] : '?'; /* NUL parts the names */
    return s.n;
}

static struct gathered *group(struct db_txn *t, const unsigned char *key, size_t n) {
    for (size_t i = 0; i < batch.n; i++)
        if (batch.list[i].n == n && memcmp(batch.list[i].key, key, n) == 0)
            return &batch.list[i];
    if (batch.n == GATHER_MAX)
        times_flush(t);
    if (!batch.list)
        batch.list = mem_array(GATHER_MAX, sizeof *batch.list);
    struct gathered *g = &batch.list[batch.n++];
    *g = (struct gathered){.n = n};
    memcpy(g->key, key, n);
    return g;
}

void times_gather(struct db_txn *t, const struct ledger_row *r) {
    unsigned char key[KEY_MAX];
    bool cached = r->cache == LEDGER_CACHE_HIT || r->cache == LEDGER_CACHE_SEMANTIC;
    if (ledger_failed(r) || (!cached && !r->provider.n))
        return;
    key_u32(key, sums_hour(r->wall_ms));
    size_t n = 4 + put(key + 4, cached ? STR_NONE : r->provider, 128);
    key[n++] = 0;
    n += put(key + n, r->model, 256);
    times_add(&group(t, key, n)->times, r->ms);
}

void times_flush(struct db_txn *t) {
    for (size_t i = 0; t && i < batch.n; i++) {
        struct gathered *g = &batch.list[i];
        struct str key = str_make((const char *)g->key, g->n), was;
        struct times times;
        char packed[PACKED_MAX];
        if (db_get(t, TABLE_TIMES, key, &was) && unpack(was, &times)) /* damaged: begins anew */
            times_merge(&g->times, &times);
        db_put(t, TABLE_TIMES, key, str_make(packed, pack(packed, &g->times)));
    }
    batch.n = 0;
}

/* --- reading --- */

static bool take(void *arg, struct str key, struct str value) {
    const struct times_walk *w = arg;
    struct times times;
    struct str names = str_skip(key, 4);
    const char *end = names.n ? memchr(names.p, 0, names.n) : NULL;
    if (key.n >= 4 && key_read_u32(key.p) >= w->until)
        return false;
    if (!end || !unpack(value, &times))
        return true;
    size_t n = (size_t)(end - names.p);
    w->fn(w->arg, str_make(names.p, n), str_skip(names, n + 1), &times);
    return true;
}

void times_walk_init(struct times_walk *w, int64_t from_ms, int64_t to_ms, times_fn *fn, void *arg) {
    unsigned char from[4];
    *w = (struct times_walk){.fn = fn, .arg = arg};
    if (from_ms < to_ms)
        w->until = sums_until(to_ms);
    key_u32(from, sums_hour(from_ms));
    db_place_set(&w->place, str_make((const char *)from, sizeof from));
}

bool times_walk_step(struct times_walk *w, struct db_txn *t, unsigned at_most) {
    return db_some(t, TABLE_TIMES, &w->place, at_most, take, w);
}

void times_each(struct db_txn *t, int64_t from_ms, int64_t to_ms, times_fn *fn, void *arg) {
    struct times_walk w;
    times_walk_init(&w, from_ms, to_ms, fn, arg);
    times_walk_step(&w, t, UINT_MAX);
}
