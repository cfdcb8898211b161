/* The event loop: libevent's base, timers and deferred calls. One per worker or scribe, made after the fork.
 * Other rooms may use struct event on loop_base() for descriptors. */
#ifndef PENSTOCK_BASE_LOOP_H
#define PENSTOCK_BASE_LOOP_H
#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct event;
struct loop;

struct loop *loop_new(void);
void loop_free(struct loop *l); /* after every timer and event on it; lets go of tasks that still wait */
struct event_base *loop_base(struct loop *l);
void loop_run(struct loop *l);  /* until loop_stop */
void loop_stop(struct loop *l); /* this turn and its tasks are still finished; before loop_run: it returns at once */
/* One turn by hand (tests): events that are ready, then the tasks. wait: sleep until there is one. Never call
 * event_base_loop or event_base_dispatch on loop_base(): they know nothing of tasks. */
void loop_turn(struct loop *l, bool wait);
uint64_t loop_ms(struct loop *l); /* clock_ms() of this turn, read once a turn */

/* A one-shot timer inside its owner. Setting it again moves it. Later deadlines are cheap: the timer is only
 * re-armed when it fires too early. Clear it before its owner is freed (timer_clear: no call comes any more;
 * timer_free: and the event is given back). fn is called once the time has passed, never before, and may set
 * the timer again, or free its owner. */
struct timer {
    struct loop *loop;
    struct event *ev; /* made on first use */
    uint64_t due_ms, armed_ms; /* 0: not set */
    void (*fn)(void *arg);
    void *arg;
};
void timer_init(struct timer *t, struct loop *l, void (*fn)(void *), void *arg);
void timer_set(struct timer *t, uint64_t in_ms);
void timer_clear(struct timer *t);
bool timer_pending(const struct timer *t);
void timer_free(struct timer *t);

/* Calls fn at the end of this turn, never from inside the caller. An embedded node: queueing it twice is one
 * call; task_cancel before the owner is freed. */
struct task {
    struct task *next, *prev; /* NULL when not queued */
    void (*fn)(void *arg);
    void *arg;
};
void task_init(struct task *t, void (*fn)(void *), void *arg);
void task_defer(struct loop *l, struct task *t);
void task_cancel(struct task *t);
#endif
