/* Answers that take long to gather (the sums of a month, a verification of the ledger): a step at a time, one
 * step in each turn of the loop, whoever asked. Those who wait go round, so that neither a large ledger nor
 * many who ask hold up the worker's other requests. Private to surface/. */
#ifndef PENSTOCK_SRC_SURFACE_STEPS_H
#define PENSTOCK_SRC_SURFACE_STEPS_H
#include "store/db.h"
#include "surface/surface.h"

/* The first member of the handler's own, in the exchange's arena. */
struct steps {
    struct surface_call call;
    bool (*step)(struct steps *s, struct db_txn *t); /* some 100 us of work; true: there is more to do */
    void (*done)(struct steps *s);                   /* it is over: answers */
    struct steps *next, *prev;                       /* among those who wait; steps.c's own */
};
/* From here on the exchange is its own, until `done` is called, never before this returns. A ledger that
 * cannot be read (any more) is answered with 503; whether one is kept at all is the caller's question. */
void steps_begin(struct steps *s, struct surface_call *c, bool (*step)(struct steps *s, struct db_txn *t),
                 void (*done)(struct steps *s));
#endif
