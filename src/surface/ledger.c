/* GET /admin/v1/ledger and /admin/v1/ledger/verify: the records that usage is the sum of. A verification goes
 * over all of them, a few in each step.
 */
#include "store/ledger.h"
#include "base/clock.h"
#include "base/hash.h"
#include "query.h"
#include "steps.h"

enum { LIMIT = 100, LIMIT_MOST = 1000, STEP = 500 };

static void write_hash(struct jw *w, const char *name, const uint8_t hash[SHA256_SIZE]) {
    char hex[2 * SHA256_SIZE + 1];
    hex_encode(hex, hash, SHA256_SIZE);
    jw_kz(w, name, hex);
}

/* --- records --- */

/* The prices that the page's records name, as they were. */
static void write_prices(struct jw *w, struct db_txn *t, const struct ledger_page *page) {
    jw_key(w, "prices");
    jw_obj(w);
    for (size_t i = 0; i < page->prices; i++) {
        char name[2 * LEDGER_PRICE_BYTES + 1];
        struct str text;
        if (!ledger_price(t, page->price[i], &text) || json_scan(text, NULL, NULL, NULL, NULL) != 0)
            continue;
        ledger_price_name(name, page->price[i]);
        jw_key(w, name);
        jw_raw(w, text);
    }
    jw_obj_end(w);
}

static void write_page(struct jw *w, struct db *d, uint64_t from, size_t limit) {
    struct ledger_page page = {.next = from};
    struct db_txn *t = d ? db_begin(d, false) : NULL;
    jw_obj(w);
    jw_kz(w, "object", "list");
    jw_key(w, "data");
    jw_arr(w);
    bool more = t && ledger_list(t, from, limit, w, &page);
    jw_arr_end(w);
    jw_kbool(w, "has_more", more);
    jw_ku64(w, "next", page.next);
    if (t)
        write_prices(w, t, &page);
    jw_obj_end(w);
    if (t)
        db_end(t);
}

void surface_ledger(struct surface_call *c) {
    static const char *const names[] = {"from", "limit"};
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct str v[2];
    uint64_t from = 0, limit = LIMIT;
    bool ok = query_read(c, names, v, 2, &f);
    if (ok && v[0].n && !str_u64(v[0], &from))
        ok = query_wrong(c, &f, STR("from"), "expected the number of a record");
    if (ok && v[1].n && (!str_u64(v[1], &limit) || limit < 1 || limit > LIMIT_MOST))
        ok = query_wrong(c, &f, STR("limit"), "expected a number from 1 to 1000");
    if (!ok) {
        surface_fault(c, &f);
        return;
    }
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    write_page(&w, plane_ledger(c->plane), from, (size_t)limit);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

/* --- verification --- */

struct verifying {
    struct steps steps;
    struct ledger_verify *verify;
};

static void drop(void *arg) {
    ledger_verify_free(((struct verifying *)arg)->verify);
}

static bool step(struct steps *s, struct db_txn *t) {
    return ledger_verify_step(((struct verifying *)s)->verify, t, STEP);
}

static void write_trouble(struct jw *w, const struct ledger_verdict *v) {
    char hour[CLOCK_RFC3339_SIZE];
    jw_kz(w, "error", v->why);
    if (v->at_record) {
        jw_ku64(w, "record", v->number);
    } else if (v->hour_ms) {
        clock_rfc3339(hour, v->hour_ms);
        jw_kz(w, "hour", hour);
    }
}

static void answer(struct steps *s) {
    const struct ledger_verdict *v = ledger_verify_verdict(((struct verifying *)s)->verify);
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kbool(&w, "ok", v->ok);
    if (!v->ok)
        write_trouble(&w, v);
    jw_ku64(&w, "records", v->records);
    jw_ku64(&w, "corrections", v->corrections);
    if (v->records) {
        jw_ku64(&w, "first", v->first);
        jw_ku64(&w, "last", v->last);
    }
    write_hash(&w, "base", v->base);
    write_hash(&w, "hash", v->hash);
    jw_ku64(&w, "hours", v->hours);
    jw_obj_end(&w);
    surface_json(&s->call, 200, buf_str(&b));
    buf_free(&b);
}

/* A record that was noted before, with its hash: it must be there, and the same. */
static bool read_note(struct surface_call *c, struct ledger_verify *v, struct fault *f) {
    static const char *const names[] = {"record", "hash"};
    struct str s[2];
    uint64_t number;
    uint8_t hash[SHA256_SIZE];
    if (!query_read(c, names, s, 2, f))
        return false;
    if (s[0].n == 0 && s[1].n == 0)
        return true;
    if (!str_u64(s[0], &number))
        return query_wrong(c, f, STR("record"), "expected the number of a record, with its hash");
    if (!hex_decode(hash, sizeof hash, s[1]))
        return query_wrong(c, f, STR("hash"), "expected 64 hexadecimal digits, with a record");
    ledger_verify_note(v, number, hash);
    return true;
}

void surface_ledger_verify(struct surface_call *c) {
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct verifying *g = arena_alloc(c->x->arena, sizeof *g);
    g->verify = ledger_verify_new();
    arena_cleanup(c->x->arena, drop, g);
    if (read_note(c, g->verify, &f))
        steps_begin(&g->steps, c, step, answer);
    else
        surface_fault(c, &f);
}
