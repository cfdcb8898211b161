/* The master's machine. It waits for signals, words of children and deadlines, and then looks at its phase:
 * what can be done next is decided in one place, advance(), from the state alone. It knows neither HTTP nor
 * any library that starts threads: whatever happens to a worker, this process is there to replace it. */
#include "proc/master.h"
#include "base/clock.h"
#include "base/die.h"
#include "machine.h"
#include "notify.h"
#include "proc/pidfile.h"
#include "proc/title.h"
#include "signal.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { RING_BYTES = 8 << 20 };

uint64_t earlier(uint64_t a, uint64_t b) {
    return a == 0 ? b : b == 0 || a < b ? a : b;
}

/* --- the start --- */

static void stop_workers(struct master *m, uint64_t within_ms);

/* In the log, and where somebody waits for it at the terminal. */
static void start_error(const struct master *m, const char *text) {
    log_event(LVL_ERROR, "start", "%s", text);
    if (log_fd() != STDERR_FILENO && m->phase <= PHASE_START_WORKERS)
        dprintf(STDERR_FILENO, "penstock: %s\n", text);
}

void master_start_failed(struct master *m, const char *fmt, ...) {
    char text[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    start_error(m, text);
    m->exit_status = 1;
    stop_workers(m, CUT_MS);
}

/* Where /run or /var is not ours and nobody said otherwise, a gateway tried out in the foreground does
 * without. */
static bool take_pid_file(struct master *m) {
    char err[256], dir[512];
    const char *path = m->conf->pid_file;
    m->pid_fd = -1;
    if (!*path)
        return true;
    str_copy(dir, sizeof dir, str_of(path));
    char *slash = strrchr(dir, '/');
    if (slash && slash != dir) {
        *slash = '\0';
        identity_mkdir(&(struct identity){.change = false}, dir, 0755);
    }
    m->pid_fd = pidfile_take(path, err);
    if (m->pid_fd >= 0)
        return true;
    bool may_lack =
        m->source.foreground && strcmp(path, PENSTOCK_RUNDIR "/penstock.pid") == 0 && access(path, F_OK) != 0;
    if (may_lack)
        log_event(LVL_WARN, "start", "%s; going on without", err);
    else
        start_error(m, err);
    return may_lack;
}

static void make_socket_dirs(struct master *m) {
    for (size_t i = 0; i < m->conf->nlisten; i++) {
        char dir[512];
        if (!m->conf->listen[i].is_unix)
            continue;
        str_copy(dir, sizeof dir, str_of(m->conf->listen[i].path));
        char *slash = strrchr(dir, '/');
        if (!slash || slash == dir)
            continue;
        *slash = '\0';
        identity_mkdir(&(struct identity){.change = false}, dir, 0755); /* a failure shows when binding */
    }
}

static bool open_listeners(struct master *m) {
    struct buf why;
    buf_init(&why, 0);
    make_socket_dirs(m);
    bool ok = listen_prepare(&m->listeners, m->conf, m->workers, 0, &why);
    struct str rest = buf_str(&why), line;
    while (str_next(&rest, '\n', &line)) {
        char text[512];
        str_copy(text, sizeof text, line);
        start_error(m, text);
    }
    buf_free(&why);
    return ok;
}

static bool set_up(struct master *m) {
    char err[256];
    if (!identity_find(m->conf, &m->id, err)) {
        start_error(m, err);
        return false;
    }
    if (geteuid() == 0 && !m->id.change)
        log_event(LVL_WARN, "start", "user is not set: workers run as root");
    if (!take_pid_file(m))
        return false;
    logs_open(m, m->conf);
    if (!identity_mkdir(&m->id, m->conf->state_dir, 0700))
        log_event(LVL_WARN, "start", "state_dir %s cannot be made: %s", m->conf->state_dir, strerror(errno));
    if (!open_listeners(m))
        return false;
    m->shm = shm_create(RING_BYTES, err);
    if (!m->shm) {
        start_error(m, err);
        return false;
    }
    log_tap(master_note, m);
    m->signal_fd = signals_open();
    if (m->signal_fd < 0) {
        snprintf(err, sizeof err, "signalfd: %s", strerror(errno));
        start_error(m, err);
        return false;
    }
    return true;
}

static void started(struct master *m) {
    char text[128];
    m->phase = PHASE_RUN;
    m->phase_deadline_ms = 0;
    log_event(LVL_INFO, "start", "%u workers serve", m->workers);
    snprintf(text, sizeof text, "generation %u, %u workers", m->conf->generation, m->workers);
    notify_ready(text);
    if (m->ready_fd >= 0) {
        if (write(m->ready_fd, "R", 1) != 1)
            log_event(LVL_WARN, "start", "nobody waits for the start any more");
        close(m->ready_fd);
        m->ready_fd = -1;
    }
    if (m->daemon)
        leave_terminal();
}

/* --- the end --- */

static void stop_workers(struct master *m, uint64_t within_ms) {
    if (m->phase >= PHASE_STOP_SCRIBE)
        return;
    uint64_t deadline = clock_ms() + within_ms;
    notify_stopping("finishing");
    m->phase = PHASE_STOP_WORKERS;
    m->phase_deadline_ms = 0;
    listen_free(&m->listeners); /* who comes now is refused, and does not wait in vain */
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++) {
        struct child *c = &m->child[i];
        if (!c->pid || c->role != SLOT_WORKER)
            continue;
        if (c->state == CHILD_STARTING)
            child_kill(c, SIGKILL);
        child_leave(c, within_ms);
        if (c->state == CHILD_LEAVING && c->deadline_ms > deadline)
            c->deadline_ms = deadline;
    }
}

static void stop_at_once(struct master *m) {
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++) {
        struct child *c = &m->child[i];
        if (c->pid && c->role == SLOT_WORKER && c->state < CHILD_KILLED)
            child_kill(c, SIGKILL);
        else if (c->pid && c->role == SLOT_SCRIBE)
            c->deadline_ms = earlier(c->deadline_ms, clock_ms() + CUT_MS);
    }
}

static void on_stop_signal(struct master *m, bool graceful) {
    if (m->phase >= PHASE_STOP_WORKERS && !graceful && m->stop_now) {
        log_event(LVL_WARN, "stop", "at once");
        stop_at_once(m);
        return;
    }
    if (m->phase >= PHASE_STOP_WORKERS && graceful)
        return;
    uint64_t within = graceful ? m->conf->drain_timeout : m->conf->stop_timeout;
    log_event(LVL_INFO, "stop", "workers have %llu s to finish", (unsigned long long)(within / 1000));
    m->stop_now = !graceful;
    stop_workers(m, within);
}

/* --- signals --- */

_Static_assert(2 * CONF_MAX_WORKERS <= SHM_MAX_SLOTS, "an old generation and a new one");

static void more_workers(struct master *m) {
    struct buf why;
    if (m->phase != PHASE_RUN || m->workers >= CONF_MAX_WORKERS)
        return;
    buf_init(&why, 0);
    if (listen_prepare(&m->listeners, m->conf, m->workers + 1, m->workers, &why)) {
        m->seat[m->workers] = (struct seat){0, 0};
        m->workers++;
        listen_spread(&m->listeners, m->workers);
        log_event(LVL_INFO, "workers", "one more: %u", m->workers);
    } else {
        log_event(LVL_ERROR, "workers", "no further worker: " STR_FMT, STR_ARG(buf_str(&why)));
    }
    buf_free(&why);
}

static void fewer_workers(struct master *m) {
    if (m->phase != PHASE_RUN)
        return;
    if (m->workers <= 1) {
        log_event(LVL_INFO, "workers", "the last one stays");
        return;
    }
    m->workers--;
    listen_spread(&m->listeners, m->workers);
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++) {
        struct child *c = &m->child[i];
        if (child_serves(c) && c->role == SLOT_WORKER && c->number == m->workers)
            child_retire(c);
    }
    log_event(LVL_INFO, "workers", "one fewer: %u", m->workers);
}

static void reopen_logs(struct master *m) {
    log_reopen();
    if (log_fd() > STDERR_FILENO)
        identity_own_fd(&m->id, log_fd()); /* first: children open what the master has made */
    children_tell(m, 'L');
    log_event(LVL_INFO, "log", "reopened");
}

static void on_signal(struct master *m, int sig) {
    switch (sig) {
    case SIGHUP:
        reload_ask(m, NULL);
        break;
    case SIGUSR1:
        reopen_logs(m);
        break;
    case SIGUSR2:
        log_event(LVL_WARN, "signal", "USR2: replacing the binary in place is not supported");
        break;
    case SIGQUIT:
        on_stop_signal(m, true);
        break;
    case SIGTERM:
    case SIGINT:
        on_stop_signal(m, false);
        break;
    case SIGTTIN:
        more_workers(m);
        break;
    case SIGTTOU:
        fewer_workers(m);
        break;
    default: /* CHLD: children are reaped in every turn */
        break;
    }
}

/* --- the machine --- */

static void start_workers(struct master *m) {
    m->phase = PHASE_START_WORKERS;
    m->phase_deadline_ms = clock_ms() + READY_MS;
    for (unsigned n = 0; n < m->workers; n++)
        if (!child_spawn(m, SLOT_WORKER, n, m->conf)) {
            master_start_failed(m, "worker %u cannot be started", n);
            return;
        }
}

static void phase_late(struct master *m) {
    m->phase_deadline_ms = 0;
    if (m->phase == PHASE_START_SCRIBE) {
        /* It waits for the scribe of a master that was killed, whose workers still finish; the rings can
         * wait. */
        log_event(LVL_WARN, "start", "the scribe is not ready after %d s; workers start",
                  SCRIBE_READY_MS / 1000);
        start_workers(m);
    } else if (m->phase == PHASE_START_WORKERS)
        master_start_failed(m, "%u of %u workers are not ready after %d s",
                            m->workers - workers_ready(m, m->conf->generation), m->workers, READY_MS / 1000);
    else if (m->phase == PHASE_RELOAD) {
        buf_printf(&m->reload_text, "%u of %u new workers are not ready after %d s\n",
                   m->next->workers - workers_ready(m, m->next->generation), m->next->workers,
                   READY_MS / 1000);
        reload_fail(m);
    }
}

/* One step, if the phase allows one. True: look again. */
static bool advance(struct master *m) {
    struct child *scribe = master_scribe(m);
    switch (m->phase) {
    case PHASE_START_SCRIBE:
        if (!scribe || scribe->state != CHILD_READY)
            return false;
        start_workers(m);
        return true;
    case PHASE_START_WORKERS:
        if (workers_ready(m, m->conf->generation) < m->workers)
            return false;
        started(m);
        return true;
    case PHASE_RUN:
        if (!m->reload_wanted)
            return false;
        reload_begin(m);
        return true;
    case PHASE_RELOAD:
        if (workers_ready(m, m->next->generation) < m->next->workers)
            return false;
        reload_commit(m);
        return true;
    case PHASE_STOP_WORKERS:
        if (children_of(m, SLOT_WORKER) > 0)
            return false;
        m->phase = PHASE_STOP_SCRIBE;
        if (scribe)
            child_leave(scribe, SCRIBE_MS);
        return true;
    case PHASE_STOP_SCRIBE:
        if (scribe)
            return false;
        m->phase = PHASE_END;
        return false;
    case PHASE_END:
        break;
    }
    return false;
}

static uint64_t next_deadline(const struct master *m) {
    uint64_t t = earlier(m->phase_deadline_ms, earlier(m->watch_at_ms, m->alive_at_ms));
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++)
        if (m->child[i].pid)
            t = earlier(t, m->child[i].deadline_ms);
    for (unsigned n = 0; n < m->workers; n++)
        if (m->seat[n].delay_ms)
            t = earlier(t, m->seat[n].not_before_ms);
    if (m->scribe_seat.delay_ms)
        t = earlier(t, m->scribe_seat.not_before_ms);
    return t;
}

static void tick(struct master *m, uint64_t now) {
    if (m->phase_deadline_ms && m->phase_deadline_ms <= now)
        phase_late(m);
    children_timeouts(m, now);
    if (m->watch_at_ms <= now) {
        /* When the master itself slept too long (a stopped machine), so did the workers. */
        if (now < m->watch_at_ms + WATCH_MS)
            children_watch(m, now);
        m->watch_at_ms = now + WATCH_MS;
    }
    if (m->alive_at_ms && m->alive_at_ms <= now) {
        notify_alive();
        m->alive_at_ms = now + notify_watchdog_ms();
    }
}

static void forget_backoffs(struct master *m, uint64_t now) {
    for (unsigned n = 0; n < SHM_MAX_SLOTS; n++)
        if (m->seat[n].not_before_ms <= now)
            m->seat[n].not_before_ms = 0; /* the delay itself is kept for the next quick death */
    if (m->scribe_seat.not_before_ms <= now)
        m->scribe_seat.not_before_ms = 0;
}

static void turn(struct master *m) {
    static struct pollfd fds[SHM_MAX_SLOTS + 1];
    static struct child *who[SHM_MAX_SLOTS + 1];
    nfds_t n = 1;
    fds[0] = (struct pollfd){.fd = m->signal_fd, .events = POLLIN};
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++)
        if (m->child[i].pid && m->child[i].fd >= 0) {
            who[n] = &m->child[i];
            fds[n++] = (struct pollfd){.fd = m->child[i].fd, .events = POLLIN};
        }
    uint64_t now = clock_ms(), at = next_deadline(m);
    int wait = at == 0 ? -1 : at <= now ? 0 : at - now > 60000 ? 60000 : (int)(at - now);
    if (poll(fds, n, wait) < 0 && errno != EINTR)
        die("poll: %s", strerror(errno));
    for (nfds_t i = 1; i < n; i++)
        if (fds[i].revents && who[i]->fd == fds[i].fd)
            child_read(m, who[i]);
    for (int sig; (sig = signals_next(m->signal_fd)) != 0;)
        on_signal(m, sig);
    children_reap(m);
    now = clock_ms();
    tick(m, now);
    forget_backoffs(m, now);
    children_fill(m, now);
    while (advance(m))
        ;
}

static uint64_t hang_ms(void) {
    const char *z = getenv("PENSTOCK_WORKER_HANG_MS"); /* for tests: a minute is long */
    uint64_t ms;
    return z && str_u64(str_of(z), &ms) && ms >= 2000 ? ms : HANG_MS;
}

static void leave(struct master *m) {
    listen_free(&m->listeners);
    if (m->shm)
        shm_free(m->shm);
    log_event(LVL_INFO, "stop", "stopped");
    pidfile_drop(m->pid_fd, m->conf->pid_file);
    conf_free(m->conf);
    buf_free(&m->reload_text);
}

int master_run(const struct master_args *args) {
    static struct master m; /* large, and found by the leak checker in children */
    m.source = args->source;
    m.conf = args->conf;
    m.conf->generation = 1;
    m.workers = m.conf->workers;
    m.daemon = !args->source.foreground;
    m.ready_fd = args->ready_fd;
    m.signal_fd = m.pid_fd = -1;
    m.hang_ms = hang_ms();
    buf_init(&m.reload_text, 128 * 1024);
    process_limits();
    notify_init();
    log_process("master");
    title_set("master %s", *m.conf->file ? m.conf->file : "without a file");
    if (!set_up(&m)) {
        m.exit_status = 1;
        leave(&m);
        return 1;
    }
    m.watch_at_ms = clock_ms() + WATCH_MS;
    m.alive_at_ms = notify_watchdog_ms() ? clock_ms() : 0;
    m.phase_deadline_ms = clock_ms() + SCRIBE_READY_MS;
    if (!child_spawn(&m, SLOT_SCRIBE, 0, m.conf))
        master_start_failed(&m, "the scribe cannot be started");
    while (m.phase != PHASE_END)
        turn(&m);
    leave(&m);
    return m.exit_status;
}
