/* The control plane of a worker: the immutable configuration joined with the shared state it is about. Made
 * after the fork, read by every decision; nothing here changes while the worker lives. */
#ifndef PENSTOCK_POLICY_PLANE_H
#define PENSTOCK_POLICY_PLANE_H
#include "base/loop.h"
#include "conf/conf.h"
#include "dialect/dialect.h"
#include "shm/breaker.h"
#include "shm/shm.h"
#include "store/db.h"
#include "upstream/call.h"

struct plane_key { /* a provider's key */
    const struct conf_key *conf;
    uint32_t entity;
};
struct plane_endpoint { /* what a provider understands: a row of its kind, looked up */
    const struct dialect *dialect;
    const struct kind_endpoint *row;
};
struct plane_provider {
    const struct conf_provider *conf;
    struct plane_endpoint *endpoints; /* in the order of the kind's */
    size_t nendpoints;
    struct upstream *upstream;
    uint32_t entity;       /* limits, counters, histograms, health */
    uint32_t other_target; /* breaker and health of ids that are not configured, when there are too many */
    struct breaker_rule breaker;
    struct plane_key *keys;
    size_t nkeys;
};
struct target { /* a provider and a model there */
    struct plane_provider *provider;
    struct str model;
    uint32_t entity; /* breaker, health, histograms */
    unsigned weight;
    bool first;                    /* of the configured ones that are the same */
    const struct conf_model *conf; /* the configured model it belongs to, or NULL */
    const struct conf_target *tags; /* its tags; never NULL */
};
struct plane_model {
    const struct conf_model *conf;
    struct target *targets;
    size_t ntargets;
    uint32_t entity;
};
struct plane_gateway_key {
    const struct conf_gateway_key *conf;
    uint32_t entity;
};
struct plane_limits { /* of an endpoint or a tenant */
    struct str name;
    const struct conf_rates *rates;
    uint32_t entity;
    unsigned systems; /* an endpoint that means all of them: enum conf_surface */
};
struct budgets;
struct plane_embedder { /* of the semantic cache, where it is a provider */
    struct target target;
    const struct plane_endpoint *endpoint; /* NULL: it has none for embeddings, and nothing is found by meaning */
};
struct price_table;
struct cache_memo;
struct keyring;
struct jwt_keys;

struct cluster;

struct plane {
    struct loop *loop;
    struct cluster *cluster; /* cluster/cluster.h; NULL: this host is alone */
    struct multi *multi;
    struct shm *shm;
    const struct conf *conf;
    struct arena *arena;
    uint32_t gateway;                 /* entity */
    struct plane_provider *providers; /* in the order of conf->providers; disabled ones have upstream NULL */
    size_t nproviders;
    struct plane_model *models;
    size_t nmodels;
    bool *configured; /* by entity: it is a target of the configuration's */
    uint32_t nconfigured;
    struct plane_limits *endpoints, *tenants; /* tenants sorted by name */
    size_t nendpoints, ntenants;
    struct plane_gateway_key *keys; /* in the order of conf->auth.keys */
    size_t nkeys;
    struct conf_gateway_key anonymous; /* the caller when auth.mode is none, and on open surfaces */
    uint32_t anonymous_entity;
    struct keyring *ring; /* the stored keys, keyring.h; it is exchanged when they have changed */
    uint64_t ring_retry_ms;
    uint32_t other_key; /* limits and counters of stored keys that there was no room for */
    struct budgets *budgets; /* use budgets_now() */
    uint64_t budgets_generation;
    struct jwt_keys *jwt; /* NULL: no tokens are taken; use plane_jwt() */
    bool jwt_waits;       /* those of auth.jwt.jwks_url have never been fetched */
    uint64_t jwks_generation;
    struct plane_embedder *embedder; /* NULL: the built-in one */
    struct price_table *prices;
    struct cache_memo *memo;          /* cache.h; changes, too */
    struct db *ledger, *cache, *stored, *logs; /* read-only; use plane_ledger(), plane_cache() ... */
    uint64_t ledger_retry_ms, cache_retry_ms, keys_retry_ms, logs_retry_ms;
};
struct plane *plane_new(struct loop *l, struct multi *m, struct shm *s, const struct conf *c, char err[256]);
void plane_free(struct plane *p);
/* What tokens are checked with now, the fetched JWK set included: until the next call. NULL: no tokens are taken. */
const struct jwt_keys *plane_jwt(struct plane *p);
/* The entity of a configured name, also of one that is longer than the segment keeps. Any process. */
uint32_t plane_entity(struct shm *s, enum entity_kind kind, struct str name);
/* The master, at a reload: provider keys that rest until then are tried again. */
void plane_wake_keys(struct shm *s, const struct conf *c);
/* The store for reading; NULL while the scribe has not made it yet. */
struct db *plane_ledger(struct plane *p);
struct db *plane_cache(struct plane *p);
struct db *plane_keys(struct plane *p);
struct db *plane_logs(struct plane *p);
/* Where a client's request for this model goes: the endpoint of its own dialect, else the first of the same operation
 * that can be translated to; NULL: this provider has none. */
const struct plane_endpoint *plane_endpoint(const struct plane_provider *pr, const struct dialect *client,
                                            struct str model);
struct plane_provider *plane_provider(struct plane *p, struct str name); /* enabled ones only; aliases too */
/* The entity of a target that no configured model names: its own for the first some hundred ids that clients come up with,
 * then one for all the others of a provider. Their number must not fill the shared table. */
uint32_t plane_loose_target(struct plane *p, struct arena *a, const struct plane_provider *pr, struct str model);
bool plane_drained(const struct plane *p, const struct plane_provider *pr); /* by hand, until it is enabled */
struct plane_model *plane_model(struct plane *p, struct str name);
/* The first configured model whose name has a star that stands for a part of `name`: *star. None for a name with control
 * characters. */
struct plane_model *plane_wildcard(struct plane *p, struct str name, struct str *star);
const struct plane_limits *plane_tenant(const struct plane *p, struct str id); /* NULL: not configured */
/* The entity of a user that a key's requests name: their own for the first some thousand, then one that they share
 * with a few others, so that made-up names neither fill the shared table nor escape from the limits. */
uint32_t plane_user(struct plane *p, struct arena *a, struct str key, struct str user);
/* The same of whoever comes with a token, by the id that stands for a key's. */
uint32_t plane_subject(struct plane *p, struct arena *a, struct str id);
/* Whose text a target's is for shm/tokens.h: the configured model's, else its own. */
uint32_t plane_text_entity(const struct plane *p, const struct target *t);
#endif
