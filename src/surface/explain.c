/* POST /admin/v1/explain: where a request would go, and why not elsewhere. The request's own body; ?path=
 * says which endpoint it is meant for, ?key= with whose key. The same functions decide as for a real one, but
 * no turn is taken, nothing is reserved and nothing is sent. */
#include "budgets.h"

#include "base/clock.h"
#include "base/hash.h"
#include "policy/admit.h"
#include "policy/cache.h"
#include "policy/conversation.h"
#include "policy/keyring.h"
#include "query.h"
#include "shm/affinity.h"
#include "shm/health.h"
#include "shm/slot.h"
#include "shm/speed.h"
#include "surface/surface.h"

struct asked {
    const struct dialect *client;
    struct ask ask;
    struct caller as; /* whose request it would be; c->caller asks for the explanation */
    struct hints hints;
    bool permitted;
    struct str surface, path;
    unsigned systems;
    struct plan plan;
    struct admission layers; /* of the caller, only known */
    struct admit_tokens tokens;
    struct conversation conversation;
    uint32_t warm; /* the target that answered it last */
};

/* Explained for whom: a key by its id. */
static bool become(struct surface_call *c, struct asked *q, struct str id, struct fault *f) {
    struct plane *p = c->plane;
    for (size_t i = 0; i < p->nkeys; i++)
        if (str_is(id, p->keys[i].conf->id)) {
            q->as = (struct caller){.key = p->keys[i].conf, .entity = p->keys[i].entity};
            return true;
        }
    const struct keyring *r = keyring_now(p);
    const struct ring_key *k = r ? keyring_by_id(r, id) : NULL;
    if (!k)
        return query_wrong(c, f, STR("key"), "there is no such key");
    keyring_hold(r, c->x->arena);
    q->as = (struct caller){.key = &k->effective, .entity = k->entity};
    return true;
}

static bool find_dialect(struct surface_call *c, struct asked *q, struct str path, struct fault *f) {
    const struct surface_route *route;
    struct str rest;
    char allow[64];
    if (!path.n)
        path = STR("/v1/chat/completions");
    if (surface_find(HTTP_POST, path, SURFACE_ALL, &route, &rest, allow) != ROUTE_FOUND || route->handler ||
        route->dialect->op == OP_PASS)
        return query_wrong(c, f, STR("path"), "no endpoint whose requests are routed by their body");
    q->client = dialect_really(route->dialect, c->x->body, STR_NONE);
    q->surface = str_of(route->name);
    q->path = path;
    q->systems = route->surface;
    q->ask.rest = rest;
    q->ask.stream = surface_streams(route);
    return true;
}

static bool read_query(struct surface_call *c, struct asked *q, struct fault *f) {
    static const char *const names[] = {"path", "key"};
    struct str values[2];
    q->as = c->caller;
    return query_read(c, names, values, 2, f) && find_dialect(c, q, values[0], f) &&
           (!values[1].n || become(c, q, values[1], f));
}

static void know_limits(struct surface_call *c, struct asked *q) {
    const struct admit_ask ask = {
        .caller = &q->as,
        .user = q->ask.user,
        .surface = q->surface,
        .path = q->path,
        .systems = q->systems,
        .model = q->plan.model,
        .tokens = q->tokens,
    };
    admit_know(c->plane, &ask, &q->layers, c->x->arena);
}

static bool decide(struct surface_call *c, struct asked *q, struct fault *f) {
    struct plane *p = c->plane;
    struct arena *a = c->x->arena;
    if (!read_query(c, q, f) || !q->client->client->peek(a, c->x->body, &q->ask, f) ||
        !hints_header(a, exchange_header(c->x, "x-penstock-routing"), &q->ask, f) ||
        !hints_of(a, &q->ask, &q->hints, f) || !route_resolve(p, a, q->ask.model, &q->hints, &q->plan, f))
        return false;
    q->permitted = route_permit(&q->plan, &q->as);
    q->plan.input_bytes = q->ask.input_bytes;
    q->plan.output_tokens = admit_expected(p, &q->ask, q->plan.model_entity);
    q->tokens = admit_estimate(p, &q->ask, q->plan.model_entity, plane_text_entity(p, q->plan.list[0]));
    if (q->ask.tenant.n)
        auth_tenant(p, a, q->ask.tenant, &q->as);
    know_limits(c, q);
    route_order_dry(p, &q->plan);
    route_fallbacks(p, a, &q->plan);
    q->conversation = conversation_of(c->x, &q->as, q->client, &q->ask, q->plan.asked);
    q->warm = SHM_NONE;
    if (p->conf->routing.affinity && q->conversation.id && q->conversation.goes_on &&
        route_strategy(&q->plan) != STRATEGY_FALLBACK)
        q->warm = affinity_find(p->shm, q->conversation.id, clock_ns());
    if (q->warm != SHM_NONE)
        route_prefer(p, &q->plan, q->warm);
    return true;
}

/* --- what is told --- */

static void write_left(struct jw *w, struct plane *p, const struct admission *known, struct arena *a,
                       bool *fits) {
    struct admit_left *v;
    size_t n = admit_left(p, known, a, &v);
    jw_arr(w);
    for (size_t i = 0; i < n; i++) {
        jw_obj(w);
        jw_kz(w, "of", v[i].whose);
        jw_kz(w, "what", v[i].what);
        jw_ku64(w, "limit", v[i].limit);
        jw_ku64(w, "remaining", v[i].remaining);
        jw_ku64(w, "full_in_ms", v[i].full_in_ms);
        jw_kbool(w, "fits", v[i].fits);
        jw_obj_end(w);
        *fits = *fits && v[i].fits;
    }
    jw_arr_end(w);
}

/* Of the provider and, where it has one, of its key. */
static bool write_target_limits(struct jw *w, struct surface_call *c, const struct asked *q,
                                const struct target *t) {
    const struct plane_provider *pr = t->provider;
    struct admission known;
    bool fits = true;
    admit_know_provider(pr, pr->nkeys == 1 ? &pr->keys[0] : NULL, NULL, &q->tokens, &known, c->x->arena);
    jw_key(w, "limits");
    write_left(w, c->plane, &known, c->x->arena, &fits);
    return fits;
}

static bool write_target_budgets(struct jw *w, struct surface_call *c, const struct asked *q,
                                 struct target *t) {
    const struct budget_ask ask = {&q->as, t, budget_most(&q->ask, q->client->op, &q->tokens), NULL};
    const struct budget *of[MONEY_MOST];
    bool fits;
    size_t n = budget_look(c->plane, &ask, of, &fits);
    jw_key(w, "budgets");
    jw_arr(w);
    for (size_t i = 0; i < n; i++)
        budgets_write(w, c->plane, of[i], clock_wall_ms());
    jw_arr_end(w);
    return fits;
}

static bool in_plan(const struct plan *plan, const struct target *t) {
    size_t i = 0;
    while (i < plan->n && plan->list[i]->entity != t->entity)
        i++;
    return i < plan->n;
}

static const char *reason(struct plane *p, const struct asked *q, const struct target *t, bool limits,
                          bool budgets) {
    if (route_hints_against(&q->hints, t) != ROUTE_OK)
        return route_no_name(route_hints_against(&q->hints, t));
    if (q->permitted && !t->conf && !in_plan(&q->plan, t) && !auth_model(&q->as, t->model))
        return "not_permitted";
    if (!plane_endpoint(t->provider, q->client, t->model))
        return "no_endpoint";
    const char *why = route_no_name(route_why_not(p, &q->plan, t));
    if (strcmp(why, "ok") != 0)
        return why;
    return !limits ? "limit" : !budgets ? "budget" : "ok";
}

static void write_cost(struct jw *w, int64_t nano) {
    jw_key(w, "expected_cost_usd");
    if (nano < 0)
        jw_null(w);
    else
        jw_nano(w, nano);
}

static void write_target(struct jw *w, struct surface_call *c, const struct asked *q, struct target *t,
                         bool fallback) {
    struct plane *p = c->plane;
    struct health h;
    uint64_t now = clock_ns(), again_ns = 0;
    struct speed v = speed_look(p->shm, t->entity, now);
    health_look(p->shm, t->entity, t->provider->breaker.window_ms, now, &h);
    jw_obj(w);
    jw_kz(w, "provider", t->provider->conf->name);
    jw_kstr(w, "model", t->model);
    jw_kbool(w, "fallback", fallback);
    bool limits = write_target_limits(w, c, q, t), budgets = write_target_budgets(w, c, q, t);
    const char *why = reason(p, q, t, limits, budgets);
    jw_kbool(w, "eligible", strcmp(why, "ok") == 0);
    jw_kz(w, "reason", why);
    jw_kbool(w, "warm", t->entity == q->warm);
    jw_key(w, "weight");
    jw_real(w, route_weight(p, &q->plan, t));
    jw_kz(w, "breaker", breaker_state_name(breaker_state(p->shm, t->entity, &again_ns, now)));
    jw_ku64(w, "health_score", h.score);
    jw_ku64(w, "in_flight", gauge_sum(p->shm, t->entity, GAUGE_IN_FLIGHT));
    jw_key(w, "first_byte_ms");
    jw_real(w, v.first_byte_ms);
    jw_key(w, "per_token_ms");
    jw_real(w, v.per_token_ms);
    jw_ku64(w, "input_tokens", route_input_tokens(p, &q->plan, t));
    write_cost(w, route_cost(p, &q->plan, t));
    jw_obj_end(w);
}

/* What the request's hints leave out of what it would otherwise go to. */
static void write_left_out(struct jw *w, struct surface_call *c, const struct asked *q) {
    struct hints open = q->hints;
    struct plan all;
    struct fault f;
    open.excluded.n = open.tags.n = 0;
    if (!route_resolve(c->plane, c->x->arena, q->ask.model, &open, &all, &f))
        return;
    all.input_bytes = q->plan.input_bytes;
    all.output_tokens = q->plan.output_tokens;
    route_fallbacks(c->plane, c->x->arena, &all);
    for (size_t i = 0; i < all.n; i++)
        if (!in_plan(&q->plan, all.list[i]))
            write_target(w, c, q, all.list[i], i >= all.own);
}

/* Targets of the model at providers that are switched off. */
static void write_disabled(struct jw *w, struct plane *p, const struct asked *q) {
    const struct conf_model *m = q->plan.model ? q->plan.model->conf : NULL;
    for (size_t i = 0; m && i < m->ntargets; i++) {
        const struct plane_provider *pr = &p->providers[m->targets[i].provider_index];
        if (pr->upstream)
            continue;
        jw_obj(w);
        jw_kz(w, "provider", pr->conf->name);
        jw_kz(w, "model", m->targets[i].model);
        jw_kbool(w, "eligible", false);
        jw_kz(w, "reason", "disabled");
        jw_obj_end(w);
    }
}

static void write_cache(struct jw *w, struct surface_call *c, const struct asked *q) {
    struct cache_ticket t;
    struct reply_head h;
    struct str body;
    char key[2 * INDEX_KEY + 1];
    cache_ticket(c->plane, c->x->arena, c->x, &q->as, q->client, &q->ask, &q->plan, &t);
    jw_key(w, "cache");
    jw_obj(w);
    jw_kbool(w, "enabled", c->plane->conf->cache.enabled);
    if (t.store) {
        hex_encode(key, t.key, INDEX_KEY);
        jw_kz(w, "key", key);
        jw_kbool(w, "hit", cache_find(c->plane, c->x->arena, &t, &h, &body));
    }
    jw_obj_end(w);
}

/* What the answer's headers would say, and each limit of the caller. */
static void write_limits(struct jw *w, struct surface_call *c, const struct asked *q) {
    struct http_header h[ADMIT_HEADERS];
    bool fits = true;
    size_t n = admit_headers(c->plane, &q->layers, c->x->arena, h);
    jw_key(w, "limits");
    jw_obj(w);
    for (size_t i = 0; i < n; i++) {
        jw_keys(w, h[i].name);
        jw_str(w, h[i].value);
    }
    jw_obj_end(w);
    jw_key(w, "headroom");
    write_left(w, c->plane, &q->layers, c->x->arena, &fits);
    jw_kbool(w, "admitted", fits);
}

static void answer(struct surface_call *c, const struct asked *q) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kstr(&w, "model", q->plan.asked);
    jw_kz(&w, "key", q->as.key->id);
    jw_kbool(&w, "permitted", q->permitted);
    jw_kz(&w, "dialect", q->client->name);
    jw_kz(&w, "strategy", conf_strategy_name(route_strategy(&q->plan)));
    jw_ku64(&w, "expected_output_tokens", q->plan.output_tokens);
    jw_key(&w, "targets");
    jw_arr(&w);
    for (size_t i = 0; i < q->plan.n; i++)
        write_target(&w, c, q, q->plan.list[i], i >= q->plan.own);
    write_left_out(&w, c, q);
    write_disabled(&w, c->plane, q);
    jw_arr_end(&w);
    write_limits(&w, c, q);
    write_cache(&w, c, q);
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

static void body_read(struct exchange *x, int status) {
    struct surface_call *c = x->owner;
    struct asked *q = arena_alloc(x->arena, sizeof(*q));
    struct fault f;
    if (status) {
        fault_set(&f, x->arena, FAULT_BAD_REQUEST, "The request body could not be read.");
        f.status = status;
    }
    if (!status && decide(c, q, &f))
        answer(c, q);
    else
        surface_fault(c, &f);
}

static void gone(struct exchange *x) {
    (void)x; /* all of it lies in the exchange */
}

void surface_explain(struct surface_call *c) {
    struct surface_call *kept = arena_alloc(c->x->arena, sizeof(*kept));
    *kept = *c;
    c->x->owner = kept;
    c->x->on_gone = gone;
    exchange_read_body(c->x, c->plane->conf->max_request_body, body_read);
}
