/* Two couriers: one may wait for its pause while the other goes on. Sources: the OTLP specification
 * (paths, what may be sent again: 429, 502, 503, 504), its protobuf JSON mapping. */
#include "telemetry.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "base/clock.h"
#include "base/die.h"
#include "base/json.h"
#include "base/log.h"
#include "courier.h"
#include "shm/stat.h"
#include <inttypes.h>
#include <stdio.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

#define SENDER_MAGIC 0x6f746c70u
enum {
    QUEUE_MOST = 4 << 20,
    BODY_MOST = 16 << 20,
    ANSWER_MOST = 64 << 10,
    FLUSH_MS = 1000,
    PAUSE_MS = 1000,
    TRIES_MOST = 5,
    TARGETS_MOST = 256,
    CUMULATIVE = 2,
};

struct sender { /* of one path */
    unsigned magic;
    struct telemetry *t;
    const char *what;
    struct courier *courier;
    struct timer timer;
    uint64_t every_ms;
    struct buf body;
    size_t traces; /* in the body */
    unsigned tries;
    bool dead;
};
struct telemetry {
    struct shm *shm;
    const struct conf *conf;
    struct sender traces, metrics;
    struct buf queue; /* spans that came meanwhile */
    size_t queued;
    struct call_header headers[COURIER_HEADERS];
    size_t nheaders;
};

/* --- what is sent --- */

static void attr(struct jw *w, const char *key, struct str v) {
    jw_obj(w);
    jw_kz(w, "key", key);
    jw_key(w, "value");
    jw_obj(w);
    jw_kstr(w, "stringValue", v);
    jw_obj_end(w);
    jw_obj_end(w);
}

static void put_u64(struct jw *w, const char *key, uint64_t v) { /* 64 bits are a text in protobuf's JSON */
    char digits[STR_DIGITS];
    jw_kstr(w, key, str_from_u64(digits, v));
}

/* {"resourceX":[{"resource":...,"scopeX":[{"scope":...,"x":[ : five ends are open. */
static void put_head(struct jw *w, const char *resources, const char *scopes, const char *items) {
    jw_obj(w);
    jw_key(w, resources);
    jw_arr(w);
    jw_obj(w);
    jw_key(w, "resource");
    jw_obj(w);
    jw_key(w, "attributes");
    jw_arr(w);
    attr(w, "service.name", STR("penstock"));
    attr(w, "service.version", STR(PACKAGE_VERSION));
    jw_arr_end(w);
    jw_obj_end(w);
    jw_key(w, scopes);
    jw_arr(w);
    jw_obj(w);
    jw_key(w, "scope");
    jw_obj(w);
    jw_kz(w, "name", "penstock");
    jw_kz(w, "version", PACKAGE_VERSION);
    jw_obj_end(w);
    jw_key(w, items);
    jw_arr(w);
}

static void put_tail(struct jw *w) {
    jw_arr_end(w);
    jw_obj_end(w);
    jw_arr_end(w);
    jw_obj_end(w);
    jw_arr_end(w);
    jw_obj_end(w);
}

static void put_point_times(struct jw *w, const struct telemetry *t) {
    put_u64(w, "startTimeUnixNano", (uint64_t)shm_started_wall_ms(t->shm) * 1000000);
    put_u64(w, "timeUnixNano", (uint64_t)clock_wall_ms() * 1000000);
}

static void put_counter(struct jw *w, const struct telemetry *t, enum stat_counter c) {
    jw_obj(w);
    jw_kz(w, "name", stat_rows[c].prometheus);
    jw_kz(w, "description", stat_rows[c].help);
    jw_key(w, "sum");
    jw_obj(w);
    jw_kint(w, "aggregationTemporality", CUMULATIVE);
    jw_kbool(w, "isMonotonic", true);
    jw_key(w, "dataPoints");
    jw_arr(w);
    jw_obj(w);
    put_point_times(w, t);
    put_u64(w, "asInt", stat_sum(t->shm, c));
    jw_obj_end(w);
    jw_arr_end(w);
    jw_obj_end(w);
    jw_obj_end(w);
}

static const struct family {
    const char *name, *unit, *token;
    enum histogram kind;
} families[] = {
    {"gen_ai.client.operation.duration", "s", NULL, HIST_LATENCY},
    {"gen_ai.server.time_to_first_token", "s", NULL, HIST_FIRST_BYTE},
    {"gen_ai.server.time_per_output_token", "s", NULL, HIST_PER_TOKEN},
    {"penstock.overhead", "s", NULL, HIST_OVERHEAD},
    {"gen_ai.client.token.usage", "{token}", "input", HIST_INPUT_TOKENS},
    {"gen_ai.client.token.usage", "{token}", "output", HIST_OUTPUT_TOKENS},
};

static void put_point(struct jw *w, const struct telemetry *t, const struct family *f, struct str target,
                      const struct hist *h) {
    char digits[STR_DIGITS];
    const char *slash = memchr(target.p, '/', target.n);
    size_t at = slash ? (size_t)(slash - target.p) : target.n;
    jw_obj(w);
    jw_key(w, "attributes");
    jw_arr(w);
    attr(w, "gen_ai.provider.name", str_make(target.p, at));
    attr(w, "gen_ai.request.model", str_skip(target, at + 1));
    if (f->token)
        attr(w, "gen_ai.token.type", str_of(f->token));
    jw_arr_end(w);
    put_point_times(w, t);
    put_u64(w, "count", h->n);
    jw_key(w, "sum");
    jw_real(w, h->sum);
    jw_key(w, "bucketCounts");
    jw_arr(w);
    for (size_t i = 0; i < HIST_BUCKETS; i++)
        jw_str(w, str_from_u64(digits, h->count[i]));
    jw_arr_end(w);
    jw_key(w, "explicitBounds");
    jw_arr(w);
    for (size_t i = 0; i < HIST_BUCKETS - 1; i++)
        jw_real(w, hist_bounds[f->kind][i]);
    jw_arr_end(w);
    jw_obj_end(w);
}

static void put_points(struct jw *w, const struct telemetry *t, const struct family *f) {
    enum entity_kind kind;
    struct str name;
    struct hist h;
    unsigned shown = 0;
    for (uint32_t e = 0; e < shm_entities(t->shm) && shown < TARGETS_MOST; e++) {
        if (!shm_entity_at(t->shm, e, &kind, &name) || kind != ENTITY_TARGET)
            continue;
        hist_look(t->shm, e, f->kind, &h);
        if (h.n == 0)
            continue;
        put_point(w, t, f, name, &h);
        shown++;
    }
}

/* Rows of one name are one metric. How many there were. */
static size_t put_histogram(struct jw *w, const struct telemetry *t, const struct family *f, size_t most) {
    size_t n = 0;
    jw_obj(w);
    jw_kz(w, "name", f->name);
    jw_kz(w, "unit", f->unit);
    jw_key(w, "histogram");
    jw_obj(w);
    jw_kint(w, "aggregationTemporality", CUMULATIVE);
    jw_key(w, "dataPoints");
    jw_arr(w);
    while (n < most && strcmp(f[n].name, f->name) == 0)
        put_points(w, t, &f[n++]);
    jw_arr_end(w);
    jw_obj_end(w);
    jw_obj_end(w);
    return n;
}

static bool write_metrics(struct sender *s) {
    struct jw w;
    buf_clear(&s->body);
    jw_init(&w, &s->body);
    put_head(&w, "resourceMetrics", "scopeMetrics", "metrics");
    for (int c = 0; c < STAT_COUNTERS_N; c++)
        put_counter(&w, s->t, (enum stat_counter)c);
    const size_t n = sizeof families / sizeof *families;
    for (size_t i = 0; i < n;)
        i += put_histogram(&w, s->t, &families[i], n - i);
    put_tail(&w);
    return buf_ok(&s->body);
}

static bool write_traces(struct sender *s) {
    struct telemetry *t = s->t;
    struct jw w;
    if (t->queued == 0)
        return false;
    buf_clear(&s->body);
    jw_init(&w, &s->body);
    put_head(&w, "resourceSpans", "scopeSpans", "spans");
    jw_raw(&w, buf_str(&t->queue));
    put_tail(&w);
    s->traces = t->queued;
    buf_clear(&t->queue);
    t->queued = 0;
    return buf_ok(&s->body);
}

/* --- sending --- */

static void note_life(struct sender *s, bool dead, const struct courier_answer *a) {
    if (dead && !s->dead)
        log_event(LVL_WARN, "telemetry", "%s are not taken (%s, status %d)", s->what,
                  call_error_text(a->error), a->status);
    if (!dead && s->dead)
        log_event(LVL_INFO, "telemetry", "%s are taken again", s->what);
    s->dead = dead;
}

static bool may_be_taken_later(const struct courier_answer *a) {
    return a->error != CALL_OK || a->status == 429 || (a->status >= 502 && a->status <= 504);
}

static void on_answer(void *arg, const struct courier_answer *a) {
    struct sender *s = arg;
    MAGIC_CHECK(s, SENDER_MAGIC);
    bool taken = a->status >= 200 && a->status < 300;
    note_life(s, !taken, a);
    if (!taken && may_be_taken_later(a) && ++s->tries < TRIES_MOST) {
        timer_set(&s->timer, (uint64_t)PAUSE_MS << s->tries);
        return;
    }
    if (s->traces)
        stat_add(s->t->shm, taken ? STAT_TRACES_SENT : STAT_TRACES_DROPPED, s->traces);
    s->traces = 0;
    s->tries = 0;
    timer_set(&s->timer, s->every_ms);
}

/* Numbers are written anew for each try, spans are kept. */
static void send_now(void *arg) {
    struct sender *s = arg;
    MAGIC_CHECK(s, SENDER_MAGIC);
    bool metrics = s == &s->t->metrics;
    if (metrics ? !write_metrics(s) : s->tries == 0 && !write_traces(s)) {
        timer_set(&s->timer, s->every_ms);
        return;
    }
    courier_send(s->courier, buf_str(&s->body), s->t->headers, s->t->nheaders, on_answer, s);
}

void telemetry_spans(struct telemetry *t, struct str json) {
    if (!t)
        return;
    if (buf_len(&t->queue) + json.n + 1 > QUEUE_MOST) {
        stat_add(t->shm, STAT_TRACES_DROPPED, 1);
        return;
    }
    if (t->queued)
        buf_addc(&t->queue, ',');
    buf_adds(&t->queue, json);
    t->queued++;
}

/* --- the module --- */

static bool sender_start(struct sender *s, struct telemetry *t, struct loop *l, struct multi *m,
                         const char *what, const char *path, uint64_t every_ms) {
    char url[2048], err[256] = "too long";
    struct str base = str_of(t->conf->telemetry.endpoint);
    while (str_ends(base, "/"))
        base.n--;
    *s = (struct sender){.magic = SENDER_MAGIC, .t = t, .what = what, .every_ms = every_ms};
    buf_init(&s->body, BODY_MOST);
    timer_init(&s->timer, l, send_now, s);
    int n = snprintf(url, sizeof url, STR_FMT "%s", STR_ARG(base), path);
    if (n > 0 && (size_t)n < sizeof url)
        s->courier = courier_new(m, url, ANSWER_MOST, err);
    if (!s->courier) {
        log_event(LVL_ERROR, "telemetry", "telemetry.otlp_endpoint: %s", err);
        return false;
    }
    timer_set(&s->timer, every_ms);
    return true;
}

static void sender_stop(struct sender *s) {
    courier_free(s->courier);
    timer_free(&s->timer);
    buf_free(&s->body);
    s->magic = 0;
}

struct telemetry *telemetry_start(struct loop *l, struct multi *m, struct shm *s, const struct conf *c) {
    if (!c->telemetry.endpoint || !*c->telemetry.endpoint)
        return NULL;
    struct telemetry *t = mem_alloc(sizeof(*t));
    *t = (struct telemetry){.shm = s, .conf = c};
    buf_init(&t->queue, QUEUE_MOST);
    for (size_t i = 0; i < c->telemetry.nheaders && t->nheaders < COURIER_HEADERS; i++)
        t->headers[t->nheaders++] =
            (struct call_header){str_of(c->telemetry.headers[i].name), str_of(c->telemetry.headers[i].value)};
    bool ok = sender_start(&t->traces, t, l, m, "spans", "/v1/traces", FLUSH_MS);
    ok = sender_start(&t->metrics, t, l, m, "metrics", "/v1/metrics", c->telemetry.metrics_every) && ok;
    if (ok)
        return t;
    telemetry_stop(t);
    return NULL;
}

void telemetry_stop(struct telemetry *t) {
    if (!t)
        return;
    size_t left = t->queued + t->traces.traces;
    if (left)
        stat_add(t->shm, STAT_TRACES_DROPPED, left);
    sender_stop(&t->traces);
    sender_stop(&t->metrics);
    buf_free(&t->queue);
    mem_free(t);
}
