/* The scribe's side of the log store. */
#include "base/hash.h"
#include "base/log.h"
#include "logs_row.h"
#include "pack.h"
#include "state.h"

const char *const logs_tables[] = {"rows", "ids", "state", NULL};

enum { BATCH_IDS = 2048, LATE_MS = 60000 };

/* What one transaction has put; there is one store and one writer, so there is one of these. */
static struct {
    bool active;
    uint64_t last_ms, sequence; /* of the newest key; of the next row */
    unsigned char first[LOGS_KEY];
    unsigned char id[BATCH_IDS][LOGS_ID];
    size_t n;
} batch;

static struct str bytes(const unsigned char *p, size_t n) {
    return str_make((const char *)p, n);
}

static void write_ids(struct db_txn *t) {
    if (batch.n > 0)
        db_put(t, LOGS_IDS, bytes(batch.first, LOGS_KEY), bytes(batch.id[0], batch.n * LOGS_ID));
    batch.n = 0;
}

static void end_batch(void *arg, struct db_txn *t, bool commit) {
    (void)arg;
    if (commit) {
        write_ids(t);
        state_set_u64(t, LOGS_STATE, STR("sequence"), batch.sequence);
    }
    batch.n = 0;
    batch.active = false;
}

static void begin_batch(struct db_txn *t) {
    struct str key, value;
    batch.active = true;
    batch.last_ms = 0;
    batch.sequence = state_u64(t, LOGS_STATE, STR("sequence"));
    if (db_last(t, LOGS_ROWS, &key, &value) && key.n == LOGS_KEY) {
        uint64_t used = key_read_u64(key.p + 8);
        batch.last_ms = key_read_u64(key.p);
        if (batch.sequence <= used && used < UINT64_MAX)
            batch.sequence = used + 1;
    }
    db_at_end(t, end_batch, NULL);
}

/* As in the ledger: what is a little late is appended with the newest time; what is very late (a clock was
 * set back) goes to its place. */
static void put_row(struct db_txn *t, int64_t wall_ms, struct str request_id, struct str value) {
    unsigned char key[LOGS_KEY];
    if (!batch.active)
        begin_batch(t);
    uint64_t at = wall_ms < 0 ? 0 : (uint64_t)wall_ms;
    bool late = at < batch.last_ms && batch.last_ms - at > LATE_MS;
    if (!late && at < batch.last_ms)
        at = batch.last_ms;
    key_u64(key, at);
    key_u64(key + 8, batch.sequence++);
    (late ? db_put : db_append)(t, LOGS_ROWS, bytes(key, LOGS_KEY), value);
    if (!late)
        batch.last_ms = at;
    if (request_id.n == 0)
        return;
    if (batch.n == 0 || memcmp(key, batch.first, LOGS_KEY) < 0)
        memcpy(batch.first, key, LOGS_KEY);
    key_u64(batch.id[batch.n], hash64(request_id.p, request_id.n));
    memcpy(batch.id[batch.n++] + 8, key, LOGS_KEY);
    if (batch.n == BATCH_IDS)
        write_ids(t);
}

void logs_put_talk(struct db_txn *t, const struct logs_talk *talk) {
    static struct buf b; /* keeps its memory */
    int64_t wall_ms;
    struct str request_id;
    if (!ledger_peek(talk->row, &wall_ms, &request_id))
        return; /* the ledger says so */
    if (b.max == 0)
        buf_init(&b, (LOGS_TEXTS_N + 1) * LOGS_TEXT_MAX);
    buf_clear(&b);
    logs_pack_talk(&b, talk);
    if (buf_ok(&b))
        put_row(t, wall_ms, request_id, buf_str(&b));
}

void logs_put_event(struct db_txn *t, struct str packed) {
    struct logs_event e;
    if (logs_unpack_event(packed, &e))
        put_row(t, e.wall_ms, e.fields.request_id, packed);
    else
        log_event(LVL_ERROR, "store", "an event of %zu bytes is damaged and left out", packed.n);
}

uint64_t logs_position(struct db_txn *t, uint64_t instance, uint32_t slot) {
    return state_position(t, LOGS_STATE, instance, slot);
}

void logs_set_position(struct db_txn *t, uint64_t instance, uint32_t slot, uint64_t pos) {
    state_set_position(t, LOGS_STATE, instance, slot, pos);
}

void logs_drop_positions(struct db_txn *t, uint64_t but_instance) {
    state_drop_positions(t, LOGS_STATE, but_instance);
}

/* --- retention --- */

struct trim {
    uint64_t before;
    unsigned left;
    bool any;
    char upto[LOGS_KEY]; /* the last row that went */
};

static unsigned trim_row(void *arg, struct str key, struct str value) {
    (void)value;
    struct trim *trim = arg;
    if (trim->left == 0)
        return DB_STOP;
    if (key.n != LOGS_KEY)
        return DB_DELETE;
    if (key_read_u64(key.p) >= trim->before)
        return DB_STOP;
    trim->left--;
    trim->any = true;
    memcpy(trim->upto, key.p, LOGS_KEY);
    return DB_DELETE;
}

/* An array of ids goes with the last of its rows, which is at its end but for rows that were late. */
static unsigned trim_ids(void *arg, struct str key, struct str value) {
    struct trim *trim = arg;
    if (key.n != LOGS_KEY || value.n < LOGS_ID || value.n % LOGS_ID)
        return DB_DELETE;
    if (memcmp(key.p, trim->upto, LOGS_KEY) > 0)
        return DB_STOP;
    return memcmp(value.p + value.n - LOGS_KEY, trim->upto, LOGS_KEY) <= 0 ? DB_DELETE : DB_KEEP;
}

void logs_trim(struct db_txn *t, int64_t before_wall_ms, unsigned at_most) {
    struct trim trim = {.before = before_wall_ms < 0 ? 0 : (uint64_t)before_wall_ms, .left = at_most};
    db_each_delete(t, LOGS_ROWS, STR_NONE, trim_row, &trim);
    if (trim.any)
        db_each_delete(t, LOGS_IDS, STR_NONE, trim_ids, &trim);
}

static bool take_time(void *arg, struct str key, struct str value) {
    (void)value;
    *(int64_t *)arg = key.n == LOGS_KEY ? (int64_t)key_read_u64(key.p) : 0;
    return false;
}

bool logs_oldest(struct db_txn *t, int64_t *wall_ms) {
    *wall_ms = -1;
    db_each(t, LOGS_ROWS, STR_NONE, take_time, wall_ms);
    return *wall_ms >= 0;
}
