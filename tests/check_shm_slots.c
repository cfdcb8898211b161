/* The segment, entities, slots and counters. */
#include "base/hash.h"
#include "shm/ring.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "shm_cases.h"
#include "under_valgrind.h"
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

START_TEST(creation) {
    char err[256] = "";
    ck_assert_ptr_null(shm_create(100000, err));
    ck_assert_ptr_nonnull(strstr(err, "power of two"));
    ck_assert_ptr_null(shm_create(1024, err));
    struct shm *a = segment(), *b = segment();
    ck_assert(shm_instance(a) != 0 && shm_instance(a) != shm_instance(b));
    ck_assert_uint_gt(shm_cache_epoch(a), 0);
    shm_free(a);
    shm_free(b);
    shm_free(NULL);
}
END_TEST

/* --- entities --- */

static struct str name_of(char z[32], unsigned n) {
    int len = snprintf(z, 32, "name-%u", n);
    return str_make(z, (size_t)len);
}

START_TEST(entities) {
    struct shm *s = segment();
    char z[32], longer[200];
    memset(longer, 'x', sizeof longer);
    uint32_t a = shm_entity(s, ENTITY_GATEWAY, STR_NONE), b = shm_entity(s, ENTITY_PROVIDER, STR("p"));
    ck_assert(a == shm_entity(s, ENTITY_GATEWAY, STR("")) && b == shm_entity(s, ENTITY_PROVIDER, STR("p")));
    ck_assert(b != shm_entity(s, ENTITY_MODEL, STR("p")));
    uint32_t l = shm_entity(s, ENTITY_MODEL, str_make(longer, 200));
    ck_assert(l != shm_entity(s, ENTITY_MODEL, str_make(longer, 199))); /* told apart by the whole name */
    enum entity_kind kind;
    struct str name;
    ck_assert(shm_entity_at(s, l, &kind, &name) && kind == ENTITY_MODEL && name.n == 95);
    ck_assert(shm_entity_at(s, b, &kind, &name) && kind == ENTITY_PROVIDER && str_is(name, "p"));
    ck_assert(!shm_entity_at(s, shm_entities(s), &kind, &name));
    for (unsigned n = 0; shm_entities(s) < SHM_MAX_ENTITIES; n++)
        ck_assert_uint_ne(shm_entity(s, ENTITY_GATEWAY_KEY, name_of(z, n)), SHM_NONE);
    ck_assert_uint_eq(shm_entity(s, ENTITY_TENANT, STR("one too many")), SHM_NONE);
    ck_assert_uint_eq(shm_entity(s, ENTITY_GATEWAY, STR_NONE), a);
    ck_assert(shm_entity_at(s, shm_entity(s, ENTITY_GATEWAY_KEY, STR("name-7000")), &kind, &name));
    ck_assert(str_is(name, "name-7000"));
    shm_free(s);
}
END_TEST

#define NAMES 2000
static void make_names(struct crowd *c, int i) {
    char z[32];
    meet(c, CROWD);
    for (unsigned n = 0; n < NAMES; n++) {
        shm_entity(c->s, ENTITY_MODEL, name_of(z, (n * 7 + (unsigned)i * 3) % NAMES));
        atomic_fetch_add(&c->scratch->note[i], 1);
    }
}

/* Half of the crowd is killed on the way: each name is there once all the same, whoever finishes it. */
START_TEST(entities_crowd) {
    static bool seen[SHM_MAX_ENTITIES];
    struct crowd c;
    crowd_init(&c, segment(), make_names);
    for (int i = 0; i < CROWD; i++)
        crowd_start(&c, i);
    for (int i = 1; i < CROWD; i += 2) {
        wait_note(&c, i, 1 + random_u64() % NAMES);
        crowd_kill(&c, i);
    }
    crowd_wait(&c, 0);
    crowd_wait(&c, 2);
    char z[32];
    for (unsigned n = 0; n < NAMES; n++) {
        uint32_t e = shm_entity(c.s, ENTITY_MODEL, name_of(z, n));
        enum entity_kind kind;
        struct str name;
        ck_assert(shm_entity_at(c.s, e, &kind, &name) && kind == ENTITY_MODEL && str_eq(name, name_of(z, n)));
        ck_assert(!seen[e]);
        seen[e] = true;
    }
    ck_assert_uint_eq(shm_entities(c.s), NAMES);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

/* --- slots --- */

START_TEST(slots) {
    struct shm *s = segment();
    struct slot_info info;
    ck_assert(!slot_at(s, 0, &info) && info.role == SLOT_FREE);
    uint32_t a = slot_claim(s, SLOT_SCRIBE, 0, 1), b = slot_claim(s, SLOT_WORKER, 3, 2);
    ck_assert(a == 0 && b == 1 && slot_high(s) == 2 && slot_mine(s) == SHM_NONE);
    slot_started(s, b, 4242);
    slot_enter(s, b);
    ck_assert(slot_mine(s) == b);
    slot_set_state(s, SLOT_READY);
    slot_beat(s, 77, 5, 6);
    stat_add(s, STAT_REQUESTS, 9);
    ck_assert(slot_at(s, b, &info));
    ck_assert(info.role == SLOT_WORKER && info.state == SLOT_READY && info.pid == 4242 && info.number == 3);
    ck_assert(info.generation == 2 && info.heartbeat_ms == 77 && info.connections == 5 &&
              info.exchanges == 6);
    ck_assert(info.requests == 9 && info.started_ms > 0);
    ck_assert(ring_put(s, 1, STR("x"), STR_NONE, NULL));
    slot_release(s, b);
    slot_release(s, b); /* once is enough */
    ck_assert(!slot_at(s, b, &info) && stat_sum(s, STAT_REQUESTS) == 9);
    ck_assert_uint_eq(slot_claim(s, SLOT_WORKER, 0, 3), 2); /* b's ring has something in it */
    ring_release(s, b, ring_head(s, b));
    ck_assert_uint_eq(slot_claim(s, SLOT_WORKER, 0, 3), b);
    ck_assert(slot_at(s, b, &info) && info.state == SLOT_STARTING && info.requests == 0);
    for (uint32_t n = 3; n < SHM_MAX_SLOTS; n++)
        ck_assert_uint_eq(slot_claim(s, SLOT_WORKER, 0, 3), n);
    ck_assert_uint_eq(slot_claim(s, SLOT_WORKER, 0, 3), SHM_NONE);
    shm_free(s);
}
END_TEST

START_TEST(slot_with_records_is_last) {
    struct shm *s = segment();
    for (uint32_t n = 0; n < SHM_MAX_SLOTS; n++)
        slot_claim(s, SLOT_WORKER, 0, 1);
    slot_enter(s, 5);
    ck_assert(ring_put(s, 1, STR("x"), STR_NONE, NULL));
    slot_release(s, 5);
    slot_release(s, 9);
    ck_assert_uint_eq(slot_claim(s, SLOT_WORKER, 0, 1), 9);
    ck_assert_uint_eq(slot_claim(s, SLOT_WORKER, 0, 1), 5);
    uint64_t cursor = 0;
    uint32_t type;
    struct str payload;
    ck_assert(ring_next(s, 5, &cursor, &type, &payload) && str_is(payload, "x"));
    shm_free(s);
}
END_TEST

/* --- counters --- */

static void count_and_go(struct crowd *c, int i) {
    if (i == 0) { /* looks on: totals must not fall, nor be ahead of what was counted */
        for (uint64_t last = 0, n = 0; atomic_load(&c->scratch->note[1]) == 0; n++) {
            uint64_t sum = stat_sum(c->s, STAT_RETRIES);
            child_must(sum >= last && sum <= atomic_load(&c->scratch->note[0]));
            last = sum;
            atomic_store(&c->scratch->note[2], n);
        }
        return;
    }
    for (int n = 0; n < 200; n++) {
        atomic_fetch_add(&c->scratch->note[0], 3);
        stat_add(c->s, STAT_RETRIES, 3);
        stat_status(c->s, 200 + n % 2 * 299);
    }
}

START_TEST(totals_never_fall) {
    int n = rounds(60);
    struct crowd c;
    crowd_init(&c, segment(), count_and_go);
    crowd_start(&c, 0);
    for (int round = 0; round < n; round++) {
        for (int i = 1; i < CROWD; i++)
            crowd_start(&c, i);
        for (int i = 1; i < CROWD; i++)
            crowd_wait(&c, i);
    }
    wait_note(&c, 2, 10);
    atomic_store(&c.scratch->note[1], 1);
    crowd_wait(&c, 0);
    ck_assert_uint_eq(stat_sum(c.s, STAT_RETRIES), n * 3 * 200 * 3);
    ck_assert_uint_eq(stat_status_sum(c.s, 2), n * 3 * 100);
    ck_assert_uint_eq(stat_status_sum(c.s, 0), n * 3 * 100);
    ck_assert_uint_eq(stat_status_sum(c.s, 4) + stat_status_sum(c.s, 9), 0);
    stat_add(c.s, STAT_RELOADS, 2); /* the master's own */
    ck_assert_uint_eq(stat_sum(c.s, STAT_RELOADS), 2);
    ck_assert_str_eq(stat_rows[STAT_RELOADS].prometheus, "penstock_reloads_total");
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

/* Owners change as fast as it goes: the test is master and workers in one. */
START_TEST(totals_while_owners_change) {
    struct crowd c;
    crowd_init(&c, segment(), count_and_go);
    crowd_start(&c, 0);
    wait_note(&c, 2, 1);
    for (uint64_t n = 0; n < 30000 || (n < 2000000 && atomic_load(&c.scratch->note[2]) < 10000); n++) {
        uint32_t slot = slot_claim(c.s, SLOT_WORKER, 1, 1);
        slot_enter(c.s, slot);
        atomic_fetch_add(&c.scratch->note[0], 3);
        stat_add(c.s, STAT_RETRIES, 3);
        slot_release(c.s, slot);
    }
    atomic_store(&c.scratch->note[1], 1);
    crowd_wait(&c, 0);
    ck_assert_uint_eq(stat_sum(c.s, STAT_RETRIES), atomic_load(&c.scratch->note[0]));
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

static void add_entity(struct crowd *c, int i) {
    uint32_t e = shm_entity(c->s, ENTITY_MODEL, STR("m"));
    for (int n = 0; n < 5000; n++) {
        entity_add(c->s, e, ENTITY_STAT_COST_NANO, 7);
        hist_add(c->s, e, HIST_LATENCY, 100 + (uint64_t)i);
    }
}

START_TEST(entity_counters) {
    struct crowd c;
    crowd_init(&c, segment(), add_entity);
    crowd_run(&c);
    uint32_t e = shm_entity(c.s, ENTITY_MODEL, STR("m"));
    ck_assert_uint_eq(entity_count(c.s, e, ENTITY_STAT_COST_NANO), CROWD * 5000 * 7);
    ck_assert_uint_eq(entity_count(c.s, e, ENTITY_STAT_ERRORS), 0);
    entity_add(c.s, SHM_NONE, ENTITY_STAT_ERRORS, 1);
    ck_assert_uint_eq(entity_count(c.s, SHM_NONE, ENTITY_STAT_ERRORS), 0);
    struct hist h;
    hist_look(c.s, e, HIST_LATENCY, &h);
    ck_assert(h.n == CROWD * 5000 && h.count[3] == 5000 && h.count[4] == (CROWD - 1) * 5000);
    ck_assert_double_eq_tol(h.sum, 5000 * (0.100 + 0.101 + 0.102 + 0.103), 1e-6);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

START_TEST(quantiles) {
    struct shm *s = segment();
    uint32_t e = shm_entity(s, ENTITY_MODEL, STR("m"));
    struct hist h;
    hist_look(s, e, HIST_FIRST_BYTE, &h);
    ck_assert_double_eq(hist_quantile(&h, 0.5), 0);
    for (int i = 0; i < 10; i++) {
        hist_add(s, e, HIST_FIRST_BYTE, 200);  /* (0.1, 0.25] */
        hist_add(s, e, HIST_FIRST_BYTE, 1500); /* (1, 2] */
    }
    hist_look(s, e, HIST_FIRST_BYTE, &h);
    ck_assert_double_eq_tol(hist_quantile(&h, 0.25), 0.175, 1e-9);
    ck_assert_double_eq_tol(hist_quantile(&h, 0.5), 0.25, 1e-9);
    ck_assert_double_eq_tol(hist_quantile(&h, 0.75), 1.5, 1e-9);
    hist_add(s, e, HIST_FIRST_BYTE, 1000000);
    hist_look(s, e, HIST_FIRST_BYTE, &h);
    ck_assert_double_eq(hist_quantile(&h, 1), 300);
    hist_add(s, e, HIST_OVERHEAD, 75); /* us: (50, 100] */
    hist_look(s, e, HIST_OVERHEAD, &h);
    ck_assert_double_eq_tol(hist_quantile(&h, 1), 0.0001, 1e-12);
    ck_assert_double_eq_tol(h.sum, 0.000075, 1e-12);
    hist_add(s, e, HIST_INPUT_TOKENS, 1024);
    hist_look(s, e, HIST_INPUT_TOKENS, &h);
    ck_assert(h.count[5] == 1 && h.sum == 1024);
    shm_free(s);
}
END_TEST

/* --- memory --- */

/* What of the segment is in this process's page table, in KiB. */
static long resident_kib(void) {
    static char text[1 << 20];
    int fd = open("/proc/self/smaps", O_RDONLY);
    ck_assert_int_ge(fd, 0);
    size_t n = 0;
    for (ssize_t got; n < sizeof text - 1 && (got = read(fd, text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    close(fd);
    text[n] = '\0';
    const char *at = strstr(text, "/memfd:penstock");
    const char *rss = at ? strstr(at, "\nRss:") : NULL;
    ck_assert_ptr_nonnull(rss);
    return strtol(rss + 5, NULL, 10);
}

START_TEST(memory_is_little) {
    char err[256], body[4000] = "";
    struct shm *s = shm_create((size_t)8 << 20, err);
    ck_assert_ptr_nonnull(s);
    for (uint32_t i = 0; i < 6; i++)
        slot_enter(s, slot_claim(s, SLOT_WORKER, i, 1));
    for (unsigned n = 0; n < 100; n++) {
        char z[32];
        uint32_t e = shm_entity(s, ENTITY_TARGET, name_of(z, n));
        ck_assert(gauge_take(s, e, GAUGE_IN_FLIGHT, 10));
        hist_add(s, e, HIST_LATENCY, n);
    }
    uint64_t cursor = 0;
    for (int n = 0; n < 10000; n++) { /* 40 MB through a ring of 8 MiB */
        uint32_t type;
        struct str payload;
        ck_assert(ring_put(s, 1, str_make(body, sizeof body), STR_NONE, NULL));
        if (n % 100 == 99) {
            while (ring_next(s, slot_mine(s), &cursor, &type, &payload))
                ck_assert_uint_eq(payload.n, sizeof body);
            ring_release(s, slot_mine(s), cursor);
        }
    }
    ck_assert_int_gt(resident_kib(), 8192);
    slot_beat(s, 1, 3, 1); /* busy: nothing is given back */
    ck_assert_int_gt(resident_kib(), 8192);
    slot_beat(s, 1, 3, 0);
    ck_assert_int_lt(resident_kib(), 512);
    shm_free(s);
}
END_TEST

TCase *case_slots(void) {
    TCase *t = tcase_create("slots");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, creation);
    tcase_add_test(t, entities);
    tcase_add_test(t, entities_crowd);
    tcase_add_test(t, slots);
    tcase_add_test(t, slot_with_records_is_last);
    tcase_add_test(t, totals_never_fall);
    tcase_add_test(t, totals_while_owners_change);
    tcase_add_test(t, entity_counters);
    tcase_add_test(t, quantiles);
    tcase_add_test(t, memory_is_little);
    return t;
}
