/* The log store by itself: records there and back, queries page by page, retention. */
#include "base/die.h"
#include "store/logs.h"
#include "store_cases.h"
#include <stdio.h>
#include <stdlib.h>

enum { SECOND_MS = 1000 };
static const int64_t t0 = INT64_C(1767225600000); /* 2026-01-01 */

static struct db *open_logs(unsigned mode) {
    char err[256];
    struct db *d = db_open(in_tmp("logs"), mode, 64 << 20, logs_tables, err);
    ck_assert_msg(d != NULL, "%s", err);
    return d;
}

static void commit(struct db_txn *t) {
    char err[256];
    ck_assert_msg(db_commit(t, err) == 0, "%s", err);
}

/* The i-th of many: keys k0..k2, every fifth is a 429. */
static void put_talk(struct db_txn *t, unsigned i, int64_t wall_ms) {
    char id[32], key[8];
    snprintf(id, sizeof id, "req-%u", i);
    snprintf(key, sizeof key, "k%u", i % 3);
    struct ledger_row r = sample_row();
    r.wall_ms = wall_ms;
    r.request_id = str_of(id);
    r.key = str_of(key);
    r.status = i % 5 ? 200 : 429;
    r.fault = i % 5 ? STR_NONE : STR("rate_limit_exceeded");
    struct buf row;
    buf_init(&row, 0);
    ledger_pack(&row, &r);
    logs_put_talk(t, &(struct logs_talk){.row = buf_str(&row), .text = {STR("what?"), STR("that.")}});
    buf_free(&row);
}

static void put_event(struct db_txn *t, enum logs_type type, int64_t wall_ms, int status) {
    struct logs_event e = {.wall_ms = wall_ms,
                           .type = type,
                           .level = LVL_INFO,
                           .fields = {.request_id = STR("req-e"), .key = STR("boss"), .status = status},
                           .message = STR("POST /admin/v1/reload")};
    struct buf b;
    buf_init(&b, 0);
    logs_pack_event(&b, &e);
    logs_put_event(t, buf_str(&b));
    buf_free(&b);
}

static const struct logs_filter all = {.to = INT64_MAX};

/* One page as JSON; *at moves behind it. */
static struct str page(struct db *d, const struct logs_filter *f, struct logs_cursor *at, size_t limit,
                       struct logs_page *p) {
    static struct buf b;
    struct jw w;
    buf_free(&b);
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_arr(&w);
    struct db_txn *t = db_begin(d, false);
    logs_query(t, f, *at, limit, &w, p);
    db_end(t);
    jw_arr_end(&w);
    *at = p->next;
    return buf_str(&b);
}

/* All pages of a query: the records, and their request ids in order. */
static size_t walk(struct db *d, const struct logs_filter *f, size_t limit, char *ids, size_t size) {
    struct logs_cursor at = LOGS_CURSOR_FIRST;
    struct logs_page p = {.more = true};
    size_t n = 0, used = 0;
    ids[0] = 0;
    for (unsigned turns = 0; p.more; turns++) {
        ck_assert_uint_lt(turns, 10000);
        struct str text = page(d, f, &at, limit, &p), mark = STR("\"request_id\":\"");
        ck_assert_uint_le(p.records, limit);
        n += p.records;
        for (ptrdiff_t i; (i = str_find(text, mark)) >= 0;) {
            text = str_skip(text, (size_t)i + mark.n);
            used += (size_t)snprintf(ids + used, size - used, "%.*s ",
                                     (int)((char *)memchr(text.p, '"', text.n) - text.p), text.p);
            ck_assert_uint_lt(used, size);
        }
    }
    return n;
}

START_TEST(test_pages_are_stable) {
    struct db *d = open_logs(DB_WRITE);
    char ids[4096];
    for (unsigned i = 0; i < 20; i++) {
        struct db_txn *t = db_begin(d, true);
        put_talk(t, i, t0 + i * SECOND_MS);
        if (i == 10)
            put_event(t, LOGS_AUDIT, t0 + i * SECOND_MS, 200);
        commit(t);
    }
    for (size_t limit = 1; limit < 50; limit++) {
        ck_assert_uint_eq(walk(d, &all, limit, ids, sizeof ids), 41);
        ck_assert(strncmp(ids, "req-19 req-19 req-18 ", 21) == 0 &&
                  strstr(ids, "req-11 req-e req-10") != NULL);
    }
    struct logs_cursor at = LOGS_CURSOR_FIRST;
    struct logs_page p;
    page(d, &all, &at, 3, &p); /* ends between the two of req-18 */
    struct db_txn *t = db_begin(d, true);
    for (unsigned i = 20; i < 30; i++)
        put_talk(t, i, t0 + i * SECOND_MS);
    commit(t);
    struct str text = page(d, &all, &at, 2, &p);
    ck_assert(str_find(text, STR("\"event\":\"request\",\"request_id\":\"req-18\"")) > 0);
    ck_assert(str_find(text, STR("req-17")) > 0 && str_find(text, STR("req-2")) < 0);
    db_close(d);
}
END_TEST

static void count(struct db *d, struct logs_filter f, size_t want) {
    char ids[1 << 16];
    f.to = f.to ? f.to : INT64_MAX;
    ck_assert_uint_eq(walk(d, &f, 7, ids, sizeof ids), want);
}

START_TEST(test_filters) {
    struct db *d = open_logs(DB_WRITE);
    for (unsigned i = 0; i < 60; i += 20) { /* three batches, and as many arrays of ids */
        struct db_txn *t = db_begin(d, true);
        for (unsigned n = i; n < i + 20; n++)
            put_talk(t, n, t0 + n * SECOND_MS);
        put_event(t, LOGS_AUDIT, t0 + i * SECOND_MS, 403);
        put_event(t, LOGS_BREAKER, t0 + i * SECOND_MS, 0);
        commit(t);
    }
    count(d, all, 126);
    count(d, (struct logs_filter){.key = STR("k0")}, 40);
    count(d, (struct logs_filter){.key = STR("boss")}, 6);
    count(d, (struct logs_filter){.key = STR("k")}, 0);
    count(d, (struct logs_filter){.types = 1u << LOGS_ERROR}, 12);
    count(d, (struct logs_filter){.types = 1u << LOGS_RESPONSE}, 48);
    count(d, (struct logs_filter){.types = 1u << LOGS_REQUEST | 1u << LOGS_AUDIT}, 63);
    count(d, (struct logs_filter){.errors = UINT64_C(1) << ERROR_POLICY_RATE_LIMIT}, 12);
    count(d, (struct logs_filter){.errors = UINT64_C(1) << ERROR_PROVIDER_RATE_LIMIT}, 0);
    count(d, (struct logs_filter){.errors = ~UINT64_C(0), .types = 1u << LOGS_RESPONSE}, 60);
    count(d, (struct logs_filter){.status_from = 400, .status_to = 499}, 27);
    count(d, (struct logs_filter){.status_from = 429, .status_to = 429, .types = 1u << LOGS_ERROR}, 12);
    count(d, (struct logs_filter){.from = t0 + 50 * SECOND_MS, .types = 1u << LOGS_REQUEST}, 10);
    count(d, (struct logs_filter){.to = t0 + 10 * SECOND_MS, .types = 1u << LOGS_REQUEST}, 10);
    count(d, (struct logs_filter){.request_id = STR("req-37")}, 2);
    count(d, (struct logs_filter){.request_id = STR("req-37"), .types = 1u << LOGS_REQUEST}, 1);
    count(d, (struct logs_filter){.request_id = STR("req-37"), .key = STR("k0")}, 0);
    count(d, (struct logs_filter){.request_id = STR("req-37"), .to = t0 + 37 * SECOND_MS}, 0);
    count(d, (struct logs_filter){.request_id = STR("req-0"), .from = t0}, 2);
    count(d, (struct logs_filter){.request_id = STR("req-e")}, 6);
    count(d, (struct logs_filter){.request_id = STR("req-60")}, 0);
    struct ledger_row r = sample_row();
    count(d, (struct logs_filter){.provider = r.provider}, 120);
    count(d, (struct logs_filter){.model = r.model_asked}, 120);
    count(d, (struct logs_filter){.provider = STR("nobody")}, 0);
    db_close(d);
}
END_TEST

/* Rows go with age; an array of ids only when its last row has gone. */
START_TEST(test_trim) {
    struct db *d = open_logs(DB_WRITE);
    int64_t oldest;
    for (unsigned i = 0; i < 40; i += 20) {
        struct db_txn *t = db_begin(d, true);
        for (unsigned n = i; n < i + 20; n++)
            put_talk(t, n, t0 + n * SECOND_MS);
        commit(t);
    }
    struct db_txn *t = db_begin(d, true);
    logs_trim(t, t0 + 30 * SECOND_MS, 25);
    commit(t);
    t = db_begin(d, false);
    ck_assert(logs_oldest(t, &oldest) && oldest == t0 + 25 * SECOND_MS);
    ck_assert_uint_eq(db_entries(t, 1), 1);
    db_end(t);
    count(d, (struct logs_filter){.request_id = STR("req-24")}, 0);
    count(d, (struct logs_filter){.request_id = STR("req-25")}, 2);
    t = db_begin(d, true);
    logs_trim(t, INT64_MAX, 100);
    commit(t);
    t = db_begin(d, false);
    ck_assert(!logs_oldest(t, &oldest));
    ck_assert_uint_eq(db_entries(t, 0) + db_entries(t, 1), 0);
    db_end(t);
    db_close(d);
}
END_TEST

/* A clock that was set back: the record is found by its own time. */
START_TEST(test_clock_set_back) {
    struct db *d = open_logs(DB_WRITE);
    struct db_txn *t = db_begin(d, true);
    put_talk(t, 1, t0 + 7200 * SECOND_MS);
    put_talk(t, 2, t0);
    put_talk(t, 3, t0 + 7199 * SECOND_MS); /* a little late */
    commit(t);
    count(d, (struct logs_filter){.to = t0 + SECOND_MS}, 2);
    count(d, (struct logs_filter){.from = t0 + 7200 * SECOND_MS}, 4);
    for (unsigned i = 1; i < 4; i++) {
        char id[16];
        snprintf(id, sizeof id, "req-%u", i);
        count(d, (struct logs_filter){.request_id = str_of(id)}, 2);
    }
    db_close(d);
}
END_TEST

/* Whatever lies there: nothing of it is believed. */
START_TEST(test_damaged) {
    struct buf b;
    struct logs_event e;
    struct logs_talk talk;
    buf_init(&b, 0);
    logs_pack_talk(&b, &(struct logs_talk){.row = STR("row"),
                                           .text = {STR("p"), STR("a"), STR("m")},
                                           .cut = {false, true},
                                           .left_out = true});
    ck_assert(logs_unpack_talk(buf_str(&b), &talk) && str_is(talk.row, "row") &&
              str_is(talk.text[LOGS_TEXT_answer], "a") && str_is(talk.text[LOGS_TEXT_error], "m") &&
              talk.cut[LOGS_TEXT_answer] && !talk.cut[LOGS_TEXT_prompt] && talk.left_out);
    for (size_t n = 0; n < buf_len(&b); n++) {
        char *cut = malloc(n + 1); /* so that a sanitizer sees what is read behind it */
        memcpy(cut, buf_at(&b), n);
        ck_assert(!logs_unpack_talk(str_make(cut, n), &talk));
        free(cut);
    }
    buf_clear(&b);
    logs_pack_event(&b, &(struct logs_event){.type = LOGS_ALERT,
                                             .fields = {.peer = STR("::1"), .status = 7},
                                             .message = STR("m")});
    ck_assert(logs_unpack_event(buf_str(&b), &e) && e.type == LOGS_ALERT && str_is(e.fields.peer, "::1") &&
              e.fields.status == 7);
    for (size_t n = 0; n < buf_len(&b); n++)
        ck_assert(!logs_unpack_event(str_make(buf_at(&b), n), &e));
    buf_at(&b)[2] = LOGS_TYPES;
    ck_assert(!logs_unpack_event(buf_str(&b), &e));
    buf_free(&b);
}
END_TEST

TCase *logs_cases(void) {
    TCase *c = tcase_create("logs");
    tcase_add_checked_fixture(c, make_tmp, drop_tmp);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, test_pages_are_stable);
    tcase_add_test(c, test_filters);
    tcase_add_test(c, test_trim);
    tcase_add_test(c, test_clock_set_back);
    tcase_add_test(c, test_damaged);
    return c;
}
