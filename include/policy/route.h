/* Where a request goes: the model id to targets, in which order, and where next after a fault. */
#ifndef PENSTOCK_POLICY_ROUTE_H
#define PENSTOCK_POLICY_ROUTE_H
#include "policy/auth.h"
#include "policy/hints.h"
#include "policy/plane.h"

enum { PLAN_MAX = 32 };
struct plan {
    struct str asked;              /* the name the client used (or the default that stood in) */
    struct plane_model *model;     /* configured model, or NULL */
    enum conf_strategy strategy;   /* without one: among the providers that may answer where no model is named */
    struct target *list[PLAN_MAX]; /* in the order to try */
    size_t n, next;
    size_t preferred; /* list[0..preferred): of providers that the hints prefer */
    size_t own; /* list[0..own) are the model's own targets, the rest are fallbacks */
    enum conf_unsupported on_unsupported;
    uint32_t model_entity; /* counters; SHM_NONE for names that are not configured */
    bool fallbacks_added;
    bool defaults; /* nothing was named but providers: each target is the default model of one */
    bool any;      /* nor those: of all providers, of which the strategy chooses one */
    bool dear; /* refused for its cost: what was not named for that is no way out */
    const struct hints *hints; /* never NULL after route_resolve */
    const struct caller *caller; /* whose it is, after route_permit: what nobody configured for it leads to no model that it may
                                  * not use */
    /* Of this request, before route_order; 0: unknown. For those who look at windows, costs, speed. */
    uint64_t input_bytes, output_tokens;
    unsigned fallback_on; /* mask of 1 << fault_class: what leads on from one of the models to the next */
};
/* configuration.md, "Which target a model id means", within what the hints (NULL: none) allow; they must live as long as
 * the plan. false: MODEL_NOT_FOUND, or BAD_REQUEST when the hints leave nothing. */
bool route_resolve(struct plane *p, struct arena *a, struct str model, const struct hints *hints, struct plan *plan,
                   struct fault *f);
/* auth_model() of what was asked for. What else the plan has by its own choice, of a request that named no model, is left out
 * if the caller may not use it, now and when fallbacks are added. The caller must live as long as the plan. */
bool route_permit(struct plan *plan, const struct caller *c);
/* A request that goes through untouched (OP_PASS): to the provider that is named, else where its model leads, else (also
 * without a model) to the first provider that understands `d`, the default one before the others. */
bool route_pass(struct plane *p, struct arena *a, struct str provider, struct str model, const struct hints *hints,
                const struct dialect *d, struct plan *plan, struct fault *f);
/* Adds what may answer in place of the plan's targets, for those who want to see all of it. */
void route_fallbacks(struct plane *p, struct arena *a, struct plan *plan);
/* Orders the model's own targets by its strategy, or the hints'. Once, after resolve. */
void route_order(struct plane *p, struct plan *plan);
void route_order_dry(struct plane *p, struct plan *plan); /* takes no turn and draws nothing */
enum conf_strategy route_strategy(const struct plan *plan);
/* The target with this entity goes first, if it is one of the own and may be asked. */
void route_prefer(struct plane *p, struct plan *plan, uint32_t target);
/* What this request is expected to take and to cost at a target; -1: no price known. */
uint64_t route_input_tokens(struct plane *p, const struct plan *plan, const struct target *t);
int64_t route_cost(struct plane *p, const struct plan *plan, const struct target *t);
double route_weight(struct plane *p, const struct plan *plan, const struct target *t); /* what its strategy sorts by */
/* Why a target may not be asked now. */
enum route_no {
    ROUTE_OK,
    ROUTE_DRAINED,
    ROUTE_RESTS,
    ROUTE_BREAKER,
    ROUTE_WINDOW,
    ROUTE_COST,
    ROUTE_EXCLUDED, /* by the hints; such a target is in no plan */
    ROUTE_TAGS,
};
enum route_no route_why_not(struct plane *p, const struct plan *plan, const struct target *t);
enum route_no route_hints_against(const struct hints *h, const struct target *t);
/* Nothing may be asked: is there one reason of the request's own for it (COST_LIMIT, CONTEXT_LENGTH)? false: no. */
const char *route_no_name(enum route_no why); /* "ok", "breaker_open" ... */
bool route_refused(struct plane *p, struct arena *a, const struct plan *plan, struct fault *f);
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
