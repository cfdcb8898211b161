/* The configured provider that calls go to: its checks, and what they share. Header lists are built once per
 * key, URLs are parsed once per path. */
#include "base/die.h"
#include "call_wire.h"
#include "upstream/provider.h"
#include <unistd.h>

CURLU *url_parse(struct str base, const char *path) {
    CURLU *u = curl_url();
    struct buf text;
    buf_init(&text, 64 * 1024);
    buf_adds(&text, base);
    buf_addz(&text, path);
    buf_addc(&text, '\0');
    if (!u || !buf_ok(&text) || curl_url_set(u, CURLUPART_URL, text.p, 0) != CURLUE_OK) {
        curl_url_cleanup(u);
        u = NULL;
    }
    buf_free(&text);
    return u;
}

static bool url_has(CURLU *u, CURLUPart part) {
    char *text = NULL;
    bool has = curl_url_get(u, part, &text, 0) == CURLUE_OK && text && *text;
    curl_free(text);
    return has;
}

static const char *base_problem(struct str base) {
    if (base.n == 0)
        return "base_url is not set";
    if (!str_startsi(base, "http://") && !str_startsi(base, "https://"))
        return "base_url must begin with http:// or https://";
    CURLU *u = url_parse(base, "/");
    const char *problem = NULL;
    if (!u)
        problem = "base_url is not a valid URL";
    else if (url_has(u, CURLUPART_USER) || url_has(u, CURLUPART_PASSWORD))
        problem = "base_url must not contain a user name or password";
    else if (url_has(u, CURLUPART_QUERY) || url_has(u, CURLUPART_FRAGMENT))
        problem = "base_url must not contain a query or fragment";
    curl_url_cleanup(u);
    return problem;
}

static const char *conf_problem(const struct conf_provider *p, struct str base) {
    if (p->kind->builtin)
        return NULL;
    const char *problem = base_problem(base);
    if (problem)
        return problem;
    if (*p->tls.ca && access(p->tls.ca, R_OK) != 0)
        return "tls.ca cannot be read";
    if (*p->tls.client_certificate && access(p->tls.client_certificate, R_OK) != 0)
        return "tls.client_certificate cannot be read";
    if (*p->tls.client_key && access(p->tls.client_key, R_OK) != 0)
        return "tls.client_key cannot be read";
    return NULL;
}

struct upstream *upstream_new(struct multi *m, const struct conf_provider *p, char err[256]) {
    struct arena *a = arena_new(0);
    struct str base = p->kind->builtin ? STR("") : provider_base(a, p);
    const char *problem = conf_problem(p, base);
    if (problem) {
        str_copy(err, 256, arena_printf(a, "provider %s: %s", p->name, problem));
        arena_free(a);
        return NULL;
    }
    struct upstream *u = mem_alloc(sizeof *u);
    u->magic = UPSTREAM_MAGIC;
    u->multi = m;
    u->conf = p;
    u->arena = a;
    u->base = base;
    u->lists = mem_array((p->nkeys + 1) * LISTS, sizeof *u->lists);
    u->accounts = mem_array(p->nkeys + 1, sizeof(struct account *));
    link_head(&u->calls);
    if (p->kind->builtin)
        u->mock = mock_memory_new();
    return u;
}

void upstream_free(struct upstream *u) {
    if (!u)
        return;
    MAGIC_CHECK(u, UPSTREAM_MAGIC);
    while (u->calls.next != &u->calls)
        call_cancel(LINK_OWNER(u->calls.next, struct call, in_upstream));
    for (size_t k = 0; k < 2; k++) {
        while (u->idle[k]) {
            struct wire *w = u->idle[k];
            u->idle[k] = w->next_idle;
            wire_free(w);
        }
    }
    for (size_t i = 0; i < u->npaths; i++)
        curl_url_cleanup(u->paths[i].url);
    for (size_t i = 0; i < (u->conf->nkeys + 1) * LISTS; i++)
        header_list_free(&u->lists[i]);
    mem_free(u->lists);
    for (size_t i = 0; i < u->conf->nkeys; i++)
        account_free(u->accounts[i]);
    mem_free(u->accounts);
    mock_memory_free(u->mock);
    arena_free(u->arena);
    u->magic = 0;
    mem_free(u);
}

const struct conf_provider *upstream_conf(const struct upstream *u) {
    return u->conf;
}

struct link *upstream_calls(struct upstream *u) {
    return &u->calls;
}

CURLU *upstream_url(struct upstream *u, const char *path) {
    for (size_t i = 0; i < u->npaths; i++)
        if (u->paths[i].path == path || strcmp(u->paths[i].path, path) == 0)
            return u->paths[i].url;
    if (u->npaths == MAX_PATHS)
        return NULL;
    CURLU *url = url_parse(u->base, path);
    if (url) {
        u->paths[u->npaths].path = arena_dupz(u->arena, str_of(path));
        u->paths[u->npaths++].url = url;
    }
    return url;
}

struct header_list *upstream_list(struct upstream *u, const struct call_spec *s) {
    size_t key = u->conf->nkeys;
    if (s->key) {
        key = 0;
        while (key < u->conf->nkeys && &u->conf->keys[key] != s->key)
            key++;
        if (key == u->conf->nkeys)
            return NULL;
    }
    struct header_list *l = &u->lists[key * LISTS + (s->get      ? LIST_GET
                                                     : s->stream ? LIST_STREAM
                                                                 : LIST_POST)];
    if (!l->nodes)
        header_list_build(l, u->conf, s);
    return l;
}
