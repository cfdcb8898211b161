/* What a request itself says about where it should go: the JSON object `routing` of its body or of the header
 * x-penstock-routing. Read strictly: an unknown name or a wrong type is the caller's mistake, and told. */
#ifndef PENSTOCK_POLICY_HINTS_H
#define PENSTOCK_POLICY_HINTS_H
#include "conf/conf.h"
#include "dialect/dialect.h"
#include "llm/fault.h"

enum { HINTS_MAX = 16 /* of each list */, HINT_TEXT_MAX = 256, HINT_TAG_MAX = 64 };
struct hint_list {
    struct str at[HINTS_MAX];
    size_t n;
};
enum cache_mode { CACHE_MODE_DEFAULT, CACHE_MODE_OFF, CACHE_MODE_EXACT, CACHE_MODE_SEMANTIC };
struct hints {
    bool strategy_said;
    enum conf_strategy strategy;
    struct hint_list preferred, excluded; /* names of providers */
    struct hint_list fallbacks;           /* names of models; in place of the configured ones */
    bool fallbacks_said;
    struct hint_list tags;
    struct str provider;   /* the request names one: it is asked first, and the model is sought there; never in the JSON */
    bool alone;            /* and nobody else is; by the gateway itself, which asks an open breaker's, too */
    struct str task;       /* of routing.tasks: stands in for a missing model */
    bool known_model;      /* as in struct ask */
    int64_t max_cost_nano; /* -1: not said */
    uint64_t timeout_ms;   /* of all attempts; 0: not said */
    struct {
        enum cache_mode mode;
        uint64_t ttl_ms;   /* 0: not said */
        double similarity; /* 0: not said */
    } cache;
};
#define HINTS_NONE ((struct hints){.max_cost_nano = -1})
/* `routing`: the object's bytes, checked JSON; empty: none. Texts lie in the arena or in them. false and *f. */
bool hints_read(struct arena *a, struct str routing, struct hints *out, struct fault *f);
/* The header x-penstock-routing, if there is one (p not NULL): its hints come in place of the body's. */
bool hints_header(struct arena *a, struct str header, struct ask *ask, struct fault *f);
/* All that a request says of it: `routing`, and what members of the body say besides (struct ask). */
bool hints_of(struct arena *a, const struct ask *ask, struct hints *out, struct fault *f);
#endif
