/* From a model id, or what stands in for it, to the targets that may answer. */
#include "base/clock.h"
#include "base/hash.h"
#include "plan.h"

static const struct hints no_hints = {.max_cost_nano = -1};

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

/* A target for an id that no model of the configuration names. With control characters it is nobody's id: its
 * name stands in lines of metrics, tables and logs. */
void plan_add_loose(struct plane *p, struct arena *a, struct plan *plan, struct plane_provider *pr,
                    struct str model) {
    if (!str_plain(model))
        return;
    struct target *t = arena_alloc(a, sizeof(*t));
    static const struct conf_target no_tags;
    *t = (struct target){.provider = pr, .model = model, .weight = 1, .tags = &no_tags};
    t->entity = plane_loose_target(p, a, pr, model);
    add(plan, t);
}

static bool named_in(const struct hint_list *l, const struct plane_provider *pr) {
    for (size_t i = 0; i < l->n; i++)
        if (kind_name_eq(str_of(pr->conf->name), l->at[i]) ||
            (pr->conf->kind->alias && kind_name_eq(str_of(pr->conf->kind->alias), l->at[i])))
            return true;
    return false;
}

static bool left_out(const struct hints *h, const struct plane_provider *pr) {
    const struct hint_list only = {.at = {h->provider}, .n = 1};
    return named_in(&h->excluded, pr) || (h->alone && !named_in(&only, pr));
}

static bool has_tags(const struct conf_target *t, const struct hint_list *tags) {
    for (size_t i = 0; i < tags->n; i++) {
        size_t k = 0;
        while (k < t->ntags && !str_is(tags->at[i], t->tags[k]))
            k++;
        if (k == t->ntags)
            return false;
    }
    return true;
}

enum route_no route_hints_against(const struct hints *h, const struct target *t) {
    if (left_out(h, t->provider))
        return ROUTE_EXCLUDED;
    return has_tags(t->tags, &h->tags) ? ROUTE_OK : ROUTE_TAGS;
}

/* "*" in a target's model stands for what the star of the model's name stood for. */
static struct str put_star(struct arena *a, struct str pattern, struct str star) {
    const char *at = pattern.n ? memchr(pattern.p, '*', pattern.n) : NULL;
    if (!at)
        return pattern;
    size_t before = (size_t)(at - pattern.p);
    return arena_printf(a, "%.*s" STR_FMT STR_FMT, (int)before, pattern.p, STR_ARG(star),
                        STR_ARG(str_skip(pattern, before + 1)));
}

/* star: what a wildcard of its name matched; p NULL: it has none. */
void plan_add_model(struct plane *p, struct arena *a, struct plan *plan, struct plane_model *m,
                    struct str star) {
    for (size_t i = 0; i < m->ntargets; i++) {
        struct target *t = &m->targets[i];
        if (!has_tags(t->tags, &plan->hints->tags))
            continue;
        if (star.p) {
            struct target *own = arena_alloc(a, sizeof(*own));
            *own = *t;
            own->model = put_star(a, t->model, star);
            own->entity = plane_loose_target(p, a, t->provider, own->model);
            t = own;
        }
        add(plan, t);
    }
}

struct str plan_default_model(const struct plane_provider *pr) {
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
bool plan_split(struct plane *p, struct str id, struct plane_provider **pr, struct str *model) {
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

static struct plane_provider *infer(struct plane *p, struct str id) {
    if (!p->conf->routing.infer_provider)
        return NULL;
    for (size_t i = 0; i < p->nproviders; i++)
        if (p->providers[i].upstream && kind_infers(p->providers[i].conf->kind, id))
            return &p->providers[i];
    return NULL;
}

/* "provider/model" of one that is configured, though it may be off: nobody stands in for it. */
static bool is_of_one(const struct plane *p, struct str id) {
    for (size_t i = 1; i + 1 < id.n; i++)
        if ((id.p[i] == '/' || id.p[i] == '.') && conf_provider(p->conf, str_make(id.p, i)))
            return true;
    return false;
}

bool plan_loose(struct plane *p, struct str id, struct plane_provider **pr, struct str *model) {
    if (!str_plain(id))
        return false;
    if (plan_split(p, id, pr, model))
        return true;
    *model = id;
    *pr = plane_provider(p, id);
    if (*pr && plan_default_model(*pr).n)
        *model = plan_default_model(*pr);
    else
        *pr = is_of_one(p, id) ? NULL : infer(p, id);
    return *pr != NULL;
}

/* strict: what only the default provider would be asked for is nothing. */
static bool resolve_loose(struct plane *p, struct arena *a, struct str id, bool strict, struct plan *plan) {
    bool is_said = p->conf->routing.default_provider_said;
    struct plane_provider *said =
        is_said ? plane_provider(p, str_of(p->conf->routing.default_provider)) : NULL;
    struct plane_provider *pr;
    struct str model;
    bool whole = said && said->conf->kind->whole_ids;
    if (whole && !strict)
        plan_add_loose(p, a, plan, said, id);
    else if (plan_split(p, id, &pr, &model))
        plan_add_loose(p, a, plan, pr, model);
    else if ((pr = plane_provider(p, id)) != NULL && plan_default_model(pr).n)
        plan_add_loose(p, a, plan, pr, plan_default_model(pr));
    else if (whole && memchr(id.p, '/', id.n))
        plan_add_loose(p, a, plan, said, id);
    else if ((pr = infer(p, id)) != NULL)
        plan_add_loose(p, a, plan, pr, id);
    else if (strict)
        return false;
    else if (said || (!is_said && p->nmodels == 0 && (pr = default_provider(p)) != NULL))
        plan_add_loose(p, a, plan, said ? said : pr, id);
    return plan->n > 0;
}

static void resolve_id(struct plane *p, struct arena *a, struct str id, bool strict, struct plan *plan) {
    struct str star = STR_NONE;
    plan->asked = id;
    plan->model = plane_model(p, id);
    if (!plan->model)
        plan->model = plane_wildcard(p, id, &star);
    if (!plan->model) {
        resolve_loose(p, a, id, strict, plan);
        return;
    }
    plan->model_entity = plan->model->entity;
    plan->on_unsupported = plan->model->conf->on_unsupported;
    plan_add_model(p, a, plan, plan->model, star);
}

static const struct conf_task *task_of(const struct plane *p, struct str name) {
    for (size_t i = 0; i < p->conf->routing.ntasks; i++)
        if (kind_name_eq(str_of(p->conf->routing.tasks[i].name), name))
            return &p->conf->routing.tasks[i];
    return NULL;
}

/* Its models are one list: the first that works, whatever has failed. */
static void resolve_task(struct plane *p, struct arena *a, const struct conf_task *t, struct plan *plan) {
    resolve_id(p, a, str_of(t->models[0]), false, plan);
    plan->own = plan->n;
    for (size_t i = 1; i < t->nmodels; i++)
        if (!plan_add_name(p, a, plan, str_of(t->models[i])))
            resolve_loose(p, a, str_of(t->models[i]), false, plan);
    plan->fallback_on = ~0U;
}

/* No model named: what the task says, else a preferred provider's default. */
static bool resolve_by_hints(struct plane *p, struct arena *a, struct plan *plan) {
    const struct hints *h = plan->hints;
    const struct conf_task *t = h->task.n ? task_of(p, h->task) : NULL;
    if (t)
        resolve_task(p, a, t, plan);
    for (size_t i = 0; !t && i < h->preferred.n; i++) {
        struct plane_provider *pr = plane_provider(p, h->preferred.at[i]);
        if (!pr || !plan_default_model(pr).n || named_in(&h->excluded, pr))
            continue;
        plan->asked = plan->n ? plan->asked : plan_default_model(pr);
        plan->defaults = true;
        plan_add_loose(p, a, plan, pr, plan_default_model(pr));
    }
    return plan->n > 0;
}

/* No model was named, nor a default configured, but a strategy to choose by: among all providers. */
static void resolve_any(struct plane *p, struct arena *a, struct plan *plan) {
    enum conf_strategy own = p->conf->routing.default_strategy;
    bool said = plan->hints->strategy_said;
    if (*p->conf->routing.default_model || p->conf->routing.default_provider_said ||
        (said ? plan->hints->strategy : own) == STRATEGY_FALLBACK)
        return;
    plan->strategy = own;
    plan->defaults = plan->any = true;
    for (size_t i = 0; i < p->nproviders; i++) {
        struct plane_provider *pr = &p->providers[i];
        if (pr->upstream && !left_out(plan->hints, pr) && plan_default_model(pr).n)
            plan_add_loose(p, a, plan, pr, plan_default_model(pr));
    }
}

/* No model was named, and the hints leave out who would have been meant: the first provider that they do not.
 */
static void resolve_another(struct plane *p, struct arena *a, struct plan *plan) {
    if (plan->n == 0)
        return;
    for (size_t i = 0; i < plan->n; i++)
        if (!left_out(plan->hints, plan->list[i]->provider))
            return;
    for (size_t i = 0; i < p->nproviders; i++) {
        struct plane_provider *pr = &p->providers[i];
        if (!pr->upstream || left_out(plan->hints, pr) || !plan_default_model(pr).n)
            continue;
        plan->n = 0;
        plan->asked = plan_default_model(pr);
        plan_add_loose(p, a, plan, pr, plan->asked);
        return;
    }
}

/* No model named: the default model, else the default provider's, else the first provider's; and where that
 * has none, the first model. A provider's default is its own, whatever else would be made of its id. */
static void resolve_nothing(struct plane *p, struct arena *a, struct plan *plan) {
    struct str id = str_of(p->conf->routing.default_model);
    struct plane_provider *pr = id.n ? NULL : default_provider(p);
    if (pr)
        id = plan_default_model(pr);
    if (!id.n && p->nmodels)
        id = str_of(p->models[0].conf->name);
    if (pr && id.n && !plane_model(p, id)) {
        plan->asked = id;
        plan_add_loose(p, a, plan, pr, id);
    } else if (id.n) {
        resolve_id(p, a, id, false, plan);
    }
    if (plan->model) /* a configured one has its own targets and fallbacks */
        return;
    resolve_another(p, a, plan);
    resolve_any(p, a, plan);
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

static bool known_providers(struct plane *p, struct arena *a, const struct hint_list *l, const char *param,
                            struct fault *f) {
    for (size_t i = 0; i < l->n; i++)
        if (!plane_provider(p, l->at[i])) {
            fault_set(f, a, FAULT_BAD_REQUEST, "%s: there is no provider `%.*s`.", param, (int)l->at[i].n,
                      l->at[i].p);
            f->param = str_of(param);
            return false;
        }
    return true;
}

static bool known_fallbacks(struct plane *p, struct arena *a, const struct hints *h, struct fault *f) {
    struct plane_provider *pr;
    struct str rest;
    for (size_t i = 0; i < h->fallbacks.n; i++)
        if (!plane_model(p, h->fallbacks.at[i]) && !plane_wildcard(p, h->fallbacks.at[i], &rest) &&
            !plan_loose(p, h->fallbacks.at[i], &pr, &rest)) {
            fault_set(f, a, FAULT_BAD_REQUEST,
                      "routing.fallbacks: there is no model `%.*s`, and no provider that it could be of.",
                      (int)h->fallbacks.at[i].n, h->fallbacks.at[i].p);
            f->param = STR("routing.fallbacks");
            return false;
        }
    return true;
}

/* Those of programs that come with a list of their own: without a route they go where a request without a
 * model goes. */
static const char *const usual_tasks[] = {"text_generation", "summarization", "sentiment_analysis",
                                          "question_answering"};
enum { USUAL_TASKS = sizeof usual_tasks / sizeof *usual_tasks };

static bool is_usual(struct str name) {
    for (size_t i = 0; i < USUAL_TASKS; i++)
        if (kind_name_eq(str_of(usual_tasks[i]), name))
            return true;
    return false;
}

static bool no_task(const struct plane *p, struct arena *a, struct str name, struct fault *f) {
    struct buf all;
    buf_init(&all, FAULT_MESSAGE_MAX / 2);
    for (size_t i = 0; i < USUAL_TASKS; i++)
        buf_printf(&all, "%s%s", i ? ", " : "", usual_tasks[i]);
    for (size_t i = 0; i < p->conf->routing.ntasks; i++)
        if (!is_usual(str_of(p->conf->routing.tasks[i].name)))
            buf_printf(&all, ", %s", p->conf->routing.tasks[i].name);
    struct str list = buf_ok(&all) ? buf_str(&all) : STR("too many to tell");
    fault_set(f, a, FAULT_BAD_REQUEST, "There is no task `%.*s`. There are: " STR_FMT ".",
              name.n > 128 ? 128 : (int)name.n, name.p, STR_ARG(list));
    f->param = STR("routing.task");
    buf_free(&all);
    return false;
}

static bool check_hints(struct plane *p, struct arena *a, const struct hints *h, struct fault *f) {
    if (!known_providers(p, a, &h->preferred, "routing.preferred_providers", f) ||
        !known_providers(p, a, &h->excluded, "routing.exclude_providers", f) || !known_fallbacks(p, a, h, f))
        return false;
    return !h->task.n || is_usual(h->task) || task_of(p, h->task) || no_task(p, a, h->task, f);
}

void plan_leave_out(struct plan *plan) {
    size_t n = 0, own = 0;
    for (size_t i = 0; i < plan->n; i++)
        if (route_hints_against(plan->hints, plan->list[i]) == ROUTE_OK) {
            own += i < plan->own;
            plan->list[n++] = plan->list[i];
        }
    plan->n = n;
    plan->own = own;
}

/* Of those that nobody named only what the caller may use. */
static void permit_defaults(struct plan *plan, const struct caller *c) {
    size_t n = 0;
    for (size_t i = 0; i < plan->n; i++)
        if (auth_model(c, plan->list[i]->model))
            plan->list[n++] = plan->list[i];
    plan->n = plan->own = plan->preferred = n;
}

bool route_permit(struct plan *plan, const struct caller *c) {
    plan->caller = c;
    if (!plan->any && !auth_model(c, plan->asked))
        return false;
    if (plan->defaults)
        permit_defaults(plan, c);
    if (plan->any && plan->n)
        plan->asked = plan->list[0]->model;
    return plan->n > 0 || !plan->any;
}

/* Those of preferred providers first, in the order that they were named in. */
void plan_prefer(struct plan *plan) {
    const struct hint_list *l = &plan->hints->preferred;
    size_t at = 0;
    for (size_t k = 0; k < l->n; k++) {
        const struct hint_list one = {.at = {l->at[k]}, .n = 1};
        for (size_t i = at; i < plan->own; i++) {
            struct target *t = plan->list[i];
            if (!named_in(&one, t->provider))
                continue;
            memmove(&plan->list[at + 1], &plan->list[at], (i - at) * sizeof(t));
            plan->list[at++] = t;
        }
    }
    plan->preferred = at;
}

static bool nothing_left(struct arena *a, struct fault *f) {
    fault_set(f, a, FAULT_BAD_REQUEST, "The routing hints leave no provider that could answer.");
    f->param = STR("routing");
    return false;
}

/* --- a provider that is named beside the model --- */

static bool is_at(const struct plane_model *m, const struct plane_provider *pr) {
    for (size_t i = 0; i < m->ntargets; i++)
        if (m->targets[i].provider == pr)
            return true;
    return false;
}

/* Its default, else the first configured model that it serves. */
static struct str model_of(struct plane *p, const struct plane_provider *pr) {
    struct str id = plan_default_model(pr);
    for (size_t i = 0; !id.n && i < p->nmodels; i++)
        if (is_at(&p->models[i], pr))
            id = str_of(p->models[i].conf->name);
    return id;
}

/* A configured model that it serves; else the id as it is, unless it is the name of one that it does not. */
static void resolve_at(struct plane *p, struct arena *a, struct plane_provider *pr, struct str id,
                       struct plan *plan) {
    struct plane_provider *named;
    struct str star, own, wanted = id.n ? id : model_of(p, pr);
    const struct plane_model *m = plane_model(p, wanted);
    bool wild = !m && (m = plane_wildcard(p, wanted, &star)) != NULL;
    plan->asked = wanted;
    if (m && is_at(m, pr))
        resolve_id(p, a, wanted, plan->hints->known_model, plan);
    else if (wanted.n && (!m || wild || !id.n))
        plan_add_loose(p, a, plan, pr, plan_split(p, wanted, &named, &own) && named == pr ? own : wanted);
}

static bool resolve_provider(struct plane *p, struct arena *a, struct str model, struct plan *plan,
                             struct fault *f) {
    struct str name = plan->hints->provider;
    struct plane_provider *pr = plane_provider(p, name);
    if (pr) {
        resolve_at(p, a, pr, model, plan);
        return true;
    }
    fault_set(f, a, FAULT_BAD_REQUEST, "provider: there is no provider `%.*s`.",
              name.n > HINT_TEXT_MAX ? HINT_TEXT_MAX : (int)name.n, name.p);
    f->param = STR("provider");
    return false;
}

bool route_resolve(struct plane *p, struct arena *a, struct str model, const struct hints *hints,
                   struct plan *plan, struct fault *f) {
    *plan = (struct plan){
        .model_entity = SHM_NONE, .on_unsupported = UNSUPPORTED_REJECT, .hints = hints ? hints : &no_hints};
    bool named = plan->hints->provider.n > 0;
    if (named && !resolve_provider(p, a, model, plan, f))
        return false;
    if (!check_hints(p, a, plan->hints, f))
        return false;
    if (named)
        ; /* done */
    else if (model.n)
        resolve_id(p, a, model, plan->hints->known_model, plan);
    else if (!resolve_by_hints(p, a, plan))
        resolve_nothing(p, a, plan);
    bool found = plan->n > 0;
    if (!plan->own)
        plan->own = plan->n;
    plan_leave_out(plan);
    plan_prefer(plan);
    if (plan->model && plan->n == 0) /* all of its providers are disabled */
        plan_add_fallbacks(p, a, plan, FAULT_NO_TARGET);
    if (plan->n > 0)
        return true;
    bool hinted = found || (plan->model && plan->hints->tags.n);
    return hinted ? nothing_left(a, f) : not_found(a, model, plan, f);
}

/* --- what passes untouched --- */

static bool knows(const struct plane_provider *pr, const struct dialect *d, const struct hints *h) {
    return pr && pr->upstream && !left_out(h, pr) && plane_endpoint(pr, d, STR_NONE);
}

static struct plane_provider *who_knows(struct plane *p, const struct dialect *d, const struct hints *h) {
    struct plane_provider *pr;
    for (size_t i = 0; i < h->preferred.n; i++)
        if (knows(pr = plane_provider(p, h->preferred.at[i]), d, h))
            return pr;
    if (knows(pr = default_provider(p), d, h))
        return pr;
    for (size_t i = 0; i < p->nproviders; i++)
        if (knows(&p->providers[i], d, h))
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
        plan_add_loose(p, a, plan, pr, plan_split(p, model, &named, &own) && named == pr ? own : model);
}

/* A file or a batch is at one provider, and another's default model is of another trade: no fallbacks but
 * those that a configured model has. */
bool route_pass(struct plane *p, struct arena *a, struct str provider, struct str model,
                const struct hints *hints, const struct dialect *d, struct plan *plan, struct fault *f) {
    if (!hints)
        hints = &no_hints;
    if (!check_hints(p, a, hints, f))
        return false;
    bool resolved = !provider.n && model.n && route_resolve(p, a, model, hints, plan, f);
    if (resolved && (plan->model || plane_endpoint(plan->list[0]->provider, d, plan->list[0]->model))) {
        plan->fallbacks_added = plan->fallbacks_added || !plan->model;
        return true;
    }
    *plan = (struct plan){.asked = model, .model_entity = SHM_NONE, .fallbacks_added = true, .hints = hints};
    struct plane_provider *pr = provider.n ? plane_provider(p, provider) : who_knows(p, d, hints);
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
    return plan->n > 0 || not_found(a, model, plan, f);
}
