/* Token buckets: GCRA, one 64-bit word each (the theoretical arrival time in ns of clock_ns()), changed by CAS.
 * The burst is the limit of one period; refill is continuous. Exact over all processes. What a process had reserved
 * when it was killed is not given back: it counts as used, and has been refilled after one period at the latest. */
#ifndef PENSTOCK_SHM_BUCKET_H
#define PENSTOCK_SHM_BUCKET_H
#include "shm/shm.h"

/* What is counted: X(NAME, option, unit, seconds of its period, in words) */
enum bucket_unit { BUCKET_REQUESTS, BUCKET_TOKENS, BUCKET_INPUT_TOKENS, BUCKET_OUTPUT_TOKENS, BUCKET_UNITS };
#define BUCKETS(X)                                                                                                   \
    X(REQUESTS_PER_MINUTE, requests_per_minute, REQUESTS, 60, "requests per minute")                                 \
    X(REQUESTS_PER_HOUR, requests_per_hour, REQUESTS, 3600, "requests per hour")                                     \
    X(REQUESTS_PER_DAY, requests_per_day, REQUESTS, 86400, "requests per day")                                       \
    X(TOKENS_PER_MINUTE, tokens_per_minute, TOKENS, 60, "tokens per minute")                                         \
    X(TOKENS_PER_HOUR, tokens_per_hour, TOKENS, 3600, "tokens per hour")                                             \
    X(TOKENS_PER_DAY, tokens_per_day, TOKENS, 86400, "tokens per day")                                               \
    X(INPUT_TOKENS_PER_MINUTE, input_tokens_per_minute, INPUT_TOKENS, 60, "input tokens per minute")                 \
    X(INPUT_TOKENS_PER_HOUR, input_tokens_per_hour, INPUT_TOKENS, 3600, "input tokens per hour")                     \
    X(INPUT_TOKENS_PER_DAY, input_tokens_per_day, INPUT_TOKENS, 86400, "input tokens per day")                       \
    X(OUTPUT_TOKENS_PER_MINUTE, output_tokens_per_minute, OUTPUT_TOKENS, 60, "output tokens per minute")             \
    X(OUTPUT_TOKENS_PER_HOUR, output_tokens_per_hour, OUTPUT_TOKENS, 3600, "output tokens per hour")                 \
    X(OUTPUT_TOKENS_PER_DAY, output_tokens_per_day, OUTPUT_TOKENS, 86400, "output tokens per day")
enum bucket {
#define X(name, option, unit, seconds, words) BUCKET_##name,
    BUCKETS(X)
#undef X
    BUCKET_KINDS
};
struct bucket_row {
    enum bucket_unit unit;
    uint64_t period_ns;
    const char *words; /* "requests per minute" */
};
extern const struct bucket_row bucket_rows[BUCKET_KINDS];

struct bucket_ask {
    uint32_t entity;
    enum bucket kind;
    uint64_t limit; /* in its period. UINT64_MAX: no limit, skipped; 0: nothing passes */
    uint64_t cost;  /* more than the limit counts as the limit: it passes when the bucket is full */
};
struct bucket_verdict {
    bool ok;
    size_t refused;   /* index of the ask that refused, when !ok; of several the one that will longest */
    uint64_t wait_ns; /* until that bucket would let it through; UINT64_MAX: never */
};
/* All or none. */
struct bucket_verdict buckets_take(struct shm *s, const struct bucket_ask *asks, size_t n, uint64_t now_ns);
void buckets_give_back(struct shm *s, const struct bucket_ask *asks, size_t n, uint64_t now_ns);
/* The real cost is known: more (delta > 0, the bucket may go into debt) or less. */
void bucket_settle(struct shm *s, const struct bucket_ask *reserved, int64_t delta, uint64_t now_ns);
/* What is left now, and how long until it is full again. */
void bucket_look(const struct shm *s, uint32_t entity, enum bucket kind, uint64_t limit, uint64_t now_ns,
                 uint64_t *remaining, uint64_t *full_in_ns);

/* A rest: the entity (a provider key, a target) is not to be used until then. The later of two wins. */
void rest_until(struct shm *s, uint32_t entity, uint64_t until_ns); /* UINT64_MAX: until rest_clear */
uint64_t rest_left_ns(const struct shm *s, uint32_t entity, uint64_t now_ns);
void rest_clear(struct shm *s, uint32_t entity);
/* A share set by hand; 0: as configured. */
void weight_set(struct shm *s, uint32_t entity, uint32_t weight);
uint32_t weight_of(const struct shm *s, uint32_t entity, uint32_t configured);
#endif
