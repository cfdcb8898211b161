/* The table of provider kinds: one row is one kind. Configuration alone can add a provider of a known kind. */
#ifndef PENSTOCK_UPSTREAM_PROVIDER_H
#define PENSTOCK_UPSTREAM_PROVIDER_H
#include "base/str.h"
#include "dialect/dialect.h"

enum auth_kind { AUTH_KIND_NONE, AUTH_KIND_BEARER, AUTH_KIND_X_API_KEY };
struct provider_kind {
    const char *name;          /* "openai" */
    const char *alias;         /* another name clients use ("claude"), or NULL */
    const struct dialect *dialect;
    const char *base_url;      /* "" : must be configured */
    const char *version_path;  /* what base_url ends in ("/v1"): a doubled or missing one is put right; "" : the bare root */
    enum auth_kind auth;
    struct str fixed_headers;  /* "anthropic-version: 2023-06-01", or empty */
    unsigned quirks;
    const char *default_model;
    const char *env_keys;      /* comma-separated names, first wins: "ANTHROPIC_API_KEY,CLAUDE_API_KEY" */
    const char *env_url;       /* "ANTHROPIC_BASE_URL" */
    const char *infer;         /* patterns of model ids that mean this kind: "gpt-*,o1*,o3*,o4*,chatgpt-*" */
    const char *price_vendor;  /* vendor name in the price table, or NULL */
    const char *health_path;   /* a free endpoint: "/models"; NULL: none */
    bool builtin;              /* answered inside the gateway (mock) */
};
extern const struct provider_kind provider_kinds[];
extern const size_t provider_kinds_n;
const struct provider_kind *provider_kind(struct str name); /* case and -/_ alike, aliases too; NULL if unknown */
/* base_url with the version path put right ("https://h/v1/v1/" and "https://h" -> "https://h/v1"). */
struct str provider_base_url(struct arena *a, const struct provider_kind *k, struct str configured);
#endif
