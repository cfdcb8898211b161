/* The end of a process, and memory that is never NULL.
 * Small allocations whose size the client cannot choose end the process when memory is exhausted: the
 * master replaces a worker at once, and no half-made state is left behind. What a client can make grow is
 * bounded by a `max` (buf.h) before it gets here. */
#ifndef PENSTOCK_BASE_DIE_H
#define PENSTOCK_BASE_DIE_H
#include <stddef.h>

_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* logs, exits 1 */
_Noreturn void die_must(const char *file, int line, const char *what);         /* logs, aborts */
/* A condition that only a bug can break; on in production. */
#define MUST(cond) ((cond) ? (void)0 : die_must(__FILE__, __LINE__, #cond))

void *mem_alloc(size_t n);                  /* zeroed */
void *mem_array(size_t count, size_t size); /* zeroed, overflow-checked */
void *mem_grow(void *p, size_t n);          /* realloc */
char *mem_dupz(const char *z);
void mem_free(void *p);
void mem_wipe(void *p, size_t n); /* not optimised away */

/* Magic numbers guard every void pointer that crosses a callback. */
#define MAGIC_CHECK(obj, want) MUST((obj) != NULL && (obj)->magic == (want))
#endif
