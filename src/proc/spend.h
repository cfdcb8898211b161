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
/* Tells of thresholds that were passed; once each in a period. */
void spend_alert(struct spend *s);
#endif
