/* The walk of the model lists, for every dialect's own shape. Private to surface/. */
#ifndef PENSTOCK_SRC_SURFACE_MODELS_H
#define PENSTOCK_SRC_SURFACE_MODELS_H
#include "policy/price.h"
#include "policy/route.h"
#include "surface/surface.h"

/* m: the configured model, or NULL; pr and model: its first target. */
typedef bool model_fn(void *arg, struct str id, const struct conf_model *m, const struct plane_provider *pr,
                      struct str model);
/* What is meant where no model is named and the configured models, as far as this key may name them; where
 * there are none of these, what each provider's default would be.
 * Goes on while fn returns true. */
void models_each(struct plane *p, const struct caller *c, model_fn *fn, void *arg);
/* An id that no configured model has may still lead somewhere ("openai/gpt-x", claude-3-opus); that the
 * default provider would be asked for anything does not make a model of it. false: it does not, or this key
 * may not. */
bool models_loose(struct plane *p, struct arena *a, const struct caller *c, struct str id, struct plan *plan);
struct str models_default(const struct plane_provider *pr); /* its default model, or empty */
const struct price *models_price(struct plane *p, const struct plane_provider *pr, struct str model);
/* Tokens by the configuration, else by the price table; 0: unknown. */
void models_sizes(struct plane *p, const struct conf_model *m, const struct plane_provider *pr,
                  struct str model, uint64_t *window, uint64_t *most);
void models_write_price(struct jw *w,
                        const struct price *p); /* {"input", "cached_input", "output", "unit"} */

#endif
