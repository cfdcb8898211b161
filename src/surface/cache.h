/* Private to surface/. */
#ifndef PENSTOCK_SRC_SURFACE_CACHE_H
#define PENSTOCK_SRC_SURFACE_CACHE_H
#include "shm/index.h"
#include "surface/surface.h"

/* Clears what the filter says at once for all workers; how many answers are gone. false: the other hosts of a
 * cluster cannot be told, which is answered here. */
bool cache_clear_now(struct surface_call *c, const struct index_filter *f, uint64_t *gone);
#endif
