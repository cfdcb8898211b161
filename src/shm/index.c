/* The index of the response cache: sets of eight entries, a writer's word for each set (seqlock.h), readers
 * that copy and check. When a writer dies nothing is to be repaired: an entry's `live` word is cleared before
 * its other words are changed and set after them, so an entry is whole or it is none. */
#include "base/clock.h"
#include "base/hash.h"
#include "seqlock.h"

#define TRIES_FIND 8   /* to find something: then it is a miss */
#define TRIES_PUT  500 /* to change one entry: some hundred microseconds, then it is not cached */
#define TRIES_WALK                                                                                           \
    20000 /* to change what must be changed: outlasts any writer that is merely not running                  \
           */

static bool set_lock(struct shm *s, struct shm_set *set, unsigned tries) {
    return seq_lock(s, &set->lock, tries);
}

static void set_unlock(struct shm_set *set) {
    seq_unlock(&set->lock);
}

/* --- which sets there are --- */

static uint64_t key_word(const uint8_t key[INDEX_KEY], int i) {
    uint64_t w;
    memcpy(&w, key + (size_t)i * sizeof w, sizeof w);
    return w;
}

static uint32_t set_number(const uint8_t key[INDEX_KEY]) {
    return (uint32_t)(key_word(key, 0) % INDEX_SETS);
}

static uint32_t tag_of(const uint8_t key[INDEX_KEY]) {
    return (uint32_t)key_word(key, 1);
}

/* To look into a page is to make it: sets that were never written are left alone. */
static bool set_known(const struct shm *s, uint32_t n) {
    return atomic_load(&s->set_used[n / 64]) >> (n % 64) & 1;
}

/* Before the epoch or the walk is read: see index_clear() and index_recount(). */
static void set_make_known(struct shm *s, uint32_t n) {
    if (!set_known(s, n))
        atomic_fetch_or(&s->set_used[n / 64], (uint64_t)1 << (n % 64));
}

/* The next known set from n on, or INDEX_SETS. */
static uint32_t set_next(const struct shm *s, uint32_t n) {
    while (n < INDEX_SETS) {
        uint64_t rest = atomic_load(&s->set_used[n / 64]) >> (n % 64);
        if (rest)
            return n + (uint32_t)__builtin_ctzll(rest);
        n = (n / 64 + 1) * 64;
    }
    return INDEX_SETS;
}

/* --- entries. Words are relaxed: the set's word and `live` order them --- */

static uint64_t get(word *w) {
    return atomic_load_explicit(w, memory_order_relaxed);
}

/* What the `live` word of an entry must be: the part of the epoch that only clearing everything bumps. */
static uint64_t era_of(uint64_t epoch) {
    return epoch / EPOCH_ALL;
}

static uint64_t era_now(const struct shm *s) {
    return era_of(shm_cache_epoch(s));
}

static bool is_live(uint64_t live, uint64_t era) {
    return live == era || live == ERA_KEPT;
}

static bool cell_lives(struct shm_cell *c, uint64_t era) {
    return is_live(get(&c->live), era);
}

static void put(word *w, uint64_t v) {
    atomic_store_explicit(w, v, memory_order_relaxed);
}

#define PLACE_STORED ((uint64_t)1 << 32)

static void cell_read(struct shm_cell *c, struct index_entry *out) {
    for (int i = 0; i < INDEX_KEY / 8; i++) {
        uint64_t w = get(&c->key[i]);
        memcpy(out->key + (size_t)i * sizeof w, &w, sizeof w);
    }
    uint64_t place = get(&c->place);
    out->kept = get(&c->live) == ERA_KEPT;
    out->stored = (place & PLACE_STORED) != 0;
    out->slot = (uint32_t)place;
    out->pos = get(&c->pos);
    out->bytes = get(&c->bytes);
    out->expires_wall_ms = (int64_t)get(&c->expires_wall_ms);
    out->model_hash = get(&c->model_hash);
    out->owner_hash = get(&c->owner_hash);
    out->created_wall_ms = get(&c->created_wall_ms);
}

static bool cell_is(struct shm_cell *c, const uint8_t key[INDEX_KEY]) {
    for (int i = 0; i < INDEX_KEY / 8; i++) {
        if (get(&c->key[i]) != key_word(key, i))
            return false;
    }
    return true;
}

static bool cell_expired(struct shm_cell *c, int64_t wall_ms) {
    return (int64_t)get(&c->expires_wall_ms) <= wall_ms;
}

/* The entry of this key in a set: its way, or -1. */
static int set_find(struct shm_set *st, const uint8_t key[INDEX_KEY], uint64_t era) {
    for (int i = 0; i < INDEX_WAYS; i++) {
        if (atomic_load_explicit(&st->tag[i], memory_order_relaxed) != tag_of(key))
            continue;
        struct shm_cell *c = &st->cell[i];
        if (is_live(atomic_load_explicit(&c->live, memory_order_acquire), era) && cell_is(c, key))
            return i;
    }
    return -1;
}

/* --- totals: all cells with a live word, of whatever era. Only under the set's lock --- */

static void total_add(struct shm *s, struct shm_set *st, uint64_t entries, uint64_t bytes) {
    uint64_t side = get(&st->walk) & 1;
    atomic_fetch_add_explicit(&s->head->index.entries[side], entries, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->head->index.bytes[side], bytes, memory_order_relaxed);
}

static void cell_empty(struct shm *s, struct shm_set *st, struct shm_cell *c) {
    if (get(&c->live) == 0)
        return;
    put(&c->live, 0);
    atomic_thread_fence(
        memory_order_release); /* a cell with new words is never seen with the old live word */
    total_add(s, st, (uint64_t)0 - 1, (uint64_t)0 - get(&c->bytes));
}

static void cell_write(struct shm *s, struct shm_set *st, int way, const struct index_entry *e, uint64_t era,
                       uint64_t used) {
    struct shm_cell *c = &st->cell[way];
    cell_empty(s, st, c);
    atomic_store_explicit(&st->tag[way], tag_of(e->key), memory_order_relaxed);
    for (int i = 0; i < INDEX_KEY / 8; i++)
        put(&c->key[i], key_word(e->key, i));
    put(&c->used, used);
    put(&c->expires_wall_ms, (uint64_t)e->expires_wall_ms);
    put(&c->bytes, e->bytes);
    put(&c->place, (e->stored ? PLACE_STORED : 0) | e->slot);
    put(&c->pos, e->pos);
    put(&c->model_hash, e->model_hash);
    put(&c->owner_hash, e->owner_hash);
    put(&c->created_wall_ms, e->created_wall_ms);
    atomic_store_explicit(&c->live, e->kept ? ERA_KEPT : era, memory_order_release);
    total_add(s, st, 1, e->bytes);
}

/* A set that is written for the first time belongs to the walk under way: counted by it or after it. */
static void set_join_walk(struct shm *s, struct shm_set *st) {
    if (get(&st->walk) == 0)
        put(&st->walk, atomic_load(&s->head->index.walk));
}

static struct shm_set *lock_for_key(struct shm *s, const uint8_t key[INDEX_KEY], bool make) {
    uint32_t n = set_number(key);
    if (make)
        set_make_known(s, n);
    else if (!set_known(s, n))
        return NULL;
    if (!set_lock(s, &s->sets[n], TRIES_PUT))
        return NULL;
    if (make)
        set_join_walk(s, &s->sets[n]);
    return &s->sets[n];
}

/* --- finding --- */

static void count(word *w) {
    atomic_fetch_add_explicit(w, 1, memory_order_relaxed);
}

/* One way to the entry for all who only look. *way: where it was. */
static bool look(const struct shm *s, const uint8_t key[INDEX_KEY], struct index_entry *out, int *way) {
    uint32_t n = set_number(key);
    if (!set_known(s, n))
        return false;
    struct shm_set *st = &s->sets[n];
    for (unsigned i = 0; i < TRIES_FIND; i++) {
        uint64_t before = atomic_load_explicit(&st->lock, memory_order_acquire);
        if (seq_free(s, before)) {
            *way = set_find(st, key, era_now(s));
            if (*way >= 0)
                cell_read(&st->cell[*way], out);
            atomic_thread_fence(memory_order_acquire);
            if (get(&st->lock) == before)
                return *way >= 0;
        }
        shm_backoff(i);
    }
    return false;
}

static void drop_expired(struct shm *s, const uint8_t key[INDEX_KEY], int64_t wall_ms) {
    struct shm_set *st = lock_for_key(s, key, false);
    if (!st)
        return;
    int way = set_find(st, key, era_now(s));
    if (way >= 0 && cell_expired(&st->cell[way], wall_ms)) {
        cell_empty(s, st, &st->cell[way]);
        count(&s->head->index.expired);
    }
    set_unlock(st);
}

bool index_find(struct shm *s, const uint8_t key[INDEX_KEY], int64_t wall_ms, struct index_entry *out) {
    int way;
    if (!look(s, key, out, &way))
        return false;
    if (out->expires_wall_ms <= wall_ms) {
        drop_expired(s, key, wall_ms);
        return false;
    }
    /* Without the lock: at worst another entry that has just come into this place is taken for used. */
    word *used = &s->sets[set_number(key)].cell[way].used;
    if (get(used) < (uint64_t)wall_ms)
        put(used, (uint64_t)wall_ms);
    return true;
}

bool index_peek(const struct shm *s, const uint8_t key[INDEX_KEY], struct index_entry *out) {
    int way;
    return look(s, key, out, &way);
}

/* --- changing --- */

/* Where a new entry goes: its own place, else an empty one, else the least recently used. */
static int way_for(struct shm_set *st, const struct index_entry *e, uint64_t era, int64_t wall_ms) {
    int way = set_find(st, e->key, era), oldest = 0;
    if (way >= 0)
        return way;
    for (int i = 0; i < INDEX_WAYS; i++) {
        struct shm_cell *c = &st->cell[i];
        if (!cell_lives(c, era) || cell_expired(c, wall_ms))
            return i;
        if (get(&c->used) < get(&st->cell[oldest].used))
            oldest = i;
    }
    return oldest;
}

static void count_loss(struct shm *s, struct shm_cell *c, const struct index_entry *by, uint64_t era,
                       int64_t wall_ms) {
    if (!cell_lives(c, era) || cell_is(c, by->key))
        return;
    bool expired = cell_expired(c, wall_ms);
    count(expired ? &s->head->index.expired : &s->head->index.evictions);
}

/* The epoch is looked at once more after the entry stands: a clearing bumps it and then goes through the
 * sets, so either it finds this entry, or the bump is seen here. */
static bool write_entry(struct shm *s, struct shm_set *st, const struct index_entry *e, uint64_t epoch,
                        int64_t wall_ms, uint64_t used) {
    int way = way_for(st, e, era_of(epoch), wall_ms);
    count_loss(s, &st->cell[way], e, era_of(epoch), wall_ms);
    cell_write(s, st, way, e, era_of(epoch), used);
    bool ok = e->kept || shm_cache_epoch(s) == epoch;
    if (!ok)
        cell_empty(s, st, &st->cell[way]);
    return ok;
}

bool index_put(struct shm *s, const struct index_entry *e, uint64_t epoch, int64_t wall_ms) {
    if (!e->kept && shm_cache_epoch(s) != epoch)
        return false;
    struct shm_set *st = lock_for_key(s, e->key, true);
    if (!st)
        return false;
    bool ok = write_entry(s, st, e, epoch, wall_ms, (uint64_t)wall_ms);
    set_unlock(st);
    return ok;
}

static bool same_place(struct shm_cell *c, bool stored, uint32_t slot, uint64_t pos) {
    return get(&c->place) == ((stored ? PLACE_STORED : 0) | slot) && get(&c->pos) == pos;
}

bool index_stored(struct shm *s, const uint8_t key[INDEX_KEY], uint32_t slot, uint64_t pos) {
    struct shm_set *st = lock_for_key(s, key, false);
    if (!st)
        return false;
    int way = set_find(st, key, era_now(s));
    bool ok = way >= 0 && same_place(&st->cell[way], false, slot, pos);
    if (ok)
        put(&st->cell[way].place, PLACE_STORED | slot);
    set_unlock(st);
    return ok;
}

/* What is already there was put by a worker or survived the scribe, and is at least as new. Where a set is
 * full of what was used later, the entry from the store gives way. */
bool index_restore(struct shm *s, const struct index_entry *e) {
    uint64_t epoch = shm_cache_epoch(s), era = era_of(epoch);
    int64_t wall_ms = clock_wall_ms();
    if (e->expires_wall_ms <= wall_ms)
        return false;
    struct shm_set *st = lock_for_key(s, e->key, true);
    if (!st)
        return false;
    bool ok = set_find(st, e->key, era) >= 0;
    if (!ok) {
        struct shm_cell *c = &st->cell[way_for(st, e, era, wall_ms)];
        bool taken = cell_lives(c, era) && !cell_expired(c, wall_ms);
        struct index_entry stored = *e;
        stored.stored = true;
        ok = !(taken && get(&c->used) > e->created_wall_ms) &&
             write_entry(s, st, &stored, epoch, wall_ms, e->created_wall_ms);
    }
    set_unlock(st);
    return ok;
}

bool index_drop(struct shm *s, const uint8_t key[INDEX_KEY]) {
    struct shm_set *st = lock_for_key(s, key, false);
    if (!st)
        return false;
    int way = set_find(st, key, era_now(s));
    if (way >= 0)
        cell_empty(s, st, &st->cell[way]);
    set_unlock(st);
    return way >= 0;
}

bool index_evict(struct shm *s, const struct index_entry *victim) {
    struct shm_set *st = lock_for_key(s, victim->key, false);
    if (!st)
        return false;
    int way = set_find(st, victim->key, era_now(s));
    struct shm_cell *c = way >= 0 ? &st->cell[way] : NULL;
    bool ok = c && same_place(c, victim->stored, victim->slot, victim->pos) &&
              get(&c->created_wall_ms) == victim->created_wall_ms;
    if (ok) {
        cell_empty(s, st, c);
        count(&s->head->index.evictions);
    }
    set_unlock(st);
    return ok;
}

/* --- clearing --- */

static bool matches(struct shm_cell *c, const struct index_filter *f) {
    return (f->model_hash == 0 || get(&c->model_hash) == f->model_hash) &&
           (f->owner_hash == 0 || get(&c->owner_hash) == f->owner_hash) &&
           (f->older_than_wall_ms == 0 || get(&c->created_wall_ms) < f->older_than_wall_ms);
}

/* Takes what matches of one era out of all sets. Entries that had expired go too, but nobody misses them.
 */
static uint64_t walk_out(struct shm *s, const struct index_filter *f, uint64_t era) {
    uint64_t n = 0;
    int64_t wall_ms = clock_wall_ms();
    for (uint32_t i = set_next(s, 0); i < INDEX_SETS; i = set_next(s, i + 1)) {
        struct shm_set *st = &s->sets[i];
        if (!set_lock(s, st, TRIES_WALK))
            continue;
        for (int way = 0; way < INDEX_WAYS; way++) {
            struct shm_cell *c = &st->cell[way];
            if (!(f->kept_too ? cell_lives(c, era) : get(&c->live) == era) || !matches(c, f))
                continue;
            n += !cell_expired(c, wall_ms);
            cell_empty(s, st, c);
        }
        set_unlock(st);
    }
    return n;
}

uint64_t index_clear(struct shm *s, const struct index_filter *f) {
    bool all = f->model_hash == 0 && f->owner_hash == 0 && f->older_than_wall_ms == 0;
    /* After the bump no process finds any of them, if all are meant: then the walk is for the count and the
     * totals. */
    uint64_t epoch = atomic_fetch_add(&s->head->cache_epoch, all ? EPOCH_ALL : 1);
    return walk_out(s, f, era_of(epoch));
}

/* --- evicting --- */

#define SAMPLE_SETS 8

struct victim {
    struct index_entry e;
    uint64_t used;
    bool any;
};

/* What is stored goes first: the store is what is too large. */
static bool better(const struct victim *v, struct shm_cell *c) {
    bool stored = (get(&c->place) & PLACE_STORED) != 0;
    if (!v->any)
        return true;
    return stored != v->e.stored ? stored : get(&c->used) < v->used;
}

static void sample(struct shm *s, uint32_t n, uint64_t era, struct victim *v) {
    struct shm_set *st = &s->sets[n];
    if (!set_lock(s, st, TRIES_PUT))
        return;
    for (int way = 0; way < INDEX_WAYS; way++) {
        struct shm_cell *c = &st->cell[way];
        if (cell_lives(c, era) && better(v, c)) {
            cell_read(c, &v->e);
            v->used = get(&c->used);
            v->any = true;
        }
    }
    set_unlock(st);
}

/* From a random set on: SAMPLE_SETS that have been used, and on until one has an entry at all. */
bool index_victim(struct shm *s, struct index_entry *out) {
    struct victim v = {.any = false};
    uint64_t era = era_now(s);
    uint32_t start = (uint32_t)(random_u64() % INDEX_SETS), seen = 0;
    for (int half_ = 0; half_ < 2; half_++) { /* from start to the end, then from the beginning to start */
        uint32_t from = half_ ? 0 : start, to = half_ ? start : INDEX_SETS;
        for (uint32_t n = set_next(s, from); n < to && (seen < SAMPLE_SETS || !v.any);
             n = set_next(s, n + 1)) {
            sample(s, n, era, &v);
            seen++;
        }
    }
    if (v.any)
        *out = v.e;
    return v.any;
}

/* --- totals ---
 *
 * A process killed between changing an entry and adding to the totals leaves them wrong. So there are two of
 * each, and a set's walk number says by its last bit which of them it adds to. A recount goes through the
 * sets, and moves what each really holds from the old to the new. What is left of the old in the end was
 * never there. At any time the sum of the two is the total, so that nobody waits. */

static void set_recount(struct shm *s, struct shm_set *st, uint64_t walk) {
    uint64_t entries = 0, bytes = 0, era = era_now(s);
    if (get(&st->walk) == walk)
        return;
    for (int way = 0; way < INDEX_WAYS; way++) {
        struct shm_cell *c = &st->cell[way];
        if (get(&c->live) < era)
            cell_empty(s, st, c); /* of a clearing that was killed */
        entries += get(&c->live) != 0;
        bytes += get(&c->live) ? get(&c->bytes) : 0;
    }
    total_add(s, st, (uint64_t)0 - entries, (uint64_t)0 - bytes);
    put(&st->walk, walk);
    total_add(s, st, entries, bytes);
}

void index_recount(struct shm *s) {
    struct shm_index_totals *t = &s->head->index;
    uint64_t walk = atomic_load(&t->walked) + 1;
    bool complete = true;
    atomic_store(&t->walk, walk); /* before the sets are listed: a set not in the list has seen it */
    for (uint32_t i = set_next(s, 0); i < INDEX_SETS; i = set_next(s, i + 1)) {
        if (!set_lock(s, &s->sets[i], TRIES_WALK)) {
            complete = false; /* goes on with it the next time */
            continue;
        }
        set_recount(s, &s->sets[i], walk);
        set_unlock(&s->sets[i]);
    }
    if (!complete)
        return;
    atomic_store(&t->entries[(walk - 1) & 1], 0);
    atomic_store(&t->bytes[(walk - 1) & 1], 0);
    atomic_store(&t->walked, walk);
}

/* Both of one moment, or a recount that goes on between the two reads would be seen in one of them only. */
static uint64_t total(word two[2]) {
    uint64_t first, sum;
    unsigned tries = 0;
    do {
        first = atomic_load(&two[0]);
        sum = first + atomic_load(&two[1]);
    } while (atomic_load(&two[0]) != first && ++tries < 100);
    return sum > UINT64_MAX / 2 ? 0 : sum; /* below zero, until the next recount */
}

void index_totals(const struct shm *s, struct index_totals *out) {
    struct shm_index_totals *t = &s->head->index;
    out->entries = total(t->entries);
    out->bytes = total(t->bytes);
    out->evictions = get(&t->evictions);
    out->expired = get(&t->expired);
}
