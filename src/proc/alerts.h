/* Looks every other second through shared memory for what is wrong (the scribe only): raises alerts, recovers
 * them, logs them and has the webhook tell of them. */
#ifndef PENSTOCK_PROC_ALERTS_H
#define PENSTOCK_PROC_ALERTS_H
#include "base/loop.h"
#include "conf/conf.h"
#include "jwks.h"
#include "shm/shm.h"
#include "spend.h"
#include "upstream/call.h"

struct alerts;
/* store_waits: bytes of records that wait because the store cannot be written; 0: it can. */
struct alerts *alerts_start(struct loop *l, struct multi *m, struct shm *s, const struct conf *c,
                            const struct jwks *jwks, const struct spend *spend,
                            uint64_t (*store_waits)(void *arg), void *arg);
void alerts_stop(struct alerts *a); /* NULL is fine */
#endif
