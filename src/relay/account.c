/* The one place where every request ends: limits are settled, counters moved, the record put into the ring.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "cluster/news.h"
#include "policy/price.h"
#include "request.h"
#include "shm/affinity.h"
#include "shm/health.h"
#include "shm/slot.h"
#include "shm/speed.h"
#include "shm/stat.h"
#include "shm/tokens.h"
#include "store/record.h"

/* --- one attempt --- */

static void log_breaker(struct request *r, const struct target *t, const struct breaker_change *c) {
    if (!c->changed)
        return;
    if (c->to == BREAKER_OPEN) {
        enum entity_kind kind;
        struct str name;
        stat_add(r->p->shm, STAT_BREAKER_OPENED, 1);
        if (r->p->cluster && shm_entity_at(r->p->shm, t->entity, &kind, &name))
            news_breaker(r->p->cluster, name);
    }
    const struct log_fields about = {
        .request_id = r->request_id, .provider = str_of(t->provider->conf->name), .model = t->model};
    log_about(c->to == BREAKER_OPEN ? LVL_WARN : LVL_INFO, "breaker", &about, "%s/" STR_FMT ": %s to %s",
              t->provider->conf->name, STR_ARG(t->model), breaker_state_name(c->from),
              breaker_state_name(c->to));
}

/* A word of the provider's that no table has: counted, and logged once by each worker, as long as they are
 * few. */
static void note_unknown(struct request *r, enum stat_counter c, const char *what, struct str word) {
    struct gateway *g = r->g;
    const struct target *t = r->now.target;
    const char *provider = t->provider->conf->name;
    if (word.n == 0)
        return;
    stat_add(r->p->shm, c, 1);
    struct str told = arena_printf(r->a, "%s %s " STR_FMT, provider, what, STR_ARG(word));
    uint64_t h = hash64(told.p, told.n);
    for (size_t i = 0; i < g->ntold; i++)
        if (g->told[i] == h)
            return;
    if (g->ntold == sizeof g->told / sizeof *g->told)
        return;
    g->told[g->ntold++] = h;
    log_event(LVL_WARN, "unknown", "%s/" STR_FMT ": %s that is not known: " STR_FMT, provider,
              STR_ARG(t->model), what, STR_ARG(word));
}

void account_stop(struct request *r, const struct observed *seen) {
    if (seen->stop == STOP_UNKNOWN)
        note_unknown(r, STAT_UNKNOWN_STOPS, "a reason to stop", seen->unknown);
}

_Static_assert((int)ERROR_TYPES_N <= (int)STAT_ERROR_TYPES, "each has its counter");

static uint32_t row_ms(uint64_t ms) {
    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static void attempt_row(struct request *r, const struct fault *f, uint64_t ms, uint64_t now) {
    if (r->row.attempts == LEDGER_MAX_ATTEMPTS)
        return;
    const struct attempt *t = &r->now;
    trace_attempt(r, now);
    struct ledger_attempt *a = &r->row.attempt[r->row.attempts++];
    *a = (struct ledger_attempt){
        .provider = str_of(t->target->provider->conf->name),
        .model = t->target->model,
        .key = t->key ? str_of(t->key->conf->id) : STR_NONE,
        .reason = f ? str_of(fault_rule(f->cls)->name) : STR("ok"),
        .status = t->status,
        .ms = row_ms(ms),
    };
    bill_attempt(r, f, a);
}

/* For those who choose by it the next time. */
static void remember_speed(struct request *r, uint64_t ms, uint64_t first_byte_ms, uint64_t now) {
    const struct usage *u = &r->usage;
    if (r->plan.own > 1 && first_byte_ms)
        speed_record(r->p->shm, r->now.target->entity, (double)first_byte_ms,
                     u->output && ms > first_byte_ms ? (double)(ms - first_byte_ms) / (double)u->output : 0,
                     now);
    if (r->conversation)
        affinity_put(r->p->shm, r->conversation, r->now.target->entity, now);
}

/* Of a stream: what came behind the first byte, by the tokens behind the first. */
static void measure_tokens(struct request *r, uint64_t ms, uint64_t first_byte_ms) {
    uint64_t output = r->usage.output;
    if (r->ask.stream && output > 1 && first_byte_ms && ms > first_byte_ms)
        hist_add(r->p->shm, r->now.target->entity, HIST_PER_TOKEN,
                 (ms - first_byte_ms) * 1000 / (output - 1));
}

void account_attempt(struct request *r, const struct fault *f, uint64_t first_byte_ms) {
    struct shm *s = r->p->shm;
    struct target *t = r->now.target;
    uint64_t now = clock_ns(), ms = (now - r->now.started_ns) / 1000000;
    enum outcome o = !f ? OUTCOME_OK : fault_rule(f->cls)->counts ? OUTCOME_FAILED : OUTCOME_NEUTRAL;
    r->now.open = false;
    r->upstream_ns += now - r->now.started_ns;
    if (r->now.busy)
        gauge_drop(s, t->entity, GAUGE_IN_FLIGHT);
    r->now.busy = false;
    if (!f) {
        remember_speed(r, ms, first_byte_ms, now);
        measure_tokens(r, ms, first_byte_ms);
    }
    attempt_row(r, f, ms, now);
    if (f)
        note_unknown(r, STAT_UNKNOWN_ERRORS, "a type of error", f->unknown);
    const uint32_t entities[2] = {t->entity, t->provider->entity};
    for (size_t i = 0; i < 2; i++) {
        entity_add(s, entities[i], ENTITY_STAT_REQUESTS, 1);
        if (f && f->cls != FAULT_CANCELLED) {
            entity_add(s, entities[i], ENTITY_STAT_ERRORS, 1);
            health_fault(s, entities[i], f->cls, clock_wall_ms());
        }
        if (o == OUTCOME_NEUTRAL)
            continue;
        health_record(s, entities[i], o, ms, first_byte_ms, now);
        hist_add(s, entities[i], HIST_LATENCY, ms);
        if (!f)
            hist_add(s, entities[i], HIST_FIRST_BYTE, first_byte_ms);
    }
    /* Last: the breaker looks at the health that was just recorded. */
    struct breaker_change c =
        breaker_done(s, t->entity, &t->provider->breaker, r->now.pass, o, now, random_unit());
    log_breaker(r, t, &c);
}

/* --- tokens and money --- */

static uint64_t estimate(const struct request *r, uint64_t bytes) {
    return tokens_estimate(r->p->shm, r->now.target ? plane_text_entity(r->p, r->now.target) : SHM_NONE,
                           bytes);
}

/* A provider that gave no numbers, or a stream that was left before the last of them came: counted by us, and
 * marked so. The answer's text is taken to be as dense as the prompt's. */
static void estimate_usage(struct request *r) {
    const struct observed *seen = r->now.pipe ? pipe_seen(r->now.pipe) : NULL;
    bool used = (seen && seen->output) || (!fault_is(&r->fault) && r->row.attempts > 0);
    bool early = seen && !r->ended && r->now.endpoint->dialect->provider->early_usage;
    bool counted = r->usage.known && !early;
    if (counted || from_cache(r) || !used || r->pass)
        return;
    if (!r->usage.known && r->usage.input == 0)
        r->usage.input = estimate(r, r->ask.input_bytes);
    uint64_t out = r->client->op == OP_EMBED ? 0 : estimate(r, seen ? seen->output_bytes : r->reply.n);
    if (!r->usage.known || out > r->usage.output)
        r->usage.estimated = true;
    if (out > r->usage.output)
        r->usage.output = out;
    r->usage.known = true;
}

/* What the provider has counted teaches what the next such text will be. */
static void learn_density(struct request *r) {
    const struct usage *u = &r->usage;
    if (u->known && !u->estimated && !from_cache(r) && !r->ask.more_than_text &&
        (r->client->op == OP_CHAT || r->client->op == OP_EMBED) && r->now.target)
        tokens_learn(r->p->shm, plane_text_entity(r->p, r->now.target), r->ask.input_bytes, u->input);
}

static int64_t cost_of(struct request *r) {
    const struct usage *u = &r->usage;
    if (from_cache(r) || (u->input == 0 && u->output == 0))
        return 0;
    const struct target *t = r->now.target;
    if (!t)
        return u->cost_nano;
    struct price by;
    int64_t cost = price_charge(r->p->prices, str_of(t->provider->conf->kind->price_vendor), t->model,
                                t->conf ? &t->conf->prices : NULL, u, &by);
    r->row.price = bill_price(r->g, &by);
    return cost;
}

static void count(struct request *r, uint32_t entity, bool requests) {
    struct shm *s = r->p->shm;
    if (entity == SHM_NONE)
        return;
    if (requests) {
        entity_add(s, entity, ENTITY_STAT_REQUESTS, 1);
        if (r->status >= 400 || fault_is(&r->fault))
            entity_add(s, entity, ENTITY_STAT_ERRORS, 1);
    }
    if (from_cache(r)) /* costs nothing and uses nothing */
        return;
    entity_add(s, entity, ENTITY_STAT_INPUT_TOKENS, r->usage.input);
    entity_add(s, entity, ENTITY_STAT_CACHED_TOKENS, r->usage.cache_read);
    entity_add(s, entity, ENTITY_STAT_OUTPUT_TOKENS, r->usage.output);
    if (r->cost_nano > 0)
        entity_add(s, entity, ENTITY_STAT_COST_NANO, (uint64_t)r->cost_nano);
}

/* What was refused before anything was sent has used nothing of the caller's limits either. */
static bool never_sent(const struct request *r) {
    enum fault_class c = r->fault.cls;
    return r->row.attempts == 0 && !r->fault.from_provider &&
           (c == FAULT_RATE_LIMIT || c == FAULT_NO_TARGET || c == FAULT_OVERLOADED || c == FAULT_BUDGET);
}

static void settle_limits(struct request *r) {
    struct admit_tokens used = {r->usage.input, r->usage.output};
    if (from_cache(r))
        used = (struct admit_tokens){0};
    if (never_sent(r))
        admit_undo(r->p, &r->held);
    else
        admit_settle(r->p, &r->held, &used);
    queue_used(r, used.input + used.output);
}

/* What was not spent in attempts is the gateway's own: reading, waiting (for a place, before a retry), work.
 */
static void measure(struct request *r) {
    struct shm *s = r->p->shm;
    uint64_t ns = clock_ns() - r->x->started_ns, own = ns > r->upstream_ns ? (ns - r->upstream_ns) / 1000 : 0;
    hist_add(s, r->p->gateway, HIST_LATENCY, ns / 1000000);
    hist_add(s, r->p->gateway, HIST_OVERHEAD, own);
    if (!r->now.target || from_cache(r))
        return;
    uint32_t e = r->now.target->entity;
    hist_add(s, e, HIST_OVERHEAD, own);
    if (!r->usage.known)
        return;
    hist_add(s, e, HIST_INPUT_TOKENS, r->usage.input);
    if (r->client->op != OP_EMBED)
        hist_add(s, e, HIST_OUTPUT_TOKENS, r->usage.output);
}

enum verdict step_settle(struct request *r) {
    queue_quit(r);
    limits_drop(&r->limits);
    purse_drop(&r->purse);
    shelf_drop(&r->shelf);
    r->status = r->gone || r->left                     ? 499
                : fault_is(&r->fault) && !r->committed ? fault_status(&r->fault)
                : r->pass                              ? r->now.status
                                                       : 200;
    learn_density(r);
    estimate_usage(r);
    r->cost_nano = cost_of(r);
    settle_limits(r);
    budget_settle(r->p, &r->now.money, r->cost_nano);
    if (r->caller.key)
        count(r, r->caller.entity, true);
    count(r, r->plan.model_entity, true);
    count(r, r->p->gateway, true);
    if (r->now.target) {
        count(r, r->now.target->entity, false);
        count(r, r->now.target->provider->entity, false);
    }
    stat_status(r->p->shm, r->status);
    measure(r);
    if (r->row.attempts > 1 && !fault_is(&r->fault) && r->now.target && r->plan.n &&
        r->now.target != r->plan.list[0])
        stat_add(r->p->shm, STAT_FALLBACKS, 1);
    receipt_tell(r);
    return NEXT;
}

/* --- the record --- */

/* The provider's where nobody but it said so too: it took all the time there was, its keys rest. */
static bool is_theirs(const struct request *r) {
    enum fault_class c = r->fault.cls;
    return r->fault.from_provider || (c == FAULT_TIMEOUT && r->row.attempts > 0) ||
           (c == FAULT_RATE_LIMIT && r->rested);
}

static void fill_row(struct request *r, struct ledger_row *row) {
    const struct exchange *x = r->x;
    uint64_t ms = (clock_ns() - x->started_ns) / 1000000;
    row->wall_ms = clock_wall_ms();
    row->request_id = r->request_id;
    row->key = r->caller.key ? str_of(r->caller.key->id) : STR_NONE;
    row->tenant = r->caller.key ? str_of(r->caller.key->tenant) : STR_NONE;
    row->surface = str_of(r->route->name);
    row->model_asked = r->plan.asked.n ? r->plan.asked : r->ask.model;
    if (r->now.target && !(fault_is(&r->fault) && r->usage.input == 0 && r->usage.output == 0)) {
        row->provider = str_of(r->now.target->provider->conf->name);
        row->model = r->now.target->model;
        row->configured = r->now.target->conf ? str_of(r->now.target->conf->name) : STR_NONE;
    }
    row->fault = fault_is(&r->fault) ? str_of(fault_rule(r->fault.cls)->name) : STR_NONE;
    row->theirs = is_theirs(r);
    row->status = r->status;
    row->stream = r->ask.stream;
    row->complete = !fault_is(&r->fault);
    row->cache = r->cache;
    row->usage = from_cache(r) ? NOTHING_USED : r->usage; /* what the answer once used is not used again */
    bill_judge(r, row);
    row->cost_nano = r->cost_nano;
    row->ms = row_ms(ms);
    row->first_byte_ms = row_ms(r->first_byte_ms ? r->first_byte_ms : ms);
    row->bytes_in = x->bytes_in;
    /* With what goes out in a moment. */
    row->bytes_out =
        x->bytes_out + buf_len(&r->held_bytes) + (buf_len(&r->told) ? buf_len(&r->told) : r->reply.n);
    row->peer = x->peer;
    row->estimated_tokens = admit_total(&r->estimate);
    row->max_tokens = r->ask.max_tokens;
}

enum verdict step_log(struct request *r) {
    fill_row(r, &r->row);
    if (fault_is(&r->fault))
        stat_error(r->p->shm, fault_type(r->fault.cls, r->row.theirs));
    struct buf packed, talk;
    buf_init(&packed, 64 << 10);
    buf_init(&talk, 1 << 20);
    struct budget_hold *money = &r->now.money;
    if (money->n)
        record_spent(&packed, money->entity, money->n);
    ledger_pack(&packed, &r->row);
    bool ok = buf_ok(&packed);
    if (ok && talk_pack(r, buf_str(&packed), money->n > 0, &talk))
        ok = outbox_put(r->g->outbox, RECORD_TALK, buf_str(&talk));
    else
        ok = ok && outbox_put(r->g->outbox, money->n ? RECORD_SPENT : RECORD_USAGE, buf_str(&packed));
    if (!ok)
        budget_drop(r->p, money); /* the ledger will never know of it */
    buf_free(&talk);
    buf_free(&packed);
    trace_end(r);
    return NEXT;
}
