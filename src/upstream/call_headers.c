/* The headers of a request: whose come over whose, what may be in them, and one list as libcurl wants it. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "base/die.h"
#include "call_wire.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

enum { MAX_SENT_HEADERS = 128 };

struct pair {
    struct str name, value;
    bool remove; /* "Name:" takes libcurl's own header away */
};
struct pairs {
    struct pair at[MAX_SENT_HEADERS];
    size_t n;
};

static void put(struct pairs *h, struct str name, struct str value) {
    size_t i = 0;
    while (i < h->n && !str_eqi(h->at[i].name, name))
        i++;
    if (i == MAX_SENT_HEADERS)
        return;
    if (i == h->n)
        h->n++;
    h->at[i] = (struct pair){name, value, false};
}

static bool token(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
            return false;
    }
    return s.n > 0;
}

static bool clean_value(struct str s) {
    return s.n == 0 || (!memchr(s.p, '\r', s.n) && !memchr(s.p, '\n', s.n) && !memchr(s.p, '\0', s.n));
}

/* Framing and hops are libcurl's business. */
static bool framing(struct str name) {
    static const char *const names[] = {
        "content-length", "transfer-encoding", "connection", "expect",          "te",
        "trailer",        "upgrade",           "keep-alive", "proxy-connection"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (str_isi(name, names[i]))
            return true;
    return false;
}

static void put_checked(struct pairs *h, struct str name, struct str value) {
    value = str_trim(value);
    if (token(name) && clean_value(value) && !framing(name))
        put(h, name, value);
}

static void put_fixed(struct pairs *h, struct str lines) { /* "a: b\nc: d" of the kind's row */
    struct str line;
    while (str_next(&lines, '\n', &line)) {
        ptrdiff_t colon = str_find(line, STR(":"));
        if (colon > 0)
            put_checked(h, str_make(line.p, (size_t)colon), str_skip(line, (size_t)colon + 1));
    }
}

static void put_auth(struct pairs *h, enum auth_kind kind, const struct conf_key *key, struct buf *bearer) {
    struct str secret = str_of(key->secret.text);
    if (secret.n == 0 || !clean_value(secret))
        return;
    if (kind == AUTH_KIND_BEARER || kind == AUTH_KIND_SIGV4 || kind == AUTH_KIND_SERVICE_ACCOUNT) {
        BUF_ADD(bearer, "Bearer ");
        buf_adds(bearer, secret);
        put(h, STR("Authorization"), buf_str(bearer));
    } else if (kind == AUTH_KIND_X_API_KEY) {
        put(h, STR("x-api-key"), secret);
    } else if (kind == AUTH_KIND_API_KEY) {
        put(h, STR("api-key"), secret);
    } else if (kind == AUTH_KIND_GOOG) {
        put(h, STR("x-goog-api-key"), secret);
    }
}

/* What call_auth.c makes for each call is not to stand there twice. */
static void leave_to_auth(struct pairs *h) {
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++)
        if (!str_isi(h->at[i].name, "authorization") && !str_startsi(h->at[i].name, "x-amz-"))
            h->at[n++] = h->at[i];
    h->n = n;
}

/* In rising order of precedence: ours, the kind's, the configured, the call's; the key's is above them all.
 */
static void collect(struct pairs *h, const struct conf_provider *p, const struct call_spec *s,
                    struct buf *bearer) {
    h->n = 0;
    put(h, STR("User-Agent"), STR("penstock/" PACKAGE_VERSION));
    put(h, STR("Accept"), s->stream ? STR("text/event-stream") : STR("application/json"));
    if (!s->get)
        put(h, STR("Content-Type"), STR("application/json"));
    put(h, STR("Expect"), STR_NONE); /* else bodies over 1 MiB wait a second for "100 Continue" */
    h->at[h->n - 1].remove = true;
    put_fixed(h, str_of(p->kind->fixed_headers));
    if (p->organization && *p->organization)
        put_checked(h, STR("OpenAI-Organization"), str_of(p->organization));
    for (size_t i = 0; i < p->nheaders; i++)
        put_checked(h, str_of(p->headers[i].name), str_of(p->headers[i].value));
    for (size_t i = 0; i < s->nheaders; i++)
        if (!str_isi(s->headers[i].name, "host") && !str_isi(s->headers[i].name, "accept-encoding"))
            put_checked(h, s->headers[i].name, s->headers[i].value);
    if (auth_made_of(p, s->key) != AUTH_FIXED)
        leave_to_auth(h);
    else if (s->key)
        put_auth(h, conf_auth_of(p), s->key, bearer);
}

void header_list_build(struct header_list *l, const struct conf_provider *p, const struct call_spec *s) {
    struct pairs h;
    struct buf bearer;
    buf_init(&bearer, 0);
    collect(&h, p, s, &bearer);
    size_t bytes = 0;
    for (size_t i = 0; i < h.n; i++)
        bytes += h.at[i].name.n + h.at[i].value.n + 3;
    buf_init(&l->text, 0);
    buf_room(&l->text,
             bytes); /* never moves: no copy of a key is left behind, and the nodes may point into it */
    l->nodes = mem_array(h.n, sizeof *l->nodes);
    for (size_t i = 0; i < h.n; i++) {
        const struct pair *x = &h.at[i];
        l->nodes[i].data = l->text.p + l->text.end;
        l->nodes[i].next = i + 1 < h.n ? &l->nodes[i + 1] : NULL;
        buf_adds(&l->text, x->name);
        if (x->value.n == 0) {
            buf_addc(&l->text, x->remove ? ':' : ';'); /* ';' sends an empty one, CURLOPT_HTTPHEADER(3) */
        } else {
            BUF_ADD(&l->text, ": ");
            buf_adds(&l->text, x->value);
        }
        buf_addc(&l->text, '\0');
    }
    buf_wipe(&bearer);
}

static void add_line(struct buf *out, struct str name, struct str value) {
    buf_adds(out, name);
    buf_addz(out, value.n ? ": " : ":");
    buf_adds(out, value);
    BUF_ADD(out, "\r\n");
}

static bool among(const struct pairs *h, const char *name) {
    for (size_t i = 0; i < h->n; i++)
        if (str_isi(h->at[i].name, name))
            return true;
    return false;
}

void header_lines_build(struct buf *out, struct str host, const struct conf_provider *p,
                        const struct call_spec *s) {
    struct pairs h;
    struct buf bearer;
    buf_init(&bearer, 0);
    collect(&h, p, s, &bearer);
    size_t bytes = host.n + 64;
    for (size_t i = 0; i < h.n; i++)
        bytes += h.at[i].name.n + h.at[i].value.n + 4;
    buf_room(out, bytes); /* never moves: no copy of a key is left behind */
    if (!among(&h, "host"))
        add_line(out, STR("Host"), host);
    if (!among(&h, "accept-encoding"))
        add_line(out, STR("Accept-Encoding"), STR("identity"));
    for (size_t i = 0; i < h.n; i++)
        if (!h.at[i].remove)
            add_line(out, h.at[i].name, h.at[i].value);
    BUF_ADD(out, "\r\n");
    buf_wipe(&bearer);
}

void header_list_free(struct header_list *l) {
    buf_wipe(&l->text);
    mem_free(l->nodes);
    l->nodes = NULL;
}
