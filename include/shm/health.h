/* Health of an entity: a score from 0 to 100 from latency (EWMA against its own slow baseline), errors in a sliding
 * window and failures in a row. Every word is one atomic. */
#ifndef PENSTOCK_SHM_HEALTH_H
#define PENSTOCK_SHM_HEALTH_H
#include "shm/breaker.h"

void health_record(struct shm *s, uint32_t entity, enum outcome o, uint64_t latency_ms, uint64_t first_byte_ms,
                   uint64_t now_ns);
struct health {
    unsigned score;          /* 100 with no history */
    double latency_ms;       /* EWMA; 0 unknown */
    double first_byte_ms;
    uint64_t requests, errors; /* in the window */
    double error_rate;
    unsigned failures_in_a_row;
    int64_t last_ms;         /* wall clock of the last record; 0 never */
    bool degraded;           /* above 10 % errors, or a score below 70 */
};
void health_look(const struct shm *s, uint32_t entity, uint64_t window_ms, uint64_t now_ns, struct health *out);
#endif
