/* The description of the API: every route is in it, and nothing else; it is OpenAPI 3.1 by the standard's
 * rules (https://spec.openapis.org/oas/v3.1.0); and src/surface/openapi.json tells of what the table has. */
#include <json-c/linkhash.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/die.h"
#include "surface/asset.h"
#include "surface/surface.h"
#include "surface_cases.h"

static struct json_object *doc, *source;
static const char *top; /* of the source */

static struct json_object *source_tree(void) {
    struct json_error e;
    for (size_t i = 0; i < assets_n; i++)
        if (strcmp(assets[i].name, "openapi.json") == 0)
            return chat_hold(w.a, json_tree(assets[i].bytes, &e));
    return NULL;
}

static void open_document(void) {
    site_open();
    site_load("providers: [{kind: mock}]\nauth: {mode: none}\n");
    struct answer a = get("/openapi.json", "");
    ck_assert_int_eq(a.status, 200);
    doc = json_of(&a);
    source = source_tree();
    ck_assert(doc && source);
}

static const char *const methods[] = {
    [HTTP_GET] = "get",     [HTTP_HEAD] = "head",     [HTTP_POST] = "post",       [HTTP_PUT] = "put",
    [HTTP_PATCH] = "patch", [HTTP_DELETE] = "delete", [HTTP_OPTIONS] = "options",
};

/* "/v1/models/" + star + ":count" is the template "/v1/models/{...}:count" */
static bool is_template(struct str template, const char *path) {
    const char *star = strchr(path, '*');
    if (!star)
        return str_is(template, path);
    size_t before = (size_t)(star - path), behind = strlen(star + 1);
    if (template.n < before + behind + 3 || memcmp(template.p, path, before) != 0 ||
        !str_ends(template, star + 1))
        return false;
    struct str name = str_make(template.p + before, template.n - before - behind);
    return name.p[0] == '{' && name.p[name.n - 1] == '}' && !memchr(name.p + 1, '{', name.n - 1);
}

/* The operation of a row; *key "get /v1/models/{id}". */
static struct json_object *operation_of(const struct surface_route *r, struct str *key) {
    json_object_object_foreach(jo_obj(doc, "paths"), path, item) {
        struct json_object *op = jo_obj(item, methods[r->method]);
        if (op && is_template(str_of(path), r->path)) {
            *key = arena_printf(w.a, "%s %s", methods[r->method], path);
            return op;
        }
    }
    return NULL;
}

START_TEST(every_route_is_in_it) {
    for (size_t i = 0; i < surface_routes_n; i++) {
        const struct surface_route *r = &surface_routes[i];
        struct str key;
        struct json_object *op = operation_of(r, &key);
        ck_assert_msg(op != NULL, "%s %s", methods[r->method], r->path);
        ck_str(jo_str(op, "summary"), r->help);
        ck_assert_msg((r->permission == 0) == (jo_arr(op, "security") != NULL), STR_FMT, STR_ARG(key));
    }
}
END_TEST

START_TEST(and_nothing_else) {
    size_t n = 0;
    json_object_object_foreach(jo_obj(doc, "paths"), path, item) {
        (void)path;
        n += (size_t)json_object_object_length(item);
    }
    ck_assert_uint_eq(n, surface_routes_n);
}
END_TEST

/* Whoever adds a row is told here what to add to src/surface/openapi.json. */
START_TEST(every_row_is_told) {
    struct json_object *dialects = jo_obj(source, "dialects"), *operations = jo_obj(source, "operations");
    for (size_t i = 0; i < surface_routes_n; i++) {
        const struct surface_route *r = &surface_routes[i];
        struct str key;
        struct json_object *d = jo_obj(dialects, r->dialect->name), *op = operation_of(r, &key),
                           *own = jo_obj(operations, arena_dupz(w.a, key));
        ck_assert(op != NULL);
        ck_assert_msg(
            d && jo_obj(d, "error") && jo_obj(d, "response"),
            "src/surface/openapi.json: \"dialects\" lacks \"%s\" with its request, response and error",
            r->dialect->name);
        ck_assert_msg(!r->handler || (own && jo_obj(own, "response")),
                      "src/surface/openapi.json: \"operations\" lacks \"" STR_FMT
                      "\" with its response, and parameters or request where it has some",
                      STR_ARG(key));
    }
    json_object_object_foreach(operations, key, own) {
        const char *path = strchr(key, ' ');
        ck_assert(own && path);
        struct str method = str_make(key, (size_t)(path - key));
        struct json_object *item = jo_obj(jo_obj(doc, "paths"), path + 1);
        ck_assert_msg(item && jo_obj(item, arena_dupz(w.a, method)),
                      "src/surface/openapi.json: \"operations\" tells of \"%s\", and there is no such route",
                      key);
    }
}
END_TEST

/* --- 3.1 --- */

/* "#/components/schemas/Error" */
static void resolves(const char *ref) {
    ck_assert_msg(strncmp(ref, "#/", 2) == 0, "%s", ref);
    struct str rest = str_of(ref + 2), one;
    struct json_object *at = doc;
    while (str_next(&rest, '/', &one))
        at = jo_get(at, arena_dupz(w.a, one));
    ck_assert_msg(at != NULL, "%s leads nowhere", ref);
}

static void each_reference(struct json_object *o) {
    if (json_object_is_type(o, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(o); i++)
            each_reference(json_object_array_get_idx(o, i));
    } else if (json_object_is_type(o, json_type_object)) {
        json_object_object_foreach(o, key, v) {
            if (strcmp(key, "$ref") == 0)
                resolves(json_object_get_string(v));
            else
                each_reference(v);
        }
    }
}

static bool one_of(const char *word, const char *words) {
    struct str rest = str_of(words), one;
    while (word && str_next(&rest, ' ', &one))
        if (str_is(one, word))
            return true;
    return false;
}

/* A JSON Schema (2020-12), by the keywords that are used here: a misspelt one would say nothing. */
static void is_schema(struct json_object *s, const char *where);

static void are_schemas(struct json_object *list, const char *where) {
    ck_assert_msg(list && json_object_array_length(list) > 0, "%s", where);
    for (size_t i = 0; i < json_object_array_length(list); i++)
        is_schema(json_object_array_get_idx(list, i), where);
}

static void is_type(struct json_object *t, const char *where) {
    static const char types[] = "null boolean object array number string integer";
    if (json_object_is_type(t, json_type_string))
        ck_assert_msg(one_of(json_object_get_string(t), types), "%s", where);
    for (size_t i = 0; json_object_is_type(t, json_type_array) && i < json_object_array_length(t); i++)
        ck_assert_msg(one_of(json_object_get_string(json_object_array_get_idx(t, i)), types), "%s", where);
}

static void is_schema(struct json_object *s, const char *where) {
    ck_assert_msg(json_object_is_type(s, json_type_object) || json_object_is_type(s, json_type_boolean), "%s",
                  where);
    if (json_object_is_type(s, json_type_boolean))
        return;
    json_object_object_foreach(s, key, v) {
        ck_assert_msg(one_of(key,
                             "$ref type description properties required items enum const examples default "
                             "format pattern minLength maxLength minimum maximum exclusiveMinimum minItems "
                             "maxItems oneOf anyOf allOf additionalProperties contentMediaType deprecated"),
                      "%s: the keyword %s", where, key);
        if (one_of(key, "oneOf anyOf allOf"))
            are_schemas(v, where);
        else if (one_of(key, "items additionalProperties"))
            is_schema(v, where);
        else if (strcmp(key, "type") == 0)
            is_type(v, where);
    }
    struct json_object *properties = jo_obj(s, "properties"), *required = jo_arr(s, "required");
    if (properties) {
        json_object_object_foreach(properties, name, p) {
            is_schema(p, arena_printf(w.a, "%s.%s", where, name).p);
        }
    }
    for (size_t i = 0; required && i < json_object_array_length(required); i++)
        ck_assert_msg(jo_get(properties, json_object_get_string(json_object_array_get_idx(required, i))) !=
                          NULL,
                      "%s: what is required is no property", where);
}

static void is_content(struct json_object *content, const char *where) {
    ck_assert_msg(content && json_object_object_length(content) > 0, "%s", where);
    json_object_object_foreach(content, type, media) {
        ck_assert_msg(strchr(type, '/') != NULL && jo_obj(media, "schema"), "%s: %s", where, type);
        is_schema(jo_obj(media, "schema"), where);
    }
}

static struct json_object *parameter(struct json_object *p) {
    struct str ref = jo_str(p, "$ref");
    if (!ref.n)
        return p;
    const char *name = strrchr(arena_dupz(w.a, ref), '/') + 1;
    return jo_obj(jo_obj(jo_obj(doc, "components"), "parameters"), name);
}

/* (name, in) once; those of the path required, and just those that the template has. */
static void check_parameters(struct json_object *op, const char *path) {
    struct json_object *list = jo_arr(op, "parameters");
    size_t n = list ? json_object_array_length(list) : 0, in_path = 0, braces = 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *p = parameter(json_object_array_get_idx(list, i));
        struct str name = jo_str(p, "name"), in = jo_str(p, "in");
        ck_assert_msg(name.n && one_of(arena_dupz(w.a, in), "path query header cookie"), "%s", path);
        ck_assert_msg((jo_obj(p, "schema") != NULL) + (jo_obj(p, "content") != NULL) == 1, "%s", path);
        if (jo_obj(p, "schema"))
            is_schema(jo_obj(p, "schema"), path);
        if (str_is(in, "path")) {
            in_path++;
            ck_assert(jo_bool(p, "required", false));
            ck_assert_msg(strstr(path, arena_printf(w.a, "{" STR_FMT "}", STR_ARG(name)).p), "%s", path);
        }
        for (size_t j = 0; j < i; j++) {
            struct json_object *q = parameter(json_object_array_get_idx(list, j));
            ck_assert_msg(!str_eq(jo_str(q, "name"), name) || !str_eq(jo_str(q, "in"), in), "%s", path);
        }
    }
    for (const char *c = path; *c; c++)
        braces += *c == '{';
    ck_assert_msg(in_path == braces, "%s", path);
}

static bool is_status(const char *s) {
    return strcmp(s, "default") == 0 || (strlen(s) == 3 && s[0] >= '1' && s[0] <= '5');
}

static bool has_tag(struct str name) {
    struct json_object *tags = jo_arr(doc, "tags");
    for (size_t i = 0; i < json_object_array_length(tags); i++)
        if (str_eq(jo_str(json_object_array_get_idx(tags, i), "name"), name))
            return true;
    return false;
}

static void check_operation(struct json_object *op, const char *path, struct json_object *ids) {
    const char *id = arena_dupz(w.a, jo_str(op, "operationId"));
    ck_assert_msg(*id && !json_object_object_get_ex(ids, id, NULL), "%s: operationId %s", path, id);
    json_object_object_add(ids, id, NULL);
    ck_assert_msg(has_tag(jo_text(json_object_array_get_idx(jo_arr(op, "tags"), 0))), "%s", path);
    check_parameters(op, path);
    if (jo_obj(op, "requestBody"))
        is_content(jo_obj(jo_obj(op, "requestBody"), "content"), path);
    struct json_object *responses = jo_obj(op, "responses");
    ck_assert_msg(responses && json_object_object_length(responses) > 0, "%s", path);
    json_object_object_foreach(responses, status, r) {
        ck_assert_msg(is_status(status) && jo_str(r, "description").n, "%s: %s", path, status);
        is_content(jo_obj(r, "content"), path);
    }
}

START_TEST(it_is_openapi) {
    struct json_object *info = jo_obj(doc, "info"), *components = jo_obj(doc, "components"),
                       *ids = chat_hold(w.a, json_object_new_object());
    has_members(doc, "openapi info servers security tags components paths");
    ck_str(jo_str(doc, "openapi"), "3.1.0");
    ck_assert(jo_str(info, "title").n && jo_str(info, "version").n);
    json_object_object_foreach(jo_obj(doc, "paths"), path, item) {
        ck_assert_msg(path[0] == '/', "%s", path);
        json_object_object_foreach(item, method, op) {
            ck_assert_msg(one_of(method, "get put post delete options head patch trace"), "%s", method);
            check_operation(op, path, ids);
        }
    }
    json_object_object_foreach(jo_obj(components, "schemas"), name, schema) {
        is_schema(schema, name);
    }
    struct json_object *security = jo_arr(doc, "security");
    for (size_t i = 0; i < json_object_array_length(security); i++) {
        json_object_object_foreach(json_object_array_get_idx(security, i), scheme, scopes) {
            ck_assert(scopes && jo_obj(jo_obj(components, "securitySchemes"), scheme) != NULL);
        }
    }
    each_reference(doc);
}
END_TEST

/* --- how pages are served --- */

START_TEST(pages) {
    struct answer a = get("/", "");
    ck_assert_int_eq(a.status, 200);
    ck_str(header_of(&a, "content-type"), "text/html; charset=utf-8");
    ck_str(header_of(&a, "x-content-type-options"), "nosniff");
    ck_str(header_of(&a, "cache-control"), "no-cache");
    ck_str(header_of(&a, "referrer-policy"), "no-referrer");
    struct str policy = header_of(&a, "content-security-policy"), tag = header_of(&a, "etag");
    ck_assert(str_find(policy, STR("frame-ancestors 'none'")) > 0 &&
              str_starts(policy, "default-src 'none'"));
    ck_assert(str_find(policy, STR("unsafe")) < 0 && str_find(policy, STR("*")) < 0);
    ck_assert_msg(str_find(a.body, STR("style=")) < 0 && str_find(a.body, STR("<script>")) < 0, "inline");
    const char *const same[] = {"", "\"x\", ", "W/"};
    for (size_t i = 0; i < 3; i++) {
        a = talk("GET", "/", arena_printf(w.a, "If-None-Match: %s" STR_FMT "\r\n", same[i], STR_ARG(tag)).p);
        ck_assert(a.status == 304 && a.body.n == 0);
        ck_str(header_of(&a, "etag"), arena_dupz(w.a, tag));
    }
    a = talk("GET", "/", "If-None-Match: \"x\"\r\n");
    ck_assert_int_eq(a.status, 200);
    a = talk("HEAD", "/", "");
    ck_assert(a.status == 200 && a.body.n == 0);
    a = talk("POST", "/", "");
    ck_assert_int_eq(a.status, 405);
}
END_TEST

START_TEST(files) {
    static const struct {
        const char *path, *type;
    } good[] = {{"/docs", "text/html; charset=utf-8"},
                {"/ui/app.js", "text/javascript; charset=utf-8"},
                {"/ui/style.css", "text/css; charset=utf-8"},
                {"/ui/mark.svg", "image/svg+xml"},
                {"/ui/app.js?v=1", "text/javascript; charset=utf-8"}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct answer a = get(good[i].path, "");
        ck_assert_msg(a.status == 200 && a.body.n > 0, "%s", good[i].path);
        ck_str(header_of(&a, "content-type"), good[i].type);
    }
    static const char *const bad[] = {"/ui/openapi.json", "/ui/none.js",  "/ui/../app.js",
                                      "/ui/app.js/",      "/ui/%61pp.js", "/ui/app.js%00"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct answer a = get(bad[i], "");
        is_error(&a, 404, "invalid_request_error", "no such file");
    }
    site_load("providers: [{kind: mock}]\nauth: {mode: none}\nui: {enabled: false}\n");
    struct answer a = get("/", "");
    is_error(&a, 404, "invalid_request_error", "ui.enabled");
    a = get("/openapi.json", "");
    ck_assert_int_eq(a.status, 200);
}
END_TEST

/* As they were written, byte for byte. */
START_TEST(assets_are_their_files) {
    for (size_t i = 0; i < assets_n; i++) {
        const char *room = strcmp(assets[i].name, "openapi.json") == 0 ? "surface" : "ui";
        struct str path = arena_printf(w.a, "%s/src/%s/%s", top, room, assets[i].name);
        char *bytes = arena_alloc(w.a, assets[i].bytes.n + 1);
        FILE *f = fopen(path.p, "re");
        ck_assert_msg(f != NULL, "%s", path.p);
        size_t n = fread(bytes, 1, assets[i].bytes.n + 1, f);
        fclose(f);
        ck_assert_msg(n == assets[i].bytes.n && memcmp(bytes, assets[i].bytes.p, n) == 0, "%s", path.p);
    }
}
END_TEST

static void session_is(const char *key, const char *text) {
    struct answer a = get("/ui/session", key);
    ck_assert_int_eq(a.status, 200);
    ck_str(header_of(&a, "cache-control"), "no-store");
    ck_assert_msg(str_find(a.body, str_of(text)) >= 0, STR_FMT " lacks %s", STR_ARG(a.body), text);
}

START_TEST(sessions) {
    session_is("", "\"key_needed\":false,\"surfaces\":[\"native\",\"admin\",\"metrics\",");
    session_is("",
               "\"caller\":{\"key\":\"anonymous\",\"permissions\":[\"completion\",\"embedding\",\"admin\"]}");
    site_load("providers: [{kind: mock}]\nrouting: {tasks: {sum: [m]}}\nauth:\n  keys:\n"
              "    - {id: user, key: {value: sk-user}, permissions: [completion]}\n"
              "    - {id: boss, key: {value: sk-boss}, permissions: [completion, admin]}\n");
    session_is("", "\"version\":null,\"key_needed\":true");
    session_is("", "\"open\":[],\"tasks\"");
    session_is("", "\"tasks\":[],\"caller\":null");
    session_is("sk-wrong", "\"caller\":null");
    session_is("sk-user",
               "\"tasks\":[\"sum\"],\"caller\":{\"key\":\"user\",\"permissions\":[\"completion\"]}");
    session_is("sk-boss", "\"permissions\":[\"completion\",\"admin\"]");
}
END_TEST

/* Who is let in without a key is nobody to the page: it shows what is open, and asks for a key for the rest.
 */
START_TEST(open_sessions) {
    site_load("providers: [{kind: mock}]\nauth:\n  open_surfaces: [native, ui]\n  keys:\n"
              "    - {id: boss, key: {value: sk-boss}, permissions: [admin]}\n");
    session_is("", "\"open\":[\"native\",\"ui\"],\"tasks\":[],\"caller\":null");
    session_is("sk-wrong", "\"caller\":null");
    session_is("sk-boss", "\"caller\":{\"key\":\"boss\",\"permissions\":[\"admin\"]}");
}
END_TEST

/* Nobody's page but the gateway's own may administer where no key is asked for. */
START_TEST(pages_of_other_sites) {
    static const struct {
        const char *host, *headers;
        bool good;
    } rows[] = {
        {"127.0.0.1:8080", "", true},
        {"localhost:8080", "Origin: http://localhost:8080\r\nSec-Fetch-Site: same-origin\r\n", true},
        {"[::1]:8080", "Origin: http://[::1]:8080\r\n", true},
        {"gateway", "Sec-Fetch-Site: none\r\n", true},
        {"localhost:8080", "Origin: http://localhost:8081\r\n", false},
        {"localhost:8080", "Origin: https://example.com\r\n", false},
        {"localhost:8080", "Origin: null\r\n", false},
        {"localhost:8080", "Sec-Fetch-Site: cross-site\r\n", false},
        {"localhost:8080", "Sec-Fetch-Site: same-site\r\n", false},
        {"rebound.example.com:8080", "", false},
        {"rebound.example.com:8080", "Origin: http://rebound.example.com:8080\r\n", false},
        {"127.0.0.1.example.com", "", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct answer a = talk_to(rows[i].host, "GET", "/admin/v1/workers", rows[i].headers);
        ck_assert_msg(a.status == (rows[i].good ? 200 : 403), "%s %s: %d", rows[i].host, rows[i].headers,
                      a.status);
        a = talk_to(rows[i].host, "GET", "/ui/session", rows[i].headers);
        ck_assert_msg((str_find(a.body, STR("\"admin\"]")) >= 0) == rows[i].good, STR_FMT, STR_ARG(a.body));
        a = talk_to(rows[i].host, "GET", "/v1/models", rows[i].headers);
        ck_assert_int_eq(a.status, 200);
    }
}
END_TEST

TCase *case_openapi(void) {
    TCase *t = tcase_create("openapi");
    top = getenv("srcdir"); /* the fixture clears the environment */
    top = top ? mem_dupz(top) : ".";
    tcase_add_checked_fixture(t, open_document, site_close);
    tcase_add_test(t, every_route_is_in_it);
    tcase_add_test(t, and_nothing_else);
    tcase_add_test(t, every_row_is_told);
    tcase_add_test(t, it_is_openapi);
    tcase_add_test(t, pages);
    tcase_add_test(t, files);
    tcase_add_test(t, assets_are_their_files);
    tcase_add_test(t, sessions);
    tcase_add_test(t, open_sessions);
    tcase_add_test(t, pages_of_other_sites);
    return t;
}
