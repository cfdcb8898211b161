/* /api/v1/llm: status, health and the cache, as the enterprise gateway told of them. */
#include "config.h"

#include "s1.h"

#include "base/clock.h"
#include "body.h"
#include "cache.h"
#include "providers.h"
#include "shm/slot.h"

void s1_begin(struct jw *w, struct buf *b) {
    buf_init(b, 0);
    jw_init(w, b);
    jw_obj(w);
    jw_kbool(w, "success", true);
    jw_key(w, "data");
}

void s1_end(struct surface_call *c, struct jw *w, struct buf *b) {
    jw_obj_end(w);
    surface_json(c, 200, buf_str(b));
    buf_free(b);
}

/* --- status --- */

static unsigned ready_workers(const struct shm *s) {
    struct slot_info info;
    unsigned n = 0;
    for (uint32_t i = 0; i < slot_high(s); i++)
        n += slot_at(s, i, &info) && info.role == SLOT_WORKER && info.state == SLOT_READY;
    return n;
}

static bool limits_any(const struct conf *c) {
    bool any = conf_rates_any(&c->limits) || conf_rates_any(&c->auth.default_limits) ||
               conf_rates_any(&c->auth.user_limits) || c->nendpoint_limits > 0;
    for (size_t i = 0; i < c->nproviders; i++)
        any = any || conf_rates_any(&c->providers[i].limits);
    for (size_t i = 0; i < c->auth.nkeys; i++)
        any = any || conf_rates_any(&c->auth.keys[i].limits);
    return any;
}

static void write_features(struct jw *w, const struct conf *c) {
    jw_key(w, "features");
    jw_obj(w);
    jw_kbool(w, "failover", c->routing.fallback);
    jw_kbool(w, "caching", c->cache.enabled);
    jw_kbool(w, "semanticCaching", c->cache.enabled && c->cache.semantic.enabled);
    jw_kbool(w, "rateLimiting", limits_any(c));
    jw_kbool(w, "authentication", c->auth.mode != AUTH_NONE);
    jw_kbool(w, "streaming", true);
    jw_kbool(w, "alerts", c->alerts.error_rate > 0 || c->alerts.latency || c->alerts.cost_per_hour > 0);
    jw_obj_end(w);
}

void surface_s1_status(struct surface_call *c) {
    const struct plane *p = c->plane;
    struct buf b;
    struct jw w;
    s1_begin(&w, &b);
    jw_obj(&w);
    jw_kz(&w, "version", PACKAGE_VERSION);
    jw_kint(&w, "uptime", (clock_wall_ms() - shm_started_wall_ms(p->shm)) / 1000);
    jw_ku64(&w, "workers", ready_workers(p->shm));
    write_features(&w, p->conf);
    jw_key(&w, "providers");
    jw_arr(&w);
    for (size_t i = 0; i < p->nproviders; i++)
        if (p->providers[i].upstream)
            jw_z(&w, p->providers[i].conf->name);
    jw_arr_end(&w);
    jw_obj_end(&w);
    s1_end(c, &w, &b);
}

/* --- health --- */

void surface_s1_health(struct surface_call *c) {
    struct plane *p = c->plane;
    struct buf b;
    struct jw w;
    s1_begin(&w, &b);
    jw_obj(&w);
    jw_kz(&w, "overall", providers_overall(p));
    jw_key(&w, "providers");
    jw_obj(&w);
    for (size_t i = 0; i < p->nproviders; i++) {
        struct provider_view v;
        provider_look(p, &p->providers[i], &v);
        jw_keys(&w, str_of(p->providers[i].conf->name));
        jw_obj(&w);
        jw_kz(&w, "status", v.status);
        jw_key(&w, "latency");
        jw_real(&w, v.health.latency_ms);
        jw_key(&w, "successRate");
        jw_real(&w, 1 - v.health.error_rate);
        jw_key(&w, "errorRate");
        jw_real(&w, v.health.error_rate);
        jw_obj_end(&w);
    }
    jw_obj_end(&w);
    jw_obj_end(&w);
    s1_end(c, &w, &b);
}

/* --- the cache --- */

static void clear(struct surface_call *c, struct str json) {
    static const char *const none[] = {NULL};
    struct index_filter all = {0};
    struct buf b;
    struct jw w;
    uint64_t n;
    if (!body_names(c, json, none) || !cache_clear_now(c, &all, &n))
        return;
    s1_begin(&w, &b);
    jw_obj(&w);
    jw_ku64(&w, "cleared", n);
    jw_obj_end(&w);
    s1_end(c, &w, &b);
}

void surface_s1_cache_clear(struct surface_call *c) {
    body_read(c, clear);
}
