/* How a budget is shown, in whatever answer. */
#ifndef PENSTOCK_SRC_SURFACE_BUDGETS_H
#define PENSTOCK_SRC_SURFACE_BUDGETS_H
#include "policy/budget.h"
#include "surface/surface.h"

void budgets_write(struct jw *w, struct plane *p, const struct budget *b, int64_t now_wall_ms);
#endif
