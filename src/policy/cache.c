/* The exact cache's decisions. The key is a digest of everything that changes the answer, inside a scope, so
 * that nobody is served what belongs to somebody else; errors and broken answers never get as far as
 * cache_store(). */
#include "policy/cache.h"

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "cache_key.h"
#include "cluster/shelf.h"
#include "policy/semantic.h"
#include "shm/ring.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "store/record.h"

/* A canonical form is sorted at every level: a body of many megabytes would hold the worker up. */
enum { BODY_MAX = 1 << 20 };

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

static bool deterministic(struct str body) {
    struct json_value v;
    double t;
    if (json_member(body, "seed", &v) && v.kind == JSON_NUMBER)
        return true;
    return json_member(body, "temperature", &v) && json_double(v, &t) && t == 0;
}

bool cache_silent(void *arg, unsigned depth, struct str key) {
    static const char *const names[] = {"user",  "metadata",          "routing",
                                        "store", "safety_identifier", "prompt_cache_key"};
    const struct dialect *client = arg;
    struct str own = str_of(client->client->silent), one;
    for (size_t i = 0; depth == 1 && i < sizeof(names) / sizeof(*names); i++)
        if (json_key_is(key, names[i]))
            return true;
    while (depth == 1 && str_next(&own, ',', &one))
        if (str_eq(key, one)) /* one with escapes in it is another */
            return true;
    return false;
}

static struct str scope_of(struct plane *p, struct arena *a, const struct caller *c) {
    switch (p->conf->cache.scope) {
    case CACHE_SCOPE_GLOBAL:
        return STR("g");
    case CACHE_SCOPE_TENANT:
        if (*c->key->tenant && !c->names_tenant)
            return arena_printf(a, "t%s", c->key->tenant);
        break; /* a key without a tenant is alone */
    case CACHE_SCOPE_KEY:
        break;
    }
    if (c->names_tenant)
        return arena_printf(a, "k%s\nt%s", c->key->id, c->key->tenant);
    return arena_printf(a, "k%s", c->key->id);
}

/* Programs ask again with the same bytes: their canonical form need not be made anew. One entry stands for
 * the digest of a body as it came, inside its scope; two bodies never share one. */
enum { MEMO_ENTRIES = 512 };
struct cache_memo {
    struct {
        uint8_t raw[SHA256_SIZE], key[INDEX_KEY];
        bool set;
    } entry[MEMO_ENTRIES];
};

struct cache_memo *cache_memo_new(void) {
    return mem_alloc(sizeof(struct cache_memo));
}

void cache_memo_free(struct cache_memo *m) {
    mem_free(m);
}

/* Whichever of the model's own targets answers. */
static void add_headers(struct arena *a, const struct exchange *x, const struct plan *plan, struct buf *out) {
    for (size_t i = 0; i < plan->own && i < plan->n; i++) {
        struct str rest = str_of(plan->list[i]->provider->conf->kind->answer_headers), name;
        while (str_next(&rest, ',', &name)) {
            buf_adds(out, exchange_header_list(x, a, arena_dupz(a, name)));
            buf_addc(out, '\0');
        }
    }
}

void cache_scope(struct plane *p, struct arena *a, const struct exchange *x, const struct caller *c,
                 const struct dialect *client, const struct ask *ask, const struct plan *plan,
                 struct buf *out) {
    const struct target *t = plan->list[0];
    struct str parts[] = {scope_of(p, a, c), str_of(client->name), plan->asked,
                          str_of(t->provider->conf->name), t->model};
    buf_addc(out, ask->stream ? (ask->array ? 'a' : 's') : 'w'); /* not every dialect has it in the body */
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        buf_adds(out, parts[i]);
        buf_addc(out, '\0');
    }
    add_headers(a, x, plan, out);
}

static bool digest_of(const struct buf *b, uint8_t out[SHA256_SIZE]) {
    if (buf_ok(b))
        sha256(buf_at(b), buf_len(b), out);
    return buf_ok(b);
}

/* false: too large to be worth it. */
static bool cache_key(struct plane *p, struct arena *a, const struct exchange *x, const struct caller *c,
                      const struct dialect *client, const struct ask *ask, const struct plan *plan,
                      uint8_t key[INDEX_KEY]) {
    struct buf text;
    uint8_t raw[SHA256_SIZE];
    buf_init(&text, ask->body.n * 2 + 4096);
    cache_scope(p, a, x, c, client, ask, plan, &text);
    size_t scope = buf_len(&text);
    buf_adds(&text, ask->body);
    bool ok = digest_of(&text, raw);
    unsigned at = ((unsigned)raw[0] << 8 | raw[1]) % MEMO_ENTRIES;
    if (ok && p->memo->entry[at].set && memcmp(p->memo->entry[at].raw, raw, sizeof(raw)) == 0) {
        memcpy(key, p->memo->entry[at].key, INDEX_KEY);
        buf_free(&text);
        return true;
    }
    text.end = text.off + scope;
    json_canonical(ask->body, &text, cache_silent, (void *)client);
    ok = ok && digest_of(&text, key);
    if (ok) {
        memcpy(p->memo->entry[at].raw, raw, sizeof(raw));
        memcpy(p->memo->entry[at].key, key, INDEX_KEY);
        p->memo->entry[at].set = true;
    }
    buf_free(&text);
    return ok;
}

void cache_ticket(struct plane *p, struct arena *a, const struct exchange *x, const struct caller *c,
                  const struct dialect *client, const struct ask *ask, const struct plan *plan,
                  struct cache_ticket *t) {
    *t = (struct cache_ticket){0};
    const struct conf *conf = p->conf;
    if (!conf->cache.enabled || (ask->stream && !conf->cache.stream) ||
        plan->hints->cache.mode == CACHE_MODE_OFF || ask->body.n > BODY_MAX || cache_control(x, "no-store") ||
        (conf->cache.only_deterministic && !deterministic(ask->body)))
        return;
    t->store = cache_key(p, a, x, c, client, ask, plan, t->key);
    t->read = t->store && !cache_control(x, "no-cache");
    t->epoch = shm_cache_epoch(p->shm);
    t->ttl_ms = conf->cache.ttl;
    if (plan->hints->cache.ttl_ms && plan->hints->cache.ttl_ms < t->ttl_ms)
        t->ttl_ms = plan->hints->cache.ttl_ms;
    t->model_hash = hash64(plan->asked.p, plan->asked.n);
    t->owner_hash = hash64(c->key->id, strlen(c->key->id));
}

bool cache_fetch(struct plane *p, struct arena *a, const uint8_t key[INDEX_KEY], struct reply_head *h,
                 struct str *body) {
    return replies_find(a, p->shm, plane_cache(p), key, clock_wall_ms(), h, body);
}

bool cache_find(struct plane *p, struct arena *a, const struct cache_ticket *t, struct reply_head *h,
                struct str *body) {
    return t->read && cache_fetch(p, a, t->key, h, body);
}

/* The index first: the scribe throws away what it does not find there. A reader that comes between the two
 * finds nothing at that place yet, which is a miss. */
static bool keep(struct plane *p, const struct cache_ticket *t, const struct reply_head *h,
                 struct str packed) {
    struct index_entry e = {
        .expires_wall_ms = h->expires_wall_ms,
        .bytes = packed.n,
        .slot = slot_mine(p->shm),
        .model_hash = t->model_hash,
        .owner_hash = t->owner_hash,
        .created_wall_ms = (uint64_t)h->created_wall_ms, /* the same: a reader compares them */
    };
    memcpy(e.key, t->key, INDEX_KEY);
    return ring_where(p->shm, packed.n, &e.pos) && index_put(p->shm, &e, t->epoch, clock_wall_ms()) &&
           ring_put(p->shm, RECORD_REPLY, packed, STR_NONE, NULL);
}

bool cache_adopt(struct plane *p, struct arena *a, const struct cache_ticket *t, struct str value,
                 struct reply_head *h, struct str *body) {
    if (value.n == 0 || shm_cache_epoch(p->shm) != t->epoch || !reply_unpack(a, value, h, body) ||
        memcmp(h->key, t->key, INDEX_KEY) != 0 || h->expires_wall_ms <= clock_wall_ms())
        return false;
    keep(p, t, h, value);
    return true;
}

void cache_store(struct plane *p, const struct cache_ticket *t, struct reply_head *h, struct str body) {
    const struct conf *c = p->conf;
    if (!t->store || body.n == 0 || body.n > c->cache.max_entry || shm_cache_epoch(p->shm) != t->epoch)
        return;
    memcpy(h->key, t->key, INDEX_KEY);
    h->model_hash = t->model_hash;
    h->owner_hash = t->owner_hash;
    h->created_wall_ms = clock_wall_ms();
    h->expires_wall_ms = h->created_wall_ms + (int64_t)t->ttl_ms;
    struct buf packed;
    buf_init(&packed, body.n + 4096);
    reply_pack(&packed, h, body);
    if (buf_ok(&packed) && keep(p, t, h, buf_str(&packed))) {
        stat_add(p->shm, STAT_CACHE_STORES, 1);
        if (p->cluster && c->cluster.cache)
            shelf_put(p->cluster, t->key, buf_str(&packed), t->ttl_ms);
        semantic_store(p, t, h);
    }
    buf_free(&packed);
}
