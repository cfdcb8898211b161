/* Numbers with meaning: payment cards and telephones. Both are runs of digits in groups; what tells them from
 * all other numbers is length, grouping, first digits, a check digit (cards, ISO/IEC 7812) or a word before
 * them (telephones). */
#include "mask_match.h"

enum { DIGITS = 24, GROUPS = 12 };

struct run { /* digits in groups, with what stands between them */
    byte digit[DIGITS];
    unsigned digits, groups;
    bool plus, cut;          /* a '+' before it; it goes on behind what is kept here */
    int paren;               /* the group in parentheses, or -1 */
    unsigned upto[GROUPS];   /* digits up to and with this group */
    byte before[GROUPS];     /* what separates it from the one before it: one of " -./", or 0 */
    const byte *end[GROUPS]; /* behind it, its ')' included */
};

static unsigned group_len(const struct run *r, unsigned g) {
    return r->upto[g] - (g ? r->upto[g - 1] : 0);
}

/* One separator, of more bytes where it is a no-break space or hyphen, or blanks around a dash. */
static const byte *skip_separator(const byte *p, const byte *end, byte *what) {
    static const char dashes[] = "-./";
    *what = 0;
    if (end - p >= 2 && p[0] == 0xC2 && p[1] == 0xA0) {
        *what = ' ';
        return p + 2;
    }
    if (end - p >= 3 && p[0] == 0xE2 && p[1] == 0x80 && (p[2] == 0x90 || p[2] == 0x91 || p[2] == 0xAF)) {
        *what = p[2] == 0xAF ? ' ' : '-';
        return p + 3;
    }
    const byte *q = p;
    if (q < end && *q == ' ')
        *what = *q++;
    if (q < end && *q && strchr(dashes, *q)) {
        *what = *q++;
        if (q < end && *q == ' ' && q - p == 2)
            q++;
    }
    return q;
}

static void read_run(const struct spot *s, struct run *r) {
    const byte *p = s->p, *next;
    byte sep = 0;
    *r = (struct run){.paren = -1};
    if (*p == '+') {
        r->plus = true;
        p++;
    }
    for (;;) {
        bool paren = p < s->end && *p == '(';
        const byte *from = p += paren;
        if (p == s->end || !is_digit(*p))
            break;
        while (p < s->end && is_digit(*p) && r->digits < DIGITS)
            r->digit[r->digits++] = (byte)(*p++ - '0');
        r->cut = (p < s->end && is_digit(*p)) || r->groups == GROUPS;
        if (r->cut || (paren && (p == s->end || *p != ')' || p - from > 6))) {
            r->cut = true;
            break;
        }
        p += paren;
        if (paren)
            r->paren = (int)r->groups;
        r->before[r->groups] = sep;
        r->upto[r->groups] = r->digits;
        r->end[r->groups++] = p;
        next = skip_separator(p, s->end, &sep);
        if (next == p && !paren && !(p < s->end && *p == '(' && r->paren < 0))
            break;
        p = next;
    }
    if (r->groups == 0 || r->upto[r->groups - 1] != r->digits)
        r->digits = r->groups ? r->upto[r->groups - 1] : 0;
}

/* Is the run's first `groups` groups a number of its own, or the middle of something longer? */
static bool stands_alone(const struct spot *s, const struct run *r, unsigned groups) {
    const byte *p = r->end[groups - 1];
    if (groups < r->groups || r->cut)
        return groups < r->groups && r->before[groups] == ' ';
    if (word_at(p, s->end))
        return false;
    return !(s->end - p >= 2 && *p && strchr("-./_:", *p) && word_at(p + 1, s->end));
}

/* --- cards --- */

static bool luhn(const byte *d, unsigned n) {
    unsigned sum = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned v = d[n - 1 - i];
        if (i % 2) {
            v *= 2;
            v = v > 9 ? v - 9 : v;
        }
        sum += v;
    }
    return sum % 10 == 0;
}

/* First digits and lengths as the brands publish them. */
static const struct {
    uint16_t from, to; /* of the first four digits */
    uint8_t least, most;
} brands[] = {
    {3400, 3499, 15, 15}, {3700, 3799, 15, 15},                       /* American Express */
    {3000, 3059, 14, 16}, {3600, 3699, 14, 14}, {3800, 3999, 14, 14}, /* Diners */
    {3528, 3589, 16, 16},                                             /* JCB */
    {4000, 4999, 16, 16},                                             /* Visa */
    {5100, 5599, 16, 16}, {2221, 2720, 16, 16},                       /* Mastercard */
    {5018, 5038, 16, 16}, {6304, 6304, 16, 16}, {6759, 6763, 16, 16}, /* Maestro */
    {6011, 6011, 16, 16}, {6440, 6599, 16, 16},                       /* Discover */
    {6200, 6299, 16, 19},                                             /* UnionPay */
    {2200, 2204, 16, 16},                                             /* Mir */
};

static bool is_brand(const byte *d, unsigned n) {
    unsigned first = d[0] * 1000u + d[1] * 100u + d[2] * 10u + d[3];
    for (size_t i = 0; i < sizeof brands / sizeof *brands; i++)
        if (first >= brands[i].from && first <= brands[i].to && n >= brands[i].least && n <= brands[i].most)
            return true;
    return false;
}

/* 4-4-4-4(-3), 4-6-5 (or 4): one separator all along; or none. */
static bool is_card_grouped(const struct run *r, unsigned groups) {
    for (unsigned g = 1; g < groups; g++)
        if ((r->before[g] != ' ' && r->before[g] != '-') || r->before[g] != r->before[1])
            return false;
    return groups == 1 || (group_len(r, 0) == 4 && groups <= 5 && group_len(r, 1) >= 4);
}

bool match_card(const struct spot *s, struct hit *h) {
    struct run r;
    if (word_before(s->begin, s->p) || (s->p > s->begin && strchr("-._/+", s->p[-1])))
        return false;
    read_run(s, &r);
    for (unsigned g = r.groups; r.paren < 0 && g > 0; g--) {
        unsigned n = r.upto[g - 1];
        if (n < 14 || n > 19 || !is_card_grouped(&r, g) || !stands_alone(s, &r, g) || !is_brand(r.digit, n) ||
            !luhn(r.digit, n))
            continue;
        h->n = (size_t)(r.end[g - 1] - s->p);
        return true;
    }
    return false;
}

/* --- telephones --- */

static const char *const phone_words[] = {
    "tel",
    "telephone",
    "phone",
    "call",
    "mobile",
    "mob",
    "cell",
    "fax",
    "whatsapp",
    "sms",
    "text",
    "dial",
    "ring",
    "number is",
    "t\303\251l",
    "t\303\251l\303\251phone",
    "portable",
    "telefon",
    "handy",
    "mobil",
    "telefonnummer",
    "rufnummer",
    "tel\303\251fono",
    "m\303\263vil",
    "celular",
    "telefone",
    "telem\303\263vel",
    "telefono",
    "cellulare",
    "telefoon",
    "telefonu",
    "kom\303\263rka",
    "puhelin",
    "telefonn\303\255",
    "\321\202\320\265\320\273",
    "\321\202\320\265\320\273\320\265\321\204\320\276\320\275", /* Russian */
    "\347\224\265\350\257\235",
    "\346\211\213\346\234\272",
    "\351\233\273\350\251\261",
    "\346\220\272\345\270\257", /* Chinese, Japanese */
    "\354\240\204\355\231\224", /* Korean */
};

static bool ends_with(const byte *begin, const byte *end, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(end - begin) < n || !skip_text(end - n, end, word))
        return false;
    return (byte)word[0] >= 0xE0 || !word_before(begin, end - n); /* no spaces in Chinese */
}

/* "Tel.: ", "call me at", "phone number is" ... right before the number. */
static bool is_announced(const struct spot *s) {
    static const char *const between[] = {"is",  "at", "me", "us",    "on", "no", "nr",  "number",   "him",
                                          "her", "to", "my", "under", "au", "al", "num", "n\302\272"};
    const byte *p = s->p;
    for (int word = 0; word < 4; word++) {
        while (p > s->begin && (p[-1] == ' ' || (p[-1] && strchr(".:;,=#\"'(", p[-1])) || p[-1] == 0x9A ||
                                p[-1] == 0xBC || p[-1] == 0xEF))
            p--;
        for (size_t i = 0; i < sizeof phone_words / sizeof *phone_words; i++)
            if (ends_with(s->begin, p, phone_words[i]))
                return true;
        const byte *was = p;
        for (size_t i = 0; p == was && i < sizeof between / sizeof *between; i++)
            if (ends_with(s->begin, p, between[i]))
                p -= strlen(between[i]);
        if (p == was)
            return false;
    }
    return false;
}

static bool lengths_are(const struct run *r, unsigned groups, const char *want) {
    if (groups != strlen(want))
        return false;
    for (unsigned g = 0; g < groups; g++)
        if (group_len(r, g) != (unsigned)(want[g] - '0'))
            return false;
    return true;
}

/* 01.02.2024, 01/02/24 12: the run begins as a date does. */
static bool is_date(const struct run *r, unsigned groups) {
    if (groups < 3 || group_len(r, 0) != 2 || group_len(r, 1) != 2 || r->before[1] != r->before[2] ||
        r->before[1] == ' ')
        return false;
    unsigned day = r->digit[0] * 10u + r->digit[1], month = r->digit[2] * 10u + r->digit[3];
    return group_len(r, 2) == 4 && day <= 31 && month <= 31;
}

static bool small_group(const struct run *r, unsigned groups, unsigned from) {
    for (unsigned g = from; g < groups; g++)
        if (group_len(r, g) < 2)
            return true;
    return false;
}

static bool is_american(const struct run *r, unsigned groups) {
    unsigned at = lengths_are(r, groups, "1334") && r->digit[0] == 1 ? 1 : 0;
    if (!at && !lengths_are(r, groups, "334"))
        return false;
    return r->digit[at] >= 2 && r->digit[at + 3] >= 1;
}

/* The first `groups` groups as a number that somebody could dial. */
static bool is_phone(const struct run *r, unsigned groups, bool announced) {
    unsigned n = r->upto[groups - 1];
    const byte *d = r->digit;
    bool last = groups == r->groups;
    if (r->plus)
        return n >= 8 && n <= 15 && d[0] != 0;
    if (is_date(r, groups))
        return false;
    if (announced && n >= 7 && n <= 14 && !small_group(r, groups, 1))
        return true;
    if (d[0] == 0 && d[1] == 0)
        return n >= 11 && n <= 16 && d[2] != 0 && groups >= 3;
    if (r->paren == 0)
        return n >= 9 && n <= 12 && groups >= 2 && group_len(r, 0) >= 2 && !small_group(r, groups, 1);
    if (r->paren == 1)
        return n >= 10 && n <= 12 && groups >= 3 && group_len(r, 0) <= 2 && !small_group(r, groups, 2);
    if (d[0] == 0)
        return n >= 9 && n <= 12 && groups >= 2 && group_len(r, 0) >= 2 && !small_group(r, groups, 0);
    if (is_american(r, groups))
        return last;
    return last && ((lengths_are(r, groups, "13322") && (d[0] == 7 || d[0] == 8)) ||
                    (lengths_are(r, groups, "344") && d[0] == 1 && d[1] >= 3) ||
                    (lengths_are(r, groups, "254") && r->before[2] == '-' && d[2] == 9));
}

/* 13812345678 between Chinese words. */
static bool is_chinese(const struct spot *s, const struct run *r) {
    return r->groups == 1 && r->digits == 11 && r->digit[0] == 1 && r->digit[1] >= 3 &&
           s->p - s->begin >= 3 && s->p[-3] >= 0xE3 && s->p[-3] <= 0xEF && (s->p[-1] & 0xC0) == 0x80;
}

bool match_phone(const struct spot *s, struct hit *h) {
    struct run r;
    const byte *p = s->p;
    if (word_before(s->begin, p) || (p > s->begin && p[-1] && strchr("-._/#$+@%(", p[-1])))
        return false;
    if (is_digit(*p) && p - s->begin >= 2 && p[-1] == ' ' && is_digit(p[-2]))
        return false; /* inside of a longer run */
    read_run(s, &r);
    if (r.digits < 7)
        return false;
    bool announced = is_announced(s);
    for (unsigned g = r.groups; g > 0; g--) {
        if (!stands_alone(s, &r, g) || !(is_phone(&r, g, announced) || (g == 1 && is_chinese(s, &r))))
            continue;
        h->n = (size_t)(r.end[g - 1] - p);
        return true;
    }
    return false;
}
