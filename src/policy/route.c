/* Routing: the targets of a plan get an order, and a fault says whether there is a next one. No target is
 * tried twice, so no configuration can make a circle. Who they are: resolve.c and fallback.c. */
#include "policy/route.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/hash.h"
#include "order.h"
#include "plan.h"
#include "policy/price.h"
#include "shm/bucket.h"
#include "shm/tokens.h"

/* --- the order of the own targets --- */

enum conf_strategy route_strategy(const struct plan *plan) {
    if (plan->hints->strategy_said)
        return plan->hints->strategy;
    return plan->model ? plan->model->conf->strategy : plan->strategy;
}

void route_order(struct plane *p, struct plan *plan) {
    order_targets(p, plan, route_strategy(plan), false);
    plan_prefer(plan);
}

void route_order_dry(struct plane *p, struct plan *plan) {
    order_targets(p, plan, route_strategy(plan), true);
    plan_prefer(plan);
}

double route_weight(struct plane *p, const struct plan *plan, const struct target *t) {
    return order_weight(p, plan, t, route_strategy(plan));
}

void route_prefer(struct plane *p, struct plan *plan, uint32_t target) {
    for (size_t i = plan->preferred ? plan->own : 0; i < plan->own; i++) {
        struct target *t = plan->list[i];
        if (t->entity != target || route_why_not(p, plan, t) != ROUTE_OK)
            continue;
        memmove(&plan->list[1], &plan->list[0], i * sizeof(t));
        plan->list[0] = t;
        return;
    }
}

/* --- what a request takes --- */

uint64_t route_input_tokens(struct plane *p, const struct plan *plan, const struct target *t) {
    return tokens_estimate(p->shm, plane_text_entity(p, t), plan->input_bytes);
}

int64_t route_cost(struct plane *p, const struct plan *plan, const struct target *t) {
    struct usage u = {.known = true,
                      .input = route_input_tokens(p, plan, t),
                      .output = plan->output_tokens,
                      .cost_nano = -1};
    return price_bill(p->prices, str_of(t->provider->conf->kind->price_vendor), t->model,
                      t->conf ? &t->conf->prices : NULL, &u);
}

/* --- which may be asked --- */

static uint64_t window_of(struct plane *p, const struct target *t) {
    if (t->conf && t->conf->context_window)
        return t->conf->context_window;
    const struct price *price =
        price_find(p->prices, str_of(t->provider->conf->kind->price_vendor), t->model);
    return price ? price->context : 0;
}

/* An estimate is none of the provider's counts: only what is far over a window is taken for too long. */
static bool too_long(struct plane *p, const struct plan *plan, const struct target *t) {
    uint64_t window = plan->input_bytes ? window_of(p, t) : 0;
    return window && route_input_tokens(p, plan, t) > window + window / 4;
}

static bool is_own(const struct plan *plan, const struct target *t) {
    for (size_t i = 0; i < plan->own; i++)
        if (plan->list[i] == t)
            return true;
    return false;
}

/* What costs nobody knows how much is no cheaper way out. */
static bool too_dear(struct plane *p, const struct plan *plan, const struct target *t) {
    if (plan->hints->max_cost_nano < 0)
        return false;
    int64_t cost = route_cost(p, plan, t);
    return cost < 0 ? !is_own(plan, t) : cost > plan->hints->max_cost_nano;
}

enum route_no route_why_not(struct plane *p, const struct plan *plan, const struct target *t) {
    uint64_t now = clock_coarse_ns();
    if (plane_drained(p, t->provider))
        return ROUTE_DRAINED;
    if (rest_left_ns(p->shm, t->entity, now) != 0)
        return ROUTE_RESTS;
    if (!plan->hints->alone && !breaker_would_pass(p->shm, t->entity, &t->provider->breaker, now))
        return ROUTE_BREAKER;
    if (too_dear(p, plan, t))
        return ROUTE_COST;
    return too_long(p, plan, t) ? ROUTE_WINDOW : ROUTE_OK;
}

const char *route_no_name(enum route_no why) {
    static const char *const names[] = {
        "ok", "drained", "resting", "breaker_open", "context_window", "max_cost_usd", "excluded", "tags"};
    return names[why];
}

static struct str dollars(struct arena *a, int64_t nano) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    buf_addc(&b, '$');
    jw_init(&w, &b);
    jw_nano(&w, nano);
    struct str s = arena_dup(a, buf_str(&b));
    buf_free(&b);
    return s;
}

bool route_refused(struct plane *p, struct arena *a, const struct plan *plan, struct fault *f) {
    size_t cost = 0, window = 0;
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < plan->n; i++) {
        enum route_no why = route_why_not(p, plan, plan->list[i]);
        cost += why == ROUTE_COST;
        int64_t here = why == ROUTE_COST ? route_cost(p, plan, plan->list[i]) : -1;
        least = here >= 0 && here < least ? here : least;
        window += why == ROUTE_WINDOW;
    }
    if (plan->n == 0 || cost + window < plan->n || (cost && least == INT64_MAX))
        return false;
    if (cost)
        fault_set(f, a, FAULT_COST_LIMIT,
                  "This request is expected to cost about " STR_FMT
                  " at the cheapest model that could answer it, more than max_cost_usd, " STR_FMT ".",
                  STR_ARG(dollars(a, least)), STR_ARG(dollars(a, plan->hints->max_cost_nano)));
    else
        fault_set(f, a, FAULT_CONTEXT_LENGTH,
                  "The prompt has about %" PRIu64 " tokens, more than the context window of %" PRIu64 ".",
                  route_input_tokens(p, plan, plan->list[0]), window_of(p, plan->list[0]));
    if (cost)
        f->param = STR("routing.max_cost_usd");
    return true;
}

/* May t be tried after `last` failed so? It is another target of the same model, or another model. */
static bool follows(struct plane *p, const struct plan *plan, const struct target *last,
                    const struct target *t, enum fault_class after) {
    if (!last || after == FAULT_NONE)
        return true;
    unsigned tries = fault_rule(after)->tries;
    if (t->conf && t->conf == last->conf)
        return tries & FAULT_TRY_TARGET;
    if (!(tries & FAULT_TRY_MODEL) || !plan_class_listed(plan->fallback_on, after))
        return false;
    uint64_t had = after == FAULT_CONTEXT_LENGTH ? window_of(p, last) : 0, has = had ? window_of(p, t) : 0;
    return !had || !has || has > had; /* what is too long for one is too long for a window no larger */
}

/* Index of the next that may be tried; plan->n when there is none. */
static size_t find_next(struct plane *p, const struct plan *plan, enum fault_class after) {
    const struct target *last = plan->next ? plan->list[plan->next - 1] : NULL;
    size_t i = plan->next;
    while (i < plan->n && !(follows(p, plan, last, plan->list[i], after) &&
                            route_why_not(p, plan, plan->list[i]) == ROUTE_OK))
        i++;
    return i;
}

void route_fallbacks(struct plane *p, struct arena *a, struct plan *plan) {
    if (!plan->fallbacks_added)
        plan_add_fallbacks(p, a, plan, FAULT_SERVER);
}

/* Likewise, with the fallbacks where they are wanted. */
static size_t find_more(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after) {
    size_t i = find_next(p, plan, after);
    if (i < plan->n || plan->fallbacks_added || after == FAULT_NONE)
        return i;
    plan_add_fallbacks(p, a, plan, after);
    return find_next(p, plan, after);
}

bool route_has_more(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after) {
    return find_more(p, a, plan, after) < plan->n;
}

struct target *route_next(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after) {
    size_t i = find_more(p, a, plan, after);
    if (i == plan->n)
        return NULL;
    plan->next = i + 1;
    return plan->list[i];
}

const struct plane_key *route_key(struct plane *p, const struct plane_provider *pr, uint64_t tried,
                                  size_t *index) {
    uint64_t now = clock_coarse_ns(), sum = 0;
    bool free_key[CONF_MAX_KEYS];
    unsigned weight[CONF_MAX_KEYS];
    size_t n = pr->nkeys;
    for (size_t i = 0; i < n; i++) {
        free_key[i] = !(tried >> i & 1) && rest_left_ns(p->shm, pr->keys[i].entity, now) == 0;
        weight[i] = weight_of(p->shm, pr->keys[i].entity, pr->keys[i].conf->weight);
        sum += free_key[i] ? weight[i] : 0;
    }
    if (sum == 0)
        return NULL;
    uint64_t r = n > 1 ? random_u64() % sum : 0;
    for (size_t i = 0; i < n; i++) {
        if (!free_key[i])
            continue;
        if (r < weight[i]) {
            *index = i;
            return &pr->keys[i];
        }
        r -= weight[i];
    }
    return NULL;
}

const struct plane_key *route_key_resting(struct plane *p, const struct plane_provider *pr, size_t *index) {
    uint64_t now = clock_coarse_ns(), best = UINT64_MAX;
    const struct plane_key *k = NULL;
    for (size_t i = 0; i < pr->nkeys; i++) {
        uint64_t left = rest_left_ns(p->shm, pr->keys[i].entity, now);
        if (left < best) {
            best = left;
            k = &pr->keys[i];
            *index = i;
        }
    }
    return k;
}
