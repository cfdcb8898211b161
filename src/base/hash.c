/* Digests by OpenSSL with the algorithm fetched once (a fetch by name costs as much as hashing 300 bytes), a
 * fast non-cryptographic hash, random numbers, hex and base64. */
#include "base/hash.h"
#include "base/die.h"
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <sys/random.h>

/* --- SHA-256 --- */

struct sha256 {
    EVP_MD_CTX *ctx;
};

static EVP_MD *sha256_md(void) {
    static EVP_MD *md;
    if (!md) {
        md = EVP_MD_fetch(NULL, "SHA256", NULL);
        if (!md)
            die("OpenSSL has no SHA-256");
    }
    return md;
}

static EVP_MD_CTX *digest_start(EVP_MD_CTX *ctx) {
    if (!ctx)
        ctx = EVP_MD_CTX_new();
    if (!ctx || !EVP_DigestInit_ex2(ctx, sha256_md(), NULL))
        die("SHA-256 cannot start");
    return ctx;
}

void sha256(const void *p, size_t n, uint8_t out[SHA256_SIZE]) {
    static EVP_MD_CTX *ctx; /* kept: setting up a new one is half the cost of a short text */
    ctx = digest_start(ctx);
    if ((n && !EVP_DigestUpdate(ctx, p, n)) || !EVP_DigestFinal_ex(ctx, out, NULL))
        die("SHA-256 failed");
}

struct sha256 *sha256_new(void) {
    struct sha256 *h = mem_alloc(sizeof *h);
    h->ctx = digest_start(NULL);
    return h;
}

void sha256_add(struct sha256 *h, const void *p, size_t n) {
    if (n && !EVP_DigestUpdate(h->ctx, p, n))
        die("SHA-256 failed");
}

void sha256_end(struct sha256 *h, uint8_t out[SHA256_SIZE]) {
    if (!EVP_DigestFinal_ex(h->ctx, out, NULL))
        die("SHA-256 failed");
    EVP_MD_CTX_free(h->ctx);
    mem_free(h);
}

void hmac_sha256(struct str key, struct str data, uint8_t out[SHA256_SIZE]) {
    unsigned n = 0;
    MUST(key.n <= INT_MAX);
    const void *text = data.p ? data.p : "";
    if (!HMAC(sha256_md(), key.p ? key.p : "", (int)key.n, text, data.n, out, &n) || n != SHA256_SIZE)
        die("HMAC-SHA-256 failed");
}

bool mem_equal_ct(const void *a, const void *b, size_t n) {
    return n == 0 || CRYPTO_memcmp(a, b, n) == 0;
}

/* --- hash64: 128-bit products folded, 16 bytes a step --- */

#define MIX_A 0x9E3779B97F4A7C15U
#define MIX_B 0xD1B54A32D192ED03U
#define MIX_C 0x8CB92BA72F3D8DD7U

static uint64_t fold(uint64_t a, uint64_t b) {
    unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Up to 8 bytes, little-endian, so that the value is the same on every machine. */
static uint64_t load(const unsigned char *p, size_t n) {
    uint64_t v = 0;
    memcpy(&v, p, n);
    return le64toh(v);
}

uint64_t hash64_more(uint64_t h, const void *data, size_t n) {
    const unsigned char *p = data;
    size_t left = n;
    for (; left > 16; left -= 16, p += 16)
        h = fold(load(p, 8) ^ MIX_B ^ h, load(p + 8, 8) ^ MIX_A) + MIX_C;
    uint64_t a = 0, b = 0;
    if (left > 8) {
        a = load(p, 8);
        b = load(p + 8, left - 8);
    } else if (left > 0) {
        a = load(p, left);
    }
    h = fold(a ^ MIX_B ^ h, b ^ MIX_A) ^ n;
    h = fold(h ^ MIX_C, MIX_A);
    return h ? h : 1;
}

uint64_t hash64(const void *p, size_t n) {
    return hash64_more(MIX_A, p, n);
}

/* --- random --- */

void random_bytes(void *p, size_t n) {
    char *to = p;
    while (n > 0) {
        ssize_t got = getrandom(to, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            die("getrandom: no random numbers");
        to += got;
        n -= (size_t)got;
    }
}

static struct {
    uint64_t s[4];
    bool seeded, hooked;
} rng;

static void unseed(void) {
    rng.seeded = false;
}

static void seed(void) {
    if (!rng.hooked) { /* a child of fork must not draw its parent's numbers */
        MUST(pthread_atfork(NULL, NULL, unseed) == 0);
        rng.hooked = true;
    }
    random_bytes(rng.s, sizeof rng.s);
    rng.s[0] |= 1; /* the state of all zeros is the one that never leaves itself */
    rng.seeded = true;
}

static uint64_t rotl(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

/* xoshiro256** (Blackman and Vigna, public domain) */
uint64_t random_u64(void) {
    if (!rng.seeded)
        seed();
    uint64_t *s = rng.s;
    uint64_t out = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

double random_unit(void) {
    return (double)(random_u64() >> 11) * 0x1.0p-53;
}

/* --- codings --- */

void hex_encode(char *out, const void *p, size_t n) {
    static const char digits[] = "0123456789abcdef";
    const unsigned char *in = p;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * n] = '\0';
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(uint8_t *out, size_t n, struct str hex) {
    if (hex.n % 2 || hex.n / 2 != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int high = hex_value(hex.p[2 * i]), low = hex_value(hex.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void base64_group(char *to, uint32_t v) {
    for (int i = 3; i >= 0; i--, v >>= 6)
        to[i] = base64_digits[v & 63];
}

void base64_encode(struct buf *out, const void *p, size_t n) {
    const unsigned char *in = p;
    char *to = n / 3 < SIZE_MAX / 4 - 1 ? buf_room(out, (n + 2) / 3 * 4) : NULL;
    if (!to) {
        out->failed = true;
        return;
    }
    buf_commit(out, (n + 2) / 3 * 4);
    for (; n >= 3; n -= 3, in += 3, to += 4)
        base64_group(to, (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2]);
    if (n > 0) {
        base64_group(to, (uint32_t)in[0] << 16 | (n > 1 ? (uint32_t)in[1] << 8 : 0));
        to[3] = '=';
        if (n == 1)
            to[2] = '=';
    }
}

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One group of four with `pad` of them padding; bits that padding leaves over must be zero. */
static bool base64_take(const char *in, int pad, char out[3]) {
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int d = i < 4 - pad ? base64_value(in[i]) : 0;
        if (d < 0)
            return false;
        v = v << 6 | (uint32_t)d;
    }
    if (v & ((1U << (8 * pad)) - 1))
        return false;
    for (int i = 0; i < 3; i++)
        out[i] = (char)(v >> (16 - 8 * i) & 255);
    return true;
}

bool base64_decode(struct buf *out, struct str s) {
    if (s.n % 4)
        return false;
    size_t before = buf_len(out);
    for (size_t i = 0; i < s.n; i += 4) {
        bool last = i + 4 == s.n;
        int pad = last && s.p[i + 3] == '=' ? 1 + (s.p[i + 2] == '=') : 0;
        char three[3];
        if (!base64_take(s.p + i, pad, three)) {
            out->end -= buf_len(out) - before; /* nothing of a text that is refused */
            return false;
        }
        buf_add(out, three, 3 - (size_t)pad);
    }
    return buf_ok(out);
}

void base64url_encode(struct buf *out, const void *p, size_t n) {
    size_t before = buf_len(out), pad = (3 - n % 3) % 3;
    base64_encode(out, p, n);
    if (!buf_ok(out))
        return;
    out->end -= pad;
    for (char *c = buf_at(out) + before, *end = buf_at(out) + buf_len(out); c < end; c++)
        *c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
}

bool base64url_decode(struct buf *out, struct str s) {
    size_t before = buf_len(out);
    bool ok = s.n % 4 != 1;
    for (size_t i = 0; ok && i < s.n; i += 4) {
        size_t n = s.n - i < 4 ? s.n - i : 4;
        char four[4] = {'=', '=', '=', '='}, three[3];
        for (size_t k = 0; k < n; k++) {
            char c = s.p[i + k];
            four[k] = (char)(c == '-' ? '+' : c == '_' ? '/' : c == '+' || c == '/' ? '=' : c);
        }
        ok = base64_take(four, (int)(4 - n), three);
        if (ok)
            buf_add(out, three, n - 1);
    }
    if (!ok && buf_ok(out))
        out->end -= buf_len(out) - before;
    return ok && buf_ok(out);
}
