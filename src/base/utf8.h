/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. Private to base/. */
#ifndef PENSTOCK_SRC_BASE_UTF8_H
#define PENSTOCK_SRC_BASE_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_REPLACEMENT "\xEF\xBF\xBD"

static inline bool utf8_more(unsigned char c) {
    return (c & 0xC0) == 0x80;
}

/* Length of the well-formed character at p, with n > 0 bytes to read; 0 when it is none. */
static inline size_t utf8_length(const unsigned char *p, size_t n) {
    unsigned char c = p[0];
    if (c < 0x80)
        return 1;
    if (c < 0xC2)
        return 0;
    if (c < 0xE0)
        return n >= 2 && utf8_more(p[1]) ? 2 : 0;
    if (c < 0xF0) {
        if (n < 3 || !utf8_more(p[1]) || !utf8_more(p[2]))
            return 0;
        return (c == 0xE0 && p[1] < 0xA0) || (c == 0xED && p[1] >= 0xA0) ? 0 : 3;
    }
    if (c > 0xF4 || n < 4 || !utf8_more(p[1]) || !utf8_more(p[2]) || !utf8_more(p[3]))
        return 0;
    return (c == 0xF0 && p[1] < 0x90) || (c == 0xF4 && p[1] >= 0x90) ? 0 : 4;
}

/* Half of a UTF-16 pair, as three bytes (WTF-8): no UTF-8, but what an escape may stand for. */
static inline bool utf8_half(const char *p, size_t n) {
    return n >= 3 && (unsigned char)p[0] == 0xED && (unsigned char)p[1] >= 0xA0 &&
           (unsigned char)p[1] < 0xC0 && utf8_more((unsigned char)p[2]);
}

static inline size_t utf8_put_half(char *to, uint32_t c) {
    to[0] = (char)0xED;
    to[1] = (char)(0x80 | (c >> 6 & 0x3F));
    to[2] = (char)(0x80 | (c & 0x3F));
    return 3;
}

/* Writes code point c (a surrogate becomes U+FFFD); returns its length, at most 4. */
static inline size_t utf8_put(char *to, uint32_t c) {
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xC0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c >= 0xD800 && c < 0xE000)
        c = 0xFFFD;
    if (c < 0x10000) {
        to[0] = (char)(0xE0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3F));
        to[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    to[0] = (char)(0xF0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 0x3F));
    to[2] = (char)(0x80 | (c >> 6 & 0x3F));
    to[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}
#endif
