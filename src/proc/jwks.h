/* Fetches the JWK set of auth.jwt.jwks_url: at the start, every auth.jwt.jwks_every, and soon after a token
 * came that no key fits, but then at most once a minute. What is no set of keys changes nothing. */
#ifndef PENSTOCK_PROC_JWKS_H
#define PENSTOCK_PROC_JWKS_H
#include "base/loop.h"
#include "conf/conf.h"
#include "shm/shm.h"
#include "upstream/call.h"

struct jwks;
struct jwks *jwks_start(struct loop *l, struct multi *m, struct shm *s,
                        const struct conf *c); /* NULL: no URL */
void jwks_stop(struct jwks *j);
enum jwks_state { JWKS_NOT_ASKED, JWKS_GOOD, JWKS_FAILING };
enum jwks_state jwks_state(const struct jwks *j); /* of NULL: JWKS_GOOD */
#endif
