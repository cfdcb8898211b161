/* Masks: what names a person or opens a door, found in a text and replaced by a word ([EMAIL], [PHONE],
 * [ADDRESS], [CARD], [IP], [SECRET], [CUSTOM]). Pure and bounded: what becomes of a byte depends on MASK_BACK
 * bytes before it and MASK_SIGHT behind it and on nothing else, so a text gives the same however it is cut.
 *
 * A table of shapes, not a model of language: what has no shape (names, a number spoken in words) stays, and
 * what has one by chance goes. How often either happens is counted by tests/check_mask.c over a corpus.
 * Plain text, and JSON text as it lies (escapes such as \n and \" end words and values). */
#ifndef PENSTOCK_POLICY_MASK_H
#define PENSTOCK_POLICY_MASK_H
#include "base/buf.h"

enum mask_kind {
    MASK_EMAIL = 1,
    MASK_PHONE = 2,
    MASK_ADDRESS = 4,
    MASK_CARD = 8, /* Luhn, and the numbers that the brands give out */
    MASK_IP = 16,
    MASK_SECRET = 32, /* keys of known prefixes, JWTs, PEM private keys, "password=...", user:password in URLs */
    MASK_BUILTIN = 63,
};
enum {
    MASK_SIGHT = 512, /* bytes */
    MASK_BACK = 48,
    MASK_LINE = 4096, /* the longest text that a custom pattern is tried on; a longer line is cut there */
    MASK_PATTERNS = 32,
    MASK_GROWTH = 16, /* the result is at most so many times as long as the text */
};

struct mask; /* compiled; never changes afterwards */
/* patterns: POSIX extended, case as written, tried on each line after all others; back references are refused
 * (their matching can take for ever). NULL and err: the first that is none. */
struct mask *mask_new(unsigned kinds, const char *const *patterns, size_t n, char err[256]);
void mask_free(struct mask *m);

void mask_text(const struct mask *m, struct str text, struct buf *out); /* appends */

/* The same in pieces. What is held back is bounded: SIGHT + BACK bytes, and a line where there are patterns. */
struct mask_stream {
    const struct mask *m;
    struct buf held;  /* bytes of the text, the first `done` of them dealt with */
    size_t done;
    unsigned swallow; /* what is being left out until it ends */
    struct buf line;  /* masked, waiting for the patterns */
};
void mask_open(struct mask_stream *s, const struct mask *m);
void mask_push(struct mask_stream *s, struct str piece, struct buf *out);
void mask_close(struct mask_stream *s, struct buf *out); /* the rest; gives the memory back */
#endif
