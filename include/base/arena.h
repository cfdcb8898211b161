/* A pool that lives as long as one request (or one configuration) and is freed whole.
 * Foreign resources hang on it with a cleanup. Never returns NULL (see die.h).
 * One process, one thread. */
#ifndef PENSTOCK_BASE_ARENA_H
#define PENSTOCK_BASE_ARENA_H
#include "base/str.h"

struct arena;
struct arena *arena_new(size_t first_block); /* 0: a sensible default (2 KiB) */
void arena_free(struct arena *a);            /* runs the cleanups, last added first; NULL is fine */
void *arena_alloc(struct arena *a, size_t n);  /* zeroed, aligned for any type */
void *arena_array(struct arena *a, size_t count, size_t size); /* overflow-checked, zeroed */
char *arena_dupz(struct arena *a, struct str s);          /* NUL-terminated copy */
struct str arena_dup(struct arena *a, struct str s);      /* copy (also NUL-terminated behind its end) */
struct str arena_u64(struct arena *a, uint64_t v);        /* decimal; printf is too slow where each request prints */
struct str arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_cleanup(struct arena *a, void (*fn)(void *arg), void *arg);
size_t arena_size(const struct arena *a);                 /* bytes taken from the system */
#endif
