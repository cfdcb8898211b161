/* GET /api/v1/llm/metrics: what a past hour, day, week or month was like, from the ledger's hourly sums and
 * times, so that it is the same for all workers and after a restart. */
#include "s1.h"

#include <stdlib.h>

#include "base/clock.h"
#include "providers.h"
#include "query.h"
#include "steps.h"
#include "store/times.h"

enum { MODELS_MOST = 100000, TOP = 10, STEP = 500 };

static const struct {
    const char *name;
    int64_t ms;
} periods[] = {{"hour", 3600000},
               {"day", INT64_C(24) * 3600000},
               {"week", INT64_C(7) * 24 * 3600000},
               {"month", INT64_C(30) * 24 * 3600000}};
enum { NPERIODS = sizeof periods / sizeof *periods, DAY = 1 };

struct model {
    struct str name;
    uint64_t requests;
    struct times times;
};
struct figures {
    struct steps steps;
    struct ledger_query *query;
    struct times_walk walk; /* behind the query */
    struct str provider;    /* empty: all */
    int64_t from, to;
    const char *period;
    struct ledger_sum all, of; /* of the gateway, of the provider */
    struct times times_all, times_of;
    struct model *models; /* by their names */
    size_t n;
};

/* --- what is asked --- */

static bool read_query(struct surface_call *c, struct figures *q, struct fault *f) {
    static const char *const names[] = {"provider", "period"};
    struct str v[2];
    size_t i = 0;
    if (!query_read(c, names, v, 2, f))
        return false;
    while (v[1].n && i < NPERIODS && !str_isi(v[1], periods[i].name))
        i++;
    if (i == NPERIODS)
        return query_wrong(c, f, STR("period"), "expected hour, day, week or month");
    i = v[1].n ? i : DAY;
    const struct plane_provider *pr = v[0].n ? provider_named(c->plane, v[0]) : NULL;
    if (v[0].n && !pr && !str_isi(v[0], "all"))
        return query_wrong(c, f, STR("provider"), "there is no provider of this name");
    q->provider = pr ? str_of(pr->conf->name) : STR_NONE;
    q->period = periods[i].name;
    q->to = clock_wall_ms() + 1;
    q->from = q->to - periods[i].ms;
    return true;
}

/* --- what there was --- */

static bool is_of(const struct figures *q, struct str provider) {
    return q->provider.n == 0 || ledger_name_is(provider, q->provider);
}

static void add_sum(struct ledger_sum *to, const struct ledger_sum *s) {
    to->requests += s->requests;
    to->errors += s->errors;
    to->cost_nano += s->cost_nano;
}

/* The rows come sorted by the names that they are grouped by. */
static void take_sums(struct figures *q) {
    struct arena *a = q->steps.call.x->arena;
    struct ledger_sums sums;
    ledger_query_sums(q->query, 0, &sums);
    q->all = sums.total;
    q->models = arena_array(a, sums.n + 1, sizeof *q->models);
    for (size_t i = 0; i < sums.n; i++) {
        const struct ledger_sum *row = &sums.rows[i];
        if (!is_of(q, row->provider))
            continue;
        add_sum(&q->of, row);
        if (row->model.n)
            q->models[q->n++] = (struct model){.name = row->model, .requests = row->requests};
    }
}

static int compare(struct str a, struct str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int by_name(const void *a, const void *b) {
    return compare(((const struct model *)a)->name, ((const struct model *)b)->name);
}

static void take_times(void *arg, struct str provider, struct str model, const struct times *times) {
    struct figures *q = arg;
    times_merge(&q->times_all, times);
    if (q->provider.n && !str_eq(provider, q->provider))
        return;
    times_merge(&q->times_of, times);
    struct model key = {.name = model}, *m = bsearch(&key, q->models, q->n, sizeof key, by_name);
    if (m)
        times_merge(&m->times, times);
}

/* All sums, and then the times of their models. */
static bool step(struct steps *s, struct db_txn *t) {
    struct figures *q = (struct figures *)s;
    if (q->models)
        return times_walk_step(&q->walk, t, STEP);
    if (!ledger_query_step(q->query, t, STEP))
        take_sums(q);
    return true;
}

static void begin(struct surface_call *c, struct figures *q, void (*done)(struct steps *s)) {
    unsigned group = GROUP_MODEL | (q->provider.n ? GROUP_PROVIDER : 0);
    q->query = ledger_query_new(c->x->arena, q->from, q->to, &group, 1, MODELS_MOST);
    times_walk_init(&q->walk, q->from, q->to, take_times, q);
    steps_begin(&q->steps, c, step, done);
}

/* --- what is told --- */

static int by_requests(const void *va, const void *vb) {
    const struct model *a = va, *b = vb;
    int c = (a->requests < b->requests) - (a->requests > b->requests);
    return c ? c : by_name(a, b);
}

static void real(struct jw *w, const char *key, double v) {
    const double thousandth = 1000;
    jw_key(w, key);
    jw_real(w, (double)(int64_t)(v * thousandth + 0.5) / thousandth);
}

static void cost(struct jw *w, const struct ledger_sum *s) {
    jw_key(w, "totalCost");
    jw_nano(w, s->cost_nano);
}

static void write_gateway(struct surface_call *c, struct jw *w, const struct figures *q) {
    jw_key(w, "gateway");
    jw_obj(w);
    jw_ku64(w, "totalRequests", q->all.requests);
    jw_ku64(w, "successfulRequests", q->all.requests - q->all.errors);
    jw_ku64(w, "failedRequests", q->all.errors);
    real(w, "averageLatency", times_average(&q->times_all));
    cost(w, &q->all);
    jw_kint(w, "uptime", (clock_wall_ms() - shm_started_wall_ms(c->plane->shm)) / 1000);
    jw_obj_end(w);
}

static void write_performance(struct jw *w, struct figures *q) {
    qsort(q->models, q->n, sizeof *q->models, by_requests);
    jw_key(w, "performance");
    jw_obj(w);
    jw_kstr(w, "provider", q->provider.n ? q->provider : STR("all"));
    jw_ku64(w, "totalRequests", q->of.requests);
    real(w, "averageLatency", times_average(&q->times_of));
    real(w, "p95Latency", times_quantile(&q->times_of, 0.95));
    cost(w, &q->of);
    jw_key(w, "topModels");
    jw_arr(w);
    for (size_t i = 0; i < q->n && i < TOP; i++) {
        jw_obj(w);
        jw_kstr(w, "model", q->models[i].name);
        jw_ku64(w, "count", q->models[i].requests);
        real(w, "avgLatency", times_average(&q->models[i].times));
        jw_obj_end(w);
    }
    jw_arr_end(w);
    jw_obj_end(w);
}

static void answer(struct surface_call *c, struct figures *q) {
    struct buf b;
    struct jw w;
    s1_begin(&w, &b);
    jw_obj(&w);
    jw_kz(&w, "period", q->period);
    write_gateway(c, &w, q);
    write_performance(&w, q);
    jw_obj_end(&w);
    s1_end(c, &w, &b);
}

static void done(struct steps *s) {
    answer(&s->call, (struct figures *)s);
}

void surface_s1_metrics(struct surface_call *c) {
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct figures *q = arena_alloc(c->x->arena, sizeof *q);
    if (!read_query(c, q, &f))
        surface_fault(c, &f);
    else if (plane_ledger(c->plane))
        begin(c, q, done);
    else
        answer(c, q);
}
