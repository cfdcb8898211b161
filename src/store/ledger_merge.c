/* Sums of several ledgers as one: packed for the way from one host to another, and merged in their order. */
#include "pack.h"
#include "store/ledger.h"

enum { LABELS = 7, LABEL_MOST = 4096 };

static const struct str *label(const struct ledger_sum *s, int i) {
    const struct str *const all[LABELS] = {&s->day,      &s->hour,  &s->key,    &s->tenant,
                                           &s->provider, &s->model, &s->surface};
    return all[i];
}

static void put_u64(struct buf *out, uint64_t v) {
    char b[8];
    pack_u64(b, v);
    buf_add(out, b, sizeof b);
}

static void put_sum(struct buf *out, const struct ledger_sum *s) {
    for (int i = 0; i < LABELS; i++) {
        char n[2];
        struct str l = pack_cut(*label(s, i), LABEL_MOST);
        pack_u16(n, (unsigned)l.n);
        buf_add(out, n, sizeof n);
        buf_adds(out, l);
    }
#define X(name) put_u64(out, s->name);
    LEDGER_COUNTS(X)
#undef X
    put_u64(out, (uint64_t)s->cost_nano);
}

void ledger_sums_pack(struct buf *out, const struct ledger_sums *s) {
    buf_addc(out, s->truncated ? 1 : 0);
    put_sum(out, &s->total);
    put_u64(out, s->n);
    for (size_t i = 0; i < s->n; i++)
        put_sum(out, &s->rows[i]);
}

/* --- merging --- */

static void get_sum(struct unpack *u, struct arena *a, struct ledger_sum *s) {
    *s = (struct ledger_sum){0};
    for (int i = 0; i < LABELS; i++) {
        struct str l = unpack_str(u);
        *(struct str *)(uintptr_t)label(s, i) = arena_dup(a, l);
    }
#define X(name) s->name = unpack_u64(u);
    LEDGER_COUNTS(X)
#undef X
    s->cost_nano = (int64_t)unpack_u64(u);
}

static void add(struct ledger_sum *to, const struct ledger_sum *s) {
#define X(name) to->name += s->name;
    LEDGER_COUNTS(X)
#undef X
    to->cost_nano = (int64_t)((uint64_t)to->cost_nano + (uint64_t)s->cost_nano);
}

static int compare(const struct ledger_sum *a, const struct ledger_sum *b) {
    for (int i = 0; i < LABELS; i++) {
        struct str x = *label(a, i), y = *label(b, i);
        size_t n = x.n < y.n ? x.n : y.n;
        int c = n ? memcmp(x.p, y.p, n) : 0;
        if (c == 0)
            c = (x.n > y.n) - (x.n < y.n);
        if (c)
            return c;
    }
    return 0;
}

bool ledger_sums_add(struct arena *a, struct ledger_sums *s, struct str packed) {
    struct unpack u = {.p = packed.p, .n = packed.n};
    struct ledger_sum total, next = {0};
    const char *flag = unpack_bytes(&u, 1);
    bool truncated = flag && *flag;
    get_sum(&u, a, &total);
    uint64_t m = unpack_u64(&u);
    if (u.bad || m > u.n / 16)
        return false;
    struct ledger_sum *rows = arena_array(a, s->n + (size_t)m + 1, sizeof *rows);
    size_t n = 0, i = 0;
    for (uint64_t j = 0; j < m; j++) {
        get_sum(&u, a, &next);
        if (u.bad)
            return false;
        while (i < s->n && compare(&s->rows[i], &next) < 0)
            rows[n++] = s->rows[i++];
        if (i < s->n && compare(&s->rows[i], &next) == 0)
            add(&next, &s->rows[i++]);
        rows[n++] = next;
    }
    while (i < s->n)
        rows[n++] = s->rows[i++];
    s->rows = rows;
    s->n = n;
    s->truncated |= truncated;
    add(&s->total, &total);
    return true;
}
