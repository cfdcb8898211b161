/* A growable byte buffer with a bound. Contiguous: its bytes are [buf_at(b), buf_len(b)).
 * Errors stick: once a write would pass `max` the buffer is `failed`, later writes do nothing, and the
 * caller asks once, at the end, with buf_ok(). Memory exhaustion ends the process (see die.h). */
#ifndef PENSTOCK_BASE_BUF_H
#define PENSTOCK_BASE_BUF_H
#include "base/str.h"

struct buf {
    char *p;    /* owned */
    size_t off; /* consumed so far */
    size_t end; /* written so far */
    size_t cap;
    size_t max; /* most bytes it may hold; 0 = BUF_MAX_DEFAULT */
    bool failed;
};
#define BUF_MAX_DEFAULT ((size_t)1 << 30)

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);   /* may be used again after it */
void buf_clear(struct buf *b);  /* keeps the memory, clears `failed` */
void buf_wipe(struct buf *b);   /* overwrites, then frees: for secrets */
static inline size_t buf_len(const struct buf *b) {
    return b->end - b->off;
}
static inline char *buf_at(const struct buf *b) {
    return b->p + b->off;
}
static inline bool buf_ok(const struct buf *b) {
    return !b->failed;
}
static inline struct str buf_str(const struct buf *b) {
    return (struct str){b->p ? b->p + b->off : NULL, b->end - b->off};
}
/* Room for n more bytes; returns where to write (then buf_commit), or NULL and `failed`. */
char *buf_room(struct buf *b, size_t n);
static inline void buf_commit(struct buf *b, size_t n) {
    b->end += n;
}
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, struct str s);
void buf_addz(struct buf *b, const char *z);
void buf_addc_slow(struct buf *b, char c);
static inline void buf_addc(struct buf *b, char c) {
    if (b->end < b->cap && !b->failed && b->end - b->off < b->max)
        b->p[b->end++] = c;
    else
        buf_addc_slow(b, c);
}
void buf_addu(struct buf *b, uint64_t v); /* decimal */
void buf_addi(struct buf *b, int64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t n); /* drops n bytes from the front; cheap */
#define BUF_ADD(b, literal) buf_add((b), (literal), sizeof(literal) - 1)
#endif
