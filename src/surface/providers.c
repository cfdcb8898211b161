/* GET /admin/v1/providers: every provider with its targets, breakers, keys and numbers. */
#include "providers.h"

#include "base/clock.h"
#include "shm/bucket.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "surface/surface.h"

static bool passes(struct plane *p, const struct plane_provider *pr, uint32_t entity) {
    return breaker_would_pass(p->shm, entity, &pr->breaker, clock_ns());
}

typedef void target_fn(struct plane *p, const struct plane_provider *pr, struct str model, uint32_t entity,
                       void *arg);

/* The configured targets of a provider, then what else of it was used. */
static void each_target(struct plane *p, const struct plane_provider *pr, target_fn *fn, void *arg) {
    for (size_t m = 0; m < p->nmodels; m++)
        for (size_t t = 0; t < p->models[m].ntargets; t++) {
            const struct target *tg = &p->models[m].targets[t];
            if (tg->provider == pr && tg->first)
                fn(p, pr, tg->model, tg->entity, arg);
        }
    enum entity_kind kind;
    struct str name;
    size_t n = strlen(pr->conf->name);
    for (uint32_t e = 0; shm_entity_at(p->shm, e, &kind, &name); e++)
        if (kind == ENTITY_TARGET && name.n > n && str_starts(name, pr->conf->name) && name.p[n] == '/' &&
            entity_count(p->shm, e, ENTITY_STAT_REQUESTS) > 0 && !(e < p->nconfigured && p->configured[e]))
            fn(p, pr, str_skip(name, n + 1), e, arg);
}

struct serving {
    unsigned all, passing, closed, half_open;
};

static void look_at(struct plane *p, const struct plane_provider *pr, struct str model, uint32_t entity,
                    void *arg) {
    struct serving *s = arg;
    (void)model;
    s->all++;
    s->passing += passes(p, pr, entity);
    enum breaker_state st = breaker_state(p->shm, entity, NULL, clock_ns());
    s->closed += st == BREAKER_CLOSED;
    s->half_open += st == BREAKER_HALF_OPEN;
}

/* A provider that was never used at all is taken for good. */
static bool serves(const struct serving *s) {
    return s->all == 0 || s->passing > 0;
}

static enum breaker_state best_breaker(const struct serving *s) {
    if (s->all == 0 || s->closed)
        return BREAKER_CLOSED;
    return s->half_open ? BREAKER_HALF_OPEN : BREAKER_OPEN;
}

/* One that was refused is out until the next reload; one that waits for a moment is not. */
static bool has_key(struct plane *p, const struct plane_provider *pr) {
    for (size_t i = 0; i < pr->nkeys; i++)
        if (rest_left_ns(p->shm, pr->keys[i].entity, clock_ns()) != UINT64_MAX)
            return true;
    return pr->nkeys == 0;
}

struct plane_provider *provider_named(struct plane *p, struct str name) {
    for (size_t i = 0; i < p->nproviders; i++)
        if (kind_name_eq(str_of(p->providers[i].conf->name), name))
            return &p->providers[i];
    return plane_provider(p, name);
}

void provider_look(struct plane *p, const struct plane_provider *pr, struct provider_view *v) {
    health_look(p->shm, pr->entity, pr->breaker.window_ms, clock_ns(), &v->health);
    v->drained = pr->upstream && plane_drained(p, pr);
    struct serving targets = {0};
    each_target(p, pr, look_at, &targets);
    v->breaker = best_breaker(&targets);
    v->serves = pr->upstream && !v->drained && has_key(p, pr) && serves(&targets);
    v->status = !pr->upstream        ? "disabled"
                : v->drained         ? "drained"
                : !v->serves         ? "unhealthy"
                : v->health.degraded ? "degraded"
                                     : "healthy";
}

bool provider_target_serves(struct plane *p, const struct target *t) {
    return t->provider->upstream && !plane_drained(p, t->provider) && has_key(p, t->provider) &&
           passes(p, t->provider, t->entity);
}

static void write_health(struct jw *w, const struct health *h) {
    jw_kint(w, "health_score", h->score);
    jw_key(w, "latency_ms");
    jw_real(w, h->latency_ms);
    jw_key(w, "first_byte_ms");
    jw_real(w, h->first_byte_ms);
    jw_key(w, "error_rate");
    jw_real(w, h->error_rate);
    jw_ku64(w, "failures_in_a_row", h->failures_in_a_row);
}

static void write_counts(struct plane *p, struct jw *w, uint32_t entity) {
    jw_ku64(w, "requests", entity_count(p->shm, entity, ENTITY_STAT_REQUESTS));
    jw_ku64(w, "errors", entity_count(p->shm, entity, ENTITY_STAT_ERRORS));
    jw_ku64(w, "input_tokens", entity_count(p->shm, entity, ENTITY_STAT_INPUT_TOKENS));
    jw_ku64(w, "output_tokens", entity_count(p->shm, entity, ENTITY_STAT_OUTPUT_TOKENS));
    jw_key(w, "cost_usd");
    jw_nano(w, (int64_t)entity_count(p->shm, entity, ENTITY_STAT_COST_NANO));
}

static void write_target(struct plane *p, const struct plane_provider *pr, struct str model, uint32_t entity,
                         void *arg) {
    struct jw *w = arg;
    uint64_t retry_in = 0, now = clock_ns();
    struct health h;
    enum breaker_state st = breaker_state(p->shm, entity, &retry_in, now);
    health_look(p->shm, entity, pr->breaker.window_ms, now, &h);
    jw_obj(w);
    jw_kstr(w, "model", model);
    jw_kz(w, "breaker", breaker_state_name(st));
    if (st == BREAKER_OPEN)
        jw_ku64(w, "retry_in_ms", retry_in / 1000000);
    jw_ku64(w, "probes", gauge_sum(p->shm, entity, GAUGE_PROBES));
    write_health(w, &h);
    write_counts(p, w, entity);
    jw_obj_end(w);
}

static void write_targets(struct plane *p, struct jw *w, const struct plane_provider *pr) {
    jw_key(w, "targets");
    jw_arr(w);
    each_target(p, pr, write_target, w);
    jw_arr_end(w);
}

static void write_keys(struct plane *p, struct jw *w, const struct plane_provider *pr) {
    jw_key(w, "keys");
    jw_arr(w);
    for (size_t i = 0; i < pr->nkeys; i++) {
        uint64_t left = rest_left_ns(p->shm, pr->keys[i].entity, clock_ns());
        jw_obj(w);
        jw_kz(w, "id", pr->keys[i].conf->id);
        jw_kz(w, "source", pr->keys[i].conf->secret.source);
        jw_kint(w, "weight", weight_of(p->shm, pr->keys[i].entity, pr->keys[i].conf->weight));
        jw_kbool(w, "resting", left > 0);
        if (left == UINT64_MAX)
            jw_kz(w, "rests_until", "reload");
        else if (left)
            jw_ku64(w, "rests_ms", left / 1000000);
        jw_obj_end(w);
    }
    jw_arr_end(w);
}

void provider_write(struct plane *p, struct jw *w, const struct plane_provider *pr) {
    struct provider_view v;
    provider_look(p, pr, &v);
    jw_obj(w);
    jw_kz(w, "name", pr->conf->name);
    jw_kz(w, "kind", pr->conf->kind->name);
    jw_kz(w, "status", v.status);
    jw_ku64(w, "in_flight", gauge_sum(p->shm, pr->entity, GAUGE_IN_FLIGHT));
    write_health(w, &v.health);
    write_counts(p, w, pr->entity);
    write_targets(p, w, pr);
    write_keys(p, w, pr);
    jw_obj_end(w);
}

void surface_providers(struct surface_call *c) {
    struct plane *p = c->plane;
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_key(&w, "providers");
    jw_arr(&w);
    for (size_t i = 0; i < p->nproviders; i++)
        provider_write(p, &w, &p->providers[i]);
    jw_arr_end(&w);
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}
