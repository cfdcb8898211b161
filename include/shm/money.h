/* Money per entity, in nano-dollars: what was spent in the current period, and what is on its way there. All budgets are
 * decided on the sum of both, over all processes.
 *
 * Spent is written by the scribe alone, from what it has committed to the ledger: it is the ledger's sum, to the
 * nano-dollar, and a scribe that starts takes it from there. On its way are the reservations of requests in flight and
 * the costs of those that have ended but whose record the scribe has not booked. A slot has two words for it: what its
 * process has put in (only it writes that), and what the scribe has booked of it (only the scribe writes that). So
 * nothing is lost or counted twice for longer than it takes to write two words, whoever is killed where: what a dead
 * worker had put in counts until its ring is drained, and is gone then. */
#ifndef PENSTOCK_SHM_MONEY_H
#define PENSTOCK_SHM_MONEY_H
#include "shm/shm.h"

enum { MONEY_MOST = 8 }; /* entities of one request */

/* A period: which kind, and the hour since the epoch with which it began. */
struct money_period {
    uint32_t kind, from_hour;
};
struct money_ask {
    uint32_t entity;
    struct money_period period; /* that it is now, as the caller sees it */
    uint64_t limit;
};
enum money_verdict {
    MONEY_OK,
    MONEY_OVER,    /* there is not so much left */
    MONEY_UNKNOWN, /* the scribe has not told yet what was spent in such a period: ask again in a moment */
};
/* Reserves `amount` with all of them or none; an entity stands there once at most. Nothing is let through where nothing
 * is left, even what costs nothing. Of several at once exactly those pass that fit (of equal ones). *refused: the index,
 * when not OK. */
enum money_verdict money_reserve(struct shm *s, const struct money_ask *asks, size_t n, uint64_t amount,
                                 size_t *refused);
/* The process that reserved: from `was` to `is` with each. Before the record that tells of it is put into the ring; to 0
 * when there will be none. */
void money_change(struct shm *s, const uint32_t *entity, size_t n, uint64_t was, uint64_t is);

struct money {
    bool known;             /* else spent is 0 */
    uint64_t spent, on_way; /* on_way: reserved, or not committed yet */
};
void money_look(const struct shm *s, uint32_t entity, struct money_period now, struct money *out);

/* --- of a budget that several hosts share: what this one may spend of it, as the cluster has said --- */

struct money_allowance {
    bool known;               /* of this period; else all is 0 */
    uint64_t allowed, others; /* of this host in the whole period; of all others */
    uint64_t keep;            /* so much may lie here unspent */
};
void money_allowance(const struct shm *s, uint32_t entity, struct money_period now, struct money_allowance *out);
/* Any process: never less than before in one period. It knows nothing of a period that has just been over. */
void money_allow(struct shm *s, uint32_t entity, struct money_period period, const struct money_allowance *a);
/* The scribe: takes out what lies here unspent beyond `keep`. False: nothing, or a question is on its way. *was, *is: the
 * allowance; the cluster has to be told. */
bool money_give_up(struct shm *s, uint32_t entity, struct money_period *period, uint64_t *was, uint64_t *is);

/* --- the scribe --- */

/* What has been spent in a period, anew. */
void money_set(struct shm *s, uint32_t entity, struct money_period period, uint64_t spent);
void money_forget(struct shm *s, uint32_t entity);             /* it has no budget any more: unknown */
struct money_period money_period(const struct shm *s, uint32_t entity); /* the one that is kept; kind UINT32_MAX: none */
/* A record of a slot's ring that ends at `upto` has been committed: `amount` more was spent by `spenders`, and is no
 * longer on its way from that slot for those of `held`. Of what was booked before, by a scribe that was killed then, only
 * the former is done again: money_set follows. */
struct money_list {
    uint32_t entity[MONEY_MOST];
    size_t n;
};
void money_book(struct shm *s, uint32_t slot, uint64_t upto, const struct money_list *spenders,
                const struct money_list *held, uint64_t amount);
void money_recover(struct shm *s); /* once, at the start: ends what a killed scribe had begun */

/* One of two things that are told of once: true for the first process that asks, of all. */
bool money_tell_unpriced(struct shm *s, uint32_t entity);
/* How many of a budget's thresholds have been told of in this period; the scribe's. */
uint32_t money_told(const struct shm *s, uint32_t entity);
void money_set_told(struct shm *s, uint32_t entity, uint32_t n);
#endif
