/* Keys, tokens and passwords: by the prefixes their makers gave them, by what they consist of, or by the name
 * that stands before them. */
#include "mask_match.h"

static bool is_base64url(byte c) {
    return is_alnum(c) || c == '-' || c == '_';
}

static bool is_base64(byte c) {
    return is_alnum(c) || c == '+' || c == '/' || c == '=' || c == '-' || c == '_' || c == '.' || c == '~';
}

/* Which rows of the two tables begin with a byte: most words begin none. */
static uint64_t prefix_rows[256], name_rows[256];
byte mask_secret_pairs[256][32];

/* --- prefixes --- */

/* From the makers' documentation and the detection rules of public scanners of repositories. `least` counts
 * the bytes behind the prefix. Those with a digit to come would else be words ("sk-learn-contrib"). */
static const struct prefix {
    const char *text;
    uint8_t least;
    bool digit, upper;
} prefixes[] = {
    {"sk-", 16, true, false},
    {"sk_live_", 12, false, false},
    {"sk_test_", 12, false, false},
    {"rk_live_", 12, false, false},
    {"rk_test_", 12, false, false},
    {"pk_live_", 12, false, false},
    {"whsec_", 16, true, false},
    {"ghp_", 20, false, false},
    {"gho_", 20, false, false},
    {"ghu_", 20, false, false},
    {"ghs_", 20, false, false},
    {"ghr_", 20, false, false},
    {"github_pat_", 20, false, false},
    {"glpat-", 16, false, false},
    {"AKIA", 16, false, true},
    {"ASIA", 16, false, true},
    {"xoxb-", 10, false, false},
    {"xoxp-", 10, false, false},
    {"xoxa-", 10, false, false},
    {"xoxr-", 10, false, false},
    {"xoxs-", 10, false, false},
    {"xoxe-", 10, false, false},
    {"xapp-", 10, true, false},
    {"AIza", 30, false, false},
    {"ya29.", 20, false, false},
    {"GOCSPX-", 20, false, false},
    {"hf_", 24, false, false},
    {"gsk_", 20, true, false},
    {"xai-", 20, true, false},
    {"pplx-", 20, true, false},
    {"r8_", 24, true, false},
    {"nvapi-", 20, true, false},
    {"npm_", 30, false, false},
    {"pypi-", 16, true, false},
    {"SG.", 30, true, false},
    {"dop_v1_", 30, false, false},
    {"shpat_", 20, false, false},
    {"lin_api_", 20, false, false},
    {"dckr_pat_", 16, false, false},
    {"psk-", 16, true, false},
    {"AGE-SECRET-KEY-1", 20, false, false},
};

static size_t take_while(const byte *p, const byte *end, bool (*is)(byte c)) {
    const byte *from = p;
    while (p < end && is(*p))
        p++;
    return (size_t)(p - from);
}

static bool fits(const struct prefix *x, const byte *p, size_t n) {
    bool digit = false;
    for (size_t i = 0; i < n; i++) {
        digit |= is_digit(p[i]);
        if (x->upper && !is_upper(p[i]) && !is_digit(p[i]))
            return false;
    }
    return x->upper ? n == x->least : n >= x->least && (digit || !x->digit);
}

static bool is_key(byte c) {
    return is_base64url(c) || c == '.';
}

static bool match_prefix(const struct spot *s, struct hit *h) {
    size_t left = (size_t)(s->end - s->p);
    for (uint64_t rows = prefix_rows[*s->p]; rows; rows &= rows - 1) {
        const struct prefix *x = &prefixes[__builtin_ctzll(rows)];
        if (left < 2 || s->p[1] != (byte)x->text[1])
            continue;
        size_t n = strlen(x->text);
        if (n >= left || memcmp(s->p, x->text, n) != 0)
            continue;
        const byte *rest = s->p + n;
        size_t more = take_while(rest, s->end, is_key);
        while (more > 0 && rest[more - 1] == '.') /* of the sentence */
            more--;
        if (!fits(x, rest, more))
            continue;
        h->n = n + more;
        h->swallow = rest + more == s->end ? SWALLOW_TOKEN : SWALLOW_NONE;
        return true;
    }
    return false;
}

/* A JWT or JWE: base64url parts with dots between them, the first one JSON. RFC 7519. */
static bool match_jwt(const struct spot *s, struct hit *h) {
    const byte *p = skip_text(s->p, s->end, "eyj");
    if (!p || memcmp(s->p, "eyJ", 3) != 0)
        return false;
    size_t first = take_while(p, s->end, is_base64url);
    p += first;
    bool open = p == s->end; /* longer than can be seen: nothing else is */
    if (first < 8 || (!open && *p != '.'))
        return false;
    p += take_while(p, s->end, is_key);
    h->n = (size_t)(p - s->p);
    h->swallow = p == s->end ? SWALLOW_TOKEN : SWALLOW_NONE;
    return h->n >= 24;
}

static bool match_pem(const struct spot *s, struct hit *h) {
    const byte *p = skip_text(s->p, s->end, "-----begin "), *q;
    if (!p)
        return false;
    for (; p < s->end && *p != '-' && *p >= ' '; p++)
        if ((q = skip_text(p, s->end, "private key")) != NULL) {
            h->n = (size_t)(q - s->p);
            h->swallow = SWALLOW_PEM;
            return true;
        }
    return false;
}

/* scheme://user:password@host */
static bool match_url(const struct spot *s, struct hit *h) {
    const byte *p = skip_text(s->p, s->end, "://"), *colon = NULL;
    if (!p)
        return false;
    for (; p<s->end && * p> ' ' && *p != '/' && *p != '"' && *p != '\\' && *p != '\''; p++) {
        if (*p == ':' && !colon)
            colon = p + 1;
        if (*p == '@' && colon && p > colon) {
            h->keep = (size_t)(colon - s->p);
            h->n = (size_t)(p - s->p);
            return true;
        }
    }
    return false;
}

/* --- name and value --- */

enum name_class { PASSWORD, TOKEN, HEADER };
static const struct {
    const char *text; /* lower case */
    enum name_class class;
} names[] = {
    {"password", PASSWORD},
    {"passwd", PASSWORD},
    {"passphrase", PASSWORD},
    {"passcode", PASSWORD},
    {"passwort", PASSWORD},
    {"kennwort", PASSWORD},
    {"pwd", PASSWORD},
    {"pw", PASSWORD},
    {"mot de passe", PASSWORD},
    {"contrase\303\261a", PASSWORD},
    {"wachtwoord", PASSWORD},
    {"senha", PASSWORD},
    {"has\305\202o", PASSWORD},
    {"heslo", PASSWORD},
    {"parola", PASSWORD},
    {"l\303\266senord", PASSWORD},
    {"\320\277\320\260\321\200\320\276\320\273\321\214", PASSWORD}, /* Russian */
    {"\345\257\206\347\240\201", PASSWORD},                         /* Chinese */
    {"client_secret", TOKEN},
    {"clientsecret", TOKEN},
    {"secret_key", TOKEN},
    {"secretkey", TOKEN},
    {"secret", TOKEN},
    {"api_key", TOKEN},
    {"api-key", TOKEN},
    {"apikey", TOKEN},
    {"api key", TOKEN},
    {"access_key", TOKEN},
    {"accesskey", TOKEN},
    {"private_key", TOKEN},
    {"access_token", TOKEN},
    {"accesstoken", TOKEN},
    {"refresh_token", TOKEN},
    {"auth_token", TOKEN},
    {"id_token", TOKEN},
    {"session_token", TOKEN},
    {"token", TOKEN},
    {"authorization", HEADER},
    {"bearer", HEADER},
    {"basic", HEADER},
};

/* Words that stand where a secret would and are none. */
static const char *const no_secrets[] = {"string", "str",   "text",     "true",      "false",    "null",
                                         "none",   "nil",   "required", "optional",  "bool",     "boolean",
                                         "hidden", "input", "varchar",  "undefined", "yes",      "no",
                                         "field",  "char",  "bytes",    "example",   "redacted", "self"};

static bool is_no_secret(const byte *p, size_t n) {
    struct str word = str_make((const char *)p, n);
    for (size_t i = 0; i < sizeof no_secrets / sizeof *no_secrets; i++)
        if (str_isi(word, no_secrets[i]))
            return true;
    return memchr("$<{[*%(", *p, 7) != NULL; /* a place for one */
}

struct value {
    const byte *p;
    size_t n;
    byte quote;        /* 0: none */
    bool open;         /* goes on beyond the sight */
    const byte *after; /* behind it and its quote */
};

/* A quote, also one that is escaped in JSON text. */
static const byte *skip_quote(const byte *p, const byte *end, byte *quote) {
    const byte *q = p;
    while (q < end && *q == '\\' && q - p < 3)
        q++;
    if (q < end && (*q == '"' || *q == '\'' || *q == '`')) {
        *quote = *q;
        return q + 1;
    }
    return p;
}

/* Of a query: the next name comes. */
static bool is_next_pair(const byte *p, const byte *end) {
    if (*p++ != '&')
        return false;
    while (p < end && (is_alnum(*p) || *p == '_' || *p == '-'))
        p++;
    return p < end && (*p == '=' || *p == ';');
}

static bool ends_value(const byte *p, const byte *end, byte quote) {
    if (*p == '\n' || *p == '\r' || *p == '"' || *p == '\\' || *p == '`' || *p == '\'')
        return true;
    return !quote && (*p <= ' ' || strchr(",;<)", *p) || is_next_pair(p, end));
}

static bool read_value(const byte *p, const byte *end, struct value *v) {
    *v = (struct value){.quote = 0};
    p = v->p = skip_quote(p, end, &v->quote);
    while (p < end && !ends_value(p, end, v->quote))
        p++;
    v->n = (size_t)(p - v->p);
    v->open = p == end;
    v->after = p;
    while (!v->quote && v->n > 1 && (p[-1] == '.' || p[-1] == '}' || p[-1] == ']')) { /* of the text around */
        p--;
        v->n--;
    }
    return v->n > 0;
}

static bool has(const struct value *v, bool (*is)(byte c)) {
    for (size_t i = 0; i < v->n; i++)
        if (is(v->p[i]))
            return true;
    return false;
}

static bool is_no_lower(byte c) {
    return c < 'a' || c > 'z';
}

static bool is_no_key(byte c) {
    return !is_base64(c);
}

/* "password: must be ..." goes on as a sentence does. */
static bool is_prose(const struct value *v, const byte *end) {
    return !v->quote && !has(v, is_no_lower) && end - v->after >= 2 && *v->after == ' ' &&
           is_alpha(v->after[1]);
}

static bool is_secret(const struct value *v, enum name_class class, const byte *end) {
    if (is_no_secret(v->p, v->n) || (!v->quote && memchr(v->p, '(', v->n)))
        return false;
    if (class == PASSWORD)
        return v->n >= 3 && !is_prose(v, end);
    return v->n >= 8 && !has(v, is_no_key) && has(v, is_digit) && has(v, is_alpha);
}

/* Between a name and its value: quotes, blanks, one of = : => := ; of a header a blank, of a password "is".
 * NULL: nothing of that. */
static const byte *skip_equals(const byte *p, const byte *end, enum name_class class, bool *words) {
    byte quote;
    const byte *q = skip_blanks(skip_quote(p, end, &quote), end, 2), *from = q;
    while (q < end && q - from < 2 && (*q == '=' || *q == ':' || (*q == '>' && q > from)))
        q++;
    if (q == from && end - q >= 3 && q[0] == 0xEF && q[1] == 0xBC && q[2] == 0x9A) /* a full-width colon */
        q += 3;
    *words = q == from;
    if (!*words)
        return skip_blanks(q, end, 2);
    if (class == HEADER)
        return q > p && q[-1] == ' ' ? q : NULL;
    q = class == PASSWORD && q > p ? skip_text(q, end, "is ") : NULL;
    return q;
}

static bool match_named(const struct spot *s, struct hit *h) {
    for (uint64_t rows = name_rows[to_lower(*s->p)]; rows; rows &= rows - 1) {
        size_t i = (size_t)__builtin_ctzll(rows);
        const byte *p = skip_text(s->p, s->end, names[i].text), *q;
        bool words;
        struct value v;
        if (!p || !(p = skip_equals(p, s->end, names[i].class, &words)))
            continue;
        if (names[i].class == HEADER &&
            ((q = skip_text(p, s->end, "bearer ")) || (q = skip_text(p, s->end, "basic "))))
            p = q;
        if (!read_value(p, s->end, &v) || !is_secret(&v, names[i].class, s->end) ||
            (words && !has(&v, is_digit)))
            continue;
        h->keep = (size_t)(v.p - s->p);
        h->n = h->keep + v.n;
        h->swallow = v.open ? SWALLOW_VALUE : SWALLOW_NONE;
        return true;
    }
    return false;
}

_Static_assert(sizeof prefixes / sizeof *prefixes <= 64 && sizeof names / sizeof *names <= 64,
               "bits of a row");

static void pair(byte a, byte b) {
    mask_secret_pairs[a][b >> 3] |= (byte)(1u << (b & 7));
}

static byte to_upper(byte c) {
    return c >= 'a' && c <= 'z' ? (byte)(c - 32) : c;
}

static void index_pairs(void) {
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        pair((byte)prefixes[i].text[0], (byte)prefixes[i].text[1]);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        byte a = (byte)names[i].text[0], b = (byte)names[i].text[1];
        pair(a, b);
        pair(to_upper(a), b);
        pair(a, to_upper(b));
        pair(to_upper(a), to_upper(b));
    }
    pair('e', 'y');
    pair('-', '-');
    pair(':', '/');
}

void match_index(void) {
    index_pairs();
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        prefix_rows[(byte)prefixes[i].text[0]] |= UINT64_C(1) << i;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        name_rows[(byte)names[i].text[0]] |= UINT64_C(1) << i;
}

bool match_secret(const struct spot *s, struct hit *h) {
    if (*s->p == '-')
        return match_pem(s, h);
    if (*s->p == ':')
        return match_url(s, h);
    if (word_before(s->begin, s->p))
        return false;
    return match_prefix(s, h) || match_jwt(s, h) || match_named(s, h);
}
