/* Token counts of one answer, in one meaning for all providers: `input` is everything the model read, cached or
 * not; `output` everything it wrote, reasoning included. The parts are inside the totals.
 * Dialects whose numbers mean otherwise (Anthropic's input_tokens excludes the cache) convert at their edge. */
#ifndef PENSTOCK_LLM_USAGE_H
#define PENSTOCK_LLM_USAGE_H
#include <stdbool.h>
#include <stdint.h>
#include "base/json.h"

/* More tokens than any answer can have used. */
#define USAGE_COUNT_MAX 100000000U

struct usage {
    bool known;          /* the provider gave numbers; false: all zero, or estimated */
    bool estimated;      /* counted by us */
    uint64_t input;
    uint64_t cache_read;     /* in input */
    uint64_t cache_write;    /* in input: all lifetimes */
    uint64_t cache_write_1h; /* in cache_write */
    uint64_t output;
    uint64_t reasoning;      /* in output */
    uint64_t audio_in;       /* in input; what came from the cache is left out where the provider tells */
    uint64_t audio_out;      /* in output */
    bool billed;             /* the provider charges for other numbers than went through the model (Cohere): these */
    uint64_t billed_input, billed_output;
    int64_t cost_nano;   /* in nano-dollars as the provider itself says (OpenRouter, xAI, Perplexity), or -1 */
};
#define USAGE_NONE ((struct usage){.cost_nano = -1})
/* Known, and none. */
#define NOTHING_USED ((struct usage){.known = true, .cost_nano = -1})
/* Takes over what `more` knows: later reports of a stream are cumulative, a zero does not erase a number. */
void usage_merge(struct usage *u, const struct usage *more);
/* A count as a provider gives it. false: no number of tokens, or none that can be true - believed, it would shut the
 * token limits for years. */
bool usage_count(struct json_value v, uint64_t *n);
/* Input and output; no overflow, whatever a provider says. */
uint64_t usage_total(const struct usage *u);
/* A rough count for text of n bytes where the provider gives none: about 4 bytes a token, never 0 for n > 0. */
uint64_t usage_estimate(uint64_t text_bytes);
#endif
