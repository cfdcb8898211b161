/* The table of provider kinds: one row is one kind. Configuration alone can add a provider of a known kind. */
#ifndef PENSTOCK_UPSTREAM_PROVIDER_H
#define PENSTOCK_UPSTREAM_PROVIDER_H
#include "base/arena.h"
#include "conf/kind.h"

extern const struct provider_kinds provider_table;
/* base_url with the version path put right ("https://h/v1/v1/" and "https://h" -> "https://h/v1"). */
struct str provider_base_url(struct arena *a, const struct provider_kind *k, struct str configured);
#endif
