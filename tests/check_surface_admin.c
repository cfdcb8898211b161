/* /admin/v1: shapes as in surfaces.md, numbers out of a real ledger, and what must not be understood. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "shm/bucket.h"
#include "shm/health.h"
#include "shm/index.h"
#include "shm/ring.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "store/ledger.h"
#include "store/record.h"
#include "surface_cases.h"
#include "under_valgrind.h"

#define SITE                                                                                                 \
    "providers:\n  - {kind: openai, keys: [{value: sk-upstream-secret}, {value: sk-two, weight: 3}]}\n"      \
    "  - {name: off, kind: mock, enabled: false}\n"                                                          \
    "models: [{name: m, targets: [{provider: openai, model: gpt-4o}, {provider: off}]}]\n"                   \
    "auth:\n  keys:\n    - {id: k, key: {value: sk-admin-secret}, permissions: [admin]}\n"                   \
    "    - {id: u, key: {value: sk-user-secret}}\n"                                                          \
    "cache: {enabled: true, max_size: 5MiB}\n"

static struct answer ask(const char *method, const char *path) {
    return talk(method, arena_printf(w.a, "/admin/v1%s", path).p, "x-api-key: sk-admin-secret\r\n");
}

static struct json_object *look(const char *path) {
    struct answer a = ask("GET", path);
    ck_assert_msg(a.status == 200, "%s: %d " STR_FMT, path, a.status, STR_ARG(a.body));
    return json_of(&a);
}

static struct json_object *at(struct json_object *array, size_t i) {
    ck_assert_uint_gt(json_object_array_length(array), i);
    return json_object_array_get_idx(array, i);
}

START_TEST(admins_only) {
    static const char *const paths[] = {"/usage", "/cache/stats", "/workers", "/providers", "/config"};
    site_load(SITE);
    for (size_t i = 0; i < 5; i++) {
        const char *path = arena_printf(w.a, "/admin/v1%s", paths[i]).p;
        struct answer a = get(path, "sk-admin-secret");
        ck_assert_int_eq(a.status, 200);
        ck_str(header_of(&a, "cache-control"), "no-store");
        a = get(path, "sk-user-secret");
        ck_assert_int_eq(a.status, 403);
        a = get(path, "");
        ck_assert_int_eq(a.status, 401);
    }
    struct answer a = talk("DELETE", "/admin/v1/cache", "x-api-key: sk-user-secret\r\n");
    ck_assert_int_eq(a.status, 403);
    a = talk("POST", "/admin/v1/reload", "x-api-key: sk-user-secret\r\nContent-Length: 0\r\n");
    ck_assert_int_eq(a.status, 403);
    ck_assert_ptr_null(reload_done);
}
END_TEST

START_TEST(workers) {
    site_load(SITE);
    uint32_t scribe = slot_claim(w.shm, SLOT_SCRIBE, 0, 1);
    slot_started(w.shm, scribe, getpid());
    slot_beat(w.shm, clock_ms(), 3, 2);
    struct json_object *o = look("/workers"), *one;
    has_members(o, "generation workers scribe");
    ck_assert_uint_eq(json_object_array_length(jo_arr(o, "workers")), 1);
    one = at(jo_arr(o, "workers"), 0);
    has_members(
        one, "role number pid generation state uptime_seconds connections in_flight requests resident_bytes");
    ck_assert_int_eq(jo_int(one, "pid", 0), getpid());
    ck_str(jo_str(one, "state"), "ready");
    ck_assert_int_eq(jo_int(one, "connections", 0), 3);
    ck_assert_int_eq(jo_int(one, "in_flight", 0), 2);
    ck_assert_int_ge(jo_int(one, "requests", 0), 1);
    ck_assert_int_gt(jo_int(one, "resident_bytes", 0), 100000);
    ck_str(jo_str(at(jo_arr(o, "scribe"), 0), "role"), "scribe");
    slot_release(w.shm, scribe);
    ck_assert_uint_eq(json_object_array_length(jo_arr(look("/workers"), "scribe")), 0);
}
END_TEST

START_TEST(providers) {
    site_load(SITE);
    uint32_t target = entity(ENTITY_TARGET, "openai/gpt-4o");
    rest_until(w.shm, provider("openai")->keys[0].entity, UINT64_MAX);
    rest_until(w.shm, provider("openai")->keys[1].entity, clock_ns() + 50000000000u);
    struct breaker_rule r = {.consecutive_failures = 1, .open_for_ms = 60000, .max_open_for_ms = 60000};
    breaker_done(w.shm, target, &r, BREAKER_PASS, OUTCOME_FAILED, clock_ns(), 0);
    entity_add(w.shm, target, ENTITY_STAT_REQUESTS, 9);
    entity_add(w.shm, target, ENTITY_STAT_COST_NANO, 2500000000);
    struct json_object *all = jo_arr(look("/providers"), "providers"), *o = at(all, 0), *t, *k;
    ck_assert_uint_eq(json_object_array_length(all), 2);
    has_members(
        o, "name kind status in_flight health_score latency_ms first_byte_ms error_rate failures_in_a_row "
           "requests errors input_tokens output_tokens cost_usd targets keys");
    ck_str(jo_str(o, "status"), "unhealthy");
    ck_assert_uint_eq(json_object_array_length(jo_arr(o, "targets")), 1);
    t = at(jo_arr(o, "targets"), 0);
    ck_str(jo_str(t, "model"), "gpt-4o");
    ck_str(jo_str(t, "breaker"), "open");
    ck_assert_int_gt(jo_int(t, "retry_in_ms", 0), 50000);
    ck_assert_int_eq(jo_int(t, "requests", 0), 9);
    ck_assert_str_eq(json_object_to_json_string(jo_get(t, "cost_usd")), "2.5");
    k = at(jo_arr(o, "keys"), 0);
    has_members(k, "id source weight resting rests_until");
    ck_str(jo_str(k, "id"), "openai/0");
    ck_str(jo_str(k, "rests_until"), "reload");
    k = at(jo_arr(o, "keys"), 1);
    has_members(k, "id source weight resting rests_ms");
    ck_assert_int_eq(jo_int(k, "weight", 0), 3);
    ck_str(jo_str(at(all, 1), "status"), "disabled");
    ck_assert_uint_eq(json_object_array_length(jo_arr(at(all, 1), "targets")), 0);
    entity_add(w.shm, entity(ENTITY_TARGET, "openai/*"), ENTITY_STAT_REQUESTS,
               1); /* others were asked for too */
    ck_str(jo_str(at(jo_arr(at(jo_arr(look("/providers"), "providers"), 0), "targets"), 1), "model"), "*");
}
END_TEST

START_TEST(no_secret_is_shown) {
    site_load(SITE);
    static const char *const paths[] = {"/config", "/providers", "/workers"};
    for (size_t i = 0; i < 3; i++) {
        struct answer a = ask("GET", paths[i]);
        ck_assert_int_eq(a.status, 200);
        ck_assert_msg(str_find(a.body, STR("secret}")) < 0 && str_find(a.body, STR("sk-")) < 0, STR_FMT,
                      STR_ARG(a.body));
    }
    struct json_object *o = look("/config");
    has_members(o, "file generation loaded_at config");
    ck_assert(str_ends(jo_str(o, "file"), "penstock.yaml"));
    ck_assert(clock_parse(jo_str(o, "loaded_at"), &(int64_t){0}));
    ck_assert_uint_eq(json_object_array_length(jo_arr(jo_obj(o, "config"), "providers")), 2);
}
END_TEST

/* --- reload --- */

static void turns(int n) {
    while (n--)
        loop_turn(w.loop, false);
}

static int reload_start(void) {
    reload_done = NULL;
    int fd = talk_start("POST", "/admin/v1/reload", "x-api-key: sk-admin-secret\r\nContent-Length: 0\r\n");
    for (uint64_t since = clock_ms(); !reload_done;) {
        turns(1);
        ck_assert_uint_lt(clock_ms() - since, eased(5000));
    }
    return fd;
}

START_TEST(reload) {
    site_load(SITE);
    int fd = reload_start();
    reload_done(reload_arg, true, 7, STR(""));
    struct answer a = talk_end(fd);
    ck_assert_int_eq(a.status, 200);
    ck_str(a.body, "{\"reloaded\":true,\"generation\":7}");
    fd = reload_start();
    reload_done(reload_arg, false, 7, STR("penstock.yaml:3:1: \"wrong\""));
    a = talk_end(fd);
    ck_assert_int_eq(a.status, 422);
    struct json_object *o = json_of(&a);
    has_members(o, "reloaded generation error");
    ck_str(jo_str(jo_obj(o, "error"), "message"), "penstock.yaml:3:1: \"wrong\"");
    ck_assert_int_eq(jo_int(o, "generation", 0), 7); /* the old one goes on */
    a = ask("GET", "/reload");
    ck_assert_int_eq(a.status, 405);
}
END_TEST

START_TEST(reload_without_waiting) {
    site_load(SITE);
    close(reload_start());
    struct answer a = get("/livez", ""); /* the loop has seen by now that it is gone */
    ck_assert_int_eq(a.status, 200);
    turns(5);
    reload_done(reload_arg, true, 8, STR(""));
    a = get("/livez", "");
    ck_assert_int_eq(a.status, 200);
}
END_TEST

/* --- cache --- */

static void fill(const char *name, uint64_t model_hash, uint64_t owner_hash, uint64_t age_ms) {
    struct index_entry e = {.expires_wall_ms = clock_wall_ms() + 1000000,
                            .bytes = 100,
                            .stored = true,
                            .slot = w.slot,
                            .model_hash = model_hash,
                            .owner_hash = owner_hash,
                            .created_wall_ms = (uint64_t)clock_wall_ms() - age_ms};
    sha256(name, strlen(name), e.key);
    ck_assert(index_put(w.shm, &e, shm_cache_epoch(w.shm), clock_wall_ms()));
}

static uint64_t of(const char *name) {
    return hash64(name, strlen(name));
}

static uint64_t entries(void) {
    return (uint64_t)jo_int(look("/cache/stats"), "entries", -1);
}

static void clear(const char *query, int gone) {
    struct answer a = ask("DELETE", arena_printf(w.a, "/cache%s", query).p);
    ck_assert_msg(a.status == 200, "%s: " STR_FMT, query, STR_ARG(a.body));
    ck_str(a.body, arena_printf(w.a, "{\"cleared\":%d}", gone).p);
}

START_TEST(cache) {
    site_load(SITE);
    fill("1", of("m"), of("u"), 0);
    fill("2", of("m"), of("k"), 7200000);
    fill("3", of("org/n"), of("u"), 7200000);
    fill("4", of("org/n"), of("k"), 3000);
    stat_add(w.shm, STAT_CACHE_HITS, 3);
    stat_add(w.shm, STAT_CACHE_MISSES, 1);
    struct json_object *o = look("/cache/stats");
    has_members(o, "enabled entries bytes max_bytes semantic semantic_entries hits semantic_hits misses "
                   "hit_rate tokens_saved usd_saved stores evictions expired");
    ck_assert_int_eq(jo_int(o, "entries", 0), 4);
    ck_assert_int_eq(jo_int(o, "bytes", 0), 400);
    ck_assert_int_eq(jo_int(o, "max_bytes", 0), 5 << 20);
    ck_assert_str_eq(json_object_to_json_string(jo_get(o, "hit_rate")), "0.75");
    clear("?model=unknown", 0);
    clear("?model=m&key=nobody", 0);
    clear("?older_than=3h", 0);
    clear("?older_than=90m&key=u", 1);
    ck_assert_uint_eq(entries(), 3);
    clear("?model=org%2Fn", 1);
    clear("?key=u", 1);
    clear("?older_than=0s", 1);
    fill("1", of("m"), of("u"), 0);
    uint64_t epoch = shm_cache_epoch(w.shm);
    clear("", 1);
    ck_assert_uint_ne(shm_cache_epoch(w.shm), epoch);
    ck_assert_uint_eq(entries(), 0);
    uint64_t cursor = 0;
    uint32_t type;
    struct str payload;
    ck_assert(ring_next(w.shm, w.slot, &cursor, &type, &payload)); /* the scribe is told */
    ck_assert_uint_eq(type, RECORD_CLEAR);
}
END_TEST

START_TEST(clearing_is_not_guessed) {
    /* What was meant as a part of it must never become all of it. */
    static const char *const queries[] = {
        "?model=",          "?key=",          "?older_than=",   "?modle=m",
        "?model",           "?model=%zz",     "?model=m%",      "?older_than=x",
        "?older_than=d",    "?older_than=-1", "?older_than=1y", "?older_than=99999999999999999999",
        "?older_than=1%2B", "?MODEL=m",       "?model=m&x=1",   "?model=m&model=",
        "?key=%00"};
    site_load(SITE);
    fill("1", of("m"), of("u"), 7200000);
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        struct answer a = ask("DELETE", arena_printf(w.a, "/cache%s", queries[i]).p);
        ck_assert_msg(a.status == 400, "%s: %d " STR_FMT, queries[i], a.status, STR_ARG(a.body));
    }
    ck_assert_uint_eq(entries(), 1);
    clear("?older_than=106751991167d", 0); /* before the beginning of time */
    clear("?older_than=60", 1);            /* seconds */
}
END_TEST

#ifdef PENSTOCK_HIREDIS
/* A ring that is full: this host's cache is cleared, and the client must know that others' are not. */
START_TEST(clearing_that_others_are_not_told_of) {
    static const char many[4096];
    site_load(SITE "cluster: {redis: \"redis://127.0.0.1:1\"}\n");
    clear("", 0);
    for (size_t n = sizeof many; n > 0; n /= 2)
        while (ring_put(w.shm, RECORD_EVENT, str_make(many, n), STR_NONE, NULL))
            ;
    fill("1", of("m"), of("u"), 0);
    struct answer a = ask("DELETE", "/cache");
    ck_assert_int_eq(a.status, 503);
    ck_assert_int_ge(str_find(a.body, STR("Only this host")), 0);
    ck_assert_uint_eq(entries(), 0);
}
END_TEST
#endif

/* --- usage --- */

static void put_row(struct db_txn *t, int64_t ms, const char *key, const char *model, int64_t cost,
                    bool failed) {
    struct ledger_row r = {
        .wall_ms = ms,
        .request_id = STR("r"),
        .key = str_of(key),
        .tenant = STR("t"),
        .surface = STR("chat"),
        .model_asked = str_of(model),
        .provider = STR("openai"),
        .model = str_of(model),
        .fault = failed ? STR("server_error") : STR_NONE,
        .status = failed ? 502 : 200,
        .complete = !failed,
        .usage = {.known = true, .input = 100, .cache_read = 40, .output = 20, .reasoning = 5},
        .cost_nano = cost};
    struct buf b;
    buf_init(&b, 0);
    ledger_pack(&b, &r);
    ledger_append(t, buf_str(&b));
    buf_free(&b);
}

static int64_t when(const char *text) {
    int64_t ms;
    ck_assert(clock_parse(str_of(text), &ms));
    return ms;
}

static struct db *ledger_to_fill(void) {
    char err[256] = "";
    struct db *d = db_open(arena_printf(w.a, "%s/ledger", w.dir).p, DB_WRITE, 64 << 20, ledger_tables, err);
    ck_assert_msg(d != NULL, "%s", err);
    return d;
}

static void fill_ledger(void) {
    char err[256] = "";
    struct db *d = ledger_to_fill();
    struct db_txn *t = db_begin(d, true);
    put_row(t, when("2026-01-01T10:15:00Z"), "a", "gpt-4o", 1500000, false);
    put_row(t, when("2026-01-01T11:15:00Z"), "b", "gpt-4o", 500000, true);
    put_row(t, when("2026-01-31T23:59:59Z"), "=cmd", "say \"x\",y", 250000000, false);
    put_row(t, when("2026-02-01T00:00:00Z"), "a", "local", -1, false);
    ck_assert_msg(db_commit(t, err) == 0, "%s", err);
    db_close(d);
}

/* Large sums are gathered a step at a time: who asks for something else in between is answered before, and
 * who leaves takes nothing along. */
static const char *const sums_of_all[] = {"/admin/v1/usage?group_by=model", "/api/v1/admin/usage",
                                          "/api/v1/llm/metrics", "/admin/v1/ledger/verify"};

START_TEST(nobody_waits_for_sums) {
    enum { KEYS = 20000 };
    static const char key[] = "x-api-key: sk-admin-secret\r\n";
    const char *path = sums_of_all[_i];
    char err[256] = "", c;
    site_load(SITE);
    struct db *d = ledger_to_fill();
    struct db_txn *t = db_begin(d, true);
    ledger_begin(t);
    for (unsigned i = 0; i < KEYS; i++)
        put_row(t, clock_wall_ms(), arena_printf(w.a, "key%u", i).p, "gpt-4o", 1, false);
    ck_assert_msg(db_commit(t, err) == 0, "%s", err);
    db_close(d);

    int one = talk_start("GET", path, key), leaves = talk_start("GET", path, key),
        two = talk_start("GET", path, key);
    turns(8);
    close(leaves);
    ck_assert_int_eq(talk("GET", "/livez", "").status, 200);
    ck_assert(recv(one, &c, 1, MSG_PEEK) < 0 && errno == EAGAIN && recv(two, &c, 1, MSG_PEEK) < 0);
    for (int i = 0; i < 2; i++) {
        struct answer a = talk_end(i ? two : one);
        ck_assert_int_eq(a.status, 200);
        ck_assert_msg(str_find(a.body, STR("20000")) >= 0, STR_FMT, STR_ARG(a.body));
    }
}
END_TEST

static struct json_object *usage(const char *query) {
    return look(arena_printf(w.a, "/usage?%s", query).p);
}

static const char *cost(struct json_object *sum) {
    struct json_object *v = jo_get(sum, "cost_usd");
    return v ? json_object_to_json_string(v) : "null";
}

#define SUMS "requests errors input_tokens cached_tokens output_tokens reasoning_tokens cost_usd"

START_TEST(usage_as_json) {
    site_load(SITE);
    fill_ledger();
    struct json_object *o = usage("from=2026-01-01&to=2026-01-31&group_by=key"), *rows, *r;
    has_members(o, "from to group_by rows total");
    ck_str(jo_str(o, "from"), "2026-01-01T00:00:00.000Z");
    ck_str(jo_str(o, "to"), "2026-02-01T00:00:00.000Z"); /* the day that was named is in */
    ck_assert_str_eq(json_object_to_json_string(jo_arr(o, "group_by")), "[ \"key\" ]");
    rows = jo_arr(o, "rows");
    ck_assert_uint_eq(json_object_array_length(rows), 3);
    r = at(rows, 1);
    has_members(r, "key " SUMS);
    ck_str(jo_str(r, "key"), "a");
    ck_assert_int_eq(jo_int(r, "requests", 0), 1);
    ck_assert_int_eq(jo_int(r, "input_tokens", 0), 100);
    ck_assert_int_eq(jo_int(r, "cached_tokens", 0), 40);
    ck_assert_int_eq(jo_int(r, "output_tokens", 0), 20);
    ck_assert_int_eq(jo_int(r, "reasoning_tokens", 0), 5);
    ck_assert_str_eq(cost(r), "0.0015");
    ck_assert_int_eq(jo_int(at(rows, 2), "errors", 0), 1);
    has_members(jo_obj(o, "total"), SUMS);
    ck_assert_int_eq(jo_int(jo_obj(o, "total"), "requests", 0), 3);
    ck_assert_str_eq(cost(jo_obj(o, "total")), "0.252");

    o = usage("from=2026-01-01T11:00:00Z&to=2026-01-01T12:00:00%2B00:00&group_by=model,%20hour,day,provider,"
              "tenant");
    r = at(jo_arr(o, "rows"), 0);
    has_members(r, "tenant provider model day hour " SUMS);
    ck_str(jo_str(r, "hour"), "2026-01-01T11:00:00Z");
    ck_str(jo_str(r, "day"), "2026-01-01");
    ck_assert_uint_eq(json_object_array_length(jo_arr(o, "rows")), 1);

    o = usage("from=2026-02-01&to=2026-02-01&group_by=key"); /* no price is known: null, never 0 */
    has_members(at(jo_arr(o, "rows"), 0), "key unpriced_requests " SUMS);
    ck_assert_str_eq(cost(at(jo_arr(o, "rows"), 0)), "null");
    ck_assert_str_eq(cost(jo_obj(o, "total")), "null");
    o = usage("from=2026-01-01&to=2026-02-01");
    ck_assert_str_eq(cost(jo_obj(o, "total")), "0.252"); /* and in a sum it is said */
    ck_assert_int_eq(jo_int(jo_obj(o, "total"), "unpriced_requests", 0), 1);
    ck_assert_int_eq(jo_int(jo_obj(usage("from=2020-01-01&to=2020-02-01"), "total"), "requests", -1), 0);
}
END_TEST

START_TEST(usage_as_csv) {
    site_load(SITE);
    fill_ledger();
    struct answer a = ask("GET", "/usage?from=2026-01-01&to=2026-02-01&group_by=key,model&format=CSV");
    ck_assert_int_eq(a.status, 200);
    ck_str(header_of(&a, "content-type"), "text/csv; charset=utf-8");
    ck_str(a.body,
           "key,model,requests,errors,input_tokens,cached_tokens,output_tokens,reasoning_tokens,cost_usd\r\n"
           "\"'=cmd\",\"say \"\"x\"\",y\",1,0,100,40,20,5,0.25\r\n"
           "\"a\",\"gpt-4o\",1,0,100,40,20,5,0.0015\r\n"
           "\"a\",\"local\",1,0,100,40,20,5,\r\n"
           "\"b\",\"gpt-4o\",1,1,100,40,20,5,0.0005\r\n");
    a = ask("GET", "/usage?from=2020-01-01&to=2020-01-01&format=csv");
    ck_str(a.body, "requests,errors,input_tokens,cached_tokens,output_tokens,reasoning_tokens,cost_usd\r\n");
}
END_TEST

START_TEST(usage_of_nothing) {
    site_load(SITE); /* the scribe has not made the store yet */
    struct json_object *o = look("/usage");
    ck_assert_int_eq(jo_int(jo_obj(o, "total"), "requests", -1), 0);
    ck_assert_uint_eq(json_object_array_length(jo_arr(o, "rows")), 0);
    int64_t from = when(arena_dupz(w.a, jo_str(o, "from"))), to = when(arena_dupz(w.a, jo_str(o, "to")));
    ck_assert_int_eq(to - from, INT64_C(30) * 86400000);
    ck_assert_int_lt(to - clock_wall_ms(), 2000);
}
END_TEST

static const struct {
    const char *query, *param;
} wrong[] = {
    {"from=yesterday", "from"},
    {"from=2026-13-01", "from"},
    {"from=2026-02-30", "from"},
    {"to=x", "to"},
    {"to=2026-01-01&from=2026-01-02", "from"},
    {"from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from"},
    {"from=2999-01-01", "from"},
    {"group_by=keys", "group_by"},
    {"group_by=key,,model", "group_by"},
    {"group_by=key;model", "group_by"},
    {"format=xml", "format"},
    {"format=csvx", "format"},
    {"from=", "from"},
    {"group-by=key", "group-by"},
    {"scope=galaxy", "scope"},
    {"from=%zz", "from"},
};

START_TEST(usage_of_nonsense) {
    site_load(SITE);
    struct answer a = ask("GET", arena_printf(w.a, "/usage?%s", wrong[_i].query).p);
    is_error(&a, 400, "invalid_request_error", arena_printf(w.a, "%s: ", wrong[_i].param).p);
    ck_str(jo_str(jo_obj(json_of(&a), "error"), "param"), wrong[_i].param);
}
END_TEST

TCase *case_admin(void) {
    TCase *t = tcase_create("admin");
    tcase_add_checked_fixture(t, site_open, site_close);
    tcase_add_test(t, admins_only);
    tcase_add_test(t, workers);
    tcase_add_test(t, providers);
    tcase_add_test(t, no_secret_is_shown);
    tcase_add_test(t, reload);
    tcase_add_test(t, reload_without_waiting);
    tcase_add_test(t, cache);
    tcase_add_test(t, clearing_is_not_guessed);
#ifdef PENSTOCK_HIREDIS
    tcase_add_test(t, clearing_that_others_are_not_told_of);
#endif
    tcase_add_loop_test(t, nobody_waits_for_sums, 0, sizeof sums_of_all / sizeof *sums_of_all);
    tcase_add_test(t, usage_as_json);
    tcase_add_test(t, usage_as_csv);
    tcase_add_test(t, usage_of_nothing);
    tcase_add_loop_test(t, usage_of_nonsense, 0, sizeof wrong / sizeof *wrong);
    return t;
}
