/* Tests under valgrind, where much takes twenty times as long and one thread goes at a time. Who runs them so
 * says it in the environment (.ci/run). Limits of time are eased there; how much processor something took is
 * not asked. */
#ifndef PENSTOCK_TESTS_UNDER_VALGRIND_H
#define PENSTOCK_TESTS_UNDER_VALGRIND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static inline bool under_valgrind(void) {
    return getenv("UNDER_VALGRIND") != NULL;
}

/* A limit in ms as it is, or ten times that. */
static inline uint64_t eased(uint64_t ms) {
    return under_valgrind() ? 10 * ms : ms;
}

/* Rounds of what looks for something by chance: so many, or a tenth. */
static inline int rounds(int n) {
    return under_valgrind() ? (n + 9) / 10 : n;
}

#endif
