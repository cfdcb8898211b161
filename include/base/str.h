/* Slices: a pointer and a length, owned by somebody else and not NUL-terminated. */
#ifndef PENSTOCK_BASE_STR_H
#define PENSTOCK_BASE_STR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p; /* may be NULL only when n == 0 */
    size_t n;
};

#define STR(literal)  ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE      ((struct str){NULL, 0})
#define STR_FMT       "%.*s"
#define STR_ARG(s)    (int)(s).n, (s).p ? (s).p : ""

static inline struct str str_of(const char *z) {
    return (struct str){z, z ? strlen(z) : 0};
}
static inline struct str str_make(const char *p, size_t n) {
    return (struct str){p, n};
}
static inline bool str_eq(struct str a, struct str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool str_is(struct str a, const char *z) {
    return a.n == strlen(z) && (a.n == 0 || memcmp(a.p, z, a.n) == 0);
}
bool str_eqi(struct str a, struct str b);            /* ASCII letters without regard to case */
bool str_isi(struct str a, const char *z);
bool str_starts(struct str a, const char *prefix);
bool str_startsi(struct str a, const char *prefix);
bool str_ends(struct str a, const char *suffix);
struct str str_trim(struct str a);                   /* without spaces and tabs at both ends */
struct str str_skip(struct str a, size_t n);         /* without its first n bytes (all when fewer) */
bool str_plain(struct str a);                        /* no control character of ASCII is in it */
ptrdiff_t str_find(struct str hay, struct str needle); /* offset of the first, or -1 */
/* The next piece of *rest before `sep`; false when there is none left. "a,,b" has three pieces, "" has none;
 * a `sep` at the very end begins no further piece ("a," has one). */
bool str_next(struct str *rest, char sep, struct str *piece);
/* Decimal digits only, no sign (neither of the two), no overflow: false otherwise. */
bool str_u64(struct str a, uint64_t *out);
bool str_i64(struct str a, int64_t *out);
/* And back: the digits stand at the end of `digits`, and the result there. */
#define STR_DIGITS 20
struct str str_from_u64(char digits[STR_DIGITS], uint64_t v);
/* Copies into a fixed array, always NUL-terminated, cut if need be (at a UTF-8 character's border). */
void str_copy(char *dst, size_t size, struct str a);
/* '*' in the pattern stands for any run of characters. Linear in both lengths but for backtracking to the last star. */
bool str_glob(struct str pattern, struct str s);
#endif
