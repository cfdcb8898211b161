/* Tokens: what is taken, and the attacks that are known of JWT libraries. Times are handed in. */
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>

#include "base/hash.h"
#include "policy/jwt.h"
#include "policy_cases.h"

enum { NOW = 1700000000 };
#define SECRET "0123456789abcdef0123456789abcdef"
#define EXP    "\"exp\":1700000060"

static struct arena *arena;
static EVP_PKEY *rsa, *small, *p256, *p384, *ed, *other;
static struct jwt_keys *keys;
static struct jwt_claims claims;
static struct str rsa_pem;

static struct str pem_of(EVP_PKEY *k) {
    BIO *b = BIO_new(BIO_s_mem());
    char *p;
    ck_assert_int_eq(PEM_write_bio_PUBKEY(b, k), 1);
    long n = BIO_get_mem_data(b, &p);
    struct str s = arena_dup(arena, str_make(p, (size_t)n));
    BIO_free(b);
    return s;
}

static void make_keys(void) { /* once: they take a while */
    rsa = EVP_RSA_gen(2048);
    small = EVP_RSA_gen(1024);
    p256 = EVP_EC_gen("P-256");
    p384 = EVP_EC_gen("P-384");
    ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    other = EVP_EC_gen("P-256");
    ck_assert(rsa && small && p256 && p384 && ed && other);
}

static void drop_keys(void) {
    EVP_PKEY *all[] = {rsa, small, p256, p384, ed, other};
    for (size_t i = 0; i < 6; i++)
        EVP_PKEY_free(all[i]);
}

static void open_keys(void) {
    const char *why = "";
    arena = arena_new(0);
    keys = jwt_keys_new();
    rsa_pem = pem_of(rsa);
    ck_assert(jwt_add_secret(keys, STR(SECRET), &why) && jwt_add_pem(keys, rsa_pem, &why) &&
              jwt_add_pem(keys, pem_of(p256), &why) && jwt_add_pem(keys, pem_of(p384), &why) &&
              jwt_add_pem(keys, pem_of(ed), &why));
    ck_assert_uint_eq(jwt_keys_count(keys), 5);
}

static void close_keys(void) {
    jwt_keys_free(keys);
    arena_free(arena);
}

/* --- making tokens --- */

static struct str url(const void *p, size_t n) {
    struct buf b;
    buf_init(&b, 0);
    base64url_encode(&b, p, n);
    struct str s = arena_dup(arena, buf_str(&b));
    buf_free(&b);
    return s;
}

static struct str unsigned_of(const char *header, const char *payload) {
    struct str h = url(header, strlen(header)), p = url(payload, strlen(payload));
    return arena_printf(arena, STR_FMT "." STR_FMT, STR_ARG(h), STR_ARG(p));
}

static struct str with(struct str text, const void *sig, size_t n) {
    struct str s = url(sig, n);
    return arena_printf(arena, STR_FMT "." STR_FMT, STR_ARG(text), STR_ARG(s));
}

static struct str hmac(struct str text, const char *md, struct str secret) {
    unsigned char mac[64];
    unsigned n = 0;
    ck_assert(HMAC(EVP_get_digestbyname(md), secret.p, (int)secret.n, (const unsigned char *)text.p, text.n,
                   mac, &n));
    return with(text, mac, n);
}

static size_t raw_signature(struct str text, const char *md, EVP_PKEY *k, bool pss, unsigned char sig[1024]) {
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    EVP_PKEY_CTX *p = NULL;
    size_t n = 1024;
    ck_assert_int_eq(EVP_DigestSignInit(c, &p, md ? EVP_get_digestbyname(md) : NULL, NULL, k), 1);
    if (pss)
        ck_assert(EVP_PKEY_CTX_set_rsa_padding(p, RSA_PKCS1_PSS_PADDING) == 1 &&
                  EVP_PKEY_CTX_set_rsa_pss_saltlen(p, RSA_PSS_SALTLEN_DIGEST) == 1);
    ck_assert_int_eq(EVP_DigestSign(c, sig, &n, (const unsigned char *)text.p, text.n), 1);
    EVP_MD_CTX_free(c);
    return n;
}

static struct str sign(struct str text, const char *md, EVP_PKEY *k, bool pss) {
    unsigned char sig[1024];
    return with(text, sig, raw_signature(text, md, k, pss, sig));
}

static struct str ecdsa(struct str text, const char *md, EVP_PKEY *k, int half) {
    unsigned char sig[1024], raw[96];
    const unsigned char *p = sig;
    size_t n = raw_signature(text, md, k, false, sig);
    ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &p, (long)n);
    ck_assert_ptr_nonnull(s);
    BN_bn2binpad(ECDSA_SIG_get0_r(s), raw, half);
    BN_bn2binpad(ECDSA_SIG_get0_s(s), raw + half, half);
    ECDSA_SIG_free(s);
    return with(text, raw, 2 * (size_t)half);
}

static struct str hs(const char *header, const char *payload) {
    return hmac(unsigned_of(header, payload), "SHA256", STR(SECRET));
}

static struct jwt_rules rules = {.algorithms = (1U << JWT_ALGS) - 1,
                                 .issuer = "",
                                 .audience = "",
                                 .role_claim = "role",
                                 .tenant_claim = "tenant",
                                 .leeway_ms = 1000};

static enum jwt_verdict verify(struct str token) {
    return jwt_verify(keys, &rules, arena, token, (int64_t)NOW * 1000, &claims);
}

#define is(token, want)                                                                                      \
    do {                                                                                                     \
        struct str ck_token = (token);                                                                       \
        enum jwt_verdict ck_v = verify(ck_token);                                                            \
        ck_assert_msg(ck_v == (want), "%d, not %d: " STR_FMT, (int)ck_v, (int)(want), STR_ARG(ck_token));    \
    } while (0)

#define HS "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define OK "{" EXP ",\"sub\":\"alice\"}"

START_TEST(every_algorithm) {
    is(hs(HS, OK), JWT_OK);
    ck_str(claims.subject, "alice");
    is(hmac(unsigned_of("{\"alg\":\"HS384\"}", OK), "SHA384", STR(SECRET)), JWT_OK);
    is(hmac(unsigned_of("{\"alg\":\"HS512\"}", OK), "SHA512", STR(SECRET)), JWT_OK);
    is(sign(unsigned_of("{\"alg\":\"RS256\"}", OK), "SHA256", rsa, false), JWT_OK);
    is(sign(unsigned_of("{\"alg\":\"RS384\"}", OK), "SHA384", rsa, false), JWT_OK);
    is(sign(unsigned_of("{\"alg\":\"RS512\"}", OK), "SHA512", rsa, false), JWT_OK);
    is(sign(unsigned_of("{\"alg\":\"PS256\"}", OK), "SHA256", rsa, true), JWT_OK);
    is(ecdsa(unsigned_of("{\"alg\":\"ES256\"}", OK), "SHA256", p256, 32), JWT_OK);
    is(ecdsa(unsigned_of("{\"alg\":\"ES384\"}", OK), "SHA384", p384, 48), JWT_OK);
    is(sign(unsigned_of("{\"alg\":\"EdDSA\"}", OK), NULL, ed, false), JWT_OK);
}
END_TEST

START_TEST(only_configured_algorithms) {
    rules.algorithms = 1U << JWT_RS256;
    is(hs(HS, OK), JWT_UNSIGNED);
    is(sign(unsigned_of("{\"alg\":\"RS512\"}", OK), "SHA512", rsa, false), JWT_UNSIGNED);
    is(sign(unsigned_of("{\"alg\":\"RS256\"}", OK), "SHA256", rsa, false), JWT_OK);
    rules.algorithms = 0;
    is(sign(unsigned_of("{\"alg\":\"RS256\"}", OK), "SHA256", rsa, false), JWT_UNSIGNED);
}
END_TEST

START_TEST(a_header_does_not_choose_the_key) {
    static const char *const none[] = {"none", "None",   "NONE",  "nOnE", "",
                                       "null", "HS256 ", "hs256", "HS1",  "RSA"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct str t = unsigned_of(arena_printf(arena, "{\"alg\":\"%s\"}", none[i]).p, OK);
        is(arena_printf(arena, STR_FMT ".", STR_ARG(t)), JWT_MALFORMED); /* an empty signature is none */
        is(hmac(t, "SHA256", STR(SECRET)), JWT_UNSIGNED);
    }
    /* the public key's PEM as a secret, with and without its last line end */
    is(hmac(unsigned_of(HS, OK), "SHA256", rsa_pem), JWT_UNSIGNED);
    is(hmac(unsigned_of(HS, OK), "SHA256", str_make(rsa_pem.p, rsa_pem.n - 1)), JWT_UNSIGNED);
    is(hmac(unsigned_of(HS, OK), "SHA256", STR("")), JWT_UNSIGNED);
    /* signatures of one kind under the name of another */
    is(sign(unsigned_of("{\"alg\":\"PS256\"}", OK), "SHA256", rsa, false), JWT_UNSIGNED);
    is(sign(unsigned_of("{\"alg\":\"RS256\"}", OK), "SHA256", rsa, true), JWT_UNSIGNED);
    is(sign(unsigned_of("{\"alg\":\"RS512\"}", OK), "SHA256", rsa, false), JWT_UNSIGNED);
    is(hmac(unsigned_of("{\"alg\":\"HS512\"}", OK), "SHA256", STR(SECRET)), JWT_UNSIGNED);
    is(ecdsa(unsigned_of("{\"alg\":\"ES384\"}", OK), "SHA384", p256, 32), JWT_UNSIGNED);
    is(ecdsa(unsigned_of("{\"alg\":\"ES256\"}", OK), "SHA256", other, 32), JWT_UNSIGNED);
    /* keys that the token brings or points at */
    is(hs("{\"alg\":\"ES256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"}}", OK), JWT_UNSIGNED);
    is(hmac(unsigned_of("{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"}}", OK), "SHA256",
            str_make("\0\0\0", 3)),
       JWT_UNSIGNED);
    is(ecdsa(unsigned_of("{\"alg\":\"ES256\",\"jku\":\"https://evil.example/jwks\",\"x5u\":\"x\"}", OK),
             "SHA256", other, 32),
       JWT_UNSIGNED);
}
END_TEST

START_TEST(ecdsa_signatures) {
    struct str t = unsigned_of("{\"alg\":\"ES256\"}", OK);
    unsigned char sig[1024] = {0};
    is(with(t, sig, 64), JWT_UNSIGNED); /* CVE-2022-21449 */
    sig[31] = sig[63] = 1;
    is(with(t, sig, 64), JWT_UNSIGNED);
    memset(sig, 0xff, 64);
    is(with(t, sig, 64), JWT_UNSIGNED);
    is(sign(t, "SHA256", p256, false), JWT_UNSIGNED); /* DER */
    struct str good = ecdsa(t, "SHA256", p256, 32);
    is(good, JWT_OK);
    is(str_make(good.p, good.n - 2), JWT_UNSIGNED);
    is(arena_printf(arena, STR_FMT "AA", STR_ARG(good)), JWT_UNSIGNED);
    is(ecdsa(unsigned_of("{\"alg\":\"ES384\"}", OK), "SHA384", p384, 48), JWT_OK);
}
END_TEST

START_TEST(kids) {
    static const char *const strange[] = {
        "../../../../dev/null", "/etc/passwd", "x' UNION SELECT 'k", "|id", "", "0", "\\u0000"};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        const char *h = arena_printf(arena, "{\"alg\":\"HS256\",\"kid\":\"%s\"}", strange[i]).p;
        is(hs(h, OK), JWT_OK); /* names nothing that we have: those without a name are tried */
        is(hmac(unsigned_of(h, OK), "SHA256", STR("")), JWT_UNSIGNED);
    }
    is(hs("{\"alg\":\"HS256\",\"kid\":5}", OK), JWT_MALFORMED);
    is(hs("{\"alg\":\"HS256\",\"kid\":{}}", OK), JWT_MALFORMED);
    char h[400];
    snprintf(h, sizeof h, "{\"alg\":\"HS256\",\"kid\":\"%0300d\"}", 0);
    is(hs(h, OK), JWT_MALFORMED);
}
END_TEST

START_TEST(form) {
    struct str good = hs(HS, OK), t = unsigned_of(HS, OK);
    is(STR(""), JWT_MALFORMED);
    is(STR("."), JWT_MALFORMED);
    is(STR(".."), JWT_MALFORMED);
    is(STR("a.b.c"), JWT_MALFORMED);
    is(t, JWT_MALFORMED);
    is(arena_printf(arena, STR_FMT ".", STR_ARG(t)), JWT_MALFORMED);
    is(arena_printf(arena, STR_FMT ".x", STR_ARG(good)), JWT_MALFORMED);
    is(arena_printf(arena, STR_FMT "=", STR_ARG(good)), JWT_UNSIGNED);
    is(arena_printf(arena, STR_FMT " ", STR_ARG(good)), JWT_UNSIGNED);
    is(arena_printf(arena, STR_FMT "\n", STR_ARG(good)), JWT_UNSIGNED);
    is(arena_printf(arena, STR_FMT "A", STR_ARG(good)), JWT_UNSIGNED);
    is(arena_printf(arena, " " STR_FMT, STR_ARG(good)), JWT_MALFORMED);
    for (size_t i = 0; i < good.n; i++) { /* any other byte anywhere */
        char *copy = arena_dupz(arena, good);
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        ck_assert_int_ne(verify(str_make(copy, good.n)), JWT_OK);
        copy[i] = '\0';
        ck_assert_int_ne(verify(str_make(copy, good.n)), JWT_OK);
        ck_assert_int_ne(verify(str_make(good.p, i)), JWT_OK);
    }
    /* the last digit's bits that mean nothing must be zero: one token, one text */
    char *twin = arena_dupz(arena, good);
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    twin[good.n - 1] = digits[(strchr(digits, twin[good.n - 1]) - digits) ^ 1];
    is(str_make(twin, good.n), JWT_UNSIGNED);
    char *big = arena_alloc(arena, JWT_BYTES + 2);
    memset(big, 'A', JWT_BYTES + 1);
    memcpy(big, good.p, good.n);
    is(str_make(big, JWT_BYTES + 1), JWT_MALFORMED);
    static const char *const headers[] = {"",
                                          "[]",
                                          "null",
                                          "\"x\"",
                                          "{",
                                          "{}",
                                          "{\"alg\":5}",
                                          "{\"alg\":null}",
                                          "{\"alg\":[\"HS256\"]}",
                                          "{\"alg\":\"HS256\"}x",
                                          "{\"alg\":\"HS256\"}{}",
                                          "{\"alg\":\"HS256\",\"alg\":\"HS256\"}",
                                          "{\"alg\":\"HS256\",\"\\u0061lg\":\"HS256\"}",
                                          "{\"alg\":\"HS256\",\"crit\":[\"exp\"]}",
                                          "{\"alg\":\"HS256\",\"crit\":[],\"x\":1}",
                                          "{\"alg\":\"HS256\",\"b64\":false}",
                                          "{\"alg\":\"HS256\",\"zip\":\"DEF\"}",
                                          "{\"alg\":\"HS256\",\"kid\":\"a\",\"kid\":\"b\"}",
                                          "{'alg':'HS256'}",
                                          "{\"alg\":\"HS256\",}",
                                          "{\"alg\":\"HS256\",\"x\":\"\xff\"}"};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        enum jwt_verdict v = verify(hs(headers[i], OK));
        ck_assert_msg(v == JWT_MALFORMED || v == JWT_UNSIGNED, "%s: %d", headers[i], (int)v);
    }
    char deep[1200];
    size_t n = (size_t)snprintf(deep, sizeof deep, "{\"alg\":\"HS256\",\"x\":");
    memset(deep + n, '[', 500);
    memset(deep + n + 500, ']', 500);
    snprintf(deep + n + 1000, sizeof deep - n - 1000, "}");
    is(hs(deep, OK), JWT_MALFORMED);
}
END_TEST

static const struct {
    const char *payload;
    enum jwt_verdict want;
} payloads[] = {
    {"{\"exp\":1700000000}", JWT_OK},
    {"{\"exp\":1699999999.5}", JWT_OK}, /* within the leeway of a second */
    {"{\"exp\":1699999999}", JWT_EXPIRED},
    {"{\"exp\":17e8}", JWT_OK},
    {"{\"exp\":0}", JWT_EXPIRED},
    {"{\"exp\":-1}", JWT_CLAIMS},
    {"{\"exp\":1e300}", JWT_CLAIMS},
    {"{\"exp\":1e999}", JWT_CLAIMS},
    {"{\"exp\":99999999999999999999999999}", JWT_CLAIMS},
    {"{\"exp\":\"1700000060\"}", JWT_CLAIMS},
    {"{\"exp\":null}", JWT_CLAIMS},
    {"{\"exp\":true}", JWT_CLAIMS},
    {"{\"exp\":{}}", JWT_CLAIMS},
    {"{\"exp\":[1700000060]}", JWT_CLAIMS},
    {"{}", JWT_CLAIMS},
    {"{\"EXP\":1700000060}", JWT_CLAIMS},
    {"{" EXP ",\"exp\":9999999999}", JWT_MALFORMED},
    {"{" EXP ",\"ex\\u0070\":9999999999}", JWT_MALFORMED},
    {"{" EXP ",\"sub\":\"a\",\"sub\":\"b\"}", JWT_MALFORMED},
    {"{" EXP ",\"role\":\"user\",\"role\":\"admin\"}", JWT_MALFORMED},
    {"{" EXP ",\"nbf\":1700000001}", JWT_OK},
    {"{" EXP ",\"nbf\":1700000002}", JWT_EARLY},
    {"{" EXP ",\"nbf\":\"0\"}", JWT_CLAIMS},
    {"{" EXP ",\"iat\":1700000002}", JWT_EARLY},
    {"{" EXP ",\"iat\":-5}", JWT_CLAIMS},
    {"{" EXP ",\"sub\":5}", JWT_CLAIMS},
    {"{" EXP ",\"sub\":[\"a\"]}", JWT_CLAIMS},
    {"{" EXP ",\"sub\":\"a\\nb\"}", JWT_CLAIMS},
    {"{" EXP ",\"sub\":\"a\\u0000b\"}", JWT_CLAIMS},
    {"{" EXP ",\"sub\":null}", JWT_OK},
    {"{" EXP ",\"tenant\":5}", JWT_CLAIMS},
    {"{" EXP "}trailing", JWT_MALFORMED},
    {"{" EXP "}{}", JWT_MALFORMED},
    {"["
     "]",
     JWT_MALFORMED},
    {"null", JWT_MALFORMED},
    {"{" EXP, JWT_MALFORMED},
    {"{" EXP ",\"sub\":\"\xff\"}", JWT_MALFORMED},
    {"{" EXP ",\"sub\":\"\xed\xa0\x80\"}", JWT_MALFORMED},
    {"{'exp':1700000060}", JWT_MALFORMED},
    {"eyJhbGciOiJIUzI1NiJ9.e30.AAAA", JWT_MALFORMED}, /* a token in a token */
};

START_TEST(claims_of_a_token) {
    is(hs(HS, payloads[_i].payload), payloads[_i].want);
    is(hmac(unsigned_of(HS, payloads[_i].payload), "SHA256", STR("wrong")),
       JWT_UNSIGNED); /* of those no word is told */
}
END_TEST

START_TEST(long_subjects) {
    char payload[400];
    snprintf(payload, sizeof payload, "{" EXP ",\"sub\":\"%0128d\"}", 0);
    is(hs(HS, payload), JWT_OK);
    snprintf(payload, sizeof payload, "{" EXP ",\"sub\":\"%0129d\"}", 0);
    is(hs(HS, payload), JWT_CLAIMS);
}
END_TEST

START_TEST(issuer_and_audience) {
    rules.issuer = "https://id.example";
    is(hs(HS, "{" EXP "}"), JWT_FOREIGN);
    is(hs(HS, "{" EXP ",\"iss\":\"https://id.example\"}"), JWT_OK);
    is(hs(HS, "{" EXP ",\"iss\":\"https:\\/\\/id.example\"}"), JWT_OK);
    is(hs(HS, "{" EXP ",\"iss\":\"https://id.example/\"}"), JWT_FOREIGN);
    is(hs(HS, "{" EXP ",\"iss\":[\"https://id.example\"]}"), JWT_FOREIGN);
    is(hs(HS, "{" EXP ",\"iss\":\"https://id.example\",\"iss\":\"x\"}"), JWT_MALFORMED);
    rules.issuer = "";
    rules.audience = "gw";
    is(hs(HS, "{" EXP "}"), JWT_FOREIGN);
    is(hs(HS, "{" EXP ",\"aud\":\"gw\"}"), JWT_OK);
    is(hs(HS, "{" EXP ",\"aud\":[\"a\",\"gw\"]}"), JWT_OK);
    is(hs(HS, "{" EXP ",\"aud\":[]}"), JWT_FOREIGN);
    is(hs(HS, "{" EXP ",\"aud\":\"gw2\"}"), JWT_FOREIGN);
    is(hs(HS, "{" EXP ",\"aud\":{\"gw\":\"gw\"}}"), JWT_FOREIGN);
    is(hs(HS, "{" EXP ",\"aud\":[[\"gw\"]]}"), JWT_FOREIGN);
    rules.audience = "";
}
END_TEST

static const struct {
    const char *claim, *payload, *role;
    bool has;
} roles[] = {
    {"role", "\"role\":\"admin\"", "admin", true},
    {"role", "\"role\":\"user admin\"", "admin", true},
    {"role", "\"role\":\"administrator\"", "admin", false},
    {"role", "\"role\":[\"user\",\"admin\"]", "admin", true},
    {"role", "\"role\":[\"user admin\"]", "admin", false},
    {"role", "\"role\":[[\"admin\"]]", "admin", false},
    {"role", "\"role\":{\"admin\":true}", "admin", false},
    {"role", "\"role\":true", "admin", false},
    {"role", "\"roles\":\"admin\"", "admin", false},
    {"role", "\"role\":\"\\u0061dmin\"", "admin", true},
    {"a.b.c", "\"a\":{\"b\":{\"c\":[\"admin\"]}}", "admin", true},
    {"a.b.c", "\"a\":{\"b\":[\"admin\"]}", "admin", false},
    {"https://x.example/role", "\"https://x.example/role\":\"admin\"", "admin", true},
    {"", "\"\":\"admin\"", "admin", true},
    {"sub", "\"sub\":\"admin\"", "admin", true},
};

START_TEST(roles_of_a_token) {
    rules.role_claim = roles[_i].claim;
    is(hs(HS, arena_printf(arena, "{" EXP ",%s}", roles[_i].payload).p), JWT_OK);
    ck_assert_msg(jwt_has_role(&claims, roles[_i].role) == roles[_i].has, "%s", roles[_i].payload);
    rules.role_claim = "role";
}
END_TEST

/* --- keys --- */

static struct str bn_member(EVP_PKEY *k, const char *name, int size) {
    BIGNUM *bn = NULL;
    unsigned char raw[512];
    ck_assert_int_eq(EVP_PKEY_get_bn_param(k, name, &bn), 1);
    int n = size ? size : BN_num_bytes(bn);
    ck_assert_int_eq(BN_bn2binpad(bn, raw, n), n);
    BN_free(bn);
    return url(raw, (size_t)n);
}

static struct str jwk_of(EVP_PKEY *k, const char *more) {
    if (k == rsa || k == small)
        return arena_printf(arena, "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s}", bn_member(k, "n", 0).p,
                            bn_member(k, "e", 0).p, more);
    if (k == ed) {
        unsigned char raw[32];
        size_t n = sizeof raw;
        ck_assert_int_eq(EVP_PKEY_get_raw_public_key(ed, raw, &n), 1);
        return arena_printf(arena, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"%s}", url(raw, n).p,
                            more);
    }
    bool large = k == p384;
    return arena_printf(arena, "{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"%s}",
                        large ? "P-384" : "P-256", bn_member(k, "qx", large ? 48 : 32).p,
                        bn_member(k, "qy", large ? 48 : 32).p, more);
}

static bool parse(const char *list) {
    const char *why = NULL;
    jwt_keys_free(keys);
    keys = jwt_keys_new();
    bool ok = jwks_parse(keys, arena_printf(arena, "{\"keys\":[%s]}", list), &why);
    ck_assert(ok == (why == NULL));
    return ok;
}

START_TEST(key_sets) {
    ck_assert(parse(arena_printf(arena, "%s,%s,%s,%s,{\"kty\":\"oct\",\"k\":\"%s\"}",
                                 jwk_of(rsa, ",\"kid\":\"r\"").p, jwk_of(p256, ",\"kid\":\"e\"").p,
                                 jwk_of(p384, "").p, jwk_of(ed, "").p, url(SECRET, 32).p)
                        .p));
    ck_assert_uint_eq(jwt_keys_count(keys), 5);
    is(sign(unsigned_of("{\"alg\":\"RS256\",\"kid\":\"r\"}", OK), "SHA256", rsa, false), JWT_OK);
    is(sign(unsigned_of("{\"alg\":\"RS256\",\"kid\":\"e\"}", OK), "SHA256", rsa, false), JWT_UNSIGNED);
    is(sign(unsigned_of("{\"alg\":\"RS256\",\"kid\":\"other\"}", OK), "SHA256", rsa, false), JWT_UNSIGNED);
    is(sign(unsigned_of("{\"alg\":\"RS256\"}", OK), "SHA256", rsa, false), JWT_OK);
    is(ecdsa(unsigned_of("{\"alg\":\"ES256\",\"kid\":\"e\"}", OK), "SHA256", p256, 32), JWT_OK);
    is(ecdsa(unsigned_of("{\"alg\":\"ES384\"}", OK), "SHA384", p384, 48), JWT_OK);
    is(sign(unsigned_of("{\"alg\":\"EdDSA\"}", OK), NULL, ed, false), JWT_OK);
    is(hs(HS, OK), JWT_OK);
    ck_assert(parse(jwk_of(rsa, ",\"alg\":\"RS512\",\"use\":\"sig\"").p)); /* pinned */
    is(sign(unsigned_of("{\"alg\":\"RS256\"}", OK), "SHA256", rsa, false), JWT_UNSIGNED);
    is(sign(unsigned_of("{\"alg\":\"RS512\"}", OK), "SHA512", rsa, false), JWT_OK);
    ck_assert(parse(jwk_of(rsa, ",\"alg\":\"HS256\"").p)); /* not to what it is not */
    is(hmac(unsigned_of(HS, OK), "SHA256", rsa_pem), JWT_UNSIGNED);
    is(sign(unsigned_of("{\"alg\":\"RS256\"}", OK), "SHA256", rsa, false), JWT_UNSIGNED);
    ck_assert(parse("{\"kty\":\"XYZ\"},{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AA\"},{}"));
    ck_assert_uint_eq(jwt_keys_count(keys), 0);
    ck_assert(parse(jwk_of(rsa, ",\"use\":\"enc\"").p) && jwt_keys_count(keys) == 0);
    ck_assert(parse(jwk_of(rsa, ",\"key_ops\":[\"sign\"]").p) && jwt_keys_count(keys) == 0);
    ck_assert(parse(jwk_of(rsa, ",\"alg\":\"RSA-OAEP\"").p) && jwt_keys_count(keys) == 0);
    is(hs(HS, OK), JWT_UNSIGNED);
}
END_TEST

START_TEST(bad_keys) {
    const char *why;
    static const char *const sets[] = {
        "{\"kty\":\"RSA\"}",
        "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",
        "{\"kty\":\"RSA\",\"n\":\"=\",\"e\":5}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}",
        "{\"kty\":\"oct\"}",
        "{\"kty\":\"oct\",\"k\":\"\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}",
        "5",
        "[]",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
        "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        ck_assert_msg(!parse(sets[i]), "%s", sets[i]);
        ck_assert_uint_eq(jwt_keys_count(keys), 0);
    }
    ck_assert(!parse(jwk_of(small, "").p));
    ck_assert_uint_eq(jwt_keys_count(keys), 0);
    ck_assert(
        parse(arena_printf(arena, "{\"kty\":\"RSA\"},%s,5,%s", jwk_of(rsa, "").p, jwk_of(small, "").p).p));
    ck_assert_uint_eq(jwt_keys_count(keys), 1); /* the others are passed over */
    ck_assert(!jwks_parse(keys, STR("{\"keys\":{}}"), &why) && !jwks_parse(keys, STR("[]"), &why) &&
              !jwks_parse(keys, STR("nonsense"), &why) && !jwks_parse(keys, STR_NONE, &why));
    ck_assert(!jwt_add_secret(keys, STR_NONE, &why) && !jwt_add_secret(keys, rsa_pem, &why));
    ck_assert(!jwt_add_pem(keys, STR("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), &why));
    ck_assert(!jwt_add_pem(keys, pem_of(small), &why) && !jwt_add_pem(keys, STR_NONE, &why));
    EVP_PKEY *k1 = EVP_EC_gen("secp256k1");
    ck_assert(!jwt_add_pem(keys, pem_of(k1), &why));
    EVP_PKEY_free(k1);
    for (int i = 1; i < 64; i++)
        ck_assert(jwt_add_secret(keys, STR(SECRET), &why));
    ck_assert(!jwt_add_secret(keys, STR(SECRET), &why) && !jwt_add_pem(keys, rsa_pem, &why));
}
END_TEST

TCase *case_jwt(void) {
    TCase *t = tcase_create("jwt");
    tcase_add_unchecked_fixture(t, make_keys, drop_keys);
    tcase_add_checked_fixture(t, open_keys, close_keys);
    tcase_add_test(t, every_algorithm);
    tcase_add_test(t, only_configured_algorithms);
    tcase_add_test(t, a_header_does_not_choose_the_key);
    tcase_add_test(t, ecdsa_signatures);
    tcase_add_test(t, kids);
    tcase_add_test(t, form);
    tcase_add_loop_test(t, claims_of_a_token, 0, sizeof payloads / sizeof *payloads);
    tcase_add_test(t, long_subjects);
    tcase_add_test(t, issuer_and_audience);
    tcase_add_loop_test(t, roles_of_a_token, 0, sizeof roles / sizeof *roles);
    tcase_add_test(t, key_sets);
    tcase_add_test(t, bad_keys);
    return t;
}
