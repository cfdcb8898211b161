/* The window that moves over a text, and the words that are put in. Shapes are in mask_*.c. At each place the
 * matchers are asked in order, and the first that finds its shape takes it. */
#include "policy/mask.h"
#include "base/die.h"
#include "base/pattern.h"
#include "mask_match.h"

#include <stdio.h>

struct mask {
    unsigned kinds;
    uint8_t asks[256]; /* by the first byte: which kinds may begin so */
    regex_t pattern[MASK_PATTERNS];
    size_t npatterns;
};

static const struct {
    unsigned kind;
    bool (*match)(const struct spot *s, struct hit *h);
    struct str word;
} matchers[] = {
    {MASK_SECRET, match_secret, {"[SECRET]", 8}},    {MASK_EMAIL, match_email, {"[EMAIL]", 7}},
    {MASK_CARD, match_card, {"[CARD]", 6}},          {MASK_IP, match_ip, {"[IP]", 4}},
    {MASK_ADDRESS, match_address, {"[ADDRESS]", 9}}, {MASK_PHONE, match_phone, {"[PHONE]", 7}},
};
enum { MATCHERS = sizeof matchers / sizeof *matchers };

/* --- making one --- */

static unsigned kinds_of_byte(unsigned c) {
    if (is_digit((byte)c))
        return MASK_EMAIL | MASK_CARD | MASK_IP | MASK_ADDRESS | MASK_PHONE;
    if (is_alpha((byte)c)) /* the words for street that begin small: ul. al. os. pl. */
        return MASK_SECRET | MASK_EMAIL | (is_upper((byte)c) || strchr("uaop", (int)c) ? MASK_ADDRESS : 0) |
               (is_hex((byte)c) ? MASK_IP : 0);
    if (c == ':')
        return MASK_SECRET | MASK_IP;
    if (c == '+' || c == '(')
        return MASK_PHONE;
    if (c == '-')
        return MASK_SECRET;
    return c >= 0xC3 ? MASK_SECRET | MASK_EMAIL | MASK_ADDRESS : 0;
}

struct mask *mask_new(unsigned kinds, const char *const *patterns, size_t n, char err[256]) {
    struct mask *m = mem_alloc(sizeof *m);
    m->kinds = kinds;
    match_index();
    for (unsigned c = 0; c < 256; c++)
        m->asks[c] = (uint8_t)(kinds_of_byte(c) & kinds);
    bool ok = n <= MASK_PATTERNS;
    if (!ok)
        snprintf(err, 256, "more than %d patterns", MASK_PATTERNS);
    for (size_t i = 0; ok && i < n; i++) {
        ok = pattern_compile(&m->pattern[i], patterns[i], err);
        m->npatterns += ok;
    }
    if (ok)
        return m;
    mask_free(m);
    return NULL;
}

void mask_free(struct mask *m) {
    if (!m)
        return;
    for (size_t i = 0; i < m->npatterns; i++)
        regfree(&m->pattern[i]);
    mem_free(m);
}

/* --- custom patterns, a line at a time --- */

static void replace(const regex_t *re, struct buf *line, struct buf *out) {
    size_t at = 0, copied = 0;
    char *zero = buf_room(line, 1); /* for those that do not believe REG_STARTEND */
    const struct str in = buf_str(line);
    if (zero)
        *zero = 0;
    while (at <= in.n) {
        regmatch_t r = {.rm_so = (regoff_t)at, .rm_eo = (regoff_t)in.n};
        if (regexec(re, in.p, 1, &r, REG_STARTEND | (at ? REG_NOTBOL : 0)) != 0)
            break;
        if (r.rm_eo == r.rm_so) { /* nothing cannot be masked */
            at = (size_t)r.rm_eo + 1;
            continue;
        }
        buf_add(out, in.p + copied, (size_t)r.rm_so - copied);
        BUF_ADD(out, "[CUSTOM]");
        at = copied = (size_t)r.rm_eo;
    }
    buf_add(out, in.p + copied, in.n - copied);
}

/* Patterns may match each other's words: a line that would grow without end is one word. */
static void line_out(const struct mask *m, struct buf *line, struct buf *out) {
    size_t most = MASK_GROWTH / 2 * buf_len(line);
    struct buf now = *line, then;
    bool ok = true;
    buf_init(line, MASK_LINE);
    for (size_t i = 0; ok && i < m->npatterns && buf_len(&now) > 0; i++) {
        buf_init(&then, most);
        now.max++;
        replace(&m->pattern[i], &now, &then);
        buf_free(&now);
        now = then;
        ok = buf_ok(&now);
    }
    if (ok)
        buf_adds(out, buf_str(&now));
    else
        BUF_ADD(out, "[CUSTOM]");
    buf_free(&now);
}

/* Masked text on its way out. */
static void emit(struct mask_stream *s, const void *text, size_t n, struct buf *out) {
    if (s->m->npatterns == 0) {
        buf_add(out, text, n);
        return;
    }
    const char *p = text;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\n')
            buf_addc(&s->line, p[i]);
        if (p[i] == '\n' || buf_len(&s->line) == MASK_LINE)
            line_out(s->m, &s->line, out);
        if (p[i] == '\n')
            buf_addc(out, '\n');
    }
}

/* --- the window --- */

const byte *skip_blanks(const byte *p, const byte *end, unsigned most) {
    for (; most > 0 && p < end; most--) {
        if (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
            p++;
        else if (end - p >= 2 && *p == '\\' && (p[1] == 'n' || p[1] == 'r' || p[1] == 't'))
            p += 2;
        else if (end - p >= 2 && *p == 0xC2 && p[1] == 0xA0)
            p += 2;
        else
            break;
    }
    return p;
}

static bool is_token(byte c) {
    return is_alnum(c) || (c && strchr("._-+/=~", c));
}

static bool is_value(byte c) {
    return c > ' ' && !strchr("\"'<>,;&\\", c);
}

/* How many bytes are left out here; 0: no more. */
static size_t swallowed(struct mask_stream *s, const struct spot *at) {
    if (s->swallow != SWALLOW_PEM) {
        if (!(s->swallow == SWALLOW_TOKEN ? is_token(*at->p) : is_value(*at->p)))
            s->swallow = SWALLOW_NONE;
        return s->swallow ? 1 : 0;
    }
    const byte *p = skip_text(at->p, at->end, "-----end ");
    if (!p)
        return 1;
    while (p < at->end && *p != '-' && *p >= ' ')
        p++;
    while (p < at->end && *p == '-')
        p++;
    s->swallow = SWALLOW_NONE;
    return (size_t)(p - at->p);
}

static const struct str *matched(const struct mask *m, const struct spot *at, struct hit *h) {
    unsigned kinds = m->asks[*at->p];
    if (at->at >= at->end)
        kinds &= ~(unsigned)MASK_EMAIL;
    if (!may_be_secret(at->p, at->end))
        kinds &= ~(unsigned)MASK_SECRET;
    if (!kinds)
        return NULL;
    if (is_alpha(*at->p) && at->p > at->begin && at->p[-1] == '\\' && is_escape(at->begin, at->p + 1))
        return NULL;
    for (size_t i = 0; kinds && i < MATCHERS; i++)
        if ((matchers[i].kind & kinds) && matchers[i].match(at, h))
            return &matchers[i].word;
    return NULL;
}

/* Nothing begins inside of a word, nor with a byte that begins nothing. */
static const byte *skip_word(const struct mask *m, const struct spot *at, const byte *limit) {
    const byte *p = at->p;
    bool word = is_alnum(*p++) && !is_escape(at->begin, p);
    while (word && p < limit && is_alnum(*p))
        p++;
    while (p < limit && !m->asks[*p] && !is_alnum(*p))
        p++;
    return p;
}

/* Deals with all places whose surroundings are known. */
static void scan(struct mask_stream *s, bool ended, struct buf *out) {
    const byte *base = (const byte *)buf_at(&s->held), *end = base + buf_len(&s->held);
    const byte *p = base + s->done, *from = p, *at_sign = p;
    while (p < end && (ended || end - p >= MASK_SIGHT)) {
        struct spot at = {.begin = p - base > MASK_BACK ? p - MASK_BACK : base,
                          .p = p,
                          .end = end - p > MASK_SIGHT ? p + MASK_SIGHT : end};
        if (at_sign <= p && !(at_sign = memchr(p, '@', (size_t)(end - p))))
            at_sign = end;
        at.at = at_sign;
        struct hit h = {0};
        const struct str *word;
        size_t gone = s->swallow ? swallowed(s, &at) : 0;
        if (gone) {
            from = p += gone;
        } else if ((word = matched(s->m, &at, &h)) != NULL) {
            emit(s, from, (size_t)(p - from) + h.keep, out);
            emit(s, word->p, word->n, out);
            s->swallow = h.swallow;
            from = p += h.n;
        } else {
            p = skip_word(s->m, &at, ended ? end : end - MASK_SIGHT);
        }
    }
    emit(s, from, (size_t)(p - from), out);
    s->done = (size_t)(p - base);
    if (s->done > MASK_BACK) {
        buf_consume(&s->held, s->done - MASK_BACK);
        s->done = MASK_BACK;
    }
}

void mask_open(struct mask_stream *s, const struct mask *m) {
    *s = (struct mask_stream){.m = m};
    buf_init(&s->held, 0);
    buf_init(&s->line, MASK_LINE);
}

void mask_push(struct mask_stream *s, struct str piece, struct buf *out) {
    enum { AT_ONCE = 16 << 10 };
    while (piece.n > 0) {
        size_t n = piece.n < AT_ONCE ? piece.n : AT_ONCE;
        buf_add(&s->held, piece.p, n);
        piece = str_skip(piece, n);
        scan(s, false, out);
    }
}

void mask_close(struct mask_stream *s, struct buf *out) {
    if (buf_len(&s->held) > 0)
        scan(s, true, out);
    if (buf_len(&s->line) > 0)
        line_out(s->m, &s->line, out);
    buf_free(&s->held);
    buf_free(&s->line);
}

void mask_text(const struct mask *m, struct str text, struct buf *out) {
    struct mask_stream s;
    mask_open(&s, m);
    mask_push(&s, text, out);
    mask_close(&s, out);
}
