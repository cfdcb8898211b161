/* The arithmetic and the bytes of the hourly sums. Additions stop at the end of the range instead of
 * wrapping: a damaged counter must not turn into a small one. */
#include "sums.h"
#include "base/hash.h"
#include "pack.h"

enum { VERSION = 2, OLD_VERSION = 1, OLD_COUNTS = 7 /* the first of them, and the cost */ };

uint32_t sums_hour(int64_t wall_ms) {
    int64_t hour = wall_ms / HOUR_MS;
    return wall_ms < 0 ? 0 : hour > UINT32_MAX ? UINT32_MAX : (uint32_t)hour;
}

uint32_t sums_until(int64_t to_ms) {
    uint32_t last = to_ms > 0 ? sums_hour(to_ms - 1) : 0;
    return last + (to_ms > 0 && last < UINT32_MAX);
}

/* --- keys --- */

static unsigned char *put_name(unsigned char *to, struct str s, size_t most) {
    struct str cut = s.n > most ? pack_cut(s, most - 17) : s;
    for (size_t i = 0; i < cut.n; i++)
        *to++ = cut.p[i] ? (unsigned char)cut.p[i] : '?'; /* NUL parts the names */
    if (cut.n < s.n) {
        char hex[17];
        uint64_t h = hash64(s.p, s.n);
        hex_encode(hex, &h, sizeof h);
        *to++ = '~';
        memcpy(to, hex, 16);
        to += 16;
    }
    return to;
}

bool ledger_name_is(struct str kept, struct str whole) {
    unsigned char name[SUMS_NAME_MAX];
    size_t n = (size_t)(put_name(name, whole, SUMS_NAME_MAX) - name);
    return n == kept.n && memcmp(name, kept.p, n) == 0;
}

size_t sums_key(unsigned char out[SUMS_KEY_MAX], const struct ledger_row *r) {
    unsigned char *to = out + 4;
    key_u32(out, sums_hour(r->wall_ms));
    to = put_name(to, r->key, SUMS_NAME_MAX);
    *to++ = 0;
    to = put_name(to, r->tenant, SUMS_NAME_MAX);
    *to++ = 0;
    to = put_name(to, r->provider, SUMS_NAME_MAX);
    *to++ = 0;
    to = put_name(to, r->model, SUMS_NAME_MAX);
    *to++ = 0;
    to = put_name(to, r->surface, SUMS_SURFACE_MAX);
    return (size_t)(to - out);
}

static bool take_name(struct str *rest, struct str *name) {
    const char *end = rest->n ? memchr(rest->p, 0, rest->n) : NULL;
    if (!end)
        return false;
    *name = str_make(rest->p, (size_t)(end - rest->p));
    *rest = str_skip(*rest, name->n + 1);
    return true;
}

bool sums_read_key(struct str key, struct sums_names *out) {
    if (key.n < 4)
        return false;
    out->hour = key_read_u32(key.p);
    struct str rest = str_skip(key, 4);
    if (!take_name(&rest, &out->key) || !take_name(&rest, &out->tenant) || !take_name(&rest, &out->provider))
        return false;
    out->surface = STR_NONE;
    if (take_name(&rest, &out->model))
        out->surface = rest;
    else /* of before surfaces were told apart */
        out->model = rest;
    return rest.n == 0 || !memchr(rest.p, 0, rest.n);
}

/* --- values --- */

static void add(uint64_t *to, uint64_t n) {
    if (__builtin_add_overflow(*to, n, to))
        *to = UINT64_MAX;
}

static void add_cost(int64_t *to, int64_t n) {
    int64_t most = n < 0 ? INT64_MIN : INT64_MAX;
    if (__builtin_add_overflow(*to, n, to))
        *to = most;
}

/* Of the row, or of an attempt before its last. */
static bool is_unknown(const struct ledger_row *r) {
    bool unknown = r->state == LEDGER_UNKNOWN;
    for (unsigned i = 0; i + 1 < r->attempts && i < LEDGER_MAX_ATTEMPTS; i++)
        unknown |= r->attempt[i].state == LEDGER_UNKNOWN;
    return unknown;
}

void sums_of_row(struct sums *to, const struct ledger_row *r) {
    const struct usage *u = &r->usage;
    bool priced = r->cost_nano >= 0;
    struct sums more = {.requests = 1,
                        .errors = r->status >= 400 || r->fault.n > 0,
                        .input_tokens = u->input,
                        .cached_tokens = u->cache_read,
                        .cache_write_tokens = u->cache_write,
                        .output_tokens = u->output,
                        .reasoning_tokens = u->reasoning,
                        .audio_tokens = u->audio_in,
                        .unpriced = !priced,
                        .estimated = r->state == LEDGER_ESTIMATED,
                        .unknown = is_unknown(r),
                        .cost_nano = priced ? r->cost_nano : 0};
    add(&more.audio_tokens, u->audio_out);
    sums_merge(to, &more);
}

void sums_merge(struct sums *to, const struct sums *more) {
#define X(name) add(&to->name, more->name);
    LEDGER_COUNTS(X)
#undef X
    add_cost(&to->cost_nano, more->cost_nano);
}

/* The cost stands behind the counts that the first version had. */
void sums_pack(unsigned char out[SUMS_PACKED], const struct sums *s) {
    const uint64_t v[] = {
#define X(name) s->name,
        LEDGER_COUNTS(X)
#undef X
    };
    char *to = pack_u8((char *)out, VERSION);
    for (size_t i = 0; i < SUMS_COUNTS; i++) {
        if (i == OLD_COUNTS)
            to = pack_u64(to, (uint64_t)s->cost_nano);
        to = pack_u64(to, v[i]);
    }
}

bool sums_unpack(struct str packed, struct sums *s) {
    uint64_t *const v[] = {
#define X(name) &s->name,
        LEDGER_COUNTS(X)
#undef X
    };
    struct unpack u = {.p = packed.p, .n = packed.n};
    unsigned version = unpack_u8(&u);
    size_t n = version == OLD_VERSION ? (size_t)OLD_COUNTS : (size_t)SUMS_COUNTS;
    *s = (struct sums){.requests = 0};
    for (size_t i = 0; i < OLD_COUNTS; i++)
        *v[i] = unpack_u64(&u);
    s->cost_nano = (int64_t)unpack_u64(&u);
    for (size_t i = OLD_COUNTS; i < n; i++)
        *v[i] = unpack_u64(&u);
    return (version == VERSION || version == OLD_VERSION) && !u.bad && u.n == 0;
}

/* Each counter of each group has a factor of its own. */
uint64_t sums_check(struct str key, const struct sums *s) {
    const uint64_t v[] = {
#define X(name) s->name,
        LEDGER_COUNTS(X)
#undef X
            (uint64_t) s->cost_nano};
    uint64_t factor = hash64(key.p, key.n), sum = 0;
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        factor = (factor ^ factor >> 29) * UINT64_C(0xBF58476D1CE4E5B9) + 1;
        sum += (factor | 1) * v[i];
    }
    return sum;
}
