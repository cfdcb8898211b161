/* Routing: a model id becomes a list of targets, the list gets an order, and a fault says whether there is a
 * next one. No target is tried twice, so no configuration can make a circle. */
#include "policy/route.h"

#include "base/clock.h"
#include "base/hash.h"
#include "policy/price.h"
#include "shm/bucket.h"
#include "shm/health.h"
#include "shm/stat.h"

/* --- from a model id to targets --- */

static bool listed(const struct plan *plan, const struct plane_provider *pr, struct str model) {
    for (size_t i = 0; i < plan->n; i++)
        if (plan->list[i]->provider == pr && str_eq(plan->list[i]->model, model))
            return true;
    return false;
}

static void add(struct plan *plan, struct target *t) {
    if (plan->n < PLAN_MAX && !listed(plan, t->provider, t->model))
        plan->list[plan->n++] = t;
}

/* A target for an id that no model of the configuration names. */
static void add_loose(struct plane *p, struct arena *a, struct plan *plan, struct plane_provider *pr,
                      struct str model) {
    struct target *t = arena_alloc(a, sizeof(*t));
    *t = (struct target){.provider = pr, .model = model, .weight = 1};
    t->entity = plane_loose_target(p, a, pr, model);
    add(plan, t);
}

static void add_model(struct plan *plan, struct plane_model *m) {
    for (size_t i = 0; i < m->ntargets; i++)
        add(plan, &m->targets[i]);
}

static struct str default_model(const struct plane_provider *pr) {
    const struct conf_provider *c = pr->conf;
    return str_of(c->default_model && *c->default_model ? c->default_model : c->kind->default_model);
}

static struct plane_provider *default_provider(struct plane *p) {
    struct plane_provider *pr = plane_provider(p, str_of(p->conf->routing.default_provider));
    for (size_t i = 0; !pr && i < p->nproviders; i++)
        if (p->providers[i].upstream)
            pr = &p->providers[i];
    return pr;
}

/* "provider/model" or "provider.model" with a configured provider. */
static bool split(struct plane *p, struct str id, struct plane_provider **pr, struct str *model) {
    for (size_t i = 1; i + 1 < id.n; i++) {
        if (id.p[i] != '/' && id.p[i] != '.')
            continue;
        *pr = plane_provider(p, str_make(id.p, i));
        *model = str_skip(id, i + 1);
        if (*pr)
            return true;
    }
    return false;
}

static bool infer_matches(const char *patterns, struct str id) {
    struct str rest = str_of(patterns), one;
    while (str_next(&rest, ',', &one)) {
        if (one.n && one.p[one.n - 1] == '*' && id.n >= one.n - 1 && memcmp(one.p, id.p, one.n - 1) == 0 &&
            one.n > 1)
            return true;
        if (str_eq(one, id) || (str_is(one, "*/*") && memchr(id.p, '/', id.n)))
            return true;
    }
    return false;
}

static struct plane_provider *infer(struct plane *p, struct str id) {
    if (!p->conf->routing.infer_provider)
        return NULL;
    for (size_t i = 0; i < p->nproviders; i++)
        if (p->providers[i].upstream && infer_matches(p->providers[i].conf->kind->infer, id))
            return &p->providers[i];
    return NULL;
}

static bool resolve_loose(struct plane *p, struct arena *a, struct str id, struct plan *plan) {
    bool is_said = p->conf->routing.default_provider_said;
    struct plane_provider *said =
        is_said ? plane_provider(p, str_of(p->conf->routing.default_provider)) : NULL;
    struct plane_provider *pr;
    struct str model;
    if (said && said->conf->kind->whole_ids)
        add_loose(p, a, plan, said, id);
    else if (split(p, id, &pr, &model))
        add_loose(p, a, plan, pr, model);
    else if ((pr = plane_provider(p, id)) != NULL && default_model(pr).n)
        add_loose(p, a, plan, pr, default_model(pr));
    else if ((pr = infer(p, id)) != NULL)
        add_loose(p, a, plan, pr, id);
    else if (said || (!is_said && p->nmodels == 0 && (pr = default_provider(p)) != NULL))
        add_loose(p, a, plan, said ? said : pr, id);
    return plan->n > 0;
}

static void resolve_id(struct plane *p, struct arena *a, struct str id, struct plan *plan) {
    plan->asked = id;
    plan->model = plane_model(p, id);
    if (!plan->model) {
        resolve_loose(p, a, id, plan);
        return;
    }
    plan->model_entity = plan->model->entity;
    plan->on_unsupported = plan->model->conf->on_unsupported;
    add_model(plan, plan->model);
}

/* No model named: the default model, else the default provider's, else the first provider's; and where that
 * has none, the first model. A provider's default is its own, whatever else would be made of its id. */
static void resolve_nothing(struct plane *p, struct arena *a, struct plan *plan) {
    struct str id = str_of(p->conf->routing.default_model);
    struct plane_provider *pr = id.n ? NULL : default_provider(p);
    if (pr)
        id = default_model(pr);
    if (!id.n && p->nmodels)
        id = str_of(p->models[0].conf->name);
    if (pr && id.n && !plane_model(p, id)) {
        plan->asked = id;
        add_loose(p, a, plan, pr, id);
    } else if (id.n) {
        resolve_id(p, a, id, plan);
    }
}

static bool not_found(struct arena *a, struct str model, const struct plan *plan, struct fault *f) {
    if (plan->model) {
        fault_set(f, a, FAULT_NO_TARGET, "No provider of the model `" STR_FMT "` is enabled.",
                  STR_ARG(plan->asked));
        return false;
    }
    if (model.n)
        fault_set(f, a, FAULT_MODEL_NOT_FOUND,
                  "The model `%.*s` does not exist or you do not have access to it.",
                  model.n > 128 ? 128 : (int)model.n, model.p);
    else
        fault_set(f, a, FAULT_BAD_REQUEST, "You must provide a model parameter.");
    f->param = STR("model");
    return false;
}

static void add_fallbacks(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after);

bool route_resolve(struct plane *p, struct arena *a, struct str model, struct plan *plan, struct fault *f) {
    *plan = (struct plan){.model_entity = SHM_NONE, .on_unsupported = UNSUPPORTED_REJECT};
    if (model.n)
        resolve_id(p, a, model, plan);
    else
        resolve_nothing(p, a, plan);
    plan->own = plan->n;
    if (plan->model && plan->n == 0) /* all of its providers are disabled */
        add_fallbacks(p, a, plan, FAULT_NO_TARGET);
    return plan->n > 0 || not_found(a, model, plan, f);
}

/* --- what passes untouched --- */

static struct plane_provider *who_knows(struct plane *p, const struct dialect *d) {
    struct plane_provider *pr = default_provider(p);
    if (pr && plane_endpoint(pr, d, STR_NONE))
        return pr;
    for (size_t i = 0; i < p->nproviders; i++)
        if (p->providers[i].upstream && plane_endpoint(&p->providers[i], d, STR_NONE))
            return &p->providers[i];
    return NULL;
}

/* `model` at this provider: one that the configuration names, or as it is. */
static void add_at(struct plane *p, struct arena *a, struct plan *plan, struct plane_provider *pr,
                   struct str model) {
    struct plane_model *m = model.n ? plane_model(p, model) : NULL;
    struct plane_provider *named;
    struct str own;
    for (size_t i = 0; m && i < m->ntargets; i++)
        if (m->targets[i].provider == pr)
            add(plan, &m->targets[i]);
    if (plan->n)
        plan->model_entity = m->entity;
    else
        add_loose(p, a, plan, pr, split(p, model, &named, &own) && named == pr ? own : model);
}

/* A file or a batch is at one provider, and another's default model is of another trade: no fallbacks but
 * those that a configured model has. */
bool route_pass(struct plane *p, struct arena *a, struct str provider, struct str model,
                const struct dialect *d, struct plan *plan, struct fault *f) {
    bool resolved = !provider.n && model.n && route_resolve(p, a, model, plan, f);
    if (resolved && (plan->model || plane_endpoint(plan->list[0]->provider, d, plan->list[0]->model))) {
        plan->fallbacks_added = plan->fallbacks_added || !plan->model;
        return true;
    }
    *plan = (struct plan){.asked = model, .model_entity = SHM_NONE, .fallbacks_added = true};
    struct plane_provider *pr = provider.n ? plane_provider(p, provider) : who_knows(p, d);
    if (!pr && provider.n) {
        fault_set(f, a, FAULT_BAD_REQUEST,
                  "The header x-penstock-provider names no provider of this gateway.");
        f->param = STR("x-penstock-provider");
        return false;
    }
    if (!pr) {
        fault_set(f, a, FAULT_UNSUPPORTED, "No provider of this gateway has an endpoint for such requests.");
        return false;
    }
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    add_at(p, a, plan, pr, model);
    plan->own = plan->n;
    return true;
}

/* --- the order of the own targets --- */

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

void route_order(struct plane *p, struct plan *plan) {
    enum conf_strategy s = plan->model ? plan->model->conf->strategy : STRATEGY_FALLBACK;
    if (plan->own < 2)
        return;
    if (s == STRATEGY_WEIGHTED)
        draw_by_weight(plan->list, plan->own);
    else if (s == STRATEGY_ROUND_ROBIN)
        rotate(plan->list, plan->own, entity_turn(p->shm, plan->model_entity) % plan->own);
}

/* --- what comes after a fault --- */

static bool class_listed(unsigned mask, enum fault_class after) {
    for (unsigned c = 0; c < FAULT_CLASSES; c++)
        if ((mask & (1u << c)) && fault_matches(after, (enum fault_class)c))
            return true;
    return false;
}

/* A fallback names a configured model, or a provider and its model: never what a default provider would make
 * of it, which may be the one that failed. */
static void add_fallback(struct plane *p, struct arena *a, struct plan *plan, struct str name) {
    struct plane_model *m = plane_model(p, name);
    struct plane_provider *pr;
    struct str model;
    if (m)
        add_model(plan, m);
    else if (split(p, name, &pr, &model))
        add_loose(p, a, plan, pr, model);
}

/* By the name that was used; of a target that no model is configured for, in any spelling of it. */
static bool rule_is_for(struct plane *p, const struct plan *plan, const char *name) {
    struct plane_provider *pr;
    struct str model;
    if (str_is(plan->asked, name))
        return true;
    return !plan->model && split(p, str_of(name), &pr, &model) && pr == plan->list[0]->provider &&
           str_eq(model, plan->list[0]->model);
}

static void add_rules(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after) {
    const struct conf *c = p->conf;
    for (size_t i = 0; i < c->nfallback_rules; i++) {
        const struct conf_fallback_rule *r = &c->fallback_rules[i];
        if (!rule_is_for(p, plan, r->model) || !class_listed(r->fallback_on, after))
            continue;
        plan->fallback_on |= r->fallback_on;
        for (size_t k = 0; k < r->nfallbacks; k++)
            add_fallback(p, a, plan, str_of(r->fallbacks[k]));
    }
}

/* An id that no model of the configuration names falls back to the other providers, best health first, each
 * with its own default model. */
static void add_other_providers(struct plane *p, struct arena *a, struct plan *plan) {
    unsigned score[PLAN_MAX];
    size_t from = plan->n;
    for (size_t i = 0; i < p->nproviders && plan->n < PLAN_MAX; i++) {
        struct plane_provider *pr = &p->providers[i];
        if (!pr->upstream || pr == plan->list[0]->provider || default_model(pr).n == 0)
            continue;
        struct health h;
        health_look(p->shm, pr->entity, pr->breaker.window_ms, clock_ns(), &h);
        size_t before = plan->n;
        add_loose(p, a, plan, pr, default_model(pr));
        if (plan->n == before)
            continue;
        size_t k = before;
        struct target *t = plan->list[before];
        for (; k > from && score[k - 1] < h.score; k--) {
            plan->list[k] = plan->list[k - 1];
            score[k] = score[k - 1];
        }
        plan->list[k] = t;
        score[k] = h.score;
    }
}

static void add_fallbacks(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after) {
    const unsigned of_the_model = 1u << FAULT_CONTEXT_LENGTH | 1u << FAULT_CONTENT_FILTER;
    if (!p->conf->routing.fallback || !(fault_rule(after)->tries & FAULT_TRY_MODEL))
        return;
    size_t before = plan->n;
    const struct conf_model *m = plan->model ? plan->model->conf : NULL;
    if (m && class_listed(m->fallback_on, after)) {
        plan->fallback_on |= m->fallback_on;
        for (size_t i = 0; i < m->nfallbacks; i++)
            add_fallback(p, a, plan, str_of(m->fallbacks[i]));
    }
    add_rules(p, a, plan, after);
    if (!m && plan->n == before && !class_listed(of_the_model, after)) {
        plan->fallback_on |= ~of_the_model;
        add_other_providers(p, a, plan);
    }
    plan->fallbacks_added = plan->n > before;
}

static bool passes(struct plane *p, const struct target *t) {
    uint64_t now = clock_coarse_ns();
    return rest_left_ns(p->shm, t->entity, now) == 0 && !plane_drained(p, t->provider) &&
           breaker_would_pass(p->shm, t->entity, &t->provider->breaker, now);
}

static uint64_t window_of(struct plane *p, const struct target *t) {
    if (t->conf && t->conf->context_window)
        return t->conf->context_window;
    const struct price *price =
        price_find(p->prices, str_of(t->provider->conf->kind->price_vendor), t->model);
    return price ? price->context : 0;
}

/* May t be tried after `last` failed so? It is another target of the same model, or another model. */
static bool follows(struct plane *p, const struct plan *plan, const struct target *last,
                    const struct target *t, enum fault_class after) {
    if (!last || after == FAULT_NONE)
        return true;
    unsigned tries = fault_rule(after)->tries;
    if (t->conf && t->conf == last->conf)
        return tries & FAULT_TRY_TARGET;
    if (!(tries & FAULT_TRY_MODEL) || !class_listed(plan->fallback_on, after))
        return false;
    uint64_t had = after == FAULT_CONTEXT_LENGTH ? window_of(p, last) : 0, has = had ? window_of(p, t) : 0;
    return !had || !has || has > had; /* what is too long for one is too long for a window no larger */
}

/* Index of the next that may be tried; plan->n when there is none. */
static size_t find_next(struct plane *p, const struct plan *plan, enum fault_class after) {
    const struct target *last = plan->next ? plan->list[plan->next - 1] : NULL;
    size_t i = plan->next;
    while (i < plan->n && !(follows(p, plan, last, plan->list[i], after) && passes(p, plan->list[i])))
        i++;
    return i;
}

bool route_has_more(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after) {
    if (find_next(p, plan, after) < plan->n)
        return true;
    if (!plan->fallbacks_added && after != FAULT_NONE)
        add_fallbacks(p, a, plan, after);
    return find_next(p, plan, after) < plan->n;
}

struct target *route_next(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after) {
    if (!route_has_more(p, a, plan, after))
        return NULL;
    plan->next = find_next(p, plan, after) + 1;
    return plan->list[plan->next - 1];
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
