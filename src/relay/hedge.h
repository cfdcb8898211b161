/* A second attempt beside the first: when the first output is late a second target is asked, and whoever
 * gives the first output wins. At any time request.now is the attempt at hand; the other one waits here, and
 * they change places when one is called back. */
#ifndef PENSTOCK_SRC_RELAY_HEDGE_H
#define PENSTOCK_SRC_RELAY_HEDGE_H
#include "request.h"

/* Before a request's first attempt: makes r->hedge if it may have a second one. */
void hedge_init(struct request *r);
/* An attempt has been started: the first one's lateness is watched. */
void hedge_watch(struct request *r);
/* The sink of a call, and its argument. */
const struct call_sink *hedge_sink_of(struct request *r, void **arg);
/* The attempt at hand has won: the other one is cancelled. */
void hedge_won(struct request *r);
/* The attempt at hand is over and accounted for. true: the other one goes on in its place. */
bool hedge_goes_on(struct request *r);
void hedge_free(struct request *r); /* what is under way is cancelled */
#endif
