/* A hash table of sums. */
#include "groups.h"
#include "base/die.h"
#include "base/hash.h"

static void insert(struct groups *g, uint32_t index) {
    size_t at = g->list[index].hash & (g->nslots - 1);
    while (g->slots[at])
        at = (at + 1) & (g->nslots - 1);
    g->slots[at] = index + 1;
}

static void grow(struct groups *g) {
    g->cap = g->cap ? g->cap * 2 : 64;
    g->list = mem_grow(g->list, g->cap * sizeof *g->list);
    mem_free(g->slots);
    g->nslots = g->cap * 2;
    g->slots = mem_array(g->nslots, sizeof *g->slots);
    for (size_t i = 0; i < g->n; i++)
        insert(g, (uint32_t)i);
}

static struct group *find(const struct groups *g, uint64_t hash, struct str key) {
    if (g->nslots == 0)
        return NULL;
    for (size_t at = hash & (g->nslots - 1); g->slots[at]; at = (at + 1) & (g->nslots - 1)) {
        struct group *is = &g->list[g->slots[at] - 1];
        if (is->hash == hash && str_eq(group_key(is), key))
            return is;
    }
    return NULL;
}

struct sums *groups_sums(struct groups *g, struct str key) {
    uint64_t hash = hash64(key.p, key.n);
    struct group *is = find(g, hash, key);
    MUST(key.n <= SUMS_KEY_MAX);
    if (is)
        return &is->sums;
    if (g->n == g->cap)
        grow(g);
    is = &g->list[g->n];
    is->hash = hash;
    is->key_n = key.n;
    memcpy(is->key, key.p, key.n);
    is->sums = (struct sums){0};
    insert(g, (uint32_t)g->n++);
    return &is->sums;
}

void groups_clear(struct groups *g) {
    if (g->n)
        memset(g->slots, 0, g->nslots * sizeof *g->slots);
    g->n = 0;
}

void groups_free(struct groups *g) {
    mem_free(g->list);
    mem_free(g->slots);
    *g = (struct groups){.n = 0};
}
