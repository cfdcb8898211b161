/* Words are cut and put into small letters here, by tables that are good enough for the scripts of Europe; in
 * scripts without spaces each letter is a word. */
#include "policy/lexical.h"

#include <math.h>
#include <stdlib.h>

#include "base/die.h"
#include "base/hash.h"

/* --- letters --- */

/* The character at *p, which moves on; what is no UTF-8 is taken for one strange letter a byte. */
static uint32_t next_char(const unsigned char **p, const unsigned char *end) {
    uint32_t c = *(*p)++;
    int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
    if (more == 0 || end - *p < more)
        return c;
    uint32_t code = c & (0x3FU >> more);
    for (int i = 0; i < more; i++) {
        if (((*p)[i] & 0xC0) != 0x80)
            return c;
        code = code << 6 | ((*p)[i] & 0x3FU);
    }
    *p += more;
    return code;
}

static uint32_t small(uint32_t c) {
    if (c >= 'A' && c <= 'Z')
        return c + 0x20;
    if (c < 0xC0)
        return c;
    if (c <= 0xDE && c != 0xD7) /* Latin-1 */
        return c + 0x20;
    if (c >= 0x100 && c <= 0x17F) { /* Latin Extended-A: pairs, which begin with an even or an odd one */
        bool odd = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E);
        return c == 0x178                                             ? 0xFF
               : c == 0x130 || c == 0x138 || c == 0x149 || c == 0x17F ? c
               : odd                                                  ? c + (c & 1)
                                                                      : c | 1;
    }
    if (c >= 0x391 && c <= 0x3A9) /* Greek */
        return c + 0x20;
    if (c >= 0x410 && c <= 0x42F) /* Cyrillic */
        return c + 0x20;
    return c >= 0x400 && c <= 0x40F ? c + 0x50 : c;
}

static bool is_ideograph(uint32_t c) {
    return (c >= 0x3040 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7AF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF) || (c >= 0x0E00 && c <= 0x0E7F);
}

static bool is_digit(uint32_t c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(uint32_t c) {
    if (c < 0x80)
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c);
    if (c < 0xC0)
        return c == 0xAA || c == 0xB5 || c == 0xBA;
    return c != 0xD7 && c != 0xF7 && !(c >= 0x2000 && c <= 0x2BFF) && !(c >= 0x3000 && c <= 0x303F) &&
           !(c >= 0xFE30 && c <= 0xFE4F) && !(c >= 0xFF00 && c <= 0xFF0F) && !(c >= 0xFF1A && c <= 0xFF20);
}

static bool is_apostrophe(uint32_t c) {
    return c == '\'' || c == 0x2019;
}

/* Without which "C" is "C++", "x < 1" is "x > 1" and "5 $" is "5 %". */
static bool is_sign(uint32_t c) {
    return (c < 0x80 && c && strchr("+*/<>=%$&|^~@#\\", (int)c)) || c == 0xD7 || c == 0xF7 || c == 0xB1 ||
           (c >= 0x20A0 && c <= 0x20BF) || (c >= 0x2200 && c <= 0x22FF) || c == 0xA3 || c == 0xA5;
}

/* --- words --- */

enum { WORD_MAX = 64 /* characters of a word; the rest of a longer one is another */ };

struct word {
    uint32_t c[WORD_MAX]; /* small letters, apostrophes left out; or one sign */
    size_t n;
    bool sign, digit, apostrophe;
};
struct words {
    const unsigned char *p, *end;
};

static struct words words_of(struct str text) {
    const unsigned char *p = (const unsigned char *)text.p;
    return (struct words){p, p + text.n};
}

static bool letter_follows(const struct words *w) {
    const unsigned char *p = w->p;
    return p < w->end && is_letter(next_char(&p, w->end));
}

static bool digit_follows(const struct words *w) {
    return w->p < w->end && is_digit(*w->p);
}

static void take_letter(struct word *out, uint32_t c) {
    out->c[out->n++] = small(c);
    out->digit = out->digit || is_digit(c) || (c >= 0xFF10 && c <= 0xFF19);
}

/* The rest of a word whose first letter was taken. */
static void take_rest(struct words *w, struct word *out) {
    while (w->p < w->end && out->n < WORD_MAX) {
        const unsigned char *before = w->p;
        uint32_t c = next_char(&w->p, w->end);
        if (is_apostrophe(c) && letter_follows(w)) {
            out->apostrophe = true;
        } else if (!is_letter(c) || is_ideograph(c)) {
            w->p = before;
            return;
        } else {
            take_letter(out, c);
        }
    }
}

/* The next word or sign; false at the end. */
static bool next_word(struct words *w, struct word *out) {
    *out = (struct word){.n = 0};
    while (w->p < w->end) {
        uint32_t c = next_char(&w->p, w->end);
        if (is_letter(c)) {
            take_letter(out, c);
            if (!is_ideograph(c))
                take_rest(w, out);
            return true;
        }
        if (is_sign(c) || ((c == '-' || c == 0x2212) && digit_follows(w))) {
            out->c[out->n++] = c;
            out->sign = true;
            return true;
        }
    }
    return false;
}

/* Is it one of the list, "a b c"? The list is UTF-8 in small letters. */
static bool in_list(const struct word *w, const char *list) {
    const unsigned char *p = (const unsigned char *)list, *end = p + strlen(list);
    while (p < end) {
        size_t i = 0;
        bool same = true;
        uint32_t c = 0;
        while (p < end && (c = next_char(&p, end)) != ' ') {
            same = same && i < w->n && w->c[i] == c;
            i++;
        }
        if (same && i == w->n)
            return true;
    }
    return false;
}

/* --- the guard --- */

static const char contractions[] =
    "cannot dont doesnt didnt isnt arent wasnt werent wont wouldnt cant couldnt "
    "shouldnt hasnt havent hadnt mustnt neednt aint";
static const char negations[] =
    "no never none nothing nobody nowhere neither nor without "             /* English */
    "nicht kein keine keinen keinem keiner keines nie niemals nichts ohne " /* German */
    "ne pas jamais rien sans aucun aucune "                                 /* French */
    "nunca nada sin ninguno ninguna ningún ni tampoco jamás "               /* Spanish */
    "non mai niente nulla senza nessuno nessuna "                           /* Italian */
    "não sem nenhum nenhuma "                                               /* Portuguese */
    "niet geen nooit niets zonder "                                         /* Dutch */
    "nie bez nigdy nic żaden żadna "                                        /* Polish */
    "не нет ни без никогда ничего нельзя "                                  /* Russian */
    "不 没 沒 无 無 非 未 别 勿";                                           /* Chinese */
static const char counts[] =
    "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty "
    "hundred thousand million billion half twice first second third last";

static bool is_not(const struct word *w) {
    bool contracted = w->apostrophe && w->n > 2 && w->c[w->n - 1] == 't' && w->c[w->n - 2] == 'n';
    return contracted || in_list(w, "not") || in_list(w, contractions);
}

static void add_word(struct buf *out, const struct word *w) {
    for (size_t i = 0; i < w->n; i++)
        buf_add(out, &w->c[i], sizeof w->c[i]);
    buf_addc(out, '\n');
}

void lexical_guard(struct str text, struct buf *out) {
    struct words all = words_of(text);
    struct word w;
    while (next_word(&all, &w)) {
        if (is_not(&w))
            BUF_ADD(out, "not\n");
        else if (w.sign || w.digit || in_list(&w, negations) || in_list(&w, counts))
            add_word(out, &w);
    }
}

/* --- features --- */

/* What a question can be without. No tenses, no prepositions: "is" and "was", "to" and "from" are two
 * questions. */
static const char fillers[] = "a an the is are do does can could me you it its of "
                              "please just tell give explain kindly hey hi hello there what whats";

#define WEIGHT_WORD   1.0
#define WEIGHT_PAIR   0.6
#define WEIGHT_RUN    0.3
#define WEIGHT_FILLER 0.3 /* of all three, where the word is one */

struct feature {
    uint64_t hash;
    double weight;
};
struct features {
    struct feature *list;
    size_t n, cap;
};

static void add_feature(struct features *f, uint64_t hash, double weight) {
    if (f->n == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 256;
        f->list = mem_grow(f->list, f->cap * sizeof *f->list);
    }
    f->list[f->n++] = (struct feature){hash, weight};
}

enum { KIND_WORD = 1, KIND_PAIR, KIND_RUN };

static uint64_t feature_of(uint64_t kind, const uint32_t *c, size_t n) {
    return hash64_more(hash64(&kind, sizeof kind), c, n * sizeof *c);
}

/* Runs of three letters, with the word's ends. */
static void add_runs(struct features *f, const struct word *w, double weight) {
    uint32_t padded[WORD_MAX + 2];
    padded[0] = padded[w->n + 1] = ' ';
    memcpy(padded + 1, w->c, w->n * sizeof *w->c);
    for (size_t i = 0; i + 3 <= w->n + 2; i++)
        add_feature(f, feature_of(KIND_RUN, padded + i, 3), weight * WEIGHT_RUN);
}

static int by_hash(const void *a, const void *b) {
    uint64_t x = ((const struct feature *)a)->hash, y = ((const struct feature *)b)->hash;
    return x < y ? -1 : x > y;
}

/* The more often a thing is said the less each time counts. */
static void sum_up(struct features *f, float v[VECTOR_DIM]) {
    if (f->n)
        qsort(f->list, f->n, sizeof *f->list, by_hash);
    for (size_t i = 0, j; i < f->n; i = j) {
        for (j = i; j < f->n && f->list[j].hash == f->list[i].hash; j++)
            ;
        uint64_t h = f->list[i].hash;
        double weight = f->list[i].weight * (1 + log((double)(j - i)));
        v[h % VECTOR_DIM] += (float)(h >> 63 ? -weight : weight);
    }
}

static void add_word_features(struct features *f, const struct word *w, uint64_t *before,
                              double *weight_before) {
    double weight = in_list(w, fillers) ? WEIGHT_FILLER : 1;
    uint64_t h = feature_of(KIND_WORD, w->c, w->n), pair[3] = {KIND_PAIR, *before, h};
    add_feature(f, h, weight * WEIGHT_WORD);
    if (!w->sign && w->n > 1)
        add_runs(f, w, weight);
    if (*before)
        add_feature(f, hash64(pair, sizeof pair), sqrt(weight * *weight_before) * WEIGHT_PAIR);
    *before = h;
    *weight_before = weight;
}

bool lexical_embed(struct str text, struct vector *out, unsigned *words) {
    struct features f = {0};
    struct words all = words_of(text);
    struct word w;
    float v[VECTOR_DIM] = {0};
    uint64_t before = 0;
    double weight = 0;
    *words = 0;
    if (text.n > LEXICAL_MAX)
        return false;
    for (; next_word(&all, &w); ++*words)
        add_word_features(&f, &w, &before, &weight);
    sum_up(&f, v);
    mem_free(f.list);
    return vector_of(v, VECTOR_DIM, out);
}

/* In a text of so many words one that is changed is seen by the threshold as it was given. */
#define WORDS_SHORT 14.0

double lexical_threshold(double threshold, unsigned words) {
    return words <= WORDS_SHORT ? threshold : 1 - (1 - threshold) * WORDS_SHORT / (double)words;
}
