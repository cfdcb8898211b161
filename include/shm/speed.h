/* How fast a target answers, for those who choose by it: peak EWMAs of the time to the first byte and of the time per
 * token. A slower answer than the average counts at once, a faster one little by little; and what was not asked for a
 * while is thought fast again, so that somebody looks. */
#ifndef PENSTOCK_SHM_SPEED_H
#define PENSTOCK_SHM_SPEED_H
#include "shm/shm.h"

struct speed {
    double first_byte_ms, per_token_ms; /* 0: unknown */
};
void speed_record(struct shm *s, uint32_t entity, double first_byte_ms, double per_token_ms, uint64_t now_ns);
struct speed speed_look(const struct shm *s, uint32_t entity, uint64_t now_ns);
#endif
