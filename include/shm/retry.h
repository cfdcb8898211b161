/* The budget of retries of the whole gateway: of the requests of the last ten seconds so many in a hundred may be
 * tried again at the same target, so that an outage is not amplified. One word, changed by CAS. */
#ifndef PENSTOCK_SHM_RETRY_H
#define PENSTOCK_SHM_RETRY_H
#include "shm/shm.h"

void retry_request(struct shm *s, uint64_t now_ns); /* one came */
/* May one more be made? Takes it. `least` are always allowed, however few requests there are. */
bool retry_take(struct shm *s, double share, unsigned least, uint64_t now_ns);
#endif
