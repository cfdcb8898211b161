/* The roll: each host's scribe says once a second that it is there; who has not for ten is gone. A host that
 * was away tells what it has used first, and decides alone until all who were there have come back too: else
 * the first to come would take what the others have used already. The host's
 * id and how many there were last are kept in state_dir, for a start while the server is away. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/kept.h"
#include "base/log.h"
#include "inner.h"
#include "shm/hosts.h"

enum {
    EVERY_MS = 1000,
    APART_MS = 200,
    NEW_MS = 3000,
    GONE_MS = 10000,
    TOLD_MS = 2500, /* who is counted as present after that has told */
    HOSTS_MOST = 10000
};

struct roll {
    struct cluster *c;
    char path[PATH_MAX];
    uint64_t me, due_ms;
    uint32_t n;
    bool asked;
    uint64_t least_ms; /* apart for so long */
    uint64_t up_ms;    /* since when it is linked, and takes what it is told */
};

/* The time is the server's: nobody else's clock matters. */
static const char script[] =
    "local now = tonumber(redis.call('TIME')[1])\n"
    "redis.call('ZADD', KEYS[1], now, ARGV[1])\n"
    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 10)\n"
    "redis.call('EXPIRE', KEYS[1], 3600)\n"
    "return {redis.call('ZCARD', KEYS[1]), redis.call('ZCOUNT', KEYS[1], now - 2, '+inf')}";

/* --- the file: "<id in hex> <hosts>" --- */

static void keep(struct roll *r) {
    char text[64];
    int n = snprintf(text, sizeof text, "%016" PRIx64 " %" PRIu32 "\n", r->me, r->n);
    if (!kept_write(r->path, str_make(text, (size_t)n)))
        log_event(LVL_WARN, "cluster", "%s cannot be written: %s", r->path, strerror(errno));
}

static bool recall(struct roll *r) {
    struct buf b;
    char text[64] = "", *end = NULL;
    buf_init(&b, 8192);
    if (kept_read(r->path, &b))
        str_copy(text, sizeof text, buf_str(&b));
    buf_free(&b);
    r->me = strtoull(text, &end, 16);
    uint64_t hosts = 0;
    if (end != text + 16 || *end != ' ')
        return false;
    str_u64(str_make(text + 17, strcspn(text + 17, "\n")), &hosts);
    r->n = hosts >= 1 && hosts <= HOSTS_MOST ? (uint32_t)hosts : 1;
    return r->me != 0;
}

/* --- calls --- */

/* It is there, and takes no writes: it is full, say. Then it is of no use to anybody. */
static void refused(struct roll *r, const struct resp *reply) {
    cluster_complain(r->c, reply);
    if (!r->c->refused)
        cluster_is_refused(r->c, true);
    hosts_set_apart(r->c->shm, HOSTS_REFUSED);
}

static void taken_again(struct roll *r) {
    hosts_set_apart(r->c->shm, HOSTS_CATCHING_UP);
    r->up_ms = clock_ms();
    r->least_ms = TOLD_MS;
    cluster_is_refused(r->c, false);
}

static void called(void *arg, const struct resp *reply) {
    struct roll *r = arg;
    int64_t n = resp_integer(resp_at(reply, 0)), present = resp_integer(resp_at(reply, 1));
    r->asked = false;
    if (resp_type(reply) == RESP_ERROR)
        refused(r, reply);
    if (n < 1 || n > HOSTS_MOST)
        return;
    if (r->c->refused)
        taken_again(r);
    uint64_t up_for = clock_ms() - r->up_ms;
    if (hosts_apart(r->c->shm) && up_for < r->least_ms)
        return;
    if (hosts_apart(r->c->shm) && up_for < GONE_MS && (present < n || (uint32_t)present < r->n))
        return;
    hosts_set_apart(r->c->shm, HOSTS_TOGETHER);
    if ((uint32_t)n == r->n)
        return;
    log_event(LVL_INFO, "cluster", "the cluster has %" PRId64 " host%s", n, n == 1 ? "" : "s");
    r->n = (uint32_t)n;
    hosts_set(r->c->shm, r->me, r->n);
    keep(r);
}

void roll_state(struct roll *r, bool up) {
    if (!up) {
        hosts_set_apart(r->c->shm, HOSTS_CATCHING_UP);
        return;
    }
    r->up_ms = clock_ms();
    r->least_ms = 0;
    r->due_ms = 0;
    roll_call(r);
}

void roll_call(struct roll *r) {
    uint64_t now = clock_ms();
    struct buf key;
    char me[17];
    if (now < r->due_ms || r->asked || !link_up(r->c->link))
        return;
    bool soon = hosts_apart(r->c->shm) || now - r->up_ms < NEW_MS; /* others come as well */
    r->due_ms = now + (soon ? APART_MS : EVERY_MS);
    buf_init(&key, 0);
    cluster_key(r->c, &key, "hosts");
    snprintf(me, sizeof me, "%016" PRIx64, r->me);
    const struct str arg[] = {buf_str(&key), str_of(me)};
    r->asked = cluster_eval(r->c, script, arg, 1, 2, called, r);
    buf_free(&key);
}

struct roll *roll_new(struct cluster *c) {
    struct roll *r = mem_alloc(sizeof *r);
    *r = (struct roll){.c = c, .n = 1};
    int n = snprintf(r->path, sizeof r->path, "%s/host", c->conf->state_dir);
    if (n <= 0 || (size_t)n >= sizeof r->path)
        die("state_dir is too long");
    if (!recall(r)) {
        while (r->me == 0)
            random_bytes(&r->me, sizeof r->me);
        keep(r);
    }
    hosts_set(c->shm, r->me, r->n);
    return r;
}

void roll_free(struct roll *r) {
    mem_free(r);
}
