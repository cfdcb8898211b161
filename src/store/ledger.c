/* The scribe's side of the ledger. Rows are appended as they come; the sums they change are gathered in
 * memory and written once, as the transaction commits, so that a row costs one append and no search. So is
 * what each hour's first and last record are: that finds the rows of a time, whatever clocks have done. */
#include "base/clock.h"
#include "base/log.h"
#include "ledger_walk.h"
#include "pack.h"
#include "state.h"
#include "store/times.h"
#include "sums.h"

const char *const ledger_tables[] = {"records", "sums", "state", "hours", "prices", "jobs", "times", NULL};

enum { HOURS_MAX = 64, OLDEST_STEPS = 1000 };

/* What one transaction has gathered. There is one ledger and one writer, so there is one of these; its memory
 * is kept from batch to batch. */
static struct {
    struct groups groups;
    bool active;
    struct chain chain;
    struct ledger_hour hours[HOURS_MAX]; /* of its rows */
    size_t nhours;
} batch;

/* --- the sums of a batch --- */

static void gather(const struct ledger_row *r) {
    unsigned char key[SUMS_KEY_MAX];
    size_t n = sums_key(key, r);
    sums_of_row(groups_sums(&batch.groups, str_make((const char *)key, n)), r);
}

void ledger_put_sums(struct db_txn *t, struct str key, const struct sums *s) {
    unsigned char packed[SUMS_PACKED];
    sums_pack(packed, s);
    db_put(t, TABLE_SUMS, key, str_make((const char *)packed, sizeof packed));
}

static void write_group(struct db_txn *t, const struct group *g) {
    struct str key = group_key(g), was;
    struct sums sums = {0};
    if (db_get(t, TABLE_SUMS, key, &was) && !sums_unpack(was, &sums)) {
        log_event(LVL_ERROR, "store", "a sum of the ledger is damaged and begins anew");
        sums = (struct sums){0};
    }
    sums_merge(&sums, &g->sums);
    ledger_put_sums(t, key, &sums);
}

/* --- hours --- */

bool ledger_read_hour(struct str key, struct str value, struct ledger_hour *h) {
    struct unpack u = {.p = value.p, .n = value.n};
    *h = (struct ledger_hour){.first = unpack_u64(&u)};
    h->last = unpack_u64(&u);
    if (key.n != 4 || u.bad)
        return false;
    h->hour = key_read_u32(key.p);
    return true;
}

bool ledger_hour(struct db_txn *t, uint32_t hour, struct ledger_hour *h) {
    unsigned char key[4];
    struct str value;
    key_u32(key, hour);
    struct str k = str_make((const char *)key, sizeof key);
    return db_get(t, TABLE_HOURS, k, &value) && ledger_read_hour(k, value, h);
}

static void write_hour(struct db_txn *t, const struct ledger_hour *more) {
    unsigned char key[4];
    char value[16];
    struct ledger_hour h;
    key_u32(key, more->hour);
    if (!ledger_hour(t, more->hour, &h))
        h = *more;
    pack_u64(pack_u64(value, h.first), more->last);
    db_put(t, TABLE_HOURS, str_make((const char *)key, sizeof key), str_make(value, sizeof value));
}

static void write_hours(struct db_txn *t) {
    for (size_t i = 0; i < batch.nhours; i++)
        write_hour(t, &batch.hours[i]);
    batch.nhours = 0;
}

static void note_hour(struct db_txn *t, uint32_t hour, uint64_t number) {
    size_t i = batch.nhours;
    while (i > 0 && batch.hours[i - 1].hour != hour)
        i--;
    if (i > 0) {
        batch.hours[i - 1].last = number;
        return;
    }
    if (batch.nhours == HOURS_MAX)
        write_hours(t);
    batch.hours[batch.nhours++] = (struct ledger_hour){hour, number, number};
}

/* --- the batch and its transaction --- */

static void end_batch(void *arg, struct db_txn *t, bool commit) {
    (void)arg;
    for (size_t i = 0; commit && i < batch.groups.n; i++)
        write_group(t, &batch.groups.list[i]);
    times_flush(commit ? t : NULL);
    if (commit) {
        write_hours(t);
        chain_put(t, &batch.chain);
    }
    groups_clear(&batch.groups);
    batch.nhours = 0;
    batch.active = false;
}

struct chain *ledger_batch(struct db_txn *t) {
    if (!batch.active) {
        batch.active = true;
        chain_begin(t, &batch.chain);
        db_at_end(t, end_batch, NULL);
    }
    return &batch.chain;
}

/* Sums of before there was a chain: what is counted in their hours has no records. */
void ledger_begin(struct db_txn *t) {
    struct chain c;
    struct str key, value;
    if (!chain_read(t, &c) && db_last(t, TABLE_SUMS, &key, &value) && key.n >= 4)
        state_set_u64(t, TABLE_STATE, STR("whole"), (uint64_t)key_read_u32(key.p) + 1);
    chain_begin(t, &c);
}

uint32_t ledger_whole_from(struct db_txn *t) {
    return (uint32_t)state_u64(t, TABLE_STATE, STR("whole"));
}

void ledger_append(struct db_txn *t, struct str packed) {
    struct ledger_row r;
    if (!ledger_unpack(NULL, packed, &r)) {
        log_event(LVL_ERROR, "store", "a usage record of %zu bytes is damaged and left out", packed.n);
        return;
    }
    struct chain *c = ledger_batch(t);
    note_hour(t, sums_hour(r.wall_ms), c->next);
    chain_append(t, c, RECORD_IS_USAGE, r.wall_ms, packed);
    gather(&r);
    times_gather(t, &r);
}

/* --- prices --- */

static struct str price_key(unsigned char out[8], uint64_t version) {
    key_u64(out, version);
    return str_make((const char *)out, 8);
}

bool ledger_price(struct db_txn *t, uint64_t version, struct str *text) {
    unsigned char key[8];
    return db_get(t, TABLE_PRICES, price_key(key, version), text);
}

void ledger_put_price(struct db_txn *t, uint64_t version, struct str text) {
    unsigned char key[8];
    struct str is;
    if (!ledger_price(t, version, &is))
        db_put(t, TABLE_PRICES, price_key(key, version), text);
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
    int64_t before, now;
    unsigned left;
    bool found;
    uint64_t upto; /* the last one that is old */
    struct chain *chain;
};

/* What is of the future is of a clock that was wrong: it goes when those behind it are old. */
static bool find_old(void *arg, struct str key, struct str value) {
    struct trim *trim = arg;
    struct chain_record r;
    if (trim->left == 0)
        return false;
    trim->left--;
    if (!chain_unpack(key, value, &r))
        return true;
    if (r.wall_ms >= trim->before && r.wall_ms <= trim->now)
        return false;
    if (r.wall_ms < trim->before) {
        trim->upto = r.number;
        trim->found = true;
    }
    return true;
}

static unsigned trim_verdict(void *arg, struct str key, struct str value) {
    struct trim *trim = arg;
    struct chain_record r;
    if (!chain_unpack(key, value, &r))
        return DB_DELETE;
    if (r.number > trim->upto)
        return DB_STOP;
    trim->chain->first = r.number + 1;
    memcpy(trim->chain->base, r.hash, sizeof trim->chain->base);
    return DB_DELETE;
}

void ledger_trim(struct db_txn *t, int64_t before_wall_ms, unsigned at_most) {
    struct trim trim = {.before = before_wall_ms, .now = clock_wall_ms(), .left = at_most};
    db_each(t, TABLE_ROWS, STR_NONE, find_old, &trim);
    if (!trim.found)
        return;
    trim.chain = ledger_batch(t);
    db_each_delete(t, TABLE_ROWS, STR_NONE, trim_verdict, &trim);
}

struct oldest {
    int64_t now, wall_ms;
    unsigned steps;
    bool any;
};

static bool take_time(void *arg, struct str key, struct str value) {
    struct oldest *o = arg;
    struct chain_record r;
    if (!chain_unpack(key, value, &r))
        return ++o->steps < OLDEST_STEPS;
    bool sure = r.wall_ms <= o->now;
    if (!o->any || sure)
        o->wall_ms = r.wall_ms;
    o->any = true;
    return !sure && ++o->steps < OLDEST_STEPS;
}

bool ledger_oldest(struct db_txn *t, int64_t *wall_ms) {
    struct oldest o = {.now = clock_wall_ms(), .wall_ms = -1};
    db_each(t, TABLE_ROWS, STR_NONE, take_time, &o);
    *wall_ms = o.wall_ms;
    return o.any;
}

uint64_t ledger_rows(struct db_txn *t) {
    return db_entries(t, TABLE_ROWS);
}
