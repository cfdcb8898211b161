/* LMDB, wrapped once: the only file that knows it. A transaction carries its own error: calls after a failure
 * do nothing, and the caller asks once, at db_commit. Opened after the fork (asserted), never shared over a
 * fork. */
#ifndef PENSTOCK_STORE_DB_H
#define PENSTOCK_STORE_DB_H
#include "base/str.h"

struct db;
enum db_mode {
    DB_READ = 0,
    DB_WRITE = 1,      /* the scribe */
    DB_DISPOSABLE = 2, /* a writer's too; not synced; deleted and made anew when it does not open */
    DB_SET_ASIDE = 4,  /* of a writer: a damaged one is renamed to "<dir>.damaged-<ms>" and made anew */
};
/* dir is made if need be (0700, files 0600). tables: names, NULL-terminated. A reader may open before the
 * writer has made it: NULL and err "not there yet"; try again later. map_bytes 0 (of a reader): the writer's.
 * A reader follows within a second when the writer made the database anew. A disposable one that a power cut
 * may have torn (it was opened in an earlier boot and not closed) counts as one that does not open. */
struct db *db_open(const char *dir, unsigned mode, uint64_t map_bytes, const char *const *tables,
                   char err[256]);
void db_close(struct db *d);
struct db_txn;
/* Never NULL. Readers reuse one txn; never kept over a turn of the loop. */
struct db_txn *db_begin(struct db *d, bool write);
bool db_get(struct db_txn *t, unsigned table, struct str key, struct str *value); /* valid inside the txn */
void db_put(struct db_txn *t, unsigned table, struct str key, struct str value);
/* Of a key behind all others. */
void db_append(struct db_txn *t, unsigned table, struct str key, struct str value);
bool db_delete(struct db_txn *t, unsigned table, struct str key);
void db_empty(struct db_txn *t, unsigned table);
/* From the first key >= from on, while fn returns true. Deleting inside: db_each_delete. */
void db_each(struct db_txn *t, unsigned table, struct str from,
             bool (*fn)(void *arg, struct str key, struct str value), void *arg);
/* db_each in pieces: from the place on, of at most so many entries; the place moves to where the next piece begins, which
 * may be in another transaction. Zeros: the table's first key. False: it is over, or the transaction has failed. */
enum { DB_KEY_MAX = 511 };
struct db_place {
    size_t n;
    char key[DB_KEY_MAX];
};
void db_place_set(struct db_place *p, struct str key);
bool db_some(struct db_txn *t, unsigned table, struct db_place *p, unsigned at_most,
             bool (*fn)(void *arg, struct str key, struct str value), void *arg);
/* From the last key < before on downwards; before empty: from the last one. */
void db_each_back(struct db_txn *t, unsigned table, struct str before,
                  bool (*fn)(void *arg, struct str key, struct str value), void *arg);
/* The same as db_each, and fn says what becomes of each: DB_STOP is added to either, no more come after this one. Other
 * tables may be changed inside; key and value are gone then. */
enum db_verdict { DB_KEEP = 0, DB_DELETE = 1, DB_STOP = 2 };
void db_each_delete(struct db_txn *t, unsigned table, struct str from,
                    unsigned (*fn)(void *arg, struct str key, struct str value), void *arg);
bool db_last(struct db_txn *t, unsigned table, struct str *key, struct str *value);
uint64_t db_entries(struct db_txn *t, unsigned table);
/* 0, or -1 and the text of the first error; the txn is over either way. db_end: give up (or end a read). */
int db_commit(struct db_txn *t, char err[256]);
void db_end(struct db_txn *t);
/* What stands between a transaction and its success; of a database: of the last one that failed. */
enum db_trouble {
    DB_FINE,
    DB_FULL,     /* the map: delete something */
    DB_NO_SPACE, /* the disk: try again later, with the database opened anew */
    DB_DAMAGED,  /* the file */
    DB_BROKEN,   /* anything else: open it anew */
};
enum db_trouble db_txn_trouble(const struct db_txn *t);
enum db_trouble db_trouble(const struct db *d);
/* fn is called once as a write transaction ends: before its commit (it may put), or as it is given up. */
void db_at_end(struct db_txn *t, void (*fn)(void *arg, struct db_txn *t, bool commit), void *arg);
/* Writers, with the database closed: the next db_open makes it anew (mode says where the old one goes). */
void db_condemn(const char *dir, unsigned mode);
void db_check_readers(struct db *d); /* after each death of a process, and each minute */
double db_used(struct db *d); /* 0..1 of the map: pages of the tables, not what lies free between them */
#endif
