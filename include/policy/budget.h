/* Budgets of keys, tenants, models and providers: which of them a request is spent from, what it may cost, and how
 * much of each is left. Workers reserve and settle (shm/money.h); the scribe matches what it commits by names. */
#ifndef PENSTOCK_POLICY_BUDGET_H
#define PENSTOCK_POLICY_BUDGET_H
#include "cluster/purse.h"
#include "policy/admit.h"
#include "policy/plane.h"
#include "shm/money.h"

struct budget {
    enum entity_kind kind; /* GATEWAY_KEY, TENANT, PROVIDER, MODEL */
    struct str name;
    uint32_t entity;
    const struct conf_budget *conf;
    const struct conf *all;         /* MODEL: where its targets' providers are ... */
    const struct conf_model *model; /* ... and the targets */
};
struct budgets {
    struct arena *arena;
    struct budget *list; /* sorted by kind and name */
    size_t n, models;    /* the models' are list[models..n) */
};
/* Those of the configuration, which must outlive them, and of n stored keys, which need not. */
struct budgets *budgets_new(struct shm *s, const struct conf *c, const struct conf_gateway_key *const *stored, size_t n);
void budgets_free(struct budgets *b);
/* What is spent by a request of this key and tenant at this provider's model (any may be empty): at most MONEY_MOST. The
 * name of a model may be as the ledger cuts it. */
size_t budgets_of(const struct budgets *b, struct str key, struct str tenant, struct str provider, struct str model,
                  const struct budget *out[MONEY_MOST]);

/* The span of a period: [from, until) in wall ms; until INT64_MAX: it never ends. */
struct budget_span {
    int64_t from_ms, until_ms;
};
struct budget_span budget_span(enum conf_period period, int64_t wall_ms);
struct money_period budget_period(enum conf_period period, int64_t wall_ms);
const char *budget_kind_name(enum entity_kind kind);     /* "key" */

/* --- workers --- */

/* As of now, those of the stored keys included: until the loop turns. */
const struct budgets *budgets_now(struct plane *p);

struct budget_hold { /* zero-initialised holds nothing */
    uint32_t entity[MONEY_MOST];
    size_t n;
    uint64_t nano;
};
struct budget_ask {
    const struct caller *caller;
    const struct target *target;
    struct admit_tokens most; /* what it may use: budget_most() */
    struct purse_ask *cluster; /* how the cluster is asked; NULL: without waiting for it */
};
/* The estimated input, and max_tokens or what answers take. */
struct admit_tokens budget_most(const struct ask *ask, enum operation op, const struct admit_tokens *estimate);
/* Reserves what the request may cost at this target with every budget it is spent from. OVER: *f is BUDGET, and says when
 * the period ends. UNKNOWN: ask again in some ms. Nothing is held then. *waits: nothing is decided, the cluster has been asked
 * and its `done` comes; then again. */
enum money_verdict budget_take(struct plane *p, const struct budget_ask *ask, struct budget_hold *h, struct arena *a,
                               struct fault *f, bool *waits);
/* Looks only: what it would be spent from, how many, and whether all of them have enough left. */
size_t budget_look(struct plane *p, const struct budget_ask *ask, const struct budget *of[MONEY_MOST], bool *fits);
/* It has cost so much: that is held until the scribe has committed the record, which names h->entity. Before the record
 * is put into the ring. */
void budget_settle(struct plane *p, struct budget_hold *h, int64_t nano);
/* It has cost nothing, and there will be no record of it. */
void budget_drop(struct plane *p, struct budget_hold *h);
#endif
