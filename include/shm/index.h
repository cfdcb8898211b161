/* The index of the response cache: what is cached, the same for all workers at once. Bodies lie in LMDB; one that the
 * scribe has not stored yet is read from its writer's ring. Set-associative; a full set gives up its least recently
 * used entry. Every entry has a sequence word: readers copy and check. */
#ifndef PENSTOCK_SHM_INDEX_H
#define PENSTOCK_SHM_INDEX_H
#include "shm/shm.h"

#define INDEX_KEY 32 /* SHA-256 */
struct index_entry {
    uint8_t key[INDEX_KEY];
    int64_t expires_wall_ms;
    uint64_t bytes;          /* of the stored value */
    bool kept;               /* no answer of the cache's, but lies beside them: clearing them does not mean it */
    bool stored;             /* in LMDB; else at (slot, pos) in a ring */
    uint32_t slot;
    uint64_t pos;
    uint64_t model_hash, owner_hash; /* for partial clearing */
    uint64_t created_wall_ms;
};
bool index_find(struct shm *s, const uint8_t key[INDEX_KEY], int64_t wall_ms, struct index_entry *out); /* marks it used */
bool index_peek(const struct shm *s, const uint8_t key[INDEX_KEY], struct index_entry *out); /* does not; also expired */
/* Worker: the value lies in my ring at pos. Refused (false) when the epoch has moved on since `epoch` was read, or the
 * set is being written by others all the while. wall_ms: now, which is its first use. created_wall_ms may be another time,
 * by another host's clock: where the answer is from. */
bool index_put(struct shm *s, const struct index_entry *e, uint64_t epoch, int64_t wall_ms);
/* Scribe: after the commit. False when the entry is gone or another by now (then the stored value is rubbish). */
bool index_stored(struct shm *s, const uint8_t key[INDEX_KEY], uint32_t slot, uint64_t pos);
/* Scribe at start: an entry found in LMDB. True when the key is in the index now (what was there already stays); false
 * when it has expired or its set is full of what was used later: the stored value is rubbish then. Its last use is not known:
 * when it was created counts as such. */
bool index_restore(struct shm *s, const struct index_entry *e);
bool index_drop(struct shm *s, const uint8_t key[INDEX_KEY]);
struct index_filter {
    uint64_t model_hash, owner_hash; /* 0: any */
    uint64_t older_than_wall_ms;     /* created before; 0: any */
    bool kept_too;
};
/* Any process: at once for all. Returns how many entries went. Bumps the epoch, also for a part: an answer that is
 * under way belongs to what is cleared. */
uint64_t index_clear(struct shm *s, const struct index_filter *f);
/* Scribe: the least recently used of a sample, to evict when the store is over its size. False: empty. */
bool index_victim(struct shm *s, struct index_entry *out);
/* Drops it if it is still the same entry (a worker may have put a new one), and counts an eviction. */
bool index_evict(struct shm *s, const struct index_entry *victim);
/* Scribe, now and then and after a worker's death: puts right the totals that a killed process left wrong. */
void index_recount(struct shm *s);
struct index_totals {
    uint64_t entries, bytes, evictions, expired;
};
void index_totals(const struct shm *s, struct index_totals *out);
#endif
