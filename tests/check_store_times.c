/* Times of answers: the buckets, what is counted, and that a batch is written whole or not at all. */
#include "store/times.h"
#include "store_cases.h"
#include <stdio.h>

#define HOUR ((int64_t)3600000)

static char err[256];

START_TEST(test_quantiles) {
    struct times t = {0}, more = {0};
    ck_assert(times_average(&t) <= 0 && times_quantile(&t, 0.95) <= 0);
    for (uint64_t ms = 0; ms < 1000; ms++)
        times_add(&t, ms);
    ck_assert_uint_eq(t.n, 1000);
    ck_assert_double_eq_tol(times_average(&t), 499.5, 0.001);
    ck_assert_double_eq_tol(times_quantile(&t, 0.5), 500, 25); /* exact to a part of a bucket */
    ck_assert_double_eq_tol(times_quantile(&t, 0.95), 950, 30);
    ck_assert_double_eq_tol(times_quantile(&t, 1), 999, 0.001);
    times_add(&more, UINT64_MAX / 2);
    times_add(&more, 3600000);
    ck_assert_uint_eq(more.count[TIMES_BUCKETS - 1], 1);
    times_merge(&t, &more);
    ck_assert_uint_eq(t.n, 1002);
    ck_assert_uint_eq(t.most, UINT64_MAX / 2);
    times_merge(&t, &more); /* sums stop at the end of the range */
    times_merge(&t, &more);
    ck_assert_uint_eq(t.ms, UINT64_MAX);
}
END_TEST

/* Each time lies within the bounds of its bucket: between two powers of the root of two. */
START_TEST(test_buckets) {
    for (uint64_t ms = 1; ms < UINT64_C(1) << 23; ms = ms + 1 + ms / 1000) {
        struct times t = {0};
        unsigned i = 0;
        times_add(&t, ms);
        while (!t.count[i])
            i++;
        ck_assert_msg(ms * ms < UINT64_C(1) << (i + 1) && (i == 0 || ms * ms >= UINT64_C(1) << i), "%u: %llu",
                      i, (unsigned long long)ms);
    }
}
END_TEST

static void append(struct db_txn *t, int64_t wall_ms, const char *provider, const char *model, uint32_t ms,
                   int status, enum ledger_cache cache) {
    struct ledger_row r = {.wall_ms = wall_ms,
                           .provider = str_of(provider),
                           .model = str_of(model),
                           .ms = ms,
                           .status = status,
                           .cache = cache};
    struct buf b;
    buf_init(&b, 0);
    ledger_pack(&b, &r);
    ledger_append(t, buf_str(&b));
    buf_free(&b);
}

struct seen {
    char names[1024];
    struct times all;
};

static void see(void *arg, struct str provider, struct str model, const struct times *times) {
    struct seen *s = arg;
    size_t n = strlen(s->names);
    snprintf(s->names + n, sizeof s->names - n, STR_FMT "/" STR_FMT ":%u ", STR_ARG(provider), STR_ARG(model),
             (unsigned)times->n);
    times_merge(&s->all, times);
}

static struct seen seen(struct db *d, int64_t from, int64_t to) {
    struct seen s = {.names = ""};
    struct db_txn *t = db_begin(d, false);
    times_each(t, from, to, see, &s);
    db_end(t);
    return s;
}

START_TEST(test_hours) {
    struct db *d = db_open(in_tmp("ledger"), DB_WRITE, 64 << 20, ledger_tables, err);
    ck_assert_msg(d, "%s", err);
    struct db_txn *t = db_begin(d, true);
    ledger_begin(t);
    int64_t at = 400000 * HOUR;
    append(t, at, "a", "m", 10, 200, LEDGER_CACHE_OFF);
    append(t, at + 5, "a", "m", 30, 200, LEDGER_CACHE_MISS);
    append(t, at + 6, "a", "m", 1, 200, LEDGER_CACHE_HIT);
    append(t, at + 7, "a", "m", 9999, 500, LEDGER_CACHE_OFF); /* no answer */
    append(t, at + 8, "", "", 9999, 401, LEDGER_CACHE_OFF);
    append(t, at + HOUR, "a", "n", 50, 200, LEDGER_CACHE_OFF);
    for (int i = 0; i < 200; i++) { /* more than are gathered at once */
        char model[16];
        snprintf(model, sizeof model, "x%d", i);
        append(t, at + 9 * HOUR, "b", model, 7, 200, LEDGER_CACHE_OFF);
    }
    ck_assert_msg(db_commit(t, err) == 0, "%s", err);
    t = db_begin(d, true);
    append(t, at + 1, "a", "m", 20, 200, LEDGER_CACHE_OFF); /* what came late is added */
    ck_assert_msg(db_commit(t, err) == 0, "%s", err);
    t = db_begin(d, true);
    append(t, at + 2, "a", "m", 20, 200, LEDGER_CACHE_OFF);
    db_end(t); /* given up */
    t = db_begin(d, true);
    append(t, at + 3, "a", "m", 20, 200, LEDGER_CACHE_OFF);
    ck_assert_msg(db_commit(t, err) == 0, "%s", err);

    struct seen s = seen(d, at, at + 2 * HOUR);
    ck_assert_str_eq(s.names, "/m:1 a/m:4 a/n:1 ");
    ck_assert_uint_eq(s.all.ms, 10 + 30 + 1 + 20 + 20 + 50);
    ck_assert_str_eq(seen(d, at + HOUR, at + 2 * HOUR).names, "a/n:1 ");
    ck_assert_str_eq(seen(d, at + HOUR / 2, at + HOUR).names, "/m:1 a/m:4 "); /* hours that are touched */
    ck_assert_uint_eq(seen(d, at + 2 * HOUR, at + 100 * HOUR).all.n, 200);
    ck_assert_str_eq(seen(d, at + HOUR, at + HOUR).names, "");
    ck_assert_uint_eq(seen(d, -5, INT64_MAX).all.n, 206);

    struct seen some = {.names = ""};
    struct times_walk walk;
    unsigned steps = 0;
    times_walk_init(&walk, at, at + 2 * HOUR, see, &some);
    for (bool more = true; more; steps++) {
        t = db_begin(d, false);
        more = times_walk_step(&walk, t, 1);
        db_end(t);
    }
    ck_assert_str_eq(some.names, s.names);
    ck_assert_uint_eq(steps, 4); /* three, and the one behind them */
    db_close(d);
}
END_TEST

TCase *times_cases(void) {
    TCase *c = tcase_create("times");
    tcase_add_checked_fixture(c, make_tmp, drop_tmp);
    tcase_add_test(c, test_quantiles);
    tcase_add_test(c, test_buckets);
    tcase_add_test(c, test_hours);
    return c;
}
