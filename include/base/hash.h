/* Digests, codings and comparisons. OpenSSL behind; the EVP_MD is fetched once per process. */
#ifndef PENSTOCK_BASE_HASH_H
#define PENSTOCK_BASE_HASH_H
#include "base/buf.h"
#include "base/str.h"

#define SHA256_SIZE 32
void sha256(const void *p, size_t n, uint8_t out[SHA256_SIZE]);
struct sha256; /* incremental */
struct sha256 *sha256_new(void);
void sha256_add(struct sha256 *h, const void *p, size_t n);
void sha256_end(struct sha256 *h, uint8_t out[SHA256_SIZE]); /* frees h */
void hmac_sha256(struct str key, struct str data, uint8_t out[SHA256_SIZE]);

uint64_t hash64(const void *p, size_t n);               /* stable over processes and runs, not for secrets; never 0 */
uint64_t hash64_more(uint64_t h, const void *p, size_t n);
bool mem_equal_ct(const void *a, const void *b, size_t n); /* constant time */
void random_bytes(void *p, size_t n);                   /* getrandom; ends the process if there is none */
uint64_t random_u64(void);                              /* fast, seeded per process after the fork; not for secrets */
double random_unit(void);                               /* [0,1), likewise */

void hex_encode(char *out /* 2n+1 */, const void *p, size_t n);
bool hex_decode(uint8_t *out, size_t n, struct str hex); /* exactly 2n digits */
void base64_encode(struct buf *out, const void *p, size_t n);
bool base64_decode(struct buf *out, struct str s);       /* strict, padded */
/* The URL-safe alphabet without padding (RFC 4648, 5; RFC 7515, 2): strict, so that one text means one value. */
void base64url_encode(struct buf *out, const void *p, size_t n);
bool base64url_decode(struct buf *out, struct str s);
#endif
