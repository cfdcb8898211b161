/* Unit tests of shm/, and the crowds they are made with. */
#include "base/clock.h"
#include "shm/slot.h"
#include "shm_cases.h"
#include "under_valgrind.h"
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 20000 /* only a wedge takes so long */

struct shm *segment(void) {
    char err[256] = "";
    struct shm *s = shm_create(RING, err);
    ck_assert_msg(s != NULL, "%s", err);
    return s;
}

_Noreturn void child_fails(int line, const char *what) {
    fprintf(stderr, "child: line %d: %s\n", line, what);
    _exit(1);
}

void crowd_init(struct crowd *c, struct shm *s, void (*fn)(struct crowd *c, int i)) {
    *c = (struct crowd){.s = s, .fn = fn};
    c->scratch = mmap(NULL, sizeof *c->scratch, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(c->scratch, MAP_FAILED);
}

void crowd_free(struct crowd *c) {
    munmap(c->scratch, sizeof *c->scratch);
}

void crowd_start(struct crowd *c, int i) {
    struct member *m = &c->m[i];
    m->slot = slot_claim(c->s, SLOT_WORKER, (unsigned)i, 1);
    ck_assert_uint_ne(m->slot, SHM_NONE);
    m->pid = fork();
    if (m->pid == 0) {                    /* no ck_assert in here: it writes to the parent's file */
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
        slot_enter(c->s, m->slot);
        c->fn(c, i);
        _exit(0);
    }
    ck_assert_int_gt(m->pid, 0);
    slot_started(c->s, m->slot, m->pid);
}

static int reap(struct crowd *c, int i) {
    struct member *m = &c->m[i];
    int status = 0;
    ck_assert_int_eq(waitpid(m->pid, &status, 0), m->pid);
    slot_release(c->s, m->slot);
    m->pid = 0;
    return status;
}

void crowd_kill(struct crowd *c, int i) {
    kill(c->m[i].pid, SIGKILL);
    int status = reap(c, i);
    ck_assert_msg(WIFSIGNALED(status) || status == 0, "child %d ended with %#x", i, (unsigned)status);
}

void crowd_wait(struct crowd *c, int i) {
    int status = reap(c, i);
    ck_assert_msg(status == 0, "child %d ended with %#x", i, (unsigned)status);
}

void crowd_run(struct crowd *c) {
    for (int i = 0; i < CROWD; i++)
        crowd_start(c, i);
    for (int i = 0; i < CROWD; i++)
        crowd_wait(c, i);
}

/* Spins first: those who meet shall leave at the same instant, not when the scheduler comes to them. */
static void patience(uint64_t since_ms, unsigned tries) {
    if (tries < 2000)
        return;
    if (clock_ms() - since_ms > eased(PATIENCE_MS))
        child_fails(__LINE__, "waited too long");
    sched_yield();
}

void meet(struct crowd *c, uint32_t n) {
    struct scratch *x = c->scratch;
    uint32_t turn = atomic_load(&x->turn);
    if (atomic_fetch_add(&x->waiting, 1) + 1 == n) {
        atomic_store(&x->waiting, 0);
        atomic_store(&x->turn, turn + 1);
        return;
    }
    uint64_t since = clock_ms();
    for (unsigned tries = 0; atomic_load(&x->turn) == turn; tries++)
        patience(since, tries);
}

void wait_note(struct crowd *c, int note, uint64_t at_least) {
    uint64_t since = clock_ms();
    for (unsigned tries = 0; atomic_load(&c->scratch->note[note]) < at_least; tries++)
        patience(since, tries);
}

/* Valgrind lets one process run at a time and looks at memory, which check_shm shows it without the waits. */
static bool is_chaos_under_valgrind(void) {
#ifdef PENSTOCK_TESTS_SHM_CHAOS_H
    return under_valgrind();
#else
    return false;
#endif
}

enum { SKIPPED = 77 };

int main(void) {
    if (is_chaos_under_valgrind())
        return SKIPPED;
    Suite *s = suite_create("shm");
    suite_add_tcase(s, case_slots());
    suite_add_tcase(s, case_limits());
    suite_add_tcase(s, case_money());
    suite_add_tcase(s, case_steps());
    suite_add_tcase(s, case_random());
    suite_add_tcase(s, case_queue());
    suite_add_tcase(s, case_ring());
    suite_add_tcase(s, case_cache());
    suite_add_tcase(s, case_vectors());
    suite_add_tcase(s, case_claims());
    suite_add_tcase(s, case_leases());
    suite_add_tcase(s, case_route_memory());
    suite_add_tcase(s, case_alerts());
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
