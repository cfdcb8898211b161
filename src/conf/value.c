/* Texts to values and back. Written out by hand and without floating point where money is meant: strtod and
 * its kin know locales, signs, exponents and "infinity", which no option should. Each printer writes what its
 * parser reads as the same value. */
#include "load.h"

/* UTF-8 without control characters of any kind: what YAML, JSON and a header can all carry. */
static bool plain_character(uint32_t c, uint32_t least) {
    return c >= least && c >= ' ' && !(c >= 0x7f && c < 0xa0) && !(c >= 0xd800 && c <= 0xdfff) &&
           c != 0xfeff && c != 0xfffe && c != 0xffff && c <= 0x10ffff;
}

bool value_plain(struct str s) {
    for (size_t i = 0; i < s.n;) {
        unsigned char b = (unsigned char)s.p[i++];
        size_t more = b < 0x80 ? 0 : b >= 0xf0 ? 3 : b >= 0xe0 ? 2 : 1;
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        uint32_t c = more == 0 ? b : b & (0x3fU >> more);
        if ((b >= 0x80 && b < 0xc0) || b >= 0xf8 || more > s.n - i)
            return false;
        for (size_t k = 0; k < more; k++, i++) {
            if (((unsigned char)s.p[i] & 0xc0) != 0x80)
                return false;
            c = c << 6 | ((unsigned char)s.p[i] & 0x3f);
        }
        if (!plain_character(c, least[more]))
            return false;
    }
    return true;
}

bool value_bool(struct str s, bool *out) {
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
    for (size_t i = 0; i < 3; i++) {
        if (str_isi(s, yes[i]) || str_isi(s, no[i])) {
            *out = str_isi(s, yes[i]);
            return true;
        }
    }
    return false;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* "<digits><unit>", the unit "" included when the table has it. */
static bool with_unit(struct str s, const struct unit *units, size_t n, bool any_case, uint64_t *out) {
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    uint64_t v;
    if (!str_u64(str_make(s.p, digits), &v))
        return false;
    struct str unit = str_trim(str_skip(s, digits));
    for (size_t i = 0; i < n; i++) {
        if (any_case ? str_isi(unit, units[i].name) : str_is(unit, units[i].name))
            return !__builtin_mul_overflow(v, units[i].factor, out);
    }
    if (v == 0 && unit.n == 0) {
        *out = 0;
        return true;
    }
    return false;
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
static const struct unit times[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit sizes[] = {{"TiB", UINT64_C(1) << 40},
                                    {"GiB", 1 << 30},
                                    {"MiB", 1 << 20},
                                    {"KiB", 1 << 10},
                                    {"GB", 1000000000},
                                    {"MB", 1000000},
                                    {"KB", 1000},
                                    {"B", 1},
                                    {"", 1}};

bool value_duration(struct str s, uint64_t *ms) {
    return with_unit(s, times, COUNT(times), false, ms);
}

bool value_size(struct str s, uint64_t *bytes) {
    return with_unit(s, sizes, COUNT(sizes), true, bytes);
}

static void print_unit(struct buf *out, uint64_t v, const struct unit *units, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (v >= units[i].factor && v % units[i].factor == 0) {
            buf_addu(out, v / units[i].factor);
            buf_addz(out, units[i].name);
            return;
        }
    }
    BUF_ADD(out, "0");
}

void print_duration(struct buf *out, uint64_t ms) {
    print_unit(out, ms, times, COUNT(times));
}

void print_size(struct buf *out, uint64_t bytes) {
    static const struct unit binary[] = {
        {"TiB", UINT64_C(1) << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}};
    print_unit(out, bytes, binary, COUNT(binary));
}

/* "12", "12.5", ".5" in billionths; more digits only if they are zeros. */
static bool billionths(struct str s, uint64_t *out) {
    uint64_t whole = 0, fraction = 0, weight = NANO;
    struct str left = s, right = STR_NONE;
    const char *point = s.n ? memchr(s.p, '.', s.n) : NULL;
    if (point) {
        left = str_make(s.p, (size_t)(point - s.p));
        right = str_make(point + 1, s.n - left.n - 1);
    }
    if ((left.n == 0 && right.n == 0) || (left.n && !str_u64(left, &whole)))
        return false;
    for (size_t i = 0; i < right.n; i++) {
        if (right.p[i] < '0' || right.p[i] > '9' || (weight == 1 && right.p[i] != '0'))
            return false;
        if (weight > 1) {
            weight /= 10;
            fraction += (uint64_t)(right.p[i] - '0') * weight;
        }
    }
    return !__builtin_mul_overflow(whole, (uint64_t)NANO, out) &&
           !__builtin_add_overflow(*out, fraction, out) && *out <= INT64_MAX;
}

bool value_nano(struct str s, int64_t *out) {
    uint64_t v;
    if (!billionths(s, &v))
        return false;
    *out = (int64_t)v;
    return true;
}

bool value_real(struct str s, double *out) {
    uint64_t v;
    if (!billionths(s, &v) || v >= UINT64_C(1) << 53)
        return false;
    *out = (double)v / NANO; /* both exact: one rounding, the nearest double */
    return true;
}

void print_nano(struct buf *out, int64_t v) {
    uint64_t fraction = (uint64_t)v % NANO, weight = NANO / 10;
    buf_addu(out, (uint64_t)v / NANO);
    if (fraction)
        BUF_ADD(out, ".");
    for (; fraction; weight /= 10) {
        buf_addc(out, (char)('0' + fraction / weight));
        fraction %= weight;
    }
}

void print_real(struct buf *out, double v) {
    print_nano(out, (int64_t)(v * NANO + 0.5));
}

bool value_octal(struct str s, unsigned *out) {
    unsigned v = 0;
    if (str_startsi(s, "0o"))
        s = str_skip(s, 2);
    if (s.n < 3 || s.n > 4)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '7')
            return false;
        v = v * 8 + (unsigned)(s.p[i] - '0');
    }
    *out = v;
    return true;
}
