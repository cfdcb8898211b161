/* The ledger's chain of records, and the sums: what was changed by hand is found, and sums are those of the
 * records whatever is priced anew, trimmed, given up and opened again. */
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "store_cases.h"
#include <stdio.h>

#define HOUR ((int64_t)3600000)
#define MIB  ((uint64_t)1 << 20)

enum { RECORDS, SUMS }; /* tables */

static char err[256];

static struct db *open_ledger(void) {
    struct db *d = db_open(in_tmp("ledger"), DB_WRITE, 64 * MIB, ledger_tables, err);
    ck_assert_msg(d, "%s", err);
    struct db_txn *t = db_begin(d, true);
    ledger_begin(t);
    ck_assert_msg(db_commit(t, err) == 0, "%s", err);
    return d;
}

static void must_commit(struct db_txn *t) {
    ck_assert_msg(db_commit(t, err) == 0, "%s", err);
}

static void append(struct db_txn *t, const struct ledger_row *r) {
    struct buf b;
    buf_init(&b, 0);
    ledger_pack(&b, r);
    ledger_append(t, buf_str(&b));
    buf_free(&b);
}

static void add_rows(struct db *d, unsigned n, int64_t wall_ms) {
    struct db_txn *t = db_begin(d, true);
    for (unsigned i = 0; i < n; i++) {
        struct ledger_row r = sample_row();
        r.wall_ms = wall_ms + (int64_t)i * HOUR / 2;
        append(t, &r);
    }
    must_commit(t);
}

static struct ledger_verdict verify_by(struct db *d, unsigned step, struct ledger_verify *v) {
    bool more = true;
    while (more) {
        struct db_txn *t = db_begin(d, false);
        more = ledger_verify_step(v, t, step);
        ck_assert(db_txn_trouble(t) == DB_FINE);
        db_end(t);
    }
    struct ledger_verdict out = *ledger_verify_verdict(v);
    ledger_verify_free(v);
    ck_assert_int_eq(out.ok, out.why == NULL);
    return out;
}

static struct ledger_verdict verify(struct db *d) {
    struct ledger_verdict small = verify_by(d, 3, ledger_verify_new()),
                          large = verify_by(d, 100000, ledger_verify_new());
    ck_assert(small.ok == large.ok && small.number == large.number && small.hour_ms == large.hour_ms);
    return large;
}

static void must_be_whole(struct db *d) {
    struct ledger_verdict v = verify(d);
    ck_assert_msg(v.ok, "record %llu, hour %lld: %s", (unsigned long long)v.number, (long long)v.hour_ms,
                  v.why);
}

/* --- tampering --- */

static struct str number_key(unsigned char key[8], uint64_t number) {
    for (int i = 0; i < 8; i++)
        key[i] = (unsigned char)(number >> (56 - 8 * i));
    return str_make((const char *)key, 8);
}

static void put(struct db *d, unsigned table, struct str key, struct str value) {
    struct db_txn *t = db_begin(d, true);
    db_put(t, table, key, value);
    must_commit(t);
}

static struct str get(struct db *d, unsigned table, struct str key, char copy[4096]) {
    struct str v;
    struct db_txn *t = db_begin(d, false);
    ck_assert(db_get(t, table, key, &v) && v.n <= 4096);
    memcpy(copy, v.p, v.n);
    size_t n = v.n;
    db_end(t);
    return str_make(copy, n);
}

static void take_out(struct db *d, struct str key) {
    struct db_txn *t = db_begin(d, true);
    ck_assert(db_delete(t, RECORDS, key));
    must_commit(t);
}

static void must_be_broken_at(struct db *d, uint64_t number) {
    struct ledger_verdict v = verify(d);
    ck_assert(!v.ok && v.at_record);
    ck_assert_msg(v.number == number, "%llu: %s", (unsigned long long)v.number, v.why);
}

START_TEST(test_chain_tampered) {
    struct db *d = open_ledger();
    char was[4096], other[4096];
    unsigned char key[8], key2[8];
    must_be_whole(d); /* an empty one */
    add_rows(d, 10, 500000 * HOUR);
    must_be_whole(d);
    for (uint64_t i = 0; i < 10; i++) {
        struct str k = number_key(key, i), v = get(d, RECORDS, k, was);
        for (unsigned n = 0; n < 40; n++) { /* any bit of any byte */
            memcpy(other, was, v.n);
            other[random_u64() % v.n] ^= (char)(1u << random_u64() % 8);
            put(d, RECORDS, k, str_make(other, v.n));
            struct ledger_verdict bad = verify(d);
            ck_assert(!bad.ok && bad.at_record && bad.number >= i && bad.number <= i + 1);
        }
        put(d, RECORDS, k, str_make(v.p, v.n - 1));
        must_be_broken_at(d, i);
        put(d, RECORDS, k, v);
        take_out(d, k);
        must_be_broken_at(d, i);
        put(d, RECORDS, k, v);
        must_be_whole(d);
    }
    struct str v = get(d, RECORDS, number_key(key, 4), was);
    put(d, RECORDS, number_key(key2, 10), v); /* a copy of an old one at the end */
    must_be_broken_at(d, 10);
    take_out(d, number_key(key2, 10));
    memcpy(other, v.p, v.n);
    other[39] = 10; /* it says its number as well */
    put(d, RECORDS, number_key(key2, 10), str_make(other, v.n));
    must_be_broken_at(d, 10);
    add_rows(d, 2, 500000 * HOUR); /* the next ones take its place */
    must_be_whole(d);
    put(d, RECORDS, str_make("\0\0\0\0\0\0\0\3x", 9), v);
    must_be_broken_at(d, 4);
    db_close(d);
}
END_TEST

START_TEST(test_chain_noted) {
    struct db *d = open_ledger();
    add_rows(d, 5, 500000 * HOUR);
    struct ledger_verdict v = verify(d);
    ck_assert(v.ok && v.first == 0 && v.last == 4 && v.records == 5 && v.hours == 3 && !v.noted);
    add_rows(d, 5, 500000 * HOUR);
    struct ledger_verify *again = ledger_verify_new();
    ledger_verify_note(again, v.last, v.hash);
    struct ledger_verdict later = verify_by(d, 2, again);
    ck_assert(later.ok && later.noted && later.last == 9 && memcmp(v.hash, later.hash, 32) != 0);
    v.hash[5] ^= 1;
    again = ledger_verify_new();
    ledger_verify_note(again, v.last, v.hash);
    later = verify_by(d, 2, again);
    ck_assert(!later.ok && later.at_record && later.number == 4);
    again = ledger_verify_new();
    ledger_verify_note(again, 99, v.hash);
    later = verify_by(d, 2, again);
    ck_assert(!later.ok && later.number == 99);
    db_close(d);
}
END_TEST

struct first_sum {
    char key[600], value[200];
    size_t key_n, value_n;
};

static bool take_first(void *arg, struct str key, struct str value) {
    struct first_sum *s = arg;
    memcpy(s->key, key.p, s->key_n = key.n);
    memcpy(s->value, value.p, s->value_n = value.n);
    return false;
}

START_TEST(test_sums_tampered) {
    struct db *d = open_ledger();
    struct first_sum s;
    char other[200];
    add_rows(d, 6, 500000 * HOUR);
    struct db_txn *t = db_begin(d, false);
    db_each(t, SUMS, STR_NONE, take_first, &s);
    db_end(t);
    struct str key = str_make(s.key, s.key_n), value = str_make(s.value, s.value_n);
    for (size_t i = 1; i < s.value_n; i++) { /* each byte counts */
        memcpy(other, s.value, s.value_n);
        other[i] ^= 1;
        put(d, SUMS, key, str_make(other, s.value_n));
        struct ledger_verdict v = verify(d);
        ck_assert(!v.ok && !v.at_record && v.hour_ms == 500000 * HOUR);
    }
    t = db_begin(d, true);
    ck_assert(db_delete(t, SUMS, key));
    must_commit(t);
    ck_assert(!verify(d).ok);
    s.key[4] ^= 1; /* another key's */
    put(d, SUMS, str_make(s.key, s.key_n), value);
    ck_assert(!verify(d).ok);
    s.key[4] ^= 1;
    t = db_begin(d, true);
    s.key[4] ^= 1;
    ck_assert(db_delete(t, SUMS, str_make(s.key, s.key_n)));
    s.key[4] ^= 1;
    must_commit(t);
    put(d, SUMS, key, value);
    must_be_whole(d);
    s.key[0] ^= 1; /* an hour without records */
    put(d, SUMS, str_make(s.key, s.key_n), value);
    ck_assert(!verify(d).ok);
    db_close(d);
}
END_TEST

/* --- retention --- */

START_TEST(test_chain_trimmed) {
    struct db *d = open_ledger();
    char was[4096];
    unsigned char key[8];
    add_rows(d, 10, 500000 * HOUR); /* two in each hour */
    struct db_txn *t = db_begin(d, true);
    ledger_trim(t, 500002 * HOUR, 3);
    must_commit(t);
    t = db_begin(d, true);
    ck_assert_uint_eq(ledger_rows(t), 7);
    ledger_trim(t, 500002 * HOUR, 100);
    ck_assert_uint_eq(ledger_rows(t), 6);
    must_commit(t);
    struct ledger_verdict v = verify(d);
    ck_assert(v.ok && v.first == 4 && v.last == 9 && v.records == 6 && v.hours == 3);
    t = db_begin(d, true); /* in one with rows */
    ledger_trim(t, 500003 * HOUR, 1);
    struct ledger_row r = sample_row();
    r.wall_ms = 500001 * HOUR; /* late: of an hour whose records have gone */
    append(t, &r);
    must_commit(t);
    v = verify(d);
    ck_assert_msg(v.ok && v.first == 5 && v.last == 10 && v.hours == 2, "%s", v.why);
    get(d, RECORDS, number_key(key, 5), was);
    take_out(d, number_key(key, 5)); /* by hand: the base knows of it */
    must_be_broken_at(d, 5);
    db_close(d);
}
END_TEST

/* A walk that is overtaken by what goes and by what comes. */
START_TEST(test_verify_beside_writer) {
    struct db *d = open_ledger();
    add_rows(d, 40, 500000 * HOUR);
    struct ledger_verify *v = ledger_verify_new();
    for (unsigned i = 0; i < 12; i++) {
        struct db_txn *t = db_begin(d, false);
        ck_assert(ledger_verify_step(v, t, 2));
        db_end(t);
        t = db_begin(d, true);
        ledger_trim(t, 500100 * HOUR, 4);
        must_commit(t);
        add_rows(d, 3, 500000 * HOUR + (int64_t)i * HOUR);
    }
    struct ledger_verdict out = verify_by(d, 7, v);
    ck_assert_msg(out.ok && out.last == 75, "%s", out.why);
    must_be_whole(d);
    db_close(d);
}
END_TEST

START_TEST(test_clock_of_the_future) {
    struct db *d = open_ledger();
    int64_t oldest, now = clock_wall_ms();
    add_rows(d, 3, now + 1000 * HOUR);
    add_rows(d, 1, now - 5 * HOUR);
    add_rows(d, 1, now - 2 * HOUR);
    struct db_txn *t = db_begin(d, true);
    ck_assert(ledger_oldest(t, &oldest) && oldest == now - 5 * HOUR);
    ledger_trim(t, now - 10 * HOUR, 100);
    ck_assert_uint_eq(ledger_rows(t), 5);
    ledger_trim(t, now - 3 * HOUR, 100); /* with the one that is old behind them */
    ck_assert_uint_eq(ledger_rows(t), 1);
    must_commit(t);
    must_be_whole(d);
    db_close(d);
}
END_TEST

/* --- anything may happen --- */

enum { ROWS_MOST = 4000, KEYS = 3, MODELS = 4, HOURS = 5 };

struct model { /* what ought to be */
    struct ledger_row row[ROWS_MOST];
    size_t n, kept_from; /* rows of before that are trimmed */
    uint64_t factor;     /* of today's price */
};
static struct model model;

static const char *const keys[KEYS] = {"a", "b", ""};
static const char *const models[MODELS] = {"m1", "m2", "m3", "free"};
static const char *const surfaces[2] = {"chat", "embeddings"};

static int64_t price_now(const struct ledger_row *r) {
    if (str_is(r->model, "m3") && model.factor % 3 == 0)
        return -1;
    return str_is(r->model, "free") ? 0 : (int64_t)(r->usage.input * model.factor + r->usage.output * 7);
}

static int64_t price_row(void *arg, const struct ledger_row *r) {
    (void)arg;
    return price_now(r);
}

static struct ledger_row random_row(void) {
    struct ledger_row r = sample_row();
    r.wall_ms = 500000 * HOUR + (int64_t)(random_u64() % (HOURS * (uint64_t)HOUR));
    r.key = str_of(keys[random_u64() % KEYS]);
    r.model = str_of(models[random_u64() % MODELS]);
    r.surface = str_of(surfaces[random_u64() % 2]);
    r.status = random_u64() % 5 ? 200 : 500;
    r.usage.input = random_u64() % 100000;
    r.usage.output = random_u64() % 5000;
    r.usage.cache_write = random_u64() % 100;
    r.state = (enum ledger_state)(random_u64() % 3);
    r.attempts = 0;
    r.cost_nano = price_now(&r);
    return r;
}

static void some_rows(struct db *d) {
    size_t n = random_u64() % 40, from = model.n;
    bool given_up = random_u64() % 5 == 0;
    struct db_txn *t = db_begin(d, true);
    for (size_t i = 0; i < n && model.n < ROWS_MOST; i++) {
        model.row[model.n] = random_row();
        append(t, &model.row[model.n++]);
    }
    if (!given_up) {
        must_commit(t);
        return;
    }
    db_end(t);
    model.n = from;
}

static bool hour_is_whole(int64_t hour) {
    for (size_t i = 0; i < model.kept_from; i++)
        if (model.row[i].wall_ms / HOUR == hour)
            return false;
    return true;
}

static void reprice(struct db *d) {
    uint32_t from = 500000 + (uint32_t)(random_u64() % HOURS),
             until = from + 1 + (uint32_t)(random_u64() % 3);
    struct ledger_job j = {
        .asked_ms = (int64_t)(random_u64() % 1000000), .number = random_u64(), .by = STR("boss")};
    j.from_hour = j.next_hour = from;
    j.until_hour = until;
    model.factor = random_u64() % 1000;
    struct ledger_reprice *r = ledger_reprice_new(price_row, NULL);
    struct db_txn *t = db_begin(d, true);
    ledger_job_add(t, &j);
    must_commit(t);
    enum ledger_step s = LEDGER_STEP_MORE;
    while (s != LEDGER_STEP_END) {
        t = db_begin(d, true);
        s = ledger_reprice_walk(r, t, &j, 1 + (unsigned)(random_u64() % 50));
        if (s == LEDGER_STEP_HOUR)
            ledger_reprice_hour(r, t, &j, clock_wall_ms());
        else if (s == LEDGER_STEP_END)
            ledger_reprice_end(t, &j, STR_NONE);
        must_commit(t);
        if (s == LEDGER_STEP_MORE && random_u64() % 4 == 0)
            some_rows(d); /* meanwhile */
    }
    ledger_reprice_free(r);
    for (size_t i = 0; i < model.n; i++) {
        int64_t hour = model.row[i].wall_ms / HOUR;
        if (hour >= from && hour < until && hour_is_whole(hour))
            model.row[i].cost_nano = price_now(&model.row[i]);
    }
    t = db_begin(d, false);
    struct ledger_job is;
    ck_assert(ledger_job_get(t, j.asked_ms, j.number, &is) && is.done && str_is(is.by, "boss"));
    ck_assert(!ledger_job_pending(t, &is));
    db_end(t);
}

static void trim_some(struct db *d) {
    struct db_txn *t = db_begin(d, true);
    ledger_trim(t, INT64_MAX, (unsigned)(random_u64() % 30));
    must_commit(t);
}

/* Rows are in the order of their records; corrections are among these. */
static void look_what_is_kept(struct db *d) {
    struct ledger_verdict v = verify(d);
    ck_assert_msg(v.ok, "record %llu, hour %lld: %s", (unsigned long long)v.number, (long long)v.hour_ms,
                  v.why);
    model.kept_from = model.n - (size_t)(v.records - v.corrections);
}

static bool in_group(const struct ledger_sum *s, unsigned by, const struct ledger_row *r) {
    char when[CLOCK_RFC3339_SIZE];
    clock_rfc3339(when, r->wall_ms);
    return (!(by & GROUP_KEY) || str_eq(s->key, r->key)) &&
           (!(by & GROUP_MODEL) || str_eq(s->model, r->model)) &&
           (!(by & GROUP_SURFACE) || str_eq(s->surface, r->surface)) &&
           (!(by & GROUP_TENANT) || str_eq(s->tenant, r->tenant)) &&
           (!(by & GROUP_PROVIDER) || str_eq(s->provider, r->provider)) &&
           (!(by & GROUP_DAY) || str_eq(s->day, str_make(when, 10))) &&
           (!(by & GROUP_HOUR) || memcmp(s->hour.p, when, 13) == 0);
}

static void compare(struct db *d, unsigned by) {
    struct arena *a = arena_new(0);
    struct ledger_sum total;
    size_t n;
    bool cut;
    uint64_t seen = 0;
    struct db_txn *t = db_begin(d, false);
    struct ledger_sum *s = ledger_query(a, t, 0, INT64_MAX, by, 100000, &n, &total, &cut);
    db_end(t);
    for (size_t i = 0; i < n; i++) {
        struct ledger_sum want = {.requests = 0};
        for (size_t k = 0; k < model.n; k++) {
            const struct ledger_row *r = &model.row[k];
            if (!in_group(&s[i], by, r))
                continue;
            want.requests++;
            want.errors += r->status >= 400;
            want.input_tokens += r->usage.input;
            want.output_tokens += r->usage.output;
            want.cache_write_tokens += r->usage.cache_write;
            want.estimated += r->state == LEDGER_ESTIMATED;
            want.unknown += r->state == LEDGER_UNKNOWN;
            want.unpriced += r->cost_nano < 0;
            want.cost_nano += r->cost_nano < 0 ? 0 : r->cost_nano;
        }
        ck_assert(want.requests == s[i].requests && want.errors == s[i].errors &&
                  want.input_tokens == s[i].input_tokens && want.output_tokens == s[i].output_tokens &&
                  want.cache_write_tokens == s[i].cache_write_tokens && want.estimated == s[i].estimated &&
                  want.unknown == s[i].unknown && want.unpriced == s[i].unpriced);
        ck_assert_int_eq(want.cost_nano, s[i].cost_nano);
        seen += want.requests;
    }
    ck_assert(seen == model.n && total.requests == model.n);
    arena_free(a);
}

/* An hour that takes some steps loses its first record between two: it is left out, and the job ends. */
START_TEST(test_reprice_of_an_hour_that_is_trimmed) {
    struct db *d = open_ledger();
    struct ledger_job j = {.asked_ms = 1, .number = 2, .by = STR("boss")};
    j.from_hour = j.next_hour = 500000;
    j.until_hour = 500001;
    struct ledger_row row = sample_row();
    row.wall_ms = 500000 * HOUR;
    struct db_txn *t = db_begin(d, true);
    for (unsigned i = 0; i < 20; i++)
        append(t, &row);
    ledger_job_add(t, &j);
    must_commit(t);
    struct ledger_reprice *r = ledger_reprice_new(price_row, NULL);
    t = db_begin(d, true);
    ck_assert_int_eq(ledger_reprice_walk(r, t, &j, 5), LEDGER_STEP_MORE);
    ledger_trim(t, INT64_MAX, 1);
    must_commit(t);
    t = db_begin(d, true);
    ck_assert_int_eq(ledger_reprice_walk(r, t, &j, 5), LEDGER_STEP_HOUR);
    ledger_reprice_hour(r, t, &j, 3);
    ck_assert_uint_eq(j.left_out, 1);
    ck_assert_int_eq(ledger_reprice_walk(r, t, &j, 5), LEDGER_STEP_END);
    must_commit(t);
    ledger_reprice_free(r);
    db_close(d);
}
END_TEST

START_TEST(test_pages_go_on_behind_what_is_damaged) {
    struct db *d = open_ledger();
    struct ledger_page page = {.next = 0};
    struct buf b;
    struct jw w;
    add_rows(d, 4, 500000 * HOUR);
    const char third[8] = {0, 0, 0, 0, 0, 0, 0, 2};
    struct db_txn *t = db_begin(d, true);
    db_put(t, RECORDS, str_make(third, sizeof third), STR("not a record"));
    must_commit(t);
    t = db_begin(d, false);
    unsigned calls = 0, records = 0;
    for (bool more = true; more && calls < 10; calls++) {
        buf_init(&b, 0);
        jw_init(&w, &b);
        more = ledger_list(t, page.next, 1, &w, &page);
        records += buf_len(&b) > 0;
        buf_free(&b);
    }
    ck_assert_uint_eq(calls, 4);
    ck_assert_uint_eq(records, 3);
    ck_assert_uint_eq(page.next, 4);
    db_end(t);
    db_close(d);
}
END_TEST

START_TEST(test_sums_are_those_of_records) {
    struct db *d = open_ledger();
    model = (struct model){.factor = 10};
    for (unsigned round = 0; round < 150; round++) {
        switch (random_u64() % 8) {
        case 0:
            look_what_is_kept(d);
            reprice(d);
            break;
        case 1:
            if (round > 60)
                trim_some(d);
            break;
        case 2:
            db_close(d);
            d = open_ledger();
            break;
        default:
            some_rows(d);
        }
        if (round % 10 == 9)
            compare(d, (unsigned)(random_u64() % 128));
    }
    look_what_is_kept(d);
    compare(d, 127);
    db_close(d);
}
END_TEST

TCase *ledger_cases(void) {
    TCase *c = tcase_create("ledger");
    tcase_add_checked_fixture(c, make_tmp, drop_tmp);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_chain_tampered);
    tcase_add_test(c, test_chain_noted);
    tcase_add_test(c, test_sums_tampered);
    tcase_add_test(c, test_chain_trimmed);
    tcase_add_test(c, test_verify_beside_writer);
    tcase_add_test(c, test_clock_of_the_future);
    tcase_add_test(c, test_reprice_of_an_hour_that_is_trimmed);
    tcase_add_test(c, test_pages_go_on_behind_what_is_damaged);
    tcase_add_test(c, test_sums_are_those_of_records);
    return c;
}
