/* Bodies of the response cache. Packed by a worker, carried by the ring, put into LMDB by the scribe, read by all. */
#ifndef PENSTOCK_STORE_REPLIES_H
#define PENSTOCK_STORE_REPLIES_H
#include "base/arena.h"
#include "base/buf.h"
#include "llm/usage.h"
#include "shm/index.h"
#include "store/db.h"

struct reply_head {
    uint8_t key[INDEX_KEY];
    int64_t expires_wall_ms, created_wall_ms;
    uint64_t model_hash, owner_hash;
    struct str provider, model;    /* that answered */
    struct str content_type;
    bool kept;                     /* see index_entry */
    bool stream;                   /* the body is the bytes of a stream */
    struct usage usage;            /* what the answer cost when it was made */
    int64_t cost_nano;
};
void reply_pack(struct buf *out, const struct reply_head *h, struct str body); /* one value: head and body */
bool reply_unpack(struct arena *a, struct str packed, struct reply_head *h, struct str *body); /* slices into packed */

extern const char *const replies_tables[];
void replies_put(struct db_txn *t, struct str packed);
bool replies_get(struct db_txn *t, const uint8_t key[INDEX_KEY], struct str *packed); /* valid inside the txn */
void replies_delete(struct db_txn *t, const uint8_t key[INDEX_KEY]);
/* Scribe. What is stored, without the bodies: for the index (stored is true, slot and pos are 0). */
void replies_each(struct db_txn *t, bool (*fn)(void *arg, const struct index_entry *e), void *arg);
/* Looks at `steps` entries from key `from` on, deletes those that keep() does not want. True: that was the last one
 * (and from is at the beginning again); *deleted grows. */
bool replies_sweep(struct db_txn *t, uint8_t from[INDEX_KEY], unsigned steps,
                   bool (*keep)(void *arg, const struct index_entry *e), void *arg, unsigned *deleted);
void replies_empty(struct db_txn *t);
/* The segment whose index knows all that is stored: none but the stored values is lost with a segment. */
uint64_t replies_instance(struct db_txn *t);
void replies_set_instance(struct db_txn *t, uint64_t instance);

/* The whole lookup for a worker: index, then ring or LMDB, copied into the arena. d: NULL when not opened yet. */
bool replies_find(struct arena *a, struct shm *s, struct db *d, const uint8_t key[INDEX_KEY], int64_t wall_ms,
                  struct reply_head *h, struct str *body);
#endif
