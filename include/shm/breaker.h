/* Circuit breakers, one packed word per entity: state, consecutive failures, probe successes, openings in a row,
 * time of the last change. Probes in flight are a gauge (slot.h), so a dead worker's probe is not lost for ever. */
#ifndef PENSTOCK_SHM_BREAKER_H
#define PENSTOCK_SHM_BREAKER_H
#include "shm/shm.h"

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
struct breaker_rule {
    unsigned consecutive_failures; /* 0: never opens for this reason */
    double error_rate;             /* over the health window (health.h), from min_requests on; 0: never */
    uint64_t window_ms;
    unsigned min_requests;
    uint64_t open_for_ms, max_open_for_ms; /* doubled at each opening in a row, with jitter, up to max */
    unsigned half_open_probes;     /* let through at once over all processes; so many successes close it */
};
enum breaker_pass { BREAKER_PASS, BREAKER_PROBE, BREAKER_REFUSE };
/* May a call go out now? PROBE has taken a probe: breaker_done must follow for PASS and PROBE alike. */
enum breaker_pass breaker_ask(struct shm *s, uint32_t entity, const struct breaker_rule *r, uint64_t now_ns);
/* Looks only. */
bool breaker_would_pass(const struct shm *s, uint32_t entity, const struct breaker_rule *r, uint64_t now_ns);

enum outcome { OUTCOME_OK, OUTCOME_FAILED, OUTCOME_NEUTRAL /* says nothing about the target: cancelled, 4xx */ };
struct breaker_change {
    bool changed;
    enum breaker_state from, to;
    uint64_t open_for_ms;
};
/* unit: a random number in [0,1) for the jitter. Does not record health: health_record() does, and must be called
 * before this for error_rate to see it. The first opening takes open_for_ms; jitter makes the later ones up to a quarter
 * shorter than doubled. changed is true in exactly one process per change. Calls that began before it opened change
 * nothing when they end (PASS while OPEN or HALF_OPEN). OPEN becomes HALF_OPEN in breaker_ask(), when asked. */
struct breaker_change breaker_done(struct shm *s, uint32_t entity, const struct breaker_rule *r, enum breaker_pass pass,
                                   enum outcome o, uint64_t now_ns, double unit);
/* *retry_in_ns (may be NULL): of an open one, until it may be probed; else, and when that is past, 0. */
enum breaker_state breaker_state(const struct shm *s, uint32_t entity, uint64_t *retry_in_ns, uint64_t now_ns);
/* Somebody else's has opened: a closed one opens with the next failure (of consecutive ones), and forgets it with the next
 * success. Nobody is refused for it. true: it was told something new. */
bool breaker_hint(struct shm *s, uint32_t entity, unsigned consecutive_failures);
void breaker_reset(struct shm *s, uint32_t entity); /* closed; errors of before do not open it again */
const char *breaker_state_name(enum breaker_state st); /* "closed", "open", "half_open" */
#endif
