/* The stored gateway keys as a worker knows them: a snapshot that is never changed, read anew when the word in shared
 * memory says that they have been. Requests that began with an older one keep it until they end. */
#ifndef PENSTOCK_POLICY_KEYRING_H
#define PENSTOCK_POLICY_KEYRING_H
#include "policy/plane.h"
#include "store/keys.h"

struct ring_key {
    struct stored_key stored; /* limits as it sets them */
    struct conf_gateway_key effective; /* with auth.default_limits where it sets none */
    uint32_t entity;
    bool shadowed; /* configuration has a key of this id: this one is not asked for */
};
struct keyring; /* sorted by id */
/* As of now. NULL: they cannot be read at the moment (or there is no store yet). Good until the loop turns, unless it is
 * held. */
const struct keyring *keyring_now(struct plane *p);
void keyring_hold(const struct keyring *r, struct arena *a); /* until the arena goes */
uint64_t keyring_generation(const struct keyring *r);
size_t keyring_size(const struct keyring *r);
/* Of a stored key: its own, found or made. SHM_NONE: so many names were made since the gateway started that there is no
 * room; then no further key can be made. Any process. */
uint32_t keyring_entity(struct shm *s, struct str id);
const struct ring_key *keyring_at(const struct keyring *r, size_t i);
const struct ring_key *keyring_by_id(const struct keyring *r, struct str id);
/* By the SHA-256 of what was sent; an old secret only in its grace. */
const struct ring_key *keyring_find(const struct keyring *r, const uint8_t digest[32], int64_t wall_ms);
void keyring_free(struct plane *p); /* of a plane that goes; no request is open any more */
#endif
