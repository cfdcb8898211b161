/* Joins the configuration with the shared state: every name that has limits, a breaker or counters is looked
 * up in the segment once, here, so that a request only deals in indexes. */
#include "policy/plane.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "cluster/cluster.h"
#include "policy/budget.h"
#include "policy/cache.h"
#include "policy/jwks_store.h"
#include "policy/jwt.h"
#include "policy/keyring.h"
#include "policy/price.h"
#include "policy/route.h"
#include "shm/bucket.h"
#include "store/ledger.h"
#include "store/logs.h"
#include "store/replies.h"

static struct breaker_rule breaker_rule_of(const struct conf_breaker *b) {
    return (struct breaker_rule){
        .consecutive_failures = b->consecutive_failures,
        .error_rate = b->error_rate,
        .window_ms = b->window,
        .min_requests = b->min_requests,
        .open_for_ms = b->open_for,
        .max_open_for_ms = b->max_open_for,
        .half_open_probes = b->half_open_probes,
    };
}

/* The segment keeps 95 bytes of a name. A longer one ends in its hash, so that no two are shown alike. */
enum { NAME_KEPT = 95, NAME_HASH = 17 };

static struct str name_cut(struct str name, char cut[NAME_KEPT + 1]) {
    if (name.n <= NAME_KEPT)
        return name;
    str_copy(cut, NAME_KEPT - NAME_HASH + 1, name);
    size_t n = strlen(cut);
    snprintf(cut + n, NAME_KEPT + 1 - n, "~%016" PRIx64, hash64(name.p, name.n));
    return str_of(cut);
}

uint32_t plane_entity(struct shm *s, enum entity_kind kind, struct str name) {
    char cut[NAME_KEPT + 1];
    return shm_entity(s, kind, name_cut(name, cut));
}

uint32_t plane_loose_target(struct plane *p, struct arena *a, const struct plane_provider *pr,
                            struct str model) {
    enum { AT_MOST = 512 };
    char cut[NAME_KEPT + 1];
    struct str name = arena_printf(a, "%s/" STR_FMT, pr->conf->name, STR_ARG(model));
    uint32_t e = shm_entity_loose(p->shm, ENTITY_TARGET, name_cut(name, cut), AT_MOST);
    return e == SHM_NONE ? pr->other_target : e;
}

/* When there are too many, several share one. */
static uint32_t user_entity(struct plane *p, struct str name) {
    enum { AT_MOST = 2048, SHARED = 512 };
    char cut[NAME_KEPT + 1];
    uint32_t e = shm_entity_loose(p->shm, ENTITY_USER, name_cut(name, cut), AT_MOST);
    if (e != SHM_NONE)
        return e;
    snprintf(cut, sizeof cut, "~%u", (unsigned)(hash64(name.p, name.n) % SHARED));
    return shm_entity(p->shm, ENTITY_USER, str_of(cut));
}

uint32_t plane_user(struct plane *p, struct arena *a, struct str key, struct str user) {
    return user_entity(p, arena_printf(a, STR_FMT "/" STR_FMT, STR_ARG(key), STR_ARG(user)));
}

uint32_t plane_subject(struct plane *p, struct arena *a, struct str id) {
    return user_entity(p, arena_printf(a, "/" STR_FMT, STR_ARG(id))); /* no user of a key begins with that */
}

static uint32_t target_entity(struct plane *p, const char *provider, const char *model) {
    return plane_entity(p->shm, ENTITY_TARGET, arena_printf(p->arena, "%s/%s", provider, model));
}

static void provider_keys_init(struct plane *p, struct plane_provider *pr, const struct conf_provider *c) {
    MUST(c->nkeys <= CONF_MAX_KEYS);
    pr->nkeys = c->nkeys;
    pr->keys = arena_array(p->arena, pr->nkeys + 1, sizeof(*pr->keys));
    for (size_t i = 0; i < pr->nkeys; i++) {
        struct plane_key *k = &pr->keys[i];
        k->conf = &c->keys[i];
        k->entity = plane_entity(p->shm, ENTITY_PROVIDER_KEY, str_of(c->keys[i].id));
    }
}

static void endpoints_init(struct plane *p, struct plane_provider *pr, const struct provider_kind *k) {
    size_t n = 0;
    while (k->endpoints[n].dialect)
        n++;
    pr->endpoints = arena_array(p->arena, n, sizeof(*pr->endpoints));
    pr->nendpoints = n;
    for (size_t i = 0; i < n; i++) {
        pr->endpoints[i].row = &k->endpoints[i];
        pr->endpoints[i].dialect = dialect_by_name(str_of(k->endpoints[i].dialect));
        MUST(pr->endpoints[i].dialect != NULL && pr->endpoints[i].dialect->provider != NULL);
    }
}

static bool provider_init(struct plane *p, struct plane_provider *pr, const struct conf_provider *c,
                          char err[256]) {
    pr->conf = c;
    pr->breaker = breaker_rule_of(&c->breaker);
    pr->entity = plane_entity(p->shm, ENTITY_PROVIDER, str_of(c->name));
    pr->other_target = target_entity(p, c->name, "*");
    provider_keys_init(p, pr, c);
    if (!c->enabled)
        return true;
    endpoints_init(p, pr, c->kind);
    pr->upstream = upstream_new(p->multi, c, err);
    return pr->upstream != NULL;
}

static void model_init(struct plane *p, struct plane_model *m, const struct conf_model *c) {
    m->conf = c;
    m->entity = plane_entity(p->shm, ENTITY_MODEL, str_of(c->name));
    m->targets = arena_array(p->arena, c->ntargets + 1, sizeof(*m->targets));
    for (size_t i = 0; i < c->ntargets; i++) {
        const struct conf_target *t = &c->targets[i];
        struct plane_provider *pr = &p->providers[t->provider_index];
        if (!pr->upstream) /* disabled: known, not used */
            continue;
        m->targets[m->ntargets++] = (struct target){
            .provider = pr,
            .model = str_of(t->model),
            .entity = target_entity(p, pr->conf->name, t->model),
            .weight = t->weight ? t->weight : 1,
            .conf = c,
            .tags = t,
        };
    }
    if (m->ntargets > PLAN_MAX)
        log_event(LVL_WARN, "config", "%s: only the first %d of its %zu targets are used", c->name, PLAN_MAX,
                  m->ntargets);
}

/* Which targets are one and the same, for those who walk them all. */
static void targets_mark(struct plane *p) {
    p->nconfigured = shm_entities(p->shm);
    p->configured = arena_array(p->arena, (size_t)p->nconfigured + 1, sizeof(*p->configured));
    for (size_t m = 0; m < p->nmodels; m++)
        for (size_t i = 0; i < p->models[m].ntargets; i++) {
            struct target *t = &p->models[m].targets[i];
            bool known = t->entity < p->nconfigured; /* not where the segment had no room for it */
            t->first = !known || !p->configured[t->entity];
            if (known)
                p->configured[t->entity] = true;
        }
}

static int compare(struct str a, struct str b) {
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int by_name(const void *a, const void *b) {
    return compare(((const struct plane_limits *)a)->name, ((const struct plane_limits *)b)->name);
}

static int is_named(const void *name, const void *l) {
    return compare(*(const struct str *)name, ((const struct plane_limits *)l)->name);
}

const struct plane_limits *plane_tenant(const struct plane *p, struct str id) {
    return id.n ? bsearch(&id, p->tenants, p->ntenants, sizeof(*p->tenants), is_named) : NULL;
}

static struct plane_limits limits_of(struct plane *p, enum entity_kind kind, const char *name,
                                     const struct conf_rates *rates) {
    return (struct plane_limits){str_of(name), rates, plane_entity(p->shm, kind, str_of(name)),
                                 kind == ENTITY_ENDPOINT ? conf_surface_of(str_of(name)) : 0};
}

static void limits_init(struct plane *p) {
    const struct conf *c = p->conf;
    p->endpoints = arena_array(p->arena, c->nendpoint_limits + 1, sizeof(*p->endpoints));
    for (size_t i = 0; i < c->nendpoint_limits; i++)
        p->endpoints[p->nendpoints++] =
            limits_of(p, ENTITY_ENDPOINT, c->endpoint_limits[i].endpoint, &c->endpoint_limits[i].limits);
    p->tenants = arena_array(p->arena, c->ntenants + 1, sizeof(*p->tenants));
    for (size_t i = 0; i < c->ntenants; i++)
        p->tenants[p->ntenants++] = limits_of(p, ENTITY_TENANT, c->tenants[i].id, &c->tenants[i].limits);
    qsort(p->tenants, p->ntenants, sizeof(*p->tenants), by_name);
}

static void embedder_init(struct plane *p) {
    const struct conf *c = p->conf;
    if (!c->cache.semantic.enabled || c->cache.semantic.nembedder == 0 ||
        !*c->cache.semantic.embedder->provider)
        return;
    struct plane_embedder *e = p->embedder = arena_alloc(p->arena, sizeof(*e));
    struct target *t = &e->target;
    t->provider = plane_provider(p, str_of(c->cache.semantic.embedder->provider));
    MUST(t->provider != NULL); /* checked when the configuration was read */
    t->model = str_of(c->cache.semantic.embedder->model);
    t->entity = target_entity(p, t->provider->conf->name, c->cache.semantic.embedder->model);
    for (size_t m = 0; m < p->nmodels; m++) /* for its prices */
        for (size_t i = 0; i < p->models[m].ntargets; i++)
            if (p->models[m].targets[i].entity == t->entity && !t->conf)
                t->conf = p->models[m].conf;
    e->endpoint = plane_endpoint(t->provider, &dialect_openai_embeddings, t->model);
    if (!e->endpoint)
        log_event(LVL_WARN, "config", "cache.semantic.embedder: %s has no embeddings",
                  t->provider->conf->name);
}

static void keys_init(struct plane *p) {
    const struct conf *c = p->conf;
    p->nkeys = c->auth.nkeys;
    p->keys = arena_array(p->arena, p->nkeys + 1, sizeof(*p->keys));
    for (size_t i = 0; i < p->nkeys; i++) {
        p->keys[i].conf = &c->auth.keys[i];
        p->keys[i].entity = plane_entity(p->shm, ENTITY_GATEWAY_KEY, str_of(c->auth.keys[i].id));
    }
    p->anonymous = (struct conf_gateway_key){
        .id = "anonymous",
        .owner = "",
        .tenant = "",
        .permissions = PERM_COMPLETION | PERM_EMBEDDING | (c->auth.mode == AUTH_NONE ? PERM_ADMIN : 0),
        .limits = c->auth.default_limits,
    };
    p->other_key = plane_entity(p->shm, ENTITY_GATEWAY_KEY, STR("*"));
    p->anonymous_entity = plane_entity(p->shm, ENTITY_GATEWAY_KEY, STR("anonymous"));
}

/* What tokens are checked with; a key that is none is told of here, since conf/ knows no cryptography. */
static bool add_configured(struct jwt_keys *k, const struct conf *c, char err[256]) {
    const char *why = "";
    if (*c->auth.jwt.secret.text && !jwt_add_secret(k, str_of(c->auth.jwt.secret.text), &why)) {
        snprintf(err, 256, "auth.jwt.secret: %s", why);
        return false;
    }
    for (size_t i = 0; i < c->auth.jwt.nkey_files; i++)
        if (!jwt_add_pem(k, c->auth.jwt.keys[i], &why)) {
            snprintf(err, 256, "auth.jwt.public_keys: %.120s: %s", c->auth.jwt.key_files[i], why);
            return false;
        }
    if (*c->auth.jwt.jwks_file && !jwks_parse(k, c->auth.jwt.jwks, &why)) {
        snprintf(err, 256, "auth.jwt.jwks_file: %.120s: %s", c->auth.jwt.jwks_file, why);
        return false;
    }
    return true;
}

/* The scribe has looked at it: what cannot be read now is read with its next change. */
static bool add_fetched(struct jwt_keys *k, const struct conf *c) {
    struct buf text;
    const char *why = "it cannot be read";
    if (!*c->auth.jwt.jwks_url)
        return true;
    bool there = jwks_stored(c, &text);
    if (there && !jwks_parse(k, buf_str(&text), &why))
        log_event(LVL_WARN, "jwks", "the stored JWK set of auth.jwt.jwks_url: %s", why);
    buf_wipe(&text);
    return there;
}

static bool jwt_init(struct plane *p, char err[256]) {
    const struct conf *c = p->conf;
    if (c->auth.mode != AUTH_JWT && c->auth.mode != AUTH_KEYS_JWT)
        return true;
    p->jwks_generation = shm_jwks_generation(p->shm); /* before it is read */
    p->jwt = jwt_keys_new();
    if (!add_configured(p->jwt, c, err))
        return false;
    p->jwt_waits = !add_fetched(p->jwt, c);
    return true;
}

const struct jwt_keys *plane_jwt(struct plane *p) {
    char err[256];
    struct jwt_keys *old = p->jwt;
    if (!old || shm_jwks_generation(p->shm) == p->jwks_generation)
        return old;
    if (jwt_init(p, err)) { /* as it was at the start but for what was fetched */
        jwt_keys_free(old);
        return p->jwt;
    }
    jwt_keys_free(p->jwt);
    return p->jwt = old;
}

struct plane *plane_new(struct loop *l, struct multi *m, struct shm *s, const struct conf *c, char err[256]) {
    struct arena *a = arena_new(16 << 10);
    struct plane *p = arena_alloc(a, sizeof(*p));
    *p = (struct plane){.loop = l, .multi = m, .shm = s, .conf = c, .arena = a};
    p->gateway = shm_entity(s, ENTITY_GATEWAY, STR(""));
    if (c->cache.enabled)
        p->memo = cache_memo_new();
    p->prices = price_table_new(c->prices_file, err);
    bool ok = p->prices != NULL && jwt_init(p, err);
    p->nproviders = c->nproviders;
    p->providers = arena_array(a, c->nproviders + 1, sizeof(*p->providers));
    for (size_t i = 0; ok && i < c->nproviders; i++)
        ok = provider_init(p, &p->providers[i], &c->providers[i], err);
    if (!ok) {
        plane_free(p);
        return NULL;
    }
    p->nmodels = c->nmodels;
    p->models = arena_array(a, c->nmodels + 1, sizeof(*p->models));
    for (size_t i = 0; i < c->nmodels; i++)
        model_init(p, &p->models[i], &c->models[i]);
    targets_mark(p);
    embedder_init(p);
    limits_init(p);
    keys_init(p);
    p->cluster = cluster_new(l, s, c, false);
    return p;
}

void plane_free(struct plane *p) {
    if (!p)
        return;
    cluster_free(p->cluster);
    for (size_t i = 0; p->providers && i < p->nproviders; i++)
        if (p->providers[i].upstream)
            upstream_free(p->providers[i].upstream);
    if (p->ledger)
        db_close(p->ledger);
    if (p->cache)
        db_close(p->cache);
    if (p->stored)
        db_close(p->stored);
    budgets_free(p->budgets);
    keyring_free(p);
    jwt_keys_free(p->jwt);
    if (p->logs)
        db_close(p->logs);
    price_table_free(p->prices);
    cache_memo_free(p->memo);
    arena_free(p->arena);
}

void plane_wake_keys(struct shm *s, const struct conf *c) {
    for (size_t i = 0; i < c->nproviders; i++)
        for (size_t k = 0; k < c->providers[i].nkeys; k++) {
            uint32_t e = plane_entity(s, ENTITY_PROVIDER_KEY, str_of(c->providers[i].keys[k].id));
            if (rest_left_ns(s, e, clock_ns()) == UINT64_MAX)
                rest_clear(s, e);
        }
}

/* The scribe may not have made the store yet: tried again, but not at every request. */
static struct db *store_open(struct plane *p, struct db **d, uint64_t *retry_ms, const char *name,
                             const char *const *tables) {
    uint64_t now = clock_ms();
    if (*d || now < *retry_ms)
        return *d;
    char err[256];
    struct arena *a = arena_new(0);
    const char *dir = arena_printf(a, "%s/%s", p->conf->state_dir, name).p;
    *d = db_open(dir, DB_READ, 0, tables, err);
    if (!*d)
        *retry_ms = now + 100;
    arena_free(a);
    return *d;
}

struct db *plane_ledger(struct plane *p) {
    return store_open(p, &p->ledger, &p->ledger_retry_ms, "ledger", ledger_tables);
}

struct db *plane_cache(struct plane *p) {
    return store_open(p, &p->cache, &p->cache_retry_ms, "cache", replies_tables);
}

struct db *plane_keys(struct plane *p) {
    return store_open(p, &p->stored, &p->keys_retry_ms, "keys", keys_tables);
}

struct db *plane_logs(struct plane *p) {
    return store_open(p, &p->logs, &p->logs_retry_ms, "logs", logs_tables);
}

static bool is_for(const char *models, struct str model) {
    struct str list = str_of(models), pattern;
    while (str_next(&list, ',', &pattern))
        if (str_glob(pattern, model))
            return true;
    return false;
}

const struct plane_endpoint *plane_endpoint(const struct plane_provider *pr, const struct dialect *client,
                                            struct str model) {
    const struct plane_endpoint *other = NULL;
    for (size_t i = 0; i < pr->nendpoints; i++) {
        const struct plane_endpoint *e = &pr->endpoints[i];
        if (e->dialect->op != client->op || (e->row->models && !is_for(e->row->models, model)))
            continue;
        if (e->dialect == client)
            return e;
        const struct provider_face *face = e->dialect->provider;
        if (!other && (client->op == OP_EMBED ? face->write_embed != NULL : face->write_request != NULL))
            other = e;
    }
    return other;
}

struct plane_provider *plane_provider(struct plane *p, struct str name) {
    for (size_t i = 0; i < p->nproviders; i++) /* an own name comes before a kind's alias */
        if (p->providers[i].upstream && kind_name_eq(str_of(p->providers[i].conf->name), name))
            return &p->providers[i];
    for (size_t i = 0; i < p->nproviders; i++) {
        const struct provider_kind *k = p->providers[i].conf->kind;
        if (p->providers[i].upstream && k->alias && kind_name_eq(str_of(k->alias), name))
            return &p->providers[i];
    }
    return NULL;
}

bool plane_drained(const struct plane *p, const struct plane_provider *pr) {
    return rest_left_ns(p->shm, pr->entity, clock_coarse_ns()) > 0;
}

struct plane_model *plane_model(struct plane *p, struct str name) {
    const struct conf_model *m = conf_model(p->conf, name);
    return m ? &p->models[m - p->conf->models] : NULL;
}

uint32_t plane_text_entity(const struct plane *p, const struct target *t) {
    return t->conf ? p->models[t->conf - p->conf->models].entity : t->entity;
}

struct plane_model *plane_wildcard(struct plane *p, struct str name, struct str *star) {
    if (!str_plain(name))
        return NULL;
    for (size_t i = 0; i < p->nmodels; i++) {
        const char *pattern = p->models[i].conf->name, *at = strchr(pattern, '*');
        size_t before = at ? (size_t)(at - pattern) : 0, behind = at ? strlen(at + 1) : 0;
        if (!at || name.n < before + behind || memcmp(name.p, pattern, before) != 0 ||
            !str_ends(name, at + 1))
            continue;
        *star = str_make(name.p + before, name.n - before - behind);
        return &p->models[i];
    }
    return NULL;
}
