/* LMDB, wrapped once: the only file that knows it. A transaction carries its own error: calls after a failure do
 * nothing, and the caller asks once, at db_commit. Opened after the fork (asserted), never shared over a fork. */
#ifndef PENSTOCK_STORE_DB_H
#define PENSTOCK_STORE_DB_H
#include "base/str.h"

struct db;
enum db_mode {
    DB_READ = 0,
    DB_WRITE = 1,      /* the scribe */
    DB_DISPOSABLE = 2, /* not synced; deleted and made anew when it does not open */
};
/* dir is made if need be (0700, files 0600). tables: names, NULL-terminated. A reader may open before the writer has
 * made it: NULL and err "not there yet"; try again later. */
struct db *db_open(const char *dir, unsigned mode, uint64_t map_bytes, const char *const *tables, char err[256]);
void db_close(struct db *d);
struct db_txn;
struct db_txn *db_begin(struct db *d, bool write); /* readers reuse one txn; never kept over a turn of the loop */
bool db_get(struct db_txn *t, unsigned table, struct str key, struct str *value); /* valid inside the txn */
void db_put(struct db_txn *t, unsigned table, struct str key, struct str value);
void db_append(struct db_txn *t, unsigned table, struct str key, struct str value); /* keys in ascending order */
bool db_delete(struct db_txn *t, unsigned table, struct str key);
void db_empty(struct db_txn *t, unsigned table);
/* From the first key >= from on, while fn returns true. Deleting inside: db_each_delete. */
void db_each(struct db_txn *t, unsigned table, struct str from, bool (*fn)(void *arg, struct str key, struct str value),
             void *arg);
bool db_last(struct db_txn *t, unsigned table, struct str *key, struct str *value);
uint64_t db_entries(struct db_txn *t, unsigned table);
/* 0, or -1 and the text of the first error; the txn is over either way. db_end: give up (or end a read). */
int db_commit(struct db_txn *t, char err[256]);
void db_end(struct db_txn *t);
void db_check_readers(struct db *d); /* after each death of a process, and each minute */
double db_used(struct db *d);        /* 0..1 of the map */
#endif
