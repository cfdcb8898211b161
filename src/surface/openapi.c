/* GET /openapi.json: OpenAPI 3.1, made of the table of routes. Paths, methods, parameters in paths,
 * permissions and summaries are the rows'; what goes in and out is told by openapi.json beside this file: of
 * model calls by their dialect, of handlers by method and path. A test holds the two together. */
#include "config.h"

#include <string.h>

#include "page.h"
#include "surface/asset.h"

static struct str source(void) {
    for (size_t i = 0; i < assets_n; i++)
        if (strcmp(assets[i].name, "openapi.json") == 0)
            return assets[i].bytes;
    return STR("{}");
}

/* Of several prefixes the first counts. "*" at the end of one that is no whole path. */
static const struct {
    const char *pattern, *tag;
} tags[] = {
    {"/admin/v1/*", "Administration"},
    {"/v1beta/*", "Gemini"},
    {"/v1/models/*:*", "Gemini"},
    {"/v1/messages*", "Anthropic"},
    {"/api/v1/llm/*", "Enterprise gateway"},
    {"/api/v1/*", "Microservice"},
    {"/api/*", "Cost-aware gateway"},
    {"/v1/gateway/*", "Cost-aware gateway"},
    {"/v1/completions/stream", "Routing gateway"},
    {"/v1/providers*", "Routing gateway"},
    {"/v1/cache/*", "Routing gateway"},
    {"/chat/completions", "OpenRouter service"},
    {"/providers/status", "OpenRouter service"},
    {"/models/available", "OpenRouter service"},
    {"/v1/*", "OpenAI"},
    {"/v2/*", "OpenAI"},
    {"*", "Operation"},
};

static const char *tag_of(const char *path) {
    size_t i = 0;
    while (!str_glob(str_of(tags[i].pattern), str_of(path)))
        i++;
    return tags[i].tag;
}

/* What '*' of a path is called. */
static const char *variable_name(const char *path) {
    return strstr(path, "*:") ? "model" : strstr(path, "/provider/*") ? "name" : "id";
}

static const char *method_of(const struct surface_route *r) {
    static const char *const names[] = {
        [HTTP_GET] = "get",     [HTTP_HEAD] = "head",     [HTTP_POST] = "post",      [HTTP_PUT] = "put",
        [HTTP_PATCH] = "patch", [HTTP_DELETE] = "delete", [HTTP_OPTIONS] = "options"};
    return names[r->method];
}

static struct str path_text(struct arena *a, const char *path) {
    const char *star = strchr(path, '*');
    return star ? arena_printf(a, "%.*s{%s}%s", (int)(star - path), path, variable_name(path), star + 1)
                : str_of(path);
}

/* GET /v1/models/{id}: getV1ModelsId */
static struct str operation_id(struct arena *a, const struct surface_route *r, struct str path) {
    struct buf b;
    bool upper = true;
    buf_init(&b, 0);
    buf_addz(&b, method_of(r));
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];
        bool lower = c >= 'a' && c <= 'z';
        if (lower || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
            buf_addc(&b, upper && lower ? (char)(c - 'a' + 'A') : c);
            upper = false;
        } else {
            upper = true;
        }
    }
    struct str id = arena_dup(a, buf_str(&b));
    buf_free(&b);
    return id;
}

/* --- what openapi.json has of a row --- */

struct told {
    struct str doc, dialect, operation; /* objects; "{}" where there is nothing */
};

static struct str object_of(struct str doc, const char *group, const char *name) {
    struct json_value v;
    return json_path(doc, &v, group, name, NULL) && v.kind == JSON_OBJECT ? v.raw : STR("{}");
}

static struct told told_of(struct arena *a, struct str doc, const struct surface_route *r) {
    struct str key = arena_printf(a, "%s " STR_FMT, method_of(r), STR_ARG(path_text(a, r->path)));
    return (struct told){doc, object_of(doc, "dialects", r->dialect->name),
                         object_of(doc, "operations", key.p)};
}

/* The operation's own, else a model call's dialect's. */
static bool find(const struct told *t, const struct surface_route *r, const char *name,
                 struct json_value *v) {
    return json_member(t->operation, name, v) || (!r->handler && json_member(t->dialect, name, v));
}

/* --- an operation --- */

static bool each_raw(void *arg, struct str key, struct json_value v) {
    (void)key;
    jw_raw(arg, v.raw);
    return true;
}

static bool each_named(void *arg, struct str key, struct json_value v) {
    jw_keys(arg, key);
    jw_raw(arg, v.raw);
    return true;
}

static void write_parameters(struct jw *w, const struct surface_route *r, const struct told *t) {
    bool variable = strchr(r->path, '*') != NULL;
    struct json_value v, schema;
    bool own = find(t, r, "parameters", &v);
    if (!variable && !own)
        return;
    jw_key(w, "parameters");
    jw_arr(w);
    if (variable) {
        jw_obj(w);
        jw_kz(w, "name", variable_name(r->path));
        jw_kz(w, "in", "path");
        jw_kbool(w, "required", true);
        jw_key(w, "schema");
        jw_raw(w, json_member(t->operation, "path", &schema) ? schema.raw
                                                             : STR("{\"type\":\"string\",\"minLength\":1}"));
        jw_obj_end(w);
    }
    if (own)
        json_each(v.raw, each_raw, w);
    jw_arr_end(w);
}

static void write_request(struct jw *w, const struct surface_route *r, const struct told *t) {
    struct json_value v;
    if (r->method == HTTP_GET || r->method == HTTP_DELETE || !find(t, r, "request", &v))
        return;
    jw_key(w, "requestBody");
    jw_obj(w);
    jw_kbool(w, "required", true);
    jw_key(w, "content");
    jw_raw(w, v.raw);
    jw_obj_end(w);
}

static void write_response(struct jw *w, const char *status, const char *description, struct str content,
                           struct str headers) {
    jw_key(w, status);
    jw_obj(w);
    jw_kz(w, "description", description);
    if (headers.n) {
        jw_key(w, "headers");
        jw_raw(w, headers);
    }
    if (content.n) {
        jw_key(w, "content");
        jw_raw(w, content);
    }
    jw_obj_end(w);
}

static void write_responses(struct jw *w, const struct surface_route *r, const struct told *t) {
    struct json_value v;
    struct str content =
        find(t, r, "response", &v) ? v.raw : STR("{\"application/json\":{\"schema\":{\"type\":\"object\"}}}");
    struct str headers = !r->handler && json_member(t->doc, "headers", &v) ? v.raw : STR_NONE;
    struct str error =
        json_member(t->operation, "error", &v) || json_member(t->dialect, "error", &v) ? v.raw : STR_NONE;
    struct json_value more;
    bool created = json_member(t->operation, "created", &v),
         is_more = json_member(t->operation, "more", &more);
    jw_key(w, "responses");
    jw_obj(w);
    write_response(w, created ? "201" : "200", r->help, content, headers);
    if (is_more)
        json_each(more.raw, each_named, w);
    if (r->permission) {
        write_response(w, "401", "No key, or one that is not good", error, STR_NONE);
        write_response(w, "403", "The key may not do this", error, STR_NONE);
    }
    if (!r->handler)
        write_response(w, "429", "A limit or a budget is used up; `retry-after` says for how long", error,
                       headers);
    write_response(w, "default", "What was wrong", error, STR_NONE);
    jw_obj_end(w);
}

static const char *permission_name(unsigned p) {
    return p & PERM_ADMIN        ? "admin"
           : p & PERM_EMBEDDING  ? "embedding"
           : p & PERM_COMPLETION ? "completion"
                                 : "any key";
}

static void write_operation(struct jw *w, struct arena *a, struct str doc, const struct surface_route *r) {
    struct told t = told_of(a, doc, r);
    struct json_value v;
    jw_key(w, method_of(r));
    jw_obj(w);
    jw_kstr(w, "operationId", operation_id(a, r, path_text(a, r->path)));
    jw_kz(w, "summary", r->help);
    if (json_member(t.operation, "description", &v)) {
        jw_key(w, "description");
        jw_raw(w, v.raw);
    }
    jw_key(w, "tags");
    jw_arr(w);
    jw_z(w, tag_of(r->path));
    jw_arr_end(w);
    if (r->permission) {
        jw_kz(w, "x-permission", permission_name(r->permission));
    } else {
        jw_key(w, "security");
        jw_raw(w, STR("[]"));
    }
    write_parameters(w, r, &t);
    write_request(w, r, &t);
    write_responses(w, r, &t);
    jw_obj_end(w);
}

/* --- the document --- */

static bool seen_before(size_t row) {
    for (size_t i = 0; i < row; i++)
        if (strcmp(surface_routes[i].path, surface_routes[row].path) == 0)
            return true;
    return false;
}

static void write_paths(struct jw *w, struct arena *a, struct str doc) {
    jw_key(w, "paths");
    jw_obj(w);
    for (size_t i = 0; i < surface_routes_n; i++) {
        if (seen_before(i))
            continue;
        jw_keys(w, path_text(a, surface_routes[i].path));
        jw_obj(w);
        for (size_t j = i; j < surface_routes_n; j++)
            if (strcmp(surface_routes[j].path, surface_routes[i].path) == 0)
                write_operation(w, a, doc, &surface_routes[j]);
        jw_obj_end(w);
    }
    jw_obj_end(w);
}

static void write_document(struct buf *out) {
    static const char *const parts[] = {"servers", "security", "tags", "components"};
    struct arena *a = arena_new(0);
    struct str doc = source();
    struct json_value v;
    struct jw w;
    jw_init(&w, out);
    jw_obj(&w);
    jw_kz(&w, "openapi", "3.1.0");
    jw_key(&w, "info");
    jw_obj(&w);
    jw_kz(&w, "version", PACKAGE_VERSION);
    if (json_member(doc, "info", &v))
        json_each(v.raw, each_named, &w);
    jw_obj_end(&w);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (json_member(doc, parts[i], &v)) {
            jw_key(&w, parts[i]);
            jw_raw(&w, v.raw);
        }
    write_paths(&w, a, doc);
    jw_obj_end(&w);
    arena_free(a);
}

/* Made once by each worker that is asked: it is the same for everybody. */
void surface_openapi(struct surface_call *c) {
    static struct buf made;
    if (!made.p) {
        buf_init(&made, 0);
        write_document(&made);
    }
    page_send(c, "application/json", buf_str(&made));
}
