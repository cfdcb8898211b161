/* POST /admin/v1/explain: where a request would go, and why not elsewhere. The request's own body; ?path=
 * says which endpoint it is meant for. The same functions decide as for a real one, but no turn is taken,
 * nothing is reserved and nothing is sent. */
#include "base/clock.h"
#include "base/hash.h"
#include "policy/admit.h"
#include "policy/cache.h"
#include "policy/conversation.h"
#include "query.h"
#include "shm/affinity.h"
#include "shm/health.h"
#include "shm/slot.h"
#include "shm/speed.h"
#include "surface/surface.h"

struct asked {
    const struct dialect *client;
    struct ask ask;
    struct hints hints;
    struct str surface, path;
    struct plan plan;
    struct conversation conversation;
    uint32_t warm; /* the target that answered it last */
};

static bool find_dialect(struct surface_call *c, struct asked *q, struct fault *f) {
    static const char *const names[] = {"path"};
    const struct surface_route *route;
    struct str path, rest;
    char allow[64];
    if (!query_read(c, names, &path, 1, f))
        return false;
    if (!path.n)
        path = STR("/v1/chat/completions");
    if (surface_find(HTTP_POST, path, SURFACE_ALL, &route, &rest, allow) != ROUTE_FOUND || route->handler ||
        route->dialect->op == OP_PASS)
        return query_wrong(c, f, STR("path"), "no endpoint whose requests are routed by their body");
    q->client = dialect_really(route->dialect, c->x->body);
    q->surface = str_of(route->name);
    q->path = path;
    q->ask.rest = rest;
    q->ask.stream = surface_streams(route);
    return true;
}

static bool decide(struct surface_call *c, struct asked *q, struct fault *f) {
    struct plane *p = c->plane;
    struct arena *a = c->x->arena;
    if (!find_dialect(c, q, f) || !q->client->client->peek(a, c->x->body, &q->ask, f) ||
        !hints_read(a, q->ask.routing, &q->hints, f) ||
        !route_resolve(p, a, q->ask.model, &q->hints, &q->plan, f))
        return false;
    q->plan.input_bytes = q->ask.input_bytes;
    q->plan.output_tokens = admit_output(p, &q->ask, q->plan.model_entity);
    route_order_dry(p, &q->plan);
    q->conversation = conversation_of(c->x, &c->caller, q->client, &q->ask, q->plan.asked);
    q->warm = SHM_NONE;
    if (p->conf->routing.affinity && q->conversation.id && q->conversation.goes_on &&
        route_strategy(&q->plan) != STRATEGY_FALLBACK)
        q->warm = affinity_find(p->shm, q->conversation.id, clock_ns());
    if (q->warm != SHM_NONE)
        route_prefer(p, &q->plan, q->warm);
    return true;
}

/* --- what is told --- */

static const char *reason(struct plane *p, const struct asked *q, const struct target *t) {
    if (!plane_endpoint(t->provider, q->client, t->model))
        return "no_endpoint";
    return route_no_name(route_why_not(p, &q->plan, t));
}

static void write_target(struct jw *w, struct plane *p, const struct asked *q, size_t i) {
    const struct target *t = q->plan.list[i];
    struct health h;
    uint64_t now = clock_ns(), again_ns = 0;
    struct speed v = speed_look(p->shm, t->entity, now);
    int64_t cost = route_cost(p, &q->plan, t);
    const char *why = reason(p, q, t);
    health_look(p->shm, t->entity, t->provider->breaker.window_ms, now, &h);
    jw_obj(w);
    jw_kz(w, "provider", t->provider->conf->name);
    jw_kstr(w, "model", t->model);
    jw_kbool(w, "fallback", i >= q->plan.own);
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
    jw_key(w, "expected_cost_usd");
    if (cost < 0)
        jw_null(w);
    else
        jw_nano(w, cost);
    jw_obj_end(w);
}

static void write_cache(struct jw *w, struct surface_call *c, const struct asked *q) {
    struct cache_ticket t;
    struct reply_head h;
    struct str body;
    char key[2 * INDEX_KEY + 1];
    cache_ticket(c->plane, c->x->arena, c->x, &c->caller, q->client, &q->ask, &q->plan, &t);
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

static void write_limits(struct jw *w, struct surface_call *c, const struct asked *q) {
    struct http_header h[ADMIT_HEADERS];
    struct admission layers;
    const struct admit_ask ask = {
        .caller = &c->caller,
        .user = q->ask.user,
        .surface = q->surface,
        .path = q->path,
        .model = q->plan.model,
    };
    admit_know(c->plane, &ask, &layers, c->x->arena);
    size_t n = admit_headers(c->plane, &layers, c->x->arena, h);
    jw_key(w, "limits");
    jw_obj(w);
    for (size_t i = 0; i < n; i++) {
        jw_keys(w, h[i].name);
        jw_str(w, h[i].value);
    }
    jw_obj_end(w);
}

static void answer(struct surface_call *c, const struct asked *q) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kstr(&w, "model", q->plan.asked);
    jw_kz(&w, "dialect", q->client->name);
    jw_kz(&w, "strategy", conf_strategy_name(route_strategy(&q->plan)));
    jw_ku64(&w, "expected_output_tokens", q->plan.output_tokens);
    jw_key(&w, "targets");
    jw_arr(&w);
    for (size_t i = 0; i < q->plan.n; i++)
        write_target(&w, c->plane, q, i);
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
