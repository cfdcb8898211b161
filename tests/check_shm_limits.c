/* Limits that many processes share: buckets, gauges, breakers, health. */
#include "base/clock.h"
#include "base/hash.h"
#include "shm/breaker.h"
#include "shm/bucket.h"
#include "shm/health.h"
#include "shm/slot.h"
#include "shm/tokens.h"
#include "shm_cases.h"
#include <sched.h>
#include <stdlib.h>

#define SECOND UINT64_C(1000000000)
#define MINUTE (60 * SECOND)
#define NOW    (1000 * SECOND)

static uint32_t entity(struct shm *s, unsigned n) {
    return shm_entity(s, ENTITY_TARGET, str_make((const char *)&n, sizeof n));
}

/* Enters a slot of its own: what a single process needs for gauges. */
static struct shm *segment_entered(void) {
    struct shm *s = segment();
    slot_enter(s, slot_claim(s, SLOT_WORKER, 0, 1));
    return s;
}

/* --- buckets --- */

static struct bucket_verdict take(struct shm *s, uint32_t e, uint64_t per_minute, uint64_t cost,
                                  uint64_t now) {
    struct bucket_ask a = {.entity = e, .kind = BUCKET_TOKENS_PER_MINUTE, .limit = per_minute, .cost = cost};
    return buckets_take(s, &a, 1, now);
}

static uint64_t left(struct shm *s, uint32_t e, uint64_t per_minute, uint64_t now) {
    uint64_t remaining, full;
    bucket_look(s, e, BUCKET_TOKENS_PER_MINUTE, per_minute, now, &remaining, &full);
    return remaining;
}

START_TEST(bucket_exact) {
    static const uint64_t limits[] = {1, 2, 7, 60, 999, 99991, 100000};
    struct shm *s = segment();
    for (unsigned i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        uint64_t m = limits[i], passed = 0;
        for (uint64_t n = 0; n < m + 5; n++)
            passed += take(s, entity(s, i), m, 1, NOW).ok;
        ck_assert_uint_eq(passed, m);
        ck_assert_uint_eq(left(s, entity(s, i), m, NOW), 0);
        ck_assert_uint_eq(left(s, entity(s, i), m, NOW + MINUTE), m);
    }
    shm_free(s);
}
END_TEST

START_TEST(bucket_waits_honestly) {
    struct shm *s = segment();
    uint32_t e = entity(s, 1);
    ck_assert(take(s, e, 90, 60, NOW).ok);
    ck_assert_uint_eq(left(s, e, 90, NOW), 30);
    struct bucket_verdict v = take(s, e, 90, 45, NOW);
    ck_assert(!v.ok);
    ck_assert_uint_eq(v.refused, 0);
    ck_assert_uint_eq(v.wait_ns, 10 * SECOND);
    ck_assert(!take(s, e, 90, 45, NOW + v.wait_ns - 1).ok);
    ck_assert(take(s, e, 90, 45, NOW + v.wait_ns).ok);
    shm_free(s);
}
END_TEST

START_TEST(bucket_edges) {
    struct shm *s = segment();
    uint32_t e = entity(s, 1);
    ck_assert_uint_eq(take(s, e, 0, 1, NOW).wait_ns, UINT64_MAX);
    ck_assert(take(s, e, UINT64_MAX, UINT64_MAX, NOW).ok);
    ck_assert(take(s, SHM_NONE, 1, 1, NOW).ok);
    ck_assert(take(s, SHM_NONE, 1, 1, NOW).ok);
    ck_assert(take(s, e, 10, 1000, NOW).ok); /* too large: passes when it is full */
    ck_assert_uint_eq(take(s, e, 10, 1000, NOW).wait_ns, MINUTE);
    ck_assert(take(s, e, 10, 0, NOW).ok);
    ck_assert(take(s, e, 10, 10, NOW + 2 * MINUTE).ok); /* no more than a minute is saved up */
    ck_assert(!take(s, e, 10, 1, NOW + 2 * MINUTE).ok);
    uint64_t remaining, full;
    bucket_look(s, e, BUCKET_TOKENS_PER_MINUTE, 10, NOW + 2 * MINUTE, &remaining, &full);
    ck_assert_uint_eq(full, MINUTE);
    bucket_look(s, e, BUCKET_REQUESTS_PER_MINUTE, 10, NOW, &remaining, &full);
    ck_assert(remaining == 10 && full == 0);
    shm_free(s);
}
END_TEST

/* Each kind is a bucket of its own, and each refills in its own period. */
START_TEST(bucket_kinds) {
    struct shm *s = segment();
    for (int k = 0; k < BUCKET_KINDS; k++) {
        uint64_t period = bucket_rows[k].period_ns, remaining, full;
        struct bucket_ask a = {entity(s, 1), (enum bucket)k, 1000, 999};
        bucket_look(s, a.entity, a.kind, a.limit, NOW, &remaining, &full);
        ck_assert(remaining == 1000 && full == 0);
        ck_assert(buckets_take(s, &a, 1, NOW).ok);
        ck_assert_uint_eq(buckets_take(s, &a, 1, NOW).wait_ns, period / 1000 * 998);
        ck_assert(buckets_take(s, &a, 1, NOW + period / 1000 * 998).ok);
        bucket_look(s, a.entity, a.kind, a.limit, NOW + 2 * period, &remaining, &full);
        ck_assert(remaining == 1000 && full == 0);
        a.cost = UINT64_MAX; /* as much as the limit: what is owed is never more than a period */
        a.limit = UINT64_C(1000000000000000);
        ck_assert(buckets_take(s, &a, 1, NOW + 2 * period).ok);
        ck_assert_uint_eq(buckets_take(s, &a, 1, NOW + 2 * period).wait_ns, period);
    }
    shm_free(s);
}
END_TEST

START_TEST(bucket_tells_the_longest_wait) {
    struct shm *s = segment();
    struct bucket_ask asks[3] = {{entity(s, 1), BUCKET_REQUESTS_PER_MINUTE, 60, 60},
                                 {entity(s, 1), BUCKET_REQUESTS_PER_HOUR, 60, 60},
                                 {entity(s, 1), BUCKET_TOKENS_PER_MINUTE, 60, 60}};
    ck_assert(buckets_take(s, asks, 3, NOW).ok);
    struct bucket_verdict v = buckets_take(s, asks, 3, NOW);
    ck_assert(!v.ok && v.refused == 1);
    ck_assert_uint_eq(v.wait_ns, 60 * MINUTE);
    shm_free(s);
}
END_TEST

START_TEST(bucket_all_or_none) {
    struct shm *s = segment();
    struct bucket_ask asks[3] = {{entity(s, 1), BUCKET_TOKENS_PER_MINUTE, 100, 10},
                                 {entity(s, 2), BUCKET_TOKENS_PER_MINUTE, 100, 10},
                                 {entity(s, 3), BUCKET_TOKENS_PER_MINUTE, 15, 10}};
    ck_assert(buckets_take(s, asks, 3, NOW).ok);
    struct bucket_verdict v = buckets_take(s, asks, 3, NOW);
    ck_assert(!v.ok);
    ck_assert_uint_eq(v.refused, 2);
    ck_assert_uint_eq(v.wait_ns, 20 * SECOND);
    ck_assert_uint_eq(left(s, asks[0].entity, 100, NOW), 90);
    ck_assert_uint_eq(left(s, asks[1].entity, 100, NOW), 90);
    buckets_give_back(s, asks, 3, NOW);
    ck_assert_uint_eq(left(s, asks[0].entity, 100, NOW), 100);
    ck_assert_uint_eq(left(s, asks[2].entity, 15, NOW), 15);
    shm_free(s);
}
END_TEST

START_TEST(bucket_twice_in_one_ask) { /* the look passes both, the second taking does not */
    struct shm *s = segment();
    struct bucket_ask asks[2] = {{entity(s, 1), BUCKET_TOKENS_PER_MINUTE, 10, 6},
                                 {entity(s, 1), BUCKET_TOKENS_PER_MINUTE, 10, 6}};
    struct bucket_verdict v = buckets_take(s, asks, 2, NOW);
    ck_assert(!v.ok && v.refused == 1);
    ck_assert_uint_eq(left(s, asks[0].entity, 10, NOW), 10);
    shm_free(s);
}
END_TEST

START_TEST(bucket_settles) {
    struct shm *s = segment();
    struct bucket_ask a = {entity(s, 1), BUCKET_TOKENS_PER_MINUTE, 60, 30};
    ck_assert(buckets_take(s, &a, 1, NOW).ok);
    bucket_settle(s, &a, -20, NOW);
    ck_assert_uint_eq(left(s, a.entity, 60, NOW), 50);
    bucket_settle(s, &a, 80, NOW); /* 30 into debt */
    ck_assert_uint_eq(left(s, a.entity, 60, NOW), 0);
    ck_assert_uint_eq(take(s, a.entity, 60, 1, NOW).wait_ns, 31 * SECOND);
    bucket_settle(s, &a, -30, NOW + 1000 * SECOND); /* long full: nothing above full */
    ck_assert_uint_eq(left(s, a.entity, 60, NOW + 1000 * SECOND), 60);
    struct bucket_ask big = {entity(s, 2), BUCKET_TOKENS_PER_MINUTE, 60, 1000}; /* charged 60 */
    ck_assert(buckets_take(s, &big, 1, NOW).ok);
    bucket_settle(s, &big, -900, NOW); /* 100 in truth */
    ck_assert_uint_eq(left(s, big.entity, 60, NOW), 0);
    bucket_settle(s, &big, -990, NOW); /* 10 in truth */
    ck_assert_uint_eq(left(s, big.entity, 60, NOW), 50);
    bucket_settle(s, &big, INT64_MAX, NOW);
    ck_assert(!take(s, big.entity, 60, 1, NOW + 100000 * MINUTE).ok);
    shm_free(s);
}
END_TEST

START_TEST(rests) {
    struct shm *s = segment();
    uint32_t e = entity(s, 1);
    ck_assert_uint_eq(rest_left_ns(s, e, NOW), 0);
    rest_until(s, e, NOW + 10);
    rest_until(s, e, NOW + 5); /* the later wins */
    ck_assert_uint_eq(rest_left_ns(s, e, NOW), 10);
    ck_assert_uint_eq(rest_left_ns(s, e, NOW + 10), 0);
    rest_until(s, e, UINT64_MAX);
    ck_assert_uint_eq(rest_left_ns(s, e, NOW + 100), UINT64_MAX);
    rest_clear(s, e);
    ck_assert_uint_eq(rest_left_ns(s, e, NOW), 0);
    shm_free(s);
}
END_TEST

#define BUCKET_ROUNDS 20
#define OWN           1500
#define TIGHT         3001
#define LOOSE         10000
static void ask_buckets(struct crowd *c, int i) {
    for (unsigned r = 0; r < BUCKET_ROUNDS; r++) {
        /* my own key, one that all share, and the gateway: the shared key is the tight one in even rounds */
        uint64_t shared = r % 2 ? LOOSE : TIGHT, gateway = r % 2 ? TIGHT : LOOSE;
        struct bucket_ask asks[3] = {
            {entity(c->s, 1000 + r * 10 + (unsigned)i), BUCKET_TOKENS_PER_MINUTE, OWN, 1},
            {entity(c->s, r * 10), BUCKET_TOKENS_PER_MINUTE, shared, 1},
            {entity(c->s, r * 10 + 1), BUCKET_TOKENS_PER_MINUTE, gateway, 1}};
        meet(c, CROWD);
        uint64_t passed = 0;
        for (int n = 0; n < 2000; n++)
            passed += buckets_take(c->s, asks, 3, NOW).ok;
        child_must(passed <= OWN);
        atomic_fetch_add(&c->scratch->note[r], passed);
    }
}

START_TEST(bucket_crowd) {
    struct crowd c;
    crowd_init(&c, segment(), ask_buckets);
    crowd_run(&c);
    for (unsigned r = 0; r < BUCKET_ROUNDS; r++) {
        ck_assert_uint_eq(atomic_load(&c.scratch->note[r]), TIGHT);
        uint64_t loose = r % 2 ? 0 : 1; /* nothing of the loose one is lost */
        ck_assert_uint_eq(left(c.s, entity(c.s, r * 10 + (unsigned)loose), LOOSE, NOW), LOOSE - TIGHT);
    }
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

/* --- gauges --- */

START_TEST(gauge_alone) {
    struct shm *s = segment_entered();
    uint32_t e = entity(s, 1);
    ck_assert(gauge_take(s, e, GAUGE_IN_FLIGHT, 2) && gauge_take(s, e, GAUGE_IN_FLIGHT, 2));
    ck_assert(!gauge_take(s, e, GAUGE_IN_FLIGHT, 2));
    ck_assert(gauge_take(s, e, GAUGE_PROBES, 1)); /* each for itself */
    ck_assert(gauge_take(s, e, GAUGE_IN_FLIGHT, UINT64_MAX));
    ck_assert_uint_eq(gauge_sum(s, e, GAUGE_IN_FLIGHT), 3);
    gauge_drop(s, e, GAUGE_IN_FLIGHT);
    ck_assert(!gauge_take(s, e, GAUGE_IN_FLIGHT, 2));
    gauge_drop(s, e, GAUGE_IN_FLIGHT);
    ck_assert(gauge_take(s, e, GAUGE_IN_FLIGHT, 2));
    ck_assert(!gauge_take(s, e, GAUGE_IN_FLIGHT, 0));
    ck_assert(gauge_take(s, SHM_NONE, GAUGE_IN_FLIGHT, 0));
    gauge_drop(s, SHM_NONE, GAUGE_IN_FLIGHT);
    shm_free(s);
}
END_TEST

#define GAUGE_ROUNDS 400
/* All ask at once for one of few places: so many must get one, no more, no fewer. */
static void ask_gauges(struct crowd *c, int i) {
    (void)i;
    for (unsigned r = 0; r < GAUGE_ROUNDS; r++) {
        uint32_t e = entity(c->s, r);
        uint64_t cap = 1 + r % 5;
        meet(c, CROWD);
        uint64_t got = (uint64_t)gauge_take(c->s, e, GAUGE_IN_FLIGHT, cap);
        got += gauge_take(c->s, e, GAUGE_IN_FLIGHT, cap);
        atomic_fetch_add(&c->scratch->note[r % 2], got);
        meet(c, CROWD);
        child_must(atomic_load(&c->scratch->note[r % 2]) == cap);
        child_must(gauge_sum(c->s, e, GAUGE_IN_FLIGHT) == cap);
        atomic_store(&c->scratch->note[(r + 1) % 2], 0);
    }
    meet(c, CROWD); /* who ends first takes its counts along */
}

START_TEST(gauge_crowd) {
    struct crowd c;
    crowd_init(&c, segment(), ask_gauges);
    crowd_run(&c);
    ck_assert_uint_eq(gauge_sum(c.s, entity(c.s, 0), GAUGE_IN_FLIGHT), 0); /* all slots are released */
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

#define PAIR_ROUNDS 5000
/* Two on two processors, in step, for one place: where both add at once, one must get it all the same. */
static void ask_in_pairs(struct crowd *c, int i) {
    uint32_t e = entity(c->s, 1);
    for (unsigned r = 0; r < PAIR_ROUNDS; r++) {
        meet(c, 2);
        bool got = gauge_take(c->s, e, GAUGE_IN_FLIGHT, 1);
        atomic_store(&c->scratch->note[i], got);
        meet(c, 2);
        child_must(atomic_load(&c->scratch->note[0]) + atomic_load(&c->scratch->note[1]) == 1);
        if (got)
            gauge_drop(c->s, e, GAUGE_IN_FLIGHT);
    }
}

static void run_pair(void (*fn)(struct crowd *c, int i)) {
    struct crowd c;
    crowd_init(&c, segment(), fn);
    for (int n = 0; n < 100; n++) /* adding up takes a while, so that they do meet in it */
        slot_claim(c.s, SLOT_WORKER, 0, 1);
    crowd_start(&c, 0);
    crowd_start(&c, 1);
    crowd_wait(&c, 0);
    crowd_wait(&c, 1);
    shm_free(c.s);
    crowd_free(&c);
}

START_TEST(gauge_pair) {
    run_pair(ask_in_pairs);
}
END_TEST

static void ask_crosswise(struct crowd *c, int i) {
    struct bucket_ask asks[2] = {{entity(c->s, 1 + (unsigned)i), BUCKET_TOKENS_PER_MINUTE, 1, 1},
                                 {entity(c->s, 2 - (unsigned)i), BUCKET_TOKENS_PER_MINUTE, 1, 1}};
    for (unsigned r = 0; r < PAIR_ROUNDS; r++) {
        meet(c, 2);
        atomic_store(&c->scratch->note[i], buckets_take(c->s, asks, 2, NOW + r * MINUTE).ok);
        meet(c, 2);
        child_must(atomic_load(&c->scratch->note[0]) + atomic_load(&c->scratch->note[1]) == 1);
    }
}

/* Each takes first what the other takes second. */
START_TEST(bucket_pair) {
    run_pair(ask_crosswise);
}
END_TEST

static void come_and_go(struct crowd *c, int i) {
    (void)i;
    uint32_t e = entity(c->s, 1);
    for (int n = 0; n < 20000; n++) {
        if (!gauge_take(c->s, e, GAUGE_IN_FLIGHT, 2))
            continue;
        child_must(atomic_fetch_add(&c->scratch->note[0], 1) < 2);
        atomic_fetch_sub(&c->scratch->note[0], 1);
        gauge_drop(c->s, e, GAUGE_IN_FLIGHT);
        atomic_fetch_add(&c->scratch->note[1], 1);
    }
}

START_TEST(gauge_never_over) {
    struct crowd c;
    crowd_init(&c, segment(), come_and_go);
    crowd_run(&c);
    ck_assert_uint_eq(gauge_sum(c.s, entity(c.s, 1), GAUGE_IN_FLIGHT), 0);
    ck_assert_uint_gt(atomic_load(&c.scratch->note[1]), 1000);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

static void hammer(struct crowd *c, int i) {
    uint32_t e = entity(c->s, 1), mine = entity(c->s, 2);
    child_must(gauge_take(c->s, mine, GAUGE_IN_FLIGHT, UINT64_MAX));
    for (;;) {
        if (gauge_take(c->s, e, GAUGE_IN_FLIGHT, 3))
            gauge_drop(c->s, e, GAUGE_IN_FLIGHT);
        atomic_fetch_add(&c->scratch->note[i], 1);
    }
}

START_TEST(gauge_killed) {
    struct crowd c;
    crowd_init(&c, segment_entered(), hammer);
    uint32_t e = entity(c.s, 1), each = entity(c.s, 2);
    for (int i = 0; i < CROWD; i++)
        crowd_start(&c, i);
    for (int i = 0; i < CROWD; i++)
        wait_note(&c, i, 1);
    for (int round = 0; round < 30; round++) {
        int i = round % CROWD;
        wait_note(&c, i, atomic_load(&c.scratch->note[i]) + 1 + random_u64() % 500);
        crowd_kill(&c, i);
        ck_assert_uint_eq(gauge_sum(c.s, each, GAUGE_IN_FLIGHT), CROWD - 1);
        crowd_start(&c, i);
        wait_note(&c, i, atomic_load(&c.scratch->note[i]) + 1);
    }
    for (int i = 0; i < CROWD; i++)
        crowd_kill(&c, i);
    ck_assert_uint_eq(gauge_sum(c.s, e, GAUGE_IN_FLIGHT), 0);
    for (int n = 0; n < 3; n++)
        ck_assert(gauge_take(c.s, e, GAUGE_IN_FLIGHT, 3));
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

/* --- breakers --- */

static const struct breaker_rule rule = {.consecutive_failures = 3,
                                         .error_rate = 0.5,
                                         .window_ms = 60000,
                                         .min_requests = 10,
                                         .open_for_ms = 1000,
                                         .max_open_for_ms = 6000,
                                         .half_open_probes = 1};

static struct breaker_change done(struct shm *s, uint32_t e, enum breaker_pass p, enum outcome o,
                                  uint64_t now) {
    return breaker_done(s, e, &rule, p, o, now, 0.5);
}

static void open_it(struct shm *s, uint32_t e, uint64_t now) {
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(breaker_ask(s, e, &rule, now), BREAKER_PASS);
        struct breaker_change c = done(s, e, BREAKER_PASS, OUTCOME_FAILED, now);
        ck_assert(c.changed == (i == 2));
    }
}

START_TEST(breaker_goes_round) {
    struct shm *s = segment_entered();
    uint32_t e = entity(s, 1);
    uint64_t retry;
    done(s, e, BREAKER_PASS, OUTCOME_FAILED, NOW);
    done(s, e, BREAKER_PASS, OUTCOME_FAILED, NOW);
    done(s, e, BREAKER_PASS, OUTCOME_OK, NOW); /* not in a row any more */
    open_it(s, e, NOW);
    ck_assert_int_eq(breaker_state(s, e, &retry, NOW), BREAKER_OPEN);
    ck_assert_uint_eq(retry, SECOND);
    ck_assert(!done(s, e, BREAKER_PASS, OUTCOME_OK, NOW).changed); /* late */
    ck_assert_int_eq(breaker_ask(s, e, &rule, NOW + SECOND - 1000000), BREAKER_REFUSE);
    ck_assert(!breaker_would_pass(s, e, &rule, NOW));
    ck_assert(breaker_would_pass(s, e, &rule, NOW + SECOND));
    ck_assert_int_eq(breaker_ask(s, e, &rule, NOW + SECOND), BREAKER_PROBE);
    ck_assert_int_eq(breaker_ask(s, e, &rule, NOW + SECOND), BREAKER_REFUSE);
    ck_assert(!breaker_would_pass(s, e, &rule, NOW + SECOND));
    ck_assert(!done(s, e, BREAKER_PASS, OUTCOME_FAILED, NOW + SECOND).changed); /* late */
    ck_assert(!done(s, e, BREAKER_PROBE, OUTCOME_NEUTRAL, NOW + SECOND).changed);
    ck_assert_int_eq(breaker_ask(s, e, &rule, NOW + SECOND), BREAKER_PROBE); /* it told nothing: another */
    struct breaker_change c = done(s, e, BREAKER_PROBE, OUTCOME_OK, NOW + SECOND);
    ck_assert(c.changed && c.from == BREAKER_HALF_OPEN && c.to == BREAKER_CLOSED);
    ck_assert_int_eq(breaker_ask(s, e, &rule, NOW + SECOND), BREAKER_PASS);
    ck_assert_uint_eq(gauge_sum(s, e, GAUGE_PROBES), 0);
    ck_assert_str_eq(breaker_state_name(BREAKER_HALF_OPEN), "half_open");
    shm_free(s);
}
END_TEST

START_TEST(breaker_opens_longer) {
    struct shm *s = segment_entered();
    uint32_t e = entity(s, 1);
    static const uint64_t expect[] = {1750, 3500, 5250, 5250}; /* 2000, 4000, 6000 less an eighth */
    open_it(s, e, NOW);
    uint64_t now = NOW + SECOND;
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(breaker_ask(s, e, &rule, now), BREAKER_PROBE);
        struct breaker_change c = done(s, e, BREAKER_PROBE, OUTCOME_FAILED, now);
        ck_assert(c.changed && c.from == BREAKER_HALF_OPEN && c.to == BREAKER_OPEN);
        ck_assert_uint_eq(c.open_for_ms, expect[i]);
        now += c.open_for_ms * 1000000;
    }
    breaker_reset(s, e);
    ck_assert_int_eq(breaker_ask(s, e, &rule, now), BREAKER_PASS);
    open_it(s, e, now); /* from the beginning again */
    ck_assert_int_eq(breaker_ask(s, e, &rule, now + SECOND), BREAKER_PROBE);
    shm_free(s);
}
END_TEST

static struct breaker_change one_call(struct shm *s, uint32_t e, enum outcome o, uint64_t now) {
    health_record(s, e, o, 10, 5, now);
    return done(s, e, BREAKER_PASS, o, now);
}

START_TEST(breaker_by_rate) {
    struct shm *s = segment_entered();
    uint32_t e = entity(s, 1);
    for (int i = 0; i < 4; i++) {
        ck_assert(!one_call(s, e, OUTCOME_OK, NOW).changed);
        ck_assert(!one_call(s, e, OUTCOME_FAILED, NOW).changed);
    }
    ck_assert(!one_call(s, e, OUTCOME_OK, NOW).changed);
    ck_assert(one_call(s, e, OUTCOME_FAILED, NOW).changed); /* 5 of 10, never two in a row */
    ck_assert_int_eq(breaker_ask(s, e, &rule, NOW + SECOND), BREAKER_PROBE);
    ck_assert(done(s, e, BREAKER_PROBE, OUTCOME_OK, NOW + SECOND).changed);
    ck_assert(!one_call(s, e, OUTCOME_FAILED, NOW + 2 * SECOND).changed); /* those of before are forgiven */
    shm_free(s);
}
END_TEST

#define PROBE_ROUNDS 300
/* note[0]: probes of the round; [1]: changes reported; [2]: ended. One or three probes, and both ends in
 * turn. */
static void ask_probes(struct crowd *c, int i) {
    struct breaker_rule r = rule;
    uint64_t now = NOW;
    for (unsigned round = 0; round < PROBE_ROUNDS; round++) {
        uint32_t e = entity(c->s, round);
        r.half_open_probes = round % 2 ? 3 : 1;
        enum outcome o = round % 4 < 2 ? OUTCOME_OK : OUTCOME_FAILED;
        if (i == 0) {
            for (int n = 0; n < 3; n++)
                breaker_done(c->s, e, &r, BREAKER_PASS, OUTCOME_FAILED, now, 0);
            atomic_store(&c->scratch->note[0], 0);
            atomic_store(&c->scratch->note[1], 0);
            atomic_store(&c->scratch->note[2], 0);
        }
        meet(c, CROWD);
        enum breaker_pass p = breaker_ask(c->s, e, &r, now + SECOND);
        child_must(p != BREAKER_PASS);
        atomic_fetch_add(&c->scratch->note[0], p == BREAKER_PROBE);
        meet(c, CROWD);
        child_must(atomic_load(&c->scratch->note[0]) == r.half_open_probes);
        if (p == BREAKER_PROBE) {
            bool changed = breaker_done(c->s, e, &r, p, o, now + SECOND, 0).changed;
            atomic_fetch_add(&c->scratch->note[1], changed);
            atomic_fetch_add(&c->scratch->note[2], 1);
        }
        for (int n = 0; atomic_load(&c->scratch->note[2]) < r.half_open_probes; n++) { /* tries to slip in */
            if (n % 256 == 255)
                sched_yield();
            child_must(breaker_ask(c->s, e, &r, now + SECOND) != BREAKER_PROBE);
        }
        meet(c, CROWD);
        child_must(atomic_load(&c->scratch->note[1]) == 1);
        child_must(breaker_state(c->s, e, NULL, now) == (o == OUTCOME_OK ? BREAKER_CLOSED : BREAKER_OPEN));
        child_must(gauge_sum(c->s, e, GAUGE_PROBES) == 0);
        meet(c, CROWD);
    }
}

START_TEST(breaker_crowd) {
    struct crowd c;
    crowd_init(&c, segment(), ask_probes);
    crowd_run(&c);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

static void probe_for_ever(struct crowd *c, int i) {
    (void)i;
    child_must(breaker_ask(c->s, entity(c->s, 1), &rule, NOW + SECOND) == BREAKER_PROBE);
    atomic_store(&c->scratch->note[0], 1);
    wait_note(c, 1, 1);
}

START_TEST(breaker_probe_dies) {
    struct crowd c;
    crowd_init(&c, segment_entered(), probe_for_ever);
    uint32_t e = entity(c.s, 1);
    open_it(c.s, e, NOW);
    crowd_start(&c, 0);
    wait_note(&c, 0, 1);
    ck_assert_int_eq(breaker_ask(c.s, e, &rule, NOW + SECOND), BREAKER_REFUSE);
    crowd_kill(&c, 0);
    ck_assert_int_eq(breaker_ask(c.s, e, &rule, NOW + SECOND), BREAKER_PROBE);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

/* --- health --- */

START_TEST(health_window) {
    struct shm *s = segment();
    uint32_t e = entity(s, 1);
    struct health h;
    health_look(s, e, 60000, NOW, &h);
    ck_assert(h.score == 100 && !h.degraded && h.last_ms == 0 && h.requests == 0);
    for (int i = 0; i < 8; i++)
        health_record(s, e, OUTCOME_OK, 200, 50, NOW);
    health_record(s, e, OUTCOME_NEUTRAL, 9000, 9000, NOW);
    health_record(s, e, OUTCOME_FAILED, 9000, 0, NOW);
    health_record(s, e, OUTCOME_FAILED, 9000, 0, NOW);
    health_look(s, e, 60000, NOW, &h);
    ck_assert(h.requests == 10 && h.errors == 2 && h.degraded && h.failures_in_a_row == 2);
    ck_assert_uint_eq(h.score, 64); /* 0.8 * 0.8 */
    ck_assert(h.latency_ms > 199 && h.latency_ms < 201 && h.first_byte_ms > 49 && h.first_byte_ms < 51);
    ck_assert_int_ne(h.last_ms, 0);
    health_look(s, e, 5000, NOW + 4 * SECOND, &h);
    ck_assert_uint_eq(h.requests, 10);
    health_look(s, e, 5000, NOW + 5 * SECOND, &h);
    ck_assert_uint_eq(h.requests, 0);
    health_look(s, e, 300000, NOW + 200 * SECOND, &h);
    ck_assert_uint_eq(h.requests, 10);
    health_look(s, e, 60000, NOW + 64 * SECOND, &h);
    ck_assert_uint_eq(h.requests, 0);
    health_record(s, e, OUTCOME_OK, 200, 50, NOW + 64 * SECOND);
    health_look(s, e, 60000, NOW + 64 * SECOND, &h);
    ck_assert(h.score == 100 && h.failures_in_a_row == 0 && !h.degraded);
    shm_free(s);
}
END_TEST

START_TEST(health_slow) {
    struct shm *s = segment();
    uint32_t e = entity(s, 1);
    struct health h;
    for (int i = 0; i < 300; i++)
        health_record(s, e, OUTCOME_OK, 100, 0, NOW);
    for (int i = 0; i < 15; i++)
        health_record(s, e, OUTCOME_OK, 1000, 0, NOW);
    health_look(s, e, 60000, NOW, &h);
    ck_assert_uint_eq(h.score, 50); /* all answers, but four times as slow as ever */
    ck_assert(h.degraded);
    for (int i = 0; i < 20; i++)
        health_record(s, e, OUTCOME_OK, 100, 0, NOW);
    health_look(s, e, 60000, NOW, &h);
    ck_assert_uint_eq(h.score, 100);
    for (int i = 0; i < 12; i++)
        health_record(s, e, OUTCOME_FAILED, 1, 0, NOW);
    health_look(s, e, 60000, NOW, &h);
    ck_assert_uint_eq(h.score, 0);
    shm_free(s);
}
END_TEST

/* --- tokens --- */

START_TEST(tokens_are_learned) {
    struct shm *s = segment();
    uint32_t e = entity(s, 1), other = entity(s, 2);
    ck_assert(tokens_ratio(s, e) == 4.0 && tokens_estimate(s, e, 400) == 100 &&
              tokens_estimate(s, e, 401) == 101);
    ck_assert(tokens_estimate(s, e, 0) == 0 && tokens_estimate(s, e, 1) == 1);
    for (int i = 0; i < 40; i++)
        tokens_learn(s, e, 2500, 1000);
    ck_assert(tokens_ratio(s, e) > 2.45 && tokens_ratio(s, e) < 2.55);
    ck_assert(tokens_estimate(s, e, 10000) > 3900 && tokens_estimate(s, e, 10000) < 4100);
    ck_assert(tokens_ratio(s, other) == 4.0 && tokens_ratio(s, SHM_NONE) == 4.0);
    for (int i = 0; i < 100; i++) /* it goes with the model behind the name */
        tokens_learn(s, e, 6000, 1000);
    ck_assert(tokens_ratio(s, e) > 5.9 && tokens_ratio(s, e) < 6.1);
    tokens_learn(s, SHM_NONE, 6000, 1000);
    shm_free(s);
}
END_TEST

START_TEST(tokens_that_cannot_be) {
    struct shm *s = segment();
    uint32_t e = entity(s, 1);
    for (int i = 0; i < 100; i++) {
        tokens_learn(s, e, 1000, 1001); /* more tokens than bytes */
        tokens_learn(s, e, 1000, UINT64_MAX);
        tokens_learn(s, e, 1700, 100); /* 17 bytes each */
        tokens_learn(s, e, UINT64_MAX, 1);
        tokens_learn(s, e, 1000, 0);
        tokens_learn(s, e, TOKENS_BYTES_LEAST - 1, 100); /* too little to tell */
    }
    ck_assert(tokens_ratio(s, e) == 4.0);
    for (int i = 0; i < 1000; i++)
        tokens_learn(s, e, 1000, 1000);
    ck_assert(tokens_ratio(s, e) >= 1.0 && tokens_ratio(s, e) < 1.01);
    for (int i = 0; i < 1000; i++)
        tokens_learn(s, e, 16000, 1000);
    ck_assert(tokens_ratio(s, e) > 15.9 && tokens_ratio(s, e) <= 16.0);
    ck_assert_uint_ge(tokens_estimate(s, e, UINT64_MAX), UINT64_MAX / 4);
    shm_free(s);
}
END_TEST

/* One giant moves it no further than a mebibyte does. */
START_TEST(tokens_of_a_giant) {
    struct shm *s = segment();
    uint32_t e = entity(s, 1), f = entity(s, 2);
    tokens_learn(s, e, UINT64_C(1) << 40, UINT64_C(1) << 39);
    tokens_learn(s, f, UINT64_C(1) << 20, UINT64_C(1) << 19);
    ck_assert(tokens_ratio(s, e) == tokens_ratio(s, f));
    shm_free(s);
}
END_TEST

static void learn_much(struct crowd *c, int i) {
    uint32_t e = entity(c->s, 1);
    for (int k = 0; k < 2000; k++) {
        tokens_learn(c->s, e, 4000, i % 2 ? 2000 : 1000);
        child_must(tokens_ratio(c->s, e) >= 2.0 && tokens_ratio(c->s, e) <= 4.0);
    }
}

START_TEST(tokens_crowd) {
    struct crowd c;
    struct shm *s = segment();
    crowd_init(&c, s, learn_much);
    crowd_run(&c);
    ck_assert(tokens_ratio(s, entity(s, 1)) >= 2.0 && tokens_ratio(s, entity(s, 1)) <= 4.0);
    shm_free(s);
    crowd_free(&c);
}
END_TEST

TCase *case_limits(void) {
    TCase *t = tcase_create("limits");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, bucket_exact);
    tcase_add_test(t, bucket_waits_honestly);
    tcase_add_test(t, bucket_edges);
    tcase_add_test(t, bucket_kinds);
    tcase_add_test(t, bucket_tells_the_longest_wait);
    tcase_add_test(t, bucket_all_or_none);
    tcase_add_test(t, bucket_twice_in_one_ask);
    tcase_add_test(t, bucket_settles);
    tcase_add_test(t, rests);
    tcase_add_test(t, bucket_crowd);
    tcase_add_test(t, gauge_alone);
    tcase_add_test(t, gauge_crowd);
    tcase_add_test(t, gauge_pair);
    tcase_add_test(t, bucket_pair);
    tcase_add_test(t, gauge_never_over);
    tcase_add_test(t, gauge_killed);
    tcase_add_test(t, breaker_goes_round);
    tcase_add_test(t, breaker_opens_longer);
    tcase_add_test(t, breaker_by_rate);
    tcase_add_test(t, breaker_crowd);
    tcase_add_test(t, breaker_probe_dies);
    tcase_add_test(t, tokens_are_learned);
    tcase_add_test(t, tokens_that_cannot_be);
    tcase_add_test(t, tokens_of_a_giant);
    tcase_add_test(t, tokens_crowd);
    tcase_add_test(t, health_window);
    tcase_add_test(t, health_slow);
    return t;
}
