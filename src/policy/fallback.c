/* What may answer in place of the targets of a model, when those have failed. */
#include "base/clock.h"
#include "plan.h"
#include "policy/auth.h"
#include "shm/health.h"

bool plan_class_listed(unsigned mask, enum fault_class after) {
    for (unsigned c = 0; c < FAULT_CLASSES; c++)
        if ((mask & (1u << c)) && fault_matches(after, (enum fault_class)c))
            return true;
    return false;
}

bool plan_add_name(struct plane *p, struct arena *a, struct plan *plan, struct str name) {
    struct plane_model *m = plane_model(p, name);
    struct plane_provider *pr;
    struct str star = STR_NONE, model;
    if (!m)
        m = plane_wildcard(p, name, &star);
    if (m)
        plan_add_model(p, a, plan, m, star);
    else if (plan_loose(p, name, &pr, &model))
        plan_add_loose(p, a, plan, pr, model);
    else
        return false;
    return true;
}

/* By the name that was used; of a target that no model is configured for, in any spelling of it. */
static bool rule_is_for(struct plane *p, const struct plan *plan, const char *name) {
    struct plane_provider *pr;
    struct str model;
    if (str_is(plan->asked, name))
        return true;
    return !plan->model && plan_loose(p, str_of(name), &pr, &model) && pr == plan->list[0]->provider &&
           str_eq(model, plan->list[0]->model);
}

static void add_rules(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after) {
    const struct conf *c = p->conf;
    for (size_t i = 0; i < c->nfallback_rules; i++) {
        const struct conf_fallback_rule *r = &c->fallback_rules[i];
        if (!rule_is_for(p, plan, r->model) || !plan_class_listed(r->fallback_on, after))
            continue;
        plan->fallback_on |= r->fallback_on;
        for (size_t k = 0; k < r->nfallbacks; k++)
            plan_add_name(p, a, plan, str_of(r->fallbacks[k]));
    }
}

/* An id that no model of the configuration names falls back to the other providers, best health first, each
 * with its own default model. */
static void add_other_providers(struct plane *p, struct arena *a, struct plan *plan) {
    unsigned score[PLAN_MAX];
    size_t from = plan->n;
    for (size_t i = 0; i < p->nproviders && plan->n < PLAN_MAX; i++) {
        struct plane_provider *pr = &p->providers[i];
        if (!pr->upstream || pr == plan->list[0]->provider || plan_default_model(pr).n == 0 ||
            (plan->caller && !auth_model(plan->caller, plan_default_model(pr))))
            continue;
        struct health h;
        health_look(p->shm, pr->entity, pr->breaker.window_ms, clock_ns(), &h);
        size_t before = plan->n;
        plan_add_loose(p, a, plan, pr, plan_default_model(pr));
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

void plan_add_fallbacks(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after) {
    const unsigned of_the_model = 1u << FAULT_CONTEXT_LENGTH | 1u << FAULT_CONTENT_FILTER;
    if (!p->conf->routing.fallback || !(fault_rule(after)->tries & FAULT_TRY_MODEL))
        return;
    size_t before = plan->n;
    const struct conf_model *m = plan->model ? plan->model->conf : NULL;
    if (plan->hints->fallbacks_said) {
        plan->fallback_on = ~0U;
        for (size_t i = 0; i < plan->hints->fallbacks.n; i++)
            plan_add_name(p, a, plan, plan->hints->fallbacks.at[i]);
        plan_leave_out(plan);
        plan->fallbacks_added = true;
        return;
    }
    if (m && plan_class_listed(m->fallback_on, after)) {
        plan->fallback_on |= m->fallback_on;
        for (size_t i = 0; i < m->nfallbacks; i++)
            plan_add_name(p, a, plan, str_of(m->fallbacks[i]));
    }
    add_rules(p, a, plan, after);
    bool in_need = !plan->dear && !plan_class_listed(of_the_model, after);
    if (!m && plan->n == before && in_need) {
        plan->fallback_on |= ~of_the_model;
        add_other_providers(p, a, plan);
    }
    plan_leave_out(plan);
    plan->fallbacks_added = plan->n > before;
}
