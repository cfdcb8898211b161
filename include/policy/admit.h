/* Limits: all layers of the caller are taken or none; a provider's own are taken per attempt. */
#ifndef PENSTOCK_POLICY_ADMIT_H
#define PENSTOCK_POLICY_ADMIT_H
#include "base/buf.h"
#include "policy/auth.h"
#include "shm/bucket.h"

enum { ADMIT_LAYERS = 2 };
struct admission { /* what is held; zero-initialised holds nothing */
    uint32_t gauge[ADMIT_LAYERS];
    unsigned gauges;
    struct bucket_ask ask[2 * ADMIT_LAYERS];
    unsigned asks;
    uint64_t tokens; /* reserved at each token layer */
};
/* The caller's layers: key and gateway. false: *f is RATE_LIMIT with retry_after_ms and says which limit. */
bool admit_caller(struct plane *p, const struct caller *c, uint64_t tokens, struct admission *a,
                  struct arena *arena, struct fault *f);
/* A provider's and its key's layers for one attempt. */
bool admit_provider(struct plane *p, const struct plane_provider *pr, const struct plane_key *key,
                    uint64_t tokens, struct admission *a, struct arena *arena, struct fault *f);
/* Settles the reservation with the tokens really used, and lets the gauges go. Once. */
void admit_settle(struct plane *p, struct admission *a, uint64_t tokens_used);
/* What an answer is likely to take: the smaller of max_tokens and the average, for each of n. */
uint64_t admit_output(const struct plane *p, const struct ask *ask, uint32_t model_entity);
/* Tokens to reserve: the input's estimate (by the text of text_entity, shm/tokens.h) and the smaller of max_tokens and
 * what this model's answers take on average. Either may be SHM_NONE. */
uint64_t admit_estimate(struct plane *p, const struct ask *ask, uint32_t model_entity, uint32_t text_entity);

/* The rate headers of the caller's tightest layer; at most ADMIT_HEADERS, texts in the arena. */
enum { ADMIT_HEADERS = 9 };
size_t admit_headers(struct plane *p, const struct caller *c, struct arena *a, struct http_header *out);
#endif
