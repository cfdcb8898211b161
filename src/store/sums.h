/* How the hourly sums lie in the ledger: key {hour u32, key \0 tenant \0 provider \0 model}, value a version
 * and the counters. LMDB's keys end at 511 bytes, so a name too long for its share is cut and ends in its
 * hash. */
#ifndef PENSTOCK_SRC_STORE_SUMS_H
#define PENSTOCK_SRC_STORE_SUMS_H
#include "store/ledger.h"

enum { TABLE_ROWS, TABLE_SUMS, TABLE_STATE };
enum { SUMS_NAME_MAX = 125, SUMS_KEY_MAX = 4 + 4 * SUMS_NAME_MAX + 3 };
_Static_assert(SUMS_KEY_MAX <= 511, "a key of LMDB");

struct sums { /* counters of one group, or of many */
    uint64_t requests, errors, input_tokens, cached_tokens, output_tokens, reasoning_tokens, unpriced;
    int64_t cost_nano;
};
#define SUMS_PACKED (1 + 8 * 8)

#define HOUR_MS 3600000
uint32_t sums_hour(int64_t wall_ms);
size_t sums_key(unsigned char out[SUMS_KEY_MAX], const struct ledger_row *r);
struct sums_names {
    uint32_t hour;
    struct str key, tenant, provider, model;
};
bool sums_read_key(struct str key, struct sums_names *out);
void sums_of_row(struct sums *to, const struct ledger_row *r); /* adds */
void sums_merge(struct sums *to, const struct sums *more);
void sums_pack(unsigned char out[SUMS_PACKED], const struct sums *s);
bool sums_unpack(struct str packed, struct sums *s);
#endif
