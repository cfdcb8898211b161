/* The process log. A line is built on the stack and written in one call or dropped: neither a full pipe nor a
 * full disk may hold up a worker, and a line about missing memory needs none. */
#include "base/log.h"
#include "base/clock.h"
#include "base/die.h"
#include "utf8.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

/* What the descriptor is decides how a write is kept from blocking. */
enum sink { SINK_UNKNOWN, SINK_FILE, SINK_STREAM, SINK_SOCKET, SINK_SYSLOG };

static struct {
    enum sink sink;
    int fd;     /* -1 for syslog */
    char *path; /* of a file; owned */
    enum log_level level;
    enum log_format format;
    char process[32];
    uint64_t dropped, told; /* lines lost, and how many of them the log has told of */
    bool torn;              /* the last line stopped in its middle */
    log_tap_fn *tap;
    void *tap_arg;
} lg = {.fd = STDERR_FILENO, .level = LVL_INFO, .format = LOGFMT_TEXT, .process = "penstock"};

static const char *level_name(enum log_level level) {
    static const char *const names[] = {"error", "warn", "info", "debug"};
    return (unsigned)level < 4 ? names[level] : "debug";
}

/* --- opening --- */

static enum sink sink_of(int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return SINK_STREAM;
    if (S_ISREG(st.st_mode))
        return SINK_FILE;
    return S_ISSOCK(st.st_mode) ? SINK_SOCKET : SINK_STREAM;
}

/* The description is ours alone, so O_NONBLOCK is allowed here (for a FIFO; a regular file ignores it). */
static int open_file(const char *path) {
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
}

static void use_fd(int fd, enum sink sink) {
    if (lg.path && lg.fd >= 0)
        close(lg.fd);
    lg.fd = fd;
    lg.sink = sink;
    lg.torn = false;
}

static void set_path(char *path) {
    mem_free(lg.path);
    lg.path = path;
}

static void open_target(const char *target) {
    if (strcmp(target, "stderr") == 0) {
        use_fd(STDERR_FILENO, sink_of(STDERR_FILENO));
        set_path(NULL);
    } else if (strcmp(target, "syslog") == 0) {
        openlog("penstock", LOG_PID | LOG_NDELAY, LOG_DAEMON);
        use_fd(-1, SINK_SYSLOG);
        set_path(NULL);
    } else {
        int fd = open_file(target);
        if (fd < 0) {
            log_event(LVL_ERROR, "log", "cannot open %s: %s", target, strerror(errno));
            return;
        }
        use_fd(fd, sink_of(fd));
        set_path(mem_dupz(target));
    }
}

void log_open(const struct log_target *t) {
    lg.level = t->level;
    lg.format = t->format;
    open_target(t->target);
}

int log_reopen(void) {
    if (!lg.path)
        return 0;
    int fd = open_file(lg.path);
    if (fd < 0) {
        int why = errno;
        log_event(LVL_ERROR, "log", "cannot open %s again: %s", lg.path, strerror(why));
        errno = why;
        return -1;
    }
    use_fd(fd, sink_of(fd));
    return 0;
}

void log_process(const char *name) {
    str_copy(lg.process, sizeof lg.process, str_of(name));
}

bool log_wants(enum log_level level) {
    return level <= lg.level;
}

uint64_t log_dropped(void) {
    return lg.dropped;
}

int log_fd(void) {
    return lg.fd;
}

/* --- writing --- */

static bool writable_now(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) && !(p.revents & (POLLERR | POLLNVAL));
}

/* One attempt to write at most PIPE_BUF bytes to something that might block: with room for them poll says so,
 * and RWF_NOWAIT (where the kernel has it for pipes) closes the gap in which another process takes the room.
 */
static ssize_t write_stream(const struct iovec *v, int count) {
    if (!writable_now(lg.fd)) {
        errno = EAGAIN;
        return -1;
    }
    ssize_t n = pwritev2(lg.fd, v, count, -1, RWF_NOWAIT);
    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL || errno == ESPIPE))
        n = writev(lg.fd, v, count);
    return n;
}

static ssize_t write_once(const struct iovec *v, int count) {
    if (lg.sink == SINK_FILE)
        return writev(lg.fd, v, count);
    if (lg.sink == SINK_SOCKET) {
        struct msghdr m = {.msg_iov = (struct iovec *)v, .msg_iovlen = (size_t)count};
        return sendmsg(lg.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return write_stream(v, count);
}

/* The parts [from, from + most) of `in`, as parts of their own. */
static int window(const struct iovec *in, int count, size_t from, size_t most, struct iovec *out) {
    int n = 0;
    for (int i = 0; i < count && most > 0; i++) {
        if (from >= in[i].iov_len) {
            from -= in[i].iov_len;
            continue;
        }
        size_t len = in[i].iov_len - from;
        if (len > most)
            len = most;
        out[n++] = (struct iovec){(char *)in[i].iov_base + from, len};
        most -= len;
        from = 0;
    }
    return n;
}

static bool write_line(struct str line) {
    struct iovec all[3] = {{"\n", lg.torn ? 1 : 0}, {(char *)line.p, line.n}, {"\n", 1}}, now[3];
    size_t total = all[0].iov_len + line.n + 1, done = 0;
    size_t most = lg.sink == SINK_STREAM ? PIPE_BUF : SIZE_MAX;
    while (done < total) {
        ssize_t n = write_once(now, window(all, 3, done, most, now));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (done > 0)
        lg.torn = done < total && done > all[0].iov_len;
    return done == total;
}

static void tell_dropped(void) {
    uint64_t n = lg.dropped - lg.told;
    lg.told = lg.dropped; /* first: this line may be lost as well, and must not come back here */
    uint64_t before = lg.dropped;
    log_event(LVL_WARN, "log", "%llu lines could not be written and were dropped", (unsigned long long)n);
    if (lg.dropped != before)
        lg.told -= n; /* to be told next time */
}

static bool emit(struct str line) {
    if (lg.sink == SINK_UNKNOWN)
        lg.sink = sink_of(lg.fd);
    if (!write_line(line)) {
        lg.dropped++;
        return false;
    }
    if (lg.dropped != lg.told)
        tell_dropped();
    return true;
}

bool log_line(struct str line) {
    int keep = errno;
    bool ok = true;
    if (lg.sink == SINK_SYSLOG)
        syslog(LOG_INFO, "%.*s", (int)(line.n < INT_MAX ? line.n : INT_MAX), line.p ? line.p : "");
    else
        ok = emit(line);
    errno = keep;
    return ok;
}

size_t log_line_most(void) {
    if (lg.sink == SINK_UNKNOWN)
        lg.sink = sink_of(lg.fd);
    return lg.sink == SINK_FILE ? SIZE_MAX : PIPE_BUF - 2;
}

bool log_lines(struct str lines, unsigned count) {
    if (lg.sink == SINK_UNKNOWN)
        lg.sink = sink_of(lg.fd);
    if (lg.sink == SINK_FILE && lines.n > 0) {
        bool ok = log_line(str_make(lines.p, lines.n - 1)); /* the last newline is put there */
        lg.dropped += ok ? 0 : count - 1;
        return ok;
    }
    bool ok = true;
    struct str one;
    while (str_next(&lines, '\n', &one)) /* what is no file takes a line at a time, whole or not at all */
        ok = log_line(one) && ok;
    return ok;
}

/* --- building --- */

/* A line fits a pipe's atomic write; a message that would not is cut, the line stays whole. */
struct line {
    size_t n;
    bool full;
    char p[PIPE_BUF - 2]; /* less a newline before (after a torn line) and one behind */
};
struct event {
    enum log_level level;
    const char *name;
    const struct log_fields *fields;
    const char *text;
};
enum { TAIL = 4 }; /* kept free for the closing "} */

static void put(struct line *l, const char *p, size_t n) {
    if (l->full || n > sizeof l->p - TAIL - l->n) {
        l->full = true;
        return;
    }
    memcpy(l->p + l->n, p, n);
    l->n += n;
}

static void putz(struct line *l, const char *z) {
    put(l, z, strlen(z));
}

/* Control characters must not reach a terminal or begin a line of their own. In JSON the escapes are JSON's.
 */
static void put_escaped(struct line *l, const char *z, bool json) {
    const unsigned char *p = (const unsigned char *)z;
    size_t left = strlen(z);
    while (left > 0 && !l->full) {
        size_t n = utf8_length(p, left);
        char esc[8];
        if (n == 0) {
            putz(l, UTF8_REPLACEMENT);
            n = 1;
        } else if (*p < 0x20 || *p == 0x7F || (n == 2 && *p == 0xC2 && p[1] < 0xA0)) {
            snprintf(esc, sizeof esc, json ? "\\u%04x" : "\\x%02x", n == 2 ? p[1] : p[0]);
            putz(l, esc);
        } else if (json && (*p == '"' || *p == '\\')) {
            esc[0] = '\\';
            esc[1] = (char)*p;
            put(l, esc, 2);
        } else {
            put(l, (const char *)p, n);
        }
        p += n;
        left -= n;
    }
}

static void put_fields(struct line *l, const struct log_fields *f, bool json) {
    const struct {
        const char *name;
        struct str value;
    } fields[] = {{"request_id", f->request_id}, {"key", f->key},     {"tenant", f->tenant},
                  {"provider", f->provider},     {"model", f->model}, {"peer", f->peer}};
    char text[272];
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (fields[i].value.n == 0)
            continue;
        str_copy(text, sizeof text, fields[i].value);
        putz(l, json ? ",\"" : " ");
        putz(l, fields[i].name);
        putz(l, json ? "\":\"" : "=");
        put_escaped(l, text, json);
        if (json)
            put(l, "\"", 1);
    }
    if (f->status == 0)
        return;
    snprintf(text, sizeof text, json ? ",\"status\":%d" : " status=%d", f->status);
    putz(l, text);
}

/* The fields before the message: of a line that is too long they are the part that is wanted whole. */
static void build_json(struct line *l, const struct event *e) {
    char when[CLOCK_RFC3339_SIZE], pid[24];
    clock_rfc3339(when, clock_wall_ms());
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    putz(l, "{\"time\":\"");
    putz(l, when);
    putz(l, "\",\"level\":\"");
    putz(l, level_name(e->level));
    putz(l, "\",\"event\":\"");
    put_escaped(l, e->name, true);
    putz(l, "\",\"process\":\"");
    put_escaped(l, lg.process, true);
    putz(l, "\",\"pid\":");
    putz(l, pid);
    put_fields(l, e->fields, true);
    putz(l, ",\"message\":\"");
    put_escaped(l, e->text, true);
    l->p[l->n++] = '"'; /* TAIL keeps their place */
    l->p[l->n++] = '}';
}

static void build_text(struct line *l, const struct event *e) {
    char when[CLOCK_RFC3339_SIZE], head[96];
    clock_rfc3339(when, clock_wall_ms());
    snprintf(head, sizeof head, "%s %-5s %s[%ld] ", when, level_name(e->level), lg.process, (long)getpid());
    putz(l, head);
    put_escaped(l, e->name, false);
    putz(l, ": ");
    put_escaped(l, e->text, false);
    put_fields(l, e->fields, false);
}

static void to_syslog(const struct event *e) {
    static const int priority[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    struct line l = {.n = 0};
    put_escaped(&l, e->name, false);
    putz(&l, ": ");
    put_escaped(&l, e->text, false);
    put_fields(&l, e->fields, false);
    syslog(priority[e->level <= LVL_DEBUG ? e->level : LVL_DEBUG], "%s: %.*s", lg.process, (int)l.n, l.p);
}

void log_tap(log_tap_fn *fn, void *arg) {
    lg.tap = fn;
    lg.tap_arg = arg;
}

void log_tapped(enum log_level level, const char *event, struct str message) {
    static const struct log_fields none;
    if (lg.tap)
        lg.tap(lg.tap_arg, level, event, &none, message);
}

static void write_event(const struct event *e) {
    if (lg.sink == SINK_SYSLOG) {
        to_syslog(e);
        return;
    }
    struct line l;
    l.n = 0;
    l.full = false;
    (lg.format == LOGFMT_JSON ? build_json : build_text)(&l, e);
    emit(str_make(l.p, l.n));
}

static void event(enum log_level level, const char *name, const struct log_fields *fields, const char *fmt,
                  va_list ap) {
    bool tapped = lg.tap && level <= LVL_INFO;
    if (!log_wants(level) && !tapped)
        return;
    int keep = errno;
    char text[3072];
    if (vsnprintf(text, sizeof text, fmt, ap) < 0)
        text[0] = '\0';
    if (log_wants(level))
        write_event(&(struct event){level, name, fields, text});
    if (tapped)
        lg.tap(lg.tap_arg, level, name, fields, str_of(text));
    errno = keep;
}

void log_event(enum log_level level, const char *name, const char *fmt, ...) {
    static const struct log_fields none;
    va_list ap;
    va_start(ap, fmt);
    event(level, name, &none, fmt, ap);
    va_end(ap);
}

void log_about(enum log_level level, const char *name, const struct log_fields *fields, const char *fmt,
               ...) {
    va_list ap;
    va_start(ap, fmt);
    event(level, name, fields, fmt, ap);
    va_end(ap);
}
