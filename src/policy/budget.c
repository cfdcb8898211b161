/* Which budgets there are, what a request may cost, and when a period ends. The counting is in shm/money.c.
 */
#include "policy/budget.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "policy/keyring.h"
#include "policy/price.h"
#include "store/ledger.h"

/* --- the list --- */

_Static_assert(3 + CONF_MAX_MODEL_BUDGETS == MONEY_MOST, "key, tenant, provider and models");

static void add(struct budgets *b, struct shm *s, enum entity_kind kind, const char *name,
                const struct conf_budget *conf, const struct conf *all, const struct conf_model *model) {
    if (conf->nano < 0)
        return;
    uint32_t entity = shm_entity(s, kind, str_of(name));
    b->list[b->n++] = (struct budget){kind, str_of(name), entity, conf, all, model};
}

static int compare(struct str a, struct str b) {
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* Models last: they are not found by their name. */
static int by_name(const void *va, const void *vb) {
    const struct budget *a = va, *b = vb;
    bool am = a->kind == ENTITY_MODEL, bm = b->kind == ENTITY_MODEL;
    if (am != bm)
        return am - bm;
    return a->kind != b->kind ? (int)a->kind - (int)b->kind : compare(a->name, b->name);
}

/* A copy: the key may go before. */
static void add_stored(struct budgets *b, struct shm *s, const struct conf_gateway_key *k) {
    struct conf_budget *own = arena_alloc(b->arena, sizeof(*own));
    struct str id = arena_dup(b->arena, str_of(k->id));
    *own = k->budget;
    own->alert = NULL;
    b->list[b->n++] =
        (struct budget){.kind = ENTITY_GATEWAY_KEY, .name = id, .entity = keyring_entity(s, id), .conf = own};
}

struct budgets *budgets_new(struct shm *s, const struct conf *c, const struct conf_gateway_key *const *stored,
                            size_t n) {
    struct arena *a = arena_new(0);
    struct budgets *b = arena_alloc(a, sizeof(*b));
    size_t most = c->auth.nkeys + c->ntenants + c->nproviders + c->nmodels + n;
    *b = (struct budgets){.arena = a, .list = arena_array(a, most + 1, sizeof(*b->list))};
    for (size_t i = 0; i < c->auth.nkeys; i++)
        add(b, s, ENTITY_GATEWAY_KEY, c->auth.keys[i].id, &c->auth.keys[i].budget, NULL, NULL);
    for (size_t i = 0; i < n; i++)
        if (stored[i]->budget.nano >= 0)
            add_stored(b, s, stored[i]);
    for (size_t i = 0; i < c->ntenants; i++)
        add(b, s, ENTITY_TENANT, c->tenants[i].id, &c->tenants[i].budget, NULL, NULL);
    for (size_t i = 0; i < c->nproviders; i++)
        add(b, s, ENTITY_PROVIDER, c->providers[i].name, &c->providers[i].budget, NULL, NULL);
    for (size_t i = 0; i < c->nmodels; i++)
        add(b, s, ENTITY_MODEL, c->models[i].name, &c->models[i].budget, c, &c->models[i]);
    qsort(b->list, b->n, sizeof(*b->list), by_name);
    while (b->models < b->n && b->list[b->models].kind != ENTITY_MODEL)
        b->models++;
    return b;
}

void budgets_free(struct budgets *b) {
    if (b)
        arena_free(b->arena);
}

static struct budgets *budgets_of_ring(struct plane *p, const struct keyring *r) {
    size_t n = 0;
    const struct conf_gateway_key **stored = mem_array(keyring_size(r) + 1, sizeof(*stored));
    for (size_t i = 0; i < keyring_size(r); i++)
        if (!keyring_at(r, i)->shadowed)
            stored[n++] = &keyring_at(r, i)->effective;
    struct budgets *b = budgets_new(p->shm, p->conf, stored, n);
    mem_free(stored);
    return b;
}

/* While the keys cannot be read nobody comes with one: their budgets stay as they were. */
const struct budgets *budgets_now(struct plane *p) {
    const struct keyring *r = keyring_now(p);
    uint64_t generation = r ? keyring_generation(r) : p->budgets_generation;
    if (p->budgets && generation == p->budgets_generation)
        return p->budgets;
    budgets_free(p->budgets);
    p->budgets = budgets_of_ring(p, r);
    p->budgets_generation = generation;
    return p->budgets;
}

static void find(const struct budgets *b, enum entity_kind kind, struct str name,
                 const struct budget *out[MONEY_MOST], size_t *n) {
    const struct budget want = {.kind = kind, .name = name};
    const struct budget *found =
        name.n && b->models ? bsearch(&want, b->list, b->models, sizeof(*b->list), by_name) : NULL;
    if (found)
        out[(*n)++] = found;
}

/* Money of a model is what is spent at any of its targets: that is what the ledger knows. */
static bool is_target(const struct budget *b, struct str provider, struct str model) {
    for (size_t i = 0; i < b->model->ntargets; i++) {
        const struct conf_target *t = &b->model->targets[i];
        struct str name = str_of(t->model);
        if (str_is(provider, b->all->providers[t->provider_index].name) &&
            (str_glob(name, model) || ledger_name_is(model, name)))
            return true;
    }
    return false;
}

size_t budgets_of(const struct budgets *b, struct str key, struct str tenant, struct str provider,
                  struct str model, const struct budget *out[MONEY_MOST]) {
    size_t n = 0;
    find(b, ENTITY_GATEWAY_KEY, key, out, &n);
    find(b, ENTITY_TENANT, tenant, out, &n);
    find(b, ENTITY_PROVIDER, provider, out, &n);
    for (size_t i = b->models; i < b->n && n < MONEY_MOST; i++)
        if (is_target(&b->list[i], provider, model))
            out[n++] = &b->list[i];
    return n;
}

/* --- periods --- */

const char *budget_kind_name(enum entity_kind kind) {
    return kind == ENTITY_GATEWAY_KEY ? "key"
           : kind == ENTITY_TENANT    ? "tenant"
           : kind == ENTITY_PROVIDER  ? "provider"
                                      : "model";
}

enum { HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS };

static struct budget_span span(int64_t from_day, int64_t until_day) {
    return (struct budget_span){from_day * DAY_MS, until_day * DAY_MS};
}

/* The first day since the epoch of a month, counted from January 1970. Leap days are counted up to the
 * February before it, in years that begin with March. */
static int64_t month_start(int64_t months) {
    static const int before[] = {306, 337, 0,   31,  61,  92,
                                 122, 153, 184, 214, 245, 275}; /* days since March 1 */
    int64_t year = 1970 + months / 12 - (months % 12 < 2);
    return year * 365 + year / 4 - year / 100 + year / 400 + before[months % 12] - 719468;
}

static struct budget_span month_of(int64_t day) {
    int64_t months = day / 31; /* the months since 1970 are not fewer */
    while (month_start(months + 1) <= day)
        months += (day - month_start(months + 1)) / 31 + 1;
    return span(month_start(months), month_start(months + 1));
}

struct budget_span budget_span(enum conf_period period, int64_t wall_ms) {
    int64_t now = wall_ms < 0 ? 0 : wall_ms, day = now / DAY_MS, monday;
    switch (period) {
    case PERIOD_HOUR:
        return (struct budget_span){now / HOUR_MS * HOUR_MS, (now / HOUR_MS + 1) * HOUR_MS};
    case PERIOD_DAY:
        return span(day, day + 1);
    case PERIOD_WEEK: /* the epoch was a Thursday */
        monday = (day + 3) / 7 * 7 - 3;
        return (struct budget_span){monday < 0 ? 0 : monday * DAY_MS, (monday + 7) * DAY_MS};
    case PERIOD_MONTH:
        return month_of(day);
    default:
        return (struct budget_span){0, INT64_MAX};
    }
}

struct money_period budget_period(enum conf_period period, int64_t wall_ms) {
    return (struct money_period){(uint32_t)period,
                                 (uint32_t)(budget_span(period, wall_ms).from_ms / HOUR_MS)};
}

/* --- workers --- */

/* -1: no price is known. */
static int64_t worst_cost(struct plane *p, const struct target *t, const struct admit_tokens *most) {
    struct usage u = {.known = true, .input = most->input, .output = most->output, .cost_nano = -1};
    u.input = u.input < USAGE_COUNT_MAX ? u.input : USAGE_COUNT_MAX;
    u.output = u.output < USAGE_COUNT_MAX ? u.output : USAGE_COUNT_MAX;
    if (u.input == 0 && u.output == 0)
        return 0;
    return price_bill(p->prices, str_of(t->provider->conf->kind->price_vendor), t->model,
                      t->conf ? &t->conf->prices : NULL, &u);
}

static void tell_unpriced(struct plane *p, const struct target *t) {
    if (money_tell_unpriced(p->shm, t->entity))
        log_event(LVL_WARN, "alert", "%s/" STR_FMT " has no price: what it is used for counts to no budget",
                  t->provider->conf->name, STR_ARG(t->model));
}

static void refuse(struct fault *f, struct arena *a, const struct budget *b, int64_t now_ms) {
    static const char *const whose[] = {[ENTITY_GATEWAY_KEY] = "this key",
                                        [ENTITY_TENANT] = "this tenant",
                                        [ENTITY_PROVIDER] = "the provider",
                                        [ENTITY_MODEL] = "this model"};
    struct budget_span span = budget_span(b->conf->period, now_ms);
    if (span.until_ms == INT64_MAX) {
        fault_set(f, a, FAULT_BUDGET, "The budget of %s has not enough left for this request.",
                  whose[b->kind]);
        return;
    }
    char when[CLOCK_RFC3339_SIZE];
    clock_rfc3339(when, span.until_ms);
    fault_set(f, a, FAULT_BUDGET,
              "The budget of %s for this %s has not enough left for this request; the next begins at %.19sZ.",
              whose[b->kind], conf_period_name(b->conf->period), when);
    f->retry_after_ms = span.until_ms - now_ms;
}

struct admit_tokens budget_most(const struct ask *ask, enum operation op,
                                const struct admit_tokens *estimate) {
    struct admit_tokens most = *estimate;
    if (op == OP_COUNT)
        most.input = 0;
    if (op != OP_CHAT)
        most.output = 0;
    else if (ask->max_tokens && __builtin_mul_overflow(ask->max_tokens, ask->n ? ask->n : 1, &most.output))
        most.output = UINT64_MAX;
    return most;
}

static size_t spent_from(struct plane *p, const struct budget_ask *ask, const struct budget *of[MONEY_MOST]) {
    const struct budgets *all = budgets_now(p);
    const struct conf_gateway_key *k = ask->caller->key;
    if (all->n == 0) /* nearly always */
        return 0;
    return budgets_of(all, str_of(k->id), str_of(k->tenant), str_of(ask->target->provider->conf->name),
                      ask->target->model, of);
}

size_t budget_look(struct plane *p, const struct budget_ask *ask, const struct budget *of[MONEY_MOST],
                   bool *fits) {
    size_t n = spent_from(p, ask, of);
    int64_t now = clock_wall_ms(), cost = worst_cost(p, ask->target, &ask->most);
    *fits = true;
    for (size_t i = 0; i < n; i++) {
        struct money m;
        uint64_t limit = (uint64_t)of[i]->conf->nano;
        money_look(p->shm, of[i]->entity, budget_period(of[i]->conf->period, now), &m);
        if (!m.known || m.spent >= limit || m.on_way >= limit - m.spent ||
            (cost > 0 && (uint64_t)cost > limit - m.spent - m.on_way))
            *fits = false;
    }
    return n;
}

enum money_verdict budget_take(struct plane *p, const struct budget_ask *ask, struct budget_hold *h,
                               struct arena *a, struct fault *f, bool *waits) {
    const struct target *t = ask->target;
    const struct budget *of[MONEY_MOST];
    struct money_ask asks[MONEY_MOST];
    size_t n = spent_from(p, ask, of), refused;
    *h = (struct budget_hold){.n = 0};
    *waits = false;
    if (n == 0)
        return MONEY_OK;
    int64_t now = clock_wall_ms(), cost = worst_cost(p, t, &ask->most);
    if (cost < 0)
        tell_unpriced(p, t);
    for (size_t i = 0; i < n; i++) {
        if (of[i]->entity == SHM_NONE) /* nobody could say what is left */
            return MONEY_UNKNOWN;
        asks[i] = (struct money_ask){of[i]->entity, budget_period(of[i]->conf->period, now),
                                     (uint64_t)of[i]->conf->nano};
    }
    uint64_t nano = cost > 0 ? (uint64_t)cost : 0;
    enum money_verdict v = p->cluster
                               ? purse_reserve(p->cluster, asks, n, nano, ask->cluster, waits, &refused)
                               : money_reserve(p->shm, asks, n, nano, &refused);
    if (v == MONEY_OVER && !*waits)
        refuse(f, a, of[refused], now);
    if (v != MONEY_OK)
        return v;
    h->nano = nano;
    for (; h->n < n; h->n++)
        h->entity[h->n] = of[h->n]->entity;
    return MONEY_OK;
}

void budget_settle(struct plane *p, struct budget_hold *h, int64_t nano) {
    uint64_t is = nano > 0 ? (uint64_t)nano : 0;
    money_change(p->shm, h->entity, h->n, h->nano, is);
    h->nano = is;
}

void budget_drop(struct plane *p, struct budget_hold *h) {
    budget_settle(p, h, 0);
    h->n = 0;
}
