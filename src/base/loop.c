/* The event loop. A turn is one event_base_loop(EVLOOP_ONCE) and then the tasks that were deferred during it:
 * tasks that tasks defer wait for the next turn, which then does not sleep, so that they cannot starve I/O.
 */
#include "base/loop.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include <event2/event.h>
#include <event2/event_struct.h>

struct loop {
    struct event_base *base;
    struct task tasks; /* the list's head */
    uint64_t now_ms;   /* 0: not read in this turn yet */
    bool in_turn;
    bool stop;
};

/* libevent's own words go to the log, not to stderr, and what is fatal to it ends the process our way. */
static void on_message(int severity, const char *text) {
    static const enum log_level levels[] = {LVL_DEBUG, LVL_INFO, LVL_WARN, LVL_ERROR};
    log_event(levels[severity & 3], "libevent", "%s", text);
}

static void on_fatal(int code) {
    die("libevent: fatal error %d", code);
}

struct loop *loop_new(void) {
    event_set_log_callback(on_message);
    event_set_fatal_callback(on_fatal);
    struct loop *l = mem_alloc(sizeof *l);
    struct event_config *cfg = event_config_new();
    if (!cfg || event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK) != 0)
        die("libevent cannot be set up");
    l->base = event_base_new_with_config(cfg);
    event_config_free(cfg);
    if (!l->base)
        die("libevent: no event base");
    l->tasks.next = l->tasks.prev = &l->tasks;
    return l;
}

void loop_free(struct loop *l) {
    if (!l)
        return;
    while (l->tasks.next != &l->tasks)
        task_cancel(l->tasks.next);
    event_base_free(l->base);
    mem_free(l);
}

struct event_base *loop_base(struct loop *l) {
    return l->base;
}

static void run_tasks(struct loop *l) {
    if (l->tasks.next == &l->tasks)
        return;
    /* The list moves to a head of its own: what is queued from here on belongs to the next turn, while
     * task_cancel of one that still waits keeps working. */
    struct task batch = l->tasks;
    batch.next->prev = &batch;
    batch.prev->next = &batch;
    l->tasks.next = l->tasks.prev = &l->tasks;
    while (batch.next != &batch) {
        struct task *t = batch.next;
        task_cancel(t); /* unlinked first: fn may queue it again or free its owner */
        t->fn(t->arg);
    }
}

void loop_turn(struct loop *l, bool wait) {
    int flags = EVLOOP_ONCE;
    if (!wait || l->tasks.next != &l->tasks)
        flags |= EVLOOP_NONBLOCK;
    else
        flags |= EVLOOP_NO_EXIT_ON_EMPTY;
    l->in_turn = true;
    l->now_ms = 0; /* read by the first who asks, which is after the poll */
    if (event_base_loop(l->base, flags) < 0)
        die("libevent: the loop failed");
    run_tasks(l);
    l->in_turn = false;
}

void loop_run(struct loop *l) {
    while (!l->stop)
        loop_turn(l, true);
    l->stop = false;
}

void loop_stop(struct loop *l) {
    l->stop = true;
}

uint64_t loop_ms(struct loop *l) {
    if (!l->in_turn)
        return clock_ms();
    if (l->now_ms == 0)
        l->now_ms = clock_ms();
    return l->now_ms;
}

/* --- timers --- */

static void arm(struct timer *t, uint64_t now) {
    uint64_t in = t->due_ms > now ? t->due_ms - now : 0;
    struct timeval tv = {(time_t)(in / 1000), (suseconds_t)(in % 1000 * 1000)};
    if (evtimer_add(t->ev, &tv) != 0)
        die("libevent: a timer cannot be set");
    t->armed_ms = t->due_ms;
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    struct timer *t = arg;
    (void)fd;
    (void)what;
    t->armed_ms = 0;
    if (t->due_ms == 0)
        return;
    /* Too early when it was moved, and by a few ms because libevent counts with a coarse clock. The turn's
     * cached time may be older than the event: ask the clock. */
    uint64_t now = clock_ms();
    if (now < t->due_ms) {
        arm(t, now);
        return;
    }
    t->due_ms = 0;
    t->fn(t->arg); /* may free the owner */
}

void timer_init(struct timer *t, struct loop *l, void (*fn)(void *), void *arg) {
    *t = (struct timer){.loop = l, .fn = fn, .arg = arg};
}

void timer_set(struct timer *t, uint64_t in_ms) {
    enum { YEAR_S = 366 * 86400 };
    uint64_t now = loop_ms(t->loop);
    if (in_ms > YEAR_S * UINT64_C(1000))
        in_ms = YEAR_S * UINT64_C(1000);
    if (!t->ev) {
        t->ev = evtimer_new(t->loop->base, on_timer, t);
        if (!t->ev)
            die("out of memory (a timer)");
    }
    t->due_ms = now + in_ms;
    if (t->armed_ms == 0 || t->armed_ms > t->due_ms)
        arm(t, now);
}

void timer_clear(struct timer *t) {
    if (t->armed_ms)
        evtimer_del(t->ev);
    t->due_ms = t->armed_ms = 0;
}

bool timer_pending(const struct timer *t) {
    return t->due_ms != 0;
}

void timer_free(struct timer *t) {
    if (t->ev)
        event_free(t->ev); /* also takes it off the loop */
    t->ev = NULL;
    t->due_ms = t->armed_ms = 0;
}

/* --- deferred calls --- */

void task_init(struct task *t, void (*fn)(void *arg), void *arg) {
    *t = (struct task){.fn = fn, .arg = arg};
}

void task_defer(struct loop *l, struct task *t) {
    if (t->next)
        return;
    t->next = &l->tasks;
    t->prev = l->tasks.prev;
    t->prev->next = t;
    l->tasks.prev = t;
}

void task_cancel(struct task *t) {
    if (!t->next)
        return;
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->next = t->prev = NULL;
}
