/* How long one look into a full table of vectors takes: 50,000 of one partition, none of them near, so that
 * each is compared. Prints {"ms": of the median scan, "kernel": "avx2"}. */
#include "shm/vectors.h"
#include "base/hash.h"
#include "shm/slot.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ENTRIES = 50000, SCANS = 41 };

static void random_vector(struct vector *v) {
    float f[VECTOR_DIM];
    for (size_t i = 0; i < VECTOR_DIM; i++)
        f[i] = (float)(random_unit() - 0.5);
    if (!vector_of(f, VECTOR_DIM, v))
        exit(1);
}

/* This thread's: what another program takes of the processor is not the scan's. */
static uint64_t run_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int main(void) {
    char err[256];
    struct shm *s = shm_create(1 << 20, err);
    if (!s) {
        fprintf(stderr, "vectors: %s\n", err);
        return 1;
    }
    slot_enter(s, slot_claim(s, SLOT_WORKER, 0, 1));
    struct vector_entry e = {.expires_wall_ms = INT64_MAX, .partition = {1}};
    struct vector v;
    for (uint32_t i = 0; i < ENTRIES; i++) {
        memcpy(e.key, &i, sizeof i);
        random_vector(&v);
        if (!vectors_put(s, &e, &v, VECTORS_MAX, shm_cache_epoch(s)))
            return 1;
    }
    uint64_t ns[SCANS];
    struct vector_hit hits[VECTORS_FOUND];
    size_t found = 0;
    for (int i = 0; i < SCANS; i++) {
        random_vector(&v);
        uint64_t from = run_ns();
        found += vectors_find(s, e.partition, &v, 0.95, 0, hits);
        ns[i] = run_ns() - from;
    }
    qsort(ns, SCANS, sizeof *ns, by_size);
    const char *kernel = "", *name;
    for (size_t i = 0; vector_dot_at(i, &name); i++)
        kernel = name;
    printf("{\"ms\": %.3f, \"worst_ms\": %.3f, \"kernel\": \"%s\", \"found\": %zu}\n",
           (double)ns[SCANS / 2] / 1e6, (double)ns[SCANS - 1] / 1e6, kernel, found);
    shm_free(s);
    return 0;
}
