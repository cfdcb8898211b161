/* A key as the check of signatures sees it. */
#ifndef PENSTOCK_SRC_POLICY_JWT_KEYS_H
#define PENSTOCK_SRC_POLICY_JWT_KEYS_H
#include "policy/jwt.h"
#include <openssl/evp.h>

struct jwt_key {
    unsigned algorithms; /* mask: those of its kind, or the one it is pinned to */
    struct str kid;      /* STR_NONE: it has none */
    struct str secret;   /* HMAC */
    EVP_PKEY *public;    /* any other */
};
enum { JWT_KEYS_MOST = 64 };
struct jwt_keys {
    struct jwt_key key[JWT_KEYS_MOST];
    size_t n;
};
/* By its name, as it stands in tokens and JWKs; JWT_ALGS: none of ours. */
enum jwt_alg jwt_alg_by_name(struct json_value name);
#endif
