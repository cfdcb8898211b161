/* Leases: taken by crowds never more than given, sized by how fast they go, owed, and shares. */
#include "base/clock.h"
#include "shm/lease.h"
#include "shm/slot.h"
#include "shm_cases.h"

#define KIND BUCKET_REQUESTS_PER_HOUR

static struct bucket_ask ask_of(struct shm *s, uint64_t limit, uint64_t cost) {
    return (struct bucket_ask){shm_entity(s, ENTITY_GATEWAY_KEY, STR("k")), KIND, limit, cost};
}

START_TEST(lease_basics) {
    struct shm *s = segment();
    struct bucket_ask a = ask_of(s, 100, 3);
    ck_assert(!lease_take(s, &a));
    lease_add(s, a.entity, KIND, 7);
    ck_assert(lease_take(s, &a) && lease_take(s, &a) && !lease_take(s, &a));
    ck_assert_int_eq(lease_held(s, a.entity, KIND), 1);
    lease_add(s, a.entity, KIND, -5);
    ck_assert(!lease_take(s, &a));
    ck_assert_int_eq(lease_held(s, a.entity, KIND), -4);
    ck_assert_int_eq(lease_empty(s, a.entity, KIND), -4);
    ck_assert_int_eq(lease_held(s, a.entity, KIND), 0);
    /* a cost above the limit is the limit; without an entity nothing is limited */
    struct bucket_ask large = ask_of(s, 5, 50), none = {SHM_NONE, KIND, 5, 1};
    lease_add(s, a.entity, KIND, 5);
    ck_assert(lease_take(s, &large) && !lease_take(s, &large) && lease_take(s, &none));
    lease_add(s, SHM_NONE, KIND, 1);
    ck_assert_int_eq(lease_empty(s, SHM_NONE, KIND), 0);
    shm_free(s);
}
END_TEST

START_TEST(lease_sizes) {
    struct shm *s = segment();
    struct bucket_ask a = ask_of(s, 1000, 1);
    uint64_t now = 1000000, before = 0;
    ck_assert_uint_eq(lease_size(s, &a, 100, now), 0); /* the first */
    for (int i = 0; i < 12; i++) {                     /* spent at once, again and again */
        lease_seen(s, &a, 500, 0, now);
        uint64_t size = lease_size(s, &a, 100, now + 5);
        ck_assert(size > before || size == 100);
        before = size;
        now += 5;
    }
    ck_assert_uint_eq(before, 100);
    ck_assert_uint_eq(lease_size(s, &a, 40, now), 40); /* others have come */
    lease_seen(s, &a, 500, 0, now);
    ck_assert_uint_eq(lease_size(s, &a, 100, now + 500), 20);
    ck_assert_uint_eq(lease_size(s, &a, 100, now + 5000), 0);
    shm_free(s);
}
END_TEST

START_TEST(lease_of_a_spent_bucket) {
    struct shm *s = segment();
    struct bucket_ask a = ask_of(s, 3600, 1);
    uint64_t left, full;
    lease_look(s, a.entity, KIND, 3600, 1000, &left, &full);
    ck_assert(left == 3600 && full == 0); /* nobody has asked */
    lease_seen(s, &a, 0, 2000000, 10000);
    ck_assert_uint_eq(lease_dry_ms(s, &a, 10010), 1991);
    ck_assert_uint_eq(lease_dry_ms(s, &a, 10100), 0); /* not believed for long */
    lease_look(s, a.entity, KIND, 3600, 15000, &left, &full);
    ck_assert(left == 5 && full == UINT64_C(3595) * 1000000000); /* one a second */
    lease_add(s, a.entity, KIND, 2);
    lease_look(s, a.entity, KIND, 3600, 15000, &left, &full);
    ck_assert_uint_eq(left, 7);
    lease_add(s, a.entity, KIND, -12);
    lease_look(s, a.entity, KIND, 3600, 15000, &left, &full);
    ck_assert_uint_eq(left, 0);
    ck_assert_uint_eq(lease_idle(s, a.entity, KIND, 1000, 10500), 0);
    ck_assert_uint_eq(lease_idle(s, a.entity, KIND, 1000, 11500), 3600);
    shm_free(s);
}
END_TEST

START_TEST(lease_part_of_what_is_left) {
    struct shm *s = segment();
    struct bucket_ask a = ask_of(s, 3600, 1), large = a, other = ask_of(s, 60, 1);
    uint64_t part = 0, wait = 0;
    ck_assert(!lease_part(s, &a, 3, 300, 10000, &part)); /* nobody has asked */
    lease_seen(s, &a, 10, 0, 10000);
    ck_assert(lease_part(s, &a, 3, 300, 10200, &part));
    ck_assert_uint_eq(part, 4);
    ck_assert(!lease_part(s, &a, 3, 300, 10300, &part));
    other.entity = a.entity; /* the limit is another one since */
    ck_assert(!lease_part(s, &other, 3, 300, 10200, &part));
    large.cost = 9; /* what fits whole is let in */
    ck_assert(lease_part(s, &large, 3, 300, 10200, &part) && part == 9);
    large.cost = 90;
    ck_assert(lease_part(s, &large, 3, 300, 10200, &part) && part == 10);
    ck_assert(!lease_owe_within(s, &large, part, &wait));
    ck_assert_uint_eq(wait, UINT64_C(80) * 1000000000);
    for (int i = 0; i < 4; i++)
        ck_assert(lease_owe_within(s, &a, 4, &wait));
    ck_assert(!lease_owe_within(s, &a, 4, &wait));
    ck_assert_uint_eq(wait, UINT64_C(1000000000));
    ck_assert_int_eq(lease_held(s, a.entity, KIND), -4);
    lease_seen(s, &a, 0, 1000000, 10400);
    ck_assert(lease_part(s, &a, 3, 300, 10400, &part) && part == 0);
    a.entity = SHM_NONE; /* no room for it: it has no limit */
    ck_assert(!lease_part(s, &a, 3, 300, 10400, &part) && lease_owe_within(s, &a, 0, &wait));
    shm_free(s);
}
END_TEST

START_TEST(lease_shares_and_debts) {
    struct shm *s = segment();
    uint64_t now = clock_ns();
    struct bucket_ask a = ask_of(s, 90, 1), share = lease_share(&a, 3), few = ask_of(s, 2, 1);
    ck_assert_uint_eq(share.limit, 30);
    few = lease_share(&few, 3);
    ck_assert_uint_eq(few.limit, 1);
    for (int i = 0; i < 10; i++)
        lease_note(s, &share, now);
    lease_add(s, a.entity, KIND, -50);
    uint64_t debt = lease_debt(s, &a, share.limit, now);
    ck_assert_msg(debt >= 10 && debt <= 11, "%llu",
                  (unsigned long long)debt); /* the rest has been refilled since */
    ck_assert_uint_eq(lease_debt(s, &a, share.limit, now), 0);
    for (int i = 0; i < 100; i++)
        lease_note(s, &share, now); /* more than its share, while all was well */
    uint64_t left, full;
    bucket_look(s, a.entity, KIND, share.limit, now, &left, &full);
    ck_assert_uint_le(full, bucket_rows[KIND].period_ns);
    shm_free(s);
}
END_TEST

enum { GIVEN = 5000, TAKEN = 20 };

static void take_all(struct crowd *c, int i) {
    struct bucket_ask a = ask_of(c->s, 100000, 3);
    meet(c, CROWD);
    for (int n = 0; n < GIVEN; n++)
        if (lease_take(c->s, &a))
            atomic_fetch_add(&c->scratch->note[TAKEN + i], 3);
}

START_TEST(lease_crowd) {
    struct crowd c;
    crowd_init(&c, segment(), take_all);
    uint32_t e = ask_of(c.s, 1, 1).entity;
    lease_add(c.s, e, KIND, GIVEN);
    crowd_run(&c);
    uint64_t taken = 0;
    for (int i = 0; i < CROWD; i++)
        taken += atomic_load(&c.scratch->note[TAKEN + i]);
    ck_assert_uint_eq(taken, GIVEN / 3 * 3);
    ck_assert_int_eq(lease_held(c.s, e, KIND), GIVEN % 3);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

TCase *case_leases(void) {
    TCase *t = tcase_create("leases");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, lease_basics);
    tcase_add_test(t, lease_sizes);
    tcase_add_test(t, lease_of_a_spent_bucket);
    tcase_add_test(t, lease_part_of_what_is_left);
    tcase_add_test(t, lease_shares_and_debts);
    tcase_add_test(t, lease_crowd);
    return t;
}
