/* A word that guards others in the segment: {sequence 32, writer 32}. Readers copy, and check that it has not
 * moved. The writer is 0, or {life 23, slot + 1 9} of the process that changes what it guards just now; when
 * that process dies the master moves the life of its slot on, and the next who needs the word takes it over.
 * So what is guarded must be whole or known to be none whenever its writer may be killed. */
#ifndef PENSTOCK_SHM_SEQLOCK_H
#define PENSTOCK_SHM_SEQLOCK_H
#include "layout.h"

/* This process, as the writer of a word. */
uint32_t seq_me(const struct shm *s);
/* A value of the word: nobody who lives is writing. */
bool seq_free(const struct shm *s, uint64_t value);
/* False when another process kept it for all the tries. */
bool seq_lock(struct shm *s, word *w, unsigned tries);
void seq_unlock(word *w);
#endif
