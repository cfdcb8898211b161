/* The URL of the cluster's server: redis://user:password@host:port/database, as clients of Redis write it
 * (rediss: and valkeys: speak TLS), unix:/path, or a bare host:port. Neither an error nor what is shown of it
 * ever has its password. */
#include "config.h"

#include "base/die.h"
#include "schema.h"

enum { PORT = 6379, DB_MOST = 1 << 16, SECRET_MOST = 1024 };

struct parts {
    bool tls;
    struct str user, password; /* %-encoded */
    struct str
        either; /* one without the other: the user where the password stands apart, else the password */
    struct str host, path;
    uint64_t port, db;
};

static bool plain(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f)
            return false;
    return true;
}

static bool host_ok(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (strchr("\"<>\\^`{|}/?#@,[]", s.p[i]))
            return false;
    return s.n > 0 && s.n < 254 && plain(s);
}

/* host, host:port, [::1]:port */
static const char *host_port(struct str s, struct str *host, uint64_t *port) {
    struct str digits = STR_NONE;
    const char *end = s.n && s.p[0] == '[' ? memchr(s.p, ']', s.n) : NULL;
    const char *colon = end ? end + 1 : memchr(s.p, ':', s.n);
    *port = PORT;
    *host =
        end ? str_make(s.p + 1, (size_t)(end - s.p) - 1) : str_make(s.p, colon ? (size_t)(colon - s.p) : s.n);
    if (colon && colon < s.p + s.n) {
        if (*colon != ':')
            return "the host is malformed";
        digits = str_skip(s, (size_t)(colon - s.p) + 1);
        if (!str_u64(digits, port) || *port < 1 || *port > 65535)
            return "the port is not a number from 1 to 65535";
    }
    return host_ok(*host) ? NULL : "there is no host";
}

static const char *take_user(struct str *s, struct parts *out) {
    size_t at = s->n;
    while (at > 0 && s->p[at - 1] != '@')
        at--;
    if (at == 0)
        return NULL;
    struct str who = str_make(s->p, at - 1);
    const char *colon = who.n ? memchr(who.p, ':', who.n) : NULL;
    *s = str_skip(*s, at);
    out->user = colon ? str_make(who.p, (size_t)(colon - who.p)) : STR_NONE;
    out->password = colon ? str_skip(who, (size_t)(colon - who.p) + 1) : STR_NONE;
    out->either = colon ? STR_NONE : who;
    return who.n < SECRET_MOST ? NULL : "the user or password is too long";
}

static const char *parse(struct str s, struct parts *out) {
    static const struct {
        const char *scheme;
        bool tls;
    } schemes[] = {{"redis://", false}, {"rediss://", true}, {"valkey://", false}, {"valkeys://", true}};
    *out = (struct parts){.port = PORT};
    if (!plain(s))
        return "it has a character that must be %-encoded";
    if (str_startsi(s, "unix:")) {
        s = str_skip(s, str_startsi(s, "unix://") ? 7 : 5);
        out->path = s;
        return s.n > 1 && s.p[0] == '/' && s.n < 108 ? NULL : "the path must begin with / and be short";
    }
    bool known = str_find(s, STR("://")) < 0;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes && !known; i++)
        if (str_startsi(s, schemes[i].scheme)) {
            out->tls = schemes[i].tls;
            s = str_skip(s, strlen(schemes[i].scheme));
            known = true;
        }
    if (!known)
        return "its scheme is not redis, rediss or unix";
    const char *why = take_user(&s, out);
    if (why)
        return why;
    const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
    struct str db = slash ? str_skip(s, (size_t)(slash - s.p) + 1) : STR_NONE;
    if (db.n && (!str_u64(db, &out->db) || out->db >= DB_MOST))
        return "the database is not a number";
    return host_port(slash ? str_make(s.p, (size_t)(slash - s.p)) : s, &out->host, &out->port);
}

bool redis_read(const struct reading *r) {
    struct parts p;
    const char **to = r->to, *why = r->text.n ? parse(r->text, &p) : NULL;
    if (why) { /* not quoted: it may have a password */
        load_error(r->l, r->at, "%s; expected %s", why, conf_types[r->o->type].expected);
        return false;
    }
    *to = "";
    if (r->text.n == 0)
        return true;
    bool six = p.host.n && memchr(p.host.p, ':', p.host.n);
    if (p.path.n)
        *to = arena_printf(r->l->c->arena, "unix:" STR_FMT, STR_ARG(p.path)).p;
    else
        *to = arena_printf(r->l->c->arena, "%s://" STR_FMT "%s%s" STR_FMT "%s:%u/%u",
                           p.tls ? "rediss" : "redis", STR_ARG(p.user), p.user.n ? "@" : "", six ? "[" : "",
                           STR_ARG(p.host), six ? "]" : "", (unsigned)p.port, (unsigned)p.db)
                  .p;
    return true;
}

/* --- the whole --- */

static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Into the configuration's memory, to be wiped with it. */
static const char *decoded(struct load *l, struct str s) {
    char text[SECRET_MOST];
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int high = s.p[i] == '%' && i + 2 < s.n ? hex(s.p[i + 1]) : -1, low = high < 0 ? -1 : hex(s.p[i + 2]);
        text[n++] = low < 0 ? s.p[i] : (char)(high << 4 | low);
        i += low < 0 ? 0 : 2;
    }
    const char *kept = arena_secret(l->c->arena, str_make(text, n));
    mem_wipe(text, sizeof text);
    return kept;
}

static void check_addresses(struct load *l, struct conf_redis *r, const struct at *at) {
    struct at list = at_child(at, "addresses");
    struct str host;
    uint64_t port;
    for (size_t i = 0; i < r->naddresses; i++)
        if (host_port(str_of(r->addresses[i]), &host, &port))
            load_error(l, &list, "expected addresses such as 10.0.0.2:6379");
}

static void check_files(struct load *l, const struct conf_redis *r, const struct at *at) {
    struct at ca = at_child(at, "tls.ca"), cert = at_child(at, "tls.client_certificate"),
              key = at_child(at, "tls.client_key");
    check_file(l, &ca, r->ca);
    check_file(l, &cert, r->client_certificate);
    check_file(l, &key, r->client_key);
    if (*r->client_key && !*r->client_certificate)
        load_error(l, &key, "given without tls.client_certificate");
}

static void read_password(struct load *l, struct conf_redis *r, const struct at *at, struct str in_url) {
    struct at own = at_child(at, "password");
    r->password = (struct conf_secret){"", ""};
    if (own.node && in_url.n)
        load_error(l, &own, "given in the URL too");
    else if (own.node)
        secret_read_only(l, &own, &r->password);
    else if (in_url.n)
        r->password.text = decoded(l, in_url); /* its source is the URL: nothing to be shown */
}

void finish_redis(struct load *l, void *element, const struct at *at) {
    struct conf_redis *r = element;
    struct parts p = {.port = PORT};
    const struct node *url = at->node && at->node->kind == NODE_MAP ? node_get(at->node, "url") : at->node;
    r->host = r->path = "";
    if (!url || url->kind != NODE_SCALAR || !*r->url || parse(url->text, &p) != NULL)
        p = (struct parts){.port = PORT};
    r->tls = p.tls;
    r->port = (uint16_t)p.port;
    r->db = (unsigned)p.db;
    r->host = arena_dupz(l->c->arena, p.host);
    r->path = arena_dupz(l->c->arena, p.path);
    if (p.either.n && at_child(at, "password").node)
        p.user = p.either;
    else if (p.either.n)
        p.password = p.either;
    if (p.user.n)
        r->user = decoded(l, p.user);
    read_password(l, r, at, p.password);
    check_addresses(l, r, at);
    check_files(l, r, at);
#ifndef PENSTOCK_HIREDIS
    if (*r->url)
        load_error(l, at,
                   "this penstock was built without hiredis (configure --with-hiredis): it can be no "
                   "part of a cluster");
#endif
}
