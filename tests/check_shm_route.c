/* What routing remembers: the budget of retries, conversations, speed. */
#include "shm/affinity.h"
#include "shm/extra.h"
#include "shm/speed.h"
#include "shm_cases.h"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define NOW    (1000 * SECOND)

START_TEST(retry_share) {
    struct shm *s = segment();
    unsigned allowed = 0;
    for (int i = 0; i < 1000; i++) {
        extra_request(s, NOW);
        allowed += extra_take(s, EXTRA_RETRY, 0.2, 10, NOW);
    }
    ck_assert_uint_ge(allowed, 199);
    ck_assert_uint_le(allowed, 200);
    /* Half a window on they still count, a whole one later they do not. */
    ck_assert(!extra_take(s, EXTRA_RETRY, 0.2, 10, NOW + 5 * SECOND));
    allowed = 0;
    while (extra_take(s, EXTRA_RETRY, 0.2, 10, NOW + 20 * SECOND))
        allowed++;
    ck_assert_uint_eq(allowed, 10); /* the least */
    ck_assert(!extra_take(s, EXTRA_RETRY, 0.2, 0, NOW + 40 * SECOND));
    shm_free(s);
}
END_TEST

START_TEST(retry_of_many) { /* processes at once: none is counted twice or lost */
    struct shm *s = segment();
    enum { PROCESSES = 4, EACH = 20000 };
    for (int i = 0; i < PROCESSES * EACH; i++)
        extra_request(s, NOW);
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    for (int k = 0; k < PROCESSES; k++) {
        pid_t pid = fork();
        if (pid == 0) {
            unsigned mine = 0;
            for (int i = 0; i < EACH; i++)
                mine += extra_take(s, EXTRA_RETRY, 0.2, 10, NOW);
            _exit(write(ends[1], &mine, sizeof mine) == sizeof mine ? 0 : 1);
        }
        ck_assert_int_gt(pid, 0);
    }
    unsigned sum = 0, one;
    for (int k = 0; k < PROCESSES; k++) {
        ck_assert_int_eq(read(ends[0], &one, sizeof one), sizeof one);
        sum += one;
        int status;
        ck_assert(wait(&status) > 0 && status == 0);
    }
    close(ends[0]);
    close(ends[1]);
    ck_assert_uint_eq(sum, PROCESSES * EACH / 5);
    shm_free(s);
}
END_TEST

START_TEST(conversations) {
    struct shm *s = segment();
    const uint64_t a = UINT64_C(0x123456789abcdef1), b = UINT64_C(0xfedcba9876543211);
    ck_assert_uint_eq(affinity_find(s, a, NOW), SHM_NONE);
    affinity_put(s, a, 0, NOW);
    affinity_put(s, b, 8191, NOW);
    ck_assert_uint_eq(affinity_find(s, a, NOW), 0);
    ck_assert_uint_eq(affinity_find(s, b, NOW + 30 * 60 * SECOND), 8191);
    ck_assert_uint_eq(affinity_find(s, a, NOW + 32 * 60 * SECOND), SHM_NONE);
    affinity_put(s, a, SHM_NONE, NOW); /* no entity: nothing to remember */
    ck_assert_uint_eq(affinity_find(s, a, NOW), 0);
    /* Another one in the same place is not taken for it. */
    ck_assert_uint_eq(affinity_find(s, a ^ (UINT64_C(1) << 60), NOW), SHM_NONE);
    affinity_put(s, a ^ (UINT64_C(1) << 60), 5, NOW);
    ck_assert_uint_eq(affinity_find(s, a, NOW), SHM_NONE);
    shm_free(s);
}
END_TEST

START_TEST(speeds) {
    struct shm *s = segment();
    uint32_t e = shm_entity(s, ENTITY_TARGET, STR("a/m"));
    ck_assert_double_eq(speed_look(s, e, NOW).first_byte_ms, 0);
    speed_record(s, e, 100, 10, NOW);
    ck_assert_double_eq_tol(speed_look(s, e, NOW).first_byte_ms, 100, 0.01);
    ck_assert_double_eq_tol(speed_look(s, e, NOW).per_token_ms, 10, 0.01);
    speed_record(s, e, 900, 0, NOW); /* slower: at once; no tokens: as they were */
    ck_assert_double_eq_tol(speed_look(s, e, NOW).first_byte_ms, 900, 0.01);
    ck_assert_double_eq_tol(speed_look(s, e, NOW).per_token_ms, 10, 0.01);
    speed_record(s, e, 100, 10, NOW + SECOND); /* faster: little by little */
    double after = speed_look(s, e, NOW + SECOND).first_byte_ms;
    ck_assert_double_gt(after, 700);
    ck_assert_double_lt(after, 900);
    ck_assert_double_lt(speed_look(s, e, NOW + 100 * SECOND).first_byte_ms, 1); /* forgotten */
    speed_record(s, SHM_NONE, 1, 1, NOW);
    ck_assert_double_eq(speed_look(s, SHM_NONE, NOW).first_byte_ms, 0);
    shm_free(s);
}
END_TEST

TCase *case_route_memory(void) {
    TCase *t = tcase_create("route");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, retry_share);
    tcase_add_test(t, retry_of_many);
    tcase_add_test(t, conversations);
    tcase_add_test(t, speeds);
    return t;
}
