/* Admission: gauges first (they cost nothing when refused), then all buckets or none. What was reserved is
 * settled with the real numbers when the request is over. */
#include "policy/admit.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/die.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "shm/tokens.h"

#define X(NAME, option, unit, seconds, words)                                                                \
    _Static_assert(offsetof(struct conf_rates, option) == BUCKET_##NAME * sizeof(uint64_t),                  \
                   "the rates of configuration and of shared memory are in one order");
BUCKETS(X)
#undef X
_Static_assert((int)CONF_RATES_N == (int)BUCKET_KINDS, "likewise");

enum { CALLER_LAYERS = 5, ATTEMPT_LAYERS = 3 }; /* without the endpoints' */

static void refuse(struct fault *f, struct arena *arena, const struct admit_layer *l, const char *what,
                   uint64_t limit, uint64_t wait_ms) {
    fault_set(f, arena, FAULT_RATE_LIMIT, "Rate limit reached for %s: %" PRIu64 " %s.", l->whose, limit,
              what);
    f->retry_after_ms = (int64_t)wait_ms;
}

static void drop_gauges(struct plane *p, struct admission *a) {
    while (a->gauges > 0)
        gauge_drop(p->shm, a->layers[--a->gauges].entity, GAUGE_IN_FLIGHT);
}

static bool take_gauges(struct plane *p, struct admission *a, struct arena *arena, struct fault *f) {
    for (; a->gauges < a->nlayers; a->gauges++) {
        const struct admit_layer *l = &a->layers[a->gauges];
        if (gauge_take(p->shm, l->entity, GAUGE_IN_FLIGHT, l->rates->concurrent))
            continue;
        drop_gauges(p, a);
        a->refused = l->entity;
        a->full = true;
        refuse(f, arena, l, "concurrent requests", l->rates->concurrent, 1000);
        return false;
    }
    return true;
}

static uint64_t units(enum bucket_unit unit, const struct admit_tokens *t) {
    switch (unit) {
    case BUCKET_TOKENS:
        return admit_total(t);
    case BUCKET_INPUT_TOKENS:
        return t->input;
    case BUCKET_OUTPUT_TOKENS:
        return t->output;
    default:
        return 1;
    }
}

static void list_asks(struct admission *a, struct arena *arena) {
    unsigned n = 0;
    for (unsigned i = 0; i < a->nlayers; i++)
        for (int k = 0; k < BUCKET_KINDS; k++)
            n += a->layers[i].rates->rate[k] != CONF_NO_LIMIT;
    if (n == 0) /* nearly always */
        return;
    a->ask = arena_array(arena, n, sizeof(*a->ask));
    for (unsigned i = 0; i < a->nlayers; i++) {
        const struct admit_layer *l = &a->layers[i];
        for (int k = 0; k < BUCKET_KINDS; k++)
            if (l->rates->rate[k] != CONF_NO_LIMIT)
                a->ask[a->all++] = (struct bucket_ask){l->entity, (enum bucket)k, l->rates->rate[k],
                                                       units(bucket_rows[k].unit, &a->tokens)};
    }
}

static bool take_buckets(struct plane *p, struct admission *a, struct arena *arena, struct fault *f) {
    struct bucket_verdict v = p->cluster ? limits_take(p->cluster, a->ask, a->all, a->cluster, &a->waits)
                                         : buckets_take(p->shm, a->ask, a->all, clock_coarse_ns());
    if (a->waits)
        return false;
    if (v.ok) {
        a->asks = a->all;
        return true;
    }
    const struct bucket_ask *no = &a->ask[v.refused];
    const struct admit_layer *l = a->layers;
    while (l->entity != no->entity)
        l++;
    uint64_t wait = v.wait_ns == UINT64_MAX ? 60000 : v.wait_ns / 1000000 + 1;
    a->refused = l->entity;
    a->full = false;
    refuse(f, arena, l, bucket_rows[no->kind].words, no->limit, wait);
    return false;
}

bool admit_again(struct plane *p, struct admission *a, struct arena *arena, struct fault *f) {
    a->waits = false;
    if (!take_gauges(p, a, arena, f)) {
        if (a->cluster)
            limits_drop(a->cluster);
        return false;
    }
    if (take_buckets(p, a, arena, f))
        return true;
    drop_gauges(p, a);
    return false;
}

static bool is_for(const struct plane_limits *l, const struct admit_ask *ask) {
    return str_eqi(l->name, ask->surface) || (l->systems & ask->systems) ||
           (l->name.p[0] == '/' && str_glob(l->name, ask->path));
}

/* The most specific first: of those that refuse for an equal time it is the one that is named. */
void admit_know(struct plane *p, const struct admit_ask *ask, struct admission *a, struct arena *arena) {
    const struct caller *c = ask->caller;
    const struct conf *conf = p->conf;
    const struct plane_limits *tenant = plane_tenant(p, str_of(c->key->tenant));
    struct admit_layer *l = arena_array(arena, CALLER_LAYERS + p->nendpoints, sizeof(*l));
    unsigned n = 0;
    if (ask->user.n && conf_rates_any(&conf->auth.user_limits))
        l[n++] = (struct admit_layer){plane_user(p, arena, str_of(c->key->id), ask->user),
                                      &conf->auth.user_limits, "this user"};
    l[n++] = (struct admit_layer){c->entity, &c->key->limits, "this key"};
    if (tenant)
        l[n++] = (struct admit_layer){tenant->entity, tenant->rates, "this tenant"};
    if (ask->model)
        l[n++] = (struct admit_layer){ask->model->entity, &ask->model->conf->limits, "this model"};
    for (size_t i = 0; i < p->nendpoints; i++)
        if (is_for(&p->endpoints[i], ask))
            l[n++] = (struct admit_layer){p->endpoints[i].entity, p->endpoints[i].rates, "this endpoint"};
    l[n++] = (struct admit_layer){p->gateway, &conf->limits, "the gateway"};
    *a = (struct admission){.tokens = ask->tokens, .layers = l, .nlayers = n, .cluster = ask->cluster};
    list_asks(a, arena);
}

bool admit_caller(struct plane *p, const struct admit_ask *ask, struct admission *a, struct arena *arena,
                  struct fault *f) {
    admit_know(p, ask, a, arena);
    return admit_again(p, a, arena, f);
}

void admit_know_provider(const struct plane_provider *pr, const struct plane_key *key,
                         const struct plane_model *fallback, const struct admit_tokens *tokens,
                         struct admission *a, struct arena *arena) {
    struct admit_layer *l = arena_array(arena, ATTEMPT_LAYERS, sizeof(*l));
    unsigned n = 0;
    if (key)
        l[n++] = (struct admit_layer){key->entity, &key->conf->limits, "the provider's key"};
    l[n++] = (struct admit_layer){pr->entity, &pr->conf->limits, "the provider"};
    if (fallback)
        l[n++] = (struct admit_layer){fallback->entity, &fallback->conf->limits, "the fallback's model"};
    *a = (struct admission){.tokens = *tokens, .layers = l, .nlayers = n};
    list_asks(a, arena);
}

bool admit_provider(struct plane *p, const struct plane_provider *pr, const struct plane_key *key,
                    const struct plane_model *fallback, const struct admit_tokens *tokens,
                    struct admission *a, struct arena *arena, struct fault *f) {
    admit_know_provider(pr, key, fallback, tokens, a, arena);
    return admit_again(p, a, arena, f);
}

static void look_at(struct plane *p, uint32_t entity, enum bucket kind, uint64_t limit, uint64_t now,
                    uint64_t *remaining, uint64_t *full_in_ns) {
    if (p->cluster)
        limits_look(p->cluster, entity, kind, limit, remaining, full_in_ns);
    else
        bucket_look(p->shm, entity, kind, limit, now, remaining, full_in_ns);
}

/* A request that is larger than the limit passes when the bucket is full. */
static struct admit_left left_of(struct plane *p, const struct admit_layer *l, enum bucket kind,
                                 const struct admit_tokens *tokens, uint64_t now) {
    struct admit_left v = {.whose = l->whose, .what = bucket_rows[kind].words, .limit = l->rates->rate[kind]};
    uint64_t takes = units(bucket_rows[kind].unit, tokens), full_in_ns;
    look_at(p, l->entity, kind, v.limit, now, &v.remaining, &full_in_ns);
    v.full_in_ms = full_in_ns / 1000000;
    v.fits = v.limit > 0 && v.remaining >= (takes < v.limit ? takes : v.limit);
    return v;
}

size_t admit_left(struct plane *p, const struct admission *known, struct arena *arena,
                  struct admit_left **out) {
    uint64_t now = clock_coarse_ns();
    size_t n = 0;
    struct admit_left *v = *out = arena_array(arena, known->all + known->nlayers + 1, sizeof(*v));
    for (unsigned i = 0; i < known->nlayers; i++) {
        const struct admit_layer *l = &known->layers[i];
        if (l->entity == SHM_NONE)
            continue;
        for (int k = 0; k < BUCKET_KINDS; k++)
            if (l->rates->rate[k] != CONF_NO_LIMIT)
                v[n++] = left_of(p, l, (enum bucket)k, &known->tokens, now);
        uint64_t most = l->rates->concurrent, busy = gauge_sum(p->shm, l->entity, GAUGE_IN_FLIGHT);
        if (most != CONF_NO_LIMIT)
            v[n++] = (struct admit_left){.whose = l->whose,
                                         .what = "concurrent requests",
                                         .limit = most,
                                         .remaining = busy < most ? most - busy : 0,
                                         .fits = busy < most};
    }
    return n;
}

/* Numbers of tokens come from providers and clients, and may be anything. */
static int64_t difference(uint64_t a, uint64_t b) {
    const uint64_t most = INT64_MAX;
    return (int64_t)(a < most ? a : most) - (int64_t)(b < most ? b : most);
}

uint64_t admit_total(const struct admit_tokens *t) {
    uint64_t sum;
    return __builtin_add_overflow(t->input, t->output, &sum) ? UINT64_MAX : sum;
}

static void settle_cluster(struct plane *p, const struct admission *a, const struct admit_tokens *used) {
    for (unsigned i = 0; i < a->asks; i++) {
        uint64_t n = units(bucket_rows[a->ask[i].kind].unit, used);
        limits_settle(p->cluster, &a->ask[i], &n, 1);
    }
}

void admit_settle(struct plane *p, struct admission *a, const struct admit_tokens *used) {
    uint64_t now = a->asks ? clock_coarse_ns() : 0;
    if (p->cluster)
        settle_cluster(p, a, used);
    for (unsigned i = 0; i < a->asks && !p->cluster; i++) {
        enum bucket_unit unit = bucket_rows[a->ask[i].kind].unit;
        bucket_settle(p->shm, &a->ask[i], difference(units(unit, used), units(unit, &a->tokens)), now);
    }
    a->asks = 0;
    drop_gauges(p, a);
}

void admit_undo(struct plane *p, struct admission *a) {
    if (p->cluster)
        limits_give_back(p->cluster, a->ask, a->asks);
    else
        buckets_give_back(p->shm, a->ask, a->asks, clock_coarse_ns());
    a->asks = 0;
    drop_gauges(p, a);
}

/* What an answer of this model (SHM_NONE: of any) takes on average; failures are no answers. */
static uint64_t average_output(const struct plane *p, uint32_t model_entity) {
    enum { FIRST_GUESS = 256, ENOUGH = 8 };
    uint32_t e = model_entity == SHM_NONE ? p->gateway : model_entity;
    uint64_t errors =
        entity_count(p->shm, e, ENTITY_STAT_ERRORS); /* counted after the requests: read first */
    uint64_t n = entity_count(p->shm, e, ENTITY_STAT_REQUESTS);
    if (n < errors + ENOUGH)
        return FIRST_GUESS;
    return entity_count(p->shm, e, ENTITY_STAT_OUTPUT_TOKENS) / (n - errors) + 1;
}

uint64_t admit_output(const struct plane *p, const struct ask *ask, uint32_t model_entity) {
    uint64_t out = average_output(p, model_entity), all;
    if (ask->max_tokens && ask->max_tokens < out)
        out = ask->max_tokens;
    return __builtin_mul_overflow(out, ask->n ? ask->n : 1, &all) ? UINT64_MAX : all;
}

uint64_t admit_expected(const struct plane *p, const struct ask *ask, uint32_t model_entity) {
    return ask->expected_output ? ask->expected_output : admit_output(p, ask, model_entity);
}

struct admit_tokens admit_estimate(struct plane *p, const struct ask *ask, uint32_t model_entity,
                                   uint32_t text_entity) {
    return (struct admit_tokens){.input = tokens_estimate(p->shm, text_entity, ask->input_bytes),
                                 .output = admit_output(p, ask, model_entity)};
}

/* --- rate headers --- */

struct left {
    bool set;
    uint64_t limit, remaining, full_in_ns;
};

/* The bucket with the smaller share left is the tightest; of equals the one that is full again later. */
static void look(struct plane *p, struct left *t, uint32_t entity, enum bucket kind, uint64_t limit,
                 uint64_t now) {
    struct left l = {.set = true, .limit = limit};
    look_at(p, entity, kind, limit, now, &l.remaining, &l.full_in_ns);
    double mine = (double)l.remaining * (double)t->limit, its = (double)t->remaining * (double)l.limit;
    if (!t->set || mine < its || (mine <= its && l.full_in_ns > t->full_in_ns))
        *t = l;
}

/* OpenAI's durations: "12ms", "1.5s", "6m0s", "1h0m0s". */
static struct str duration(struct arena *a, uint64_t ns) {
    uint64_t ms = ns / 1000000;
    if (ms == 0)
        return STR("0ms");
    if (ms < 1000)
        return arena_printf(a, "%" PRIu64 "ms", ms);
    if (ms < 60000)
        return arena_printf(a, "%" PRIu64 ".%03" PRIu64 "s", ms / 1000, ms % 1000);
    if (ms < 3600000)
        return arena_printf(a, "%" PRIu64 "m%" PRIu64 "s", ms / 60000, ms / 1000 % 60);
    return arena_printf(a, "%" PRIu64 "h%" PRIu64 "m%" PRIu64 "s", ms / 3600000, ms / 60000 % 60,
                        ms / 1000 % 60);
}

static void header(struct http_header *out, size_t *n, struct str name, struct str value) {
    out[(*n)++] = (struct http_header){name, value};
}

size_t admit_headers(struct plane *p, const struct admission *held, struct arena *a,
                     struct http_header *out) {
    struct left req = {.set = false}, tok = {.set = false};
    uint64_t now = clock_coarse_ns();
    for (unsigned i = 0; i < held->nlayers; i++) {
        const struct admit_layer *l = &held->layers[i];
        for (int k = 0; l->entity != SHM_NONE && k < BUCKET_KINDS; k++)
            if (l->rates->rate[k] != CONF_NO_LIMIT)
                look(p, bucket_rows[k].unit == BUCKET_REQUESTS ? &req : &tok, l->entity, (enum bucket)k,
                     l->rates->rate[k], now);
    }
    size_t n = 0;
    if (req.set) {
        struct str limit = arena_u64(a, req.limit), left = arena_u64(a, req.remaining);
        uint64_t reset = (uint64_t)clock_wall_ms() + req.full_in_ns / 1000000;
        header(out, &n, STR("x-ratelimit-limit-requests"), limit);
        header(out, &n, STR("x-ratelimit-remaining-requests"), left);
        header(out, &n, STR("x-ratelimit-reset-requests"), duration(a, req.full_in_ns));
        header(out, &n, STR("X-RateLimit-Limit"), limit);
        header(out, &n, STR("X-RateLimit-Remaining"), left);
        header(out, &n, STR("X-RateLimit-Reset"), arena_u64(a, reset));
    }
    if (tok.set) {
        header(out, &n, STR("x-ratelimit-limit-tokens"), arena_u64(a, tok.limit));
        header(out, &n, STR("x-ratelimit-remaining-tokens"), arena_u64(a, tok.remaining));
        header(out, &n, STR("x-ratelimit-reset-tokens"), duration(a, tok.full_in_ns));
    }
    return n;
}

size_t admit_provider_headers(struct plane *p, const struct plane_provider *pr, struct arena *a,
                              struct http_header *out) {
    struct admit_layer l = {pr->entity, &pr->conf->limits, "the provider"};
    return admit_headers(p, &(struct admission){.layers = &l, .nlayers = 1}, a, out);
}
