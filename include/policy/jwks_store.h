/* The JWK set of auth.jwt.jwks_url: fetched by the scribe, kept in a file of state_dir that is replaced as a whole, read
 * by every process. It outlives the outages of who publishes it, and the gateway. Its name has the URL in it, so that one
 * URL's keys are never taken for another's. */
#ifndef PENSTOCK_POLICY_JWKS_STORE_H
#define PENSTOCK_POLICY_JWKS_STORE_H
#include "base/buf.h"
#include "conf/conf.h"

#define JWKS_MOST ((size_t)256 << 10) /* bytes */
bool jwks_stored(const struct conf *c, struct buf *out); /* out is made; false: there is none */
/* A set that has a key in it: stored. false: *why, static. *changed: it is another than was there. */
bool jwks_store(const struct conf *c, struct str json, bool *changed, const char **why);
#endif
