/* Steps over JSON that was checked, or (in taps) over what may be none: nothing reads beyond the end, and the worst
 * that garbage gets is a wrong look. For the hot paths, where one pass has to serve; everything else uses json.h. */
#ifndef PENSTOCK_BASE_JSON_WALK_H
#define PENSTOCK_BASE_JSON_WALK_H
#include "base/json.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline bool json_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const char *json_skip_space(const char *p, const char *end) {
    if (p < end && (unsigned char)*p > ' ') /* the common case of compact text */
        return p;
    if (end - p >= 2 && *p == ' ' && (unsigned char)p[1] > ' ') /* and of text with a space behind commas */
        return p + 1;
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) { /* indentation */
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i a =
            _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8(' ')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\n')));
        __m128i b =
            _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\r')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\t')));
        unsigned other = (unsigned)_mm_movemask_epi8(_mm_or_si128(a, b)) ^ 0xFFFF;
        if (other)
            return p + __builtin_ctz(other);
    }
#endif
    while (p < end && json_space(*p))
        p++;
    return p;
}

/* p: behind the opening quote. The closing one, or end. */
static inline const char *json_string_end(const char *p, const char *end) {
#ifdef __SSE2__
    if (end - p >= 16) { /* most are short: that is seen sooner than memchr() is called */
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        unsigned quote = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
        unsigned slash = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
        if (quote && !slash)
            return p + __builtin_ctz(quote);
    }
#endif
    for (;;) {
        const char *q = memchr(p, '"', (size_t)(end - p)), *back = q;
        if (!q)
            return end;
        while (back > p && back[-1] == '\\')
            back--;
        if ((q - back) % 2 == 0)
            return q;
        p = q + 1; /* an escaped quote: what is before it does not count for the next */
    }
}

/* Behind the value that begins at p. */
const char *json_skip_value(const char *p, const char *end);
enum json_kind json_kind_of(char first_byte);
/* The members of the object (elements of the array) at p, as json_each() gives them. Behind it, or NULL after fn said
 * stop. */
const char *json_members(const char *p, const char *end, json_member_fn *fn, void *arg);
#endif
