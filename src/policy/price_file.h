/* The table of prices, for those who fill it, and the files that are laid over it. Private to policy/. */
#ifndef PENSTOCK_SRC_POLICY_PRICE_FILE_H
#define PENSTOCK_SRC_POLICY_PRICE_FILE_H
#include "policy/price.h"

/* Names as genai-prices matches them. */
struct price_pattern {
    struct price_pattern *next;
    struct str vendor, text;
    enum { PATTERN_STARTS, PATTERN_ENDS, PATTERN_CONTAINS } kind;
    struct price price;
};
bool price_pattern_is(const struct price_pattern *p, struct str model);

struct price_entry {
    struct str vendor, model;
    struct price price;
};
struct price_table {
    struct arena *arena;
    struct price_entry *slot; /* open addressing by the model's hash; a power of two, at most half full */
    size_t mask, used;
    struct price_pattern *patterns, **last;
};
void price_put(struct price_table *t, struct str vendor, struct str model, const struct price *p);
/* LiteLLM's price map (an object) or genai-prices' data.json (an array). false and err. */
bool price_file_read(struct price_table *t, const char *path, char err[256]);
#endif
