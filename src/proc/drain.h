/* From the rings to LMDB: private to the scribe. */
#ifndef PENSTOCK_SRC_PROC_DRAIN_H
#define PENSTOCK_SRC_PROC_DRAIN_H
#include "base/buf.h"
#include "base/log.h"
#include "conf/conf.h"
#include "reprice.h"
#include "shm/index.h"
#include "shm/shm.h"
#include "spend.h"
#include "store/db.h"

enum { DRAIN_DOUBTS = 1024 };

/* drain_logs.c: what goes into the log store */
struct logged;
struct drain_memo;
struct drain_logs {
    struct db *db; /* NULL: closed after trouble */
    char *dir;
    uint64_t taken[SHM_MAX_SLOTS]; /* what it has of each ring, or had to leave out */
    struct logged *batch;          /* the records of one, as the rings have them ... */
    size_t *order;                 /* ... and those that are to be stored, by their time */
    size_t n, cap, fresh, told;    /* told: how many the log has had */
    struct mask *mask;             /* NULL: nothing is masked */
    struct drain_memo *memo;
    struct buf texts;        /* of the batch, masked */
    uint64_t masks_until_ns; /* what is not done then is left out ... */
    size_t timed;            /* ... as is seen when so much of the texts is there */
    bool late;
    struct buf notes; /* events of this process and of the master: lengths and records */
    uint64_t retry_ms, lost;
    bool crowded;
};

struct drain {
    struct shm *shm;
    const struct conf *conf;
    struct spend spend;
    struct reprice reprice;
    bool repricing; /* and it has more to do at once */
    struct drain_logs logs;
    struct db *ledger, *cache, *keys; /* NULL: closed after trouble, to be opened again */
    char *ledger_dir, *cache_dir, *keys_dir;
    uint64_t ledger_map, instance;
    uint64_t cursor[SHM_MAX_SLOTS];            /* committed */
    uint64_t next[SHM_MAX_SLOTS];              /* end of the batch that is being taken */
    unsigned most;                             /* records of a ring in one batch */
    unsigned usages, replies, keyed;           /* in the batch; keyed: changes of gateway keys */
    bool cleared;                              /* it has a RECORD_CLEAR */
    bool kept;                                 /* its replies are in the cache */
    struct share *share;                       /* share.h; NULL: with nobody */
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

    int64_t clock_gap_ms;      /* of the wall clock to the one that only runs; 0: not known yet */
    uint64_t clock_trusted_ms; /* since when; nothing goes for its age before that */
};

/* The records of a batch. */
struct entry { /* lies in the ring of `slot`, its payload somewhere in [from, to) */
    uint32_t slot, type;
    uint64_t from, to;
    struct str payload;
};
typedef void entry_fn(struct drain *d, struct db_txn *t, const struct entry *r);
void drain_each(struct drain *d, struct db_txn *t, entry_fn *fn);
/* The row in a record, and who holds its cost. false: it is none. */
bool drain_usage(const struct entry *r, struct str *row, struct money_list *held);

void drain_logs_open(struct drain *d);
void drain_logs_close(struct drain *d);
void drain_logs_batch(struct drain *d); /* whatever happens to it, nobody waits */
/* The log's line of a record of the batch; each is asked for once, in the rings' order. */
void drain_logs_line(struct drain *d, const struct entry *r, const struct ledger_row *row, struct buf *out);
/* What was before this, by the wall clock, is too old to be kept for `retention_ms`. */
int64_t drain_too_old(const struct drain *d, int64_t retention_ms);
void drain_logs_upkeep(struct drain *d, uint64_t now_ms);
/* An event for the log store, with the next batch or within a second. */
void drain_note(struct drain *d, enum log_level level, const char *event, const struct log_fields *fields,
                struct str message);

/* Stored keys: opens them if need be; and they are others now, by commit. */
bool drain_keys(struct drain *d);
void drain_keys_changed(struct drain *d);
void drain_cleared(struct drain *d); /* the index was, not by a record */
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
