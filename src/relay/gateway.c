/* The gateway of a worker: finds the row of the route table, and hands the exchange to the request machine or
 * to the row's handler. */
#include "request.h"

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "cluster/cluster.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "store/logs.h"
#include "store/record.h"

/* What one worker does for all, at its start. */
static bool is_first(const struct gateway_env *env) {
    struct slot_info me;
    return slot_at(env->shm, slot_mine(env->shm), &me) && me.number == 0;
}

/* A misspelt endpoint would limit nothing; told of once. */
static void check_endpoints(const struct gateway_env *env) {
    for (size_t i = 0; i < env->conf->nendpoint_limits; i++) {
        struct str name = str_of(env->conf->endpoint_limits[i].endpoint);
        unsigned systems = conf_surface_of(name);
        bool known = name.p[0] == '/';
        for (size_t j = 0; j < surface_routes_n; j++) {
            const struct surface_route *r = &surface_routes[j];
            known = known || (r->name && (str_eqi(name, str_of(r->name)) || (r->surface & systems)));
        }
        if (!known)
            log_event(LVL_WARN, "config", "endpoint_limits: there is no endpoint " STR_FMT, STR_ARG(name));
    }
}

/* What happens to the gateway itself goes into the log store as well. */
static void keep_event(void *arg, enum log_level level, const char *event, const struct log_fields *fields,
                       struct str message) {
    struct gateway *g = arg;
    struct logs_event e = {.wall_ms = clock_wall_ms(), .level = level, .fields = *fields, .message = message};
    if (!logs_type_by_name(str_of(event), &e.type) || e.type < LOGS_AUDIT)
        return;
    struct buf packed;
    buf_init(&packed, 2 * LOGS_MESSAGE_MAX);
    logs_pack_event(&packed, &e);
    if (buf_ok(&packed))
        outbox_put(g->outbox, RECORD_EVENT, buf_str(&packed));
    buf_free(&packed);
}

struct gateway *gateway_new(const struct gateway_env *env, char err[256]) {
    struct plane *p = plane_new(env->loop, env->multi, env->shm, env->conf, err);
    if (!p)
        return NULL;
    struct gateway *g = mem_alloc(sizeof(*g));
    g->env = *env;
    g->plane = p;
    g->queue = queue_new(p);
    g->outbox = outbox_new(env->loop, env->shm);
    log_tap(keep_event, g);
    if (is_first(env)) {
        check_endpoints(env);
        share_sweep(p);
    }
    return g;
}

bool gateway_settled(const struct gateway *g) {
    return !g->plane->cluster || cluster_settled(g->plane->cluster);
}

void gateway_stop(struct gateway *g) {
    while (g->open)
        request_cut(g->open);
}

bool gateway_written(const struct gateway *g) {
    return outbox_empty(g->outbox);
}

void gateway_free(struct gateway *g) {
    if (!g)
        return;
    queue_free(g->queue);
    log_tap(NULL, NULL);
    outbox_free(g->outbox);
    plane_free(g->plane);
    mem_free(g);
}

static void make_id(char id[REQUEST_ID_BYTES]) {
    uint64_t r[2] = {random_u64(), random_u64()};
    memcpy(id, "req_", 4);
    hex_encode(id + 4, r, sizeof(r));
}

/* The client's own id when it is one of ours in form: 1 to 128 of A-Za-z0-9._- */
static struct str request_id(struct exchange *x) {
    struct str id = exchange_header(x, "x-request-id");
    bool ok = id.n >= 1 && id.n <= 128;
    for (size_t i = 0; ok && i < id.n; i++) {
        char c = id.p[i];
        ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
             c == '_' || c == '-';
    }
    if (ok)
        return id;
    char made[REQUEST_ID_BYTES];
    make_id(made);
    return arena_dup(x->arena, str_of(made));
}

static void no_route(struct exchange *x, struct surface_call *c, enum route_result res, const char *allow) {
    struct fault f;
    bool path = res == ROUTE_NO_PATH;
    fault_set(&f, x->arena, FAULT_BAD_REQUEST,
              path ? "Unknown path: " STR_FMT "." : "This path takes no " STR_FMT " request.",
              STR_ARG(path ? str_make(x->path.p, x->path.n < 200 ? x->path.n : 200) : x->method_name));
    f.status = path ? 404 : 405;
    stat_error(c->plane->shm, fault_type(f.cls, false));
    struct buf body;
    buf_init(&body, 0);
    surface_dialect(x->path)->client->write_fault(&body, &f, c->request_id);
    struct http_header h[3] = {{STR("content-type"), STR("application/json")},
                               {STR("x-request-id"), c->request_id},
                               {STR("allow"), str_of(allow)}};
    exchange_reply(x, f.status, h, path ? 2 : 3, buf_str(&body));
    buf_free(&body);
}

void gateway_request(struct exchange *x, void *arg) {
    struct gateway *g = arg;
    struct surface_call c = {
        .x = x,
        .plane = g->plane,
        .request_id = request_id(x),
        .reload = g->env.reload,
        .reload_arg = g->env.reload_arg,
        .chat = request_chat,
        .chat_cancel = request_chat_cancel,
        .chat_arg = g,
    };
    char allow[64];
    struct fault f = {.cls = FAULT_NONE};
    stat_add(g->env.shm, STAT_REQUESTS, 1);
    if (surface_cors(x, g->env.conf, c.request_id))
        return;
    enum route_result res = surface_find(x->method, x->path, x->surfaces, &c.route, &c.rest, allow);
    if (res != ROUTE_FOUND) {
        no_route(x, &c, res, allow);
    } else if (!c.route->handler) {
        request_start(g, x, c.route, c.rest, c.request_id);
    } else if (!auth_caller(g->plane, x, surface_permission(c.route, g->env.conf, x), c.route->name,
                            &c.caller, &f)) {
        stat_add(g->env.shm, STAT_AUTH_FAILURES, 1);
        surface_fault(&c, &f);
    } else {
        c.route->handler(&c);
    }
}

struct http_header gateway_error_body(struct buf *out, int status, const char *why, struct str path,
                                      void *arg) {
    struct gateway *g = arg;
    struct arena *a = arena_new(0);
    struct fault f;
    stat_add(g->env.shm, STAT_BAD_REQUESTS, 1);
    /* 501 and 505 are the client's fault too. */
    fault_set(&f, a, status == 503 ? FAULT_OVERLOADED : FAULT_BAD_REQUEST, "%s", why);
    f.status = status;
    stat_error(g->env.shm, fault_type(f.cls, false));
    make_id(g->error_id);
    surface_dialect(path)->client->write_fault(out, &f, str_of(g->error_id));
    arena_free(a);
    return (struct http_header){STR("x-request-id"), str_of(g->error_id)};
}
