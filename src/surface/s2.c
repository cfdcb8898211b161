/* GET /v1/providers and /v1/providers/{id}/health: what the routing gateway told its clients. Its chats are
 * those of /v1/completions, its cache's numbers those of /admin/v1/cache/stats. */
#include "base/clock.h"
#include "http/server.h"
#include "models.h"
#include "providers.h"

/* --- the list --- */

struct listing {
    struct plane *p;
    struct jw w;
    const struct plane_provider *of;
};

static bool is_of(const struct listing *l, const struct plane_model *m, const struct plane_provider *first) {
    for (size_t i = 0; m && i < m->ntargets; i++)
        if (m->targets[i].provider == l->of)
            return true;
    return !m && first == l->of;
}

static bool write_model(void *arg, struct str id, const struct conf_model *m, const struct plane_provider *pr,
                        struct str model) {
    struct listing *l = arg;
    (void)model;
    if (is_of(l, m ? plane_model(l->p, id) : NULL, pr))
        jw_str(&l->w, id);
    return true;
}

static void write_provider(struct listing *l, const struct caller *who) {
    struct provider_view v;
    provider_look(l->p, l->of, &v);
    jw_obj(&l->w);
    jw_kz(&l->w, "id", l->of->conf->name);
    jw_kz(&l->w, "kind", l->of->conf->kind->name);
    jw_key(&l->w, "models");
    jw_arr(&l->w);
    models_each(l->p, who, write_model, l);
    jw_arr_end(&l->w);
    jw_kz(&l->w, "status", v.status);
    jw_obj_end(&l->w);
}

void surface_s2_providers(struct surface_call *c) {
    struct buf b;
    struct listing l = {.p = c->plane};
    buf_init(&b, 0);
    jw_init(&l.w, &b);
    jw_obj(&l.w);
    jw_key(&l.w, "providers");
    jw_arr(&l.w);
    for (size_t i = 0; i < c->plane->nproviders; i++) {
        l.of = &c->plane->providers[i];
        write_provider(&l, &c->caller);
    }
    jw_arr_end(&l.w);
    jw_obj_end(&l.w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

/* --- one --- */

static void write_time(struct jw *w, const char *key, int64_t wall_ms) {
    char text[CLOCK_RFC3339_SIZE];
    clock_rfc3339(text, wall_ms);
    jw_kz(w, key, wall_ms ? text : NULL);
}

static void write_health(struct plane *p, struct jw *w, const struct plane_provider *pr) {
    struct provider_view v;
    provider_look(p, pr, &v);
    const struct health *h = &v.health;
    jw_obj(w);
    jw_kz(w, "id", pr->conf->name);
    jw_kz(w, "status", v.status);
    jw_kint(w, "score", h->score);
    jw_kz(w, "breaker", breaker_state_name(v.breaker));
    jw_key(w, "latency_ms");
    jw_real(w, h->latency_ms);
    jw_key(w, "success_rate");
    jw_real(w, 1 - h->error_rate);
    jw_key(w, "error_rate");
    jw_real(w, h->error_rate);
    jw_kz(w, "last_error", h->last_fault ? fault_rule((enum fault_class)h->last_fault)->name : NULL);
    write_time(w, "last_error_at", h->last_fault_ms);
    write_time(w, "last_check", h->last_ms);
    jw_obj_end(w);
}

void surface_s2_provider(struct surface_call *c) {
    struct str name = http_unescape(c->x->arena, c->rest);
    const struct plane_provider *pr = name.n ? provider_named(c->plane, name) : NULL;
    struct buf b;
    struct jw w;
    struct fault f;
    if (!pr) {
        fault_set(&f, c->x->arena, FAULT_BAD_REQUEST, "There is no provider of this name.");
        f.status = 404;
        f.param = STR("id");
        surface_fault(c, &f);
        return;
    }
    buf_init(&b, 0);
    jw_init(&w, &b);
    write_health(c->plane, &w, pr);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}
