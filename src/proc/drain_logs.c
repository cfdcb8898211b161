/* From the rings to the log store, before the ledger's commit and apart from it: its positions are its own,
 * so a batch that the ledger must take again is not logged twice, and when it has trouble, what it cannot
 * take is dropped and counted while everything else goes on. */
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "drain.h"
#include "policy/mask.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "store/ledger.h"
#include "store/logs.h"
#include "store/record.h"
#include <stdlib.h>

enum { PAUSE_MS = 5000, NOTES_MAX = 64 << 10, TRIM_LEAST = 64, TRIM_OLD = 1024, TRIES = 4 };
enum { MASKS_MS = 100, TIMED_BYTES = 16 << 10 }; /* of a batch; between two looks at the clock */
enum { MEMOS = 64, MEMO_TEXT = 8 << 10 };        /* of texts that were masked lately */
/* Of the store: a text at most, a transaction. A guess at a record. */
enum { TEXTS = 128, SHARE = 32, RECORD_BYTES = 512 };
#define CROWDED 0.9 /* of the map */
#define MODE    (DB_WRITE | DB_SET_ASIDE)

struct span { /* in drain_logs.texts */
    size_t at, n;
};
struct logged { /* a record of the batch */
    int64_t wall_ms;
    struct entry entry;
    bool left_out, cut[LOGS_TEXTS_N];
    struct span text[LOGS_TEXTS_N];
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
    struct money_list held;
    struct str packed, id;
    if (r->type != RECORD_EVENT)
        return drain_usage(r, &packed, &held) && ledger_peek(packed, wall_ms, &id);
    if (!logs_unpack_event(r->payload, &e))
        return false;
    *wall_ms = e.wall_ms;
    return true;
}

/* --- what was said --- */

/* A text may end where the masks have not made up their mind: what they hold back then is left out. */
static void mask_piece(const struct mask *m, struct str text, bool cut, struct buf *out) {
    struct mask_stream s;
    struct buf rest;
    buf_init(&rest, 0);
    mask_open(&s, m);
    mask_push(&s, text, out);
    mask_close(&s, cut ? &rest : out);
    buf_free(&rest);
}

/* At most log.truncate bytes, not ending inside a character; of a small store never so much that a few
 * records would be all of it. */
static void truncate_text(struct drain *d, struct logged *l, unsigned i) {
    struct span *s = &l->text[i];
    struct buf *b = &d->logs.texts;
    const struct conf *c = d->conf;
    size_t most =
        (size_t)(c->log.truncate < c->log.max_size / TEXTS ? c->log.truncate : c->log.max_size / TEXTS);
    l->cut[i] |= s->n > most;
    if (s->n > most)
        for (s->n = most; s->n > 0 && ((unsigned char)buf_at(b)[s->at + s->n] & 0xC0) == 0x80; s->n--)
            ;
}

/* Many prompts begin as the one before, with the same instructions: what was masked lately is not masked
 * again. */
struct drain_memo {
    struct buf text, masked;
    bool cut;
};

static struct drain_memo *memo_of(struct drain_logs *l, struct str text) {
    enum { LOOK = 64 }; /* the end tells more apart than the beginning */
    size_t n = text.n < LOOK ? text.n : LOOK;
    return text.n <= MEMO_TEXT ? &l->memo[hash64(text.p + text.n - n, n) % MEMOS] : NULL;
}

static void mask_text_once(struct drain_logs *l, struct str text, bool cut) {
    struct drain_memo *m = memo_of(l, text);
    if (m && m->cut == cut && str_eq(buf_str(&m->text), text)) {
        buf_adds(&l->texts, buf_str(&m->masked));
        return;
    }
    size_t at = buf_len(&l->texts);
    mask_piece(l->mask, text, cut, &l->texts);
    size_t n = buf_len(&l->texts) - at;
    if (!m || n > MEMO_TEXT)
        return;
    buf_clear(&m->text);
    buf_clear(&m->masked);
    buf_adds(&m->text, text);
    buf_add(&m->masked, buf_at(&l->texts) + at, n);
    m->cut = cut;
}

static void memo_forget(struct drain_logs *l) {
    for (size_t i = 0; l->memo && i < MEMOS; i++) {
        buf_wipe(&l->memo[i].text);
        buf_free(&l->memo[i].masked);
    }
    mem_free(l->memo);
}

static void keep_text(struct drain *d, struct logged *l, unsigned i, const struct logs_talk *t) {
    struct buf *b = &d->logs.texts;
    l->text[i].at = buf_len(b);
    l->cut[i] = t->cut[i];
    if (t->text[i].n == 0)
        return;
    if (d->logs.mask)
        mask_text_once(&d->logs, t->text[i], t->cut[i]);
    else
        buf_adds(b, t->text[i]);
    l->text[i].n = buf_len(b) - l->text[i].at;
    truncate_text(d, l, i);
}

/* Patterns can take their time; the money behind them must not wait for it. */
static bool masks_are_late(struct drain *d) {
    struct drain_logs *l = &d->logs;
    if (!l->late && (d->conf->log.mask.npatterns || buf_len(&l->texts) - l->timed > TIMED_BYTES)) {
        l->timed = buf_len(&l->texts);
        l->late = clock_ns() > l->masks_until_ns;
    }
    return l->late;
}

static void keep_texts(struct drain *d, struct logged *l) {
    struct logs_talk t;
    if (l->entry.type != RECORD_TALK || d->conf->log.content == LOG_CONTENT_OFF ||
        !logs_unpack_talk(l->entry.payload, &t))
        return;
    l->left_out = t.left_out || masks_are_late(d);
    if (l->left_out && !t.left_out)
        stat_add(d->shm, STAT_CONTENT_LEFT_OUT, 1);
    for (unsigned i = 0; i < LOGS_TEXTS_N && !l->left_out; i++)
        keep_text(d, l, i, &t);
}

static void texts_of(const struct drain *d, const struct logged *l, struct logs_talk *t) {
    *t = (struct logs_talk){.left_out = l->left_out};
    for (unsigned i = 0; i < LOGS_TEXTS_N; i++) {
        t->cut[i] = l->cut[i];
        t->text[i] = l->text[i].n ? str_make(buf_at(&d->logs.texts) + l->text[i].at, l->text[i].n) : STR_NONE;
    }
}

static bool is_before(const struct entry *a, const struct entry *b) {
    return a->slot != b->slot ? a->slot < b->slot : a->to < b->to;
}

void drain_logs_line(struct drain *d, const struct entry *r, const struct ledger_row *row, struct buf *out) {
    struct drain_logs *l = &d->logs;
    struct logs_talk talk = {.left_out = false};
    while (l->told < l->n && is_before(&l->batch[l->told].entry, r))
        l->told++;
    if (l->told < l->n && l->batch[l->told].entry.slot == r->slot && l->batch[l->told].entry.to == r->to)
        texts_of(d, &l->batch[l->told], &talk);
    if (d->conf->log.format == LOGFMT_TEXT)
        logs_line_text(out, row, &talk, d->writer, log_line_most());
    else
        logs_line(out, row, &talk, log_line_most());
}

/* --- the records --- */

static void take(struct drain *d, struct db_txn *t, const struct entry *r) {
    struct drain_logs *l = &d->logs;
    struct logged one = {.entry = *r};
    (void)t;
    if (!time_of(r, &one.wall_ms))
        return;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 256;
        l->batch = mem_grow(l->batch, l->cap * sizeof *l->batch);
        l->order = mem_grow(l->order, l->cap * sizeof *l->order);
    }
    keep_texts(d, &one);
    if (r->to > l->taken[r->slot])
        l->order[l->fresh++] = l->n;
    l->batch[l->n++] = one;
}

static int by_time(const void *va, const void *vb, void *arg) {
    const struct logged *batch = arg, *a = &batch[*(const size_t *)va], *b = &batch[*(const size_t *)vb];
    if (a->wall_ms != b->wall_ms)
        return a->wall_ms < b->wall_ms ? -1 : 1;
    return a < b ? -1 : a > b;
}

static void put(struct drain *d, struct db_txn *t, const struct logged *l) {
    const struct entry *r = &l->entry;
    struct logs_talk talk;
    struct money_list held;
    if (r->type == RECORD_EVENT) {
        logs_put_event(t, r->payload);
        return;
    }
    texts_of(d, l, &talk);
    drain_usage(r, &talk.row, &held);
    logs_put_talk(t, &talk);
}

static void trim(struct drain *d, struct db_txn *t, size_t at_most) {
    int64_t oldest, before = d->logs.crowded ? INT64_MAX : drain_too_old(d, (int64_t)d->conf->log.retention);
    if (logs_oldest(t, &oldest) && oldest < before)
        logs_trim(t, before, (unsigned)at_most);
}

/* Up to the first record of each slot that is still to be written, whatever their order is by time: what a
 * killed scribe has written its successor does not write again. */
static void set_positions(struct drain *d, struct db_txn *t, size_t written) {
    struct drain_logs *l = &d->logs;
    uint32_t high = slot_high(d->shm);
    uint64_t upto[SHM_MAX_SLOTS];
    memcpy(upto, d->next, sizeof upto);
    for (size_t i = written; i < l->fresh; i++) {
        const struct entry *r = &l->batch[l->order[i]].entry;
        upto[r->slot] = r->from < upto[r->slot] ? r->from : upto[r->slot];
    }
    for (uint32_t slot = 0; slot < high; slot++)
        if (upto[slot] > l->taken[slot])
            logs_set_position(t, d->instance, slot, upto[slot]);
}

/* Records [from, to) of the batch; with the last of them the notes. */
static int try_slice(struct drain *d, size_t from, size_t to, char err[256]) {
    struct drain_logs *l = &d->logs;
    struct db_txn *t = db_begin(l->db, true);
    trim(d, t, 2 * (to - from) + TRIM_LEAST); /* twice what comes, or the oldest would never be reached */
    for (size_t i = from; i < to; i++)
        put(d, t, &l->batch[l->order[i]]);
    if (to == l->fresh)
        put_notes(l, t);
    set_positions(d, t, to);
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
    return rc == 0;
}

/* Behind the records from `from` on that one transaction takes. */
static size_t slice(const struct drain *d, size_t from) {
    const struct drain_logs *l = &d->logs;
    uint64_t bytes = 0, most = d->conf->log.max_size / SHARE;
    while (from < l->fresh && bytes <= most) {
        const struct logged *one = &l->batch[l->order[from++]];
        bytes += RECORD_BYTES;
        for (unsigned i = 0; i < LOGS_TEXTS_N; i++)
            bytes += one->text[i].n;
    }
    return from;
}

/* A batch that is much for the size of the store comes in pieces: what the first free, the later ones can
 * use. */
static bool write_batch(struct drain *d) {
    struct drain_logs *l = &d->logs;
    size_t from = 0, to;
    bool ok;
    do {
        to = slice(d, from);
        ok = l->db && write_slice(d, from, to);
        if (!ok)
            lose(d, to - from);
        from = to;
    } while (from < l->fresh);
    return ok; /* of the last one, with the notes */
}

static void store(struct drain *d) {
    struct drain_logs *l = &d->logs;
    uint32_t high = slot_high(d->shm);
    if (l->fresh == 0 && buf_len(&l->notes) == 0)
        return;
    if (l->fresh > 0) /* whichever worker they are of */
        qsort_r(l->order, l->fresh, sizeof *l->order, by_time, l->batch);
    if (write_batch(d)) {
        works(l);
        buf_clear(&l->notes);
    } /* else: notes are few and may wait */
    for (uint32_t slot = 0; slot < high; slot++)
        if (d->next[slot] > l->taken[slot])
            l->taken[slot] = d->next[slot];
    l->fresh = 0;
}

void drain_logs_batch(struct drain *d) {
    struct drain_logs *l = &d->logs;
    l->n = l->fresh = l->told = 0;
    l->masks_until_ns = clock_ns() + (uint64_t)MASKS_MS * 1000000;
    buf_clear(&l->texts);
    l->timed = 0;
    l->late = false;
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
    if (!any || (oldest >= drain_too_old(d, (int64_t)d->conf->log.retention) && !d->logs.crowded))
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

_Static_assert((int)CONF_MAX_PATTERNS == (int)MASK_PATTERNS, "what may be configured can be compiled");

static struct mask *mask_of(const struct conf *c) {
    char err[256];
    const struct {
        bool on;
        unsigned kind;
    } kinds[] = {{c->log.mask.email, MASK_EMAIL},     {c->log.mask.phone, MASK_PHONE},
                 {c->log.mask.address, MASK_ADDRESS}, {c->log.mask.card, MASK_CARD},
                 {c->log.mask.ip, MASK_IP},           {c->log.mask.secret, MASK_SECRET}};
    unsigned on = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        on |= kinds[i].on ? kinds[i].kind : 0;
    struct mask *m = mask_new(on, c->log.mask.patterns, c->log.mask.npatterns, err);
    if (!m)
        die("log.mask.patterns: %s", err); /* it was checked */
    return m;
}

void drain_logs_open(struct drain *d) {
    buf_init(&d->logs.notes, NOTES_MAX);
    buf_init(&d->logs.texts, 0);
    if (d->conf->log.content == LOG_CONTENT_MASKED)
        d->logs.mask = mask_of(d->conf);
    d->logs.memo = mem_alloc(MEMOS * sizeof *d->logs.memo);
    for (size_t i = 0; i < MEMOS; i++) {
        buf_init(&d->logs.memo[i].text, MEMO_TEXT);
        buf_init(&d->logs.memo[i].masked, MEMO_TEXT);
    }
    open_store(d);
}

void drain_logs_close(struct drain *d) {
    if (buf_len(&d->logs.notes) > 0)
        write_notes(d);
    tell_lost(d);
    db_close(d->logs.db);
    mem_free(d->logs.dir);
    mem_free(d->logs.batch);
    mem_free(d->logs.order);
    mask_free(d->logs.mask);
    memo_forget(&d->logs);
    buf_free(&d->logs.texts);
    buf_free(&d->logs.notes);
}
