/* Children: forked, spoken to, watched, reaped. What a child holds elsewhere (its slot in the shared memory)
 * is taken back here, after its end is certain. */
#include "base/clock.h"
#include "base/die.h"
#include "machine.h"
#include "notify.h"
#include "proc/scribe.h"
#include "proc/title.h"
#include "proc/worker.h"
#include "shm/stat.h"
#include "signal.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORD_TEXT_MAX = 64 * 1024 };

/* --- fork --- */

static bool is_file(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* A daemon leaves its terminal, and a pipe whose reader would wait for its end. */
void logs_open(const struct master *m, const struct conf *c) {
    struct log_target t = {c->log.target, c->log.level, c->log.format};
    if (m->daemon && strcmp(t.target, "stderr") == 0 && !is_file(STDERR_FILENO))
        t.target = "syslog";
    log_open(&t);
    if (log_fd() > STDERR_FILENO)
        identity_own_fd(&m->id, log_fd());
}

void leave_terminal(void) {
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (!is_file(fd))
            dup2(STDIN_FILENO, fd); /* which is /dev/null, open for both */
}

/* Of the master's descriptors a child keeps none: neither the lock of the pid file nor another one's sockets.
 */
static void close_masters(struct master *m) {
    close(m->signal_fd);
    if (m->pid_fd >= 0)
        close(m->pid_fd);
    if (m->ready_fd >= 0)
        close(m->ready_fd);
    notify_close();
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++)
        if (m->child[i].pid && m->child[i].fd >= 0)
            close(m->child[i].fd);
}

static _Noreturn void child_main(struct master *m, const struct child *c, struct conf *conf, int fd) {
    static int fds[1024];
    char name[64], err[256];
    bool scribe = c->role == SLOT_SCRIBE;
    log_tap(NULL, NULL);
    signals_child();
    close_masters(m);
    MUST(conf->nlisten <= sizeof fds / sizeof *fds);
    listen_hand_over(&m->listeners, scribe ? NULL : conf, c->number, fds);
    if (m->daemon)
        leave_terminal();
    logs_open(m, conf); /* still as root: a new generation may log to another file */
    if (scribe)
        snprintf(name, sizeof name, "scribe");
    else
        snprintf(name, sizeof name, "worker %u", c->number);
    log_process(name);
    if (scribe)
        title_set("%s", name);
    else
        title_set("%s gen %u", name, conf->generation);
    if (!identity_become(&m->id, err))
        die("%s", err);
    if (scribe)
        scribe_run(&(struct scribe_env){.shm = m->shm, .conf = conf, .master_fd = fd, .slot = c->slot});
    worker_run(&(struct worker_env){m->shm, conf, fd, c->slot, c->number, fds});
}

static struct child *free_entry(struct master *m) {
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++)
        if (m->child[i].pid == 0)
            return &m->child[i];
    return NULL;
}

static struct child *spawn_failed(struct master *m, struct child *c, int pair[2], const char *what) {
    log_event(LVL_ERROR, "worker", "cannot start a process: %s: %s", what, strerror(errno));
    if (pair[0] >= 0) {
        close(pair[0]);
        close(pair[1]);
    }
    if (c && c->slot != SHM_NONE)
        slot_release(m->shm, c->slot);
    return NULL;
}

struct child *child_spawn(struct master *m, enum slot_role role, unsigned number, struct conf *conf) {
    int pair[2] = {-1, -1};
    struct child *c = free_entry(m);
    errno = EAGAIN;
    if (!c)
        return spawn_failed(m, NULL, pair, "too many of them are leaving");
    memset(c, 0, sizeof *c);
    c->role = role;
    c->number = number;
    c->generation = conf->generation;
    c->started_ms = clock_ms();
    c->slot = slot_claim(m->shm, role, number, conf->generation);
    if (c->slot == SHM_NONE)
        return spawn_failed(m, c, pair, "no slot is free");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return spawn_failed(m, c, (int[2]){-1, -1}, "socketpair");
    pid_t pid = fork();
    if (pid < 0)
        return spawn_failed(m, c, pair, "fork");
    if (pid == 0) {
        close(pair[0]);
        child_main(m, c, conf, pair[1]);
    }
    close(pair[1]);
    c->pid = pid;
    c->fd = pair[0];
    buf_init(&c->in, WORD_TEXT_MAX);
    slot_started(m->shm, c->slot, pid);
    log_event(LVL_INFO, "worker", "started %s %u, generation %u, pid %ld",
              role == SLOT_SCRIBE ? "scribe" : "worker", number, conf->generation, (long)pid);
    return c;
}

/* --- words --- */

bool child_serves(const struct child *c) {
    return c->pid && c->state <= CHILD_READY;
}

bool child_tell(struct child *c, char word) {
    return c->pid && c->fd >= 0 && send(c->fd, &word, 1, MSG_NOSIGNAL) == 1;
}

/* The master knows no store: what is to be kept of its own events, the scribe keeps. What it has no room for
 * is counted as lost, as what finds no scribe. */
void master_note(void *master, enum log_level level, const char *event, const struct log_fields *fields,
                 struct str message) {
    struct master *m = master;
    struct child *scribe = master_scribe(m);
    (void)fields;
    if (strcmp(event, "reload") != 0 && strcmp(event, "alert") != 0)
        return;
    if (!scribe || scribe->fd < 0) {
        stat_add(m->shm, STAT_LOGS_DROPPED, 1);
        return;
    }
    size_t name = strlen(event) + 1;
    uint32_t n = (uint32_t)(1 + name + message.n);
    char head[1 + sizeof n + 1] = {'N'};
    memcpy(head + 1, &n, sizeof n);
    head[1 + sizeof n] = (char)level;
    struct iovec v[3] = {{head, sizeof head}, {(void *)event, name}, {(void *)message.p, message.n}};
    struct msghdr msg = {.msg_iov = v, .msg_iovlen = 3};
    ssize_t sent = sendmsg(scribe->fd, &msg, MSG_NOSIGNAL);
    if (sent != (ssize_t)(sizeof head + name + message.n))
        stat_add(m->shm, STAT_LOGS_DROPPED, 1);
    if (sent > 0 && (size_t)sent < sizeof head + name + message.n)
        child_kill(scribe, SIGKILL); /* half a word: nothing behind it could be read; the next one goes on */
}

void children_tell(struct master *m, char word) {
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++)
        if (m->child[i].pid)
            child_tell(&m->child[i], word);
}

void child_answer(struct child *c, struct str text) {
    char head[5] = {'A'};
    uint32_t n = (uint32_t)(text.n < WORD_TEXT_MAX / 2 ? text.n : WORD_TEXT_MAX / 2);
    memcpy(head + 1, &n, sizeof n);
    for (; c->asks_now > 0; c->asks_now--) {
        struct iovec v[2] = {{head, sizeof head}, {(void *)text.p, n}};
        struct msghdr msg = {.msg_iov = v, .msg_iovlen = 2};
        /* All or nothing is what a socketpair with room gives; one without room belongs to a worker that
         * hangs. */
        if (c->fd >= 0 && sendmsg(c->fd, &msg, MSG_NOSIGNAL) != (ssize_t)(sizeof head + n))
            child_kill(c, SIGKILL);
    }
}

void child_leave(struct child *c, uint64_t within_ms) {
    if (c->state >= CHILD_LEAVING)
        return;
    child_tell(c, 'Q');
    c->state = CHILD_LEAVING;
    c->deadline_ms = clock_ms() + within_ms;
}

void child_cut(struct child *c) {
    if (c->state >= CHILD_CUT)
        return;
    if (c->role == SLOT_WORKER)
        child_tell(c, 'X');
    c->state = CHILD_CUT;
    c->deadline_ms = clock_ms() + CUT_MS;
}

void child_kill(struct child *c, int sig) {
    kill(c->pid, sig);
    c->state = CHILD_KILLED;
    c->deadline_ms = clock_ms() + CUT_MS; /* a stopped process does not take SIGABRT */
}

void child_retire(struct child *c) {
    if (c->state >= CHILD_RETIRING)
        return;
    c->state = CHILD_RETIRING;
    c->deadline_ms = clock_ms() + RETIRE_MS;
}

static bool take_error(struct child *c) {
    uint32_t n;
    if (buf_len(&c->in) < 1 + sizeof n)
        return false;
    memcpy(&n, buf_at(&c->in) + 1, sizeof n);
    if (n > WORD_TEXT_MAX / 2) {
        child_kill(c, SIGKILL);
        return false;
    }
    if (buf_len(&c->in) < 1 + sizeof n + n)
        return false;
    str_copy(c->why, sizeof c->why, str_make(buf_at(&c->in) + 1 + sizeof n, n));
    buf_consume(&c->in, 1 + sizeof n + n);
    return true;
}

static bool take_word(struct master *m, struct child *c) {
    char word = *buf_at(&c->in);
    if (word == 'E')
        return take_error(c);
    buf_consume(&c->in, 1);
    if (word == 'R' && c->state == CHILD_STARTING)
        c->state = CHILD_READY;
    else if (word == 'H' && c->role == SLOT_WORKER)
        reload_ask(m, c);
    return true;
}

void child_read(struct master *m, struct child *c) {
    for (;;) {
        char *p = buf_room(&c->in, 1024);
        ssize_t n = p ? read(c->fd, p, 1024) : -1;
        if (n > 0) {
            buf_commit(&c->in, (size_t)n);
            while (buf_len(&c->in) > 0 && take_word(m, c))
                ;
            continue;
        }
        if (n < 0 && p && (errno == EAGAIN || errno == EINTR))
            return;
        /* It is leaving, or sends nonsense. SIGCHLD tells of its end; that must not take for ever. */
        close(c->fd);
        c->fd = -1;
        if (c->deadline_ms == 0)
            c->deadline_ms = clock_ms() + SCRIBE_MS;
        return;
    }
}

/* --- ends --- */

static void back_off(struct seat *s, const struct child *c, uint64_t now, bool wished) {
    if (wished || now - c->started_ms >= QUICK_DEATH_MS)
        s->delay_ms = 0;
    else
        s->delay_ms = s->delay_ms == 0                   ? BACKOFF_FIRST_MS
                      : s->delay_ms * 2 < BACKOFF_MAX_MS ? s->delay_ms * 2
                                                         : BACKOFF_MAX_MS;
    s->not_before_ms = now + s->delay_ms;
}

static void log_end(const struct child *c, int status, bool expected) {
    char how[64];
    if (WIFSIGNALED(status))
        snprintf(how, sizeof how, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(how, sizeof how, "exit status %d", WEXITSTATUS(status));
    log_event(expected ? LVL_INFO : LVL_ERROR, "worker", "%s %u, generation %u, pid %ld ended: %s%s%s",
              c->role == SLOT_SCRIBE ? "scribe" : "worker", c->number, c->generation, (long)c->pid, how,
              *c->why ? ": " : "", c->why);
}

/* An end that ends more than the child: of one that was to become ready. */
static void end_of_starter(struct master *m, const struct child *c) {
    const char *what = c->role == SLOT_SCRIBE ? "the scribe" : "a worker";
    if (m->phase == PHASE_START_SCRIBE || m->phase == PHASE_START_WORKERS) {
        master_start_failed(m, "%s did not start%s%s", what, *c->why ? ": " : " (see the log)", c->why);
    } else if (m->phase == PHASE_RELOAD && c->role == SLOT_WORKER && c->generation == m->next->generation) {
        buf_printf(&m->reload_text, "%s of the new configuration did not start%s%s\n", what,
                   *c->why ? ": " : " (see the log)", c->why);
        reload_fail(m);
    }
}

static void child_ended(struct master *m, struct child *c, int status) {
    struct child was = *c;
    uint64_t now = clock_ms();
    bool served = child_serves(c), clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (c->fd >= 0)
        child_read(m, c); /* what it still said */
    memcpy(was.why, c->why, sizeof was.why);
    bool expected = clean || (!served && c->state >= CHILD_LEAVING);
    log_end(c, status, expected);
    if (c->fd >= 0)
        close(c->fd);
    buf_free(&c->in);
    memset(c, 0, sizeof *c);
    slot_release(m->shm, was.slot);
    struct child *scribe = master_scribe(m);
    if (was.role == SLOT_WORKER && scribe)
        child_tell(scribe, 'D');
    if (!expected && was.role == SLOT_WORKER)
        stat_add(m->shm, STAT_WORKER_DEATHS, 1);
    if (was.role == SLOT_SCRIBE)
        back_off(&m->scribe_seat, &was, now, clean || !served);
    else if (served && was.generation == m->conf->generation)
        back_off(&m->seat[was.number], &was, now, clean);
    if (served)
        end_of_starter(m, &was);
}

void children_reap(struct master *m) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < SHM_MAX_SLOTS; i++)
            if (m->child[i].pid == pid) {
                child_ended(m, &m->child[i], status);
                break;
            }
}

/* --- time --- */

static void timed_out(struct master *m, struct child *c) {
    switch (c->state) {
    case CHILD_RETIRING:
        child_leave(c, m->conf->drain_timeout);
        break;
    case CHILD_LEAVING:
        if (c->role == SLOT_WORKER) {
            log_event(LVL_WARN, "worker", "worker %u, generation %u, pid %ld did not finish in time",
                      c->number, c->generation, (long)c->pid);
            child_cut(c);
            break;
        }
        /* fall through */
    default:
        child_kill(c, SIGKILL);
    }
}

/* Sockets of seats that nobody empties any more: the workers have been told to leave and close theirs. */
static void close_seats(struct master *m) {
    if (m->phase != PHASE_RUN || listen_seats(&m->listeners) <= m->workers)
        return;
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++)
        if (m->child[i].pid && m->child[i].state == CHILD_RETIRING)
            return;
    listen_close_seat(&m->listeners, m->workers);
}

void children_timeouts(struct master *m, uint64_t now) {
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++)
        if (m->child[i].pid && m->child[i].deadline_ms && m->child[i].deadline_ms <= now)
            timed_out(m, &m->child[i]);
    close_seats(m);
}

static bool seat_taken(const struct master *m, unsigned number) {
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++) {
        const struct child *c = &m->child[i];
        if (child_serves(c) && c->role == SLOT_WORKER && c->number == number &&
            c->generation == m->conf->generation)
            return true;
    }
    return false;
}

void children_fill(struct master *m, uint64_t now) {
    if (m->phase != PHASE_RUN && m->phase != PHASE_RELOAD)
        return;
    if (!master_scribe(m) && m->scribe_seat.not_before_ms <= now && !child_spawn(m, SLOT_SCRIBE, 0, m->conf))
        m->scribe_seat.not_before_ms = now + QUICK_DEATH_MS;
    for (unsigned n = 0; n < m->workers; n++)
        if (m->seat[n].not_before_ms <= now && !seat_taken(m, n) && !child_spawn(m, SLOT_WORKER, n, m->conf))
            m->seat[n].not_before_ms = now + QUICK_DEATH_MS;
}

void children_watch(struct master *m, uint64_t now) {
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++) {
        struct child *c = &m->child[i];
        struct slot_info info;
        if (!c->pid || c->role != SLOT_WORKER || c->state >= CHILD_CUT || !slot_at(m->shm, c->slot, &info))
            continue;
        uint64_t last = info.heartbeat_ms > c->started_ms ? info.heartbeat_ms : c->started_ms;
        if (last + m->hang_ms > now)
            continue;
        log_event(LVL_ERROR, "worker", "worker %u, generation %u, pid %ld hangs: no sign of life for %llu s",
                  c->number, c->generation, (long)c->pid, (unsigned long long)((now - last) / 1000));
        bool served = child_serves(c) && c->generation == m->conf->generation;
        child_kill(c, SIGABRT);
        if (served)
            stat_add(m->shm, STAT_WORKER_DEATHS, 1);
    }
}

/* --- counting --- */

struct child *master_scribe(struct master *m) {
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++)
        if (m->child[i].pid && m->child[i].role == SLOT_SCRIBE)
            return &m->child[i];
    return NULL;
}

unsigned children_of(const struct master *m, enum slot_role role) {
    unsigned n = 0;
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++)
        n += m->child[i].pid && m->child[i].role == role;
    return n;
}

unsigned workers_ready(const struct master *m, unsigned generation) {
    unsigned n = 0;
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++) {
        const struct child *c = &m->child[i];
        n += c->pid && c->role == SLOT_WORKER && c->state == CHILD_READY && c->generation == generation;
    }
    return n;
}
