/* The request machine: a table of steps and a loop. What each step does is in steps.c, send.c, answer.c,
 * account.c. */
#include "request.h"

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "embed.h"
#include "shm/stat.h"

static enum verdict (*const steps[])(struct request *) = {
    [STEP_AUTH] = step_auth,       [STEP_READ] = step_read,     [STEP_DECODE] = step_decode,
    [STEP_ADMIT] = step_admit,     [STEP_LOOKUP] = step_lookup, [STEP_JOIN] = step_join,
    [STEP_SIMILAR] = step_similar, [STEP_ROUTE] = step_route,   [STEP_SEND] = step_send,
    [STEP_SETTLE] = step_settle,   [STEP_LOG] = step_log,       [STEP_FINISH] = step_finish,
};

void request_go(struct request *r) {
    MAGIC_CHECK(r, REQUEST_MAGIC);
    for (;;) {
        switch (steps[r->step](r)) {
        case NEXT:
            r->step++;
            break;
        case SETTLE:
            r->step = STEP_SETTLE;
            break;
        case WAIT:
        case OVER:
            return;
        }
    }
}

static void go_on(void *arg) {
    request_go(arg);
}

void request_resume(struct request *r, enum step s) {
    r->step = s;
    task_defer(r->g->env.loop, &r->go);
}

/* No answer, but an account of what was used. */
void request_leave(struct request *r) {
    r->gone = true;
    task_cancel(&r->go);
    timer_clear(&r->timer);
    embed_drop(r);
    attempt_drop(r);
    fault_set(&r->fault, r->a, FAULT_CANCELLED, "The client left before its answer was complete.");
    r->step = STEP_SETTLE;
    request_go(r);
}

/* The client is not there any more. */
static void gone(struct exchange *x) {
    struct request *r = x->owner;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    if (r->step >= STEP_SETTLE && r->fault.cls == FAULT_CANCELLED)
        return;
    if (!r->left)
        stat_add(r->p->shm, STAT_CLIENT_GONE, 1);
    if (r->left || !share_goes_on(r))
        request_leave(r);
}

static void drained(struct exchange *x) {
    struct request *r = x->owner;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    answer_drained(r);
}

static void timed_out(void *arg) {
    struct request *r = arg;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    if (r->now.call)
        answer_timed_out(r);
    else
        request_go(r); /* the back-off is over: STEP_SEND again */
}

static void link_open(struct request *r) {
    r->next = r->g->open;
    if (r->next)
        r->next->prev = r;
    r->g->open = r;
}

void request_unlink(struct request *r) {
    if (r->prev)
        r->prev->next = r->next;
    else
        r->g->open = r->next;
    if (r->next)
        r->next->prev = r->prev;
}

void request_cut(struct request *r) {
    MAGIC_CHECK(r, REQUEST_MAGIC);
    task_cancel(&r->go);
    timer_clear(&r->timer);
    if (r->step < STEP_SETTLE) {
        embed_drop(r);
        attempt_drop(r);
        fault_set(&r->fault, r->a, FAULT_OVERLOADED, "The gateway is stopping.");
        r->step = STEP_SETTLE;
    }
    request_go(r);
}

static struct request *request_new(struct gateway *g, struct exchange *x, const struct surface_route *route,
                                   struct str rest, struct str request_id) {
    struct request *r = arena_alloc(x->arena, sizeof(*r));
    r->magic = REQUEST_MAGIC; /* the rest is zero */
    r->g = g;
    r->p = g->plane;
    r->x = x;
    r->a = x->arena;
    r->route = route;
    r->client = route->dialect;
    r->request_id = request_id;
    r->ask.rest = rest;
    r->ask.query = x->query;
    r->ask.stream = surface_streams(route);
    r->plan.model_entity = SHM_NONE;
    r->usage = USAGE_NONE;
    r->cost_nano = -1;
    r->limits =
        (struct limits_ask){.done = steps_cluster_known, .arg = r, .arena = r->a, .patience = &r->patience};
    r->shelf =
        (struct shelf_ask){.done = steps_cluster_known, .arg = r, .arena = r->a, .patience = &r->patience};
    r->purse = (struct purse_ask){.done = steps_cluster_known, .arg = r, .patience = &r->patience};
    timer_init(&r->timer, g->env.loop, timed_out, r);
    task_init(&r->go, go_on, r);
    buf_init(&r->out, g->env.conf->max_request_body * 2 + (1 << 20));
    buf_init(&r->dropped, 4096);
    buf_init(&r->held_bytes, 0);
    buf_init(&r->capture, g->env.conf->cache.max_entry);
    buf_init(&r->told, 0);
    buf_init(&r->scratch, g->env.conf->max_response_body * 2 + (1 << 20));
    if (r->client->op == OP_PASS)
        r->pass = pass_new(r);
    trace_begin(r);
    x->owner = r;
    x->on_gone = gone;
    x->on_drain = drained;
    link_open(r);
    return r;
}

void request_start(struct gateway *g, struct exchange *x, const struct surface_route *route, struct str rest,
                   struct str request_id) {
    request_go(request_new(g, x, route, rest, request_id));
}

/* --- the gateway's own --- */

void *request_chat(void *gateway, const struct surface_chat *q) {
    struct arena *a = arena_new(0);
    struct exchange *x = arena_alloc(a, sizeof *x);
    *x = (struct exchange){
        .arena = a,
        .method = HTTP_POST,
        .path = str_of(q->route->path),
        .body = arena_dup(a, q->body),
        .peer = arena_dup(a, q->peer),
        .started_ns = clock_ns(),
    };
    struct surface_route *row = arena_alloc(a, sizeof *row);
    *row = *q->route;
    row->name = q->name;
    row->handler = NULL;
    struct request *r = request_new(gateway, x, row, STR_NONE, arena_dup(a, q->request_id));
    r->own = arena_alloc(a, sizeof *q);
    *r->own = *q;
    r->caller = q->caller;
    r->step = STEP_DECODE;
    request_go(r);
    return x;
}

void request_chat_cancel(void *chat) {
    gone(chat);
}
