#include "policy/keyring.h"

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"

enum { RETRY_MS = 100, LOOSE_MOST = KEYS_MOST * 3 / 2 /* names of deleted keys are not forgotten */ };

struct keyring {
    struct arena *arena;
    struct plane *plane;
    unsigned holds;
    uint64_t generation;
    struct ring_key *key;
    size_t n;
    uint32_t *slot; /* by digest: index + 1 of its key; 0: free. A key has two, for the old secret as well */
    size_t mask;
};

/* --- life --- */

static void let_go(void *arg) {
    struct keyring *r = arg;
    if (--r->holds == 0)
        arena_free(r->arena);
}

void keyring_hold(const struct keyring *r, struct arena *a) {
    struct keyring *mine = (struct keyring *)(uintptr_t)r;
    mine->holds++;
    arena_cleanup(a, let_go, mine);
}

void keyring_free(struct plane *p) {
    if (p->ring)
        let_go(p->ring);
    p->ring = NULL;
}

/* --- reading --- */

static bool configured(const struct conf *c, struct str id) {
    for (size_t i = 0; i < c->auth.nkeys; i++)
        if (str_is(id, c->auth.keys[i].id))
            return true;
    return false;
}

static void set_limit(uint64_t *own, uint64_t otherwise) {
    if (*own == KEY_LIMIT_DEFAULT)
        *own = otherwise;
}

static void set_limits(struct conf_rates *r, const struct conf_rates *otherwise) {
    for (size_t i = 0; i < CONF_RATES_N; i++)
        set_limit(&r->rate[i], otherwise->rate[i]);
    set_limit(&r->concurrent, otherwise->concurrent);
}

uint32_t keyring_entity(struct shm *s, struct str id) {
    return shm_entity_loose(s, ENTITY_GATEWAY_KEY, id, LOOSE_MOST);
}

/* Where the table of names is full all that came too late share one, and its limits. */
static uint32_t entity_of(struct plane *p, struct str id) {
    uint32_t e = keyring_entity(p->shm, id);
    return e == SHM_NONE ? p->other_key : e;
}

static bool count_one(void *arg, struct str id, uint64_t version, struct str value) {
    (void)id, (void)version, (void)value;
    ++*(size_t *)arg;
    return true;
}

static bool read_one(void *arg, struct str id, uint64_t version, struct str value) {
    struct keyring *r = arg;
    struct ring_key *k = &r->key[r->n];
    struct str param;
    const char *why = "no JSON object";
    enum json_kind kind;
    stored_key_init(&k->stored);
    if (json_scan(value, &kind, NULL, NULL, NULL) != 0 || kind != JSON_OBJECT ||
        !stored_key_read(r->arena, value, true, &k->stored, &param, &why)) {
        log_event(LVL_ERROR, "store", "the stored key " STR_FMT " cannot be read: %s", STR_ARG(id), why);
        return true;
    }
    k->stored.key.id = arena_dupz(r->arena, id);
    k->stored.version = version;
    k->effective = k->stored.key;
    set_limits(&k->effective.limits, &r->plane->conf->auth.default_limits);
    k->shadowed = configured(r->plane->conf, id);
    k->entity = entity_of(r->plane, id);
    r->n++;
    return true;
}

static size_t slot_of(const struct keyring *r, const uint8_t digest[SHA256_SIZE]) {
    uint64_t h;
    memcpy(&h, digest, sizeof h);
    return (size_t)h & r->mask;
}

static void index_digest(struct keyring *r, const uint8_t digest[SHA256_SIZE], size_t key) {
    size_t at = slot_of(r, digest);
    while (r->slot[at])
        at = (at + 1) & r->mask;
    r->slot[at] = (uint32_t)key + 1;
}

static void index_all(struct keyring *r) {
    size_t slots = 8;
    while (slots < 4 * r->n + 1)
        slots *= 2;
    r->mask = slots - 1;
    r->slot = arena_array(r->arena, slots, sizeof *r->slot);
    for (size_t i = 0; i < r->n; i++) {
        index_digest(r, r->key[i].stored.key.hash, i);
        if (r->key[i].stored.old_until_ms)
            index_digest(r, r->key[i].stored.old_hash, i);
    }
}

/* The generation is read before the keys: they are that new, or newer. */
static struct keyring *load(struct plane *p, struct db *d, uint64_t generation) {
    struct arena *a = arena_new(0);
    struct keyring *r = arena_alloc(a, sizeof *r);
    size_t n = 0;
    *r = (struct keyring){.arena = a, .plane = p, .holds = 1, .generation = generation};
    struct db_txn *t = db_begin(d, false);
    keys_each(t, count_one, &n);
    r->key = arena_array(a, n + 1, sizeof *r->key);
    keys_each(t, read_one, r);
    bool ok = db_txn_trouble(t) == DB_FINE;
    db_end(t);
    if (ok) {
        index_all(r);
        return r;
    }
    arena_free(a);
    return NULL;
}

const struct keyring *keyring_now(struct plane *p) {
    uint64_t generation = shm_keys_generation(p->shm), now;
    if (p->ring && p->ring->generation == generation)
        return p->ring;
    keyring_free(p); /* rather none than yesterday's, of which some may have been revoked */
    now = clock_ms();
    struct db *d = now >= p->ring_retry_ms ? plane_keys(p) : NULL;
    if (d)
        p->ring = load(p, d, generation);
    if (!p->ring && now >= p->ring_retry_ms)
        p->ring_retry_ms = now + RETRY_MS;
    return p->ring;
}

/* --- looking --- */

uint64_t keyring_generation(const struct keyring *r) {
    return r->generation;
}

size_t keyring_size(const struct keyring *r) {
    return r ? r->n : 0;
}

const struct ring_key *keyring_at(const struct keyring *r, size_t i) {
    return &r->key[i];
}

const struct ring_key *keyring_by_id(const struct keyring *r, struct str id) {
    for (size_t i = 0; i < keyring_size(r); i++)
        if (str_is(id, r->key[i].stored.key.id))
            return &r->key[i];
    return NULL;
}

static bool opens(const struct stored_key *k, const uint8_t digest[SHA256_SIZE], int64_t wall_ms) {
    bool is = mem_equal_ct(k->key.hash, digest, SHA256_SIZE);
    bool was = mem_equal_ct(k->old_hash, digest, SHA256_SIZE) && wall_ms < k->old_until_ms;
    return is || was;
}

/* Where the search goes depends on a digest that nobody can choose, so its time tells nothing of the keys. */
const struct ring_key *keyring_find(const struct keyring *r, const uint8_t digest[SHA256_SIZE],
                                    int64_t wall_ms) {
    if (!r)
        return NULL;
    for (size_t at = slot_of(r, digest); r->slot[at]; at = (at + 1) & r->mask) {
        const struct ring_key *k = &r->key[r->slot[at] - 1];
        if (opens(&k->stored, digest, wall_ms) && !k->shadowed)
            return k;
    }
    return NULL;
}
