/* What the models of Claude take, by their names, wherever they are asked: "claude-sonnet-4-5-20250929", or
 * with a region and a vendor in front and a version behind. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_CLAUDE_H
#define PENSTOCK_SRC_DIALECT_CLAUDE_H
#include "llm/chat.h"

/* A tool is demanded, which is refused together with a budget. */
bool claude_is_forced(const struct chat *c);
/* Models before Claude 4.6 know no adaptive thinking and want a budget. */
bool claude_wants_budget(struct str model);
/* Since Opus 4.7 any value is refused, be it the default. */
bool claude_takes_sampling(struct str model);
/* Since 4.1 only one of temperature and top_p is taken. */
bool claude_takes_both(struct str model);
/* Tokens for an effort; 0: no such effort. */
uint64_t claude_budget(struct str effort);
#endif
