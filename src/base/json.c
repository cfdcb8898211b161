/* The strict scanner: one pass over the text, no memory, and what it lets pass is what any reader of RFC 8259
 * reads. It does not recurse; one bit for each level remembers whether it is an object. Everything else that
 * handles JSON here relies on the text having come through this file. */
#include "base/json.h"
#include "json_bytes.h"
#include "utf8.h"

struct scan {
    const char *end;
    const char *bad; /* where it is wrong */
    const char *why; /* NULL after a stop by fn */
    json_member_fn *fn;
    void *arg;
    struct str key;    /* of the outermost object's current member */
    const char *value; /* where that member's value begins */
    unsigned depth;
    bool object; /* the innermost level is one */
    uint64_t levels[JSON_MAX_DEPTH / 64];
};
_Static_assert(JSON_MAX_DEPTH % 64 == 0, "whole words of bits");

static const char *const END = "unexpected end";

__attribute__((noinline, cold)) static const char *fail(struct scan *s, const char *at, const char *why) {
    s->bad = at;
    s->why = at == s->end ? END : why;
    return NULL;
}

static bool is_digit(char c) {
    return (unsigned char)(c - '0') < 10;
}

static bool is_hex(char c) {
    return is_digit(c) || (unsigned char)((c | 0x20) - 'a') < 6;
}

/* --- scalars: p is at the first byte, the result behind the last --- */

static const char *check_escape(struct scan *s, const char *p) {
    if (++p == s->end)
        return fail(s, p, END);
    switch (*p) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 1;
    case 'u':
        for (int i = 0; i < 4; i++) {
            if (++p == s->end || !is_hex(*p))
                return fail(s, p, "invalid \\u escape in a string");
        }
        return p + 1;
    default:
        return fail(s, p, "invalid escape in a string");
    }
}

/* Three bytes, the bulk of East Asian text, in one look: the leading bits, then neither overlong nor
 * surrogate. */
static bool is_utf8_3(const char *p, const char *end) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint32_t v;
    if (end - p < 4)
        return false;
    memcpy(&v, p, 4);
    uint32_t lead = v & 0x200F; /* the first byte's low half, and the bit that parts 80..9F from A0..BF */
    return (v & 0xC0C0F0) == 0x8080E0 && lead != 0 && lead != 0x200D;
#else
    return false && p == end;
#endif
}

static const char *check_utf8(struct scan *s, const char *p) {
    do {
        if (is_utf8_3(p, s->end)) {
            p += 3;
            continue;
        }
        size_t n = utf8_length((const unsigned char *)p, (size_t)(s->end - p));
        if (n == 0) {
            s->bad = p; /* even at the end: a cut character is wrong from its first byte on */
            s->why = "invalid UTF-8";
            return NULL;
        }
        p += n;
    } while (p < s->end && (signed char)*p < 0);
    return p;
}

static const char *check_string(struct scan *s, const char *p) {
    p++;
    for (;;) {
        p = json_skip_plain(p, s->end);
        if (p == s->end)
            return fail(s, p, END);
        if (*p == '"')
            return p + 1;
        if (*p == '\\')
            p = check_escape(s, p);
        else if ((signed char)*p < 0)
            p = check_utf8(s, p);
        else
            return fail(s, p, "control character in a string");
        if (!p)
            return NULL;
    }
}

static const char *check_digits(struct scan *s, const char *p) {
    if (p == s->end || !is_digit(*p))
        return fail(s, p, "a digit was expected");
    while (p < s->end && is_digit(*p))
        p++;
    return p;
}

static const char *check_number(struct scan *s, const char *p) {
    if (*p == '-')
        p++;
    if (p < s->end && *p == '0') {
        p++;
        if (p < s->end && is_digit(*p))
            return fail(s, p, "a number with a leading zero");
    } else if (!(p = check_digits(s, p))) {
        return NULL;
    }
    if (p < s->end && *p == '.' && !(p = check_digits(s, p + 1)))
        return NULL;
    if (p < s->end && (*p | 0x20) == 'e') {
        p++;
        if (p < s->end && (*p == '+' || *p == '-'))
            p++;
        return check_digits(s, p);
    }
    return p;
}

static const char *check_word(struct scan *s, const char *p, const char *word) {
    for (; *word; p++, word++) {
        if (p == s->end || *p != *word)
            return fail(s, p, "a value was expected");
    }
    return p;
}

static const char *check_scalar(struct scan *s, const char *p) {
    switch (*p) {
    case '"':
        return check_string(s, p);
    case 't':
        return check_word(s, p, "true");
    case 'f':
        return check_word(s, p, "false");
    case 'n':
        return check_word(s, p, "null");
    default:
        if (*p == '-' || is_digit(*p))
            return check_number(s, p);
        return fail(s, p, "a value was expected");
    }
}

/* --- structure --- */

static void enter(struct scan *s, bool object) {
    uint64_t bit = UINT64_C(1) << (s->depth % 64);
    uint64_t *word = &s->levels[s->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    s->object = object;
    s->depth++;
}

static void leave(struct scan *s) {
    s->depth--;
    unsigned up = s->depth - 1; /* the level that goes on; none when this was the outermost */
    s->object = s->depth > 0 && (s->levels[up / 64] >> (up % 64) & 1);
}

/* p is where a key has to begin; the result where its value has to. */
static const char *check_key(struct scan *s, const char *p) {
    p = json_skip_space(p, s->end);
    if (p == s->end || *p != '"')
        return fail(s, p, "a key was expected");
    const char *from = p + 1;
    if (!(p = check_string(s, p)))
        return NULL;
    if (s->depth == 1)
        s->key = str_make(from, (size_t)(p - 1 - from));
    p = json_skip_space(p, s->end);
    if (p == s->end || *p != ':')
        return fail(s, p, "':' was expected");
    return p + 1;
}

/* p is at an opening bracket. Behind the closing one and *whole if it is empty; else where its first value
 * begins. */
static const char *check_open(struct scan *s, const char *p, bool *whole) {
    bool object = *p == '{';
    if (s->depth == JSON_MAX_DEPTH)
        return fail(s, p, "too deep");
    p = json_skip_space(p + 1, s->end);
    *whole = p < s->end && *p == (object ? '}' : ']');
    if (*whole)
        return p + 1;
    enter(s, object);
    return object ? check_key(s, p) : p;
}

/* A member of the outermost level ends at p. */
static bool report(struct scan *s, const char *p) {
    struct json_value v = {json_kind_of(*s->value), str_make(s->value, (size_t)(p - s->value))};
    return !s->fn || s->fn(s->arg, s->key, v);
}

/* p is behind a value: closes the levels that end here. Where the next value begins; behind the outermost
 * value when depth has become 0; NULL when wrong or stopped. */
static const char *check_after(struct scan *s, const char *p) {
    while (s->depth > 0) {
        if (s->depth == 1 && !report(s, p))
            return NULL;
        p = json_skip_space(p, s->end);
        if (p == s->end)
            return fail(s, p, END);
        if (*p == ',')
            return s->object ? check_key(s, p + 1) : p + 1;
        if (*p != (s->object ? '}' : ']'))
            return fail(s, p, s->object ? "',' or '}' was expected" : "',' or ']' was expected");
        leave(s);
        p++;
    }
    return p;
}

/* From the outermost value's first byte to behind its last. */
static const char *check_value(struct scan *s, const char *p) {
    do {
        bool whole = true;
        p = json_skip_space(p, s->end);
        if (p == s->end)
            return fail(s, p, END);
        if (s->depth == 1)
            s->value = p;
        p = *p == '{' || *p == '[' ? check_open(s, p, &whole) : check_scalar(s, p);
        if (p && whole)
            p = check_after(s, p);
    } while (p && s->depth > 0);
    return p;
}

int json_scan(struct str text, enum json_kind *kind, json_member_fn *fn, void *arg, struct json_error *err) {
    struct scan s = {.fn = fn, .arg = arg};
    const char *from = text.p ? text.p : "";
    s.end = from + text.n;
    const char *p = json_skip_space(from, s.end);
    if (kind && p < s.end)
        *kind = json_kind_of(*p);
    if (text.n >= 3 && memcmp(from, "\xEF\xBB\xBF", 3) == 0)
        p = fail(&s, from, "a byte order mark before the text");
    else
        p = check_value(&s, p);
    if (p) {
        p = json_skip_space(p, s.end);
        if (p == s.end)
            return 0;
        fail(&s, p, "more text after the value");
    }
    if (!s.why)
        return -2;
    if (err)
        *err = (struct json_error){(size_t)(s.bad - from), s.why};
    return -1;
}
