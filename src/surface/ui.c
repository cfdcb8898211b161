/* GET /, /docs, /ui/{file}: the web page, whose files are in the binary; and GET /ui/session, by which it
 * learns what it can do here. */
#include "config.h"

#include "base/hash.h"
#include "page.h"
#include "surface/asset.h"

enum { TAG_BYTES = 16 };

/* Nothing but its own files and this gateway; no inline script or style, no frame around it, no HTML made of
 * text. */
#define POLICY                                                                                               \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "          \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "      \
    "trusted-types 'none'"

/* If-None-Match: a list of tags, weak or not. */
static bool has_tag(struct str list, struct str tag) {
    struct str one;
    while (str_next(&list, ',', &one)) {
        one = str_trim(one);
        if (str_is(one, "*") || str_eq(str_starts(one, "W/") ? str_skip(one, 2) : one, tag))
            return true;
    }
    return false;
}

void page_send(struct surface_call *c, const char *type, struct str body) {
    uint8_t digest[SHA256_SIZE];
    char hex[2 * TAG_BYTES + 1];
    sha256(body.p, body.n, digest);
    hex_encode(hex, digest, TAG_BYTES);
    struct str tag = arena_printf(c->x->arena, "\"%s\"", hex);
    const struct http_header h[] = {
        {STR("content-type"), str_of(type)},
        {STR("etag"), tag},
        {STR("cache-control"), STR("no-cache")}, /* kept, but asked for again: another version may run */
        {STR("x-request-id"), c->request_id},
        {STR("content-security-policy"), STR(POLICY)},
        {STR("x-content-type-options"), STR("nosniff")},
        {STR("x-frame-options"), STR("DENY")},
        {STR("referrer-policy"), STR("no-referrer")},
        {STR("cross-origin-opener-policy"), STR("same-origin")},
        {STR("cross-origin-resource-policy"), STR("same-origin")},
    };
    bool same = has_tag(exchange_header(c->x, "if-none-match"), tag);
    exchange_reply(c->x, same ? 304 : 200, h, sizeof h / sizeof *h, same ? STR_NONE : body);
}

static const struct {
    const char *suffix, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".svg", "image/svg+xml"},
};

static const char *type_of(const char *name) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (str_ends(str_of(name), types[i].suffix))
            return types[i].type;
    return NULL;
}

static void refuse(struct surface_call *c, const char *why) {
    struct fault f;
    fault_set(&f, c->x->arena, FAULT_BAD_REQUEST, "%s", why);
    f.status = 404;
    surface_fault(c, &f);
}

static void send_file(struct surface_call *c, struct str name) {
    if (!c->plane->conf->ui.enabled) {
        refuse(c, "The web page is switched off (ui.enabled).");
        return;
    }
    for (size_t i = 0; i < assets_n; i++)
        if (str_is(name, assets[i].name) && type_of(assets[i].name)) {
            page_send(c, type_of(assets[i].name), assets[i].bytes);
            return;
        }
    refuse(c, "There is no such file.");
}

void surface_ui(struct surface_call *c) {
    send_file(c, STR("index.html"));
}

void surface_docs(struct surface_call *c) {
    send_file(c, STR("docs.html"));
}

void surface_ui_file(struct surface_call *c) {
    send_file(c, c->rest);
}

/* --- /ui/session --- */

static void write_names(struct jw *w, const char *key, unsigned mask, const char *const *names) {
    jw_key(w, key);
    jw_arr(w);
    for (unsigned i = 0; names[i]; i++)
        if (mask & 1u << i)
            jw_z(w, names[i]);
    jw_arr_end(w);
}

/* Always a 200: the page asks before it knows whether there is a key, and whether it is any good. */
void surface_ui_session(struct surface_call *c) {
    static const char *const surfaces[] = {/* enum conf_surface */
                                           "native", "admin", "metrics", "s0", "s1",
                                           "s2",     "s3",    "s4",      "ui", NULL};
    static const char *const permissions[] = {"completion", "embedding", "admin", NULL};
    bool none = c->plane->conf->auth.mode == AUTH_NONE, nobody = c->caller.key == &c->plane->anonymous;
    const struct conf_gateway_key *k = nobody && !none ? NULL : c->caller.key;
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kz(&w, "version", k ? PACKAGE_VERSION : NULL);
    jw_kbool(&w, "key_needed", !none);
    write_names(&w, "surfaces", c->x->surfaces, surfaces);
    write_names(&w, "open", c->plane->conf->auth.open_surfaces, surfaces);
    jw_key(&w, "tasks");
    jw_arr(&w);
    for (size_t i = 0; k && i < c->plane->conf->routing.ntasks; i++)
        jw_z(&w, c->plane->conf->routing.tasks[i].name);
    jw_arr_end(&w);
    jw_key(&w, "caller");
    if (k) {
        unsigned may = k->permissions;
        if (none && !auth_local(c->x))
            may &= ~(unsigned)PERM_ADMIN;
        jw_obj(&w);
        jw_kz(&w, "key", k->id);
        write_names(&w, "permissions", may, permissions);
        jw_obj_end(&w);
    } else {
        jw_null(&w);
    }
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}
