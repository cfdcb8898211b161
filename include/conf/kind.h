/* The row of a provider kind. The rows themselves are the table in src/upstream/provider.c; main.c hands it to
 * conf_load(), so that this room can check `kind:` and read the environment without knowing who the providers are. */
#ifndef PENSTOCK_CONF_KIND_H
#define PENSTOCK_CONF_KIND_H
#include "base/str.h"

enum auth_kind {
    AUTH_KIND_NONE,
    AUTH_KIND_BEARER,          /* Authorization: Bearer */
    AUTH_KIND_X_API_KEY,       /* x-api-key */
    AUTH_KIND_API_KEY,         /* api-key (Azure) */
    AUTH_KIND_GOOG,            /* x-goog-api-key */
    AUTH_KIND_SIGV4,           /* AWS Signature V4 by an access key, or Bearer by a plain key */
    AUTH_KIND_SERVICE_ACCOUNT, /* Google: a service account's JWT against an access token, which is kept; or Bearer */
};
/* What a provider understands: a dialect at a path. Where a client's dialect is among them its bytes go as they are;
 * else the first of the same operation is translated to. */
struct kind_endpoint {
    const char *dialect;       /* a row of the dialect table */
    const char *models;        /* comma-separated patterns of the models it is for; NULL: all */
    const char *path, *stream_path; /* NULL: the dialect's own. {model} {project} {location} {region} {api_version} */
    unsigned quirks;           /* enum quirk of dialect/dialect.h, besides the kind's */
};
struct provider_kind {
    const char *name;          /* "openai" */
    const char *alias;         /* another name clients use ("claude"), or NULL */
    const struct kind_endpoint *endpoints; /* in order of preference; ends with a row without a dialect */
    const char *base_url;      /* "" : must be configured */
    const char *version_path;  /* what base_url ends in ("/v1"): a doubled or missing one is put right; "" : the bare root */
    enum auth_kind auth;
    const char *fixed_headers; /* "anthropic-version: 2023-06-01", or "" */
    const char *pass_headers;  /* comma-separated headers of a client that go through: "http-referer,x-title"; or NULL */
    const char *answer_headers; /* those of them that change what it answers: caches tell requests apart by them */
    unsigned quirks;           /* enum quirk of dialect/dialect.h */
    const char *default_model;
    const char *env_keys;      /* comma-separated names, the first that is set wins: "ANTHROPIC_API_KEY,CLAUDE_API_KEY" */
    const char *env_url;       /* "ANTHROPIC_BASE_URL", or "" */
    const char *infer;         /* patterns of model ids that mean this kind: "gpt-*,o1*,o3*,o4*,chatgpt-*"; or "" */
    const char *price_vendor;  /* vendor in the price table, or "" */
    const char *health_path;   /* a free endpoint behind the base URL: "/models"; "" : none */
    const char *api_version;   /* what {api_version} is unless configured; or NULL */
    const char *location;      /* likewise {location} */
    bool whole_ids;            /* as an explicit default provider it takes any model id whole (openrouter) */
    bool builtin;              /* answered inside the gateway (mock) */
    bool by_choice;            /* another way to a provider that has a kind: only where a file names it */
    bool needs_key;            /* configured without a key it is refused */
};
struct provider_kinds {
    const struct provider_kind *row;
    size_t n;
};
/* Case, '-' and '_' alike, aliases too; NULL if unknown. */
const struct provider_kind *kind_find(const struct provider_kinds *k, struct str name);
bool kind_name_eq(struct str a, struct str b);
bool kind_infers(const struct provider_kind *k, struct str id); /* by its form: is the model's id one of the kind? */
#endif
