#include "upstream_stage.h"
#include "base/clock.h"
#include "under_valgrind.h"
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the server --- */

static struct server *servers;
struct peer {
    struct server *s;
    int fd, nth;
};

void say_n(int fd, const void *p, size_t n) {
    const char *at = p;
    while (n > 0) {
        ssize_t did = send(fd, at, n, MSG_NOSIGNAL);
        if (did <= 0)
            return;
        at += did;
        n -= (size_t)did;
    }
}

void say(int fd, const char *z) {
    say_n(fd, z, strlen(z));
}

/* The header with its blank line, and the body by content-length; false at the end of the connection. */
bool hear(struct server *s, int fd) {
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

void wait_gone(struct server *s, int fd) {
    char byte[256];
    ssize_t n;
    while ((n = recv(fd, byte, sizeof byte, 0)) > 0)
        ;
    if (n == 0 || errno == ECONNRESET)
        atomic_fetch_add(&s->gone, 1);
}

void rst(int fd) {
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

int listen_on(int *port, int backlog) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 && listen(fd, backlog) == 0);
    ck_assert(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    *port = ntohs(a.sin_port);
    return fd;
}

struct server *server_start(void (*script)(struct server *, int, int), SSL_CTX *ctx) {
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

struct server *server_new(void (*script)(struct server *, int, int)) {
    return server_start(script, NULL);
}

/* After the caller's connections are closed, which ends the scripts. */
void servers_free(void) {
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

bool heard(struct server *s, const char *text) {
    pthread_mutex_lock(&s->lock);
    bool yes = str_find(buf_str(&s->last), str_of(text)) >= 0;
    pthread_mutex_unlock(&s->lock);
    return yes;
}

/* --- the caller --- */

struct loop *loop;
struct multi *multi;
struct upstream *up;
struct conf_provider conf;
struct conf_key keys[2];
char url[128];

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
    if (r->then)
        r->then(r->then_arg);
}

const struct call_sink sink = {on_head, on_data, on_done};

void setup(void) {
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
                                  .connect = eased(5000),
                                  .first_byte = eased(8000),
                                  .idle = eased(8000),
                                  .total = eased(12000),
                                  .proxy = "",
                                  .health_path = ""};
    conf.tls.ca = conf.tls.client_certificate = conf.tls.client_key = "";
    conf.tls.verify = true;
    loop = loop_new();
    multi = multi_new(loop);
}

void teardown(void) {
    upstream_free(up);
    up = NULL;
    multi_free(multi);
    loop_free(loop);
    servers_free();
}

void use_url(const char *scheme, int port) {
    char err[256] = "";
    snprintf(url, sizeof url, "%s://127.0.0.1:%d/v1", scheme, port);
    up = upstream_new(multi, &conf, err);
    ck_assert_msg(up != NULL, "%s", err);
}

void use(struct server *s) {
    use_url("http", s->port);
}

struct call_spec spec_of(const char *body) {
    return (struct call_spec){
        .upstream = up, .path = "/chat/completions", .key = &keys[0], .body = str_of(body), .mock = STR_NONE};
}

struct rec *rec_new(void) {
    struct rec *r = calloc(1, sizeof *r);
    ck_assert(r != NULL);
    return r;
}

void rec_free(struct rec *r) {
    buf_free(&r->body);
    buf_free(&r->headers);
    free(r);
}

void begin(struct rec *r, const struct call_spec *s) {
    r->call = call_start(multi, s, &sink, r);
    ck_assert(r->call != NULL);
    ck_assert_int_eq(r->heads + r->datas + r->dones, 0); /* nothing from inside call_start */
}

/* Turns of the loop until the call is done; check's own timeout is the bound. */
void finish(struct rec *r) {
    while (!r->dones) {
        if (r->was_full) {
            r->was_full = false;
            call_resume(r->call);
        }
        loop_turn(loop, true);
    }
    ck_assert_int_eq(r->dones, 1);
}

struct rec *ask(const struct call_spec *s) {
    struct rec *r = rec_new();
    begin(r, s);
    finish(r);
    return r;
}

struct rec *ask_body(const char *body) {
    struct call_spec s = spec_of(body);
    return ask(&s);
}

void expect(void (*script)(struct server *, int, int), enum call_error want) {
    struct server *s = server_new(script);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_msg(r->r.error == want, "got %d (%s), wanted %d", r->r.error, call_error_text(r->r.error),
                  want);
    ck_assert_uint_eq(multi_calls(multi), 0);
    rec_free(r);
}

void until(atomic_int *counter, int want) {
    uint64_t limit = clock_ms() + eased(5000);
    while (atomic_load(counter) < want) {
        ck_assert(clock_ms() < limit);
        loop_turn(loop, false);
        sched_yield();
    }
}

/* --- a body --- */

char *big_text(void) {
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

/* --- what several files ask for --- */

const struct provider_kind *kind_of(const char *name) {
    for (size_t i = 0; i < provider_table.n; i++)
        if (strcmp(provider_table.row[i].name, name) == 0)
            return &provider_table.row[i];
    ck_abort_msg("no kind %s", name);
    return NULL;
}

void use_name(const char *name) {
    char err[256];
    snprintf(url, sizeof url, "http://%s/v1", name);
    up = upstream_new(multi, &conf, err);
    ck_assert(up != NULL);
}

void script_plain(struct server *s, int fd, int nth) {
    (void)nth;
    while (hear(s, fd))
        say(fd, OK_HEAD "X-Folded: a\r\n  b\r\nX-EMPTY:\r\nContent-Length: 11\r\n\r\n{\"a\": true}");
}

void script_early_401(struct server *s, int fd, int nth) {
    char head[1024];
    (void)s;
    (void)nth;
    if (recv(fd, head, sizeof head, 0) > 0) /* and no more than that: closing resets the connection */
        say(fd, "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 12\r\n"
                "Connection: close\r\n\r\n{\"error\": 1}");
}
