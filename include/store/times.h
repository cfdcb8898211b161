/* How long good answers took, kept by the hour in the ledger's environment, in the transaction of the records they come
 * from: by the provider and the model that answered; those from the cache under no provider. Averages and percentiles
 * over any past time cost as many steps as there are such hours, whatever their requests were. */
#ifndef PENSTOCK_STORE_TIMES_H
#define PENSTOCK_STORE_TIMES_H
#include "store/ledger.h"

enum { TIMES_BUCKETS = 48 };
struct times {
    uint64_t n, ms; /* answers, and their time together */
    uint64_t most;  /* the longest, ms */
    uint64_t count[TIMES_BUCKETS]; /* bucket i: from the square root of 2^i ms up to that of 2^(i+1); the last: all above */
};
void times_add(struct times *t, uint64_t ms);
void times_merge(struct times *to, const struct times *more);
double times_average(const struct times *t);            /* ms; 0 without answers, and so is the next */
double times_quantile(const struct times *t, double q); /* ms, interpolated within the bucket */

/* Scribe: gathered with ledger_append's batch, and written before it is committed. */
void times_gather(struct db_txn *t, const struct ledger_row *r);
void times_flush(struct db_txn *t); /* NULL: forgotten */

/* Any process. Each (hour, provider, model) of hours that touch [from, to); names live during the call. */
typedef void times_fn(void *arg, struct str provider, struct str model, const struct times *times);
void times_each(struct db_txn *t, int64_t from_ms, int64_t to_ms, times_fn *fn, void *arg);
/* The same in steps of at most so many, each in a read transaction of its own. False: it is over. */
struct times_walk {
    uint32_t until; /* first hour that does not count */
    struct db_place place;
    times_fn *fn;
    void *arg;
};
void times_walk_init(struct times_walk *w, int64_t from_ms, int64_t to_ms, times_fn *fn, void *arg);
bool times_walk_step(struct times_walk *w, struct db_txn *t, unsigned at_most);
#endif
