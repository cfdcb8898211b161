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

static bool ascii(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    return true;
}

/* "host" or "host:port", the scheme's own port left out as libcurl does. */
static struct str host_of(struct arena *a, struct str base) {
    CURLU *u = url_parse(base, "/");
    char *host = NULL, *port = NULL;
    struct str made = STR_NONE;
    if (u && curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
        bool other = curl_url_get(u, CURLUPART_PORT, &port, 0) == CURLUE_OK && strcmp(port, "80") != 0;
        made = arena_printf(a, "%s%s%s", host, other ? ":" : "", other ? port : "");
    }
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return made;
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
    u->lines = mem_array((p->nkeys + 1) * LISTS, sizeof *u->lines);
    u->accounts = mem_array(p->nkeys + 1, sizeof(struct account *));
    link_head(&u->calls);
    if (p->kind->builtin)
        u->mock = mock_memory_new();
    else if (str_startsi(base, "http:") && ascii(base) && !*p->proxy && p->http2 != HTTP2_ON)
        u->plain = plain_new(m, u);
    if (u->plain) {
        u->host = host_of(a, base);
        u->connect_url = url_parse(base, "/");
    }
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
    plain_free(u->plain);
    connect_free_idle(u);
    curl_url_cleanup(u->connect_url);
    for (size_t i = 0; i < u->npaths; i++)
        curl_url_cleanup(u->paths[i].url);
    for (size_t i = 0; i < (u->conf->nkeys + 1) * LISTS; i++) {
        header_list_free(&u->lists[i]);
        buf_wipe(&u->lines[i]);
    }
    mem_free(u->lists);
    mem_free(u->lines);
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

/* What stands in a request line; nothing when it cannot be said. */
static struct str target_of(struct arena *a, CURLU *url) {
    char *path = NULL, *query = NULL;
    struct str made = STR_NONE;
    if (curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK) {
        CURLUcode rc = curl_url_get(url, CURLUPART_QUERY, &query, 0);
        if (rc == CURLUE_OK || rc == CURLUE_NO_QUERY)
            made = arena_printf(a, "%s%s%s", path, query ? "?" : "", query ? query : "");
    }
    curl_free(path);
    curl_free(query);
    return ascii(made) ? made : STR_NONE; /* else libcurl escapes it */
}

/* MAX_PATHS: there is no place, or it is no URL. */
static size_t path_of(struct upstream *u, const char *path) {
    for (size_t i = 0; i < u->npaths; i++)
        if (u->paths[i].path == path || strcmp(u->paths[i].path, path) == 0)
            return i;
    CURLU *url = u->npaths < MAX_PATHS ? url_parse(u->base, path) : NULL;
    if (!url)
        return MAX_PATHS;
    u->paths[u->npaths].path = arena_dupz(u->arena, str_of(path));
    u->paths[u->npaths].url = url;
    u->paths[u->npaths].target = target_of(u->arena, url);
    return u->npaths++;
}

CURLU *upstream_url(struct upstream *u, const char *path) {
    size_t i = path_of(u, path);
    return i < MAX_PATHS ? u->paths[i].url : NULL;
}

struct str upstream_target(struct upstream *u, const char *path) {
    size_t i = path_of(u, path);
    return i < MAX_PATHS ? u->paths[i].target : STR_NONE;
}

/* Which of the prepared ones a call wants; SIZE_MAX: the key is none of this provider's. */
static size_t prepared_of(const struct upstream *u, const struct call_spec *s) {
    size_t key = u->conf->nkeys;
    if (s->key) {
        key = 0;
        while (key < u->conf->nkeys && &u->conf->keys[key] != s->key)
            key++;
        if (key == u->conf->nkeys)
            return SIZE_MAX;
    }
    return key * LISTS + (s->get ? LIST_GET : s->stream ? LIST_STREAM : LIST_POST);
}

struct header_list *upstream_list(struct upstream *u, const struct call_spec *s) {
    size_t i = prepared_of(u, s);
    if (i == SIZE_MAX)
        return NULL;
    if (!u->lists[i].nodes)
        header_list_build(&u->lists[i], u->conf, s);
    return &u->lists[i];
}

struct buf *upstream_lines(struct upstream *u, const struct call_spec *s) {
    size_t i = prepared_of(u, s);
    if (i == SIZE_MAX)
        return NULL;
    if (buf_len(&u->lines[i]) == 0)
        header_lines_build(&u->lines[i], u->host, u->conf, s);
    return &u->lines[i];
}
