/* Tokens and key sets. The input is taken as a token, as a key set, and as a header and a payload (with a
 * line end between them) that are signed here: so that what stands behind a good signature is reached, too.
 */
#include "base/die.h"
#include "base/hash.h"
#include "policy/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET STR("0123456789abcdef0123456789abcdef")
enum { NOW_S = 1700000000 };

static const struct jwt_rules rules = {.algorithms = (1U << JWT_ALGS) - 1,
                                       .issuer = "",
                                       .audience = "",
                                       .role_claim = "a.role",
                                       .tenant_claim = "tenant",
                                       .leeway_ms = 1000};

static enum jwt_verdict verify(const struct jwt_keys *k, struct str token) {
    struct arena *a = arena_new(0);
    struct jwt_claims c;
    enum jwt_verdict v = jwt_verify(k, &rules, a, token, (int64_t)NOW_S * 1000, &c);
    MUST(v != JWT_OK || (c.subject.n <= 128 && c.tenant.n <= 256));
    jwt_has_role(&c, "admin");
    MUST(*jwt_verdict_text(v));
    arena_free(a);
    return v;
}

static void check_signed(const struct jwt_keys *k, struct str text) {
    const char *end = text.n ? memchr(text.p, '\n', text.n) : NULL;
    size_t n = end ? (size_t)(end - text.p) : text.n;
    uint8_t mac[SHA256_SIZE];
    struct buf b;
    buf_init(&b, 0);
    base64url_encode(&b, text.p, n);
    buf_addc(&b, '.');
    base64url_encode(&b, end ? end + 1 : text.p, end ? text.n - n - 1 : 0);
    hmac_sha256(SECRET, buf_str(&b), mac);
    size_t at = buf_len(&b);
    buf_addc(&b, '.');
    base64url_encode(&b, mac, sizeof mac);
    enum jwt_verdict v = verify(k, buf_str(&b));
    buf_at(&b)[at + 1] ^= 1; /* of a signature that is not good nothing is believed */
    enum jwt_verdict other = verify(k, buf_str(&b));
    MUST(v != JWT_OK || other == JWT_UNSIGNED);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = str_make((const char *)data, size);
    struct jwt_keys *keys = jwt_keys_new(), *set = jwt_keys_new();
    const char *why = NULL;
    MUST(jwt_add_secret(keys, SECRET, &why));
    verify(keys, text);
    check_signed(keys, text);
    bool ok = jwks_parse(set, text, &why);
    MUST(ok || (why && jwt_keys_count(set) == 0));
    verify(set, text);
    jwt_keys_free(keys);
    jwt_keys_free(set);
    return 0;
}
