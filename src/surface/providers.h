/* What the shared state says of a provider, for the pages that show it. */
#ifndef PENSTOCK_SURFACE_PROVIDERS_H
#define PENSTOCK_SURFACE_PROVIDERS_H
#include "policy/plane.h"
#include "shm/health.h"

struct provider_view {
    const char *status; /* healthy, degraded, unhealthy, disabled */
    bool serves;        /* at least one of its targets would let a call through, and a key is left for it */
    struct health health;
};
void provider_look(struct plane *p, const struct plane_provider *pr, struct provider_view *v);
#endif
