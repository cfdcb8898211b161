/* GET /admin/v1/usage: client requests (not attempts), tokens and money, from the ledger's hourly sums. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "cluster/survey.h"
#include "query.h"
#include "shm/hosts.h"
#include "steps.h"
#include "store/ledger.h"
#include "surface/surface.h"

enum { MAX_ROWS = 100000, DAY_MS = 86400000, STEP = 500 };

static const struct {
    const char *name;
    unsigned bit;
} groups[] = {{"key", GROUP_KEY},        {"tenant", GROUP_TENANT}, {"provider", GROUP_PROVIDER},
              {"model", GROUP_MODEL},    {"day", GROUP_DAY},       {"hour", GROUP_HOUR},
              {"surface", GROUP_SURFACE}};
enum { NGROUPS = sizeof(groups) / sizeof(*groups) };

struct query {
    int64_t from, to;
    unsigned group_by;
    bool csv, cluster;
};

static bool read_groups(struct str list, unsigned *mask) {
    struct str one;
    while (str_next(&list, ',', &one)) {
        size_t i = 0;
        while (i < NGROUPS && !str_is(str_trim(one), groups[i].name))
            i++;
        if (i == NGROUPS)
            return false;
        *mask |= groups[i].bit;
    }
    return true;
}

static bool read_query(struct surface_call *c, struct query *q, struct fault *f) {
    static const char *const names[] = {"from", "to", "group_by", "format", "scope"};
    struct str v[5];
    *q = (struct query){.to = clock_wall_ms() + 1};
    if (!query_read(c, names, v, 5, f))
        return false;
    const struct str from = v[0], to = v[1], group = v[2], format = v[3], scope = v[4];
    if (to.n && !clock_parse(to, &q->to))
        return query_wrong(c, f, STR("to"), "expected a date (2026-01-31) or a time (2026-01-31T12:00:00Z)");
    if (to.n == 10) /* a date means its whole day */
        q->to += DAY_MS;
    q->from = q->to - 30 * (int64_t)DAY_MS;
    if (from.n && !clock_parse(from, &q->from))
        return query_wrong(c, f, STR("from"),
                           "expected a date (2026-01-31) or a time (2026-01-31T12:00:00Z)");
    if (q->from >= q->to)
        return query_wrong(c, f, STR("from"), "must lie before `to`");
    if (group.n && !read_groups(group, &q->group_by))
        return query_wrong(c, f, STR("group_by"),
                           "expected a list of key, tenant, provider, model, surface, day, hour");
    q->csv = str_isi(format, "csv");
    if (format.n && !q->csv && !str_isi(format, "json"))
        return query_wrong(c, f, STR("format"), "expected json or csv");
    q->cluster = str_isi(scope, "cluster");
    if (scope.n && !q->cluster && !str_isi(scope, "host"))
        return query_wrong(c, f, STR("scope"), "expected host or cluster");
    return true;
}

static struct str label(const struct ledger_sum *s, unsigned bit) {
    switch (bit) {
    case GROUP_KEY:
        return s->key;
    case GROUP_TENANT:
        return s->tenant;
    case GROUP_PROVIDER:
        return s->provider;
    case GROUP_MODEL:
        return s->model;
    case GROUP_SURFACE:
        return s->surface;
    case GROUP_DAY:
        return s->day;
    default:
        return s->hour;
    }
}

/* Without any known price there is no sum, which is not a sum of 0. */
static bool priced(const struct ledger_sum *s) {
    return s->unpriced == 0 || s->cost_nano != 0;
}

static void write_some(struct jw *w, const char *name, uint64_t n) {
    if (n)
        jw_ku64(w, name, n);
}

static void write_sum(struct jw *w, const struct ledger_sum *s, unsigned group_by) {
    jw_obj(w);
    for (size_t i = 0; i < NGROUPS; i++)
        if (group_by & groups[i].bit)
            jw_kstr(w, groups[i].name, label(s, groups[i].bit));
    jw_ku64(w, "requests", s->requests);
    jw_ku64(w, "errors", s->errors);
    jw_ku64(w, "input_tokens", s->input_tokens);
    jw_ku64(w, "cached_tokens", s->cached_tokens);
    jw_ku64(w, "output_tokens", s->output_tokens);
    jw_ku64(w, "reasoning_tokens", s->reasoning_tokens);
    jw_key(w, "cost_usd");
    if (priced(s))
        jw_nano(w, s->cost_nano);
    else
        jw_null(w);
    write_some(w, "unpriced_requests", s->unpriced);
    write_some(w, "cache_write_tokens", s->cache_write_tokens);
    write_some(w, "audio_tokens", s->audio_tokens);
    write_some(w, "estimated_requests", s->estimated);
    write_some(w, "unknown_requests", s->unknown);
    jw_obj_end(w);
}

static void time_member(struct jw *w, const char *key, int64_t ms) {
    char t[CLOCK_RFC3339_SIZE];
    clock_rfc3339(t, ms);
    jw_kz(w, key, t);
}

static void write_json(struct buf *b, const struct query *q, const struct ledger_sums *sums, size_t hosts,
                       size_t missing) {
    struct jw w;
    jw_init(&w, b);
    jw_obj(&w);
    time_member(&w, "from", q->from);
    time_member(&w, "to", q->to);
    jw_key(&w, "group_by");
    jw_arr(&w);
    for (size_t i = 0; i < NGROUPS; i++)
        if (q->group_by & groups[i].bit)
            jw_z(&w, groups[i].name);
    jw_arr_end(&w);
    jw_key(&w, "rows");
    jw_arr(&w);
    for (size_t i = 0; i < sums->n; i++)
        write_sum(&w, &sums->rows[i], q->group_by);
    jw_arr_end(&w);
    jw_key(&w, "total");
    write_sum(&w, &sums->total, 0);
    if (sums->truncated)
        jw_kbool(&w, "truncated", true);
    if (q->cluster) {
        jw_ku64(&w, "hosts", hosts);
        jw_ku64(&w, "missing_hosts", missing);
    }
    jw_obj_end(&w);
}

/* RFC 4180; what begins with one of these is a formula to a spreadsheet and gets a quote before it. */
static void csv_field(struct buf *b, struct str s) {
    buf_addc(b, '"');
    if (s.n && memchr("=+-@\t\r", s.p[0], 6))
        buf_addc(b, '\'');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            buf_addc(b, '"');
        buf_addc(b, s.p[i]);
    }
    buf_addz(b, "\",");
}

static void write_csv(struct buf *b, const struct query *q, const struct ledger_sum *rows, size_t n) {
    for (size_t i = 0; i < NGROUPS; i++)
        if (q->group_by & groups[i].bit)
            buf_printf(b, "%s,", groups[i].name);
    buf_addz(b, "requests,errors,input_tokens,cached_tokens,output_tokens,reasoning_tokens,cost_usd\r\n");
    for (size_t r = 0; r < n; r++) {
        const struct ledger_sum *s = &rows[r];
        for (size_t i = 0; i < NGROUPS; i++)
            if (q->group_by & groups[i].bit)
                csv_field(b, label(s, groups[i].bit));
        const uint64_t counts[] = {s->requests,      s->errors,        s->input_tokens,
                                   s->cached_tokens, s->output_tokens, s->reasoning_tokens};
        for (size_t i = 0; i < 6; i++) {
            buf_addu(b, counts[i]);
            buf_addc(b, ',');
        }
        struct jw w;
        jw_init(&w, b);
        if (priced(s))
            jw_nano(&w, s->cost_nano);
        buf_addz(b, "\r\n");
    }
}

static void answer(struct surface_call *c, const struct query *q, const struct ledger_sums *sums,
                   size_t hosts, size_t missing) {
    struct buf b;
    buf_init(&b, 0);
    if (q->csv)
        write_csv(&b, q, sums->rows, sums->n);
    else
        write_json(&b, q, sums, hosts, missing);
    surface_text(c, 200, q->csv ? "text/csv; charset=utf-8" : "application/json", buf_str(&b));
    buf_free(&b);
}

/* --- of all hosts --- */

struct asking {
    struct steps steps;
    struct query query;
    struct ledger_query *summing;
    struct ledger_sums sums;
    struct survey *survey;
};

static void gone(struct exchange *x) {
    struct asking *g = x->owner;
    survey_drop(g->survey);
    g->survey = NULL;
    surface_audit(&g->steps.call, 499);
}

static void all_answered(void *arg, const struct str *answers, size_t n, size_t missing) {
    struct asking *g = arg;
    struct surface_call *c = &g->steps.call;
    size_t hosts = 1;
    g->survey = NULL;
    for (size_t i = 0; i < n; i++)
        if (ledger_sums_add(c->x->arena, &g->sums, answers[i]))
            hosts++;
        else
            missing++;
    answer(c, &g->query, &g->sums, hosts, missing);
}

static bool ask_all(struct asking *g) {
    const struct query *q = &g->query;
    struct exchange *x = g->steps.call.x;
    struct cluster *cluster = g->steps.call.plane->cluster;
    char text[96];
    snprintf(text, sizeof text, "usage %" PRIu64 " %" PRIu64 " %u", (uint64_t)(q->from > 0 ? q->from : 0),
             (uint64_t)(q->to > 0 ? q->to : 0), q->group_by);
    if (q->cluster && cluster)
        g->survey = survey_start(cluster, x->arena, str_of(text), all_answered, g);
    if (!g->survey)
        return false;
    x->owner = g;
    x->on_gone = gone;
    return true;
}

/* --- of this one --- */

static bool step(struct steps *s, struct db_txn *t) {
    return ledger_query_step(((struct asking *)s)->summing, t, STEP);
}

static void done(struct steps *s) {
    struct asking *g = (struct asking *)s;
    struct hosts hosts;
    if (g->summing)
        ledger_query_sums(g->summing, 0, &g->sums);
    if (ask_all(g))
        return;
    hosts_look(s->call.plane->shm, &hosts);
    answer(&s->call, &g->query, &g->sums, 1, hosts.n - 1);
}

void surface_usage(struct surface_call *c) {
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct asking *g = arena_alloc(c->x->arena, sizeof *g);
    const struct query *q = &g->query;
    if (!read_query(c, &g->query, &f)) {
        surface_fault(c, &f);
    } else if (plane_ledger(c->plane)) {
        g->summing = ledger_query_new(c->x->arena, q->from, q->to, &q->group_by, 1, MAX_ROWS);
        steps_begin(&g->steps, c, step, done);
    } else {
        g->steps.call = *c;
        done(&g->steps);
    }
}
