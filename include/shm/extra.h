/* What is done beyond one call for one request: retries of the same target, and hedges. Of the requests of the last ten
 * seconds so many in a hundred may have one, so that an outage is not amplified. Single words, changed by CAS. */
#ifndef PENSTOCK_SHM_EXTRA_H
#define PENSTOCK_SHM_EXTRA_H
#include "shm/shm.h"

enum extra { EXTRA_RETRY, EXTRA_HEDGE, EXTRAS };
void extra_request(struct shm *s, uint64_t now_ns); /* one came */
/* May one more be made? Takes it. `least` are always allowed, however few requests there are. */
bool extra_take(struct shm *s, enum extra kind, double share, unsigned least, uint64_t now_ns);
#endif
