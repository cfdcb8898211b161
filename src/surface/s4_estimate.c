/* POST /v1/gateway/cost-estimate: what a question would cost where it would go, and at every alternative.
 * Nothing is sent, and no limit is touched. */
#include "policy/admit.h"
#include "policy/price.h"
#include "policy/route.h"
#include "surface/surface.h"

struct forecast {
    struct ask ask;
    struct hints hints;
    struct plan plan;
};

static bool decide(struct surface_call *c, struct forecast *e, struct fault *f) {
    struct plane *p = c->plane;
    struct arena *a = c->x->arena;
    if (!c->route->dialect->client->peek(a, c->x->body, &e->ask, f) || !hints_of(a, &e->ask, &e->hints, f) ||
        !route_resolve(p, a, e->ask.model, &e->hints, &e->plan, f))
        return false;
    if (!route_permit(&e->plan, &c->caller)) {
        fault_set(f, a, FAULT_PERMISSION, "This API key may not use the model it asked for.");
        return false;
    }
    e->plan.input_bytes = e->ask.input_bytes;
    e->plan.output_tokens = admit_expected(p, &e->ask, e->plan.model_entity);
    route_order_dry(p, &e->plan);
    route_fallbacks(p, a, &e->plan);
    return true;
}

static void write_nano(struct jw *w, const char *key, int64_t nano) {
    jw_key(w, key);
    if (nano < 0)
        jw_null(w);
    else
        jw_nano(w, nano);
}

/* The members of one target, into an open object. */
static void write_target(struct jw *w, struct plane *p, const struct forecast *e, const struct target *t) {
    struct usage u = {.input = route_input_tokens(p, &e->plan, t), .output = e->plan.output_tokens};
    int64_t all = route_cost(p, &e->plan, t), input, output;
    enum route_no why = route_why_not(p, &e->plan, t);
    price_parts(p->prices, str_of(t->provider->conf->kind->price_vendor), t->model,
                t->conf ? &t->conf->prices : NULL, &u, all, &input, &output);
    jw_kstr(w, "model", t->model);
    jw_kz(w, "provider", t->provider->conf->name);
    jw_ku64(w, "input_tokens", u.input);
    jw_ku64(w, "output_tokens", u.output);
    jw_ku64(w, "total_tokens", usage_total(&u));
    jw_ku64(w, "num_tokens", usage_total(&u));
    jw_kbool(w, "tokens_estimated", true);
    jw_key(w, "cost");
    jw_obj(w);
    write_nano(w, "estimated_usd", all);
    write_nano(w, "input_usd", input);
    write_nano(w, "output_usd", output);
    jw_obj_end(w);
    jw_kbool(w, "available", why == ROUTE_OK);
    if (why != ROUTE_OK)
        jw_kz(w, "reason", route_no_name(why));
}

static void answer(struct surface_call *c, const struct forecast *e) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    write_target(&w, c->plane, e, e->plan.list[0]);
    if (e->ask.task.n)
        jw_kstr(&w, "task_type", e->ask.task);
    jw_kstr(&w, "request_id", e->ask.request_id.n ? e->ask.request_id : c->request_id);
    jw_key(&w, "alternatives");
    jw_arr(&w);
    for (size_t i = 1; i < e->plan.n; i++) {
        jw_obj(&w);
        write_target(&w, c->plane, e, e->plan.list[i]);
        jw_obj_end(&w);
    }
    jw_arr_end(&w);
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

static void body_read(struct exchange *x, int status) {
    struct surface_call *c = x->owner;
    struct forecast *e = arena_alloc(x->arena, sizeof(*e));
    struct fault f;
    if (status) {
        fault_set(&f, x->arena, status == 413 ? FAULT_TOO_LARGE : FAULT_BAD_REQUEST,
                  status == 413 ? "The request is larger than this gateway takes."
                                : "The request body could not be read.");
        f.status = status;
    }
    if (!status && decide(c, e, &f)) {
        if (e->ask.request_id.n)
            c->request_id = e->ask.request_id;
        answer(c, e);
    } else {
        surface_fault(c, &f);
    }
}

static void gone(struct exchange *x) {
    (void)x; /* all of it lies in the exchange */
}

void surface_s4_estimate(struct surface_call *c) {
    struct surface_call *kept = arena_alloc(c->x->arena, sizeof(*kept));
    *kept = *c;
    c->x->owner = kept;
    c->x->on_gone = gone;
    exchange_read_body(c->x, c->plane->conf->max_request_body, body_read);
}
