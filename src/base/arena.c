/* The pool of one request: memory is cut from blocks in order and given back whole. The arena's own head lies
 * in its first block, so that a small request costs one malloc and one free. */
#include "base/arena.h"
#include "base/die.h"
#include <stdarg.h>
#include <stdio.h>

struct block {
    struct block *older;
    size_t size; /* of the data */
    size_t used;
    _Alignas(max_align_t) char data[];
};

/* A default block is 2 KiB with its head: a size that allocators have. */
enum { ALIGN = _Alignof(max_align_t), FIRST_DEFAULT = 2048 - sizeof(struct block), BLOCK_MOST = 64 * 1024 };

struct cleanup {
    struct cleanup *older;
    void (*fn)(void *arg);
    void *arg;
};

struct arena {
    struct block *newest; /* the one that is cut from */
    struct cleanup *last;
    size_t total;
    size_t next_size;
};

static struct block *block_new(size_t size) {
    size_t n;
    if (__builtin_add_overflow(size, sizeof(struct block), &n))
        die("out of memory (%zu bytes)", size);
    struct block *b = mem_grow(NULL, n);
    b->older = NULL;
    b->size = size;
    b->used = 0;
    return b;
}

static size_t aligned(size_t n) {
    return (n + (ALIGN - 1)) & ~(size_t)(ALIGN - 1);
}

struct arena *arena_new(size_t first_block) {
    size_t size = first_block ? first_block : FIRST_DEFAULT;
    size_t head = aligned(sizeof(struct arena));
    if (size < head + 256)
        size = head + 256;
    struct block *b = block_new(size);
    struct arena *a = (struct arena *)(void *)b->data;
    b->used = head;
    *a = (struct arena){.newest = b, .total = size + sizeof *b, .next_size = size};
    return a;
}

void arena_free(struct arena *a) {
    if (!a)
        return;
    while (a->last) { /* a cleanup may add another */
        struct cleanup *c = a->last;
        a->last = c->older;
        c->fn(c->arg);
    }
    struct block *b = a->newest;
    while (b) {
        struct block *older = b->older;
        mem_free(b); /* the last one holds the arena itself */
        b = older;
    }
}

/* A block for n bytes. One that is much larger than usual is hung in behind the newest, which goes on. Blocks
 * only grow in an arena that has had several: thousands of small ones stay open for as long as streams do. */
static char *cut_new_block(struct arena *a, size_t n) {
    bool own = n > a->next_size / 2;
    if (!own && a->total > 4 * (size_t)FIRST_DEFAULT && a->next_size < BLOCK_MOST)
        a->next_size = a->next_size * 2 + sizeof(struct block);
    struct block *b = block_new(own ? n : a->next_size);
    a->total += b->size + sizeof *b;
    if (own) {
        b->older = a->newest->older;
        a->newest->older = b;
    } else {
        b->older = a->newest;
        a->newest = b;
    }
    b->used = n;
    return b->data;
}

static char *cut(struct arena *a, size_t n, size_t from) {
    struct block *b = a->newest;
    if (from <= b->size && n <= b->size - from) {
        b->used = from + n;
        return b->data + from;
    }
    return cut_new_block(a, n);
}

void *arena_alloc(struct arena *a, size_t n) {
    return memset(cut(a, n ? n : 1, aligned(a->newest->used)), 0, n ? n : 1);
}

void *arena_array(struct arena *a, size_t count, size_t size) {
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        die("out of memory (%zu times %zu bytes)", count, size);
    return arena_alloc(a, n);
}

/* Text needs no alignment. */
char *arena_dupz(struct arena *a, struct str s) {
    MUST(s.n < SIZE_MAX);
    char *p = cut(a, s.n + 1, a->newest->used);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

struct str arena_dup(struct arena *a, struct str s) {
    return (struct str){arena_dupz(a, s), s.n};
}

struct str arena_u64(struct arena *a, uint64_t v) {
    char digits[STR_DIGITS];
    return arena_dup(a, str_from_u64(digits, v));
}

struct str arena_printf(struct arena *a, const char *fmt, ...) {
    char small[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    MUST(n >= 0);
    if ((size_t)n < sizeof small)
        return arena_dup(a, str_make(small, (size_t)n));
    char *p = cut(a, (size_t)n + 1, a->newest->used);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return (struct str){p, (size_t)n};
}

void arena_cleanup(struct arena *a, void (*fn)(void *arg), void *arg) {
    struct cleanup *c = arena_alloc(a, sizeof *c);
    *c = (struct cleanup){.older = a->last, .fn = fn, .arg = arg};
    a->last = c;
}

size_t arena_size(const struct arena *a) {
    return a->total;
}
