/* Where a request goes: the model id to targets, in which order, and where next after a fault. */
#ifndef PENSTOCK_POLICY_ROUTE_H
#define PENSTOCK_POLICY_ROUTE_H
#include "policy/auth.h"
#include "policy/plane.h"

enum { PLAN_MAX = 32 };
struct plan {
    struct str asked;              /* the name the client used (or the default that stood in) */
    struct plane_model *model;     /* configured model, or NULL */
    struct target *list[PLAN_MAX]; /* in the order to try */
    size_t n, next;
    size_t own; /* list[0..own) are the model's own targets, the rest are fallbacks */
    enum conf_unsupported on_unsupported;
    uint32_t model_entity; /* counters; SHM_NONE for names that are not configured */
    bool fallbacks_added;
    unsigned fallback_on; /* mask of 1 << fault_class: what leads on from one of the models to the next */
};
/* configuration.md, "Which target a model id means". false: MODEL_NOT_FOUND. */
bool route_resolve(struct plane *p, struct arena *a, struct str model, struct plan *plan, struct fault *f);
/* A request that goes through untouched (OP_PASS): to the provider that is named, else where its model leads, else (also
 * without a model) to the first provider that understands `d`, the default one before the others. */
bool route_pass(struct plane *p, struct arena *a, struct str provider, struct str model, const struct dialect *d,
                struct plan *plan, struct fault *f);
/* Orders the model's own targets by its strategy. Once, after resolve. */
void route_order(struct plane *p, struct plan *plan);
/* The next target whose breaker would let it pass, and that `after`, the fault of the one before (FAULT_NONE at
 * the start), allows: another one of the same model, or another model, after CONTEXT_LENGTH with a larger window
 * if known. NULL when there is none left. Fallback models are added when they are needed. */
struct target *route_next(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after);
/* Is there another one to try after this fault? Looks only. */
bool route_has_more(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after);
/* A key that does not rest and is not in `tried` (a mask), by weight; NULL when none. */
const struct plane_key *route_key(struct plane *p, const struct plane_provider *pr, uint64_t tried,
                                  size_t *index);
/* When all rest: the one whose rest ends first, unless that is never. */
const struct plane_key *route_key_resting(struct plane *p, const struct plane_provider *pr, size_t *index);
#endif
