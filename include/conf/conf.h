/* The configuration, immutable once loaded. A worker's never changes: a reload makes a new one and new workers.
 * Loaded by the master (and by -t, -T); read by everybody after the fork. Durations are ms, sizes bytes, money
 * nano-dollars. Strings are NUL-terminated, never NULL where not said; they live in conf->arena.
 * Which option fills which member, its type, range, default and help: the table in src/conf/schema.c. */
#ifndef PENSTOCK_CONF_CONF_H
#define PENSTOCK_CONF_CONF_H
#include "base/arena.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/net.h"
#include "base/str.h"
#include "conf/kind.h"
#include "llm/fault.h"

#define CONF_NO_LIMIT UINT64_MAX /* of a rate or a gauge: not limited */
#define CONF_LIMIT_MOST UINT64_C(1000000000000000)

struct conf_secret {
    const char *text;   /* never NULL; empty: none. Wiped by conf_free */
    const char *source; /* "env:NAME", "file:/path", "value": for messages and -T, never the secret */
};
struct conf_where { /* for errors found after parsing */
    const char *file;
    unsigned line, column;
};
/* The rates that every layer has: X(option), those of shm/bucket.h in its order. */
#define CONF_RATES(X)                                                                                                \
    X(requests_per_minute) X(requests_per_hour) X(requests_per_day)                                                  \
    X(tokens_per_minute) X(tokens_per_hour) X(tokens_per_day)                                                        \
    X(input_tokens_per_minute) X(input_tokens_per_hour) X(input_tokens_per_day)                                      \
    X(output_tokens_per_minute) X(output_tokens_per_hour) X(output_tokens_per_day)
enum { CONF_RATES_N = 12 };
struct conf_rates { /* CONF_NO_LIMIT when not set */
    union {
        struct {
#define X(option) uint64_t option;
            CONF_RATES(X)
#undef X
        };
        uint64_t rate[CONF_RATES_N];
    };
    uint64_t concurrent;
};
static inline bool conf_rates_any(const struct conf_rates *r) {
    bool any = r->concurrent != CONF_NO_LIMIT;
    for (int i = 0; i < CONF_RATES_N; i++)
        any = any || r->rate[i] != CONF_NO_LIMIT;
    return any;
}

enum conf_period { PERIOD_HOUR, PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH, PERIOD_TOTAL, CONF_PERIODS }; /* UTC; weeks begin on Mondays */
enum { CONF_MAX_ALERTS = 8 };
struct conf_budget {
    int64_t nano;             /* nano-dollars; -1: none */
    enum conf_period period;
    const char **alert;       /* as written: parts of it, "0.8" */
    size_t nalerts;
    int64_t alert_nano[CONF_MAX_ALERTS]; /* the same in nano-dollars, ascending */
};
const char *conf_period_name(enum conf_period period); /* "month" */
#define CONF_BUDGET_MOST 1000000000 /* dollars */
/* alert_nano of alert; false: one of them is no part of the budget (above 0 up to 1), or there are too many. */
bool conf_budget_alerts(struct conf_budget *b);
/* How many budgets of models may be spent from by what is asked of one provider's model. */
enum { CONF_MAX_MODEL_BUDGETS = 5 };

struct conf_tls { /* a listener's: contents, read at load (the master may read files that workers may not) */
    const char *certificate_file, *key_file, *client_ca_file; /* empty: none */
    struct str certificate, key, client_ca;                   /* PEM; key is wiped by conf_free */
};
#define CONF_SURFACES "native admin metrics s0 s1 s2 s3 s4 ui" /* by bit */
enum conf_surface { /* S0 to S4: those of earlier gateways, surfaces of their own */
    SURFACE_NATIVE = 1,
    SURFACE_ADMIN = 2,
    SURFACE_METRICS = 4,
    SURFACE_S0 = 8,
    SURFACE_S1 = 16,
    SURFACE_S2 = 32,
    SURFACE_S3 = 64,
    SURFACE_S4 = 128,
    SURFACE_UI = 256,
    SURFACE_ALL = 0xffffffff,
};
struct conf_listen {
    const char *address;    /* as written */
    bool is_unix;
    const char *path;       /* unix: */
    const char *host;       /* numeric, "" is any */
    uint16_t port;
    unsigned mode;          /* unix: permissions, 0660 by default */
    const char *group;      /* unix: of the socket, or "" */
    struct conf_tls tls;
    bool has_tls;
    unsigned surfaces;
    bool loopback;          /* only this machine can reach it */
};

struct conf_key { /* a provider's key: one of the secret, an AWS access key, a Google service account */
    struct conf_secret secret;
    struct conf_secret access_key_id, secret_access_key, session_token; /* AUTH_KIND_SIGV4 */
    struct conf_secret service_account; /* AUTH_KIND_SERVICE_ACCOUNT: the JSON text of its file */
    unsigned weight;        /* 1.. */
    const char *id;         /* "openai/0": provider and position, or as named; for shm names and records */
    struct conf_rates limits; /* keys[].limits */
};
struct conf_retry {
    unsigned max;           /* further attempts after the first */
    uint64_t initial_backoff, max_backoff;
    double factor, jitter;  /* a delay is backoff * (1 - jitter * random) */
    bool honour_retry_after;
};
struct conf_breaker {
    unsigned consecutive_failures;
    double error_rate;
    uint64_t window;
    unsigned min_requests;
    uint64_t open_for, max_open_for;
    unsigned half_open_probes;
};
enum conf_http2 { HTTP2_AUTO, HTTP2_ON, HTTP2_OFF };
struct conf_pair {
    const char *name, *value;
};
enum {
    CONF_MAX_WORKERS = 128, /* two generations of them have slots in shared memory */
    CONF_MAX_KEYS = 64,     /* of a provider: those that were tried are a mask */
    CONF_MAX_PATTERNS = 32  /* of log.mask */
};

struct conf_provider {
    const char *name;
    const struct provider_kind *kind;
    bool enabled;
    const char *base_url;     /* "" : the kind's own */
    const char *default_model;/* "" : the kind's own */
    const char *organization;
    unsigned auth; /* 0: the kind's; else 1 + enum auth_kind: conf_auth_of() */
    const char *api_version, *region, *project, *location; /* what {these} stand for in URLs; "" : none */
    struct conf_key *keys;
    size_t nkeys;
    struct conf_pair *headers;
    size_t nheaders;
    struct conf_rates limits;
    struct conf_budget budget;
    uint64_t connect, first_byte, idle, total; /* timeouts */
    struct conf_retry retry;
    struct conf_breaker breaker;
    uint64_t health_every;    /* 0: no active checks */
    const char *health_path;
    enum conf_http2 http2;
    const char *proxy;
    struct {
        const char *ca, *client_certificate, *client_key; /* files, or "" */
        bool verify;
    } tls;
    bool from_environment;
    struct conf_where where;
};

enum conf_strategy {
    STRATEGY_FALLBACK,    /* in the order that is written */
    STRATEGY_WEIGHTED,
    STRATEGY_ROUND_ROBIN, /* exact over all workers */
    STRATEGY_HEALTH,      /* best score first */
    STRATEGY_COST,        /* what this request is expected to cost, lowest first */
    STRATEGY_LATENCY,     /* the faster of two that are drawn, by peak EWMA */
    STRATEGY_LEAST_BUSY,  /* fewest requests in flight */
};
/* Decimals without a sign or an exponent: "12", "0.50". */
bool value_real(struct str s, double *out);
bool value_nano(struct str s, int64_t *out); /* dollars */

const char *conf_strategy_name(enum conf_strategy s);
unsigned conf_surface_of(struct str name); /* one of enum conf_surface, without regard to case; 0: none */
bool conf_strategy_of(struct str name, enum conf_strategy *out); /* case and -/_ alike */
enum log_content { LOG_CONTENT_OFF, LOG_CONTENT_MASKED, LOG_CONTENT_FULL };
enum conf_unsupported { UNSUPPORTED_REJECT, UNSUPPORTED_DROP, UNSUPPORTED_PASS };
struct conf_prices { /* nano-dollars per million tokens; -1: not said */
    int64_t input, cached_input, cache_write, output, reasoning, audio_in, audio_out;
};
struct conf_target {
    const char *provider;     /* name; checked to exist */
    size_t provider_index;    /* into conf->providers */
    const char *model;
    unsigned weight;
    const char **tags;
    size_t ntags;
};
struct conf_model {
    const char *name;
    const char *display_name;
    const char **capabilities; /* words for people and programs; none: not said */
    size_t ncapabilities;
    uint64_t context_window, max_output; /* 0: by the price table */
    struct conf_target *targets;
    size_t ntargets;
    enum conf_strategy strategy;
    enum conf_unsupported on_unsupported;
    const char **fallbacks;   /* model names, or provider/model */
    size_t nfallbacks;
    unsigned fallback_on;     /* mask of 1 << fault_class; as configured, aliases by fault_matches() */
    struct conf_prices prices;
    struct conf_rates limits;
    struct conf_budget budget;
    double cache_threshold;   /* 0: cache.semantic.threshold */
    struct conf_where where;
};
struct conf_task {            /* what a request that names no model, but what it is for, is served by */
    const char *name;
    const char **models;      /* the first, and its fallbacks */
    size_t nmodels;
};
struct conf_fallback_rule {
    const char *model;
    const char **fallbacks;
    size_t nfallbacks;
    unsigned fallback_on;     /* mask of 1 << fault_class */
};

struct conf_endpoint_limits {
    const char *endpoint;     /* name of a surface ("embeddings"), or a path with '*' */
    struct conf_rates limits;
};
struct conf_tenant {
    const char *id;
    struct conf_rates limits;
    struct conf_budget budget;
};

struct conf_redis { /* the server that the hosts of a cluster share */
    const char *url;          /* as written, but for its password; "": none */
    const char *host;         /* "": unix: */
    const char *path;         /* unix: */
    uint16_t port;
    bool tls;
    unsigned db;
    const char *user;         /* "": the default user */
    struct conf_secret password;
    const char **addresses;   /* "host:port": asked when the first is not there, or not the primary */
    size_t naddresses;
    const char *prefix;
    const char *ca, *client_certificate, *client_key; /* files, or "" */
    bool verify;
};

struct conf_embedder {
    enum { EMBEDDER_LEXICAL } builtin;
    const char *provider;     /* "": the built-in one; else its name, checked to exist and to be enabled */
    const char *model;
};

enum { CONF_WEIGHT_MOST = 10000 };
enum conf_permission { PERM_COMPLETION = 1, PERM_EMBEDDING = 2, PERM_ADMIN = 4 };
struct conf_gateway_key {
    const char *id;
    uint8_t hash[32];         /* SHA-256 of the key; a plain key is hashed at load and wiped */
    const char *owner, *tenant;
    const char **tenants; /* that its requests may name in place of it */
    size_t ntenants;
    unsigned permissions;
    const char **models;      /* patterns with '*'; none: all */
    size_t nmodels;
    const char **endpoints;   /* names of surfaces ("chat") or paths, patterns with '*'; none: all */
    size_t nendpoints;
    const char **addresses;   /* whence it may be used; none: anywhere */
    size_t naddresses;
    struct net *nets;         /* those, parsed */
    unsigned weight;          /* its share of the queue, 1 to CONF_WEIGHT_MOST */
    struct conf_rates limits; /* default_limits filled in */
    struct conf_budget budget;
    int64_t expires;          /* wall ms; 0: never */
    const char *source;       /* "hash", or where the plain key came from: "env:NAME", "file:/path", "value" */
};
enum conf_auth { AUTH_KEYS, AUTH_NONE, AUTH_JWT, AUTH_KEYS_JWT };

struct conf {
    struct arena *arena;
    const char *file;         /* "" when there is none */
    unsigned generation;      /* set by the master */
    int64_t loaded_ms;

    struct conf_listen *listen; /* admin_listen too, as the last */
    size_t nlisten;
    struct conf_listen *admin_listen; /* that one, while loading; read `listen` */
    size_t nadmin_listen;
    const char *user, *group; /* "" : do not change */
    unsigned workers;         /* "auto" resolved: cores */
    const char *state_dir, *pid_file;
    uint64_t drain_timeout;
    uint64_t stop_timeout;    /* TERM and INT */

    struct conf_rates limits; /* of the whole gateway */
    struct {
        uint64_t max_wait, max_depth; /* max_wait 0: nobody waits */
    } queue;
    struct conf_endpoint_limits *endpoint_limits;
    size_t nendpoint_limits;
    struct conf_tenant *tenants;
    size_t ntenants;
    uint64_t max_connections; /* per worker */
    uint64_t max_request_body, max_upload, max_response_body, header_timeout, body_rate, idle_timeout;

    struct conf_provider *providers;
    size_t nproviders;
    struct conf_model *models;
    size_t nmodels;
    struct conf_fallback_rule *fallback_rules;
    size_t nfallback_rules;
    struct {
        bool fallback;
        const char *default_model;
        enum conf_strategy default_strategy;
        const char *default_provider; /* "" : none said */
        bool default_provider_said;   /* explicitly, by file or environment */
        bool infer_provider;
        bool affinity;       /* a conversation goes where its prompt is cached already */
        double retry_budget; /* retries, as a share of all requests */
        struct {
            bool enabled;
            enum conf_hedge { HEDGE_P50, HEDGE_P90, HEDGE_P95, HEDGE_P99 } after; /* of the times to the first byte */
            double budget;                                                        /* hedges, likewise */
        } hedge;
        struct conf_task *tasks;
        size_t ntasks;
    } routing;

    struct {
        enum conf_auth mode;
        bool said;            /* mode was given in words */
        struct conf_gateway_key *keys;
        size_t nkeys;
        struct conf_rates default_limits; /* of every key that sets none, and of the anonymous caller */
        struct conf_rates user_limits;    /* of each user that a request names */
        unsigned open_surfaces;           /* mask of enum conf_surface: no key is needed there */
        struct { /* policy/jwt.h */
            unsigned algorithms;      /* mask of 1 << enum jwt_alg */
            struct conf_secret secret;
            const char **key_files;   /* PEM */
            size_t nkey_files;
            struct str *keys;         /* their contents */
            const char *jwks_file;    /* "" : none */
            const char *jwks_url;     /* "" : none */
            uint64_t jwks_every;
            struct str jwks;          /* its content; may hold secrets: wiped by conf_free */
            const char *issuer, *audience, *role_claim, *tenant_claim; /* "" : any, none */
            uint64_t leeway;
            unsigned permissions;     /* of every token that is valid */
            const char **admin_roles; /* those that may do everything */
            size_t nadmin_roles;
        } jwt;
    } auth;

    struct { /* for programs in browsers; origins: "*", or as browsers send them; none: off */
        const char **origins, **methods, **headers, **expose; /* expose: names, with '*' */
        size_t norigins, nmethods, nheaders, nexpose;
        uint64_t max_age;
    } cors;
    struct {
        bool enabled;
        uint64_t ttl, max_size, max_entry;
        enum { CACHE_SCOPE_KEY, CACHE_SCOPE_TENANT, CACHE_SCOPE_GLOBAL } scope;
        bool only_deterministic, stream, coalesce;
        struct {
            bool enabled;
            double threshold;
            struct conf_embedder *embedder; /* at most one; none: lexical */
            size_t nembedder;
            uint64_t timeout, max_entries;
        } semantic;
    } cache;

    struct {
        uint64_t ttl; /* 0: off */
    } vault;

    struct {
        struct conf_redis *redis; /* at most one */
        size_t nredis;
        uint64_t timeout, export; /* export 0: none */
        bool exact, cache;
    } cluster;

    struct {
        bool enabled;
    } ui;

    const char *prices_file;
    struct {
        const char *endpoint; /* "" : none */
        struct conf_pair *headers;
        size_t nheaders;
        double sample;
        uint64_t metrics_every;
    } telemetry;
    struct { /* 0: not watched */
        double error_rate, cost_per_hour;
        uint64_t latency, window, min_requests, disk;
        const char *webhook; /* "" : none */
        struct conf_secret secret;
    } alerts;
    struct {
        enum log_level level;
        const char *target;
        enum log_format format;
        bool access;
        uint64_t retention, max_size; /* of the log store */
        enum log_content content;
        uint64_t truncate; /* bytes of a prompt, of an answer */
        struct {
            bool email, phone, address, card, ip, secret;
            const char **patterns; /* that compile (base/pattern.h) */
            size_t npatterns;
        } mask;
    } log;

    const char **warnings; /* what is odd but no error; conf_load has logged them */
    size_t nwarnings;
    struct conf_index *index; /* of conf_model() */
};

struct conf_error {
    char text[512]; /* "penstock.yaml:12:5: providers[0].kind: ..." */
};
struct conf_errors { /* all of them, at most CONF_MAX_ERRORS; arena of their own */
    struct arena *arena;
    struct conf_error *list;
    size_t n;
    bool truncated;
};
#define CONF_MAX_ERRORS 100

struct conf_source {
    const struct provider_kinds *kinds;
    const char *file;      /* NULL: the default path, which may be absent */
    bool file_required;    /* -c was given */
    const char *env_file;  /* --env-file, or NULL; ".env" is tried as configuration.md says when foreground */
    bool foreground;
};
/* NULL: this host is alone. */
static inline const struct conf_redis *conf_cluster(const struct conf *c) {
    return c->cluster.nredis && *c->cluster.redis->url ? c->cluster.redis : NULL;
}
/* Parses, checks, reads secrets. NULL and *errors (conf_errors_free) when anything is wrong. `warnings` are logged. */
struct conf *conf_load(const struct conf_source *src, struct conf_errors *errors);
/* The same of one text that includes nothing and reads no secret file: for tests and fuzzing. */
struct conf *conf_load_text(const struct provider_kinds *kinds, const char *file, struct str text,
                            struct conf_errors *errors);
void conf_free(struct conf *c); /* wipes secrets */
void conf_errors_free(struct conf_errors *e);

/* -T: the whole running configuration as YAML, defaults included, secrets redacted. */
void conf_dump_yaml(const struct conf *c, struct buf *out);
/* The same as a JSON object: GET /admin/v1/config. */
void conf_dump_json(const struct conf *c, struct buf *out);

/* An address as in listen[].address: what it says of `out`; texts in the arena. false and *why. No name is looked up. */
bool address_parse(struct arena *a, struct str text, struct conf_listen *out, const char **why);
/* The section OPTIONS of penstock.yaml(5) in mdoc, and the commented example: docs follow from the table. */
void conf_doc_mdoc(struct buf *out);
void conf_doc_example(struct buf *out);

static inline enum auth_kind conf_auth_of(const struct conf_provider *p) {
    return p->auth ? (enum auth_kind)(p->auth - 1) : p->kind->auth;
}
/* Case and -/_ alike. A provider's own name comes before its kind's alias; of several with that alias the first
 * enabled one is meant, as when requests are routed. */
const struct conf_provider *conf_provider(const struct conf *c, struct str name);
const struct conf_model *conf_model(const struct conf *c, struct str name); /* exact; hashed */
#endif
