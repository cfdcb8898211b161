/* The client of the benchmark's streams: opens many, and counts the events of upstream.c and how late they
 * come.
 *
 * usage: streams PORT PATH KEY BODY-FILE COUNT
 *
 * Posts the body COUNT times, each over a connection of its own; prints "ready" when every stream has had its
 * first event. Then each line on stdin asks for a line of JSON about the time since the one before; end of
 * file ends the program. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, OPENING_MAX = 64, STAMP = 16, BUCKETS = 64 * 16 };

enum state { CONNECTING, WAITING /* for the first event */, RUNNING };
struct stream {
    int fd;
    enum state state;
    unsigned digits; /* of a stamp that have been read; STAMP: none is being read */
    uint64_t stamp;
    bool answered;
};

static int epoll_fd;
static uint16_t port;
static char *request;
static size_t request_len;
static unsigned wanted, opened, opening, running;
static uint64_t events, failed, since;
static uint64_t latency[BUCKETS]; /* by microseconds: 16 buckets for each power of two */

static void fail(const char *what) {
    fprintf(stderr, "streams: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- the histogram --- */

static unsigned bucket_of(uint64_t us) {
    if (us < 16)
        return (unsigned)us;
    unsigned log = 63 - (unsigned)__builtin_clzll(us);
    return (log - 3) * 16 + (unsigned)(us >> (log - 4) & 15);
}

static uint64_t bucket_us(unsigned i) {
    return i < 16 ? i : (uint64_t)(16 + i % 16) << (i / 16 - 1);
}

static uint64_t percentile(double part) {
    uint64_t all = 0, seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        all += latency[i];
    for (unsigned i = 0; i < BUCKETS; i++)
        if ((seen += latency[i]) > 0 && (double)seen >= part * (double)all)
            return bucket_us(i);
    return 0;
}

static void report(void) {
    uint64_t now = now_ns();
    printf("{\"streams\": %u, \"failed\": %" PRIu64 ", \"events\": %" PRIu64 ", \"seconds\": %.6f, "
           "\"p50\": %" PRIu64 ", \"p99\": %" PRIu64 "}\n",
           running, failed, events, (double)(now - since) / 1e9, percentile(0.5), percentile(0.99));
    fflush(stdout);
    events = 0;
    since = now;
    memset(latency, 0, sizeof latency);
}

/* --- streams --- */

static void open_more(void) {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (; opened < wanted && opening < OPENING_MAX; opened++, opening++) {
        struct stream *s = malloc(sizeof *s);
        if (!s)
            fail("memory");
        *s = (struct stream){.digits = STAMP, .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
        if (s->fd < 0 || (connect(s->fd, (struct sockaddr *)&a, sizeof a) != 0 && errno != EINPROGRESS))
            fail("connect");
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct epoll_event e = {.events = EPOLLOUT, .data.ptr = s};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &e) != 0)
            fail("epoll_ctl");
    }
}

static void stream_lost(struct stream *s) {
    failed++;
    if (s->state == RUNNING)
        running--;
    else
        opening--;
    close(s->fd);
    free(s);
}

static bool stream_ask(struct stream *s) {
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    if (send(s->fd, request, request_len, MSG_NOSIGNAL) != (ssize_t)request_len)
        return false;
    s->state = WAITING;
    return epoll_ctl(epoll_fd, EPOLL_CTL_MOD, s->fd, &e) == 0;
}

static void count_event(struct stream *s, uint64_t now) {
    events++;
    latency[bucket_of(now > s->stamp ? (now - s->stamp) / 1000 : 0)]++;
    if (s->state == RUNNING)
        return;
    s->state = RUNNING;
    opening--;
    if (++running == wanted) {
        puts("ready");
        fflush(stdout);
    }
}

static unsigned hex(char c) {
    return c >= 'a' ? (unsigned)(c - 'a') + 10 : (unsigned)(c - '0');
}

static void scan(struct stream *s, const char *p, size_t n, uint64_t now) {
    for (const char *end = p + n; p < end;) {
        if (s->digits == STAMP) {
            if (!(p = memchr(p, '@', (size_t)(end - p))))
                return;
            p++;
            s->digits = 0;
            s->stamp = 0;
            continue;
        }
        s->stamp = s->stamp << 4 | hex(*p++);
        if (++s->digits == STAMP)
            count_event(s, now);
    }
}

static bool stream_read(struct stream *s) {
    static const char good[] = "HTTP/1.1 200";
    static char buf[64 * 1024];
    ssize_t n = read(s->fd, buf, sizeof buf);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (!s->answered && ((size_t)n < sizeof good || memcmp(buf, good, sizeof good - 1) != 0)) {
        if (failed == 0)
            fprintf(stderr, "streams: got %.*s\n", (int)(n < 600 ? n : 600), buf);
        return false;
    }
    s->answered = true;
    scan(s, buf, (size_t)n, now_ns());
    return n > 0;
}

/* --- the program --- */

static void load_request(const char *path, const char *key, const char *file) {
    static char body[1 << 20];
    FILE *f = fopen(file, "re");
    if (!f)
        fail(file);
    size_t n = fread(body, 1, sizeof body, f), room = n + 1024;
    fclose(f);
    if (!(request = malloc(room)))
        fail("memory");
    int head = snprintf(request, room,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Type: application/json\r\n"
                        "Authorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n",
                        path, port, key, n);
    if (head < 0 || (size_t)head + n > room)
        fail("arguments");
    memcpy(request + head, body, n);
    request_len = (size_t)head + n;
}

static void serve(struct epoll_event e) {
    struct stream *s = e.data.ptr;
    if (!s) {
        char buf[256];
        ssize_t n = read(STDIN_FILENO, buf, sizeof buf);
        if (n <= 0)
            exit(0);
        for (ssize_t i = 0; i < n; i++)
            if (buf[i] == '\n')
                report();
    } else if (!(s->state == CONNECTING ? stream_ask(s) : stream_read(s))) {
        stream_lost(s);
    }
}

int main(int argc, char **argv) {
    struct rlimit files;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc != 6) {
        fputs("usage: streams PORT PATH KEY BODY-FILE COUNT\n", stderr);
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    port = (uint16_t)strtoul(argv[1], NULL, 10);
    wanted = (unsigned)strtoul(argv[5], NULL, 10);
    load_request(argv[2], argv[3], argv[4]);
    struct epoll_event e = {.events = EPOLLIN};
    if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &e) != 0)
        fail("epoll");
    since = now_ns();
    for (;;) {
        struct epoll_event ready[BATCH];
        open_more();
        int n = epoll_wait(epoll_fd, ready, BATCH, -1);
        if (n < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < n; i++)
            serve(ready[i]);
    }
}
