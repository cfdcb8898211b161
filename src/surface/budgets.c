/* GET /admin/v1/budgets: what each may spend, has spent (the ledger's sum) and has reserved, and when it
 * begins anew. */
#include "budgets.h"

#include "base/clock.h"

static void money(struct jw *w, const char *key, uint64_t nano) {
    jw_key(w, key);
    jw_nano(w, nano > INT64_MAX ? INT64_MAX : (int64_t)nano);
}

static void instant(struct jw *w, const char *key, int64_t ms) {
    char text[CLOCK_RFC3339_SIZE];
    jw_key(w, key);
    if (ms == 0 || ms == INT64_MAX) {
        jw_null(w);
        return;
    }
    clock_rfc3339(text, ms);
    jw_z(w, text);
}

void budgets_write(struct jw *w, struct plane *p, const struct budget *b, int64_t now) {
    struct budget_span span = budget_span(b->conf->period, now);
    struct money m;
    money_look(p->shm, b->entity, budget_period(b->conf->period, now), &m);
    struct money_allowance all;
    money_allowance(p->shm, b->entity, budget_period(b->conf->period, now), &all);
    uint64_t limit = (uint64_t)b->conf->nano, gone = m.spent + m.on_way + all.others;
    jw_obj(w);
    jw_kz(w, "scope", budget_kind_name(b->kind));
    jw_kstr(w, "id", b->name);
    jw_kz(w, "period", conf_period_name(b->conf->period));
    instant(w, "began_at", span.from_ms);
    instant(w, "resets_at", span.until_ms);
    money(w, "usd", limit);
    jw_key(w, "spent_usd");
    if (m.known)
        jw_nano(w, (int64_t)(m.spent > INT64_MAX ? INT64_MAX : m.spent));
    else
        jw_null(w); /* the scribe has not told yet */
    money(w, "reserved_usd", m.on_way);
    if (p->cluster)
        money(w, "other_hosts_usd",
              all.others); /* spent, reserved or set aside there when it was last asked */
    money(w, "remaining_usd", gone < limit ? limit - gone : 0);
    jw_key(w, "alerts_usd");
    jw_arr(w);
    for (size_t i = 0; i < b->conf->nalerts; i++)
        jw_nano(w, b->conf->alert_nano[i]);
    jw_arr_end(w);
    jw_obj_end(w);
}

void surface_budgets(struct surface_call *c) {
    const struct budgets *all = budgets_now(c->plane);
    int64_t now = clock_wall_ms();
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_key(&w, "budgets");
    jw_arr(&w);
    for (size_t i = 0; i < all->n; i++)
        budgets_write(&w, c->plane, &all->list[i], now);
    jw_arr_end(&w);
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}
