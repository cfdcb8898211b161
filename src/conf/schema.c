/* THE table of options: a row each. What is not here cannot be set, and what is here is checked, dumped and
 * documented. AT() refuses at compile time a member whose type is not the row's. */
#include "schema.h"

#define AT(S, m, T) (offsetof(struct S, m) + 0 * sizeof(_Generic(&((struct S *)0)->m, T * : 1)))

typedef uint8_t hash_bytes[32];

#define BOOL(p, S, m)   .path = p, .type = TYPE_BOOL, .offset = AT(S, m, bool)
#define NUMBER(p, S, m) .path = p, .type = TYPE_NUMBER, .offset = AT(S, m, unsigned)
#define COUNT(p, S, m)  .path = p, .type = TYPE_COUNT, .offset = AT(S, m, uint64_t)
#define RATE(p, S, m)   .path = p, .type = TYPE_RATE, .offset = AT(S, m, uint64_t), .min = 1, .def = "none"
/* What every layer can be limited to: `at` in front of the names, `whose` behind the help. */
#define RATE_ROW(at, S, m, name, env_, example_, shown_, help_)                                              \
    { RATE(at #name, S, m.name), .env = env_, .example = example_, .shown = shown_, .help = help_ "." }
#define RATE_ROWS(at, S, m, whose, shown_, env_requests, env_tokens)                                         \
    RATE_ROW(at, S, m, requests_per_minute, env_requests, NULL, shown_, "Requests a minute" whose),          \
        RATE_ROW(at, S, m, requests_per_hour, NULL, "-", shown_, "Requests an hour" whose),                  \
        RATE_ROW(at, S, m, requests_per_day, NULL, "-", shown_, "Requests a day" whose),                     \
        RATE_ROW(at, S, m, tokens_per_minute, env_tokens, NULL, shown_,                                      \
                 "Tokens a minute" whose ", of prompts and answers together"),                               \
        RATE_ROW(at, S, m, tokens_per_hour, NULL, "-", shown_, "Tokens an hour" whose),                      \
        RATE_ROW(at, S, m, tokens_per_day, NULL, "-", shown_, "Tokens a day" whose),                         \
        RATE_ROW(at, S, m, input_tokens_per_minute, NULL, "-", shown_, "Tokens of prompts a minute" whose),  \
        RATE_ROW(at, S, m, input_tokens_per_hour, NULL, "-", shown_, "Tokens of prompts an hour" whose),     \
        RATE_ROW(at, S, m, input_tokens_per_day, NULL, "-", shown_, "Tokens of prompts a day" whose),        \
        RATE_ROW(at, S, m, output_tokens_per_minute, NULL, "-", shown_, "Tokens of answers a minute" whose), \
        RATE_ROW(at, S, m, output_tokens_per_hour, NULL, "-", shown_, "Tokens of answers an hour" whose),    \
        RATE_ROW(at, S, m, output_tokens_per_day, NULL, "-", shown_, "Tokens of answers a day" whose),       \
        RATE_ROW(at, S, m, concurrent, NULL, NULL, shown_, "Requests at the same time" whose)
#define BUDGET_ROWS(S, whose)                                                                                \
    {.path = "budget.usd",                                                                                   \
     .type = TYPE_MONEY,                                                                                     \
     .offset = AT(S, budget.nano, int64_t),                                                                  \
     .max = CONF_BUDGET_MOST,                                                                                \
     .shown = "none",                                                                                        \
     .example = "100",                                                                                       \
     .help = "Dollars that may be spent " whose " in a period."},                                            \
        {CHOICE("budget.period", S, budget.period), .def = "month", .words = "hour day week month total",    \
         .help = "In UTC; a week begins on Monday, total never begins anew."},                               \
    {                                                                                                        \
        TEXTS("budget.alert", S, budget.alert, budget.nalerts),                                              \
            .def = "0.8", .help = "An alert is logged when such parts of it are spent, once in a period."    \
    }
#define DURATION(p, S, m)  .path = p, .type = TYPE_DURATION, .offset = AT(S, m, uint64_t)
#define SIZE(p, S, m)      .path = p, .type = TYPE_SIZE, .offset = AT(S, m, uint64_t)
#define REAL(p, S, m)      .path = p, .type = TYPE_REAL, .offset = AT(S, m, double)
#define PRICE(p, S, m)     .path = p, .type = TYPE_PRICE, .offset = AT(S, m, int64_t), .max = 1000000
#define STRING(t, p, S, m) .path = p, .type = t, .offset = AT(S, m, const char *)
#define CHOICE(p, S, m)    .path = p, .type = TYPE_CHOICE, .offset = AT(S, m, unsigned)
#define FLAGS(p, S, m)     .path = p, .type = TYPE_FLAGS, .offset = AT(S, m, unsigned)
#define FAULTS(p, S, m)    .path = p, .type = TYPE_FAULTS, .offset = AT(S, m, unsigned)
#define TEXTS(p, S, m, n)                                                                                    \
    .path = p, .type = TYPE_TEXTS, .offset = AT(S, m, const char **), .count = AT(S, n, size_t)
#define LIST(p, S, m, n, sub, T)                                                                             \
    .path = p, .type = TYPE_LIST, .offset = AT(S, m, struct T *), .count = AT(S, n, size_t), .table = &(sub)
#define SECTION(title, about)                                                                                \
    { .path = title, .type = TYPE_SECTION, .help = about }
#define TABLE(rows) .row = (rows), .n = sizeof(rows) / sizeof(rows)[0]

#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define KIB    UINT64_C(1024)
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)

#define FALLBACK_ON                                                                                          \
    "rate_limit_exceeded server_error timeout connection model_not_found context_length_exceeded"

/* ---- listen[] and admin_listen ---- */

#define LISTEN_ROWS(default_surfaces)                                                                        \
    {STRING(TYPE_TEXT, "address", conf_listen, address),                                                     \
     .min = 1,                                                                                               \
     .max = 200,                                                                                             \
     .required = true,                                                                                       \
     .example = "127.0.0.1:8080",                                                                            \
     .help = "127.0.0.1:8080, [::1]:8080, localhost:8080, *:8080 (all addresses) or unix:/path."},           \
        {.path = "mode",                                                                                     \
         .type = TYPE_MODE,                                                                                  \
         .offset = AT(conf_listen, mode, unsigned),                                                          \
         .def = "0660",                                                                                      \
         .max = 0777,                                                                                        \
         .help = "Permissions of a unix: socket, in octal."},                                                \
        {STRING(TYPE_TEXT, "group", conf_listen, group), .max = 64, .help = "Group of a unix: socket."},     \
        {STRING(TYPE_PATH, "tls.certificate", conf_listen, tls.certificate_file), .example = "-",            \
         .help = "Certificate chain in PEM; with it the address speaks TLS. Read again at a reload."},       \
        {STRING(TYPE_PATH, "tls.key", conf_listen, tls.key_file), .example = "-",                            \
         .help = "The certificate's private key in PEM."},                                                   \
        {STRING(TYPE_PATH, "tls.client_ca", conf_listen, tls.client_ca_file), .example = "-",                \
         .help = "Certificates of authorities in PEM: clients must show a certificate that one of them "     \
                 "signed."},                                                                                 \
    {                                                                                                        \
        FLAGS("surfaces", conf_listen, surfaces), .def = default_surfaces, .words = CONF_SURFACES " all",    \
                                                  .help = "What is served here: all, or some of native, "    \
                                                          "admin, metrics, ui (the web page), and s0 to "    \
                                                          "s4, the paths of earlier gateways."               \
    }

static const struct option listen_rows[] = {LISTEN_ROWS("all")};
static const struct option admin_listen_rows[] = {LISTEN_ROWS("admin")};
static const struct table listen_options = {TABLE(listen_rows),     .size = sizeof(struct conf_listen),
                                            .title = "listen[]",    .scalar = "address",
                                            .single = true,         .start = start_listen,
                                            .finish = finish_listen};
static const struct table admin_listen_options = {
    TABLE(admin_listen_rows), .size = sizeof(struct conf_listen),
    .title = "listen[]",      .scalar = "address",
    .single = true,           .start = start_listen,
    .finish = finish_listen};

/* ---- providers[] ---- */

static const struct option provider_key_rows[] = {
    {.path = "env",
     .type = TYPE_SOURCE,
     .example = "OPENAI_API_KEY",
     .help = "The key is the value of this variable of the environment."},
    {.path = "file",
     .type = TYPE_SOURCE,
     .example = "-",
     .help = "The key is the content of this file, without the line end behind it. Read again at a reload."},
    {.path = "value",
     .type = TYPE_SOURCE,
     .example = "-",
     .help = "The key itself. A plain text means the same."},
    {.path = "access_key_id",
     .type = TYPE_SECRET,
     .offset = AT(conf_key, access_key_id, struct conf_secret),
     .example = "-",
     .help = "bedrock: id of an AWS access key, a text or {env:}, {file:} or {value:}."},
    {.path = "secret_access_key",
     .type = TYPE_SECRET,
     .offset = AT(conf_key, secret_access_key, struct conf_secret),
     .example = "-",
     .help = "bedrock: its secret, likewise; requests are signed with it (Signature Version 4)."},
    {.path = "session_token",
     .type = TYPE_SECRET,
     .offset = AT(conf_key, session_token, struct conf_secret),
     .example = "-",
     .help = "bedrock: the session token that belongs to temporary access keys."},
    {.path = "service_account",
     .type = TYPE_SECRET,
     .offset = AT(conf_key, service_account, struct conf_secret),
     .example = "-",
     .help = "vertex: path of a Google service account's JSON file (or of gcloud's application default "
             "credentials); or {env:}, {file:} or {value:} of it."},
    {NUMBER("weight", conf_key, weight), .min = 1, .max = 10000, .def = "1",
     .help = "Share of the requests among the provider's keys."},
    {STRING(TYPE_TEXT, "id", conf_key, id), .max = 128, .example = "-", .shown = "provider and position",
     .help = "Its name in records and logs, such as openai/0."},
    RATE_ROWS("limits.", conf_key, limits, " with this key", NULL, NULL, NULL),
};
static const struct table provider_key_options = {TABLE(provider_key_rows),
                                                  .size = sizeof(struct conf_key),
                                                  .title = "providers[].keys[]",
                                                  .scalar = "value",
                                                  .single = true,
                                                  .finish = finish_provider_key};

static const struct option provider_rows[] = {
    {STRING(TYPE_NAME, "name", conf_provider, name), .shown = "the kind's name", .example = "openai",
     .help = "Its name, in routes, records and model ids (name/model). Unique, without regard to case."},
    {.path = "kind",
     .type = TYPE_KIND,
     .offset = AT(conf_provider, kind, const struct provider_kind *),
     .shown = "by name",
     .example = "openai",
     .help = "What it is: openai, openrouter, openai_compatible, anthropic, mock ..."},
    {BOOL("enabled", conf_provider, enabled), .def = "true",
     .help = "With false it stays known and is shown as disabled, but not used."},
    {STRING(TYPE_URL, "base_url", conf_provider, base_url), .shown = "the kind's own",
     .example = "https://api.openai.com/v1",
     .help = "Where it is, as its own SDK takes it. azure and openai_compatible have none of their own."},
    {LIST("keys", conf_provider, keys, nkeys, provider_key_options, conf_key), .shown = "the kind's variable",
     .alias = "key",
     .help = "Its keys, one or several: spread by weight, and one that is refused rests alone."},
    {STRING(TYPE_TEXT, "default_model", conf_provider, default_model), .max = 256, .shown = "the kind's own",
     .example = "gpt-4o-mini", .help = "Used where a client names only the provider, or nothing."},
    {STRING(TYPE_TEXT, "organization", conf_provider, organization), .max = 256,
     .help = "OpenAI-Organization of every request."},
    {CHOICE("auth", conf_provider, auth), .def = "auto",
     .words = "auto none bearer x-api-key api-key x-goog-api-key", /* those of enum auth_kind, in its order */
     .help = "The header that a plain key goes in; auto: the kind's own."},
    {STRING(TYPE_TEXT, "api_version", conf_provider, api_version), .max = 64, .shown = "the kind's own",
     .example = "2024-10-21", .help = "azure: api-version of its URLs."},
    {STRING(TYPE_TEXT, "region", conf_provider, region), .max = 63, .example = "us-east-1",
     .help = "bedrock: the AWS region."},
    {STRING(TYPE_TEXT, "project", conf_provider, project), .max = 128, .shown = "the service account's",
     .example = "my-project", .help = "vertex: id of the Google Cloud project."},
    {STRING(TYPE_TEXT, "location", conf_provider, location), .max = 63, .shown = "the kind's own",
     .example = "global", .help = "vertex: the location, such as global or us-central1."},
    {.path = "headers",
     .type = TYPE_HEADERS,
     .offset = AT(conf_provider, headers, struct conf_pair *),
     .count = AT(conf_provider, nheaders, size_t),
     .example = "{X-Title: penstock}",
     .help = "Further headers of every request, a map."},
    RATE_ROWS("limits.", conf_provider, limits, " to this provider", NULL, NULL, NULL),
    BUDGET_ROWS(conf_provider, "at this provider"),
    {DURATION("timeouts.connect", conf_provider, connect), .min = 1, .max = HOUR, .def = "5s",
     .help = "For name, connection and TLS."},
    {DURATION("timeouts.first_byte", conf_provider, first_byte), .min = 1, .max = DAY, .def = "60s",
     .help = "From the request sent to the first byte of the answer."},
    {DURATION("timeouts.idle", conf_provider, idle), .min = 1, .max = DAY, .def = "60s",
     .help = "Silence inside an answer."},
    {DURATION("timeouts.total", conf_provider, total), .min = 1, .max = 7 * DAY, .def = "10m",
     .help = "For a request with all its attempts."},
    {NUMBER("retry.max", conf_provider, retry.max), .max = 20, .def = "3", .env = "MAX_RETRIES",
     .help = "Further attempts after the first."},
    {DURATION("retry.initial_backoff", conf_provider, retry.initial_backoff), .max = HOUR, .def = "1s",
     .env = "INITIAL_BACKOFF@ms", .help = "Pause before the first of them."},
    {DURATION("retry.max_backoff", conf_provider, retry.max_backoff), .max = DAY, .def = "30s",
     .env = "MAX_BACKOFF@ms", .help = "The longest pause."},
    {REAL("retry.factor", conf_provider, retry.factor), .min = 1, .max = 100, .def = "2.0",
     .env = "BACKOFF_FACTOR", .help = "Each pause is so many times the one before."},
    {REAL("retry.jitter", conf_provider, retry.jitter), .max = 1, .def = "0.1", .env = "JITTER",
     .help = "A pause is shortened by up to this part of it, at random; 1.0 is full jitter."},
    {BOOL("retry.honour_retry_after", conf_provider, retry.honour_retry_after), .def = "true",
     .help = "Wait as long as the provider asks for, where that fits timeouts.total."},
    {NUMBER("breaker.consecutive_failures", conf_provider, breaker.consecutive_failures), .max = 100000,
     .def = "5", .help = "So many failures in a row open the breaker; 0: never."},
    {REAL("breaker.error_rate", conf_provider, breaker.error_rate), .max = 1, .def = "0.5",
     .help = "And so does this part of the requests of the window; 0: never."},
    {DURATION("breaker.window", conf_provider, breaker.window), .min = SECOND, .max = DAY, .def = "60s",
     .help = "The sliding window of error_rate."},
    {NUMBER("breaker.min_requests", conf_provider, breaker.min_requests), .min = 1, .max = 1000000,
     .def = "20", .help = "With fewer requests in the window error_rate is not looked at."},
    {DURATION("breaker.open_for", conf_provider, breaker.open_for), .min = 1, .max = DAY, .def = "30s",
     .help = "How long it stays open at first; twice as long each time it opens again."},
    {DURATION("breaker.max_open_for", conf_provider, breaker.max_open_for), .min = 1, .max = 7 * DAY,
     .def = "5m", .help = "The longest."},
    {NUMBER("breaker.half_open_probes", conf_provider, breaker.half_open_probes), .min = 1, .max = 1000,
     .def = "1", .help = "Requests let through at once to try whether it may close."},
    {DURATION("health_check.every", conf_provider, health_every), .max = DAY, .def = "0s",
     .help = "Pause between active checks; 0s: none. No check spends tokens, and one that was used with "
             "success meanwhile is not checked."},
    {STRING(TYPE_TEXT, "health_check.path", conf_provider, health_path), .max = 1024,
     .shown = "the kind's own", .example = "/models", .help = "What is asked for, behind base_url."},
    {CHOICE("http2", conf_provider, http2), .def = "auto", .words = "auto on|true|yes off|false|no",
     .help = "HTTP/2 to this provider."},
    {STRING(TYPE_PROXY, "proxy", conf_provider, proxy),
     .help = "URL of an HTTP or SOCKS proxy to go through."},
    {STRING(TYPE_PATH, "tls.ca", conf_provider, tls.ca), .shown = "the system's",
     .help = "File of certificates to trust instead of the system's."},
    {BOOL("tls.verify", conf_provider, tls.verify), .def = "true",
     .help = "Check the provider's certificate. Without, anybody on the way can read the key."},
    {STRING(TYPE_PATH, "tls.client_certificate", conf_provider, tls.client_certificate),
     .help = "Certificate to show to the provider, a file in PEM."},
    {STRING(TYPE_PATH, "tls.client_key", conf_provider, tls.client_key),
     .help = "Its private key, a file in PEM."},
};
const struct table provider_options = {TABLE(provider_rows), .size = sizeof(struct conf_provider),
                                       .title = "providers[]", .start = start_provider,
                                       .finish = finish_provider};

/* ---- models[], fallback_rules[] ---- */

static const struct option target_rows[] = {
    {STRING(TYPE_NAME, "provider", conf_target, provider), .required = true, .example = "openai",
     .help = "Name of a provider."},
    {STRING(TYPE_TEXT, "model", conf_target, model), .max = 256, .shown = "the model's name",
     .example = "gpt-4o-2024-11-20", .help = "The provider's id of the model."},
    {NUMBER("weight", conf_target, weight), .min = 1, .max = 10000, .def = "1",
     .help = "Share of the requests, with strategy weighted."},
    {TEXTS("tags", conf_target, tags, ntags), .max = 64, .example = "[eu]",
     .help = "A request with tags goes only to targets that have all of them. Of at most 64 bytes each."},
};
static const struct table target_options = {TABLE(target_rows), .size = sizeof(struct conf_target),
                                            .title = "models[].targets[]", .single = true};

static const struct option model_rows[] = {
    {STRING(TYPE_TEXT, "name", conf_model, name), .min = 1, .max = 256, .required = true, .alias = "id",
     .example = "gpt-4o", .help = "What clients ask for. Unique."},
    {STRING(TYPE_TEXT, "display_name", conf_model, display_name), .max = 256, .help = "A name for people."},
    {TEXTS("capabilities", conf_model, capabilities, ncapabilities),
     .help = "What it is good for, in words such as completion, embedding, vision: shown by /api/v1/models. "
             "Empty: "
             "what its name tells."},
    {LIST("targets", conf_model, targets, ntargets, target_options, conf_target), .required = true,
     .help = "Who serves it."},
    {CHOICE("strategy", conf_model, strategy), .words = CONF_STRATEGIES, .shown = "routing.default_strategy",
     .example = "fallback",
     .help = "Which target first: the first that works, a share by weight, each in turn, the healthiest, the "
             "cheapest, the fastest, or the one with the fewest requests in flight."},
    {CHOICE("on_unsupported", conf_model, on_unsupported), .def = "reject", .words = "reject drop pass",
     .help = "A request with something the target cannot express: refuse it, leave that out, or send it on."},
    {TEXTS("fallbacks", conf_model, fallbacks, nfallbacks),
     .help = "Models to try when no target could serve, in this order: names of models, or provider/model."},
    {FAULTS("fallback_on", conf_model, fallback_on), .def = FALLBACK_ON,
     .help = "The errors that lead to a fallback."},
    {COUNT("context_window", conf_model, context_window), .max = 1000000000, .example = "128000",
     .shown = "by the price table", .help = "Tokens it can take in all."},
    {COUNT("max_output", conf_model, max_output), .max = 1000000000, .example = "16384",
     .shown = "by the price table", .help = "Tokens it can answer with."},
    {PRICE("prices.input", conf_model, prices.input), .example = "2.50", .shown = "by the price table",
     .help = "Dollars per million tokens of prompts."},
    {PRICE("prices.cached_input", conf_model, prices.cached_input), .example = "1.25",
     .shown = "by the price table", .help = "Of prompts read from the provider's cache."},
    {PRICE("prices.cache_write", conf_model, prices.cache_write), .example = "2.50",
     .shown = "by the price table", .help = "Of prompts written to it."},
    {PRICE("prices.output", conf_model, prices.output), .example = "10.00", .shown = "by the price table",
     .help = "Of answers."},
    {PRICE("prices.reasoning", conf_model, prices.reasoning), .example = "10.00",
     .shown = "by the price table", .help = "Of reasoning."},
    {PRICE("prices.audio_in", conf_model, prices.audio_in), .example = "40.00", .shown = "by the price table",
     .help = "Of audio in prompts."},
    {PRICE("prices.audio_out", conf_model, prices.audio_out), .example = "80.00",
     .shown = "by the price table", .help = "Of audio in answers."},
    RATE_ROWS("limits.", conf_model, limits, " for this model", NULL, NULL, NULL),
    BUDGET_ROWS(conf_model, "at this model's targets, however it was asked for,"),
    {REAL("cache.threshold", conf_model, cache_threshold), .max = 1, .example = "0.97",
     .shown = "cache.semantic.threshold",
     .help = "How similar a request for this model must be to one before; 0: cache.semantic.threshold."},
};
static const struct table model_options = {TABLE(model_rows), .size = sizeof(struct conf_model),
                                           .title = "models[]", .finish = finish_model};

static const struct option rule_rows[] = {
    {STRING(TYPE_TEXT, "model", conf_fallback_rule, model), .min = 1, .max = 256, .required = true,
     .example = "openai/gpt-4-turbo", .help = "Name of a model, or provider/model, or provider.model."},
    {TEXTS("fallback_models", conf_fallback_rule, fallbacks, nfallbacks), .alias = "fallbacks",
     .required = true, .example = "[openai/gpt-4o-mini]", .help = "Models to try instead, in this order."},
    {FAULTS("error_codes", conf_fallback_rule, fallback_on), .alias = "fallback_on", .def = FALLBACK_ON,
     .help = "The errors that lead to a fallback."},
};
static const struct table rule_options = {TABLE(rule_rows), .size = sizeof(struct conf_fallback_rule),
                                          .title = "fallback_rules[]"};

static const struct option task_rows[] = {
    {STRING(TYPE_NAME, "name", conf_task, name), .required = true, .example = "summarization",
     .help = "What the request is for."},
    {TEXTS("models", conf_task, models, nmodels), .required = true, .example = "[openai/gpt-4o-mini]",
     .help = "The model to use, and those to fall back to: as a client would name them."},
};
static const struct table task_options = {TABLE(task_rows), .size = sizeof(struct conf_task),
                                          .title = "routing.tasks[]", .keyed = "name", .scalar = "models"};

/* ---- endpoint_limits[], tenants[] ---- */

static const struct option endpoint_rows[] = {
    {STRING(TYPE_TEXT, "endpoint", conf_endpoint_limits, endpoint), .min = 1, .max = 95, .required = true,
     .example = "embeddings",
     .help = "The name of a surface, as usage records have it (chat, messages, embeddings), all of native or "
             "of an earlier gateway (s0 to s4), or a path, in which * stands for anything (/v1/audio/*)."},
    RATE_ROWS("", conf_endpoint_limits, limits, "", NULL, NULL, NULL),
};
static const struct table endpoint_options = {TABLE(endpoint_rows),
                                              .size = sizeof(struct conf_endpoint_limits),
                                              .title = "endpoint_limits[]", .keyed = "endpoint"};

static const struct option tenant_rows[] = {
    {STRING(TYPE_TEXT, "id", conf_tenant, id), .min = 1, .max = 95, .required = true, .example = "internal",
     .help = "The tenant that keys name. Unique."},
    RATE_ROWS("limits.", conf_tenant, limits, " of all its keys together", NULL, NULL, NULL),
    BUDGET_ROWS(conf_tenant, "with all its keys together"),
};
static const struct table tenant_options = {TABLE(tenant_rows), .size = sizeof(struct conf_tenant),
                                            .title = "tenants[]"};

/* ---- cache.semantic.embedder ---- */

static const struct option embedder_rows[] = {
    {CHOICE("builtin", conf_embedder, builtin), .def = "lexical", .words = "lexical",
     .help = "lexical: by spelling, in the gateway itself."},
    {STRING(TYPE_NAME, "provider", conf_embedder, provider), .example = "openai",
     .help = "Name of a provider that has embeddings."},
    {STRING(TYPE_TEXT, "model", conf_embedder, model), .max = 256, .example = "text-embedding-3-small",
     .help = "Its id of the model."},
};
static const struct table embedder_options = {TABLE(embedder_rows), .size = sizeof(struct conf_embedder),
                                              .title = "cache.semantic.embedder", .scalar = "builtin",
                                              .single = true};

/* ---- cluster.redis ---- */

static const struct option redis_rows[] = {
    {STRING(TYPE_REDIS, "url", conf_redis, url), .example = "\"\"",
     .help =
         "redis://[[USER:]PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, unix:/path, or HOST:PORT."},
    {TEXTS("addresses", conf_redis, addresses, naddresses),
     .example = "[\"10.0.0.2:6379\", \"10.0.0.3:6379\"]",
     .help =
         "HOST:PORT of replicas or Sentinels, asked in turn where the primary is when it is not at the URL."},
    {STRING(TYPE_TEXT, "username", conf_redis, user), .max = 256, .example = "-",
     .help = "Where it is not in the URL."},
    {.path = "password",
     .type = TYPE_SECRET,
     .offset = AT(conf_redis, password, struct conf_secret),
     .example = "-",
     .help = "Where it is not in the URL. Neither is ever logged or shown."},
    {STRING(TYPE_TEXT, "prefix", conf_redis, prefix), .max = 64,
     .def = "penstock:", .example = "\"penstock:\"",
     .help = "What every key and channel begins with; hosts with the same one are a cluster."},
    {STRING(TYPE_PATH, "tls.ca", conf_redis, ca), .example = "-",
     .help = "Certificates of authorities in PEM in place of the system's."},
    {BOOL("tls.verify", conf_redis, verify), .def = "true",
     .help = "false: whoever answers is believed to be the server."},
    {STRING(TYPE_PATH, "tls.client_certificate", conf_redis, client_certificate), .example = "-",
     .help = "Certificate to show to the server, a file in PEM; Redis wants one unless it has "
             "tls-auth-clients no."},
    {STRING(TYPE_PATH, "tls.client_key", conf_redis, client_key), .example = "-",
     .help = "Key of the certificate, a file in PEM, where it is not in the same file."},
};
static const struct table redis_options = {TABLE(redis_rows),        .size = sizeof(struct conf_redis),
                                           .title = "cluster.redis", .scalar = "url",
                                           .single = true,           .finish = finish_redis};

/* ---- auth.keys[] ---- */

static const struct option gateway_key_rows[] = {
    {STRING(TYPE_NAME, "id", conf_gateway_key, id), .required = true, .example = "team-a",
     .help = "Its name in records and logs. Unique."},
    {.path = "hash",
     .type = TYPE_HASH,
     .offset = AT(conf_gateway_key, hash, hash_bytes),
     .example = "-",
     .help = "\"sha256:\" and the SHA-256 of the key in hex: printf %s \"$KEY\" | sha256sum."},
    {.path = "key",
     .type = TYPE_SECRET,
     .example = "{env: TEAM_A_KEY}",
     .help = "The key itself in place of its hash: {env:}, {file:} or {value:}."},
    {STRING(TYPE_TEXT, "owner", conf_gateway_key, owner), .max = 256, .help = "For people."},
    {STRING(TYPE_TEXT, "tenant", conf_gateway_key, tenant), .max = 256,
     .help = "Keys of one tenant are counted, and may share a cache, together."},
    {TEXTS("tenants", conf_gateway_key, tenants, ntenants),
     .help = "Tenants that its requests may name (`tenant` of /v1/gateway/query), each counted by itself. A "
             "key that "
             "has neither these nor a tenant may name any."},
    {FLAGS("permissions", conf_gateway_key, permissions), .def = "completion embedding",
     .words = "completion embedding admin", .help = "What the key may do: completion, embedding, admin."},
    {TEXTS("models", conf_gateway_key, models, nmodels), .shown = "all",
     .help = "The models it may use; * stands for anything."},
    {TEXTS("endpoints", conf_gateway_key, endpoints, nendpoints), .shown = "all",
     .example = "[chat, /v1/audio/*]",
     .help = "The endpoints it may use: names such as chat or embeddings, or paths; * stands for anything."},
    {TEXTS("addresses", conf_gateway_key, addresses, naddresses), .shown = "any", .example = "[192.0.2.0/24]",
     .help = "Whence it may be used: addresses and networks of IPv4 and IPv6. A Unix socket counts as "
             "127.0.0.1."},
    RATE_ROWS("limits.", conf_gateway_key, limits, " with this key", "auth.default_limits", NULL, NULL),
    {NUMBER("weight", conf_gateway_key, weight), .min = 1, .max = CONF_WEIGHT_MOST, .def = "1",
     .help = "Share of what there is among the keys whose requests wait (queue)."},
    BUDGET_ROWS(conf_gateway_key, "with this key"),
    {.path = "expires",
     .type = TYPE_DATE,
     .offset = AT(conf_gateway_key, expires, int64_t),
     .shown = "never",
     .example = "2030-01-01",
     .help = "From this date on it is refused; a time may follow, as in 2027-01-01T12:00:00Z."},
};
static const struct table gateway_key_options = {TABLE(gateway_key_rows),
                                                 .size = sizeof(struct conf_gateway_key),
                                                 .title = "auth.keys[]", .finish = finish_gateway_key};

/* ---- the whole ---- */

static const struct option rows[] = {
    SECTION("Listening",
            "An address that not only this machine can reach needs authentication, or auth.mode none."),
    {LIST("listen", conf, listen, nlisten, listen_options, conf_listen), .shown = "127.0.0.1:8080",
     .env = "PORT", .help = "The addresses served: one as a plain text, or a list of texts or maps."},
    {LIST("admin_listen", conf, admin_listen, nadmin_listen, admin_listen_options, conf_listen),
     .shown = "none", .example = "unix:/run/penstock/admin.sock",
     .help = "One more like those of listen, of the surface admin alone unless it says otherwise."},

    SECTION("Processes", ""),
    {STRING(TYPE_TEXT, "user", conf, user), .max = 64, .help = "Whom the workers run as; empty: no change."},
    {STRING(TYPE_TEXT, "group", conf, group), .max = 64, .help = "Their group; empty: the user's."},
    {.path = "workers",
     .type = TYPE_WORKERS,
     .offset = AT(conf, workers, unsigned),
     .min = 1,
     .max = CONF_MAX_WORKERS,
     .def = "auto",
     .help = "How many; auto: one for each processor."},
    {STRING(TYPE_PATH, "state_dir", conf, state_dir), .shown = "/var/lib/penstock",
     .example = "/var/lib/penstock", .help = "Where usage and the cache are kept."},
    {STRING(TYPE_PATH, "pid_file", conf, pid_file), .shown = "/run/penstock/penstock.pid",
     .example = "/run/penstock/penstock.pid", .help = "File for the process id of the master; empty: none."},
    {DURATION("drain_timeout", conf, drain_timeout), .max = 7 * DAY, .def = "10m",
     .help = "How long streams may go on after a reload or a graceful stop."},
    {DURATION("stop_timeout", conf, stop_timeout), .max = DAY, .def = "10s",
     .help = "The same for SIGTERM and SIGINT."},

    SECTION("Limits", "Of the whole gateway, all workers together. none: not limited."),
    RATE_ROWS("limits.", conf, limits, "", NULL, NULL, NULL),
    {COUNT("limits.max_connections", conf, max_connections), .min = 1, .max = 1000000, .def = "10000",
     .help = "Connections of clients at the same time, of each worker."},
    {SIZE("limits.max_request_body", conf, max_request_body), .min = KIB, .max = GIB, .def = "32MiB",
     .help = "The largest request."},
    {SIZE("limits.max_upload", conf, max_upload), .min = KIB, .max = 1024 * GIB, .def = "512MiB",
     .help =
         "The largest body that passes through (files, audio, images). One of more than 64 KiB waits in a "
         "file in state_dir until it is whole."},
    {SIZE("limits.max_response_body", conf, max_response_body), .min = KIB, .max = GIB, .def = "64MiB",
     .help = "The largest answer that is not a stream, and the largest event of a stream."},
    {DURATION("limits.header_timeout", conf, header_timeout), .min = 1, .max = HOUR, .def = "10s",
     .help = "For the whole header of a request."},
    {SIZE("limits.body_rate", conf, body_rate), .max = GIB, .def = "1KiB",
     .help = "Bytes a second that a request's body must keep up after its first 5 s; 0: any."},
    {DURATION("limits.idle_timeout", conf, idle_timeout), .min = 1, .max = DAY, .def = "75s",
     .help = "How long a connection without a request stays open."},

    {LIST("endpoint_limits", conf, endpoint_limits, nendpoint_limits, endpoint_options, conf_endpoint_limits),
     .help = "Limits of single endpoints: a list, or a map by endpoint."},

    {DURATION("queue.max_wait", conf, queue.max_wait), .max = HOUR, .def = "0s",
     .help = "How long a request that is over a limit of its caller waits for its turn; 0s: it is refused at "
             "once. Keys "
             "are served in turn, by the tokens they take and their weight."},
    {COUNT("queue.max_depth", conf, queue.max_depth), .min = 1, .max = 10000, .def = "1000",
     .help = "So many may wait, of all workers; those beyond are refused at once."},

    SECTION("Providers", "Without any, those whose keys are in the environment; else the built-in mock."),
    {LIST("providers", conf, providers, nproviders, provider_options, conf_provider),
     .shown = "by environment",
     .help = "Who answers. The names in the environment count only when this is empty."},

    SECTION("Models",
            "What clients may ask for besides provider/model and the ids that a provider is known for."),
    {LIST("models", conf, models, nmodels, model_options, conf_model), .help = "Names with their targets."},
    {LIST("fallback_rules", conf, fallback_rules, nfallback_rules, rule_options, conf_fallback_rule),
     .help = "Fallbacks of models that are not in models."},

    SECTION("Routing", ""),
    {BOOL("routing.fallback", conf, routing.fallback), .def = "true", .env = "ENABLE_LLM_FAILOVER",
     .help = "With false no request ever goes to another model or provider."},
    {STRING(TYPE_TEXT, "routing.default_model", conf, routing.default_model), .max = 256, .env = "LLM_MODEL",
     .help = "For a request without a model."},
    {CHOICE("routing.default_strategy", conf, routing.default_strategy), .def = "fallback",
     .words = CONF_STRATEGIES, .env = "DEFAULT_ROUTING_STRATEGY",
     .help = "Of models that name none, and of requests that name no model where none is the default."},
    {STRING(TYPE_TEXT, "routing.default_provider", conf, routing.default_provider), .max = 64,
     .env = "LLM_PROVIDER,PRIMARY_LLM_PROVIDER", .help = "Takes a model id that no other rule knows."},
    {BOOL("routing.infer_provider", conf, routing.infer_provider), .def = "true",
     .help = "Know a provider by the model id: gpt-* is openai's, claude-* anthropic's."},
    {BOOL("routing.affinity", conf, routing.affinity), .def = "true",
     .help =
         "A conversation prefers the target that answered it last, whose prompt cache it warmed, but where "
         "the strategy is fallback."},
    {REAL("routing.retry_budget", conf, routing.retry_budget), .def = "0.2", .max = 10,
     .help =
         "Further attempts at the same target, as a share of the requests of the last ten seconds, so that "
         "an outage is not amplified. Ten are always allowed."},
    {BOOL("routing.hedge.enabled", conf, routing.hedge.enabled), .def = "false",
     .help = "Ask a second target when the first is late; who answers first wins, the other is cancelled."},
    {CHOICE("routing.hedge.after", conf, routing.hedge.after), .words = "p50 p90 p95 p99", .def = "p95",
     .help = "What is late: later than so many in a hundred of the target's first bytes so far."},
    {REAL("routing.hedge.budget", conf, routing.hedge.budget), .def = "0.05", .max = 1,
     .help = "Second targets, as a share of the requests of the last ten seconds. One is always allowed."},
    {LIST("routing.tasks", conf, routing.tasks, routing.ntasks, task_options, conf_task),
     .help = "Models by what a request is for: {summarization: [gpt-4o-mini, claude-haiku]}."},

    SECTION("Authentication", ""),
    {LIST("tenants", conf, tenants, ntenants, tenant_options, conf_tenant),
     .help = "Limits of tenants. A tenant that is not here has none."},
    {CHOICE("auth.mode", conf, auth.mode), .words = "keys none jwt keys+jwt", .example = "keys",
     .shown = "by what is configured",
     .help = "keys: a request needs a key; jwt: a token; keys+jwt: either; none: neither, also from other "
             "machines."},
    {LIST("auth.keys", conf, auth.keys, auth.nkeys, gateway_key_options, conf_gateway_key),
     .help = "The keys that clients of the gateway use."},
    RATE_ROWS("auth.default_limits.", conf, auth.default_limits,
              " of every key that sets none, or without keys of all callers together", NULL,
              "RATE_LIMIT_REQUESTS_PER_MINUTE", "RATE_LIMIT_TOKENS_PER_MINUTE"),
    RATE_ROWS("auth.user_limits.", conf, auth.user_limits, " of each user that a key's requests name", NULL,
              NULL, NULL),
    {FLAGS("auth.open_surfaces", conf, auth.open_surfaces), .shown = "none", .words = CONF_SURFACES,
     .example = "[s0, s2, s4]",
     .help = "Where no key is needed although others do: some of native, metrics, s0, s2, s4 and ui, never "
             "admin, s1 and s3. Who sends none, or none that is right, is the caller `anonymous`, with "
             "auth.default_limits."},

    {FLAGS("auth.jwt.algorithms", conf, auth.jwt.algorithms), .def = "HS256 RS256 ES256 EdDSA",
     .words = "HS256 HS384 HS512 RS256 RS384 RS512 PS256 ES256 ES384 EdDSA", /* those of enum jwt_alg */
     .help = "How tokens may be signed; each key is used for the algorithms of its own kind alone."},
    {.path = "auth.jwt.secret",
     .type = TYPE_SECRET,
     .offset = AT(conf, auth.jwt.secret, struct conf_secret),
     .example = "-",
     .help = "What tokens of the HS algorithms are signed with: {env:}, {file:} or {value:}. Also set by "
             "JWT_SECRET."},
    {TEXTS("auth.jwt.public_keys", conf, auth.jwt.key_files, auth.jwt.nkey_files), .example = "-",
     .help = "Files of public keys (RSA, EC, Ed25519) or certificates in PEM. Read again at a reload."},
    {STRING(TYPE_PATH, "auth.jwt.jwks_file", conf, auth.jwt.jwks_file),
     .help = "A file with a JWK set, in which tokens name their key by kid. Read again at a reload."},
    {STRING(TYPE_WHOLE_URL, "auth.jwt.jwks_url", conf, auth.jwt.jwks_url), .example = "-",
     .help = "The same, fetched; the last good one stays while this cannot be reached."},
    {DURATION("auth.jwt.jwks_every", conf, auth.jwt.jwks_every), .min = SECOND, .max = 30 * DAY, .def = "1h",
     .help = "Pause between two fetches. A token that no key fits brings one on, but not within a minute."},
    {STRING(TYPE_TEXT, "auth.jwt.issuer", conf, auth.jwt.issuer), .max = 1024,
     .help = "The iss that tokens must have; empty: any."},
    {STRING(TYPE_TEXT, "auth.jwt.audience", conf, auth.jwt.audience), .max = 1024,
     .help = "What their aud must be, or have among others; empty: anything."},
    {STRING(TYPE_TEXT, "auth.jwt.role_claim", conf, auth.jwt.role_claim), .max = 256, .def = "role",
     .help = "The claim with the roles, a text or a list; a path such as realm_access.roles leads inside."},
    {TEXTS("auth.jwt.admin_roles", conf, auth.jwt.admin_roles, auth.jwt.nadmin_roles), .def = "admin",
     .help = "Roles that may do everything. The roles completion and embedding may do what they say."},
    {FLAGS("auth.jwt.permissions", conf, auth.jwt.permissions), .def = "completion embedding",
     .words = "completion embedding admin", .help = "What every valid token may do, whatever its roles are."},
    {STRING(TYPE_TEXT, "auth.jwt.tenant_claim", conf, auth.jwt.tenant_claim), .max = 256, .def = "tenant",
     .help = "The claim with the tenant, likewise."},
    {DURATION("auth.jwt.leeway", conf, auth.jwt.leeway), .max = HOUR, .def = "60s",
     .help = "How far the clocks of those who sign may be off."},

    SECTION("CORS", "For programs in browsers, which ask whether they may."),
    {TEXTS("cors.origins", conf, cors.origins, cors.norigins), .env = "CORS_ORIGINS",
     .example = "[https://app.example.com]",
     .help = "Pages from where programs may ask: origins such as https://app.example.com:8443, or * for all. "
             "In the variable with commas between them."},
    {TEXTS("cors.methods", conf, cors.methods, cors.nmethods), .def = "GET, POST, PATCH, DELETE",
     .help = "What they may do."},
    {TEXTS("cors.headers", conf, cors.headers, cors.nheaders),
     .def = "authorization, content-type, x-api-key, x-goog-api-key, anthropic-version, anthropic-beta, "
            "http-referer, x-title, x-request-id, x-penstock-routing, x-penstock-*, x-stainless-*, "
            "cache-control, idempotency-key, "
            "openai-beta, openai-organization, openai-project, anthropic-dangerous-direct-browser-access",
     .help = "Headers that they may send; * stands for any part of a name."},
    {TEXTS("cors.expose", conf, cors.expose, cors.nexpose),
     .def = "x-request-id, retry-after, x-ratelimit-*, x-penstock-*",
     .help = "Headers of answers that they may see; * stands for any part of a name."},
    {DURATION("cors.max_age", conf, cors.max_age), .max = DAY, .def = "10m",
     .help = "How long a browser may remember what it may."},

    SECTION("Cache", ""),
    {BOOL("cache.enabled", conf, cache.enabled), .def = "false", .env = "CACHE_ENABLED,ENABLE_LLM_CACHING",
     .help = "Keep answers, and give them again to equal requests."},
    {DURATION("cache.ttl", conf, cache.ttl), .min = 1, .max = 3650 * DAY, .def = "1h", .env = "CACHE_TTL@s",
     .help = "How long an answer is kept."},
    {SIZE("cache.max_size", conf, cache.max_size), .min = MIB, .max = 1024 * GIB, .def = "1GiB",
     .help = "Size of all answers together; beyond it the oldest go."},
    {SIZE("cache.max_entry", conf, cache.max_entry), .min = KIB, .max = GIB, .def = "1MiB",
     .help = "The largest answer kept."},
    {CHOICE("cache.scope", conf, cache.scope), .def = "key", .words = "key tenant global",
     .help = "Who may be given whose answer: the same key, the same tenant, anybody."},
    {BOOL("cache.only_deterministic", conf, cache.only_deterministic), .def = "false",
     .help = "Only requests with temperature 0 or a seed."},
    {BOOL("cache.stream", conf, cache.stream), .def = "true", .help = "Serve streams from the cache too."},
    {BOOL("cache.coalesce", conf, cache.coalesce), .def = "false",
     .help = "Equal requests under way at the same time, on whatever workers, share one call; streams too."},
    {BOOL("cache.semantic.enabled", conf, cache.semantic.enabled), .def = "false",
     .help =
         "Give an answer also to a request whose last message says the same in other words, all else being "
         "equal."},
    {REAL("cache.semantic.threshold", conf, cache.semantic.threshold), .max = 1, .def = "0.95",
     .env = "CACHE_SIMILARITY_THRESHOLD",
     .help = "How similar it must be: a cosine, from 0.5 to 1. The variable also switches the cache on."},
    {LIST("cache.semantic.embedder", conf, cache.semantic.embedder, cache.semantic.nembedder,
          embedder_options, conf_embedder),
     .shown = "lexical", .help = "Who turns texts into vectors."},
    {DURATION("cache.semantic.timeout", conf, cache.semantic.timeout), .min = 1, .max = MINUTE, .def = "1s",
     .help = "How long a provider may take for a vector; after that the request goes on without."},
    {COUNT("cache.semantic.max_entries", conf, cache.semantic.max_entries), .min = 1, .max = 65536,
     .def = "50000", .help = "Texts that are remembered; beyond them the oldest go that were not used."},

    SECTION("Vault", ""),
    {DURATION("vault.ttl", conf, vault.ttl), .max = 30 * DAY, .def = "24h",
     .help =
         "How long signatures and reasoning that a client's format has no place for are kept for its next "
         "turn; 0: not at all."},

    SECTION("Cluster", "Several hosts that share limits, budgets, keys and cache by a Redis or Valkey: "
                       "penstock's doc/cluster.md."),
    {LIST("cluster.redis", conf, cluster.redis, cluster.nredis, redis_options, conf_redis),
     .shown = "REDIS_URL", .help = "The server, as a URL or a map."},
    {DURATION("cluster.timeout", conf, cluster.timeout), .min = 1, .max = SECOND, .def = "5ms",
     .help = "The longest that a request waits for it; after that this host's own share decides."},
    {BOOL("cluster.cache", conf, cluster.cache), .def = "true",
     .help = "Keep answers of the cache there as well, for all hosts."},
    {COUNT("cluster.export", conf, cluster.export), .max = 1000000000, .def = "0", .example = "1000000",
     .help = "Add the ledger's records to a stream there, of about so many; 0: do not."},
    {BOOL("cluster.exact", conf, cluster.exact), .def = "false",
     .help = "Ask it for each request in place of taking leases: exactly the limit passes, for a round trip "
             "each."},

    SECTION("Prices", ""),
    {STRING(TYPE_PATH, "prices.file", conf, prices_file),
     .help = "A table over the built-in one: LiteLLM's price map, or the data.json of genai-prices."},

    SECTION("Alerts",
            "Raised once for each subject until it has recovered, looked for every other second, kept in "
            "GET /admin/v1/alerts, logged, and sent to the webhook. Open breakers, provider keys that were "
            "refused and a store that cannot be written are always told of."),
    {REAL("alerts.error_rate", conf, alerts.error_rate), .max = 1, .def = "0", .example = "0.10",
     .help = "Share of a provider's calls that fail; 0: not watched."},
    {DURATION("alerts.latency", conf, alerts.latency), .max = HOUR, .def = "0s", .example = "5s",
     .help = "Time of a provider's calls, averaged over about the last ten; 0s: not watched."},
    {REAL("alerts.cost_per_hour", conf, alerts.cost_per_hour), .max = 1000000000, .def = "0",
     .example = "100", .help = "Dollars that all calls of the last hour cost together; 0: not watched."},
    {SIZE("alerts.disk", conf, alerts.disk), .max = 1024 * GIB, .def = "64MiB",
     .help = "Free space of state_dir's file system; 0: not watched."},
    {DURATION("alerts.window", conf, alerts.window), .min = SECOND, .max = 8 * MINUTE, .def = "1m",
     .help = "The time that error_rate and latency look back."},
    {COUNT("alerts.min_requests", conf, alerts.min_requests), .min = 1, .max = 1000000, .def = "20",
     .help = "With fewer calls in that time neither is raised."},
    {STRING(TYPE_WHOLE_URL, "alerts.webhook", conf, alerts.webhook),
     .example = "https://alerts.example.com/hook",
     .help = "Gets a POST of a JSON body for each alert that is raised or recovers; what it does not take is "
             "sent again, after growing pauses."},
    {.path = "alerts.secret",
     .type = TYPE_SECRET,
     .offset = AT(conf, alerts.secret, struct conf_secret),
     .example = "-",
     .help = "Signs what is sent: x-penstock-signature is t=TIME,v1= and the HMAC-SHA256 in hex of the time, "
             "a dot and the body."},

    SECTION("Telemetry", "Traces and metrics for an OpenTelemetry collector: OTLP over HTTP, in JSON."),
    {STRING(TYPE_URL, "telemetry.otlp_endpoint", conf, telemetry.endpoint),
     .example = "http://127.0.0.1:4318",
     .help = "Where the collector is; /v1/traces and /v1/metrics are put behind."},
    {.path = "telemetry.headers",
     .type = TYPE_HEADERS,
     .offset = AT(conf, telemetry.headers, struct conf_pair *),
     .count = AT(conf, telemetry.nheaders, size_t),
     .example = "{x-tenant: penstock}",
     .help = "Headers of what is sent there, a map."},
    {REAL("telemetry.sample", conf, telemetry.sample), .max = 1, .def = "1",
     .help = "Share of the requests that are traced; one with a traceparent is traced as that says."},
    {DURATION("telemetry.metrics_every", conf, telemetry.metrics_every), .min = SECOND, .max = DAY,
     .def = "15s", .help = "Pause between two exports of metrics."},

    SECTION("Web page", ""),
    {BOOL("ui.enabled", conf, ui.enabled), .def = "true",
     .help = "The page at / and /docs; /openapi.json is there all the same."},

    SECTION("Log", ""),
    {CHOICE("log.level", conf, log.level), .def = "info",
     .words = "error|critical|fatal warn|warning info|notice debug|trace", .env = "LOG_LEVEL",
     .help = "error, warn, info or debug."},
    {STRING(TYPE_LOG_TARGET, "log.target", conf, log.target), .def = "stderr",
     .help = "stderr, syslog or a file, which SIGUSR1 opens again."},
    {CHOICE("log.format", conf, log.format), .def = "json", .words = "json text", .help = "json or text."},
    {BOOL("log.access", conf, log.access), .def = "true", .help = "A line for each request."},
    {DURATION("log.retention", conf, log.retention), .min = MINUTE, .max = 3650 * DAY, .def = "30d",
     .help = "How long the log store in state_dir keeps what GET /admin/v1/logs tells."},
    {SIZE("log.max_size", conf, log.max_size), .min = MIB, .max = 1024 * GIB, .def = "1GiB",
     .help = "Size of that store; when it is full, the oldest go before their time."},
    {CHOICE("log.content", conf, log.content), .def = "off", .words = "off|none|false masked|true full",
     .help = "What is kept of prompts and answers, in the log store and in the log: off (nothing), masked "
             "(their beginning, without what log.mask names), full (their beginning as it is)."},
    {SIZE("log.truncate", conf, log.truncate), .min = 1, .max = 256 * KIB, .def = "2KiB",
     .help = "So much of a prompt and of an answer."},
    {BOOL("log.mask.email", conf, log.mask.email), .def = "true",
     .help = "E-mail addresses become [EMAIL] before anything is stored."},
    {BOOL("log.mask.phone", conf, log.mask.phone), .def = "true", .help = "Phone numbers: [PHONE]."},
    {BOOL("log.mask.address", conf, log.mask.address), .def = "true", .help = "Postal addresses: [ADDRESS]."},
    {BOOL("log.mask.card", conf, log.mask.card), .def = "true",
     .help = "Numbers of payment cards, by their check digit: [CARD]."},
    {BOOL("log.mask.ip", conf, log.mask.ip), .def = "false", .help = "IP addresses: [IP]."},
    {BOOL("log.mask.secret", conf, log.mask.secret), .def = "true",
     .help = "Keys of known shapes, tokens, private keys and passwords: [SECRET]."},
    {TEXTS("log.mask.patterns", conf, log.mask.patterns, log.mask.npatterns),
     .example = "[\"ACME-[0-9]{6}\"]",
     .help = "POSIX extended regular expressions, at most 32, tried on each line; what they match becomes "
             "[CUSTOM]."},
};
const struct table conf_table = {TABLE(rows), .size = sizeof(struct conf), .title = ""};

const char *const conf_later[] = {
    NULL,
};
const char *const conf_later_kinds = "";
