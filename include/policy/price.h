/* What tokens cost: nano-dollars, integers only. The built-in table, a file (LiteLLM's price map,
 * or genai-prices' data.json) over it, and a model's own `prices:` over both. No price known is said as -1, never as 0. */
#ifndef PENSTOCK_POLICY_PRICE_H
#define PENSTOCK_POLICY_PRICE_H
#include "base/json.h"
#include "conf/conf.h"
#include "llm/usage.h"

struct price { /* nano-dollars per million tokens; -1 unknown (then `input` or `output` stands in) */
    int64_t input, cached_input, cache_write, output, reasoning, audio_in, audio_out;
    uint64_t tier_start; /* more input than this: the tier's prices for ALL tokens; 0: no tier */
    int64_t tier_input, tier_cached_input, tier_cache_write, tier_output;
    uint64_t context, max_output; /* tokens; 0 unknown */
};
struct price_table;
/* file: "" for the built-in table alone. NULL and err when the file does not parse. */
struct price_table *price_table_new(const char *file, char err[256]);
void price_table_free(struct price_table *t);
/* By vendor ("openai"; may be empty) and model id: exact, else without a vendor prefix ("openai/"), a
 * ":suffix", a date or "-latest" at its end, and without what clouds put around it: "us.anthropic." and "-v1:0"
 * (Bedrock), "@20251001" (Vertex). NULL if unknown. */
const struct price *price_find(const struct price_table *t, struct str vendor, struct str model);
/* A model's own prices laid over p (either may be NULL). false when nothing is known. */
bool price_merge(const struct price *p, const struct conf_prices *own, struct price *out);
/* Exact, 128-bit inside, rounded half up to the nano-dollar. -1 without a price. Parts never cost more often than
 * their whole was used: what a provider counts in two of them is paid once. */
int64_t price_cost(const struct price *p, const struct usage *u);
/* What an answer costs: as the provider itself says, else by its model's price (own may be NULL). -1: unknown. */
int64_t price_bill(const struct price_table *t, struct str vendor, struct str model, const struct conf_prices *own,
                   const struct usage *u);
/* The same, and the price it was made with: of none, where the provider says itself or nothing is known. */
int64_t price_charge(const struct price_table *t, struct str vendor, struct str model, const struct conf_prices *own,
                     const struct usage *u, struct price *by);
/* What a price is called in the ledger: a hash of it; 0 of none. */
uint64_t price_version(const struct price *p);
void price_write(struct jw *w, const struct price *p); /* an object, nano-dollars per million tokens */
/* The input's and the output's part of a bill; -1: not known. */
void price_parts(const struct price_table *t, struct str vendor, struct str model, const struct conf_prices *own,
                 const struct usage *u, int64_t bill, int64_t *input, int64_t *output);
#endif
