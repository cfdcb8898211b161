/* GET /admin/v1/alerts: what is wrong now, and what was lately. Alerts live in shared memory: they outlive
 * workers and the scribe, not the gateway. */
#include "shm/alert.h"

#include <stdlib.h>

#include "base/clock.h"
#include "shm/stat.h"
#include "surface/surface.h"

static void put_time(struct jw *w, const char *key, int64_t wall_ms) {
    char text[CLOCK_RFC3339_SIZE];
    clock_rfc3339(text, wall_ms);
    jw_kz(w, key, text);
}

static void put_alert(struct jw *w, const struct alert *a) {
    jw_obj(w);
    jw_ku64(w, "id", a->id);
    jw_kz(w, "alert", alert_name(a->kind));
    jw_kz(w, "subject", a->subject);
    jw_kz(w, "state", a->recovered_ms ? "recovered" : "raised");
    jw_key(w, "value");
    jw_real(w, a->value);
    jw_key(w, "threshold");
    jw_real(w, a->threshold);
    jw_kz(w, "unit", alert_unit(a->kind));
    put_time(w, "raised_at", a->raised_ms);
    if (a->recovered_ms)
        put_time(w, "recovered_at", a->recovered_ms);
    jw_obj_end(w);
}

static int newest_first(const void *a, const void *b) {
    const struct alert *x = a, *y = b;
    return x->id < y->id ? 1 : x->id > y->id ? -1 : 0;
}

void surface_alerts(struct surface_call *c) {
    struct shm *s = c->plane->shm;
    struct alert *all = arena_array(c->x->arena, ALERT_PLACES, sizeof(*all));
    size_t n = 0;
    for (uint32_t i = 0; i < ALERT_PLACES; i++)
        n += alert_at(s, i, &all[n]);
    qsort(all, n, sizeof(*all), newest_first);
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    for (int recent = 0; recent < 2; recent++) {
        jw_key(&w, recent ? "recent" : "active");
        jw_arr(&w);
        for (size_t i = 0; i < n; i++)
            if ((all[i].recovered_ms != 0) == recent)
                put_alert(&w, &all[i]);
        jw_arr_end(&w);
    }
    jw_key(&w, "webhook");
    jw_obj(&w);
    jw_kbool(&w, "configured", *c->plane->conf->alerts.webhook != '\0');
    jw_ku64(&w, "sent", stat_sum(s, STAT_WEBHOOK_SENT));
    jw_ku64(&w, "retries", stat_sum(s, STAT_WEBHOOK_RETRIES));
    jw_ku64(&w, "lost", stat_sum(s, STAT_WEBHOOK_LOST));
    jw_obj_end(&w);
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}
