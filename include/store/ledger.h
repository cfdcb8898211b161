/* The usage ledger: every finished request exactly once, with its attempts. Rows travel through the ring packed and
 * lie in LMDB as they are, as records of a hash chain that only grows (and whose old end goes with its age); hourly sums
 * by (key, tenant, provider, model, surface) are kept in the same transaction, and are what the records add up to. A price
 * that was wrong is put right by further records, corrections of such sums; no record is ever changed. */
#ifndef PENSTOCK_STORE_LEDGER_H
#define PENSTOCK_STORE_LEDGER_H
#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/json.h"
#include "llm/fault.h"
#include "llm/usage.h"
#include "store/db.h"

#define LEDGER_MAX_ATTEMPTS 16
/* How far the tokens of a request or an attempt can be believed. */
enum ledger_state {
    LEDGER_EXACT,     /* the provider's numbers, or nothing was used */
    LEDGER_ESTIMATED, /* counted by us */
    LEDGER_UNKNOWN,   /* the provider may charge for what nobody told of; the tokens are 0 */
};
struct ledger_attempt {
    struct str provider, model, key; /* key: the provider key's id, never its text */
    struct str reason;               /* "ok", or a fault class name */
    int status;                      /* the provider's; 0: none came */
    uint32_t ms;                     /* of this attempt */
    enum ledger_state state;         /* of one that failed: what it may have used although nobody had an answer of it ... */
    uint32_t input, output;          /* ... as far as is known; of the one that answered the row has the whole */
};
enum ledger_cache { LEDGER_CACHE_OFF, LEDGER_CACHE_MISS, LEDGER_CACHE_HIT, LEDGER_CACHE_BYPASS, LEDGER_CACHE_SEMANTIC };
/* One finished request. Strings are bounded to 256 bytes each when packed. */
struct ledger_row {
    int64_t wall_ms;                 /* when it ended */
    struct str request_id, key, tenant, surface; /* surface: "chat" */
    struct str model_asked, provider, model;     /* provider and model that answered; empty: none */
    struct str configured;           /* the configured model whose own prices are laid over the table's; empty: none */
    struct str fault;                /* fault class name; empty: none */
    bool theirs;                     /* it is the provider's (llm/fault.h, fault_type) */
    int status;                      /* what the client got; 499: it left */
    bool stream, complete;
    enum ledger_cache cache;
    struct usage usage;
    enum ledger_state state;         /* of usage */
    struct str why;                  /* not exact: "cancelled", "interrupted", "not_told", "no_answer"; else empty */
    int64_t cost_nano;               /* -1: no price known */
    uint64_t price;                  /* the version of the price that made the cost, ledger_put_price; 0: none did */
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
bool ledger_peek(struct str packed, int64_t *wall_ms, struct str *request_id); /* the same of these alone; not all is checked */
/* The access log's line of a row, JSON without newline (behaviour.md, Logs). */
void ledger_log_line(struct buf *out, const struct ledger_row *r);
void ledger_log_members(struct jw *w, const struct ledger_row *r); /* the same, into an open object */
/* The same where log.format is text: "<time> info  <writer> response: request_id=... key=..." */
void ledger_log_text(struct buf *out, const struct ledger_row *r, const char *writer);

/* A price's version as it is told: 16 hexadecimal digits. */
enum { LEDGER_PRICE_BYTES = 8, LEDGER_PRICE_TEXT = 4096 };
void ledger_price_name(char out[2 * LEDGER_PRICE_BYTES + 1], uint64_t version);
void ledger_pack_price(struct buf *out, uint64_t version, struct str text);
bool ledger_unpack_price(struct str packed, uint64_t *version, struct str *text);
/* "exact" ... */
const char *ledger_state_name(enum ledger_state s);

/* What is counted, of rows and of sums of them: X(member). The order is that of the bytes in the store. */
#define LEDGER_COUNTS(X)                                                                                     \
    X(requests)                                                                                              \
    X(errors)                                                                                                \
    X(input_tokens)                                                                                          \
    X(cached_tokens)                                                                                         \
    X(output_tokens)                                                                                         \
    X(reasoning_tokens)                                                                                      \
    X(unpriced) /* requests without a known price */                                                         \
    X(cache_write_tokens)                                                                                    \
    X(audio_tokens)                                                                                          \
    X(estimated) /* requests whose tokens are estimated */                                                   \
    X(unknown)   /* requests of which the provider may charge what nobody told of */

/* --- scribe --- */

/* Once, of a database that was opened for writing: a chain is begun where there is none. */
void ledger_begin(struct db_txn *t);
void ledger_append(struct db_txn *t, struct str packed);  /* row and sums */
/* A price in force, as text (policy/price.h), by its version; of one that is there nothing is done. */
void ledger_put_price(struct db_txn *t, uint64_t version, struct str text);
bool ledger_price(struct db_txn *t, uint64_t version, struct str *text);
uint64_t ledger_position(struct db_txn *t, uint64_t instance, uint32_t slot); /* committed ring position; 0: none */
void ledger_set_position(struct db_txn *t, uint64_t instance, uint32_t slot, uint64_t pos);
/* Retention: at most so many of the oldest records, as far as they are of before that time. The sums stay. */
void ledger_trim(struct db_txn *t, int64_t before_wall_ms, unsigned at_most);
/* Positions of segments that are gone. */
void ledger_drop_positions(struct db_txn *t, uint64_t but_instance);
bool ledger_oldest(struct db_txn *t, int64_t *wall_ms); /* false: no rows */
uint64_t ledger_rows(struct db_txn *t); /* records of all kinds */
extern const char *const ledger_tables[];

/* --- any process with the environment open for reading --- */

enum { GROUP_KEY = 1, GROUP_TENANT = 2, GROUP_PROVIDER = 4, GROUP_MODEL = 8, GROUP_DAY = 16, GROUP_HOUR = 32, GROUP_SURFACE = 64 };
struct ledger_sum {
    struct str key, tenant, provider, model, surface, day, hour; /* those grouped by; day "2026-01-02", hour "2026-01-02T03:00:00Z" */
#define X(name) uint64_t name;
    LEDGER_COUNTS(X)
#undef X
    int64_t cost_nano;
};
struct ledger_sums {
    struct ledger_sum *rows;
    size_t n;
    struct ledger_sum total;
    bool truncated;
};
/* Sums over hours that touch [from, to), in steps, each in a read transaction of its own; all memory is the arena's. Grouped
 * in each of n ways, which agree with each other. At most `max` rows of each (then truncated). */
struct ledger_query;
struct ledger_query *ledger_query_new(struct arena *a, int64_t from_ms, int64_t to_ms, const unsigned *group_by, size_t n,
                                      size_t max);
/* Takes at most so many sums. False: it is over; or the transaction has failed, which the caller asks. */
bool ledger_query_step(struct ledger_query *q, struct db_txn *t, unsigned at_most);
void ledger_query_sums(struct ledger_query *q, size_t i, struct ledger_sums *out); /* of group_by[i], sorted; the total of all */
/* The same at once, where nobody waits for this process's next turn. */
struct ledger_sum *ledger_query(struct arena *a, struct db_txn *t, int64_t from_ms, int64_t to_ms, unsigned group_by,
                                size_t max, size_t *n, struct ledger_sum *total, bool *truncated);
/* The sums of several ledgers: packed by one host, added by another. The rows stay sorted. */
void ledger_sums_pack(struct buf *out, const struct ledger_sums *s);
bool ledger_sums_add(struct arena *a, struct ledger_sums *s, struct str packed); /* false: that is no such thing */
/* Each sum of money of an hour from `from_ms` on. Names as they are kept: long ones are cut, see ledger_name_is. */
void ledger_each_cost(struct db_txn *t, int64_t from_ms,
                      void (*fn)(void *arg, int64_t hour_ms, const struct ledger_sum *names, int64_t cost_nano),
                      void *arg);
/* Records from a number on, oldest first, as objects into an open array; *next: where the following page begins. False:
 * there are no more. prices: the versions that they name, as many as there is room for. */
enum { LEDGER_PAGE_PRICES = 64 };
struct ledger_page {
    uint64_t next;
    uint64_t price[LEDGER_PAGE_PRICES];
    size_t prices;
};
bool ledger_list(struct db_txn *t, uint64_t from, size_t limit, struct jw *w, struct ledger_page *page);

/* --- is it all as it was written? Any process; in steps, each in a read transaction of its own --- */

struct ledger_verdict {
    bool ok;
    uint64_t records, corrections;     /* that were looked at; corrections are among the records */
    uint64_t first, last;              /* numbers of the oldest and the newest; without records last is first - 1 */
    uint8_t base[32], hash[32];        /* of what was before the oldest, and of the newest: to be kept elsewhere */
    uint64_t hours;                    /* whose sums are those of their records; older ones than the records are not compared */
    const char *why;                   /* not ok: what is wrong ... */
    bool at_record;                    /* ... with the record `number`, the first such */
    uint64_t number;
    int64_t hour_ms;                   /* ... or with the sums of this hour */
    bool noted;                        /* the record that was asked for (ledger_verify_note) was there, with that hash */
};
struct ledger_verify;
struct ledger_verify *ledger_verify_new(void);
/* A record and the hash it had when somebody wrote it down. It is not ok when it has another now. */
void ledger_verify_note(struct ledger_verify *v, uint64_t number, const uint8_t hash[32]);
/* Looks at `at_most` records and sums, about. False: it is over, and *ledger_verify_verdict() says how. */
bool ledger_verify_step(struct ledger_verify *v, struct db_txn *t, unsigned at_most);
const struct ledger_verdict *ledger_verify_verdict(const struct ledger_verify *v);
void ledger_verify_free(struct ledger_verify *v);

/* --- costs by other prices --- */

/* What was asked for, how far it is, and what came of it. Hours whose records are not kept any more are left out. */
struct ledger_job {
    int64_t asked_ms;
    uint64_t number;              /* random; with asked_ms its name */
    uint32_t from_hour, until_hour, next_hour;
    struct str by;                /* the gateway key */
    bool done;
    struct str error;             /* done, in vain: why */
    uint64_t hours, left_out, records, corrections;
    int64_t was_nano, is_nano;    /* of all that was looked at */
};
/* Its name: 32 hexadecimal digits. */
void ledger_job_name(char out[32 + 1], int64_t asked_ms, uint64_t number);
bool ledger_job_read_name(struct str name, int64_t *asked_ms, uint64_t *number);
void ledger_job_pack(struct buf *out, const struct ledger_job *j); /* for the ring, too */
bool ledger_job_unpack(struct str packed, struct ledger_job *j);   /* slices into packed */
void ledger_job_add(struct db_txn *t, const struct ledger_job *j); /* scribe; once */
bool ledger_job_get(struct db_txn *t, int64_t asked_ms, uint64_t number, struct ledger_job *j); /* inside the txn */
bool ledger_job_pending(struct db_txn *t, struct ledger_job *j);   /* the oldest that is not done */

/* What a row costs; -1: no price is known. */
typedef int64_t ledger_price_fn(void *arg, const struct ledger_row *r);
struct ledger_reprice; /* scribe: the hour that is at work */
struct ledger_reprice *ledger_reprice_new(ledger_price_fn *price, void *arg);
void ledger_reprice_free(struct ledger_reprice *r);
enum ledger_step {
    LEDGER_STEP_MORE, /* this hour has more records: walk again */
    LEDGER_STEP_HOUR, /* all of them are priced: in the same transaction, one for writing, ledger_reprice_hour() */
    LEDGER_STEP_END,  /* no hours are left: ledger_reprice_end() */
};
/* Prices at most so many records of the job's next hour. In a transaction that writes, when the hour is to be ended. */
enum ledger_step ledger_reprice_walk(struct ledger_reprice *r, struct db_txn *t, const struct ledger_job *j,
                                     unsigned at_most);
void ledger_reprice_hour(struct ledger_reprice *r, struct db_txn *t, struct ledger_job *j, int64_t now_ms);
void ledger_reprice_end(struct db_txn *t, struct ledger_job *j, struct str error);

/* Is this name, as it is kept, that of `whole`? */
bool ledger_name_is(struct str kept, struct str whole);
#endif
