/* The table of provider kinds: one row is one kind. Configuration alone can add a provider of a known kind. */
#ifndef PENSTOCK_UPSTREAM_PROVIDER_H
#define PENSTOCK_UPSTREAM_PROVIDER_H
#include "base/arena.h"
#include "conf/conf.h"
#include "conf/kind.h"

extern const struct provider_kinds provider_table;
/* A path of an endpoint with its {variables} filled in, percent-encoded, but {rest} as it is; NUL-terminated. "/"
 * when a name is thousands of bytes long. */
const char *provider_path(struct arena *a, const struct conf_provider *p, const char *path, struct str model,
                          struct str rest);
/* The base URL of a configured provider, with its {region} and {location}. */
struct str provider_base(struct arena *a, const struct conf_provider *p);
/* base_url with the version path put right ("https://h/v1/v1/" and "https://h" -> "https://h/v1"). */
struct str provider_base_url(struct arena *a, const struct provider_kind *k, struct str configured);
#endif
