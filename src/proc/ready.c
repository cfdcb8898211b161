/* One question to a running gateway, from a process that has nothing else to do. */
#include "proc/ready.h"
#include "base/clock.h"
#include "conf/conf.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_MS = 5000 };

union address {
    struct sockaddr any;
    struct sockaddr_un un;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

/* All addresses: this machine's. */
static socklen_t fill(const struct conf_listen *l, union address *to) {
    memset(to, 0, sizeof *to);
    if (l->is_unix) {
        to->un.sun_family = AF_UNIX;
        str_copy(to->un.sun_path, sizeof to->un.sun_path, str_of(l->path));
        return sizeof to->un;
    }
    if (strchr(l->host, ':')) {
        to->in6.sin6_family = AF_INET6;
        to->in6.sin6_port = htons(l->port);
        inet_pton(AF_INET6, l->host, &to->in6.sin6_addr);
        return sizeof to->in6;
    }
    to->in.sin_family = AF_INET;
    to->in.sin_port = htons(l->port);
    inet_pton(AF_INET, *l->host ? l->host : "127.0.0.1", &to->in.sin_addr);
    return sizeof to->in;
}

/* Waits until the socket is ready for what is wanted; false: too late. */
static bool ready(int fd, short events, uint64_t until_ms) {
    for (;;) {
        uint64_t now = clock_ms();
        struct pollfd p = {.fd = fd, .events = events};
        int n = now < until_ms ? poll(&p, 1, (int)(until_ms - now)) : 0;
        if (n > 0 || (n < 0 && errno != EINTR))
            return n > 0;
        if (n == 0) {
            errno = ETIMEDOUT;
            return false;
        }
    }
}

static bool reach(int fd, const union address *a, socklen_t n, uint64_t until_ms) {
    int failed = 0;
    socklen_t size = sizeof failed;
    if (connect(fd, &a->any, n) == 0)
        return true;
    if (errno != EINPROGRESS || !ready(fd, POLLOUT, until_ms) ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0)
        return false;
    errno = failed;
    return failed == 0;
}

static bool ask(int fd, uint64_t until_ms, char *line, size_t size) {
    static const char request[] = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    size_t at = 0;
    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)sizeof request - 1)
        return false;
    while (at < size - 1 && !memchr(line, '\n', at)) {
        ssize_t n = ready(fd, POLLIN, until_ms) ? recv(fd, line + at, size - 1 - at, 0) : -1;
        if (n < 0)
            return false;
        if (n == 0)
            break;
        at += (size_t)n;
    }
    line[at] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    return true;
}

bool ready_ask(const char *address, char err[256]) {
    static const char good[] = "HTTP/1.1 200 ";
    struct arena *a = arena_new(0);
    struct conf_listen l = {.port = 0};
    union address to;
    const char *why = "";
    char line[128] = "";
    uint64_t until = clock_ms() + PATIENCE_MS;
    int fd = -1;
    bool ok = address_parse(a, str_of(address), &l, &why);
    if (!ok) {
        snprintf(err, 256, "%.100s: %.140s", address, why);
    } else {
        socklen_t n = fill(&l, &to);
        fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ok = fd >= 0 && reach(fd, &to, n, until) && ask(fd, until, line, sizeof line);
        snprintf(err, 256, "%.100s: %.140s", address, ok ? line : strerror(errno));
        ok = ok && strncmp(line, good, sizeof good - 1) == 0;
    }
    if (fd >= 0)
        close(fd);
    arena_free(a);
    return ok;
}
