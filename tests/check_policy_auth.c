/* Who may: keys in every header, their permissions and models, and nobody in particular. */
#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"
#include "policy/auth.h"
#include "policy_cases.h"
#include "under_valgrind.h"

static const char keys[] =
    "providers: [{kind: mock}]\n"
    "auth:\n"
    "  keys:\n"
    "    - {id: plain, key: {value: sk-plain}, models: [\"gpt-*\", \"*/mini\", exact]}\n"
    "    - {id: root, key: {value: sk-root}, permissions: [admin]}\n"
    "    - {id: every, key: {value: sk-every}, permissions: [completion, embedding, admin]}\n"
    "    - {id: old, key: {value: sk-old}, expires: 2020-01-01}\n"
    "    - {id: young, key: {value: sk-young}, expires: 2999-01-01}\n"
    "    - {id: hashed, hash: \"sha256:"
    "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5\"}\n"; /* 12345 */

static struct caller who;
static struct fault fault;

static bool may(const char *headers, unsigned permission) {
    who = (struct caller){0};
    fault = (struct fault){0};
    return auth_caller(w.p, request(headers), permission, NULL, &who, &fault);
}

static void refused(const char *headers, unsigned permission, enum fault_class cls) {
    ck_assert_msg(!may(headers, permission), "%s", headers);
    ck_assert_msg(fault.cls == cls, "%s: %d", headers, (int)fault.cls);
    ck_assert_ptr_null(who.key);
    ck_assert(fault.message.n > 0 && str_find(fault.message, STR("sk-")) < 0);
}

static const struct {
    const char *headers, *id; /* NULL: refused */
} sent[] = {
    {"Authorization: Bearer sk-plain", "plain"},
    {"authorization: bearer sk-plain", "plain"},
    {"AUTHORIZATION: BEARER   sk-plain  ", "plain"},
    {"Authorization: sk-plain", "plain"},
    {"x-api-key: sk-plain", "plain"},
    {"X-Api-Key: sk-plain", "plain"},
    {"api-key: sk-plain", "plain"},
    {"x-goog-api-key: sk-plain", "plain"},
    {"x-goog-api-key: sk-plain\nx-api-key: sk-every", "every"},
    {"x-api-key: sk-plain\nauthorization: Bearer sk-every", "every"}, /* the first counts, and it alone */
    {"x-api-key: sk-plain\nauthorization: Bearer wrong", NULL},
    {"x-api-key: 12345", "hashed"},
    {"x-api-key: sk-young", "young"},
    {"x-api-key: sk-old", NULL},
    {"x-api-key: sk-plai", NULL},
    {"x-api-key: sk-plainx", NULL},
    {"x-api-key: SK-PLAIN", NULL},
    {"x-api-key: 5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5", NULL},
    {"x-api-key: sha256:5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5", NULL},
    {"Authorization: Basic sk-plain", NULL},
    {"Authorization: Bearer sk-plain sk-plain", NULL},
    {"Authorization: Bearer", NULL},
    {"Authorization: Bearer ", NULL},
    {"Authorization:", NULL},
    {"x-api-key:", NULL},
    {"cookie: sk-plain", NULL},
    {NULL, NULL},
};

START_TEST(headers) {
    world_load(keys);
    const char *id = sent[_i].id;
    if (!id) {
        refused(sent[_i].headers, PERM_ANY, FAULT_AUTH);
        ck_assert_int_eq(fault_status(&fault), 401);
        return;
    }
    ck_assert_msg(may(sent[_i].headers, PERM_ANY), "%s", sent[_i].headers);
    ck_assert_str_eq(who.key->id, id);
    ck_assert_uint_eq(who.entity, shm_entity(w.shm, ENTITY_GATEWAY_KEY, str_of(id)));
}
END_TEST

START_TEST(longest_key) {
    char key[5000], header[5100];
    memset(key, 'k', sizeof key);
    for (size_t n = 4096; n <= 4097; n++) {
        key[n] = '\0';
        world_load(
            arena_printf(w.a, "providers: [{kind: mock}]\nauth: {keys: [{id: a, key: {value: %s}}]}", key).p);
        snprintf(header, sizeof header, "x-api-key: %s", key);
        ck_assert_int_eq(may(header, PERM_ANY), n == 4096);
        key[n] = 'k';
    }
}
END_TEST

START_TEST(texts_tell_nothing) {
    world_load(keys);
    refused("x-api-key: sk-old", PERM_ANY, FAULT_AUTH);
    struct str expired = fault.message;
    refused("x-api-key: sk-unknown", PERM_ANY, FAULT_AUTH);
    ck_assert(str_eq(expired, fault.message)); /* one that was is not told from one that never was */
}
END_TEST

START_TEST(permissions) {
    world_load(keys);
    ck_assert(may("x-api-key: sk-plain", PERM_COMPLETION));
    ck_assert(may("x-api-key: sk-plain", PERM_EMBEDDING));
    ck_assert(may("x-api-key: sk-root", PERM_ADMIN));
    ck_assert(may("x-api-key: sk-root", PERM_ANY));
    ck_assert(may("x-api-key: sk-every", PERM_COMPLETION | PERM_ADMIN));
    refused("x-api-key: sk-plain", PERM_ADMIN, FAULT_PERMISSION);
    ck_assert_int_eq(fault_status(&fault), 403);
    refused("x-api-key: sk-root", PERM_COMPLETION, FAULT_PERMISSION);
    refused("x-api-key: sk-plain", PERM_COMPLETION | PERM_ADMIN, FAULT_PERMISSION); /* all, not any */
    refused("x-api-key: sk-old", PERM_COMPLETION, FAULT_AUTH);
}
END_TEST

/* Rows of an open surface: whoever is known is who he is, and nobody is turned away, but from administration.
 */
START_TEST(open_surfaces) {
    static const char *const nobody[] = {NULL, "x-api-key: wrong", "x-api-key: sk-old",
                                         "x-api-key: sk-root"}; /* has no PERM_COMPLETION */
    world_load(keys);
    ck_assert(may("x-api-key: sk-plain", PERM_OPEN | PERM_COMPLETION));
    ck_assert_str_eq(who.key->id, "plain");
    for (size_t i = 0; i < sizeof nobody / sizeof *nobody; i++) {
        ck_assert(may(nobody[i], PERM_OPEN | PERM_COMPLETION));
        ck_assert_str_eq(who.key->id, "anonymous");
        ck_assert(!(who.key->permissions & PERM_ADMIN) && fault.cls == FAULT_NONE);
    }
    refused(NULL, PERM_OPEN | PERM_ADMIN, FAULT_AUTH);
    refused("x-api-key: sk-plain", PERM_OPEN | PERM_ADMIN, FAULT_PERMISSION);
    ck_assert(may("x-api-key: sk-root", PERM_OPEN | PERM_ADMIN));
}
END_TEST

START_TEST(open_rows) {
    world_load(keys);
    ck_assert(may(NULL, 0));
    ck_assert_ptr_null(who.key);
    who = (struct caller){.key = &w.p->anonymous}; /* whatever was there before */
    ck_assert(auth_caller(w.p, request("x-api-key: wrong"), 0, NULL, &who, &fault));
    ck_assert_ptr_null(who.key);
    ck_assert(may("x-api-key: sk-old", 0));
    ck_assert_ptr_null(who.key);
    ck_assert(may("x-api-key: sk-root", 0));
    ck_assert_str_eq(who.key->id, "root");
}
END_TEST

START_TEST(anonymous) {
    world_load("providers: [{kind: mock}]\nauth: {mode: none, default_limits: {requests_per_minute: 7}}\n");
    ck_assert(may(NULL, PERM_COMPLETION));
    ck_assert_str_eq(who.key->id, "anonymous");
    ck_assert_uint_eq(who.key->limits.requests_per_minute, 7);
    ck_assert_uint_eq(who.entity, w.p->anonymous_entity);
    ck_assert(may("x-api-key: whatever", PERM_EMBEDDING));
    ck_assert(auth_model(&who, STR("anything")));
    ck_assert(may(NULL, PERM_ADMIN)); /* from this machine */
    struct exchange *x = request(NULL);
    x->peer_loopback = false;
    ck_assert(auth_caller(w.p, x, PERM_COMPLETION, NULL, &who, &fault));
    ck_assert(auth_caller(w.p, x, PERM_ANY, NULL, &who, &fault));
    ck_assert(!auth_caller(w.p, x, PERM_ADMIN, NULL, &who, &fault));
    ck_assert_int_eq(fault.cls, FAULT_PERMISSION);
}
END_TEST

START_TEST(admin_with_a_key_from_anywhere) {
    world_load(keys);
    struct exchange *x = request("x-api-key: sk-root");
    x->peer_loopback = false;
    ck_assert(auth_caller(w.p, x, PERM_ADMIN, NULL, &who, &fault));
}
END_TEST

static const struct {
    const char *pattern, *model;
    bool yes;
} patterns[] = {
    {"*", "", true},
    {"*", "gpt-4o", true},
    {"**", "gpt-4o", true},
    {"gpt-4o", "gpt-4o", true},
    {"gpt-4o", "gpt-4o-mini", false},
    {"gpt-4o", "xgpt-4o", false},
    {"gpt-4o", "", false},
    {"gpt-*", "gpt-", true},
    {"gpt-*", "gpt-4o", true},
    {"gpt-*", "openai/gpt-4o", false},
    {"*gpt*", "openai/gpt-4o", true},
    {"*/gpt-*", "openai/gpt-4o", true},
    {"*-mini", "gpt-4o-mini", true},
    {"*-mini", "gpt-4o-mini-2024", false},
    {"a*b*c", "aXbXbXc", true},
    {"a*b*c", "aXbXbX", false},
    {"*ab", "aab", true},
    {"*aab", "aaaab", true},
    {"gpt-4o*", "GPT-4o", false},
    {"gpt-?", "gpt-4", false},
};

START_TEST(model_patterns) {
    const char *list[] = {patterns[_i].pattern};
    struct conf_gateway_key k = {.id = "k", .models = list, .nmodels = 1};
    struct caller c = {.key = &k};
    ck_assert_msg(auth_model(&c, str_of(patterns[_i].model)) == patterns[_i].yes, "%s, %s",
                  patterns[_i].pattern, patterns[_i].model);
}
END_TEST

START_TEST(models_of_a_key) {
    world_load(keys);
    ck_assert(may("x-api-key: sk-plain", PERM_ANY));
    ck_assert(auth_model(&who, STR("gpt-4o")) && auth_model(&who, STR("x/mini")));
    ck_assert(auth_model(&who, STR("exact")));
    ck_assert(!auth_model(&who, STR("claude-3")) && !auth_model(&who, STR("exactly")));
    ck_assert(may("x-api-key: sk-every", PERM_ANY));
    ck_assert(auth_model(&who, STR("claude-3")));
}
END_TEST

static const char *tenant_of(const char *sends, const char *named) {
    ck_assert(
        auth_caller(w.p, request(sends), PERM_COMPLETION | (sends ? 0 : PERM_OPEN), NULL, &who, &fault));
    const struct conf_gateway_key *before = who.key;
    bool counts = auth_tenant(w.p, w.a, str_of(named), &who);
    ck_assert(counts == (strcmp(who.key->tenant, named) == 0) && strcmp(who.key->id, before->id) == 0);
    ck_assert(who.names_tenant == (who.key != before));
    return who.key->tenant;
}

/* A request's word counts for who has none of its own, or lists it. */
START_TEST(tenants_that_requests_name) {
    world_load("providers: [{kind: mock}]\nauth:\n  keys:\n"
               "    - {id: free, key: {value: sk-free}}\n"
               "    - {id: owned, key: {value: sk-owned}, tenant: red}\n"
               "    - {id: both, key: {value: sk-both}, tenant: red, tenants: [blue]}\n"
               "    - {id: lists, key: {value: sk-lists}, tenants: [blue, green]}\n");
    ck_assert_str_eq(tenant_of("x-api-key: sk-free", "any"), "any");
    ck_assert_str_eq(tenant_of("x-api-key: sk-owned", "any"), "red");
    ck_assert_str_eq(tenant_of("x-api-key: sk-owned", "red"), "red");
    ck_assert_str_eq(tenant_of("x-api-key: sk-owned", "RED"), "red");
    ck_assert_str_eq(tenant_of("x-api-key: sk-both", "blue"), "blue");
    ck_assert_str_eq(tenant_of("x-api-key: sk-both", "green"), "red");
    ck_assert_str_eq(tenant_of("x-api-key: sk-lists", "green"), "green");
    ck_assert_str_eq(tenant_of("x-api-key: sk-lists", "any"), "");
    ck_assert_str_eq(tenant_of(NULL, "red"), ""); /* nobody, on an open surface */
    world_load("providers: [{kind: mock}]\nauth: {mode: none}\n");
    ck_assert_str_eq(tenant_of(NULL, "red"), "red"); /* where everybody is */
}
END_TEST

START_TEST(patterns_are_not_exponential) {
    char pattern[256], name[4096];
    for (size_t i = 0; i < sizeof pattern - 2; i += 2) {
        pattern[i] = 'a';
        pattern[i + 1] = '*';
    }
    memcpy(pattern + sizeof pattern - 2, "b", 2);
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    const char *list[] = {pattern};
    struct conf_gateway_key k = {.id = "k", .models = list, .nmodels = 1};
    struct caller c = {.key = &k};
    uint64_t since = clock_ms();
    ck_assert(!auth_model(&c, str_of(name)));
    ck_assert_uint_lt(clock_ms() - since, eased(1000));
}
END_TEST

static const char narrow[] =
    "providers: [{kind: mock}]\n"
    "auth:\n"
    "  keys:\n"
    "    - {id: a, key: {value: sk-a}, addresses: [192.0.2.0/25, \"2001:db8::/33\", 127.0.0.1]}\n"
    "    - {id: six, key: {value: sk-six}, addresses: \"::1\"}\n"
    "    - {id: far, key: {value: sk-far}, addresses: [0.0.0.0/0]}\n"
    "    - {id: e, key: {value: sk-e}, endpoints: [embeddings, \"/v1/audio/*\", \"gemini*\"]}\n";

static const struct {
    const char *key, *peer;
    bool local, yes;
} places[] = {
    {"sk-a", "192.0.2.1", false, true},
    {"sk-a", "192.0.2.127", false, true},
    {"sk-a", "192.0.2.128", false, false},
    {"sk-a", "::ffff:192.0.2.1", false, true},
    {"sk-a", "::ffff:192.0.2.200", false, false},
    {"sk-a", "192.0.3.1", false, false},
    {"sk-a", "2001:db8:7fff::1", false, true},
    {"sk-a", "2001:db8:7fff::1%eth0", false, true},
    {"sk-a", "2001:db8:8000::1", false, false},
    {"sk-a", "127.0.0.1", true, true},
    {"sk-a", "127.0.0.2", true, false},
    {"sk-a", "unix", true, true},
    {"sk-six", "unix", true, true},
    {"sk-six", "::1", true, true},
    {"sk-six", "127.0.0.1", true, false},
    {"sk-far", "203.0.113.9", false, true},
    {"sk-far", "2001:db8::1", false, false},
    {"sk-a", "nonsense", false, false},
    {"sk-a", "", false, false},
};

START_TEST(addresses_of_a_key) {
    world_load(narrow);
    struct exchange *x = request(arena_printf(w.a, "x-api-key: %s", places[_i].key).p);
    x->peer = str_of(places[_i].peer);
    x->peer_loopback = places[_i].local;
    bool yes = auth_caller(w.p, x, PERM_COMPLETION, "chat", &who, &fault);
    ck_assert_msg(yes == places[_i].yes, "%s %s", places[_i].key, places[_i].peer);
    if (!yes)
        ck_assert_int_eq(fault_status(&fault), 403);
    ck_assert(
        auth_caller(w.p, x, 0, NULL, &who, &fault)); /* an open page stays one, without the key's name */
    ck_assert_int_eq(who.key != NULL, yes);
}
END_TEST

static const struct {
    const char *path, *surface;
    bool yes;
} reach[] = {
    {"/v1/embeddings", "embeddings", true},
    {"/v1/chat/completions", "chat", false},
    {"/v1/audio/speech", "audio", true},
    {"/v1/audio/", "audio", true},
    {"/v1/audio", "audio", false},
    {"/v1/%61udio/speech", "audio", false}, /* what is not plainly allowed is not */
    {"/v1beta/models/x:generateContent", "gemini", true},
    {"/v1beta/models/x:countTokens", "gemini_count", true},
    {"/v1/models", NULL, false},
};

START_TEST(endpoints_of_a_key) {
    world_load(narrow);
    struct exchange *x = request("x-api-key: sk-e");
    x->path = str_of(reach[_i].path);
    unsigned permission = reach[_i].surface ? PERM_EMBEDDING : PERM_ANY;
    bool yes = auth_caller(w.p, x, permission, reach[_i].surface, &who, &fault);
    ck_assert_msg(yes == reach[_i].yes, "%s", reach[_i].path);
    if (!yes)
        ck_assert_int_eq(fault_status(&fault), 403);
}
END_TEST

TCase *case_auth(void) {
    TCase *t = tcase_create("auth");
    tcase_add_checked_fixture(t, world_open, world_close);
    tcase_add_loop_test(t, headers, 0, sizeof sent / sizeof *sent);
    tcase_add_test(t, longest_key);
    tcase_add_test(t, texts_tell_nothing);
    tcase_add_test(t, permissions);
    tcase_add_test(t, open_rows);
    tcase_add_test(t, open_surfaces);
    tcase_add_test(t, anonymous);
    tcase_add_test(t, admin_with_a_key_from_anywhere);
    tcase_add_loop_test(t, model_patterns, 0, sizeof patterns / sizeof *patterns);
    tcase_add_test(t, models_of_a_key);
    tcase_add_loop_test(t, addresses_of_a_key, 0, sizeof places / sizeof *places);
    tcase_add_loop_test(t, endpoints_of_a_key, 0, sizeof reach / sizeof *reach);
    tcase_add_test(t, tenants_that_requests_name);
    tcase_add_test(t, patterns_are_not_exponential);
    return t;
}
