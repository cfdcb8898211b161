/* Who is asking a provider for an answer just now, so that equal requests of any worker wait for it. A bounded table of single
 * words, a claim each; the claim of a process that has died is none. */
#ifndef PENSTOCK_SHM_CLAIM_H
#define PENSTOCK_SHM_CLAIM_H
#include "shm/shm.h"

enum claim {
    CLAIM_MINE,   /* to be released */
    CLAIM_OTHERS, /* somebody is asking for the same, perhaps in this very worker */
    CLAIM_NONE,   /* its place is taken by something else: nobody waits for anybody */
};
/* key: a digest's first word; two that differ are taken for one in one case of 2^44. */
enum claim claim_take(struct shm *s, uint64_t key);
bool claim_stands(const struct shm *s, uint64_t key); /* held by a process that lives */
/* Who holds it, another number for each life of a process; 0: nobody. */
uint32_t claim_holder(const struct shm *s, uint64_t key);
/* Somebody waits for what the holder does. To be said again and again, since the dead say nothing: it is believed for
 * CLAIM_WAIT_MS. */
enum { CLAIM_WAIT_MS = 2000 };
void claim_wait(struct shm *s, uint64_t key);
bool claim_waited(const struct shm *s, uint64_t key);
/* Once, by the process that took it. */
void claim_release(struct shm *s, uint64_t key);
#endif
