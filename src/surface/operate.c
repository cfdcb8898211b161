/* POST /admin/v1/providers/{id}/...: what an operator does to a provider by hand. It lies in shared memory:
 * at once for all workers, kept over reloads and their deaths, forgotten when the gateway itself is started
 * anew. */
#include "body.h"
#include "http/server.h"
#include "providers.h"
#include "shm/bucket.h"
#include "surface/surface.h"

enum { WEIGHT_MOST = 10000 };

static struct plane_provider *find(struct surface_call *c, struct str name) {
    struct plane_provider *pr = provider_named(c->plane, name);
    if (pr)
        return pr;
    struct fault f;
    fault_set(&f, c->x->arena, FAULT_BAD_REQUEST, "There is no such provider.");
    f.status = 404;
    surface_fault(c, &f);
    return NULL;
}

static void answer(struct surface_call *c, const struct plane_provider *pr) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    provider_write(c->plane, &w, pr);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

void surface_provider_drain(struct surface_call *c) {
    struct plane_provider *pr = find(c, c->rest);
    if (!pr)
        return;
    rest_until(c->plane->shm, pr->entity, UINT64_MAX);
    answer(c, pr);
}

void surface_provider_enable(struct surface_call *c) {
    struct plane_provider *pr = find(c, c->rest);
    if (!pr)
        return;
    rest_clear(c->plane->shm, pr->entity);
    answer(c, pr);
}

static void reset_targets(struct shm *s, const char *provider) {
    enum entity_kind kind;
    struct str name;
    size_t n = strlen(provider);
    for (uint32_t e = 0; shm_entity_at(s, e, &kind, &name); e++)
        if (kind == ENTITY_TARGET && name.n > n && str_starts(name, provider) && name.p[n] == '/') {
            breaker_reset(s, e);
            rest_clear(s, e);
        }
}

void surface_provider_reset(struct surface_call *c) {
    struct plane_provider *pr = find(c, c->rest);
    if (!pr)
        return;
    reset_targets(c->plane->shm, pr->conf->name);
    for (size_t i = 0; i < pr->nkeys; i++)
        rest_clear(c->plane->shm, pr->keys[i].entity);
    answer(c, pr);
}

/* --- {id}/keys/{key}/weight; a key's own id may have a slash in it --- */

static struct plane_key *find_key(struct surface_call *c, struct plane_provider *pr, struct str id) {
    for (size_t i = 0; i < pr->nkeys; i++)
        if (str_is(id, pr->keys[i].conf->id))
            return &pr->keys[i];
    struct fault f;
    fault_set(&f, c->x->arena, FAULT_BAD_REQUEST, "The provider has no such key.");
    f.status = 404;
    surface_fault(c, &f);
    return NULL;
}

static void set_weight(struct surface_call *c, struct str json) {
    static const char *const names[] = {"weight", NULL};
    const struct str between = STR("/keys/"), rest = http_unescape(c->x->arena, c->rest);
    ptrdiff_t at = str_find(rest, between);
    struct plane_provider *pr = find(c, at < 0 ? STR_NONE : str_make(rest.p, (size_t)at));
    struct plane_key *k = pr ? find_key(c, pr, str_skip(rest, (size_t)at + between.n)) : NULL;
    struct json_value v;
    uint64_t weight = 0;
    if (!k || !body_names(c, json, names))
        return;
    bool null = json_member(json, "weight", &v) && v.kind == JSON_NULL;
    if (!null &&
        (!json_member(json, "weight", &v) || !json_u64(v, &weight) || weight < 1 || weight > WEIGHT_MOST)) {
        body_wrong(c, STR("weight"), "expected a number from 1 to 10000, or null: as configured");
        return;
    }
    weight_set(c->plane->shm, k->entity, (uint32_t)weight);
    answer(c, pr);
}

void surface_provider_weight(struct surface_call *c) {
    body_read(c, set_weight);
}
