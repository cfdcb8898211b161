/* Rings, with writers and readers that are killed. */
#include "base/hash.h"
#include "shm/ring.h"
#include "shm/slot.h"
#include "shm_cases.h"
#include <poll.h>
#include <sched.h>
#include <stdlib.h>

static struct shm *segment_entered(void) {
    struct shm *s = segment();
    slot_enter(s, slot_claim(s, SLOT_WORKER, 0, 1));
    return s;
}

START_TEST(ring_basics) {
    struct shm *s = segment_entered();
    uint64_t pos, cursor = 0;
    uint32_t type;
    struct str p;
    char out[16] = "";
    ck_assert(!ring_next(s, 0, &cursor, &type, &p));
    ck_assert(ring_put(s, 7, STR("head"), STR("-body"), &pos));
    ck_assert(ring_put(s, 8, STR_NONE, STR_NONE, NULL));
    ck_assert(ring_copy(s, 0, pos, out, 9) && strcmp(out, "head-body") == 0);
    ck_assert(!ring_copy(s, 0, pos, out, 100) && !ring_copy(s, SHM_NONE, pos, out, 1));
    ck_assert(ring_next(s, 0, &cursor, &type, &p) && type == 7 && str_is(p, "head-body"));
    uint64_t first = cursor;
    ck_assert(ring_next(s, 0, &cursor, &type, &p) && type == 8 && p.n == 0);
    ck_assert(!ring_next(s, 0, &cursor, &type, &p) && cursor == ring_head(s, 0));
    ck_assert_uint_eq(ring_tail(s, 0), 0);
    ring_release(s, 0, first);
    ck_assert_uint_eq(ring_tail(s, 0), first);
    ck_assert(!ring_copy(s, 0, pos, out, 9));
    ring_release(s, 0, 1 << 20); /* of another segment */
    ring_release(s, 0, 0);       /* backwards */
    ck_assert_uint_eq(ring_tail(s, 0), first);
    cursor = 0; /* behind what is released */
    ck_assert(ring_next(s, 0, &cursor, &type, &p) && type == 8);
    shm_free(s);
}
END_TEST

START_TEST(ring_bounds) {
    static char big[RING];
    struct shm *s = segment_entered();
    uint32_t type;
    struct str p;
    ck_assert_uint_eq(ring_room(s), ring_max(s));
    ck_assert(!ring_put(s, 1, str_make(big, ring_max(s) + 1), STR_NONE, NULL));
    ck_assert(!ring_put(s, 1, str_make(big, ring_max(s)), STR("x"), NULL));
    for (size_t start = 8; start < 300000; start += 8 * 631) { /* an empty ring takes the largest anywhere */
        uint64_t cursor = ring_tail(s, 0);
        while (ring_head(s, 0) < start) {
            ck_assert(ring_put(s, 1, STR_NONE, STR_NONE, NULL));
            ring_release(s, 0, ring_head(s, 0));
            cursor = ring_head(s, 0);
        }
        memset(big, (int)(start % 251), ring_max(s));
        ck_assert_uint_eq(ring_room(s), ring_max(s));
        ck_assert(ring_put(s, 2, str_make(big, ring_max(s)), STR_NONE, NULL));
        ck_assert(ring_next(s, 0, &cursor, &type, &p) && type == 2);
        ck_assert(str_eq(p, str_make(big, ring_max(s))));
        ring_release(s, 0, cursor);
    }
    size_t n = 0;
    while (ring_put(s, 1, str_make(big, 1000), STR_NONE, NULL))
        n++;
    ck_assert(n * 1008 <= RING && n * 1008 + 2048 > RING && ring_room(s) < 1000);
    shm_free(s);
}
END_TEST

START_TEST(ring_room_is_true) {
    static char big[RING];
    struct shm *s = segment_entered();
    for (int i = 0; i < 3000; i++) {
        size_t room = ring_room(s), want = random_u64() % 5000;
        bool fits = ring_put(s, 1, str_make(big, want), STR_NONE, NULL);
        ck_assert(!fits || want <= room);
        if (!fits && want <= room)
            ck_assert_msg((want + 7) / 8 * 8 > room, "%zu did not fit into %zu", want, room);
        if (i % 7 == 0) {
            uint64_t cursor = ring_tail(s, 0);
            uint32_t type;
            struct str p;
            for (int k = 0; k < 6 && ring_next(s, 0, &cursor, &type, &p); k++)
                ck_assert_uint_eq(type, 1);
            ring_release(s, 0, cursor);
        }
    }
    shm_free(s);
}
END_TEST

/* --- a scribe that dies --- */

#define RECORDS 100000U
enum {
    WRITTEN,
    BANK,
    COMMITTED,
    SUM_OUT = 10,
    SUM_IN = 20
}; /* notes; from COMMITTED on two banks of three */

static size_t make_large(uint8_t *out, uint64_t n, size_t most) {
    size_t len = 8 + hash64(&n, sizeof n) % most;
    memset(out, (int)(n & 255), len);
    memcpy(out, &n, sizeof n);
    return len;
}

static size_t make_record(uint8_t out[600], uint64_t n) {
    return make_large(out, n, 500);
}

static void write_records(struct crowd *c) {
    uint8_t r[600];
    uint64_t sum = 0;
    for (uint64_t n = 0; n < RECORDS; n++) {
        size_t len = make_record(r, n), cut = n % len;
        while (!ring_put(c->s, 1, str_make((char *)r, cut), str_make((char *)r + cut, len - cut), NULL))
            sched_yield();
        sum = hash64_more(sum, r, len);
        atomic_store(&c->scratch->note[WRITTEN], n + 1);
    }
    atomic_store(&c->scratch->note[SUM_OUT], sum);
}

/* Position, number and sum are committed together, as in a transaction: the other bank, then the switch. */
static void commit(struct scratch *x, uint64_t pos, uint64_t n, uint64_t sum) {
    uint64_t bank = 1 - atomic_load(&x->note[BANK]);
    _Atomic uint64_t *to = &x->note[COMMITTED + bank * 3];
    atomic_store(&to[0], pos);
    atomic_store(&to[1], n);
    atomic_store(&to[2], sum);
    atomic_store(&x->note[BANK], bank);
}

static void read_records(struct crowd *c, uint32_t slot) {
    struct scratch *x = c->scratch;
    _Atomic uint64_t *from = &x->note[COMMITTED + atomic_load(&x->note[BANK]) * 3];
    uint64_t cursor = atomic_load(&from[0]), n = atomic_load(&from[1]), sum = atomic_load(&from[2]);
    uint8_t want[600];
    ring_release(c->s, slot, cursor);
    while (n < RECORDS) {
        struct str p;
        uint32_t type;
        int batch = 0;
        for (; batch < 40 && ring_next(c->s, slot, &cursor, &type, &p); batch++, n++) {
            child_must(type == 1 && str_eq(p, str_make((char *)want, make_record(want, n))));
            sum = hash64_more(sum, p.p, p.n);
        }
        if (batch == 0) {
            sched_yield();
            continue;
        }
        commit(x, cursor, n, sum);
        ring_release(c->s, slot, cursor);
    }
    atomic_store(&x->note[SUM_IN], sum);
}

static void carry(struct crowd *c, int i) {
    if (i == 0)
        write_records(c);
    else
        read_records(c, 0);
}

START_TEST(ring_scribe_killed) {
    struct crowd c;
    crowd_init(&c, segment(), carry);
    crowd_start(&c, 0);
    crowd_start(&c, 1);
    for (uint64_t k = 1; k <= 25; k++) {
        wait_note(&c, WRITTEN, k * (RECORDS / 30) + random_u64() % 1000);
        crowd_kill(&c, 1);
        crowd_start(&c, 1);
    }
    crowd_wait(&c, 0);
    crowd_wait(&c, 1);
    ck_assert_uint_eq(atomic_load(&c.scratch->note[SUM_IN]), atomic_load(&c.scratch->note[SUM_OUT]));
    ck_assert_uint_eq(ring_tail(c.s, 0), ring_head(c.s, 0));
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

/* --- a worker that dies --- */

static void write_for_ever(struct crowd *c, int i) {
    uint8_t r[600];
    for (uint64_t n = 0;; n++) {
        size_t len = make_record(r, n);
        while (!ring_put(c->s, (uint32_t)i + 1, str_make((char *)r, len), STR_NONE, NULL))
            sched_yield();
        atomic_fetch_add(&c->scratch->note[WRITTEN], 1);
    }
}

/* Reads all there is: whole records, numbered from 0 again after each death. */
static uint64_t drain(struct shm *s, uint64_t *next) {
    uint64_t cursor = ring_tail(s, 0), read = 0;
    uint32_t type;
    struct str p;
    uint8_t want[600];
    for (; ring_next(s, 0, &cursor, &type, &p); read++) {
        uint64_t n = *next;
        if (p.n >= 8)
            memcpy(&n, p.p, sizeof n);
        ck_assert(n == *next || n == 0);
        ck_assert(str_eq(p, str_make((char *)want, make_record(want, n))));
        *next = n + 1;
    }
    ring_release(s, 0, cursor);
    return read;
}

START_TEST(ring_writer_killed) {
    struct crowd c;
    crowd_init(&c, segment(), write_for_ever);
    uint64_t read = 0, next = 0;
    for (int k = 0; k < 40; k++) {
        crowd_start(&c, 0);
        ck_assert_uint_eq(c.m[0].slot, 0);
        for (uint64_t until = read + random_u64() % 2000; read <= until; sched_yield())
            read += drain(c.s, &next);
        crowd_kill(&c, 0);
        read += drain(c.s, &next);
        uint64_t told = atomic_load(&c.scratch->note[WRITTEN]); /* one of each life may not have been told */
        ck_assert(read >= told && read <= told + (uint64_t)k + 1);
    }
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

/* --- copies that are overtaken --- */

enum { POS = 1, LEN, COPIED, MISSED, OVER };

#define LARGE 8000
static void write_or_copy(struct crowd *c, int i) {
    struct scratch *x = c->scratch;
    static uint8_t r[LARGE + 8], out[LARGE + 8];
    if (i > 0) { /* whatever is copied is what was written there */
        for (uint64_t want; atomic_load(&x->note[OVER]) == 0; sched_yield()) {
            uint64_t pos = atomic_load(&x->note[POS]);
            if (pos == 0 || !ring_copy(c->s, 0, pos, &want, sizeof want)) {
                atomic_fetch_add(&x->note[MISSED], 1);
                continue;
            }
            size_t len = make_large(r, want, LARGE);
            if (ring_copy(c->s, 0, pos, out, len)) {
                child_must(memcmp(out, r, len) == 0);
                atomic_fetch_add(&x->note[COPIED], 1);
            }
        }
        return;
    }
    for (uint64_t n = 0; n < 3000 || atomic_load(&x->note[COPIED]) < 300; n++) {
        uint64_t pos;
        child_must(ring_put(c->s, 1, str_make((char *)r, make_large(r, n, LARGE)), STR_NONE, &pos));
        atomic_store(&x->note[POS], pos);
        if (n % 4 == 3) /* the scribe's part: at once, under the readers' hands */
            ring_release(c->s, 0, pos - 8);
        if (n % 64 == 0)
            sched_yield();
    }
    atomic_store(&x->note[OVER], 1);
}

START_TEST(ring_copied) {
    struct crowd c;
    crowd_init(&c, segment(), write_or_copy);
    crowd_run(&c);
    ck_assert_uint_gt(atomic_load(&c.scratch->note[COPIED]), 100);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

/* --- waking --- */

#define WAKES 3000
static void wake_or_sleep(struct crowd *c, int i) {
    struct shm *s = c->s;
    if (i > 0) { /* one at a time, so that the scribe must sleep */
        for (uint64_t n = 1; n <= WAKES; n++) {
            child_must(ring_put(s, 1, STR("x"), STR_NONE, NULL));
            wait_note(c, 0, n);
        }
        return;
    }
    uint64_t cursor = 0, n = 0;
    uint32_t type;
    struct str p;
    while (n < WAKES) {
        ring_scribe_sleeps(s, true);
        if (ring_head(s, 1) == cursor) {
            struct pollfd fd = {.fd = ring_wake_fd(s), .events = POLLIN};
            child_must(poll(&fd, 1, 10000) == 1); /* a wake that is lost is a poll that ends by its time */
        }
        ring_scribe_sleeps(s, false);
        for (; ring_next(s, 1, &cursor, &type, &p); n++)
            ring_release(s, 1, cursor);
        atomic_store(&c->scratch->note[0], n);
    }
}

START_TEST(ring_wakes) {
    struct crowd c;
    crowd_init(&c, segment(), wake_or_sleep);
    crowd_start(&c, 0);
    crowd_start(&c, 1);
    crowd_wait(&c, 1);
    crowd_wait(&c, 0);
    shm_free(c.s);
    crowd_free(&c);
}
END_TEST

TCase *case_ring(void) {
    TCase *t = tcase_create("ring");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, ring_basics);
    tcase_add_test(t, ring_bounds);
    tcase_add_test(t, ring_room_is_true);
    tcase_add_test(t, ring_scribe_killed);
    tcase_add_test(t, ring_writer_killed);
    tcase_add_test(t, ring_copied);
    tcase_add_test(t, ring_wakes);
    return t;
}
