#include "embed.h"

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "policy/budget.h"
#include "policy/price.h"
#include "policy/semantic.h"
#include "shm/bucket.h"
#include "shm/health.h"
#include "shm/stat.h"
#include "store/record.h"
#include "upstream/provider.h"

#define EMBED_MAGIC 0x656D6264u
enum { REPLY_MAX = 2 << 20, REST_MS = 5000 };

struct embed_call {
    unsigned magic;
    struct request *r;
    const struct plane_embedder *by;
    const struct plane_key *key;
    struct admission held;
    struct budget_hold money;
    enum breaker_pass pass;
    struct buf out, body;
    struct call *call;
    uint64_t started_ns;
    int status;
};

static void release(void *arg) {
    struct embed_call *e = arg;
    buf_free(&e->out);
    buf_free(&e->body);
}

static const struct provider_face *face_of(const struct embed_call *e) {
    return e->by->endpoint->dialect->provider;
}

static unsigned quirks_of(const struct embed_call *e) {
    return e->by->target.provider->conf->kind->quirks | e->by->endpoint->row->quirks;
}

/* --- the account --- */

static void count_failure(struct request *r, const struct plane_embedder *by, const char *why) {
    stat_add(r->p->shm, STAT_EMBED_FAILURES, 1);
    if (!r->g->embedder_fails)
        log_event(LVL_WARN, "cache", "the embedder %s/" STR_FMT " fails: %s; nothing is found by meaning",
                  by->target.provider->conf->name, STR_ARG(by->target.model), why);
    r->g->embedder_fails = true;
}

static void count_health(struct embed_call *e, const struct fault *f, uint64_t first_byte_ms) {
    struct shm *s = e->r->p->shm;
    uint64_t now = clock_ns(), ms = (now - e->started_ns) / 1000000;
    e->r->upstream_ns += now - e->started_ns; /* no work of the gateway's own */
    enum outcome o = !f ? OUTCOME_OK : fault_rule(f->cls)->counts ? OUTCOME_FAILED : OUTCOME_NEUTRAL;
    const uint32_t entities[2] = {e->by->target.entity, e->by->target.provider->entity};
    for (size_t i = 0; i < 2; i++) {
        entity_add(s, entities[i], ENTITY_STAT_REQUESTS, 1);
        if (f && f->cls != FAULT_CANCELLED)
            entity_add(s, entities[i], ENTITY_STAT_ERRORS, 1);
        if (o != OUTCOME_NEUTRAL)
            health_record(s, entities[i], o, ms, first_byte_ms, now);
    }
    breaker_done(s, e->by->target.entity, &e->by->target.provider->breaker, e->pass, o, now, random_unit());
    if (f && e->key && fault_rule(f->cls)->rests_key)
        rest_until(s, e->key->entity, now + (uint64_t)REST_MS * 1000000);
}

/* A row of its own, of no key: the sum of the rows is what was paid. */
static void record(struct embed_call *e, const struct usage *u, int64_t cost, uint64_t price) {
    struct request *r = e->r;
    struct budget_hold *money = &e->money;
    uint64_t ms = (clock_ns() - e->started_ns) / 1000000;
    struct ledger_row row = {
        .wall_ms = clock_wall_ms(),
        .request_id = r->request_id,
        .surface = STR("semantic"),
        .model_asked = e->by->target.model,
        .provider = str_of(e->by->target.provider->conf->name),
        .model = e->by->target.model,
        .configured = e->by->target.conf ? str_of(e->by->target.conf->name) : STR_NONE,
        .status = 200,
        .complete = true,
        .usage = *u,
        .state = u->estimated ? LEDGER_ESTIMATED : LEDGER_EXACT,
        .why = u->estimated ? STR("not_told") : STR_NONE,
        .cost_nano = cost,
        .price = price,
        .ms = ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms,
        .peer = r->x->peer,
    };
    struct buf packed;
    buf_init(&packed, 64 << 10);
    if (money->n)
        record_spent(&packed, money->entity, money->n);
    ledger_pack(&packed, &row);
    if (!buf_ok(&packed) ||
        !outbox_put(r->g->outbox, money->n ? RECORD_SPENT : RECORD_USAGE, buf_str(&packed)))
        budget_drop(r->p, money); /* the ledger will never know of it */
    buf_free(&packed);
}

static void bill(struct embed_call *e, struct usage u) {
    struct plane *p = e->r->p;
    if (!u.known)
        u = (struct usage){.known = true,
                           .estimated = true,
                           .input = usage_estimate(e->r->ticket.semantic->text.n),
                           .cost_nano = -1};
    const struct target *t = &e->by->target;
    struct price by;
    int64_t cost = price_charge(p->prices, str_of(t->provider->conf->kind->price_vendor), t->model,
                                t->conf ? &t->conf->prices : NULL, &u, &by);
    const uint32_t entities[] = {e->by->target.entity, e->by->target.provider->entity, p->gateway};
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++) {
        entity_add(p->shm, entities[i], ENTITY_STAT_INPUT_TOKENS, u.input);
        if (cost > 0)
            entity_add(p->shm, entities[i], ENTITY_STAT_COST_NANO, (uint64_t)cost);
    }
    struct admit_tokens used = {u.input, u.output};
    admit_settle(p, &e->held, &used);
    budget_settle(p, &e->money, cost);
    record(e, &u, cost, bill_price(e->r->g, &by));
    stat_add(p->shm, STAT_EMBEDDINGS, 1);
}

static void failed(struct embed_call *e, const struct fault *f) {
    struct admit_tokens none = {0, 0};
    count_health(e, f, 0);
    admit_settle(e->r->p, &e->held, &none);
    budget_drop(e->r->p, &e->money);
    if (f->cls != FAULT_CANCELLED)
        count_failure(e->r, e->by, fault_rule(f->cls)->name);
}

/* --- the answer --- */

static enum flow on_head(void *arg, int status, const struct call_header *h, size_t n) {
    struct embed_call *e = arg;
    MAGIC_CHECK(e, EMBED_MAGIC);
    (void)h, (void)n;
    e->status = status;
    return FLOW_OK;
}

static enum flow on_data(void *arg, const char *p, size_t n) {
    struct embed_call *e = arg;
    MAGIC_CHECK(e, EMBED_MAGIC);
    buf_add(&e->body, p, n);
    return buf_ok(&e->body) ? FLOW_OK : FLOW_STOP;
}

static struct str no_header(void *arg, const char *name) {
    (void)arg, (void)name;
    return STR_NONE;
}

static struct embed_reply *read_reply(struct embed_call *e, const struct call_result *res, struct fault *f) {
    struct arena *a = e->r->a;
    struct embed_reply *reply = NULL;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    if (res->error != CALL_OK)
        fault_set(f, a, call_error_is_timeout(res->error) ? FAULT_TIMEOUT : FAULT_CONNECTION, "%s",
                  call_error_text(res->error));
    else if (e->status < 200 || e->status > 299)
        face_of(e)->read_fault(a, e->status, buf_str(&e->body), no_header, NULL, f);
    else
        reply = face_of(e)->read_embed(a, buf_str(&e->body), quirks_of(e), f);
    if (!fault_is(f) && (!reply || reply->n == 0))
        fault_set(f, a, FAULT_SERVER, "no embedding");
    return reply;
}

static void on_done(void *arg, const struct call_result *res) {
    struct embed_call *e = arg;
    MAGIC_CHECK(e, EMBED_MAGIC);
    struct request *r = e->r;
    struct fault f;
    e->call = NULL;
    struct embed_reply *reply = read_reply(e, res, &f);
    if (fault_is(&f)) {
        failed(e, &f);
    } else {
        semantic_take(r->ticket.semantic, reply->list[0].v, reply->list[0].n);
        count_health(e, NULL, res->first_byte_ms);
        bill(e, reply->usage);
        if (!r->ticket.semantic->embedded)
            count_failure(r, e->by, "its vector has no direction");
        else
            r->g->embedder_fails = false;
    }
    release(e);
    e->magic = 0;
    r->embed = NULL;
    request_resume(r, STEP_SIMILAR);
}

static const struct call_sink sink = {on_head, on_data, on_done};

/* --- the call --- */

static bool encode(struct embed_call *e, struct fault *f) {
    struct arena *a = e->r->a;
    struct embed_input in = {.text = e->r->ticket.semantic->text};
    struct embed embed = {
        .arena = a, .model = e->by->target.model, .inputs = &in, .ninputs = 1, .purpose = EMBED_SIMILARITY};
    struct encode_opt o = {.model = e->by->target.model, .quirks = quirks_of(e), .drop_unsupported = true};
    struct buf dropped;
    buf_init(&dropped, 4096);
    bool ok = face_of(e)->write_embed(a, &embed, &o, &e->out, &dropped, f) && buf_ok(&e->out);
    buf_free(&dropped);
    return ok;
}

static bool pick_key(struct embed_call *e) {
    size_t at;
    if (e->by->target.provider->nkeys == 0)
        return true;
    e->key = route_key(e->r->p, e->by->target.provider, 0, &at);
    return e->key != NULL;
}

static void start(struct embed_call *e) {
    const struct plane_endpoint *to = e->by->endpoint;
    const char *path = to->row->path ? to->row->path : face_of(e)->path;
    uint64_t ms = e->r->p->conf->cache.semantic.timeout;
    struct call_spec spec = {
        .upstream = e->by->target.provider->upstream,
        .path = provider_path(e->r->a, e->by->target.provider->conf, path, e->by->target.model, STR_NONE),
        .key = e->key ? e->key->conf : NULL,
        .body = buf_str(&e->out),
        .total_ms = ms,
        .first_byte_ms = ms,
    };
    e->started_ns = clock_ns();
    e->call = call_start(e->r->g->env.multi, &spec, &sink, e);
}

/* Of no key, but of the provider's budget and those of models. */
static bool afforded(struct embed_call *e, struct fault *f) {
    static const struct conf_gateway_key nobody = {.id = "", .tenant = ""};
    struct caller caller = {.key = &nobody, .entity = SHM_NONE};
    struct budget_ask ask = {
        &caller, &e->by->target, {usage_estimate(e->r->ticket.semantic->text.n), 0}, NULL};
    bool waits; /* never */
    return budget_take(e->r->p, &ask, &e->money, e->r->a, f, &waits) == MONEY_OK;
}

/* The breaker's pass and the limits are held, and the body is made; or neither. */
static bool admitted(struct embed_call *e, struct fault *f) {
    struct plane *p = e->r->p;
    const struct target *t = &e->by->target;
    struct admit_tokens tokens = {usage_estimate(e->r->ticket.semantic->text.n), 0};
    e->pass = breaker_ask(p->shm, t->entity, &t->provider->breaker, clock_coarse_ns());
    if (e->pass == BREAKER_REFUSE)
        return false;
    if (admit_provider(p, t->provider, e->key, NULL, &tokens, &e->held, e->r->a, f)) {
        if (encode(e, f))
            return true;
        admit_undo(p, &e->held);
    }
    breaker_done(p->shm, t->entity, &t->provider->breaker, e->pass, OUTCOME_NEUTRAL, clock_ns(), 0);
    return false;
}

static bool take_all(struct embed_call *e) {
    struct fault f;
    if (!e->by->endpoint || plane_drained(e->r->p, e->by->target.provider) || !pick_key(e) ||
        !afforded(e, &f))
        return false;
    if (admitted(e, &f))
        return true;
    budget_drop(e->r->p, &e->money);
    return false;
}

bool embed_start(struct request *r) {
    struct embed_call *e = arena_alloc(r->a, sizeof(*e));
    *e = (struct embed_call){.magic = EMBED_MAGIC, .r = r, .by = r->p->embedder};
    buf_init(&e->out, 1 << 20);
    buf_init(&e->body, REPLY_MAX);
    if (!take_all(e)) {
        release(e);
        count_failure(r, e->by, "it may not be asked now");
        return false;
    }
    r->embed = e;
    start(e);
    return true;
}

void embed_drop(struct request *r) {
    struct embed_call *e = r->embed;
    struct fault f;
    if (!e)
        return;
    call_cancel(e->call);
    fault_set(&f, r->a, FAULT_CANCELLED, "The client left.");
    failed(e, &f);
    release(e);
    e->magic = 0;
    r->embed = NULL;
}
