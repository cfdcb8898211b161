/* Parameters of a query. What narrows a request must not be lost: a name that is not known, one that comes
 * twice, an empty value and a wrong encoding are refused. */
#ifndef PENSTOCK_SURFACE_QUERY_H
#define PENSTOCK_SURFACE_QUERY_H
#include "surface/surface.h"

/* values[i] of names[i], decoded; STR_NONE where it is not given. false and *f. */
bool query_read(struct surface_call *c, const char *const *names, struct str *values, size_t n,
                struct fault *f);
/* Always false, and *f says what is wrong with it. */
bool query_wrong(struct surface_call *c, struct fault *f, struct str param, const char *why);
/* "90s", "15m", "24h", "7d", or plain seconds; false otherwise. */
bool query_age(struct str s, uint64_t *ms);
#endif
