/* The exchange as its owner sees it: the request's body in, the answer out. The exchange lies in its own
 * arena, and is gone with it the moment the owner is done. */
#include "http/exchange.h"
#include "base/clock.h"
#include "base/die.h"
#include "conn.h"
#include <stdio.h>

static struct xchg *xchg_of(struct exchange *x) {
    struct xchg *p = (struct xchg *)(void *)x;
    MAGIC_CHECK(p, XCHG_MAGIC);
    return p;
}

static const struct xchg *xchg_of_const(const struct exchange *x) {
    const struct xchg *p = (const struct xchg *)(const void *)x;
    MAGIC_CHECK(p, XCHG_MAGIC);
    return p;
}

/* --- opening --- */

static void fill(struct exchange *x, const struct conn *c) {
    const struct head *h = c->head;
    x->arena = c->arena;
    x->method = h->method;
    x->method_name = h->method_name;
    x->target = h->target;
    x->path = h->path;
    x->query = h->query;
    x->headers = h->headers;
    x->nheaders = h->nheaders;
    x->content_length = h->chunked ? -1 : (int64_t)h->content_length;
    x->peer = str_of(c->peer);
    x->peer_loopback = c->loopback;
    x->surfaces = c->surfaces;
    x->started_ns = c->started_ns;
    x->bytes_in = h->bytes;
}

void xchg_open(struct conn *c) {
    struct http_server *s = c->server;
    const struct head *h = c->head;
    struct xchg *x = arena_alloc(c->arena, sizeof *x);
    x->magic = XCHG_MAGIC;
    x->conn = c;
    fill(&x->x, c);
    x->http10 = h->minor == 0;
    x->client_keeps = head_persistent(h);
    x->expects_continue = h->expects_continue;
    x->chunked_in = h->chunked;
    x->in_left = h->content_length;
    chunks_init(&x->chunks, s->lim.max_head);
    c->x = x;
    c->state = CONN_BUSY;
    c->discarded = 0;
    s->nexchanges++;
    s->handler.request(&x->x, s->handler.arg);
}

struct str exchange_header(const struct exchange *x, const char *name) {
    struct str want = str_of(name);
    for (size_t i = 0; i < x->nheaders; i++)
        if (x->headers[i].name.n == want.n && str_eqi(x->headers[i].name, want))
            return x->headers[i].value;
    return STR_NONE;
}

struct str exchange_header_list(const struct exchange *x, struct arena *a, const char *name) {
    struct str list = STR_NONE, want = str_of(name);
    for (size_t i = 0; i < x->nheaders; i++) {
        const struct http_header *h = &x->headers[i];
        if (h->name.n == want.n && str_eqi(h->name, want))
            list =
                list.p ? arena_printf(a, STR_FMT ", " STR_FMT, STR_ARG(list), STR_ARG(h->value)) : h->value;
    }
    return list;
}

/* --- the request's body --- */

uint64_t xchg_body_rest(const struct xchg *x) {
    if (x->body_state == BODY_DONE)
        return 0;
    return x->chunked_in || x->body_state == BODY_FAILED ? UINT64_MAX : x->in_left;
}

static void body_end(struct xchg *x, enum body_state state, int status) {
    void (*done)(struct exchange *, int) = x->body_done;
    x->body_state = state;
    x->body_done = NULL;
    if (status)
        buf_free(&x->body);
    else
        x->x.body = buf_len(&x->body) ? buf_str(&x->body) : STR("");
    done(&x->x, status); /* x may be gone after it */
}

void xchg_body_fail(struct xchg *x, int status) {
    x->client_keeps = false;
    body_end(x, BODY_FAILED, status);
}

static void took(struct xchg *x, size_t n) {
    x->in_bytes += n;
    x->x.bytes_in += n;
    x->conn->window = str_skip(x->conn->window, n);
}

/* 0, or the status that the body ends with. */
static int body_add(struct xchg *x, struct str bytes) {
    if (bytes.n > x->body_max - x->body_n)
        return 413;
    x->body_n += bytes.n;
    if (x->body_piece)
        return bytes.n ? x->body_piece(&x->x, bytes) : 0;
    buf_adds(&x->body, bytes);
    return 0;
}

static bool body_step_length(struct xchg *x) {
    struct str w = x->conn->window;
    w.n = x->in_left < w.n ? (size_t)x->in_left : w.n;
    if (w.n && !x->body.p && !x->body_piece) { /* what is declared is believed up to a point */
        size_t more = x->in_left < SCRATCH_SIZE ? (size_t)x->in_left : SCRATCH_SIZE;
        MUST(buf_room(&x->body, more > w.n ? more : w.n) != NULL); /* in_left <= its max, see start_body */
    }
    int status = body_add(x, w);
    took(x, w.n);
    x->in_left -= w.n;
    if (status)
        xchg_body_fail(x, status);
    else if (x->in_left)
        return false;
    else
        body_end(x, BODY_DONE, 0);
    return true;
}

static bool body_step_chunked(struct xchg *x) {
    for (;;) {
        struct str data;
        size_t used;
        enum parse r = chunks_feed(&x->chunks, x->conn->window.p, x->conn->window.n, &used, &data);
        int status = body_add(x, data); /* before took(): the window moves on */
        took(x, used);
        if (r == PARSE_BAD)
            xchg_body_fail(x, 400);
        else if (status)
            xchg_body_fail(x, status);
        else if (r == PARSE_DONE)
            body_end(x, BODY_DONE, 0);
        else if (data.n)
            continue;
        else
            return false;
        return true;
    }
}

bool xchg_body_step(struct xchg *x) {
    return x->chunked_in ? body_step_chunked(x) : body_step_length(x);
}

void xchg_body_tick(struct xchg *x, uint64_t now_ms) {
    const struct http_limits *lim = &x->conn->server->lim;
    if (now_ms < x->body_tick_ms)
        return;
    x->body_tick_ms = now_ms + BODY_TICK_MS;
    uint64_t elapsed = now_ms - x->body_from_ms;
    if (x->in_bytes >= elapsed * lim->body_rate / 1000) { /* in time; what came early buys no time to stall */
        x->body_from_ms = now_ms;
        x->in_bytes = 0;
        return;
    }
    uint64_t late = elapsed > lim->body_grace_ms ? elapsed - lim->body_grace_ms : 0;
    if (x->in_bytes < late * lim->body_rate / 1000)
        xchg_body_fail(x, 408);
}

static void send_continue(struct xchg *x) {
    static char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct conn *c = x->conn;
    bool coming = c->window.n || buf_len(&c->in); /* then the client did not wait */
    if (x->expects_continue && !coming && xchg_body_rest(x) && x->answer == ANSWER_NONE) {
        struct iovec iov = {text, sizeof text - 1};
        conn_send(c, &iov, 1);
    }
    x->expects_continue = false;
}

static void start_body(struct xchg *x, uint64_t max, void (*done)(struct exchange *x, int status)) {
    struct conn *c = x->conn;
    MUST(x->body_state == BODY_UNREAD && done);
    if (x->over)
        return;
    x->body_state = BODY_READING;
    x->body_done = done;
    x->body_from_ms = loop_ms(c->server->loop);
    x->body_tick_ms = x->body_from_ms + BODY_TICK_MS;
    x->body_max = max;
    buf_init(&x->body, 0);
    if (c->state == CONN_DEAD)
        return; /* on_gone is on its way */
    if (!x->chunked_in && x->in_left > max) {
        xchg_body_fail(x, 413);
        return;
    }
    send_continue(x);
    if (!c->pumping) /* else the pump goes on with it when its owner returns */
        conn_pump(c, STR_NONE);
}

void exchange_read_body(struct exchange *e, size_t max, void (*done)(struct exchange *x, int status)) {
    start_body(xchg_of(e), max < BUF_MAX_DEFAULT ? max : BUF_MAX_DEFAULT, done);
}

void exchange_take_body(struct exchange *e, uint64_t max, int (*piece)(struct exchange *x, struct str bytes),
                        void (*done)(struct exchange *x, int status)) {
    xchg_of(e)->body_piece = piece;
    start_body(xchg_of(e), max, done);
}

/* --- the answer's head --- */

/* These are the server's own to say. */
static bool reserved(struct str name) {
    switch (name.n) {
    case 4:
        return str_isi(name, "date");
    case 10:
        return str_isi(name, "connection");
    case 14:
        return str_isi(name, "content-length");
    case 17:
        return str_isi(name, "transfer-encoding");
    default:
        return false;
    }
}

static char *put(char *to, const char *p, size_t n) {
    memcpy(to, p, n);
    return to + n;
}

#define PUT(to, literal) put((to), (literal), sizeof(literal) - 1)

static const char *date_now(struct http_server *s) {
    int64_t now = clock_wall_ms() / 1000;
    if (now != s->date_s) {
        s->date_s = now;
        http_date(s->date, now);
    }
    return s->date;
}

static char *put_length(char *to, int64_t length) {
    char digits[STR_DIGITS];
    if (length == LENGTH_CHUNKED)
        return PUT(to, "Transfer-Encoding: chunked\r\n");
    if (length < 0)
        return to;
    struct str text = str_from_u64(digits, (uint64_t)length);
    to = PUT(to, "Content-Length: ");
    to = put(to, text.p, text.n);
    return PUT(to, "\r\n");
}

/* No byte below `least`, eight at a time: all that it takes for a field to stay within its line. */
static bool plain(struct str s, unsigned char least) {
    const uint64_t low = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t found = 0, eight;
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&eight, s.p + i, 8);
        found |= (eight - low * least) & ~eight; /* its high bits: bytes below (or behind one) */
    }
    for (; i < s.n; i++)
        found |= (unsigned char)s.p[i] < least ? high : 0;
    return (found & high) == 0;
}

/* A field that would break the framing is left out: what an upstream sends must not write our head. */
static bool sound(const struct http_header *h) {
    return h->name.n > 0 && plain(h->name, '!') && !memchr(h->name.p, ':', h->name.n) &&
           plain(h->value, ' ') && !reserved(h->name);
}

void answer_head(struct http_server *s, int status, const struct http_header *h, size_t n, int64_t length,
                 const char *connection) {
    size_t most = 256; /* status line, date, length, connection and the last line end */
    for (size_t i = 0; i < n; i++)
        most += h[i].name.n + h[i].value.n + 4;
    struct str reason = str_of(http_reason(status));
    buf_clear(&s->text);
    char *to = buf_room(&s->text, most);
    MUST(to != NULL);
    char *from = to;
    to = PUT(to, "HTTP/1.1 ");
    *to++ = (char)('0' + status / 100);
    *to++ = (char)('0' + status / 10 % 10);
    *to++ = (char)('0' + status % 10);
    *to++ = ' ';
    to = put(to, reason.p, reason.n);
    to = PUT(to, "\r\nDate: ");
    to = put(to, date_now(s), HTTP_DATE_BYTES - 1);
    to = PUT(to, "\r\n");
    for (size_t i = 0; i < n; i++) {
        if (!sound(&h[i]))
            continue;
        to = put(to, h[i].name.p, h[i].name.n);
        to = PUT(to, ": ");
        if (h[i].value.n)
            to = put(to, h[i].value.p, h[i].value.n);
        to = PUT(to, "\r\n");
    }
    to = put_length(to, length);
    if (connection) {
        to = PUT(to, "Connection: ");
        to = put(to, connection, strlen(connection));
        to = PUT(to, "\r\n");
    }
    to = PUT(to, "\r\n");
    MUST((size_t)(to - from) <= most);
    buf_commit(&s->text, (size_t)(to - from));
}

/* Whether the connection can go on after this answer. */
static bool may_keep(const struct xchg *x, int64_t length) {
    uint64_t rest = xchg_body_rest(x);
    if (!x->client_keeps || x->conn->server->draining || length == LENGTH_UNTIL_CLOSE)
        return false;
    /* A client that waits for 100 may send the body after another answer or may not: nobody could tell. */
    return rest == 0 || (rest <= DRAIN_MAX && !x->expects_continue);
}

static const struct http_header *with_more(struct exchange *e, const struct http_header *h, size_t *n) {
    struct http_header *all = arena_array(e->arena, *n + EXCHANGE_MORE, sizeof *all);
    if (*n)
        memcpy(all, h, *n * sizeof *all);
    size_t more = e->more(e, h, *n, all + *n);
    MUST(more <= EXCHANGE_MORE);
    *n += more;
    return all;
}

/* Builds the head in server->text, and decides on the connection. */
static void begin(struct xchg *x, int status, const struct http_header *h, size_t n, int64_t length) {
    struct conn *c = x->conn;
    MUST(x->answer == ANSWER_NONE);
    if (status < 200 || status > 999)
        status = 500;
    if (x->x.more)
        h = with_more(&x->x, h, &n);
    bool none = status == 204 || status == 304;
    if (none)
        length = LENGTH_NONE;
    else if (length < 0)
        length = x->http10 ? LENGTH_UNTIL_CLOSE : LENGTH_CHUNKED;
    x->answer = none || x->x.method == HTTP_HEAD ? ANSWER_NO_BODY : ANSWER_BEGUN;
    x->chunked_out = length == LENGTH_CHUNKED;
    x->until_close = length == LENGTH_UNTIL_CLOSE;
    x->out_left = length > 0 ? (uint64_t)length : 0;
    c->keep = may_keep(x, length);
    c->reset = x->until_close;
    answer_head(c->server, status, h, n, length, !c->keep ? "close" : x->http10 ? "keep-alive" : NULL);
    x->x.bytes_out += buf_len(&c->server->text);
}

/* --- the answer --- */

void exchange_keep(struct exchange *e) {
    struct xchg *x = xchg_of(e);
    MUST(x->over && !x->kept);
    x->kept = true;
}

/* Its owner has answered nobody to the end. */
static bool let_go(struct xchg *x) {
    if (!x->kept)
        return false;
    conn_let_go(x->conn);
    return true;
}

void exchange_reply(struct exchange *e, int status, const struct http_header *headers, size_t n,
                    struct str body) {
    struct xchg *x = xchg_of(e);
    struct conn *c = x->conn;
    if (x->over || let_go(x))
        return;
    if (c->state != CONN_DEAD) {
        begin(x, status, headers, n, (int64_t)body.n);
        size_t len = x->answer == ANSWER_BEGUN ? body.n : 0;
        x->x.bytes_out += len;
        struct buf *text = &c->server->text;
        struct iovec iov[2] = {{buf_at(text), buf_len(text)}, {(void *)(uintptr_t)body.p, len}};
        conn_send(c, iov, 2);
    }
    conn_answered(c);
}

void exchange_begin(struct exchange *e, int status, const struct http_header *headers, size_t n,
                    int64_t length) {
    struct xchg *x = xchg_of(e);
    if (x->over)
        return;
    if (x->kept) {
        x->answer = ANSWER_NO_BODY;
        return;
    }
    begin(x, status, headers, n, length);
    conn_hold(x->conn, buf_str(&x->conn->server->text));
}

enum flow exchange_write(struct exchange *e, const void *p, size_t n) {
    struct xchg *x = xchg_of(e);
    struct conn *c = x->conn;
    MUST(x->over || x->answer != ANSWER_NONE);
    if (x->kept || (x->answer == ANSWER_NO_BODY && !x->over && c->state != CONN_DEAD))
        return FLOW_OK;
    if (x->over || c->state == CONN_DEAD)
        return FLOW_STOP;
    struct iovec iov[3];
    char size[24];
    static char crlf[] = "\r\n";
    int k = 0;
    if (!x->chunked_out && !x->until_close) {
        if (n > x->out_left)
            n = (size_t)x->out_left; /* never more than was declared */
        x->out_left -= n;
    }
    if (n && x->chunked_out)
        iov[k++] = (struct iovec){size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n)};
    if (n)
        iov[k++] = (struct iovec){(void *)(uintptr_t)p, n};
    if (n && x->chunked_out)
        iov[k++] = (struct iovec){crlf, 2};
    for (int i = 0; i < k; i++)
        x->x.bytes_out += iov[i].iov_len;
    conn_send(c, iov, k);
    if (c->state == CONN_DEAD)
        return FLOW_STOP;
    bool was_blocked = buf_len(&c->out) > 0;
    if (was_blocked)
        conn_settle(c); /* the write timer */
    if (c->state == CONN_DEAD)
        return FLOW_STOP;
    x->full = x->full || buf_len(&c->out) > EXCHANGE_HIGH;
    return x->full ? FLOW_FULL : FLOW_OK;
}

void exchange_end(struct exchange *e) {
    struct xchg *x = xchg_of(e);
    struct conn *c = x->conn;
    static char last[] = "0\r\n\r\n";
    MUST(x->over || x->answer != ANSWER_NONE);
    if (x->over || let_go(x))
        return;
    bool body = x->answer == ANSWER_BEGUN;
    if (body && x->out_left) {
        exchange_abort(e); /* shorter than declared: the client must see that it is broken */
        return;
    }
    struct iovec iov = {last, body && x->chunked_out ? sizeof last - 1 : 0};
    x->x.bytes_out += iov.iov_len;
    conn_send(c, &iov, 1);
    conn_answered(c);
}

void exchange_abort(struct exchange *e) {
    struct xchg *x = xchg_of(e);
    struct conn *c = x->conn;
    if (x->over || let_go(x))
        return;
    if (x->answer == ANSWER_NONE)
        conn_close(c);
    else
        conn_send(c, NULL, 0); /* a head held back */
    c->keep = false;
    c->cut = true;
    conn_answered(c);
}

bool exchange_begun(const struct exchange *e) {
    return xchg_of_const(e)->answer != ANSWER_NONE;
}

size_t exchange_queued(const struct exchange *e) {
    return buf_len(&xchg_of_const(e)->conn->out);
}

void exchange_close_after(struct exchange *e) {
    xchg_of(e)->client_keeps = false;
}
