/* The order of those that wait for a limit, and the places of those that are killed. */
#include "shm/queue.h"
#include "shm/slot.h"
#include "shm_cases.h"
#include "under_valgrind.h"
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

static uint32_t entity(struct shm *s, unsigned n) {
    return shm_entity(s, ENTITY_GATEWAY_KEY, str_make((const char *)&n, sizeof n));
}

static struct shm *segment_entered(void) {
    struct shm *s = segment();
    slot_enter(s, slot_claim(s, SLOT_WORKER, 0, 1));
    return s;
}

/* Whose turn it is among so many places, which then is served. */
static unsigned serve(struct shm *s, uint32_t *place, unsigned n) {
    unsigned found = n;
    for (unsigned i = 0; i < n; i++)
        if (place[i] != SHM_NONE && queue_turn(s, place[i])) {
            ck_assert_uint_eq(found, n); /* one at a time */
            found = i;
        }
    ck_assert_uint_lt(found, n);
    queue_leave(s, place[found], true);
    place[found] = SHM_NONE;
    return found;
}

START_TEST(in_turn_by_tokens_and_weight) {
    struct shm *s = segment_entered();
    uint32_t place[60], gate = entity(s, 99), served[3] = {0};
    /* a: 20 of 100 tokens; b: 20 of 100 with twice the weight, later; c: 20 of 50, later still */
    for (unsigned i = 0; i < 60; i++)
        place[i] = queue_join(s, entity(s, i / 20), i < 40 ? 100 : 50, i / 20 == 1 ? 2 : 1, gate, 100);
    for (unsigned i = 0; i < 25; i++)
        served[serve(s, place, 60) / 20]++;
    ck_assert_msg(served[0] >= 4 && served[0] <= 6, "%u", served[0]);
    ck_assert_msg(served[1] >= 9 && served[1] <= 11, "%u", served[1]);
    ck_assert_msg(served[2] >= 9 && served[2] <= 11, "%u", served[2]);
    for (unsigned i = 25; i < 60; i++)
        serve(s, place, 60);
    ck_assert_uint_eq(queue_depth(s), 0);
    shm_free(s);
}
END_TEST

/* Booked alike, one key uses ten times as much: over time both are given the same tokens, also when many wait
 * already. */
START_TEST(by_what_was_used_in_the_end) {
    struct shm *s = segment_entered();
    uint32_t place[40], gate = entity(s, 99), served[2] = {0};
    for (unsigned i = 0; i < 40; i++)
        place[i] = queue_join(s, entity(s, i / 20), 100, 1, gate, 100);
    for (unsigned n = 0; n < 550; n++) {
        unsigned i = serve(s, place, 40), key = i / 20;
        served[key]++;
        queue_settle(s, entity(s, key), 100, key ? 1000 : 100, 1);
        place[i] = queue_join(s, entity(s, key), 100, 1, gate, 100);
    }
    ck_assert_msg(served[1] >= 45 && served[1] <= 56, "%u of %u", served[1], served[0] + served[1]);
    /* and what was used less than booked is not taken from it */
    for (unsigned n = 0; n < 100; n++)
        queue_settle(s, entity(s, 0), 100, 0, 1);
    served[0] = served[1] = 0;
    for (unsigned n = 0; n < 20; n++) {
        unsigned i = serve(s, place, 40), key = i / 20;
        served[key]++;
        place[i] = queue_join(s, entity(s, key), 100, 1, gate, 100);
    }
    ck_assert_uint_eq(served[0], 20);
    shm_free(s);
}
END_TEST

START_TEST(nothing_is_saved_up) {
    struct shm *s = segment_entered();
    uint32_t place[31], gate = entity(s, 99);
    for (unsigned i = 0; i < 30; i++)
        place[i] = queue_join(s, entity(s, 1), 10, 1, gate, 100);
    for (unsigned i = 0; i < 20; i++)
        ck_assert_uint_eq(serve(s, place, 30), i); /* a key's own in the order they came */
    place[30] = queue_join(s, entity(s, 2), 10, 1, gate, 100);
    unsigned before = 0;
    while (serve(s, place, 31) != 30)
        before++;
    ck_assert_uint_le(before, 2); /* it does not come before those of now, nor after all of them */
    for (unsigned i = 0; i < 31; i++)
        if (place[i] != SHM_NONE)
            queue_leave(s, place[i], false);
    shm_free(s);
}
END_TEST

START_TEST(each_limit_has_its_own_order) {
    struct shm *s = segment_entered();
    uint32_t one = entity(s, 91), two = entity(s, 92);
    uint32_t a = queue_join(s, entity(s, 1), 10, 1, one, 3), b = queue_join(s, entity(s, 1), 10, 1, one, 3),
             c = queue_join(s, entity(s, 1), 10, 1, two, 3);
    ck_assert_uint_eq(queue_join(s, entity(s, 1), 10, 1, two, 3), SHM_NONE); /* no deeper */
    ck_assert(queue_turn(s, a) && !queue_turn(s, b) && queue_turn(s, c));
    const uint32_t all[] = {SHM_NONE, entity(s, 93), two, one};
    ck_assert(queue_any(s, &one, 1) == one && queue_any(s, &two, 1) == two && queue_any(s, all, 4) == two);
    ck_assert(queue_any(s, all, 2) == SHM_NONE && queue_any(s, NULL, 0) == SHM_NONE);
    queue_blocked(s, a, two);
    ck_assert(queue_turn(s, a) && queue_turn(s, b) && !queue_turn(s, c));
    queue_leave(s, a, false);
    ck_assert(queue_turn(s, c));
    ck_assert_uint_eq(queue_depth(s), 2);
    uint32_t none = queue_join(s, SHM_NONE, UINT64_MAX, 0, SHM_NONE, 3); /* no state, absurd cost */
    ck_assert(queue_turn(s, none) && queue_any(s, all, 2) == SHM_NONE);
    queue_leave(s, none, true);
    shm_free(s);
}
END_TEST

START_TEST(a_look_ends_with_the_last) {
    struct shm *s = segment_entered();
    uint32_t gate = entity(s, 91), place[100], one = slot_mine(s);
    for (unsigned i = 0; i < 100; i++)
        ck_assert_uint_eq(place[i] = queue_join(s, entity(s, 1), 10, 1, gate, 100), i);
    ck_assert_uint_eq(queue_reach(s), 100);
    for (unsigned i = 0; i < 99; i++)
        queue_leave(s, place[i], true);
    ck_assert_uint_eq(queue_reach(s), 100);
    slot_release(s, one); /* its owner is dead */
    slot_enter(s, slot_claim(s, SLOT_WORKER, 0, 2));
    ck_assert_uint_eq(queue_any(s, &gate, 1), SHM_NONE);
    place[0] = queue_join(s, entity(s, 1), 10, 1, gate, 100);
    place[1] = queue_join(s, entity(s, 1), 10, 1, gate, 100);
    queue_leave(s, place[0], true);
    ck_assert_uint_eq(queue_reach(s), 2);
    queue_leave(s, place[1], true);
    ck_assert_uint_eq(queue_reach(s), 0);
    shm_free(s);
}
END_TEST

/* One may be inside at a time: who has its turn takes the gate. Members are killed anywhere. */
static void wait_in_turn(struct crowd *c, int i) {
    struct shm *s = c->s;
    uint32_t gate = entity(s, 99), me = entity(s, (unsigned)i);
    unsigned random = (unsigned)getpid();
    for (;;) {
        uint32_t place = queue_join(s, me, 1 + random % 50, 1, gate, 50);
        child_must(place != SHM_NONE);
        random = random * 1103515245 + 12345;
        if (random >> 16 & 1) {
            queue_leave(s, place, false);
            continue;
        }
        while (!queue_turn(s, place))
            sched_yield();
        child_must(queue_depth(s) <= 2 * CROWD);
        queue_leave(s, place, true);
        atomic_fetch_add(&c->scratch->note[i], 1);
    }
}

START_TEST(killed_at_random) {
    struct crowd c;
    unsigned random = 7;
    crowd_init(&c, segment(), wait_in_turn);
    for (int i = 0; i < CROWD; i++)
        crowd_start(&c, i);
    for (int round = 0; round < rounds(100); round++) {
        random = random * 1103515245 + 12345;
        int victim = (int)((random >> 20) % CROWD), other = (victim + 1) % CROWD;
        crowd_kill(&c, victim);
        wait_note(&c, other, atomic_load(&c.scratch->note[other]) + 1); /* nobody waits for the dead */
        crowd_start(&c, victim);
    }
    for (int i = 0; i < CROWD; i++)
        crowd_kill(&c, i);
    ck_assert_uint_eq(queue_depth(c.s), 0);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

TCase *case_queue(void) {
    TCase *t = tcase_create("queue");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, in_turn_by_tokens_and_weight);
    tcase_add_test(t, by_what_was_used_in_the_end);
    tcase_add_test(t, nothing_is_saved_up);
    tcase_add_test(t, each_limit_has_its_own_order);
    tcase_add_test(t, a_look_ends_with_the_last);
    tcase_add_test(t, killed_at_random);
    return t;
}
