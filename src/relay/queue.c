/* Waiting for a limit. A worker in which requests wait looks every few ms who of them comes before all
 * others, of all workers, that wait for the same limit; that one tries. Limits open by time and by what
 * others give back, and neither can wake anybody without writing to all workers for each request that ends.
 */
#include "queue.h"

#include "base/clock.h"
#include "base/die.h"
#include "request.h"
#include "shm/queue.h"
#include "shm/stat.h"

enum { TICK_MS = 5, ROUNDS = 256 };

struct queue {
    struct plane *p;
    struct waiter *first;
    struct timer tick;
};

static void tick(void *arg);

struct queue *queue_new(struct plane *p) {
    struct queue *q = mem_alloc(sizeof(*q));
    *q = (struct queue){.p = p};
    timer_init(&q->tick, p->loop, tick, q);
    return q;
}

void queue_free(struct queue *q) {
    MUST(!q->first);
    timer_clear(&q->tick);
    timer_free(&q->tick);
    mem_free(q);
}

/* --- in and out --- */

uint32_t queue_before(struct request *r) {
    uint32_t *entity = arena_array(r->a, r->held.nlayers + 1, sizeof *entity);
    for (unsigned i = 0; i < r->held.nlayers; i++)
        entity[i] = r->held.layers[i].entity;
    return queue_any(r->p->shm, entity, r->held.nlayers);
}

bool queue_wait(struct request *r, uint32_t blocked) {
    struct queue *q = r->g->queue;
    const struct conf *c = r->p->conf;
    struct waiter *w = &r->wait;
    bool too_long =
        fault_is(&r->fault) && !r->held.full && r->fault.retry_after_ms > (int64_t)c->queue.max_wait;
    if (c->queue.max_wait == 0 || too_long)
        return false;
    uint64_t booked = admit_total(&r->estimate);
    uint32_t place = queue_join(r->p->shm, r->caller.entity, booked, r->caller.key->weight, blocked,
                                (uint32_t)c->queue.max_depth);
    if (place == SHM_NONE)
        return false;
    *w = (struct waiter){.r = r,
                         .place = place,
                         .blocked = blocked,
                         .until_ms = clock_ms() + c->queue.max_wait,
                         .booked = booked,
                         .next = q->first};
    if (w->next)
        w->next->prev = w;
    q->first = w;
    r->fault = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    stat_add(r->p->shm, STAT_QUEUED, 1);
    if (!timer_pending(&q->tick))
        timer_set(&q->tick, TICK_MS);
    return true;
}

static void leave(struct waiter *w, bool served) {
    struct queue *q = w->r->g->queue;
    queue_leave(w->r->p->shm, w->place, served);
    if (w->prev)
        w->prev->next = w->next;
    else
        q->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->r = NULL;
    w->booked = served ? w->booked : 0;
}

void queue_quit(struct request *r) {
    if (r->wait.r)
        leave(&r->wait, false);
}

void queue_used(struct request *r, uint64_t tokens) {
    if (r->wait.booked)
        queue_settle(r->p->shm, r->caller.entity, r->wait.booked, tokens, r->caller.key->weight);
    r->wait.booked = 0;
}

/* --- turns --- */

/* Of those here that wait for the same, only the first can come before all others. */
static bool first_here(const struct queue *q, const struct waiter *w) {
    uint64_t end = queue_end(q->p->shm, w->place), other;
    for (const struct waiter *o = q->first; o; o = o->next) {
        if (o == w || o->blocked != w->blocked)
            continue;
        other = queue_end(q->p->shm, o->place);
        if (other < end || (other == end && o->place < w->place))
            return false;
    }
    return true;
}

static void let_in(struct waiter *w) {
    struct request *r = w->r;
    leave(w, true);
    request_resume(r, STEP_LOOKUP);
}

/* True: it has been let in. Its refusal is of this moment only, and so is the text. */
static bool try_now(struct queue *q, struct waiter *w, uint64_t now) {
    struct fault f;
    struct arena *a = arena_new(0);
    w->r->patience = (struct patience){0}; /* who stands here has time for the cluster each time */
    bool ok = admit_again(q->p, &w->r->held, a, &f);
    w->asking = w->r->held.waits;
    if (!ok && !w->asking) {
        w->blocked = w->r->held.refused;
        queue_blocked(q->p->shm, w->place, w->blocked);
        w->next_try_ms = now + (w->r->held.full ? 0 : (uint64_t)f.retry_after_ms);
    }
    arena_free(a);
    if (ok)
        let_in(w);
    return ok;
}

/* One that has waited as long as it may tries a last time, and is told what it waited for. */
static void time_is_over(struct queue *q, struct waiter *w) {
    struct request *r = w->r;
    r->patience = (struct patience){0};
    if (admit_again(q->p, &r->held, r->a, &r->fault)) {
        r->fault = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
        let_in(w);
        return;
    }
    w->asking = r->held.waits;
    if (w->asking)
        return;
    leave(w, false);
    stat_add(q->p->shm, STAT_RATE_LIMITED, 1);
    request_resume(r, STEP_SETTLE);
}

/* True: something has changed, so that it may be another's turn now. */
static bool look(struct queue *q, uint64_t now) {
    for (struct waiter *w = q->first, *next; w; w = next) {
        next = w->next;
        if (w->asking)
            continue;
        if (now >= w->until_ms) {
            time_is_over(q, w);
            return true;
        }
        if (now >= w->next_try_ms && first_here(q, w) && queue_turn(q->p->shm, w->place) &&
            try_now(q, w, now))
            return true;
    }
    return false;
}

void queue_known(struct request *r) {
    r->wait.asking = false; /* the next tick tries again */
}

static void tick(void *arg) {
    struct queue *q = arg;
    uint64_t now = clock_ms();
    for (unsigned i = 0; i < ROUNDS && look(q, now); i++)
        ;
    if (q->first)
        timer_set(&q->tick, TICK_MS);
}
