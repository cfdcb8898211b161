/* Postal addresses, as several countries write them: a street's name with its word for street and a number
 * before or behind it, post office boxes; and behind that, when it follows, postcode and town. */
#include "mask_match.h"

enum { WORD_MOST = 40, TAIL_MOST = 96 };

/* The words of a shape, from the place where one begins. */
struct walk {
    const byte *p, *end;
};

static bool is_capital(const byte *p, const byte *end) {
    if (p < end && is_upper(*p))
        return true;
    if (letter_at(p, end) < 2)
        return false;
    if (*p == 0xC3)
        return p[1] <= 0x9E;
    return *p == 0xD0 ? p[1] >= 0x90 && p[1] <= 0xAF : *p <= 0xC5 || *p == 0xE1;
}

/* A word of letters, and of -'. inside of it: its length, 0: none. */
static size_t word_len(const byte *p, const byte *end) {
    const byte *from = p;
    for (;;) {
        size_t n = letter_at(p, end);
        if (!n && p > from && end - p >= 2 && (*p == '-' || *p == '\'') && letter_at(p + 1, end))
            n = 1;
        if (!n && p > from && end - p >= 4 && p[0] == 0xE2 && p[1] == 0x80 && p[2] == 0x99)
            n = 3;
        if (!n || p - from + n > WORD_MOST)
            break;
        p += n;
    }
    return (size_t)(p - from);
}

static bool is_word(const byte *p, size_t n, const char *const *list) {
    for (; *list; list++)
        if (to_lower(*p) == (byte) * *list && skip_text(p, p + n, *list) == p + n)
            return true;
    return false;
}

static bool ends_in(const byte *p, size_t n, const char *const *list) {
    for (; *list; list++) {
        size_t m = strlen(*list);
        if (m < n && to_lower(p[n - 1]) == (byte)(*list)[m - 1] && skip_text(p + n - m, p + n, *list))
            return true;
    }
    return false;
}

static size_t digits_at(const byte *p, const byte *end) {
    const byte *from = p;
    while (p < end && is_digit(*p))
        p++;
    return (size_t)(p - from);
}

/* 12, 12a, 12-14, 10/12, 5 B; NULL: none. */
static const byte *house_number(const byte *p, const byte *end) {
    size_t n = digits_at(p, end);
    if (n < 1 || n > 5)
        return NULL;
    p += n;
    if (end - p >= 2 && (*p == '-' || *p == '/') && (n = digits_at(p + 1, end)) >= 1 && n <= 4)
        p += 1 + n;
    if (p < end && is_alpha(*p) && !word_at(p + 1, end))
        p++;
    return word_at(p, end) || (end - p >= 2 && *p && strchr(".,:-/", *p) && is_digit(p[1])) ? NULL : p;
}

/* --- postcode and town --- */

/* '9' a digit, 'A' a capital letter. */
static const byte *skip_shape(const byte *p, const byte *end, const char *shape) {
    for (; *shape; shape++, p++)
        if (p == end || (*shape == '9' ? !is_digit(*p) : *shape == 'A' ? !is_upper(*p) : *p != (byte)*shape))
            return NULL;
    return word_at(p, end) ? NULL : p;
}

static const byte *postcode(const byte *p, const byte *end) {
    static const char *const shapes[] = {"99999-9999", "99999-999", "99999",  "9999 AA", "9999AA",
                                         "9999-999",   "9999",      "99-999", "999 99",  "999999",
                                         "AA9 9AA",    "AA99 9AA",  "A9 9AA", "A99 9AA", "A9A 9AA",
                                         "AA9A 9AA",   "A9A 9A9",   NULL};
    const byte *q;
    for (const char *const *s = shapes; *s; s++)
        if ((q = skip_shape(p, end, *s)) != NULL)
            return q;
    return NULL;
}

static const byte *skip_comma(const byte *p, const byte *end) {
    while (p < end && (*p == ',' || *p == '.' || *p == '-'))
        p++;
    return skip_blanks(p, end, 2);
}

/* "Apt 4B", "Suite 100", "#12" */
static const byte *skip_unit(const byte *p, const byte *end) {
    static const char *const units[] = {"apt",   "apartment", "suite", "ste", "unit",
                                        "floor", "room",      "flat",  "#",   NULL};
    const byte *q = skip_comma(p, end), *r = NULL;
    for (const char *const *u = units; !r && *u; u++)
        r = skip_text(q, end, *u);
    if (!r)
        return p;
    r = skip_comma(r, end);
    size_t n = 0;
    while (r + n < end && is_alnum(r[n]) && n < 6)
        n++;
    return n ? r + n : p;
}

/* What follows up to a postcode, and the town behind it, when it is words that towns are made of; else
 * nothing. */
static const byte *skip_town(const byte *street, const byte *end) {
    const byte *p = street, *code = NULL, *q;
    if (end - p > TAIL_MOST)
        end = p + TAIL_MOST;
    for (int words = 0; words < 7; words++) {
        q = skip_comma(p, end);
        if (q == p)
            break;
        p = q;
        if ((q = postcode(p, end)) != NULL) {
            code = p = q;
            continue;
        }
        size_t n = word_len(p, end);
        if (!n || !is_capital(p, end)) {
            break;
        }
        if (code) { /* 10115 Berlin */
            bool same_line = p[-1] == ' ';
            return same_line ? p + n : code;
        }
        p += n;
    }
    return code ? code : street;
}

static bool take(const struct spot *s, const byte *end, struct hit *h) {
    h->n = (size_t)(skip_town(skip_unit(end, s->end), s->end) - s->p);
    return true;
}

/* --- number first: English, French --- */

static const char *const english[] = {
    "street",  "st",    "avenue",  "ave",   "road",     "rd",     "boulevard", "blvd",    "lane",
    "ln",      "drive", "dr",      "court", "ct",       "square", "sq",        "terrace", "ter",
    "parkway", "pkwy",  "highway", "hwy",   "crescent", "close",  "place",     "pl",      "way",
    "gardens", "grove", "row",     "mews",  "broadway", "alley",  "circle",    "cir",     NULL};
static const char *const directions[] = {"n",  "s",     "e",     "w",    "ne",   "nw", "se",
                                         "sw", "north", "south", "east", "west", NULL};
static const char *const french[] = {"rue",    "avenue",       "av",       "boulevard", "bd",    "place",
                                     "chemin", "all\303\251e", "impasse",  "quai",      "cours", "route",
                                     "square", "passage",      "faubourg", NULL};
static const char *const particles[] = {"de",  "du",  "des",   "la",  "le",    "les",   "l",      "d",
                                        "et",  "del", "los",   "las", "el",    "da",    "do",     "dos",
                                        "das", "di",  "della", "dei", "delle", "y",     "e",      "der",
                                        "den", "dem", "am",    "van", "von",   "saint", "sainte", NULL};

/* Up to `most` words with a capital or of the particles: behind them; *capitals of them. */
static const byte *skip_names(const byte *p, const byte *end, unsigned most, unsigned *capitals) {
    *capitals = 0;
    for (unsigned i = 0; i < most; i++) {
        const byte *q = i ? skip_blanks(p, end, 1) : p;
        size_t n = word_len(q, end);
        bool particle =
            n && (is_word(q, n, particles) || ((*q == 'd' || *q == 'l') && n > 2 && !is_alpha(q[1])));
        if (!n || (i && q == p) || !(is_capital(q, end) || particle))
            break;
        *capitals += is_capital(q, end) || !is_word(q, n, particles);
        p = q + n;
        if (p < end && *p == '.' && n <= 3) /* "C. de" */
            p++;
    }
    return p;
}

static bool is_street(const byte *p, size_t n, const byte *end) {
    return is_capital(p, end) && is_word(p, n, english);
}

/* 1600 Pennsylvania Avenue NW */
static bool match_english(const struct spot *s, const byte *p, struct hit *h) {
    const byte *end = s->end, *street = NULL;
    for (unsigned words = 0; words < 6; words++) {
        const byte *q = skip_blanks(p, end, 1);
        size_t ordinal = digits_at(q, end), n;
        if (q == p || *p == '\n')
            break;
        n = ordinal && words == 0 ? ordinal + word_len(q + ordinal, end) : word_len(q, end);
        if (n == ordinal || (!ordinal && !is_capital(q, end)))
            break;
        bool direction = is_word(q, n, directions);
        if ((street && !direction) ||
            (words == 0 && is_word(q, n, (const char *const[]){"the", "new", NULL})))
            break;
        p = q + n;
        if (words > 0 && (is_street(q, n, end) || street)) {
            street = p + (p < end && *p == '.' && end - p >= 2 && !is_capital(p + 1, end));
            continue;
        }
        if (p < end && *p == '.' && n <= 2) /* "E. Main" */
            p++;
    }
    return street ? take(s, street, h) : false;
}

/* 12 bis, rue de la Paix */
static bool match_french(const struct spot *s, const byte *p, struct hit *h) {
    unsigned capitals;
    const byte *q = skip_comma(p, s->end), *r;
    if ((r = skip_text(q, s->end, "bis")) || (r = skip_text(q, s->end, "ter")))
        q = skip_comma(r, s->end);
    size_t n = word_len(q, s->end);
    if (q == p || !n || !is_word(q, n, french))
        return false;
    q += n;
    q += q < s->end && *q == '.';
    r = skip_blanks(q, s->end, 1);
    p = skip_names(r, s->end, 6, &capitals);
    return r > q && capitals > 0 ? take(s, p, h) : false;
}

/* --- word first --- */

static const char *const german[] = {"stra\303\237e", "strasse", "str",    "gasse", "allee", "chaussee",
                                     "laan",          "straat",  "gracht", "kade",  "gatan", "v\303\244gen",
                                     "vej",           "gade",    "veien",  "katu",  NULL};
static const char *const german_alone[] = {"stra\303\237e", "strasse", "str",      "allee",
                                           "ufer",          "damm",    "chaussee", NULL};
static const char *const german_weak[] = {"weg",  "platz", "ring",  "damm", "ufer",
                                          "berg", "hof",   "plein", NULL};
static const char *const southern[] = {
    "calle",    "avenida",      "avda", "plaza", "paseo",  "camino", "ronda", "carrer", "carrera", "rua",
    "travessa", "pra\303\247a", "via",  "viale", "piazza", "corso",  "largo", "vicolo", "alameda", NULL};
static const char *const slavic[] = {"ul",
                                     "ulica",
                                     "al",
                                     "os",
                                     "pl",
                                     "\321\203\320\273",
                                     "\321\203\320\273\320\270\321\206\320\260",
                                     "\320\277\321\200",
                                     NULL};

/* Musterstraße 12; Berliner Straße 12; Hauptweg 3 with a postcode behind it. */
static bool match_german(const struct spot *s, struct hit *h) {
    const byte *p = s->p;
    for (unsigned words = 0; words < 4; words++) {
        size_t n = word_len(p, s->end);
        if (!n || !(is_capital(p, s->end) || is_word(p, n, particles)))
            return false;
        const byte *behind = p + n + (p + n < s->end && p[n] == '.');
        bool strong = ends_in(p, n, german) || (words && is_word(p, n, german_alone));
        bool weak = ends_in(p, n, german_weak) || (words && is_word(p, n, german_weak));
        const byte *number = strong || weak ? skip_blanks(behind, s->end, 1) : NULL;
        number = number && number > behind ? house_number(number, s->end) : NULL;
        if (number && (strong || skip_town(number, s->end) > number))
            return take(s, number, h);
        p = skip_blanks(p + n, s->end, 1);
    }
    return false;
}

/* [,] [n.º] 5 */
static const byte *number_behind(const byte *p, const byte *end) {
    static const char *const words[] = {
        "n\302\272",   "n\302\260", "n.\302\272", "no.",       "n.",
        "n\303\272m.", "#",         "d.",         "\320\264.", "\320\264\320\276\320\274 ",
        NULL};
    const byte *q = skip_comma(p, end), *r;
    if (q == p)
        return NULL;
    for (const char *const *w = words; *w; w++)
        if ((r = skip_text(q, end, *w)) != NULL) {
            q = skip_blanks(r, end, 1);
            break;
        }
    return house_number(q, end);
}

/* Of the words for street only these begin small. */
static bool may_be_slavic(const byte *p, const byte *end) {
    static const char *const begins[] = {"ul", "al", "os", "pl"};
    if (*p >= 0xD0)
        return true;
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (*p == (byte)begins[i][0] && skip_text(p, end, begins[i]))
            return true;
    return false;
}

/* Calle de Alcalá, 50; Via Roma 12; ul. Długa 5/7 */
static bool match_southern(const struct spot *s, struct hit *h) {
    unsigned capitals;
    if (!is_capital(s->p, s->end) && !may_be_slavic(s->p, s->end))
        return false;
    size_t n = word_len(s->p, s->end);
    const byte *p = s->p + n, *q;
    bool dot = p < s->end && *p == '.';
    bool is_slavic = n && is_word(s->p, n, slavic) && (dot || n > 4);
    bool is_southern = n && is_capital(s->p, s->end) &&
                       (is_word(s->p, n, southern) || (dot && n == 2 && skip_text(s->p, s->end, "av")));
    if (!is_slavic && !is_southern)
        return false;
    p += dot;
    q = skip_blanks(p, s->end, 1);
    if (q == p && !dot)
        return false;
    p = skip_names(q, s->end, 5, &capitals);
    if (capitals == 0)
        return false;
    q = number_behind(p, s->end);
    return q ? take(s, q, h) : false;
}

static bool match_box(const struct spot *s, struct hit *h) {
    static const char *const words[] = {
        "p.o. box ", "po box ", "p.o.box ", "postfach ", "apartado de correos ", "boite postale ", NULL};
    const byte *p = NULL;
    for (const char *const *w = words; !p && *w; w++)
        p = skip_text(s->p, s->end, *w);
    size_t n = p ? digits_at(p, s->end) : 0;
    while (n && s->end - (p + n) >= 3 && p[n] == ' ' && digits_at(p + n + 1, s->end) == 2)
        n += 3; /* Postfach 12 34 56 */
    return n > 0 ? take(s, p + n, h) : false;
}

/* A Japanese postcode, and the address behind it up to a space or the end of the line. */
static bool match_japanese(const struct spot *s, struct hit *h) {
    const byte *p = skip_text(s->p, s->end, "\343\200\222");
    if (!p)
        return false;
    p = skip_shape(p, s->end, "999-9999");
    if (!p)
        return false;
    const byte *from = skip_blanks(p, s->end, 1), *q = from;
    while (q < s->end && q - from<TAIL_MOST && * q> ' ' && *q != '"' && *q != '\\')
        q++;
    while (q < s->end && q > from && (*q & 0xC0) == 0x80) /* not into a character */
        q--;
    if (q > from && *from >= 0x80)
        p = q;
    h->n = (size_t)(p - s->p);
    return true;
}

bool match_address(const struct spot *s, struct hit *h) {
    if (*s->p == 0xE3)
        return match_japanese(s, h);
    if (!word_at(s->p, s->end) || word_before(s->begin, s->p))
        return false;
    if (!is_digit(*s->p))
        return (is_capital(s->p, s->end) && (match_german(s, h) || match_box(s, h))) || match_southern(s, h);
    if (s->p > s->begin && s->p[-1] && strchr(".-/:#$", s->p[-1]))
        return false;
    const byte *p = house_number(s->p, s->end);
    return p && (match_french(s, p, h) || match_english(s, p, h));
}
