/* The scribe's life: when to take what waits in the rings, and when to leave. Records are gathered for as
 * long as they keep coming, but not longer than a commit interval, so that a busy gateway pays for few
 * commits and a quiet one sees its usage at once. What else it does (checks of providers, alerts) runs on the
 * same event loop, between two turns: a call never holds a commit up, a commit may delay a call. */
#include "proc/scribe.h"
#include "alerts.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "base/loop.h"
#include "cluster/cluster.h"
#include "drain.h"
#include "jwks.h"
#include "probe.h"
#include "share.h"
#include "shm/ring.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "telemetry.h"
#include "upstream/call.h"
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    QUIET_MS = 8,         /* nothing came for so long: commit */
    INTERVAL_MS = 200,    /* records came all the time: commit all the same */
    MUCH_BYTES = 1 << 20, /* so much waits: do not wait with it */
    TICK_MS = 1000,
    READERS_MS = 60000,
    LOCK_MS = 30000,
    WORDS_MAX = 16 << 10, /* of the master, not whole yet */
    ORPHAN_QUIET_MS = 15000,
    QUIT_MS = 10000, /* a ledger that cannot be written must not keep the master waiting */
};

struct scribe {
    const struct scribe_env *env;
    struct shm *shm;
    struct drain drain;
    struct loop *loop;
    struct multi *multi;
    struct buf in;                 /* words that are not whole */
    struct event *words, *records; /* of the master; a first one came */
    struct timer wake;
    struct probes *probes;
    struct alerts *alerts;
    struct jwks *jwks;
    struct telemetry *telemetry;
    struct cluster *cluster;
    struct share *share;
    bool orphan;                                  /* the master is gone */
    bool quit;                                    /* it said so */
    uint64_t first_ms, changed_ms, heads;         /* of what waits in the rings; first_ms 0: nothing does */
    uint64_t last_record_ms, tick_ms, readers_ms; /* the latter two: when they are due */
    uint64_t dropped;                             /* log lines, as far as the counter knows */
};

/* --- the lock --- */

static void beat(struct scribe *s, uint64_t now) {
    slot_beat(s->shm, now, 0, 0);
}

/* The scribe before this one still has something to commit. */
static void wait_for_lock(struct scribe *s, int fd) {
    bool told = false;
    uint64_t until = clock_ms() + LOCK_MS;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            die("cannot lock %s: %s", s->env->conf->state_dir, strerror(errno));
        if (!told)
            log_event(LVL_INFO, "start", "waiting for another scribe to leave %s", s->env->conf->state_dir);
        told = true;
        uint64_t now = clock_ms();
        if (now >= until)
            die("another scribe does not leave %s", s->env->conf->state_dir);
        beat(s, now);
        struct pollfd master = {.fd = s->env->master_fd};
        if (poll(&master, 1, 20) > 0 && (master.revents & (POLLHUP | POLLERR | POLLNVAL)))
            die("the master is gone");
    }
}

/* Held until the process ends, however it ends. */
static void take_lock(struct scribe *s) {
    const char *dir = s->env->conf->state_dir;
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/lock", dir);
    if (n <= 0 || (size_t)n >= sizeof path)
        die("state_dir is too long");
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        die("cannot make %s: %s", dir, strerror(errno));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        die("cannot open %s: %s", path, strerror(errno));
    wait_for_lock(s, fd);
}

/* --- words of the master --- */

static void obey(struct scribe *s, char word) {
    if (word == 'Q')
        s->quit = true;
    else if (word == 'D')
        drain_after_death(&s->drain);
    else if (word == 'L')
        log_reopen();
    else
        log_event(LVL_WARN, "bug", "the master said %02x", (unsigned char)word);
}

/* 'N', u32 length, then: level, event and a NUL, message. False: it is not all there yet. */
static bool take_note(struct scribe *s) {
    static const struct log_fields none;
    uint32_t n;
    if (buf_len(&s->in) < 1 + sizeof n)
        return false;
    memcpy(&n, buf_at(&s->in) + 1, sizeof n);
    if (n <= WORDS_MAX - 1 - sizeof n && buf_len(&s->in) < 1 + sizeof n + n)
        return false;
    const char *p = buf_at(&s->in) + 1 + sizeof n;
    const char *zero = n > 1 && buf_len(&s->in) >= 1 + sizeof n + n ? memchr(p + 1, 0, n - 1) : NULL;
    if (!zero) {
        log_event(LVL_WARN, "bug", "the master's note makes no sense");
        buf_clear(&s->in);
        return false;
    }
    drain_note(&s->drain, (enum log_level)(*p & 3), p + 1, &none,
               str_make(zero + 1, (size_t)(p + n - zero - 1)));
    s->tick_ms = 0; /* to be kept at once */
    buf_consume(&s->in, 1 + sizeof n + n);
    return true;
}

static bool take_word(struct scribe *s) {
    char word = *buf_at(&s->in);
    if (word == 'N')
        return take_note(s);
    buf_consume(&s->in, 1);
    obey(s, word);
    return true;
}

static void hear_master(evutil_socket_t fd, short what, void *arg) {
    struct scribe *s = arg;
    (void)what;
    char *room = buf_room(&s->in, 1024);
    ssize_t n = room ? read(fd, room, 1024) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        s->orphan = true;
        event_del(s->words);
        log_event(LVL_WARN, "stop", "the master is gone; staying until its workers are");
        return;
    }
    buf_commit(&s->in, (size_t)n);
    while (buf_len(&s->in) > 0 && take_word(s))
        ;
}

/* Its own alerts are kept as well. */
static void keep_event(void *arg, enum log_level level, const char *event, const struct log_fields *fields,
                       struct str message) {
    struct scribe *s = arg;
    drain_note(&s->drain, level, event, fields, message);
    s->tick_ms = 0;
}

/* --- when to drain --- */

static void note_heads(struct scribe *s, uint64_t now, uint64_t heads) {
    if (s->first_ms == 0)
        s->first_ms = s->changed_ms = now;
    if (heads != s->heads)
        s->changed_ms = s->last_record_ms = now;
    s->heads = heads;
}

/* How long to sleep for the rings' sake; 0: drain now. UINT64_MAX: nothing waits. */
static uint64_t drain_delay(struct scribe *s, uint64_t now) {
    uint64_t heads, waiting = drain_waiting(&s->drain, &heads);
    if (waiting == 0) {
        s->first_ms = 0;
        return UINT64_MAX;
    }
    note_heads(s, now, heads);
    uint64_t pause = drain_pause(&s->drain, now);
    if (pause)
        return pause;
    if (waiting >= MUCH_BYTES || now - s->first_ms >= INTERVAL_MS)
        return 0;
    uint64_t quiet = now - s->changed_ms;
    return quiet >= QUIET_MS ? 0 : QUIET_MS - quiet;
}

/* --- waiting --- */

static void on_records(evutil_socket_t fd, short what, void *arg) { /* looked at by the turn */
    (void)fd, (void)what, (void)arg;
}

static void on_wake(void *arg) {
    (void)arg;
}

/* Only a scribe that waits for the first record wants to be woken by one; the ring says so to the workers,
 * and what came before it could say so is seen here. */
static void wait_for_events(struct scribe *s, uint64_t ms, bool for_records) {
    uint64_t heads;
    if (for_records) {
        if (event_add(s->records, NULL) != 0) /* once: a wake that comes late is not to come for ever */
            die("libevent: an event cannot be added");
        ring_scribe_sleeps(s->shm, true);
        if (drain_waiting(&s->drain, &heads) > 0)
            ms = 0;
    }
    timer_set(&s->wake, ms);
    loop_turn(s->loop, ms > 0);
    if (for_records)
        ring_scribe_sleeps(s->shm, false);
}

/* --- each second --- */

static void tick(struct scribe *s, uint64_t now) {
    beat(s, now);
    uint64_t dropped = log_dropped();
    if (dropped != s->dropped)
        stat_add(s->shm, STAT_LOG_DROPPED, dropped - s->dropped);
    s->dropped = dropped;
    drain_upkeep(&s->drain, now);
    if (now >= s->readers_ms) {
        drain_after_death(&s->drain);
        s->readers_ms = now + READERS_MS;
    }
    s->tick_ms = drain_busy(&s->drain) ? now : now + TICK_MS;
}

/* --- leaving --- */

static bool workers_live(const struct shm *shm) {
    struct slot_info info;
    uint32_t high = slot_high(shm);
    for (uint32_t i = 0; i < high; i++) {
        if (slot_at(shm, i, &info) && info.role == SLOT_WORKER && info.pid > 0 &&
            (kill(info.pid, 0) == 0 || errno == EPERM))
            return true;
    }
    return false;
}

static uint64_t quit_ms(const struct scribe *s) {
    return s->env->quit_ms ? s->env->quit_ms : QUIT_MS;
}

/* Everything that is in the rings now, without waiting for more. */
static bool drain_all(struct scribe *s) {
    uint64_t heads, until = clock_ms() + quit_ms(s);
    while (drain_waiting(&s->drain, &heads) > 0) {
        uint64_t now = clock_ms(), pause = drain_pause(&s->drain, now);
        if (now >= until)
            return false;
        beat(s, now);
        if (pause)
            poll(NULL, 0, pause < 100 ? (int)pause : 100);
        else
            drain_batch(&s->drain);
    }
    return true;
}

static void stop_calls(struct scribe *s) {
    s->drain.spans = NULL;
    telemetry_stop(s->telemetry);
    alerts_stop(s->alerts);
    jwks_stop(s->jwks);
    s->drain.share = NULL;
    share_stop(s->share);
    cluster_free(s->cluster);
    probes_stop(s->probes);
    multi_free(s->multi);
    event_free(s->words);
    event_free(s->records);
    timer_free(&s->wake);
    loop_free(s->loop);
}

_Noreturn static void leave(struct scribe *s) {
    slot_set_state(s->shm, SLOT_DRAINING);
    stop_calls(s);
    bool all = drain_all(s);
    drain_sweep(&s->drain, clock_ms() + quit_ms(s));
    if (!all)
        log_event(LVL_ERROR, "stop", "records stay in the rings: the ledger cannot be written");
    drain_close(&s->drain);
    exit(all ? 0 : 1);
}

static bool orphan_may_leave(struct scribe *s, uint64_t now) {
    uint64_t heads;
    if (now - s->last_record_ms >= ORPHAN_QUIET_MS)
        return true;
    return drain_waiting(&s->drain, &heads) == 0 && !workers_live(s->shm);
}

/* --- the loop --- */

static void turn(struct scribe *s) {
    uint64_t now = clock_ms();
    if (now >= s->tick_ms)
        tick(s, now);
    uint64_t delay = drain_delay(s, now);
    if (delay == 0) {
        drain_batch(&s->drain);
        s->first_ms = 0;
        if (drain_busy(&s->drain)) /* cleared: what is stored goes at once */
            s->tick_ms = now;
    }
    if (s->quit || (s->orphan && orphan_may_leave(s, now)))
        leave(s);
    now = clock_ms();
    uint64_t sleep = s->tick_ms > now ? s->tick_ms - now : 0;
    if (delay < sleep)
        sleep = delay;
    if (s->orphan && sleep > QUIET_MS)
        sleep = QUIET_MS * 4;
    wait_for_events(s, sleep, delay == UINT64_MAX);
}

/* A terminal's ^C goes to the whole group: the scribe is needed until the last worker has told of its last
 * request. SIGXFSZ would kill what can be retried. */
static void ignore_signals(void) {
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGXFSZ};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        sigaction(ignored[i], &ignore, NULL);
}

static struct event *make_event(struct scribe *s, int fd, short flags, event_callback_fn fn) {
    struct event *e = event_new(loop_base(s->loop), fd, flags, fn, s);
    if (!e)
        die("libevent: an event cannot be made");
    return e;
}

static void take_spans(void *arg, struct str json) {
    struct scribe *s = arg;
    telemetry_spans(s->telemetry, json);
}

static uint64_t store_waits(void *arg) {
    struct scribe *s = arg;
    uint64_t heads;
    return drain_pause(&s->drain, clock_ms()) ? drain_waiting(&s->drain, &heads) : 0;
}

static void start_calls(struct scribe *s) {
    s->loop = loop_new();
    s->multi = multi_new(s->loop);
    s->words = make_event(s, s->env->master_fd, EV_READ | EV_PERSIST, hear_master);
    s->records = make_event(s, ring_wake_fd(s->shm), EV_READ, on_records);
    if (event_add(s->words, NULL) != 0)
        die("libevent: an event cannot be added");
    timer_init(&s->wake, s->loop, on_wake, s);
    s->telemetry = telemetry_start(s->loop, s->multi, s->shm, s->env->conf);
    s->drain.spans = take_spans;
    s->drain.spans_arg = s;
    s->probes = probes_start(s->loop, s->multi, s->shm, s->env->conf);
    s->cluster = cluster_new(s->loop, s->shm, s->env->conf, true);
    s->share = s->drain.share = share_start(s->cluster, &s->drain);
    s->jwks = jwks_start(s->loop, s->multi, s->shm, s->env->conf);
    s->alerts =
        alerts_start(s->loop, s->multi, s->shm, s->env->conf, s->jwks, &s->drain.spend, store_waits, s);
}

void scribe_run(const struct scribe_env *env) {
    static struct scribe s; /* large */
    s.env = env;
    s.shm = env->shm;
    log_process("scribe");
    ignore_signals();
    slot_enter(env->shm, env->slot);
    take_lock(&s);
    buf_init(&s.in, WORDS_MAX);
    drain_open(&s.drain, env->shm, env->conf, env->ledger_map);
    log_tap(keep_event, &s);
    start_calls(&s);
    uint64_t now = clock_ms();
    s.last_record_ms = s.tick_ms = now;
    s.readers_ms = now + READERS_MS;
    s.dropped = log_dropped();
    beat(&s, now);
    slot_set_state(env->shm, SLOT_READY);
    ssize_t n;
    do
        n = write(env->master_fd, "R", 1);
    while (n < 0 && errno == EINTR);
    for (;;)
        turn(&s);
}
