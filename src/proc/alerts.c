/* A look is a walk through everything that is watched: each subject is wrong, is well, or says nothing new
 * (it keeps its alert, if it has one). An alert whose subject was not met in a whole look is of something
 * that is not configured any more, and has recovered. Recovery asks for less than the threshold by a fifth,
 * so that a value that swings around it is one alert. */
#include "alerts.h"

#include "base/clock.h"
#include "base/die.h"
#include "base/json.h"
#include "base/log.h"
#include "policy/budget.h"
#include "policy/plane.h"
#include "shm/alert.h"
#include "shm/bucket.h"
#include "shm/health.h"
#include "shm/stat.h"
#include "webhook.h"
#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { LOOK_MS = 2000 };
static const double recovered_below = 0.8;

struct alerts {
    struct shm *shm;
    const struct conf *conf;
    uint64_t (*store_waits)(void *arg);
    void *arg;
    struct timer timer;
    struct webhook *webhook;
    const struct spend *spend;
    const struct jwks *jwks;
    bool met[ALERT_PLACES]; /* in this look */
};

/* --- what a subject says --- */

enum verdict { WELL, WRONG, NOTHING_NEW };

static void say(struct alerts *a, enum alert_kind k, struct str subject, enum verdict v, double value,
                double threshold) {
    uint32_t i = v == WRONG ? alert_raise(a->shm, k, subject, value, threshold, clock_wall_ms())
                            : alert_active(a->shm, k, subject);
    if (i == SHM_NONE)
        return;
    a->met[i] = true;
    if (v == WELL)
        alert_recover(a->shm, i, value, clock_wall_ms());
}

static enum verdict over(double value, double threshold) {
    return value >= threshold ? WRONG : value < threshold * recovered_below ? WELL : NOTHING_NEW;
}

/* --- providers --- */

static void look_at_provider(struct alerts *a, const struct conf_provider *p) {
    struct health h;
    uint32_t e = plane_entity(a->shm, ENTITY_PROVIDER, str_of(p->name));
    health_look(a->shm, e, a->conf->alerts.window, clock_ns(), &h);
    bool enough = h.requests >= a->conf->alerts.min_requests;
    double rate = a->conf->alerts.error_rate, seconds = (double)a->conf->alerts.latency / 1000;
    double latency = h.requests ? h.latency_ms / 1000 : 0; /* with none lately the average is of long ago */
    enum verdict v = over(h.error_rate, rate);
    if (rate > 0)
        say(a, ALERT_ERROR_RATE, str_of(p->name), v == WRONG && !enough ? NOTHING_NEW : v, h.error_rate,
            rate);
    v = over(latency, seconds);
    if (seconds > 0)
        say(a, ALERT_LATENCY, str_of(p->name), v == WRONG && !enough ? NOTHING_NEW : v, latency, seconds);
    for (size_t i = 0; i < p->nkeys; i++) {
        uint32_t key = plane_entity(a->shm, ENTITY_PROVIDER_KEY, str_of(p->keys[i].id));
        bool rejected = rest_left_ns(a->shm, key, clock_ns()) == UINT64_MAX;
        say(a, ALERT_KEY, str_of(p->keys[i].id), rejected ? WRONG : WELL, rejected, 1);
    }
}

static const struct conf_provider *provider_of(const struct conf *c, struct str target) {
    for (size_t i = 0; i < c->nproviders; i++) {
        size_t n = strlen(c->providers[i].name);
        if (target.n > n && str_starts(target, c->providers[i].name) && target.p[n] == '/')
            return &c->providers[i];
    }
    return NULL;
}

static void look_at_breakers(struct alerts *a) {
    enum entity_kind kind;
    struct str name;
    for (uint32_t e = 0; shm_entity_at(a->shm, e, &kind, &name); e++) {
        if (kind != ENTITY_TARGET)
            continue;
        const struct conf_provider *p = provider_of(a->conf, name);
        if (!p || !p->enabled)
            continue;
        enum breaker_state st = breaker_state(a->shm, e, NULL, clock_ns());
        say(a, ALERT_BREAKER, name,
            st == BREAKER_OPEN     ? WRONG
            : st == BREAKER_CLOSED ? WELL
                                   : NOTHING_NEW,
            st == BREAKER_OPEN, 1);
    }
}

/* --- the gateway --- */

static void look_at_cost(struct alerts *a) {
    uint32_t e = shm_entity(a->shm, ENTITY_GATEWAY, STR(""));
    uint64_t nano = alert_hour_cost(a->shm, entity_count(a->shm, e, ENTITY_STAT_COST_NANO), clock_ms());
    double dollars = (double)nano / 1e9, most = a->conf->alerts.cost_per_hour;
    if (most > 0)
        say(a, ALERT_COST, STR("gateway"), over(dollars, most), dollars, most);
}

/* The highest of a budget's thresholds that is passed; one without thresholds is told of when it is spent. */
static void look_at_budget(struct alerts *a, const struct budget *b) {
    struct money m;
    char subject[ALERT_SUBJECT];
    int64_t passed = -1, lowest = b->conf->nalerts ? b->conf->alert_nano[0] : b->conf->nano;
    money_look(a->shm, b->entity, budget_period(b->conf->period, clock_wall_ms()), &m);
    if (!m.known)
        return;
    for (size_t i = 0; i < b->conf->nalerts; i++)
        if (m.spent >= (uint64_t)b->conf->alert_nano[i])
            passed = b->conf->alert_nano[i];
    if (m.spent >= (uint64_t)b->conf->nano)
        passed = b->conf->nano;
    snprintf(subject, sizeof subject, "%s/" STR_FMT, budget_kind_name(b->kind), STR_ARG(b->name));
    say(a, ALERT_BUDGET, str_of(subject), passed >= 0 ? WRONG : WELL, (double)m.spent / 1e9,
        (double)(passed >= 0 ? passed : lowest) / 1e9);
}

static void look_at_disk(struct alerts *a) {
    struct statvfs fs;
    uint64_t waits = a->store_waits(a->arg), least = a->conf->alerts.disk;
    say(a, ALERT_STORE, STR("ledger"), waits ? WRONG : WELL, (double)waits, 1);
    if (least == 0 || statvfs(a->conf->state_dir, &fs) != 0)
        return;
    double left = (double)fs.f_bavail * (double)fs.f_frsize, wanted = (double)least;
    say(a, ALERT_DISK, STR("state_dir"),
        left < wanted                     ? WRONG
        : left > wanted / recovered_below ? WELL
                                          : NOTHING_NEW,
        left, wanted);
}

static void recover_the_forgotten(struct alerts *a) {
    struct alert x;
    for (uint32_t i = 0; i < ALERT_PLACES; i++)
        if (!a->met[i] && alert_at(a->shm, i, &x) && x.recovered_ms == 0)
            alert_recover(a->shm, i, x.value, clock_wall_ms());
}

/* --- the log --- */

static void log_one(struct alerts *a, const struct alert *x, bool raised) {
    enum log_level level = raised ? LVL_WARN : LVL_INFO;
    const char *state = raised ? "raised" : "recovered";
    if (a->conf->log.format == LOGFMT_TEXT || !log_wants(level)) {
        log_event(level, "alert", "%s of %s %s: %g (threshold %g)", alert_name(x->kind), x->subject, state,
                  x->value, x->threshold);
        return;
    }
    char when[CLOCK_RFC3339_SIZE];
    struct buf line;
    struct jw w;
    buf_init(&line, 4096);
    jw_init(&w, &line);
    clock_rfc3339(when, clock_wall_ms());
    jw_obj(&w);
    jw_kz(&w, "time", when);
    jw_kz(&w, "level", raised ? "warn" : "info");
    jw_kz(&w, "event", "alert");
    jw_kz(&w, "process", "scribe");
    jw_kint(&w, "pid", getpid());
    jw_kz(&w, "alert", alert_name(x->kind));
    jw_kz(&w, "subject", x->subject);
    jw_kz(&w, "state", state);
    jw_key(&w, "value");
    jw_real(&w, x->value);
    jw_key(&w, "threshold");
    jw_real(&w, x->threshold);
    jw_obj_end(&w);
    log_line(buf_str(&line));
    buf_clear(&line);
    buf_printf(&line, "%s of %s %s: %g (threshold %g)", alert_name(x->kind), x->subject, state, x->value,
               x->threshold);
    log_tapped(level, "alert", buf_str(&line));
    buf_free(&line);
}

/* Without a webhook there is nobody else to be told. */
static void log_new(struct alerts *a) {
    struct alert x;
    for (uint32_t i = 0; i < ALERT_PLACES; i++) {
        if (!alert_at(a->shm, i, &x))
            continue;
        if (!(x.told & ALERT_LOGGED_RAISED)) {
            log_one(a, &x, true);
            alert_told(a->shm, x.id, ALERT_LOGGED_RAISED | (a->webhook ? 0 : ALERT_SENT_RAISED));
        }
        if (x.recovered_ms && !(x.told & ALERT_LOGGED_RECOVERED)) {
            log_one(a, &x, false);
            alert_told(a->shm, x.id, ALERT_LOGGED_RECOVERED | (a->webhook ? 0 : ALERT_SENT_RECOVERED));
        }
    }
}

/* --- the module --- */

static void look(void *arg) {
    struct alerts *a = arg;
    memset(a->met, 0, sizeof a->met);
    for (size_t i = 0; i < a->conf->nproviders; i++)
        if (a->conf->providers[i].enabled)
            look_at_provider(a, &a->conf->providers[i]);
    look_at_breakers(a);
    look_at_cost(a);
    for (size_t i = 0; i < a->spend->budgets->n; i++)
        look_at_budget(a, &a->spend->budgets->list[i]);
    look_at_disk(a);
    enum jwks_state st = jwks_state(a->jwks);
    say(a, ALERT_JWKS, STR("auth.jwt.jwks_url"),
        st == JWKS_FAILING ? WRONG
        : st == JWKS_GOOD  ? WELL
                           : NOTHING_NEW,
        st == JWKS_FAILING, 1);
    recover_the_forgotten(a);
    log_new(a);
    webhook_look(a->webhook);
    timer_set(&a->timer, LOOK_MS);
}

struct alerts *alerts_start(struct loop *l, struct multi *m, struct shm *s, const struct conf *c,
                            const struct jwks *jwks, const struct spend *spend,
                            uint64_t (*store_waits)(void *arg), void *arg) {
    struct alerts *a = mem_alloc(sizeof(*a));
    *a = (struct alerts){
        .shm = s, .conf = c, .jwks = jwks, .spend = spend, .store_waits = store_waits, .arg = arg};
    a->webhook = webhook_start(l, m, s, c);
    timer_init(&a->timer, l, look, a);
    timer_set(&a->timer, LOOK_MS / 4);
    return a;
}

void alerts_stop(struct alerts *a) {
    if (!a)
        return;
    webhook_stop(a->webhook);
    timer_free(&a->timer);
    mem_free(a);
}
