/* Claims: one holder at a time, and none that has died. */
#include "base/hash.h"
#include "shm/claim.h"
#include "shm/slot.h"
#include "shm_cases.h"

#define KEY     UINT64_C(0x1234567800000005)
#define BESIDE  UINT64_C(0x8765432100000005) /* the same place */
#define ANOTHER UINT64_C(0x1234567800000006)

START_TEST(claim_basics) {
    struct shm *s = segment();
    slot_enter(s, slot_claim(s, SLOT_WORKER, 0, 1));
    ck_assert(!claim_stands(s, KEY));
    ck_assert_int_eq(claim_take(s, KEY), CLAIM_MINE);
    ck_assert(claim_stands(s, KEY) && !claim_stands(s, BESIDE) && !claim_stands(s, ANOTHER));
    ck_assert_int_eq(claim_take(s, KEY), CLAIM_OTHERS);
    ck_assert_int_eq(claim_take(s, BESIDE), CLAIM_NONE);
    ck_assert_int_eq(claim_take(s, ANOTHER), CLAIM_MINE);
    claim_release(s, KEY);
    ck_assert(!claim_stands(s, KEY) && claim_stands(s, ANOTHER));
    ck_assert_int_eq(claim_take(s, BESIDE), CLAIM_MINE);
    shm_free(s);
}
END_TEST

START_TEST(claim_waits) {
    struct shm *s = segment();
    slot_enter(s, slot_claim(s, SLOT_WORKER, 0, 1));
    ck_assert_uint_eq(claim_holder(s, KEY), 0);
    claim_take(s, KEY);
    ck_assert_uint_ne(claim_holder(s, KEY), 0);
    ck_assert(!claim_waited(s, KEY));
    claim_wait(s, KEY);
    ck_assert(claim_waited(s, KEY) && !claim_waited(s, BESIDE) && !claim_waited(s, ANOTHER));
    claim_release(s, KEY);
    ck_assert_uint_eq(claim_holder(s, KEY), 0);
    shm_free(s);
}
END_TEST

enum { NOTE_HELD = 11, NOTE_STOP = 10 };

/* Two at a time inside would be seen. */
static void take_for_ever(struct crowd *c, int i) {
    while (atomic_load(&c->scratch->note[NOTE_STOP]) == 0) {
        if (claim_take(c->s, KEY) != CLAIM_MINE)
            continue;
        child_must(atomic_fetch_add(&c->scratch->note[NOTE_HELD], 1) == 0);
        child_must(claim_stands(c->s, KEY));
        atomic_fetch_sub(&c->scratch->note[NOTE_HELD], 1);
        claim_release(c->s, KEY);
        atomic_fetch_add(&c->scratch->note[i], 1);
    }
}

START_TEST(claim_crowd) {
    struct crowd c;
    crowd_init(&c, segment(), take_for_ever);
    for (int i = 0; i < CROWD; i++)
        crowd_start(&c, i);
    for (int i = 0; i < CROWD; i++)
        wait_note(&c, i, 200);
    atomic_store(&c.scratch->note[NOTE_STOP], 1);
    for (int i = 0; i < CROWD; i++)
        crowd_wait(&c, i);
    ck_assert(!claim_stands(c.s, KEY));
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

static void take_and_stay(struct crowd *c, int i) {
    while (claim_take(c->s, KEY) != CLAIM_MINE)
        ;
    atomic_store(&c->scratch->note[i], 1);
    for (;;)
        ;
}

START_TEST(claim_of_the_dead) {
    struct crowd c;
    crowd_init(&c, segment(), take_and_stay);
    for (int i = 0; i < 2; i++) {
        crowd_start(&c, i);
        wait_note(&c, i, 1);
        ck_assert(claim_stands(c.s, KEY));
        crowd_kill(&c, i);
        ck_assert(!claim_stands(c.s, KEY));
    }
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

TCase *case_claims(void) {
    TCase *t = tcase_create("claims");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, claim_basics);
    tcase_add_test(t, claim_waits);
    tcase_add_test(t, claim_crowd);
    tcase_add_test(t, claim_of_the_dead);
    return t;
}
