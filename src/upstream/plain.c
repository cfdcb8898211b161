/* A call by HTTP/1.1 over a plain connection, without libcurl's state machine: it costs as much as a whole
 * nginx (measured). libcurl still resolves and connects; what TLS, a proxy or a signature asks for goes by
 * call.c. The event of a connection stays registered while it is kept, and what comes then is its end. */
#include "answer.h"
#include "base/die.h"
#include "base/log.h"
#include "inner.h"
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    MAX_KEPT = 4096,          /* connections, per upstream */
    MAX_KEPT_MS = 300 * 1000, /* unused; most servers close earlier */
    MAX_IDLE_CALLS = 256,     /* pooled memory */
    RACE_MS = 2000,           /* within it a kept connection ends that was closed as we wrote */
    RECEIVE = 32 * 1024,      /* at once; of a stream only what comes is read */
    EVENTS = 2 * 1024,        /* of a stream passed on at once: the first before the next are looked at */
    PIECE = 64 * 1024,        /* of a body that is read when it is sent */
    PIECES_AT_ONCE = 16,
};

struct line { /* a connection */
    struct plain *plain;
    struct plain_call *call; /* NULL: kept */
    int fd;
    short registered;
    struct event ev;
    struct link in_kept;
    uint64_t since_ms; /* it is kept */
};

struct plain {
    struct multi *multi;
    struct upstream *upstream;
    struct link kept; /* the one used last in front */
    unsigned nkept;
    struct timer timer; /* while some are kept: for the oldest */
    struct plain_call *idle;
    unsigned nidle;
    bool foreign; /* an answer came in a coding that only libcurl may know: no more calls, nothing is kept */
};

struct plain_call {
    struct call c;
    struct plain *plain;
    struct plain_call *next_idle;
    struct connect *connect;
    struct line *line;
    bool again; /* on its second connection */
    /* the request: its first lines, the others, the body */
    struct buf first;
    struct str lines;
    struct buf own; /* of the lines */
    struct str body;
    struct call_source source; /* read NULL: the body is all there */
    struct buf piece;          /* of the source, or what is left of a body that may go away */
    uint64_t piece_at;         /* where in the body it begins */
    uint64_t sent;             /* of all three */
    bool stopped;              /* no more is sent: the answer is an error already, or nobody hears it */
    struct answer answer;
};

/* --- connections --- */

static void on_event(evutil_socket_t fd, short what, void *arg);

static bool line_wants(struct line *l, short what) {
    if (l->registered == what)
        return true;
    if (l->registered)
        event_del(&l->ev);
    l->registered = 0;
    if (!what)
        return true;
    if (event_assign(&l->ev, loop_base(multi_loop(l->plain->multi)), l->fd, (short)(what | EV_PERSIST),
                     on_event, l) != 0 ||
        event_add(&l->ev, NULL) != 0) {
        log_event(LVL_ERROR, "upstream", "a socket cannot be watched: %s", strerror(errno));
        return false;
    }
    l->registered = what;
    return true;
}

static void line_close(struct line *l) {
    line_wants(l, 0);
    if (l->in_kept.next) {
        link_cut(&l->in_kept);
        l->plain->nkept--;
    }
    close(l->fd);
    mem_free(l);
}

static struct line *line_new(struct plain *p, int fd) {
    struct line *l = mem_alloc(sizeof *l);
    l->plain = p;
    l->fd = fd;
    return l;
}

static struct line *last_kept(struct plain *p) {
    return p->nkept ? LINK_OWNER(p->kept.prev, struct line, in_kept) : NULL;
}

static void close_kept(struct plain *p) {
    while (p->nkept > 0)
        line_close(last_kept(p));
}

static void on_age(void *arg) {
    struct plain *p = arg;
    uint64_t now = loop_ms(multi_loop(p->multi));
    struct line *l;
    while ((l = last_kept(p)) && now - l->since_ms >= MAX_KEPT_MS)
        line_close(l);
    if (l)
        timer_set(&p->timer, l->since_ms + MAX_KEPT_MS - now);
}

static void line_keep(struct line *l) {
    struct plain *p = l->plain;
    l->call = NULL;
    l->since_ms = loop_ms(multi_loop(p->multi));
    if (p->foreign || p->nkept == MAX_KEPT || !line_wants(l, EV_READ)) {
        line_close(l);
        return;
    }
    link_add(p->kept.next, &l->in_kept); /* in front of the first */
    p->nkept++;
    if (!timer_pending(&p->timer))
        timer_set(&p->timer, MAX_KEPT_MS);
}

/* Nothing has come on it, not even its end: what comes before a request is no answer to it. */
static bool is_quiet(const struct line *l) {
    char byte;
    return recv(l->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static struct line *line_kept(struct plain *p) {
    while (p->nkept > 0) {
        struct line *l = LINK_OWNER(p->kept.next, struct line, in_kept);
        if (is_quiet(l)) {
            link_cut(&l->in_kept);
            p->nkept--;
            return l;
        }
        line_close(l);
    }
    return NULL;
}

/* --- sending --- */

static uint64_t size_of(const struct plain_call *p) {
    return buf_len(&p->first) + p->lines.n + p->source.n;
}

/* What of the body lies at `at`, as far as it is at hand; an empty one: it cannot be had. */
static struct str body_at(struct plain_call *p, uint64_t at) {
    if (buf_len(&p->piece) && at >= p->piece_at && at - p->piece_at < buf_len(&p->piece))
        return str_skip(buf_str(&p->piece), (size_t)(at - p->piece_at));
    if (!p->source.read)
        return str_skip(p->body, (size_t)at);
    size_t n = p->source.n - at < PIECE ? (size_t)(p->source.n - at) : PIECE;
    buf_clear(&p->piece);
    char *to = buf_room(&p->piece, n);
    if (!to || !p->source.read(p->source.arg, at, to, n))
        return STR_NONE;
    buf_commit(&p->piece, n);
    p->piece_at = at;
    return buf_str(&p->piece);
}

/* The parts of the request from `sent` on. false: the body cannot be had. */
static bool parts_left(struct plain_call *p, struct iovec *v, int *n) {
    uint64_t at = p->sent;
    struct str parts[3] = {buf_str(&p->first), p->lines, STR_NONE};
    uint64_t head = parts[0].n + parts[1].n;
    if (p->source.n > 0) {
        parts[2] = body_at(p, at > head ? at - head : 0);
        if (parts[2].n == 0)
            return false;
    }
    *n = 0;
    for (int i = 0; i < 3; i++) {
        struct str s = parts[i];
        if (i < 2 && at >= s.n) {
            at -= s.n;
            continue;
        }
        if (i < 2) {
            s = str_skip(s, (size_t)at);
            at = 0;
        }
        if (s.n > 0)
            v[(*n)++] = (struct iovec){(void *)(uintptr_t)s.p, s.n};
    }
    return true;
}

/* As much as the socket takes. false: the body cannot be had. A failed write is no end: the answer may lie
 * there, and if it does not, reading tells why. */
static bool send_some(struct plain_call *p) {
    uint64_t all = size_of(p);
    for (int turn = 0; !p->stopped && p->sent < all && turn < PIECES_AT_ONCE; turn++) {
        struct iovec v[3];
        struct msghdr m = {.msg_iov = v};
        int n = 0;
        if (!parts_left(p, v, &n))
            return false;
        m.msg_iovlen = (size_t)n;
        ssize_t did = sendmsg(p->line->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (did < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (did < 0)
            p->stopped = true;
        else
            p->sent += (uint64_t)did;
    }
    p->c.result.bytes_out = p->sent;
    bool more = !p->stopped && p->sent < all;
    return line_wants(p->line, more ? EV_READ | EV_WRITE : EV_READ);
}

/* The answer begins before all is sent. An error's sender hears no more; for another the body goes on, of
 * which a short one may not be there any longer (call.h). */
static void answered_early(struct plain_call *p, int status) {
    uint64_t head = buf_len(&p->first) + p->lines.n;
    if (status >= 400) {
        p->stopped = true;
    } else if (!p->source.read && p->body.n <= CALL_BODY_COPIED) {
        p->piece_at = p->sent > head ? p->sent - head : 0;
        buf_clear(&p->piece);
        buf_adds(&p->piece, str_skip(p->body, (size_t)p->piece_at));
    }
}

/* --- a call on its connection --- */

static void attach(struct plain_call *p, struct line *l, bool kept) {
    p->line = l;
    l->call = p;
    p->c.connected = true;
    p->c.result.reused = kept;
    if (!send_some(p)) { /* from the start, or where the connection was made: never inside of a callback */
        p->c.verdict = CALL_RESET;
        multi_work(p->plain->multi, &p->c, WORK_FAIL);
    }
}

static void detach(struct plain_call *p) {
    if (p->line)
        line_close(p->line);
    p->line = NULL;
}

/* The request may have been carried out by whoever closed the first connection. */
static enum call_error not_connected(const struct plain_call *p, enum call_error e) {
    return p->again ? CALL_RESET : e;
}

static void on_connect(void *arg, int fd, enum call_error e) {
    struct plain_call *p = arg;
    p->connect = NULL;
    if (fd >= 0)
        attach(p, line_new(p->plain, fd), false);
    else
        call_finish(&p->c, not_connected(p, e));
}

static void connect_for(struct plain_call *p) {
    p->c.result.reused = false;
    p->connect = connect_begin(p->plain->upstream, on_connect, p);
    if (p->connect)
        return;
    p->c.verdict = not_connected(p, CALL_CONNECT);
    multi_work(p->c.multi, &p->c, WORK_FAIL);
}

/* A kept connection that is closed as our request comes ends without a byte, and at once. Then it is said
 * once more, as libcurl does, but on a connection that is new, and no more often (RFC 9112, 9.3.1: a retry
 * that failed is not tried again). */
static bool try_again(struct plain_call *p) {
    uint64_t now = loop_ms(multi_loop(p->c.multi));
    if (!p->c.result.reused || p->again || answer_begun(&p->answer) || now - p->c.start_ms > RACE_MS)
        return false;
    detach(p);
    p->again = true;
    p->sent = 0;
    p->stopped = false;
    connect_for(p);
    return true;
}

static void whole(struct plain_call *p) {
    struct line *l = p->line;
    if (answer_keeps(&p->answer) && p->sent == size_of(p) && !p->stopped) {
        p->line = NULL;
        line_keep(l);
    }
    call_finish(&p->c, p->c.verdict);
}

static void leave_to_libcurl(struct plain *p) {
    p->foreign = true;
    close_kept(p);
}

/* What the bytes have led to; from the loop, outside of every callback. */
static void go_on(struct plain_call *p, enum answer_state s) {
    switch (s) {
    case ANSWER_MORE:
    case ANSWER_FULL: /* the event is taken off when it fires: often the sink has room again before */
        return;
    case ANSWER_WHOLE:
        whole(p);
        return;
    case ANSWER_BAD:
        if (p->answer.foreign)
            leave_to_libcurl(p->plain);
        call_finish(&p->c, p->c.verdict != CALL_OK ? p->c.verdict : p->answer.error);
    }
}

static void feed(struct plain_call *p, const char *bytes, size_t n) {
    struct multi *m = p->plain->multi;
    multi_enter(m);
    enum answer_state s = answer_feed(&p->answer, bytes, n);
    bool gone = p->c.doomed;
    multi_leave(m);
    if (!gone)
        go_on(p, s);
}

static void receive(struct plain_call *p) {
    static char bytes[RECEIVE]; /* one thread; nothing is received from inside a sink */
    ssize_t n = recv(p->line->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        feed(p, bytes, (size_t)n);
        return;
    }
    if (try_again(p))
        return;
    if (n < 0)
        call_finish(&p->c, CALL_RESET);
    else
        go_on(p, answer_eof(&p->answer));
}

static void on_event(evutil_socket_t fd, short what, void *arg) {
    struct line *l = arg;
    struct plain_call *p = l->call;
    (void)fd;
    if (!p) {
        line_close(l);
        return;
    }
    MAGIC_CHECK(&p->c, CALL_MAGIC);
    if (what & EV_WRITE && !send_some(p)) {
        call_finish(&p->c, CALL_RESET);
        return;
    }
    if (!(what & EV_READ))
        return;
    if (p->c.paused)
        line_wants(l, (short)(l->registered & EV_WRITE));
    else
        receive(p);
}

/* --- the sink, with what the request must know of its answer --- */

static enum flow on_head(void *arg, int status, const struct call_header *headers, size_t n) {
    struct plain_call *p = arg;
    if (p->sent < size_of(p))
        answered_early(p, status);
    p->c.result.bytes_in += p->answer.head.bytes;
    return call_head(&p->c, status, headers, n);
}

static enum flow on_data(void *arg, const char *bytes, size_t n) {
    struct plain_call *p = arg;
    return call_data(&p->c, bytes, n);
}

static const struct answer_sink to_call = {on_head, on_data};

/* --- the transport --- */

static void start(struct call *c) {
    struct plain_call *p = LINK_OWNER(c, struct plain_call, c);
    struct line *l = line_kept(p->plain);
    if (l)
        attach(p, l, true);
    else
        connect_for(p);
}

static void resume(struct call *c) {
    struct plain_call *p = LINK_OWNER(c, struct plain_call, c);
    if (!p->line)
        return;
    line_wants(p->line, (short)(p->line->registered | EV_READ));
    feed(p, "", 0);
}

static void abort_call(struct call *c) {
    struct plain_call *p = LINK_OWNER(c, struct plain_call, c);
    connect_cancel(p->connect);
    p->connect = NULL;
    detach(p);
}

static void plain_call_free(struct plain_call *p) {
    buf_free(&p->first);
    answer_free(&p->answer);
    call_fini(&p->c);
    mem_free(p);
}

static void release(struct call *c) {
    struct plain_call *p = LINK_OWNER(c, struct plain_call, c);
    struct plain *plain = p->plain;
    answer_reset(&p->answer, false, 0);
    buf_wipe(&p->own);
    buf_free(&p->piece);
    p->lines = p->body = STR_NONE;
    p->source = (struct call_source){.n = 0};
    if (plain->nidle == MAX_IDLE_CALLS) {
        plain_call_free(p);
        return;
    }
    p->next_idle = plain->idle;
    plain->idle = p;
    plain->nidle++;
}

static const struct call_ops plain_ops = {start, resume, abort_call, release};

static struct plain_call *plain_call_new(struct plain *plain) {
    struct plain_call *p = plain->idle;
    if (p) {
        plain->idle = p->next_idle;
        plain->nidle--;
        return p;
    }
    p = mem_alloc(sizeof *p);
    call_init(&p->c, plain->multi, &plain_ops);
    p->plain = plain;
    buf_init(&p->first, 0);
    buf_init(&p->own, 0);
    buf_init(&p->piece, 0);
    answer_init(&p->answer, &to_call, p);
    return p;
}

static void say_first(struct buf *b, const struct call_spec *s, struct str target, uint64_t length) {
    buf_clear(b);
    buf_addz(b, s->method ? s->method : s->get ? "GET" : "POST");
    buf_addc(b, ' ');
    buf_adds(b, target);
    BUF_ADD(b, " HTTP/1.1\r\n");
    if (!s->get) {
        BUF_ADD(b, "Content-Length: ");
        buf_addu(b, length);
        BUF_ADD(b, "\r\n");
    }
}

struct call *plain_call(struct plain *plain, const struct call_spec *s, struct str target, struct str lines,
                        struct buf *own) {
    struct plain_call *p = plain_call_new(plain);
    if (own)
        p->own = *own;
    p->lines = lines;
    p->body = s->get ? STR_NONE : s->body;
    p->source = s->source && !s->get ? *s->source : (struct call_source){.n = p->body.n};
    p->again = false;
    p->sent = 0;
    p->stopped = false;
    answer_reset(&p->answer, s->method && strcmp(s->method, "HEAD") == 0, s->stream ? EVENTS : RECEIVE);
    say_first(&p->first, s, target, p->source.n);
    return &p->c;
}

struct plain *plain_new(struct multi *m, struct upstream *u) {
    struct plain *p = mem_alloc(sizeof *p);
    p->multi = m;
    p->upstream = u;
    link_head(&p->kept);
    timer_init(&p->timer, multi_loop(m), on_age, p);
    return p;
}

void plain_free(struct plain *p) {
    if (!p)
        return;
    close_kept(p);
    timer_free(&p->timer);
    while (p->idle) {
        struct plain_call *c = p->idle;
        p->idle = c->next_idle;
        plain_call_free(c);
    }
    mem_free(p);
}

bool plain_fits(const struct plain *p) {
    return !p->foreign;
}
