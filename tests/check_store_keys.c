/* Stored gateway keys: what is read is what was written, and a change is made once. */
#include "base/clock.h"
#include "base/hash.h"
#include "store/keys.h"
#include "store_cases.h"
#include <stdio.h>

static struct arena *arena;

static struct stored_key read_back(struct str json, bool kept) {
    struct stored_key k;
    struct str param;
    const char *why = NULL;
    stored_key_init(&k);
    ck_assert(json_scan(json, NULL, NULL, NULL, NULL) == 0);
    ck_assert_msg(stored_key_read(arena, json, kept, &k, &param, &why), "%s", why);
    return k;
}

static struct str written(const struct stored_key *k, bool kept) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    stored_key_write(&w, k, kept);
    jw_obj_end(&w);
    struct str s = arena_dup(arena, buf_str(&b));
    buf_free(&b);
    return s;
}

START_TEST(test_key_round_trip) {
    struct stored_key k = read_back(
        STR("{\"id\":\"a.b\",\"owner\":\"\\u00e4 "
            "\\\"x\\\"\",\"tenant\":\"t\",\"permissions\":[\"admin\",\"completion\"],"
            "\"models\":[\"gpt-*\",\"x\"],\"endpoints\":[\"/v1/*\"],\"addresses\":[\"::1\",\"10.0.0.0/8\"],"
            "\"limits\":{\"concurrent\":7,\"tokens_per_minute\":null},\"weight\":5,"
            "\"budget\":{\"usd\":123456789.123456789,\"period\":\"week\",\"alert\":[1,0.25]},\"expires\":"
            "\"2030-01-02T03:04:05."
            "678Z\"}"),
        false);
    ck_assert_uint_eq(k.key.permissions, PERM_ADMIN | PERM_COMPLETION);
    ck_assert(k.key.limits.concurrent == 7 && k.key.limits.tokens_per_minute == CONF_NO_LIMIT &&
              k.key.limits.requests_per_minute == KEY_LIMIT_DEFAULT);
    ck_assert(k.key.weight == 5 && k.key.budget.nano == 123456789123456789 &&
              k.key.budget.period == PERIOD_WEEK);
    ck_assert(k.key.budget.nalerts == 2 && k.key.budget.alert_nano[0] < k.key.budget.alert_nano[1]);
    ck_assert(k.key.nmodels == 2 && k.key.nendpoints == 1 && k.key.naddresses == 2 &&
              k.key.nets[1].bits == 104);
    sha256("x", 1, k.key.hash);
    sha256("y", 1, k.old_hash);
    k.old_until_ms = 1900000000123;
    k.created_ms = 1700000000001;
    k.changed_ms = 1800000000002;
    struct str text = written(&k, true);
    struct stored_key again = read_back(text, true);
    ck_assert(str_eq(text, written(&again, true)));
    ck_assert(memcmp(again.key.hash, k.key.hash, 32) == 0 && memcmp(again.old_hash, k.old_hash, 32) == 0);
    ck_assert(again.old_until_ms == k.old_until_ms && again.created_ms == k.created_ms &&
              again.changed_ms == k.changed_ms && again.key.expires == k.key.expires);
    ck_assert_str_eq(again.key.id, "a.b");
    ck_assert(str_find(written(&k, false), STR("hash")) < 0); /* clients are shown none */
    struct stored_key plain = read_back(STR("{\"id\":\"p\"}"), false);
    again = read_back(written(&plain, true), true);
    ck_assert(again.key.permissions == (PERM_COMPLETION | PERM_EMBEDDING) && again.old_until_ms == 0);
}
END_TEST

START_TEST(test_key_budgets_that_are_none) {
    static const char *const wrong[] = {"{}",
                                        "1",
                                        "[]",
                                        "{\"usd\":-1}",
                                        "{\"usd\":\"5\"}",
                                        "{\"usd\":1e3}",
                                        "{\"usd\":1000000000.1}",
                                        "{\"usd\":0.0000000001}",
                                        "{\"usd\":9999999999999999999}",
                                        "{\"usd\":1,\"period\":\"year\"}",
                                        "{\"usd\":1,\"period\":null}",
                                        "{\"usd\":1,\"alert\":0.5}",
                                        "{\"usd\":1,\"alert\":[0]}",
                                        "{\"usd\":1,\"alert\":[1.1]}",
                                        "{\"usd\":1,\"alert\":[\"0.5\"]}",
                                        "{\"usd\":1,\"alert\":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9]}",
                                        "{\"usd\":1,\"limit\":2}"};
    struct stored_key k;
    struct str param;
    const char *why;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct str json = arena_printf(arena, "{\"budget\":%s}", wrong[i]);
        stored_key_init(&k);
        ck_assert_msg(!stored_key_read(arena, json, false, &k, &param, &why), "%s", wrong[i]);
        ck_assert(str_is(param, "budget"));
    }
    k = read_back(STR("{\"budget\":{\"usd\":0}}"), false);
    ck_assert(k.key.budget.nano == 0 && k.key.budget.period == PERIOD_MONTH && k.key.budget.nalerts == 1);
    k = read_back(STR("{\"budget\":null,\"weight\":null}"), false);
    ck_assert(k.key.budget.nano == -1 && k.key.weight == 1);
    stored_key_init(&k);
    ck_assert(!stored_key_read(arena, STR("{\"weight\":0}"), false, &k, &param, &why));
    ck_assert(!stored_key_read(arena, STR("{\"weight\":10001}"), false, &k, &param, &why));
}
END_TEST

static struct key_change change_of(uint64_t number, uint64_t from, const char *id, const char *value) {
    return (struct key_change){.number = number,
                               .from = from,
                               .until_ms = 1000,
                               .id = str_of(id),
                               .value = str_of(value),
                               .audit = STR("key a created")};
}

START_TEST(test_key_change_round_trip) {
    struct key_change c = change_of(UINT64_MAX, 2, "team-a", "{\"owner\":\"x\"}"), got;
    struct buf b;
    buf_init(&b, 0);
    key_change_pack(&b, &c);
    ck_assert(key_change_unpack(buf_str(&b), &got));
    ck_assert(got.number == c.number && got.from == 2 && got.until_ms == 1000 && str_eq(got.id, c.id) &&
              str_eq(got.value, c.value) && str_eq(got.audit, c.audit));
    for (size_t n = 0; n < buf_len(&b) - c.value.n; n++)
        ck_assert(!key_change_unpack(str_make(buf_at(&b), n), &got));
    buf_free(&b);
}
END_TEST

static struct db_txn *txn;

static enum key_outcome make(uint64_t number, uint64_t from, const char *id, const char *value, int64_t now) {
    struct key_change c = change_of(number, from, id, value);
    return keys_make(txn, &c, now);
}

static bool note_key(void *arg, struct str id, uint64_t version, struct str value) {
    struct buf *b = arg;
    buf_printf(b, STR_FMT "@%u=" STR_FMT ";", STR_ARG(id), (unsigned)version, STR_ARG(value));
    return true;
}

static void holds(const char *want) {
    struct buf b;
    buf_init(&b, 0);
    keys_each(txn, note_key, &b);
    buf_addc(&b, '\0');
    ck_assert_str_eq(buf_at(&b), want);
    buf_free(&b);
}

START_TEST(test_key_changes_are_made_once) {
    char err[256] = "";
    struct db *d = db_open(in_tmp("keys"), DB_WRITE | DB_SET_ASIDE, 1 << 20, keys_tables, err);
    ck_assert_msg(d != NULL, "%s", err);
    txn = db_begin(d, true);
    ck_assert_int_eq(make(1, 0, "a", "{}", 10), KEY_DONE);
    ck_assert_int_eq(make(1, 0, "a", "{}", 11), KEY_DONE); /* a scribe died before it could say so */
    ck_assert_int_eq(make(2, 0, "a", "{2}", 12), KEY_TAKEN);
    ck_assert_int_eq(make(3, 9, "a", "{3}", 12), KEY_CHANGED);
    ck_assert_int_eq(make(4, 9, "b", "{4}", 12), KEY_GONE);
    ck_assert_int_eq(make(5, 1, "a", "{5}", 1001), KEY_LATE);
    holds("a@1={};");
    ck_assert_int_eq(make(6, 1, "a", "{6}", 1000), KEY_DONE);
    ck_assert_int_eq(make(7, 6, "a", "", 20), KEY_DONE);
    holds("");
    ck_assert_int_eq(make(6, 1, "a", "{6}", 20), KEY_DONE); /* nor does it come back */
    holds("");
    ck_assert_int_eq(make(8, 0, "a", "{8}", 20), KEY_DONE);
    ck_assert_int_eq(make(9, 1, "a", "{9}", 20), KEY_CHANGED); /* another key of that id */
    ck_assert_int_eq(db_commit(txn, err), 0);
    txn = db_begin(d, true);
    ck_assert_int_eq(keys_outcome(txn, 2), KEY_TAKEN);
    keys_forget(txn, 20);
    ck_assert_int_eq(keys_outcome(txn, 2), KEY_UNKNOWN);
    ck_assert_int_eq(keys_outcome(txn, 8), KEY_DONE);
    holds("a@8={8};");
    db_end(txn);
    db_close(d);
}
END_TEST

START_TEST(test_keys_are_bounded) {
    char err[256] = "", id[16];
    struct db *d = db_open(in_tmp("keys"), DB_WRITE | DB_SET_ASIDE, 8 << 20, keys_tables, err);
    ck_assert_ptr_nonnull(d);
    txn = db_begin(d, true);
    for (unsigned i = 0; i < KEYS_MOST; i++) {
        snprintf(id, sizeof id, "k%u", i);
        ck_assert_int_eq(make(i + 1, 0, id, "{}", 0), KEY_DONE);
    }
    ck_assert_int_eq(make(99999, 0, "more", "{}", 0), KEY_FULL);
    ck_assert_int_eq(make(99998, 1, "k0", "", 0), KEY_DONE);
    ck_assert_int_eq(make(99997, 0, "more", "{}", 0), KEY_DONE);
    db_end(txn);
    db_close(d);
}
END_TEST

static bool merged(const char *id, uint64_t ms, uint64_t version, const char *value) {
    char line[256];
    snprintf(line, sizeof line, "%020llu %020llu %s", (unsigned long long)ms, (unsigned long long)version,
             value);
    return keys_merge(txn, str_of(id), str_of(line));
}

static bool note_line(void *arg, struct str id, struct str line) {
    buf_printf(arg, STR_FMT ":" STR_FMT ";", STR_ARG(id), STR_ARG(str_skip(line, 17)));
    return true;
}

START_TEST(test_keys_of_other_hosts) {
    char err[256] = "";
    struct buf b;
    struct db *d = db_open(in_tmp("keys"), DB_WRITE | DB_SET_ASIDE, 1 << 20, keys_tables, err);
    ck_assert_ptr_nonnull(d);
    txn = db_begin(d, true);
    ck_assert(merged("a", 100, 5, "{\"id\":\"a\"}"));
    ck_assert(!merged("a", 100, 5, "{\"id\":\"a\"}") && !merged("a", 99, 6, "") && !merged("a", 100, 4, ""));
    ck_assert(!merged("a", 200, 9, "{\"id\":\"b\"}") && !merged("a", 200, 9, "{") && !merged("", 200, 9, ""));
    ck_assert(!keys_merge(txn, STR("a"), STR("x")));
    holds("a@5={\"id\":\"a\"};");
    /* changed here by a slow clock: later all the same */
    ck_assert_int_eq(make(7, 5, "a", "", 50), KEY_DONE);
    ck_assert(!merged("a", 100, 9, "{\"id\":\"a\"}"));
    holds("");
    ck_assert(merged("a", 102, 8, "{\"id\":\"a\"}"));
    ck_assert(merged("a", 103, 8, ""));
    ck_assert_int_eq(make(11, 0, "c", "{11}", 60), KEY_DONE);
    buf_init(&b, 0);
    keys_lines(txn, note_line, &b);
    buf_addc(&b, '\0');
    ck_assert_str_eq(buf_at(&b), "a:103 00000000000000000008 ;c:060 00000000000000000011 {11};");
    buf_free(&b);
    keys_forget(txn, INT64_C(31) * 24 * 3600 * 1000);
    ck_assert(merged("a", 1, 1, "{\"id\":\"a\"}")); /* forgotten */
    ck_assert(merged("a", 2, 1, ""));
    /* what nobody knows and is long gone is nothing new; what is gone since lately is */
    uint64_t now = (uint64_t)clock_wall_ms(), days = 24 * 3600 * 1000;
    ck_assert(!merged("b", now - 31 * days, 1, ""));
    ck_assert(merged("b", now - 29 * days, 1, "") && !merged("b", now - 29 * days, 1, ""));
    ck_assert(merged("d", now - 31 * days, 1, "{\"id\":\"d\"}"));
    db_end(txn);
    db_close(d);
}
END_TEST

static void open_arena(void) {
    make_tmp();
    arena = arena_new(0);
}

static void close_arena(void) {
    arena_free(arena);
    drop_tmp();
}

TCase *keys_cases(void) {
    TCase *t = tcase_create("keys");
    tcase_add_checked_fixture(t, open_arena, close_arena);
    tcase_add_test(t, test_key_round_trip);
    tcase_add_test(t, test_key_budgets_that_are_none);
    tcase_add_test(t, test_key_change_round_trip);
    tcase_add_test(t, test_keys_of_other_hosts);
    tcase_add_test(t, test_key_changes_are_made_once);
    tcase_add_test(t, test_keys_are_bounded);
    return t;
}
