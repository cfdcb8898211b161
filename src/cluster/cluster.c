#include "cluster/cluster.h"

#include <stdio.h>

#include "base/die.h"
#include "inner.h"
#include "shm/hosts.h"

enum { TICK_MS = 100, ARGS_MOST = 256 };

static void show(struct cluster *c) {
    hosts_set_link(c->shm, !link_up(c->link) ? LINK_AWAY : link_slow(c->link) ? LINK_SLOW : LINK_THERE);
}

static void on_state(void *arg, bool up) {
    struct cluster *c = arg;
    MAGIC_CHECK(c, CLUSTER_MAGIC);
    show(c);
    if (up && c->roll)
        roll_call(c->roll);
}

static void tick(void *arg) {
    struct cluster *c = arg;
    MAGIC_CHECK(c, CLUSTER_MAGIC);
    show(c);
    if (c->roll)
        roll_call(c->roll);
    timer_set(&c->tick, TICK_MS);
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
    hosts_set_link(c->shm, LINK_OFF);
    c->magic = 0;
    mem_free(c);
}

bool cluster_ready(const struct cluster *c) {
    return link_up(c->link) && !link_slow(c->link);
}

void cluster_key(const struct cluster *c, struct buf *out, const char *what) {
    buf_printf(out, "%s{c}:%s", c->redis->prefix, what);
}

bool cluster_eval(struct cluster *c, const char *script, const struct str *arg, size_t keys, size_t n,
                  link_done *done, void *done_arg) {
    struct str all[ARGS_MOST];
    char digits[24];
    MUST(n + 3 <= ARGS_MOST && keys <= n);
    snprintf(digits, sizeof digits, "%zu", keys);
    all[0] = STR("EVAL");
    all[1] = str_of(script);
    all[2] = str_of(digits);
    for (size_t i = 0; i < n; i++)
        all[3 + i] = arg[i];
    return link_send(c->link, all, n + 3, done, done_arg);
}
