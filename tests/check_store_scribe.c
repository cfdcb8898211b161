/* A real scribe over a real segment: killed at random, out of room, out of disk, left by its master. */
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "proc/scribe.h"
#include "shm/index.h"
#include "shm/ring.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "store/logs.h"
#include "store/record.h"
#include "store_cases.h"
#include "under_valgrind.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB     ((uint64_t)1 << 20)
#define WAIT_MS 60000

static char err[256];
static struct shm *shm;
static struct conf conf;
static uint64_t ledger_map;

struct child {
    pid_t pid;
    int fd; /* to the scribe */
    uint32_t slot;
};

/* --- waiting --- */

#define WAIT_FOR(cond)                                                                                       \
    do {                                                                                                     \
        uint64_t until_ = clock_ms() + WAIT_MS;                                                              \
        bool true_ = (cond);                                                                                 \
        while (!true_ && clock_ms() < until_) {                                                              \
            poll(NULL, 0, 2);                                                                                \
            true_ = (cond);                                                                                  \
        }                                                                                                    \
        ck_assert_msg(true_, "%s did not come true", #cond);                                                 \
    } while (0)

static bool ended(pid_t pid, int *status) {
    return waitpid(pid, status, WNOHANG) == pid;
}

static void must_end_well(struct child *c) {
    int status = -1;
    WAIT_FOR(ended(c->pid, &status));
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "ended with %x", status);
    slot_release(shm, c->slot);
}

/* --- the scribe --- */

static struct child spawn_scribe(void) {
    int fd[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    struct child c = {.slot = slot_claim(shm, SLOT_SCRIBE, 0, 1), .fd = fd[0]};
    ck_assert_uint_ne(c.slot, SHM_NONE);
    c.pid = fork();
    if (c.pid == 0) {
        close(fd[0]);
        struct scribe_env env = {.shm = shm,
                                 .conf = &conf,
                                 .master_fd = fd[1],
                                 .slot = c.slot,
                                 .ledger_map = ledger_map,
                                 .quit_ms = WAIT_MS / 2};
        scribe_run(&env);
    }
    ck_assert_int_gt(c.pid, 0);
    close(fd[1]);
    slot_started(shm, c.slot, c.pid);
    return c;
}

static void must_be_ready(const struct child *c) {
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    char word = 0;
    ck_assert_int_eq(poll(&p, 1, WAIT_MS), 1);
    ck_assert_int_eq(read(c->fd, &word, 1), 1);
    ck_assert_int_eq(word, 'R');
    struct slot_info info;
    ck_assert(slot_at(shm, c->slot, &info) && info.state == SLOT_READY);
}

static struct child start_scribe(void) {
    struct child c = spawn_scribe();
    must_be_ready(&c);
    return c;
}

static void say(const struct child *c, char word) {
    ck_assert_int_eq(send(c->fd, &word, 1, MSG_NOSIGNAL), 1);
}

static void stop_scribe(struct child *c) {
    say(c, 'Q');
    must_end_well(c);
    close(c->fd);
}

static void kill_scribe(struct child *c) {
    int status;
    kill(c->pid, SIGKILL);
    ck_assert_int_eq(waitpid(c->pid, &status, 0), c->pid);
    ck_assert_msg(WIFSIGNALED(status), "it ended by itself: %x", status);
    slot_release(shm, c->slot);
    close(c->fd);
}

/* --- workers --- */

static void enter_as_worker(void) {
    uint32_t slot = slot_claim(shm, SLOT_WORKER, 0, 1);
    slot_started(shm, slot, getpid());
    slot_enter(shm, slot);
}

static void put_usage(const char *id, unsigned i) {
    static struct buf b;
    char text[64];
    snprintf(text, sizeof text, "%s-%u", id, i);
    struct ledger_row r = sample_row();
    r.wall_ms = clock_wall_ms();
    r.request_id = str_of(text);
    r.key = str_of(id);
    r.cost_nano = i;
    buf_clear(&b);
    ledger_pack(&b, &r);
    while (!ring_put(shm, RECORD_USAGE, buf_str(&b), STR_NONE, NULL))
        poll(NULL, 0, 1); /* full: a real worker would drop it */
}

/* Rows come in small bursts, so that there is something to kill the scribe in. */
static struct child start_worker(unsigned number, unsigned rows, int pause_ms) {
    struct child c = {.slot = slot_claim(shm, SLOT_WORKER, number, 1), .fd = -1};
    ck_assert_uint_ne(c.slot, SHM_NONE);
    c.pid = fork();
    if (c.pid == 0) {
        char id[16];
        slot_enter(shm, c.slot);
        snprintf(id, sizeof id, "w%u", number);
        for (unsigned i = 0; i < rows; i++) {
            put_usage(id, i);
            if (pause_ms && i % 16 == 15)
                poll(NULL, 0, pause_ms);
        }
        _exit(0);
    }
    ck_assert_int_gt(c.pid, 0);
    slot_started(shm, c.slot, c.pid);
    return c;
}

/* --- what the ledger says --- */

enum { WORKERS = 3, ROWS = 5000, RECORD_HEAD = 32 + 8 + 8 + 1 /* of the chain */ };
static unsigned char times[WORKERS][ROWS];

static bool tick_off(void *arg, struct str key, struct str value) {
    struct ledger_row r;
    unsigned w, i;
    char id[64];
    ck_assert(key.n == 8 && value.n > RECORD_HEAD);
    ck_assert(ledger_unpack(NULL, str_skip(value, RECORD_HEAD), &r));
    str_copy(id, sizeof id, r.request_id);
    ck_assert_int_eq(sscanf(id, "w%u-%u", &w, &i), 2);
    ck_assert(w < WORKERS && i < ROWS);
    times[w][i]++;
    ++*(unsigned *)arg;
    return true;
}

static struct db *open_ledger(void) {
    struct db *d = db_open(in_tmp("state/ledger"), DB_READ, 0, ledger_tables, err);
    ck_assert_msg(d, "%s", err);
    return d;
}

static struct ledger_sum ledger_total(struct db *d, uint64_t *rows) {
    struct arena *a = arena_new(0);
    struct ledger_sum total;
    size_t n;
    bool cut;
    struct db_txn *t = db_begin(d, false);
    ledger_query(a, t, 0, INT64_MAX, 0, 1, &n, &total, &cut);
    *rows = ledger_rows(t);
    db_end(t);
    arena_free(a);
    return total;
}

static bool ledger_has(uint64_t requests) {
    struct db *d = db_open(in_tmp("state/ledger"), DB_READ, 0, ledger_tables, err);
    uint64_t rows = 0;
    if (!d)
        return false;
    struct ledger_sum total = ledger_total(d, &rows);
    db_close(d);
    return total.requests == requests;
}

static void must_verify(struct db *d) {
    struct ledger_verify *v = ledger_verify_new();
    bool more = true;
    while (more) {
        struct db_txn *t = db_begin(d, false);
        more = ledger_verify_step(v, t, 1000);
        db_end(t);
    }
    const struct ledger_verdict *out = ledger_verify_verdict(v);
    ck_assert_msg(out->ok, "%llu: %s", (unsigned long long)out->number, out->why);
    ledger_verify_free(v);
}

static void each_row_once(unsigned workers, unsigned rows) {
    struct db *d = open_ledger();
    unsigned n = 0;
    uint64_t entries;
    memset(times, 0, sizeof times);
    struct db_txn *t = db_begin(d, false);
    db_each(t, 0, STR_NONE, tick_off, &n);
    db_end(t);
    ck_assert_uint_eq(n, workers * rows);
    for (unsigned w = 0; w < workers; w++) {
        for (unsigned i = 0; i < rows; i++)
            ck_assert_msg(times[w][i] == 1, "w%u-%u: %u times", w, i, times[w][i]);
    }
    struct ledger_sum total = ledger_total(d, &entries);
    ck_assert_uint_eq(total.requests, workers * rows);
    ck_assert_int_eq(total.cost_nano, (int64_t)workers * rows * (rows - 1) / 2);
    ck_assert_uint_eq(total.input_tokens, 100 * (uint64_t)workers * rows);
    must_verify(d);
    db_close(d);
}

static unsigned count_in_log(const char *what) {
    static char text[8 << 20];
    unsigned n = 0;
    int fd = open(in_tmp("log"), O_RDONLY);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    close(fd);
    text[len > 0 ? len : 0] = 0;
    for (const char *p = text; (p = strstr(p, what)); p++)
        n++;
    return n;
}

/* --- the fixture --- */

static void make_segment(void) {
    shm = shm_create(MIB, err);
    ck_assert_msg(shm, "%s", err);
}

static void set_up(void) {
    static char state[80];
    make_tmp();
    snprintf(state, sizeof state, "%s/state", tmp_dir);
    conf = (struct conf){.state_dir = state};
    conf.cache.max_size = 4 * MIB;
    conf.log.max_size = 64 * MIB;
    conf.log.retention = UINT64_C(86400000);
    ledger_map = 256 * MIB;
    make_segment();
}

static void tear_down(void) {
    shm_free(shm);
    drop_tmp();
}

/* --- usage --- */

START_TEST(test_usage_and_log) {
    conf.log.access = true;
    enter_as_worker();
    struct child s = start_scribe();
    struct stat st;
    ck_assert(stat(conf.state_dir, &st) == 0 && (st.st_mode & 0777) == 0700);
    put_usage("w0", 0);
    uint64_t began = clock_ms();
    WAIT_FOR(ledger_has(1));
    ck_assert_uint_lt(clock_ms() - began, eased(2000)); /* 10 ms on a machine that has time */
    for (unsigned i = 1; i < 100; i++)
        put_usage("w0", i);
    stop_scribe(&s);
    each_row_once(1, 100);
    ck_assert_uint_eq(count_in_log("\"request_id\""), 100);
    ck_assert_uint_eq(count_in_log("\"request_id\":\"w0-57\""), 1);
}
END_TEST

/* The log is written between commit and release, so a scribe that is killed as soon as the log grows dies
 * there, where a row is in the ledger and in the ring at once. Without sleeping: the moment is short. */
static void wait_for_log_to_grow(void) {
    struct stat was, is;
    uint64_t until = clock_ms() + 300;
    ck_assert_int_eq(stat(in_tmp("log"), &was), 0);
    do
        ck_assert_int_eq(stat(in_tmp("log"), &is), 0);
    while (is.st_size <= was.st_size && clock_ms() < until);
}

/* Of each request one record in the log store, too: its positions are its own. */
static bool count_record(void *arg, struct str key, struct str value) {
    (void)key;
    unsigned *seen = arg;
    struct logs_talk talk;
    struct ledger_row r;
    ck_assert(logs_unpack_talk(value, &talk) && ledger_unpack(NULL, talk.row, &r));
    uint64_t worker, n;
    struct str rest = str_skip(r.request_id, 1), one;
    ck_assert(str_next(&rest, '-', &one) && str_u64(one, &worker) && str_u64(rest, &n) && n < ROWS);
    seen[worker * ROWS + n]++;
    return true;
}

static void each_logged_once(unsigned workers) {
    unsigned *seen = calloc(workers * ROWS, sizeof *seen);
    struct db *d = db_open(in_tmp("state/logs"), DB_READ, 0, logs_tables, err);
    ck_assert_msg(d != NULL, "%s", err);
    struct db_txn *t = db_begin(d, false);
    db_each(t, 0, STR_NONE, count_record, seen);
    db_end(t);
    db_close(d);
    for (unsigned i = 0; i < workers * ROWS; i++)
        ck_assert_msg(seen[i] == 1, "w%u-%u is there %u times", i / ROWS, i % ROWS, seen[i]);
    free(seen);
}

START_TEST(test_killed_at_random) {
    conf.log.access = true;
    struct child w[WORKERS], s = start_scribe();
    for (unsigned i = 0; i < WORKERS; i++)
        w[i] = start_worker(i, ROWS, 6);
    for (unsigned i = 0; i < 20; i++) {
        if (i % 2)
            wait_for_log_to_grow();
        else
            poll(NULL, 0, (int)(random_u64() % 40)); /* not to wait for anything: the moment must be random */
        kill_scribe(&s);
        s = start_scribe();
    }
    for (unsigned i = 0; i < WORKERS; i++)
        must_end_well(&w[i]);
    stop_scribe(&s);
    each_row_once(WORKERS, ROWS);
    each_logged_once(WORKERS);
}
END_TEST

/* Committed, but killed before the release: the position in the ledger counts, not the ring's. */
START_TEST(test_position_without_release) {
    enter_as_worker();
    struct child s = start_scribe();
    for (unsigned i = 0; i < 10; i++)
        put_usage("w0", i);
    WAIT_FOR(ledger_has(10));
    stop_scribe(&s);
    put_usage("w0", 10);
    struct db *d = db_open(in_tmp("state/ledger"), DB_WRITE, ledger_map, ledger_tables, err);
    struct db_txn *t = db_begin(d, true); /* as if w0-10 had been committed by a scribe that is dead now */
    struct str payload;
    uint32_t type, slot = slot_mine(shm);
    uint64_t at = ring_tail(shm, slot);
    ck_assert(ring_next(shm, slot, &at, &type, &payload));
    ledger_append(t, payload);
    ledger_set_position(t, shm_instance(shm), slot, at);
    ledger_set_position(t, shm_instance(shm) + 1, slot, at + 1000000);
    ck_assert_int_eq(db_commit(t, err), 0);
    db_close(d);
    s = start_scribe();
    WAIT_FOR(ring_tail(shm, slot) == at);
    put_usage("w0", 11);
    stop_scribe(&s);
    each_row_once(1, 12);
    d = open_ledger();
    t = db_begin(d, false);
    ck_assert_uint_eq(ledger_position(t, shm_instance(shm) + 1, slot), 0); /* another segment's: dropped */
    db_end(t);
    db_close(d);
}
END_TEST

static bool count_any(void *arg, struct str key, struct str value) {
    (void)key, (void)value;
    ++*(unsigned *)arg;
    return true;
}

static unsigned logged(void) {
    unsigned n = 0;
    struct db *d = db_open(in_tmp("state/logs"), DB_READ, 0, logs_tables, err);
    if (!d)
        return 0;
    struct db_txn *t = db_begin(d, false);
    db_each(t, 0, STR_NONE, count_any, &n);
    db_end(t);
    db_close(d);
    return n;
}

/* A batch that is much for the store comes in pieces; a scribe that is killed between two leaves the first to
 * be counted as written. */
START_TEST(test_killed_between_the_pieces_of_a_batch) {
    enum { MANY = 2000, ROUNDS = 3 };
    conf.log.max_size = 4 * MIB; /* some 256 records at once */
    enter_as_worker();
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < MANY; i++)
            put_usage("w0", round * MANY / 2 + i % (MANY / 2));
        unsigned before = logged();
        struct child s = spawn_scribe();
        uint64_t until = clock_ms() + 20000;
        while (logged() == before && clock_ms() < until)
            ;
        kill_scribe(&s);
        s = start_scribe();
        stop_scribe(&s);
        ck_assert_uint_eq(logged(), (round + 1) * MANY);
    }
}
END_TEST

/* Committed to the log store by a scribe that did not come to the ledger: not logged again, but accounted
 * for. */
START_TEST(test_logged_but_not_in_the_ledger) {
    enter_as_worker();
    struct child s = start_scribe();
    stop_scribe(&s);
    put_usage("w0", 0);
    struct db *d = db_open(in_tmp("state/logs"), DB_WRITE, 64 * MIB, logs_tables, err);
    struct db_txn *t = db_begin(d, true);
    struct logs_talk talk = {.left_out = false};
    uint32_t type, slot = slot_mine(shm);
    uint64_t at = ring_tail(shm, slot);
    ck_assert(ring_next(shm, slot, &at, &type, &talk.row));
    logs_put_talk(t, &talk);
    logs_set_position(t, shm_instance(shm), slot, at);
    ck_assert_int_eq(db_commit(t, err), 0);
    db_close(d);
    put_usage("w0", 1);
    s = start_scribe();
    WAIT_FOR(ledger_has(2));
    stop_scribe(&s);
    d = db_open(in_tmp("state/logs"), DB_READ, 0, logs_tables, err);
    t = db_begin(d, false);
    ck_assert_uint_eq(db_entries(t, 0), 2);
    db_end(t);
    db_close(d);
}
END_TEST

START_TEST(test_ledger_map_full) {
    ledger_map = 768 * 1024;
    enter_as_worker();
    struct child s = start_scribe();
    for (unsigned i = 0; i < ROWS; i++)
        put_usage("w0", i); /* waits while the ring is full: the scribe must go on */
    stop_scribe(&s);
    struct db *d = open_ledger();
    uint64_t rows;
    struct ledger_sum total = ledger_total(d, &rows);
    ck_assert_uint_eq(total.requests, ROWS);
    ck_assert_uint_lt(rows, ROWS);
    ck_assert_uint_gt(rows, 200);
    ck_assert_int_eq(total.cost_nano, (int64_t)ROWS * (ROWS - 1) / 2);
    must_verify(d);
    db_close(d);
}
END_TEST

START_TEST(test_disk_full) {
    enter_as_worker();
    struct child s = start_scribe();
    put_usage("w0", 0);
    WAIT_FOR(ledger_has(1));
    WAIT_FOR(ring_tail(shm, slot_mine(shm)) == ring_head(shm, slot_mine(shm)));
    struct rlimit old, low;
    ck_assert_int_eq(prlimit(s.pid, RLIMIT_FSIZE, NULL, &old), 0);
    low = (struct rlimit){.rlim_cur = 64 * 1024, .rlim_max = old.rlim_max};
    ck_assert_int_eq(prlimit(s.pid, RLIMIT_FSIZE, &low, NULL), 0);
    uint64_t tail = ring_tail(shm, slot_mine(shm));
    for (unsigned i = 1; i < 1500; i++)
        put_usage("w0", i);
    WAIT_FOR(count_in_log("records wait") == 1);
    ck_assert_uint_eq(ring_tail(shm, slot_mine(shm)), tail);
    ck_assert(ledger_has(1));
    ck_assert_int_eq(prlimit(s.pid, RLIMIT_FSIZE, &old, NULL), 0);
    WAIT_FOR(ledger_has(1500));
    ck_assert_uint_eq(count_in_log("records wait"), 1);
    ck_assert_uint_eq(count_in_log("written again"), 1);
    stop_scribe(&s);
    each_row_once(1, 1500);
}
END_TEST

START_TEST(test_master_gone) {
    struct child s = start_scribe(), w = start_worker(0, 200, 10);
    close(s.fd);
    must_end_well(&w); /* reaped: its process is gone */
    int status;
    WAIT_FOR(ended(s.pid, &status));
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    each_row_once(1, 200);
}
END_TEST

START_TEST(test_one_at_a_time) {
    enter_as_worker();
    struct child one = start_scribe(), two = spawn_scribe();
    WAIT_FOR(count_in_log("waiting for another scribe") == 1);
    put_usage("w0", 0);
    WAIT_FOR(ledger_has(1));
    stop_scribe(&one);
    must_be_ready(&two);
    put_usage("w0", 1);
    stop_scribe(&two);
    each_row_once(1, 2);
}
END_TEST

START_TEST(test_log_reopened) {
    conf.log.access = true;
    enter_as_worker();
    struct child s = start_scribe();
    put_usage("w0", 0);
    WAIT_FOR(count_in_log("\"request_id\"") == 1);
    ck_assert_int_eq(rename(in_tmp("log"), in_tmp("log.1")), 0);
    say(&s, 'D');
    say(&s, 'L');
    put_usage("w0", 1);
    stop_scribe(&s);
    ck_assert_uint_eq(count_in_log("\"request_id\":\"w0-1\""), 1);
}
END_TEST

/* --- replies --- */

static void put_reply(uint8_t first, int64_t ttl_ms, size_t body_bytes) {
    static char body[256 * 1024];
    struct buf b;
    int64_t now = clock_wall_ms();
    struct reply_head h = sample_head(first, now);
    h.expires_wall_ms = now + ttl_ms;
    h.model_hash = first;
    memset(body, first, body_bytes);
    buf_init(&b, 0);
    reply_pack(&b, &h, str_make(body, body_bytes));
    struct index_entry e = {.expires_wall_ms = h.expires_wall_ms,
                            .bytes = buf_len(&b),
                            .slot = slot_mine(shm),
                            .model_hash = h.model_hash,
                            .owner_hash = h.owner_hash,
                            .created_wall_ms = (uint64_t)now};
    memcpy(e.key, h.key, INDEX_KEY);
    uint64_t epoch = shm_cache_epoch(shm);
    WAIT_FOR(ring_put(shm, RECORD_REPLY, buf_str(&b), STR_NONE, &e.pos));
    ck_assert(index_put(shm, &e, epoch, clock_wall_ms()) ||
              shm_cache_epoch(shm) != epoch); /* begun anew meanwhile */
    buf_free(&b);
}

static bool find(struct db *d, uint8_t first, size_t body_bytes) {
    struct arena *a = arena_new(0);
    struct reply_head h, want = sample_head(first, 0);
    struct str body;
    bool ok = replies_find(a, shm, d, want.key, clock_wall_ms(), &h, &body);
    if (ok) {
        ck_assert_uint_eq(body.n, body_bytes);
        size_t same = 0;
        while (same < body.n && (uint8_t)body.p[same] == first)
            same++;
        ck_assert_uint_eq(same, body.n);
        ck_assert(str_is(h.model, "gpt") && memcmp(h.key, want.key, INDEX_KEY) == 0);
    }
    arena_free(a);
    return ok;
}

static bool is_stored(uint8_t first) {
    struct reply_head h = sample_head(first, 0);
    struct index_entry e;
    return index_peek(shm, h.key, &e) && e.stored;
}

static struct db *open_cache(void) {
    struct db *d = db_open(in_tmp("state/cache"), DB_READ, 0, replies_tables, err);
    ck_assert_msg(d, "%s", err);
    return d;
}

static uint64_t cache_entries(void) {
    struct db *d = open_cache();
    struct db_txn *t = db_begin(d, false);
    uint64_t n = db_entries(t, 0);
    ck_assert_uint_eq(db_entries(t, 1), n); /* bodies and what the index needs of them */
    db_end(t);
    db_close(d);
    return n;
}

START_TEST(test_reply_from_ring_then_db) {
    enter_as_worker();
    put_reply(1, 60000, 5000);
    put_reply(2, 60000, 100000);
    ck_assert(find(NULL, 1, 5000) && find(NULL, 2, 100000) && !find(NULL, 3, 0));
    struct child s = start_scribe();
    WAIT_FOR(is_stored(1) && is_stored(2));
    WAIT_FOR(ring_tail(shm, slot_mine(shm)) == ring_head(shm, slot_mine(shm)));
    ck_assert(!find(NULL, 1, 5000)); /* no longer in the ring */
    struct db *d = open_cache();
    ck_assert(find(d, 1, 5000) && find(d, 2, 100000) && !find(d, 3, 0));
    put_reply(1, 60000, 7000); /* newer */
    WAIT_FOR(find(d, 1, 7000) && is_stored(1));
    ck_assert(find(d, 1, 7000));
    db_close(d);
    stop_scribe(&s);
}
END_TEST

START_TEST(test_restart_restores_index) {
    enter_as_worker();
    struct child s = start_scribe();
    put_reply(1, 60000, 500);
    put_reply(2, 60000, 50000);
    put_reply(3, 300, 500);
    WAIT_FOR(is_stored(1) && is_stored(2) && is_stored(3));
    stop_scribe(&s);
    shm_free(shm);
    make_segment();
    enter_as_worker();
    uint64_t expires = clock_ms() + 320;
    WAIT_FOR(clock_ms() > expires);
    ck_assert(!is_stored(1));
    s = start_scribe();
    ck_assert(is_stored(1) && is_stored(2) && !is_stored(3)); /* before it says that it is ready */
    struct db *d = open_cache();
    ck_assert(find(d, 1, 500) && find(d, 2, 50000));
    db_close(d);
    WAIT_FOR(cache_entries() == 2); /* what has expired is swept */
    stop_scribe(&s);
}
END_TEST

START_TEST(test_clear) {
    enter_as_worker();
    struct child s = start_scribe();
    for (uint8_t i = 1; i <= 20; i++)
        put_reply(i, 60000, 3000);
    WAIT_FOR(is_stored(20) && cache_entries() == 20);
    index_clear(shm, &(struct index_filter){.model_hash = 7});
    ck_assert(ring_put(shm, RECORD_CLEAR, STR_NONE, STR_NONE, NULL));
    WAIT_FOR(cache_entries() == 19);
    /* The scribe dies before it can delete: what was cleared must not come back with the next. */
    kill_scribe(&s);
    index_clear(shm, &(struct index_filter){.model_hash = 8});
    s = start_scribe();
    ck_assert(!is_stored(8) && is_stored(9));
    WAIT_FOR(cache_entries() == 18);
    index_clear(shm, &(struct index_filter){0});
    ck_assert(ring_put(shm, RECORD_CLEAR, STR_NONE, STR_NONE, NULL));
    WAIT_FOR(cache_entries() == 0);
    stop_scribe(&s);
}
END_TEST

static void must_be_kept(const char *want) {
    char text[64] = "";
    int fd = open(in_tmp("state/clears"), O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(read(fd, text, sizeof text - 1), 0);
    close(fd);
    ck_assert_str_eq(text, want);
}

/* Of a cluster whose server is away: by a scribe that is told to leave, and by the successor of one that was
 * killed after its commit. */
START_TEST(test_clear_for_other_hosts) {
    static struct conf_redis nowhere = {.url = "redis://127.0.0.1:1",
                                        .host = "127.0.0.1",
                                        .path = "",
                                        .port = 1,
                                        .user = "",
                                        .prefix = "p:",
                                        .ca = ""};
    nowhere.password.text = "";
    conf.cluster.redis = &nowhere;
    conf.cluster.nredis = 1;
    conf.cluster.timeout = 5;
    enter_as_worker();
    struct child s = start_scribe();
    ck_assert(ring_put(shm, RECORD_CLEAR, STR("1 2 3"), STR_NONE, NULL));
    stop_scribe(&s);
    must_be_kept("1 2 3\n");
    ck_assert(ring_put(shm, RECORD_CLEAR, STR("4 5 6"), STR_NONE, NULL));
    struct db *d = db_open(in_tmp("state/ledger"), DB_WRITE, 64 * MIB, ledger_tables, err);
    ck_assert_msg(d, "%s", err);
    struct db_txn *t = db_begin(d, true);
    ledger_set_position(t, shm_instance(shm), slot_mine(shm), ring_head(shm, slot_mine(shm)));
    ck_assert_int_eq(db_commit(t, err), 0);
    db_close(d);
    s = start_scribe();
    ck_assert_uint_eq(ring_tail(shm, slot_mine(shm)), ring_head(shm, slot_mine(shm)));
    must_be_kept("1 2 3\n4 5 6\n");
    stop_scribe(&s);
    conf.cluster.nredis = 0;
}
END_TEST

static bool within_bounds(void) {
    struct index_totals t;
    index_totals(shm, &t);
    return t.bytes <= conf.cache.max_size && t.entries == cache_entries();
}

START_TEST(test_eviction) {
    conf.cache.max_size = 300 * 1024;
    enter_as_worker();
    struct child s = start_scribe();
    for (uint8_t i = 1; i <= 120; i++)
        put_reply(i, 60000, 10000);
    WAIT_FOR(ring_tail(shm, slot_mine(shm)) == ring_head(shm, slot_mine(shm)));
    WAIT_FOR(within_bounds());
    ck_assert_uint_gt(cache_entries(), 15);
    ck_assert_uint_le(cache_entries(), 30);
    stop_scribe(&s);
}
END_TEST

START_TEST(test_damaged_cache) {
    static char garbage[20000];
    random_bytes(garbage, sizeof garbage);
    ck_assert_int_eq(mkdir(conf.state_dir, 0700), 0);
    ck_assert_int_eq(mkdir(in_tmp("state/cache"), 0700), 0);
    put_file(in_tmp("state/cache/data.mdb"), garbage, sizeof garbage);
    put_file(in_tmp("state/cache/boot"), "clean", 5);
    enter_as_worker();
    struct child s = start_scribe();
    put_reply(1, 60000, 500);
    WAIT_FOR(is_stored(1));
    kill_scribe(&s);
    s = start_scribe(); /* not closed in order, but the same boot */
    struct db *d = open_cache();
    ck_assert(find(d, 1, 500));
    db_close(d);
    stop_scribe(&s);
}
END_TEST

/* A value that no entry of the index leads to: its worker died in between, or the cache was cleared. */
START_TEST(test_reply_without_entry) {
    enter_as_worker();
    struct child s = start_scribe();
    struct buf b;
    struct reply_head h = sample_head(1, clock_wall_ms());
    buf_init(&b, 0);
    reply_pack(&b, &h, STR("lost"));
    ck_assert(ring_put(shm, RECORD_REPLY, buf_str(&b), STR_NONE, NULL));
    buf_free(&b);
    WAIT_FOR(cache_entries() == 1);
    WAIT_FOR(cache_entries() == 0);
    stop_scribe(&s);
}
END_TEST

/* A reader that stands still pins every page that was ever replaced: the map fills although little is alive.
 */
START_TEST(test_cache_map_full) {
    enter_as_worker();
    struct child s = start_scribe();
    put_usage("w0", 0);
    put_reply(1, 60000, 200000);
    WAIT_FOR(is_stored(1));
    struct db *d = open_cache();
    struct db_txn *t = db_begin(d, false);
    for (unsigned i = 0; i < 400; i++)
        put_reply((uint8_t)(2 + i % 200), 60000, 200000);
    WAIT_FOR(count_in_log("begun anew") == 1);
    db_end(t);
    put_usage("w0", 1);
    WAIT_FOR(ledger_has(2));
    WAIT_FOR(count_in_log("can be written again") == 1);
    put_reply(1, 60000, 1000);
    WAIT_FOR(is_stored(1));
    WAIT_FOR(find(d, 1, 1000)); /* the reader has found the new file */
    db_close(d);
    stop_scribe(&s);
}
END_TEST

TCase *scribe_cases(void) {
    TCase *c = tcase_create("scribe");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_usage_and_log);
    tcase_add_test(c, test_killed_at_random);
    tcase_add_test(c, test_position_without_release);
    tcase_add_test(c, test_killed_between_the_pieces_of_a_batch);
    tcase_add_test(c, test_logged_but_not_in_the_ledger);
    tcase_add_test(c, test_ledger_map_full);
    tcase_add_test(c, test_disk_full);
    tcase_add_test(c, test_master_gone);
    tcase_add_test(c, test_one_at_a_time);
    tcase_add_test(c, test_log_reopened);
    tcase_add_test(c, test_reply_from_ring_then_db);
    tcase_add_test(c, test_restart_restores_index);
    tcase_add_test(c, test_clear);
    tcase_add_test(c, test_clear_for_other_hosts);
    tcase_add_test(c, test_eviction);
    tcase_add_test(c, test_damaged_cache);
    tcase_add_test(c, test_reply_without_entry);
    tcase_add_test(c, test_cache_map_full);
    return c;
}
