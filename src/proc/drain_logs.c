/* From the rings to the log store, before the ledger's commit and apart from it: its positions are its own,
 * so a batch that the ledger must take again is not logged twice, and when it has trouble, what it cannot
 * take is dropped and counted while everything else goes on. */
#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "drain.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "store/ledger.h"
#include "store/logs.h"
#include "store/record.h"
#include <stdlib.h>

enum { PAUSE_MS = 5000, NOTES_MAX = 64 << 10, TRIM_LEAST = 64, TRIM_OLD = 1024, TRIES = 4 };
enum { SHARE = 32, RECORD_BYTES = 512 }; /* so much of the store in one transaction; a guess at a record */
#define CROWDED 0.9                      /* of the map */
#define MODE    (DB_WRITE | DB_SET_ASIDE)

struct logged { /* a record of the batch */
    int64_t wall_ms;
    struct entry entry;
};

/* --- trouble --- */

static void give_up(struct drain *d, const char *why) {
    struct drain_logs *l = &d->logs;
    bool damaged = l->db && db_trouble(l->db) == DB_DAMAGED;
    if (l->retry_ms == 0)
        log_event(LVL_ERROR, "store", "the log store cannot be written, records are dropped: %s", why);
    l->retry_ms = clock_ms() + PAUSE_MS;
    db_close(l->db);
    l->db = NULL;
    if (damaged)
        db_condemn(l->dir, MODE);
}

static void works(struct drain_logs *l) {
    if (l->retry_ms)
        log_event(LVL_INFO, "store", "the log store works again");
    l->retry_ms = 0;
}

/* Counted at once, where it outlives this process, and told once a second at most. */
static void lose(struct drain *d, uint64_t n) {
    stat_add(d->shm, STAT_LOGS_DROPPED, n);
    d->logs.lost += n;
}

static void tell_lost(struct drain *d) {
    if (d->logs.lost == 0)
        return;
    log_event(LVL_WARN, "store", "%llu records of the log were dropped", (unsigned long long)d->logs.lost);
    d->logs.lost = 0;
}

/* --- opening --- */

static void read_positions(struct drain *d) {
    char err[256];
    uint32_t high = slot_high(d->shm);
    struct db_txn *t = db_begin(d->logs.db, true);
    for (uint32_t slot = 0; slot < high; slot++) {
        uint64_t at = logs_position(t, d->instance, slot);
        if (at > d->logs.taken[slot])
            d->logs.taken[slot] = at;
    }
    logs_drop_positions(t, d->instance);
    if (db_commit(t, err) != 0 && db_trouble(d->logs.db) != DB_FULL)
        give_up(d, err);
}

static void open_store(struct drain *d) {
    char err[256];
    d->logs.db = db_open(d->logs.dir, MODE, d->conf->log.max_size, logs_tables, err);
    if (d->logs.db)
        read_positions(d);
    else
        give_up(d, err);
}

/* --- events that come by no ring --- */

void drain_note(struct drain *d, enum log_level level, const char *event, const struct log_fields *fields,
                struct str message) {
    struct drain_logs *l = &d->logs;
    struct logs_event e = {.wall_ms = clock_wall_ms(), .level = level, .fields = *fields, .message = message};
    struct buf packed;
    if (!logs_type_by_name(str_of(event), &e.type) || e.type < LOGS_AUDIT)
        return;
    buf_init(&packed, 2 * LOGS_MESSAGE_MAX);
    logs_pack_event(&packed, &e);
    uint32_t n = (uint32_t)buf_len(&packed);
    if (buf_len(&l->notes) + sizeof n + n <= NOTES_MAX) {
        buf_add(&l->notes, &n, sizeof n);
        buf_adds(&l->notes, buf_str(&packed));
    } else {
        lose(d, 1);
    }
    buf_free(&packed);
}

static void put_notes(struct drain_logs *l, struct db_txn *t) {
    struct str rest = buf_str(&l->notes);
    uint32_t n;
    while (rest.n >= sizeof n) {
        memcpy(&n, rest.p, sizeof n);
        logs_put_event(t, str_make(rest.p + sizeof n, n));
        rest = str_skip(rest, sizeof n + n);
    }
}

/* --- a batch --- */

/* The time of a record that the log wants; false: it does not. */
static bool time_of(const struct entry *r, int64_t *wall_ms) {
    struct logs_event e;
    struct ledger_row row;
    struct money_list held;
    struct str packed;
    if (r->type == RECORD_EVENT && logs_unpack_event(r->payload, &e))
        *wall_ms = e.wall_ms;
    else if (drain_usage(r, &packed, &held) && ledger_unpack(NULL, packed, &row))
        *wall_ms = row.wall_ms;
    else
        return false;
    return true;
}

static void take(struct drain *d, struct db_txn *t, const struct entry *r) {
    struct drain_logs *l = &d->logs;
    int64_t wall_ms;
    (void)t;
    if (r->to <= l->taken[r->slot] || !time_of(r, &wall_ms))
        return;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 256;
        l->batch = mem_grow(l->batch, l->cap * sizeof *l->batch);
    }
    l->batch[l->n++] = (struct logged){wall_ms, *r};
}

static int by_time(const void *va, const void *vb) {
    const struct logged *a = va, *b = vb;
    if (a->wall_ms != b->wall_ms)
        return a->wall_ms < b->wall_ms ? -1 : 1;
    if (a->entry.slot != b->entry.slot)
        return a->entry.slot < b->entry.slot ? -1 : 1;
    return a->entry.from < b->entry.from ? -1 : a->entry.from > b->entry.from;
}

static void put(struct db_txn *t, const struct entry *r) {
    struct logs_talk talk = {.left_out = false};
    struct money_list held;
    if (r->type == RECORD_EVENT) {
        logs_put_event(t, r->payload);
        return;
    }
    if (r->type == RECORD_TALK)
        logs_unpack_talk(r->payload, &talk);
    drain_usage(r, &talk.row, &held);
    talk.spent = false;
    logs_put_talk(t, &talk);
}

static void trim(struct drain *d, struct db_txn *t, size_t at_most) {
    int64_t oldest, before = d->logs.crowded ? INT64_MAX : clock_wall_ms() - (int64_t)d->conf->log.retention;
    if (logs_oldest(t, &oldest) && oldest < before)
        logs_trim(t, before, (unsigned)at_most);
}

/* Records [from, to) of the batch; with the last of them the notes and the positions. */
static int try_slice(struct drain *d, size_t from, size_t to, char err[256]) {
    struct drain_logs *l = &d->logs;
    uint32_t high = slot_high(d->shm);
    struct db_txn *t = db_begin(l->db, true);
    trim(d, t, 2 * (to - from) + TRIM_LEAST); /* twice what comes, or the oldest would never be reached */
    for (size_t i = from; i < to; i++)
        put(t, &l->batch[i].entry);
    if (to == l->n)
        put_notes(l, t);
    for (uint32_t slot = 0; to == l->n && slot < high; slot++)
        if (d->next[slot] > l->taken[slot])
            logs_set_position(t, d->instance, slot, d->next[slot]);
    return db_commit(t, err);
}

static void make_room(struct drain *d, size_t n) {
    char err[256];
    d->logs.crowded = true;
    for (int i = 0; i < 2; i++) { /* what a transaction frees can be used by the one after the next */
        struct db_txn *t = db_begin(d->logs.db, true);
        trim(d, t, 2 * n + TRIM_OLD);
        if (db_commit(t, err) != 0)
            return;
    }
}

static bool write_slice(struct drain *d, size_t from, size_t to) {
    char err[256];
    struct db *db = d->logs.db;
    d->logs.crowded = db_used(db) > CROWDED;
    int rc = try_slice(d, from, to, err);
    for (int i = 0; i < TRIES && rc != 0 && db_trouble(db) == DB_FULL; i++) {
        db_check_readers(db);
        make_room(d, to - from);
        rc = try_slice(d, from, to, err);
    }
    if (rc != 0 && db_trouble(db) != DB_FULL)
        give_up(d, err);
    if (rc != 0)
        lose(d, to - from);
    return rc == 0;
}

/* A batch that is much for the size of the store comes in pieces: what the first free, the later ones can
 * use.
 */
static bool write_batch(struct drain *d) {
    struct drain_logs *l = &d->logs;
    size_t piece = (size_t)(d->conf->log.max_size / SHARE / RECORD_BYTES) + 1, from = 0;
    bool ok = l->db != NULL;
    if (!ok)
        lose(d, l->n);
    while (ok && l->n - from > piece) {
        ok = write_slice(d, from, from + piece);
        from += piece;
        if (!ok)
            lose(d, l->n - from);
    }
    return ok && write_slice(d, from, l->n);
}

static void store(struct drain *d) {
    struct drain_logs *l = &d->logs;
    uint32_t high = slot_high(d->shm);
    if (l->n == 0 && buf_len(&l->notes) == 0)
        return;
    if (l->n > 0)
        qsort(l->batch, l->n, sizeof *l->batch, by_time); /* whichever worker they are of */
    if (write_batch(d)) {
        works(l);
        buf_clear(&l->notes);
    } /* else: notes are few and may wait */
    for (uint32_t slot = 0; slot < high; slot++)
        if (d->next[slot] > l->taken[slot])
            l->taken[slot] = d->next[slot];
    l->n = 0;
}

void drain_logs_batch(struct drain *d) {
    d->logs.n = 0;
    drain_each(d, NULL, take);
    store(d);
}

/* --- upkeep --- */

/* Without a batch of the rings to go with them. */
static void write_notes(struct drain *d) {
    memcpy(d->next, d->cursor, sizeof d->next);
    store(d);
}

static void keep(struct drain *d) {
    char err[256];
    int64_t oldest = 0;
    struct db *db = d->logs.db;
    struct db_txn *t = db_begin(db, false);
    bool any = logs_oldest(t, &oldest);
    db_end(t);
    d->logs.crowded = db_used(db) > CROWDED;
    if (!any || (oldest >= clock_wall_ms() - (int64_t)d->conf->log.retention && !d->logs.crowded))
        return;
    t = db_begin(db, true);
    trim(d, t, TRIM_OLD);
    if (db_commit(t, err) != 0 && db_trouble(db) != DB_FULL)
        give_up(d, err);
}

void drain_logs_upkeep(struct drain *d, uint64_t now_ms) {
    if (!d->logs.db && now_ms >= d->logs.retry_ms)
        open_store(d);
    if (buf_len(&d->logs.notes) > 0)
        write_notes(d);
    if (d->logs.db)
        keep(d);
    tell_lost(d);
}

void drain_logs_open(struct drain *d) {
    buf_init(&d->logs.notes, NOTES_MAX);
    open_store(d);
}

void drain_logs_close(struct drain *d) {
    if (buf_len(&d->logs.notes) > 0)
        write_notes(d);
    tell_lost(d);
    db_close(d->logs.db);
    mem_free(d->logs.dir);
    mem_free(d->logs.batch);
    buf_free(&d->logs.notes);
}
