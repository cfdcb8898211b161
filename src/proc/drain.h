/* From the rings to LMDB: private to the scribe. */
#ifndef PENSTOCK_SRC_PROC_DRAIN_H
#define PENSTOCK_SRC_PROC_DRAIN_H
#include "base/buf.h"
#include "conf/conf.h"
#include "shm/index.h"
#include "shm/shm.h"
#include "spend.h"
#include "store/db.h"

enum { DRAIN_DOUBTS = 1024 };

struct drain {
    struct shm *shm;
    const struct conf *conf;
    struct spend spend;
    struct db *ledger, *cache, *keys; /* NULL: closed after trouble, to be opened again */
    char *ledger_dir, *cache_dir, *keys_dir;
    uint64_t ledger_map, instance;
    uint64_t cursor[SHM_MAX_SLOTS];            /* committed */
    uint64_t next[SHM_MAX_SLOTS];              /* end of the batch that is being taken */
    unsigned most;                             /* records of a ring in one batch */
    unsigned usages, replies, keyed;           /* in the batch; keyed: changes of gateway keys */
    bool cleared;                              /* it has a RECORD_CLEAR */
    bool kept;                                 /* its replies are in the cache */
    void (*spans)(void *arg, struct str json); /* NULL: nobody wants them */
    void *spans_arg;
    bool silent;     /* do not log its rows: an earlier scribe may have */
    struct buf line; /* of the log, not written yet ... */
    unsigned lines;  /* ... and how many */
    char writer[32]; /* of log lines as text */

    uint64_t ledger_retry_ms, ledger_pause_ms; /* after a failure; 0: none */
    uint64_t cache_retry_ms;
    bool cache_told, keys_told;

    uint8_t sweep_from[INDEX_KEY];
    bool sweep_soon; /* the index was cleared: do not wait for the slow round */
    /* Stored values that the index does not know: it may be that their worker has not come to tell it yet. */
    uint8_t doubts[DRAIN_DOUBTS][INDEX_KEY];
    size_t ndoubts, old_doubts; /* old: there since the last upkeep */
    bool ledger_crowded;
};

/* Opens both, brings index and positions up to date. Ends the process when that is impossible. */
void drain_open(struct drain *d, struct shm *shm, const struct conf *conf, uint64_t ledger_map);
void drain_close(struct drain *d);
/* Bytes that wait in the rings; *heads changes whenever something was added. */
uint64_t drain_waiting(const struct drain *d, uint64_t *heads);
/* Takes a batch from every ring and commits it. False: the ledger cannot take it now (see drain_pause). */
bool drain_batch(struct drain *d);
uint64_t drain_pause(const struct drain *d,
                     uint64_t now_ms);                /* ms until it makes sense to try again; 0: now */
void drain_upkeep(struct drain *d, uint64_t now_ms);  /* about once a second */
bool drain_busy(const struct drain *d);               /* upkeep has more to do at once */
void drain_sweep(struct drain *d, uint64_t until_ms); /* at the end: what was cleared leaves the store */
void drain_after_death(struct drain *d);              /* of any process; and now and then */
#endif
