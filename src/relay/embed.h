/* The vector of a request's question, where a provider makes it: one call with the provider's keys, limits
 * and breaker, paid by the gateway. Whatever goes wrong, the request goes on without. */
#ifndef PENSTOCK_SRC_RELAY_EMBED_H
#define PENSTOCK_SRC_RELAY_EMBED_H
#include "request.h"

/* true: it is under way, and request_resume() follows with STEP_SIMILAR. */
bool embed_start(struct request *r);
void embed_drop(struct request *r); /* the client left, or the worker ends */
#endif
