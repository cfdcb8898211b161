/* Admission: gauges first (they cost nothing when refused), then all buckets or none, the most specific
 * first. What was reserved is settled with the real numbers when the request is over. */
#include "policy/admit.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/die.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "shm/tokens.h"

struct layer {
    uint32_t entity;
    const struct conf_rates *rates;
    const char *whose; /* for the caller's eyes */
};

static void refuse(struct fault *f, struct arena *arena, const struct layer *l, const char *what,
                   uint64_t limit, uint64_t wait_ms) {
    fault_set(f, arena, FAULT_RATE_LIMIT, "Rate limit reached for %s: %" PRIu64 " %s.", l->whose, limit,
              what);
    f->retry_after_ms = (int64_t)wait_ms;
}

static void drop_gauges(struct plane *p, struct admission *a) {
    while (a->gauges > 0)
        gauge_drop(p->shm, a->gauge[--a->gauges], GAUGE_IN_FLIGHT);
}

static bool take_gauges(struct plane *p, const struct layer *l, size_t n, struct admission *a,
                        struct arena *arena, struct fault *f) {
    for (size_t i = 0; i < n; i++) {
        if (l[i].entity == SHM_NONE)
            continue;
        if (!gauge_take(p->shm, l[i].entity, GAUGE_IN_FLIGHT, l[i].rates->concurrent)) {
            drop_gauges(p, a);
            refuse(f, arena, &l[i], "concurrent requests", l[i].rates->concurrent, 1000);
            return false;
        }
        a->gauge[a->gauges++] = l[i].entity;
    }
    return true;
}

static bool take_buckets(struct plane *p, const struct layer *l, size_t n, uint64_t tokens,
                         struct admission *a, struct arena *arena, struct fault *f) {
    for (size_t i = 0; i < n; i++) {
        if (l[i].entity == SHM_NONE)
            continue;
        if (l[i].rates->requests_per_minute != CONF_NO_LIMIT)
            a->ask[a->asks++] =
                (struct bucket_ask){l[i].entity, BUCKET_REQUESTS, l[i].rates->requests_per_minute, 1};
        if (l[i].rates->tokens_per_minute != CONF_NO_LIMIT)
            a->ask[a->asks++] =
                (struct bucket_ask){l[i].entity, BUCKET_TOKENS, l[i].rates->tokens_per_minute, tokens};
    }
    struct bucket_verdict v = buckets_take(p->shm, a->ask, a->asks, clock_coarse_ns());
    if (v.ok)
        return true;
    const struct bucket_ask *no = &a->ask[v.refused];
    size_t i = 0;
    while (l[i].entity != no->entity)
        i++;
    uint64_t wait = v.wait_ns == UINT64_MAX ? 60000 : v.wait_ns / 1000000 + 1;
    refuse(f, arena, &l[i], no->kind == BUCKET_REQUESTS ? "requests per minute" : "tokens per minute",
           no->per_minute, wait);
    a->asks = 0;
    return false;
}

static bool admit(struct plane *p, const struct layer *l, size_t n, uint64_t tokens, struct admission *a,
                  struct arena *arena, struct fault *f) {
    MUST(n <= ADMIT_LAYERS);
    *a = (struct admission){.tokens = tokens};
    if (!take_gauges(p, l, n, a, arena, f))
        return false;
    if (take_buckets(p, l, n, tokens, a, arena, f))
        return true;
    drop_gauges(p, a);
    return false;
}

bool admit_caller(struct plane *p, const struct caller *c, uint64_t tokens, struct admission *a,
                  struct arena *arena, struct fault *f) {
    const struct layer layers[] = {
        {c->entity, &c->key->limits, "this key"},
        {p->gateway, &p->conf->limits, "the gateway"},
    };
    return admit(p, layers, 2, tokens, a, arena, f);
}

bool admit_provider(struct plane *p, const struct plane_provider *pr, const struct plane_key *key,
                    uint64_t tokens, struct admission *a, struct arena *arena, struct fault *f) {
    struct layer layers[2];
    size_t n = 0;
    if (key)
        layers[n++] = (struct layer){key->entity, &key->conf->limits, "the provider's key"};
    layers[n++] = (struct layer){pr->entity, &pr->conf->limits, "the provider"};
    return admit(p, layers, n, tokens, a, arena, f);
}

/* Numbers of tokens come from providers and clients, and may be anything. */
static int64_t difference(uint64_t a, uint64_t b) {
    const uint64_t most = INT64_MAX;
    return (int64_t)(a < most ? a : most) - (int64_t)(b < most ? b : most);
}

void admit_settle(struct plane *p, struct admission *a, uint64_t tokens_used) {
    uint64_t now = a->asks ? clock_coarse_ns() : 0;
    for (unsigned i = 0; i < a->asks; i++)
        if (a->ask[i].kind == BUCKET_TOKENS)
            bucket_settle(p->shm, &a->ask[i], difference(tokens_used, a->tokens), now);
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

uint64_t admit_estimate(struct plane *p, const struct ask *ask, uint32_t model_entity, uint32_t text_entity) {
    uint64_t sum;
    if (__builtin_add_overflow(admit_output(p, ask, model_entity),
                               tokens_estimate(p->shm, text_entity, ask->input_bytes), &sum))
        return UINT64_MAX;
    return sum;
}

/* --- rate headers --- */

struct left {
    bool set;
    uint64_t limit, remaining, full_in_ns;
};

/* The layer with the smaller share left is the tightest. */
static void look(struct plane *p, struct left *t, uint32_t entity, enum bucket kind, uint64_t limit,
                 uint64_t now) {
    if (limit == CONF_NO_LIMIT || entity == SHM_NONE)
        return;
    struct left l = {.set = true, .limit = limit};
    bucket_look(p->shm, entity, kind, limit, now, &l.remaining, &l.full_in_ns);
    if (!t->set || (double)l.remaining * (double)t->limit < (double)t->remaining * (double)l.limit)
        *t = l;
}

/* OpenAI's durations: "12ms", "1.5s", "6m0s". */
static struct str duration(struct arena *a, uint64_t ns) {
    uint64_t ms = ns / 1000000;
    if (ms == 0)
        return STR("0ms");
    if (ms < 1000)
        return arena_printf(a, "%" PRIu64 "ms", ms);
    if (ms < 60000)
        return arena_printf(a, "%" PRIu64 ".%03" PRIu64 "s", ms / 1000, ms % 1000);
    return arena_printf(a, "%" PRIu64 "m%" PRIu64 "s", ms / 60000, ms / 1000 % 60);
}

static void header(struct http_header *out, size_t *n, struct str name, struct str value) {
    out[(*n)++] = (struct http_header){name, value};
}

size_t admit_headers(struct plane *p, const struct caller *c, struct arena *a, struct http_header *out) {
    struct left req = {.set = false}, tok = {.set = false};
    uint64_t now = clock_coarse_ns();
    look(p, &req, c->entity, BUCKET_REQUESTS, c->key->limits.requests_per_minute, now);
    look(p, &req, p->gateway, BUCKET_REQUESTS, p->conf->limits.requests_per_minute, now);
    look(p, &tok, c->entity, BUCKET_TOKENS, c->key->limits.tokens_per_minute, now);
    look(p, &tok, p->gateway, BUCKET_TOKENS, p->conf->limits.tokens_per_minute, now);
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
