#include "wire.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/die.h"

#define WIRE_MAGIC 0x77697265u
enum {
    ADDRESSES = 4,
    READ_ONCE = 16 << 10,
    ADDRESS_MS = 400, /* of one that does not answer, while there is another */
};

enum wire_state { RESOLVING, CONNECTING, SHAKING, UP, DOWN };

/* What a lookup finds; goes through a pipe in one piece. */
struct found {
    unsigned n;
    struct {
        socklen_t size;
        struct sockaddr_storage to;
    } address[ADDRESSES];
};
_Static_assert(sizeof(struct found) <= 4096, "a pipe takes it whole");

struct wire {
    unsigned magic;
    struct loop *loop;
    struct wire_to to;
    const struct wire_sink *sink;
    void *arg;
    enum wire_state state;
    int fd;
    struct event *readable, *writable;
    struct found found;
    unsigned next;
    struct timer hurry; /* to the next address */
    SSL_CTX *ctx;
    SSL *ssl;
    struct buf out;
    bool writes;             /* the socket is full: waits until it is not */
    struct task begin, send; /* no callback comes from inside a call */
    char why[160];
};

static void on_event(evutil_socket_t fd, short what, void *arg);

/* --- the end --- */

static void close_fd(struct wire *w) {
    if (w->readable)
        event_free(w->readable);
    if (w->writable)
        event_free(w->writable);
    w->readable = w->writable = NULL;
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

static void down(struct wire *w, const char *why) {
    close_fd(w);
    w->state = DOWN;
    w->sink->down(w->arg, why);
}

void wire_close(struct wire *w) {
    if (!w)
        return;
    MAGIC_CHECK(w, WIRE_MAGIC);
    task_cancel(&w->begin);
    task_cancel(&w->send);
    timer_free(&w->hurry);
    SSL_free(w->ssl);
    close_fd(w);
    SSL_CTX_free(w->ctx);
    buf_wipe(&w->out); /* the password may lie in it */
    w->magic = 0;
    mem_free(w);
}

/* --- events --- */

static struct event *make(struct wire *w, short what) {
    struct event *e = event_new(loop_base(w->loop), w->fd, (short)(what | EV_PERSIST), on_event, w);
    if (!e)
        die("libevent: an event cannot be made");
    return e;
}

static void want(struct wire *w, bool read, bool write) {
    if ((read ? event_add(w->readable, NULL) : event_del(w->readable)) != 0 ||
        (write ? event_add(w->writable, NULL) : event_del(w->writable)) != 0)
        die("libevent: an event cannot be set");
}

static void watch(struct wire *w, int fd) {
    w->fd = fd;
    w->readable = make(w, EV_READ);
    w->writable = make(w, EV_WRITE);
}

/* --- looking up --- */

struct lookup {
    int fd;
    char host[256], port[8];
};

static void fill(struct found *f, const struct addrinfo *list) {
    for (const struct addrinfo *a = list; a && f->n < ADDRESSES; a = a->ai_next) {
        if (a->ai_addrlen > sizeof f->address[0].to)
            continue;
        f->address[f->n].size = a->ai_addrlen;
        memcpy(&f->address[f->n++].to, a->ai_addr, a->ai_addrlen);
    }
}

static bool look_up(const char *host, const char *port, int flags, struct found *f) {
    const struct addrinfo hint = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    memset(f, 0, sizeof *f);
    if (getaddrinfo(host, port, &hint, &list) != 0)
        return false;
    fill(f, list);
    freeaddrinfo(list);
    return f->n > 0;
}

static void *look_up_beside(void *arg) {
    struct lookup *l = arg;
    struct found f;
    look_up(l->host, l->port, AI_ADDRCONFIG, &f);
    ssize_t n = write(l->fd, &f, sizeof f);
    (void)n; /* nobody reads it any more: the wire was closed */
    close(l->fd);
    free(l);
    return NULL;
}

/* The thread has no signals, and nothing of the process's but its own pipe. */
static bool start_lookup(struct wire *w, const char *port) {
    int fd[2];
    pthread_t thread;
    sigset_t all, before;
    struct lookup *l = pipe2(fd, O_CLOEXEC | O_NONBLOCK) == 0 ? malloc(sizeof *l) : NULL;
    if (!l)
        return false;
    l->fd = fd[1];
    str_copy(l->host, sizeof l->host, str_of(w->to.host));
    str_copy(l->port, sizeof l->port, str_of(port));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(&thread, NULL, look_up_beside, l) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    watch(w, fd[0]);
    want(w, true, false);
    if (ok) {
        pthread_detach(thread);
        return true;
    }
    close(fd[1]);
    free(l);
    return false;
}

/* --- connecting --- */

static void fail_tls(struct wire *w, const char *what) {
    unsigned long e = ERR_get_error();
    long bad = w->ssl ? SSL_get_verify_result(w->ssl) : X509_V_OK;
    const char *why = bad != X509_V_OK ? X509_verify_cert_error_string(bad)
                      : e              ? ERR_reason_error_string(e)
                                       : NULL;
    snprintf(w->why, sizeof w->why, "%s%s%s", what, why ? ": " : "", why ? why : "");
    ERR_clear_error();
    down(w, w->why);
}

static bool expect_name(struct wire *w) {
    X509_VERIFY_PARAM *p = SSL_get0_param(w->ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(p, w->to.host) == 1)
        return true;
    ERR_clear_error();
    return SSL_set_tlsext_host_name(w->ssl, w->to.host) == 1 && SSL_set1_host(w->ssl, w->to.host) == 1;
}

static bool show_certificate(const struct wire *w) {
    const char *crt = w->to.certificate, *key = *w->to.key ? w->to.key : crt;
    return !*crt || (SSL_CTX_use_certificate_chain_file(w->ctx, crt) == 1 &&
                     SSL_CTX_use_PrivateKey_file(w->ctx, key, SSL_FILETYPE_PEM) == 1);
}

static bool set_up_tls(struct wire *w) {
    ERR_clear_error();
    w->ctx = SSL_CTX_new(TLS_client_method());
    if (!w->ctx || SSL_CTX_set_min_proto_version(w->ctx, TLS1_2_VERSION) != 1)
        return false;
    SSL_CTX_set_mode(w->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(w->ctx, w->to.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (*w->to.ca ? SSL_CTX_load_verify_file(w->ctx, w->to.ca) != 1
                  : SSL_CTX_set_default_verify_paths(w->ctx) != 1)
        return false;
    if (!show_certificate(w))
        return false;
    w->ssl = SSL_new(w->ctx);
    return w->ssl && SSL_set_fd(w->ssl, w->fd) == 1 && (!w->to.verify || expect_name(w));
}

static void shake(struct wire *w) {
    int rc = SSL_connect(w->ssl), e = SSL_get_error(w->ssl, rc);
    if (rc != 1 && e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE) {
        fail_tls(w, "TLS fails");
        return;
    }
    want(w, rc == 1 || e == SSL_ERROR_WANT_READ, rc != 1 && e == SSL_ERROR_WANT_WRITE);
    if (rc != 1)
        return;
    w->state = UP;
    w->sink->up(w->arg);
}

static void connected(struct wire *w) {
    if (!w->to.tls) {
        w->state = UP;
        want(w, true, false);
        w->sink->up(w->arg);
        return;
    }
    w->state = SHAKING;
    if (set_up_tls(w))
        shake(w);
    else
        fail_tls(w, "TLS cannot be set up");
}

static void connect_next(struct wire *w) {
    int one = 1;
    timer_clear(&w->hurry);
    while (w->next < w->found.n) {
        unsigned i = w->next++;
        const struct sockaddr *to = (const struct sockaddr *)(const void *)&w->found.address[i].to;
        close_fd(w);
        int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        if (to->sa_family != AF_UNIX)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        watch(w, fd);
        if (connect(fd, to, w->found.address[i].size) == 0 || errno == EINPROGRESS) {
            w->state = CONNECTING;
            want(w, false, true);
            if (w->next < w->found.n)
                timer_set(&w->hurry, ADDRESS_MS);
            return;
        }
        snprintf(w->why, sizeof w->why, "%s", strerror(errno));
    }
    down(w, *w->why ? w->why : "there is no such host");
}

static void on_hurry(void *arg) {
    struct wire *w = arg;
    MAGIC_CHECK(w, WIRE_MAGIC);
    if (w->state != CONNECTING)
        return;
    snprintf(w->why, sizeof w->why, "it does not answer");
    connect_next(w);
}

static void connecting(struct wire *w) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0) {
        timer_clear(&w->hurry);
        connected(w);
        return;
    }
    snprintf(w->why, sizeof w->why, "%s", strerror(error));
    connect_next(w);
}

static void resolved(struct wire *w) {
    if (read(w->fd, &w->found, sizeof w->found) != (ssize_t)sizeof w->found || w->found.n > ADDRESSES)
        w->found.n = 0;
    connect_next(w);
}

static void begin(void *arg) {
    struct wire *w = arg;
    MAGIC_CHECK(w, WIRE_MAGIC);
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)w->to.port);
    if (*w->to.path) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        str_copy(un.sun_path, sizeof un.sun_path, str_of(w->to.path));
        memcpy(&w->found.address[0].to, &un, sizeof un);
        w->found.address[0].size = sizeof un;
        w->found.n = 1;
        connect_next(w);
    } else if (look_up(w->to.host, port, AI_NUMERICHOST, &w->found)) {
        connect_next(w);
    } else if (!start_lookup(w, port)) {
        down(w, "names cannot be looked up");
    }
}

/* --- bytes --- */

/* Bytes, 0: later, -1: the end (w->why). */
static ssize_t get(struct wire *w, char *p, size_t n) {
    if (!w->ssl) {
        ssize_t got = recv(w->fd, p, n, 0);
        if (got > 0)
            return got;
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        snprintf(w->why, sizeof w->why, "%s", got == 0 ? "the server has closed" : strerror(errno));
        return -1;
    }
    ERR_clear_error();
    int got = SSL_read(w->ssl, p, (int)n), e = SSL_get_error(w->ssl, got);
    if (got > 0 || e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
        return got > 0 ? got : 0;
    snprintf(w->why, sizeof w->why, "the server has closed");
    return -1;
}

static ssize_t put(struct wire *w, const char *p, size_t n) {
    if (!w->ssl) {
        ssize_t done = send(w->fd, p, n, MSG_NOSIGNAL);
        return done < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : done;
    }
    ERR_clear_error();
    int done = SSL_write(w->ssl, p, n > READ_ONCE ? READ_ONCE : (int)n), e = SSL_get_error(w->ssl, done);
    return done > 0 ? done : e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static bool flush(struct wire *w) {
    while (buf_len(&w->out) > 0) {
        ssize_t n = put(w, buf_at(&w->out), buf_len(&w->out));
        if (n < 0) {
            down(w, "it cannot be written to");
            return false;
        }
        if (n == 0)
            break;
        buf_consume(&w->out, (size_t)n);
    }
    if (w->writes != (buf_len(&w->out) > 0))
        want(w, true, !w->writes);
    w->writes = buf_len(&w->out) > 0;
    return true;
}

static void send_now(void *arg) {
    struct wire *w = arg;
    MAGIC_CHECK(w, WIRE_MAGIC);
    if (w->state == UP)
        flush(w);
}

static void receive(struct wire *w) {
    char bytes[READ_ONCE];
    ssize_t n = get(w, bytes, sizeof bytes);
    if (n < 0) {
        down(w, w->why);
        return;
    }
    if (w->ssl && SSL_pending(w->ssl) > 0)
        event_active(w->readable, EV_READ, 0); /* TLS has more than the socket shows */
    if (n > 0)
        w->sink->data(w->arg, bytes, (size_t)n);
}

static void on_event(evutil_socket_t fd, short what, void *arg) {
    struct wire *w = arg;
    (void)fd;
    MAGIC_CHECK(w, WIRE_MAGIC);
    switch (w->state) {
    case RESOLVING:
        resolved(w);
        return;
    case CONNECTING:
        connecting(w);
        return;
    case SHAKING:
        shake(w);
        return;
    case UP:
        if ((what & EV_WRITE) && !flush(w))
            return;
        if (what & EV_READ)
            receive(w);
        return;
    case DOWN:
        return;
    }
}

struct wire *wire_open(struct loop *l, const struct wire_to *to, const struct wire_sink *sink, void *arg) {
    struct wire *w = mem_alloc(sizeof *w);
    *w = (struct wire){.magic = WIRE_MAGIC, .loop = l, .to = *to, .sink = sink, .arg = arg, .fd = -1};
    buf_init(&w->out, 0);
    task_init(&w->begin, begin, w);
    task_init(&w->send, send_now, w);
    timer_init(&w->hurry, l, on_hurry, w);
    task_defer(l, &w->begin);
    return w;
}

void wire_send(struct wire *w, struct str s) {
    MAGIC_CHECK(w, WIRE_MAGIC);
    if (w->state != UP)
        return;
    buf_adds(&w->out, s);
    task_defer(w->loop, &w->send);
}

size_t wire_waiting(const struct wire *w) {
    return buf_len(&w->out);
}
