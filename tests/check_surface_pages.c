/* The table of routes, health, and the lists of models. */
#include "config.h"

#include "base/clock.h"
#include "shm/bucket.h"
#include "shm/health.h"
#include "shm/slot.h"
#include "surface/surface.h"
#include "surface_cases.h"

#define KEYS                                                                                                 \
    "auth:\n  keys:\n"                                                                                       \
    "    - {id: user, key: {value: sk-user}, models: [fast, \"openai/*\"]}\n"                                \
    "    - {id: every, key: {value: sk-every}}\n"                                                            \
    "    - {id: admin, key: {value: sk-admin}, permissions: [admin]}\n"
#define PROVIDERS                                                                                            \
    "providers:\n  - {kind: openai, keys: [k]}\n  - {name: one, kind: mock}\n"                               \
    "  - {name: off, kind: mock, enabled: false}\n"
#define MODELS                                                                                               \
    "models:\n"                                                                                              \
    "  - {name: fast, display_name: Fast One, targets: [{provider: openai, model: gpt-4o-mini}]}\n"          \
    "  - {name: own, targets: [{provider: one}], context_window: 5000, max_output: 100, prices: {input: "    \
    "1.5}}\n"                                                                                                \
    "  - {name: free, targets: [{provider: one, model: unknown}]}\n"                                         \
    "  - {name: gone, targets: [{provider: off}]}\n"                                                         \
    "  - {name: \"org/odd \\\"name\\\" %\", targets: [{provider: one}]}\n"

/* --- the table --- */

START_TEST(every_row_is_whole) {
    for (size_t i = 0; i < surface_routes_n; i++) {
        const struct surface_route *r = &surface_routes[i], *found;
        struct str rest;
        char allow[64];
        ck_assert(r->path[0] == '/' && r->help && *r->help && r->surface && r->dialect && r->dialect->client);
        ck_assert_msg((r->handler != NULL) == (r->name == NULL), "%s", r->path); /* a model call has a name */
        ck_assert(!(r->surface & SURFACE_ADMIN) || !strstr(r->path, "/admin/") ||
                  r->permission == PERM_ADMIN);
        ck_assert_msg(r->permission || r->method == HTTP_GET, "%s", r->path);
        struct str path = str_of(r->path);
        if (str_ends(path, "*"))
            path = arena_printf(w.a, "%.*sx/y", (int)path.n - 1, path.p);
        ck_assert_int_eq(surface_find(r->method, path, r->surface, &found, &rest, allow), ROUTE_FOUND);
        ck_assert_ptr_eq(found, r); /* no row hides another */
        ck_assert_int_eq(surface_find(r->method, path, ~r->surface, &found, &rest, allow), ROUTE_NO_PATH);
        ck_assert_ptr_eq(surface_dialect(path), r->dialect);
    }
}
END_TEST

static const struct {
    enum http_method method;
    const char *path;
    enum route_result want;
    const char *found, *rest, *allow;
} paths[] = {
    {HTTP_GET, "/health", ROUTE_FOUND, "/health", "", ""},
    {HTTP_HEAD, "/health", ROUTE_FOUND, "/health", "", ""},
    {HTTP_POST, "/health", ROUTE_NO_METHOD, "", "", "GET, HEAD"},
    {HTTP_OPTIONS, "/health", ROUTE_NO_METHOD, "", "", "GET, HEAD"},
    {HTTP_OTHER, "/health", ROUTE_NO_METHOD, "", "", "GET, HEAD"},
    {HTTP_GET, "/v1/chat/completions", ROUTE_NO_METHOD, "", "", "POST"},
    {HTTP_HEAD, "/v1/chat/completions", ROUTE_NO_METHOD, "", "", "POST"},
    {HTTP_GET, "/admin/v1/cache", ROUTE_NO_METHOD, "", "", "DELETE"},
    {HTTP_GET, "/v1/models", ROUTE_FOUND, "/v1/models", "", ""},
    {HTTP_GET, "/v1/models/", ROUTE_NO_PATH, "", "", ""},
    {HTTP_GET, "/v1/models/a", ROUTE_FOUND, "/v1/models/*", "a", ""},
    {HTTP_GET, "/v1/models/a/b%20c/", ROUTE_FOUND, "/v1/models/*", "a/b%20c/", ""},
    {HTTP_DELETE, "/v1/models/a", ROUTE_NO_METHOD, "", "", "GET, HEAD"},
    {HTTP_GET, "/v1/modelsx", ROUTE_NO_PATH, "", "", ""},
    {HTTP_GET, "/v1/model", ROUTE_NO_PATH, "", "", ""},
    {HTTP_GET, "/V1/models", ROUTE_NO_PATH, "", "", ""},
    {HTTP_GET, "/health/", ROUTE_NO_PATH, "", "", ""},
    {HTTP_GET, "//health", ROUTE_NO_PATH, "", "", ""},
    {HTTP_GET, "/", ROUTE_FOUND, "/", "", ""},
    {HTTP_GET, "/ui/session", ROUTE_FOUND, "/ui/session", "", ""},
    {HTTP_GET, "/ui/app.js", ROUTE_FOUND, "/ui/*", "app.js", ""},
    {HTTP_GET, "/ui/", ROUTE_FOUND, "/ui/", "", ""},
    {HTTP_GET, "/ui", ROUTE_NO_PATH, "", "", ""},
    {HTTP_GET, "", ROUTE_NO_PATH, "", "", ""},
    {HTTP_OPTIONS, "*", ROUTE_NO_PATH, "", "", ""},
};

START_TEST(finding) {
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const struct surface_route *r = NULL;
        struct str rest = STR_NONE;
        char allow[64];
        enum route_result got =
            surface_find(paths[i].method, str_of(paths[i].path), SURFACE_ALL, &r, &rest, allow);
        ck_assert_msg(got == paths[i].want, "%s", paths[i].path);
        ck_assert_str_eq(allow, paths[i].allow);
        if (got == ROUTE_FOUND) {
            ck_assert_str_eq(r->path, paths[i].found);
            ck_str(rest, paths[i].rest);
        }
        ck_assert_ptr_eq(surface_dialect(str_of(paths[i].path)), &dialect_openai_chat);
    }
}
END_TEST

START_TEST(listeners_serve_their_surfaces) {
    static const struct {
        const char *path;
        unsigned surfaces;
    } rows[] = {
        {"/v1/models", SURFACE_NATIVE}, {"/metrics", SURFACE_METRICS}, {"/admin/v1/config", SURFACE_ADMIN},
        {"/health", SURFACE_ALL},       {"/readyz", SURFACE_ALL},      {"/", SURFACE_UI | SURFACE_ADMIN},
        {"/openapi.json", SURFACE_ALL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (unsigned one = SURFACE_NATIVE; one <= SURFACE_UI; one *= 2) {
            const struct surface_route *r;
            struct str rest;
            char allow[64];
            ck_assert_int_eq(surface_find(HTTP_GET, str_of(rows[i].path), one, &r, &rest, allow),
                             rows[i].surfaces & one ? ROUTE_FOUND : ROUTE_NO_PATH);
        }
}
END_TEST

START_TEST(refusals) {
    site_load(PROVIDERS KEYS);
    struct answer a = get("/nothing", "sk-every");
    is_error(&a, 404, "invalid_request_error", "/nothing");
    a = talk("DELETE", "/v1/models", "");
    is_error(&a, 405, "invalid_request_error", "DELETE");
    ck_str(header_of(&a, "allow"), "GET, HEAD");
    a = get("/v1/models", "");
    is_error(&a, 401, "invalid_request_error", "API key");
    ck_str(header_of(&a, "www-authenticate"), "Bearer");
    a = get("/v1/models", "sk-wrong");
    is_error(&a, 401, "invalid_request_error", "Incorrect");
    a = get("/admin/v1/config", "sk-every");
    ck_assert_int_eq(a.status, 403);
    a = get("/metrics", "");
    ck_assert_int_eq(a.status, 401);
}
END_TEST

START_TEST(request_ids) {
    site_load(PROVIDERS KEYS);
    struct answer a = talk("GET", "/livez", "X-Request-Id: my.id_1-2\r\n");
    ck_str(header_of(&a, "x-request-id"), "my.id_1-2");
    a = talk("GET", "/livez", "X-Request-Id: not mine\r\n");
    ck_assert(str_starts(header_of(&a, "x-request-id"), "req_"));
    a = talk("GET", "/nothing", "X-Request-Id: abc\r\n");
    ck_str(header_of(&a, "x-request-id"), "abc");
    a = talk("GET", "/v1/models", "X-Request-Id: abc\r\n");
    ck_str(header_of(&a, "x-request-id"), "abc");
}
END_TEST

/* --- health --- */

static void trip(const char *target) {
    struct breaker_rule r = {.consecutive_failures = 1, .open_for_ms = 60000, .max_open_for_ms = 60000};
    breaker_done(w.shm, entity(ENTITY_TARGET, target), &r, BREAKER_PASS, OUTCOME_FAILED, clock_ns(), 0);
}

static void health_is(int status, const char *text) {
    struct answer a = get("/health", "");
    ck_assert_int_eq(a.status, status);
    ck_str(a.body, arena_printf(w.a, "{\"status\":\"%s\"}", text).p); /* and nothing else without a key */
    ck_str(header_of(&a, "cache-control"), "no-store");
    a = talk("HEAD", "/health", "");
    ck_assert_int_eq(a.status, status);
    ck_assert_uint_eq(a.body.n, 0);
}

START_TEST(health) {
    site_load(PROVIDERS MODELS KEYS);
    health_is(200, "healthy"); /* what is disabled is not missed */
    for (int i = 0; i < 10; i++)
        health_record(w.shm, entity(ENTITY_PROVIDER, "one"), i % 2 ? OUTCOME_FAILED : OUTCOME_OK, 5, 5,
                      clock_ns());
    health_is(200, "degraded");
    trip("openai/gpt-4o-mini");
    health_is(200, "degraded");
    trip("one/own");
    trip("one/unknown");
    health_is(200, "degraded"); /* one target of it is left */
    trip("one/org/odd \"name\" %");
    health_is(503, "unhealthy");
    breaker_reset(w.shm, entity(ENTITY_TARGET, "openai/gpt-4o-mini"));
    health_is(200, "degraded");
    struct plane_provider *pr = provider("openai"); /* its only key is refused until the next reload */
    rest_until(w.shm, pr->keys[0].entity, UINT64_MAX);
    health_is(503, "unhealthy");
}
END_TEST

START_TEST(health_with_a_key) {
    site_load(PROVIDERS MODELS KEYS);
    struct answer a = get("/health", "sk-user");
    struct json_object *o = json_of(&a);
    has_members(o, "status version uptime_seconds generation providers");
    ck_str(jo_str(o, "version"), PACKAGE_VERSION);
    ck_assert_int_ge(jo_int(o, "uptime_seconds", -1), 0);
    struct json_object *all = jo_obj(o, "providers");
    has_members(all, "openai one off");
    has_members(jo_obj(all, "openai"), "status health_score error_rate");
    ck_str(jo_str(jo_obj(all, "openai"), "status"), "healthy");
    ck_str(jo_str(jo_obj(all, "off"), "status"), "disabled");
    ck_assert_int_eq(jo_int(jo_obj(all, "one"), "health_score", -1), 100);
    a = get("/health", "sk-wrong"); /* is as good as none */
    ck_str(a.body, "{\"status\":\"healthy\"}");
}
END_TEST

START_TEST(nothing_enabled) {
    site_load("providers: [{kind: mock, enabled: false}]\n" KEYS);
    health_is(503, "unhealthy");
    struct answer a = get("/v1/models", "sk-every");
    ck_str(a.body, "{\"object\":\"list\",\"data\":[]}");
}
END_TEST

START_TEST(live_and_ready) {
    site_load(PROVIDERS KEYS);
    struct answer a = get("/livez", "");
    ck_assert_int_eq(a.status, 200);
    a = get("/readyz", "");
    ck_assert_int_eq(a.status, 200);
    slot_set_state(w.shm, SLOT_DRAINING);
    a = get("/readyz", "");
    ck_assert_int_eq(a.status, 503);
    a = get("/livez", "");
    ck_assert_int_eq(a.status, 200);
}
END_TEST

/* --- models --- */

/* "fast own", in order */
static const char *ids(const struct answer *a) {
    struct json_object *o = json_of(a), *data = jo_arr(o, "data");
    struct buf b;
    has_members(o, "object data");
    ck_str(jo_str(o, "object"), "list");
    buf_init(&b, 0);
    for (size_t i = 0; i < json_object_array_length(data); i++)
        buf_printf(&b, "%s" STR_FMT, i ? "|" : "", STR_ARG(jo_str(json_object_array_get_idx(data, i), "id")));
    const char *text = arena_dup(w.a, buf_str(&b)).p;
    buf_free(&b);
    return text ? text : "";
}

START_TEST(models) {
    site_load(PROVIDERS MODELS KEYS);
    struct answer a = get("/v1/models", "sk-every");
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(ids(&a), "fast|own|free|org/odd \"name\" %"); /* not what nobody serves */
    a = get("/v1/models", "sk-user");
    ck_assert_str_eq(ids(&a), "fast");
    a = get("/v1/models", "sk-admin");
    ck_assert_int_eq(a.status, 200); /* any key may look */
    site_load("providers:\n  - {kind: openai, keys: [k]}\n  - {kind: anthropic, keys: [k]}\n"
              "  - {name: l, kind: openai_compatible, base_url: \"http://127.0.0.1:9\"}\n" KEYS);
    a = get("/v1/models", "sk-every"); /* without models: what the providers' defaults are */
    ck_assert_str_eq(ids(&a), "gpt-4o-mini|claude-sonnet-4-5");
}
END_TEST

static struct json_object *one(const char *path, const char *id) {
    struct answer a = get(path, "sk-every");
    ck_assert_msg(a.status == 200, "%s: " STR_FMT, path, STR_ARG(a.body));
    struct json_object *o = json_of(&a);
    ck_str(jo_str(o, "id"), id);
    ck_str(jo_str(o, "object"), "model");
    return o;
}

START_TEST(one_model) {
    site_load(PROVIDERS MODELS KEYS);
    struct json_object *o = one("/v1/models/fast", "fast");
    has_members(o, "id object created owned_by display_name context_window max_output_tokens pricing");
    ck_str(jo_str(o, "owned_by"), "openai");
    ck_str(jo_str(o, "display_name"), "Fast One");
    ck_assert_int_eq(jo_int(o, "context_window", 0), 128000);
    ck_assert_int_eq(jo_int(o, "max_output_tokens", 0), 16384);
    struct json_object *p = jo_obj(o, "pricing");
    has_members(p, "input cached_input output unit");
    ck_assert_str_eq(json_object_to_json_string(jo_get(p, "input")), "0.15");
    ck_assert_str_eq(json_object_to_json_string(jo_get(p, "cached_input")), "0.075");
    o = one("/v1/models/own", "own");
    ck_assert_int_eq(jo_int(o, "context_window", 0), 5000);
    ck_assert_int_eq(jo_int(o, "max_output_tokens", 0), 100);
    has_members(jo_obj(o, "pricing"), "input unit");
    has_members(one("/v1/models/free", "free"), "id object created owned_by"); /* unknown, never 0 */
}
END_TEST

START_TEST(ids_in_paths) {
    site_load(PROVIDERS MODELS KEYS);
    one("/v1/models/%66ast", "fast");
    one("/v1/models/org/odd%20%22name%22%20%25", "org/odd \"name\" %");
    one("/v1/models/org%2Fodd%20%22name%22%20%25", "org/odd \"name\" %");
    struct json_object *o = one("/v1/models/openai%2Fgpt-4.1", "openai/gpt-4.1"); /* leads somewhere */
    ck_assert_int_eq(jo_int(o, "context_window", 0), 1000000);
    one("/v1/models/openai.gpt-x", "openai.gpt-x");
    static const char *const none[] = {
        "/v1/models/nothing", "/v1/models/fast/", "/v1/models/fas",  "/v1/models/%zz", "/v1/models/fast%",
        "/v1/models/fast%00", "/v1/models/FAST",  "/v1/models/gone", "/v1/models/%2F", "/v1/models/off%2Fx"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct answer a = get(none[i], "sk-every");
        is_error(&a, 404, "invalid_request_error", "does not exist or you do not have access");
        ck_str(jo_str(jo_obj(json_of(&a), "error"), "code"), "model_not_found");
    }
    struct answer a = get("/v1/models/own", "sk-user"); /* there, but not for this key: the same words */
    is_error(&a, 404, "invalid_request_error", "does not exist or you do not have access");
    a = get("/v1/models/openai%2Fgpt-x", "sk-user");
    ck_assert_int_eq(a.status, 200);
    a = talk("HEAD", "/v1/models/fast", "x-api-key: sk-every\r\n");
    ck_assert(a.status == 200 && a.body.n == 0);
}
END_TEST

TCase *case_pages(void) {
    TCase *t = tcase_create("pages");
    tcase_add_checked_fixture(t, site_open, site_close);
    tcase_add_test(t, every_row_is_whole);
    tcase_add_test(t, finding);
    tcase_add_test(t, listeners_serve_their_surfaces);
    tcase_add_test(t, refusals);
    tcase_add_test(t, request_ids);
    tcase_add_test(t, health);
    tcase_add_test(t, health_with_a_key);
    tcase_add_test(t, nothing_enabled);
    tcase_add_test(t, live_and_ready);
    tcase_add_test(t, models);
    tcase_add_test(t, one_model);
    tcase_add_test(t, ids_in_paths);
    return t;
}
