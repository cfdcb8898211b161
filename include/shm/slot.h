/* A slot per process: who lives, and what dies with it. The master claims and releases; the process itself writes
 * everything else. Gauges live here so that a dead worker's share can be taken back whole. */
#ifndef PENSTOCK_SHM_SLOT_H
#define PENSTOCK_SHM_SLOT_H
#include <sys/types.h>
#include "shm/shm.h"

enum slot_role { SLOT_FREE, SLOT_WORKER, SLOT_SCRIBE };
enum slot_state { SLOT_STARTING, SLOT_READY, SLOT_DRAINING };
struct slot_info {
    enum slot_role role;
    enum slot_state state;
    pid_t pid;
    unsigned number;        /* worker number 0.. */
    unsigned generation;
    uint64_t started_ms;    /* clock_ms() */
    uint64_t heartbeat_ms;  /* clock_ms() */
    uint32_t connections, exchanges;
    uint64_t requests;
};
/* Master only. A free slot, its ring kept as the last owner left it (undrained records stay). SHM_NONE if none. */
uint32_t slot_claim(struct shm *s, enum slot_role role, unsigned number, unsigned generation);
void slot_started(struct shm *s, uint32_t slot, pid_t pid);
/* Master only, after the process was reaped: gauges to zero, what it counted stays, slot free. The ring stays
 * for the scribe; a slot whose ring is not drained is given out last. */
void slot_release(struct shm *s, uint32_t slot);

/* The process itself: binds the handle to its slot (gauges and counters need it). */
void slot_enter(struct shm *s, uint32_t slot);
uint32_t slot_mine(const struct shm *s);
void slot_set_state(struct shm *s, enum slot_state st);
/* With no exchanges it also gives back the memory of the drained ring. */
void slot_beat(struct shm *s, uint64_t now_ms, uint32_t connections, uint32_t exchanges);
/* Any process. false: past the end or free (then info->role is SLOT_FREE). */
bool slot_at(const struct shm *s, uint32_t slot, struct slot_info *info);
uint32_t slot_high(const struct shm *s); /* slots ever used: [0, high) is worth looking at */

/* Gauges: requests in flight per entity (concurrency), probes of a half-open breaker, and
 * questions to the cluster about a budget. */
enum gauge { GAUGE_IN_FLIGHT, GAUGE_PROBES, GAUGE_ASKING, GAUGE_KINDS };
/* Takes one when fewer than cap are taken over all processes: exactly cap pass, whoever asks at once.
 * cap UINT64_MAX: always. Refused without a count of mine left behind. Dropping what was not taken is a bug (MUST). */
bool gauge_take(struct shm *s, uint32_t entity, enum gauge g, uint64_t cap);
void gauge_drop(struct shm *s, uint32_t entity, enum gauge g);
uint64_t gauge_sum(const struct shm *s, uint32_t entity, enum gauge g);
#endif
