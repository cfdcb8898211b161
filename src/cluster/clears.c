#include "clears.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/kept.h"
#include "base/log.h"
#include "inner.h"
#include "shm/hosts.h"

enum { LISTED = 1000, WAITING = 64, AT_ONCE = 1024, TEXT = 96, NOTED = 1024, LATE_S = 86400 };

struct told {             /* of this host's */
    struct clears *owner; /* NULL: nobody wants to know any more */
    bool sent, tried;
    char text[TEXT];
};
struct clears {
    struct cluster *c; /* NULL: only the file is of interest */
    const struct conf *conf;
    struct news_events events;
    void *arg;
    struct told *waiting[AT_ONCE]; /* for the server, or for its reply */
    size_t n;
    bool changed;          /* since they were written */
    uint64_t done;         /* what was listed up to this time of the server was done here, ... */
    uint64_t noted[NOTED]; /* ... and these */
    size_t next_noted;
};

/* Who listens hears it first, also from a server that is full. The server's time is for the shelf, and never
 * the same for two; the clearing host's is for those who are told of it late: what was made later is not
 * meant. */
static const char script[] =
    "local t = redis.call('TIME')\n"
    "local last = string.match(redis.call('LINDEX', KEYS[1], 0) or '', '^%d+')\n"
    "local ms = math.max(t[1] * 1000 + math.floor(t[2] / 1000), (tonumber(last) or 0) + 1)\n"
    "ms = string.format('%.0f', ms)\n"
    "redis.pcall('PUBLISH', ARGV[1], ARGV[2] .. ' clear ' .. ms .. ' ' .. ARGV[3])\n"
    "redis.call('LPUSH', KEYS[1], ms .. ' ' .. ARGV[4] .. ' ' .. ARGV[3])\n"
    "redis.call('LTRIM', KEYS[1], 0, 999)\n"
    "if redis.call('TTL', KEYS[1]) < tonumber(ARGV[5]) then redis.call('EXPIRE', KEYS[1], ARGV[5]) end\n"
    "return ms";

/* --- the file: a line each --- */

static bool path_of(const struct conf *c, char path[PATH_MAX]) {
    int n = snprintf(path, PATH_MAX, "%s/clears", c->state_dir);
    return n > 0 && n < PATH_MAX;
}

void clears_keep(struct clears *k) {
    if (!k->changed)
        return;
    k->changed = false;
    char path[PATH_MAX];
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < k->n; i++)
        buf_printf(&b, "%s\n", k->waiting[i]->text);
    if (!path_of(k->conf, path) ||
        !(k->n ? kept_write(path, buf_str(&b)) : unlink(path) == 0 || errno == ENOENT))
        log_event(LVL_WARN, "cluster", "%s cannot be written: %s", path, strerror(errno));
    buf_free(&b);
}

static void drop(struct told *t) {
    t->owner = NULL;
    if (!t->sent)
        mem_free(t);
}

static void drop_all(struct clears *k) {
    while (k->n > 0)
        drop(k->waiting[--k->n]);
}

static size_t unsent(const struct clears *k) {
    size_t n = 0;
    for (size_t i = 0; i < k->n; i++)
        n += !k->waiting[i]->sent;
    return n;
}

/* Of one that is not sent yet another is not needed: its time is when it is sent. Who listens hears of it
 * again. */
static void add(struct clears *k, struct str text) {
    for (size_t i = 0; i < k->n; i++)
        if (!k->waiting[i]->sent && str_is(text, k->waiting[i]->text)) {
            k->waiting[i]->tried = false;
            return;
        }
    if (text.n == 0 || text.n >= TEXT)
        return;
    if (unsent(k) == WAITING || k->n == AT_ONCE) {
        log_event(LVL_WARN, "cluster",
                  "many clears of the cache wait for the server: it will be told of one of everything");
        drop_all(k);
        text = STR("0 0 0");
    }
    struct told *t = mem_alloc(sizeof *t);
    *t = (struct told){.owner = k};
    str_copy(t->text, sizeof t->text, text);
    k->waiting[k->n++] = t;
    k->changed = true;
}

static void recall(struct clears *k) {
    char path[PATH_MAX];
    struct buf b;
    struct str rest, line;
    buf_init(&b, AT_ONCE * TEXT + 4096);
    if (path_of(k->conf, path) && kept_read(path, &b))
        for (rest = buf_str(&b); str_next(&rest, '\n', &line);)
            add(k, line);
    k->changed = false;
    buf_free(&b);
}

void news_keep_clear(const struct conf *c, struct str text) {
    struct clears k = {.conf = c};
    if (!conf_cluster(c))
        return;
    recall(&k);
    add(&k, text);
    clears_keep(&k);
    drop_all(&k);
}

/* --- telling --- */

static void remove_told(struct clears *k, const struct told *t) {
    size_t i = 0;
    while (i < k->n && k->waiting[i] != t)
        i++;
    if (i == k->n)
        return;
    memmove(k->waiting + i, k->waiting + i + 1, (k->n - i - 1) * sizeof *k->waiting);
    k->n--;
}

/* Where the reply is no time nobody knows whether it is listed: again, a little later. */
static void answered(void *arg, const struct resp *r) {
    struct told *t = arg;
    struct clears *k = t->owner;
    uint64_t at;
    t->sent = false;
    if (!k) {
        mem_free(t);
    } else if (str_u64(resp_text(r), &at)) {
        hosts_set_cleared(k->c->shm, at); /* before it is heard */
        clears_heard(k, at);
        remove_told(k, t);
        mem_free(t);
        k->changed = true;
    } else if (r) {
        cluster_complain(k->c, r);
    }
}

static bool send_one(struct clears *k, struct told *t) {
    struct buf key, channel;
    char me[17], now[STR_DIGITS], ttl[STR_DIGITS];
    buf_init(&key, 0);
    buf_init(&channel, 0);
    cluster_key(k->c, &key, "clears");
    cluster_channel(k->c, &channel);
    snprintf(me, sizeof me, "%016" PRIx64, hosts_me(k->c->shm));
    const struct str arg[] = {buf_str(&key),
                              buf_str(&channel),
                              str_of(me),
                              str_of(t->text),
                              str_from_u64(now, (uint64_t)clock_wall_ms()),
                              str_from_u64(ttl, k->conf->cache.ttl / 1000 + LATE_S)};
    t->sent = cluster_eval(k->c, script, arg, 1, 6, answered, t);
    buf_free(&key);
    buf_free(&channel);
    t->tried |= t->sent;
    return t->sent;
}

/* While the server refuses what is to be kept each is told once, to those who listen. */
void clears_send(struct clears *k) {
    for (size_t i = 0; i < k->n; i++) {
        struct told *t = k->waiting[i];
        if (!t->sent && !(t->tried && k->c->refused) && !send_one(k, t))
            return;
    }
}

void clears_tell(struct clears *k, struct str text) {
    add(k, text);
    if (link_up(k->c->link))
        clears_send(k);
}

/* --- what is listed --- */

struct listed {
    uint64_t server, at;
    struct str text;
    bool old; /* done, or nothing that the ones after it do not mean as well */
};

void clears_heard(struct clears *k, uint64_t server_ms) {
    k->noted[k->next_noted++ % NOTED] = server_ms;
}

static bool is_done(const struct clears *k, uint64_t server_ms) {
    for (size_t i = 0; i < NOTED; i++)
        if (k->noted[i] == server_ms)
            return true;
    return server_ms <= k->done;
}

static struct listed read_listed(struct str s) {
    struct str server = STR_NONE, at = STR_NONE;
    struct listed l = {.old = true};
    str_next(&s, ' ', &server);
    str_next(&s, ' ', &at);
    if (str_u64(server, &l.server) && str_u64(at, &l.at))
        l.old = l.at == 0 || l.at >= INT64_MAX;
    l.text = s;
    return l;
}

/* Newest first. Who has been away long must not walk the cache a thousand times. */
static void mark_old(const struct clears *k, struct listed *l, size_t n) {
    for (size_t i = 0; i < n; i++) {
        l[i].old = l[i].old || is_done(k, l[i].server);
        for (size_t j = 0; j < i && !l[i].old; j++)
            l[i].old = !l[j].old && l[j].at >= l[i].at && str_eq(l[j].text, l[i].text);
    }
}

static void all(void *arg, const struct resp *r) {
    struct clears *k = arg;
    size_t n = resp_n(r) < LISTED ? resp_n(r) : LISTED;
    if (n == 0) {
        if (r && resp_type(r) != RESP_LIST)
            cluster_complain(k->c, r);
        return;
    }
    struct listed *l = mem_array(n, sizeof *l);
    for (size_t i = 0; i < n; i++)
        l[i] = read_listed(resp_text(resp_at(r, i)));
    if (l[0].server < k->done)
        k->done = 0; /* it has lost its memory, and another clock */
    mark_old(k, l, n);
    for (size_t i = n; i-- > 0;) {
        if (l[i].server)
            hosts_set_cleared(k->c->shm, l[i].server);
        if (!l[i].old)
            k->events.clear(k->arg, l[i].text, (int64_t)l[i].at);
    }
    k->done = l[0].server;
    mem_free(l);
}

void clears_ask(struct clears *k) {
    struct buf key;
    buf_init(&key, 0);
    cluster_key(k->c, &key, "clears");
    const struct str list[] = {STR("LRANGE"), buf_str(&key), STR("0"), STR("-1")};
    link_send(k->c->link, list, 4, all, k);
    buf_free(&key);
}

/* --- life --- */

struct clears *clears_new(struct cluster *c, const struct news_events *e, void *arg) {
    struct clears *k = mem_alloc(sizeof *k);
    *k = (struct clears){.c = c, .conf = c->conf, .events = *e, .arg = arg};
    recall(k);
    return k;
}

void clears_free(struct clears *k) {
    clears_keep(k);
    drop_all(k);
    mem_free(k);
}
