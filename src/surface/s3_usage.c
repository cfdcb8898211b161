/* GET /api/v1/admin/usage: tokens, requests and cost of some days in S3's shape, from the ledger's hourly
 * sums.
 */
#include "base/clock.h"
#include "query.h"
#include "steps.h"
#include "store/ledger.h"
#include "surface/surface.h"

enum { MAX_ROWS = 100000, DAY_MS = 86400000, DAYS = 30, STEP = 500 };

struct span {
    int64_t from, to;
};

/* A date is its whole day; of times those between them count. */
static bool read_span(struct surface_call *c, struct span *s, struct fault *f) {
    static const char *const names[] = {"startDate", "endDate"};
    static const char want[] = "expected a date such as 2026-01-31";
    struct str v[2];
    int64_t now = clock_wall_ms();
    if (!query_read(c, names, v, 2, f))
        return false;
    s->to = now - now % DAY_MS;
    if (v[1].n && !clock_parse(v[1], &s->to))
        return query_wrong(c, f, STR("endDate"), want);
    if (v[1].n <= 10)
        s->to += DAY_MS;
    s->from = s->to - (int64_t)DAYS * DAY_MS;
    if (v[0].n && !clock_parse(v[0], &s->from))
        return query_wrong(c, f, STR("startDate"), want);
    if (s->from >= s->to)
        return query_wrong(c, f, STR("startDate"), "must not lie behind endDate");
    return true;
}

static void write_counts(struct jw *w, const struct ledger_sum *s) {
    uint64_t all;
    if (__builtin_add_overflow(s->input_tokens, s->output_tokens, &all))
        all = UINT64_MAX;
    jw_ku64(w, "requests", s->requests);
    jw_ku64(w, "promptTokens", s->input_tokens);
    jw_ku64(w, "completionTokens", s->output_tokens);
    jw_ku64(w, "totalTokens", all);
    jw_key(w, "cost");
    if (s->unpriced == 0 || s->cost_nano != 0)
        jw_nano(w, s->cost_nano);
    else
        jw_null(w); /* no price is known, which is not a cost of 0 */
}

static const struct breakdown {
    const char *list, *label;
} parts[] = {{"byProvider", "provider"}, {"byModel", "model"}, {"byUser", "user"}, {"byDay", "date"}};
enum { PARTS = sizeof parts / sizeof *parts };
static const unsigned groups[PARTS] = {GROUP_PROVIDER, GROUP_MODEL, GROUP_KEY, GROUP_DAY};

struct asked {
    struct steps steps;
    struct span span;
    struct ledger_query *query; /* NULL: there is no ledger */
};

static struct str label_of(const struct ledger_sum *s, unsigned group) {
    switch (group) {
    case GROUP_PROVIDER:
        return s->provider;
    case GROUP_MODEL:
        return s->model;
    case GROUP_DAY:
        return s->day;
    default: /* who came with a token is its subject */
        return str_starts(s->key, "jwt:") ? str_skip(s->key, 4) : s->key;
    }
}

/* What was refused before anybody was asked has no provider: it is in the total. */
static void write_part(struct jw *w, size_t part, const struct ledger_sums *sums) {
    jw_key(w, parts[part].list);
    jw_arr(w);
    for (size_t i = 0; i < sums->n; i++) {
        struct str label = label_of(&sums->rows[i], groups[part]);
        if (label.n == 0)
            continue;
        jw_obj(w);
        jw_kstr(w, parts[part].label, label);
        write_counts(w, &sums->rows[i]);
        jw_obj_end(w);
    }
    jw_arr_end(w);
}

static void write_date(struct jw *w, const char *key, int64_t wall_ms) {
    char t[CLOCK_RFC3339_SIZE];
    clock_rfc3339(t, wall_ms);
    jw_kstr(w, key, str_make(t, 10));
}

static void write_usage(struct jw *w, const struct asked *q) {
    struct ledger_sums sums = {0};
    jw_obj(w);
    write_date(w, "startDate", q->span.from);
    write_date(w, "endDate", q->span.to - 1);
    for (size_t i = 0; i < PARTS; i++) {
        if (q->query)
            ledger_query_sums(q->query, i, &sums);
        if (i == 0) {
            jw_key(w, "total");
            jw_obj(w);
            write_counts(w, &sums.total);
            jw_obj_end(w);
        }
        write_part(w, i, &sums);
    }
    jw_obj_end(w);
}

static void answer(struct surface_call *c, const struct asked *q) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    write_usage(&w, q);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

static bool step(struct steps *s, struct db_txn *t) {
    return ledger_query_step(((struct asked *)s)->query, t, STEP);
}

static void done(struct steps *s) {
    answer(&s->call, (struct asked *)s);
}

void surface_s3_usage(struct surface_call *c) {
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct asked *q = arena_alloc(c->x->arena, sizeof *q);
    if (!read_span(c, &q->span, &f)) {
        surface_fault(c, &f);
    } else if (plane_ledger(c->plane)) {
        q->query = ledger_query_new(c->x->arena, q->span.from, q->span.to, groups, PARTS, MAX_ROWS);
        steps_begin(&q->steps, c, step, done);
    } else {
        answer(c, q);
    }
}
