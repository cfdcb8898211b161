/* Attempts: a target, a key, a body in its dialect, a call; and after a fault the decision what comes next.
 * In order: another key of the same provider, the same target again after a pause, the next target of the
 * model, a fallback model. Nothing is tried again once the client has a byte of the answer. */
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "hedge.h"
#include "policy/price.h"
#include "policy/vault.h"
#include "request.h"
#include "shm/bucket.h"
#include "shm/extra.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "shm/tokens.h"
#include "upstream/provider.h"

enum {
    WAIT_OUT_MS =
        5000, /* Retry-After: so much is waited out here per request, more is for the client to wait */
    REST_429_MS = 5000,        /* a key that got 429 without Retry-After */
    REST_MOST_MS = 3600000,    /* and with one of days or years: asked again after an hour */
    REST_403_MS = 60000,       /* the only key, refused for a reason that may pass */
    MAX_TOKENS_UNKNOWN = 4096, /* where a dialect demands a number and nobody knows one */
    MAX_TOKENS_MOST = 32000,
    RETRIES_LEAST = 10, /* that the gateway's budget always allows */
    HEADERS_MAX = 16,   /* of the client's that go through */
};

static uint64_t elapsed_ms(const struct request *r) {
    return (clock_ns() - r->x->started_ns) / 1000000;
}

/* Of all attempts together, by the provider that is asked now. */
static uint64_t time_left_ms(const struct request *r) {
    uint64_t total = r->now.target->provider->conf->total, gone = elapsed_ms(r);
    if (r->hints && r->hints->timeout_ms && r->hints->timeout_ms < total)
        total = r->hints->timeout_ms;
    return gone < total ? total - gone : 0;
}

/* --- making an attempt --- */

static void forget_answer(struct attempt *t) {
    buf_free(&t->body);
    if (t->pipe)
        pipe_free(t->pipe);
    t->pipe = NULL;
    t->turn = NULL;
    t->said = NULL;
    t->headers = NULL;
    t->nheaders = 0;
    t->status = 0;
    t->sse = t->unsent = false;
}

static bool take_target(struct request *r, enum fault_class after) {
    struct target *t = route_next(r->p, r->a, &r->plan, after);
    if (!t)
        return false;
    r->now.target = t;
    r->now.tried_keys = 0;
    r->now.again = 0;
    return true;
}

static uint64_t default_max_tokens(const struct request *r, const struct target *t) {
    uint64_t most = t->conf ? t->conf->max_output : 0;
    const struct price *price =
        most ? NULL : price_find(r->p->prices, str_of(t->provider->conf->kind->price_vendor), t->model);
    if (price)
        most = price->max_output;
    if (!most)
        most = MAX_TOKENS_UNKNOWN;
    return most < MAX_TOKENS_MOST ? most : MAX_TOKENS_MOST;
}

unsigned attempt_quirks(const struct attempt *t) {
    return t->target->provider->conf->kind->quirks | t->endpoint->row->quirks;
}

static const char *path_of(const struct request *r) {
    const struct plane_endpoint *e = r->now.endpoint;
    const struct provider_face *face = e->dialect->provider;
    const char *path = e->row->path ? e->row->path : face->path;
    const char *stream = e->row->stream_path || e->row->path ? e->row->stream_path : face->stream_path;
    path = provider_path(r->a, r->now.target->provider->conf, r->ask.stream && stream ? stream : path,
                         r->now.target->model, r->pass ? r->pass->rest : STR_NONE);
    if (r->pass && r->x->query.n)
        path =
            arena_printf(r->a, "%s%c" STR_FMT, path, strchr(path, '?') ? '&' : '?', STR_ARG(r->x->query)).p;
    return path;
}

static struct str kept_reasoning(void *arg, struct str call, const char *origin) {
    struct request *r = arg;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    return vault_reasoning(r->p, r->a, &r->caller, call, origin);
}

static bool encode(struct request *r, struct fault *f) {
    const struct target *t = r->now.target;
    struct encode_opt o = {
        .model = t->model,
        .quirks = attempt_quirks(&r->now),
        .default_max_tokens = default_max_tokens(r, t),
        .reasoning = vault_on(r->p) ? kept_reasoning : NULL,
        .reasoning_arg = r,
        .drop_unsupported = r->plan.on_unsupported == UNSUPPORTED_DROP,
        .pass_unsupported = r->plan.on_unsupported == UNSUPPORTED_PASS,
    };
    buf_clear(&r->out);
    buf_clear(&r->dropped);
    if (r->pass)
        return pass_encode(r, &o, f);
    const struct dialect *d = r->now.endpoint->dialect;
    if (!pipe_read(r->a, r->client, d, o.quirks, &r->ask, &r->chat, f))
        return false;
    if (r->chat && !r->restored)
        vault_restore(r->p, &r->caller, r->chat);
    r->restored = r->chat != NULL;
    return pipe_request(r->a, r->client, d, &r->ask, &o, &r->chat, &r->out, &r->dropped, f);
}

/* Lists, which some clients send a line at a time. Of all others the first line counts, for us and the
 * provider. */
static bool may_repeat(struct str header) {
    return str_ends(header, "-beta") || str_is(header, "tracestate");
}

/* Headers of the client that are meant for the provider. */
static size_t pass_headers(struct request *r, const char *names, struct call_header *h, size_t max) {
    struct str rest = str_of(names), name;
    size_t n = 0;
    while (n < max && str_next(&rest, ',', &name)) {
        const char *z = arena_dupz(r->a, name);
        struct str v = may_repeat(name) ? exchange_header_list(r->x, r->a, z) : exchange_header(r->x, z);
        if (v.p)
            h[n++] = (struct call_header){name, v};
    }
    return n;
}

static size_t headers_of(struct request *r, struct call_header *h, size_t max) {
    size_t n = pass_headers(r, r->now.target->provider->conf->kind->pass_headers, h, max);
    if (r->pass)
        n += pass_headers(r, "content-type,accept,range,openai-beta,idempotency-key", h + n, max - n);
    struct str parent = trace_parent(r);
    if (parent.n && n < max)
        h[n++] = (struct call_header){STR("traceparent"), parent};
    if (parent.n)
        n += pass_headers(r, "tracestate", h + n, max - n);
    return n;
}

static void start_call(struct request *r) {
    struct plane_provider *pr = r->now.target->provider;
    struct call_header h[HEADERS_MAX];
    struct call_spec spec = {
        .upstream = pr->upstream,
        .path = path_of(r),
        .key = r->now.key ? r->now.key->conf : NULL,
        .headers = h,
        .nheaders = headers_of(r, h, HEADERS_MAX),
        .body = buf_str(&r->out),
        .stream = r->ask.stream,
        .total_ms = time_left_ms(r),
        .mock = exchange_header(r->x, "x-penstock-mock"),
    };
    if (r->pass)
        pass_spec(r, &spec);
    void *arg;
    const struct call_sink *sink = hedge_sink_of(r, &arg);
    r->now.call = call_start(r->g->env.multi, &spec, sink, arg);
    if (r->ask.stream) /* comments and empty chunks are bytes, but not an answer */
        timer_set(&r->timer, pr->conf->first_byte);
}

enum tried { STARTED, SKIPPED, REFUSED, LATER, ASKED };

static bool pick_key(struct request *r, bool last_resort) {
    struct plane_provider *pr = r->now.target->provider;
    r->now.key = NULL;
    if (pr->nkeys == 0)
        return true;
    r->now.key = route_key(r->p, pr, r->now.tried_keys, &r->now.key_index);
    if (!r->now.key && (last_resort || r->now.again > 0))
        r->now.key = route_key_resting(r->p, pr, &r->now.key_index);
    return r->now.key != NULL;
}

/* Keys that rest for a while are a last resort; those that were refused are none until the next reload. */
static void no_key(struct request *r, struct fault *f) {
    size_t i;
    if (!route_key_resting(r->p, r->now.target->provider, &i)) {
        fault_set(f, r->a, FAULT_PROVIDER_AUTH, "the provider refused the gateway's credentials");
        return;
    }
    r->rested = r->now.target;
    fault_set(f, r->a, FAULT_RATE_LIMIT, "All keys of the provider are resting.");
}

/* A model that was not asked for has limits of its own. */
static const struct plane_model *fallback_model(const struct request *r, const struct target *t) {
    const struct plane_model *m = t->conf ? &r->p->models[t->conf - r->p->conf->models] : NULL;
    return m == r->plan.model ? NULL : m;
}

static struct admit_tokens used_tokens(const struct usage *u) {
    return (struct admit_tokens){u->input, u->output};
}

/* What it may cost at this target, with every budget it is spent from. */
static enum money_verdict take_money(struct request *r, struct fault *f, bool *waits) {
    struct budget_ask ask = {&r->caller, r->now.target, budget_most(&r->ask, r->client->op, &r->estimate),
                             r->now.held.cluster ? &r->purse : NULL};
    return budget_take(r->p, &ask, &r->now.money, r->a, f, waits);
}

static enum tried try_paid(struct request *r, struct fault *f);

/* SKIPPED: this target cannot be asked now (*f says why). REFUSED: the request is at fault. LATER: what has
 * been spent is not known for the moment. ASKED: the cluster knows in a moment. */
static enum tried try_target(struct request *r, bool last_resort, struct fault *f) {
    struct target *t = r->now.target;
    bool again = r->now.held.waits; /* with the same key: that is what the cluster was asked about */
    r->now.held.waits = false;
    forget_answer(&r->now);
    r->now.endpoint = plane_endpoint(t->provider, r->client, t->model);
    if (!r->now.endpoint) {
        fault_set(f, r->a, FAULT_UNSUPPORTED,
                  "The provider of this model has no endpoint for such requests.");
        return SKIPPED;
    }
    if (plane_drained(r->p, t->provider)) { /* since it was chosen */
        fault_set(f, r->a, FAULT_NO_TARGET, "The provider is not available at the moment.");
        return SKIPPED;
    }
    if (!again && !pick_key(r, last_resort)) {
        no_key(r, f);
        return SKIPPED;
    }
    if (time_left_ms(r) == 0) {
        fault_set(f, r->a, FAULT_TIMEOUT, "The time for this request is over.");
        return SKIPPED;
    }
    bool waits;
    enum money_verdict money = take_money(r, f, &waits);
    r->now.held.waits = waits; /* the key stays */
    if (waits)
        return ASKED;
    if (money != MONEY_OK)
        return money == MONEY_OVER ? SKIPPED : LATER;
    enum tried done = try_paid(r, f);
    if (done != STARTED)
        budget_drop(r->p, &r->now.money);
    return done;
}

static enum tried try_paid(struct request *r, struct fault *f) {
    struct target *t = r->now.target;
    r->now.pass = breaker_ask(r->p->shm, t->entity, &t->provider->breaker, clock_coarse_ns());
    if (r->now.pass == BREAKER_REFUSE &&
        r->own) /* it is to find out; what comes of it moves no open breaker */
        r->now.pass = BREAKER_PASS;
    if (r->now.pass == BREAKER_REFUSE) {
        fault_set(f, r->a, FAULT_NO_TARGET, "The provider is not available at the moment.");
        return SKIPPED;
    }
    struct limits_ask *cluster = r->now.held.cluster; /* NULL: beside another attempt nothing is waited for */
    admit_know_provider(t->provider, r->now.key, fallback_model(r, t), &r->estimate, &r->now.held, r->a);
    r->now.held.cluster = cluster;
    bool ok = admit_again(r->p, &r->now.held, r->a, f);
    enum tried no = r->now.held.waits ? ASKED : SKIPPED;
    if (ok && !encode(r, f)) {
        admit_undo(r->p, &r->now.held);
        no = REFUSED;
        ok = false;
    }
    if (!ok) {
        breaker_done(r->p->shm, t->entity, &t->provider->breaker, r->now.pass, OUTCOME_NEUTRAL, clock_ns(),
                     0);
        return no;
    }
    r->now.started_ns = clock_ns();
    r->now.open = true;
    r->now.busy = r->plan.own > 1 && gauge_take(r->p->shm, t->entity, GAUGE_IN_FLIGHT, UINT64_MAX);
    start_call(r);
    return STARTED;
}

/* Nothing left to ask. What a provider said last is the better answer than that nothing is left. */
static enum verdict give_up(struct request *r, const struct fault *why) {
    if (r->row.attempts == 0 || !fault_is(&r->fault))
        r->fault = *why;
    if (r->fault.cls == FAULT_NO_TARGET && r->fault.retry_after_ms < 0) {
        uint64_t in_ns = 0;
        breaker_state(r->p->shm, r->plan.list[0]->entity, &in_ns, clock_ns());
        if (in_ns)
            r->fault.retry_after_ms = (int64_t)(in_ns / 1000000) + 1;
    }
    if (r->fault.cls == FAULT_RATE_LIMIT && !r->fault.provider.n && r->now.target)
        r->fault.provider = str_of(r->now.target->provider->conf->name); /* a limit of it, by us */
    if (r->fault.cls == FAULT_RATE_LIMIT && !r->fault.from_provider)
        stat_add(r->p->shm, STAT_RATE_LIMITED, 1);
    if (r->fault.cls == FAULT_BUDGET) {
        stat_add(r->p->shm, STAT_BUDGET_REFUSED, 1);
        r->fault.status = r->client == &dialect_anthropic ? 402 : 0; /* billing_error */
    }
    return SETTLE;
}

/* Providers without a counter of their own: by what their answers have taught us, and a tenth more, since a
 * program that believes in a count that is too low never shortens its prompt. */
static bool counts_here(const struct request *r) {
    const struct target *t = r->plan.list[0];
    return r->client->op == OP_COUNT && (r->no_counter || !plane_endpoint(t->provider, r->client, t->model));
}

/* Servers that speak a dialect do not all have its counter. Whoever asks in that dialect is told so. */
static bool has_no_counter(const struct request *r) {
    int s = r->now.status;
    return r->client->op == OP_COUNT && r->now.endpoint && r->now.endpoint->dialect != r->client &&
           (s == 404 || s == 405 || s == 501);
}

static enum verdict answer_count(struct request *r) {
    uint64_t n = tokens_estimate(r->p->shm, plane_text_entity(r->p, r->plan.list[0]), r->ask.input_bytes);
    struct pipe_opt o = {.mint = &r->mint, .ask = &r->ask};
    pipe_count(r->a, r->client, n + n / 10, &o, &r->scratch);
    r->reply = buf_str(&r->scratch);
    r->reply_type = STR("application/json");
    r->usage = NOTHING_USED;
    r->estimated = r->ended = true;
    return SETTLE;
}

/* Where it would go is all that was to be known. */
static enum verdict answer_dry(struct request *r) {
    struct pipe_opt o = {.mint = &r->mint, .ask = &r->ask};
    r->dry = r->now.target;
    r->now.target = NULL;
    pipe_count(r->a, r->client, 0, &o, &r->scratch);
    r->reply = buf_str(&r->scratch);
    r->reply_type = STR("application/json");
    r->usage = NOTHING_USED;
    r->estimated = r->ended = true;
    return SETTLE;
}

/* The scribe that has died, or gives way to one of a new configuration, is back in a moment. */
static enum verdict wait_for_budget(struct request *r) {
    enum { EVERY_MS = 20, AT_MOST = 250 };
    struct fault f;
    if (r->budget_waits++ < AT_MOST) {
        timer_set(&r->timer, EVERY_MS);
        return WAIT;
    }
    fault_set(&f, r->a, FAULT_OVERLOADED, "It is not known at the moment what has been spent of the budget.");
    f.retry_after_ms = 5000;
    return give_up(r, &f);
}

enum verdict step_send(struct request *r) {
    if (counts_here(r))
        return answer_count(r);
    struct fault why;
    fault_set(&why, r->a, FAULT_NO_TARGET, "No provider of this model is available at the moment.");
    enum fault_class after = r->fault.cls;
    if (!r->now.target && !take_target(r, after)) {
        bool refused = route_refused(r->p, r->a, &r->plan, &why);
        r->plan.dear = refused && why.cls == FAULT_COST_LIMIT;
        if (!take_target(r, refused && why.cls == FAULT_CONTEXT_LENGTH ? why.cls : FAULT_NO_TARGET))
            return give_up(r, &why); /* neither the model's own targets nor a fallback's */
    }
    if (r->ask.dry_run)
        return answer_dry(r);
    hedge_init(r);
    r->now.held.cluster = &r->limits;
    for (;;) {
        switch (try_target(r, false, &why)) {
        case STARTED:
            hedge_watch(r);
            return WAIT;
        case REFUSED:
            r->fault = why;
            if (!(fault_rule(why.cls)->tries & FAULT_TRY_TARGET) || !take_target(r, why.cls))
                return SETTLE;
            continue;
        case LATER:
            return wait_for_budget(r);
        case ASKED:
            return WAIT;
        case SKIPPED:
            break;
        }
        if (take_target(r, after == FAULT_NONE ? why.cls : after))
            continue;
        if (r->row.attempts == 0 && r->rested) {
            r->now.target = r->rested;
            r->rested = NULL;
            enum tried last = try_target(r, true, &why);
            if (last == STARTED || last == ASKED)
                return WAIT;
        }
        return give_up(r, &why);
    }
}

/* --- after a fault --- */

/* After a reload the secrets of a worker that drains may be of yesterday: what a provider says of them is not
 * to be held against their successors. */
static bool drains(struct request *r) {
    struct slot_info me;
    return slot_at(r->p->shm, slot_mine(r->p->shm), &me) && me.state == SLOT_DRAINING;
}

static void rest_key(struct request *r, const struct fault *f) {
    const struct plane_key *k = r->now.key;
    if (!k || !fault_rule(f->cls)->rests_key || drains(r))
        return;
    uint64_t now = clock_ns(), ms = f->retry_after_ms > 0 ? (uint64_t)f->retry_after_ms : REST_429_MS;
    bool renewed = *k->conf->service_account.source; /* the next token may be good */
    if (f->cls == FAULT_PROVIDER_AUTH && !renewed &&
        (r->now.status == 401 || r->now.target->provider->nkeys > 1)) {
        rest_until(r->p->shm, k->entity, UINT64_MAX);
        log_event(LVL_ERROR, "alert",
                  "the provider refused the key %s (status %d): it rests until the next reload", k->conf->id,
                  r->now.status);
        return;
    }
    if (f->cls == FAULT_PROVIDER_AUTH)
        ms = REST_403_MS;
    if (ms > REST_MOST_MS)
        ms = REST_MOST_MS;
    rest_until(r->p->shm, k->entity, now + ms * 1000000);
}

static bool has_other_key(struct request *r) {
    size_t i;
    r->now.tried_keys |= (uint64_t)1 << (r->now.key_index & 63);
    return r->now.target->provider->nkeys > 1 &&
           route_key(r->p, r->now.target->provider, r->now.tried_keys, &i) != NULL;
}

static uint64_t backoff_ms(const struct conf_retry *c, unsigned again) {
    double d = (double)c->initial_backoff;
    for (unsigned i = 0; i < again && d < (double)c->max_backoff; i++)
        d *= c->factor;
    if (d > (double)c->max_backoff)
        d = (double)c->max_backoff;
    return (uint64_t)(d * (1.0 - c->jitter * random_unit()));
}

/* A pause before the same target is asked again, or false: it is not to be asked again. */
static bool pause_ms(struct request *r, const struct fault *f, uint64_t *ms) {
    const struct conf_retry *c = &r->now.target->provider->conf->retry;
    if (!(fault_rule(f->cls)->tries & FAULT_TRY_SAME) || f->retry_said_no || r->now.again >= c->max ||
        r->row.attempts >= LEDGER_MAX_ATTEMPTS)
        return false;
    /* What is down, slow or full will hardly be better at once: another target first, if there is one. */
    bool elsewhere = f->cls == FAULT_CONNECTION || f->cls == FAULT_TIMEOUT || f->cls == FAULT_RATE_LIMIT;
    if (elsewhere && route_has_more(r->p, r->a, &r->plan, f->cls))
        return false;
    if (plane_drained(r->p, r->now.target->provider) ||
        !breaker_would_pass(r->p->shm, r->now.target->entity, &r->now.target->provider->breaker,
                            clock_coarse_ns()))
        return false;
    *ms = backoff_ms(c, r->now.again);
    if (f->retry_after_ms >= 0 && c->honour_retry_after && (uint64_t)f->retry_after_ms > *ms)
        *ms = (uint64_t)f->retry_after_ms;
    bool waits_out = f->retry_after_ms < 0 || !c->honour_retry_after || r->waited_ms + *ms <= WAIT_OUT_MS;
    return waits_out && *ms < time_left_ms(r);
}

static void again_now(struct request *r) {
    stat_add(r->p->shm, STAT_RETRIES, 1);
    request_resume(r, STEP_SEND);
}

/* An outage is not to be amplified: see shm/retry.h. */
static bool may_retry(struct request *r) {
    if (extra_take(r->p->shm, EXTRA_RETRY, r->p->conf->routing.retry_budget, RETRIES_LEAST,
                   clock_coarse_ns()))
        return true;
    stat_add(r->p->shm, STAT_RETRIES_DENIED, 1);
    return false;
}

static void after_fault(struct request *r, const struct fault *f) {
    uint64_t ms;
    unsigned tries = fault_rule(f->cls)->tries;
    bool room = r->row.attempts < LEDGER_MAX_ATTEMPTS;
    if (room && (tries & (FAULT_TRY_KEY | FAULT_TRY_SAME)) && has_other_key(r)) {
        again_now(r);
    } else if (pause_ms(r, f, &ms) && may_retry(r)) {
        r->now.again++;
        r->waited_ms += f->retry_after_ms >= 0 ? ms : 0;
        stat_add(r->p->shm, STAT_RETRIES, 1);
        r->step = STEP_SEND;
        timer_set(&r->timer, ms + 1); /* the clock of timers is cut to whole ms */
    } else if (room && take_target(r, f->cls)) {
        request_resume(r, STEP_SEND);
    } else {
        request_resume(r, STEP_SETTLE);
    }
}

/* The call is over (or cancelled) when this is called. */
void attempt_failed(struct request *r, const struct fault *f) {
    r->now.call = NULL;
    timer_clear(&r->timer);
    account_attempt(r, f, 0);
    struct admit_tokens used = {0};
    if (r->committed && r->now.pipe) {
        const struct observed *seen = pipe_seen(r->now.pipe);
        r->usage = seen->usage;
        used = seen->usage.known ? used_tokens(&seen->usage) : r->estimate;
    }
    admit_settle(r->p, &r->now.held, &used);
    if (!r->committed)
        budget_drop(r->p, &r->now.money);
    rest_key(r, f);
    if (!r->committed && hedge_goes_on(r))
        return;
    if (has_no_counter(r)) {
        r->no_counter = true;
        request_resume(r, STEP_SEND);
        return;
    }
    r->fault = *f;
    if (r->committed)
        request_resume(r, STEP_SETTLE);
    else
        after_fault(r, f);
}

/* Another target beside the one that is late: the next of the model's own that can be asked. */
bool attempt_second(struct request *r) {
    struct fault why;
    r->now = (struct attempt){.target = NULL};
    while (take_target(r, FAULT_NONE)) {
        if (r->plan.next > r->plan.own) { /* a fallback: not for this */
            r->plan.next = r->plan.own;
            break;
        }
        if (try_target(r, false, &why) == STARTED)
            return true;
    }
    forget_answer(&r->now);
    return false;
}

/* Somebody else was faster: what it was to cost is nobody's. */
void attempt_cancel(struct request *r) {
    struct fault f;
    fault_set(&f, r->a, FAULT_CANCELLED, "Another target was faster.");
    if (r->now.call)
        call_cancel(r->now.call);
    r->now.call = NULL;
    account_attempt(r, &f, 0);
    admit_settle(r->p, &r->now.held, &(struct admit_tokens){0});
    budget_drop(r->p, &r->now.money);
    forget_answer(&r->now);
}

void attempt_done(struct request *r) {
    r->now.call = NULL;
    timer_clear(&r->timer);
    r->fault = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    struct admit_tokens used = r->usage.known ? used_tokens(&r->usage) : r->estimate;
    admit_settle(r->p, &r->now.held, &used);
    request_resume(r, STEP_SETTLE);
}

void attempt_drop(struct request *r) {
    hedge_won(r); /* if there are two */
    if (!r->now.open)
        return;
    struct fault f;
    fault_set(&f, r->a, FAULT_CANCELLED, "The client left.");
    if (r->now.call)
        call_cancel(r->now.call);
    r->now.call = NULL;
    account_attempt(r, &f, 0);
    if (r->now.pipe)
        r->usage = pipe_seen(r->now.pipe)->usage;
    struct admit_tokens used = r->usage.known ? used_tokens(&r->usage) : (struct admit_tokens){0};
    admit_settle(r->p, &r->now.held, &used);
}
