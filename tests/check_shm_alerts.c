/* The table of alerts: raised once, recovered, kept, replaced, and never half of two. */
#include "shm/alert.h"
#include "shm/stat.h"
#include "shm_cases.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void must_be(const struct shm *s, uint32_t i, const char *subject, double value, int64_t recovered) {
    struct alert a;
    ck_assert(alert_at(s, i, &a));
    ck_assert_str_eq(a.subject, subject);
    ck_assert_double_eq(a.value, value);
    ck_assert_int_eq(a.recovered_ms, recovered);
}

START_TEST(raised_once_until_it_recovers) {
    struct shm *s = segment();
    struct alert a;
    uint32_t i = alert_raise(s, ALERT_LATENCY, STR("up"), 7, 5, 1000);
    ck_assert_uint_ne(i, SHM_NONE);
    ck_assert_uint_eq(alert_raise(s, ALERT_LATENCY, STR("up"), 8, 5, 2000), i);
    ck_assert_uint_ne(alert_raise(s, ALERT_ERROR_RATE, STR("up"), 1, 0.5, 2000), i);
    ck_assert_uint_eq(stat_sum(s, STAT_ALERTS), 2);
    must_be(s, i, "up", 8, 0);
    ck_assert(alert_at(s, i, &a) && a.id == 1 && a.raised_ms == 1000 && a.threshold == 5 && a.told == 0);
    alert_told(s, a.id, ALERT_SENT_RAISED);
    alert_told(s, 99, ALERT_SENT_RECOVERED);
    alert_recover(s, i, 2, 3000);
    must_be(s, i, "up", 2, 3000);
    ck_assert(alert_at(s, i, &a) && a.told == ALERT_SENT_RAISED);
    ck_assert_uint_eq(alert_active(s, ALERT_LATENCY, STR("up")), SHM_NONE);
    ck_assert_uint_ne(alert_raise(s, ALERT_LATENCY, STR("up"), 9, 5, 4000), i); /* another alert */
    ck_assert(!alert_at(s, ALERT_PLACES, &a));
    shm_free(s);
}
END_TEST

START_TEST(the_oldest_that_recovered_makes_room) {
    struct shm *s = segment();
    char name[128];
    for (int i = 0; i < ALERT_PLACES; i++) {
        snprintf(name, sizeof name, "t%d", i);
        ck_assert_uint_ne(alert_raise(s, ALERT_BREAKER, str_of(name), 1, 1, 1000 + i), SHM_NONE);
    }
    ck_assert_uint_eq(alert_raise(s, ALERT_BREAKER, STR("more"), 1, 1, 5000), SHM_NONE);
    uint32_t late = alert_active(s, ALERT_BREAKER, STR("t3")),
             early = alert_active(s, ALERT_BREAKER, STR("t9"));
    alert_recover(s, early, 0, 6000);
    alert_recover(s, late, 0, 7000);
    ck_assert_uint_eq(alert_raise(s, ALERT_BREAKER, STR("more"), 1, 1, 8000), early);
    ck_assert_uint_eq(stat_sum(s, STAT_WEBHOOK_LOST), 1); /* nobody was told of t9 */
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    ck_assert_uint_eq(alert_raise(s, ALERT_BREAKER, str_of(name), 1, 1, 9000), late);
    ck_assert_uint_eq(alert_raise(s, ALERT_BREAKER, str_of(name), 1, 1, 9000), late); /* by its cut name */
    shm_free(s);
}
END_TEST

/* One writes and is killed again and again; whoever reads meets whole alerts only. */
static void write_for_ever(struct crowd *c, int i) {
    (void)i;
    for (uint64_t n = 1;; n++) {
        char name[64];
        memset(name, 'a' + (int)(n % 26), sizeof name - 1);
        name[sizeof name - 1] = '\0';
        uint32_t at = alert_raise(c->s, ALERT_LATENCY, str_of(name), (double)(n % 26), (double)(n % 26),
                                  (int64_t)(n % 26) + 1);
        child_must(at != SHM_NONE);
        alert_recover(c->s, at, (double)(n % 26), (int64_t)n + 1);
        atomic_store(&c->scratch->note[0], atomic_load(&c->scratch->note[0]) + 1);
    }
}

START_TEST(a_killed_writer_leaves_whole_alerts) {
    struct shm *s = segment();
    struct crowd c;
    struct alert a;
    char want[64] = "";
    crowd_init(&c, s, write_for_ever);
    for (int round = 0; round < 20; round++) {
        uint64_t before = atomic_load(&c.scratch->note[0]);
        crowd_start(&c, 0);
        wait_note(&c, 0, before + 50);
        for (int n = 0; n < 2000; n++) {
            if (!alert_at(s, (uint32_t)n % ALERT_PLACES, &a))
                continue;
            memset(want, 'a' + (int)a.threshold, sizeof want - 1);
            if (strcmp(a.subject, want) != 0 || a.raised_ms != (int64_t)a.threshold + 1)
                ck_abort_msg("half an alert: %s",
                             a.subject); /* each assertion that holds is a message to libcheck */
        }
        crowd_kill(&c, 0);
    }
    crowd_free(&c);
    shm_free(s);
}
END_TEST

START_TEST(what_the_last_hour_cost) {
    const uint64_t minute = 60000, from = 1000 * minute;
    struct shm *s = segment();
    ck_assert_uint_eq(alert_hour_cost(s, 50, from), 50); /* before the first look it was this hour's too */
    for (uint64_t m = 1; m <= 300; m++) {
        uint64_t cost = alert_hour_cost(s, 50 + m * 10, from + m * minute);
        ck_assert_uint_eq(alert_hour_cost(s, 50 + m * 10, from + m * minute + 30000), cost);
        ck_assert_uint_eq(cost, m <= 60 ? 50 + m * 10 : 600);
    }
    ck_assert_uint_eq(alert_hour_cost(s, 3050, from + 400 * minute), 0); /* an hour without a look */
    shm_free(s);
}
END_TEST

TCase *case_alerts(void) {
    TCase *t = tcase_create("alerts");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, raised_once_until_it_recovers);
    tcase_add_test(t, the_oldest_that_recovered_makes_room);
    tcase_add_test(t, a_killed_writer_leaves_whole_alerts);
    tcase_add_test(t, what_the_last_hour_cost);
    return t;
}
