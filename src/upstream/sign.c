#include "sign.h"
#include "base/die.h"
#include "base/hash.h"
#include <stdlib.h>
#include <time.h>

enum { MAX_QUERY = 64, HEX = 2 * SHA256_SIZE + 1 };
#define SIGN_TEXT ((size_t)256 << 10)

static void hash_hex(struct str s, char out[HEX]) {
    uint8_t digest[SHA256_SIZE];
    sha256(s.p, s.n, digest);
    hex_encode(out, digest, sizeof digest);
}

/* What is percent-encoded already is encoded again: AWS does so for every service but S3. */
static void add_path(struct buf *b, struct str path) {
    static const char digits[] = "0123456789ABCDEF";
    if (path.n == 0)
        buf_addc(b, '/');
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr("-._~/", c))) {
            buf_addc(b, (char)c);
            continue;
        }
        buf_addc(b, '%');
        buf_addc(b, digits[c >> 4]);
        buf_addc(b, digits[c & 15]);
    }
}

static int by_bytes(const void *x, const void *y) {
    struct str a = *(const struct str *)x, b = *(const struct str *)y;
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* In the order of the bytes; a name without a value has an empty one. */
static void add_query(struct buf *b, struct str query) {
    struct str pairs[MAX_QUERY];
    size_t n = 0;
    while (n < MAX_QUERY && str_next(&query, '&', &pairs[n]))
        n += pairs[n].n > 0;
    qsort(pairs, n, sizeof pairs[0], by_bytes);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(b, '&');
        buf_adds(b, pairs[i]);
        if (!memchr(pairs[i].p, '=', pairs[i].n))
            buf_addc(b, '=');
    }
}

static void canonical(const struct sign_request *r, const char *date, const char *payload, struct str token,
                      const char *names, char out[HEX]) {
    struct buf b;
    buf_init(&b, SIGN_TEXT);
    buf_room(&b, 8192 + token.n);
    buf_adds(&b, r->method);
    buf_addc(&b, '\n');
    add_path(&b, r->path);
    buf_addc(&b, '\n');
    add_query(&b, r->query);
    BUF_ADD(&b, "\nhost:");
    buf_adds(&b, r->host);
    buf_printf(&b, "\nx-amz-content-sha256:%s\nx-amz-date:%s\n", payload, date);
    if (token.n) {
        BUF_ADD(&b, "x-amz-security-token:");
        buf_adds(&b, token);
        buf_addc(&b, '\n');
    }
    buf_printf(&b, "\n%s\n%s", names, payload);
    hash_hex(buf_str(&b), out);
    buf_wipe(&b);
}

static void signature(struct str secret, const struct sign_request *r, const char *date, const char *scope,
                      const char *request, char out[HEX]) {
    uint8_t k[SHA256_SIZE];
    struct buf b;
    buf_init(&b, 0);
    buf_room(&b, 4 + secret.n); /* no copy of the secret is left behind */
    BUF_ADD(&b, "AWS4");
    buf_adds(&b, secret);
    hmac_sha256(buf_str(&b), str_make(date, 8), k);
    buf_wipe(&b);
    const struct str steps[] = {r->region, r->service, STR("aws4_request")};
    for (size_t i = 0; i < 3; i++)
        hmac_sha256(str_make((const char *)k, sizeof k), steps[i], k);
    buf_printf(&b, "AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, request);
    hmac_sha256(str_make((const char *)k, sizeof k), buf_str(&b), k);
    hex_encode(out, k, sizeof k);
    mem_wipe(k, sizeof k);
    buf_free(&b);
}

size_t sign_v4(const struct conf_key *key, const struct sign_request *r, struct buf *out) {
    char date[32], payload[HEX], request[HEX], sig[HEX], scope[200];
    time_t now = (time_t)(r->wall_ms / 1000);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &tm);
    struct str token = str_of(key->session_token.text);
    const char *names = token.n ? "host;x-amz-content-sha256;x-amz-date;x-amz-security-token"
                                : "host;x-amz-content-sha256;x-amz-date";
    struct buf s;
    buf_init(&s, sizeof scope - 1);
    buf_printf(&s, "%.8s/" STR_FMT "/" STR_FMT "/aws4_request", date, STR_ARG(r->region),
               STR_ARG(r->service));
    str_copy(scope, sizeof scope, buf_str(&s));
    buf_free(&s);
    hash_hex(r->body, payload);
    canonical(r, date, payload, token, names, request);
    signature(str_of(key->secret_access_key.text), r, date, scope, request, sig);
    buf_room(out, 1024 + token.n);
    buf_printf(out, "X-Amz-Date: %s%cX-Amz-Content-Sha256: %s%c", date, 0, payload, 0);
    if (token.n)
        buf_printf(out, "X-Amz-Security-Token: %s%c", key->session_token.text, 0);
    buf_printf(out, "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s%c",
               key->access_key_id.text, scope, names, sig, 0);
    return token.n ? 4 : 3;
}
