/* Keys for tokens: secrets, PEM and JWK sets (RFC 7517, 7518). Each is bound to the algorithms of its kind as
 * it comes in, so that no later step could use it for others. */
#include "base/die.h"
#include "base/hash.h"
#include "jwt_keys.h"
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

enum {
    RSA_LEAST = 2048,
    RSA_MOST = 8192,
    EXPONENT_BYTES = 8,
    KID_MOST = 256,
    SECRET_MOST = 4096,
    PEM_MOST = 64 << 10
};

#define BIT(a)  (1U << (a))
#define HMACS   (BIT(JWT_HS256) | BIT(JWT_HS384) | BIT(JWT_HS512))
#define RSAS    (BIT(JWT_RS256) | BIT(JWT_RS384) | BIT(JWT_RS512) | BIT(JWT_PS256))
#define EC256S  BIT(JWT_ES256)
#define EC384S  BIT(JWT_ES384)
#define EDWARDS BIT(JWT_EDDSA)

struct jwt_keys *jwt_keys_new(void) {
    return mem_alloc(sizeof(struct jwt_keys));
}

static void drop(struct jwt_key *k) {
    mem_wipe((char *)(uintptr_t)k->secret.p, k->secret.n);
    mem_free((char *)(uintptr_t)k->secret.p);
    mem_free((char *)(uintptr_t)k->kid.p);
    EVP_PKEY_free(k->public);
}

static void cut_to(struct jwt_keys *k, size_t n) {
    while (k->n > n)
        drop(&k->key[--k->n]);
}

void jwt_keys_free(struct jwt_keys *k) {
    if (!k)
        return;
    cut_to(k, 0);
    mem_free(k);
}

size_t jwt_keys_count(const struct jwt_keys *k) {
    return k->n;
}

static bool wrong(const char **why, const char *text) {
    ERR_clear_error();
    *why = text;
    return false;
}

static struct str copy(struct str s) {
    char *p = mem_alloc(s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return str_make(p, s.n);
}

static struct jwt_key *next(struct jwt_keys *k, const char **why) {
    if (k->n < JWT_KEYS_MOST)
        return &k->key[k->n];
    wrong(why, "more than 64 keys");
    return NULL;
}

/* --- secrets --- */

/* The content of a PEM file is public: as a secret it would let anybody sign. */
static const char *secret_wrong(struct str s) {
    if (s.n == 0 || s.n > SECRET_MOST)
        return "a secret has 1 to 4096 bytes";
    return str_find(s, STR("-----BEGIN ")) >= 0 ? "the secret is a PEM, which is no secret" : NULL;
}

static bool add_hmac(struct jwt_keys *k, struct str secret, struct str kid, unsigned algorithms,
                     const char **why) {
    struct jwt_key *to = next(k, why);
    const char *no = secret_wrong(secret);
    if (!to || no)
        return to ? wrong(why, no) : false;
    *to = (struct jwt_key){.algorithms = HMACS & algorithms, .secret = copy(secret)};
    to->kid = kid.n ? copy(kid) : STR_NONE;
    k->n++;
    return true;
}

bool jwt_add_secret(struct jwt_keys *k, struct str secret, const char **why) {
    return add_hmac(k, secret, STR_NONE, HMACS, why);
}

/* --- public keys --- */

static bool on_curve(EVP_PKEY *p, const char *curve) {
    char name[64];
    size_t n = 0;
    return EVP_PKEY_get_utf8_string_param(p, OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof name, &n) == 1 &&
           strcmp(name, curve) == 0;
}

/* What a key of this kind may check; 0: nothing. */
static unsigned algorithms_of(EVP_PKEY *p) {
    switch (EVP_PKEY_get_base_id(p)) {
    case EVP_PKEY_RSA:
        return EVP_PKEY_get_bits(p) >= RSA_LEAST && EVP_PKEY_get_bits(p) <= RSA_MOST ? RSAS : 0;
    case EVP_PKEY_EC:
        return on_curve(p, "prime256v1") ? EC256S : on_curve(p, "secp384r1") ? EC384S : 0;
    case EVP_PKEY_ED25519:
        return EDWARDS;
    default:
        return 0;
    }
}

/* Takes p over, whatever comes of it. */
static bool add_public(struct jwt_keys *k, EVP_PKEY *p, struct str kid, unsigned algorithms,
                       const char **why) {
    struct jwt_key *to = next(k, why);
    unsigned own = algorithms_of(p);
    if (to && own) {
        *to = (struct jwt_key){
            .algorithms = own & algorithms, .kid = kid.n ? copy(kid) : STR_NONE, .public = p};
        k->n++;
        return true;
    }
    EVP_PKEY_free(p);
    return to ? wrong(why, "neither RSA of 2048 to 8192 bits, nor EC on P-256 or P-384, nor Ed25519") : false;
}

static EVP_PKEY *from_certificate(BIO *b) {
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    EVP_PKEY *p = x ? X509_get_pubkey(x) : NULL;
    X509_free(x);
    return p;
}

bool jwt_add_pem(struct jwt_keys *k, struct str pem, const char **why) {
    BIO *b = pem.n && pem.n <= PEM_MOST ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    bool certificate = str_find(pem, STR("-----BEGIN CERTIFICATE-----")) >= 0;
    EVP_PKEY *p = !b ? NULL : certificate ? from_certificate(b) : PEM_read_bio_PUBKEY(b, NULL, NULL, NULL);
    BIO_free(b);
    ERR_clear_error();
    if (!p)
        return wrong(why, "no public key in PEM (BEGIN PUBLIC KEY), and no certificate");
    return add_public(k, p, STR_NONE, ~0U, why);
}

/* --- JWK --- */

struct jwk {
    struct arena *arena;
    struct str object;
};

static struct str text_of(const struct jwk *j, const char *name) {
    struct json_value v;
    return json_member(j->object, name, &v) && v.kind == JSON_STRING ? json_text(j->arena, v) : STR_NONE;
}

static void wipe(void *arg) {
    buf_wipe(arg);
}

/* A member of octets, which may be a secret: wiped with the arena. Empty: absent or no base64url. */
static struct str octets_of(const struct jwk *j, const char *name) {
    struct str text = text_of(j, name);
    struct buf *b = arena_alloc(j->arena, sizeof *b);
    buf_init(b, 0);
    buf_room(b, text.n + 1); /* does not move: no copies are left behind */
    arena_cleanup(j->arena, wipe, b);
    return base64url_decode(b, text) ? buf_str(b) : STR_NONE;
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *bld) {
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *p = NULL;
    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &p, EVP_PKEY_PUBLIC_KEY, params) != 1)
        p = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return p;
}

static EVP_PKEY *rsa_of(const struct jwk *j) {
    struct str n = octets_of(j, "n"), e = octets_of(j, "e");
    if (!n.n || n.n > RSA_MOST / 8 + 1 || !e.n || e.n > EXPONENT_BYTES)
        return NULL;
    BIGNUM *bn = BN_bin2bn((const unsigned char *)n.p, (int)n.n, NULL);
    BIGNUM *be = BN_bin2bn((const unsigned char *)e.p, (int)e.n, NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY *p = NULL;
    if (bn && be && bld && BN_is_odd(bn) && BN_is_odd(be) && !BN_is_one(be) &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) == 1 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) == 1)
        p = from_params("RSA", bld);
    OSSL_PARAM_BLD_free(bld);
    BN_free(bn);
    BN_free(be);
    return p;
}

/* The point is checked to be on its curve. */
static EVP_PKEY *ec_of(const struct jwk *j, const char *curve, size_t size) {
    struct str x = octets_of(j, "x"), y = octets_of(j, "y");
    unsigned char point[1 + 2 * 48] = {4};
    if (x.n != size || y.n != size)
        return NULL;
    memcpy(point + 1, x.p, size);
    memcpy(point + 1 + size, y.p, size);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY *p = NULL;
    if (bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * size) == 1)
        p = from_params("EC", bld);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX *ctx = p ? EVP_PKEY_CTX_new_from_pkey(NULL, p, NULL) : NULL;
    if (p && (!ctx || EVP_PKEY_public_check(ctx) != 1)) {
        EVP_PKEY_free(p);
        p = NULL;
    }
    EVP_PKEY_CTX_free(ctx);
    return p;
}

static EVP_PKEY *ed25519_of(const struct jwk *j) {
    struct str x = octets_of(j, "x");
    return x.n == 32 ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (const unsigned char *)x.p, x.n)
                     : NULL;
}

static bool is_verify(void *arg, struct str key, struct json_value v) {
    bool *found = arg;
    (void)key;
    *found = *found || json_string_is(v, "verify");
    return true;
}

/* Is it there to check signatures with, by an algorithm of ours? */
static bool is_for_us(const struct jwk *j, unsigned *algorithms) {
    struct json_value v;
    bool verifies = true;
    *algorithms = ~0U;
    if (json_member(j->object, "use", &v) && !json_string_is(v, "sig"))
        return false;
    if (json_member(j->object, "key_ops", &v)) {
        verifies = false;
        if (v.kind == JSON_ARRAY)
            json_each(v.raw, is_verify, &verifies);
    }
    if (json_member(j->object, "alg", &v)) {
        enum jwt_alg alg = jwt_alg_by_name(v);
        *algorithms = alg < JWT_ALGS ? BIT(alg) : 0;
    }
    return verifies && *algorithms != 0;
}

/* Of kinds that we do not know nothing comes: true. */
static bool add_jwk(struct jwt_keys *k, const struct jwk *j, const char **why) {
    struct str kty = text_of(j, "kty"), crv = text_of(j, "crv"), kid = text_of(j, "kid");
    unsigned algorithms;
    if (kid.n > KID_MOST)
        return wrong(why, "a kid of more than 256 bytes");
    if (!is_for_us(j, &algorithms))
        return true;
    if (str_is(kty, "oct"))
        return add_hmac(k, octets_of(j, "k"), kid, algorithms, why);
    EVP_PKEY *p;
    if (str_is(kty, "RSA"))
        p = rsa_of(j);
    else if (str_is(kty, "EC") && str_is(crv, "P-256"))
        p = ec_of(j, "prime256v1", 32);
    else if (str_is(kty, "EC") && str_is(crv, "P-384"))
        p = ec_of(j, "secp384r1", 48);
    else if (str_is(kty, "OKP") && str_is(crv, "Ed25519"))
        p = ed25519_of(j);
    else
        return true;
    return p ? add_public(k, p, kid, algorithms, why) : wrong(why, "a key of the set is malformed");
}

struct set {
    struct jwt_keys *keys;
    struct arena *arena;
    const char *wrong; /* what one of them is; NULL: none */
};

static bool each_jwk(void *arg, struct str key, struct json_value v) {
    struct set *s = arg;
    struct jwk j = {s->arena, v.raw};
    (void)key;
    if (v.kind != JSON_OBJECT)
        wrong(&s->wrong, "a key that is no object");
    else
        add_jwk(s->keys, &j, &s->wrong);
    return true;
}

bool jwks_parse(struct jwt_keys *k, struct str json, const char **why) {
    size_t before = k->n;
    enum json_kind kind;
    struct json_value list;
    if (json_scan(json, &kind, NULL, NULL, NULL) != 0 || kind != JSON_OBJECT ||
        !json_member(json, "keys", &list) || list.kind != JSON_ARRAY)
        return wrong(why, "no JWK set: expected {\"keys\": [...]}");
    struct set s = {k, arena_new(0), NULL};
    json_each(list.raw, each_jwk, &s);
    arena_free(s.arena);
    return k->n > before || !s.wrong || wrong(why, s.wrong);
}
