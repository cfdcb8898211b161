/* Counters and histograms: one row each. Totals never fall: what a dead process has counted stays in its slot, and the
 * slot's next owner counts on from there. */
#ifndef PENSTOCK_SHM_STAT_H
#define PENSTOCK_SHM_STAT_H
#include "shm/shm.h"

/* Per process, written by its owner only. X(name, prometheus name, help) */
#define STAT_COUNTERS(X)                                                                                             \
    X(CONNECTIONS, "penstock_connections_total", "Client connections accepted.")                                     \
    X(REQUESTS, "penstock_http_requests_total", "HTTP requests with a legal head.")                                  \
    X(BAD_REQUESTS, "penstock_http_bad_requests_total", "Requests refused by the HTTP parser or a limit of it.")     \
    X(AUTH_FAILURES, "penstock_auth_failures_total", "Requests with a missing, wrong or expired key.")               \
    X(RATE_LIMITED, "penstock_rate_limited_total", "Requests refused by a limit of the gateway or of a key.")        \
    X(QUEUED, "penstock_queued_total", "Requests that waited for a limit.")                                          \
    X(BUDGET_REFUSED, "penstock_budget_refused_total", "Requests refused because a budget is used up.")             \
    X(RETRIES, "penstock_retries_total", "Further attempts at the same target.")                                     \
    X(RETRIES_DENIED, "penstock_retries_denied_total", "Further attempts that the budget of retries did not allow.") \
    X(HEDGES, "penstock_hedges_total", "Second targets asked because the first was late.")                           \
    X(FALLBACKS, "penstock_fallbacks_total", "Requests answered by another target than the first.")                  \
    X(CACHE_HITS, "penstock_cache_hits_total", "Answers from the cache.")                                            \
    X(CACHE_MISSES, "penstock_cache_misses_total", "Lookups that found nothing.")                                    \
    X(CACHE_SEMANTIC_HITS, "penstock_cache_semantic_hits_total", "Answers from the cache to the same in other words.") \
    X(CACHE_COALESCED, "penstock_cache_coalesced_total", "Of the answers from the cache, those that were waited for.") \
    X(CACHE_TOKENS_SAVED, "penstock_cache_tokens_saved_total", "Tokens that answers from the cache once took.")       \
    X(CACHE_NANO_SAVED, "penstock_cache_saved_usd_total", "Dollars that answers from the cache once cost.")           \
    X(EMBEDDINGS, "penstock_cache_embeddings_total", "Vectors that a provider made for the semantic cache.")          \
    X(EMBED_FAILURES, "penstock_cache_embedding_failures_total", "Vectors that could not be had.")                    \
    X(CACHE_STORES, "penstock_cache_stores_total", "Answers stored.")                                                \
    X(CLIENT_GONE, "penstock_client_gone_total", "Clients that left before their answer was complete.")              \
    X(STREAMS, "penstock_streams_total", "Streamed answers begun.")                                                  \
    X(RING_DROPPED, "penstock_records_dropped_total", "Usage records lost because the ring stayed full.")            \
    X(LEDGER_FAILURES, "penstock_ledger_failures_total", "Times the ledger could not be written: its records wait, and it is tried again.") \
    X(LOG_DROPPED, "penstock_log_dropped_total", "Log lines dropped because their target would block.")              \
    X(LOGS_DROPPED, "penstock_log_records_dropped_total", "Records that the log store had no room for.")              \
    X(CONTENT_LEFT_OUT, "penstock_log_content_left_out_total", "Records without what was said, for want of time.")     \
    X(BREAKER_OPENED, "penstock_breaker_opened_total", "Breakers opened.")                                           \
    X(UNKNOWN_STOPS, "penstock_unknown_stop_reasons_total", "Answers that ended with a reason no table knows.")         \
    X(UNKNOWN_ERRORS, "penstock_unknown_errors_total", "Errors of providers with a type or code no table knows.")     \
    X(ALERTS, "penstock_alerts_total", "Alerts raised.")                                                             \
    X(WEBHOOK_SENT, "penstock_webhook_sent_total", "Messages that the alerts' webhook took.")                        \
    X(WEBHOOK_RETRIES, "penstock_webhook_retries_total", "Messages to it that are to be sent again.")                \
    X(WEBHOOK_LOST, "penstock_webhook_lost_total", "Messages to it that were given up.")                             \
    X(TRACES_SENT, "penstock_traces_sent_total", "Requests whose spans the collector took.")                         \
    X(TRACES_DROPPED, "penstock_traces_dropped_total", "Requests whose spans were lost.")                            \
    X(CLUSTER_ASKED, "penstock_cluster_asked_total", "Requests that asked the cluster's server for a limit.")         \
    X(CLUSTER_LATE, "penstock_cluster_late_total", "Of them those that it did not answer in time.")                  \
    X(CLUSTER_ALONE, "penstock_cluster_alone_total", "Decisions by this host's own share of a limit or budget.")     \
    X(RELOADS, "penstock_reloads_total", "Configurations loaded.")                                                   \
    X(RELOAD_FAILURES, "penstock_reload_failures_total", "Configurations refused.")                                  \
    X(WORKER_DEATHS, "penstock_worker_deaths_total", "Workers that died and were replaced.")
enum stat_counter {
#define X(n, p, h) STAT_##n,
    STAT_COUNTERS(X)
#undef X
    STAT_COUNTERS_N
};
struct stat_row {
    const char *prometheus, *help;
};
extern const struct stat_row stat_rows[STAT_COUNTERS_N];
void stat_add(struct shm *s, enum stat_counter c, uint64_t n); /* in my slot; the master has its own place */
uint64_t stat_sum(const struct shm *s, enum stat_counter c);   /* all slots, of the living and the dead */

/* Per entity, atomics shared by all. */
#define ENTITY_COUNTERS(X)                                                                                           \
    X(REQUESTS, "requests_total", "Requests (of a provider or target: attempts).")                                   \
    X(ERRORS, "errors_total", "Of them failed.")                                                                     \
    X(INPUT_TOKENS, "input_tokens_total", "Input tokens.")                                                           \
    X(CACHED_TOKENS, "cached_input_tokens_total", "Input tokens read from a provider's prompt cache.")               \
    X(OUTPUT_TOKENS, "output_tokens_total", "Output tokens.")                                                        \
    X(COST_NANO, "cost_nano_usd_total", "Cost in nano-dollars.")
enum entity_counter {
#define X(n, p, h) ENTITY_STAT_##n,
    ENTITY_COUNTERS(X)
#undef X
    ENTITY_COUNTERS_N
};
extern const struct stat_row entity_rows[ENTITY_COUNTERS_N];
void entity_add(struct shm *s, uint32_t entity, enum entity_counter c, uint64_t n);
/* The next turn of an entity, 0, 1, 2 ... over all processes: for round-robin. */
uint64_t entity_turn(struct shm *s, uint32_t entity);
uint64_t entity_count(const struct shm *s, uint32_t entity, enum entity_counter c);

/* Histograms per entity. X(name, units of a sample in one of `sum`): times are added in ms or, the short ones, in us,
 * and summed in seconds; tokens are tokens. */
#define HISTOGRAMS(X)        \
    X(LATENCY, 1e3)          \
    X(FIRST_BYTE, 1e3)       \
    X(PER_TOKEN, 1e6)        \
    X(OVERHEAD, 1e6)         \
    X(INPUT_TOKENS, 1)       \
    X(OUTPUT_TOKENS, 1)
enum histogram {
#define X(n, u) HIST_##n,
    HISTOGRAMS(X)
#undef X
    HIST_KINDS
};
#define HIST_BUCKETS 16
extern const double hist_bounds[HIST_KINDS][HIST_BUCKETS - 1]; /* seconds or tokens; the last bucket is +Inf */
void hist_add(struct shm *s, uint32_t entity, enum histogram h, uint64_t sample);
struct hist {
    enum histogram kind;
    uint64_t count[HIST_BUCKETS]; /* not cumulative */
    uint64_t n;
    double sum;
};
void hist_look(const struct shm *s, uint32_t entity, enum histogram h, struct hist *out);
double hist_quantile(const struct hist *h, double q); /* seconds or tokens, interpolated; 0 without data */

/* HTTP answers by status class of LLM requests: 1xx..5xx and 499. Per process, like counters. */
void stat_status(struct shm *s, int status);
uint64_t stat_status_sum(const struct shm *s, int klass /* 1..5; 0 = 499 */);

/* Requests that failed, by enum error_type (llm/fault.h). Per process. */
enum { STAT_ERROR_TYPES = 64 };
void stat_error(struct shm *s, unsigned type);
uint64_t stat_error_sum(const struct shm *s, unsigned type);
#endif
