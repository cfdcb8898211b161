/* Opening and keeping sockets. A SO_REUSEPORT socket that is closed takes the connections waiting in it
 * along, so none is closed before a filter has turned new connections away from it and its worker has emptied
 * it. */
#include "listen.h"
#include "base/die.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 4096 }; /* the kernel cuts it to somaxconn */

struct listener {
    char key[320];
    bool is_unix, wanted, fresh;
    bool both;    /* every address, of IPv4 and of IPv6 */
    bool changed; /* filter or number of sockets differ from plain */
    unsigned had; /* sockets before the last prepare */
    unsigned n;
    int *fds; /* one per seat; unix: one */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } addr;
    socklen_t len;
    dev_t dev; /* of a unix socket's file, to remove only our own */
    ino_t ino;
};

static void make_key(const struct conf_listen *c, char *key, size_t size) {
    if (c->is_unix)
        snprintf(key, size, "unix:%s", c->path);
    else
        snprintf(key, size, "[%s]:%u", c->host, c->port);
}

static struct listener *find(struct listeners *l, const struct conf_listen *c) {
    char key[sizeof l->list->key];
    make_key(c, key, sizeof key);
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->list[i].key, key) == 0)
            return &l->list[i];
    return NULL;
}

static bool have_ipv6(void) {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool set_address(struct listener *x, const struct conf_listen *c) {
    x->is_unix = c->is_unix;
    if (c->is_unix) {
        size_t n = strlen(c->path);
        if (n >= sizeof x->addr.un.sun_path) {
            errno = ENAMETOOLONG;
            return false;
        }
        x->addr.un.sun_family = AF_UNIX;
        memcpy(x->addr.un.sun_path, c->path, n + 1);
        x->len = sizeof x->addr.un;
    } else if (strchr(c->host, ':') || (!*c->host && have_ipv6())) {
        x->both = !*c->host; /* the address itself stays zero: any */
        x->addr.in6.sin6_family = AF_INET6;
        x->addr.in6.sin6_port = htons(c->port);
        x->len = sizeof x->addr.in6;
        if (*c->host && inet_pton(AF_INET6, c->host, &x->addr.in6.sin6_addr) != 1)
            goto invalid;
    } else {
        x->addr.in.sin_family = AF_INET;
        x->addr.in.sin_port = htons(c->port);
        x->len = sizeof x->addr.in;
        if (*c->host && inet_pton(AF_INET, c->host, &x->addr.in.sin_addr) != 1)
            goto invalid;
    }
    return true;
invalid:
    errno = EINVAL;
    return false;
}

/* --- TCP --- */

static int tcp_socket(const struct listener *x, bool reuseport) {
    int one = 1, only6 = !x->both,
        fd = socket(x->addr.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        (reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0) ||
        (x->addr.any.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only6, sizeof only6) != 0) ||
        bind(fd, &x->addr.any, x->len) != 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

/* With SO_REUSEPORT a second gateway would silently get a share of the first one's connections. A bind
 * without it fails as it should. */
static bool tcp_is_free(const struct listener *x, bool patient) {
    for (int tries = patient ? 10 : 1;; tries--) {
        int fd = tcp_socket(x, false);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        if (errno != EADDRINUSE || tries <= 1)
            return false;
        nanosleep(&(struct timespec){0, 100 * 1000 * 1000}, NULL); /* a predecessor's workers are leaving */
    }
}

static bool tcp_open(struct listener *x, unsigned seats, bool patient) {
    if (x->n == 0 && !tcp_is_free(x, patient))
        return false;
    x->fds = mem_grow(x->fds, (seats > x->n ? seats : x->n) * sizeof *x->fds + 1);
    while (x->n < seats) {
        int fd = tcp_socket(x, true);
        if (fd < 0)
            return false;
        x->fds[x->n++] = fd;
        if (listen(fd, BACKLOG) != 0)
            return false;
    }
    return true;
}

/* --- unix --- */

/* A socket file that nobody answers on was left behind by a crash. */
static bool unix_stale(const struct listener *x) {
    struct stat st;
    if (lstat(x->addr.un.sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool refused = connect(fd, &x->addr.any, x->len) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static bool unix_permit(const struct listener *x, const struct conf_listen *c) {
    if (*c->group) {
        const struct group *gr = getgrnam(c->group);
        if (!gr) {
            errno = EINVAL;
            return false;
        }
        if (lchown(x->addr.un.sun_path, (uid_t)-1, gr->gr_gid) != 0)
            return false;
    }
    return chmod(x->addr.un.sun_path, c->mode & 0777) == 0;
}

static bool unix_open(struct listener *x, const struct conf_listen *c) {
    if (x->n > 0)
        return unix_permit(x, c); /* mode and group may have changed */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    x->fds = mem_grow(x->fds, sizeof *x->fds);
    x->fds[x->n++] = fd;
    bool bound = bind(fd, &x->addr.any, x->len) == 0;
    if (!bound && errno == EADDRINUSE && unix_stale(x)) {
        unlink(x->addr.un.sun_path);
        bound = bind(fd, &x->addr.any, x->len) == 0;
    }
    if (!bound)
        return false;
    struct stat st;
    if (lstat(x->addr.un.sun_path, &st) == 0) {
        x->dev = st.st_dev;
        x->ino = st.st_ino;
    }
    return unix_permit(x, c) && listen(fd, BACKLOG) == 0;
}

static void unix_remove(const struct listener *x) {
    struct stat st;
    if (x->is_unix && x->ino != 0 && lstat(x->addr.un.sun_path, &st) == 0 && st.st_dev == x->dev &&
        st.st_ino == x->ino)
        unlink(x->addr.un.sun_path);
}

/* --- the set --- */

static void close_from(struct listener *x, unsigned first) {
    while (x->n > first)
        close(x->fds[--x->n]);
}

static void forget(struct listeners *l, size_t i, bool remove) {
    struct listener *x = &l->list[i];
    if (remove)
        unix_remove(x);
    close_from(x, 0);
    mem_free(x->fds);
    *x = l->list[--l->n];
}

static struct listener *add(struct listeners *l, const struct conf_listen *c) {
    l->list = mem_grow(l->list, (l->n + 1) * sizeof *l->list);
    struct listener *x = &l->list[l->n++];
    memset(x, 0, sizeof *x);
    make_key(c, x->key, sizeof x->key);
    x->fresh = true;
    return x;
}

/* Sends every new connection to one of the first `seats` sockets of the group. The kernel's order in a group
 * is the order of listen(), which here is that of the seats. */
static void steer(struct listener *x, unsigned seats) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, seats),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog prog = {sizeof code / sizeof *code, code};
    if (x->is_unix || x->n == 0 || seats == 0)
        return;
    if (setsockopt(x->fds[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog, sizeof prog) != 0)
        log_event(LVL_WARN, "listen", "%s: connections cannot be steered: %s", x->key, strerror(errno));
    x->changed = true;
}

static bool open_one(struct listeners *l, const struct conf_listen *c, unsigned seats, unsigned serving) {
    struct listener *x = find(l, c);
    if (!x) {
        x = add(l, c);
        if (!set_address(x, c))
            return false;
    }
    x->wanted = true;
    if (x->is_unix)
        return unix_open(x, c);
    if (x->n > 0 && x->n < seats)
        steer(x, serving < x->n ? serving : x->n);
    return tcp_open(x, seats, serving == 0);
}

bool listen_prepare(struct listeners *l, const struct conf *c, unsigned seats, unsigned serving,
                    struct buf *why) {
    bool ok = true;
    for (size_t i = 0; i < l->n; i++) {
        l->list[i].wanted = l->list[i].fresh = false;
        l->list[i].had = l->list[i].n;
    }
    for (size_t i = 0; i < c->nlisten; i++) {
        if (open_one(l, &c->listen[i], seats, serving))
            continue;
        buf_printf(why, "listen: %s: %s\n", c->listen[i].address, strerror(errno));
        ok = false;
    }
    if (!ok)
        listen_abort(l);
    return ok;
}

void listen_abort(struct listeners *l) {
    for (size_t i = l->n; i-- > 0;) {
        if (l->list[i].fresh)
            forget(l, i, true);
        else
            close_from(&l->list[i], l->list[i].had);
    }
}

void listen_commit(struct listeners *l) {
    for (size_t i = l->n; i-- > 0;)
        if (!l->list[i].wanted)
            forget(l, i, true);
}

void listen_spread(struct listeners *l, unsigned seats) {
    for (size_t i = 0; i < l->n; i++) {
        struct listener *x = &l->list[i];
        if (x->changed || x->n > seats)
            steer(x, seats < x->n ? seats : x->n);
    }
}

/* From the last one down, so that the kernel's order stays that of the seats. */
void listen_close_seat(struct listeners *l, unsigned seat) {
    for (size_t i = 0; i < l->n; i++)
        if (!l->list[i].is_unix)
            close_from(&l->list[i], seat);
}

unsigned listen_seats(const struct listeners *l) {
    unsigned most = 0;
    for (size_t i = 0; i < l->n; i++)
        if (!l->list[i].is_unix && l->list[i].n > most)
            most = l->list[i].n;
    return most;
}

void listen_hand_over(struct listeners *l, const struct conf *c, unsigned seat, int *fds) {
    for (size_t i = 0; c && i < c->nlisten; i++) {
        struct listener *x = find(l, &c->listen[i]);
        unsigned at = x && x->is_unix ? 0 : seat;
        fds[i] = -1;
        if (!x || at >= x->n)
            continue;
        fds[i] = x->fds[at];
        x->fds[at] = -1;
    }
    for (size_t i = l->n; i-- > 0;) {
        struct listener *x = &l->list[i];
        for (unsigned k = 0; k < x->n; k++)
            if (x->fds[k] >= 0)
                close(x->fds[k]);
        mem_free(x->fds);
    }
    mem_free(l->list);
    *l = (struct listeners){NULL, 0};
}

void listen_free(struct listeners *l) {
    while (l->n > 0)
        forget(l, l->n - 1, true);
    mem_free(l->list);
    *l = (struct listeners){NULL, 0};
}
