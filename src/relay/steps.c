/* The steps before anything is sent: who asks, what is asked, whether it may be, whether it is known already.
 */
#include <inttypes.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "embed.h"
#include "policy/conversation.h"
#include "policy/semantic.h"
#include "request.h"
#include "shm/affinity.h"
#include "shm/extra.h"
#include "shm/stat.h"

enum verdict step_auth(struct request *r) {
    unsigned permission = surface_permission(r->route, r->p->conf, r->x);
    if (auth_caller(r->p, r->x, permission, r->route->name, &r->caller, &r->fault))
        return NEXT;
    stat_add(r->p->shm, STAT_AUTH_FAILURES, 1);
    return SETTLE;
}

/* --- the body --- */

void steps_body_read(struct exchange *x, int status) {
    struct request *r = x->owner;
    uint64_t max = r->pass && !r->pass->json ? r->p->conf->max_upload : r->p->conf->max_request_body;
    switch (status) {
    case 0:
        break;
    case 413:
        fault_set(&r->fault, r->a, FAULT_TOO_LARGE,
                  "The request body is larger than the %" PRIu64 " bytes this gateway takes.", max);
        break;
    case 503:
        fault_set(&r->fault, r->a, FAULT_OVERLOADED, "The gateway has no room for the request body.");
        break;
    case 408:
        fault_set(&r->fault, r->a, FAULT_TIMEOUT, "The request body came too slowly.");
        break;
    default:
        fault_set(&r->fault, r->a, FAULT_BAD_REQUEST, "The request body is not legal HTTP.");
    }
    if (status)
        r->fault.status = status;
    request_resume(r, fault_is(&r->fault) ? STEP_SETTLE : STEP_DECODE);
}

enum verdict step_read(struct request *r) {
    if (r->pass)
        return pass_read(r);
    exchange_read_body(r->x, r->p->conf->max_request_body, steps_body_read);
    return WAIT;
}

/* --- what is asked --- */

static bool take_hints(struct request *r) {
    if (!hints_header(r->a, exchange_header(r->x, "x-penstock-routing"), &r->ask, &r->fault))
        return false;
    if (!r->ask.routing.n && !r->ask.provider.n && !r->ask.task.n && !r->ask.max_cost_said &&
        !r->ask.known_model)
        return true;
    r->hints = arena_alloc(r->a, sizeof(*r->hints));
    if (!hints_of(r->a, &r->ask, r->hints, &r->fault))
        return false;
    if (r->own) {
        r->hints->alone = true;
        r->hints->cache.mode = CACHE_MODE_OFF;
    }
    return true;
}

static bool peek(struct request *r) {
    return r->pass ? pass_peek(r) : r->client->client->peek(r->a, r->x->body, &r->ask, &r->fault);
}

static bool resolve(struct request *r) {
    if (!r->pass)
        return route_resolve(r->p, r->a, r->ask.model, r->hints, &r->plan, &r->fault);
    struct str provider = exchange_header(r->x, "x-penstock-provider");
    return route_pass(r->p, r->a, provider, r->ask.model, r->hints, r->client, &r->plan, &r->fault);
}

/* Fallbacks of its own choice too; those that the configuration names may be others. */
static bool may_use(struct request *r) {
    const struct hint_list *own = r->hints ? &r->hints->fallbacks : NULL;
    const char *param = route_permit(&r->plan, &r->caller) ? NULL : "model";
    for (size_t i = 0; own && i < own->n && !param; i++)
        if (!auth_model(&r->caller, own->at[i]))
            param = "routing.fallbacks";
    if (!param)
        return true;
    fault_set(&r->fault, r->a, FAULT_PERMISSION, "This API key may not use the model it asked for.");
    r->fault.param = str_of(param);
    return false;
}

/* What the body says of the one who asks. */
static void take_names(struct request *r) {
    if (r->ask.request_id.n)
        r->request_id = r->ask.request_id;
    if (r->ask.tenant.n && !auth_tenant(r->p, r->a, r->ask.tenant, &r->caller))
        r->ask.ignored =
            arena_printf(r->a, "tenant%s" STR_FMT, r->ask.ignored.n ? "," : "", STR_ARG(r->ask.ignored));
}

enum verdict step_decode(struct request *r) {
    r->client = dialect_really(r->client, r->x->body, exchange_header(r->x, "user-agent"));
    bool ok = peek(r);
    take_names(r); /* of a bad request too */
    if (!ok)
        return SETTLE;
    r->readable = r->pass ? r->pass->json : true;
    return take_hints(r) && resolve(r) && may_use(r) ? NEXT : SETTLE;
}

static struct admit_tokens estimate(struct request *r) {
    if (r->pass)
        return (struct admit_tokens){.input = usage_estimate(r->ask.input_bytes)};
    return admit_estimate(r->p, &r->ask, r->plan.model_entity, plane_text_entity(r->p, r->plan.list[0]));
}

/* In the queue others may come first. */
void steps_cluster_known(void *arg) {
    struct request *r = arg;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    if (r->wait.r)
        queue_known(r);
    else
        request_resume(r, r->step);
}

static void know_limits(struct request *r) {
    r->estimate = estimate(r);
    const struct admit_ask ask = {
        .caller = &r->caller,
        .user = r->caller.user.n ? r->caller.user : r->ask.user,
        .surface = str_of(r->route->name),
        .path = r->x->path,
        .systems = r->route->surface,
        .model = r->plan.model,
        .tokens = r->estimate,
        .cluster = &r->limits,
    };
    admit_know(r->p, &ask, &r->held, r->a);
}

enum verdict step_admit(struct request *r) {
    bool again = r->held.waits;
    if (!again)
        know_limits(r);
    uint32_t before = r->p->conf->queue.max_wait && !again ? queue_before(r) : SHM_NONE;
    if (before == SHM_NONE && admit_again(r->p, &r->held, r->a, &r->fault))
        return NEXT;
    if (r->held.waits)
        return WAIT;
    if (queue_wait(r, before == SHM_NONE ? r->held.refused : before))
        return WAIT;
    if (before != SHM_NONE) {
        fault_set(&r->fault, r->a, FAULT_RATE_LIMIT, "Too many requests wait for their turn.");
        r->fault.retry_after_ms = 1000;
    }
    stat_add(r->p->shm, STAT_RATE_LIMITED, 1);
    return SETTLE;
}

/* --- the cache --- */

enum verdict answer_from_cache(struct request *r, enum ledger_cache how, const struct reply_head *h,
                               struct str body) {
    stat_add(r->p->shm, how == LEDGER_CACHE_HIT ? STAT_CACHE_HITS : STAT_CACHE_SEMANTIC_HITS, 1);
    stat_add(r->p->shm, STAT_CACHE_TOKENS_SAVED, usage_total(&h->usage));
    if (h->cost_nano > 0)
        stat_add(r->p->shm, STAT_CACHE_NANO_SAVED, (uint64_t)h->cost_nano);
    r->cache = how;
    r->row.provider = h->provider;
    r->row.model = h->model;
    r->usage = h->usage;
    r->cost_nano = 0;
    r->reply = body;
    r->reply_type = h->content_type;
    r->ended = true;
    return SETTLE;
}

/* Another host may have it. */
static bool look_on_shelf(struct request *r) {
    const struct conf *c = r->p->conf;
    return r->p->cluster && c->cluster.cache && r->ticket.read &&
           shelf_find(r->p->cluster, r->ticket.key, c->cache.max_entry + 65536, &r->shelf);
}

enum verdict step_lookup(struct request *r) {
    struct reply_head h;
    struct str body;
    if (r->shelf.known)
        return cache_adopt(r->p, r->a, &r->ticket, r->shelf.value, &h, &body)
                   ? answer_from_cache(r, LEDGER_CACHE_HIT, &h, body)
                   : NEXT;
    if (r->pass || r->ask.dry_run)
        return NEXT;
    cache_ticket(r->p, r->a, r->x, &r->caller, r->client, &r->ask, &r->plan, &r->ticket);
    r->cached_as = r->plan.list[0]->entity;
    if (!r->p->conf->cache.enabled)
        return NEXT;
    r->cache = r->ticket.read ? LEDGER_CACHE_MISS : LEDGER_CACHE_BYPASS;
    if (cache_find(r->p, r->a, &r->ticket, &h, &body))
        return answer_from_cache(r, LEDGER_CACHE_HIT, &h, body);
    return look_on_shelf(r) ? WAIT : NEXT;
}

/* --- the same in other words --- */

/* Comes back here when the vector is there, or will not come. */
static bool ask_embedder(struct request *r) {
    if (r->asked_similar)
        return false;
    r->asked_similar = true;
    semantic_ticket(r->p, r->a, r->x, &r->caller, r->client, &r->ask, &r->plan, &r->ticket);
    return r->ticket.semantic && !r->ticket.semantic->embedded && embed_start(r);
}

enum verdict step_similar(struct request *r) {
    struct reply_head h;
    struct str body;
    if (ask_embedder(r))
        return WAIT;
    if (semantic_find(r->p, r->a, &r->ticket, &h, &body, &r->similarity))
        return answer_from_cache(r, LEDGER_CACHE_SEMANTIC, &h, body);
    if (r->ticket.read)
        stat_add(r->p->shm, STAT_CACHE_MISSES, 1);
    r->capturing = r->ticket.store && r->ask.stream;
    return NEXT;
}

/* --- the order of targets --- */

static struct str mint_id(struct arena *a) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    char *id = arena_alloc(a, 25);
    for (size_t i = 0; i < 24; i++)
        id[i] = alphabet[random_u64() % (sizeof(alphabet) - 1)];
    return str_make(id, 24);
}

/* A prompt cache is worth more than the second best of a strategy, but not than an order that was written. */
static void follow_conversation(struct request *r) {
    if (!r->p->conf->routing.affinity || r->pass || r->plan.own < 2 ||
        route_strategy(&r->plan) == STRATEGY_FALLBACK)
        return;
    struct conversation c = conversation_of(r->x, &r->caller, r->client, &r->ask, r->plan.asked);
    r->conversation = c.id;
    uint32_t target = c.id && c.goes_on ? affinity_find(r->p->shm, c.id, clock_coarse_ns()) : SHM_NONE;
    if (target != SHM_NONE)
        route_prefer(r->p, &r->plan, target);
}

enum verdict step_route(struct request *r) {
    extra_request(r->p->shm, clock_coarse_ns());
    r->plan.input_bytes = r->pass ? 0 : r->ask.input_bytes;
    r->plan.output_tokens =
        r->client->op == OP_CHAT ? admit_expected(r->p, &r->ask, r->plan.model_entity) : 0;
    if (r->ask.dry_run)
        route_order_dry(r->p, &r->plan);
    else
        route_order(r->p, &r->plan);
    follow_conversation(r);
    r->mint = (struct mint){
        .id = mint_id(r->a),
        .created = clock_wall_ms() / 1000,
        .model = r->plan.asked,
    };
    return NEXT;
}
