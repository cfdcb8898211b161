/* The store and the scribe: bytes of rows and replies, LMDB behind its door, the ledger's sums, and a real
 * scribe over a real segment that is killed at random. Waiting is polling with a bound. */
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "store_cases.h"
#include "under_valgrind.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOUR ((int64_t)3600000)
#define MIB  ((uint64_t)1 << 20)

/* --- a directory for each test --- */

char tmp_dir[64];

const char *in_tmp(const char *name) {
    static char path[4][PATH_MAX];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, PATH_MAX, "%s/%s", tmp_dir, name);
    return p;
}

void make_tmp(void) {
    snprintf(tmp_dir, sizeof tmp_dir, "/tmp/check_store.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(tmp_dir));
    log_open(&(struct log_target){.target = in_tmp("log"), .level = LVL_DEBUG, .format = LOGFMT_TEXT});
}

static void remove_tree(const char *dir) {
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[PATH_MAX];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (unlink(path) != 0)
            remove_tree(path);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

void drop_tmp(void) {
    log_open(&(struct log_target){.target = "stderr", .level = LVL_INFO, .format = LOGFMT_TEXT});
    remove_tree(tmp_dir);
}

void put_file(const char *path, const char *text, size_t n) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, n), (ssize_t)n);
    close(fd);
}

/* --- rows --- */

struct ledger_row sample_row(void) {
    struct ledger_row r = {
        .wall_ms = 1767323045678,
        .request_id = STR("req-1"),
        .key = STR("key-a"),
        .tenant = STR("acme"),
        .surface = STR("chat"),
        .model_asked = STR("fast"),
        .provider = STR("openai"),
        .model = STR("gpt-4o-mini"),
        .status = 200,
        .stream = true,
        .complete = true,
        .cache = LEDGER_CACHE_MISS,
        .usage =
            {.known = true, .input = 100, .cache_read = 40, .output = 20, .reasoning = 5, .cost_nano = -1},
        .cost_nano = 1500000,
        .price = 255,
        .ms = 321,
        .first_byte_ms = 45,
        .bytes_in = 1000,
        .bytes_out = 2000,
        .peer = STR("10.0.0.1"),
        .attempts = 2,
        .estimated_tokens = 98,
        .max_tokens = 256};
    r.attempt[0] = (struct ledger_attempt){.provider = STR("azure"),
                                           .model = STR("gpt"),
                                           .key = STR("azure/0"),
                                           .reason = STR("timeout"),
                                           .status = 0,
                                           .ms = 100};
    r.attempt[1] = (struct ledger_attempt){.provider = STR("openai"),
                                           .model = STR("gpt-4o-mini"),
                                           .key = STR("openai/0"),
                                           .reason = STR("ok"),
                                           .status = 200,
                                           .ms = 221};
    return r;
}

static struct str pack_row(struct buf *b, const struct ledger_row *r) {
    buf_clear(b);
    ledger_pack(b, r);
    ck_assert(buf_ok(b));
    return buf_str(b);
}

START_TEST(test_row_round_trip) {
    struct buf one, two;
    buf_init(&one, 0);
    buf_init(&two, 0);
    struct ledger_row r = sample_row(), back;
    ck_assert(ledger_unpack(NULL, pack_row(&one, &r), &back));
    ck_assert(back.state == LEDGER_EXACT && back.why.n == 0 && !back.usage.billed && back.price == 255);
    r.usage.estimated = r.usage.billed = true;
    r.usage.billed_input = 7;
    r.state = LEDGER_ESTIMATED;
    r.why = STR("cancelled");
    r.attempt[0].state = LEDGER_UNKNOWN;
    r.attempt[0].input = 11;
    struct str packed = pack_row(&one, &r);
    ck_assert(ledger_unpack(NULL, packed, &back));
    ck_assert(back.state == LEDGER_ESTIMATED && str_is(back.why, "cancelled") &&
              back.usage.billed_input == 7);
    ck_assert(back.attempt[0].state == LEDGER_UNKNOWN && back.attempt[0].input == 11 &&
              back.attempt[1].state == LEDGER_EXACT);
    ck_assert(str_eq(packed, pack_row(&two, &back)));
    ck_assert(str_is(back.model, "gpt-4o-mini") && str_is(back.attempt[0].reason, "timeout"));
    ck_assert_uint_eq(back.usage.cache_read, 40);
    ck_assert_int_eq(back.usage.cost_nano, -1);
    ck_assert(back.usage.known && back.usage.estimated && back.stream && back.complete);
    ck_assert_int_eq(back.cost_nano, 1500000);
    ck_assert_uint_eq(back.max_tokens, 256);
    r.attempts = 40; /* a count beyond the array is cut */
    ck_assert(ledger_unpack(NULL, pack_row(&one, &r), &back));
    ck_assert_uint_eq(back.attempts, LEDGER_MAX_ATTEMPTS);
    buf_free(&one);
    buf_free(&two);
}
END_TEST

START_TEST(test_row_long_strings) {
    char text[400];
    memset(text, 'a', sizeof text);
    memcpy(text + 255, "\xC3\xA9", 2); /* the cut would be inside it */
    struct buf b;
    buf_init(&b, 0);
    struct ledger_row r = sample_row(), back;
    r.model = str_make(text, sizeof text);
    ck_assert(ledger_unpack(NULL, pack_row(&b, &r), &back));
    ck_assert_uint_eq(back.model.n, 255);
    buf_free(&b);
}
END_TEST

START_TEST(test_row_damaged) {
    struct buf b;
    buf_init(&b, 0);
    struct ledger_row r = sample_row(), back;
    struct str packed = pack_row(&b, &r);
    for (size_t n = 0; n < packed.n; n++) {
        char *exact = mem_alloc(n); /* so that a read past the end is seen */
        memcpy(exact, packed.p, n);
        ck_assert(!ledger_unpack(NULL, str_make(exact, n), &back));
        mem_free(exact);
    }
    buf_addc(&b, 0);
    ck_assert(!ledger_unpack(NULL, buf_str(&b), &back));
    struct buf line;
    buf_init(&line, 0);
    for (unsigned i = 0; i < 20000; i++) {
        packed = pack_row(&b, &r);
        for (unsigned k = 0; k < 3; k++)
            buf_at(&b)[random_u64() % packed.n] = (char)random_u64();
        if (ledger_unpack(NULL, packed, &back)) {
            buf_clear(&line);
            ledger_log_line(&line, &back);
            ck_assert(json_scan(buf_str(&line), NULL, NULL, NULL, NULL) == 0);
        }
    }
    buf_free(&line);
    buf_free(&b);
}
END_TEST

START_TEST(test_log_line) {
    struct buf b;
    buf_init(&b, 0);
    struct ledger_row r = sample_row();
    ledger_log_line(&b, &r);
    ck_assert(str_is(
        buf_str(&b),
        "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"info\",\"event\":\"response\",\"request_id\":"
        "\"req-1\","
        "\"key\":\"key-a\",\"tenant\":\"acme\",\"surface\":\"chat\",\"model\":\"fast\",\"provider\":"
        "\"openai\","
        "\"provider_model\":\"gpt-4o-mini\",\"status\":200,\"stream\":true,\"complete\":true,\"attempts\":["
        "{\"provider\":\"azure\",\"model\":\"gpt\",\"key\":\"azure/"
        "0\",\"status\":0,\"reason\":\"timeout\",\"ms\":100},"
        "{\"provider\":\"openai\",\"model\":\"gpt-4o-mini\",\"key\":\"openai/"
        "0\",\"status\":200,\"reason\":\"ok\","
        "\"ms\":221}],\"latency_ms\":321,\"first_byte_ms\":45,\"input_tokens\":100,\"cached_tokens\":40,"
        "\"output_tokens\":20,\"reasoning_tokens\":5,\"usage\":\"exact\",\"cost_usd\":0.0015,\"price_"
        "version\":\"00000000000000ff\",\"cache\":\"miss\",\"bytes_in\":"
        "1000,"
        "\"bytes_out\":2000,\"peer\":\"10.0.0.1\",\"estimated_tokens\":98,\"max_tokens\":256}"));
    buf_clear(&b);
    r.status = 503;
    r.fault = STR("no_target");
    r.cost_nano = -1;
    r.usage.estimated = true;
    r.state = LEDGER_ESTIMATED;
    r.why = STR("not_told");
    ledger_log_line(&b, &r);
    struct str line = buf_str(&b);
    ck_assert_int_ge(str_find(line, STR("\"event\":\"error\"")), 0);
    ck_assert_int_ge(str_find(line, STR("\"fault\":\"no_target\"")), 0);
    ck_assert_int_ge(str_find(line, STR("\"tokens_estimated\":true,\"usage\":\"estimated\",\"usage_reason\":"
                                        "\"not_told\",\"cost_usd\":null")),
                     0);
    buf_free(&b);
}
END_TEST

/* --- replies --- */

struct reply_head sample_head(uint8_t first, int64_t now) {
    struct reply_head h = {.expires_wall_ms = now + 60000,
                           .created_wall_ms = now,
                           .model_hash = 7,
                           .owner_hash = 8,
                           .provider = STR("openai"),
                           .model = STR("gpt"),
                           .content_type = STR("application/json"),
                           .usage = {.known = true, .input = 3, .output = 4, .cost_nano = -1},
                           .cost_nano = 99};
    memset(h.key, first, sizeof h.key);
    return h;
}

START_TEST(test_reply_round_trip) {
    struct buf b;
    buf_init(&b, 0);
    struct reply_head h = sample_head(1, 1000), back;
    struct str body;
    h.stream = true;
    reply_pack(&b, &h, STR("the body"));
    struct str packed = buf_str(&b);
    ck_assert(reply_unpack(NULL, packed, &back, &body));
    ck_assert(str_is(body, "the body") && str_is(back.content_type, "application/json") && back.stream);
    ck_assert(memcmp(back.key, h.key, INDEX_KEY) == 0);
    ck_assert_int_eq(back.expires_wall_ms, 61000);
    ck_assert_uint_eq(back.usage.output, 4);
    for (size_t n = 0; n < packed.n; n++) {
        char *exact = mem_alloc(n);
        memcpy(exact, packed.p, n);
        ck_assert(!reply_unpack(NULL, str_make(exact, n), &back, &body));
        mem_free(exact);
    }
    buf_free(&b);
}
END_TEST

/* --- LMDB --- */

static const char *const two_tables[] = {"a", "b", NULL};
static char err[256];

static void must_commit(struct db_txn *t) {
    ck_assert_msg(db_commit(t, err) == 0, "%s", err);
}

static void db_set(struct db *d, unsigned table, const char *key, const char *value) {
    struct db_txn *t = db_begin(d, true);
    db_put(t, table, str_of(key), str_of(value));
    must_commit(t);
}

static bool db_has(struct db *d, unsigned table, const char *key, const char *value) {
    struct db_txn *t = db_begin(d, false);
    struct str v;
    bool found = db_get(t, table, str_of(key), &v) && (!value || str_is(v, value));
    db_end(t);
    return found;
}

static bool count_and_note(void *arg, struct str key, struct str value) {
    struct buf *b = arg;
    buf_adds(b, key);
    buf_addc(b, '=');
    buf_adds(b, value);
    buf_addc(b, ' ');
    return !str_is(key, "k4");
}

static unsigned delete_even(void *arg, struct str key, struct str value) {
    (void)value;
    ++*(unsigned *)arg;
    return ((key.p[1] - '0') % 2 == 0 ? DB_DELETE : DB_KEEP) | (str_is(key, "k6") ? DB_STOP : 0);
}

START_TEST(test_db_tables) {
    ck_assert_ptr_null(db_open(in_tmp("d"), DB_READ, MIB, two_tables, err));
    ck_assert_ptr_nonnull(strstr(err, "not there yet"));
    struct db *d = db_open(in_tmp("d"), DB_WRITE, MIB, two_tables, err);
    ck_assert_msg(d, "%s", err);
    struct db_txn *t = db_begin(d, true);
    for (unsigned i = 0; i < 10; i++) {
        char key[] = {'k', (char)('0' + i)};
        db_append(t, 0, str_make(key, 2), str_make(key + 1, 1));
    }
    must_commit(t);
    struct stat st;
    ck_assert(stat(in_tmp("d"), &st) == 0 && (st.st_mode & 0777) == 0700);
    ck_assert(stat(in_tmp("d/data.mdb"), &st) == 0 && (st.st_mode & 0777) == 0600);
    struct buf b;
    buf_init(&b, 0);
    t = db_begin(d, false);
    db_each(t, 0, STR("k2x"), count_and_note, &b);
    ck_assert(str_is(buf_str(&b), "k3=3 k4=4 "));
    struct str key, value;
    ck_assert(db_last(t, 0, &key, &value) && str_is(key, "k9") && str_is(value, "9"));
    ck_assert(!db_last(t, 1, &key, &value));
    ck_assert_uint_eq(db_entries(t, 0), 10);
    db_end(t);
    unsigned seen = 0;
    t = db_begin(d, true);
    db_each_delete(t, 0, STR_NONE, delete_even, &seen);
    ck_assert_uint_eq(seen, 7);
    ck_assert_uint_eq(db_entries(t, 0), 6);
    ck_assert(!db_delete(t, 0, STR("k0")) && db_delete(t, 0, STR("k1")));
    db_end(t); /* given up */
    ck_assert(db_has(d, 0, "k0", "0"));
    t = db_begin(d, true);
    db_empty(t, 0);
    must_commit(t);
    ck_assert(!db_has(d, 0, "k9", NULL));
    buf_free(&b);
    db_close(d);
}
END_TEST

static unsigned hook_calls[2];

static void note_end(void *arg, struct db_txn *t, bool commit) {
    hook_calls[commit]++;
    if (commit)
        db_put(t, 1, STR("hook"), str_of(arg));
}

START_TEST(test_db_errors_stick) {
    struct db *d = db_open(in_tmp("d"), DB_WRITE, 256 * 1024, two_tables, err);
    char large[30000] = {0};
    db_set(d, 0, "before", "1");
    struct db_txn *t = db_begin(d, true);
    db_at_end(t, note_end, (void *)"x");
    for (char k = 'a'; k <= 'z'; k++)
        db_put(t, 0, str_make(&k, 1), str_make(large, sizeof large));
    struct str v;
    ck_assert(!db_get(t, 0, STR("before"), &v)); /* not even that: the transaction is dead */
    ck_assert_int_eq(db_txn_trouble(t), DB_FULL);
    ck_assert_int_eq(db_commit(t, err), -1);
    ck_assert_ptr_nonnull(strstr(err, "MDB_MAP_FULL"));
    ck_assert_int_eq(db_trouble(d), DB_FULL);
    ck_assert(hook_calls[0] == 1 && hook_calls[1] == 0);
    ck_assert(db_has(d, 0, "before", "1") && !db_has(d, 0, "a", NULL));
    t = db_begin(d, true);
    db_at_end(t, note_end, (void *)"y");
    must_commit(t);
    ck_assert(hook_calls[0] == 1 && hook_calls[1] == 1 && db_has(d, 1, "hook", "y"));
    ck_assert(db_used(d) > 0 && db_used(d) < 0.2);
    db_close(d);
}
END_TEST

/* Runs fn in a child, which must end well. */
static void in_child(void (*fn)(void)) {
    pid_t pid = fork();
    if (pid == 0) {
        fn();
        _exit(0);
    }
    ck_assert_int_gt(pid, 0);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child: %x", status);
}

static void write_much(void) {
    struct db *d = db_open(in_tmp("d"), DB_WRITE, 8 * MIB, two_tables, err);
    MUST(d);
    char large[100000] = {0};
    for (char k = 'a'; k <= 'z'; k++) {
        struct db_txn *t = db_begin(d, true);
        db_put(t, 0, str_make(&k, 1), str_make(large, sizeof large));
        MUST(db_commit(t, err) == 0);
    }
    db_close(d);
}

START_TEST(test_db_map_grown_by_another) {
    struct db *w = db_open(in_tmp("d"), DB_WRITE, 256 * 1024, two_tables, err);
    db_set(w, 0, "k", "v");
    db_close(w);
    struct db *r = db_open(in_tmp("d"), DB_READ, 256 * 1024, two_tables, err);
    ck_assert(db_has(r, 0, "k", "v"));
    in_child(write_much);
    ck_assert(db_has(r, 0, "z", NULL));
    db_close(r);
}
END_TEST

static struct db *volatile abandoned; /* of a child that ends without closing it: not lost */

static void die_reading(void) {
    struct db *d = abandoned = db_open(in_tmp("d"), DB_READ, MIB, two_tables, err);
    MUST(d);
    db_begin(d, false);
    _exit(0);
}

START_TEST(test_db_dead_readers) {
    struct db *d = db_open(in_tmp("d"), DB_WRITE, MIB, two_tables, err);
    db_set(d, 0, "k", "v");
    in_child(die_reading);
    db_check_readers(d);
    for (unsigned i = 0; i < 2000; i++) /* with the page pinned the map would be full */
        db_set(d, 0, "k", i % 2 ? "v" : "w");
    db_close(d);
}
END_TEST

static unsigned count_aside(void) {
    unsigned n = 0;
    DIR *d = opendir(tmp_dir);
    for (struct dirent *e; (e = readdir(d));)
        n += strncmp(e->d_name, "d.damaged-", 10) == 0;
    closedir(d);
    return n;
}

START_TEST(test_db_damaged) {
    static char garbage[20000];
    random_bytes(garbage, sizeof garbage);
    ck_assert_int_eq(mkdir(in_tmp("d"), 0700), 0);
    put_file(in_tmp("d/data.mdb"), garbage, sizeof garbage);
    ck_assert_ptr_null(db_open(in_tmp("d"), DB_WRITE, MIB, two_tables, err));
    ck_assert_ptr_null(db_open(in_tmp("d"), DB_READ, MIB, two_tables, err));
    struct db *d = db_open(in_tmp("d"), DB_WRITE | DB_SET_ASIDE, MIB, two_tables, err);
    ck_assert_msg(d, "%s", err);
    ck_assert_uint_eq(count_aside(), 1);
    db_set(d, 0, "k", "v");
    db_close(d);
    put_file(in_tmp("d/data.mdb"), garbage, sizeof garbage);
    put_file(in_tmp("d/boot"), "clean", 5); /* believed, until it does not open */
    d = db_open(in_tmp("d"), DB_WRITE | DB_DISPOSABLE, MIB, two_tables, err);
    ck_assert_msg(d, "%s", err);
    ck_assert(!db_has(d, 0, "k", NULL));
    ck_assert_uint_eq(count_aside(), 1);
    db_close(d);
}
END_TEST

START_TEST(test_db_cut_short) {
    struct db *d = db_open(in_tmp("d"), DB_WRITE, MIB, two_tables, err);
    char large[30000] = {0};
    struct db_txn *t = db_begin(d, true);
    db_put(t, 0, STR("k"), str_make(large, sizeof large));
    db_put(t, 1, STR("k"), str_make(large, sizeof large));
    must_commit(t);
    db_close(d);
    ck_assert_int_eq(truncate(in_tmp("d/data.mdb"), 3 * 4096), 0);
    d = db_open(in_tmp("d"), DB_WRITE | DB_SET_ASIDE, MIB, two_tables, err); /* without SIGBUS */
    ck_assert_msg(d, "%s", err);
    bool aside = count_aside() == 1;
    struct str v;
    t = db_begin(d, true);
    db_get(t, 0, STR("k"), &v);
    ck_assert(aside || db_txn_trouble(t) == DB_DAMAGED);
    db_end(t);
    db_close(d);
}
END_TEST

static void write_and_die(void) {
    struct db *d = abandoned = db_open(in_tmp("d"), DB_WRITE | DB_DISPOSABLE, MIB, two_tables, err);
    MUST(d);
    struct db_txn *t = db_begin(d, true);
    db_put(t, 0, STR("k"), STR("v"));
    MUST(db_commit(t, err) == 0);
    _exit(0); /* without db_close */
}

START_TEST(test_db_boot_mark) {
    in_child(write_and_die);
    struct db *d = db_open(in_tmp("d"), DB_WRITE | DB_DISPOSABLE, MIB, two_tables, err);
    ck_assert(db_has(d, 0, "k", "v")); /* the same boot: nothing is torn */
    db_close(d);
    d = db_open(in_tmp("d"), DB_WRITE | DB_DISPOSABLE, MIB, two_tables, err);
    ck_assert(db_has(d, 0, "k", "v")); /* closed in order */
    db_close(d);
    in_child(write_and_die);
    put_file(in_tmp("d/boot"), "00000000-0000-0000-0000-000000000000", 36);
    d = db_open(in_tmp("d"), DB_WRITE | DB_DISPOSABLE, MIB, two_tables, err);
    ck_assert(!db_has(d, 0, "k", NULL)); /* another boot, not closed */
    db_close(d);
}
END_TEST

static void begin_anew(void) {
    db_condemn(in_tmp("d"), DB_DISPOSABLE);
    struct db *d = db_open(in_tmp("d"), DB_WRITE | DB_DISPOSABLE, MIB, two_tables, err);
    MUST(d);
    struct db_txn *t = db_begin(d, true);
    db_put(t, 0, STR("new"), STR("v"));
    MUST(db_commit(t, err) == 0);
    db_close(d);
}

START_TEST(test_db_reader_follows) {
    in_child(write_and_die);
    struct db *r = db_open(in_tmp("d"), DB_READ, 0, two_tables, err);
    ck_assert_msg(r, "%s", err);
    ck_assert(db_has(r, 0, "k", "v"));
    in_child(begin_anew);
    uint64_t until = clock_ms() + eased(5000);
    while (!db_has(r, 0, "new", "v") && clock_ms() < until)
        poll(NULL, 0, 10);
    ck_assert(db_has(r, 0, "new", "v") && !db_has(r, 0, "k", NULL));
    db_close(r);
}
END_TEST

/* --- the ledger --- */

static struct db *open_ledger(unsigned mode) {
    struct db *d = db_open(in_tmp("ledger"), mode, 64 * MIB, ledger_tables, err);
    ck_assert_msg(d, "%s", err);
    return d;
}

static void add_row(struct db_txn *t, int64_t wall_ms, const char *key, const char *model, int status,
                    int64_t cost) {
    struct buf b;
    buf_init(&b, 0);
    struct ledger_row r = sample_row();
    r.wall_ms = wall_ms;
    r.key = str_of(key);
    r.model = str_of(model);
    r.status = status;
    r.cost_nano = cost;
    ledger_append(t, pack_row(&b, &r));
    buf_free(&b);
}

START_TEST(test_ledger_sums) {
    struct db *d = open_ledger(DB_WRITE);
    int64_t day = 1767312000000; /* 2026-01-02T00:00Z */
    for (unsigned batch = 0; batch < 2; batch++) {
        struct db_txn *t = db_begin(d, true);
        add_row(t, day + HOUR - 1, "a", "m1", 200, 10);
        add_row(t, day + HOUR, "a", "m1", 200, 10);
        add_row(t, day + HOUR, "b", "m1", 500, -1);
        add_row(t, day + 25 * HOUR, "b", "m2", 400, 5);
        must_commit(t);
    }
    struct db_txn *t = db_begin(d, true);
    add_row(t, day, "lost", "m1", 200, 10);
    db_end(t); /* given up: neither its row nor its sum may come with the next */
    t = db_begin(d, true);
    must_commit(t);

    struct arena *a = arena_new(0);
    struct ledger_sum total;
    size_t n;
    bool cut;
    t = db_begin(d, false);
    ck_assert_uint_eq(ledger_rows(t), 8);
    struct ledger_sum *s =
        ledger_query(a, t, day, day + 48 * HOUR, GROUP_KEY | GROUP_DAY, 100, &n, &total, &cut);
    ck_assert(n == 3 && !cut);
    ck_assert(str_is(s[0].day, "2026-01-02") && str_is(s[0].key, "a") && s[0].requests == 4 &&
              s[0].errors == 0);
    ck_assert(s[0].cost_nano == 40 && s[0].input_tokens == 400 && s[0].cached_tokens == 160 &&
              s[0].model.n == 0);
    ck_assert(str_is(s[1].key, "b") && s[1].errors == 2 && s[1].unpriced == 2 && s[1].cost_nano == 0);
    ck_assert(str_is(s[2].day, "2026-01-03") && s[2].requests == 2 && s[2].errors == 2 &&
              s[2].cost_nano == 10);
    ck_assert(total.requests == 8 && total.cost_nano == 50 && total.output_tokens == 160);

    s = ledger_query(a, t, day + HOUR, day + HOUR + 1, GROUP_HOUR | GROUP_MODEL | GROUP_PROVIDER, 100, &n,
                     &total, &cut);
    ck_assert(n == 1 && str_is(s[0].hour, "2026-01-02T01:00:00Z") && str_is(s[0].model, "m1") &&
              str_is(s[0].provider, "openai") && s[0].requests == 4);
    s = ledger_query(a, t, day + HOUR, day + HOUR, 0, 100, &n, &total, &cut);
    ck_assert(n == 0 && total.requests == 0);
    s = ledger_query(a, t, 0, INT64_MAX, 0, 100, &n, &total, &cut);
    ck_assert(n == 1 && s[0].requests == 8);
    s = ledger_query(a, t, 0, INT64_MAX, GROUP_KEY, 1, &n, &total, &cut);
    ck_assert(n == 1 && cut && total.requests == 8 && str_is(s[0].key, "a"));
    db_end(t);

    /* Two ways in steps of one, and the ledger moves on in between. */
    const unsigned ways[] = {GROUP_KEY | GROUP_DAY, GROUP_MODEL};
    struct ledger_sums by_key, by_model;
    struct ledger_query *q = ledger_query_new(a, day, day + 48 * HOUR, ways, 2, 100);
    unsigned steps = 0;
    for (bool more = true; more; steps++) {
        t = db_begin(d, false);
        more = ledger_query_step(q, t, 1);
        ck_assert_int_eq(db_txn_trouble(t), DB_FINE);
        db_end(t);
        if (steps == 1) {
            t = db_begin(d, true);
            add_row(t, day, "0", "m1", 200, 10); /* where the walk has been */
            add_row(t, day + 40 * HOUR, "late", "m3", 200, 10);
            add_row(t, day + 48 * HOUR, "later", "m3", 200, 10);
            must_commit(t);
        }
    }
    ck_assert_uint_eq(steps, 6); /* five sums, and what is behind them */
    ledger_query_sums(q, 0, &by_key);
    ledger_query_sums(q, 1, &by_model);
    ck_assert(by_key.n == 4 && by_key.total.requests == 9 && str_is(by_key.rows[0].key, "a") &&
              by_key.rows[0].requests == 4 && str_is(by_key.rows[3].key, "late"));
    ck_assert(by_model.n == 3 && by_model.total.requests == 9 && by_model.rows[0].requests == 6 &&
              by_model.rows[1].requests == 2 && str_is(by_model.rows[2].model, "m3"));
    arena_free(a);
    db_close(d);
}
END_TEST

START_TEST(test_ledger_long_names) {
    char one[300], two[300];
    memset(one, 'x', sizeof one);
    one[sizeof one - 1] = 0;
    memcpy(two, one, sizeof two);
    two[200] = 'y'; /* different only where it is cut */
    struct db *d = open_ledger(DB_WRITE);
    struct db_txn *t = db_begin(d, true);
    add_row(t, HOUR, one, one, 200, 1);
    add_row(t, HOUR, two, two, 200, 1);
    must_commit(t);
    struct arena *a = arena_new(0);
    struct ledger_sum total;
    size_t n;
    bool cut;
    t = db_begin(d, false);
    ledger_query(a, t, 0, INT64_MAX, GROUP_KEY | GROUP_MODEL, 10, &n, &total, &cut);
    ck_assert_uint_eq(n, 2);
    db_end(t);
    arena_free(a);
    db_close(d);
}
END_TEST

START_TEST(test_ledger_order_and_trim) {
    struct db *d = open_ledger(DB_WRITE);
    int64_t now = 1000 * HOUR, oldest;
    for (unsigned i = 0; i < 3; i++) {
        struct db_txn *t = db_begin(d, true);
        add_row(t, now + 50, "a", "m", 200, 1);
        add_row(t, now + 20, "a", "m", 200, 1);       /* a little out of order */
        add_row(t, now - 2 * HOUR, "a", "m", 200, 1); /* a clock set back; the same time each round */
        must_commit(t);
    }
    struct db_txn *t = db_begin(d, true);
    ck_assert_uint_eq(ledger_rows(t), 9);
    ck_assert(ledger_oldest(t, &oldest) && oldest == now + 50);
    ledger_trim(t, now, 2); /* the oldest are too young */
    ck_assert_uint_eq(ledger_rows(t), 9);
    ledger_trim(t, now + 30, 2);
    ck_assert_uint_eq(ledger_rows(t), 9);
    ledger_trim(t, now + 51, 2);
    ck_assert_uint_eq(ledger_rows(t), 7);
    ledger_trim(t, now + 51, 100);
    ck_assert_uint_eq(ledger_rows(t), 0);
    must_commit(t);
    db_close(d);
}
END_TEST

START_TEST(test_ledger_positions) {
    struct db *d = open_ledger(DB_WRITE);
    struct db_txn *t = db_begin(d, true);
    ledger_set_position(t, 1, 0, 100);
    ledger_set_position(t, 2, 0, 200);
    ledger_set_position(t, 2, 255, 300);
    add_row(t, HOUR, "a", "m", 200, 1);
    must_commit(t);
    t = db_begin(d, true);
    ck_assert_uint_eq(ledger_position(t, 1, 0), 100);
    ck_assert_uint_eq(ledger_position(t, 1, 1), 0);
    ledger_drop_positions(t, 2);
    must_commit(t);
    t = db_begin(d, false);
    ck_assert_uint_eq(ledger_position(t, 1, 0), 0);
    ck_assert_uint_eq(ledger_position(t, 2, 0), 200);
    ck_assert_uint_eq(ledger_position(t, 2, 255), 300);
    db_end(t);
    db_close(d);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store");
    TCase *c = tcase_create("store");
    tcase_add_checked_fixture(c, make_tmp, drop_tmp);
    tcase_set_timeout(c, 30);
    tcase_add_test(c, test_row_round_trip);
    tcase_add_test(c, test_row_long_strings);
    tcase_add_test(c, test_row_damaged);
    tcase_add_test(c, test_log_line);
    tcase_add_test(c, test_reply_round_trip);
    tcase_add_test(c, test_db_tables);
    tcase_add_test(c, test_db_errors_stick);
    tcase_add_test(c, test_db_map_grown_by_another);
    tcase_add_test(c, test_db_dead_readers);
    tcase_add_test(c, test_db_damaged);
    tcase_add_test(c, test_db_cut_short);
    tcase_add_test(c, test_db_boot_mark);
    tcase_add_test(c, test_db_reader_follows);
    tcase_add_test(c, test_ledger_sums);
    tcase_add_test(c, test_ledger_long_names);
    tcase_add_test(c, test_ledger_order_and_trim);
    tcase_add_test(c, test_ledger_positions);
    suite_add_tcase(suite, c);
    suite_add_tcase(suite, keys_cases());
    suite_add_tcase(suite, logs_cases());
    suite_add_tcase(suite, ledger_cases());
    suite_add_tcase(suite, times_cases());
    suite_add_tcase(suite, scribe_cases());
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
