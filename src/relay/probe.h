/* Active health checks: GET of a free endpoint of each provider that asks for it (health_check.every), by the
 * worker number 0 alone. What they find goes into the provider's health; breakers are moved by real calls
 * only. */
#ifndef PENSTOCK_RELAY_PROBE_H
#define PENSTOCK_RELAY_PROBE_H
#include "policy/plane.h"

struct probes;
struct probes *probes_start(struct plane *p); /* NULL when there is nothing to do for this worker */
void probes_stop(struct probes *s);
#endif
