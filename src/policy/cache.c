/* The exact cache's decisions. The key is a digest of everything that changes the answer, inside a scope, so
 * that nobody is served what belongs to somebody else; errors and broken answers never get as far as
 * cache_store(). */
#include "policy/cache.h"

#include "base/clock.h"
#include "base/hash.h"
#include "shm/ring.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "store/record.h"

/* Lines of one name are one list (RFC 9110, 5.3). */
static bool cache_control(const struct exchange *x, const char *token) {
    for (size_t i = 0; i < x->nheaders; i++) {
        struct str rest = x->headers[i].value, one;
        while (str_isi(x->headers[i].name, "cache-control") && str_next(&rest, ',', &one))
            if (str_isi(str_trim(one), token))
                return true;
    }
    return false;
}

/* {"cache":{"mode":"off"}} in the routing hints. */
static bool hint_off(struct str routing) {
    struct json_value v;
    return routing.n && json_path(routing, &v, "cache", "mode", NULL) && json_string_is(v, "off");
}

static bool deterministic(struct str body) {
    struct json_value v;
    double t;
    if (json_member(body, "seed", &v) && v.kind == JSON_NUMBER)
        return true;
    return json_member(body, "temperature", &v) && json_double(v, &t) && t == 0;
}

static bool skip_member(void *arg, unsigned depth, struct str key) {
    static const char *const names[] = {"user",  "metadata",          "routing",
                                        "store", "safety_identifier", "prompt_cache_key"};
    (void)arg;
    for (size_t i = 0; depth == 1 && i < sizeof(names) / sizeof(*names); i++)
        if (json_key_is(key, names[i]))
            return true;
    return false;
}

static struct str scope_of(struct plane *p, struct arena *a, const struct caller *c) {
    switch (p->conf->cache.scope) {
    case CACHE_SCOPE_GLOBAL:
        return STR("g");
    case CACHE_SCOPE_TENANT:
        if (*c->key->tenant)
            return arena_printf(a, "t%s", c->key->tenant);
        break; /* a key without a tenant is alone */
    case CACHE_SCOPE_KEY:
        break;
    }
    return arena_printf(a, "k%s", c->key->id);
}

static void digest(struct plane *p, struct arena *a, const struct caller *c, const struct dialect *client,
                   const struct ask *ask, const struct plan *plan, uint8_t key[INDEX_KEY]) {
    struct buf canon;
    buf_init(&canon, ask->body.n * 2 + 4096);
    const struct target *t = plan->list[0];
    struct str parts[] = {scope_of(p, a, c), str_of(client->name), plan->asked,
                          str_of(t->provider->conf->name), t->model};
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        buf_adds(&canon, parts[i]);
        buf_addc(&canon, '\0');
    }
    json_canonical(ask->body, &canon, skip_member, NULL);
    if (buf_ok(&canon))
        sha256(buf_at(&canon), buf_len(&canon), key);
    else
        random_bytes(key, INDEX_KEY); /* cannot happen within the bound; never a wrong hit */
    buf_free(&canon);
}

void cache_ticket(struct plane *p, struct arena *a, const struct exchange *x, const struct caller *c,
                  const struct dialect *client, const struct ask *ask, const struct plan *plan,
                  struct cache_ticket *t) {
    *t = (struct cache_ticket){0};
    const struct conf *conf = p->conf;
    if (!conf->cache.enabled || (ask->stream && !conf->cache.stream) || hint_off(ask->routing) ||
        cache_control(x, "no-store") || (conf->cache.only_deterministic && !deterministic(ask->body)))
        return;
    t->store = true;
    t->read = !cache_control(x, "no-cache");
    t->epoch = shm_cache_epoch(p->shm);
    t->model_hash = hash64(plan->asked.p, plan->asked.n);
    t->owner_hash = hash64(c->key->id, strlen(c->key->id));
    digest(p, a, c, client, ask, plan, t->key);
}

bool cache_find(struct plane *p, struct arena *a, const struct cache_ticket *t, struct reply_head *h,
                struct str *body) {
    return t->read && replies_find(a, p->shm, plane_cache(p), t->key, clock_wall_ms(), h, body);
}

void cache_store(struct plane *p, const struct cache_ticket *t, struct reply_head *h, struct str body) {
    const struct conf *c = p->conf;
    if (!t->store || body.n == 0 || body.n > c->cache.max_entry || shm_cache_epoch(p->shm) != t->epoch)
        return;
    memcpy(h->key, t->key, INDEX_KEY);
    h->model_hash = t->model_hash;
    h->owner_hash = t->owner_hash;
    h->created_wall_ms = clock_wall_ms();
    h->expires_wall_ms = h->created_wall_ms + (int64_t)c->cache.ttl;
    struct buf packed;
    buf_init(&packed, body.n + 4096);
    reply_pack(&packed, h, body);
    struct index_entry e = {
        .expires_wall_ms = h->expires_wall_ms,
        .bytes = buf_len(&packed),
        .slot = slot_mine(p->shm),
        .model_hash = t->model_hash,
        .owner_hash = t->owner_hash,
        .created_wall_ms = (uint64_t)h->created_wall_ms,
    };
    memcpy(e.key, t->key, INDEX_KEY);
    /* The index first: the scribe throws away what it does not find there. A reader that comes between the
     * two finds nothing at that place yet, which is a miss. */
    if (buf_ok(&packed) && ring_where(p->shm, buf_len(&packed), &e.pos) && index_put(p->shm, &e, t->epoch) &&
        ring_put(p->shm, RECORD_REPLY, buf_str(&packed), STR_NONE, NULL))
        stat_add(p->shm, STAT_CACHE_STORES, 1);
    buf_free(&packed);
}
