/* Strategies. Those that measure sort by a number that is the same for every worker, since it is read from
 * the shared segment; what is equal is taken in turn, so that equal targets share. */
#include "order.h"

#include <math.h>

#include "base/clock.h"
#include "base/hash.h"
#include "policy/price.h"
#include "shm/health.h"
#include "shm/slot.h"
#include "shm/speed.h"
#include "shm/stat.h"

static void rotate(struct target **list, size_t n, size_t by) {
    struct target *copy[PLAN_MAX];
    for (size_t i = 0; i < n; i++)
        copy[i] = list[(i + by) % n];
    memcpy(list, copy, n * sizeof(*list));
}

/* A random permutation in which a heavier target tends to come earlier: drawn without putting back. */
static void draw_by_weight(struct target **list, size_t n) {
    for (size_t i = 0; i + 1 < n; i++) {
        uint64_t sum = 0;
        for (size_t k = i; k < n; k++)
            sum += list[k]->weight;
        uint64_t r = random_u64() % (sum ? sum : 1);
        size_t k = i;
        while (r >= list[k]->weight)
            r -= list[k++]->weight;
        struct target *t = list[k];
        memmove(&list[i + 1], &list[i], (k - i) * sizeof(*list));
        list[i] = t;
    }
}

static double busy(struct plane *p, const struct target *t) {
    return (double)gauge_sum(p->shm, t->entity, GAUGE_IN_FLIGHT);
}

double order_weight(struct plane *p, const struct plan *plan, const struct target *t, enum conf_strategy s) {
    struct health h;
    switch (s) {
    case STRATEGY_HEALTH:
        health_look(p->shm, t->entity, t->provider->breaker.window_ms, clock_ns(), &h);
        return 100.0 - (double)h.score;
    case STRATEGY_COST: {
        int64_t nano = route_cost(p, plan, t);
        return nano < 0 ? INFINITY : (double)nano;
    }
    case STRATEGY_LATENCY: {
        struct speed v = speed_look(p->shm, t->entity, clock_ns());
        double ms = v.first_byte_ms + v.per_token_ms * (double)plan->output_tokens;
        return ms * (1 + busy(p, t));
    }
    case STRATEGY_LEAST_BUSY:
        return busy(p, t) / (double)t->weight;
    case STRATEGY_FALLBACK:
    case STRATEGY_WEIGHTED:
    case STRATEGY_ROUND_ROBIN:
        break;
    }
    return 0;
}

static void sort_by_weight(struct plane *p, struct plan *plan, enum conf_strategy s) {
    double weight[PLAN_MAX];
    for (size_t i = 0; i < plan->own; i++) {
        struct target *t = plan->list[i];
        double w = order_weight(p, plan, t, s);
        size_t k = i;
        for (; k > 0 && weight[k - 1] > w; k--) {
            weight[k] = weight[k - 1];
            plan->list[k] = plan->list[k - 1];
        }
        weight[k] = w;
        plan->list[k] = t;
    }
}

/* The better of two that are drawn goes first: were it the best of all, every worker would run there at once.
 */
static void better_of_two(struct plan *plan) {
    size_t n = plan->own, a = random_u64() % n, b = random_u64() % (n - 1);
    b += b >= a;
    size_t first = a < b ? a : b; /* they are sorted */
    struct target *t = plan->list[first];
    memmove(&plan->list[1], &plan->list[0], first * sizeof(*plan->list));
    plan->list[0] = t;
}

void order_targets(struct plane *p, struct plan *plan, enum conf_strategy s, bool dry) {
    if (plan->own < 2 || s == STRATEGY_FALLBACK)
        return;
    if (s == STRATEGY_WEIGHTED) {
        if (!dry)
            draw_by_weight(plan->list, plan->own);
        return;
    }
    uint32_t turns = plan->model_entity != SHM_NONE ? plan->model_entity : p->gateway;
    if (!dry)
        rotate(plan->list, plan->own, entity_turn(p->shm, turns) % plan->own);
    if (s == STRATEGY_ROUND_ROBIN)
        return;
    sort_by_weight(p, plan, s);
    if (s == STRATEGY_LATENCY && !dry)
        better_of_two(plan);
}
