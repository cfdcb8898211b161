/* Opaque state of a turn (signatures, redacted and encrypted reasoning, reasoning text) that the client's dialect
 * has no place for: kept under the ids of the turn's tool calls, and found again by any worker at once. Entries
 * are answers of a kind of their own in the store of the response cache: they lie in the same index, are carried
 * by the same rings, and count to cache.max_size; clearing the cache leaves them alone. Nobody but the gateway key that got the turn is given them. */
#ifndef PENSTOCK_POLICY_VAULT_H
#define PENSTOCK_POLICY_VAULT_H
#include "llm/chat.h"
#include "policy/auth.h"
#include "policy/plane.h"

bool vault_on(const struct plane *p);
/* The parts of one answer, under the id of each of its tool calls. Nothing is kept of one without calls or
 * without such state. */
void vault_keep(struct plane *p, struct arena *a, const struct caller *c, const struct message *turn);
/* Puts back what assistant messages with tool calls lack. */
void vault_restore(struct plane *p, const struct caller *c, struct chat *chat);
/* What came with a call, for a body that is not taken apart; empty when none is kept: the text of the thinking, or, with
 * an origin (NULL: none), its signatures of that origin with commas between them. */
struct str vault_reasoning(struct plane *p, struct arena *a, const struct caller *c, struct str call,
                           const char *origin);

#endif
