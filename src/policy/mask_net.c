/* E-mail addresses (RFC 5321 in the forms that people write, RFC 6531 for other letters) and IP addresses. */
#include "mask_match.h"

enum { LOCAL_MOST = 256, DOMAIN_MOST = 253 };

static size_t local_at(const byte *p, const byte *end) {
    size_t n = letter_at(p, end);
    if (n || p == end)
        return n;
    return is_digit(*p) || strchr("._%+-", *p) ? *p != 0 : 0;
}

/* Endings of file names, and of names of packages with their versions. */
static bool is_file_ending(struct str s) {
    static const char *const endings[] = {"png",  "jpg", "jpeg", "gif",  "svg",
                                          "webp", "js",  "ts",   "json", "tgz"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (str_isi(s, endings[i]))
            return true;
    return false;
}

/* Labels with dots between them, the last one of letters. Its end, or NULL. */
static const byte *skip_domain(const byte *p, const byte *end) {
    const byte *from = p, *label = p, *good = NULL;
    bool letters = true;
    size_t dots = 0, n;
    for (;;) {
        n = letter_at(p, end);
        if (n || (p < end && (is_digit(*p) || *p == '-'))) {
            letters = letters && n;
            p += n ? n : 1;
            continue;
        }
        if (p == label || p[-1] == '-')
            break;
        if (dots > 0 && letters && p - label >= 2)
            good = p;
        else if (dots > 0)
            good = NULL;
        if (p == end || *p != '.')
            break;
        dots++;
        label = ++p;
        letters = true;
    }
    if (!good || good - from > DOMAIN_MOST)
        return NULL;
    const byte *last = good;
    while (last > from && last[-1] != '.')
        last--;
    return is_file_ending(str_make((const char *)last, (size_t)(good - last))) ? NULL : good;
}

bool match_email(const struct spot *s, struct hit *h) {
    const byte *at = s->at, *p = s->p;
    if (at >= s->end || at - p > LOCAL_MOST || !word_at(p, s->end) || word_before(s->begin, p))
        return false;
    while (p < at) {
        size_t n = local_at(p, at);
        if (n == 0)
            return false;
        p += n;
    }
    const byte *behind = skip_domain(at + 1, s->end);
    if (!behind || (behind < s->end && *behind == ':' && at - s->p == 3 && memcmp(s->p, "git", 3) == 0))
        return false; /* git@host:path is no person */
    h->n = (size_t)(behind - s->p);
    return true;
}

/* --- IP --- */

static bool match_v4(const struct spot *s, struct hit *h) {
    const byte *p = s->p;
    if (p > s->begin && (p[-1] == '.' || p[-1] == '-'))
        return false;
    for (int part = 0; part < 4; part++) {
        unsigned v = 0;
        const byte *from = p;
        if (part && (p == s->end || *p++ != '.'))
            return false;
        for (from = p; p < s->end && p - from < 4 && is_digit(*p); p++)
            v = v * 10 + (unsigned)(*p - '0');
        if (p == from || v > 255 || (p - from > 1 && *from == '0'))
            return false;
    }
    if (word_at(p, s->end) || (s->end - p >= 2 && *p == '.' && is_digit(p[1])))
        return false;
    h->n = (size_t)(p - s->p);
    return true;
}

/* Eight groups of hex digits, or fewer around one "::" (RFC 4291). */
static bool match_v6(const struct spot *s, struct hit *h) {
    const byte *p = s->p;
    unsigned groups = 0, doubles = 0, digits = 0, most = 0;
    if (p > s->begin && p[-1] == ':')
        return false;
    while (p < s->end && (is_hex(*p) || *p == ':')) {
        const byte *from = p;
        for (; p < s->end && is_hex(*p); p++)
            digits += is_digit(*p);
        groups += p > from;
        most = (unsigned)(p - from) > most ? (unsigned)(p - from) : most;
        if (p == s->end || *p != ':')
            break;
        if (s->end - p >= 2 && p[1] == ':') {
            doubles++;
            p++;
        } else if (s->end - p < 2 || !is_hex(p[1])) {
            break; /* a colon of the text */
        }
        p++;
    }
    if (most > 4 || digits == 0 || word_at(p, s->end) ||
        !(doubles == 1 ? groups <= 7 : !doubles && groups == 8))
        return false;
    h->n = (size_t)(p - s->p);
    return true;
}

bool match_ip(const struct spot *s, struct hit *h) {
    if (word_before(s->begin, s->p))
        return false;
    return (is_digit(*s->p) && match_v4(s, h)) || match_v6(s, h);
}
