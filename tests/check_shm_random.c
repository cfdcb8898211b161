/* Limits, budgets and the queue against what they ought to be: random schedules beside a plain model of the
 * same, and crowds that are killed, whose sum is never over and of which nothing is lost. */
#include "base/clock.h"
#include "shm/bucket.h"
#include "shm/money.h"
#include "shm/queue.h"
#include "shm/slot.h"
#include "shm_cases.h"
#include "under_valgrind.h"
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#define SEEDS 40

static uint64_t state;

static uint64_t any(uint64_t below) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return (state >> 33) % below;
}

static uint32_t entity(struct shm *s, unsigned n) {
    return shm_entity(s, ENTITY_TENANT, str_make((const char *)&n, sizeof n));
}

/* --- buckets: a level that falls with what is taken and rises with time --- */

enum { BUCKETS = 3 };
struct level {
    uint64_t limit, period_ns;
    __int128 ns; /* how long it took to fill what is in it; below 0: debt */
};

static __int128 in_ns(const struct level *l, uint64_t units) {
    __int128 ns = (__int128)units * l->period_ns / l->limit;
    return units && ns == 0 ? 1 : ns;
}

static void time_goes_on(struct level *l, uint64_t ns) {
    l->ns += ns;
    if (l->ns > l->period_ns)
        l->ns = l->period_ns;
}

static uint64_t charged(const struct level *l, uint64_t cost) {
    return cost < l->limit ? cost : l->limit;
}

static void put_back(struct level *l, __int128 ns) {
    l->ns += ns;
    if (l->ns > l->period_ns)
        l->ns = l->period_ns;
}

static void settle(struct shm *s, struct level *l, const struct bucket_ask *a, int64_t delta, uint64_t now) {
    bucket_settle(s, a, delta, now);
    if (delta > 0) {
        l->ns -= in_ns(l, (uint64_t)delta);
        return;
    }
    uint64_t less = (uint64_t)-delta, real = a->cost > less ? a->cost - less : 0;
    if (real < charged(l, a->cost))
        put_back(l, in_ns(l, charged(l, a->cost)) - in_ns(l, real));
}

static void looks_alike(struct shm *s, const struct level *l, const struct bucket_ask *a, uint64_t now) {
    uint64_t remaining, full;
    bucket_look(s, a->entity, a->kind, a->limit, now, &remaining, &full);
    uint64_t want = l->ns > 0 ? (uint64_t)(l->ns * l->limit / l->period_ns) : 0;
    ck_assert_uint_eq(remaining, want);
    ck_assert(full == (uint64_t)(l->period_ns - l->ns));
}

START_TEST(buckets_by_a_model) {
    state = (uint64_t)_i;
    struct shm *s = segment();
    static const enum bucket kinds[] = {BUCKET_TOKENS_PER_MINUTE, BUCKET_REQUESTS_PER_HOUR,
                                        BUCKET_TOKENS_PER_DAY};
    struct bucket_ask asks[BUCKETS];
    struct level level[BUCKETS];
    uint64_t now = 1 + any(UINT64_C(1) << 50);
    for (unsigned i = 0; i < BUCKETS; i++) {
        uint64_t limit = 1 + any(any(2) ? 20 : 1000000);
        asks[i] = (struct bucket_ask){entity(s, i), kinds[i], limit, 0};
        level[i] =
            (struct level){limit, bucket_rows[kinds[i]].period_ns, (__int128)bucket_rows[kinds[i]].period_ns};
    }
    for (unsigned n = 0; n < 3000; n++) {
        uint64_t step = any(3) ? any(1000) : any(UINT64_C(200) * 1000000000);
        now += step;
        bool fits = true;
        for (unsigned i = 0; i < BUCKETS; i++) {
            time_goes_on(&level[i], step);
            asks[i].cost = any(4) ? any(1 + asks[i].limit / 4) : any(2 * asks[i].limit);
            fits = fits && level[i].ns >= in_ns(&level[i], charged(&level[i], asks[i].cost));
        }
        struct bucket_verdict v = buckets_take(s, asks, BUCKETS, now);
        ck_assert_msg(v.ok == fits, "round %u", n);
        ck_assert(v.ok || (v.wait_ns > 0 && v.refused < BUCKETS));
        for (unsigned i = 0; i < BUCKETS && v.ok; i++)
            level[i].ns -= in_ns(&level[i], charged(&level[i], asks[i].cost));
        if (v.ok && any(4) == 0) {
            buckets_give_back(s, asks, BUCKETS, now);
            for (unsigned i = 0; i < BUCKETS; i++)
                put_back(&level[i], in_ns(&level[i], charged(&level[i], asks[i].cost)));
        } else if (v.ok) {
            for (unsigned i = 0; i < BUCKETS; i++)
                settle(s, &level[i], &asks[i], (int64_t)any(asks[i].limit) - (int64_t)any(asks[i].limit),
                       now);
        }
        for (unsigned i = 0; i < BUCKETS; i++)
            looks_alike(s, &level[i], &asks[i], now);
    }
    shm_free(s);
}
END_TEST

/* Each member takes one of two buckets together, sometimes gives it back, and tells of both: after its death
 * the test knows within one what it did. */
enum { TOOK, GAVE, LIMIT = 30000, TIGHT = 40000 };

static void tell(struct crowd *c, int i, int what) {
    atomic_fetch_add(&c->scratch->note[2 * i + what], 1);
}

static uint64_t told(const struct crowd *c, int what) {
    uint64_t n = 0;
    for (int i = 0; i < CROWD; i++)
        n += atomic_load(&c->scratch->note[2 * i + what]);
    return n;
}

static void take_and_give(struct crowd *c, int i) {
    const struct bucket_ask a[2] = {{entity(c->s, 1), BUCKET_REQUESTS_PER_DAY, LIMIT, 1},
                                    {entity(c->s, 2), BUCKET_REQUESTS_PER_DAY, TIGHT, 1}};
    state = (uint64_t)getpid();
    for (;;) {
        if (!buckets_take(c->s, a, 2, clock_ns()).ok) {
            sched_yield();
            continue;
        }
        tell(c, i, TOOK);
        if (any(3) == 0) {
            buckets_give_back(c->s, a, 2, clock_ns());
            tell(c, i, GAVE);
        }
    }
}

START_TEST(buckets_of_a_crowd_that_is_killed) {
    struct crowd c;
    unsigned kills = 0, spent = 0;
    crowd_init(&c, segment(), take_and_give);
    uint64_t begin = clock_ns(), remaining = 1, full;
    const uint64_t day = bucket_rows[BUCKET_REQUESTS_PER_DAY].period_ns;
    for (int i = 0; i < CROWD; i++)
        crowd_start(&c, i);
    while (spent < 20) { /* a while longer than there is something left */
        for (uint64_t n = any(200); n > 0; n--)
            sched_yield();
        int victim = (int)any(CROWD);
        crowd_kill(&c, victim);
        crowd_start(&c, victim);
        kills++;
        bucket_look(c.s, entity(c.s, 1), BUCKET_REQUESTS_PER_DAY, LIMIT, clock_ns(), &remaining, &full);
        spent += remaining <= 1;
    }
    for (int i = 0; i < CROWD; i++)
        crowd_kill(&c, i);
    kills += CROWD;
    uint64_t now = clock_ns(), refilled = (uint64_t)((unsigned __int128)(now - begin) * LIMIT / day) + 1;
    bucket_look(c.s, entity(c.s, 1), BUCKET_REQUESTS_PER_DAY, LIMIT, now, &remaining, &full);
    /* kept is what was taken and not given back, within one for each of the killed */
    uint64_t kept = told(&c, TOOK) - told(&c, GAVE);
    ck_assert_msg(kept <= LIMIT + refilled + kills, "%lu passed", (unsigned long)kept);
    ck_assert_msg(kept + remaining + kills + 1 >= LIMIT, "%lu and %lu of %d", (unsigned long)kept,
                  (unsigned long)remaining, LIMIT);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

/* --- budgets --- */

enum { PAYERS = 4, OPEN_MOST = 30 };
struct payment {
    uint32_t slot;
    unsigned mask; /* of whose budgets */
    uint64_t amount;
};

static size_t list(struct shm *s, unsigned mask, uint32_t out[PAYERS]) {
    size_t n = 0;
    for (unsigned i = 0; i < PAYERS; i++)
        if (mask & 1U << i)
            out[n++] = entity(s, i);
    return n;
}

/* Several workers and a scribe in one process, which plays them all. */
START_TEST(budgets_by_a_model) {
    state = (uint64_t)_i;
    static const struct money_period may = {3, 5000};
    struct shm *s = segment();
    uint32_t slot[3], of[PAYERS];
    uint64_t limit[PAYERS], spent[PAYERS] = {0}, held[PAYERS] = {0}, upto = 0;
    struct payment open[OPEN_MOST];
    size_t n = 0, nof, refused;
    for (unsigned i = 0; i < 3; i++)
        slot[i] = slot_claim(s, SLOT_WORKER, i, 1);
    for (unsigned i = 0; i < PAYERS; i++) {
        limit[i] = 500 + any(3000);
        money_set(s, entity(s, i), may, 0);
    }
    for (unsigned round = 0; round < 3000; round++) {
        size_t at = any(OPEN_MOST);
        if (at >= n && n < OPEN_MOST) { /* another one */
            struct payment p = {slot[any(3)], 1 + (unsigned)any((1U << PAYERS) - 1), any(200)};
            struct money_ask asks[PAYERS];
            bool fits = true;
            nof = 0;
            for (unsigned i = 0; i < PAYERS; i++)
                if (p.mask & 1U << i) {
                    asks[nof++] = (struct money_ask){entity(s, i), may, limit[i]};
                    fits = fits && spent[i] + held[i] < limit[i] && spent[i] + held[i] + p.amount <= limit[i];
                }
            slot_enter(s, p.slot);
            ck_assert_int_eq(money_reserve(s, asks, nof, p.amount, &refused), fits ? MONEY_OK : MONEY_OVER);
            if (fits)
                open[n++] = p;
            for (unsigned i = 0; i < PAYERS && fits; i++)
                held[i] += p.mask & 1U << i ? p.amount : 0;
        } else if (at < n) { /* one ends: dearer, cheaper or for nothing */
            struct payment p = open[at];
            uint64_t cost = any(3) ? any(p.amount + 1) : any(2) ? 0 : p.amount + any(50);
            open[at] = open[--n];
            nof = list(s, p.mask, of);
            slot_enter(s, p.slot);
            money_change(s, of, nof, p.amount, cost);
            struct money_list who = {.n = nof};
            memcpy(who.entity, of, nof * sizeof *of);
            if (cost)
                money_book(s, p.slot, ++upto, &who, &who, cost);
            for (unsigned i = 0; i < PAYERS; i++) {
                held[i] -= p.mask & 1U << i ? p.amount : 0;
                spent[i] += p.mask & 1U << i ? cost : 0;
            }
        }
        for (unsigned i = 0; i < PAYERS; i++) {
            struct money m;
            money_look(s, entity(s, i), may, &m);
            ck_assert(m.known && m.spent == spent[i] && m.on_way == held[i]);
        }
        if (any(100) == 0) /* more money */
            limit[any(PAYERS)] += any(5000);
    }
    shm_free(s);
}
END_TEST

/* --- the queue --- */

enum { WAITERS = 60, WORKERS = 4, KEYS = 5, GATES = 2 };
struct waiting {
    uint32_t place, worker, gate, key;
    uint64_t end;
};

static bool first(const struct waiting *w, const struct waiting *all, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (&all[i] != w && all[i].gate == w->gate &&
            (all[i].end < w->end || (all[i].end == w->end && all[i].place < w->place)))
            return false;
    return true;
}

/* Of those that wait for a gate exactly one has its turn, and it is the right one, whoever joins, leaves and
 * dies. */
START_TEST(the_queue_by_a_model) {
    state = (uint64_t)_i;
    struct shm *s = segment();
    uint32_t slot[WORKERS];
    struct waiting w[WAITERS];
    size_t n = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        slot[i] = slot_claim(s, SLOT_WORKER, i, 1);
    for (unsigned round = 0; round < 2000; round++) {
        unsigned what = (unsigned)any(20);
        size_t at = n ? any(n) : 0;
        if (what == 0) { /* a worker dies */
            unsigned dead = (unsigned)any(WORKERS);
            slot_release(s, slot[dead]);
            slot[dead] = slot_claim(s, SLOT_WORKER, dead, 1 + round);
            size_t kept = 0;
            for (size_t i = 0; i < n; i++)
                if (w[i].worker != dead)
                    w[kept++] = w[i];
            n = kept;
        } else if (what < 10 && n < WAITERS) {
            struct waiting x = {
                .worker = (uint32_t)any(WORKERS), .gate = (uint32_t)any(GATES), .key = (uint32_t)any(KEYS)};
            slot_enter(s, slot[x.worker]);
            x.place = queue_join(s, entity(s, x.key), any(1000), 1 + (unsigned)any(3), entity(s, 90 + x.gate),
                                 WAITERS);
            ck_assert_uint_ne(x.place, SHM_NONE);
            x.end = queue_end(s, x.place);
            w[n++] = x;
        } else if (what < 13 && n) { /* it waits for something else now */
            w[at].gate = (w[at].gate + 1) % GATES;
            slot_enter(s, slot[w[at].worker]);
            queue_blocked(s, w[at].place, entity(s, 90 + w[at].gate));
        } else if (n) {
            slot_enter(s, slot[w[at].worker]);
            queue_leave(s, w[at].place, first(&w[at], w, n));
            w[at] = w[--n];
        }
        uint32_t last = 0;
        for (size_t i = 0; i < n; i++)
            last = w[i].place >= last ? w[i].place + 1 : last;
        ck_assert_uint_ge(queue_reach(s), last); /* of the dead it may be more */
        ck_assert_uint_eq(queue_depth(s), n);
        for (size_t i = 0; i < n; i++)
            ck_assert(queue_turn(s, w[i].place) == first(&w[i], w, n));
        for (uint32_t g = 0; g < GATES; g++) {
            bool someone = false;
            for (size_t i = 0; i < n; i++)
                someone = someone || w[i].gate == g;
            uint32_t gate = entity(s, 90 + g);
            ck_assert(queue_any(s, &gate, 1) == (someone ? gate : SHM_NONE));
        }
    }
    shm_free(s);
}
END_TEST

/* Keys that always have something waiting are served by their weights, within some requests of each, and one
 * that comes later has nothing saved up. */
enum { EACH = 6, LATE = KEYS - 1 };
struct fair {
    struct shm *s;
    uint32_t gate, place[KEYS][EACH];
    uint64_t cost[KEYS][EACH], served[KEYS], most;
    unsigned weight[KEYS];
};

static void fair_join(struct fair *f, unsigned k, unsigned i) {
    f->cost[k][i] = 1 + any(f->most);
    f->place[k][i] = queue_join(f->s, entity(f->s, k), f->cost[k][i], f->weight[k], f->gate, KEYS * EACH);
}

/* Nobody of `keys` has no turn for ever. */
static void fair_serve(struct fair *f, unsigned keys) {
    unsigned found = 0;
    for (unsigned k = 0; k < keys; k++)
        for (unsigned i = 0; i < EACH; i++)
            if (queue_turn(f->s, f->place[k][i])) {
                found++;
                queue_leave(f->s, f->place[k][i], true);
                f->served[k] += f->cost[k][i];
                fair_join(f, k, i);
            }
    ck_assert_uint_ge(found, 1);
}

static void is_fair(const struct fair *f, unsigned keys) {
    for (unsigned a = 0; a < keys; a++)
        for (unsigned b = 0; b < keys; b++) {
            double got = (double)f->served[a] / f->weight[a],
                   least = (double)(f->served[b] + EACH * f->most) / f->weight[b] + EACH * (double)f->most;
            ck_assert_msg(got <= least, "%lu by weight %u, %lu by weight %u, at most %lu each",
                          (unsigned long)f->served[a], f->weight[a], (unsigned long)f->served[b],
                          f->weight[b], (unsigned long)f->most);
        }
}

START_TEST(the_queue_is_fair) {
    state = (uint64_t)_i;
    struct fair f = {.s = segment(), .most = 1 + any(5000)};
    slot_enter(f.s, slot_claim(f.s, SLOT_WORKER, 0, 1));
    f.gate = entity(f.s, 99);
    for (unsigned k = 0; k < KEYS; k++)
        f.weight[k] = 1 + (unsigned)any(10);
    for (unsigned k = 0; k < LATE; k++)
        for (unsigned i = 0; i < EACH; i++)
            fair_join(&f, k, i);
    for (unsigned round = 0; round < 500; round++)
        fair_serve(&f, LATE);
    is_fair(&f, LATE);
    memset(f.served, 0, sizeof f.served);
    for (unsigned i = 0; i < EACH; i++)
        fair_join(&f, LATE, i);
    for (unsigned round = 0; round < 500; round++)
        fair_serve(&f, KEYS);
    is_fair(&f, KEYS);
    shm_free(f.s);
}
END_TEST

/* A test for each seed; the loop's variable is it. */
#define SEEDED(fn) tcase_add_loop_test(t, fn, 0, rounds(SEEDS))

TCase *case_random(void) {
    TCase *t = tcase_create("random");
    tcase_set_timeout(t, 120);
    SEEDED(buckets_by_a_model);
    SEEDED(budgets_by_a_model);
    SEEDED(the_queue_by_a_model);
    SEEDED(the_queue_is_fair);
    tcase_add_test(t, buckets_of_a_crowd_that_is_killed);
    return t;
}
