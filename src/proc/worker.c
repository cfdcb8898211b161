/* The life of a worker: everything is made after the fork, serves until the master says otherwise (or is
 * gone), and is freed whole at the end, so that a leak shows wherever leaks are looked for. */
#include "proc/worker.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/loop.h"
#include "http/server.h"
#include "proc/title.h"
#include "relay/gateway.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "upstream/call.h"
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BEAT_MS = 1000,
    MAX_HEAD = 64 * 1024,
    MAX_HEADERS = 100,
    BODY_GRACE_MS = 5000,
    RELOADS_MAX = 64, /* asked for and not answered */
    WORD_TEXT_MAX = 64 * 1024,
    SETTLE_MS = 500,
    CUT_WRITE_MS = 1500, /* the master kills 2 s after it has cut */
};

struct reload_wish {
    void (*done)(void *arg, bool ok, unsigned generation, struct str text);
    void *arg;
};
struct worker {
    struct worker_env env;
    struct loop *loop;
    struct multi *multi;
    struct http_server *server;
    struct http_tls **tls; /* per conf->listen; NULL: plain */
    struct gateway *gateway;
    struct event *words, *on_term, *on_quit;
    struct timer beat;
    struct timer orphan; /* without a master nobody else ends a drain */
    struct buf in;
    struct reload_wish wish[RELOADS_MAX];
    unsigned wishes;
    bool draining;
    uint64_t leave_ms;              /* when it must have gone */
    uint64_t accepted, log_dropped; /* counted so far */
};

/* --- reload wishes --- */

static bool tell_master(struct worker *w, const void *p, size_t n) {
    return w->env.master_fd >= 0 && send(w->env.master_fd, p, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static void ask_reload(void *arg, void (*done)(void *, bool, unsigned, struct str), void *done_arg) {
    struct worker *w = arg;
    unsigned generation = w->env.conf->generation;
    if (w->wishes == RELOADS_MAX)
        done(done_arg, false, generation, STR("too many reloads are asked for"));
    else if (!tell_master(w, "H", 1))
        done(done_arg, false, generation, STR("the master cannot be reached"));
    else
        w->wish[w->wishes++] = (struct reload_wish){done, done_arg};
}

static void answer_wish(struct worker *w, bool ok, unsigned generation, struct str text) {
    if (w->wishes == 0)
        return;
    struct reload_wish first = w->wish[0];
    memmove(w->wish, w->wish + 1, --w->wishes * sizeof *w->wish);
    first.done(first.arg, ok, generation, text);
}

static void answer_came(struct worker *w, struct str text) {
    bool ok = text.n > 0 && text.p[0] == '0';
    uint64_t generation = w->env.conf->generation;
    text = str_skip(text, 1);
    if (ok && str_u64(text, &generation))
        text = STR("");
    answer_wish(w, ok, (unsigned)generation, text);
}

/* --- leaving --- */

static void gone_all(void *arg) {
    struct worker *w = arg;
    loop_stop(w->loop);
}

static void close_sockets(struct worker *w) {
    for (size_t i = 0; i < w->env.conf->nlisten; i++) {
        if (w->env.fds[i] >= 0)
            close(w->env.fds[i]);
        w->env.fds[i] = -1;
    }
}

static void drain(struct worker *w) {
    if (w->draining)
        return;
    w->draining = true;
    w->leave_ms = clock_ms() + w->env.conf->drain_timeout;
    title_set("worker %u gen %u (draining)", w->env.number, w->env.conf->generation);
    slot_set_state(w->env.shm, SLOT_DRAINING);
    http_server_drain(w->server, gone_all, w);
    close_sockets(w); /* the master's copies keep what waits in them */
}

static void cut(struct worker *w) {
    uint64_t within = clock_ms() + CUT_WRITE_MS;
    drain(w);
    w->leave_ms = w->leave_ms < within ? w->leave_ms : within;
    gateway_stop(w->gateway);
    loop_stop(w->loop);
}

static void orphan_late(void *arg) {
    log_event(LVL_WARN, "stop", "requests did not finish in time and are cut");
    cut(arg);
}

static void master_gone(struct worker *w) {
    if (w->env.master_fd < 0)
        return;
    log_event(LVL_WARN, "stop", "the master is gone: finishing");
    event_free(w->words);
    w->words = NULL;
    close(w->env.master_fd);
    w->env.master_fd = -1;
    while (w->wishes > 0)
        answer_wish(w, false, w->env.conf->generation, STR("the master is gone"));
    timer_set(&w->orphan, w->env.conf->drain_timeout);
    drain(w);
}

static void on_leave_signal(evutil_socket_t sig, short what, void *arg) {
    (void)sig;
    (void)what;
    drain(arg);
}

/* --- words of the master --- */

static bool take_answer(struct worker *w) {
    uint32_t n;
    if (buf_len(&w->in) < 1 + sizeof n)
        return false;
    memcpy(&n, buf_at(&w->in) + 1, sizeof n);
    if (buf_len(&w->in) < 1 + sizeof n + (size_t)n)
        return false;
    answer_came(w, str_make(buf_at(&w->in) + 1 + sizeof n, n));
    buf_consume(&w->in, 1 + sizeof n + n);
    return true;
}

static bool take_word(struct worker *w) {
    char word = *buf_at(&w->in);
    if (word == 'A')
        return take_answer(w);
    buf_consume(&w->in, 1);
    if (word == 'Q')
        drain(w);
    else if (word == 'X')
        cut(w);
    else if (word == 'L')
        log_reopen();
    return true;
}

static void on_words(evutil_socket_t fd, short what, void *arg) {
    struct worker *w = arg;
    (void)what;
    for (;;) {
        char *p = buf_room(&w->in, 4096);
        ssize_t n = p ? read(fd, p, 4096) : 0;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            master_gone(w);
            return;
        }
        buf_commit(&w->in, (size_t)n);
        while (buf_len(&w->in) > 0 && take_word(w))
            ;
    }
}

/* --- the beat --- */

static void count(struct worker *w) {
    uint64_t accepted = http_server_accepted(w->server), dropped = log_dropped();
    stat_add(w->env.shm, STAT_CONNECTIONS, accepted - w->accepted);
    stat_add(w->env.shm, STAT_LOG_DROPPED, dropped - w->log_dropped);
    w->accepted = accepted;
    w->log_dropped = dropped;
    slot_beat(w->env.shm, clock_ms(), http_server_connections(w->server), http_server_exchanges(w->server));
}

static void on_beat(void *arg) {
    struct worker *w = arg;
    count(w);
    timer_set(&w->beat, BEAT_MS);
}

/* --- the start --- */

/* The master has it for whoever waits: the terminal, or the one who asked for a reload. */
static _Noreturn void cannot_start(struct worker *w, const char *what, const char *why) {
    char text[512], head[5] = {'E'};
    int n = snprintf(text, sizeof text, "%s%s", what, why);
    uint32_t size = n < 0 ? 0 : n < (int)sizeof text ? (uint32_t)n : (uint32_t)sizeof text - 1;
    memcpy(head + 1, &size, sizeof size);
    tell_master(w, head, sizeof head);
    tell_master(w, text, size);
    die("%s", text);
}

static void listen_all(struct worker *w) {
    const struct conf *c = w->env.conf;
    char err[256], what[160];
    w->tls = mem_array(c->nlisten, sizeof *w->tls);
    for (size_t i = 0; i < c->nlisten; i++) {
        const struct conf_listen *l = &c->listen[i];
        snprintf(what, sizeof what, "listen %.120s: ", l->address);
        if (l->has_tls) {
            w->tls[i] = http_tls_new(l->tls.certificate, l->tls.key, l->tls.client_ca, err);
            if (!w->tls[i])
                cannot_start(w, what, err);
        }
        if (w->env.fds[i] < 0)
            cannot_start(w, what, "no socket was handed over");
    }
    for (size_t i = 0; i < c->nlisten; i++)
        http_server_listen(w->server, w->env.fds[i], w->tls[i], c->listen[i].surfaces);
}

static void make_server(struct worker *w) {
    const struct conf *c = w->env.conf;
    const struct http_limits limits = {
        .max_head = MAX_HEAD,
        .max_headers = MAX_HEADERS,
        .header_timeout_ms = c->header_timeout,
        .idle_timeout_ms = c->idle_timeout,
        .body_rate = c->body_rate,
        .body_grace_ms = BODY_GRACE_MS,
        .max_connections = (unsigned)(c->max_connections < UINT32_MAX ? c->max_connections : 0),
    };
    const struct http_handler handler = {gateway_request, gateway_error_body, w->gateway};
    w->server = http_server_new(w->loop, &limits, &handler);
}

static struct event *make_event(struct worker *w, int what, short flags, event_callback_fn fn) {
    struct event *e = event_new(loop_base(w->loop), what, (short)(flags | EV_PERSIST), fn, w);
    if (!e || event_add(e, NULL) != 0)
        die("libevent: an event cannot be added");
    return e;
}

/* So that the first requests do not have to be decided without the cluster. */
static void wait_settled(struct worker *w) {
    uint64_t until = clock_ms() + SETTLE_MS;
    while (!gateway_settled(w->gateway) && clock_ms() < until)
        loop_turn(w->loop, true);
}

static void start(struct worker *w) {
    char err[256];
    slot_enter(w->env.shm, w->env.slot);
    w->loop = loop_new();
    w->multi = multi_new(w->loop);
    buf_init(&w->in, WORD_TEXT_MAX * 2);
    struct gateway_env g = {w->loop, w->multi, w->env.shm, w->env.conf, ask_reload, w};
    w->gateway = gateway_new(&g, err);
    if (!w->gateway)
        cannot_start(w, "", err);
    make_server(w);
    w->words = make_event(w, w->env.master_fd, EV_READ, on_words);
    w->on_term = make_event(w, SIGTERM, EV_SIGNAL, on_leave_signal);
    w->on_quit = make_event(w, SIGQUIT, EV_SIGNAL, on_leave_signal);
    timer_init(&w->beat, w->loop, on_beat, w);
    timer_init(&w->orphan, w->loop, orphan_late, w);
    wait_settled(w);
    listen_all(w);
    on_beat(w);
    slot_set_state(w->env.shm, SLOT_READY);
    if (!tell_master(w, "R", 1))
        log_event(LVL_WARN, "start", "the master cannot be told");
}

/* What happened here is accounted for, although its ring may be full at this moment. */
static void write_out(struct worker *w) {
    while (!gateway_written(w->gateway) && clock_ms() < w->leave_ms)
        loop_turn(w->loop, true);
}

static void end(struct worker *w) {
    count(w);
    http_server_free(w->server); /* what is open is settled, into the ring */
    for (size_t i = 0; i < w->env.conf->nlisten; i++)
        http_tls_free(w->tls[i]);
    mem_free(w->tls);
    gateway_free(w->gateway);
    multi_free(w->multi);
    if (w->words)
        event_free(w->words);
    event_free(w->on_term);
    event_free(w->on_quit);
    timer_free(&w->beat);
    timer_free(&w->orphan);
    loop_free(w->loop);
    close_sockets(w);
    buf_free(&w->in);
    conf_free(w->env.conf);
    shm_free(w->env.shm);
}

_Noreturn void worker_run(struct worker_env *env) {
    struct worker w = {.env = *env};
    start(&w);
    loop_run(w.loop);
    write_out(&w);
    end(&w);
    exit(0);
}
