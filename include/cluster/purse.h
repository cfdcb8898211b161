/* Budgets of a cluster. Each host has an allowance of each budget in its period (shm/money.h) that covers what it has spent
 * and reserved; the server keeps the allowances of all hosts, and lets none grow where the sum would pass the budget. So the
 * hosts together never reserve more than there is, whatever is lost on the way. */
#ifndef PENSTOCK_CLUSTER_PURSE_H
#define PENSTOCK_CLUSTER_PURSE_H
#include "cluster/cluster.h"
#include "shm/money.h"

/* A request's question, in the request; zero-initialised asks nothing. */
enum purse_state { PURSE_NONE, PURSE_ASKED, PURSE_GRANTED, PURSE_REFUSED, PURSE_AWAY };
struct purse_call;
struct purse_ask {
    void (*done)(void *arg); /* from the loop: reserve again */
    void *arg;
    enum purse_state state;
    unsigned rounds;
    size_t refused; /* index */
    struct patience *patience; /* the request's */
    struct purse_call *call;
};
/* As money_reserve(), with the limits of the whole cluster. *wait: nothing is decided, done comes within cluster.timeout. ask
 * NULL: without waiting; the server is told afterwards. */
enum money_verdict purse_reserve(struct cluster *c, const struct money_ask *asks, size_t n, uint64_t amount,
                                 struct purse_ask *ask, bool *wait, size_t *refused);
void purse_drop(struct purse_ask *ask); /* before its request goes */
#endif
