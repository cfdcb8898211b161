/* From the rings to LMDB. A batch is first measured and then walked once per purpose: bodies into the cache,
 * records into the log store, rows into the ledger together with the positions, and only after both commits
 * the index, the log and the release. So each step can be tried again, and a scribe killed at any point
 * leaves the next one a position that is true. */
#include "drain.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "share.h"
#include "shm/ring.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "store/keys.h"
#include "store/ledger.h"
#include "store/logs.h"
#include "store/record.h"
#include "store/replies.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINES_AT_ONCE = 48 << 10, LINES_MAX = 8 << 20 };                 /* bytes of log lines */
enum { BATCH_RECORDS = 2048, BATCH_LEAST = 32, BATCH_BYTES = 4 << 20 }; /* of one ring */
enum { PAUSE_FIRST_MS = 250, PAUSE_MOST_MS = 30000, CACHE_PAUSE_MS = 5000 };
enum { SWEEP_STEPS = 4096, EVICT_AT_LEAST = 64, TRIM_OLD = 1024, TRIM_CROWDED = 64, TRIES = 4 };
#define MIB          ((uint64_t)1 << 20)
#define LEDGER_MAP   ((uint64_t)16 << 30)
#define RETENTION_MS ((int64_t)30 * 24 * 3600 * 1000)
#define CROWDED      0.9 /* of a map: make room although nothing is too old or too much */
#define LEDGER_MODE  (DB_WRITE | DB_SET_ASIDE)
#define CACHE_MODE   (DB_WRITE | DB_DISPOSABLE)
#define KEYS_MAP     (128 * MIB)
#define KEYS_MODE    (DB_WRITE | DB_SET_ASIDE)
#define OUTCOMES_MS  60000

/* --- the clock --- */

/* A step forward makes all that is kept look old: nothing goes for its age until the clock has stood for a
 * while, in which a mistake can be put right. */
static void watch_clock(struct drain *d) {
    enum { STEP_MS = 60000, CALM_MS = 600000 };
    uint64_t now_ms = clock_ms();
    int64_t gap = clock_wall_ms() - (int64_t)now_ms, step = d->clock_gap_ms ? gap - d->clock_gap_ms : 0;
    d->clock_gap_ms = gap;
    if (step > -STEP_MS && step < STEP_MS)
        return;
    d->clock_trusted_ms = now_ms + CALM_MS;
    log_event(LVL_WARN, "store",
              "the clock was set %s by %" PRId64 " s: nothing is removed for its age in the next %d minutes",
              step < 0 ? "back" : "forward", (step < 0 ? -step : step) / 1000, CALM_MS / 60000);
}

int64_t drain_too_old(const struct drain *d, int64_t retention_ms) {
    return clock_ms() < d->clock_trusted_ms ? INT64_MIN : clock_wall_ms() - retention_ms;
}

/* --- the records of a batch --- */

void drain_each(struct drain *d, struct db_txn *t, entry_fn *fn) {
    uint32_t high = slot_high(d->shm);
    for (uint32_t slot = 0; slot < high; slot++) {
        struct entry r = {.slot = slot, .to = d->cursor[slot]};
        for (;;) {
            r.from = r.to;
            if (r.from >= d->next[slot] || !ring_next(d->shm, slot, &r.to, &r.type, &r.payload))
                break;
            fn(d, t, &r);
        }
    }
}

static void measure_ring(struct drain *d, uint32_t slot) {
    uint64_t at = d->cursor[slot];
    uint32_t type;
    struct str payload;
    for (unsigned n = 0; n < d->most && at - d->cursor[slot] < BATCH_BYTES; n++) {
        if (!ring_next(d->shm, slot, &at, &type, &payload))
            break;
        d->usages += type == RECORD_USAGE || type == RECORD_SPENT || type == RECORD_TALK;
        d->replies += type == RECORD_REPLY;
        d->keyed += type == RECORD_KEY;
        d->cleared |= type == RECORD_CLEAR;
    }
    d->next[slot] = at; /* also behind what ring_next() gave up */
}

static bool measure(struct drain *d) {
    uint32_t high = slot_high(d->shm);
    bool any = false;
    d->usages = d->replies = d->keyed = 0;
    d->cleared = false;
    for (uint32_t slot = 0; slot < high; slot++) {
        d->next[slot] = d->cursor[slot];
        measure_ring(d, slot);
        any |= d->next[slot] != d->cursor[slot];
    }
    return any;
}

uint64_t drain_waiting(const struct drain *d, uint64_t *heads) {
    uint32_t high = slot_high(d->shm);
    uint64_t waiting = 0;
    *heads = 0;
    for (uint32_t slot = 0; slot < high; slot++) {
        uint64_t head = ring_head(d->shm, slot);
        *heads += head;
        waiting += head - d->cursor[slot];
    }
    return waiting;
}

/* --- the cache --- */

/* Whatever it is, the cache can be begun anew, a little later; on a full disk that gives some space back as
 * well. */
static void give_up_cache(struct drain *d, const char *why) {
    if (!d->cache_told)
        log_event(LVL_ERROR, "store", "the cache is begun anew: %s", why);
    db_close(d->cache);
    d->cache = NULL;
    db_condemn(d->cache_dir, CACHE_MODE);
    index_clear(d->shm, &(struct index_filter){.kept_too = true});
    d->cache_told = true;
    d->cache_retry_ms = clock_ms() + CACHE_PAUSE_MS;
}

struct restore {
    struct drain *d;
    int64_t now;
    uint64_t epoch, n;
};

static bool restore_entry(void *arg, const struct index_entry *e) {
    struct restore *r = arg;
    if (!e->kept && shm_cache_epoch(r->d->shm) != r->epoch)
        return true; /* cleared: what was not restored yet is meant too */
    if (e->expires_wall_ms > r->now && index_restore(r->d->shm, e))
        r->n++;
    return true;
}

/* A new segment knows nothing of what is stored. One that has outlived its scribe knows better than the
 * store: what was cleared there must not come back. */
static void restore_index(struct drain *d) {
    char err[256];
    struct db_txn *t = db_begin(d->cache, true);
    if (replies_instance(t) != d->instance) {
        struct restore r = {.d = d, .now = clock_wall_ms(), .epoch = shm_cache_epoch(d->shm)};
        replies_each(t, restore_entry, &r);
        replies_set_instance(t, d->instance);
        if (r.n)
            log_event(LVL_INFO, "store", "%llu cached answers found", (unsigned long long)r.n);
    }
    d->sweep_soon = true;
    if (db_commit(t, err) != 0)
        give_up_cache(d, err);
}

static void open_cache(struct drain *d) {
    char err[256];
    d->cache = db_open(d->cache_dir, CACHE_MODE, 2 * d->conf->cache.max_size + 64 * MIB, replies_tables, err);
    if (d->cache) {
        if (d->cache_told)
            log_event(LVL_INFO, "store", "the cache can be written again");
        d->cache_told = false;
        restore_index(d);
        return;
    }
    if (!d->cache_told)
        log_event(LVL_ERROR, "store", "the cache is off until it opens: %s", err);
    d->cache_told = true;
    d->cache_retry_ms = clock_ms() + CACHE_PAUSE_MS;
}

static void evict(struct drain *d, struct db_txn *t, unsigned at_most, bool crowded) {
    struct index_totals totals;
    struct index_entry e;
    unsigned n = 0;
    index_totals(d->shm, &totals);
    uint64_t bytes = totals.bytes;
    while (n < at_most && (crowded || bytes > d->conf->cache.max_size) && index_victim(d->shm, &e)) {
        if (index_evict(d->shm, &e))
            replies_delete(t, e.key);
        bytes -= e.bytes < bytes ? e.bytes : bytes;
        n++;
    }
}

/* Is this record what the index means by its key? */
static bool is_meant(const struct index_entry *e, const struct entry *r, bool known) {
    return known && !e->stored && e->slot == r->slot && e->pos >= r->from && e->pos < r->to;
}

/* Of several answers to one question the index knows one, and that one alone may lie in the store. */
static void put_reply(struct drain *d, struct db_txn *t, const struct entry *r) {
    struct reply_head h;
    struct str body;
    struct index_entry e;
    if (r->type != RECORD_REPLY || !reply_unpack(NULL, r->payload, &h, &body))
        return;
    bool known = index_peek(d->shm, h.key, &e);
    if (!known || is_meant(&e, r, known))
        replies_put(t, r->payload);
}

static void start_clear(struct drain *d, struct db_txn *t) {
    struct index_totals totals;
    index_totals(d->shm, &totals);
    if (totals.entries == 0)
        replies_empty(t);
    memset(d->sweep_from, 0, sizeof d->sweep_from);
    d->sweep_soon = true;
}

static int try_cache(struct drain *d, char err[256]) {
    bool crowded = db_used(d->cache) > CROWDED;
    struct db_txn *t = db_begin(d->cache, true);
    if (d->cleared)
        start_clear(d, t);
    drain_each(d, t, put_reply);
    evict(d, t, 2 * d->replies + EVICT_AT_LEAST, crowded);
    return db_commit(t, err);
}

/* Pages that a transaction frees can be used by the one after the next, hence more than one. */
static void make_room_in_cache(struct drain *d) {
    char err[256];
    for (int i = 0; i < 2; i++) {
        struct db_txn *t = db_begin(d->cache, true);
        evict(d, t, 8 * EVICT_AT_LEAST, true);
        replies_set_instance(t, d->instance);
        if (db_commit(t, err) != 0)
            return;
    }
}

static void store_replies(struct drain *d) {
    char err[256];
    d->kept = false;
    if (!d->cache || (d->replies == 0 && !d->cleared))
        return;
    int rc = try_cache(d, err);
    for (int i = 0; i < TRIES && rc != 0 && db_trouble(d->cache) == DB_FULL; i++) {
        db_check_readers(d->cache);
        make_room_in_cache(d);
        rc = try_cache(d, err);
    }
    d->kept = rc == 0;
    if (rc != 0)
        give_up_cache(d, err);
}

/* --- gateway keys --- */

/* The workers look again whenever it was opened: an earlier scribe may have committed what it could not tell
 * of. */
static bool open_keys(struct drain *d) {
    char err[256];
    if (d->keys)
        return true;
    d->keys = db_open(d->keys_dir, KEYS_MODE, KEYS_MAP, keys_tables, err);
    if (d->keys) {
        spend_keys(&d->spend, d->keys);
        shm_keys_changed(d->shm);
    } else if (!d->keys_told)
        log_event(LVL_ERROR, "store", "gateway keys cannot be changed: %s", err);
    d->keys_told = !d->keys;
    return d->keys != NULL;
}

static void give_up_keys(struct drain *d, const char *why) {
    bool damaged = db_trouble(d->keys) == DB_DAMAGED;
    log_event(LVL_ERROR, "store", "changes of gateway keys are lost: %s", why);
    db_close(d->keys);
    d->keys = NULL;
    if (damaged)
        db_condemn(d->keys_dir, KEYS_MODE);
}

static void put_key(struct drain *d, struct db_txn *t, const struct entry *r) {
    struct key_change c;
    (void)d;
    if (r->type == RECORD_KEY && key_change_unpack(r->payload, &c))
        keys_make(t, &c, clock_wall_ms());
}

bool drain_keys(struct drain *d) {
    return open_keys(d);
}

void drain_keys_changed(struct drain *d) {
    spend_keys(&d->spend, d->keys);
    if (d->ledger)
        spend_count(&d->spend, d->ledger, false);
    shm_keys_changed(d->shm);
}

/* Nothing waits for keys that cannot be stored: who wanted the change is told so. */
static void store_keys(struct drain *d) {
    char err[256];
    if (d->keyed == 0 || !open_keys(d))
        return;
    struct db_txn *t = db_begin(d->keys, true);
    int64_t before = drain_too_old(d, OUTCOMES_MS);
    if (before != INT64_MIN)
        keys_forget(t, before);
    drain_each(d, t, put_key);
    if (db_commit(t, err) != 0) {
        give_up_keys(d, err);
        return;
    }
    drain_keys_changed(d);
}

static void settle_key(struct drain *d, const struct entry *r) {
    struct key_change c;
    if (!d->keys || !key_change_unpack(r->payload, &c))
        return;
    struct db_txn *t = db_begin(d->keys, false);
    bool made = keys_outcome(t, c.number) == KEY_DONE;
    if (made)
        log_event(LVL_INFO, "audit", STR_FMT, STR_ARG(c.audit));
    db_end(t);
    if (made)
        share_key(d->share, c.id);
}

/* --- the ledger --- */

static void pause_ledger(struct drain *d, const char *why) {
    stat_add(d->shm, STAT_LEDGER_FAILURES, 1);
    if (d->ledger_pause_ms == 0)
        log_event(LVL_ERROR, "store", "the ledger cannot be written, records wait in the rings: %s", why);
    d->ledger_pause_ms = d->ledger_pause_ms ? d->ledger_pause_ms * 2 : PAUSE_FIRST_MS;
    if (d->ledger_pause_ms > PAUSE_MOST_MS)
        d->ledger_pause_ms = PAUSE_MOST_MS;
    d->ledger_retry_ms = clock_ms() + d->ledger_pause_ms;
}

static bool open_ledger(struct drain *d) {
    char err[256];
    if (!d->ledger)
        d->ledger = db_open(d->ledger_dir, LEDGER_MODE, d->ledger_map, ledger_tables, err);
    if (!d->ledger)
        pause_ledger(d, err);
    return d->ledger != NULL;
}

/* Opened anew for the next try: after a failed write of its own pages LMDB does not go on. */
static void give_up_ledger(struct drain *d, const char *why) {
    bool damaged = db_trouble(d->ledger) == DB_DAMAGED;
    pause_ledger(d, why);
    db_close(d->ledger);
    d->ledger = NULL;
    if (damaged)
        db_condemn(d->ledger_dir, LEDGER_MODE);
}

bool drain_usage(const struct entry *r, struct str *row, struct money_list *held) {
    struct logs_talk talk;
    bool spent = r->type == RECORD_SPENT;
    *row = r->payload;
    held->n = 0;
    if (r->type == RECORD_TALK && logs_unpack_talk(r->payload, &talk)) {
        *row = talk.row;
        spent = talk.spent;
    } else if (r->type != RECORD_USAGE && !spent) {
        return false;
    }
    return !spent || record_spent_read(row, held->entity, MONEY_MOST, &held->n);
}

static void put_price(struct db_txn *t, struct str payload) {
    uint64_t version;
    struct str text;
    if (ledger_unpack_price(payload, &version, &text))
        ledger_put_price(t, version, text);
}

static void put_job(struct drain *d, struct db_txn *t, struct str payload) {
    struct ledger_job j;
    if (!ledger_job_unpack(payload, &j))
        return;
    ledger_job_add(t, &j);
    d->reprice.look = d->repricing = true;
}

static void put_usage(struct drain *d, struct db_txn *t, const struct entry *r) {
    struct money_list held;
    struct str row;
    if (r->type == RECORD_PRICE)
        put_price(t, r->payload);
    else if (r->type == RECORD_REPRICE)
        put_job(d, t, r->payload);
    else if (drain_usage(r, &row, &held))
        ledger_append(t, row);
}

static void set_positions(struct drain *d, struct db_txn *t) {
    uint32_t high = slot_high(d->shm);
    for (uint32_t slot = 0; slot < high; slot++) {
        if (d->next[slot] != d->cursor[slot])
            ledger_set_position(t, d->instance, slot, d->next[slot]);
    }
}

/* Twice what comes is what must go, or the oldest would never be reached; more only where age is the reason.
 */
static void trim(struct drain *d, struct db_txn *t, unsigned coming) {
    int64_t oldest, before = d->ledger_crowded ? INT64_MAX : drain_too_old(d, RETENTION_MS);
    if (ledger_oldest(t, &oldest) && oldest < before)
        ledger_trim(t, before, 2 * coming + (d->ledger_crowded ? TRIM_CROWDED : TRIM_OLD));
}

static void look_at_room(struct drain *d) {
    bool crowded = db_used(d->ledger) > CROWDED;
    if (crowded && !d->ledger_crowded)
        log_event(LVL_WARN, "store",
                  "the ledger is full: its oldest rows go before their time (the sums stay)");
    d->ledger_crowded = crowded;
}

static int try_ledger(struct drain *d, char err[256]) {
    struct db_txn *t = db_begin(d->ledger, true);
    trim(d, t, d->usages);
    drain_each(d, t, put_usage);
    set_positions(d, t);
    return db_commit(t, err);
}

static void make_room_in_ledger(struct drain *d) {
    char err[256];
    d->ledger_crowded = true;
    for (int i = 0; i < 2; i++) {
        struct db_txn *t = db_begin(d->ledger, true);
        trim(d, t, d->usages);
        ledger_drop_positions(t, d->instance);
        if (db_commit(t, err) != 0)
            return;
    }
}

/* A batch that is too large for the room that is left comes in pieces before anything is thrown away for it.
 */
static bool shrink_batch(struct drain *d) {
    if (d->most <= BATCH_LEAST)
        return false;
    d->most /= 4;
    return true;
}

static bool store_usage(struct drain *d) {
    char err[256];
    look_at_room(d);
    int rc = try_ledger(d, err);
    if (rc != 0 && db_trouble(d->ledger) == DB_FULL && shrink_batch(d))
        return false;
    for (int i = 0; i < TRIES && rc != 0 && db_trouble(d->ledger) == DB_FULL; i++) {
        db_check_readers(d->ledger);
        make_room_in_ledger(d);
        rc = try_ledger(d, err);
    }
    if (rc != 0) {
        give_up_ledger(d, err);
        return false;
    }
    if (d->ledger_pause_ms)
        log_event(LVL_INFO, "store", "the ledger is written again");
    d->ledger_pause_ms = d->ledger_retry_ms = 0;
    d->most = 2 * d->most < BATCH_RECORDS ? 2 * d->most : BATCH_RECORDS;
    return true;
}

/* --- after the commits --- */

static void doubt(struct drain *d, const uint8_t key[INDEX_KEY]) {
    if (d->ndoubts == DRAIN_DOUBTS)
        return; /* the slow round of the sweep finds it */
    memcpy(d->doubts[d->ndoubts++], key, INDEX_KEY);
}

static void settle_reply(struct drain *d, const struct entry *r) {
    struct reply_head h;
    struct str body;
    struct index_entry e;
    if (!reply_unpack(NULL, r->payload, &h, &body))
        return;
    bool known = index_peek(d->shm, h.key, &e), meant = is_meant(&e, r, known);
    if (!d->kept && meant)
        index_drop(d->shm, h.key);
    else if (meant)
        index_stored(d->shm, h.key, e.slot, e.pos);
    else if (!known && d->kept)
        doubt(d, h.key);
}

static void write_lines(struct drain *d) {
    if (d->lines > 0 && buf_ok(&d->line))
        log_lines(buf_str(&d->line), d->lines);
    d->lines = 0;
    buf_clear(&d->line);
}

static void settle_usage(struct drain *d, const struct entry *r) {
    struct money_list held;
    struct ledger_row row;
    struct str packed;
    if (!drain_usage(r, &packed, &held) || !ledger_unpack(NULL, packed, &row))
        return;
    spend_book(&d->spend, r->slot, r->to, &row, &held);
    if (!d->conf->log.access || d->silent)
        return;
    drain_logs_line(d, r, &row, &d->line);
    buf_addc(&d->line, '\n');
    d->lines++;
    if (buf_len(&d->line) > LINES_AT_ONCE)
        write_lines(d);
}

/* At the end, and of a scribe that was killed, there is nobody to take them any more. */
static void settle_spans(struct drain *d, struct str json) {
    const char *collector = d->conf->telemetry.endpoint;
    if (d->spans)
        d->spans(d->spans_arg, json);
    else if (collector && *collector)
        stat_add(d->shm, STAT_TRACES_DROPPED, 1);
}

static void settle(struct drain *d, struct db_txn *t, const struct entry *r) {
    (void)t;
    if (r->type == RECORD_REPLY)
        settle_reply(d, r);
    else if (r->type == RECORD_KEY)
        settle_key(d, r);
    else if (r->type == RECORD_CLEAR)
        share_clear(d->share, d->conf, r->payload);
    else if (r->type == RECORD_SPANS)
        settle_spans(d, r->payload);
    else if (r->type != RECORD_EVENT)
        settle_usage(d, r);
}

static void release(struct drain *d) {
    uint32_t high = slot_high(d->shm);
    for (uint32_t slot = 0; slot < high; slot++) {
        ring_release(d->shm, slot,
                     d->next[slot]); /* without news too: an earlier scribe may have died in it */
        d->cursor[slot] = d->next[slot];
    }
}

bool drain_batch(struct drain *d) {
    if (!measure(d))
        return true;
    if (!open_ledger(d))
        return false;
    watch_clock(d);
    spend_turn(&d->spend, d->ledger);
    store_keys(d);
    store_replies(d);
    drain_logs_batch(d);
    if (!store_usage(d))
        return false;
    drain_each(d, NULL, settle);
    share_keep(d->share);
    write_lines(d);
    release(d);
    spend_alert(&d->spend);
    return true;
}

uint64_t drain_pause(const struct drain *d, uint64_t now_ms) {
    return d->ledger_retry_ms > now_ms ? d->ledger_retry_ms - now_ms : 0;
}

/* --- upkeep --- */

void drain_cleared(struct drain *d) {
    memset(d->sweep_from, 0, sizeof d->sweep_from);
    d->sweep_soon = true;
}

static bool in_index(void *arg, const struct index_entry *e) {
    struct drain *d = arg;
    struct index_entry found;
    return e->expires_wall_ms > clock_wall_ms() && index_peek(d->shm, e->key, &found);
}

static void resolve_doubts(struct drain *d, struct db_txn *t) {
    struct index_entry e;
    for (size_t i = 0; i < d->old_doubts; i++) {
        if (!index_peek(d->shm, d->doubts[i], &e))
            replies_delete(t, d->doubts[i]);
        else if (!e.stored && e.slot < SHM_MAX_SLOTS && e.pos < d->cursor[e.slot])
            index_stored(d->shm, e.key, e.slot, e.pos);
    }
    memmove(d->doubts, d->doubts[d->old_doubts], (d->ndoubts - d->old_doubts) * INDEX_KEY);
    d->ndoubts -= d->old_doubts;
    d->old_doubts = d->ndoubts;
}

static void keep_cache(struct drain *d) {
    char err[256];
    unsigned deleted = 0;
    bool crowded = db_used(d->cache) > CROWDED;
    struct db_txn *t = db_begin(d->cache, true);
    resolve_doubts(d, t);
    if (replies_sweep(t, d->sweep_from, SWEEP_STEPS, in_index, d, &deleted))
        d->sweep_soon = false;
    evict(d, t, 4 * EVICT_AT_LEAST, crowded);
    if (db_commit(t, err) == 0)
        return;
    if (db_trouble(d->cache) == DB_FULL)
        make_room_in_cache(d);
    else
        give_up_cache(d, err);
}

static void keep_ledger(struct drain *d) {
    char err[256];
    int64_t oldest = 0;
    look_at_room(d);
    struct db_txn *t = db_begin(d->ledger, false);
    bool any = ledger_oldest(t, &oldest);
    db_end(t);
    if (!any || (oldest >= drain_too_old(d, RETENTION_MS) && !d->ledger_crowded))
        return;
    t = db_begin(d->ledger, true);
    trim(d, t, TRIM_OLD);
    if (db_commit(t, err) != 0 && db_trouble(d->ledger) != DB_FULL)
        give_up_ledger(d, err);
}

void drain_upkeep(struct drain *d, uint64_t now_ms) {
    watch_clock(d);
    if (!d->cache && now_ms >= d->cache_retry_ms)
        open_cache(d);
    if (d->cache)
        keep_cache(d);
    open_keys(d);
    drain_logs_upkeep(d, now_ms);
    if (d->ledger && d->ledger_pause_ms == 0)
        keep_ledger(d);
    if (d->ledger)
        spend_count(&d->spend, d->ledger, false);
    d->repricing = d->ledger && d->ledger_pause_ms == 0 && reprice_step(d, now_ms);
}

bool drain_busy(const struct drain *d) {
    return d->repricing || (d->cache && d->sweep_soon);
}

/* The next start believes what it finds stored. */
void drain_sweep(struct drain *d, uint64_t until_ms) {
    while (d->cache && (d->sweep_soon || d->ndoubts > 0) && clock_ms() < until_ms)
        keep_cache(d);
}

void drain_after_death(struct drain *d) {
    if (d->ledger)
        db_check_readers(d->ledger);
    if (d->cache)
        db_check_readers(d->cache);
    if (d->keys)
        db_check_readers(d->keys);
    if (d->logs.db)
        db_check_readers(d->logs.db);
    index_recount(d->shm); /* the dead may have left it wrong as well */
}

/* --- start and end --- */

/* Where an earlier scribe committed but was killed before it could release, its last steps are done again:
 * all but the log lines, most of which have been written. */
static void finish_predecessor(struct drain *d) {
    uint32_t high = slot_high(d->shm);
    struct db_txn *t = db_begin(d->ledger, false);
    for (uint32_t slot = 0; slot < SHM_MAX_SLOTS; slot++) {
        uint64_t at = ledger_position(t, d->instance, slot);
        d->cursor[slot] = d->next[slot] = slot < high ? ring_tail(d->shm, slot) : 0;
        if (slot < high && at > d->cursor[slot] && at <= ring_head(d->shm, slot))
            d->next[slot] = at;
    }
    bool ok = db_txn_trouble(t) == DB_FINE;
    db_end(t);
    if (!ok)
        die("the positions in the ledger cannot be read");
    d->silent = d->kept = true;
    drain_each(d, NULL, settle);
    d->silent = d->kept = false;
    release(d);
}

static void begin_ledger(struct drain *d) {
    char err[256];
    struct db_txn *t = db_begin(d->ledger, true);
    ledger_begin(t);
    ledger_drop_positions(t, d->instance);
    if (db_commit(t, err) != 0 && db_trouble(d->ledger) != DB_FULL)
        give_up_ledger(d, err);
    d->reprice.look = true; /* one that was interrupted, perhaps */
}

static char *join(const char *dir, const char *name) {
    size_t n = strlen(dir) + strlen(name) + 2;
    char *path = mem_alloc(n);
    snprintf(path, n, "%s/%s", dir, name);
    return path;
}

void drain_open(struct drain *d, struct shm *shm, const struct conf *conf, uint64_t ledger_map) {
    char err[256];
    memset(d, 0, sizeof *d);
    d->shm = shm;
    d->conf = conf;
    d->ledger_map = ledger_map ? ledger_map : LEDGER_MAP;
    d->instance = shm_instance(shm);
    d->most = BATCH_RECORDS;
    d->ledger_dir = join(conf->state_dir, "ledger");
    d->cache_dir = join(conf->state_dir, "cache");
    d->keys_dir = join(conf->state_dir, "keys");
    d->logs.dir = join(conf->state_dir, "logs");
    buf_init(&d->line, LINES_MAX);
    snprintf(d->writer, sizeof d->writer, "scribe[%ld]", (long)getpid());
    d->ledger = db_open(d->ledger_dir, LEDGER_MODE, d->ledger_map, ledger_tables, err);
    if (!d->ledger)
        die("%s", err);
    open_cache(d);
    spend_open(&d->spend, shm, conf);
    open_keys(d);
    drain_logs_open(d);
    drain_after_death(d);
    finish_predecessor(d);
    begin_ledger(d);
    if (open_ledger(d))
        spend_count(&d->spend, d->ledger, true);
}

void drain_close(struct drain *d) {
    reprice_stop(&d->reprice);
    db_close(d->ledger);
    db_close(d->cache);
    db_close(d->keys);
    drain_logs_close(d);
    mem_free(d->ledger_dir);
    mem_free(d->cache_dir);
    mem_free(d->keys_dir);
    buf_free(&d->line);
    spend_close(&d->spend);
}
