/* GET /providers/status and /models/available: what the OpenRouter service told its clients. Chat is the
 * native one. */
#include "models.h"
#include "providers.h"
#include "shm/stat.h"

/* --- providers --- */

/* It had four words. */
static const char *status_word(const struct provider_view *v) {
    return v->drained ? "disabled" : v->status;
}

static void write_provider(struct plane *p, struct jw *w, const struct plane_provider *pr) {
    struct provider_view v;
    struct hist time;
    uint64_t requests = entity_count(p->shm, pr->entity, ENTITY_STAT_REQUESTS),
             errors = entity_count(p->shm, pr->entity, ENTITY_STAT_ERRORS);
    provider_look(p, pr, &v);
    hist_look(p->shm, pr->entity, HIST_LATENCY, &time);
    jw_obj(w);
    jw_kz(w, "name", pr->conf->name);
    jw_kz(w, "status", status_word(&v));
    jw_kz(w, "breaker", breaker_state_name(v.breaker));
    jw_kint(w, "health_score", v.health.score);
    jw_ku64(w, "requests", requests);
    jw_key(w, "avg_response_ms");
    jw_real(w, time.n ? time.sum * 1000 / (double)time.n : 0);
    jw_key(w, "error_rate");
    jw_real(w, requests ? (double)errors / (double)requests : 0);
    jw_ku64(w, "tokens",
            entity_count(p->shm, pr->entity, ENTITY_STAT_INPUT_TOKENS) +
                entity_count(p->shm, pr->entity, ENTITY_STAT_OUTPUT_TOKENS));
    jw_key(w, "cost_usd");
    jw_nano(w, (int64_t)entity_count(p->shm, pr->entity, ENTITY_STAT_COST_NANO));
    jw_obj_end(w);
}

void surface_s0_providers(struct surface_call *c) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_key(&w, "providers");
    jw_arr(&w);
    for (size_t i = 0; i < c->plane->nproviders; i++)
        write_provider(c->plane, &w, &c->plane->providers[i]);
    jw_arr_end(&w);
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

/* --- models --- */

struct listing {
    struct plane *p;
    struct jw w;
};

static bool available(struct plane *p, struct str id, const struct plane_provider *pr) {
    const struct plane_model *m = plane_model(p, id);
    struct provider_view v;
    for (size_t i = 0; m && i < m->ntargets; i++)
        if (provider_target_serves(p, &m->targets[i]))
            return true;
    provider_look(p, pr, &v);
    return !m && v.serves;
}

static bool write_model(void *arg, struct str id, const struct conf_model *m, const struct plane_provider *pr,
                        struct str model) {
    struct listing *l = arg;
    struct price price;
    uint64_t window, most;
    models_sizes(l->p, m, pr, model, &window, &most);
    jw_obj(&l->w);
    jw_kstr(&l->w, "id", id);
    jw_kz(&l->w, "provider", pr->conf->name);
    jw_kbool(&l->w, "available", available(l->p, id, pr));
    jw_key(&l->w, "context_window");
    if (window)
        jw_u64(&l->w, window);
    else
        jw_null(&l->w);
    jw_key(&l->w, "price");
    if (price_merge(models_price(l->p, pr, model), m ? &m->prices : NULL, &price))
        models_write_price(&l->w, &price);
    else
        jw_null(&l->w);
    jw_obj_end(&l->w);
    return true;
}

void surface_s0_models(struct surface_call *c) {
    struct buf b;
    struct listing l = {.p = c->plane};
    buf_init(&b, 0);
    jw_init(&l.w, &b);
    jw_obj(&l.w);
    jw_key(&l.w, "models");
    jw_arr(&l.w);
    models_each(c->plane, &c->caller, write_model, &l);
    jw_arr_end(&l.w);
    jw_obj_end(&l.w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}
