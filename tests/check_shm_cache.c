/* The index of the response cache. */
#include "base/clock.h"
#include "base/hash.h"
#include "shm/index.h"
#include "shm/slot.h"
#include "shm_cases.h"
#include <stdlib.h>

/* Key n of set number `set` (the first word chooses the set). All its other words follow from the key and
 * pos, so that an entry made of two is seen. */
static struct index_entry entry(uint64_t set, uint64_t n, uint64_t pos) {
    struct index_entry e = {
        .slot = 3, .pos = pos, .bytes = 100 + n, .model_hash = 1 + n % 3, .owner_hash = 1 + n % 2};
    memcpy(e.key, &set, sizeof set);
    for (int i = 1; i < 4; i++) {
        uint64_t h = hash64_more((uint64_t)i, &n, sizeof n);
        memcpy(e.key + i * 8, &h, sizeof h);
    }
    e.created_wall_ms = (uint64_t)clock_wall_ms();
    e.expires_wall_ms = (int64_t)e.created_wall_ms + 3600000;
    return e;
}

static bool put(struct shm *s, const struct index_entry *e) {
    return index_put(s, e, shm_cache_epoch(s), (int64_t)e->created_wall_ms);
}

static bool there(struct shm *s, const struct index_entry *e) {
    struct index_entry out;
    return index_find(s, e->key, clock_wall_ms(), &out);
}

static struct index_totals totals(struct shm *s) {
    struct index_totals t;
    index_totals(s, &t);
    return t;
}

START_TEST(index_basics) {
    struct shm *s = segment();
    struct index_entry e = entry(5, 1, 800), out;
    int64_t now = clock_wall_ms();
    ck_assert(!index_find(s, e.key, now, &out));
    ck_assert(put(s, &e));
    ck_assert(index_find(s, e.key, now, &out));
    ck_assert(memcmp(out.key, e.key, INDEX_KEY) == 0 && out.pos == 800 && out.slot == 3 && !out.stored);
    ck_assert(out.bytes == 101 && out.expires_wall_ms == e.expires_wall_ms && out.model_hash == e.model_hash);
    ck_assert(out.owner_hash == e.owner_hash && out.created_wall_ms == e.created_wall_ms);
    ck_assert(!index_stored(s, e.key, 3, 801) && !index_stored(s, e.key, 4, 800));
    ck_assert(index_stored(s, e.key, 3, 800));
    ck_assert(index_find(s, e.key, now, &out) && out.stored);
    ck_assert(!index_stored(s, e.key, 3, 800)); /* once */
    e.pos = 900;
    e.bytes = 50;
    ck_assert(put(s, &e)); /* in its own place */
    ck_assert(index_find(s, e.key, now, &out) && out.pos == 900 && !out.stored);
    ck_assert(totals(s).entries == 1 && totals(s).bytes == 50 && totals(s).evictions == 0);
    ck_assert(index_drop(s, e.key) && !index_drop(s, e.key) && !there(s, &e));
    ck_assert(totals(s).entries == 0 && totals(s).bytes == 0);
    shm_free(s);
}
END_TEST

START_TEST(index_expires) {
    struct shm *s = segment();
    struct index_entry e = entry(5, 1, 800), out;
    ck_assert(put(s, &e));
    ck_assert(index_find(s, e.key, e.expires_wall_ms - 1, &out));
    ck_assert(index_peek(s, e.key, &out));
    ck_assert(!index_find(s, e.key, e.expires_wall_ms, &out));
    ck_assert(!index_peek(s, e.key, &out));
    ck_assert(totals(s).entries == 0 && totals(s).expired == 1);
    shm_free(s);
}
END_TEST

START_TEST(index_gives_up_the_oldest) {
    struct shm *s = segment();
    struct index_entry e[9], out;
    for (unsigned n = 0; n < 9; n++) {
        e[n] = entry(77, n, n);
        e[n].created_wall_ms += n;
    }
    for (unsigned n = 0; n < 8; n++)
        ck_assert(put(s, &e[n]));
    int64_t later = (int64_t)e[8].created_wall_ms;
    ck_assert(index_find(s, e[0].key, later, &out)); /* so 1 is the one that was not used for longest */
    ck_assert(put(s, &e[8]));
    for (unsigned n = 0; n < 9; n++)
        ck_assert(index_peek(s, e[n].key, &out) == (n != 1));
    ck_assert(totals(s).entries == 8 && totals(s).evictions == 1);
    ck_assert(!index_restore(s, &e[1])); /* all others were used later */
    ck_assert(index_drop(s, e[4].key) && index_restore(s, &e[1]));
    ck_assert(index_peek(s, e[1].key, &out) && out.stored);
    ck_assert(index_restore(s, &e[2]) && index_peek(s, e[2].key, &out) &&
              !out.stored); /* what is there stays */
    e[4].expires_wall_ms = clock_wall_ms() - 1;
    ck_assert(!index_restore(s, &e[4]));
    shm_free(s);
}
END_TEST

/* What comes from another host has its time: an hour old, it is new here all the same; and one from the
 * future does not stay for ever. */
START_TEST(index_of_other_hosts) {
    struct shm *s = segment();
    struct index_entry out, of_others, more;
    int64_t now = clock_wall_ms();
    for (unsigned n = 0; n < 8; n++) {
        struct index_entry own = entry(77, n, n);
        ck_assert(index_put(s, &own, shm_cache_epoch(s), now + n));
    }
    for (unsigned n = 8; n < 10; n++) {
        of_others = entry(77, n, n);
        of_others.created_wall_ms = (uint64_t)(n == 8 ? now - 3600000 : now + 3600000);
        ck_assert(index_put(s, &of_others, shm_cache_epoch(s), now + 10 + n));
    }
    of_others = entry(77, 8, 8);
    more = entry(77, 10, 10);
    ck_assert(index_put(s, &more, shm_cache_epoch(s), now + 30));
    ck_assert(index_peek(s, of_others.key, &out) && out.created_wall_ms != (uint64_t)(now + 18));
    for (unsigned n = 11; n < 17; n++) { /* those that were used before the one of the future, and it */
        more = entry(77, n, n);
        ck_assert(index_put(s, &more, shm_cache_epoch(s), now + 30 + n));
    }
    of_others = entry(77, 9, 9);
    ck_assert(index_peek(s, of_others.key, &out));
    more = entry(77, 17, 17);
    ck_assert(index_put(s, &more, shm_cache_epoch(s), now + 60) && !index_peek(s, of_others.key, &out));
    shm_free(s);
}
END_TEST

static void fill(struct shm *s, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct index_entry e = entry(i % 50 * 163, i, i);
        ck_assert(put(s, &e));
    }
}

START_TEST(index_clears) {
    struct shm *s = segment();
    struct index_entry e = entry(0, 0, 0), old = entry(9, 1000, 1);
    fill(s, 300);
    old.created_wall_ms = 1000;
    ck_assert(put(s, &old));
    uint64_t part = shm_cache_epoch(s), epoch;
    ck_assert_uint_eq(index_clear(s, &(struct index_filter){.older_than_wall_ms = 2000}), 1);
    ck_assert_uint_eq(index_clear(s, &(struct index_filter){.model_hash = 1}), 100);
    ck_assert_uint_eq(index_clear(s, &(struct index_filter){.model_hash = 2, .owner_hash = 1}), 50);
    ck_assert_uint_eq(index_clear(s, &(struct index_filter){.owner_hash = 9}), 0);
    ck_assert_uint_eq(totals(s).entries, 150);
    ck_assert(!index_put(s, &old, part, clock_wall_ms())); /* begun before a part was cleared */
    epoch = shm_cache_epoch(s);
    ck_assert_uint_eq(index_clear(s, &(struct index_filter){0}), 150);
    ck_assert_uint_eq(index_clear(s, &(struct index_filter){0}), 0);
    ck_assert(totals(s).entries == 0 && totals(s).bytes == 0);
    ck_assert_uint_ne(epoch, shm_cache_epoch(s));
    ck_assert(!index_put(s, &e, epoch, clock_wall_ms())); /* begun before the clearing */
    ck_assert(!there(s, &e));
    ck_assert(put(s, &e) && there(s, &e));
    ck_assert_uint_eq(index_clear(s, &(struct index_filter){0}), 1);
    shm_free(s);
}
END_TEST

START_TEST(index_keeps) { /* what lies beside the answers goes with everything only */
    struct shm *s = segment();
    struct index_entry e = entry(0, 0, 0), kept = entry(9, 0, 1), seen;
    kept.kept = true;
    uint64_t epoch = shm_cache_epoch(s);
    ck_assert(put(s, &e) && put(s, &kept));
    ck_assert_uint_eq(index_clear(s, &(struct index_filter){0}), 1);
    ck_assert_uint_eq(index_clear(s, &(struct index_filter){.model_hash = kept.model_hash}), 0);
    ck_assert(!there(s, &e) && there(s, &kept));
    ck_assert(index_peek(s, kept.key, &seen) && seen.kept);
    ck_assert(index_drop(s, kept.key) && index_put(s, &kept, epoch, clock_wall_ms()) && there(s, &kept));
    index_recount(s);
    ck_assert_uint_eq(totals(s).entries, 1);
    ck_assert(index_victim(s, &seen) && index_evict(s, &seen));
    ck_assert(put(s, &kept));
    ck_assert_uint_eq(index_clear(s, &(struct index_filter){.kept_too = true}), 1);
    ck_assert_uint_eq(totals(s).entries, 0);
    shm_free(s);
}
END_TEST

START_TEST(index_evicts) {
    struct shm *s = segment();
    struct index_entry out, e[20];
    ck_assert(!index_victim(s, &out));
    for (unsigned n = 0; n < 20; n++) {
        e[n] = entry(100, n, n); /* some of one set, so that they are one sample */
        if (n >= 4)
            e[n] = entry(4000 + n, n, n);
        e[n].created_wall_ms -= n == 2 ? 60000 : 0;
        ck_assert(put(s, &e[n]));
    }
    ck_assert(index_stored(s, e[3].key, 3, 3));
    for (unsigned n = 4; n < 20; n++)
        ck_assert(index_drop(s, e[n].key));
    ck_assert(index_victim(s, &out) && memcmp(out.key, e[3].key, INDEX_KEY) == 0); /* stored */
    ck_assert(index_evict(s, &out) && !index_evict(s, &out));
    ck_assert(index_victim(s, &out) && memcmp(out.key, e[2].key, INDEX_KEY) == 0); /* oldest */
    e[2].pos = 999;
    ck_assert(put(s, &e[2]) && !index_evict(s, &out) && there(s, &e[2])); /* another by now */
    ck_assert_uint_eq(totals(s).evictions, 1);
    for (int n = 0; n < 3; n++)
        ck_assert(index_victim(s, &out) && index_evict(s, &out));
    ck_assert(!index_victim(s, &out));
    shm_free(s);
}
END_TEST

/* --- crowds --- */

#define KEYS 40
#define SETS 3 /* too few for them: they push each other out */

static void check_whole(const struct index_entry *e, uint64_t n) {
    struct index_entry want = entry(n % SETS, n, e->pos);
    child_must(memcmp(e->key, want.key, INDEX_KEY) == 0);
    child_must(e->bytes == 100 + n + e->pos % 7 && e->model_hash == want.model_hash + e->pos % 5);
    child_must(e->owner_hash == want.owner_hash + e->pos % 11);
}

static void one_change(struct crowd *c, int i, uint64_t n, uint64_t dice) {
    struct index_entry e = entry(n % SETS, n, dice), out;
    e.slot = (uint32_t)i;
    e.bytes += e.pos % 7;
    e.model_hash += e.pos % 5;
    e.owner_hash += e.pos % 11;
    switch (dice % 16) {
    case 0:
        index_drop(c->s, e.key);
        break;
    case 1:
        if (index_victim(c->s, &out))
            index_evict(c->s, &out);
        break;
    case 2:
        if (dice / 16 % 20 == 0)
            index_clear(c->s, &(struct index_filter){.model_hash = dice / 1024 % 2 ? e.model_hash : 0});
        break;
    case 3:
        if (i == 0)
            index_recount(c->s);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        put(c->s, &e);
        index_stored(c->s, e.key, e.slot, e.pos);
        break;
    default:
        if (index_find(c->s, e.key, clock_wall_ms(), &out))
            check_whole(&out, n);
    }
    atomic_fetch_add(&c->scratch->note[i], 1);
}

static void change_for_ever(struct crowd *c, int i) {
    while (atomic_load(&c->scratch->note[10]) == 0)
        one_change(c, i, random_u64() % KEYS, random_u64() >> 8);
}

static uint64_t count_found(struct shm *s, uint64_t *bytes) {
    uint64_t found = 0;
    *bytes = 0;
    for (uint64_t n = 0; n < KEYS; n++) {
        struct index_entry e = entry(n % SETS, n, 0), out;
        if (index_peek(s, e.key, &out)) {
            check_whole(&out, n);
            found++;
            *bytes += out.bytes;
        }
    }
    return found;
}

static void end_crowd(struct crowd *c) {
    atomic_store(&c->scratch->note[10], 1);
    for (int i = 0; i < CROWD; i++)
        crowd_wait(c, i);
}

START_TEST(index_crowd) { /* nobody dies: the totals are right without a recount of the test */
    struct crowd c;
    uint64_t bytes;
    crowd_init(&c, segment(), change_for_ever);
    for (int i = 0; i < CROWD; i++)
        crowd_start(&c, i);
    for (int i = 0; i < CROWD; i++)
        wait_note(&c, i, 20000);
    end_crowd(&c);
    uint64_t found = count_found(c.s, &bytes);
    ck_assert_uint_eq(totals(c.s).entries, found);
    ck_assert_uint_eq(totals(c.s).bytes, bytes);
    ck_assert_uint_gt(totals(c.s).evictions, 0);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

static void put_or_clear(struct crowd *c, int i) {
    for (uint64_t n = 0; i == 0 && atomic_load(&c->scratch->note[10]) == 0; n++) {
        struct index_entry e = entry(n % 50 * 163, n % 400, n);
        put(c->s, &e);
        atomic_fetch_add(&c->scratch->note[0], 1);
    }
    for (int n = 0; i == 1 && n < 2000; n++)
        index_clear(c->s, &(struct index_filter){0});
}

START_TEST(index_cleared_while_put) { /* no entry of before a clearing stays behind it */
    struct crowd c;
    crowd_init(&c, segment(), put_or_clear);
    crowd_start(&c, 0);
    wait_note(&c, 0, 100);
    crowd_start(&c, 1);
    crowd_wait(&c, 1);
    atomic_store(&c.scratch->note[10], 1);
    crowd_wait(&c, 0);
    uint64_t entries = totals(c.s).entries;
    ck_assert_uint_eq(index_clear(c.s, &(struct index_filter){0}), entries);
    ck_assert(totals(c.s).entries == 0 && totals(c.s).bytes == 0);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

static void recount_for_ever(struct crowd *c, int i) {
    while (atomic_load(&c->scratch->note[10]) == 0) {
        index_recount(c->s);
        atomic_fetch_add(&c->scratch->note[i], 1);
    }
}

START_TEST(index_recounted) { /* nobody who looks meanwhile is told of more, or of a set less */
    struct crowd c;
    crowd_init(&c, segment(), recount_for_ever);
    fill(c.s, 300);
    crowd_start(&c, 0);
    while (atomic_load(&c.scratch->note[0]) < 500)
        ck_assert(totals(c.s).entries <= 308 && totals(c.s).entries >= 292);
    atomic_store(&c.scratch->note[10], 1);
    crowd_wait(&c, 0);
    ck_assert_uint_eq(totals(c.s).entries, 300);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

START_TEST(index_killed) {
    struct crowd c;
    uint64_t bytes;
    crowd_init(&c, segment(), change_for_ever);
    for (int i = 0; i < CROWD; i++)
        crowd_start(&c, i);
    for (int k = 0; k < 60; k++) {
        int i = k % CROWD;
        wait_note(&c, i, atomic_load(&c.scratch->note[i]) + random_u64() % 200);
        crowd_kill(&c, i);
        crowd_start(&c, i);
    }
    end_crowd(&c);
    index_recount(c.s);
    uint64_t found = count_found(c.s, &bytes);
    ck_assert_uint_eq(totals(c.s).entries, found);
    ck_assert_uint_eq(totals(c.s).bytes, bytes);
    ck_assert_uint_eq(index_clear(c.s, &(struct index_filter){0}), found);
    for (uint64_t n = 0; n < KEYS; n++) { /* nothing is wedged */
        struct index_entry e = entry(n % SETS, n, 0);
        ck_assert(put(c.s, &e) && there(c.s, &e));
    }
    ck_assert_uint_eq(totals(c.s).entries, SETS * 8);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

TCase *case_cache(void) {
    TCase *t = tcase_create("cache");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, index_basics);
    tcase_add_test(t, index_expires);
    tcase_add_test(t, index_gives_up_the_oldest);
    tcase_add_test(t, index_of_other_hosts);
    tcase_add_test(t, index_clears);
    tcase_add_test(t, index_keeps);
    tcase_add_test(t, index_evicts);
    tcase_add_test(t, index_crowd);
    tcase_add_test(t, index_cleared_while_put);
    tcase_add_test(t, index_recounted);
    tcase_add_test(t, index_killed);
    return t;
}
