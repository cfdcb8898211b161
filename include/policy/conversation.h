/* Which conversation a request belongs to: a number that stays the same over its turns, whichever worker they meet. */
#ifndef PENSTOCK_POLICY_CONVERSATION_H
#define PENSTOCK_POLICY_CONVERSATION_H
#include "http/exchange.h"
#include "policy/auth.h"

struct conversation {
    uint64_t id;    /* 0: none to be seen */
    bool goes_on;   /* it is not the first turn, or it was named */
};
/* By the header x-penstock-session, `prompt_cache_key`, `metadata.user_id`, else by what it began with. */
struct conversation conversation_of(const struct exchange *x, const struct caller *c, const struct dialect *client,
                                    const struct ask *ask, struct str model);
#endif
