/* The table of vectors. A vector follows from its seed, which travels in model_hash: one that is made of two
 * is seen. */
#include "base/clock.h"
#include "base/hash.h"
#include "shm/slot.h"
#include "shm/vectors.h"
#include "shm_cases.h"
#include <math.h>

static struct vector vector(uint64_t seed) {
    float f[VECTOR_DIM];
    struct vector v;
    for (size_t i = 0; i < VECTOR_DIM; i++)
        f[i] = (float)(hash64_more(seed, &i, sizeof i) % 2001) - 1000;
    child_must(vector_of(f, VECTOR_DIM, &v)); /* children are in here too */
    return v;
}

/* Answer n of a partition. */
static struct vector_entry entry(uint64_t partition, uint64_t n, uint64_t seed) {
    struct vector_entry e = {.model_hash = seed, .owner_hash = 1 + n % 2};
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t p = hash64_more(i + 1, &partition, sizeof partition), k = hash64_more(i + 9, &n, sizeof n);
        memcpy(e.partition + i * 8, &p, 8);
        memcpy(e.key + i * 8, &k, 8);
    }
    e.created_wall_ms = clock_wall_ms();
    e.expires_wall_ms = e.created_wall_ms + 3600000;
    return e;
}

static bool put(struct shm *s, const struct vector_entry *e, uint32_t most) {
    struct vector v = vector(e->model_hash);
    return vectors_put(s, e, &v, most, shm_cache_epoch(s));
}

static bool found(struct shm *s, const struct vector_entry *e) {
    struct vector v = vector(e->model_hash);
    struct vector_hit h[VECTORS_FOUND];
    size_t n = vectors_find(s, e->partition, &v, 0.99, clock_wall_ms(), h);
    return n > 0 && memcmp(h[0].e.key, e->key, INDEX_KEY) == 0;
}

START_TEST(near_and_far) {
    struct shm *s = segment();
    struct vector_hit h[VECTORS_FOUND];
    struct vector_entry e = entry(1, 1, 100);
    struct vector v = vector(100), near, nearer;
    int64_t now = clock_wall_ms();
    ck_assert_uint_eq(vectors_find(s, e.partition, &v, 0.5, now, h), 0);
    ck_assert(put(s, &e, 100));
    ck_assert_uint_eq(vectors_find(s, e.partition, &v, 0.99, now, h), 1);
    ck_assert(memcmp(h[0].e.key, e.key, INDEX_KEY) == 0 && fabs(h[0].similarity - 1) < 1e-5);
    ck_assert(h[0].e.model_hash == 100 && h[0].e.owner_hash == e.owner_hash);
    ck_assert(h[0].e.expires_wall_ms == e.expires_wall_ms && h[0].e.created_wall_ms == e.created_wall_ms);
    float f[VECTOR_DIM];
    for (size_t i = 0; i < VECTOR_DIM; i++)
        f[i] = (float)v.v[i] + (i < 40 ? 60 : 0);
    ck_assert(vector_of(f, VECTOR_DIM, &near));
    for (size_t i = 0; i < VECTOR_DIM; i++)
        f[i] = (float)v.v[i] + (i < 40 ? 10 : 0);
    ck_assert(vector_of(f, VECTOR_DIM, &nearer));
    struct vector_entry second = entry(1, 2, 7);
    ck_assert(vectors_put(s, &second, &nearer, 100, shm_cache_epoch(s)));
    ck_assert_uint_eq(vectors_find(s, e.partition, &near, 0.5, now, h), 2);
    ck_assert(memcmp(h[0].e.key, second.key, INDEX_KEY) == 0 && h[0].similarity > h[1].similarity);
    ck_assert(fabs(h[1].similarity - vector_cosine(&near, &v)) < 1e-9);
    ck_assert_uint_eq(vectors_find(s, e.partition, &near, h[0].similarity, now, h), 1);
    ck_assert_uint_eq(vectors_find(s, e.partition, &near, h[0].similarity + 1e-4, now, h), 0);
    shm_free(s);
}
END_TEST

START_TEST(partitions) {
    struct shm *s = segment();
    struct vector_entry e = entry(1, 1, 100), other = entry(2, 1, 100), twin = e;
    ck_assert(put(s, &e, 100));
    ck_assert(found(s, &e) && !found(s, &other));
    twin.partition[31] ^= 1; /* the filter of the scan takes it for the same */
    ck_assert(!found(s, &twin));
    ck_assert(put(s, &other, 100) && found(s, &other) && found(s, &e));
    ck_assert_uint_eq(vectors_count(s), 2);
    shm_free(s);
}
END_TEST

START_TEST(expires) {
    struct shm *s = segment();
    struct vector_entry e = entry(1, 1, 100);
    struct vector v = vector(100);
    struct vector_hit h[VECTORS_FOUND];
    ck_assert(put(s, &e, 100));
    ck_assert_uint_eq(vectors_find(s, e.partition, &v, 0.9, e.expires_wall_ms - 1, h), 1);
    ck_assert_uint_eq(vectors_find(s, e.partition, &v, 0.9, e.expires_wall_ms, h), 0);
    ck_assert_uint_eq(vectors_count(s), 0);
    /* many that have expired do not hide one that has not */
    for (uint64_t n = 0; n < 6; n++) {
        e = entry(1, n, 100);
        e.expires_wall_ms = clock_wall_ms() - 1;
        ck_assert(put(s, &e, 100));
    }
    float f[VECTOR_DIM];
    for (size_t i = 0; i < VECTOR_DIM; i++)
        f[i] = (float)v.v[i] + (i < 40 ? 10 : 0);
    ck_assert(vector_of(f, VECTOR_DIM, &v));
    e = entry(1, 9, 100);
    ck_assert(vectors_put(s, &e, &v, 100, shm_cache_epoch(s)));
    v = vector(100);
    ck_assert_uint_eq(vectors_find(s, e.partition, &v, 0.9, clock_wall_ms(), h), 1);
    shm_free(s);
}
END_TEST

START_TEST(the_same_answer_has_one_place) {
    struct shm *s = segment();
    struct vector_entry e = entry(1, 1, 100), newer = entry(1, 1, 101);
    ck_assert(put(s, &e, 100) && put(s, &newer, 100));
    ck_assert_uint_eq(vectors_count(s), 1);
    ck_assert(found(s, &newer) && !found(s, &e));
    struct vector_hit h = {.e = newer, .at = 0};
    h.e.created_wall_ms--; /* of one that has been written anew meanwhile */
    vectors_drop(s, &h);
    ck_assert(found(s, &newer));
    h.e.created_wall_ms++;
    vectors_drop(s, &h);
    ck_assert(!found(s, &newer) && vectors_count(s) == 0);
    shm_free(s);
}
END_TEST

START_TEST(gives_up_the_oldest) {
    struct shm *s = segment();
    struct vector_entry e[12];
    for (uint64_t n = 0; n < 12; n++)
        e[n] = entry(1, n, 100 + n);
    for (uint64_t n = 0; n < 8; n++)
        ck_assert(put(s, &e[n], 8));
    struct vector v = vector(101);
    struct vector_hit h[VECTORS_FOUND];
    ck_assert_uint_eq(vectors_find(s, e[1].partition, &v, 0.99, clock_wall_ms(), h), 1);
    vectors_used(s, &h[0]);
    ck_assert(put(s, &e[8], 8) && put(s, &e[9], 8) && put(s, &e[10], 8));
    for (uint64_t n = 0; n < 11; n++)
        ck_assert_msg(found(s, &e[n]) == (n == 1 || n > 3), "%d", (int)n);
    ck_assert_uint_eq(vectors_count(s), 8);
    ck_assert(!put(s, &e[11], 0));
    shm_free(s);
}
END_TEST

START_TEST(clears) {
    struct shm *s = segment();
    struct vector_entry e[6];
    for (uint64_t n = 0; n < 6; n++) {
        e[n] = entry(1, n, 100 + n % 3);
        e[n].created_wall_ms = 1000 * (int64_t)(n + 1);
        ck_assert(put(s, &e[n], 100));
    }
    uint64_t epoch = shm_cache_epoch(s);
    struct index_filter model = {.model_hash = 100}, owner = {.owner_hash = 2},
                        old = {.older_than_wall_ms = 2500};
    ck_assert_uint_eq(vectors_clear(s, &model), 2); /* 0 and 3 */
    ck_assert_uint_eq(vectors_clear(s, &old), 1);   /* 1 */
    ck_assert_uint_eq(vectors_clear(s, &owner), 1); /* 5 */
    ck_assert_uint_eq(vectors_clear(s, &(struct index_filter){0}), 2);
    ck_assert_uint_eq(vectors_count(s), 0);
    index_clear(s, &model);
    struct vector v = vector(100);
    ck_assert(!vectors_put(s, &e[0], &v, 100, epoch)); /* asked before the clearing, answered after it */
    ck_assert(put(s, &e[0], 100));
    shm_free(s);
}
END_TEST

/* --- crowds --- */

#define ANSWERS 30
#define PLACES  12 /* too few for them */

static void check_whole(const struct vector_hit *h, const struct vector *asked) {
    struct vector is = vector(h->e.model_hash);
    child_must(fabs(vector_cosine(asked, &is) - h->similarity) < 1e-9);
    uint64_t n = h->e.owner_hash;
    struct vector_entry want = entry(n % 3, n, 0);
    child_must(memcmp(h->e.key, want.key, INDEX_KEY) == 0);
    child_must(memcmp(h->e.partition, want.partition, INDEX_KEY) == 0);
}

static void one_change(struct crowd *c, int i, uint64_t n, uint64_t dice) {
    struct vector_entry e = entry(n % 3, n, dice % 7);
    struct vector v = vector(dice % 7);
    struct vector_hit h[VECTORS_FOUND];
    e.owner_hash = n;
    size_t hits;
    switch (dice / 8 % 8) {
    case 0:
    case 1:
    case 2:
        vectors_put(c->s, &e, &v, PLACES, shm_cache_epoch(c->s));
        break;
    case 3:
        if (dice / 64 % 50 == 0) {
            struct index_filter f = {.model_hash = dice / 8192 % 2 ? 3 : 0};
            index_clear(c->s, &f);
            vectors_clear(c->s, &f);
        }
        break;
    default: /* everything counts as near: what is proposed is looked at whole */
        hits = vectors_find(c->s, e.partition, &v, -1, clock_wall_ms(), h);
        for (size_t k = 0; k < hits; k++)
            check_whole(&h[k], &v);
        if (hits && dice / 64 % 4 == 0)
            vectors_used(c->s, &h[0]);
        if (hits && dice / 64 % 16 == 1)
            vectors_drop(c->s, &h[0]);
    }
    atomic_fetch_add(&c->scratch->note[i], 1);
}

static void change_for_ever(struct crowd *c, int i) {
    while (atomic_load(&c->scratch->note[10]) == 0)
        one_change(c, i, random_u64() % ANSWERS, random_u64() >> 8);
}

static void end_crowd(struct crowd *c) {
    atomic_store(&c->scratch->note[10], 1);
    for (int i = 0; i < CROWD; i++)
        crowd_wait(c, i);
}

START_TEST(crowd_of_writers) {
    struct crowd c;
    crowd_init(&c, segment(), change_for_ever);
    for (int i = 0; i < CROWD; i++)
        crowd_start(&c, i);
    for (int i = 0; i < CROWD; i++)
        wait_note(&c, i, 5000);
    end_crowd(&c);
    ck_assert_uint_le(vectors_count(c.s), PLACES);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

START_TEST(killed_writers) { /* wedge nobody and leave no half of anything */
    struct crowd c;
    crowd_init(&c, segment(), change_for_ever);
    for (int i = 0; i < CROWD; i++)
        crowd_start(&c, i);
    for (int k = 0; k < 60; k++) {
        int i = k % CROWD;
        wait_note(&c, i, atomic_load(&c.scratch->note[i]) + 20 + random_u64() % 100);
        crowd_kill(&c, i);
        crowd_start(&c, i);
    }
    for (int i = 0; i < CROWD; i++)
        wait_note(&c, i, atomic_load(&c.scratch->note[i]) + 200);
    end_crowd(&c);
    for (uint64_t n = 0; n < PLACES; n++) { /* every place can still be written */
        struct vector_entry e = entry(1, 1000 + n, 5000 + n);
        ck_assert(put(c.s, &e, PLACES));
    }
    ck_assert_uint_eq(vectors_clear(c.s, &(struct index_filter){0}), PLACES);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

TCase *case_vectors(void) {
    TCase *t = tcase_create("vectors");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, near_and_far);
    tcase_add_test(t, partitions);
    tcase_add_test(t, expires);
    tcase_add_test(t, the_same_answer_has_one_place);
    tcase_add_test(t, gives_up_the_oldest);
    tcase_add_test(t, clears);
    tcase_add_test(t, crowd_of_writers);
    tcase_add_test(t, killed_writers);
    return t;
}
