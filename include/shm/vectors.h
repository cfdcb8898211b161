/* The vectors of the semantic cache: which answer of the exact cache stands for a text of this meaning. Any worker
 * writes, any reads. An entry belongs to a partition, and is only ever compared with texts of the same: the scan filters by
 * the first 64 bits of its digest, and what it found is taken only when all 256 are equal. Readers copy what they take and
 * check that nobody wrote meanwhile. Not kept over a restart: the answers are, and their vectors come back as they are
 * asked for. */
#ifndef PENSTOCK_SHM_VECTORS_H
#define PENSTOCK_SHM_VECTORS_H
#include "base/vector.h"
#include "shm/index.h"

#define VECTORS_MAX 65536 /* as many as the index has places for answers */

struct vector_entry {
    uint8_t partition[INDEX_KEY]; /* SHA-256 of all that must be equal */
    uint8_t key[INDEX_KEY];       /* of the answer, in the index */
    int64_t expires_wall_ms, created_wall_ms;
    uint64_t model_hash, owner_hash; /* for partial clearing */
};
/* One of the first `most` places: that of the same partition and key, else the one the hand comes to, which passes over
 * what was used since it passed last. Refused (false) when the epoch has moved on since `epoch` was read, or the places
 * near the hand are all being written. */
bool vectors_put(struct shm *s, const struct vector_entry *e, const struct vector *v, uint32_t most, uint64_t epoch);

enum { VECTORS_FOUND = 4 };
struct vector_hit {
    struct vector_entry e;
    double similarity; /* cosine */
    uint32_t at;
};
/* The nearest of the partition that have not expired and are at least so similar (to within a
 * millionth: a text is as similar as 1 to itself), best first; how many. */
size_t vectors_find(struct shm *s, const uint8_t partition[INDEX_KEY], const struct vector *v, double at_least,
                    int64_t wall_ms, struct vector_hit hits[VECTORS_FOUND]);
void vectors_used(struct shm *s, const struct vector_hit *h);
/* Its answer is gone: the entry goes too, unless it is another by now. */
void vectors_drop(struct shm *s, const struct vector_hit *h);
/* Any process, after index_clear() with the same filter, whose bump of the epoch also keeps out what was under way. */
uint64_t vectors_clear(struct shm *s, const struct index_filter *f);
uint64_t vectors_count(const struct shm *s); /* counts, expired ones too */
#endif
