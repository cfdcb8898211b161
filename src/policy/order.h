/* The order in which the own targets of a plan are tried. Private to policy/. */
#ifndef PENSTOCK_SRC_POLICY_ORDER_H
#define PENSTOCK_SRC_POLICY_ORDER_H
#include "policy/route.h"

/* By the strategy. dry: nothing is drawn and no turn is taken, for those who only look. */
void order_targets(struct plane *p, struct plan *plan, enum conf_strategy strategy, bool dry);
/* What makes a target better or worse under a strategy: less is better. Infinite: unknown, last. */
double order_weight(struct plane *p, const struct plan *plan, const struct target *t, enum conf_strategy s);
#endif
