/* The usage ledger: every finished request exactly once, with its attempts. Rows travel through the ring packed and
 * lie in LMDB as they are; hourly sums by (key, tenant, provider, model) are kept in the same transaction. */
#ifndef PENSTOCK_STORE_LEDGER_H
#define PENSTOCK_STORE_LEDGER_H
#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "llm/fault.h"
#include "llm/usage.h"
#include "store/db.h"

#define LEDGER_MAX_ATTEMPTS 16
struct ledger_attempt {
    struct str provider, model, key; /* key: the provider key's id, never its text */
    struct str reason;               /* "ok", or a fault class name */
    int status;                      /* the provider's; 0: none came */
    uint32_t ms;                     /* of this attempt */
};
enum ledger_cache { LEDGER_CACHE_OFF, LEDGER_CACHE_MISS, LEDGER_CACHE_HIT, LEDGER_CACHE_BYPASS, LEDGER_CACHE_SEMANTIC };
/* One finished request. Strings are bounded to 256 bytes each when packed. */
struct ledger_row {
    int64_t wall_ms;                 /* when it ended */
    struct str request_id, key, tenant, surface; /* surface: "chat" */
    struct str model_asked, provider, model;     /* provider and model that answered; empty: none */
    struct str fault;                /* fault class name; empty: none */
    bool theirs;                     /* it is the provider's (llm/fault.h, fault_type) */
    int status;                      /* what the client got; 499: it left */
    bool stream, complete;
    enum ledger_cache cache;
    struct usage usage;
    int64_t cost_nano;               /* -1: no price known */
    uint32_t ms, first_byte_ms;
    uint64_t bytes_in, bytes_out;
    struct str peer;
    struct ledger_attempt attempt[LEDGER_MAX_ATTEMPTS];
    unsigned attempts;
    uint64_t estimated_tokens, max_tokens; /* parameters for the log */
};
/* It is told as an error: a stream may break behind its 200. */
static inline bool ledger_failed(const struct ledger_row *r) {
    return r->status >= 400 || r->fault.n > 0;
}
enum error_type ledger_error(const struct ledger_row *r); /* whose fault it was; ERROR_NONE: there was none */
void ledger_pack(struct buf *out, const struct ledger_row *r);
bool ledger_unpack(struct arena *a, struct str packed, struct ledger_row *r); /* slices into packed */
/* The access log's line of a row, JSON without newline (behaviour.md, Logs). */
void ledger_log_line(struct buf *out, const struct ledger_row *r);
void ledger_log_members(struct jw *w, const struct ledger_row *r); /* the same, into an open object */
/* The same where log.format is text: "<time> info  <writer> response: request_id=... key=..." */
void ledger_log_text(struct buf *out, const struct ledger_row *r, const char *writer);

/* Scribe. */
void ledger_append(struct db_txn *t, struct str packed);  /* row and sums */
uint64_t ledger_position(struct db_txn *t, uint64_t instance, uint32_t slot); /* committed ring position; 0: none */
void ledger_set_position(struct db_txn *t, uint64_t instance, uint32_t slot, uint64_t pos);
void ledger_trim(struct db_txn *t, int64_t before_wall_ms, unsigned at_most); /* retention of rows, not of sums */
/* Positions of segments that are gone. */
void ledger_drop_positions(struct db_txn *t, uint64_t but_instance);
bool ledger_oldest(struct db_txn *t, int64_t *wall_ms); /* false: no rows */
uint64_t ledger_rows(struct db_txn *t);
extern const char *const ledger_tables[];

/* Any process with the environment open for reading. */
enum { GROUP_KEY = 1, GROUP_TENANT = 2, GROUP_PROVIDER = 4, GROUP_MODEL = 8, GROUP_DAY = 16, GROUP_HOUR = 32 };
struct ledger_sum {
    struct str key, tenant, provider, model, day, hour; /* those grouped by; day "2026-01-02", hour "2026-01-02T03:00:00Z" */
    uint64_t requests, errors, input_tokens, cached_tokens, output_tokens, reasoning_tokens;
    int64_t cost_nano;
    uint64_t unpriced;               /* requests without a known price */
};
/* Sums over hours that touch [from, to). Rows sorted; *total over all. At most `max` rows (then *truncated). */
struct ledger_sum *ledger_query(struct arena *a, struct db_txn *t, int64_t from_ms, int64_t to_ms, unsigned group_by,
                                size_t max, size_t *n, struct ledger_sum *total, bool *truncated);
/* Each sum of money of an hour from `from_ms` on. Names as they are kept: long ones are cut, see ledger_name_is. */
void ledger_each_cost(struct db_txn *t, int64_t from_ms,
                      void (*fn)(void *arg, int64_t hour_ms, const struct ledger_sum *names, int64_t cost_nano),
                      void *arg);
/* Is this name, as it is kept, that of `whole`? */
bool ledger_name_is(struct str kept, struct str whole);
#endif
