/* Timers and deferred tasks. */
#include "base/clock.h"
#include "base/die.h"
#include "base/loop.h"
#include "base_cases.h"
#include <event2/event.h>
#include <unistd.h>

static struct loop *loop;
static char order[32];
static uint64_t fired_at;

static void note(void *arg) {
    strncat(order, arg, 1);
}

static void fire(void *arg) {
    (void)arg;
    fired_at = clock_ms();
    loop_stop(loop);
}

static void setup(void) {
    loop = loop_new();
}

static void teardown(void) {
    loop_free(loop);
}

START_TEST(timers_fire_and_move) {
    struct timer t;
    timer_init(&t, loop, fire, NULL);
    ck_assert(!timer_pending(&t));
    uint64_t from = clock_ms();
    timer_set(&t, 5);
    timer_set(&t, 40); /* later: found out when it fires */
    ck_assert(timer_pending(&t));
    loop_run(loop);
    ck_assert_uint_ge(fired_at - from, 40);
    ck_assert(!timer_pending(&t));
    from = clock_ms();
    timer_set(&t, 60000);
    timer_set(&t, 10); /* earlier: at once */
    loop_run(loop);
    ck_assert_uint_ge(fired_at - from, 10);
    ck_assert_uint_lt(fired_at - from, 30000);
    timer_set(&t, UINT64_MAX);
    ck_assert(timer_pending(&t));
    timer_clear(&t);
    timer_clear(&t);
    ck_assert(!timer_pending(&t));
    timer_free(&t);
    timer_free(&t);
}
END_TEST

static void free_owner(void *arg) {
    struct timer *t = arg;
    timer_free(t);
    mem_free(t);
    loop_stop(loop);
}

START_TEST(a_timer_may_free_its_owner) {
    struct timer *t = mem_alloc(sizeof *t);
    timer_init(t, loop, free_owner, t);
    timer_set(t, 0);
    loop_run(loop);
}
END_TEST

START_TEST(cleared_timers_are_silent) {
    struct timer a, b;
    timer_init(&a, loop, note, "a");
    timer_init(&b, loop, fire, NULL);
    timer_set(&a, 1);
    timer_set(&b, 20);
    timer_clear(&a);
    loop_run(loop);
    ck_assert_str_eq(order, "");
    timer_free(&a);
    timer_free(&b);
}
END_TEST

static struct task one, two, three;

static void run_one(void *arg) {
    note(arg);
    task_defer(loop, &one); /* the next turn's */
    task_cancel(&three);
}

START_TEST(tasks_run_at_the_end_of_a_turn) {
    task_init(&one, run_one, "1");
    task_init(&two, note, "2");
    task_init(&three, note, "3");
    task_defer(loop, &one);
    task_defer(loop, &two);
    task_defer(loop, &three);
    task_defer(loop, &one); /* queued already */
    ck_assert_str_eq(order, "");
    loop_turn(loop, true); /* does not sleep */
    ck_assert_str_eq(order, "12");
    task_defer(loop, &two);
    loop_turn(loop, true);
    ck_assert_str_eq(order, "1212");
    task_cancel(&one);
    loop_turn(loop, false);
    ck_assert_str_eq(order, "1212");
    task_defer(loop, &two); /* loop_free lets go of it */
}
END_TEST

static void readable(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    note(arg);
    loop_stop(loop);
}

/* A task that queues itself for ever leaves room for I/O. */
START_TEST(tasks_do_not_starve_io) {
    int fd[2];
    ck_assert_int_eq(pipe(fd), 0);
    ck_assert_int_eq(write(fd[1], "x", 1), 1);
    struct event *ev = event_new(loop_base(loop), fd[0], EV_READ, readable, "r");
    event_add(ev, NULL);
    task_init(&one, run_one, "1");
    task_defer(loop, &one);
    loop_run(loop);
    ck_assert_ptr_nonnull(strchr(order, 'r'));
    event_free(ev);
    close(fd[0]);
    close(fd[1]);
}
END_TEST

static void twice(void *arg) {
    uint64_t *at = arg;
    at[0] = loop_ms(loop);
    uint64_t until = clock_ms() + 3;
    while (clock_ms() < until)
        ;
    at[1] = loop_ms(loop);
}

START_TEST(time_is_read_once_a_turn) {
    uint64_t at[2];
    task_init(&one, twice, at);
    task_defer(loop, &one);
    loop_turn(loop, true);
    ck_assert_uint_eq(at[0], at[1]);
    ck_assert_uint_ge(loop_ms(loop), at[1] + 3);
}
END_TEST

START_TEST(a_stop_before_the_run_counts) {
    loop_stop(loop);
    loop_run(loop);
}
END_TEST

TCase *case_loop(void) {
    TCase *t = tcase_create("loop");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, timers_fire_and_move);
    tcase_add_test(t, a_timer_may_free_its_owner);
    tcase_add_test(t, cleared_timers_are_silent);
    tcase_add_test(t, tasks_run_at_the_end_of_a_turn);
    tcase_add_test(t, tasks_do_not_starve_io);
    tcase_add_test(t, time_is_read_once_a_turn);
    tcase_add_test(t, a_stop_before_the_run_counts);
    return t;
}
