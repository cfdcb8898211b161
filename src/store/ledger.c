/* The scribe's side of the ledger. Rows are appended in order of time; the sums they change are gathered in
 * memory and written once, as the transaction commits, so that a row costs one append and no search. */
#include "store/ledger.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "pack.h"
#include "state.h"
#include "sums.h"

const char *const ledger_tables[] = {"rows", "sums", "state", NULL};

enum { ROW_KEY = 16, LATE_MS = 60000 };

struct group {
    uint64_t hash;
    size_t key_n;
    unsigned char key[SUMS_KEY_MAX];
    struct sums sums;
};
/* What one transaction has gathered. There is one ledger and one writer, so there is one of these; its memory
 * is kept from batch to batch. */
static struct {
    struct group *groups;
    size_t n, cap;
    uint32_t *slots; /* open addressing: 1 + index of a group; twice as many as groups, or more */
    size_t nslots;   /* a power of two */
    bool active;
    int64_t last_wall_ms; /* of the newest key */
    uint64_t sequence;    /* of the next row */
} batch;

/* --- the sums of a batch --- */

static void slot_insert(uint32_t index) {
    size_t at = batch.groups[index].hash & (batch.nslots - 1);
    while (batch.slots[at])
        at = (at + 1) & (batch.nslots - 1);
    batch.slots[at] = index + 1;
}

static void grow_batch(void) {
    batch.cap = batch.cap ? batch.cap * 2 : 64;
    batch.groups = mem_grow(batch.groups, batch.cap * sizeof *batch.groups);
    mem_free(batch.slots);
    batch.nslots = batch.cap * 2;
    batch.slots = mem_array(batch.nslots, sizeof *batch.slots);
    for (size_t i = 0; i < batch.n; i++)
        slot_insert((uint32_t)i);
}

static struct group *find_group(uint64_t hash, const unsigned char *key, size_t n) {
    for (size_t at = hash & (batch.nslots - 1); batch.slots[at]; at = (at + 1) & (batch.nslots - 1)) {
        struct group *g = &batch.groups[batch.slots[at] - 1];
        if (g->hash == hash && g->key_n == n && memcmp(g->key, key, n) == 0)
            return g;
    }
    return NULL;
}

static void gather(const struct ledger_row *r) {
    unsigned char key[SUMS_KEY_MAX];
    size_t n = sums_key(key, r);
    uint64_t hash = hash64(key, n);
    if (batch.n == batch.cap)
        grow_batch();
    struct group *g = find_group(hash, key, n);
    if (!g) {
        g = &batch.groups[batch.n];
        g->hash = hash;
        g->key_n = n;
        memcpy(g->key, key, n);
        g->sums = (struct sums){0};
        slot_insert((uint32_t)batch.n++);
    }
    sums_of_row(&g->sums, r);
}

static void write_group(struct db_txn *t, const struct group *g) {
    struct str key = str_make((const char *)g->key, g->key_n), was;
    struct sums sums = {0};
    unsigned char packed[SUMS_PACKED];
    if (db_get(t, TABLE_SUMS, key, &was) && !sums_unpack(was, &sums)) {
        log_event(LVL_ERROR, "store", "a sum of the ledger is damaged and begins anew");
        sums = (struct sums){0};
    }
    sums_merge(&sums, &g->sums);
    sums_pack(packed, &sums);
    db_put(t, TABLE_SUMS, key, str_make((const char *)packed, sizeof packed));
}

/* --- the batch and its transaction --- */

static void end_batch(void *arg, struct db_txn *t, bool commit) {
    (void)arg;
    for (size_t i = 0; commit && i < batch.n; i++)
        write_group(t, &batch.groups[i]);
    if (commit)
        state_set_u64(t, TABLE_STATE, STR("sequence"), batch.sequence);
    if (batch.n)
        memset(batch.slots, 0, batch.nslots * sizeof *batch.slots);
    batch.n = 0;
    batch.active = false;
}

static void begin_batch(struct db_txn *t) {
    struct str key, value;
    batch.active = true;
    batch.last_wall_ms = 0;
    batch.sequence = state_u64(t, TABLE_STATE, STR("sequence"));
    if (db_last(t, TABLE_ROWS, &key, &value) && key.n == ROW_KEY) {
        batch.last_wall_ms = (int64_t)key_read_u64(key.p);
        uint64_t used = key_read_u64(key.p + 8);
        if (batch.sequence <= used && used < UINT64_MAX)
            batch.sequence = used + 1; /* the state was lost */
    }
    db_at_end(t, end_batch, NULL);
}

/* Rows of several workers come a little out of order. Those get the newest key's time, so that they can be
 * appended; one that is late by more than that (a clock was set back) goes to its place. */
static void put_row(struct db_txn *t, int64_t wall_ms, struct str packed) {
    unsigned char key[ROW_KEY];
    int64_t at = wall_ms < 0 ? 0 : wall_ms;
    bool late = batch.last_wall_ms > at && batch.last_wall_ms - at > LATE_MS;
    if (!late && at < batch.last_wall_ms)
        at = batch.last_wall_ms;
    key_u64(key, (uint64_t)at);
    key_u64(key + 8, batch.sequence++);
    struct str k = str_make((const char *)key, sizeof key);
    if (late) {
        db_put(t, TABLE_ROWS, k, packed);
    } else {
        db_append(t, TABLE_ROWS, k, packed);
        batch.last_wall_ms = at;
    }
}

void ledger_append(struct db_txn *t, struct str packed) {
    struct ledger_row r;
    if (!ledger_unpack(NULL, packed, &r)) {
        log_event(LVL_ERROR, "store", "a usage record of %zu bytes is damaged and left out", packed.n);
        return;
    }
    if (!batch.active)
        begin_batch(t);
    put_row(t, r.wall_ms, packed);
    gather(&r);
}

/* --- positions --- */

uint64_t ledger_position(struct db_txn *t, uint64_t instance, uint32_t slot) {
    return state_position(t, TABLE_STATE, instance, slot);
}

void ledger_set_position(struct db_txn *t, uint64_t instance, uint32_t slot, uint64_t pos) {
    state_set_position(t, TABLE_STATE, instance, slot, pos);
}

void ledger_drop_positions(struct db_txn *t, uint64_t but_instance) {
    state_drop_positions(t, TABLE_STATE, but_instance);
}

/* --- retention --- */

struct trim {
    int64_t before;
    unsigned left;
};

static unsigned trim_verdict(void *arg, struct str key, struct str value) {
    (void)value;
    struct trim *trim = arg;
    if (trim->left == 0)
        return DB_STOP;
    trim->left--;
    if (key.n != ROW_KEY)
        return DB_DELETE;
    return key_read_u64(key.p) < (uint64_t)trim->before ? DB_DELETE : DB_STOP;
}

void ledger_trim(struct db_txn *t, int64_t before_wall_ms, unsigned at_most) {
    struct trim trim = {.before = before_wall_ms < 0 ? 0 : before_wall_ms, .left = at_most};
    db_each_delete(t, TABLE_ROWS, STR_NONE, trim_verdict, &trim);
}

static bool take_time(void *arg, struct str key, struct str value) {
    (void)value;
    int64_t *wall_ms = arg;
    *wall_ms = key.n == ROW_KEY ? (int64_t)key_read_u64(key.p) : 0;
    return false;
}

bool ledger_oldest(struct db_txn *t, int64_t *wall_ms) {
    *wall_ms = -1;
    db_each(t, TABLE_ROWS, STR_NONE, take_time, wall_ms);
    return *wall_ms >= 0;
}

uint64_t ledger_rows(struct db_txn *t) {
    return db_entries(t, TABLE_ROWS);
}
