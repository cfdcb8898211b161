/* The log store: what the log tells of requests and of the gateway's own life, kept for log.retention and found
 * again by time, key, tenant, provider, model, status, type and request id.
 *
 * An environment of its own, so that neither its size nor its trouble is the ledger's: what it has no room for is
 * dropped and counted, and nobody waits for it. Synced as the ledger is, since what an administrator did must not
 * vanish with the power. It knows how far it has taken each ring: a record is in it once, however the scribe ends.
 *
 * A request is stored once and told as two: `response` (or `error`), and `request` with what was asked. The text of
 * prompt and answer travels as it was inside the ring, in shared memory, and nowhere else: the scribe masks it before
 * it is put here, so that it costs the workers little. */
#ifndef PENSTOCK_STORE_LOGS_H
#define PENSTOCK_STORE_LOGS_H
#include "base/log.h"
#include "store/db.h"
#include "store/ledger.h"

enum logs_type { LOGS_REQUEST, LOGS_RESPONSE, LOGS_ERROR, LOGS_AUDIT, LOGS_ALERT, LOGS_BREAKER, LOGS_RELOAD, LOGS_TYPES };
const char *logs_type_name(enum logs_type t);
bool logs_type_by_name(struct str name, enum logs_type *out);

/* --- any process: records for the ring --- */

/* What was said, each in its own place: X(name). error: the message of the fault. */
#define LOGS_TEXTS(X) X(prompt) X(answer) X(error)
enum {
#define X(name) LOGS_TEXT_##name,
    LOGS_TEXTS(X)
#undef X
    LOGS_TEXTS_N,
    LOGS_TEXT_MAX = 272 << 10 /* bytes of one */
};
struct logs_talk { /* an exchange */
    struct str row;                /* ledger_pack */
    bool spent;                    /* in the ring: record_spent before the row */
    bool left_out;                 /* there was text, but no time for it */
    bool cut[LOGS_TEXTS_N];        /* the beginning of a longer one */
    struct str text[LOGS_TEXTS_N]; /* empty: not kept */
};
void logs_pack_talk(struct buf *out, const struct logs_talk *t);
bool logs_unpack_talk(struct str packed, struct logs_talk *t); /* slices into packed */

struct logs_event {
    int64_t wall_ms;
    enum logs_type type; /* LOGS_AUDIT and behind */
    enum log_level level;
    struct log_fields fields;
    struct str message;  /* cut to LOGS_MESSAGE_MAX */
};
#define LOGS_MESSAGE_MAX 4096
void logs_pack_event(struct buf *out, const struct logs_event *e);
bool logs_unpack_event(struct str packed, struct logs_event *e);

/* The log's line of an exchange, without its newline: JSON, or for people. Of the texts as much as makes a line of
 * `most` bytes, as far as the row leaves room. */
void logs_line(struct buf *out, const struct ledger_row *r, const struct logs_talk *t, size_t most);
void logs_line_text(struct buf *out, const struct ledger_row *r, const struct logs_talk *t, const char *writer, size_t most);

/* --- scribe --- */

extern const char *const logs_tables[];
void logs_put_talk(struct db_txn *t, const struct logs_talk *talk);
void logs_put_event(struct db_txn *t, struct str packed);
void logs_trim(struct db_txn *t, int64_t before_wall_ms, unsigned at_most);
bool logs_oldest(struct db_txn *t, int64_t *wall_ms); /* false: nothing there */
uint64_t logs_position(struct db_txn *t, uint64_t instance, uint32_t slot);
void logs_set_position(struct db_txn *t, uint64_t instance, uint32_t slot, uint64_t pos);
void logs_drop_positions(struct db_txn *t, uint64_t but_instance);

/* --- any process with the environment open for reading --- */

struct logs_filter { /* empty and 0: any */
    int64_t from, to;      /* [from, to), by the time of writing */
    unsigned types;        /* mask of 1 << logs_type ... */
    uint64_t errors;       /* ... and of 1 << error_type; both 0: any, else of either */
    struct str request_id, key, tenant, provider, model; /* provider and model: asked, tried or answered */
    int status_from, status_to; /* both included */
};
struct logs_cursor { /* behind which record the next page begins */
    uint64_t wall_ms, sequence;
    unsigned part;
};
#define LOGS_CURSOR_FIRST ((struct logs_cursor){UINT64_MAX, UINT64_MAX, 0})
struct logs_page {
    size_t records;
    bool more; /* perhaps: the walk ended at a bound, not at the end */
    struct logs_cursor next;
};
/* Newest first, elements of an open array. At most `limit` records, some MiB, and a bounded walk: a page may be short,
 * even empty, and have more behind it. */
void logs_query(struct db_txn *t, const struct logs_filter *f, struct logs_cursor from, size_t limit, struct jw *w,
                struct logs_page *page);
#endif
