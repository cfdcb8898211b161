/* The byte loops that JSON's speed hangs on, 16 bytes a step with SSE2, 8 without. Private to base/json*.c.
 */
#ifndef PENSTOCK_SRC_BASE_JSON_BYTES_H
#define PENSTOCK_SRC_BASE_JSON_BYTES_H
#include "base/json_walk.h"

/* A byte that may stand in a string without a second look: not a quote, backslash, control character, and
 * ASCII. */
static inline bool json_plain(char c) {
    return (signed char)c >= 0x20 && c != '"' && c != '\\';
}

#ifndef __SSE2__
/* In each byte of the result the high bit is set when that byte of v is zero (and perhaps in bytes above the
 * first such one: good enough to stop at). */
#define JSON_ONES      (~UINT64_C(0) / 255)
#define JSON_HIGHS     (JSON_ONES * 128)
#define JSON_ZERO(v)   (((v)-JSON_ONES) & ~(v)&JSON_HIGHS)
#define JSON_HAS(v, c) JSON_ZERO((v) ^ (JSON_ONES * (unsigned char)(c)))
#endif

/* The first byte in [p, end) that is not plain, or end. */
static inline const char *json_skip_plain(const char *p, const char *end) {
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(' ');
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash));
        hit = _mm_or_si128(hit, _mm_cmplt_epi8(v, space)); /* signed: also every byte from 0x80 on */
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);
        if (mask)
            return p + __builtin_ctz(mask);
    }
#else
    for (; end - p >= 8; p += 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        uint64_t low = (v - JSON_ONES * 0x20) & ~v & JSON_HIGHS;
        if (low | (v & JSON_HIGHS) | JSON_HAS(v, '"') | JSON_HAS(v, '\\'))
            break;
    }
#endif
    while (p < end && json_plain(*p))
        p++;
    return p;
}

#ifdef __SSE2__
/* Where in 16 bytes the marks are that structure hangs on, one bit a byte. */
struct json_marks {
    unsigned quote, slash, open, close;
};

static inline unsigned json_bits(__m128i v, char c) {
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(c)));
}

static inline struct json_marks json_marks16(const char *p) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i folded = _mm_or_si128(v, _mm_set1_epi8(0x20)); /* makes [ and ] the same as { and } */
    return (struct json_marks){json_bits(v, '"'), json_bits(v, '\\'), json_bits(folded, '{'),
                               json_bits(folded, '}')};
}
#endif

/* One escape of checked text: p is at the backslash. The next position; *c is the code point, a pair of
 * surrogates joined, a lone one as it stands. */
const char *json_take_escape(const char *p, const char *end, uint32_t *c);
/* Undoes the escapes of checked text, in place or into `to` (raw.n bytes are enough); returns the length. */
size_t json_unescape(char *to, struct str raw);
#endif
