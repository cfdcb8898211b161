/* The arithmetic and the bytes of the hourly sums. Additions stop at the end of the range instead of
 * wrapping: a damaged counter must not turn into a small one. */
#include "sums.h"
#include "base/hash.h"
#include "pack.h"

enum { VERSION = 1 };

uint32_t sums_hour(int64_t wall_ms) {
    int64_t hour = wall_ms / HOUR_MS;
    return wall_ms < 0 ? 0 : hour > UINT32_MAX ? UINT32_MAX : (uint32_t)hour;
}

/* --- keys --- */

static unsigned char *put_name(unsigned char *to, struct str s) {
    struct str cut = s.n > SUMS_NAME_MAX ? pack_cut(s, SUMS_NAME_MAX - 17) : s;
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
    size_t n = (size_t)(put_name(name, whole) - name);
    return n == kept.n && memcmp(name, kept.p, n) == 0;
}

size_t sums_key(unsigned char out[SUMS_KEY_MAX], const struct ledger_row *r) {
    unsigned char *to = out + 4;
    key_u32(out, sums_hour(r->wall_ms));
    to = put_name(to, r->key);
    *to++ = 0;
    to = put_name(to, r->tenant);
    *to++ = 0;
    to = put_name(to, r->provider);
    *to++ = 0;
    to = put_name(to, r->model);
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

void sums_of_row(struct sums *to, const struct ledger_row *r) {
    bool priced = r->cost_nano >= 0;
    sums_merge(to, &(struct sums){.requests = 1,
                                  .errors = r->status >= 400 || r->fault.n > 0,
                                  .input_tokens = r->usage.input,
                                  .cached_tokens = r->usage.cache_read,
                                  .output_tokens = r->usage.output,
                                  .reasoning_tokens = r->usage.reasoning,
                                  .unpriced = !priced,
                                  .cost_nano = priced ? r->cost_nano : 0});
}

void sums_merge(struct sums *to, const struct sums *more) {
    add(&to->requests, more->requests);
    add(&to->errors, more->errors);
    add(&to->input_tokens, more->input_tokens);
    add(&to->cached_tokens, more->cached_tokens);
    add(&to->output_tokens, more->output_tokens);
    add(&to->reasoning_tokens, more->reasoning_tokens);
    add(&to->unpriced, more->unpriced);
    add_cost(&to->cost_nano, more->cost_nano);
}

void sums_pack(unsigned char out[SUMS_PACKED], const struct sums *s) {
    char *to = pack_u8((char *)out, VERSION);
    to = pack_u64(to, s->requests);
    to = pack_u64(to, s->errors);
    to = pack_u64(to, s->input_tokens);
    to = pack_u64(to, s->cached_tokens);
    to = pack_u64(to, s->output_tokens);
    to = pack_u64(to, s->reasoning_tokens);
    to = pack_u64(to, s->unpriced);
    pack_u64(to, (uint64_t)s->cost_nano);
}

bool sums_unpack(struct str packed, struct sums *s) {
    struct unpack u = {.p = packed.p, .n = packed.n};
    bool known = unpack_u8(&u) == VERSION;
    s->requests = unpack_u64(&u);
    s->errors = unpack_u64(&u);
    s->input_tokens = unpack_u64(&u);
    s->cached_tokens = unpack_u64(&u);
    s->output_tokens = unpack_u64(&u);
    s->reasoning_tokens = unpack_u64(&u);
    s->unpriced = unpack_u64(&u);
    s->cost_nano = (int64_t)unpack_u64(&u);
    return known && !u.bad && u.n == 0;
}
