/* Time. Monotonic for intervals (the same clock in every process of the machine), wall for records. */
#ifndef PENSTOCK_BASE_CLOCK_H
#define PENSTOCK_BASE_CLOCK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

uint64_t clock_ns(void);      /* CLOCK_MONOTONIC */
uint64_t clock_coarse_ns(void); /* the same clock as of the kernel's last tick (some ms ago): for limits and rests, where a
                                 * request asks many times */
uint64_t clock_ms(void);      /* the same in ms */
int64_t clock_wall_ms(void);  /* since the epoch */
#define CLOCK_RFC3339_SIZE 25 /* 2026-01-02T03:04:05.678Z and a NUL */
void clock_rfc3339(char out[CLOCK_RFC3339_SIZE], int64_t wall_ms); /* UTC */
/* "2026-01-02", "2026-01-02T03:04:05Z", with fraction and offset; false if it is none of these. */
bool clock_parse(struct str s, int64_t *wall_ms);
#endif
