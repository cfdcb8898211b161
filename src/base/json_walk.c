/* Reading text that the scanner has passed: cutting it again, undoing escapes, numbers. Nothing here checks
 * the grammar, but nothing here reads beyond the span either, whatever it is given. */
#include "base/die.h"
#include "json_bytes.h"
#include "utf8.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

enum json_kind json_kind_of(char c) {
    switch (c) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
    case 'f':
        return JSON_BOOL;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

struct skip {
    size_t depth;
    bool in_string;
};

#ifdef __SSE2__
/* One block of 16 bytes. NULL: the container ends in it, behind **end; else where to go on. */
static const char *skip_block(struct skip *k, const char *p, const char **end) {
    struct json_marks m = json_marks16(p);
    unsigned step = 16, todo = 0xFFFF, hits;
    while ((hits = (m.quote | (k->in_string ? m.slash : m.open | m.close)) & todo)) {
        unsigned bit = hits & (0U - hits);
        todo = 0U - (bit << 1); /* what lies behind it */
        if (bit & m.quote) {
            k->in_string = !k->in_string;
        } else if (bit & m.slash) {
            todo <<= 1; /* nor the byte that it escapes, which may be the next block's first */
            step += bit == 1U << 15;
        } else if (bit & m.open) {
            k->depth++;
        } else if (--k->depth == 0) {
            *end = p + __builtin_ctz(bit) + 1;
            return NULL;
        }
    }
    return p + step;
}
#endif

static const char *skip_container(const char *p, const char *end) {
    struct skip k = {0, false};
#ifdef __SSE2__
    while (end - p >= 16) {
        const char *stop = end, *next = skip_block(&k, p, &stop);
        if (!next)
            return stop;
        p = next;
    }
#endif
    for (; p < end; p++) {
        if (*p == '"')
            k.in_string = !k.in_string;
        else if (k.in_string)
            p += *p == '\\';
        else if ((*p | 0x20) == '{')
            k.depth++;
        else if ((*p | 0x20) == '}' && --k.depth == 0)
            return p + 1;
    }
    return end;
}

const char *json_skip_value(const char *p, const char *end) {
    if (p >= end)
        return end;
    if (*p == '{' || *p == '[')
        return skip_container(p, end);
    if (*p == '"') {
        p = json_string_end(p + 1, end);
        return p < end ? p + 1 : end;
    }
    while (p < end && *p != ',' && *p != '}' && *p != ']' && !json_space(*p))
        p++;
    return p;
}

const char *json_members(const char *p, const char *end, json_member_fn *fn, void *arg) {
    bool object = *p == '{';
    p = json_skip_space(p + 1, end);
    while (p < end && *p != '}' && *p != ']') {
        struct str key = STR_NONE;
        if (object) {
            const char *close = json_string_end(p + 1, end);
            key = str_make(p + 1, (size_t)(close - (p + 1)));
            p = close < end ? json_skip_space(close + 1, end) : end;
            p = p < end ? json_skip_space(p + 1, end) : end; /* the colon */
        }
        const char *from = p;
        p = json_skip_value(p, end);
        if (p == from)
            return end; /* not checked text */
        if (!fn(arg, key, (struct json_value){json_kind_of(*from), str_make(from, (size_t)(p - from))}))
            return NULL;
        p = json_skip_space(p, end);
        if (p < end && *p == ',')
            p = json_skip_space(p + 1, end);
    }
    return p < end ? p + 1 : end;
}

void json_each(struct str checked, json_member_fn *fn, void *arg) {
    const char *end = checked.p + checked.n;
    const char *p = json_skip_space(checked.p, end);
    if (p < end && (*p == '{' || *p == '['))
        json_members(p, end, fn, arg);
}

/* --- members by name --- */

struct wanted {
    const char *name;
    struct json_value *out;
    bool found;
};

static bool match_member(void *arg, struct str key, struct json_value v) {
    struct wanted *w = arg;
    if (json_key_is(key, w->name)) {
        *w->out = v;
        w->found = true;
    }
    return true; /* of members with one name the last counts, as in trees */
}

bool json_member(struct str checked, const char *key, struct json_value *out) {
    const char *end = checked.p + checked.n;
    const char *p = json_skip_space(checked.p, end);
    if (p == end || *p != '{')
        return false;
    struct wanted w = {.name = key, .out = out};
    json_each(checked, match_member, &w);
    return w.found;
}

bool json_path(struct str checked, struct json_value *out, ...) {
    struct json_value v = {JSON_OBJECT, checked};
    bool found = true;
    va_list ap;
    va_start(ap, out);
    for (const char *key; found && (key = va_arg(ap, const char *));)
        found = json_member(v.raw, key, &v);
    va_end(ap);
    if (found)
        *out = v;
    return found;
}

/* --- text --- */

static uint32_t hex4(const char *p) {
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)p[i];
        v = v << 4 | ((c <= '9' ? c - 0x30U : (c | 0x20U) - 'a' + 10) & 15);
    }
    return v;
}

const char *json_take_escape(const char *p, const char *end, uint32_t *c) {
    static const char names[] = "bfnrt", codes[] = "\b\f\n\r\t";
    if (end - p < 2) {
        *c = 0xFFFD;
        return end;
    }
    if (p[1] != 'u') {
        const char *at = p[1] ? strchr(names, p[1]) : NULL;
        *c = (unsigned char)(at ? codes[at - names] : p[1]);
        return p + 2;
    }
    if (end - p < 6) {
        *c = 0xFFFD;
        return end;
    }
    *c = hex4(p + 2);
    p += 6;
    if (*c >= 0xD800 && *c < 0xDC00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        uint32_t low = hex4(p + 2);
        if (low >= 0xDC00 && low < 0xE000) {
            *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
            p += 6;
        }
    }
    return p;
}

size_t json_unescape(char *to, struct str raw) {
    const char *p = raw.p, *end = raw.p + raw.n;
    char *at = to;
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((slash ? slash : end) - p);
        memmove(at, p,
                plain); /* the writing never overtakes the reading: an escape is longer than its text */
        at += plain;
        p += plain;
        if (slash) {
            uint32_t c;
            p = json_take_escape(p, end, &c);
            at += c >= 0xD800 && c < 0xE000 ? utf8_put_half(at, c) : utf8_put(at, c);
        }
    }
    return (size_t)(at - to);
}

static struct str inside(struct json_value v) {
    return v.kind == JSON_STRING && v.raw.n >= 2 ? str_make(v.raw.p + 1, v.raw.n - 2) : STR_NONE;
}

struct str json_text(struct arena *a, struct json_value v) {
    struct str raw = inside(v);
    if (raw.n == 0 || !memchr(raw.p, '\\', raw.n))
        return raw;
    char *copy = arena_dupz(a, raw);
    size_t n = json_unescape(copy, str_make(copy, raw.n));
    copy[n] = '\0';
    return str_make(copy, n);
}

/* Compares without a copy: escapes are undone one by one. */
static bool escaped_is(struct str raw, const char *text) {
    const char *p = raw.p, *end = raw.p + raw.n;
    size_t left = strlen(text);
    while (p < end) {
        char c[4] = {*p};
        size_t n = 1;
        if (*p == '\\') {
            uint32_t code;
            p = json_take_escape(p, end, &code);
            n = utf8_put(c, code);
        } else {
            p++;
        }
        if (n > left || memcmp(c, text, n) != 0)
            return false;
        text += n;
        left -= n;
    }
    return left == 0;
}

bool json_key_is(struct str raw_key, const char *name) {
    size_t n = strlen(name);
    if (raw_key.n < n)
        return false; /* escapes make a key longer, never shorter */
    if (raw_key.n == 0)
        return true;
    if (raw_key.p[0] != name[0] && raw_key.p[0] != '\\') /* most end here */
        return false;
    if (!memchr(raw_key.p, '\\', raw_key.n))
        return raw_key.n == n && memcmp(raw_key.p, name, n) == 0;
    return escaped_is(raw_key, name);
}

bool json_string_is(struct json_value v, const char *text) {
    return v.kind == JSON_STRING && json_key_is(inside(v), text);
}

bool json_true(struct json_value v) {
    return v.kind == JSON_BOOL && v.raw.n == 4;
}

/* --- numbers --- */

/* Saturates far beyond any exponent that matters. */
static int64_t exponent_of(const char *p, const char *end) {
    bool minus = p < end && *p == '-';
    int64_t v = 0;
    for (; p < end; p++) {
        if (*p >= '0' && *p <= '9' && v < INT64_C(1) << 40)
            v = v * 10 + (*p - '0');
    }
    return minus ? -v : v;
}

static bool take_digit(uint64_t *v, unsigned d) {
    return !__builtin_mul_overflow(*v, 10U, v) && !__builtin_add_overflow(*v, d, v);
}

/* The magnitude of an integer, however it is written: digits with zeros held back until a digit that counts
 * follows, so that "10.0" and "1000e-2" are integers and "0.5" is not. */
static bool magnitude(const char *p, const char *end, uint64_t *out) {
    const char *mark = p;
    while (mark < end && (*mark | 0x20) != 'e')
        mark++;
    int64_t scale = mark < end ? exponent_of(mark + 1, end) : 0;
    int64_t zeros = 0; /* digits 0 that are not in v yet */
    uint64_t v = 0;
    bool fraction = false;
    for (; p < mark; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        scale -= fraction;
        if (*p == '0') {
            zeros++;
            continue;
        }
        for (; zeros > 0 && v > 0; zeros--) {
            if (!take_digit(&v, 0))
                return false;
        }
        zeros = 0;
        if (!take_digit(&v, (unsigned)(*p - '0')))
            return false;
    }
    scale += zeros;
    *out = v;
    if (v == 0)
        return true;
    for (; scale > 0; scale--) {
        if (!take_digit(out, 0))
            return false;
    }
    return scale == 0;
}

static bool integer(struct json_value v, bool *minus, uint64_t *out) {
    if (v.kind != JSON_NUMBER || v.raw.n == 0)
        return false;
    *minus = v.raw.p[0] == '-';
    return magnitude(v.raw.p + *minus, v.raw.p + v.raw.n, out);
}

bool json_u64(struct json_value v, uint64_t *out) {
    bool minus;
    uint64_t m;
    if (!integer(v, &minus, &m) || (minus && m != 0))
        return false;
    *out = m;
    return true;
}

bool json_i64(struct json_value v, int64_t *out) {
    bool minus;
    uint64_t m;
    if (!integer(v, &minus, &m) || m > (uint64_t)INT64_MAX + minus)
        return false;
    *out = minus ? (int64_t)(0 - m) : (int64_t)m;
    return true;
}

bool json_double(struct json_value v, double *out) {
    char small[64], *z = small, *stop;
    if (v.kind != JSON_NUMBER || v.raw.n == 0)
        return false;
    if (v.raw.n >= sizeof small)
        z = mem_grow(NULL, v.raw.n + 1);
    memcpy(z, v.raw.p, v.raw.n);
    z[v.raw.n] = '\0';
    double d = strtod(z, &stop); /* the daemon never leaves the C locale */
    bool ok = *stop == '\0' && isfinite(d);
    if (z != small)
        mem_free(z);
    if (ok)
        *out = d;
    return ok;
}
