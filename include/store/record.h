/* Types of the records in the rings. */
#ifndef PENSTOCK_STORE_RECORD_H
#define PENSTOCK_STORE_RECORD_H
#include "base/buf.h"

enum record {
    RECORD_USAGE = 1,  /* ledger_pack */
    RECORD_REPLY = 2,  /* reply_pack */
    RECORD_CLEAR = 3,  /* the cache index was cleared: drop what is no longer in it. "model_hash owner_hash older_than_ms" */
    RECORD_KEY = 4,    /* key_change_pack */
    RECORD_SPANS = 16, /* OTLP spans of one request as JSON, commas between them; not stored */
    RECORD_SPENT = 8,  /* record_spent, then ledger_pack: its cost is held from budgets until it is booked */
    RECORD_TALK = 5,   /* logs_pack_talk: what RECORD_USAGE or RECORD_SPENT has, and the text of prompt and answer */
    RECORD_EVENT = 6,  /* logs_pack_event */
    RECORD_PRICE = 7,  /* ledger_pack_price: before the first row that names it */
    RECORD_REPRICE = 9, /* ledger_job_pack: costs of a time are to be made anew */
};
/* The entities (shm/money.h) that hold the cost of the row that follows. */
void record_spent(struct buf *out, const uint32_t *entity, size_t n);
/* Takes them off the front of a payload; at most `max`. false: damaged. */
bool record_spent_read(struct str *payload, uint32_t *entity, size_t max, size_t *n);
#endif
