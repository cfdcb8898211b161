/* The models that a key may name, for the lists in each dialect's shape. Private to surface/. */
#ifndef PENSTOCK_SRC_SURFACE_MODELS_H
#define PENSTOCK_SRC_SURFACE_MODELS_H
#include "policy/price.h"
#include "surface/surface.h"

/* m: NULL where it is a provider's default that nobody configured. false: enough. */
typedef bool model_fn(void *arg, struct str id, const struct conf_model *m, const struct plane_provider *pr,
                      struct str model);
void models_each(struct plane *p, const struct caller *c, model_fn *fn, void *arg);
/* What the price table has of it; NULL: nothing. */
const struct price *models_price(struct plane *p, const struct plane_provider *pr, struct str model);
#endif
