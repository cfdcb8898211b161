#include "cluster/purse.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/die.h"
#include "inner.h"
#include "shm/hosts.h"
#include "shm/slot.h"
#include "shm/stat.h"

enum { ARGS = 5, ROUNDS = 30, LEASE_SHARE = 100, TTL_SLACK_S = 86400 };

/* A hash for each budget and period: hosts and their allowances. `need` is what this host must have in all,
 * `want` what it would like to. Every grant makes the allowance larger, be it by a nano-dollar: so a taking
 * back that has not seen it (below) comes to nothing. Replies: granted?, and of each: this host's, all
 * others'. */
static const char raise_script[] =
    "local b, ok = {}, 1\n"
    "for i, key in ipairs(KEYS) do\n"
    "  local a = i * 5 - 3\n"
    "  local x = {limit = tonumber(ARGV[a]), used = tonumber(ARGV[a + 1]), need = tonumber(ARGV[a + 2]),\n"
    "             want = tonumber(ARGV[a + 3]), ttl = tonumber(ARGV[a + 4]), others = 0}\n"
    "  local is = tonumber(redis.call('HGET', key, ARGV[1]) or '0')\n"
    "  for _, v in ipairs(redis.call('HVALS', key)) do x.others = x.others + tonumber(v) end\n"
    "  x.others = x.others - is\n"
    "  x.mine = math.max(is, x.used)\n"
    "  x.heal = x.mine > is\n"
    "  if x.others + x.need > x.limit then ok = 0 end\n"
    "  b[i] = x\n"
    "end\n"
    "local r = {ok}\n"
    "for i, key in ipairs(KEYS) do\n"
    "  local x = b[i]\n"
    "  if ok == 1 then x.mine = math.max(x.mine + 1, x.need, math.min(x.want, x.limit - x.others)) end\n"
    "  if ok == 1 or x.heal then\n"
    "    redis.call('HSET', key, ARGV[1], string.format('%.0f', x.mine))\n"
    "    if x.ttl > 0 then redis.call('EXPIRE', key, x.ttl) end\n"
    "  end\n"
    "  r[#r + 1] = string.format('%.0f', x.mine)\n"
    "  r[#r + 1] = string.format('%.0f', x.others)\n"
    "  r[#r + 1] = x.others + x.need > x.limit and 1 or 0\n"
    "end\n"
    "return r";

/* Only from what it is known to be. Replies what it is. */
static const char lower_script[] =
    "local is = redis.call('HGET', KEYS[1], ARGV[1])\n"
    "if is == ARGV[2] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) return ARGV[3] end\n"
    "return is";

struct purse_call {
    struct purse_call *next;
    struct cluster *c;
    struct purse_ask *ask; /* NULL: nobody waits any more */
    uint64_t asked_ms, deadline_ms, amount;
    size_t n;
    struct money_ask asks[MONEY_MOST];
};

static void put_key(const struct cluster *c, struct buf *out, uint32_t entity, struct money_period p) {
    enum entity_kind kind = 0;
    struct str name = STR_NONE;
    shm_entity_at(c->shm, entity, &kind, &name);
    buf_printf(out, "%s{c}:m:%d:%u:%u:" STR_FMT, c->redis->prefix, (int)kind, p.kind, p.from_hour,
               STR_ARG(name));
}

static void me(const struct cluster *c, char out[17]) {
    snprintf(out, 17, "%016" PRIx64, hosts_me(c->shm));
}

/* What lies at all hosts unspent is at most a hundredth. */
static uint64_t spare(const struct cluster *c, uint64_t limit) {
    return c->conf->cluster.exact ? 0 : limit / LEASE_SHARE / hosts_n(c->shm);
}

/* How long the server keeps it: longer than the period may last. By kind: enum conf_period. */
static uint64_t ttl_s(struct money_period p) {
    static const uint64_t days[] = {
        [PERIOD_HOUR] = 1, [PERIOD_DAY] = 1, [PERIOD_WEEK] = 7, [PERIOD_MONTH] = 31};
    return p.kind < sizeof days / sizeof *days ? days[p.kind] * 86400 + TTL_SLACK_S : 0;
}

/* --- answers --- */

static void asking(struct purse_call *call, bool begins) {
    for (size_t i = 0; i < call->n; i++)
        if (begins)
            gauge_take(call->c->shm, call->asks[i].entity, GAUGE_ASKING, UINT64_MAX);
        else
            gauge_drop(call->c->shm, call->asks[i].entity, GAUGE_ASKING);
}

static void unlink_call(struct purse_call *call) {
    struct purse_call **at = &call->c->purse.first;
    while (*at && *at != call)
        at = &(*at)->next;
    if (*at)
        *at = call->next;
}

static void link_call(struct purse_call *call) {
    struct purse_call **at = &call->c->purse.first;
    while (*at && (*at)->deadline_ms <= call->deadline_ms)
        at = &(*at)->next;
    call->next = *at;
    *at = call;
    if (call->c->purse.first == call)
        timer_set(&call->c->purse.timer, call->deadline_ms - call->asked_ms);
}

static void tell(struct purse_call *call, enum purse_state state, size_t refused) {
    struct purse_ask *ask = call->ask;
    call->ask = NULL;
    if (!ask)
        return;
    ask->state = state;
    ask->refused = refused;
    ask->call = NULL;
    patience_end(ask->patience);
    ask->done(ask->arg);
}

static uint64_t nano(const struct resp *r) {
    int64_t v = resp_integer(r);
    return v > 0 ? (uint64_t)v : 0;
}

static void answered(void *arg, const struct resp *r) {
    struct purse_call *call = arg;
    struct cluster *c = call->c;
    size_t refused = 0;
    bool good = resp_n(r) == 1 + 3 * call->n;
    unlink_call(call);
    for (size_t i = 0; good && i < call->n; i++) {
        const struct money_allowance a = {true, nano(resp_at(r, 1 + 3 * i)), nano(resp_at(r, 2 + 3 * i)),
                                          spare(c, call->asks[i].limit)};
        money_allow(c->shm, call->asks[i].entity, call->asks[i].period, &a);
        if (resp_integer(resp_at(r, 3 + 3 * i)))
            refused = i;
    }
    asking(call, false);
    if (r && !good)
        cluster_complain(c, r);
    tell(call,
         !good                              ? PURSE_AWAY
         : resp_integer(resp_at(r, 0)) == 1 ? PURSE_GRANTED
                                            : PURSE_REFUSED,
         refused);
    mem_free(call);
}

void purse_time(struct cluster *c) {
    uint64_t now = clock_ms();
    while (c->purse.first && c->purse.first->deadline_ms <= now) {
        struct purse_call *call = c->purse.first;
        c->purse.first = call->next;
        cluster_late(c, call->asked_ms);
        tell(call, PURSE_AWAY, 0);
    }
    if (c->purse.first)
        timer_set(&c->purse.timer, c->purse.first->deadline_ms - now);
}

/* --- questions --- */

struct question {
    struct buf text;
    size_t end[MONEY_MOST * (1 + ARGS) + 1], n;
};

static void end_part(struct question *q) {
    q->end[q->n++] = buf_len(&q->text);
}

static void put_number(struct question *q, uint64_t v) {
    buf_addu(&q->text, v < INT64_MAX / 4 ? v : INT64_MAX / 4);
    end_part(q);
}

static uint64_t sum(uint64_t a, uint64_t b) {
    uint64_t all;
    return __builtin_add_overflow(a, b, &all) ? UINT64_MAX : all;
}

/* Those of this worker that wait for the same come one after the other, unless the first asks for all. */
static uint64_t waiting(const struct cluster *c, uint32_t entity) {
    uint64_t all = 0;
    for (const struct purse_call *l = c->purse.first; l; l = l->next)
        for (size_t i = 0; i < l->n; i++)
            if (l->asks[i].entity == entity)
                all = sum(all, l->amount);
    return all;
}

static void put_budget(struct cluster *c, struct question *q, const struct money_ask *a, uint64_t amount) {
    struct money m;
    money_look(c->shm, a->entity, a->period, &m);
    uint64_t used = sum(m.spent, m.on_way), need = sum(used, amount ? amount : 1);
    put_number(q, a->limit);
    put_number(q, used);
    put_number(q, need);
    put_number(q, sum(sum(need, waiting(c, a->entity)), spare(c, a->limit)));
    put_number(q, ttl_s(a->period));
}

/* ask NULL: nobody waits, what the server says counts for the next. */
static bool start(struct cluster *c, const struct money_ask *asks, size_t n, uint64_t amount,
                  struct purse_ask *ask) {
    struct question q = {.n = 0};
    struct str part[sizeof q.end / sizeof *q.end];
    char id[17];
    MUST(n <= MONEY_MOST);
    uint64_t patient_ms = ask ? patience_begin(c, ask->patience) : c->conf->cluster.timeout;
    if (!cluster_ready(c) || hosts_me(c->shm) == 0 || patient_ms == 0)
        return false;
    buf_init(&q.text, 0);
    for (size_t i = 0; i < n; i++) {
        put_key(c, &q.text, asks[i].entity, asks[i].period);
        end_part(&q);
    }
    me(c, id);
    buf_addz(&q.text, id);
    end_part(&q);
    for (size_t i = 0; i < n; i++)
        put_budget(c, &q, &asks[i], amount);
    for (size_t i = 0, from = 0; i < q.n; from = q.end[i++])
        part[i] = str_make(buf_at(&q.text) + from, q.end[i] - from);
    struct purse_call *call = mem_alloc(sizeof *call);
    *call = (struct purse_call){.c = c, .ask = ask, .amount = amount, .n = n};
    memcpy(call->asks, asks, n * sizeof *asks);
    call->asked_ms = clock_ms();
    call->deadline_ms = call->asked_ms + patient_ms;
    asking(call, true);
    bool ok = cluster_eval(c, raise_script, part, n, q.n, answered, call);
    buf_free(&q.text);
    if (!ok) {
        asking(call, false);
        mem_free(call);
        return false;
    }
    stat_add(c->shm, STAT_CLUSTER_ASKED, 1);
    if (!ask)
        return true;
    link_call(call);
    ask->call = call;
    ask->state = PURSE_ASKED;
    return true;
}

/* --- deciding --- */

/* Alone: a part of what was left when it was last known, but, unless the server is only late, not beyond an
 * even share of the whole; and what it has been allowed already. */
static uint64_t limit_of(struct cluster *c, const struct money_ask *a, bool alone) {
    struct money_allowance w;
    uint32_t hosts = hosts_n(c->shm);
    money_allowance(c->shm, a->entity, a->period, &w);
    uint64_t taken = sum(w.allowed, w.others), left = taken < a->limit ? a->limit - taken : 0;
    uint64_t part = sum(w.allowed, left / hosts), even = a->limit / hosts,
             mine = part < even || cluster_near(c) ? part : even;
    if (!alone || mine < w.allowed)
        mine = w.allowed;
    return mine < a->limit ? mine : a->limit;
}

static enum money_verdict reserve(struct cluster *c, const struct money_ask *asks, size_t n, uint64_t amount,
                                  bool alone, size_t *refused) {
    struct money_ask own[MONEY_MOST];
    for (size_t i = 0; i < n; i++) {
        own[i] = asks[i];
        own[i].limit = limit_of(c, &asks[i], alone);
    }
    return money_reserve(c->shm, own, n, amount, refused);
}

enum money_verdict purse_reserve(struct cluster *c, const struct money_ask *asks, size_t n, uint64_t amount,
                                 struct purse_ask *ask, bool *wait, size_t *refused) {
    enum purse_state told = ask ? ask->state : PURSE_NONE;
    *wait = false;
    if (ask && told == PURSE_ASKED)
        purse_drop(ask);
    if (ask)
        ask->state = PURSE_NONE;
    if (told == PURSE_REFUSED && ask->refused < n) {
        *refused = ask->refused;
        ask->rounds = 0;
        return MONEY_OVER;
    }
    if (told != PURSE_AWAY) {
        enum money_verdict v = reserve(c, asks, n, amount, false, refused);
        if (v == MONEY_OVER && ask && ask->rounds++ < ROUNDS && start(c, asks, n, amount, ask)) {
            *wait = true;
            return v;
        }
        if (v != MONEY_OVER) {
            if (ask)
                ask->rounds = 0;
            return v;
        }
    }
    if (ask)
        ask->rounds = 0;
    stat_add(c->shm, STAT_CLUSTER_ALONE, 1);
    enum money_verdict v = reserve(c, asks, n, amount, true, refused);
    if (v == MONEY_OK && !ask)
        start(c, asks, n, 0, NULL);
    return v;
}

void purse_drop(struct purse_ask *ask) {
    if (ask->state == PURSE_ASKED)
        ask->call->ask = NULL;
    ask->call = NULL;
    ask->state = PURSE_NONE;
    ask->rounds = 0;
}

/* --- the scribe: what lies unspent --- */

struct lowering {
    struct cluster *c;
    uint32_t entity;
    struct money_period period;
    struct money_allowance a;
};

static void lowered(void *arg, const struct resp *r) {
    struct lowering *l = arg;
    struct money_allowance now;
    if (resp_type(r) == RESP_TEXT && gauge_sum(l->c->shm, l->entity, GAUGE_ASKING) == 0) {
        money_allowance(l->c->shm, l->entity, l->period, &now);
        now.allowed = nano(r);
        if (now.known)
            money_allow(l->c->shm, l->entity, l->period, &now);
    }
    mem_free(l);
}

static void lower(struct cluster *c, uint32_t entity) {
    struct money_period p;
    uint64_t was, is;
    struct buf key;
    char id[17], from[STR_DIGITS], to[STR_DIGITS];
    if (!money_give_up(c->shm, entity, &p, &was, &is))
        return;
    buf_init(&key, 0);
    put_key(c, &key, entity, p);
    me(c, id);
    const struct str arg[] = {buf_str(&key), str_of(id), str_from_u64(from, was), str_from_u64(to, is)};
    struct lowering *l = mem_alloc(sizeof *l);
    *l = (struct lowering){.c = c, .entity = entity, .period = p};
    if (!cluster_eval(c, lower_script, arg, 1, 4, lowered, l))
        mem_free(l);
    buf_free(&key);
}

void purse_sweep(struct cluster *c) {
    for (uint32_t e = 0, n = shm_entities(c->shm); e < n && cluster_linked(c); e++)
        lower(c, e);
}

/* What was spent here without it; the ledger has it, also after the server has lost its memory. */
static void report(struct cluster *c, uint32_t entity, struct money_period p) {
    struct money m;
    struct buf key;
    char id[17], used[STR_DIGITS], ttl[STR_DIGITS];
    money_look(c->shm, entity, p, &m);
    if (!m.known || m.spent + m.on_way == 0)
        return;
    buf_init(&key, 0);
    put_key(c, &key, entity, p);
    me(c, id);
    const struct str arg[] = {
        buf_str(&key), str_of(id), STR("2000000000000000000"), str_from_u64(used, sum(m.spent, m.on_way)),
        STR("0"),      STR("0"),   str_from_u64(ttl, ttl_s(p))};
    cluster_eval(c, raise_script, arg, 1, sizeof arg / sizeof *arg, NULL, NULL);
    buf_free(&key);
}

void purse_catch_up(struct cluster *c) {
    for (uint32_t e = 0, n = shm_entities(c->shm); e < n && hosts_me(c->shm); e++) {
        struct money_period p = money_period(c->shm, e);
        if (p.kind != UINT32_MAX)
            report(c, e, p);
    }
}
