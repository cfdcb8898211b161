/* The growable buffer. Growth doubles, so that n bytes added one by one cost O(n); consumed bytes at the
 * front are given back by moving the rest down only when that is at least half of the memory. */
#include "base/buf.h"
#include "base/die.h"
#include <stdarg.h>
#include <stdio.h>

void buf_init(struct buf *b, size_t max) {
    *b = (struct buf){.max = max};
}

void buf_free(struct buf *b) {
    mem_free(b->p);
    *b = (struct buf){.max = b->max};
}

void buf_clear(struct buf *b) {
    b->off = b->end = 0;
    b->failed = false;
}

void buf_wipe(struct buf *b) {
    if (b->p)
        mem_wipe(b->p, b->cap);
    buf_free(b);
}

static size_t buf_limit(const struct buf *b) {
    return b->max ? b->max : BUF_MAX_DEFAULT;
}

static void grow(struct buf *b, size_t need) {
    size_t len = b->end - b->off;
    if (b->off > 0 && b->off >= b->cap / 2 && need <= b->cap) {
        memmove(b->p, b->p + b->off, len);
    } else {
        size_t cap = b->cap ? b->cap : 128;
        while (cap < need)
            cap *= 2; /* need is bounded by max, far from overflow, see buf_room */
        char *p = mem_grow(NULL, cap);
        if (len)
            memcpy(p, b->p + b->off, len);
        mem_free(b->p);
        b->p = p;
        b->cap = cap;
    }
    b->off = 0;
    b->end = len;
}

char *buf_room(struct buf *b, size_t n) {
    if (b->failed)
        return NULL;
    if (n > b->cap - b->end || !b->p) {
        size_t len = b->end - b->off;
        size_t limit = buf_limit(b);
        if (n > limit || len > limit - n || limit > SIZE_MAX / 4) {
            b->failed = true;
            return NULL;
        }
        grow(b, len + n);
    } else if (b->end - b->off + n > buf_limit(b)) {
        b->failed = true;
        return NULL;
    }
    return b->p + b->end;
}

void buf_add(struct buf *b, const void *p, size_t n) {
    if (n == 0)
        return;
    char *to = buf_room(b, n);
    if (to) {
        memcpy(to, p, n);
        b->end += n;
    }
}

void buf_adds(struct buf *b, struct str s) {
    buf_add(b, s.p, s.n);
}

void buf_addz(struct buf *b, const char *z) {
    buf_add(b, z, strlen(z));
}

void buf_addc_slow(struct buf *b, char c) {
    char *to = buf_room(b, 1);
    if (to) {
        *to = c;
        b->end++;
    }
}

void buf_addu(struct buf *b, uint64_t v) {
    char digits[STR_DIGITS];
    buf_adds(b, str_from_u64(digits, v));
}

void buf_addi(struct buf *b, int64_t v) {
    if (v < 0) {
        buf_addc(b, '-');
        buf_addu(b, 0 - (uint64_t)v);
    } else {
        buf_addu(b, (uint64_t)v);
    }
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    char small[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    MUST(n >= 0);
    if ((size_t)n < sizeof small) {
        buf_add(b, small, (size_t)n);
        return;
    }
    char *big = mem_grow(NULL, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(big, (size_t)n + 1, fmt, ap);
    va_end(ap);
    buf_add(b, big, (size_t)n);
    mem_free(big);
}

void buf_consume(struct buf *b, size_t n) {
    MUST(n <= b->end - b->off);
    b->off += n;
    if (b->off == b->end)
        b->off = b->end = 0;
}
