/* Calls to providers, against a scripted server on raw sockets: one thread a connection, each script says
 * byte by byte what a provider (or something that is none) does. Nothing outside this machine is asked. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/loop.h"
#include "upstream/call.h"
#include "upstream/provider.h"
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the server --- */

struct server {
    int fd;
    int port;
    void (*script)(struct server *s, int fd, int nth);
    atomic_int accepted, requests, gone; /* gone: the peer closed while a script waited for it */
    SSL_CTX *tls;
    pthread_t thread;
    pthread_mutex_t lock;
    struct buf last;   /* the last request, under lock */
    atomic_int active; /* connections' threads */
    struct server *next;
};
static struct server *servers;
struct peer {
    struct server *s;
    int fd, nth;
};

static void say_n(int fd, const void *p, size_t n) {
    const char *at = p;
    while (n > 0) {
        ssize_t did = send(fd, at, n, MSG_NOSIGNAL);
        if (did <= 0)
            return;
        at += did;
        n -= (size_t)did;
    }
}

static void say(int fd, const char *z) {
    say_n(fd, z, strlen(z));
}

/* The header with its blank line, and the body by content-length; false at the end of the connection. */
static bool hear(struct server *s, int fd) {
    struct buf b;
    buf_init(&b, 0);
    ptrdiff_t end = -1;
    size_t want = SIZE_MAX;
    while (buf_len(&b) < want) {
        ssize_t n = recv(fd, buf_room(&b, 65536), 65536, 0);
        if (n <= 0)
            break;
        buf_commit(&b, (size_t)n);
        if (end < 0 && (end = str_find(buf_str(&b), STR("\r\n\r\n"))) >= 0) {
            ptrdiff_t at = str_find(buf_str(&b), STR("Content-Length: "));
            want = (size_t)end + 4;
            if (at >= 0 && at < end)
                want += (size_t)strtoul(buf_at(&b) + at + 16, NULL, 10);
        }
    }
    bool ok = buf_len(&b) >= want;
    pthread_mutex_lock(&s->lock);
    buf_free(&s->last);
    s->last = b;
    pthread_mutex_unlock(&s->lock);
    if (ok)
        atomic_fetch_add(&s->requests, 1);
    return ok;
}

static void wait_gone(struct server *s, int fd) {
    char byte[256];
    ssize_t n;
    while ((n = recv(fd, byte, sizeof byte, 0)) > 0)
        ;
    if (n == 0 || errno == ECONNRESET)
        atomic_fetch_add(&s->gone, 1);
}

static void rst(int fd) {
    struct linger l = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
}

static void *serve_one(void *arg) {
    struct peer p = *(struct peer *)arg;
    free(arg);
    struct timeval tv = {8, 0};
    setsockopt(p.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(p.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    p.s->script(p.s, p.fd, p.nth);
    close(p.fd);
    atomic_fetch_sub(&p.s->active, 1);
    return NULL;
}

static void *serve(void *arg) {
    struct server *s = arg;
    for (;;) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        struct peer *p = malloc(sizeof *p);
        ck_assert(p != NULL);
        *p = (struct peer){s, fd, atomic_fetch_add(&s->accepted, 1)};
        pthread_t t;
        atomic_fetch_add(&s->active, 1);
        ck_assert(pthread_create(&t, NULL, serve_one, p) == 0);
        pthread_detach(t);
    }
}

static int listen_on(int *port, int backlog) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 && listen(fd, backlog) == 0);
    ck_assert(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static struct server *server_start(void (*script)(struct server *, int, int), SSL_CTX *ctx) {
    struct server *s = calloc(1, sizeof *s);
    ck_assert(s != NULL);
    s->script = script;
    s->tls = ctx;
    s->next = servers;
    servers = s;
    pthread_mutex_init(&s->lock, NULL);
    s->fd = listen_on(&s->port, 128);
    ck_assert(pthread_create(&s->thread, NULL, serve, s) == 0);
    return s;
}

static struct server *server_new(void (*script)(struct server *, int, int)) {
    return server_start(script, NULL);
}

/* After the caller's connections are closed, which ends the scripts. */
static void servers_free(void) {
    while (servers) {
        struct server *s = servers;
        servers = s->next;
        shutdown(s->fd, SHUT_RDWR); /* ends accept() */
        pthread_join(s->thread, NULL);
        while (atomic_load(&s->active) > 0)
            sched_yield();
        close(s->fd);
        buf_free(&s->last);
        SSL_CTX_free(s->tls);
        free(s);
    }
}

static bool heard(struct server *s, const char *text) {
    pthread_mutex_lock(&s->lock);
    bool yes = str_find(buf_str(&s->last), str_of(text)) >= 0;
    pthread_mutex_unlock(&s->lock);
    return yes;
}

/* --- the caller --- */

static struct loop *loop;
static struct multi *multi;
static struct upstream *up;
static struct conf_provider conf;
static struct conf_key keys[2];
static char url[128];

struct rec {
    struct call *call;
    int heads, datas, dones, status;
    struct buf body, headers;
    struct call_result r;
    size_t full_each; /* say FLOW_FULL after so many bytes, each time */
    size_t since;
    bool stop_head, stop_data, cancel_head, cancel_data;
    struct rec *cancel_other;
    bool was_full;
};

static enum flow on_head(void *arg, int status, const struct call_header *h, size_t n) {
    struct rec *r = arg;
    ck_assert_int_eq(r->datas, 0);
    ck_assert_int_eq(r->dones, 0);
    r->heads++;
    r->status = status;
    for (size_t i = 0; i < n; i++)
        buf_printf(&r->headers, STR_FMT "=" STR_FMT "\n", STR_ARG(h[i].name), STR_ARG(h[i].value));
    if (r->cancel_head)
        call_cancel(r->call);
    return r->stop_head ? FLOW_STOP : FLOW_FULL; /* FULL is OK here */
}

static enum flow on_data(void *arg, const char *p, size_t n) {
    struct rec *r = arg;
    ck_assert_int_eq(r->heads, 1);
    ck_assert_int_eq(r->dones, 0);
    r->datas++;
    if (r->cancel_other) {
        call_cancel(r->cancel_other->call);
        r->cancel_other = NULL;
    }
    if (r->cancel_data) {
        call_cancel(r->call);
        return FLOW_OK;
    }
    if (r->stop_data)
        return FLOW_STOP;
    if (r->full_each && r->since >= r->full_each) {
        r->since = 0;
        r->was_full = true;
        return FLOW_FULL;
    }
    r->since += n;
    buf_add(&r->body, p, n);
    return FLOW_OK;
}

static void on_done(void *arg, const struct call_result *res) {
    struct rec *r = arg;
    r->dones++;
    r->r = *res;
    call_cancel(r->call); /* of an ended call, from its own done: nothing */
}

static const struct call_sink sink = {on_head, on_data, on_done};

static void setup(void) {
    signal(SIGPIPE, SIG_IGN);
    static const struct provider_kind *kind;
    for (size_t i = 0; i < provider_table.n; i++)
        if (strcmp(provider_table.row[i].name, "openai_compatible") == 0)
            kind = &provider_table.row[i];
    keys[0] = (struct conf_key){.secret = {"sk-one", "value"}, .weight = 1, .id = "t/0"};
    keys[1] = (struct conf_key){.secret = {"sk-two", "value"}, .weight = 1, .id = "t/1"};
    conf = (struct conf_provider){.name = "t",
                                  .kind = kind,
                                  .enabled = true,
                                  .base_url = url,
                                  .default_model = "",
                                  .organization = "",
                                  .keys = keys,
                                  .nkeys = 2,
                                  .connect = 5000,
                                  .first_byte = 8000,
                                  .idle = 8000,
                                  .total = 12000,
                                  .proxy = "",
                                  .health_path = ""};
    conf.tls.ca = conf.tls.client_certificate = conf.tls.client_key = "";
    conf.tls.verify = true;
    loop = loop_new();
    multi = multi_new(loop);
}

static void teardown(void) {
    upstream_free(up);
    up = NULL;
    multi_free(multi);
    loop_free(loop);
    servers_free();
}

static void use_url(const char *scheme, int port) {
    char err[256] = "";
    snprintf(url, sizeof url, "%s://127.0.0.1:%d/v1", scheme, port);
    up = upstream_new(multi, &conf, err);
    ck_assert_msg(up != NULL, "%s", err);
}

static void use(struct server *s) {
    use_url("http", s->port);
}

static struct call_spec spec_of(const char *body) {
    return (struct call_spec){
        .upstream = up, .path = "/chat/completions", .key = &keys[0], .body = str_of(body), .mock = STR_NONE};
}

static struct rec *rec_new(void) {
    struct rec *r = calloc(1, sizeof *r);
    ck_assert(r != NULL);
    return r;
}

static void rec_free(struct rec *r) {
    buf_free(&r->body);
    buf_free(&r->headers);
    free(r);
}

static void begin(struct rec *r, const struct call_spec *s) {
    r->call = call_start(multi, s, &sink, r);
    ck_assert(r->call != NULL);
    ck_assert_int_eq(r->heads + r->datas + r->dones, 0); /* nothing from inside call_start */
}

/* Turns of the loop until the call is done; check's own timeout is the bound. */
static void finish(struct rec *r) {
    while (!r->dones) {
        if (r->was_full) {
            r->was_full = false;
            call_resume(r->call);
        }
        loop_turn(loop, true);
    }
    ck_assert_int_eq(r->dones, 1);
}

static struct rec *ask(const struct call_spec *s) {
    struct rec *r = rec_new();
    begin(r, s);
    finish(r);
    return r;
}

static struct rec *ask_body(const char *body) {
    struct call_spec s = spec_of(body);
    return ask(&s);
}

static void expect(void (*script)(struct server *, int, int), enum call_error want) {
    struct server *s = server_new(script);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_msg(r->r.error == want, "got %d (%s), wanted %d", r->r.error, call_error_text(r->r.error),
                  want);
    ck_assert_uint_eq(multi_calls(multi), 0);
    rec_free(r);
}

static void until(atomic_int *counter, int want) {
    uint64_t limit = clock_ms() + 5000;
    while (atomic_load(counter) < want) {
        ck_assert(clock_ms() < limit);
        loop_turn(loop, false);
        sched_yield();
    }
}

/* --- the table --- */

static const struct provider_kind *kind_of(const char *name) {
    for (size_t i = 0; i < provider_table.n; i++)
        if (strcmp(provider_table.row[i].name, name) == 0)
            return &provider_table.row[i];
    ck_abort_msg("no kind %s", name);
    return NULL;
}

START_TEST(base_urls) {
    static const struct {
        const char *kind, *in, *out;
    } rows[] = {
        {"openai", "", "https://api.openai.com/v1"},
        {"openai", "https://h", "https://h/v1"},
        {"openai", "https://h/", "https://h/v1"},
        {"openai", " https://h/v1/ ", "https://h/v1"},
        {"openai", "https://h/v1/v1/", "https://h/v1"},
        {"openai", "https://h/v1/v1/v1", "https://h/v1"},
        {"openai", "https://h/proxy", "https://h/proxy/v1"},
        {"openai", "https://h/v1/chat/completions", "https://h/v1"},
        {"openai_compatible", "", ""},
        {"openai_compatible", "http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"},
        {"openai_compatible", "https://h/openai/v1", "https://h/openai/v1"},
        {"openai_compatible", "https://h/v1beta/openai/", "https://h/v1beta/openai"},
        {"openai_compatible", "https://h/api/paas/v4", "https://h/api/paas/v4"},
        {"openrouter", "", "https://openrouter.ai/api/v1"},
        {"openrouter", "https://h", "https://h/api/v1"},
        {"openrouter", "https://h/api", "https://h/api/v1"},
        {"openrouter", "https://h/api/v1/v1", "https://h/api/v1"},
        {"openrouter", "http://h:1/v1", "http://h:1/v1"},
        {"anthropic", "", "https://api.anthropic.com"},
        {"anthropic", "https://h/v1", "https://h"},
        {"anthropic", "https://h/v1/v1/", "https://h"},
        {"anthropic", "https://h/v1/messages", "https://h"},
        {"azure", "https://r.openai.azure.com/", "https://r.openai.azure.com"},
        {"azure", "https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com"},
        {"azure", "https://h/proxy/openai", "https://h/proxy"},
        {"bedrock", "", "https://bedrock-runtime.{region}.amazonaws.com"},
        {"bedrock", "http://127.0.0.1:9/", "http://127.0.0.1:9"},
        {"anthropic", "https://h/proxy/anthropic/", "https://h/proxy/anthropic"},
    };
    struct arena *a = arena_new(0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct str got = provider_base_url(a, kind_of(rows[i].kind), str_of(rows[i].in));
        ck_assert_msg(str_is(got, rows[i].out), "%s %s: " STR_FMT, rows[i].kind, rows[i].in, STR_ARG(got));
    }
    arena_free(a);
}
END_TEST

START_TEST(table_is_whole) {
    for (size_t i = 0; i < provider_table.n; i++) {
        const struct provider_kind *k = &provider_table.row[i];
        ck_assert(k->name && k->endpoints && k->endpoints[0].dialect && k->base_url && k->version_path &&
                  k->fixed_headers && k->default_model && k->env_keys && k->env_url && k->infer &&
                  k->price_vendor && k->health_path);
    }
    ck_assert_str_eq(kind_of("anthropic")->alias, "claude");
    ck_assert(kind_of("mock")->builtin && !kind_of("mock")->needs_key);
}
END_TEST

/* What the variables of URLs and paths become. */
START_TEST(variables) {
    static const struct {
        const char *kind, *location, *base, *path, *model, *want;
    } rows[] = {
        {"bedrock", "", "https://bedrock-runtime.eu-west-1.amazonaws.com", "/model/{model}/converse",
         "us.anthropic.claude-x:0", "/model/us.anthropic.claude-x%3A0/converse"},
        {"bedrock", "", "https://bedrock-runtime.eu-west-1.amazonaws.com", "/model/{model}/converse",
         "arn:aws:bedrock:r:1:p/x", "/model/arn%3Aaws%3Abedrock%3Ar%3A1%3Ap%2Fx/converse"},
        {"bedrock", "", "https://bedrock-runtime.eu-west-1.amazonaws.com", "/model/{model}/converse", "..",
         "/model/%2E%2E/converse"},
        {"vertex", "global", "https://aiplatform.googleapis.com", "/p/{project}/l/{location}/{model}:x",
         "claude@1", "/p/my%3Ap/l/global/claude%401:x"},
        {"vertex", "us-east5", "https://us-east5-aiplatform.googleapis.com", "/l/{location}", "m",
         "/l/us-east5"},
        {"azure", "", "", "/{model}/c?api-version={api_version}", "a b?c", "/a%20b%3Fc/c?api-version=v"},
        {"vertex", "eu", "https://aiplatform.eu.rep.googleapis.com", "/l/{location}", "m", "/l/eu"},
        {"azure", "", "", "/{unknown}/{", "m", "//{"},
        {"azure", "", "", "/d/{model}{rest}?a=b", "m/n", "/d/m%2Fn/images/edits?a=b"},
    };
    struct arena *a = arena_new(0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct conf_provider p = {.kind = kind_of(rows[i].kind),
                                  .base_url = "",
                                  .location = rows[i].location,
                                  .region = "eu-west-1",
                                  .project = "my:p",
                                  .api_version = "v"};
        ck_assert_str_eq(provider_base(a, &p).p, rows[i].base);
        ck_assert_str_eq(provider_path(a, &p, rows[i].path, str_of(rows[i].model), STR("/images/edits")),
                         rows[i].want);
    }
    arena_free(a);
}
END_TEST

START_TEST(bad_base_urls) {
    static const char *const bad[] = {"",       "ftp://h/v1", "h/v1", "http://u:p@h/v1", "http://h/v1?x=1",
                                      "http://"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char err[256] = "";
        conf.base_url = bad[i];
        ck_assert(upstream_new(multi, &conf, err) == NULL);
        ck_assert_msg(strstr(err, "base_url") != NULL, "%s", err);
    }
}
END_TEST

/* --- plain calls --- */

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

static void script_plain(struct server *s, int fd, int nth) {
    (void)nth;
    while (hear(s, fd))
        say(fd, OK_HEAD "X-Folded: a\r\n  b\r\nX-EMPTY:\r\nContent-Length: 11\r\n\r\n{\"a\": true}");
}

START_TEST(plain) {
    struct server *s = server_new(script_plain);
    static struct conf_pair pairs[] = {
        {"X-Title", "configured"}, {"X-Conf", "yes"}, {"Content-Length", "99"}};
    conf.headers = pairs;
    conf.nheaders = 3;
    conf.organization = "org-1";
    use(s);
    struct call_header own[] = {{STR("x-title"), STR("called")},
                                {STR("x-bad"), STR("a\r\nx-smuggled: 1")},
                                {STR("authorization"), STR("Bearer of-the-client")},
                                {STR("x-void"), STR("")}};
    struct call_spec spec = spec_of("{\"x\":1}");
    struct rec *r = ask(&spec); /* without headers of its own: the prepared list */
    ck_assert(heard(s, "X-Title: configured\r\n") && heard(s, "Authorization: Bearer sk-one\r\n"));
    rec_free(r);
    spec.headers = own;
    spec.nheaders = 4;
    spec.key = &keys[1];
    r = ask(&spec);
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert_int_eq(r->status, 200);
    ck_assert(str_is(buf_str(&r->body), "{\"a\": true}"));
    buf_addc(&r->headers, '\0');
    ck_assert_str_eq(buf_at(&r->headers),
                     "content-type=application/json\nx-folded=a b\nx-empty=\ncontent-length=11\n");
    ck_assert(heard(s, "POST /v1/chat/completions HTTP/1.1\r\n"));
    ck_assert(heard(s, "Authorization: Bearer sk-two\r\n") && !heard(s, "of-the-client"));
    ck_assert(heard(s, "\r\nx-title: called\r\n") && !heard(s, "configured") && heard(s, "X-Conf: yes\r\n"));
    ck_assert(heard(s, "x-void:\r\n") && !heard(s, "x-smuggled") && !heard(s, "x-bad"));
    ck_assert(heard(s, "OpenAI-Organization: org-1\r\n") && heard(s, "User-Agent: penstock/"));
    ck_assert(heard(s, "Content-Length: 7\r\n") && !heard(s, "Expect") &&
              heard(s, "Accept-Encoding: identity\r\n"));
    ck_assert(heard(s, "Accept: application/json\r\n") && heard(s, "\r\n\r\n{\"x\":1}"));
    ck_assert(r->r.reused && r->r.bytes_in > 11 && r->r.bytes_out > 7 && r->r.first_byte_ms > 0);
    rec_free(r);
    spec = spec_of("");
    spec.get = true;
    spec.path = "/models";
    spec.key = NULL;
    r = ask(&spec);
    ck_assert(heard(s, "GET /v1/models HTTP/1.1\r\n") && !heard(s, "Authorization") && !heard(s, "Content-"));
    rec_free(r);
    r = ask_body("{\"again\":1}"); /* the same handle goes back to a POST */
    ck_assert(heard(s, "POST /v1/chat/completions") && heard(s, "{\"again\":1}"));
    rec_free(r);
}
END_TEST

static void script_count(struct server *s, int fd, int nth) {
    (void)nth;
    while (hear(s, fd)) {
        char out[256], body[64] = "?";
        pthread_mutex_lock(&s->lock);
        struct str all = buf_str(&s->last);
        ptrdiff_t at = str_find(all, STR("\r\n\r\n"));
        str_copy(body, sizeof body, str_skip(all, (size_t)at + 4));
        pthread_mutex_unlock(&s->lock);
        snprintf(out, sizeof out, OK_HEAD "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
        say(fd, out);
    }
}

START_TEST(connections_are_reused) {
    struct server *s = server_new(script_count);
    use(s);
    for (int i = 0; i < 30; i++) {
        struct rec *r = ask_body("hello");
        ck_assert_int_eq(r->r.error, CALL_OK);
        ck_assert_int_eq(r->r.reused, i > 0);
        rec_free(r);
    }
    ck_assert_int_eq(atomic_load(&s->accepted), 1);
}
END_TEST

START_TEST(fifty_at_once) {
    struct server *s = server_new(script_plain);
    use(s);
    struct rec *r[50];
    for (int round = 0; round < 3; round++) {
        struct call_spec spec = spec_of("{}");
        spec.stream = round == 1;
        for (int i = 0; i < 50; i++) {
            r[i] = rec_new();
            begin(r[i], &spec);
        }
        ck_assert_uint_eq(multi_calls(multi), 50);
        for (int i = 0; i < 50; i++) {
            finish(r[i]);
            ck_assert_int_eq(r[i]->r.error, CALL_OK);
            ck_assert(str_is(buf_str(&r[i]->body), "{\"a\": true}"));
            rec_free(r[i]);
        }
    }
    ck_assert_int_le(atomic_load(&s->accepted), 50);
    ck_assert_uint_eq(multi_calls(multi), 0);
}
END_TEST

static void script_no_body(struct server *s, int fd, int nth) {
    (void)nth;
    while (hear(s, fd))
        say(fd, "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n");
}

START_TEST(no_body) {
    struct server *s = server_new(script_no_body);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert_int_eq(r->heads, 1);
    ck_assert_int_eq(r->datas, 0);
    ck_assert_int_eq(r->r.status, 204);
    ck_assert_uint_eq(r->r.first_byte_ms, 0);
    rec_free(r);
}
END_TEST

static void script_1xx(struct server *s, int fd, int nth) {
    (void)nth;
    while (hear(s, fd))
        say(fd, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK_HEAD
                "Content-Length: 2\r\n\r\n{}");
}

START_TEST(informational_heads_are_skipped) {
    struct server *s = server_new(script_1xx);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert_int_eq(r->status, 200);
    ck_assert(str_find(buf_str(&r->headers), STR("link")) < 0);
    rec_free(r);
}
END_TEST

/* --- what is not an answer --- */

START_TEST(refused) {
    int port, fd = listen_on(&port, 1);
    close(fd);
    use_url("http", port);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_CONNECT);
    ck_assert_int_eq(r->heads, 0);
    ck_assert_int_eq(r->r.status, 0);
    rec_free(r);
}
END_TEST

static void use_name(const char *name) {
    char err[256];
    snprintf(url, sizeof url, "http://%s/v1", name);
    up = upstream_new(multi, &conf, err);
    ck_assert(up != NULL);
}

START_TEST(no_such_name) {
    use_name("penstock-test.invalid");
    conf.connect = 4000;
    struct rec *r = ask_body("{}");
    ck_assert_msg(r->r.error == CALL_RESOLVE, "%s", call_error_text(r->r.error));
    rec_free(r);
}
END_TEST

START_TEST(cancel_while_resolving) {
    use_name("penstock-test2.invalid");
    struct call_spec spec = spec_of("{}");
    struct rec *r = rec_new();
    begin(r, &spec);
    loop_turn(loop, false);
    if (!r->dones) {
        uint64_t before = clock_ms();
        call_cancel(r->call);
        ck_assert_uint_lt(clock_ms() - before, 1000); /* the resolver's thread is not waited for */
    }
    ck_assert_uint_eq(multi_calls(multi), 0);
    rec_free(r);
}
END_TEST

#define SCRIPT(name, ...) /* hears one request and does the rest */                                          \
    static void name(struct server *s, int fd, int nth) {                                                    \
        (void)nth;                                                                                           \
        if (!hear(s, fd))                                                                                    \
            return;                                                                                          \
        __VA_ARGS__;                                                                                         \
    }
SCRIPT(script_rst, (say(fd, OK_HEAD "Content-Length: 1000\r\n\r\nhalf"), rst(fd)))
SCRIPT(script_short, say(fd, OK_HEAD "Content-Length: 1000\r\n\r\nhalf"))
SCRIPT(script_nothing, (void)0)
SCRIPT(script_chunk_end, say(fd, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"))
SCRIPT(script_half_head, say(fd, "HTTP/1.1 200 OK\r\nContent-Le"))
SCRIPT(script_ssh, say(fd, "SSH-2.0-OpenSSH_9.2\r\nwhatever\r\n\r\n"))
SCRIPT(script_09, say(fd, "<html>hello</html>"))
SCRIPT(script_bad_status, say(fd, "HTTP/1.1 abc OK\r\n\r\n"))
SCRIPT(script_bad_chunk, say(fd, OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n0\r\n\r\n"))
SCRIPT(script_bad_length, say(fd, OK_HEAD "Content-Length: many\r\n\r\nhalf"))
SCRIPT(script_two_lengths, say(fd, OK_HEAD "Content-Length: 4\r\nContent-Length: 5\r\n\r\nhalf!"))

START_TEST(broken) {
    static const struct {
        void (*script)(struct server *, int, int);
        enum call_error want;
    } rows[] = {
        {script_rst, CALL_RESET},
        {script_short, CALL_RESET},
        {script_nothing, CALL_RESET},
        {script_chunk_end, CALL_RESET},
        {script_half_head, CALL_RESET},
        {script_ssh, CALL_PROTOCOL},
        {script_09, CALL_PROTOCOL},
        {script_bad_status, CALL_PROTOCOL},
        {script_bad_chunk, CALL_PROTOCOL},
        {script_bad_length, CALL_PROTOCOL},
        {script_two_lengths, CALL_PROTOCOL},
    };
    expect(rows[_i].script, rows[_i].want);
}
END_TEST
enum { BROKEN = 11 };

static void script_endless_headers(struct server *s, int fd, int nth) {
    (void)nth;
    if (!hear(s, fd))
        return;
    say(fd, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 100000 && atomic_load(&s->gone) == 0; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 0) > 0)
            return;
        say(fd, "X-Header: "
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
    }
}
static void script_endless_line(struct server *s, int fd, int nth) {
    (void)nth;
    if (!hear(s, fd))
        return;
    static char a[200000];
    memset(a, 'a', sizeof a);
    say(fd, "HTTP/1.1 200 OK\r\nX-Long: ");
    say_n(fd, a, sizeof a);
    wait_gone(s, fd);
}
static void script_flood_1xx(struct server *s, int fd, int nth) {
    (void)nth;
    if (!hear(s, fd))
        return;
    for (int i = 0; i < 20000; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 0) > 0)
            return;
        say(fd, "HTTP/1.1 102 Processing\r\n\r\n");
    }
}

START_TEST(endless_heads) {
    expect(script_endless_headers, CALL_TOO_LARGE);
    upstream_free(up);
    expect(script_endless_line, CALL_TOO_LARGE);
    upstream_free(up);
    expect(script_flood_1xx, CALL_TOO_LARGE);
}
END_TEST

SCRIPT(script_longer, say(fd, OK_HEAD "Content-Length: 4\r\n\r\nfourGARBAGE"))

START_TEST(longer_than_said) {
    struct server *s = server_new(script_longer);
    use(s);
    for (int i = 0; i < 2; i++) { /* and the rest is no answer to the next request */
        struct rec *r = ask_body("{}");
        ck_assert_int_eq(r->r.error, CALL_OK);
        ck_assert(str_is(buf_str(&r->body), "four"));
        rec_free(r);
    }
}
END_TEST

SCRIPT(script_bytewise, {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const char *all =
        OK_HEAD "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n1\r\n \r\n5;ext=1\r\n"
                "world\r\n0\r\nX-T: 1\r\n\r\n";
    for (const char *p = all; *p; p++)
        say_n(fd, p, 1);
    wait_gone(s, fd);
})

START_TEST(chunked_bytewise) {
    struct server *s = server_new(script_bytewise);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert(str_is(buf_str(&r->body), "hello world"));
    rec_free(r);
}
END_TEST

/* --- kept connections that die --- */

static void script_dies_kept(struct server *s, int fd,
                             int nth) { /* answers once; reads the next request and closes */
    (void)nth;
    if (hear(s, fd))
        say(fd, OK_HEAD "Content-Length: 2\r\n\r\n{}");
    hear(s, fd);
}

START_TEST(stale_connection_is_tried_again) {
    struct server *s = server_new(script_dies_kept);
    use(s);
    char *large = malloc(200001);
    memset(large, 'x', 200000);
    large[200000] = '\0';
    const char *const bodies[] = {"{}", "{}", large, large};
    for (int i = 0; i < 4; i++) {
        struct rec *r = ask_body(bodies[i]);
        ck_assert_msg(r->r.error == CALL_OK, "%d: %s", i, call_error_text(r->r.error));
        rec_free(r);
    }
    ck_assert_int_eq(atomic_load(&s->accepted), 4);
    free(large);
}
END_TEST

static void script_closes_idle(struct server *s, int fd, int nth) {
    (void)nth;
    if (hear(s, fd))
        say(fd, OK_HEAD "Content-Length: 2\r\n\r\n{}");
    shutdown(fd, SHUT_WR);
    atomic_fetch_add(&s->gone, 1);
}

START_TEST(idle_connection_closed_by_the_server_does_not_spin) {
    struct server *s = server_new(script_closes_idle);
    use(s);
    struct rec *r = ask_body("{}");
    rec_free(r);
    until(&s->gone, 1);
    struct timespec before, after;
    struct timer t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    timer_init(&t, loop, (void (*)(void *))loop_stop, loop);
    timer_set(&t, 300);
    loop_run(loop);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    timer_free(&t);
    ck_assert_int_lt((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000, 100);
    r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    rec_free(r);
}
END_TEST

/* --- time --- */

static void took(const struct rec *r, uint64_t least, uint64_t most) {
    ck_assert_uint_ge(r->r.total_ms, least);
    ck_assert_uint_le(r->r.total_ms, most);
}

START_TEST(connect_timeout) {
    int port, fd = listen_on(&port, 0), fill[4];
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    for (int i = 0; i < 4; i++) { /* nobody accepts: the backlog is full and further SYNs are dropped */
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fill[i], (struct sockaddr *)&a, sizeof a);
    }
    conf.connect = 200;
    use_url("http", port);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_TIMEOUT_CONNECT);
    took(r, 190, 2000);
    rec_free(r);
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
}
END_TEST

SCRIPT(script_silent, wait_gone(s, fd))
SCRIPT(script_head_only, (say(fd, OK_HEAD "Content-Length: 9\r\n\r\n"), wait_gone(s, fd)))
SCRIPT(script_half, (say(fd, OK_HEAD "Content-Length: 9\r\n\r\nabc"), wait_gone(s, fd)))
SCRIPT(script_drip, {
    say(fd, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n");
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        say(fd, "1\r\nx\r\n");
        if (poll(&p, 1, 10) > 0)
            break;
    }
    atomic_fetch_add(&s->gone, 1);
})

START_TEST(timeouts) {
    static const struct {
        void (*script)(struct server *, int, int);
        uint64_t first, idle, total;
        enum call_error want;
    } rows[] = {
        {script_silent, 150, 50, 5000, CALL_TIMEOUT_FIRST_BYTE},
        {script_head_only, 150, 50, 5000, CALL_TIMEOUT_FIRST_BYTE},
        {script_half, 5000, 150, 6000, CALL_TIMEOUT_IDLE},
        {script_drip, 1000, 1000, 150, CALL_TIMEOUT_TOTAL},
        {script_silent, 5000, 5000, 150, CALL_TIMEOUT_TOTAL},
    };
    conf.first_byte = rows[_i].first;
    conf.idle = rows[_i].idle;
    conf.total = rows[_i].total;
    struct server *s = server_new(rows[_i].script);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_msg(r->r.error == rows[_i].want, "%s", call_error_text(r->r.error));
    ck_assert(call_error_is_timeout(r->r.error));
    took(r, 150, 1500);
    until(&s->gone, 1); /* and the connection was closed */
    rec_free(r);
}
END_TEST

START_TEST(smaller_limit_of_the_call_counts) {
    struct server *s = server_new(script_silent);
    use(s);
    struct call_spec spec = spec_of("{}");
    spec.total_ms = 100;
    struct rec *r = ask(&spec);
    ck_assert_int_eq(r->r.error, CALL_TIMEOUT_TOTAL);
    rec_free(r);
    spec.total_ms = 1000000;
    spec.first_byte_ms = 120;
    r = ask(&spec);
    ck_assert_int_eq(r->r.error, CALL_TIMEOUT_FIRST_BYTE);
    rec_free(r);
}
END_TEST

/* --- flow --- */

enum { BIG = 5 * 1024 * 1024 };

static char *big_text(void) {
    char *p = malloc(BIG + 1);
    ck_assert(p != NULL);
    uint64_t x = 1;
    for (size_t i = 0; i < BIG; i++) {
        x = x * 6364136223846793005U + 1442695040888963407U;
        p[i] = (char)('!' + (x >> 33) % 90);
    }
    p[BIG] = '\0';
    return p;
}

SCRIPT(script_big_chunked, {
    char *text = big_text(), size[32];
    say(fd, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0, n; at < BIG; at += n) {
        n = 1 + at * 7919 % 3001; /* chunks of all sizes, several to a buffer */
        if (n > BIG - at)
            n = BIG - at;
        snprintf(size, sizeof size, "%zx\r\n", n);
        say(fd, size);
        say_n(fd, text + at, n);
        say(fd, "\r\n");
    }
    say(fd, "0\r\n\r\n");
    free(text);
    wait_gone(s, fd);
})
SCRIPT(script_big, {
    char *text = big_text();
    say(fd, OK_HEAD "Content-Length: 5242880\r\n\r\n");
    say_n(fd, text, BIG);
    free(text);
    wait_gone(s, fd);
})

static void paused_exactly(void (*script)(struct server *, int, int), bool stream) {
    struct server *s = server_new(script);
    use(s);
    struct call_spec spec = spec_of("{}");
    spec.stream = stream;
    struct rec *r = rec_new();
    r->full_each = 50000;
    buf_room(&r->body, BIG + 1);
    begin(r, &spec);
    finish(r);
    ck_assert_int_eq(r->r.error, CALL_OK);
    char *text = big_text();
    ck_assert_uint_eq(buf_len(&r->body), BIG);
    ck_assert(memcmp(buf_at(&r->body), text, BIG) == 0);
    free(text);
    rec_free(r);
    upstream_free(up);
    up = NULL;
}

START_TEST(pause_and_resume) {
    paused_exactly(script_big_chunked, true);
    paused_exactly(script_big, true);
    paused_exactly(script_big, false);
}
END_TEST

static void sleep_ms(uint64_t ms) { /* turns of the loop for so long */
    struct timer t;
    timer_init(&t, loop, (void (*)(void *))loop_stop, loop);
    timer_set(&t, ms);
    loop_run(loop);
    timer_free(&t);
}

START_TEST(paused_holds_little_and_does_not_time_out) {
    struct server *s = server_new(script_big_chunked);
    conf.idle = 100;
    use(s);
    struct call_spec spec = spec_of("{}");
    spec.stream = true;
    struct rec *r = rec_new();
    r->full_each = 1000;
    begin(r, &spec);
    while (!r->was_full)
        loop_turn(loop, true);
    struct timespec before, after;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    size_t held = mallinfo2().uordblks, got = buf_len(&r->body);
    sleep_ms(400); /* four times the idle limit */
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    ck_assert_int_eq(r->dones, 0);
    ck_assert_uint_eq(buf_len(&r->body), got);
    ck_assert_uint_lt(mallinfo2().uordblks, held + 128 * 1024);
    ck_assert_int_lt((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000, 100);
    r->full_each = 0;
    finish(r); /* resumes */
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert_uint_eq(buf_len(&r->body), BIG);
    rec_free(r);
}
END_TEST

SCRIPT(script_stream, (say(fd, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), wait_gone(s, fd)))

START_TEST(cancel_closes_the_connection) {
    struct server *s = server_new(script_stream);
    use(s);
    struct call_spec spec = spec_of("{}");
    for (int how = 0; how < 5; how++) {
        struct rec *r = rec_new();
        r->cancel_head = how == 1;
        r->cancel_data = how == 2;
        begin(r, &spec);
        if (how == 0 || how == 3) { /* from outside; 3: before it was even begun */
            while (how == 0 && !r->datas)
                loop_turn(loop, true);
            call_cancel(r->call);
        } else if (how == 4) { /* while the request is under way */
            until(&s->requests, 4);
            call_cancel(r->call);
        }
        while (multi_calls(multi))
            loop_turn(loop, true);
        if (how != 3)
            until(&s->gone, how == 4 ? 4 : how + 1);
        ck_assert_int_eq(r->dones, 0);
        rec_free(r);
    }
}
END_TEST

START_TEST(cancel_of_another_from_a_sink) {
    struct server *s = server_new(script_stream);
    use(s);
    struct call_spec spec = spec_of("{}");
    for (int begun = 0; begun < 2; begun++) {
        struct rec *a = rec_new(), *b = rec_new();
        char *body = strdup("{\"mine\":1}");
        begin(a, &spec);
        struct call_spec other = spec_of(body);
        if (begun)
            begin(b, &other);
        a->cancel_other = begun ? b : NULL;
        a->cancel_data = true;
        while (!a->datas)
            loop_turn(loop, true);
        free(body); /* b was cancelled: its body is not read any more */
        ck_assert_uint_eq(multi_calls(multi), 0);
        sleep_ms(10);
        ck_assert_int_eq(a->dones + b->dones, 0);
        rec_free(a);
        rec_free(b);
    }
}
END_TEST

START_TEST(stop) {
    struct server *s = server_new(script_stream);
    use(s);
    for (int i = 0; i < 2; i++) {
        struct call_spec spec = spec_of("{}");
        struct rec *r = rec_new();
        r->stop_head = i == 0;
        r->stop_data = i == 1;
        begin(r, &spec);
        finish(r);
        ck_assert_int_eq(r->r.error, CALL_STOPPED);
        ck_assert_int_eq(r->datas, i);
        until(&s->gone, i + 1);
        rec_free(r);
    }
}
END_TEST

START_TEST(multi_free_cancels_what_is_left) {
    struct server *s = server_new(script_stream);
    use(s);
    struct call_spec spec = spec_of("{}");
    struct rec *r = rec_new();
    begin(r, &spec);
    while (!r->datas)
        loop_turn(loop, true);
    multi_free(multi);
    ck_assert_int_eq(r->dones, 0);
    upstream_free(up);
    up = NULL;
    multi = multi_new(loop);
    rec_free(r);
}
END_TEST

/* --- large requests --- */

static void script_digest(struct server *s, int fd, int nth) {
    (void)nth;
    while (hear(s, fd)) {
        char out[256];
        pthread_mutex_lock(&s->lock);
        struct str all = buf_str(&s->last);
        struct str body = str_skip(all, (size_t)str_find(all, STR("\r\n\r\n")) + 4);
        snprintf(out, sizeof out, OK_HEAD "Content-Length: 16\r\n\r\n%016llx",
                 (unsigned long long)hash64(body.p, body.n));
        pthread_mutex_unlock(&s->lock);
        say(fd, out);
    }
}

START_TEST(large_bodies) {
    struct server *s = server_new(script_digest);
    use(s);
    char *text = big_text();
    static const size_t sizes[] = {1, 16000, 65535, 65536, 65537, 1024 * 1024 + 1, BIG, 10};
    int late = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct call_spec spec = spec_of("");
        char want[32];
        spec.body = str_make(text, sizes[i]);
        struct rec *r = ask(&spec);
        snprintf(want, sizeof want, "%016llx", (unsigned long long)hash64(text, sizes[i]));
        ck_assert_int_eq(r->r.error, CALL_OK);
        ck_assert(str_is(buf_str(&r->body), want));
        ck_assert_uint_ge(r->r.bytes_out, sizes[i]);
        late += r->r.total_ms >= 900 && sizes[i] > 1024 * 1024;
        rec_free(r);
    }
    ck_assert_int_lt(late, 2); /* no waiting for "100 Continue"; one may be late on a busy machine */
    free(text);
}
END_TEST

static void script_early_401(struct server *s, int fd, int nth) {
    char head[1024];
    (void)s;
    (void)nth;
    if (recv(fd, head, sizeof head, 0) > 0) /* and no more than that: closing resets the connection */
        say(fd, "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 12\r\n"
                "Connection: close\r\n\r\n{\"error\": 1}");
}

START_TEST(early_answer) {
    struct server *s = server_new(script_early_401);
    use(s);
    char *text = big_text();
    for (int i = 0; i < 20; i++) {
        struct rec *r = ask_body(text);
        ck_assert_msg(r->r.error == CALL_OK, "%d: %s", i, call_error_text(r->r.error));
        ck_assert_int_eq(r->status, 401);
        ck_assert(str_is(buf_str(&r->body), "{\"error\": 1}"));
        rec_free(r);
    }
    free(text);
}
END_TEST

/* The head comes before the body has been read; by then the caller's short body may be gone (call.h). */
static void script_early_200(struct server *s, int fd, int nth) {
    (void)nth;
    int small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    char head[64];
    if (recv(fd, head, sizeof head, 0) <= 0)
        return;
    say(fd, OK_HEAD "Content-Length: 2\r\n\r\n");
    while (atomic_load(&s->gone) == 0) /* until the head has been heard of */
        sched_yield();
    char rest[4096], last = 0;
    for (size_t n = sizeof head; n < 30000;) {
        ssize_t did = recv(fd, rest, sizeof rest, 0);
        if (did <= 0)
            return;
        n += (size_t)did;
        last = rest[did - 1];
    }
    say(fd, last == 'x' ? "{}" : "??");
    wait_gone(s, fd);
}

START_TEST(early_answer_to_a_short_body) {
    struct server *s = server_new(script_early_200);
    use(s);
    char *body = malloc(CALL_BODY_COPIED + 1);
    ck_assert(body != NULL);
    memset(body, 'x', CALL_BODY_COPIED);
    body[CALL_BODY_COPIED] = '\0';
    struct call_spec spec = spec_of(body);
    struct rec *r = rec_new();
    begin(r, &spec);
    while (!r->heads)
        loop_turn(loop, true);
    memset(body, 'y', CALL_BODY_COPIED);
    atomic_fetch_add(&s->gone, 1);
    finish(r);
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert(str_is(buf_str(&r->body), "{}"));
    rec_free(r);
    free(body);
}
END_TEST

static bool read_piece(void *arg, uint64_t at, void *to, size_t n) {
    size_t *broken_at = arg;
    for (size_t i = 0; i < n; i++)
        ((char *)to)[i] = (char)('a' + (at + i) % 23);
    return !*broken_at || at + n < *broken_at;
}

START_TEST(read_when_sent) {
    struct server *s = server_new(script_digest);
    use(s);
    size_t broken_at = 0;
    char *text = malloc(BIG);
    ck_assert(text != NULL);
    read_piece(&broken_at, 0, text, BIG);
    const struct call_source source = {read_piece, &broken_at, BIG};
    struct call_spec spec = spec_of("");
    spec.source = &source;
    char want[32];
    snprintf(want, sizeof want, "%016llx", (unsigned long long)hash64(text, BIG));
    for (int i = 0; i < 2; i++) {
        struct rec *r = ask(&spec);
        ck_assert_int_eq(r->r.error, CALL_OK);
        ck_assert(str_is(buf_str(&r->body), want));
        rec_free(r);
    }
    broken_at = 1000000;
    struct rec *r = ask(&spec);
    ck_assert_int_eq(r->r.error, CALL_RESET);
    rec_free(r);
    free(text);
}
END_TEST

SCRIPT(script_zstd, { /* an empty frame, RFC 8878 */
                      static const char frame[] = "\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00";
                      say(fd, OK_HEAD "Content-Encoding: zstd\r\nContent-Length: 9\r\n\r\n");
                      say_n(fd, frame, 9);
})

/* The first such answer is lost, the next one is libcurl's, if it knows the coding. */
START_TEST(coding_that_only_libcurl_knows) {
    struct server *s = server_new(script_zstd);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_PROTOCOL);
    rec_free(r);
    r = ask_body("{}");
    ck_assert(r->r.error == CALL_OK || r->r.error == CALL_PROTOCOL);
    ck_assert_int_eq(r->heads, 1);
    rec_free(r);
}
END_TEST

/* --- TLS --- */

static void certificate(SSL_CTX *ctx, const char *file) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    ck_assert(key && x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"penstock test", -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    ck_assert(X509_add_ext(x, san, -1) && X509_add_ext(x, ca, -1) && X509_sign(x, key, EVP_sha256()));
    ck_assert(SSL_CTX_use_certificate(ctx, x) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
    FILE *f = fopen(file, "w");
    ck_assert(f && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
    X509_EXTENSION_free(san);
    X509_EXTENSION_free(ca);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void script_tls(struct server *s, int fd, int nth) {
    (void)nth;
    SSL *ssl = SSL_new(s->tls);
    SSL_set_fd(ssl, fd);
    struct buf b;
    buf_init(&b, 0);
    if (SSL_accept(ssl) == 1) {
        for (;;) { /* one request at a time: the body ends in '}' */
            int n = SSL_read(ssl, buf_room(&b, 16384), 16384);
            if (n <= 0)
                break;
            buf_commit(&b, (size_t)n);
            if (!str_ends(buf_str(&b), "}"))
                continue;
            char out[128];
            snprintf(out, sizeof out, OK_HEAD "Content-Length: 8\r\n\r\n%08zu", buf_len(&b));
            SSL_write(ssl, out, (int)strlen(out));
            buf_clear(&b);
        }
    }
    buf_free(&b);
    SSL_free(ssl);
}

START_TEST(tls) {
    conf.connect = 12000; /* reading the CA bundle under valgrind */
    char file[] = "/tmp/check_upstream.XXXXXX";
    ck_assert(mkstemp(file) >= 0);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    certificate(ctx, file);
    struct server *s = server_start(script_tls, ctx);
    char *large = big_text();
    large[BIG - 1] = '}';
    for (size_t i = 0; i + 1 < BIG; i++)
        if (large[i] == '}')
            large[i] = '{';
    for (int how = 0; how < 4;
         how++) { /* unknown issuer; not verified; its CA; HTTP/2 wanted, HTTP/1.1 spoken */
        conf.tls.verify = how != 1;
        conf.tls.ca = how >= 2 ? file : "";
        conf.http2 = how == 3 ? HTTP2_ON : HTTP2_AUTO;
        use_url("https", s->port);
        struct rec *r = ask_body("{}");
        ck_assert_msg(r->r.error == (how ? CALL_OK : CALL_TLS), "%d: %s", how, call_error_text(r->r.error));
        rec_free(r);
        if (how) {
            r = ask_body(large);
            ck_assert_int_eq(r->r.error, CALL_OK);
            ck_assert(r->r.reused);
            rec_free(r);
        }
        upstream_free(up);
        up = NULL;
    }
    char err[256];
    conf.tls.ca = "/nonexistent/ca.pem";
    ck_assert(upstream_new(multi, &conf, err) == NULL && strstr(err, "tls.ca"));
    free(large);
    unlink(file);
}
END_TEST

START_TEST(not_tls) { /* a plain server behind https:// */
    struct server *s = server_new(script_early_401);
    use_url("https", s->port);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_TLS);
    rec_free(r);
}
END_TEST

/* --- proxies --- */

START_TEST(proxy) {
    struct server *s = server_new(script_plain);
    char via[64];
    snprintf(via, sizeof via, "http://127.0.0.1:%d", s->port);
    conf.proxy = via;
    use_name("provider.invalid"); /* the proxy's to resolve */
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert(heard(s, "POST http://provider.invalid/v1/chat/completions HTTP/1.1\r\n"));
    rec_free(r);
}
END_TEST

SCRIPT(script_no_connect, say(fd, "HTTP/1.1 502 Bad Gateway\r\nX-Proxy: 1\r\nContent-Length: 4\r\n\r\nnope"))

START_TEST(proxy_refuses) {
    struct server *s = server_new(script_no_connect);
    char via[64], err[256];
    snprintf(via, sizeof via, "http://127.0.0.1:%d", s->port);
    conf.proxy = via;
    conf.base_url = "https://provider.invalid/v1";
    up = upstream_new(multi, &conf, err);
    ck_assert(up != NULL);
    struct rec *r = ask_body("{}");
    ck_assert_msg(r->r.error == CALL_CONNECT, "%s", call_error_text(r->r.error));
    ck_assert_int_eq(r->heads, 0);
    ck_assert(heard(s, "CONNECT provider.invalid:443") && !heard(s, "sk-one"));
    rec_free(r);
}
END_TEST

START_TEST(environment_proxies_are_ignored) {
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    struct server *s = server_new(script_plain);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    rec_free(r);
}
END_TEST

/* --- the mock --- */

static void use_mock(void) {
    char err[256];
    conf.kind = kind_of("mock");
    conf.base_url = "";
    up = upstream_new(multi, &conf, err);
    ck_assert(up != NULL);
}

static struct rec *mock_full(const char *body, const char *control, size_t full_each) {
    struct call_spec s = spec_of(body);
    s.mock = str_of(control);
    s.stream = strstr(body, "\"stream\":true") != NULL;
    struct rec *r = rec_new();
    r->full_each = full_each;
    begin(r, &s);
    finish(r);
    return r;
}

static struct rec *mock(const char *body, const char *control) {
    struct rec *r = mock_full(body, control, 0);
    buf_addc(&r->body, '\0');
    r->body.end--;
    return r;
}

#define ASK(model, more)                                                                                     \
    "{\"model\":\"" model "\",\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}]" more "}"
#define STREAM ",\"stream\":true"

static bool has(const struct rec *r, const char *text) {
    return str_find(buf_str(&r->body), str_of(text)) >= 0;
}

static int count(const struct rec *r, const char *text) {
    struct str s = buf_str(&r->body);
    int n = 0;
    for (ptrdiff_t at; (at = str_find(s, str_of(text))) >= 0; n++)
        s = str_skip(s, (size_t)at + 1);
    return n;
}

START_TEST(mock_answers) {
    use_mock();
    struct rec *a = mock(ASK("gpt-4o", ""), ""), *b = mock(ASK("gpt-4o", ""), "");
    ck_assert_int_eq(a->r.error, CALL_OK);
    ck_assert_int_eq(a->status, 200);
    ck_assert(str_eq(buf_str(&a->body), buf_str(&b->body))); /* deterministic */
    ck_assert(json_scan(buf_str(&a->body), NULL, NULL, NULL, NULL) == 0);
    ck_assert(has(a, "\"content\":\"You said: one two three\"") && has(a, "\"model\":\"gpt-4o\""));
    ck_assert(has(a, "\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":5,\"total_tokens\":9}"));
    ck_assert(has(a, "\"finish_reason\":\"stop\""));
    rec_free(a);
    rec_free(b);
    a = mock(ASK("mock", ",\"max_tokens\":3,\"n\":2"), "");
    ck_assert(has(a, "\"content\":\"You said: one\"") && has(a, "\"finish_reason\":\"length\""));
    ck_assert(has(a, "\"index\":1") && has(a, "\"completion_tokens\":6"));
    rec_free(a);
    a = mock(ASK("mock", ""), "tokens=50");
    ck_assert(has(a, "\"completion_tokens\":50"));
    rec_free(a);
    a = mock("{\"model\":\"mock\"}", "");
    ck_assert(a->status == 400 && has(a, "messages is required"));
    rec_free(a);
    a = mock("{nonsense", "");
    ck_assert_int_eq(a->status, 400);
    rec_free(a);
    struct call_spec s = spec_of("");
    s.get = true;
    s.path = "/models";
    a = ask(&s);
    ck_assert(a->status == 200 && has(a, "\"id\":\"mock\""));
    rec_free(a);
    s.path = "/nothing";
    a = ask(&s);
    ck_assert_int_eq(a->status, 404);
    rec_free(a);
}
END_TEST

START_TEST(mock_streams) {
    use_mock();
    struct rec *a = mock(ASK("mock", STREAM), "");
    ck_assert(has(a, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"") &&
              has(a, "\"delta\":{\"content\":\" three\"}"));
    ck_assert(str_ends(buf_str(&a->body), "data: [DONE]\n\n") && !has(a, "usage"));
    ck_assert_int_eq(count(a, "data: "), 1 + 5 + 1 + 1);
    ck_assert(str_find(buf_str(&a->headers), STR("content-type=text/event-stream")) >= 0);
    rec_free(a);
    a = mock(ASK("mock", STREAM ",\"n\":2,\"stream_options\":{\"include_usage\":true}"), "");
    ck_assert(has(a, "\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":10") &&
              has(a, "\"usage\":null"));
    ck_assert_int_eq(count(a, "data: "), 2 + 10 + 2 + 1 + 1);
    rec_free(a);
    a = mock(ASK("mock", STREAM), "tokens=20000");
    struct rec *b = mock_full(ASK("mock", STREAM), "tokens=20000", 3000); /* the same through a slow sink */
    ck_assert(buf_len(&a->body) > 1000000 && str_eq(buf_str(&a->body), buf_str(&b->body)));
    rec_free(a);
    rec_free(b);
    a = mock(ASK("mock", STREAM), "pace=20ms; delay=50ms");
    ck_assert_uint_ge(a->r.total_ms, 50 + 7 * 20);
    ck_assert_uint_ge(a->r.first_byte_ms, 50);
    ck_assert_int_eq(a->datas, 8);
    rec_free(a);
}
END_TEST

START_TEST(mock_errors) {
    use_mock();
    conf.first_byte = conf.idle = 100;
    struct rec *a = mock(ASK("mock-error-429", ""), "retry-after=2");
    ck_assert(a->status == 429 && a->r.error == CALL_OK && has(a, "rate_limit_exceeded"));
    ck_assert(str_find(buf_str(&a->headers), STR("retry-after=2\n")) >= 0);
    rec_free(a);
    for (int i = 0; i < 3; i++) {
        a = mock(ASK("mock", ""), "fail=2; status=503");
        ck_assert_int_eq(a->status, i < 2 ? 503 : 200);
        rec_free(a);
    }
    a = mock(ASK("mock-context", STREAM), "");
    ck_assert(a->status == 400 && has(a, "context_length_exceeded"));
    ck_assert(str_find(buf_str(&a->headers), STR("content-type=application/json")) >= 0);
    rec_free(a);
    a = mock(ASK("mock-timeout", ""), "");
    ck_assert(a->r.error == CALL_TIMEOUT_FIRST_BYTE && a->heads == 0);
    rec_free(a);
    a = mock(ASK("mock-hang-midway", STREAM), "");
    ck_assert(a->r.error == CALL_TIMEOUT_IDLE && a->datas > 0 && !has(a, "[DONE]"));
    rec_free(a);
    a = mock(ASK("mock-cut", STREAM), "");
    ck_assert(a->r.error == CALL_RESET && has(a, "\"You\"") && !has(a, "three"));
    rec_free(a);
    a = mock(ASK("mock", STREAM), "cut=4");
    ck_assert(a->r.error == CALL_RESET && has(a, " two") && !has(a, "three"));
    rec_free(a);
    a = mock(ASK("mock-cut", ""), "");
    ck_assert(a->r.error == CALL_RESET && a->datas > 0 && !has(a, "usage"));
    rec_free(a);
    a = mock(ASK("mock-stream-error", STREAM), "");
    ck_assert(a->r.error == CALL_OK && has(a, "\"error\":{\"message\":\"mock error in the stream\"") &&
              !has(a, "[DONE]"));
    rec_free(a);
    a = mock(ASK("mock-empty", ""), "");
    ck_assert(a->r.error == CALL_OK && a->status == 200 && a->datas == 0);
    rec_free(a);
    a = mock(ASK("mock-garbage", ""), "");
    ck_assert(a->status == 200 && json_scan(buf_str(&a->body), NULL, NULL, NULL, NULL) != 0);
    rec_free(a);
    a = mock(ASK("mock-delay-150ms", ""), " ;; = ; nonsense=1; pace");
    ck_assert(a->r.error == CALL_TIMEOUT_FIRST_BYTE);
    rec_free(a);
}
END_TEST

#define TOOLS                                                                                                \
    ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":"    \
    "\"object\","                                                                                            \
    "\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},\"unit\":{\"enum\":["    \
    "\"C\",\"F\"]},"                                                                                         \
    "\"x\":{\"type\":\"string\"}},\"required\":[\"city\",\"days\",\"unit\"]}}},"                             \
    "{\"type\":\"function\",\"function\":{\"name\":\"get\"}}]"

START_TEST(mock_tools) {
    use_mock();
    struct rec *a = mock(ASK("mock", TOOLS), "");
    ck_assert(!has(a, "tool_calls"));
    rec_free(a);
    a = mock(ASK("mock", TOOLS ",\"tool_choice\":\"required\""), "");
    ck_assert(has(a, "\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\":\\\"text\\\",\\\"days\\\":1,"
                     "\\\"unit\\\":\\\"C\\\"}\""));
    ck_assert(has(a, "\"finish_reason\":\"tool_calls\"") && has(a, "\"content\":null") &&
              count(a, "call_mock") == 1);
    rec_free(a);
    a = mock(ASK("mock", TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"get\"}}"),
             "");
    ck_assert(has(a, "\"name\":\"get\",\"arguments\":\"{}\""));
    rec_free(a);
#define CALL_BOTH                                                                                            \
    "{\"model\":\"mock\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","  \
    "\"text\":"                                                                                              \
    "\"please call get_weather and call get.\"}]}"
    a = mock(CALL_BOTH "]" TOOLS "}", "");
    ck_assert(has(a, "\"index\":1,\"id\":\"call_mock") &&
              has(a, "\"name\":\"get_weather\",\"arguments\":\"\""));
    ck_assert_int_eq(count(a, "data: "), 1 + 6 + 1 + 1);
    rec_free(a);
    a = mock(CALL_BOTH ",{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"sunny\"}]" TOOLS "}", "");
    ck_assert(!has(a, "tool_calls") && has(a, " sunny"));
    rec_free(a);
}
END_TEST

START_TEST(mock_cancel_and_stop) {
    use_mock();
    struct call_spec s = spec_of(ASK("mock-slow", STREAM));
    for (int how = 0; how < 4; how++) {
        struct rec *r = rec_new();
        r->cancel_head = how == 0;
        r->cancel_data = how == 1;
        r->stop_data = how == 2;
        r->stop_head = how == 3;
        begin(r, &s);
        while (multi_calls(multi))
            loop_turn(loop, true);
        ck_assert_int_eq(r->dones, how >= 2);
        if (how >= 2)
            ck_assert_int_eq(r->r.error, CALL_STOPPED);
        rec_free(r);
    }
}
END_TEST

/* Over http:// without a proxy, by plain.c; or, as HTTP/2 was asked for, by libcurl. */
static void setup_libcurl(void) {
    setup();
    conf.http2 = HTTP2_ON;
}

static void add_calls(TCase *t) {
    tcase_add_test(t, plain);
    tcase_add_test(t, connections_are_reused);
    tcase_add_test(t, fifty_at_once);
    tcase_add_test(t, no_body);
    tcase_add_test(t, informational_heads_are_skipped);
    tcase_add_test(t, refused);
    tcase_add_test(t, no_such_name);
    tcase_add_test(t, cancel_while_resolving);
    tcase_add_loop_test(t, broken, 0, BROKEN);
    tcase_add_test(t, endless_heads);
    tcase_add_test(t, longer_than_said);
    tcase_add_test(t, chunked_bytewise);
    tcase_add_test(t, stale_connection_is_tried_again);
    tcase_add_test(t, idle_connection_closed_by_the_server_does_not_spin);
    tcase_add_test(t, connect_timeout);
    tcase_add_loop_test(t, timeouts, 0, 5);
    tcase_add_test(t, smaller_limit_of_the_call_counts);
    tcase_add_test(t, pause_and_resume);
    tcase_add_test(t, paused_holds_little_and_does_not_time_out);
    tcase_add_test(t, cancel_closes_the_connection);
    tcase_add_test(t, cancel_of_another_from_a_sink);
    tcase_add_test(t, stop);
    tcase_add_test(t, multi_free_cancels_what_is_left);
    tcase_add_test(t, large_bodies);
    tcase_add_test(t, early_answer);
}

static Suite *suite(void) {
    Suite *s = suite_create("upstream");
    TCase *t = tcase_create("table");
    tcase_add_test(t, base_urls);
    tcase_add_test(t, variables);
    tcase_add_test(t, table_is_whole);
    suite_add_tcase(s, t);
    t = tcase_create("plain");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    add_calls(t);
    tcase_add_test(t, early_answer_to_a_short_body);
    tcase_add_test(t, read_when_sent);
    tcase_add_test(t, coding_that_only_libcurl_knows);
    suite_add_tcase(s, t);
    t = tcase_create("libcurl");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup_libcurl, teardown);
    add_calls(t);
    tcase_add_test(t, read_when_sent);
    suite_add_tcase(s, t);
    t = tcase_create("others");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, bad_base_urls);
    tcase_add_test(t, tls);
    tcase_add_test(t, not_tls);
    tcase_add_test(t, proxy);
    tcase_add_test(t, proxy_refuses);
    tcase_add_test(t, environment_proxies_are_ignored);
    tcase_add_test(t, mock_answers);
    tcase_add_test(t, mock_streams);
    tcase_add_test(t, mock_errors);
    tcase_add_test(t, mock_tools);
    tcase_add_test(t, mock_cancel_and_stop);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
