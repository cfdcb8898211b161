/* What the shared state says of a provider, for the pages that show it. */
#ifndef PENSTOCK_SURFACE_PROVIDERS_H
#define PENSTOCK_SURFACE_PROVIDERS_H
#include "base/json.h"
#include "policy/plane.h"
#include "shm/health.h"

struct provider_view {
    const char *status; /* healthy, degraded, unhealthy, drained, disabled */
    bool serves;        /* at least one of its targets would let a call through, and a key is left for it */
    bool drained;       /* by hand: not used until it is enabled */
    struct health health;
    enum breaker_state breaker; /* the best of its targets' */
};
struct plane_provider *provider_named(struct plane *p,
                                      struct str name); /* disabled ones and aliases too; or NULL */
void provider_look(struct plane *p, const struct plane_provider *pr, struct provider_view *v);
bool provider_target_serves(struct plane *p, const struct target *t); /* a call to it would be let through */
const char *
providers_overall(struct plane *p); /* health.c: "healthy", "degraded", "unhealthy": none can serve */
/* Its object as in GET /admin/v1/providers. */
void provider_write(struct plane *p, struct jw *w, const struct plane_provider *pr);
#endif
