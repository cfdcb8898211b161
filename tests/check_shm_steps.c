/* What is done to shared memory, by a process that is killed before its first step, before its second, and so
 * on until it comes through: after each death the others must find everything as if it had been done whole or
 * not at all. Only in check_shm_chaos, where every atomic operation is such a step. */
#include "shm/bucket.h"
#include "shm/money.h"
#include "shm/queue.h"
#include "shm/ring.h"
#include "shm/slot.h"
#include "shm_cases.h"
#include <sys/wait.h>
#include <unistd.h>

#ifdef PENSTOCK_TESTS_SHM_CHAOS_H

uint64_t chaos_left;

static const struct money_period MAY = {3, 10000};
enum { HELD = 10, COST = 7, LIMIT = 1000, STEPS_MOST = 20000, ENTITIES = 3 };

static uint32_t entity(struct shm *s, unsigned n) {
    return shm_entity(s, ENTITY_TENANT, str_make((const char *)&n, sizeof n));
}

struct scene {
    struct shm *s;
    uint32_t slot; /* of who is killed */
    struct money_list all;
};

static struct scene begin(enum slot_role role) {
    struct scene x = {.s = segment(), .all = {.n = ENTITIES}};
    x.slot = slot_claim(x.s, role, 0, 1);
    slot_enter(x.s, x.slot);
    for (unsigned i = 0; i < ENTITIES; i++) {
        x.all.entity[i] = entity(x.s, i);
        money_set(x.s, x.all.entity[i], MAY, 0);
    }
    return x;
}

/* True: it came through before that step. */
static bool die_at(unsigned step, void (*fn)(struct scene *x), struct scene *x) {
    int status;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        chaos_left = step;
        fn(x);
        chaos_left = 0;
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return !WIFSIGNALED(status);
}

static void asks(const struct scene *x, struct money_ask out[ENTITIES]) {
    for (unsigned i = 0; i < ENTITIES; i++)
        out[i] = (struct money_ask){x->all.entity[i], MAY, LIMIT};
}

static void reserve(struct scene *x) {
    struct money_ask a[ENTITIES];
    size_t refused;
    asks(x, a);
    child_must(money_reserve(x->s, a, ENTITIES, HELD, &refused) == MONEY_OK);
}

/* Nobody is between two words: who looks has to look once only. */
static void is_quiet(struct scene *x) {
    struct money m;
    chaos_left = 1000;
    money_look(x->s, x->all.entity[0], MAY, &m);
    ck_assert_uint_gt(chaos_left, 500);
    chaos_left = 0;
}

static void has(struct scene *x, uint64_t spent, uint64_t on_way, unsigned step) {
    for (unsigned i = 0; i < ENTITIES; i++) {
        struct money m;
        money_look(x->s, x->all.entity[i], MAY, &m);
        ck_assert_msg(m.known && m.spent == spent && m.on_way == on_way,
                      "entity %u after step %u: %lu and %lu, not %lu and %lu", i, step,
                      (unsigned long)m.spent, (unsigned long)m.on_way, (unsigned long)spent,
                      (unsigned long)on_way);
    }
}

/* --- the scribe --- */

static void book(struct scene *x) {
    money_book(x->s, x->slot, 60, &x->all, &x->all, COST);
}

static void recover(struct scene *x) {
    money_recover(x->s);
}

/* Two are under way, one of them has ended and been committed; the successor may die as well. */
START_TEST(a_scribe_books) {
    bool through = false;
    for (unsigned step = 1; !through; step++) {
        ck_assert_uint_lt(step, STEPS_MOST);
        struct scene x = begin(SLOT_WORKER);
        reserve(&x);
        reserve(&x);
        money_change(x.s, x.all.entity, ENTITIES, HELD, COST);
        through = die_at(step, book, &x);
        die_at(1 + step % 17, recover, &x);
        recover(&x);
        is_quiet(&x);
        book(&x); /* its row is in the ledger, and its record still in the ring */
        for (unsigned i = 0; i < ENTITIES; i++)
            money_set(x.s, x.all.entity[i], MAY, COST); /* the ledger's sum */
        has(&x, COST, HELD, step);
        is_quiet(&x);
        shm_free(x.s);
    }
}
END_TEST

static void count(struct scene *x) {
    for (unsigned i = 0; i < ENTITIES; i++)
        money_set(x->s, x->all.entity[i], (struct money_period){4, 20000}, 900);
}

/* A sum is never taken for another period's. */
START_TEST(a_scribe_counts) {
    bool through = false;
    for (unsigned step = 1; !through; step++) {
        ck_assert_uint_lt(step, STEPS_MOST);
        struct scene x = begin(SLOT_WORKER);
        for (unsigned i = 0; i < ENTITIES; i++)
            money_set(x.s, x.all.entity[i], MAY, 5);
        through = die_at(step, count, &x);
        for (unsigned i = 0; i < ENTITIES; i++) {
            struct money old, new;
            money_look(x.s, x.all.entity[i], MAY, &old);
            money_look(x.s, x.all.entity[i], (struct money_period){4, 20000}, &new);
            ck_assert(!(old.known && new.known) && (!old.known || old.spent == 5) &&
                      (!new.known || new.spent == 900));
        }
        count(&x);
        shm_free(x.s);
    }
}
END_TEST

/* --- a worker --- */

static void spend(struct scene *x) {
    uint64_t pos;
    reserve(x);
    money_change(x->s, x->all.entity, ENTITIES, HELD, COST);
    ring_put(x->s, 1, STR("row"), STR_NONE, &pos);
}

/* Before the ring is drained what has ended is on its way; afterwards nothing is. */
START_TEST(a_worker_spends) {
    bool through = false;
    for (unsigned step = 1; !through; step++) {
        ck_assert_uint_lt(step, STEPS_MOST);
        struct scene x = begin(SLOT_WORKER);
        through = die_at(step, spend, &x);
        slot_release(x.s, x.slot);
        uint64_t at = ring_tail(x.s, x.slot), rows = 0;
        uint32_t type;
        struct str payload;
        struct money m;
        while (ring_next(x.s, x.slot, &at, &type, &payload)) {
            rows++;
            for (unsigned i = 0; i < ENTITIES; i++) {
                money_look(x.s, x.all.entity[i], MAY, &m);
                ck_assert_uint_ge(m.on_way, COST);
            }
            money_book(x.s, x.slot, at, &x.all, &x.all, COST);
        }
        ck_assert_uint_le(rows, 1);
        ring_release(x.s, x.slot, at);
        has(&x, rows * COST, 0, step);
        uint32_t next = slot_claim(x.s, SLOT_WORKER, 0, 2); /* who comes after it inherits nothing */
        slot_enter(x.s, next);
        has(&x, rows * COST, 0, step);
        reserve(&x);
        has(&x, rows * COST, HELD, step);
        shm_free(x.s);
    }
}
END_TEST

static void take(struct scene *x) {
    const struct bucket_ask a[2] = {{x->all.entity[0], BUCKET_REQUESTS_PER_DAY, 5, 1},
                                    {x->all.entity[1], BUCKET_REQUESTS_PER_DAY, 5, 1}};
    child_must(buckets_take(x->s, a, 2, 1).ok);
    gauge_take(x->s, x->all.entity[0], GAUGE_IN_FLIGHT, 1);
    buckets_give_back(x->s, a, 2, 1);
    gauge_drop(x->s, x->all.entity[0], GAUGE_IN_FLIGHT);
}

/* What it had of buckets counts as used, no more; gauges are free at once. */
START_TEST(a_worker_is_limited) {
    bool through = false;
    for (unsigned step = 1; !through; step++) {
        ck_assert_uint_lt(step, STEPS_MOST);
        struct scene x = begin(SLOT_WORKER);
        uint64_t remaining, full;
        through = die_at(step, take, &x);
        slot_release(x.s, x.slot);
        for (unsigned i = 0; i < 2; i++) {
            bucket_look(x.s, x.all.entity[i], BUCKET_REQUESTS_PER_DAY, 5, 1, &remaining, &full);
            ck_assert(remaining == 5 || (remaining == 4 && !through));
        }
        ck_assert_uint_eq(gauge_sum(x.s, x.all.entity[0], GAUGE_IN_FLIGHT), 0);
        slot_enter(x.s, slot_claim(x.s, SLOT_WORKER, 0, 2));
        ck_assert(gauge_take(x.s, x.all.entity[0], GAUGE_IN_FLIGHT, 1));
        shm_free(x.s);
    }
}
END_TEST

static void wait_and_go(struct scene *x) {
    uint32_t place = queue_join(x->s, x->all.entity[0], 5, 1, x->all.entity[1], 10);
    queue_blocked(x->s, place, x->all.entity[2]);
    queue_turn(x->s, place);
    queue_leave(x->s, place, true);
    queue_leave(x->s, queue_join(x->s, x->all.entity[0], 5, 1, x->all.entity[1], 10), false);
}

/* Its place is free, in nobody's way, and can be had again. */
START_TEST(a_worker_waits) {
    bool through = false;
    for (unsigned step = 1; !through; step++) {
        ck_assert_uint_lt(step, STEPS_MOST);
        struct scene x = begin(SLOT_WORKER);
        through = die_at(step, wait_and_go, &x);
        slot_release(x.s, x.slot);
        ck_assert_uint_eq(queue_depth(x.s), 0);
        ck_assert(queue_any(x.s, &x.all.entity[1], 2) == SHM_NONE);
        slot_enter(x.s, slot_claim(x.s, SLOT_WORKER, 0, 2));
        uint32_t place = queue_join(x.s, x.all.entity[0], 5, 1, x.all.entity[1], 1);
        ck_assert_uint_eq(place, 0);
        ck_assert(queue_turn(x.s, place));
        queue_leave(x.s, place, true);
        shm_free(x.s);
    }
}
END_TEST

TCase *case_steps(void) {
    TCase *t = tcase_create("steps");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_scribe_books);
    tcase_add_test(t, a_scribe_counts);
    tcase_add_test(t, a_worker_spends);
    tcase_add_test(t, a_worker_is_limited);
    tcase_add_test(t, a_worker_waits);
    return t;
}

#else
TCase *case_steps(void) {
    return tcase_create("steps");
}
#endif
