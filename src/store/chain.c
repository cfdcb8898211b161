/* Value of a record: hash, number, time, type, payload. What is hashed is the same bytes with the hash before
 * in the place of its own. */
#include "chain.h"
#include "base/buf.h"
#include "base/log.h"
#include "pack.h"
#include "sums.h"

enum { STATE_SIZE = 2 * 8 + 2 * SHA256_SIZE, RECORD_MAX = 1 << 20 };

struct str chain_key(unsigned char out[CHAIN_KEY], uint64_t number) {
    key_u64(out, number);
    return str_make((const char *)out, CHAIN_KEY);
}

/* --- the state --- */

bool chain_read(struct db_txn *t, struct chain *c) {
    struct str v;
    *c = (struct chain){.first = 0};
    if (!db_get(t, TABLE_STATE, STR("chain"), &v))
        return false;
    struct unpack u = {.p = v.p, .n = v.n};
    c->first = unpack_u64(&u);
    c->next = unpack_u64(&u);
    if (u.bad || u.n != sizeof c->base + sizeof c->tip)
        return false;
    memcpy(c->base, u.p, sizeof c->base);
    memcpy(c->tip, u.p + sizeof c->base, sizeof c->tip);
    return c->first <= c->next;
}

void chain_put(struct db_txn *t, const struct chain *c) {
    char v[STATE_SIZE];
    char *to = pack_u64(pack_u64(v, c->first), c->next);
    to = pack_bytes(to, c->base, sizeof c->base);
    pack_bytes(to, c->tip, sizeof c->tip);
    db_put(t, TABLE_STATE, STR("chain"), str_make(v, sizeof v));
}

static void go_on_behind(struct chain *c, const struct chain_record *last) {
    log_event(LVL_ERROR, "store",
              "the ledger does not know its chain of records any more; it goes on behind record %llu",
              (unsigned long long)last->number);
    c->next = last->number + 1;
    memcpy(c->tip, last->hash, sizeof c->tip);
}

void chain_begin(struct db_txn *t, struct chain *c) {
    struct str key, value;
    struct chain_record last;
    bool known = chain_read(t, c), any = db_last(t, TABLE_ROWS, &key, &value);
    if (!known && any && chain_unpack(key, value, &last))
        go_on_behind(c, &last);
    c->strays = any && (key.n != CHAIN_KEY || key_read_u64(key.p) >= c->next);
    if (!known)
        chain_put(t, c);
}

/* --- records --- */

bool chain_unpack(struct str key, struct str value, struct chain_record *r) {
    if (key.n != CHAIN_KEY || value.n < CHAIN_HEAD)
        return false;
    struct unpack u = {.p = value.p + SHA256_SIZE, .n = value.n - SHA256_SIZE};
    r->hash = (const uint8_t *)value.p;
    r->number = unpack_u64(&u);
    r->wall_ms = (int64_t)unpack_u64(&u);
    r->type = unpack_u8(&u);
    r->payload = str_make(u.p, u.n);
    return r->number == key_read_u64(key.p);
}

/* One buffer, whose memory is kept: a record is made for every request. */
static struct buf *scratch(void) {
    static struct buf b;
    if (b.max == 0)
        buf_init(&b, RECORD_MAX);
    buf_clear(&b);
    return &b;
}

void chain_append(struct db_txn *t, struct chain *c, unsigned type, int64_t wall_ms, struct str payload) {
    struct buf *b = scratch();
    unsigned char key[CHAIN_KEY];
    char head[8 + 8 + 1];
    pack_u8(pack_u64(pack_u64(head, c->next), (uint64_t)wall_ms), type);
    buf_add(b, c->tip, sizeof c->tip);
    buf_add(b, head, sizeof head);
    buf_adds(b, payload);
    if (!buf_ok(b)) {
        log_event(LVL_ERROR, "store", "a record of %zu bytes is too large for the ledger", payload.n);
        return;
    }
    sha256(buf_at(b), buf_len(b), c->tip);
    memcpy(buf_at(b), c->tip, sizeof c->tip);
    (c->strays ? db_put : db_append)(t, TABLE_ROWS, chain_key(key, c->next), buf_str(b));
    c->next++;
}

bool chain_follows(struct str value, const uint8_t before[SHA256_SIZE]) {
    struct buf *b = scratch();
    uint8_t hash[SHA256_SIZE];
    buf_add(b, before, SHA256_SIZE);
    buf_adds(b, str_skip(value, SHA256_SIZE));
    if (!buf_ok(b))
        return false;
    sha256(buf_at(b), buf_len(b), hash);
    return memcmp(hash, value.p, sizeof hash) == 0;
}
