/* What lies in the segment, in which order. Tables that every process reads all the time are packed side by
 * side, and what only some slots or entities use is spread so that untouched pages are never made: the
 * segment is gigabytes of addresses and some hundred kilobytes of memory. Nothing here is ever memset: new
 * pages are zero, and zero is everywhere the right beginning.
 *
 * Memory orders: release/acquire where a word publishes others (entity names, ring heads, index sets);
 * seq_cst where two processes must not both miss each other (gauges, breaker probes, the sleeping scribe, the
 * cache epoch); relaxed for statistics, and for words that stand for themselves (buckets, rests). */
#ifndef PENSTOCK_SHM_LAYOUT_H
#define PENSTOCK_SHM_LAYOUT_H
#include "base/die.h"
#include "shm/alert.h"
#include "shm/breaker.h"
#include "shm/bucket.h"
#include "shm/extra.h"
#include "shm/health.h"
#include "shm/hosts.h"
#include "shm/index.h"
#include "shm/lease.h"
#include "shm/money.h"
#include "shm/queue.h"
#include "shm/ring.h"
#include "shm/shm.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "shm/vectors.h"
#include <stdatomic.h>

#define SHM_LINE   64   /* bytes of a cache line: words of different writers are kept apart */
#define SHM_PAGE   4096 /* of memory; where it is larger, memory is not given back */
#define SHM_HANDLE 0x5348484EU

typedef _Atomic uint64_t word;
typedef _Atomic uint32_t half;
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "a lock could be held by the dead");
_Static_assert(sizeof(word) == 8 && sizeof(half) == 4, "atomics must be bare words");

#define STATUS_CLASSES 6 /* 499, 1xx .. 5xx */

struct shm_stats {
    word counter[STAT_COUNTERS_N];
    word status[STATUS_CLASSES];
    word error[STAT_ERROR_TYPES];
};

/* --- the head --- */

struct shm_index_totals { /* see index_recount() for why there are two of them */
    word entries[2], bytes[2];
    word evictions, expired;
    word walk, walked; /* number of the recount under way, and of the last one that came to its end */
};

struct shm_alert {
    word id; /* 0: nothing is there */
    word kind, value, threshold, raised_ms, recovered_ms, told;
    word subject[ALERT_SUBJECT / sizeof(word)];
};

#define SPENT_MINUTES 61
struct shm_spent {
    word minute, total;
};

/* What the scribe is about to write, see money.c. */
struct shm_intent {
    half slot; /* 1 + it; 0: nothing */
    half n, entity[MONEY_MOST];
    word upto, booked[MONEY_MOST];
};

struct shm_head {
    uint64_t magic, version, layout, bytes, instance; /* written before the first fork, then only read */
    int64_t started_wall_ms;                          /* likewise */
    uint64_t started_ms;                              /* clock_ms() */
    _Alignas(SHM_LINE) word cache_epoch;
    half slot_high, entities;
    half loose[ENTITY_KINDS]; /* entities made for names that are not configured */
    word keys_generation;
    _Alignas(SHM_LINE) half scribe_asleep;
    _Alignas(SHM_LINE) word queue_now; /* virtual time, see queue.c */
    half queue_high;                   /* behind the last place in use */
    _Alignas(SHM_LINE) half booking;   /* odd: between two words of a record */
    struct shm_intent intent;
    _Alignas(SHM_LINE) struct shm_stats master; /* of processes without a slot */
    _Alignas(SHM_LINE) struct shm_index_totals index;
    _Alignas(SHM_LINE) word requests[2]; /* in the even and the odd half windows, see extra.c */
    word extra[EXTRAS][2];
    _Alignas(SHM_LINE) word vector_hand; /* where the next vector goes, modulo their number */
    half vector_high;                    /* entries ever used: [0, high) is worth looking at */
    _Alignas(SHM_LINE) word alert_ids;   /* the scribe's, as is all that follows */
    word spent_first;
    word jwks_generation;
    word host; /* likewise, see hosts.c */
    half hosts, apart;
    word cleared_ms;
    half jwks_wanted; /* the workers' */
    struct shm_spent spent[SPENT_MINUTES];
    struct shm_alert alert[ALERT_PLACES];
};

/* --- slots --- */

struct shm_slot {
    /* the master's */
    _Alignas(SHM_LINE) half role;
    half life; /* counts claims and releases: a writer (slot, life) is alive while it has not moved */
    half pid, number, generation;
    word started_ms;      /* clock_ms() */
    word requests_before; /* the counter of requests as this owner found it */
    /* the process's own */
    _Alignas(SHM_LINE) half state;
    half connections, exchanges;
    half link; /* enum hosts_link */
    word heartbeat_ms;
    struct shm_stats stats;
    _Alignas(SHM_LINE) word ring_head; /* written so far */
    _Alignas(SHM_LINE) word ring_done; /* the scribe's: released so far */
    word booked;                       /* the scribe's: records whose money is booked end here, see money.c */
};

/* --- entities --- */

#define ENTITY_NAME  96
#define ENTITY_HINTS 16384 /* hash -> index, a shortcut only */

struct shm_entity {
    half published; /* 0, or the kind */
    half length;
    word name[ENTITY_NAME / sizeof(word)];
};

#define HEALTH_SCALES 3 /* windows are kept at three resolutions, see health.c */
#define HEALTH_CELLS  8

struct shm_state {
    _Alignas(SHM_LINE) word bucket[BUCKET_KINDS];
    word rest;
    word breaker;
    word latency;  /* two floats: EWMA of the whole, of the first byte */
    word baseline; /* a float and how many samples made it */
    word text;     /* two floats: bytes and tokens, see tokens.c */
    word last_wall_ms;
    word speed, speed_ms; /* two floats, see speed.c, and when */
    half failures_in_a_row;
    half weight;     /* set by hand; 0: as configured */
    word turn;       /* round-robin */
    word last_fault; /* wall ms << 8 | class */
    word queue_end;  /* of a key: virtual, see queue.c */
    word queue_debt; /* signed, virtual: what it used beyond what was booked */
    /* The scribe's, see money.c; the last is whoever's is first. */
    _Alignas(SHM_LINE) word money_period;
    word money_spent;
    word allow_period, allowed, allow_others, allow_keep; /* see money.c */
    half money_told;
    half unpriced_told;
    _Alignas(SHM_LINE) word counter[ENTITY_COUNTERS_N];
    _Alignas(SHM_LINE) word cell[HEALTH_SCALES][HEALTH_CELLS];
};

/* See lease.c; a line each, for all workers write to it. */
struct shm_lease {
    _Alignas(SHM_LINE) word units; /* signed */
    word size, asked_ms, limit, left, open_ms, dry_until_ms;
};

/* Of a slot's money with an entity, see money.c. */
struct shm_share {
    word in;     /* the slot's process's: reserved, and settled, since the slot was claimed */
    word booked; /* the scribe's: of that it is in the ledger */
};

/* Of a request that waits; owner 0, or of a dead process: free. */
struct shm_place {
    word owner;        /* slot + 1, life */
    word start, end;   /* virtual; end 0: being written */
    half blocked, key; /* entities */
};

struct shm_hist {
    word count[HIST_BUCKETS];
    word sum; /* in units of a sample */
};

#define AFFINITY_PLACES 16384

/* --- the cache index --- */

#define INDEX_SETS 8192
#define INDEX_WAYS 8
#define ERA_KEPT   UINT64_MAX          /* the live word of what clearing the cache does not mean */
#define EPOCH_ALL  ((uint64_t)1 << 32) /* what clearing everything adds to the epoch; a part adds 1 */

struct shm_cell {
    /* 0: empty; else epoch / EPOCH_ALL when it was made. Cleared first and set last by whoever writes */
    word live;
    word used; /* wall ms of its last use; may be written without the set's lock */
    word key[INDEX_KEY / sizeof(word)];
    word expires_wall_ms, bytes, place, pos, model_hash, owner_hash, created_wall_ms;
    word spare[2];
};

struct shm_set {
    word lock; /* sequence and writer, see index.c */
    half tag[INDEX_WAYS];
    word walk;
    word spare[2];
    struct shm_cell cell[INDEX_WAYS];
};
_Static_assert(sizeof(struct shm_set) == 1024, "a set must not straddle pages");

#define CLAIM_PLACES 4096
struct shm_claim {
    word claim, waits; /* see claim.c */
};

/* --- vectors: the parts that a scan goes through lie each on its own --- */

struct shm_vector {
    word lock; /* see seqlock.h */
    word partition[INDEX_KEY / sizeof(word)], key[INDEX_KEY / sizeof(word)];
    word expires_wall_ms, created_wall_ms, model_hash, owner_hash;
    word spare[3];
};
_Static_assert(sizeof(struct shm_vector) == 2 * SHM_LINE, "entries must not share lines");

/* --- the handle --- */

struct shm {
    uint32_t handle;
    uint32_t slot, life; /* mine, or SHM_NONE */
    int wake_fd;
    unsigned char *base;
    size_t bytes;
    size_t ring_bytes;
    uint64_t trimmed; /* my ring's head when its pages were given back last */
    struct shm_head *head;
    struct shm_slot *slots;
    word *entity_hash;
    half *entity_hint;
    struct shm_entity *entity;
    struct shm_state *state;
    struct shm_hist *hist;
    struct shm_lease *leases; /* BUCKET_KINDS of each entity */
    word *affinity;           /* AFFINITY_PLACES, see affinity.c */
    half *gauges;
    struct shm_share *shares;
    struct shm_place *places;
    word *set_used; /* a bit for each set that was ever written: walks leave the others untouched */
    struct shm_set *sets;
    struct shm_claim *claims;
    word *vector_part; /* the first word of an entry's partition; 0: none. Cleared first and set last */
    half *vector_norm; /* a float */
    half *vector_used; /* since the hand passed last */
    struct shm_vector *vector;
    word (*vector_bytes)[VECTOR_DIM / sizeof(word)];
    unsigned char *rings;
};

/* SHM_NONE (the table was full) has no state: nothing is limited, nothing is remembered. */
static inline struct shm_state *state_of(const struct shm *s, uint32_t entity) {
    return entity < SHM_MAX_ENTITIES ? s->state + entity : NULL;
}

static inline void cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
/* Waiting for another process for an instant: spins first, for a random while, then lets others run (it may
 * need this very CPU).
 */
void shm_backoff(unsigned tries);

/* The pages of a ring in which nothing waits. The first is for whoever is sure that no process writes to it,
 * the second for its writer, when it has nothing else to do. */
void ring_give_back(struct shm *s, uint32_t slot);
void ring_trim(struct shm *s);

/* Requests and errors of the last window_ms, only in cells that began at since_ms or later. */
struct health_count {
    uint64_t requests, errors;
};
struct health_count health_count(const struct shm *s, uint32_t entity, uint64_t window_ms, uint64_t since_ms,
                                 uint64_t now_ns);
#endif
