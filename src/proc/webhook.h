/* Tells a URL of alerts (alerts.webhook): a POST of a JSON object for each that is raised or recovers, oldest
 * first, at least once each. The queue is the table of alerts itself (shm/alert.h), so it is bounded and
 * outlives the scribe. */
#ifndef PENSTOCK_PROC_WEBHOOK_H
#define PENSTOCK_PROC_WEBHOOK_H
#include "base/loop.h"
#include "conf/conf.h"
#include "shm/shm.h"
#include "upstream/call.h"

struct webhook;
/* NULL: none is configured, or it cannot be (logged). */
struct webhook *webhook_start(struct loop *l, struct multi *m, struct shm *s, const struct conf *c);
void webhook_stop(struct webhook *w);
void webhook_look(struct webhook *w); /* something may be there to be told; NULL is fine */
#endif
