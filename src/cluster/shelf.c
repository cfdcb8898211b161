#include "config.h"

#include "cluster/shelf.h"

#include <stdio.h>
#ifdef PENSTOCK_ZSTD
#include <zstd.h>
#endif

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "inner.h"
#include "shm/hosts.h"
#include "shm/stat.h"

enum { PRESS_FROM = 2048, MS_DIGITS = 13 };

/* With the server's time of storing: 13 digits of ms, then 'r' or 'z' (zstd), then the value. */
static const char put_script[] =
    "local t = redis.call('TIME')\n"
    "local ms = string.format('%013.0f', t[1] * 1000 + math.floor(t[2] / 1000))\n"
    "redis.call('SET', KEYS[1], ms .. ARGV[2], 'PX', ARGV[1])\n"
    "return 1";

struct shelf_call {
    struct cluster *c;
    struct shelf_ask *ask; /* NULL: nobody waits any more */
    size_t most;
    uint64_t asked_ms;
    struct timer late;
};

static void put_key(const struct cluster *c, struct buf *out, const uint8_t key[INDEX_KEY]) {
    char hex[2 * INDEX_KEY + 1];
    hex_encode(hex, key, INDEX_KEY);
    cluster_key(c, out, "a:");
    buf_addz(out, hex);
}

/* --- zstd --- */

#ifdef PENSTOCK_ZSTD
static bool press(struct str value, struct buf *out) {
    size_t most = ZSTD_compressBound(value.n);
    char *to = value.n >= PRESS_FROM ? buf_room(out, most) : NULL;
    size_t n = to ? ZSTD_compress(to, most, value.p, value.n, 1) : 0;
    if (!to || ZSTD_isError(n) || n >= value.n)
        return false;
    buf_commit(out, n);
    return true;
}

static struct str unpress(struct arena *a, struct str s, size_t most) {
    unsigned long long n = ZSTD_getFrameContentSize(s.p, s.n);
    if (n == ZSTD_CONTENTSIZE_ERROR || n == ZSTD_CONTENTSIZE_UNKNOWN || n > most)
        return STR_NONE;
    char *to = arena_alloc(a, (size_t)n + 1);
    size_t got = ZSTD_decompress(to, (size_t)n, s.p, s.n);
    return ZSTD_isError(got) ? STR_NONE : str_make(to, got);
}
#else
static bool press(struct str value, struct buf *out) {
    (void)value, (void)out;
    return false;
}
static struct str unpress(struct arena *a, struct str s, size_t most) {
    (void)a, (void)s, (void)most;
    return STR_NONE;
}
#endif

/* --- finding --- */

static struct str value_of(const struct shelf_call *call, struct str s) {
    uint64_t at;
    if (s.n <= MS_DIGITS + 1 || !str_u64(str_make(s.p, MS_DIGITS), &at) || at <= hosts_cleared(call->c->shm))
        return STR_NONE;
    struct str v = str_skip(s, MS_DIGITS + 1);
    if (s.p[MS_DIGITS] == 'z')
        return unpress(call->ask->arena, v, call->most);
    return v.n <= call->most ? arena_dup(call->ask->arena, v) : STR_NONE;
}

static void tell(struct shelf_call *call, struct str raw) {
    struct shelf_ask *ask = call->ask;
    timer_clear(&call->late);
    if (!ask)
        return;
    ask->value = value_of(call, raw);
    ask->known = true;
    ask->call = NULL;
    call->ask = NULL;
    patience_end(ask->patience);
    ask->done(ask->arg);
}

static void found(void *arg, const struct resp *r) {
    struct shelf_call *call = arg;
    tell(call, resp_type(r) == RESP_TEXT ? resp_text(r) : STR_NONE);
    timer_free(&call->late);
    mem_free(call);
}

static void late(void *arg) {
    struct shelf_call *call = arg;
    cluster_late(call->c, call->asked_ms);
    tell(call, STR_NONE);
}

bool shelf_find(struct cluster *c, const uint8_t key[INDEX_KEY], size_t most, struct shelf_ask *ask) {
    struct buf name;
    uint64_t patient_ms = patience_begin(c, ask->patience);
    if (ask->asked || !cluster_linked(c) || patient_ms == 0)
        return false;
    struct shelf_call *call = mem_alloc(sizeof *call);
    *call = (struct shelf_call){.c = c, .ask = ask, .most = most, .asked_ms = clock_ms()};
    timer_init(&call->late, c->loop, late, call);
    buf_init(&name, 0);
    put_key(c, &name, key);
    const struct str get[] = {STR("GET"), buf_str(&name)};
    ask->asked = link_send(c->link, get, 2, found, call);
    buf_free(&name);
    if (!ask->asked) {
        mem_free(call);
        return false;
    }
    ask->call = call;
    timer_set(&call->late, patient_ms);
    return true;
}

void shelf_drop(struct shelf_ask *ask) {
    if (ask->call)
        ask->call->ask = NULL;
    ask->call = NULL;
}

/* --- putting --- */

void shelf_put(struct cluster *c, const uint8_t key[INDEX_KEY], struct str value, uint64_t ttl_ms) {
    struct buf name, kept;
    char ttl[STR_DIGITS];
    if (!cluster_linked(c) || ttl_ms == 0)
        return;
    buf_init(&name, 0);
    buf_init(&kept, 0);
    put_key(c, &name, key);
    buf_addc(&kept, 'z');
    if (!press(value, &kept)) {
        buf_clear(&kept);
        buf_addc(&kept, 'r');
        buf_adds(&kept, value);
    }
    const struct str arg[] = {buf_str(&name), str_from_u64(ttl, ttl_ms), buf_str(&kept)};
    cluster_eval(c, put_script, arg, 1, 3, NULL, NULL);
    buf_free(&name);
    buf_free(&kept);
}
