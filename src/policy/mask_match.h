/* What the matchers share. Each looks at one place of a text and says whether its shape begins just there. */
#ifndef PENSTOCK_SRC_POLICY_MASK_MATCH_H
#define PENSTOCK_SRC_POLICY_MASK_MATCH_H
#include "base/str.h"

typedef unsigned char byte;
struct spot { /* begin <= p < end; bytes before begin and from end on are not looked at */
    const byte *begin, *p, *end;
    const byte *at; /* the next '@', when there is one before end */
};
enum swallow { SWALLOW_NONE, SWALLOW_TOKEN, SWALLOW_VALUE, SWALLOW_PEM };
struct hit {
    size_t keep;          /* bytes from p on that stay (a name before its value) ... */
    size_t n;             /* ... and those that the match takes, these included */
    enum swallow swallow; /* what follows belongs to it as well, further than could be seen */
};
void match_index(void);                 /* once, before the others */
extern byte mask_secret_pairs[256][32]; /* bits of the second byte: a secret may begin with these two */
static inline bool may_be_secret(const byte *p, const byte *end) {
    return end - p < 2 || (mask_secret_pairs[*p][p[1] >> 3] & 1u << (p[1] & 7));
}
bool match_secret(const struct spot *s, struct hit *h);
bool match_email(const struct spot *s, struct hit *h);
bool match_card(const struct spot *s, struct hit *h);
bool match_phone(const struct spot *s, struct hit *h);
bool match_ip(const struct spot *s, struct hit *h);
bool match_address(const struct spot *s, struct hit *h);

static inline bool is_digit(byte c) {
    return c >= '0' && c <= '9';
}
static inline bool is_upper(byte c) {
    return c >= 'A' && c <= 'Z';
}
static inline byte to_lower(byte c) {
    return is_upper(c) ? (byte)(c + 32) : c;
}
static inline bool is_alpha(byte c) {
    return to_lower(c) >= 'a' && to_lower(c) <= 'z';
}
static inline bool is_alnum(byte c) {
    return is_alpha(c) || is_digit(c);
}
static inline bool is_hex(byte c) {
    return is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'f');
}
/* Of alphabets that put spaces between words: ASCII, two bytes from U+00C0 on, Latin Extended Additional. */
static inline size_t letter_at(const byte *p, const byte *end) {
    if (p < end && is_alpha(*p))
        return 1;
    if (end - p >= 2 && *p >= 0xC3 && *p <= 0xDF && (p[1] & 0xC0) == 0x80)
        return 2;
    return end - p >= 3 && *p == 0xE1 && (p[1] & 0xC0) == 0x80 ? 3 : 0;
}
static inline bool word_at(const byte *p, const byte *end) {
    return letter_at(p, end) > 0 || (p < end && is_digit(*p));
}
/* The letter of a JSON escape (\n) is no letter of the text. */
static inline bool is_escape(const byte *begin, const byte *p) {
    return p - begin >= 2 && p[-2] == '\\' && strchr("nrtbf", p[-1]) && !(p - begin >= 3 && p[-3] == '\\');
}
static inline bool word_before(const byte *begin, const byte *p) {
    if (p == begin)
        return false;
    if (is_alnum(p[-1]))
        return !is_escape(begin, p);
    if ((p[-1] & 0xC0) != 0x80)
        return false;
    return (p - begin >= 2 && p[-2] >= 0xC3 && p[-2] <= 0xDF) || (p - begin >= 3 && p[-3] == 0xE1);
}
/* Behind `lower` (of lower-case ASCII, or bytes that have no case here), or NULL. */
static inline const byte *skip_text(const byte *p, const byte *end, const char *lower) {
    for (; *lower; lower++, p++)
        if (p == end || to_lower(*p) != (byte)*lower)
            return NULL;
    return p;
}
/* Blanks, a no-break space, a new line or its escape: behind at most `most` of them. */
const byte *skip_blanks(const byte *p, const byte *end, unsigned most);
#endif
