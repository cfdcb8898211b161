/* How many bytes of text make a token, per entity: learned from answers whose provider has counted, by all processes
 * together. One atomic word; a sample that another process overtakes is tried again, and at last left out. */
#ifndef PENSTOCK_SHM_TOKENS_H
#define PENSTOCK_SHM_TOKENS_H
#include "shm/shm.h"

/* Bytes a token: while nothing is known, and the bounds. What lies outside of them is no count of that text (it had
 * pictures, or was a part of it, or the provider lies) and is not learned. */
#define TOKENS_RATIO_START 4.0
#define TOKENS_RATIO_LEAST 1.0
#define TOKENS_RATIO_MOST  16.0
/* Less text is mostly what a provider puts around it: not learned. */
#define TOKENS_BYTES_LEAST 256

void tokens_learn(struct shm *s, uint32_t entity, uint64_t bytes, uint64_t tokens);
double tokens_ratio(const struct shm *s, uint32_t entity); /* of about the last twenty; SHM_NONE: the start */
/* How many tokens that much text is likely to be; rounded up, never 0 for text. */
uint64_t tokens_estimate(const struct shm *s, uint32_t entity, uint64_t bytes);
#endif
