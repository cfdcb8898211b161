/* A line of those who gather answers, of which the first has one step in each turn of the loop. */
#include "steps.h"

#include "base/loop.h"

/* A worker has one loop, so there is one line. */
static struct {
    struct steps *first, *last;
    struct task turn;
} line;

static void leave(struct steps *s) {
    *(s->prev ? &s->prev->next : &line.first) = s->next;
    *(s->next ? &s->next->prev : &line.last) = s->prev;
    s->next = s->prev = NULL;
    if (!line.first)
        task_cancel(&line.turn);
}

static void join(struct steps *s) {
    s->prev = line.last;
    s->next = NULL;
    *(line.last ? &line.last->next : &line.first) = s;
    line.last = s;
    task_defer(s->call.plane->loop, &line.turn);
}

static void gone(struct exchange *x) {
    leave(x->owner);
}

static void fail(struct surface_call *c) {
    struct fault f;
    fault_set(&f, c->x->arena, FAULT_OVERLOADED, "The ledger cannot be read at the moment.");
    surface_fault(c, &f);
}

static void turn(void *arg) {
    struct steps *s = line.first;
    struct db *d = plane_ledger(s->call.plane);
    struct db_txn *t = d ? db_begin(d, false) : NULL;
    (void)arg;
    leave(s);
    bool more = t && s->step(s, t), read = t && db_txn_trouble(t) == DB_FINE;
    if (t)
        db_end(t);
    if (line.first)
        task_defer(line.first->call.plane->loop, &line.turn);
    if (read && more) {
        join(s);
        return;
    }
    s->call.x->on_gone = NULL;
    if (read)
        s->done(s);
    else
        fail(&s->call);
}

void steps_begin(struct steps *s, struct surface_call *c, bool (*step)(struct steps *s, struct db_txn *t),
                 void (*done)(struct steps *s)) {
    s->call = *c;
    s->step = step;
    s->done = done;
    c->x->owner = s;
    c->x->on_gone = gone;
    line.turn.fn = turn;
    join(s);
}
