/* What the ledger and the logs remember of themselves. */
#include "state.h"
#include "pack.h"

enum { POSITION_KEY = 13 };

uint64_t state_u64(struct db_txn *t, unsigned table, struct str key) {
    struct str v;
    struct unpack u = {0};
    if (db_get(t, table, key, &v))
        u = (struct unpack){.p = v.p, .n = v.n};
    return unpack_u64(&u);
}

void state_set_u64(struct db_txn *t, unsigned table, struct str key, uint64_t v) {
    char value[8];
    pack_u64(value, v);
    db_put(t, table, key, str_make(value, sizeof value));
}

static struct str position_key(unsigned char out[POSITION_KEY], uint64_t instance, uint32_t slot) {
    out[0] = 'p';
    key_u64(out + 1, instance);
    key_u32(out + 9, slot);
    return str_make((const char *)out, POSITION_KEY);
}

uint64_t state_position(struct db_txn *t, unsigned table, uint64_t instance, uint32_t slot) {
    unsigned char key[POSITION_KEY];
    return state_u64(t, table, position_key(key, instance, slot));
}

void state_set_position(struct db_txn *t, unsigned table, uint64_t instance, uint32_t slot, uint64_t pos) {
    unsigned char key[POSITION_KEY];
    state_set_u64(t, table, position_key(key, instance, slot), pos);
}

static unsigned position_verdict(void *arg, struct str key, struct str value) {
    (void)value;
    const uint64_t *keep = arg;
    if (key.n != POSITION_KEY || key.p[0] != 'p')
        return key.n && key.p[0] > 'p' ? DB_STOP : DB_KEEP;
    return key_read_u64(key.p + 1) == *keep ? DB_KEEP : DB_DELETE;
}

void state_drop_positions(struct db_txn *t, unsigned table, uint64_t but_instance) {
    db_each_delete(t, table, STR("p"), position_verdict, &but_instance);
}
