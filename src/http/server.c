/* Listeners, the accept loop, the bound on connections, and the drain. The listening sockets are the
 * master's: one that closes here is only no longer looked at, and what queues on it waits for the next
 * worker. */
#include "http/server.h"
#include "base/die.h"
#include "base/log.h"
#include "conn.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ACCEPTS_A_TURN = 16, STARVED_MS = 200, STARVED_LOG_MS = 60000 };

/* --- who it is --- */

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static void peer_v4(struct conn *c, const struct in_addr *a) {
    c->loopback = (ntohl(a->s_addr) >> 24) == 127;
    if (!inet_ntop(AF_INET, a, c->peer, sizeof c->peer))
        c->peer[0] = '\0';
}

static void set_peer(struct conn *c, const union address *a) {
    if (a->any.sa_family == AF_INET) {
        peer_v4(c, &a->in.sin_addr);
    } else if (a->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr)) {
        struct in_addr v4;
        memcpy(&v4, &a->in6.sin6_addr.s6_addr[12], sizeof v4);
        peer_v4(c, &v4);
    } else if (a->any.sa_family == AF_INET6) {
        c->loopback = IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
        if (!inet_ntop(AF_INET6, &a->in6.sin6_addr, c->peer, sizeof c->peer))
            c->peer[0] = '\0';
    } else {
        c->loopback = true; /* only this machine reaches a unix socket */
        str_copy(c->peer, sizeof c->peer, STR("unix"));
    }
}

/* --- accepting --- */

static void listen_on(struct http_server *s, bool on) {
    for (struct listener *l = s->listeners; l; l = l->next)
        if ((on ? event_add(&l->ev, NULL) : event_del(&l->ev)) != 0)
            die("libevent: a listening socket cannot be watched");
}

static void resume_accepting(void *arg) {
    struct http_server *s = arg;
    if (!s->draining)
        listen_on(s, true);
}

/* No descriptor or no memory for a connection: the socket stays readable, so look away for a while. */
static void starve(struct http_server *s, int err) {
    uint64_t now = loop_ms(s->loop);
    if (s->starved_ms == 0 || now - s->starved_ms > STARVED_LOG_MS)
        log_event(LVL_WARN, "http", "accept: %s; accepting pauses", strerror(err));
    s->starved_ms = now;
    listen_on(s, false);
    timer_set(&s->accept_timer, STARVED_MS);
}

/* True when there may be more to accept. */
static bool accept_failed(struct http_server *s, int err) {
    switch (err) {
    case EAGAIN:
#if EAGAIN != EWOULDBLOCK
    case EWOULDBLOCK:
#endif
        return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        starve(s, err);
        return false;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
    case EFAULT:
        die("accept: %s", strerror(err));
    default:
        return true; /* that one connection failed, see accept(2) */
    }
}

static void take(struct http_server *s, const struct listener *l, int fd, const union address *peer) {
    unsigned max = s->lim.max_connections;
    bool over = max && s->nconns - s->nrejected >= max;
    if (over && (s->nrejected >= REJECT_MAX || l->tls)) {
        (void)close(fd); /* no time to be polite, or no way in clear text */
        return;
    }
    struct conn *c = conn_new(s, fd, l, over);
    set_peer(c, peer);
    if (over)
        conn_error(c, 503, "too many connections");
    conn_settle(c);
}

static void on_accept(evutil_socket_t fd, short what, void *arg) {
    struct listener *l = arg;
    struct http_server *s = l->server;
    (void)what;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        union address peer = {.any.sa_family = AF_UNSPEC};
        socklen_t len = sizeof peer;
        int client = accept4(fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) {
            if (!accept_failed(s, errno))
                return;
            continue;
        }
        s->accepted++;
        take(s, l, client, &peer);
    }
}

void http_server_listen(struct http_server *s, int fd, struct http_tls *tls, unsigned surfaces) {
    struct listener *l = mem_alloc(sizeof *l);
    l->server = s;
    l->fd = fd;
    l->tls = tls;
    l->surfaces = surfaces;
    l->next = s->listeners;
    /* Inherited by what is accepted, on Linux; a unix socket has neither. */
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    MUST(event_assign(&l->ev, loop_base(s->loop), fd, EV_READ | EV_PERSIST, on_accept, l) == 0);
    if (event_add(&l->ev, NULL) != 0)
        die("libevent: a listening socket cannot be watched");
    s->listeners = l;
}

/* --- the drain --- */

static void drain_check(void *arg) {
    struct http_server *s = arg;
    s->drain_waited = true;
    if (s->nconns || !s->drained)
        return;
    void (*done)(void *) = s->drained;
    s->drained = NULL;
    done(s->drained_arg); /* may free the server */
}

void server_conn_gone(struct http_server *s) {
    if (s->nconns == 0 && s->drained && s->drain_waited)
        timer_set(&s->drain_timer, 0); /* not inside whoever closed the last one */
}

void http_server_drain(struct http_server *s, void (*done)(void *arg), void *arg) {
    MUST(!s->draining && done);
    s->draining = true;
    s->drained = done;
    s->drained_arg = arg;
    listen_on(s, false);
    timer_clear(&s->accept_timer);
    timer_set(&s->drain_timer, QUIET_MS);
    for (struct conn *c = s->conns.next, *next; c != &s->conns; c = next) {
        next = c->next;
        conn_quiet(c);
    }
}

/* --- its life --- */

static void or_default(uint64_t *v, uint64_t otherwise) {
    if (*v == 0)
        *v = otherwise;
}

static void fill_limits(struct http_limits *lim) {
    if (lim->max_head == 0)
        lim->max_head = 32 << 10;
    if (lim->max_headers == 0)
        lim->max_headers = 100;
    or_default(&lim->header_timeout_ms, 10 * 1000);
    or_default(&lim->idle_timeout_ms, 75 * 1000);
    or_default(&lim->body_grace_ms, 5 * 1000);
    or_default(&lim->write_timeout_ms, 5 * 60 * 1000);
}

struct http_server *http_server_new(struct loop *l, const struct http_limits *lim,
                                    const struct http_handler *h) {
    struct http_server *s = mem_alloc(sizeof *s);
    MUST(h->request && h->error_body);
    s->loop = l;
    s->lim = *lim;
    fill_limits(&s->lim);
    s->handler = *h;
    s->conns.next = s->conns.prev = &s->conns;
    s->scratch = mem_alloc(SCRATCH_SIZE);
    buf_init(&s->text, 0);
    timer_init(&s->accept_timer, l, resume_accepting, s);
    timer_init(&s->drain_timer, l, drain_check, s);
    struct sigaction now;
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        (void)signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    return s;
}

void http_server_free(struct http_server *s) {
    if (!s)
        return;
    s->drained = NULL;
    while (s->conns.next != &s->conns)
        conn_end_now(s->conns.next);
    while (s->listeners) {
        struct listener *l = s->listeners;
        s->listeners = l->next;
        event_del(&l->ev);
        mem_free(l);
    }
    timer_free(&s->accept_timer);
    timer_free(&s->drain_timer);
    buf_free(&s->text);
    mem_free(s->scratch);
    mem_free(s);
}

unsigned http_server_connections(const struct http_server *s) {
    return s->nconns;
}

unsigned http_server_exchanges(const struct http_server *s) {
    return s->nexchanges;
}

uint64_t http_server_accepted(const struct http_server *s) {
    return s->accepted;
}
