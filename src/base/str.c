/* Slices of bytes. Comparisons without regard to case know ASCII only: no locale may change what a header
 * or an option means. */
#include "base/str.h"

static unsigned char lower(unsigned char c) {
    return (unsigned char)(c - 'A') < 26 ? (unsigned char)(c | 0x20) : c;
}

static bool same_i(const char *a, const char *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i] && lower((unsigned char)a[i]) != lower((unsigned char)b[i]))
            return false;
    }
    return true;
}

bool str_eqi(struct str a, struct str b) {
    return a.n == b.n && same_i(a.p, b.p, a.n);
}

bool str_isi(struct str a, const char *z) {
    return str_eqi(a, str_of(z));
}

bool str_starts(struct str a, const char *prefix) {
    size_t n = strlen(prefix);
    return a.n >= n && (n == 0 || memcmp(a.p, prefix, n) == 0);
}

bool str_startsi(struct str a, const char *prefix) {
    size_t n = strlen(prefix);
    return a.n >= n && same_i(a.p, prefix, n);
}

bool str_ends(struct str a, const char *suffix) {
    size_t n = strlen(suffix);
    return a.n >= n && (n == 0 || memcmp(a.p + (a.n - n), suffix, n) == 0);
}

bool str_plain(struct str a) {
    for (size_t i = 0; i < a.n; i++)
        if ((unsigned char)a.p[i] < ' ' || a.p[i] == 0x7f)
            return false;
    return true;
}

static bool blank(char c) {
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str a) {
    while (a.n > 0 && blank(a.p[0])) {
        a.p++;
        a.n--;
    }
    while (a.n > 0 && blank(a.p[a.n - 1]))
        a.n--;
    return a;
}

struct str str_skip(struct str a, size_t n) {
    if (n > a.n)
        n = a.n;
    return n ? (struct str){a.p + n, a.n - n} : a;
}

ptrdiff_t str_find(struct str hay, struct str needle) {
    if (needle.n == 0)
        return 0;
    if (needle.n > hay.n)
        return -1;
    const char *at = memmem(hay.p, hay.n, needle.p, needle.n);
    return at ? at - hay.p : -1;
}

bool str_next(struct str *rest, char sep, struct str *piece) {
    if (rest->n == 0)
        return false;
    const char *at = memchr(rest->p, sep, rest->n);
    if (!at) {
        *piece = *rest;
        *rest = STR_NONE;
        return true;
    }
    size_t n = (size_t)(at - rest->p);
    *piece = (struct str){rest->p, n};
    *rest = (struct str){at + 1, rest->n - n - 1};
    return true;
}

bool str_u64(struct str a, uint64_t *out) {
    uint64_t v = 0;
    if (a.n == 0)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        unsigned d = (unsigned)((unsigned char)a.p[i] - '0');
        if (d > 9 || __builtin_mul_overflow(v, 10U, &v) || __builtin_add_overflow(v, d, &v))
            return false;
    }
    *out = v;
    return true;
}

bool str_i64(struct str a, int64_t *out) {
    uint64_t v;
    if (!str_u64(a, &v) || v > INT64_MAX)
        return false;
    *out = (int64_t)v;
    return true;
}

struct str str_from_u64(char digits[STR_DIGITS], uint64_t v) {
    size_t at = STR_DIGITS;
    do
        digits[--at] = (char)('0' + v % 10);
    while (v /= 10);
    return str_make(digits + at, STR_DIGITS - at);
}

void str_copy(char *dst, size_t size, struct str a) {
    if (size == 0)
        return;
    size_t n = a.n;
    if (n >= size) {
        n = size - 1;
        /* Never end inside a character: step back over continuation bytes when the cut is before one. */
        size_t at = n;
        while (at > 0 && n - at < 3 && ((unsigned char)a.p[at] & 0xC0) == 0x80)
            at--;
        if (((unsigned char)a.p[at] & 0xC0) != 0x80)
            n = at;
    }
    if (n)
        memcpy(dst, a.p, n);
    dst[n] = '\0';
}

bool str_glob(struct str pattern, struct str s) {
    size_t p = 0, i = 0, star = SIZE_MAX, mark = 0;
    while (i < s.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            mark = i;
        } else if (p < pattern.n && pattern.p[p] == s.p[i]) {
            p++;
            i++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            i = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}
