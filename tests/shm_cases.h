/* The suites of check_shm, and crowds: real processes that do something to one segment at the same time. */
#ifndef PENSTOCK_TESTS_SHM_CASES_H
#define PENSTOCK_TESTS_SHM_CASES_H
#include "shm/shm.h"
#include <check.h>
#include <stdatomic.h>
#include <sys/types.h>

TCase *case_slots(void);
TCase *case_limits(void);
TCase *case_money(void);
TCase *case_steps(void);
TCase *case_random(void);
TCase *case_queue(void);
TCase *case_ring(void);
TCase *case_cache(void);
TCase *case_vectors(void);
TCase *case_claims(void);
TCase *case_leases(void);
TCase *case_route_memory(void);
TCase *case_alerts(void);

struct shm *segment(void); /* with rings of 64 KiB */
#define RING ((size_t)65536)

#define CROWD 4
#define NOTES 64
/* What the members of a crowd tell each other and the test, outside of the segment under test. */
struct scratch {
    _Atomic uint64_t note[NOTES];
    _Atomic uint32_t waiting, turn; /* meet() */
};
struct member {
    pid_t pid; /* 0: not running */
    uint32_t slot;
};
struct crowd {
    struct shm *s;
    struct scratch *scratch;
    void (*fn)(struct crowd *c, int i); /* in the child, its slot entered */
    struct member m[CROWD];
};
/* Children end by returning from fn, or by child_must: its line number is what the test sees. */
#define child_must(cond) ((cond) ? (void)0 : child_fails(__LINE__, #cond))
_Noreturn void child_fails(int line, const char *what);

void crowd_init(struct crowd *c, struct shm *s, void (*fn)(struct crowd *c, int i));
void crowd_free(struct crowd *c);
void crowd_start(struct crowd *c, int i);
void crowd_kill(struct crowd *c, int i); /* SIGKILL, reaped, its slot released */
void crowd_wait(struct crowd *c, int i); /* must have ended well; its slot is released */
void crowd_run(struct crowd *c);         /* all of them, from start to end */
void meet(struct crowd *c, uint32_t n);  /* n members (or the test) wait for one another */
void wait_note(struct crowd *c, int note, uint64_t at_least);
#endif
