/* Costs that are made anew: jobs of the ledger, done a step at a time between batches. Private to the scribe.
 */
#ifndef PENSTOCK_SRC_PROC_REPRICE_H
#define PENSTOCK_SRC_PROC_REPRICE_H
#include "conf/conf.h"
#include "store/ledger.h"

struct drain;
struct price_table;
struct reprice {
    bool look; /* there may be a job */
    bool told; /* that it cannot be done for the moment */
    uint64_t retry_ms;
    struct price_table *prices; /* not NULL: one is at work */
    struct ledger_reprice *walk;
    struct ledger_job job;
    char by[256 + 1];
};
/* A step of the job at work, or the start of the next. True: there is more to do at once. */
bool reprice_step(struct drain *d, uint64_t now_ms);
void reprice_stop(struct reprice *r); /* it goes on with the next scribe */
#endif
