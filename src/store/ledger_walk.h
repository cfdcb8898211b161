/* What the ledger's own files know of its records. Private to store/. */
#ifndef PENSTOCK_SRC_STORE_LEDGER_WALK_H
#define PENSTOCK_SRC_STORE_LEDGER_WALK_H
#include "chain.h"
#include "groups.h"

enum { RECORD_IS_USAGE = 1, RECORD_IS_CORRECTION = 2 };

/* All rows of an hour are among the records first..last; all that there were, while first is kept. */
struct ledger_hour {
    uint32_t hour;
    uint64_t first, last;
};
bool ledger_hour(struct db_txn *t, uint32_t hour, struct ledger_hour *h); /* false: no rows */
bool ledger_read_hour(struct str key, struct str value, struct ledger_hour *h);
uint32_t
ledger_whole_from(struct db_txn *t); /* hours before this have sums of rows that were never records */
/* The chain of this transaction's batch; it is put with it. */
struct chain *ledger_batch(struct db_txn *t);
void ledger_put_sums(struct db_txn *t, struct str key, const struct sums *s);
/* What a correction says: sums of one group, by today's prices in place of those it had. */
struct correction {
    uint64_t job;
    struct str by, key; /* the gateway key that asked for it; the group: sums_read_key */
    int64_t was_nano, is_nano;
    uint64_t was_unpriced, is_unpriced, records; /* records: of the group */
};
void correction_pack(struct buf *out, const struct correction *c);
bool correction_unpack(struct str packed, struct correction *c);
/* What it adds to the sums, where counters may fall: for sums_check alone. */
struct sums correction_change(const struct correction *c);
#endif
