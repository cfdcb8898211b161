/* A second connection listens; what it hears came by a script that has also put it where it is found later.
 * After each connecting all of that is looked at, so nothing is missed that was told in between. */
#include "cluster/news.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "clears.h"
#include "inner.h"
#include "shm/hosts.h"

#define NEWS_MAGIC 0x6e657773u
enum { KEYS_MANY = 8192, AGAIN_MS = 60000, ANSWER_MOST = 8 << 20, TICK_MS = 1000 };

struct news {
    unsigned magic;
    struct cluster *c;
    struct link *ear;
    struct news_events events;
    void *arg;
    char me[17];
    struct clears *clears;
    uint64_t due_ms; /* all are asked for again */
    bool deaf;       /* it may not listen (ACL): asks for all each second */
    bool many;       /* keys: that was told */
    struct timer tick;
};

/* Who listens hears it first: a server that is full lets nothing be kept, but that. */
static const char key_script[] =
    "local is = redis.call('HGET', KEYS[1], ARGV[2])\n"
    "if is and string.sub(is, 1, 41) >= string.sub(ARGV[3], 1, 41) then return 0 end\n"
    "redis.pcall('PUBLISH', ARGV[1], ARGV[4] .. ' key ' .. ARGV[2] .. ' ' .. ARGV[3])\n"
    "redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])\n"
    "return 1";
static const char forget_script[] =
    "if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end\n"
    "return 1";

static struct str word(struct str *rest) {
    struct str w = STR_NONE;
    str_next(rest, ' ', &w);
    return w;
}

/* --- hearing --- */

static void answer(struct news *n, struct str text) {
    struct buf key, what, out;
    struct str id = word(&text);
    if (id.n != 16)
        return;
    buf_init(&key, 0);
    buf_init(&what, 64);
    buf_init(&out, ANSWER_MOST);
    buf_printf(&what, "u:" STR_FMT, STR_ARG(id));
    buf_addc(&what, '\0');
    cluster_key(n->c, &key, buf_at(&what));
    n->events.ask(n->arg, text, &out);
    const struct str push[] = {STR("RPUSH"), buf_str(&key), buf_str(&out)},
                     expire[] = {STR("EXPIRE"), buf_str(&key), STR("30")};
    if (buf_ok(&out) && buf_len(&out) > 0) {
        link_send(n->c->link, push, 3, NULL, NULL);
        link_send(n->c->link, expire, 3, NULL, NULL);
    }
    buf_free(&key);
    buf_free(&what);
    buf_free(&out);
}

static void heard(void *arg, const struct resp *r) {
    struct news *n = arg;
    struct str text = resp_text(resp_at(r, 2)), host = word(&text), what = word(&text);
    MAGIC_CHECK(n, NEWS_MAGIC);
    uint64_t at = 0;
    if (str_is(what, "clear") && str_u64(word(&text), &at)) {
        hosts_set_cleared(n->c->shm, at);
        clears_heard(n->clears, at);
    }
    if (str_is(host, n->me))
        return;
    if (str_is(what, "clear")) {
        n->events.clear(n->arg, text, 0);
    } else if (str_is(what, "breaker")) {
        n->events.breaker(n->arg, text);
    } else if (str_is(what, "ask")) {
        answer(n, text);
    } else if (str_is(what, "key")) {
        struct news_key k = {.id = word(&text)};
        k.line = text;
        if (k.line.n >= NEWS_STAMP)
            n->events.keys(n->arg, &k, 1, false);
    }
}

int news_by_id(const void *a, const void *b) {
    struct str x = ((const struct news_key *)a)->id, y = ((const struct news_key *)b)->id;
    size_t n = x.n < y.n ? x.n : y.n;
    int order = n ? memcmp(x.p, y.p, n) : 0;
    return order ? order : (x.n > y.n) - (x.n < y.n);
}

static void all_keys(void *arg, const struct resp *r) {
    struct news *n = arg;
    size_t most = resp_n(r) / 2, have = 0;
    if (resp_type(r) != RESP_LIST) {
        if (r)
            cluster_complain(n->c, r);
        return;
    }
    if (most > KEYS_MANY && !n->many)
        log_event(LVL_WARN, "cluster", "the cluster remembers %zu gateway keys, most of which are gone",
                  most);
    n->many = most > KEYS_MANY;
    struct news_key *k = mem_array(most + 1, sizeof *k);
    for (size_t i = 0; i < most; i++) {
        k[have] = (struct news_key){resp_text(resp_at(r, 2 * i)), resp_text(resp_at(r, 2 * i + 1))};
        have += k[have].line.n >= NEWS_STAMP;
    }
    qsort(k, have, sizeof *k, news_by_id);
    n->events.keys(n->arg, k, have, true);
    mem_free(k);
}

static void ask_for_all(struct news *n) {
    struct buf keys;
    buf_init(&keys, 0);
    cluster_key(n->c, &keys, "keys");
    const struct str get[] = {STR("HGETALL"), buf_str(&keys)};
    link_send(n->c->link, get, 2, all_keys, n);
    clears_ask(n->clears);
    buf_free(&keys);
    n->due_ms = clock_ms() + (n->deaf ? 0 : AGAIN_MS);
}

/* Both connections have to be there: what is told now is heard. */
static void tick(void *arg) {
    struct news *n = arg;
    MAGIC_CHECK(n, NEWS_MAGIC);
    clears_keep(n->clears);
    if (link_up(n->ear) && link_up(n->c->link)) {
        clears_send(n->clears);
        if (clock_ms() >= n->due_ms)
            ask_for_all(n);
    }
    timer_set(&n->tick, TICK_MS);
}

static void subscribed(void *arg, const struct resp *r) {
    struct news *n = arg;
    if (r) {
        n->deaf = resp_type(r) == RESP_ERROR;
        if (n->deaf)
            log_event(LVL_WARN, "cluster", "the cluster's server lets us not listen: " STR_FMT,
                      STR_ARG(resp_text(r)));
        n->due_ms = 0;
        timer_set(&n->tick, 0);
    }
}

static void on_state(void *arg, bool up) {
    struct news *n = arg;
    struct buf channel;
    if (!up)
        return;
    buf_init(&channel, 0);
    cluster_channel(n->c, &channel);
    const struct str ask[] = {STR("SUBSCRIBE"), buf_str(&channel)};
    link_send(n->ear, ask, 2, subscribed, n);
    buf_free(&channel);
}

void news_linked(struct news *n) {
    n->due_ms = 0;
    timer_set(&n->tick, 0);
}

/* --- telling --- */

void news_breaker(struct cluster *c, struct str target) {
    struct buf channel, text;
    if (!c || !cluster_linked(c))
        return;
    buf_init(&channel, 0);
    buf_init(&text, 0);
    cluster_channel(c, &channel);
    buf_printf(&text, "%016" PRIx64 " breaker " STR_FMT, hosts_me(c->shm), STR_ARG(target));
    const struct str publish[] = {STR("PUBLISH"), buf_str(&channel), buf_str(&text)};
    link_send(c->link, publish, 3, NULL, NULL);
    buf_free(&channel);
    buf_free(&text);
}

void news_tell_key(struct news *n, const struct news_key *k) {
    struct buf key, channel;
    if (!n || !link_up(n->c->link))
        return;
    buf_init(&key, 0);
    buf_init(&channel, 0);
    cluster_key(n->c, &key, "keys");
    cluster_channel(n->c, &channel);
    const struct str arg[] = {buf_str(&key), buf_str(&channel), k->id, k->line, str_of(n->me)};
    cluster_eval(n->c, key_script, arg, 1, 5, NULL, NULL);
    buf_free(&key);
    buf_free(&channel);
}

void news_forget_key(struct news *n, const struct news_key *k) {
    struct buf key;
    buf_init(&key, 0);
    cluster_key(n->c, &key, "keys");
    const struct str arg[] = {buf_str(&key), k->id, k->line};
    cluster_eval(n->c, forget_script, arg, 1, 3, NULL, NULL);
    buf_free(&key);
}

void news_tell_clear(struct news *n, struct str text) {
    clears_tell(n->clears, text);
}

void news_keep(struct news *n) {
    clears_keep(n->clears);
}

/* --- life --- */

struct news *news_start(struct cluster *c, const struct news_events *e, void *arg) {
    static const struct link_events events = {.state = on_state, .push = heard};
    if (!c)
        return NULL;
    struct news *n = mem_alloc(sizeof *n);
    *n = (struct news){.magic = NEWS_MAGIC, .c = c, .events = *e, .arg = arg};
    snprintf(n->me, sizeof n->me, "%016" PRIx64, hosts_me(c->shm));
    n->clears = clears_new(c, e, arg);
    n->ear = link_new(c->loop, c->redis, false, &events, n);
    timer_init(&n->tick, c->loop, tick, n);
    timer_set(&n->tick, TICK_MS);
    c->news = n;
    return n;
}

void news_stop(struct news *n) {
    if (!n)
        return;
    n->c->news = NULL;
    link_free(n->ear);
    timer_free(&n->tick);
    clears_free(n->clears);
    n->magic = 0;
    mem_free(n);
}
