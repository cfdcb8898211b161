/* Private to surface/. */
#ifndef PENSTOCK_SRC_SURFACE_CACHE_H
#define PENSTOCK_SRC_SURFACE_CACHE_H
#include "policy/plane.h"
#include "shm/index.h"

/* Clears what the filter says at once for all workers; how many answers are gone. */
uint64_t cache_clear_now(struct plane *p, const struct index_filter *f);
#endif
