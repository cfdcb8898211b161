/* GET /health, /livez, /readyz. Without a key they tell the status and nothing else. */
#include "config.h"

#include "base/clock.h"
#include "providers.h"
#include "shm/hosts.h"
#include "shm/slot.h"
#include "surface/surface.h"

const char *providers_overall(struct plane *p) {
    unsigned serving = 0, well = 0, all = 0;
    struct hosts h;
    hosts_look(p->shm, &h);
    for (size_t i = 0; i < p->nproviders; i++) {
        struct provider_view v;
        provider_look(p, &p->providers[i], &v);
        if (!p->providers[i].upstream || v.drained)
            continue;
        all++;
        serving += v.serves;
        well += v.serves && !v.health.degraded;
    }
    return serving == 0                                                      ? "unhealthy"
           : well < all || h.linked < h.processes || (p->cluster && h.apart) ? "degraded"
                                                                             : "healthy";
}

static void write_providers(struct plane *p, struct jw *w) {
    jw_key(w, "providers");
    jw_obj(w);
    for (size_t i = 0; i < p->nproviders; i++) {
        struct provider_view v;
        provider_look(p, &p->providers[i], &v);
        jw_keys(w, str_of(p->providers[i].conf->name));
        jw_obj(w);
        jw_kz(w, "status", v.status);
        jw_kint(w, "health_score", v.health.score);
        jw_key(w, "error_rate");
        jw_real(w, v.health.error_rate);
        jw_obj_end(w);
    }
    jw_obj_end(w);
}

static void write_cluster(struct plane *p, struct jw *w) {
    struct hosts h;
    hosts_look(p->shm, &h);
    jw_key(w, "cluster");
    jw_obj(w);
    jw_kz(w, "status",
          h.apart == HOSTS_REFUSED && h.linked ? "refused"
          : h.linked < h.processes             ? h.linked ? "partly away" : "away"
          : h.apart                            ? "catching up"
                                               : "connected");
    jw_kint(w, "hosts", h.n);
    jw_obj_end(w);
}

void surface_health(struct surface_call *c) {
    struct plane *p = c->plane;
    struct buf b;
    struct jw w;
    const char *status = providers_overall(p);
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kz(&w, "status", status);
    if (c->caller.key) {
        jw_kz(&w, "version", PACKAGE_VERSION);
        jw_ku64(&w, "uptime_seconds", shm_uptime_ms(p->shm) / 1000);
        jw_kint(&w, "generation", p->conf->generation);
        write_providers(p, &w);
        if (p->cluster)
            write_cluster(p, &w);
    }
    jw_obj_end(&w);
    surface_json(c, status[0] == 'u' ? 503 : 200, buf_str(&b));
    buf_free(&b);
}

void surface_livez(struct surface_call *c) {
    surface_json(c, 200, STR("{\"status\":\"ok\"}"));
}

void surface_readyz(struct surface_call *c) {
    struct slot_info s;
    for (uint32_t i = 0; i < slot_high(c->plane->shm); i++)
        if (slot_at(c->plane->shm, i, &s) && s.role == SLOT_WORKER && s.state == SLOT_READY) {
            surface_json(c, 200, STR("{\"status\":\"ready\"}"));
            return;
        }
    surface_json(c, 503, STR("{\"status\":\"not ready\"}"));
}
