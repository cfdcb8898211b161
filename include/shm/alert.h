/* The table of alerts: what is wrong now, and what was lately. Written by the scribe only (the one that holds the
 * store's lock), read by all. It outlives the scribe: what one raised its successor recovers, and what one has not
 * told yet its successor tells. An alert is published by its id last and taken away by it first, so that a scribe
 * killed in between leaves none that is half of another. */
#ifndef PENSTOCK_SHM_ALERT_H
#define PENSTOCK_SHM_ALERT_H
#include "shm/shm.h"

/* X(name, word, unit) */
#define ALERTS(X)                                                              \
    X(ERROR_RATE, "error_rate", "share of the calls")                          \
    X(LATENCY, "latency", "seconds")                                           \
    X(COST, "cost_per_hour", "dollars")                                        \
    X(BUDGET, "budget", "dollars")                                             \
    X(BREAKER, "breaker_open", "openings")                                     \
    X(KEY, "key_rejected", "keys")                                             \
    X(DISK, "disk", "bytes free")                                              \
    X(STORE, "store", "bytes that wait") \
    X(JWKS, "jwks", "failures")
enum alert_kind {
#define X(n, w, u) ALERT_##n,
    ALERTS(X)
#undef X
    ALERT_KINDS
};
const char *alert_name(enum alert_kind k);
const char *alert_unit(enum alert_kind k);

#define ALERT_PLACES  128
#define ALERT_SUBJECT 96 /* bytes, with a NUL; longer ones are cut */
enum { ALERT_LOGGED_RAISED = 1, ALERT_LOGGED_RECOVERED = 2, ALERT_SENT_RAISED = 4, ALERT_SENT_RECOVERED = 8 };
struct alert {
    uint64_t id; /* from 1 on, in the order they were raised */
    enum alert_kind kind;
    char subject[ALERT_SUBJECT];
    double value, threshold;
    int64_t raised_ms, recovered_ms; /* wall clock; recovered 0: it is active */
    unsigned told;                   /* ALERT_LOGGED_..., ALERT_SENT_... */
};
/* Any process. false: nothing is there. i < ALERT_PLACES, in no order. */
bool alert_at(const struct shm *s, uint32_t i, struct alert *out);

/* The scribe only. The active one of this subject is brought up to date, or a new one made in the place of the oldest
 * that has recovered (one that was not told whole is counted as lost: STAT_WEBHOOK_LOST). Its place; SHM_NONE: all
 * places are active. */
uint32_t alert_raise(struct shm *s, enum alert_kind k, struct str subject, double value, double threshold,
                     int64_t now_ms);
uint32_t alert_active(const struct shm *s, enum alert_kind k, struct str subject); /* its place, or SHM_NONE */
void alert_recover(struct shm *s, uint32_t place, double value, int64_t now_ms);
void alert_told(struct shm *s, uint64_t id, unsigned what); /* nothing when it is gone */

/* The scribe only, about once a minute or more often: notes what the gateway has cost so far, in nano-dollars, and
 * gives what of it fell into the last hour (61 minutes at most). */
uint64_t alert_hour_cost(struct shm *s, uint64_t total_nano, uint64_t now_ms);
#endif
