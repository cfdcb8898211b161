/* Numbers that a store keeps of itself in one of its tables, and how far it has taken each ring. */
#ifndef PENSTOCK_SRC_STORE_STATE_H
#define PENSTOCK_SRC_STORE_STATE_H
#include "store/db.h"

uint64_t state_u64(struct db_txn *t, unsigned table, struct str key); /* 0: none */
void state_set_u64(struct db_txn *t, unsigned table, struct str key, uint64_t v);
/* Of a segment's slot; see ledger.h. */
uint64_t state_position(struct db_txn *t, unsigned table, uint64_t instance, uint32_t slot);
void state_set_position(struct db_txn *t, unsigned table, uint64_t instance, uint32_t slot, uint64_t pos);
void state_drop_positions(struct db_txn *t, unsigned table, uint64_t but_instance);
#endif
