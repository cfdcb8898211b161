/* The end of a process, and allocation that never returns NULL. Nothing here allocates while reporting, so
 * that it also works when there is no memory left. */
#include "base/die.h"
#include "base/log.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_event(LVL_ERROR, "fatal", "%s", text);
    exit(1);
}

void die_must(const char *file, int line, const char *what) {
    log_event(LVL_ERROR, "bug", "%s:%d: must hold: %s", file, line, what);
    abort(); /* a core is worth more than an exit status */
}

void *mem_alloc(size_t n) {
    void *p = calloc(1, n ? n : 1);
    if (!p)
        die("out of memory (%zu bytes)", n);
    return p;
}

void *mem_array(size_t count, size_t size) {
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        die("out of memory (%zu times %zu bytes)", count, size);
    return mem_alloc(n);
}

void *mem_grow(void *p, size_t n) {
    void *q = realloc(p, n ? n : 1);
    if (!q)
        die("out of memory (%zu bytes)", n);
    return q;
}

char *mem_dupz(const char *z) {
    size_t n = strlen(z) + 1;
    return memcpy(mem_grow(NULL, n), z, n);
}

void mem_free(void *p) {
    free(p);
}

void mem_wipe(void *p, size_t n) {
    if (n)
        explicit_bzero(p, n);
}
