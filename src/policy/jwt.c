/* Tokens, in the order of what may be believed: the form, the signature, and only then what it says. */
#include "policy/jwt.h"
#include "base/die.h"
#include "base/hash.h"
#include "jwt_keys.h"
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

enum {
    HEADER_BYTES = 2048, /* encoded */
    SIGNATURE_BYTES = 1024 + 1,
    KID_BYTES = 256,
    SUBJECT_BYTES = 128,
    TENANT_BYTES = 256,
};
#define LAST_SECOND 253402300799.0 /* of the year 9999 */

static const struct {
    const char *name;
    const EVP_MD *(*md)(void);
} algorithms[JWT_ALGS] = {
    [JWT_HS256] = {"HS256", EVP_sha256}, [JWT_HS384] = {"HS384", EVP_sha384},
    [JWT_HS512] = {"HS512", EVP_sha512}, [JWT_RS256] = {"RS256", EVP_sha256},
    [JWT_RS384] = {"RS384", EVP_sha384}, [JWT_RS512] = {"RS512", EVP_sha512},
    [JWT_PS256] = {"PS256", EVP_sha256}, [JWT_ES256] = {"ES256", EVP_sha256},
    [JWT_ES384] = {"ES384", EVP_sha384}, [JWT_EDDSA] = {"EdDSA", NULL},
};

enum jwt_alg jwt_alg_by_name(struct json_value name) {
    unsigned i = 0;
    while (i < JWT_ALGS && !json_string_is(name, algorithms[i].name))
        i++;
    return (enum jwt_alg)i;
}

/* --- members, of which none may come twice --- */

struct member {
    const char *name;
    struct json_value v; /* raw.n 0: absent */
};
struct members {
    struct member *list;
    size_t n;
    bool twice;
};

static bool take_member(void *arg, struct str key, struct json_value v) {
    struct members *m = arg;
    for (size_t i = 0; i < m->n; i++)
        if (json_key_is(key, m->list[i].name)) {
            m->twice = m->twice || m->list[i].v.raw.n > 0;
            m->list[i].v = v; /* two of ours may have one name: role_claim: sub */
        }
    return true;
}

/* false: no JSON object, or one that says something twice. */
static bool take_members(struct str text, struct member *list, size_t n) {
    struct members m = {list, n, false};
    enum json_kind kind;
    return json_scan(text, &kind, take_member, &m, NULL) == 0 && kind == JSON_OBJECT && !m.twice;
}

/* --- form --- */

struct token {
    struct arena *arena;
    struct str header, payload, signature; /* encoded */
    struct str signed_part;
    enum jwt_alg alg;
    struct str kid;
};

static bool decode(struct arena *a, struct str text, struct str *out) {
    struct buf b;
    buf_init(&b, JWT_BYTES);
    bool ok = base64url_decode(&b, text);
    *out = ok ? arena_dup(a, buf_str(&b)) : STR_NONE;
    buf_free(&b);
    return ok;
}

/* Three parts, neither more nor fewer. */
static bool cut(struct str s, struct token *t) {
    const char *first = s.n ? memchr(s.p, '.', s.n) : NULL;
    const char *end = s.p + s.n, *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
    if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)))
        return false;
    t->header = str_make(s.p, (size_t)(first - s.p));
    t->payload = str_make(first + 1, (size_t)(second - first - 1));
    t->signature = str_make(second + 1, (size_t)(end - second - 1));
    t->signed_part = str_make(s.p, (size_t)(second - s.p));
    return t->header.n > 0 && t->header.n <= HEADER_BYTES && t->payload.n > 0 && t->signature.n > 0;
}

/* What would change the meaning of the rest (crit, zip, b64) is refused: we know none of it. */
static bool read_header(struct token *t) {
    enum { ALG, KID, CRIT, ZIP, B64, N };
    struct member m[N] = {
        {.name = "alg"}, {.name = "kid"}, {.name = "crit"}, {.name = "zip"}, {.name = "b64"}};
    struct str text;
    if (!decode(t->arena, t->header, &text) || !take_members(text, m, N) || m[CRIT].v.raw.n ||
        m[ZIP].v.raw.n || m[B64].v.raw.n || !m[ALG].v.raw.n)
        return false;
    t->alg = jwt_alg_by_name(m[ALG].v);
    t->kid = m[KID].v.raw.n ? json_text(t->arena, m[KID].v) : STR_NONE;
    return !m[KID].v.raw.n || (m[KID].v.kind == JSON_STRING && t->kid.n <= KID_BYTES);
}

/* --- signatures --- */

static bool check_hmac(const struct token *t, const struct jwt_key *k, struct str signature) {
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    const unsigned char *text = (const unsigned char *)t->signed_part.p;
    bool ok = HMAC(algorithms[t->alg].md(), k->secret.p, (int)k->secret.n, text, t->signed_part.n, mac, &n) &&
              n == signature.n && mem_equal_ct(mac, signature.p, n);
    mem_wipe(mac, sizeof mac);
    return ok;
}

/* r and s side by side (RFC 7518, 3.4), of exactly their size; OpenSSL wants them in DER, and refuses zeros
 * and what is not below the order. */
static bool ecdsa_der(struct str raw, size_t half, unsigned char **der, size_t *n) {
    const unsigned char *p = (const unsigned char *)raw.p;
    *der = NULL;
    if (raw.n != 2 * half)
        return false;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(p, (int)half, NULL), *s = BN_bin2bn(p + half, (int)half, NULL);
    if (!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return false;
    }
    int size = i2d_ECDSA_SIG(sig, der);
    ECDSA_SIG_free(sig);
    *n = size > 0 ? (size_t)size : 0;
    return size > 0;
}

static bool set_padding(EVP_PKEY_CTX *ctx) {
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1;
}

static bool digest_verify(const struct token *t, EVP_PKEY *key, const unsigned char *sig, size_t n) {
    const EVP_MD *md = algorithms[t->alg].md ? algorithms[t->alg].md() : NULL;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    bool ok = c && EVP_DigestVerifyInit(c, &pctx, md, NULL, key) == 1 &&
              (t->alg != JWT_PS256 || set_padding(pctx)) &&
              EVP_DigestVerify(c, sig, n, (const unsigned char *)t->signed_part.p, t->signed_part.n) == 1;
    EVP_MD_CTX_free(c);
    ERR_clear_error();
    return ok;
}

static bool check_public(const struct token *t, const struct jwt_key *k, struct str signature) {
    unsigned char *der = NULL;
    size_t n = 0;
    if (t->alg != JWT_ES256 && t->alg != JWT_ES384)
        return digest_verify(t, k->public, (const unsigned char *)signature.p, signature.n);
    bool ok =
        ecdsa_der(signature, t->alg == JWT_ES256 ? 32 : 48, &der, &n) && digest_verify(t, k->public, der, n);
    OPENSSL_free(der);
    return ok;
}

/* A token that names a key which we have is checked with that one alone; else with those that have no name.
 */
static bool is_meant(const struct jwt_key *k, struct str kid, bool named) {
    return kid.n == 0 || (named ? str_eq(k->kid, kid) : k->kid.n == 0);
}

static bool is_signed(const struct jwt_keys *keys, const struct token *t) {
    struct str signature;
    bool named = false, ok = false;
    if (!decode(t->arena, t->signature, &signature) || signature.n == 0 || signature.n > SIGNATURE_BYTES)
        return false;
    for (size_t i = 0; i < keys->n; i++)
        named = named || (t->kid.n && str_eq(keys->key[i].kid, t->kid));
    for (size_t i = 0; i < keys->n && !ok; i++) {
        const struct jwt_key *k = &keys->key[i];
        if (is_meant(k, t->kid, named) && (k->algorithms & 1U << t->alg))
            ok = k->public ? check_public(t, k, signature) : check_hmac(t, k, signature);
    }
    return ok;
}

/* --- claims --- */

/* A NumericDate, which may have a fraction (RFC 7519, 2). */
static bool read_date(struct json_value v, int64_t *ms) {
    double d;
    if (!json_double(v, &d) || d < 0 || d > LAST_SECOND)
        return false;
    *ms = (int64_t)(d * 1000);
    return true;
}

static bool read_text(struct arena *a, struct json_value v, size_t most, struct str *out) {
    *out = STR_NONE;
    if (v.raw.n == 0 || v.kind == JSON_NULL)
        return true;
    if (v.kind != JSON_STRING)
        return false;
    *out = json_text(a, v);
    return out->n <= most && str_plain(*out);
}

struct wanted {
    const char *text;
    bool found;
};

static bool match_text(void *arg, struct str key, struct json_value v) {
    struct wanted *w = arg;
    (void)key;
    w->found = w->found || json_string_is(v, w->text);
    return !w->found;
}

static bool has_text(struct json_value v, const char *text) {
    struct wanted w = {text, json_string_is(v, text)};
    if (v.kind == JSON_ARRAY)
        json_each(v.raw, match_text, &w);
    return w.found;
}

/* As it was found by its whole name, else by taking that for a path. */
static struct json_value claim_at(struct arena *a, struct str claims, const struct member *m) {
    struct json_value v = {JSON_OBJECT, claims};
    struct str rest = str_of(m->name), one;
    if (m->v.raw.n || !*m->name)
        return m->v;
    while (str_next(&rest, '.', &one))
        if (v.kind != JSON_OBJECT || !json_member(v.raw, arena_dupz(a, one), &v))
            return (struct json_value){.kind = JSON_NULL};
    return v;
}

static bool times_ok(struct json_value exp, struct json_value nbf, struct json_value iat,
                     const struct jwt_rules *r, int64_t now, enum jwt_verdict *v) {
    int64_t end = 0, begin = 0, made = 0, leeway = (int64_t)r->leeway_ms;
    *v = JWT_CLAIMS;
    if (!exp.raw.n || !read_date(exp, &end) || (nbf.raw.n && !read_date(nbf, &begin)) ||
        (iat.raw.n && !read_date(iat, &made)))
        return false;
    *v = end <= now - leeway ? JWT_EXPIRED : begin > now + leeway || made > now + leeway ? JWT_EARLY : JWT_OK;
    return *v == JWT_OK;
}

static enum jwt_verdict read_claims(const struct token *t, const struct jwt_rules *r, int64_t now,
                                    struct jwt_claims *out) {
    enum { EXP, NBF, IAT, ISS, AUD, SUB, ROLE, TENANT, N };
    struct member m[N] = {{.name = "exp"},         {.name = "nbf"},          {.name = "iat"},
                          {.name = "iss"},         {.name = "aud"},          {.name = "sub"},
                          {.name = r->role_claim}, {.name = r->tenant_claim}};
    enum jwt_verdict v;
    struct str text;
    if (!decode(t->arena, t->payload, &text) || !take_members(text, m, N))
        return JWT_MALFORMED;
    if (!times_ok(m[EXP].v, m[NBF].v, m[IAT].v, r, now, &v))
        return v;
    if ((*r->issuer && !json_string_is(m[ISS].v, r->issuer)) ||
        (*r->audience && !has_text(m[AUD].v, r->audience)))
        return JWT_FOREIGN;
    out->roles = claim_at(t->arena, text, &m[ROLE]);
    bool ok = read_text(t->arena, m[SUB].v, SUBJECT_BYTES, &out->subject) &&
              read_text(t->arena, claim_at(t->arena, text, &m[TENANT]), TENANT_BYTES, &out->tenant);
    return ok ? JWT_OK : JWT_CLAIMS;
}

/* --- all of it --- */

enum jwt_verdict jwt_verify(const struct jwt_keys *keys, const struct jwt_rules *rules, struct arena *a,
                            struct str token, int64_t wall_ms, struct jwt_claims *out) {
    struct token t = {.arena = a};
    *out = (struct jwt_claims){.roles = {.kind = JSON_NULL}};
    if (token.n > JWT_BYTES || !cut(token, &t) || !read_header(&t))
        return JWT_MALFORMED;
    if (t.alg == JWT_ALGS || !(rules->algorithms & 1U << t.alg) || !is_signed(keys, &t))
        return JWT_UNSIGNED;
    return read_claims(&t, rules, wall_ms, out);
}

const char *jwt_verdict_text(enum jwt_verdict v) {
    switch (v) {
    case JWT_EXPIRED:
        return "The token has expired.";
    case JWT_EARLY:
        return "The token is not valid yet.";
    case JWT_FOREIGN:
        return "The token was not issued for this gateway.";
    case JWT_CLAIMS:
        return "A claim of the token is missing, or of a wrong kind.";
    default:
        return "The token is not valid.";
    }
}

bool jwt_has_role(const struct jwt_claims *c, const char *role) {
    struct str raw = c->roles.raw, rest, word;
    if (c->roles.kind == JSON_ARRAY)
        return has_text(c->roles, role);
    if (c->roles.kind != JSON_STRING || raw.n < 2)
        return false;
    if (json_string_is(c->roles, role))
        return true;
    rest = str_make(raw.p + 1, raw.n - 2); /* one with an escape in it is no word of ours */
    while (str_next(&rest, ' ', &word))
        if (str_is(word, role))
            return true;
    return false;
}
