/* What the cache takes for the same request, what it may answer and what it may keep. */
#include <stdio.h>

#include "base/clock.h"
#include "policy/cache.h"
#include "policy_cases.h"
#include "shm/index.h"
#include "shm/ring.h"
#include "shm/stat.h"
#include "store/record.h"

#define BODY "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
static struct fault fault;

static const char *yaml(const char *options) {
    return arena_printf(
               w.a,
               "providers:\n  - {name: one, kind: mock}\n  - {name: two, kind: mock}\n"
               "models:\n  - {name: m, targets: [{provider: one}]}\n"
               "  - {name: n, targets: [{provider: one, model: m}]}\n"
               "auth:\n  keys:\n"
               "    - {id: a, key: {value: ka}, tenant: t}\n    - {id: b, key: {value: kb}, tenant: t}\n"
               "    - {id: c, key: {value: kc}, tenant: other}\n    - {id: d, key: {value: kd}}\n"
               "    - {id: t, key: {value: kt}}\n"
               "cache: {enabled: true%s%s}\n",
               *options ? ", " : "", options)
        .p;
}

/* Body without its last brace, so that members can be added. */
static struct cache_ticket ticket_of(size_t key, const char *body, const char *headers) {
    struct hints hints;
    struct caller c = {.key = w.p->keys[key].conf, .entity = w.p->keys[key].entity};
    struct str text = arena_printf(w.a, "%s}", body);
    struct ask ask = {.rest = STR_NONE};
    struct plan plan;
    struct cache_ticket t;
    ck_assert_msg(dialect_openai_chat.client->peek(w.a, text, &ask, &fault), "%s: %s", body, fault.message.p);
    struct exchange *x = request(headers);
    struct str header = exchange_header(x, "x-penstock-routing");
    ck_assert(hints_read(w.a, header.p ? header : ask.routing, &hints, &fault));
    ck_assert(route_resolve(w.p, w.a, ask.model, &hints, &plan, &fault));
    cache_ticket(w.p, w.a, x, &c, &dialect_openai_chat, &ask, &plan, &t);
    return t;
}

static bool same(struct cache_ticket a, struct cache_ticket b) {
    return a.read && b.read && memcmp(a.key, b.key, INDEX_KEY) == 0;
}

static bool same_body(const char *a, const char *b) {
    return same(ticket_of(0, a, NULL), ticket_of(0, b, NULL));
}

START_TEST(equal_requests) {
    world_load(yaml(""));
    ck_assert(same_body(BODY, BODY));
    ck_assert(same_body(
        BODY, " {\n \"messages\" : [ {\"content\":\"hi\", \"role\":\"user\"} ] ,\t\"model\":\"m\""));
    ck_assert(same_body(
        BODY, "{\"m\\u006fdel\":\"m\",\"messages\":[{\"role\":\"us\\u0065r\",\"content\":\"hi\"}]"));
    static const char *const silent[] = {
        ",\"user\":\"u\"", ",\"metadata\":{\"a\":\"b\"}",  ",\"routing\":{\"timeout_ms\":5000}",
        ",\"store\":true", ",\"safety_identifier\":\"x\"", ",\"prompt_cache_key\":\"x\""};
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
        ck_assert_msg(same_body(BODY, arena_printf(w.a, BODY "%s", silent[i]).p), "%s", silent[i]);
}
END_TEST

START_TEST(different_requests) {
    world_load(yaml(""));
    static const char *const others[] = {
        BODY ",\"temperature\":0",
        BODY ",\"temperature\":0.5",
        BODY ",\"temperature\":1",
        BODY ",\"stream\":true",
        BODY ",\"stream\":true,\"stream_options\":{\"include_usage\":true}",
        BODY ",\"max_tokens\":5",
        BODY ",\"seed\":1",
        BODY ",\"n\":2",
        BODY ",\"stop\":[\"user\"]",
        BODY ",\"something\":{\"user\":1}",
        BODY ",\"something\":{\"user\":2}", /* only at the top is it nobody's business */
        "{\"model\":\"n\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]",
        "{\"model\":\"one/m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]",
        "{\"model\":\"two/m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi \"}]",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"hi\"}]",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"h\"},{\"role\":\"user\",\"content\":"
        "\"i\"}]",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"i\"},{\"role\":\"user\",\"content\":"
        "\"h\"}]",
        BODY,
    };
    enum { N = sizeof others / sizeof *others };
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < N; k++)
            ck_assert_msg(same_body(others[i], others[k]) == (i == k), "%s and %s", others[i], others[k]);
}
END_TEST

START_TEST(scopes) {
    static const struct {
        const char *scope;
        bool share[5]; /* with a: a, b of its tenant, c of another, d of none, t whose id is the tenant's name
                        */
    } cases[] = {{"key", {true, false, false, false, false}},
                 {"tenant", {true, true, false, false, false}},
                 {"global", {true, true, true, true, true}}};
    for (size_t i = 0; i < 3; i++) {
        world_load(yaml(arena_printf(w.a, "scope: %s", cases[i].scope).p));
        for (size_t k = 0; k < 5; k++)
            ck_assert_msg(same(ticket_of(0, BODY, NULL), ticket_of(k, BODY, NULL)) == cases[i].share[k],
                          "%s, %zu", cases[i].scope, k);
        /* keys without a tenant share nothing under tenant either */
        ck_assert(same(ticket_of(3, BODY, NULL), ticket_of(4, BODY, NULL)) == (i == 2));
    }
}
END_TEST

static void allows(const char *body, const char *headers, bool read, bool store) {
    struct cache_ticket t = ticket_of(0, body, headers);
    ck_assert_msg(t.read == read && t.store == store, "%s, %s: %d %d", body, headers ? headers : "", t.read,
                  t.store);
}

START_TEST(what_headers_and_hints_allow) {
    world_load(yaml(""));
    allows(BODY, NULL, true, true);
    allows(BODY, "cache-control: max-age=0", true, true);
    allows(BODY, "cache-control: no-cache", false, true); /* a fresh answer, which others may have */
    allows(BODY, "Cache-Control: private, No-Cache", false, true);
    allows(BODY, "cache-control: no-store", false, false);
    allows(BODY, "cache-control: max-age=0,no-store , x", false, false);
    allows(BODY, "cache-control: max-age=0\ncache-control: no-store", false, false); /* lines make one list */
    allows(BODY, "cache-control: no-cache\ncache-control: no-store", false, false);
    allows(BODY, "cache-control: x-no-store", true, true);
    allows(BODY ",\"routing\":{\"cache\":{\"mode\":\"off\"}}", NULL, false, false);
    allows(BODY ",\"routing\":{\"cache\":{\"mode\":\"exact\"}}", NULL, true, true);
    allows(BODY, "x-penstock-routing: {\"cache\":{\"mode\":\"off\"}}", false, false);
    allows(BODY ",\"stream\":true", NULL, true, true);
    world_load(yaml("stream: false"));
    allows(BODY ",\"stream\":true", NULL, false, false);
    allows(BODY, NULL, true, true);
    world_load("providers: [{kind: mock}]\nmodels: [{name: m, targets: [{provider: mock}]}]\n"
               "auth: {keys: [{id: a, key: {value: ka}}]}\n");
    allows(BODY, NULL, false, false);
}
END_TEST

START_TEST(only_deterministic) {
    world_load(yaml("only_deterministic: true"));
    allows(BODY, NULL, false, false);
    allows(BODY ",\"temperature\":0", NULL, true, true);
    allows(BODY ",\"temperature\":0.0e5", NULL, true, true);
    allows(BODY ",\"temperature\":-0", NULL, true, true);
    allows(BODY ",\"temperature\":0.01", NULL, false, false);
    allows(BODY ",\"temperature\":null", NULL, false, false);
    allows(BODY ",\"seed\":42", NULL, true, true);
    allows(BODY ",\"seed\":null", NULL, false, false);
    allows(BODY ",\"seed\":null,\"temperature\":0", NULL, true, true);
    allows(BODY ",\"messages2\":{\"temperature\":0}", NULL, false, false);
}
END_TEST

/* --- there and back --- */

static struct reply_head head(void) {
    return (struct reply_head){.provider = STR("one"),
                               .model = STR("m"),
                               .content_type = STR("application/json"),
                               .usage = {.known = true, .input = 3, .output = 4, .cost_nano = -1},
                               .cost_nano = 70};
}

static bool hit(const struct cache_ticket *t, const char *body) {
    struct reply_head h;
    struct str got;
    if (!cache_find(w.p, w.a, t, &h, &got))
        return false;
    ck_str(got, body);
    ck_str(h.provider, "one");
    ck_str(h.content_type, "application/json");
    ck_assert_int_eq(h.cost_nano, 70);
    ck_assert_uint_eq(h.usage.output, 4);
    return true;
}

static bool store(struct cache_ticket *t, struct str body) {
    struct reply_head h = head();
    uint64_t before = stat_sum(w.shm, STAT_CACHE_STORES);
    cache_store(w.p, t, &h, body);
    return stat_sum(w.shm, STAT_CACHE_STORES) > before;
}

START_TEST(stored_and_found) {
    world_load(yaml(""));
    struct cache_ticket t = ticket_of(0, BODY, NULL), other = ticket_of(1, BODY, NULL);
    ck_assert(!hit(&t, ""));
    ck_assert(store(&t, STR("{\"id\":1}")));
    ck_assert(hit(&t, "{\"id\":1}"));
    struct cache_ticket again = ticket_of(0, " " BODY, NULL);
    ck_assert(hit(&again, "{\"id\":1}"));
    ck_assert(!hit(&other, ""));
    struct cache_ticket fresh = ticket_of(0, BODY, "cache-control: no-cache");
    ck_assert(!hit(&fresh, ""));
    ck_assert(store(&fresh, STR("{\"id\":2}"))); /* takes the old one's place */
    ck_assert(hit(&t, "{\"id\":2}"));
    /* what the scribe gets is the same thing */
    uint64_t cursor = 0;
    uint32_t type;
    struct str payload, body;
    struct reply_head h;
    ck_assert(ring_next(w.shm, w.slot, &cursor, &type, &payload));
    ck_assert_uint_eq(type, RECORD_REPLY);
    ck_assert(reply_unpack(w.a, payload, &h, &body));
    ck_str(body, "{\"id\":1}");
    ck_assert_int_eq(h.expires_wall_ms - h.created_wall_ms, 3600000);
    ck_assert_int_eq(memcmp(h.key, t.key, INDEX_KEY), 0);
}
END_TEST

START_TEST(cleared) {
    world_load(yaml(""));
    struct cache_ticket t = ticket_of(0, BODY, NULL);
    ck_assert(store(&t, STR("x")));
    struct index_filter all = {0};
    ck_assert_uint_eq(index_clear(w.shm, &all), 1);
    ck_assert(!hit(&t, ""));
    ck_assert(!store(&t, STR("x"))); /* asked before the clearing, answered after it */
    ck_assert(!hit(&t, ""));
    t = ticket_of(0, BODY, NULL);
    ck_assert(store(&t, STR("y")));
    ck_assert(hit(&t, "y"));
    /* by the model that was asked for, and by the key */
    struct cache_ticket n =
        ticket_of(1, "{\"model\":\"n\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]", NULL);
    ck_assert(store(&n, STR("n")));
    ck_assert_uint_ne(t.model_hash, n.model_hash);
    ck_assert_uint_ne(t.owner_hash, n.owner_hash);
    ck_assert_uint_eq(index_clear(w.shm, &(struct index_filter){.model_hash = t.model_hash}), 1);
    ck_assert(!hit(&t, "") && hit(&n, "n"));
    ck_assert_uint_eq(index_clear(w.shm, &(struct index_filter){.owner_hash = n.owner_hash}), 1);
    ck_assert(!hit(&n, ""));
}
END_TEST

START_TEST(kept_for_less_by_a_hint) {
    world_load(yaml(""));
    struct cache_ticket t = ticket_of(0, BODY ",\"routing\":{\"cache\":{\"ttl\":60}}", NULL);
    ck_assert_uint_eq(t.ttl_ms, 60000);
    t = ticket_of(0, BODY ",\"routing\":{\"cache\":{\"ttl\":86400}}", NULL);
    ck_assert_uint_eq(t.ttl_ms, 3600000); /* never for more */
    ck_assert_uint_eq(ticket_of(0, BODY, NULL).ttl_ms, 3600000);
}
END_TEST

START_TEST(not_stored) {
    world_load(yaml("max_entry: 1KiB"));
    struct cache_ticket t = ticket_of(0, BODY, NULL), off = ticket_of(0, BODY, "cache-control: no-store");
    char big[1025];
    memset(big, 'x', sizeof big);
    ck_assert(!store(&t, str_make(big, sizeof big)));
    ck_assert(!hit(&t, ""));
    ck_assert(!store(&t, STR("")));
    ck_assert(!store(&off, STR("x")));
    ck_assert(store(&t, str_make(big, 1024)));
    /* an answer that is too large leaves the old one alone */
    ck_assert(!store(&t, str_make(big, sizeof big)));
    struct reply_head h;
    struct str got;
    ck_assert(cache_find(w.p, w.a, &t, &h, &got) && got.n == 1024);
}
END_TEST

START_TEST(a_full_ring) {
    world_load(yaml(""));
    char big[40000];
    memset(big, 'x', sizeof big);
    unsigned stored = 0;
    for (int i = 0; i < 20; i++) {
        struct cache_ticket t = ticket_of(0, arena_printf(w.a, BODY ",\"seed\":%d", i).p, NULL);
        bool kept = store(&t, str_make(big, sizeof big));
        struct reply_head h;
        struct str got;
        ck_assert_int_eq(cache_find(w.p, w.a, &t, &h, &got), kept); /* never a hit on what is not there */
        stored += kept;
    }
    ck_assert_uint_ge(stored, 5); /* 256 KiB, and nobody reads */
    ck_assert_uint_lt(stored, 7);
}
END_TEST

START_TEST(expired) {
    world_load(yaml("ttl: 1ms"));
    struct cache_ticket t = ticket_of(0, BODY, NULL);
    ck_assert(store(&t, STR("x")));
    for (int64_t since = clock_wall_ms(); clock_wall_ms() < since + 2;)
        ;
    ck_assert(!hit(&t, ""));
}
END_TEST

TCase *case_cache(void) {
    TCase *t = tcase_create("cache");
    tcase_add_checked_fixture(t, world_open, world_close);
    tcase_add_test(t, equal_requests);
    tcase_add_test(t, different_requests);
    tcase_add_test(t, scopes);
    tcase_add_test(t, what_headers_and_hints_allow);
    tcase_add_test(t, only_deterministic);
    tcase_add_test(t, stored_and_found);
    tcase_add_test(t, cleared);
    tcase_add_test(t, kept_for_less_by_a_hint);
    tcase_add_test(t, not_stored);
    tcase_add_test(t, a_full_ring);
    tcase_add_test(t, expired);
    return t;
}
