/* GET /metrics: Prometheus text (format 0.0.4) of all workers together. Labels come from the configuration,
 * and of what clients make up from the few model ids that have a breaker of their own: their number is
 * bounded, and that of those with histograms once more. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/budget.h"
#include "shm/health.h"
#include "shm/hosts.h"
#include "shm/index.h"
#include "shm/queue.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "shm/vectors.h"
#include "surface/surface.h"

static void head(struct buf *b, const char *name, const char *type, const char *help) {
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void label_value(struct buf *b, struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            buf_addc(b, '\\');
        if (s.p[i] == '\n')
            buf_addz(b, "\\n");
        else
            buf_addc(b, s.p[i]);
    }
}

/* Which entities are shown, under which name and labels. */
static const struct kind {
    enum entity_kind kind;
    const char *prefix, *label;
} kinds[] = {
    {ENTITY_PROVIDER, "penstock_provider", "provider"},
    {ENTITY_TARGET, "penstock_target", "target"},
    {ENTITY_MODEL, "penstock_model", "model"},
    {ENTITY_GATEWAY_KEY, "penstock_key", "key"},
};
enum { NKINDS = sizeof(kinds) / sizeof(*kinds) };

/* {provider="x"} or, of a target, {provider="x",model="y"}; `more` is put behind. */
static void labels(struct buf *b, const struct kind *k, struct str name, const char *more) {
    const char *slash = k->kind == ENTITY_TARGET && name.n ? memchr(name.p, '/', name.n) : NULL;
    buf_addc(b, '{');
    if (slash) {
        buf_addz(b, "provider=\"");
        label_value(b, str_make(name.p, (size_t)(slash - name.p)));
        buf_addz(b, "\",model=\"");
        label_value(b, str_skip(name, (size_t)(slash - name.p) + 1));
    } else {
        buf_printf(b, "%s=\"", k->label);
        label_value(b, name);
    }
    buf_printf(b, "\"%s}", more);
}

typedef void each_fn(struct plane *p, struct buf *b, const struct kind *k, const char *metric,
                     struct str name, uint32_t entity, int arg);

static void each(struct plane *p, struct buf *b, const struct kind *k, const char *metric, each_fn *fn,
                 int arg) {
    enum entity_kind kind;
    struct str name;
    for (uint32_t i = 0; i < shm_entities(p->shm); i++)
        if (shm_entity_at(p->shm, i, &kind, &name) && kind == k->kind)
            fn(p, b, k, metric, name, i, arg);
}

static void dollars(struct buf *b, uint64_t nano) {
    struct jw w;
    jw_init(&w, b);
    jw_nano(&w, (int64_t)nano);
}

static void counter(struct plane *p, struct buf *b, const struct kind *k, const char *metric, struct str name,
                    uint32_t e, int which) {
    uint64_t v = entity_count(p->shm, e, (enum entity_counter)which);
    buf_addz(b, metric);
    labels(b, k, name, "");
    buf_addc(b, ' ');
    if (which == ENTITY_STAT_COST_NANO)
        dollars(b, v);
    else
        buf_addu(b, v);
    buf_addc(b, '\n');
}

static void entity_counters(struct plane *p, struct buf *b) {
    char metric[128];
    for (size_t k = 0; k < NKINDS; k++)
        for (int c = 0; c < ENTITY_COUNTERS_N; c++) {
            const char *suffix = c == ENTITY_STAT_COST_NANO ? "cost_usd_total" : entity_rows[c].prometheus;
            snprintf(metric, sizeof(metric), "%s_%s", kinds[k].prefix, suffix);
            head(b, metric, "counter", c == ENTITY_STAT_COST_NANO ? "Cost in dollars." : entity_rows[c].help);
            each(p, b, &kinds[k], metric, counter, c);
        }
}

/* labels: what stands between the braces of every line, without "le"; or "". */
static void put_histogram(struct buf *b, const char *metric, struct str within, const struct hist *h) {
    uint64_t sum = 0;
    const char *comma = within.n ? "," : "";
    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        sum += h->count[i];
        buf_printf(b, "%s_bucket{" STR_FMT "%sle=\"", metric, STR_ARG(within), comma);
        if (i + 1 < HIST_BUCKETS)
            buf_printf(b, "%.10g", hist_bounds[h->kind][i]);
        else
            buf_addz(b, "+Inf");
        buf_printf(b, "\"} %" PRIu64 "\n", sum);
    }
    const struct {
        const char *suffix;
        double v;
    } ends[2] = {{"_sum", h->sum}, {"_count", (double)sum}};
    for (size_t i = 0; i < 2; i++) {
        buf_printf(b, "%s%s", metric, ends[i].suffix);
        if (within.n)
            buf_printf(b, "{" STR_FMT "}", STR_ARG(within));
        buf_printf(b, " %.15g\n", ends[i].v);
    }
}

static void histogram(struct plane *p, struct buf *b, const struct kind *k, const char *metric,
                      struct str name, uint32_t e, int which) {
    struct hist h;
    struct buf braces;
    buf_init(&braces, 0);
    if (name.p)
        labels(&braces, k, name, "");
    hist_look(p->shm, e, (enum histogram)which, &h);
    struct str all = buf_str(&braces);
    put_histogram(b, metric, all.n ? str_make(all.p + 1, all.n - 2) : STR_NONE, &h);
    buf_free(&braces);
}

/* Of each provider and model, under our names and under those of OpenTelemetry's GenAI conventions. */
static const struct family {
    const char *name, *help, *provider, *model, *more;
    enum histogram kind;
} families[] = {
    {"penstock_target_duration_seconds", "Time of attempts.", "provider", "model", "", HIST_LATENCY},
    {"penstock_target_first_byte_seconds", "Time to the first byte of an answer.", "provider", "model", "",
     HIST_FIRST_BYTE},
    {"penstock_target_time_per_output_token_seconds", "Of streams, behind the first byte.", "provider",
     "model", "", HIST_PER_TOKEN},
    {"penstock_target_overhead_seconds", "Time of requests that was spent in the gateway.", "provider",
     "model", "", HIST_OVERHEAD},
    {"gen_ai_client_operation_duration_seconds", "GenAI operation duration.", "gen_ai_provider_name",
     "gen_ai_request_model", "", HIST_LATENCY},
    {"gen_ai_server_time_to_first_token_seconds", "Time to generate the first token.", "gen_ai_provider_name",
     "gen_ai_request_model", "", HIST_FIRST_BYTE},
    {"gen_ai_server_time_per_output_token_seconds", "Time per output token behind the first.",
     "gen_ai_provider_name", "gen_ai_request_model", "", HIST_PER_TOKEN},
    {"gen_ai_client_token_usage", "Input and output tokens used.", "gen_ai_provider_name",
     "gen_ai_request_model", ",gen_ai_token_type=\"input\"", HIST_INPUT_TOKENS},
    {"gen_ai_client_token_usage", "", "gen_ai_provider_name", "gen_ai_request_model",
     ",gen_ai_token_type=\"output\"", HIST_OUTPUT_TOKENS},
};
enum { NFAMILIES = sizeof(families) / sizeof(*families), OTHERS_SHOWN = 64 };

static void put_target(struct buf *b, const struct family *f, struct str provider, struct str model,
                       const struct hist *h) {
    struct buf within;
    if (h->n == 0)
        return;
    buf_init(&within, 0);
    buf_printf(&within, "%s=\"", f->provider);
    label_value(&within, provider);
    buf_printf(&within, "\",%s=\"", f->model);
    label_value(&within, model);
    buf_printf(&within, "\"%s", f->more);
    put_histogram(b, f->name, buf_str(&within), h);
    buf_free(&within);
}

/* Configured targets, and of the others those that were used first; what is left is told as one. */
static void of_targets(struct plane *p, struct buf *b, const struct family *f) {
    enum entity_kind kind;
    struct str name;
    struct hist h, rest = {.kind = f->kind};
    unsigned others = 0;
    for (uint32_t e = 0; e < shm_entities(p->shm); e++) {
        if (!shm_entity_at(p->shm, e, &kind, &name) || kind != ENTITY_TARGET)
            continue;
        const char *slash = memchr(name.p, '/', name.n);
        size_t at = slash ? (size_t)(slash - name.p) : name.n;
        bool configured = e < p->nconfigured && p->configured[e];
        hist_look(p->shm, e, f->kind, &h);
        if (slash && (configured || others++ < OTHERS_SHOWN)) {
            put_target(b, f, str_make(name.p, at), str_skip(name, at + 1), &h);
            continue;
        }
        for (size_t i = 0; i < HIST_BUCKETS; i++)
            rest.count[i] += h.count[i];
        rest.n += h.n;
        rest.sum += h.sum;
    }
    put_target(b, f, STR("other"), STR("other"), &rest);
}

static void histograms(struct plane *p, struct buf *b) {
    head(b, "penstock_request_duration_seconds", "histogram",
         "Time of model calls, from the first byte of the request to the end.");
    histogram(p, b, NULL, "penstock_request_duration_seconds", STR_NONE, p->gateway, HIST_LATENCY);
    head(b, "penstock_overhead_seconds", "histogram",
         "Time of model calls that was not spent in attempts at providers.");
    histogram(p, b, NULL, "penstock_overhead_seconds", STR_NONE, p->gateway, HIST_OVERHEAD);
    head(b, "penstock_provider_duration_seconds", "histogram", "Time of attempts at a provider.");
    each(p, b, &kinds[0], "penstock_provider_duration_seconds", histogram, HIST_LATENCY);
    head(b, "penstock_provider_first_byte_seconds", "histogram", "Time to the first byte of an answer.");
    each(p, b, &kinds[0], "penstock_provider_first_byte_seconds", histogram, HIST_FIRST_BYTE);
    for (size_t i = 0; i < NFAMILIES; i++) {
        if (*families[i].help)
            head(b, families[i].name, "histogram", families[i].help);
        of_targets(p, b, &families[i]);
    }
}

static void breaker(struct plane *p, struct buf *b, const struct kind *k, const char *metric, struct str name,
                    uint32_t e, int which) {
    struct health h;
    buf_addz(b, metric);
    labels(b, k, name, "");
    if (which == 0) {
        buf_printf(b, " %d\n", (int)breaker_state(p->shm, e, NULL, clock_ns()));
    } else {
        health_look(p->shm, e, 60000, clock_ns(), &h);
        buf_printf(b, " %u\n", h.score);
    }
}

static void in_flight(struct plane *p, struct buf *b, const struct kind *k, const char *metric,
                      struct str name, uint32_t e, int which) {
    (void)which;
    buf_addz(b, metric);
    labels(b, k, name, "");
    buf_printf(b, " %" PRIu64 "\n", gauge_sum(p->shm, e, GAUGE_IN_FLIGHT));
}

static void gauges(struct plane *p, struct buf *b) {
    head(b, "penstock_breaker_state", "gauge", "0 closed, 1 open, 2 half open.");
    each(p, b, &kinds[1], "penstock_breaker_state", breaker, 0);
    head(b, "penstock_health_score", "gauge", "0 to 100.");
    each(p, b, &kinds[1], "penstock_health_score", breaker, 1);
    head(b, "penstock_provider_in_flight", "gauge", "Attempts under way.");
    each(p, b, &kinds[0], "penstock_provider_in_flight", in_flight, 0);
    head(b, "penstock_key_in_flight", "gauge", "Requests under way.");
    each(p, b, &kinds[3], "penstock_key_in_flight", in_flight, 0);
    head(b, "penstock_queue_depth", "gauge", "Requests that wait for a limit.");
    buf_printf(b, "penstock_queue_depth %" PRIu32 "\n", queue_depth(p->shm));
    head(b, "penstock_in_flight", "gauge", "Requests under way.");
    buf_printf(b, "penstock_in_flight %" PRIu64 "\n", gauge_sum(p->shm, p->gateway, GAUGE_IN_FLIGHT));
}

static void budgets(struct plane *p, struct buf *b) {
    static const char *const names[] = {"penstock_budget_usd", "penstock_budget_spent_usd",
                                        "penstock_budget_reserved_usd"};
    static const char *const helps[] = {"What may be spent in a period.", "What was spent in this period.",
                                        "What requests under way may cost."};
    const struct budgets *all = budgets_now(p);
    int64_t now = clock_wall_ms();
    for (int k = 0; k < 3 && all->n; k++) {
        head(b, names[k], "gauge", helps[k]);
        for (size_t i = 0; i < all->n; i++) {
            const struct budget *one = &all->list[i];
            struct money m;
            money_look(p->shm, one->entity, budget_period(one->conf->period, now), &m);
            uint64_t nano = k == 0 ? (uint64_t)one->conf->nano : k == 1 ? m.spent : m.on_way;
            buf_printf(b, "%s{scope=\"%s\",id=\"", names[k], budget_kind_name(one->kind));
            label_value(b, one->name);
            buf_printf(b, "\",period=\"%s\"} %" PRIu64 ".%09" PRIu64 "\n",
                       conf_period_name(one->conf->period), nano / 1000000000, nano % 1000000000);
        }
    }
}

static void processes(struct plane *p, struct buf *b) {
    uint64_t workers = 0, connections = 0;
    struct slot_info s;
    struct index_totals t;
    struct hosts h;
    hosts_look(p->shm, &h);
    for (uint32_t i = 0; i < slot_high(p->shm); i++)
        if (slot_at(p->shm, i, &s) && s.role == SLOT_WORKER) {
            workers += s.state == SLOT_READY;
            connections += s.connections;
        }
    index_totals(p->shm, &t);
    const struct {
        const char *name, *help;
        uint64_t v;
    } rows[] = {
        {"penstock_workers", "Workers that accept.", workers},
        {"penstock_connections", "Open client connections.", connections},
        {"penstock_config_generation", "Number of the running configuration.", p->conf->generation},
        {"penstock_cache_entries", "Entries of the response cache.", t.entries},
        {"penstock_cache_semantic_entries", "Texts that the semantic cache remembers.",
         vectors_count(p->shm)},
        {"penstock_cache_bytes", "Bytes of the response cache.", t.bytes},
        {"penstock_cluster_hosts", "Hosts of the cluster when it was last asked, this one included.", h.n},
        {"penstock_cluster_processes",
         "Processes of this host that are to have a link to the cluster's server.", h.processes},
        {"penstock_cluster_links", "Of them those that have a good one.", h.linked},
        {"penstock_uptime_seconds", "Since the start.", shm_uptime_ms(p->shm) / 1000},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        head(b, rows[i].name, "gauge", rows[i].help);
        buf_printf(b, "%s %" PRIu64 "\n", rows[i].name, rows[i].v);
    }
}

static void globals(struct plane *p, struct buf *b) {
    for (int c = 0; c < STAT_COUNTERS_N; c++) {
        head(b, stat_rows[c].prometheus, "counter", stat_rows[c].help);
        buf_printf(b, "%s ", stat_rows[c].prometheus);
        if (c == STAT_CACHE_NANO_SAVED)
            dollars(b, stat_sum(p->shm, (enum stat_counter)c));
        else
            buf_addu(b, stat_sum(p->shm, (enum stat_counter)c));
        buf_addc(b, '\n');
    }
    static const char *const classes[] = {"499", "1xx", "2xx", "3xx", "4xx", "5xx"};
    head(b, "penstock_requests_total", "counter",
         "Model calls by the status class the client got; 499: it left.");
    for (int i = 0; i < 6; i++)
        buf_printf(b, "penstock_requests_total{code=\"%s\"} %" PRIu64 "\n", classes[i],
                   stat_status_sum(p->shm, i));
    head(b, "penstock_errors_total", "counter", "Requests that failed, by whose fault it was.");
    for (unsigned i = ERROR_NONE + 1; i < ERROR_TYPES_N; i++)
        buf_printf(b, "penstock_errors_total{type=\"%s\"} %" PRIu64 "\n", error_type_name((enum error_type)i),
                   stat_error_sum(p->shm, i));
}

void surface_metrics(struct surface_call *c) {
    struct buf b;
    buf_init(&b, 0);
    globals(c->plane, &b);
    budgets(c->plane, &b);
    processes(c->plane, &b);
    gauges(c->plane, &b);
    histograms(c->plane, &b);
    entity_counters(c->plane, &b);
    surface_text(c, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&b));
    buf_free(&b);
}
