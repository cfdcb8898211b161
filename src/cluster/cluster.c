#include "cluster/cluster.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "inner.h"
#include "shm/hosts.h"
#include "shm/stat.h"

enum { TICK_MS = 100 };

static void show(struct cluster *c) {
    hosts_set_link(c->shm, !link_up(c->link) ? LINK_AWAY : !cluster_linked(c) ? LINK_SLOW : LINK_THERE);
}

void cluster_is_up(struct cluster *c) {
    limits_catch_up(c);
    purse_catch_up(c);
    if (c->news)
        news_linked(c->news);
}

void cluster_is_refused(struct cluster *c, bool refused) {
    c->refused = refused;
    show(c);
    if (refused)
        return;
    log_event(LVL_INFO, "cluster", "the cluster's server takes again what it is told");
    cluster_is_up(c);
}

static void on_state(void *arg, bool up) {
    struct cluster *c = arg;
    MAGIC_CHECK(c, CLUSTER_MAGIC);
    c->refused = false;
    show(c);
    if (up)
        cluster_is_up(c);
    if (c->roll)
        roll_state(c->roll, up);
}

static void tick(void *arg) {
    struct cluster *c = arg;
    MAGIC_CHECK(c, CLUSTER_MAGIC);
    show(c);
    if (c->roll) {
        roll_call(c->roll);
        limits_sweep(c);
        purse_sweep(c);
    }
    timer_set(&c->tick, TICK_MS);
}

static void on_time(void *arg) {
    struct cluster *c = arg;
    MAGIC_CHECK(c, CLUSTER_MAGIC);
    limits_time(c);
}

static void on_purse_time(void *arg) {
    struct cluster *c = arg;
    MAGIC_CHECK(c, CLUSTER_MAGIC);
    purse_time(c);
}

void cluster_complain(struct cluster *c, const struct resp *r) {
    enum { EVERY_MS = 10000, SHOWN = 120 };
    uint64_t now = clock_ms();
    struct str text = resp_text(r);
    if (c->complained_ms && now - c->complained_ms < EVERY_MS)
        return;
    c->complained_ms = now;
    log_event(LVL_WARN, "cluster", "the cluster's server refuses: " STR_FMT,
              STR_ARG(str_make(text.p, text.n < SHOWN ? text.n : SHOWN)));
}

struct cluster *cluster_new(struct loop *l, struct shm *s, const struct conf *conf, bool scribe) {
    static const struct link_events events = {.state = on_state};
    const struct conf_redis *r = conf_cluster(conf);
    if (!r)
        return NULL;
    struct cluster *c = mem_alloc(sizeof *c);
    *c = (struct cluster){.magic = CLUSTER_MAGIC, .loop = l, .shm = s, .conf = conf, .redis = r};
    if (scribe)
        c->roll = roll_new(c);
    c->link = link_new(l, r, scribe, &events, c);
    timer_init(&c->tick, l, tick, c);
    timer_set(&c->tick, TICK_MS);
    timer_init(&c->limits.timer, l, on_time, c);
    timer_init(&c->purse.timer, l, on_purse_time, c);
    show(c);
    return c;
}

void cluster_free(struct cluster *c) {
    if (!c)
        return;
    MAGIC_CHECK(c, CLUSTER_MAGIC);
    link_free(c->link);
    roll_free(c->roll);
    timer_free(&c->tick);
    timer_free(&c->limits.timer);
    timer_free(&c->purse.timer);
    hosts_set_link(c->shm, LINK_OFF);
    c->magic = 0;
    mem_free(c);
}

bool cluster_settled(const struct cluster *c) {
    return link_up(c->link) || link_failed(c->link);
}

bool cluster_linked(const struct cluster *c) {
    return link_up(c->link) && !link_slow(c->link) && !c->refused;
}

bool cluster_near(const struct cluster *c) {
    return link_up(c->link) && !hosts_apart(c->shm);
}

bool cluster_ready(const struct cluster *c) {
    return cluster_linked(c) && !hosts_apart(c->shm);
}

uint64_t patience_begin(const struct cluster *c, struct patience *p) {
    uint64_t spent_ms = (p->spent_ns + 999999) / 1000000, most = c->conf->cluster.timeout;
    p->since_ns = clock_ns();
    return spent_ms < most ? most - spent_ms : 0;
}

void patience_end(struct patience *p) {
    p->spent_ns += clock_ns() - p->since_ns;
}

void cluster_late(struct cluster *c, uint64_t asked_ms) {
    if (clock_ms() - asked_ms >= c->conf->cluster.timeout)
        link_late(c->link);
    stat_add(c->shm, STAT_CLUSTER_LATE, 1);
}

void cluster_channel(const struct cluster *c, struct buf *out) {
    buf_printf(out, "%snews:%u", c->redis->prefix, c->redis->db);
}

void cluster_key(const struct cluster *c, struct buf *out, const char *what) {
    buf_printf(out, "%s{c}:%s", c->redis->prefix, what);
}

bool cluster_eval(struct cluster *c, const char *script, const struct str *arg, size_t keys, size_t n,
                  link_done *done, void *done_arg) {
    struct str *all = mem_array(n + 3, sizeof *all);
    char digits[24];
    MUST(keys <= n);
    snprintf(digits, sizeof digits, "%zu", keys);
    all[0] = STR("EVAL");
    all[1] = str_of(script);
    all[2] = str_of(digits);
    for (size_t i = 0; i < n; i++)
        all[3 + i] = arg[i];
    bool ok = link_send(c->link, all, n + 3, done, done_arg);
    mem_free(all);
    return ok;
}
