/* Who asks: from headers alone, before a byte of the body is read. */
#ifndef PENSTOCK_POLICY_AUTH_H
#define PENSTOCK_POLICY_AUTH_H
#include "http/exchange.h"
#include "llm/fault.h"
#include "policy/plane.h"

#define PERM_ANY  0x80000000u /* a valid key, whatever it may do */
#define PERM_OPEN 0x40000000u /* beside others: no key is needed; who shows none that may is `anonymous` */

struct caller {
    const struct conf_gateway_key *key; /* NULL only where no permission was asked for and no right key came */
    uint32_t entity;
    bool names_tenant; /* key->tenant is what the request says: no ground to share anything with that tenant's keys */
    struct str user; /* the subject of a token; empty: whom the request names, if anybody */
    const struct conf_gateway_key *refused; /* a right key that may not do this: for the record only */
};
/* Authorization: Bearer, x-api-key, api-key, x-goog-api-key: the first that is there. surface: the name of the
 * endpoint that is asked for, NULL where it has only a path. false: *f is AUTH or PERMISSION, with a text that
 * tells nothing about which keys exist. permission 0: always true; who sends a right key is known, anybody else
 * is nobody. */
bool auth_caller(struct plane *p, const struct exchange *x, unsigned permission, const char *surface,
                 struct caller *c, struct fault *f);
/* The request names a tenant: it counts for a key that has none of its own or lists it, and for everybody where nobody
 * is asked for a key; else it changes nothing: false. */
bool auth_tenant(const struct plane *p, struct arena *a, struct str tenant, struct caller *c);
/* Is this text a gateway key, although it stands where none belongs? */
bool auth_is_key(struct plane *p, const struct exchange *x, struct str text);
/* May this key use this model? Patterns with '*'. */
bool auth_model(const struct caller *c, struct str model);
/* Without authentication (auth.mode none): may who asks this administer? From this machine, and no browser's page of
 * another site. */
bool auth_local(const struct exchange *x);
#endif
