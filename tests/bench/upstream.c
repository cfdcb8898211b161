/* The provider of the benchmark: an HTTP/1.1 server that costs little. One thread, epoll; it reads a request
 * with its body and then answers by the path alone:
 *
 *   /answer/BYTES/...              a plain answer whose body has so many bytes (any other path: 520)
 *   /stream/EVENTS/BYTES/PACE/...  server-sent events of so many bytes, one each PACE ms; EVENTS 0: without
 * end; PACE 0: all at once
 *
 * A path that ends in /messages speaks as Anthropic does, one with a method of Gemini as Gemini does, every
 * other as OpenAI does. The text of each event
 * carries '@' and 16 hex digits, the time of sending (CLOCK_MONOTONIC, ns): streams.c reads it.
 *
 * usage: upstream [PORT]   listens at 127.0.0.1 and prints the port */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD_MAX = 4096,
    ANSWER_MAX = 1 << 20,
    SHAPES_MAX = 32,
    BATCH = 256,
    WHEEL = 1024 /* ms */,
    STAMP = 16
};

enum dialect { OPENAI, ANTHROPIC, GEMINI };
struct plan {
    enum dialect dialect;
    bool stream;
    unsigned events, bytes, pace;
};
struct text {
    char *p;
    size_t n;
};
/* What a plan sends, made once. */
struct shape {
    struct plan plan;
    struct text first; /* all of a plain answer; or the head of a stream and what comes before its events */
    struct text event; /* one event as a chunk */
    size_t stamp;      /* where its time is written */
    struct text last;  /* what ends a stream */
};
struct conn {
    int fd;
    char head[HEAD_MAX];
    size_t nhead;
    uint64_t body_left;
    bool in_body;
    const struct shape *shape; /* of the stream that is being sent, or NULL */
    uint64_t sent;             /* its events */
    uint64_t due;              /* ms */
    struct conn *next, **link; /* in the wheel; link NULL: not there */
    struct text rest;          /* what the socket did not take */
};

static int epoll_fd;
static struct shape shapes[SHAPES_MAX];
static size_t nshapes;
static struct conn *wheel[WHEEL];
static uint64_t wheel_ms; /* slots up to here are done */
static size_t in_wheel;

static void fail(const char *what) {
    fprintf(stderr, "upstream: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- texts --- */

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...) {
    char buf[2048];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof buf || !(t->p = realloc(t->p, t->n + (size_t)n)))
        fail("text");
    memcpy(t->p + t->n, buf, (size_t)n);
    t->n += (size_t)n;
}

/* Words of prose. */
static void add_words(struct text *t, size_t n) {
    static const char words[] =
        "all of the water that comes down from the lake goes through this one pipe, and ";
    for (; n > sizeof words - 1; n -= sizeof words - 1)
        add(t, "%s", words);
    add(t, "%.*s", (int)n, words);
}

static void add_all(struct text *t, struct text more) {
    for (size_t i = 0; i < more.n; i += 1024)
        add(t, "%.*s", (int)(more.n - i < 1024 ? more.n - i : 1024), more.p + i);
}

static const char *const before_words[] = {
    [OPENAI] = "{\"id\":\"chatcmpl-b3nch\",\"object\":\"chat.completion\",\"created\":1700000000,"
               "\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
               "\"content\":\"",
    [ANTHROPIC] =
        "{\"id\":\"msg_b3nch\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-3-5-haiku\","
        "\"content\":[{\"type\":\"text\",\"text\":\"",
    [GEMINI] = "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"",
};
static const char *const after_words[] = {
    [OPENAI] = "\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":200,"
               "\"completion_tokens\":50,\"total_tokens\":250},\"system_fingerprint\":\"fp_b3nch\"}",
    [ANTHROPIC] = "\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,"
                  "\"usage\":{\"input_tokens\":200,\"output_tokens\":50}}",
    [GEMINI] = "\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{"
               "\"promptTokenCount\":200,\"candidatesTokenCount\":50,\"totalTokenCount\":250},"
               "\"modelVersion\":\"gemini-2.5-flash\",\"responseId\":\"b3nch\"}",
};

static void make_answer(struct shape *s) {
    const char *before = before_words[s->plan.dialect], *after = after_words[s->plan.dialect];
    size_t fixed = strlen(before) + strlen(after), words = s->plan.bytes > fixed ? s->plan.bytes - fixed : 0;
    add(&s->first,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_b3nch\r\nContent-Length: "
        "%zu\r\n\r\n",
        fixed + words);
    add(&s->first, "%s", before);
    add_words(&s->first, words);
    add(&s->first, "%s", after);
}

static const char openai_delta[] =
    "data: {\"id\":\"chatcmpl-b3nch\",\"object\":\"chat.completion.chunk\","
    "\"created\":1700000000,\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,"
    "\"delta\":{\"content\":\"";
static const char openai_delta_end[] = "\"},\"finish_reason\":null}]}\n\n";
static const char openai_end[] =
    "data: {\"id\":\"chatcmpl-b3nch\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
    "\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
    "data: {\"id\":\"chatcmpl-b3nch\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
    "\"model\":\"gpt-4o-mini\",\"choices\":[],\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":50,"
    "\"total_tokens\":250}}\n\n"
    "data: [DONE]\n\n";
static const char anthropic_start[] =
    "event: message_start\ndata: "
    "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_b3nch\",\"type\":\"message\","
    "\"role\":\"assistant\",\"model\":\"claude-3-5-haiku\",\"content\":[],\"stop_reason\":null,"
    "\"stop_sequence\":null,\"usage\":{\"input_tokens\":200,\"output_tokens\":1}}}\n\n"
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
static const char anthropic_delta[] =
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
    "\"delta\":{\"type\":\"text_delta\",\"text\":\"";
static const char anthropic_delta_end[] = "\"}}\n\n";
static const char anthropic_end[] =
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
    "\"stop_sequence\":null},\"usage\":{\"output_tokens\":50}}\n\n"
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

static const char gemini_delta[] = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"";
static const char gemini_delta_end[] =
    "\"}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":200,"
    "\"candidatesTokenCount\":5,\"totalTokenCount\":205},\"modelVersion\":\"gemini-2.5-flash\","
    "\"responseId\":\"b3nch\"}\r\n\r\n";
static const char gemini_end[] =
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\".\"}],\"role\":\"model\"},"
    "\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":200,"
    "\"candidatesTokenCount\":50,\"totalTokenCount\":250},\"modelVersion\":\"gemini-2.5-flash\","
    "\"responseId\":\"b3nch\"}\r\n\r\n";
static const struct {
    const char *start, *delta, *delta_end, *end;
} words_of[] = {
    [OPENAI] = {"", openai_delta, openai_delta_end, openai_end},
    [ANTHROPIC] = {anthropic_start, anthropic_delta, anthropic_delta_end, anthropic_end},
    [GEMINI] = {"", gemini_delta, gemini_delta_end, gemini_end},
};

static void add_chunk(struct text *t, struct text body) {
    if (body.n == 0)
        return;
    add(t, "%zx\r\n", body.n);
    add_all(t, body);
    add(t, "\r\n");
}

static void make_stream(struct shape *s) {
    enum dialect d = s->plan.dialect;
    struct text event = {0}, start = {0}, end = {0};
    add(&event, "%s@", words_of[d].delta);
    size_t stamp = event.n, fixed = event.n + STAMP + 1 + strlen(words_of[d].delta_end);
    add(&event, "%0*d ", STAMP, 0);
    add_words(&event, s->plan.bytes > fixed ? s->plan.bytes - fixed : 0);
    add(&event, "%s", words_of[d].delta_end);
    add_chunk(&s->event, event);
    s->stamp = s->event.n - 2 - event.n + stamp;

    add(&s->first, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                   "x-request-id: req_b3nch\r\nTransfer-Encoding: chunked\r\n\r\n");
    add(&start, "%s", words_of[d].start);
    add_chunk(&s->first, start);
    add(&end, "%s", words_of[d].end);
    add_chunk(&s->last, end);
    add(&s->last, "0\r\n\r\n");
    free(event.p);
    free(start.p);
    free(end.p);
}

static const struct shape *shape_of(struct plan p) {
    struct shape *s = shapes;
    for (; s < shapes + nshapes; s++)
        if (s->plan.dialect == p.dialect && s->plan.stream == p.stream && s->plan.events == p.events &&
            s->plan.bytes == p.bytes && s->plan.pace == p.pace)
            return s;
    if (nshapes == SHAPES_MAX)
        fail("too many shapes of answers");
    nshapes++;
    s->plan = p;
    if (p.stream)
        make_stream(s);
    else
        make_answer(s);
    return s;
}

/* "/12/34" after a name; false: not a number at that place. */
static bool numbers(const char *p, unsigned *v, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char *end;
        unsigned long x;
        if (*p != '/' || (x = strtoul(p + 1, &end, 10)) > ANSWER_MAX || end == p + 1)
            return false;
        v[i] = (unsigned)x;
        p = end;
    }
    return true;
}

static struct plan plan_of(const char *path) {
    struct plan p = {.bytes = 520};
    size_t n = strcspn(path, " ?");
    unsigned v[3];
    if (n >= 9 && memcmp(path + n - 9, "/messages", 9) == 0)
        p.dialect = ANTHROPIC;
    else if (memmem(path, n, "enerateContent", 14))
        p.dialect = GEMINI;
    if (strncmp(path, "/answer", 7) == 0 && numbers(path + 7, v, 1)) {
        p.bytes = v[0];
    } else if (strncmp(path, "/stream", 7) == 0 && numbers(path + 7, v, 3)) {
        p = (struct plan){p.dialect, true, v[0], v[1], v[2]};
        if (p.pace >= WHEEL)
            p.pace = WHEEL - 1;
        if (p.pace == 0 && p.events == 0)
            p.events = 1;
    }
    return p;
}

/* --- the wheel --- */

static void wheel_leave(struct conn *c) {
    if (!c->link)
        return;
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    c->link = NULL;
    in_wheel--;
}

static void wheel_enter(struct conn *c, uint64_t due) {
    struct conn **slot = &wheel[due % WHEEL];
    c->due = due;
    c->next = *slot;
    c->link = slot;
    if (c->next)
        c->next->link = &c->next;
    *slot = c;
    in_wheel++;
}

/* --- connections --- */

static void conn_free(struct conn *c) {
    wheel_leave(c);
    close(c->fd);
    free(c->rest.p);
    free(c);
}

static void want(struct conn *c, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e) != 0)
        fail("epoll_ctl");
}

/* False: the connection is lost. */
static bool send_all(struct conn *c, const char *p, size_t n) {
    ssize_t k = 0;
    if (c->rest.n == 0) {
        k = send(c->fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        k = k < 0 ? 0 : k;
    }
    size_t left = n - (size_t)k;
    if (left == 0)
        return true;
    if (c->rest.n == 0)
        want(c, EPOLLIN | EPOLLOUT);
    char *more = realloc(c->rest.p, c->rest.n + left);
    if (!more)
        fail("memory");
    c->rest.p = more;
    memcpy(more + c->rest.n, p + k, left);
    c->rest.n += left;
    return true;
}

static bool send_event(struct conn *c) {
    static const char hex[] = "0123456789abcdef";
    const struct shape *s = c->shape;
    uint64_t t = now_ns();
    for (size_t i = STAMP; i-- > 0; t >>= 4)
        s->event.p[s->stamp + i] = hex[t & 15];
    c->sent++;
    return send_all(c, s->event.p, s->event.n);
}

static bool send_end(struct conn *c) {
    const struct shape *s = c->shape;
    c->shape = NULL;
    return send_all(c, s->last.p, s->last.n);
}

/* Of a stream without pace: as much as the socket takes. */
static bool send_unpaced(struct conn *c) {
    while (c->shape && c->rest.n == 0)
        if (!(c->sent < c->shape->plan.events ? send_event(c) : send_end(c)))
            return false;
    return true;
}

static bool answer(struct conn *c) {
    static uint64_t phase; /* streams that begin together are spread over their pace */
    const char *path = strchr(c->head, ' ');
    const struct shape *s = shape_of(plan_of(path ? path + 1 : ""));
    if (!send_all(c, s->first.p, s->first.n))
        return false;
    if (!s->plan.stream)
        return true;
    c->shape = s;
    c->sent = 0;
    if (s->plan.pace == 0)
        return send_unpaced(c);
    if (!send_event(c))
        return false;
    phase += 389;
    wheel_enter(c, now_ns() / 1000000 + 1 + phase % s->plan.pace);
    return true;
}

/* Time for the next event. While the socket takes nothing, events are left out: the client's count tells. */
static bool tick(struct conn *c) {
    const struct plan *p = &c->shape->plan;
    if (p->events && c->sent >= p->events)
        return send_end(c);
    if (c->rest.n == 0 && !send_event(c))
        return false;
    wheel_enter(c, c->due + p->pace > wheel_ms ? c->due + p->pace : wheel_ms + 1);
    return true;
}

static void wheel_turn(void) {
    uint64_t now = now_ns() / 1000000;
    if (in_wheel == 0)
        wheel_ms = now;
    while (wheel_ms < now) {
        struct conn *c = wheel[++wheel_ms % WHEEL], *next;
        for (; c; c = next) {
            next = c->next;
            if (c->due > wheel_ms)
                continue;
            wheel_leave(c);
            if (!tick(c))
                conn_free(c);
        }
    }
}

static uint64_t body_length(const char *head) {
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, "content-length:", 15) == 0)
            return strtoull(line + 17, NULL, 10);
    return 0;
}

/* Takes bytes of the header; how many, or 0 when it is too long. */
static size_t take_head(struct conn *c, const char *p, size_t n) {
    size_t room = HEAD_MAX - 1 - c->nhead, from = c->nhead, k = n < room ? n : room;
    memcpy(c->head + from, p, k);
    c->nhead += k;
    c->head[c->nhead] = '\0';
    const char *end = strstr(c->head + (from > 3 ? from - 3 : 0), "\r\n\r\n");
    if (!end)
        return k;
    size_t used = (size_t)(end + 4 - c->head) - from;
    c->head[from + used - 2] = '\0';
    c->body_left = body_length(c->head);
    c->in_body = true;
    return used;
}

static bool take(struct conn *c, const char *p, size_t n) {
    while (n > 0 || (c->in_body && c->body_left == 0)) {
        size_t k;
        if (!c->in_body) {
            if ((k = take_head(c, p, n)) == 0)
                return false;
        } else {
            k = n < c->body_left ? n : (size_t)c->body_left;
            c->body_left -= k;
        }
        p += k;
        n -= k;
        if (!c->in_body || c->body_left > 0)
            continue;
        if (c->shape || !answer(c)) /* a request within a stream: nobody does that */
            return false;
        c->in_body = false;
        c->nhead = 0;
    }
    return true;
}

static bool on_readable(struct conn *c) {
    static char buf[64 * 1024];
    ssize_t n = read(c->fd, buf, sizeof buf);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    return n > 0 && take(c, buf, (size_t)n);
}

static bool on_writable(struct conn *c) {
    ssize_t n = send(c->fd, c->rest.p, c->rest.n, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    c->rest.n -= (size_t)n;
    memmove(c->rest.p, c->rest.p + n, c->rest.n);
    if (c->rest.n > 0)
        return true;
    want(c, EPOLLIN);
    return !c->shape || c->shape->plan.pace > 0 || send_unpaced(c);
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct conn *c = malloc(sizeof *c);
        if (!c)
            fail("memory");
        memset(c, 0, sizeof *c);
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0)
            fail("epoll_ctl");
    }
}

static int listen_at(uint16_t port) {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) != 0 ||
        bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        fail("listen");
    printf("%u\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

static void serve(struct epoll_event e, int listener) {
    struct conn *c = e.data.ptr;
    if (!c)
        accept_all(listener);
    else if (((e.events & EPOLLOUT) && !on_writable(c)) ||
             ((e.events & ~(uint32_t)EPOLLOUT) && !on_readable(c)))
        conn_free(c);
}

int main(int argc, char **argv) {
    struct rlimit files;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    int listener = listen_at(argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 10) : 0);
    struct epoll_event e = {.events = EPOLLIN};
    if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e) != 0)
        fail("epoll");
    for (;;) {
        struct epoll_event ready[BATCH];
        int n = epoll_wait(epoll_fd, ready, BATCH, in_wheel ? 1 : -1);
        if (n < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < n; i++)
            serve(ready[i], listener);
        wheel_turn();
    }
}
