/* Active health checks: GET of a free endpoint of each provider that asks for it (health_check.every), by the
 * scribe alone. What they find goes into the provider's health; breakers are moved by real calls only. A
 * provider that was used with success within the interval is known to be there and is not asked. */
#ifndef PENSTOCK_PROC_PROBE_H
#define PENSTOCK_PROC_PROBE_H
#include "base/loop.h"
#include "conf/conf.h"
#include "shm/shm.h"
#include "upstream/call.h"

struct probes;
/* conf and shm must outlive them. */
struct probes *probes_start(struct loop *l, struct multi *m, struct shm *s, const struct conf *c);
void probes_stop(struct probes *p); /* calls under way are cancelled; NULL is fine */
#endif
