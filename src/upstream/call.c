/* A call over libcurl, and the configured provider it goes to. Easy handles are pooled per upstream with
 * everything that does not change set once, header lists are built once per key, URLs are parsed once per
 * path: a call that repeats the last one's shape sets its body and nothing else. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "base/arena.h"
#include "base/buf.h"
#include "base/die.h"
#include "inner.h"
#include "upstream/provider.h"
#include <curl/curl.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif
#ifndef CURL_WRITEFUNC_ERROR /* 7.87 */
#define CURL_WRITEFUNC_ERROR 0xFFFFFFFF
#endif

enum {
    MAX_HEAD = 64 * 1024, /* all header bytes of an answer, 1xx included */
    MAX_HEAD_LINES = 512,
    MAX_SENT_HEADERS = 128,
    MAX_UNREAD = 64 * 1024,
    MAX_IDLE = 256, /* pooled handles per upstream and kind */
    MAX_PATHS = 32,
    COPIED_BODY =
        64 * 1024, /* below it libcurl copies a POSTFIELDS body when it begins to send (lib/http.c) */
    RECEIVE_STREAM =
        2 * 1024 - 1, /* an open stream holds this buffer: one of 5,000 has 24 KiB for everything */
    RECEIVE_WHOLE = 16 * 1024 - 1, /* libcurl adds one to both */
    UPLOAD_SMALL = 16 * 1024,      /* libcurl's least; only TLS and large bodies use it */
    UPLOAD_LARGE = 64 * 1024,
    CONNECTION_AGE_S = 300
};

/* --- request headers --- */

/* One list as libcurl wants it, in one piece of memory of ours, so that keys can be wiped. */
struct header_list {
    struct curl_slist *nodes; /* NULL: not built */
    struct buf text;
};

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
    if (kind == AUTH_KIND_BEARER) {
        BUF_ADD(bearer, "Bearer ");
        buf_adds(bearer, secret);
        put(h, STR("Authorization"), buf_str(bearer));
    } else if (kind == AUTH_KIND_X_API_KEY) {
        put(h, STR("x-api-key"), secret);
    }
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
    if (s->key)
        put_auth(h, p->kind->auth, s->key, bearer);
}

static void header_list_build(struct header_list *l, const struct conf_provider *p,
                              const struct call_spec *s) {
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

static void header_list_free(struct header_list *l) {
    buf_wipe(&l->text);
    mem_free(l->nodes);
    l->nodes = NULL;
}

/* --- the configured provider --- */

enum list_kind { LIST_POST, LIST_STREAM, LIST_GET, LISTS };

struct wire;
struct upstream {
    unsigned magic;
    struct multi *multi;
    const struct conf_provider *conf;
    struct arena *arena;
    struct str base;
    struct {
        const char *path;
        CURLU *url;
    } paths[MAX_PATHS];
    size_t npaths;
    struct header_list *lists; /* LISTS for each key, and LISTS for none */
    struct wire *idle[2];      /* [stream]: their receive buffers differ */
    unsigned nidle[2];
    struct link calls;
    struct mock_memory *mock; /* the kind is answered by mock.c */
};

struct wire { /* a call over libcurl */
    struct call c;
    CURL *easy;
    struct upstream *upstream;
    struct wire *next_idle;
    bool added, stream, peeked;
    struct str body;
    size_t sent; /* of a body that is read piece by piece */
    const struct curl_slist *headers_set;
    CURLU *url_set, *own_url;
    size_t upload_set;
    struct header_list own;
    /* the answer */
    struct buf head; /* "name:value\n" of the response that is coming in */
    struct call_header *headers;
    size_t nlines, head_bytes;
    int status;
    bool head_done;
    int64_t length; /* content-length, -1: none */
    /* an answer that was still unread when libcurl gave the connection up, see last_words() */
    int upload_fd;
    struct buf unread;
    bool reading_unread;
    char error[CURL_ERROR_SIZE];
};

static CURLU *url_parse(struct str base, const char *path) {
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
    struct str base = p->kind->builtin ? STR("") : provider_base_url(a, p->kind, str_of(p->base_url));
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
    link_head(&u->calls);
    if (p->kind->builtin)
        u->mock = mock_memory_new();
    return u;
}

static void wire_free(struct wire *w);

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

/* A parsed URL that lives as long as the upstream, or NULL: there is no place, or it is none. */
static CURLU *url_of(struct upstream *u, const char *path) {
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

/* The prepared list for a call without headers of its own; NULL: the key is none of this provider's. */
static struct header_list *list_of(struct upstream *u, const struct call_spec *s) {
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

/* --- the answer's head --- */

/* Ends the call from inside a callback; libcurl then reports a write error, which the verdict stands over. */
static size_t refuse(struct wire *w, enum call_error e) {
    if (w->c.verdict == CALL_OK)
        w->c.verdict = e;
    return CURL_WRITEFUNC_ERROR;
}

static void head_reset(struct wire *w) {
    buf_clear(&w->head);
    w->nlines = 0;
    w->length = -1;
    w->status = 0;
}

/* "HTTP/1.1 200 OK", "HTTP/2 200" */
static int status_of(struct str line) {
    struct str word;
    uint64_t n = 0;
    if (!str_next(&line, ' ', &word) || !str_next(&line, ' ', &word) || word.n != 3 || !str_u64(word, &n))
        return 0;
    return (int)n;
}

static bool note_length(struct wire *w, struct str value) {
    int64_t n;
    if (!str_i64(value, &n) || n < 0)
        return true; /* libcurl refuses what it cannot read */
    if (w->length >= 0 && w->length != n)
        return false; /* RFC 9112, 6.3: two that differ are unrecoverable */
    w->length = n;
    return true;
}

static bool head_line(struct wire *w, struct str line) {
    if (line.p[0] == ' ' || line.p[0] == '\t') { /* folded: goes on with the one before (RFC 9112, 5.2) */
        if (w->nlines == 0)
            return true;
        w->head.end--; /* its LF */
        buf_addc(&w->head, ' ');
        buf_adds(&w->head, str_trim(line));
        buf_addc(&w->head, '\n');
        return true;
    }
    ptrdiff_t colon = str_find(line, STR(":"));
    if (colon <= 0)
        return true;
    struct str name = str_trim(str_make(line.p, (size_t)colon)),
               value = str_trim(str_skip(line, (size_t)colon + 1));
    char *to = buf_room(&w->head, name.n + value.n + 2);
    if (!to)
        return false;
    for (size_t i = 0; i < name.n; i++)
        to[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] + 32) : name.p[i];
    bool ok = !str_is(str_make(to, name.n), "content-length") || note_length(w, value);
    buf_commit(&w->head, name.n);
    buf_addc(&w->head, ':');
    buf_adds(&w->head, value);
    buf_addc(&w->head, '\n');
    w->nlines++;
    return ok;
}

static size_t head_end(struct wire *w, size_t n) {
    if (w->status == 101) /* nobody asked for another protocol; an HTTP answer will not come */
        return refuse(w, CALL_PROTOCOL);
    if (w->status < 200) { /* 100, 102, 103: the answer is still to come */
        head_reset(w);
        return n;
    }
    struct str rest = buf_str(&w->head), line;
    mem_free(w->headers);
    w->headers = mem_array(w->nlines, sizeof *w->headers);
    size_t count = 0;
    while (count < w->nlines && str_next(&rest, '\n', &line)) {
        size_t colon = (size_t)((const char *)memchr(line.p, ':', line.n) - line.p);
        w->headers[count].name = str_make(line.p, colon);
        w->headers[count++].value = str_skip(line, colon + 1);
    }
    w->head_done = true;
    return call_head(&w->c, w->status, w->headers, count) == FLOW_OK ? n : CURL_WRITEFUNC_ERROR;
}

static size_t on_header(char *p, size_t size, size_t count, void *arg) {
    struct wire *w = arg;
    size_t n = size * count;
    if (w->c.doomed || w->c.verdict != CALL_OK)
        return CURL_WRITEFUNC_ERROR;
    w->head_bytes += n;
    w->c.result.bytes_in += n;
    if (w->head_bytes > MAX_HEAD || w->nlines >= MAX_HEAD_LINES)
        return refuse(w, CALL_TOO_LARGE);
    if (w->head_done) /* trailers */
        return n;
    struct str line = {p, n};
    while (line.n && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    if (line.n == 0)
        return head_end(w, n);
    if (w->status == 0 && str_starts(line, "HTTP/")) {
        w->status = status_of(line);
        return w->status ? n : refuse(w, CALL_PROTOCOL);
    }
    return head_line(w, line) ? n : refuse(w, CALL_PROTOCOL);
}

static size_t on_body(char *p, size_t size, size_t count, void *arg) {
    struct wire *w = arg;
    size_t n = size * count;
    if (n == 0)
        return 0;
    switch (call_data(&w->c, p, n)) {
    case FLOW_OK:
        return n;
    case FLOW_FULL:
        return CURL_WRITEFUNC_PAUSE;
    default:
        return CURL_WRITEFUNC_ERROR;
    }
}

/* --- the request --- */

/* The last moment before a request is written, also on a second try: the caller's body may be gone when the
 * call was cancelled from inside a callback of another one. */
static int on_ready(void *arg, char *remote, char *local, int remote_port, int local_port) {
    struct wire *w = arg;
    (void)remote, (void)local, (void)remote_port, (void)local_port;
    w->c.connected = true;
    return w->c.doomed ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* A provider may answer (401, 413) and close before it has read the body. Were we to go on writing then, the
 * write's error would hide the answer: so before each piece we look whether there is something to read, and
 * read first. */
static bool answer_waits(struct wire *w) {
    char byte;
    curl_socket_t fd = multi_current_fd(w->c.multi);
    if (fd < 0) /* the first piece is asked for right behind the header */
        curl_easy_getinfo(w->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (fd < 0)
        return false;
    w->upload_fd = (int)fd;
    multi_uploading(w->c.multi, w->upload_fd, &w->c);
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static size_t on_upload(char *to, size_t size, size_t count, void *arg) {
    struct wire *w = arg;
    size_t n = size * count, left = w->body.n - w->sent;
    if (w->c.doomed)
        return CURL_READFUNC_ABORT;
    if (n > left)
        n = left;
    memcpy(to, w->body.p + w->sent, n);
    if (!w->peeked && answer_waits(w)) { /* looked at last: the write follows at once */
        w->peeked = true;                /* once a turn: it may be a TLS ticket and no answer */
        multi_work(w->c.multi, &w->c, WORK_UPLOAD);
        return CURL_READFUNC_PAUSE;
    }
    w->peeked = false;
    w->sent += n;
    return n;
}

static int on_rewind(void *arg, curl_off_t offset, int origin) {
    struct wire *w = arg;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > w->body.n)
        return CURL_SEEKFUNC_FAIL;
    w->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* --- the easy handle --- */

static void opt_tls(CURL *e, const struct conf_provider *p) {
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, p->tls.verify ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, p->tls.verify ? 2L : 0L);
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (*p->tls.ca)
        curl_easy_setopt(e, CURLOPT_CAINFO, p->tls.ca);
    if (*p->tls.client_certificate)
        curl_easy_setopt(e, CURLOPT_SSLCERT, p->tls.client_certificate);
    if (*p->tls.client_key)
        curl_easy_setopt(e, CURLOPT_SSLKEY, p->tls.client_key);
}

static void opt_connection(CURL *e, const struct conf_provider *p) {
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* else ending a call waits for its getaddrinfo() thread */
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_PROXY, p->proxy); /* "" also keeps http_proxy and the like out */
    curl_easy_setopt(e, CURLOPT_NOPROXY, "");
    curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING,
                     "identity"); /* and what comes compressed all the same is undone */
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 60L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 15L);
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)CONNECTION_AGE_S);
    /* also shared out among a name's addresses, which a timer of ours could not do */
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, p->connect > 600000 ? 600000L : (long)p->connect);
    /* auto is HTTP/1.1: h2 saves no CPU and buffers up to a window of a paused stream; never h2c */
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION,
                     p->http2 == HTTP2_ON ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
}

static void opt_callbacks(struct wire *w) {
    CURL *e = w->easy;
    multi_opt_easy(w->c.multi, e);
    curl_easy_setopt(e, CURLOPT_PRIVATE, w);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, w->error);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, w);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, w);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, on_upload);
    curl_easy_setopt(e, CURLOPT_READDATA, w);
    curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_rewind);
    curl_easy_setopt(e, CURLOPT_SEEKDATA, w);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_ready);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, w);
}

static const struct call_ops wire_ops;

static struct wire *wire_new(struct upstream *u, bool stream) {
    struct wire *w = mem_alloc(sizeof *w);
    call_init(&w->c, u->multi, &wire_ops);
    w->upstream = u;
    w->stream = stream;
    buf_init(&w->head, MAX_HEAD + 4 * MAX_HEAD_LINES);
    buf_init(&w->unread, MAX_UNREAD);
    w->upload_fd = -1;
    w->easy = curl_easy_init();
    if (!w->easy)
        die("libcurl: out of memory");
    opt_callbacks(w);
    opt_connection(w->easy, u->conf);
    opt_tls(w->easy, u->conf);
    curl_easy_setopt(w->easy, CURLOPT_BUFFERSIZE, stream ? (long)RECEIVE_STREAM : (long)RECEIVE_WHOLE);
    w->upload_set = UPLOAD_SMALL;
    curl_easy_setopt(w->easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_SMALL);
    return w;
}

static void wire_free(struct wire *w) {
    curl_easy_cleanup(w->easy);
    curl_url_cleanup(w->own_url);
    header_list_free(&w->own);
    buf_free(&w->head);
    buf_free(&w->unread);
    mem_free(w->headers);
    call_fini(&w->c);
    mem_free(w);
}

static void set_url(struct wire *w, const char *path) {
    CURLU *url = url_of(w->upstream, path);
    if (!url)
        url = w->own_url = url_parse(w->upstream->base, path);
    if (url && url != w->url_set)
        curl_easy_setopt(w->easy, CURLOPT_CURLU, url);
    w->url_set = url;
}

static void set_headers(struct wire *w, const struct call_spec *s) {
    struct header_list *l = s->nheaders ? NULL : list_of(w->upstream, s);
    if (!l) {
        l = &w->own;
        header_list_build(l, w->upstream->conf, s);
    }
    if (l->nodes != w->headers_set)
        curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, l->nodes);
    w->headers_set = l->nodes;
}

static void set_body(struct wire *w, const struct call_spec *s) {
    CURL *e = w->easy;
    w->body = s->body;
    w->sent = 0;
    if (s->get) {
        curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
        return;
    }
    bool copied = s->body.n < COPIED_BODY;
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, copied ? (s->body.n ? s->body.p : "") : NULL);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)s->body.n);
    size_t upload = copied ? UPLOAD_SMALL : UPLOAD_LARGE;
    if (upload != w->upload_set)
        curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, (long)upload);
    w->upload_set = upload;
}

struct call *upstream_call(struct multi *m, const struct call_spec *s) {
    struct upstream *u = s->upstream;
    MAGIC_CHECK(u, UPSTREAM_MAGIC);
    MUST(u->multi == m);
    if (u->mock)
        return mock_call(m, u->mock, s);
    struct wire *w = u->idle[s->stream];
    if (w) {
        u->idle[s->stream] = w->next_idle;
        u->nidle[s->stream]--;
    } else {
        w = wire_new(u, s->stream);
    }
    head_reset(w);
    w->head_bytes = 0;
    w->head_done = w->peeked = w->reading_unread = false;
    w->error[0] = '\0';
    set_url(w, s->path);
    set_headers(w, s);
    set_body(w, s);
    return &w->c;
}

static void wire_start(struct call *c) {
    struct wire *w = LINK_OWNER(c, struct wire, c);
    enum call_error problem = CALL_PROTOCOL; /* a path that makes no URL */
    if (w->url_set) {
        if (curl_multi_add_handle(multi_curl(c->multi), w->easy) == CURLM_OK) {
            w->added = true;
            return;
        }
        problem = CALL_CONNECT;
    }
    c->verdict = problem;
    multi_work(c->multi, c, WORK_FAIL);
}

static void wire_abort(struct call *c) {
    struct wire *w = LINK_OWNER(c, struct wire, c);
    if (!w->added)
        return;
    long connects = 0, head = 0;
    curl_off_t body = 0;
    curl_easy_getinfo(w->easy, CURLINFO_NUM_CONNECTS, &connects);
    curl_easy_getinfo(w->easy, CURLINFO_REQUEST_SIZE, &head);
    curl_easy_getinfo(w->easy, CURLINFO_SIZE_UPLOAD_T, &body);
    c->result.reused = c->connected && connects == 0;
    c->result.bytes_out = (uint64_t)head + (uint64_t)body;
    w->added = false;
    if (w->upload_fd >= 0)
        multi_uploading(c->multi, w->upload_fd, NULL);
    w->upload_fd = -1;
    if (curl_multi_remove_handle(multi_curl(c->multi), w->easy) != CURLM_OK)
        multi_broken(c->multi);
}

static void wire_release(struct call *c) {
    struct wire *w = LINK_OWNER(c, struct wire, c);
    struct upstream *u = w->upstream;
    if (w->own.nodes) {
        curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, NULL);
        w->headers_set = NULL;
        header_list_free(&w->own);
    }
    if (w->own_url) {
        curl_easy_setopt(w->easy, CURLOPT_CURLU, NULL);
        w->url_set = NULL;
        curl_url_cleanup(w->own_url);
        w->own_url = NULL;
    }
    w->body = STR_NONE;
    buf_free(&w->unread);
    if (u->nidle[w->stream] == MAX_IDLE) {
        wire_free(w);
        return;
    }
    w->next_idle = u->idle[w->stream];
    u->idle[w->stream] = w;
    u->nidle[w->stream]++;
}

/* --- the end --- */

/* Bytes that libcurl could not read as HTTP come as the same code as a broken connection (56). */
static enum call_error receive_error(struct wire *w) {
    long proxy_status = 0;
    curl_easy_getinfo(w->easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
    if (proxy_status >= 300 && w->status == 0)
        return CALL_CONNECT; /* the proxy refused to go there */
    return strstr(w->error, "chunk") ? CALL_PROTOCOL : CALL_RESET;
}

static enum call_error error_of(struct wire *w, CURLcode code) {
    switch (code) {
    case CURLE_OK:
        return CALL_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return CALL_RESOLVE;
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
    case CURLE_INTERFACE_FAILED:
        return CALL_CONNECT;
    case CURLE_OPERATION_TIMEDOUT: /* CONNECTTIMEOUT_MS is the only one we set */
        return CALL_TIMEOUT_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_USE_SSL_FAILED:
        return CALL_TLS;
    case CURLE_OUT_OF_MEMORY: /* a header line over libcurl's own bound (CURL_MAX_HTTP_HEADER) */
        return w->head_done ? CALL_RESET : CALL_TOO_LARGE;
    case CURLE_RECV_ERROR:
        return receive_error(w);
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_ABORTED_BY_CALLBACK:
        return CALL_RESET;
    default:
        return CALL_PROTOCOL;
    }
}

/* A provider that answers before it has read the request may break the connection behind its answer (HTTP/2:
 * with RST_STREAM). The answer counts when all of it is there. */
static bool whole_anyway(const struct wire *w, CURLcode code) {
    return (code == CURLE_SEND_ERROR || code == CURLE_HTTP2_STREAM || code == CURLE_HTTP2) && w->head_done &&
           w->length >= 0 && w->c.result.bytes_in >= w->head_bytes &&
           w->c.result.bytes_in - w->head_bytes == (uint64_t)w->length;
}

void wire_closing(struct call *c, int fd) {
    struct wire *w = LINK_OWNER(c, struct wire, c);
    ssize_t n;
    if (c->doomed || c->verdict != CALL_OK || w->head_done || str_startsi(w->upstream->base, "https:"))
        return;
    char *to = buf_room(&w->unread, MAX_UNREAD);
    if (to && (n = recv(fd, to, MAX_UNREAD, MSG_DONTWAIT)) > 0)
        buf_commit(&w->unread, (size_t)n);
}

/* The body of such an answer; comes again after FLOW_FULL. */
static void unread_body(struct wire *w) {
    struct call *c = &w->c;
    multi_enter(c->multi);
    enum flow f = buf_len(&w->unread) ? call_data(c, buf_at(&w->unread), buf_len(&w->unread)) : FLOW_OK;
    bool gone = c->doomed;
    multi_leave(c->multi);
    if (!gone && f != FLOW_FULL)
        call_finish(c, c->verdict); /* CALL_OK unless the sink wants no more */
}

static bool unread_is_whole(struct wire *w) {
    struct buf *b = &w->unread;
    struct str all = buf_str(b), line;
    ptrdiff_t end = str_find(all, STR("\r\n\r\n"));
    if (end < 0 || !str_starts(all, "HTTP/1."))
        return false;
    struct str head = str_make(all.p, (size_t)end);
    size_t length = all.n - (size_t)end - 4;
    while (str_next(&head, '\n', &line)) {
        uint64_t n;
        if (str_startsi(line, "transfer-encoding:"))
            return false; /* an answer so small and hasty has a length, or ends with the connection */
        struct str value = str_trim(str_skip(line, 15));
        if (value.n && value.p[value.n - 1] == '\r')
            value.n--;
        if (str_startsi(line, "content-length:")) {
            if (!str_u64(value, &n) || n > length)
                return false;
            length = (size_t)n;
        }
    }
    b->end = b->off + (size_t)end + 4 + length;
    return true;
}

/* The write failed, and behind the failure lay a whole answer: it counts. */
static bool last_words(struct wire *w) {
    struct buf *b = &w->unread;
    struct call *c = &w->c;
    if (w->head_done || !unread_is_whole(w))
        return false;
    head_reset(w);
    w->reading_unread = true;
    multi_enter(c->multi);
    bool ok = true;
    while (ok && !w->head_done) {
        size_t n = (size_t)((char *)memchr(buf_at(b), '\n', buf_len(b)) - buf_at(b)) + 1;
        ok = on_header(buf_at(b), 1, n, w) == n && (n < buf_len(b) || w->head_done);
        buf_consume(b, n);
    }
    bool gone = c->doomed;
    multi_leave(c->multi);
    if (gone)
        return true;
    if (ok)
        unread_body(w);
    else
        call_finish(c, c->verdict != CALL_OK ? c->verdict : CALL_RESET);
    return true;
}

static void wire_finish(struct wire *w, CURLcode code) {
    struct call *c = &w->c;
    enum call_error e = c->verdict;
    if (e == CALL_OK && code == CURLE_SEND_ERROR && buf_len(&w->unread) && last_words(w))
        return;
    if (e == CALL_OK && !whole_anyway(w, code))
        e = error_of(w, code);
    if (e == CALL_OK && !w->head_done) /* libcurl takes an end within the header for the header's end */
        e = CALL_RESET;
    call_finish(c, e);
}

void wire_ended(void *call, int curl_code) {
    struct wire *w = call;
    MAGIC_CHECK(&w->c, CALL_MAGIC);
    if (w->c.state == CALL_RUNNING && !w->c.doomed)
        wire_finish(w, (CURLcode)curl_code);
}

/* curl_easy_pause() may call the sink before it returns, and may fail with what the sink said. */
static void wire_resume(struct call *c) {
    struct wire *w = LINK_OWNER(c, struct wire, c);
    if (!w->added)
        return;
    if (w->reading_unread) {
        unread_body(w);
        return;
    }
    multi_enter(c->multi);
    CURLcode code = curl_easy_pause(w->easy, c->paused ? CURLPAUSE_RECV : CURLPAUSE_CONT);
    bool gone = c->doomed;
    multi_leave(c->multi);
    if (!gone && code != CURLE_OK)
        wire_finish(w, code);
}

static const struct call_ops wire_ops = {wire_start, wire_resume, wire_abort, wire_release};
