/* How handlers answer: JSON, plain text, or a fault in the row's dialect. */
#include <inttypes.h>

#include "base/log.h"
#include "http/server.h"
#include "policy/auth.h"
#include "shm/stat.h"
#include "surface/surface.h"

/* The path, and of one who may be here what stands behind it, less the keys that came there by mistake. */
static struct str audited(struct surface_call *c, bool refused) {
    struct exchange *x = c->x;
    struct str target = x->path, rest = x->query, pair;
    const char *mark = "?";
    while (!refused && str_next(&rest, '&', &pair)) {
        struct str left = pair, name;
        str_next(&left, '=', &name);
        bool secret = auth_is_key(c->plane, x, http_query(x->arena, x->query, arena_dupz(x->arena, name)));
        target = arena_printf(x->arena, STR_FMT "%s" STR_FMT "%s", STR_ARG(target), mark,
                              STR_ARG(secret ? name : pair), secret ? "=[SECRET]" : "");
        mark = "&";
    }
    return target;
}

/* Who did what to the gateway, and with which result: what changes something, and whatever was refused. */
void surface_audit(struct surface_call *c, int status) {
    enum { TARGET_MOST = 256 };
    const struct exchange *x = c->x;
    bool reads = x->method == HTTP_GET || x->method == HTTP_HEAD;
    if (!(c->route->permission & PERM_ADMIN) || (reads && status != 401 && status != 403))
        return;
    const struct conf_gateway_key *key = c->caller.key ? c->caller.key : c->caller.refused;
    const struct log_fields about = {.request_id = c->request_id,
                                     .key = key ? str_of(key->id) : STR_NONE,
                                     .tenant = key ? str_of(key->tenant) : STR_NONE,
                                     .peer = x->peer,
                                     .status = status};
    struct str target = audited(c, status == 401 || status == 403);
    log_about(LVL_INFO, "audit", &about, STR_FMT " %.*s", STR_ARG(x->method_name),
              target.n < TARGET_MOST ? (int)target.n : TARGET_MOST, target.p);
}

static void answer(struct surface_call *c, int status, struct str type, struct str body,
                   int64_t retry_after_ms) {
    struct http_header h[4] = {{STR("content-type"), type},
                               {STR("x-request-id"), c->request_id},
                               {STR("cache-control"), STR("no-store")}};
    size_t n = 3;
    if (retry_after_ms >= 0)
        h[n++] = (struct http_header){STR("retry-after"),
                                      arena_printf(c->x->arena, "%" PRId64, (retry_after_ms + 999) / 1000)};
    else if (status == 401)
        h[n++] = (struct http_header){STR("www-authenticate"), STR("Bearer")};
    surface_audit(c, status);
    exchange_reply(c->x, status, h, n, body);
}

void surface_json(struct surface_call *c, int status, struct str json) {
    answer(c, status, STR("application/json"), json, -1);
}

void surface_text(struct surface_call *c, int status, const char *type, struct str text) {
    answer(c, status, str_of(type), text, -1);
}

void surface_fault_as(struct surface_call *c, const struct dialect *d, const struct fault *f) {
    struct buf body;
    stat_error(c->plane->shm, fault_type(f->cls, f->from_provider));
    buf_init(&body, 0);
    d->client->write_fault(&body, f, c->request_id);
    answer(c, fault_status(f), STR("application/json"), buf_str(&body), f->retry_after_ms);
    buf_free(&body);
}

void surface_fault(struct surface_call *c, const struct fault *f) {
    surface_fault_as(c, c->route->dialect, f);
}
