/* Bodies of the response cache. A small table beside them holds what the index needs of each, so that filling
 * the index at start and looking for what has expired never touch the pages of the bodies. */
#include "store/replies.h"
#include "pack.h"
#include "shm/ring.h"

enum { VERSION = 1, IS_STREAM = 1, IS_KEPT = 2, META_KEPT = 0x80 /* in its version */ };
enum { TABLE_BODIES, TABLE_META, TABLE_STATE };
const char *const replies_tables[] = {"replies", "meta", "state", NULL};

/* version, flags, key; two times, two hashes, cost; usage; length of the body */
enum { FIXED = 2 + INDEX_KEY + 5 * 8 + PACK_USAGE_SIZE + 8, META_SIZE = 1 + 5 * 8 };

static struct str key_str(const uint8_t key[INDEX_KEY]) {
    return str_make((const char *)key, INDEX_KEY);
}

/* --- one value --- */

void reply_pack(struct buf *out, const struct reply_head *h, struct str body) {
    size_t n = FIXED + pack_str_size(h->provider) + pack_str_size(h->model) + pack_str_size(h->content_type) +
               body.n;
    char *to = buf_room(out, n);
    if (!to)
        return;
    to = pack_u8(to, VERSION);
    to = pack_u8(to, (h->stream ? IS_STREAM : 0) | (h->kept ? IS_KEPT : 0));
    to = pack_bytes(to, h->key, INDEX_KEY);
    to = pack_u64(to, (uint64_t)h->expires_wall_ms);
    to = pack_u64(to, (uint64_t)h->created_wall_ms);
    to = pack_u64(to, h->model_hash);
    to = pack_u64(to, h->owner_hash);
    to = pack_u64(to, (uint64_t)h->cost_nano);
    to = pack_usage(to, &h->usage);
    to = pack_u64(to, body.n);
    to = pack_str(to, h->provider);
    to = pack_str(to, h->model);
    to = pack_str(to, h->content_type);
    pack_bytes(to, body.p, body.n);
    buf_commit(out, n);
}

bool reply_unpack(struct arena *a, struct str packed, struct reply_head *h, struct str *body) {
    (void)a; /* everything is a slice today */
    struct unpack u = {.p = packed.p, .n = packed.n};
    *body = STR_NONE;
    memset(h, 0, sizeof *h);
    unsigned version = unpack_u8(&u), flags = unpack_u8(&u);
    const char *key = unpack_bytes(&u, INDEX_KEY);
    if (u.bad || version != VERSION || flags & ~(unsigned)(IS_STREAM | IS_KEPT))
        return false;
    memcpy(h->key, key, INDEX_KEY);
    h->stream = flags & IS_STREAM;
    h->kept = flags & IS_KEPT;
    h->expires_wall_ms = (int64_t)unpack_u64(&u);
    h->created_wall_ms = (int64_t)unpack_u64(&u);
    h->model_hash = unpack_u64(&u);
    h->owner_hash = unpack_u64(&u);
    h->cost_nano = (int64_t)unpack_u64(&u);
    unpack_usage(&u, &h->usage);
    uint64_t length = unpack_u64(&u);
    h->provider = unpack_str(&u);
    h->model = unpack_str(&u);
    h->content_type = unpack_str(&u);
    if (u.bad || u.n != length)
        return false;
    *body = str_make(u.p, u.n);
    return true;
}

/* --- tables --- */

static void pack_meta(char out[META_SIZE], const struct reply_head *h, size_t bytes) {
    char *to = pack_u8(out, VERSION | (h->kept ? META_KEPT : 0));
    to = pack_u64(to, (uint64_t)h->expires_wall_ms);
    to = pack_u64(to, (uint64_t)h->created_wall_ms);
    to = pack_u64(to, h->model_hash);
    to = pack_u64(to, h->owner_hash);
    pack_u64(to, bytes);
}

static bool unpack_meta(struct str key, struct str packed, struct index_entry *e) {
    struct unpack u = {.p = packed.p, .n = packed.n};
    *e = (struct index_entry){.stored = true};
    unsigned version = unpack_u8(&u);
    bool known = (version & ~(unsigned)META_KEPT) == VERSION;
    e->kept = version & META_KEPT;
    e->expires_wall_ms = (int64_t)unpack_u64(&u);
    e->created_wall_ms = unpack_u64(&u);
    e->model_hash = unpack_u64(&u);
    e->owner_hash = unpack_u64(&u);
    e->bytes = unpack_u64(&u);
    if (!known || u.bad || u.n != 0 || key.n != INDEX_KEY)
        return false;
    memcpy(e->key, key.p, INDEX_KEY);
    return true;
}

void replies_put(struct db_txn *t, struct str packed) {
    struct reply_head h;
    struct str body;
    char meta[META_SIZE];
    if (!reply_unpack(NULL, packed, &h, &body))
        return;
    pack_meta(meta, &h, packed.n);
    db_put(t, TABLE_BODIES, key_str(h.key), packed);
    db_put(t, TABLE_META, key_str(h.key), str_make(meta, sizeof meta));
}

bool replies_get(struct db_txn *t, const uint8_t key[INDEX_KEY], struct str *packed) {
    return db_get(t, TABLE_BODIES, key_str(key), packed);
}

void replies_delete(struct db_txn *t, const uint8_t key[INDEX_KEY]) {
    db_delete(t, TABLE_BODIES, key_str(key));
    db_delete(t, TABLE_META, key_str(key));
}

void replies_empty(struct db_txn *t) {
    db_empty(t, TABLE_BODIES);
    db_empty(t, TABLE_META);
}

uint64_t replies_instance(struct db_txn *t) {
    struct str v;
    struct unpack u = {0};
    if (db_get(t, TABLE_STATE, STR("instance"), &v))
        u = (struct unpack){.p = v.p, .n = v.n};
    return unpack_u64(&u);
}

void replies_set_instance(struct db_txn *t, uint64_t instance) {
    char v[8];
    pack_u64(v, instance);
    db_put(t, TABLE_STATE, STR("instance"), str_make(v, sizeof v));
}

/* --- walks --- */

struct each {
    bool (*fn)(void *arg, const struct index_entry *e);
    void *arg;
};

static bool each_meta(void *arg, struct str key, struct str value) {
    struct each *each = arg;
    struct index_entry e;
    return !unpack_meta(key, value, &e) || each->fn(each->arg, &e);
}

void replies_each(struct db_txn *t, bool (*fn)(void *arg, const struct index_entry *e), void *arg) {
    struct each each = {fn, arg};
    db_each(t, TABLE_META, STR_NONE, each_meta, &each);
}

struct sweep {
    struct db_txn *txn;
    bool (*keep)(void *arg, const struct index_entry *e);
    void *arg;
    uint8_t *from;
    unsigned left, *deleted;
    bool stopped;
};

static unsigned sweep_verdict(void *arg, struct str key, struct str value) {
    struct sweep *s = arg;
    struct index_entry e;
    if (s->left == 0) {
        s->stopped = key.n == INDEX_KEY;
        if (s->stopped)
            memcpy(s->from, key.p, INDEX_KEY);
        return DB_STOP;
    }
    s->left--;
    if (unpack_meta(key, value, &e) && s->keep(s->arg, &e))
        return DB_KEEP;
    ++*s->deleted;
    db_delete(s->txn, TABLE_BODIES, key);
    return DB_DELETE;
}

bool replies_sweep(struct db_txn *t, uint8_t from[INDEX_KEY], unsigned steps,
                   bool (*keep)(void *arg, const struct index_entry *e), void *arg, unsigned *deleted) {
    struct sweep s = {.txn = t, .keep = keep, .arg = arg, .from = from, .left = steps, .deleted = deleted};
    db_each_delete(t, TABLE_META, key_str(from), sweep_verdict, &s);
    if (!s.stopped)
        memset(from, 0, INDEX_KEY);
    return !s.stopped;
}

/* --- the lookup --- */

static bool read_ring(struct arena *a, struct shm *s, const struct index_entry *e, struct str *packed) {
    char *to = arena_alloc(a, e->bytes);
    *packed = str_make(to, e->bytes);
    return ring_copy(s, e->slot, e->pos, to, e->bytes);
}

static bool read_db(struct arena *a, struct db *d, const uint8_t key[INDEX_KEY], struct str *packed) {
    if (!d)
        return false;
    struct db_txn *t = db_begin(d, false);
    bool found = replies_get(t, key, packed);
    if (found)
        *packed = arena_dup(a, *packed);
    db_end(t);
    return found;
}

/* The store may still hold an older answer under the same key, one that has been cleared or renewed. */
static bool is_it(struct arena *a, struct str packed, const struct index_entry *e, struct reply_head *h,
                  struct str *body) {
    return packed.n == e->bytes && reply_unpack(a, packed, h, body) &&
           memcmp(h->key, e->key, INDEX_KEY) == 0 && h->created_wall_ms == (int64_t)e->created_wall_ms &&
           h->expires_wall_ms == e->expires_wall_ms;
}

bool replies_find(struct arena *a, struct shm *s, struct db *d, const uint8_t key[INDEX_KEY], int64_t wall_ms,
                  struct reply_head *h, struct str *body) {
    struct index_entry e;
    struct str packed;
    if (!index_find(s, key, wall_ms, &e))
        return false;
    if (!e.stored && read_ring(a, s, &e, &packed) && is_it(a, packed, &e, h, body))
        return true;
    return read_db(a, d, key, &packed) && is_it(a, packed, &e, h, body); /* or stored meanwhile */
}
