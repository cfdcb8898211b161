/* What was spent of each budget is the ledger's sum: counted when the scribe starts and when a period begins,
 * and moved on with every committed row. */
#include "spend.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "store/keys.h"
#include <inttypes.h>

#define HOUR_MS 3600000

void spend_open(struct spend *s, struct shm *shm, const struct conf *conf) {
    *s = (struct spend){.shm = shm, .conf = conf, .budgets = budgets_new(shm, conf, NULL, 0)};
    money_recover(shm);
}

void spend_close(struct spend *s) {
    budgets_free(s->budgets);
}

/* --- stored keys --- */

struct listing {
    const struct conf *conf;
    struct arena *arena;
    const struct conf_gateway_key *list[KEYS_MOST];
    size_t n;
};

static bool add_key(void *arg, struct str id, uint64_t version, struct str value) {
    struct listing *l = arg;
    struct str param;
    const char *why;
    (void)version;
    for (size_t i = 0; i < l->conf->auth.nkeys; i++)
        if (str_is(id, l->conf->auth.keys[i].id)) /* shadowed */
            return true;
    struct stored_key *k = arena_alloc(l->arena, sizeof(*k));
    stored_key_init(k);
    if (json_scan(value, NULL, NULL, NULL, NULL) == 0 &&
        stored_key_read(l->arena, value, true, k, &param, &why) && k->key.budget.nano >= 0) {
        k->key.id = arena_dupz(l->arena, id);
        l->list[l->n++] = &k->key;
    }
    return l->n < KEYS_MOST;
}

/* A segment keeps what was counted for budgets that there are no more: others must not believe it when they
 * come back. */
static void forget_others(struct spend *s) {
    bool *known = mem_array(SHM_MAX_ENTITIES, sizeof(*known));
    for (size_t i = 0; i < s->budgets->n; i++)
        if (s->budgets->list[i].entity < SHM_MAX_ENTITIES)
            known[s->budgets->list[i].entity] = true;
    for (uint32_t e = 0; e < shm_entities(s->shm); e++)
        if (!known[e])
            money_forget(s->shm, e);
    mem_free(known);
}

void spend_keys(struct spend *s, struct db *keys) {
    struct arena *a = arena_new(0);
    struct listing *l = arena_alloc(a, sizeof(*l));
    *l = (struct listing){.conf = s->conf, .arena = a};
    struct db_txn *t = db_begin(keys, false);
    keys_each(t, add_key, l);
    bool ok = db_txn_trouble(t) == DB_FINE;
    db_end(t);
    if (ok) {
        budgets_free(s->budgets);
        s->budgets = budgets_new(s->shm, s->conf, l->list, l->n);
        forget_others(s);
    }
    arena_free(a);
}

/* --- a row --- */

/* Of an hour that belongs to the period which is counted. */
static bool counts(const struct shm *shm, const struct budget *b, int64_t wall_ms) {
    struct money_period p = money_period(shm, b->entity);
    struct budget_span span = budget_span(b->conf->period, (int64_t)p.from_hour * HOUR_MS);
    return p.kind == (uint32_t)b->conf->period && wall_ms >= span.from_ms && wall_ms < span.until_ms;
}

void spend_book(struct spend *s, uint32_t slot, uint64_t upto, const struct ledger_row *row,
                const struct money_list *held) {
    const struct budget *of[MONEY_MOST];
    struct money_list spenders = {.n = 0};
    size_t n = 0;
    if (row->cost_nano > 0 && s->budgets->n)
        n = budgets_of(s->budgets, row->key, row->tenant, row->provider, row->model, of);
    for (size_t i = 0; i < n; i++)
        if (counts(s->shm, of[i], row->wall_ms))
            spenders.entity[spenders.n++] = of[i]->entity;
    if (spenders.n || held->n)
        money_book(s->shm, slot, upto, &spenders, held, row->cost_nano > 0 ? (uint64_t)row->cost_nano : 0);
}

/* --- counting --- */

struct count {
    struct spend *s;
    const struct budget **due;
    struct budget_span *span;
    uint64_t *sum;
    size_t n;
};

static void add_cost(void *arg, int64_t hour_ms, const struct ledger_sum *names, int64_t nano) {
    struct count *c = arg;
    const struct budget *of[MONEY_MOST];
    size_t n = budgets_of(c->s->budgets, names->key, names->tenant, names->provider, names->model, of);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < c->n; j++)
            if (c->due[j] == of[i] && hour_ms >= c->span[j].from_ms && hour_ms < c->span[j].until_ms &&
                __builtin_add_overflow(c->sum[j], (uint64_t)nano, &c->sum[j]))
                c->sum[j] = UINT64_MAX;
}

static uint32_t passed(const struct budget *b, uint64_t spent) {
    uint32_t n = 0;
    while (n < b->conf->nalerts && spent >= (uint64_t)b->conf->alert_nano[n])
        n++;
    return n;
}

/* What was passed before the start has been told of before it. */
static void set(struct spend *s, const struct budget *b, struct money_period now, uint64_t sum) {
    struct money_period was = money_period(s->shm, b->entity);
    bool same = was.kind == now.kind && was.from_hour == now.from_hour;
    money_set(s->shm, b->entity, now, sum);
    if (!same)
        money_set_told(s->shm, b->entity, passed(b, sum));
}

static bool is_due(const struct spend *s, const struct budget *b, int64_t now_ms, bool all) {
    struct money_period now = budget_period(b->conf->period, now_ms), is = money_period(s->shm, b->entity);
    return all || now.kind != is.kind || now.from_hour != is.from_hour;
}

void spend_count(struct spend *s, struct db *ledger, bool all) {
    int64_t now = clock_wall_ms(), from = INT64_MAX;
    if (all)
        forget_others(s);
    if (s->budgets->n == 0)
        return;
    struct arena *a = arena_new(0);
    struct count c = {.s = s,
                      .due = arena_array(a, s->budgets->n, sizeof(*c.due)),
                      .span = arena_array(a, s->budgets->n, sizeof(*c.span)),
                      .sum = arena_array(a, s->budgets->n, sizeof(*c.sum))};
    for (size_t i = 0; i < s->budgets->n; i++) {
        const struct budget *b = &s->budgets->list[i];
        if (!is_due(s, b, now, all))
            continue;
        c.due[c.n] = b;
        c.span[c.n] = budget_span(b->conf->period, now);
        from = c.span[c.n].from_ms < from ? c.span[c.n].from_ms : from;
        c.n++;
    }
    if (c.n) {
        struct db_txn *t = db_begin(ledger, false);
        ledger_each_cost(t, from, add_cost, &c);
        bool ok = db_txn_trouble(t) == DB_FINE;
        db_end(t);
        for (size_t i = 0; ok && i < c.n; i++)
            set(s, c.due[i], budget_period(c.due[i]->conf->period, now), c.sum[i]);
    }
    arena_free(a);
}

/* Periods begin with hours. */
void spend_turn(struct spend *s, struct db *ledger) {
    int64_t hour = clock_wall_ms() / HOUR_MS;
    if (hour == s->hour)
        return;
    s->hour = hour;
    spend_count(s, ledger, false);
}

/* --- alerts --- */

static void tell(const struct budget *b, uint32_t threshold, const struct money *m) {
    double part = b->conf->nano > 0 ? (double)b->conf->alert_nano[threshold] / (double)b->conf->nano : 1;
    log_event(LVL_WARN, "alert",
              "budget of %s " STR_FMT ": %g %% is passed, with %" PRIu64 ".%02" PRIu64 " of %" PRId64
              ".%02" PRId64 " dollars spent (%s)",
              budget_kind_name(b->kind), STR_ARG(b->name), 100 * part, m->spent / 1000000000,
              m->spent / 10000000 % 100, b->conf->nano / 1000000000, b->conf->nano / 10000000 % 100,
              conf_period_name(b->conf->period));
}

void spend_alert(struct spend *s) {
    int64_t now = clock_wall_ms();
    for (size_t i = 0; i < s->budgets->n; i++) {
        const struct budget *b = &s->budgets->list[i];
        struct money m;
        money_look(s->shm, b->entity, budget_period(b->conf->period, now), &m);
        if (!m.known)
            continue;
        uint32_t n = passed(b, m.spent), told = money_told(s->shm, b->entity);
        if (told > n) /* the budget was raised: its thresholds are to come once more */
            money_set_told(s->shm, b->entity, n);
        for (; told < n; told++) {
            money_set_told(s->shm, b->entity, told + 1);
            tell(b, told, &m);
        }
    }
}
