/* Making the segment, and the table of entities. The table only grows: an entity is an index that stays what
 * it is for the life of the segment, so that processes of all generations mean the same by it. */
#include "base/clock.h"
#include "base/hash.h"
#include "layout.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define SHM_MAGIC   0x6B636F74736E6570U /* "penstock" */
#define SHM_VERSION 1
#define RING_MIN    ((size_t)4 * SHM_PAGE)
#define RING_MAX    ((size_t)1 << 30)

/* --- layout --- */

enum part {
    PART_HEAD,
    PART_SLOTS,
    PART_HASHES,
    PART_HINTS,
    PART_ENTITIES,
    PART_STATES,
    PART_HISTS,
    PART_LEASES,
    PART_AFFINITY,
    PART_GAUGES,
    PART_SHARES,
    PART_PLACES,
    PART_USED,
    PART_SETS,
    PART_CLAIMS,
    PART_VECTOR_PARTS,
    PART_VECTOR_NORMS,
    PART_VECTOR_USED,
    PART_VECTORS,
    PART_VECTOR_BYTES,
    PART_RINGS,
    PARTS
};

struct layout {
    size_t at[PARTS], bytes;
    uint64_t hash;
};

static void layout_of(size_t ring_bytes, struct layout *l) {
    const size_t size[PARTS] = {
        [PART_HEAD] = sizeof(struct shm_head),
        [PART_SLOTS] = SHM_MAX_SLOTS * sizeof(struct shm_slot),
        [PART_HASHES] = SHM_MAX_ENTITIES * sizeof(word),
        [PART_HINTS] = ENTITY_HINTS * sizeof(half),
        [PART_ENTITIES] = SHM_MAX_ENTITIES * sizeof(struct shm_entity),
        [PART_STATES] = SHM_MAX_ENTITIES * sizeof(struct shm_state),
        [PART_HISTS] = SHM_MAX_ENTITIES * HIST_KINDS * sizeof(struct shm_hist),
        [PART_LEASES] = (size_t)SHM_MAX_ENTITIES * BUCKET_KINDS * sizeof(struct shm_lease),
        [PART_AFFINITY] = AFFINITY_PLACES * sizeof(word),
        [PART_GAUGES] = (size_t)SHM_MAX_SLOTS * SHM_MAX_ENTITIES * GAUGE_KINDS * sizeof(half),
        [PART_SHARES] = (size_t)SHM_MAX_SLOTS * SHM_MAX_ENTITIES * sizeof(struct shm_share),
        [PART_PLACES] = QUEUE_PLACES * sizeof(struct shm_place),
        [PART_USED] = INDEX_SETS / 8,
        [PART_SETS] = INDEX_SETS * sizeof(struct shm_set),
        [PART_CLAIMS] = CLAIM_PLACES * sizeof(struct shm_claim),
        [PART_VECTOR_PARTS] = VECTORS_MAX * sizeof(word),
        [PART_VECTOR_NORMS] = VECTORS_MAX * sizeof(half),
        [PART_VECTOR_USED] = VECTORS_MAX * sizeof(half),
        [PART_VECTORS] = VECTORS_MAX * sizeof(struct shm_vector),
        [PART_VECTOR_BYTES] = (size_t)VECTORS_MAX * VECTOR_DIM,
        [PART_RINGS] = SHM_MAX_SLOTS * ring_bytes,
    };
    size_t at = 0;
    for (int i = 0; i < PARTS; i++) {
        l->at[i] = at;
        at += (size[i] + SHM_PAGE - 1) / SHM_PAGE * SHM_PAGE;
    }
    l->bytes = at;
    l->hash = hash64_more(hash64(size, sizeof size), l->at, sizeof l->at);
}

static void layout_apply(struct shm *s, const struct layout *l) {
    s->head = (void *)(s->base + l->at[PART_HEAD]);
    s->slots = (void *)(s->base + l->at[PART_SLOTS]);
    s->entity_hash = (void *)(s->base + l->at[PART_HASHES]);
    s->entity_hint = (void *)(s->base + l->at[PART_HINTS]);
    s->entity = (void *)(s->base + l->at[PART_ENTITIES]);
    s->state = (void *)(s->base + l->at[PART_STATES]);
    s->hist = (void *)(s->base + l->at[PART_HISTS]);
    s->leases = (void *)(s->base + l->at[PART_LEASES]);
    s->affinity = (void *)(s->base + l->at[PART_AFFINITY]);
    s->gauges = (void *)(s->base + l->at[PART_GAUGES]);
    s->shares = (void *)(s->base + l->at[PART_SHARES]);
    s->places = (void *)(s->base + l->at[PART_PLACES]);
    s->set_used = (void *)(s->base + l->at[PART_USED]);
    s->sets = (void *)(s->base + l->at[PART_SETS]);
    s->claims = (void *)(s->base + l->at[PART_CLAIMS]);
    s->vector_part = (void *)(s->base + l->at[PART_VECTOR_PARTS]);
    s->vector_norm = (void *)(s->base + l->at[PART_VECTOR_NORMS]);
    s->vector_used = (void *)(s->base + l->at[PART_VECTOR_USED]);
    s->vector = (void *)(s->base + l->at[PART_VECTORS]);
    s->vector_bytes = (void *)(s->base + l->at[PART_VECTOR_BYTES]);
    s->rings = s->base + l->at[PART_RINGS];
}

/* --- the segment --- */

static void *fail(char err[256], const char *what) {
    snprintf(err, 256, "shared memory: %s: %s", what, strerror(errno));
    return NULL;
}

/* The descriptor is not kept: whoever may use the segment has the mapping, and nobody else shall. */
static void *map_new(size_t bytes, char err[256]) {
    int fd = memfd_create("penstock", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return fail(err, "memfd_create");
    void *base = NULL;
    if (ftruncate(fd, (off_t)bytes) != 0)
        fail(err, "ftruncate");
    else if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        fail(err, "F_ADD_SEALS");
    else if ((base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0)) ==
             MAP_FAILED)
        base = fail(err, "mmap");
    close(fd);
    return base;
}

struct shm *shm_create(size_t ring_bytes, char err[256]) {
    if (ring_bytes < RING_MIN || ring_bytes > RING_MAX || (ring_bytes & (ring_bytes - 1)) != 0) {
        snprintf(err, 256, "shared memory: a ring of %zu bytes: must be a power of two from %zu to %zu",
                 ring_bytes, RING_MIN, RING_MAX);
        return NULL;
    }
    struct layout l;
    layout_of(ring_bytes, &l);
    int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake_fd < 0)
        return fail(err, "eventfd");
    void *base = map_new(l.bytes, err);
    if (!base) {
        close(wake_fd);
        return NULL;
    }
    (void)madvise(base, l.bytes, MADV_DONTDUMP); /* answers and usage of clients have no place in a core */
    struct shm *s = mem_alloc(sizeof *s);
    *s = (struct shm){
        .handle = SHM_HANDLE, .slot = SHM_NONE, .wake_fd = wake_fd, .base = base, .bytes = l.bytes};
    s->ring_bytes = ring_bytes;
    layout_apply(s, &l);
    *s->head =
        (struct shm_head){.magic = SHM_MAGIC, .version = SHM_VERSION, .layout = l.hash, .bytes = l.bytes};
    s->head->started_wall_ms = clock_wall_ms();
    s->head->started_ms = clock_ms();
    while (s->head->instance == 0)
        random_bytes(&s->head->instance, sizeof s->head->instance);
    atomic_store(&s->head->cache_epoch, EPOCH_ALL); /* 0 marks an empty cell of the index ... */
    atomic_store(&s->head->index.walk, 1);          /* ... and a set that was never written */
    atomic_store(&s->head->index.walked, 1);
    return s;
}

void shm_free(struct shm *s) {
    if (!s)
        return;
    MUST(s->handle == SHM_HANDLE);
    munmap(s->base, s->bytes);
    close(s->wake_fd);
    s->handle = 0;
    mem_free(s);
}

uint64_t shm_instance(const struct shm *s) {
    return s->head->instance;
}

uint64_t shm_uptime_ms(const struct shm *s) {
    return clock_ms() - s->head->started_ms;
}

int64_t shm_started_wall_ms(const struct shm *s) {
    return s->head->started_wall_ms;
}

size_t shm_bytes(const struct shm *s) {
    return s->bytes;
}

uint64_t shm_cache_epoch(const struct shm *s) {
    return atomic_load(&s->head->cache_epoch);
}

uint64_t shm_keys_generation(const struct shm *s) {
    return atomic_load(&s->head->keys_generation);
}

void shm_keys_changed(struct shm *s) {
    atomic_fetch_add(&s->head->keys_generation, 1);
}

uint64_t shm_jwks_generation(const struct shm *s) {
    return atomic_load(&s->head->jwks_generation);
}

void shm_jwks_changed(struct shm *s) {
    atomic_fetch_add(&s->head->jwks_generation, 1);
}

void shm_jwks_want(struct shm *s) {
    if (!atomic_load_explicit(&s->head->jwks_wanted, memory_order_relaxed))
        atomic_store(&s->head->jwks_wanted, 1);
}

bool shm_jwks_wanted(struct shm *s) {
    return atomic_exchange(&s->head->jwks_wanted, 0) != 0;
}

/* By chance: two that wait for one another in step, for equal times, would meet again and again. */
void shm_backoff(unsigned tries) {
    enum { SPINS = 8 };
    static uint64_t chance;
    chance = (chance + clock_ns()) * 6364136223846793005U + 1442695040888963407U;
    uint64_t most = UINT64_C(2) << (tries < SPINS ? tries : SPINS);
    for (uint64_t n = (chance >> 33) % most; n > 0; n--)
        cpu_pause();
    if (tries >= SPINS)
        sched_yield();
}

/* --- entities ---
 *
 * The array of hashes is the truth: an entity is claimed by putting its hash into the first cell that is
 * zero. Two processes that make the same entity go through the same cells in the same order, so they meet at
 * the same zero cell, and the one that loses the CAS finds its own hash there: no entity is ever made twice.
 * One killed after the claim leaves a cell without a name; whoever asks for that entity next writes the same
 * name. The hints are a shortcut from a hash to its index. They may be incomplete or hold an index twice; a
 * hint is always checked against the array. */

#define HINT_PROBES 32

static uint32_t hint_find(const struct shm *s, uint64_t hash) {
    for (uint64_t i = 0; i < HINT_PROBES; i++) {
        uint32_t hint =
            atomic_load_explicit(&s->entity_hint[(hash + i) % ENTITY_HINTS], memory_order_acquire);
        if (hint == 0)
            break;
        if (atomic_load_explicit(&s->entity_hash[hint - 1], memory_order_relaxed) == hash)
            return hint - 1;
    }
    return SHM_NONE;
}

static void hint_add(struct shm *s, uint64_t hash, uint32_t entity) {
    for (uint64_t i = 0; i < HINT_PROBES; i++) {
        uint32_t was = 0;
        half *hint = &s->entity_hint[(hash + i) % ENTITY_HINTS];
        if (atomic_compare_exchange_strong_explicit(hint, &was, entity + 1, memory_order_release,
                                                    memory_order_relaxed) ||
            was == entity + 1)
            return;
    }
}

/* An index is only given out when the count covers it: slot_release() looks no further than the count. */
static void cover(half *count, uint32_t at_least) {
    uint32_t n = atomic_load(count);
    while (n < at_least && !atomic_compare_exchange_weak(count, &n, at_least))
        ;
}

static uint32_t entity_claim(struct shm *s, uint64_t hash) {
    for (uint32_t i = 0; i < SHM_MAX_ENTITIES; i++) {
        uint64_t is = atomic_load_explicit(&s->entity_hash[i], memory_order_relaxed);
        if (is == 0 && atomic_compare_exchange_strong(&s->entity_hash[i], &is, hash))
            is = hash;
        if (is == hash) {
            cover(&s->head->entities, i + 1);
            hint_add(s, hash, i);
            return i;
        }
    }
    return SHM_NONE;
}

/* May be done by several at once: they write the same bytes. */
static void entity_publish(struct shm_entity *e, enum entity_kind kind, struct str name) {
    union {
        char z[ENTITY_NAME];
        uint64_t word[ENTITY_NAME / sizeof(uint64_t)];
    } text = {.word = {0}};
    str_copy(text.z, sizeof text.z, name);
    for (size_t i = 0; i < sizeof text.word / sizeof text.word[0]; i++)
        atomic_store_explicit(&e->name[i], text.word[i], memory_order_relaxed);
    atomic_store_explicit(&e->length, (uint32_t)strlen(text.z), memory_order_relaxed);
    atomic_store_explicit(&e->published, (uint32_t)kind, memory_order_release);
}

static uint64_t entity_hash(enum entity_kind kind, struct str name) {
    uint64_t k = (uint64_t)kind;
    return hash64_more(hash64(&k, sizeof k), name.p, name.n);
}

static bool entity_known(struct shm *s, uint64_t hash) {
    if (hint_find(s, hash) != SHM_NONE)
        return true;
    for (uint32_t i = 0; i < shm_entities(s); i++)
        if (atomic_load_explicit(&s->entity_hash[i], memory_order_relaxed) == hash)
            return true;
    return false;
}

uint32_t shm_entity_loose(struct shm *s, enum entity_kind kind, struct str name, uint32_t at_most) {
    if (!entity_known(s, entity_hash(kind, name))) {
        if (atomic_load_explicit(&s->head->loose[kind], memory_order_relaxed) >= at_most)
            return SHM_NONE;
        atomic_fetch_add_explicit(&s->head->loose[kind], 1, memory_order_relaxed);
    }
    return shm_entity(s, kind, name);
}

uint32_t shm_entity(struct shm *s, enum entity_kind kind, struct str name) {
    uint64_t hash = entity_hash(kind, name);
    uint32_t i = hint_find(s, hash);
    if (i == SHM_NONE)
        i = entity_claim(s, hash);
    if (i != SHM_NONE && atomic_load_explicit(&s->entity[i].published, memory_order_relaxed) == 0)
        entity_publish(&s->entity[i], kind, name);
    return i;
}

uint32_t shm_entities(const struct shm *s) {
    return atomic_load(&s->head->entities);
}

bool shm_entity_at(const struct shm *s, uint32_t i, enum entity_kind *kind, struct str *name) {
    if (i >= shm_entities(s))
        return false;
    const struct shm_entity *e = &s->entity[i];
    *kind = (enum entity_kind)atomic_load_explicit(&s->entity[i].published, memory_order_acquire);
    *name = *kind ? str_make((const char *)e->name,
                             atomic_load_explicit(&s->entity[i].length, memory_order_relaxed))
                  : STR_NONE;
    return true;
}
