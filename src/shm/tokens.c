/* Two sums that forget, of bytes and of tokens, in one word: their quotient is the ratio. So a long text
 * weighs more than a short one, of which a larger part is the message around it. */
#include "shm/tokens.h"

#include "layout.h"

struct sums {
    float bytes, tokens;
};
_Static_assert(sizeof(struct sums) == sizeof(uint64_t), "the sums are one word");

enum {
    SWAP_TRIES = 16,
    FIRST_BYTES = 2048,   /* what the start weighs against the first answers */
    BYTES_MOST = 1 << 20, /* of one text: a single giant is no average */
};
#define KEPT 0.95F /* about the last twenty answers */

static struct sums unpacked(uint64_t bits) {
    struct sums s;
    memcpy(&s, &bits, sizeof s);
    return bits ? s : (struct sums){FIRST_BYTES, FIRST_BYTES / (float)TOKENS_RATIO_START};
}

static bool add(word *w, struct sums more) {
    uint64_t from = atomic_load_explicit(w, memory_order_relaxed), to;
    struct sums s = unpacked(from);
    s.bytes = s.bytes * KEPT + more.bytes;
    s.tokens = s.tokens * KEPT + more.tokens;
    memcpy(&to, &s, sizeof to);
    return atomic_compare_exchange_strong_explicit(w, &from, to, memory_order_relaxed, memory_order_relaxed);
}

void tokens_learn(struct shm *s, uint32_t entity, uint64_t bytes, uint64_t tokens) {
    struct shm_state *e = state_of(s, entity);
    if (!e || tokens == 0 || bytes < TOKENS_BYTES_LEAST)
        return;
    double ratio = (double)bytes / (double)tokens;
    if (ratio < TOKENS_RATIO_LEAST || ratio > TOKENS_RATIO_MOST)
        return;
    double much = (double)(bytes < BYTES_MOST ? bytes : BYTES_MOST);
    for (int i = 0; i < SWAP_TRIES; i++)
        if (add(&e->text, (struct sums){(float)much, (float)(much / ratio)}))
            return;
}

double tokens_ratio(const struct shm *s, uint32_t entity) {
    struct shm_state *e = state_of(s, entity);
    if (!e)
        return TOKENS_RATIO_START;
    struct sums sums = unpacked(atomic_load_explicit(&e->text, memory_order_relaxed));
    double ratio = (double)sums.bytes / (double)sums.tokens;
    return ratio < TOKENS_RATIO_LEAST  ? TOKENS_RATIO_LEAST
           : ratio > TOKENS_RATIO_MOST ? TOKENS_RATIO_MOST
                                       : ratio;
}

uint64_t tokens_estimate(const struct shm *s, uint32_t entity, uint64_t bytes) {
    const uint64_t exact = UINT64_C(1) << 53; /* in a double */
    double ratio = tokens_ratio(s, entity);
    if (bytes > exact)
        return bytes / (uint64_t)TOKENS_RATIO_START;
    uint64_t n = (uint64_t)((double)bytes / ratio);
    return n + ((double)n * ratio < (double)bytes);
}
