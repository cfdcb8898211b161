/* Budgets: their thresholds in money, and how many of them one request may meet. */
#include "load.h"

const char *conf_period_name(enum conf_period period) {
    static const char *const names[CONF_PERIODS] = {"hour", "day", "week", "month", "total"};
    return names[period];
}

/* Thresholds in money, the lowest first. */
bool conf_budget_alerts(struct conf_budget *b) {
    if (b->nalerts > CONF_MAX_ALERTS) {
        b->nalerts = 0;
        return false;
    }
    for (size_t i = 0; i < b->nalerts; i++) {
        double part = 0;
        if (!value_real(str_of(b->alert[i]), &part) || part <= 0 || part > 1)
            return false;
        int64_t nano = b->nano > 0 ? (int64_t)(part * (double)b->nano) : 0;
        size_t j = i;
        for (; j > 0 && b->alert_nano[j - 1] > nano; j--)
            b->alert_nano[j] = b->alert_nano[j - 1];
        b->alert_nano[j] = nano;
    }
    return true;
}

static void check_budget(struct load *l, struct conf_budget *b, const struct at *of) {
    struct at at = at_child(of, "budget.alert"), budget = at_child(of, "budget");
    if (budget.node && budget.node->kind == NODE_MAP && !node_get(of->node, "budget.usd"))
        load_warn(l, &budget, "without usd nothing is limited");
    if (!conf_budget_alerts(b))
        load_error(l, &at, "expected parts of the budget above 0 up to 1, such as 0.8, at most %d of them",
                   CONF_MAX_ALERTS);
}

/* May one model's name be meant by both? A name with a star is taken for all that begins as it does. */
static bool overlap(struct str a, struct str b) {
    const char *sa = a.n ? memchr(a.p, '*', a.n) : NULL, *sb = b.n ? memchr(b.p, '*', b.n) : NULL;
    if (!sa || !sb)
        return str_glob(a, b) || str_glob(b, a);
    size_t na = (size_t)(sa - a.p), nb = (size_t)(sb - b.p);
    return memcmp(a.p, b.p, na < nb ? na : nb) == 0;
}

static bool has_target(const struct conf_model *m, const struct conf_target *t) {
    for (size_t i = 0; i < m->ntargets; i++)
        if (m->targets[i].provider_index == t->provider_index &&
            overlap(str_of(m->targets[i].model), str_of(t->model)))
            return true;
    return false;
}

/* A request is spent from all of them together, and shared memory has room for so many. */
static void check_model_budgets(struct load *l, size_t of, const struct at *at) {
    const struct conf *c = l->c;
    const struct conf_model *m = &c->models[of];
    for (size_t i = 0; m->budget.nano >= 0 && i < m->ntargets; i++) {
        size_t n = 0;
        for (size_t j = 0; j <= of; j++)
            n += c->models[j].budget.nano >= 0 && has_target(&c->models[j], &m->targets[i]);
        if (n == CONF_MAX_MODEL_BUDGETS + 1) {
            struct at budget = at_child(at, "budget");
            load_error(l, &budget,
                       "%s/%s is a target of %d models before it that have budgets; at most %d may have one",
                       m->targets[i].provider, m->targets[i].model, CONF_MAX_MODEL_BUDGETS,
                       CONF_MAX_MODEL_BUDGETS);
            return;
        }
    }
}

static struct at element(const struct at *list, size_t i) {
    return list->node && list->node->kind == NODE_LIST ? at_item(list, i) : *list;
}

void check_budgets(struct load *l, const struct at *root) {
    struct conf *c = l->c;
    struct at list = at_child(root, "providers"), at;
    for (size_t i = 0; i < c->nproviders; i++) {
        at = element(&list, i);
        check_budget(l, &c->providers[i].budget, &at);
    }
    list = at_child(root, "models");
    for (size_t i = 0; i < c->nmodels; i++) {
        at = element(&list, i);
        check_budget(l, &c->models[i].budget, &at);
        check_model_budgets(l, i, &at);
    }
    list = at_child(root, "tenants");
    for (size_t i = 0; i < c->ntenants; i++) {
        at = element(&list, i);
        check_budget(l, &c->tenants[i].budget, &at);
    }
    list = at_child(root, "auth.keys");
    for (size_t i = 0; i < c->auth.nkeys; i++) {
        at = element(&list, i);
        check_budget(l, &c->auth.keys[i].budget, &at);
    }
}
