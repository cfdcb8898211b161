/* Leases. What is asked of the server, what comes of it, and where it goes when nobody wants it any more:
 * whatever was counted as used there and not used here is given back, by the next who needs it here, or
 * there.
 */
#include "cluster/limits.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/die.h"
#include "inner.h"
#include "shm/hosts.h"
#include "shm/lease.h"
#include "shm/stat.h"

enum {
    ARGS = 5, /* of a bucket, beside its key */
    MASK_BITS = 64,
    LEASE_SHARE = 100, /* the leases of all hosts together are at most this part of a limit */
    IDLE_MS = 1000,
    FRESH_MS = 300, /* what the server said is believed when it is late */
};

/* A leaky bucket for each key: its level and the server's time of it in us. The level sinks evenly, by the
 * limit in a period. `owed` is used already (below 0: given back); then `cost` of all or of none, and of what
 * is left a part of `want` more. Replies: granted?, and of each: how much more, how much is left, how long in
 * us until `cost` would fit. */
static const char script[] =
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000000 + t[2]\n"
    "local hosts = tonumber(ARGV[1])\n"
    "local b, ok = {}, 1\n"
    "for i, key in ipairs(KEYS) do\n"
    "  local a = i * 5 - 3\n"
    "  local x = {limit = tonumber(ARGV[a]), per_us = ARGV[a] / ARGV[a + 1], cost = tonumber(ARGV[a + 2]),\n"
    "             owed = tonumber(ARGV[a + 3]), want = tonumber(ARGV[a + 4]), level = 0, more = 0, wait = "
    "0}\n"
    "  local is = redis.call('GET', key)\n"
    "  if is then\n"
    "    local l, at = string.match(is, '^(%S+) (%S+)$')\n"
    "    if l then x.level = tonumber(l) - math.max(0, now - at) * x.per_us end\n"
    "  end\n"
    "  x.level = math.max(0, math.max(0, x.level) + x.owed)\n"
    "  local over = x.level + x.cost - x.limit\n"
    "  if x.cost > 0 and over > x.limit * 1e-12 then\n"
    "    ok = 0\n"
    "    x.wait = math.ceil(over / x.per_us)\n"
    "  end\n"
    "  b[i] = x\n"
    "end\n"
    "local r = {ok}\n"
    "for i, key in ipairs(KEYS) do\n"
    "  local x = b[i]\n"
    "  if ok == 1 then\n"
    "    x.level = x.level + x.cost\n"
    "    x.more = math.max(0, math.floor(math.min(x.want, (x.limit - x.level) / (4 * hosts))))\n"
    "    x.level = x.level + x.more\n"
    "  end\n"
    "  if x.level > 0 and (ok == 1 or x.owed ~= 0) then\n"
    "    redis.call('SET', key, string.format('%.17g %.0f', x.level, now), 'PX',\n"
    "               math.min(math.ceil(x.level / x.per_us / 1000), 1e12) + 1000)\n"
    "  elseif x.level == 0 and x.owed ~= 0 then\n"
    "    redis.call('DEL', key)\n"
    "  end\n"
    "  r[#r + 1] = x.more\n"
    "  r[#r + 1] = math.max(0, math.floor(x.limit - x.level))\n"
    "  r[#r + 1] = x.wait\n"
    "end\n"
    "return r";

struct limits_call {
    struct limits_call *next; /* in the order of their deadlines */
    struct cluster *c;
    struct limits_ask *ask; /* NULL: nobody waits for it any more */
    uint64_t asked_ms, deadline_ms;
    size_t n;
    struct bucket_ask *asked; /* what the server is asked for ... */
    uint64_t *owed;
    size_t *index; /* ... of the ask's */
    uint64_t held; /* mask: those that were taken from leases already */
    struct bucket_ask *all;
    size_t all_n;
};

/* Numbers of tokens come from providers and clients, and may be anything. */
static int64_t clamp(uint64_t v) {
    return v < INT64_MAX / 4 ? (int64_t)v : INT64_MAX / 4;
}

/* --- the question --- */

static void put_key(const struct cluster *c, struct buf *out, const struct bucket_ask *a) {
    enum entity_kind kind = 0;
    struct str name = STR_NONE;
    shm_entity_at(c->shm, a->entity, &kind, &name);
    buf_printf(out, "%s{c}:l:%d:%d:" STR_FMT, c->redis->prefix, (int)kind, (int)a->kind, STR_ARG(name));
}

struct question {
    struct buf text;
    size_t *end; /* of each part */
    size_t n;
};

static void end_part(struct question *q) {
    q->end[q->n++] = buf_len(&q->text);
}

static void put_number(struct question *q, int64_t v) {
    buf_addi(&q->text, v);
    end_part(q);
}

/* take: their costs. owed, want: NULL is nought of each. */
static bool ask_server(struct cluster *c, const struct bucket_ask *asks, size_t n, bool take,
                       const int64_t *owed, const uint64_t *want, link_done *done, void *arg) {
    size_t parts = n + 1 + ARGS * n;
    struct question q = {.end = mem_array(parts, sizeof *q.end)};
    struct str *part = mem_array(parts, sizeof *part);
    buf_init(&q.text, 0);
    for (size_t i = 0; i < n; i++) {
        put_key(c, &q.text, &asks[i]);
        end_part(&q);
    }
    put_number(&q, hosts_n(c->shm));
    for (size_t i = 0; i < n; i++) {
        put_number(&q, clamp(asks[i].limit));
        put_number(&q, (int64_t)(bucket_rows[asks[i].kind].period_ns / 1000));
        put_number(&q, take ? clamp(lease_cost(&asks[i])) : 0);
        put_number(&q, owed ? owed[i] : 0);
        put_number(&q, want ? clamp(want[i]) : 0);
    }
    struct str text = buf_str(&q.text);
    for (size_t i = 0, from = 0; i < parts; from = q.end[i++])
        part[i] = str_make(text.p + from, q.end[i] - from);
    bool ok = buf_ok(&q.text) && cluster_eval(c, script, part, n, parts, done, arg);
    buf_free(&q.text);
    mem_free(q.end);
    mem_free(part);
    return ok;
}

/* --- giving back --- */

struct return_call {
    struct cluster *c;
    struct bucket_ask ask;
    int64_t units;
};

static void returned(void *arg, const struct resp *r) {
    struct return_call *t = arg;
    if (resp_type(r) == RESP_LIST)
        lease_seen(t->c->shm, &t->ask, (uint64_t)resp_integer(resp_at(r, 2)), 0, clock_ms());
    else /* it may have been done; then the next question settles it */
        lease_add(t->c->shm, t->ask.entity, t->ask.kind, t->units);
    mem_free(t);
}

/* What is held here goes back; what is owed is told, as far as it has not been refilled since. */
static int64_t take_out(struct cluster *c, const struct bucket_ask *a) {
    struct bucket_ask share = lease_share(a, hosts_n(c->shm));
    if (lease_held(c->shm, a->entity, a->kind) < 0)
        return -clamp(lease_debt(c->shm, a, share.limit, clock_coarse_ns()));
    return lease_empty(c->shm, a->entity, a->kind);
}

static void empty(struct cluster *c, const struct bucket_ask *a) {
    if (!cluster_linked(c))
        return;
    int64_t units = take_out(c, a), owed = -units;
    if (units == 0)
        return;
    struct return_call *t = mem_alloc(sizeof *t);
    *t = (struct return_call){c, *a, units};
    if (!ask_server(c, a, 1, false, &owed, NULL, returned, t))
        returned(t, NULL);
}

static uint64_t most_of(const struct cluster *c, const struct bucket_ask *a) {
    return c->conf->cluster.exact ? 0 : a->limit / LEASE_SHARE / hosts_n(c->shm);
}

/* What lies here beyond a lease and a request's worth, or is owed, goes at once. */
static void tidy(struct cluster *c, const struct bucket_ask *a) {
    int64_t held = lease_held(c->shm, a->entity, a->kind);
    int64_t keep = c->conf->cluster.exact ? 0 : clamp(most_of(c, a) + lease_cost(a));
    if (held > keep || held < -keep)
        empty(c, a);
}

static void give(struct cluster *c, const struct bucket_ask *a, uint64_t units) {
    if (units == 0)
        return;
    lease_add(c->shm, a->entity, a->kind, clamp(units));
    tidy(c, a);
}

static void sweep(struct cluster *c, uint64_t idle_ms, bool debts) {
    uint64_t now = clock_ms();
    for (uint32_t e = 0, n = shm_entities(c->shm); e < n && cluster_linked(c); e++)
        for (int k = 0; k < BUCKET_KINDS; k++) {
            enum bucket kind = (enum bucket)k;
            uint64_t limit = lease_idle(c->shm, e, kind, idle_ms, now);
            if (limit && (!debts || lease_held(c->shm, e, kind) < 0))
                empty(c, &(struct bucket_ask){e, kind, limit, 0});
        }
}

void limits_sweep(struct cluster *c) {
    sweep(c, IDLE_MS, false);
}

void limits_catch_up(struct cluster *c) {
    sweep(c, 0, true);
}

/* --- calls --- */

static void call_free(struct limits_call *call) {
    mem_free(call->asked);
    mem_free(call->owed);
    mem_free(call->index);
    mem_free(call->all);
    mem_free(call);
}

static void unlink_call(struct limits_call *call) {
    struct limits_call **at = &call->c->limits.first;
    while (*at && *at != call)
        at = &(*at)->next;
    if (*at)
        *at = call->next;
}

static void link_call(struct limits_call *call) {
    struct limits_call **at = &call->c->limits.first;
    while (*at && (*at)->deadline_ms <= call->deadline_ms)
        at = &(*at)->next;
    call->next = *at;
    *at = call;
    if (call->c->limits.first == call)
        timer_set(&call->c->limits.timer, call->deadline_ms - call->asked_ms);
}

static void give_held(struct limits_call *call) {
    for (size_t i = 0; i < call->all_n && i < MASK_BITS; i++)
        if (call->held >> i & 1)
            give(call->c, &call->all[i], lease_cost(&call->all[i]));
    call->held = 0;
}

static void still_owed(struct limits_call *call) {
    for (size_t i = 0; i < call->n; i++)
        if (call->owed[i])
            lease_add(call->c->shm, call->asked[i].entity, call->asked[i].kind, -clamp(call->owed[i]));
}

/* The one who asked is told, and goes on from there. */
static void tell(struct limits_call *call, enum limits_state state) {
    struct limits_ask *ask = call->ask;
    call->ask = NULL;
    if (!ask)
        return;
    ask->state = state;
    ask->call = NULL;
    patience_end(ask->patience);
    ask->done(ask->arg);
}

static void granted(struct limits_call *call, const struct resp *r) {
    uint64_t now = clock_ms();
    for (size_t i = 0; i < call->n; i++) {
        const struct bucket_ask *a = &call->asked[i];
        int64_t more = resp_integer(resp_at(r, 1 + 3 * i));
        lease_seen(call->c->shm, a, (uint64_t)resp_integer(resp_at(r, 2 + 3 * i)), 0, now);
        give(call->c, a, (uint64_t)more + (call->ask ? 0 : lease_cost(a)));
    }
    if (!call->ask)
        give_held(call);
    tell(call, LIMITS_GRANTED);
}

static void refused(struct limits_call *call, const struct resp *r) {
    struct bucket_verdict v = {.ok = false};
    uint64_t now = clock_ms();
    for (size_t i = 0; i < call->n; i++) {
        uint64_t wait = (uint64_t)resp_integer(resp_at(r, 3 + 3 * i));
        lease_seen(call->c->shm, &call->asked[i], (uint64_t)resp_integer(resp_at(r, 2 + 3 * i)), wait, now);
        if (wait * 1000 >= v.wait_ns) {
            v.wait_ns = wait * 1000;
            v.refused = call->index[i];
        }
    }
    give_held(call);
    if (call->ask)
        call->ask->verdict = v;
    tell(call, LIMITS_REFUSED);
}

static void answered(void *arg, const struct resp *r) {
    struct limits_call *call = arg;
    unlink_call(call);
    if (resp_n(r) == 1 + 3 * call->n) {
        if (resp_integer(resp_at(r, 0)) == 1)
            granted(call, r);
        else
            refused(call, r);
    } else {
        still_owed(call);
        give_held(call);
        if (r)
            cluster_complain(call->c, r);
        tell(call, LIMITS_AWAY);
    }
    call_free(call);
}

/* The first of the queue has waited long enough. What it asked for comes late, and is somebody else's then.
 */
void limits_time(struct cluster *c) {
    uint64_t now = clock_ms();
    while (c->limits.first && c->limits.first->deadline_ms <= now) {
        struct limits_call *call = c->limits.first;
        unlink_call(call);
        cluster_late(c, call->asked_ms);
        give_held(call);
        tell(call, LIMITS_AWAY);
    }
    if (c->limits.first)
        timer_set(&c->limits.timer, c->limits.first->deadline_ms - now);
}

static void *copy(const void *p, size_t n, size_t size) {
    void *to = mem_array(n + 1, size);
    memcpy(to, p, n * size);
    return to;
}

/* Those that are not in the mask. */
static bool start(struct cluster *c, const struct bucket_ask *asks, size_t n, uint64_t held,
                  struct limits_ask *ask) {
    uint64_t patient_ms = patience_begin(c, ask->patience);
    if (patient_ms == 0)
        return false;
    struct limits_call *call = mem_alloc(sizeof *call);
    int64_t *owed = mem_array(n + 1, sizeof *owed);
    uint64_t *want = mem_array(n + 1, sizeof *want), now_ns = clock_coarse_ns(), now = clock_ms();
    uint32_t hosts = hosts_n(c->shm);
    *call = (struct limits_call){
        .c = c, .ask = ask, .held = held, .all_n = n, .all = copy(asks, n, sizeof *asks)};
    call->asked = mem_array(n + 1, sizeof *call->asked);
    call->owed = mem_array(n + 1, sizeof *call->owed);
    call->index = mem_array(n + 1, sizeof *call->index);
    for (size_t i = 0; i < n; i++) {
        if (i < MASK_BITS && (held >> i & 1))
            continue;
        struct bucket_ask share = lease_share(&asks[i], hosts);
        size_t k = call->n++;
        call->asked[k] = asks[i];
        call->index[k] = i;
        call->owed[k] = lease_debt(c->shm, &asks[i], share.limit, now_ns);
        owed[k] = clamp(call->owed[k]);
        want[k] = lease_size(c->shm, &asks[i], most_of(c, &asks[i]), now);
    }
    call->asked_ms = now;
    call->deadline_ms = now + patient_ms;
    bool ok = ask_server(c, call->asked, call->n, true, owed, want, answered, call);
    mem_free(owed);
    mem_free(want);
    if (!ok) {
        still_owed(call);
        call_free(call);
        return false;
    }
    link_call(call);
    ask->call = call;
    ask->c = c;
    ask->asks = arena_array(ask->arena, n, sizeof *asks);
    memcpy(ask->asks, asks, n * sizeof *asks);
    ask->n = n;
    ask->state = LIMITS_ASKED;
    stat_add(c->shm, STAT_CLUSTER_ASKED, 1);
    return true;
}

/* --- taking --- */

static void note(struct cluster *c, const struct bucket_ask *asks, size_t n) {
    uint64_t now = clock_coarse_ns();
    uint32_t hosts = hosts_n(c->shm);
    for (size_t i = 0; i < n; i++) {
        struct bucket_ask share = lease_share(&asks[i], hosts);
        lease_note(c->shm, &share, now);
    }
}

/* What is used here alone is owed. */
static struct bucket_verdict take_share(struct cluster *c, const struct bucket_ask *asks, size_t n) {
    struct bucket_ask *share = copy(asks, n, sizeof *asks);
    uint32_t hosts = hosts_n(c->shm);
    for (size_t i = 0; i < n; i++)
        share[i] = lease_share(&asks[i], hosts);
    struct bucket_verdict v = buckets_take(c->shm, share, n, clock_coarse_ns());
    for (size_t i = 0; i < n && v.ok; i++)
        lease_owe(c->shm, &asks[i]);
    mem_free(share);
    return v;
}

/* The server is only late: what it has just said is better than a share, which may be spent while much is
 * left, or whole when nothing is. False: it has not said anything of late, of one of them. */
static bool take_part(struct cluster *c, const struct bucket_ask *asks, size_t n, struct bucket_verdict *v) {
    uint64_t *part = mem_array(n, sizeof *part), now = clock_ms();
    bool known = cluster_near(c);
    for (size_t i = 0; i < n && known; i++)
        known = lease_part(c->shm, &asks[i], hosts_n(c->shm), FRESH_MS, now, &part[i]);
    *v = (struct bucket_verdict){.ok = true};
    for (size_t i = 0; i < n && known && v->ok; i++)
        if (!lease_owe_within(c->shm, &asks[i], part[i], &v->wait_ns)) {
            v->ok = false;
            v->refused = i;
        }
    if (known && v->ok)
        note(c, asks, n);
    for (size_t i = 0; i < v->refused && known && !v->ok; i++)
        lease_add(c->shm, asks[i].entity, asks[i].kind, clamp(lease_cost(&asks[i])));
    mem_free(part);
    return known;
}

static struct bucket_verdict take_alone(struct cluster *c, const struct bucket_ask *asks, size_t n) {
    struct bucket_verdict v;
    stat_add(c->shm, STAT_CLUSTER_ALONE, 1);
    return take_part(c, asks, n, &v) ? v : take_share(c, asks, n);
}

static uint64_t all_of(size_t n) {
    return n >= MASK_BITS ? UINT64_MAX : ((uint64_t)1 << n) - 1;
}

static uint64_t take_held(struct cluster *c, const struct bucket_ask *asks, size_t n) {
    uint64_t held = 0;
    for (size_t i = 0; i < n && n <= MASK_BITS && !c->conf->cluster.exact; i++)
        if (lease_take(c->shm, &asks[i]))
            held |= (uint64_t)1 << i;
    return held;
}

static void untake(struct cluster *c, const struct bucket_ask *asks, size_t n, uint64_t held) {
    for (size_t i = 0; i < n && i < MASK_BITS; i++)
        if (held >> i & 1)
            lease_add(c->shm, asks[i].entity, asks[i].kind, clamp(lease_cost(&asks[i])));
}

/* The bucket that is known to be spent for the longest, or n. */
static size_t driest(struct cluster *c, const struct bucket_ask *asks, size_t n, uint64_t held,
                     uint64_t *wait_ms) {
    size_t which = n;
    uint64_t now = clock_ms();
    *wait_ms = 0;
    for (size_t i = 0; i < n && !c->conf->cluster.exact; i++) {
        uint64_t ms = i < MASK_BITS && (held >> i & 1) ? 0 : lease_dry_ms(c->shm, &asks[i], now);
        if (ms > *wait_ms) {
            *wait_ms = ms;
            which = i;
        }
    }
    return which;
}

static bool same(const struct limits_ask *ask, const struct bucket_ask *asks, size_t n) {
    if (ask->n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (ask->asks[i].entity != asks[i].entity || ask->asks[i].kind != asks[i].kind ||
            ask->asks[i].limit != asks[i].limit || ask->asks[i].cost != asks[i].cost)
            return false;
    return true;
}

/* What the server has said to the same question. False: nothing. */
static bool told(struct limits_ask *ask, const struct bucket_ask *asks, size_t n, struct bucket_verdict *v,
                 bool *alone) {
    *alone = false;
    if (!ask || ask->state == LIMITS_NONE)
        return false;
    if (ask->state == LIMITS_ASKED || (ask->state != LIMITS_AWAY && !same(ask, asks, n))) {
        limits_drop(ask);
        return false;
    }
    enum limits_state state = ask->state;
    ask->state = LIMITS_NONE;
    *v = state == LIMITS_GRANTED ? (struct bucket_verdict){.ok = true} : ask->verdict;
    *alone = state == LIMITS_AWAY;
    return true;
}

struct bucket_verdict limits_take(struct cluster *c, const struct bucket_ask *asks, size_t n,
                                  struct limits_ask *ask, bool *wait) {
    struct bucket_verdict v = {.ok = true};
    bool alone;
    *wait = false;
    if (n == 0)
        return v;
    for (size_t i = 0; i < n; i++)
        if (asks[i].limit == 0)
            return (struct bucket_verdict){.ok = false, .refused = i, .wait_ns = UINT64_MAX};
    bool known = told(ask, asks, n, &v, &alone);
    uint64_t held = known ? 0 : take_held(c, asks, n), wait_ms;
    if (known && !alone) {
        if (v.ok)
            note(c, asks, n);
        return v;
    }
    if (!known && held == all_of(n)) {
        note(c, asks, n);
        return v;
    }
    if (!alone && cluster_ready(c)) {
        size_t dry = driest(c, asks, n, held, &wait_ms);
        if (dry < n) {
            untake(c, asks, n, held);
            return (struct bucket_verdict){.ok = false, .refused = dry, .wait_ns = wait_ms * 1000000};
        }
        if (ask && start(c, asks, n, held, ask)) {
            *wait = true;
            return v;
        }
    }
    untake(c, asks, n, held);
    return take_alone(c, asks, n);
}

void limits_drop(struct limits_ask *ask) {
    if (ask->state == LIMITS_ASKED) {
        ask->call->ask = NULL; /* its answer gives it back */
        ask->call = NULL;
    } else if (ask->state == LIMITS_GRANTED) {
        for (size_t i = 0; i < ask->n; i++)
            give(ask->c, &ask->asks[i], lease_cost(&ask->asks[i]));
    }
    ask->state = LIMITS_NONE;
}

void limits_give_back(struct cluster *c, const struct bucket_ask *asks, size_t n) {
    uint32_t hosts = hosts_n(c->shm);
    for (size_t i = 0; i < n; i++) {
        struct bucket_ask share = lease_share(&asks[i], hosts);
        buckets_give_back(c->shm, &share, 1, 0);
        give(c, &asks[i], lease_cost(&asks[i]));
    }
}

/* As bucket_settle(): what was never charged, of a cost above the limit, is not given back either. */
static int64_t change(const struct bucket_ask *a, uint64_t used) {
    uint64_t had = lease_cost(a);
    if (used >= a->cost)
        return clamp(used) - clamp(a->cost);
    return used < had ? clamp(used) - clamp(had) : 0;
}

void limits_settle(struct cluster *c, const struct bucket_ask *asks, const uint64_t *used, size_t n) {
    uint64_t now = clock_coarse_ns();
    uint32_t hosts = hosts_n(c->shm);
    for (size_t i = 0; i < n; i++) {
        const struct bucket_ask *a = &asks[i];
        int64_t delta = change(a, used[i]);
        struct bucket_ask share = lease_share(a, hosts);
        if (delta == 0 || a->limit == 0 || bucket_rows[a->kind].unit == BUCKET_REQUESTS)
            continue;
        bucket_settle(c->shm, &share, delta, now);
        lease_add(c->shm, a->entity, a->kind, -delta);
        tidy(c, a);
    }
}

void limits_look(struct cluster *c, uint32_t entity, enum bucket kind, uint64_t limit, uint64_t *remaining,
                 uint64_t *full_in_ns) {
    lease_look(c->shm, entity, kind, limit, clock_ms(), remaining, full_in_ns);
}
