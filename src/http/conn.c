/* One connection: its states, what wakes it, and how it ends. All bytes that come go through conn_pump, which
 * moves the state machine step by step and never runs inside itself; everything that an owner may not see
 * happen inside its own call (the client is gone, the next request) is left to the connection's task at the
 * end of the turn. */
#include "conn.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

enum { OUT_KEPT = 512 }; /* an empty output queue larger than this gives its memory back */

static uint64_t now_ms(const struct conn *c) {
    return loop_ms(c->server->loop);
}

static void release_if_empty(struct buf *b, size_t kept) {
    if (b->p && buf_len(b) == 0 && b->cap > kept)
        buf_free(b);
}

/* --- the end of a connection --- */

void conn_close(struct conn *c) {
    if (c->state == CONN_DEAD)
        return;
    event_del(&c->ev_read);
    event_del(&c->ev_write);
    timer_clear(&c->timer);
    if (c->reset) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    io_close(&c->io);
    c->state = CONN_DEAD;
    c->window = STR_NONE;
    buf_free(&c->out);
    if (!c->pumping)
        buf_free(&c->in);
    task_defer(c->server->loop, &c->task);
}

static void drop_arena(struct conn *c) {
    arena_free(c->arena);
    c->arena = NULL;
    c->head = NULL;
}

static void drop_exchange(struct conn *c) {
    struct xchg *x = c->x;
    c->x = NULL;
    c->server->nexchanges--;
    buf_free(&x->body);
    x->magic = 0;
    drop_arena(c); /* x itself lies in it */
}

/* false: the owner keeps the exchange, and the connection with it. */
static bool say_gone(struct conn *c, bool may_keep) {
    struct xchg *x = c->x;
    if (!x)
        return true;
    x->over = true;
    x->kept = false;
    if (x->x.on_gone)
        x->x.on_gone(&x->x);
    if (x->kept && may_keep) {
        x->over = false;
        return false;
    }
    drop_exchange(c);
    return true;
}

void conn_let_go(struct conn *c) {
    drop_exchange(c);
    conn_free(c);
}

void conn_free(struct conn *c) {
    struct http_server *s = c->server;
    MAGIC_CHECK(c, CONN_MAGIC);
    c->magic = 0;
    c->next->prev = c->prev;
    c->prev->next = c->next;
    s->nconns--;
    if (c->rejected)
        s->nrejected--;
    task_cancel(&c->task);
    timer_free(&c->timer);
    drop_arena(c);
    buf_free(&c->in);
    buf_free(&c->out);
    mem_free(c);
    server_conn_gone(s);
}

void conn_end_now(struct conn *c) {
    conn_close(c);
    say_gone(c, false);
    conn_free(c);
}

/* --- state changes --- */

static void enter_idle(struct conn *c, uint64_t quiet_ms) {
    c->state = CONN_IDLE;
    if (c->server->draining && quiet_ms > QUIET_MS)
        quiet_ms = QUIET_MS;
    c->deadline_ms = now_ms(c) + quiet_ms;
    release_if_empty(&c->out, 0);
}

static void enter_linger(struct conn *c) {
    io_shutdown(&c->io);
    c->state = CONN_LINGER;
    c->deadline_ms = now_ms(c) + LINGER_MS;
    c->discarded = 0;
    release_if_empty(&c->out, 0);
}

/* The answer is complete and the socket has taken all of it. */
static void after_flush(struct conn *c) {
    if (c->cut) {
        conn_close(c);
    } else if (!c->keep) {
        c->reset = false;
        bool sending = c->linger || c->rest || c->window.n || buf_len(&c->in) || c->server->draining;
        if (sending && !c->eof) {
            enter_linger(c);
            return;
        }
        if (c->io.ssl)
            io_shutdown(&c->io);
        conn_close(c);
    } else if (c->rest) {
        c->state = CONN_DRAIN;
        c->deadline_ms = now_ms(c) + c->server->lim.header_timeout_ms;
    } else {
        enter_idle(c, c->server->lim.idle_timeout_ms);
    }
}

static void enter_flush(struct conn *c) {
    c->state = CONN_FLUSH;
    if (buf_len(&c->out) == 0)
        after_flush(c);
}

void conn_answered(struct conn *c) {
    c->rest = xchg_body_rest(c->x);
    if (c->rest > DRAIN_MAX)
        c->keep = false; /* it failed after the answer had begun */
    drop_exchange(c);
    if (c->state == CONN_DEAD)
        return;
    enter_flush(c);
    if (c->pumping || c->state == CONN_DEAD)
        return;
    if (buf_len(&c->in)) /* the next request may be there: not inside the owner's call */
        task_defer(c->server->loop, &c->task);
    conn_settle(c);
}

void conn_error(struct conn *c, int status, const char *why) {
    struct http_server *s = c->server;
    struct http_header h[2] = {{{"Content-Type", 12}, {"application/json", 16}}};
    struct buf body;
    buf_init(&body, 0);
    struct str path = c->head && c->head->path.p ? c->head->path : STR("");
    h[1] = s->handler.error_body(&body, status, why, path, s->handler.arg);
    bool head_only = c->head && c->head->method == HTTP_HEAD && c->head->method_name.n;
    log_event(LVL_DEBUG, "http", "refused with %d: %s", status, why);
    answer_head(s, status, h, h[1].name.n ? 2 : 1, (int64_t)buf_len(&body), "close");
    struct iovec iov[2] = {{buf_at(&s->text), buf_len(&s->text)},
                           {body.p ? buf_at(&body) : NULL, head_only ? 0 : buf_len(&body)}};
    c->keep = false;
    c->linger = true;
    conn_send(c, iov, 2);
    buf_free(&body);
    drop_arena(c);
    if (c->state != CONN_DEAD)
        enter_flush(c);
}

/* --- bytes out --- */

static void block(struct conn *c) {
    if (c->blocked)
        return;
    c->blocked = true;
    c->blocked_ms = now_ms(c);
    if (event_add(&c->ev_write, NULL) != 0)
        conn_close(c);
}

static void unblock(struct conn *c) {
    c->blocked = false;
    event_del(&c->ev_write);
}

/* Queues what lies behind the first `sent` bytes of iov. */
static void queue_rest(struct conn *c, const struct iovec *iov, int n, size_t sent) {
    for (int i = 0; i < n; i++) {
        if (sent >= iov[i].iov_len) {
            sent -= iov[i].iov_len;
            continue;
        }
        buf_add(&c->out, (const char *)iov[i].iov_base + sent, iov[i].iov_len - sent);
        sent = 0;
    }
}

/* One system call for the queue (a head held back) and iov; the rest waits for EV_WRITE. */
static void send_at_once(struct conn *c, const struct iovec *iov, int n) {
    struct iovec all[IO_MAX_IOV];
    int k = 0;
    size_t held = buf_len(&c->out);
    if (held)
        all[k++] = (struct iovec){buf_at(&c->out), held};
    for (int i = 0; i < n; i++)
        if (iov[i].iov_len)
            all[k++] = iov[i];
    if (k == 0)
        return;
    ssize_t r = io_writev(&c->io, all, k);
    if (r == IO_ERROR) {
        conn_close(c);
        return;
    }
    size_t sent = r > 0 ? (size_t)r : 0;
    size_t of_held = sent < held ? sent : held;
    if (of_held)
        buf_consume(&c->out, of_held);
    queue_rest(c, iov, n, sent - of_held);
    if (buf_len(&c->out))
        block(c);
    else
        release_if_empty(&c->out, OUT_KEPT);
}

void conn_send(struct conn *c, const struct iovec *iov, int n) {
    MUST(n < IO_MAX_IOV);
    if (c->state == CONN_DEAD)
        return;
    if (c->blocked)
        queue_rest(c, iov, n, 0);
    else
        send_at_once(c, iov, n);
    if (!buf_ok(&c->out))
        conn_close(c); /* the owner wrote a gigabyte against FLOW_FULL */
}

void conn_hold(struct conn *c, struct str text) {
    if (c->state == CONN_DEAD)
        return;
    buf_adds(&c->out, text);
    task_defer(c->server->loop, &c->task);
}

static void flush(struct conn *c) {
    struct iovec iov = {buf_at(&c->out), buf_len(&c->out)};
    ssize_t r = iov.iov_len ? io_writev(&c->io, &iov, 1) : 0;
    if (r == IO_ERROR) {
        conn_close(c);
        return;
    }
    if (r > 0) {
        buf_consume(&c->out, (size_t)r);
        c->blocked_ms = now_ms(c);
    }
    if (buf_len(&c->out))
        return;
    unblock(c);
    release_if_empty(&c->out, OUT_KEPT);
}

/* --- bytes in --- */

static bool step_head(struct conn *c) {
    size_t used;
    if (c->window.n == 0)
        return false;
    enum parse r = head_feed(c->head, c->window.p, c->window.n, &used);
    c->window = str_skip(c->window, used);
    if (r == PARSE_MORE)
        return false;
    if (r == PARSE_BAD)
        conn_error(c, c->head->status, c->head->why);
    else
        xchg_open(c); /* calls the handler */
    return true;
}

static bool step_idle(struct conn *c) {
    if (c->window.n == 0)
        return false;
    struct http_server *s = c->server;
    c->arena = arena_new(0);
    c->head = arena_alloc(c->arena, sizeof *c->head);
    head_init(c->head, c->arena, s->lim.max_head, s->lim.max_headers);
    c->started_ns = clock_ns();
    c->deadline_ms = now_ms(c) + s->lim.header_timeout_ms;
    c->state = CONN_HEAD;
    return true;
}

static void discard(struct conn *c, size_t n) {
    c->discarded += n;
    c->window = str_skip(c->window, n);
}

static bool step_busy(struct conn *c) {
    if (c->x->body_state == BODY_READING)
        return xchg_body_step(c->x); /* may call the owner */
    if (c->x->body_state == BODY_FAILED)
        discard(c, c->window.n);
    return false;
}

static bool step_drain(struct conn *c) {
    size_t n = c->rest < c->window.n ? (size_t)c->rest : c->window.n;
    discard(c, n);
    c->rest -= n;
    if (c->rest)
        return false;
    enter_idle(c, c->server->lim.idle_timeout_ms);
    return true;
}

static bool step_linger(struct conn *c) {
    discard(c, c->window.n);
    if (c->discarded > LINGER_MAX)
        conn_close(c);
    return false;
}

/* One step of the machine; false when it waits for bytes, for the owner or for the socket. */
static bool step(struct conn *c) {
    switch (c->state) {
    case CONN_IDLE:
        return step_idle(c);
    case CONN_HEAD:
        return step_head(c);
    case CONN_BUSY:
        return step_busy(c);
    case CONN_DRAIN:
        return step_drain(c);
    case CONN_LINGER:
        return step_linger(c);
    case CONN_TLS:
    case CONN_FLUSH:
    case CONN_DEAD:
        break;
    }
    return false;
}

/* `fresh` was just read and lies in the server's scratch, or is empty. What is not used is kept in c->in. */
void conn_pump(struct conn *c, struct str fresh) {
    MUST(!c->pumping);
    if (c->state == CONN_DEAD)
        return;
    bool from_in = buf_len(&c->in) > 0;
    if (from_in)
        buf_adds(&c->in, fresh);
    c->window = from_in ? buf_str(&c->in) : fresh;
    c->pumping = true;
    while (step(c))
        ;
    c->pumping = false;
    if (c->state == CONN_DEAD) {
        buf_free(&c->in);
        return;
    }
    if (from_in)
        buf_consume(&c->in, buf_len(&c->in) - c->window.n);
    else
        buf_adds(&c->in, c->window);
    c->window = STR_NONE;
    release_if_empty(&c->in, 0);
    conn_settle(c);
}

/* The client has sent its last byte. While an exchange is open this is taken as "gone", as nginx does: a
 * client that half-closes and waits cannot be told from one that left, and what it left behind costs money.
 */
static void client_ended(struct conn *c) {
    if (c->state == CONN_FLUSH) {
        c->eof = true;
        c->keep = false;
        conn_settle(c);
    } else {
        conn_close(c);
    }
}

static size_t held_max(const struct conn *c) {
    size_t head = c->server->lim.max_head + 1; /* a line that is not complete */
    return head > HELD_MAX ? head : HELD_MAX;
}

static bool paused(const struct conn *c) {
    bool failed = c->state == CONN_BUSY && c->x->body_state == BODY_FAILED && c->discarded > LINGER_MAX;
    return failed || buf_len(&c->in) >= held_max(c);
}

static void read_some(struct conn *c) {
    size_t n = held_max(c) - buf_len(&c->in);
    if (n > SCRATCH_SIZE)
        n = SCRATCH_SIZE;
    ssize_t r = io_read(&c->io, c->server->scratch, n);
    if (r > 0) {
        conn_pump(c, str_make(c->server->scratch, (size_t)r));
    } else if (r == IO_EOF) {
        client_ended(c);
    } else if (r == IO_ERROR) {
        conn_close(c);
    } else if (r == IO_WANT_WRITE) {
        c->read_waits = true;
        block(c);
        conn_settle(c);
    }
    if (c->state != CONN_DEAD && c->reading && io_pending(&c->io))
        task_defer(c->server->loop, &c->task);
}

static void handshake(struct conn *c) {
    int r = io_handshake(&c->io);
    if (r == IO_ERROR) {
        log_event(LVL_DEBUG, "http", "TLS handshake failed");
        conn_close(c);
    } else if (r == IO_WANT_WRITE) {
        block(c);
    } else if (r == 0) {
        uint64_t deadline = c->deadline_ms; /* of the accept: the handshake buys no time */
        enter_idle(c, deadline > now_ms(c) ? deadline - now_ms(c) : 0);
        read_some(c);
    }
    conn_settle(c);
}

/* --- what wakes it --- */

static void on_read(evutil_socket_t fd, short what, void *arg) {
    struct conn *c = arg;
    (void)fd;
    (void)what;
    MAGIC_CHECK(c, CONN_MAGIC);
    if (c->state == CONN_TLS)
        handshake(c);
    else
        read_some(c);
}

static void give_room(struct conn *c) {
    struct xchg *x = c->x;
    if (!x->full || buf_len(&c->out) >= EXCHANGE_LOW)
        return;
    x->full = false;
    if (x->x.on_drain)
        x->x.on_drain(&x->x);
}

static void on_write(evutil_socket_t fd, short what, void *arg) {
    struct conn *c = arg;
    (void)fd;
    (void)what;
    MAGIC_CHECK(c, CONN_MAGIC);
    if (c->state == CONN_TLS) {
        unblock(c);
        handshake(c);
        return;
    }
    bool read_too = c->read_waits;
    c->read_waits = false;
    flush(c);
    if (c->state == CONN_BUSY) {
        give_room(c);
    } else if (c->state == CONN_FLUSH && buf_len(&c->out) == 0) {
        after_flush(c);
        conn_pump(c, STR_NONE);
    }
    conn_settle(c);
    if (read_too && c->state != CONN_DEAD && c->reading)
        read_some(c);
}

/* Reading is paused: look whether the client left without reading what it sent. */
static void probe(struct conn *c) {
    struct pollfd p = {.fd = c->io.fd, .events = POLLRDHUP};
    c->probe_ms = now_ms(c) + PROBE_MS;
    if (poll(&p, 1, 0) <= 0)
        return;
    if (p.revents & (POLLERR | POLLHUP | POLLNVAL))
        conn_close(c);
    else if (p.revents & POLLRDHUP)
        client_ended(c);
}

static void on_time_of_exchange(struct conn *c, uint64_t now) {
    if (c->blocked && now >= c->blocked_ms + c->server->lim.write_timeout_ms) {
        conn_close(c);
        return;
    }
    if (!c->reading && !c->eof && now >= c->probe_ms)
        probe(c);
    if (c->state == CONN_BUSY && c->x->body_state == BODY_READING)
        xchg_body_tick(c->x, now);
}

static void on_timer(void *arg) {
    struct conn *c = arg;
    MAGIC_CHECK(c, CONN_MAGIC);
    uint64_t now = clock_ms();
    if (c->state == CONN_BUSY || c->state == CONN_FLUSH)
        on_time_of_exchange(c, now);
    else if (now < c->deadline_ms)
        ; /* set for a state that has passed */
    else if (c->state == CONN_HEAD)
        conn_error(c, 408, "request header timeout");
    else
        conn_close(c);
    conn_settle(c);
}

static void on_task(void *arg) {
    struct conn *c = arg;
    MAGIC_CHECK(c, CONN_MAGIC);
    if (c->state == CONN_DEAD) {
        if (say_gone(c, true))
            conn_free(c);
        return;
    }
    if (!c->blocked)
        send_at_once(c, NULL, 0); /* a head held back */
    if (c->state == CONN_TLS || c->state == CONN_DEAD)
        return;
    if (c->reading && io_pending(&c->io))
        read_some(c);
    else
        conn_pump(c, STR_NONE);
}

/* When the timer must look next; 0: nothing waits. */
static uint64_t next_due(const struct conn *c) {
    if (c->state != CONN_BUSY && c->state != CONN_FLUSH)
        return c->deadline_ms;
    uint64_t due = UINT64_MAX;
    if (c->blocked)
        due = c->blocked_ms + c->server->lim.write_timeout_ms;
    if (!c->reading && !c->eof && c->probe_ms < due)
        due = c->probe_ms;
    if (c->state == CONN_BUSY && c->x->body_state == BODY_READING && c->x->body_tick_ms < due)
        due = c->x->body_tick_ms;
    return due == UINT64_MAX ? 0 : due;
}

static void set_reading(struct conn *c, bool on) {
    c->reading = on;
    if (!on) {
        event_del(&c->ev_read);
        c->probe_ms = now_ms(c) + PROBE_MS;
        return;
    }
    if (event_add(&c->ev_read, NULL) != 0)
        conn_close(c);
    else if (io_pending(&c->io))
        task_defer(c->server->loop, &c->task);
}

void conn_settle(struct conn *c) {
    if (c->state == CONN_DEAD || c->pumping)
        return;
    bool want = !c->eof && !c->read_waits && !paused(c);
    if (want != c->reading)
        set_reading(c, want);
    if (c->state == CONN_DEAD)
        return;
    uint64_t due = next_due(c), now = now_ms(c);
    if (due && due != c->timer.due_ms)
        timer_set(&c->timer, due > now ? due - now : 0);
}

void conn_quiet(struct conn *c) {
    if (c->state != CONN_IDLE)
        return;
    uint64_t end = now_ms(c) + QUIET_MS;
    if (c->deadline_ms > end)
        c->deadline_ms = end;
    conn_settle(c);
}

struct conn *conn_new(struct http_server *s, int fd, const struct listener *l, bool rejected) {
    struct conn *c = mem_alloc(sizeof *c);
    struct event_base *base = loop_base(s->loop);
    c->magic = CONN_MAGIC;
    c->server = s;
    c->io.fd = fd;
    c->surfaces = l->surfaces;
    c->rejected = rejected;
    buf_init(&c->in, held_max(c) + SCRATCH_SIZE);
    buf_init(&c->out, 0);
    timer_init(&c->timer, s->loop, on_timer, c);
    task_init(&c->task, on_task, c);
    MUST(event_assign(&c->ev_read, base, fd, EV_READ | EV_PERSIST, on_read, c) == 0);
    MUST(event_assign(&c->ev_write, base, fd, EV_WRITE | EV_PERSIST, on_write, c) == 0);
    c->next = &s->conns;
    c->prev = s->conns.prev;
    c->prev->next = c;
    s->conns.prev = c;
    s->nconns++;
    if (rejected)
        s->nrejected++;
    enter_idle(c, s->lim.header_timeout_ms);
    if (l->tls && !rejected) {
        c->state = CONN_TLS;
        if (!io_start_tls(&c->io, l->tls))
            conn_close(c);
    }
    return c;
}
