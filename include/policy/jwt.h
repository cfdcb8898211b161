/* JSON Web Tokens (RFC 7515, 7517, 7518, 7519, 8037), and the keys that they are checked with. Pure: no I/O, no clock.
 * A token never chooses how it is checked. Its `alg` must be one of those that are configured, and a key is bound to the
 * algorithms of its kind (RFC 8725, 3.1): a public key is never a secret, there is no `none`, and keys that a token brings
 * or points at (`jwk`, `jku`, `x5c`, `x5u`) are not looked at. */
#ifndef PENSTOCK_POLICY_JWT_H
#define PENSTOCK_POLICY_JWT_H
#include "base/json.h"

enum jwt_alg { /* in the order of the option auth.jwt.algorithms */
    JWT_HS256,
    JWT_HS384,
    JWT_HS512,
    JWT_RS256,
    JWT_RS384,
    JWT_RS512,
    JWT_PS256,
    JWT_ES256,
    JWT_ES384,
    JWT_EDDSA, /* Ed25519 */
    JWT_ALGS
};
enum { JWT_BYTES = 8192 }; /* of the longest token */

/* Keys; once they are filled they are only read. Adding says why not, in a text without the key. */
struct jwt_keys;
struct jwt_keys *jwt_keys_new(void);
void jwt_keys_free(struct jwt_keys *k); /* wipes secrets */
size_t jwt_keys_count(const struct jwt_keys *k);
bool jwt_add_secret(struct jwt_keys *k, struct str secret, const char **why);
bool jwt_add_pem(struct jwt_keys *k, struct str pem, const char **why); /* a public key, or a certificate's */
/* A JWK set: {"keys":[...]}. Keys of other kinds and uses, malformed ones and those that are out of range are passed over,
 * as RFC 7517, 5 wants it; where that leaves none the set is wrong. */
bool jwks_parse(struct jwt_keys *k, struct str json, const char **why);

struct jwt_rules {
    unsigned algorithms;                   /* mask of 1 << enum jwt_alg */
    const char *issuer, *audience;         /* "": any */
    const char *role_claim, *tenant_claim; /* names, or paths such as realm_access.roles; "": none */
    uint64_t leeway_ms;
};
struct jwt_claims { /* texts lie in the arena */
    struct str subject, tenant; /* without control characters; empty: not said */
    struct json_value roles;    /* raw.n 0: not said */
};
enum jwt_verdict {
    JWT_OK,
    JWT_MALFORMED,
    JWT_UNSIGNED, /* no key fits it, or none is its: nothing else of it is believed */
    JWT_EXPIRED,  /* these four only of tokens whose signature is good */
    JWT_EARLY,
    JWT_FOREIGN, /* of another issuer, or for another audience */
    JWT_CLAIMS,  /* a claim is missing (exp), or no such thing as it should be */
};
/* Of JWT_OK alone *out says anything. */
enum jwt_verdict jwt_verify(const struct jwt_keys *keys, const struct jwt_rules *rules, struct arena *a, struct str token,
                            int64_t wall_ms, struct jwt_claims *out);
const char *jwt_verdict_text(enum jwt_verdict v); /* a sentence for the client */
/* A role among the roles: a text, words of a text, or an element of a list. */
bool jwt_has_role(const struct jwt_claims *c, const char *role);
#endif
