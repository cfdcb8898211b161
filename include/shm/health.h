/* Health of an entity: a score from 0 to 100 from latency (EWMA against its own slow baseline), errors in a sliding
 * window and failures in a row. Every word is one atomic.
 *   score = 100 * (1 - error rate) * latency factor * (1 - failures in a row / 10)
 * latency factor: 1 up to 1.5 times the baseline, falling in a line to 0.5 at 4 times. The window is sharp to an eighth
 * (not below 1 s), and 512 s at most. OUTCOME_NEUTRAL is not recorded; the latency of failures is not averaged. */
#ifndef PENSTOCK_SHM_HEALTH_H
#define PENSTOCK_SHM_HEALTH_H
#include "shm/breaker.h"

void health_record(struct shm *s, uint32_t entity, enum outcome o, uint64_t latency_ms, uint64_t first_byte_ms,
                   uint64_t now_ns);
/* What the last failure was, of whichever kind: an enum fault_class below 256. */
void health_fault(struct shm *s, uint32_t entity, unsigned fault, int64_t wall_ms);
struct health {
    unsigned score;          /* 100 with no history */
    double latency_ms;       /* EWMA; 0 unknown */
    double first_byte_ms;
    uint64_t requests, errors; /* in the window */
    double error_rate;
    unsigned failures_in_a_row;
    int64_t last_ms;         /* wall clock of the last record; 0 never */
    unsigned last_fault;     /* 0: there was none */
    int64_t last_fault_ms;   /* wall clock */
    bool degraded;           /* above 10 % errors, or a score below 70 */
};
void health_look(const struct shm *s, uint32_t entity, uint64_t window_ms, uint64_t now_ns, struct health *out);
#endif
