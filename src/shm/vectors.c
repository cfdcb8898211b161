/* The table of vectors. What a scan reads lies side by side: partitions, norms, bytes. It takes no heed of
 * writers: it only proposes, and what it proposes is copied under the entry's word and measured once more. An
 * entry's part word is cleared before its other words are changed and set after them; so an entry whose
 * writer was killed is whole or it is none. */
#include "shm/vectors.h"

#include "seqlock.h"

enum {
    TRIES_READ = 8,      /* of an entry that is being written: then it is none */
    TRIES_WRITE = 500,   /* to change one */
    TRIES_WALK = 20000,  /* to clear one: outlasts any writer that is merely not running */
    PLACES_PASSED = 256, /* by the hand, for one new entry */
    ROUNDS = 3,          /* of scans, when what they found was all rotten */
};

static inline uint64_t get(word *w) {
    return atomic_load_explicit(w, memory_order_relaxed);
}

static void put(word *w, uint64_t v) {
    atomic_store_explicit(w, v, memory_order_relaxed);
}

static void get_bytes(word *from, void *to, size_t words) {
    for (size_t i = 0; i < words; i++) {
        uint64_t v = get(&from[i]);
        memcpy((char *)to + i * sizeof v, &v, sizeof v);
    }
}

static void put_bytes(word *to, const void *from, size_t words) {
    for (size_t i = 0; i < words; i++) {
        uint64_t v;
        memcpy(&v, (const char *)from + i * sizeof v, sizeof v);
        put(&to[i], v);
    }
}

enum { KEY_WORDS = INDEX_KEY / sizeof(word), BYTE_WORDS = VECTOR_DIM / sizeof(word) };

static uint64_t part_of(const uint8_t partition[INDEX_KEY]) {
    uint64_t part;
    memcpy(&part, partition, sizeof part);
    return part ? part : 1;
}

static uint32_t high(const struct shm *s) {
    uint32_t n = atomic_load_explicit(&s->head->vector_high, memory_order_acquire);
    return n < VECTORS_MAX ? n : VECTORS_MAX;
}

/* --- one entry --- */

static void copy_out(const struct shm *s, uint32_t i, struct vector_entry *e, struct vector *v) {
    struct shm_vector *m = &s->vector[i];
    get_bytes(m->partition, e->partition, KEY_WORDS);
    get_bytes(m->key, e->key, KEY_WORDS);
    e->expires_wall_ms = (int64_t)get(&m->expires_wall_ms);
    e->created_wall_ms = (int64_t)get(&m->created_wall_ms);
    e->model_hash = get(&m->model_hash);
    e->owner_hash = get(&m->owner_hash);
    get_bytes(s->vector_bytes[i], v->v, BYTE_WORDS);
    uint32_t norm = atomic_load_explicit(&s->vector_norm[i], memory_order_relaxed);
    memcpy(&v->norm, &norm, sizeof norm);
}

/* False: it is none, or somebody writes all the time. */
static bool read_entry(const struct shm *s, uint32_t i, struct vector_entry *e, struct vector *v) {
    word *lock = &s->vector[i].lock;
    for (unsigned n = 0; n < TRIES_READ; n++) {
        uint64_t before = atomic_load_explicit(lock, memory_order_acquire);
        if (seq_free(s, before)) {
            uint64_t part = atomic_load_explicit(&s->vector_part[i], memory_order_acquire);
            copy_out(s, i, e, v);
            atomic_thread_fence(memory_order_acquire);
            if (get(lock) == before)
                return part != 0 && part == part_of(e->partition);
        }
        shm_backoff(n);
    }
    return false;
}

static void empty(struct shm *s, uint32_t i) {
    put(&s->vector_part[i], 0);
    atomic_thread_fence(memory_order_release); /* new words are never seen beside the old part */
}

static void write_entry(struct shm *s, uint32_t i, const struct vector_entry *e, const struct vector *v) {
    struct shm_vector *m = &s->vector[i];
    uint32_t norm;
    empty(s, i);
    put_bytes(m->partition, e->partition, KEY_WORDS);
    put_bytes(m->key, e->key, KEY_WORDS);
    put(&m->expires_wall_ms, (uint64_t)e->expires_wall_ms);
    put(&m->created_wall_ms, (uint64_t)e->created_wall_ms);
    put(&m->model_hash, e->model_hash);
    put(&m->owner_hash, e->owner_hash);
    put_bytes(s->vector_bytes[i], v->v, BYTE_WORDS);
    memcpy(&norm, &v->norm, sizeof norm);
    atomic_store_explicit(&s->vector_norm[i], norm, memory_order_relaxed);
    atomic_store_explicit(&s->vector_used[i], 0, memory_order_relaxed);
    atomic_store_explicit(&s->vector_part[i], part_of(e->partition), memory_order_release);
}

static bool has_key(const struct shm *s, uint32_t i, const uint8_t key[INDEX_KEY]) {
    for (size_t k = 0; k < KEY_WORDS; k++) {
        uint64_t is;
        memcpy(&is, key + k * sizeof is, sizeof is);
        if (get(&s->vector[i].key[k]) != is)
            return false;
    }
    return true;
}

/* --- putting --- */

/* The place that the same answer has already, locked. */
static bool lock_own(struct shm *s, const struct vector_entry *e, uint32_t most, uint32_t *at) {
    uint64_t part = part_of(e->partition);
    for (uint32_t i = 0, n = high(s); i < n && i < most; i++)
        if (get(&s->vector_part[i]) == part && has_key(s, i, e->key)) {
            *at = i;
            return seq_lock(s, &s->vector[i].lock, TRIES_WRITE);
        }
    return false;
}

/* Used, and not expired: it is passed over once. */
static bool spared(struct shm *s, uint32_t i, int64_t wall_ms) {
    return get(&s->vector_part[i]) && (int64_t)get(&s->vector[i].expires_wall_ms) > wall_ms &&
           atomic_exchange_explicit(&s->vector_used[i], 0, memory_order_relaxed);
}

/* Each who comes gets another place; one who stays away from its place for a whole turn of the hand finds it
 * locked, or was killed there. */
static bool lock_next(struct shm *s, int64_t wall_ms, uint32_t most, uint32_t *at) {
    for (unsigned n = 0; n < PLACES_PASSED; n++) {
        *at = (uint32_t)(atomic_fetch_add_explicit(&s->head->vector_hand, 1, memory_order_relaxed) % most);
        if (!spared(s, *at, wall_ms) && seq_lock(s, &s->vector[*at].lock, 1))
            return true;
    }
    return false;
}

static void cover(struct shm *s, uint32_t at_least) {
    uint32_t n = atomic_load(&s->head->vector_high);
    while (n < at_least && !atomic_compare_exchange_weak(&s->head->vector_high, &n, at_least))
        ;
}

bool vectors_put(struct shm *s, const struct vector_entry *e, const struct vector *v, uint32_t most,
                 uint64_t epoch) {
    uint32_t at;
    most = most < VECTORS_MAX ? most : VECTORS_MAX;
    if (most == 0 || shm_cache_epoch(s) != epoch)
        return false;
    if (!lock_own(s, e, most, &at) && !lock_next(s, e->created_wall_ms, most, &at))
        return false;
    cover(s, at + 1); /* before it stands: a clearing that bumps the epoch from here on looks at it */
    write_entry(s, at, e, v);
    bool ok = shm_cache_epoch(s) == epoch;
    if (!ok)
        empty(s, at);
    seq_unlock(&s->vector[at].lock);
    return ok;
}

/* --- finding --- */

struct proposal {
    double similarity;
    uint32_t at;
};

static void propose(struct proposal best[VECTORS_FOUND], size_t *n, double similarity, uint32_t at) {
    size_t i = *n < VECTORS_FOUND ? (*n)++ : VECTORS_FOUND;
    if (i == VECTORS_FOUND && similarity <= best[--i].similarity)
        return;
    for (; i > 0 && best[i - 1].similarity < similarity; i--)
        best[i] = best[i - 1];
    best[i] = (struct proposal){similarity, at};
}

/* Bytes that change meanwhile give a wrong product, which is found out when the entry is read. */
static size_t scan(const struct shm *s, uint64_t part, const struct vector *v, double at_least,
                   struct proposal best[VECTORS_FOUND]) {
    vector_dot_fn *dot = vector_dot();
    size_t found = 0;
    for (uint32_t i = 0, n = high(s); i < n; i++) {
        if (get(&s->vector_part[i]) != part)
            continue;
        uint32_t bits = atomic_load_explicit(&s->vector_norm[i], memory_order_relaxed);
        float norm;
        memcpy(&norm, &bits, sizeof norm);
        double product = (double)dot((const int8_t *)s->vector_bytes[i], v->v);
        if (norm > 0 && product >= at_least * (double)norm * (double)v->norm)
            propose(best, &found, product / ((double)norm * (double)v->norm), i);
    }
    return found;
}

/* The proposals that stand, in their order. */
static size_t confirm(struct shm *s, const struct proposal *p, size_t n, const uint8_t partition[INDEX_KEY],
                      const struct vector *v, double at_least, int64_t wall_ms,
                      struct vector_hit hits[VECTORS_FOUND]) {
    size_t good = 0;
    for (size_t i = 0; i < n; i++) {
        struct vector_hit *h = &hits[good];
        struct vector is;
        if (!read_entry(s, p[i].at, &h->e, &is) || memcmp(h->e.partition, partition, INDEX_KEY) != 0)
            continue;
        h->at = p[i].at;
        h->similarity = vector_cosine(v, &is);
        if (h->e.expires_wall_ms <= wall_ms)
            vectors_drop(s, h);
        else
            good += h->similarity >= at_least;
    }
    return good;
}

size_t vectors_find(struct shm *s, const uint8_t partition[INDEX_KEY], const struct vector *v,
                    double at_least, int64_t wall_ms, struct vector_hit hits[VECTORS_FOUND]) {
    struct proposal best[VECTORS_FOUND];
    at_least -= 1e-6; /* norms are floats */
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t n = scan(s, part_of(partition), v, at_least, best);
        size_t good = confirm(s, best, n, partition, v, at_least, wall_ms, hits);
        if (good || n < VECTORS_FOUND) /* else what is rotten has hidden others */
            return good;
    }
    return 0;
}

void vectors_used(struct shm *s, const struct vector_hit *h) {
    atomic_store_explicit(&s->vector_used[h->at], 1, memory_order_relaxed);
}

void vectors_drop(struct shm *s, const struct vector_hit *h) {
    if (!seq_lock(s, &s->vector[h->at].lock, TRIES_WRITE))
        return;
    if (has_key(s, h->at, h->e.key) &&
        (int64_t)get(&s->vector[h->at].created_wall_ms) == h->e.created_wall_ms)
        empty(s, h->at);
    seq_unlock(&s->vector[h->at].lock);
}

/* --- clearing --- */

static bool matches(struct shm_vector *m, const struct index_filter *f) {
    return (f->model_hash == 0 || get(&m->model_hash) == f->model_hash) &&
           (f->owner_hash == 0 || get(&m->owner_hash) == f->owner_hash) &&
           (f->older_than_wall_ms == 0 || get(&m->created_wall_ms) < f->older_than_wall_ms);
}

uint64_t vectors_clear(struct shm *s, const struct index_filter *f) {
    uint64_t gone = 0;
    for (uint32_t i = 0, n = high(s); i < n; i++) {
        if (!seq_lock(s, &s->vector[i].lock, TRIES_WALK))
            continue;
        if (get(&s->vector_part[i]) && matches(&s->vector[i], f)) {
            empty(s, i);
            gone++;
        }
        seq_unlock(&s->vector[i].lock);
    }
    return gone;
}

uint64_t vectors_count(const struct shm *s) {
    uint64_t n = 0;
    for (uint32_t i = 0, to = high(s); i < to; i++)
        n += get(&s->vector_part[i]) != 0;
    return n;
}
