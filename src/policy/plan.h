/* How a plan is filled. Private to policy/. */
#ifndef PENSTOCK_SRC_POLICY_PLAN_H
#define PENSTOCK_SRC_POLICY_PLAN_H
#include "policy/route.h"

/* resolve.c */
/* A target for an id that no model of the configuration names. */
void plan_add_loose(struct plane *p, struct arena *a, struct plan *plan, struct plane_provider *pr,
                    struct str model);
/* A configured model's targets, as far as the hints allow. star: what a wildcard of its name matched; p NULL:
 * it has none. */
void plan_add_model(struct plane *p, struct arena *a, struct plan *plan, struct plane_model *m,
                    struct str star);
/* "provider/model" or "provider.model" with a configured provider. */
bool plan_split(struct plane *p, struct str id, struct plane_provider **pr, struct str *model);
/* Likewise, or a provider's name alone (its default model), or an id that has the form of one's models. */
bool plan_loose(struct plane *p, struct str id, struct plane_provider **pr, struct str *model);
struct str plan_default_model(const struct plane_provider *pr);
void plan_leave_out(struct plan *plan); /* what the hints exclude */
void plan_prefer(struct plan *plan);    /* what they prefer comes first */

/* fallback.c */
/* A fallback names a configured model, or what plan_loose() makes of it: never what a default provider would
 * make of it, which may be the one that failed. false: it names nothing. */
bool plan_add_name(struct plane *p, struct arena *a, struct plan *plan, struct str name);
void plan_add_fallbacks(struct plane *p, struct arena *a, struct plan *plan, enum fault_class after);
bool plan_class_listed(unsigned mask, enum fault_class after);
#endif
