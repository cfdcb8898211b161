/* What the scribe knows of money: budgets and what was spent of them, from the ledger. */
#ifndef PENSTOCK_SRC_PROC_SPEND_H
#define PENSTOCK_SRC_PROC_SPEND_H
#include "conf/conf.h"
#include "policy/budget.h"
#include "shm/shm.h"
#include "store/ledger.h"

struct spend {
    struct shm *shm;
    const struct conf *conf;
    struct budgets *budgets; /* exchanged by spend_keys() */
    int64_t hour;            /* since the epoch, in which periods were last looked at */
};
void spend_open(struct spend *s, struct shm *shm, const struct conf *conf);
void spend_close(struct spend *s);
/* The stored keys are these now; spend_count() must follow, as soon as all that was committed is booked. When
 * they cannot be read all stays as it is. */
void spend_keys(struct spend *s, struct db *keys);
/* A row that lies in a slot's ring up to `upto` was committed; held: the entities that its worker held it
 * from. */
void spend_book(struct spend *s, uint32_t slot, uint64_t upto, const struct ledger_row *row,
                const struct money_list *held);
/* Counts anew those budgets whose period has changed, or (all) every one. ledger: inside a read transaction.
 */
void spend_count(struct spend *s, struct db *ledger, bool all);
/* Before each commit of rows: a period that has begun is counted before what was spent in it is booked, so
 * that nothing of it is out of sight in between. Costs nothing within an hour. */
void spend_turn(struct spend *s, struct db *ledger);
/* Tells of thresholds that were passed; once each in a period. */
void spend_alert(struct spend *s);
#endif
