/* The segment that all processes share: one view of limits, breakers, health, counters, cache index and rings.
 *
 * The master makes it (memfd, sealed against resizing) before the first fork; children inherit the mapping. No pointers inside, no
 * locks: every word is written by one process only, or is one atomic. Nothing a process does when killed at any
 * instruction can wedge the others. State is found by name, so it is kept over reloads and worker deaths.
 *
 * struct shm is the process's handle; the layout is private to src/shm/. */
#ifndef PENSTOCK_SHM_SHM_H
#define PENSTOCK_SHM_SHM_H
#include "base/str.h"

#define SHM_MAX_SLOTS    256  /* workers of all generations alive at once, and the scribe */
#define SHM_MAX_ENTITIES 8192
#define SHM_NONE         UINT32_MAX

struct shm;
/* ring_bytes: of one worker's ring, a power of two (default 8 MiB); pages are only used when touched. */
struct shm *shm_create(size_t ring_bytes, char err[256]);
void shm_free(struct shm *s); /* unmaps; the segment lives while any process maps it */
uint64_t shm_instance(const struct shm *s); /* random, new with each segment: never 0 */
int64_t shm_started_wall_ms(const struct shm *s); /* when the segment was made: when the gateway started */
uint64_t shm_uptime_ms(const struct shm *s); /* since then, whatever was made of the wall clock */
size_t shm_bytes(const struct shm *s);

/* Whatever has limits, a breaker, health or counters of its own. The state below is found by its index. */
enum entity_kind {
    ENTITY_GATEWAY = 1, /* "" */
    ENTITY_GATEWAY_KEY, /* key id */
    ENTITY_PROVIDER,    /* provider name */
    ENTITY_PROVIDER_KEY,/* provider/position or id; state follows the name, not the secret */
    ENTITY_TARGET,      /* provider/model: breaker, health, histograms */
    ENTITY_MODEL,       /* the model name asked for (configured names only: a bounded set) */
    ENTITY_TENANT,      /* its id */
    ENTITY_ENDPOINT,    /* of endpoint_limits: the name of a surface, or a path */
    ENTITY_USER,        /* key id/user, as clients name them */
    ENTITY_KINDS
};
/* Found or made (any process, CAS). SHM_NONE when the table is full: the caller goes without state for it, and every
 * function of this room takes it for an entity without limits that remembers nothing. */
uint32_t shm_entity(struct shm *s, enum entity_kind kind, struct str name);
/* The same for names that clients make up: when `at_most` of this kind have been made this way a new one is
 * SHM_NONE. */
uint32_t shm_entity_loose(struct shm *s, enum entity_kind kind, struct str name, uint32_t at_most);
/* Walks what exists: false when i is past the end. Names are cut at 95 bytes. *kind 0: just being made, skip it. */
bool shm_entity_at(const struct shm *s, uint32_t i, enum entity_kind *kind, struct str *name);
uint32_t shm_entities(const struct shm *s);

/* One word for all workers: bumped when the cache or a part of it is cleared, read before a lookup and checked before a
 * store. */
uint64_t shm_cache_epoch(const struct shm *s);
/* Another: the scribe bumps it when the stored gateway keys have changed, after the commit, and when it starts. 0: no
 * scribe has been there yet. */
uint64_t shm_keys_generation(const struct shm *s);
void shm_keys_changed(struct shm *s);

/* The same for the fetched JWK set (policy/jwks_store.h); and the wish for a new one, of a worker that met a token no key
 * fits. shm_jwks_wanted: the scribe takes it. */
uint64_t shm_jwks_generation(const struct shm *s);
void shm_jwks_changed(struct shm *s);
void shm_jwks_want(struct shm *s);
bool shm_jwks_wanted(struct shm *s);
#endif
