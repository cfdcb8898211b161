/* How the hourly sums lie in the ledger: key {hour u32, key \0 tenant \0 provider \0 model \0 surface}, value
 * a version and the counters. LMDB's keys end at 511 bytes, so a name too long for its share is cut and ends
 * in its hash. */
#ifndef PENSTOCK_SRC_STORE_SUMS_H
#define PENSTOCK_SRC_STORE_SUMS_H
#include "store/ledger.h"

enum { TABLE_ROWS, TABLE_SUMS, TABLE_STATE, TABLE_HOURS, TABLE_PRICES, TABLE_JOBS, TABLE_TIMES };
enum {
    SUMS_NAME_MAX = 118,
    SUMS_SURFACE_MAX = 31,
    SUMS_KEY_MAX = 4 + 4 * SUMS_NAME_MAX + 4 + SUMS_SURFACE_MAX
};
_Static_assert(SUMS_KEY_MAX <= 511, "a key of LMDB");

struct sums { /* counters of one group, or of many */
#define X(name) uint64_t name;
    LEDGER_COUNTS(X)
#undef X
    int64_t cost_nano;
};
#define X(name) +1
enum { SUMS_COUNTS = LEDGER_COUNTS(X), SUMS_PACKED = 1 + 8 * (SUMS_COUNTS + 1) };
#undef X

#define HOUR_MS 3600000
uint32_t sums_hour(int64_t wall_ms);
uint32_t sums_until(int64_t to_ms); /* the first hour behind those that touch what lies before to_ms */
size_t sums_key(unsigned char out[SUMS_KEY_MAX], const struct ledger_row *r);
struct sums_names {
    uint32_t hour;
    struct str key, tenant, provider, model, surface;
};
bool sums_read_key(struct str key, struct sums_names *out);
void sums_of_row(struct sums *to, const struct ledger_row *r); /* adds */
void sums_merge(struct sums *to, const struct sums *more);
void sums_pack(unsigned char out[SUMS_PACKED], const struct sums *s);
bool sums_unpack(struct str packed, struct sums *s);
/* A number that adds up: of sums of one hour, over all their groups, it is the same as of the records they
 * come from. (As good as never of others.) */
uint64_t sums_check(struct str key, const struct sums *s);
#endif
