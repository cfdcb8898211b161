/* Sums of many groups, gathered in memory and found by their key (sums.h). Zero-initialised is empty; memory
 * is kept until groups_free(). */
#ifndef PENSTOCK_SRC_STORE_GROUPS_H
#define PENSTOCK_SRC_STORE_GROUPS_H
#include "sums.h"

struct group {
    uint64_t hash;
    size_t key_n;
    unsigned char key[SUMS_KEY_MAX];
    struct sums sums;
};
struct groups {
    struct group *list;
    size_t n, cap;
    uint32_t *slots; /* open addressing: 1 + index of a group; twice as many as groups, or more */
    size_t nslots;   /* a power of two */
};
struct sums *groups_sums(struct groups *g, struct str key); /* zeros for a new one; until the next call */
static inline struct str group_key(const struct group *g) {
    return str_make((const char *)g->key, g->key_n);
}
void groups_clear(struct groups *g);
void groups_free(struct groups *g);
#endif
