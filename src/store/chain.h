/* The records of the ledger as a chain: each stands under the next number and holds a SHA-256 over the hash
 * before it and over all of itself, so that a record that was changed, removed or put in by hand is found.
 *
 * Of a trimmed chain the hash of the last record that went is the base; base and tip are kept in the state,
 * in the transaction that changes them. */
#ifndef PENSTOCK_SRC_STORE_CHAIN_H
#define PENSTOCK_SRC_STORE_CHAIN_H
#include "base/hash.h"
#include "store/db.h"

enum { CHAIN_KEY = 8, CHAIN_HEAD = SHA256_SIZE + 8 + 8 + 1 };
struct chain {
    uint64_t first, next; /* numbers: of the oldest record that is kept, of the one to come */
    uint8_t base[SHA256_SIZE], tip[SHA256_SIZE];
    bool strays; /* not kept: others have put something behind its end */
};
struct chain_record {
    uint64_t number;
    int64_t wall_ms; /* of the event */
    unsigned type;
    struct str payload;
    const uint8_t *hash;
};
bool chain_read(struct db_txn *t, struct chain *c); /* false: none was begun, or it is damaged */
/* Reads it to append to it, or begins one; what stands in the table without a state is gone over by the one
 * who verifies. */
void chain_begin(struct db_txn *t, struct chain *c);
void chain_put(struct db_txn *t, const struct chain *c);
/* The record's number and hash are made. The state is chain_put()'s. */
void chain_append(struct db_txn *t, struct chain *c, unsigned type, int64_t wall_ms, struct str payload);
bool chain_unpack(struct str key, struct str value, struct chain_record *r); /* false: no record */
/* Is its hash the one that follows from `before`? */
bool chain_follows(struct str value, const uint8_t before[SHA256_SIZE]);
struct str chain_key(unsigned char out[CHAIN_KEY], uint64_t number);
#endif
