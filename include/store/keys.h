/* Gateway keys that administration has made. They lie in an environment of their own, which is synced: a key that was
 * answered with survives a power cut. The scribe alone writes it. A worker that wants a change puts it whole into its
 * ring (RECORD_KEY), with the version it was made from; the scribe makes it or not, and keeps the outcome for a while
 * under the change's number, so that a change is made once however often a dying scribe takes it up, and the worker
 * tells its client the truth. Of secrets there is a SHA-256 and nothing else. */
#ifndef PENSTOCK_STORE_KEYS_H
#define PENSTOCK_STORE_KEYS_H
#include "base/arena.h"
#include "base/json.h"
#include "conf/conf.h"
#include "store/db.h"

#define KEY_LIMIT_DEFAULT (UINT64_MAX - 1) /* of a limit: the key sets none, auth.default_limits counts */
enum {
    KEYS_MOST = 2000,
    KEY_BYTES = 16 << 10, /* of one as it lies in the store */
    KEY_ID_MOST = 64
};

struct stored_key {
    struct conf_gateway_key key; /* its texts lie in the arena it was read into */
    uint8_t old_hash[32];        /* of the secret before the last rotation ... */
    int64_t old_until_ms;        /* ... which is good before this time; 0: there is none */
    int64_t created_ms, changed_ms;
    uint64_t version; /* number of the change that made it as it is; never 0 */
};
void stored_key_init(struct stored_key *k); /* what a key is that says nothing of itself */
/* Sets what the object's members say; checked text. kept: as stored_key_write() wrote it for the store, else as clients
 * send it (no hashes, no times but `expires`). false: *param and *why; *k is then of no use. */
bool stored_key_read(struct arena *a, struct str object, bool kept, struct stored_key *k, struct str *param,
                     const char **why);
/* The members, into an object that is open. */
void stored_key_write(struct jw *w, const struct stored_key *k, bool kept);
bool key_id_ok(struct str id); /* 1 to 64 of A-Za-z0-9._- */

struct key_change {
    uint64_t number;  /* random, not 0: the key's version afterwards, and where its outcome is found */
    uint64_t from;    /* the version it was made from; 0: there must be none */
    int64_t until_ms; /* wall clock: not to be made later */
    struct str id;    /* of the key */
    struct str value; /* the key as it shall be, JSON; empty: it goes */
    struct str audit; /* who did what, for the log */
};
void key_change_pack(struct buf *out, const struct key_change *c);
bool key_change_unpack(struct str packed, struct key_change *c); /* slices into packed */

enum key_outcome {
    KEY_UNKNOWN, /* not made yet, or forgotten */
    KEY_DONE,
    KEY_TAKEN,   /* there is one of that id */
    KEY_GONE,    /* there is none any more */
    KEY_CHANGED, /* somebody else has changed it since */
    KEY_FULL,    /* there are KEYS_MOST */
    KEY_LATE,
};
/* Hosts that share their keys tell each other of them in lines: a stamp (20 digits of wall ms, a space, 20 digits of the
 * version), a space, and the key's JSON; nothing: it is gone. Of two for one id the greater stamp counts; a change's is always
 * above the one that it was made from, whatever the clocks say. Those that are gone are remembered for 30 days. */
bool keys_line(struct db_txn *t, struct str id, struct buf *out); /* false: there never was one */
void keys_lines(struct db_txn *t, bool (*fn)(void *arg, struct str id, struct str line), void *arg);
bool keys_merge(struct db_txn *t, struct str id, struct str line); /* true: it was newer, and is made */
bool keys_long_gone(struct str line, int64_t wall_ms); /* for those 30 days: nobody need remember it */

extern const char *const keys_tables[];
/* Scribe. Notes the outcome, and does nothing about a change whose outcome is known. */
enum key_outcome keys_make(struct db_txn *t, const struct key_change *c, int64_t wall_ms);
void keys_forget(struct db_txn *t, int64_t before_wall_ms); /* outcomes older than that */
/* Any process. */
enum key_outcome keys_outcome(struct db_txn *t, uint64_t number);
/* value: JSON, checked by nobody yet; slices are valid inside the transaction. */
void keys_each(struct db_txn *t, bool (*fn)(void *arg, struct str id, uint64_t version, struct str value), void *arg);
#endif
