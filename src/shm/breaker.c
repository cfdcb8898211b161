/* Circuit breakers. All of a breaker but its probes in flight is one word, so every change of state is one
 * CAS, made by exactly one process, and that one is told (struct breaker_change) and may log it. Probes in
 * flight are a gauge: those of a dead worker come back. */
#include "base/clock.h"
#include "layout.h"

/* The word, from the top: state 2, failures in a row 10, successes of probes 6, openings in a row 6, a time
 * 40 bits in ms of clock_ns() (34 years of uptime). The time is, by state: CLOSED     when it closed: errors
 * of before do not open it again; OPEN       when it may be probed. The end rather than the beginning, so
 * that all processes agree on the jitter, and nobody needs the rule to tell how long it still takes;
 *   HALF_OPEN  when it became so: no two times in HALF_OPEN have the same word. */
struct breaker {
    enum breaker_state state;
    unsigned failures, successes, openings;
    uint64_t at_ms;
};
#define FAILURES_MAX  1023U
#define SUCCESSES_MAX 63U
#define OPENINGS_MAX  63U
#define AT_BITS       40
#define AT_MAX        (((uint64_t)1 << AT_BITS) - 1)

static uint64_t pack(struct breaker b) {
    return (uint64_t)b.state << 62 | (uint64_t)b.failures << 52 | (uint64_t)b.successes << 46 |
           (uint64_t)b.openings << AT_BITS | (b.at_ms & AT_MAX);
}

static struct breaker unpack(uint64_t w) {
    return (struct breaker){.state = (enum breaker_state)(w >> 62),
                            .failures = (unsigned)(w >> 52) & FAILURES_MAX,
                            .successes = (unsigned)(w >> 46) & SUCCESSES_MAX,
                            .openings = (unsigned)(w >> AT_BITS) & OPENINGS_MAX,
                            .at_ms = w & AT_MAX};
}

static uint64_t to_ms(uint64_t ns) {
    return ns / 1000000U;
}

static unsigned probes_of(const struct breaker_rule *r) {
    unsigned n = r->half_open_probes;
    return n == 0 ? 1 : n > SUCCESSES_MAX ? SUCCESSES_MAX : n;
}

/* How many may be in flight: those that succeeded already have had their turn. (A reload may have lowered the
 * number below the successes; one more is needed then, to close it.) */
static unsigned probes_left(struct breaker b, const struct breaker_rule *r) {
    return probes_of(r) > b.successes ? probes_of(r) - b.successes : 1;
}

/* --- asking --- */

enum breaker_pass breaker_ask(struct shm *s, uint32_t entity, const struct breaker_rule *r, uint64_t now_ns) {
    struct shm_state *e = state_of(s, entity);
    if (!e)
        return BREAKER_PASS;
    for (;;) { /* turns again only when another process has changed the state */
        uint64_t w = atomic_load(&e->breaker);
        struct breaker b = unpack(w);
        if (b.state == BREAKER_CLOSED)
            return BREAKER_PASS;
        if (b.state == BREAKER_OPEN) {
            if (to_ms(now_ns) < b.at_ms)
                return BREAKER_REFUSE;
            struct breaker half_open = {
                .state = BREAKER_HALF_OPEN, .openings = b.openings, .at_ms = to_ms(now_ns)};
            atomic_compare_exchange_strong(&e->breaker, &w, pack(half_open));
            continue;
        }
        if (!gauge_take(s, entity, GAUGE_PROBES, probes_left(b, r)))
            return BREAKER_REFUSE;
        /* breaker_done() changes the word before it drops the probe. So if I got in because another's probe
         * was dropped, I see here that the word is another, and my cap was wrong. */
        if (atomic_load(&e->breaker) == w)
            return BREAKER_PROBE;
        gauge_drop(s, entity, GAUGE_PROBES);
    }
}

bool breaker_would_pass(const struct shm *s, uint32_t entity, const struct breaker_rule *r, uint64_t now_ns) {
    struct shm_state *e = state_of(s, entity);
    if (!e)
        return true;
    struct breaker b = unpack(atomic_load(&e->breaker));
    if (b.state == BREAKER_OPEN)
        return to_ms(now_ns) >= b.at_ms;
    return b.state == BREAKER_CLOSED || gauge_sum(s, entity, GAUGE_PROBES) < probes_left(b, r);
}

/* --- the outcome --- */

/* open_for_ms, doubled for each opening in a row up to the maximum; from the second on up to a quarter less,
 * so that gateways that opened together do not come back together. Never less than open_for_ms. */
static uint64_t open_time(const struct breaker_rule *r, unsigned openings, double unit) {
    uint64_t most = r->max_open_for_ms > r->open_for_ms ? r->max_open_for_ms : r->open_for_ms;
    uint64_t ms = r->open_for_ms;
    for (unsigned i = 1; i < openings && ms < most; i++)
        ms = ms <= most / 2 ? ms * 2 : most;
    if (openings > 1)
        ms -= (uint64_t)((double)ms * 0.25 * unit);
    return ms > r->open_for_ms ? ms : r->open_for_ms;
}

static struct breaker opened(struct breaker b, const struct breaker_rule *r, uint64_t now_ns, double unit) {
    unsigned openings = b.openings < OPENINGS_MAX ? b.openings + 1 : b.openings;
    return (struct breaker){
        .state = BREAKER_OPEN, .openings = openings, .at_ms = to_ms(now_ns) + open_time(r, openings, unit)};
}

static bool too_many(const struct shm *s, uint32_t entity, const struct breaker_rule *r, struct breaker b,
                     uint64_t now_ns) {
    if (r->consecutive_failures > 0 && b.failures >= r->consecutive_failures)
        return true;
    if (r->consecutive_failures > FAILURES_MAX && b.failures == FAILURES_MAX)
        return true; /* more than can be counted */
    if (r->error_rate <= 0)
        return false;
    struct health_count n = health_count(s, entity, r->window_ms, b.at_ms, now_ns);
    return n.requests > 0 && n.requests >= r->min_requests &&
           (double)n.errors >= r->error_rate * (double)n.requests;
}

static struct breaker when_closed(const struct shm *s, uint32_t entity, const struct breaker_rule *r,
                                  struct breaker b, enum outcome o, uint64_t now_ns, double unit) {
    if (o == OUTCOME_OK) {
        b.failures = 0;
        return b;
    }
    if (b.failures < FAILURES_MAX)
        b.failures++;
    return too_many(s, entity, r, b, now_ns) ? opened(b, r, now_ns, unit) : b;
}

static struct breaker when_probed(const struct breaker_rule *r, struct breaker b, enum outcome o,
                                  uint64_t now_ns, double unit) {
    if (o == OUTCOME_FAILED)
        return opened(b, r, now_ns, unit);
    b.successes++;
    if (b.successes >= probes_of(r))
        return (struct breaker){.state = BREAKER_CLOSED, .at_ms = to_ms(now_ns)};
    return b;
}

/* What comes late changes nothing: calls that began before it opened and end while it is OPEN or HALF_OPEN,
 * and a probe that ends after another has opened it again. A probe that outlives its own time in HALF_OPEN
 * into the next one counts there: it still holds one of the probes, and what it found out is news. */
static struct breaker after(const struct shm *s, uint32_t entity, const struct breaker_rule *r,
                            struct breaker b, enum breaker_pass pass, enum outcome o, uint64_t now_ns,
                            double unit) {
    if (b.state == BREAKER_CLOSED)
        return when_closed(s, entity, r, b, o, now_ns, unit);
    if (b.state == BREAKER_HALF_OPEN && pass == BREAKER_PROBE)
        return when_probed(r, b, o, now_ns, unit);
    return b;
}

/* The word first, the probe's gauge after it. The other way round, between a dropped probe and the word that
 * says what came of it, one more probe would slip in: against a target just found dead, or beyond the exact
 * number. A process killed between the two leaves the gauge, and slot_release() takes it back. */
struct breaker_change breaker_done(struct shm *s, uint32_t entity, const struct breaker_rule *r,
                                   enum breaker_pass pass, enum outcome o, uint64_t now_ns, double unit) {
    struct breaker_change c = {.changed = false};
    struct shm_state *e = state_of(s, entity);
    if (!e || pass == BREAKER_REFUSE)
        return c;
    uint64_t w = atomic_load(&e->breaker);
    while (o != OUTCOME_NEUTRAL) {
        struct breaker was = unpack(w), is = after(s, entity, r, was, pass, o, now_ns, unit);
        c.from = was.state;
        c.to = is.state;
        c.changed = was.state != is.state;
        c.open_for_ms = c.changed && is.state == BREAKER_OPEN ? is.at_ms - to_ms(now_ns) : 0;
        if (pack(is) == w || atomic_compare_exchange_strong(&e->breaker, &w, pack(is)))
            break;
    }
    if (pass == BREAKER_PROBE)
        gauge_drop(s, entity, GAUGE_PROBES);
    return c;
}

/* --- looking --- */

enum breaker_state breaker_state(const struct shm *s, uint32_t entity, uint64_t *retry_in_ns,
                                 uint64_t now_ns) {
    struct shm_state *e = state_of(s, entity);
    struct breaker b = unpack(e ? atomic_load(&e->breaker) : 0);
    if (retry_in_ns)
        *retry_in_ns =
            b.state == BREAKER_OPEN && b.at_ms * 1000000U > now_ns ? b.at_ms * 1000000U - now_ns : 0;
    return b.state;
}

bool breaker_hint(struct shm *s, uint32_t entity, unsigned consecutive_failures) {
    struct shm_state *e = state_of(s, entity);
    unsigned last = consecutive_failures > FAILURES_MAX ? FAILURES_MAX - 1 : consecutive_failures - 1;
    if (!e || consecutive_failures < 2)
        return false;
    uint64_t w = atomic_load(&e->breaker);
    for (;;) {
        struct breaker b = unpack(w);
        if (b.state != BREAKER_CLOSED || b.failures >= last)
            return false;
        b.failures = last;
        if (atomic_compare_exchange_strong(&e->breaker, &w, pack(b)))
            return true;
    }
}

void breaker_reset(struct shm *s, uint32_t entity) {
    struct shm_state *e = state_of(s, entity);
    if (e)
        atomic_store(&e->breaker, pack((struct breaker){.state = BREAKER_CLOSED, .at_ms = clock_ms()}));
}

const char *breaker_state_name(enum breaker_state st) {
    static const char *const names[] = {"closed", "open", "half_open"};
    return (unsigned)st < 3 ? names[st] : "unknown";
}
