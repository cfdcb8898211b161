/* The ledger's records as they are told: what was written, each with its number and hash. */
#include "base/clock.h"
#include "ledger_walk.h"
#include "pack.h"

enum { PAGE_BYTES = 4 << 20 };

struct page {
    struct jw *w;
    struct ledger_page *out;
    size_t left, bytes; /* bytes: written before */
    bool more;
};

static void write_hash(struct jw *w, const uint8_t hash[SHA256_SIZE]) {
    char hex[2 * SHA256_SIZE + 1];
    hex_encode(hex, hash, SHA256_SIZE);
    jw_kz(w, "hash", hex);
}

static void note_price(struct ledger_page *p, uint64_t version) {
    for (size_t i = 0; i < p->prices; i++)
        if (p->price[i] == version)
            return;
    if (version && p->prices < LEDGER_PAGE_PRICES)
        p->price[p->prices++] = version;
}

static void money(struct jw *w, const char *name, int64_t nano) {
    jw_key(w, name);
    jw_nano(w, nano);
}

static void write_correction(struct jw *w, const struct chain_record *r, const struct correction *c) {
    struct sums_names n;
    char time[CLOCK_RFC3339_SIZE], hour[CLOCK_RFC3339_SIZE], id[32 + 1];
    clock_rfc3339(time, r->wall_ms);
    jw_kz(w, "time", time);
    jw_kz(w, "event", "correction");
    ledger_job_name(id, 0, c->job);
    jw_kz(w, "reprice", id + 16);
    jw_kstr(w, "by", c->by);
    if (sums_read_key(c->key, &n)) {
        clock_rfc3339(hour, (int64_t)n.hour * HOUR_MS);
        jw_kz(w, "hour", hour);
        jw_kstr(w, "key", n.key);
        jw_kstr(w, "tenant", n.tenant);
        jw_kstr(w, "provider", n.provider);
        jw_kstr(w, "provider_model", n.model);
        jw_kstr(w, "surface", n.surface);
    }
    jw_ku64(w, "requests", c->records);
    money(w, "old_usd", c->was_nano);
    money(w, "new_usd", c->is_nano);
    jw_ku64(w, "old_unpriced", c->was_unpriced);
    jw_ku64(w, "new_unpriced", c->is_unpriced);
}

static bool write_record(void *arg, struct str key, struct str value) {
    struct page *p = arg;
    struct chain_record r;
    struct ledger_row row;
    struct correction c;
    p->more = p->left == 0 || buf_len(p->w->out) - p->bytes > PAGE_BYTES;
    if (p->more)
        return false;
    p->left--;
    if (key.n == CHAIN_KEY && key_read_u64(key.p) < UINT64_MAX)
        p->out->next = key_read_u64(key.p) + 1;
    if (!chain_unpack(key, value, &r))
        return true; /* verifying tells of it */
    jw_obj(p->w);
    jw_ku64(p->w, "number", r.number);
    write_hash(p->w, r.hash);
    if (r.type == RECORD_IS_USAGE && ledger_unpack(NULL, r.payload, &row)) {
        ledger_log_members(p->w, &row);
        note_price(p->out, row.price);
    } else if (r.type == RECORD_IS_CORRECTION && correction_unpack(r.payload, &c)) {
        write_correction(p->w, &r, &c);
    }
    jw_obj_end(p->w);
    return true;
}

bool ledger_list(struct db_txn *t, uint64_t from, size_t limit, struct jw *w, struct ledger_page *page) {
    unsigned char key[CHAIN_KEY];
    *page = (struct ledger_page){.next = from};
    struct page p = {.w = w, .out = page, .left = limit, .bytes = buf_len(w->out)};
    db_each(t, TABLE_ROWS, chain_key(key, from), write_record, &p);
    return p.more;
}
