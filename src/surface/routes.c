/* The table of endpoints, and how a path finds its row. */
#include "surface/surface.h"

#define CHAT     &dialect_openai_chat
#define MESSAGES &dialect_anthropic
#define GEMINI   &dialect_gemini
#define QUERY    &dialect_query
#define OPEN     0
#define ANY      PERM_ANY
#define ADMIN    PERM_ADMIN
#define S0       SURFACE_S0
#define S1       SURFACE_S1
#define S2       SURFACE_S2
#define LLM      &dialect_enterprise
#define PAGE     (SURFACE_UI | SURFACE_ADMIN)

const struct surface_route surface_routes[] = {
    {HTTP_POST, "/v1/chat/completions", SURFACE_NATIVE, PERM_COMPLETION, CHAT, "chat", NULL,
     "Chat completion, whole or streamed"},
    {HTTP_POST, "/v1/responses", SURFACE_NATIVE, PERM_COMPLETION, &dialect_openai_responses, "responses",
     NULL, "OpenAI Responses, whole or streamed"},
    {HTTP_POST, "/v1/responses/input_tokens", SURFACE_NATIVE, PERM_COMPLETION,
     &dialect_openai_responses_count, "responses_count", NULL,
     "OpenAI's count of a Responses request's tokens"},
    {HTTP_POST, "/v1beta/models/*:generateContent", SURFACE_NATIVE, PERM_COMPLETION, GEMINI, "gemini", NULL,
     "Gemini: an answer, whole"},
    {HTTP_POST, "/v1beta/models/*:streamGenerateContent", SURFACE_NATIVE, PERM_COMPLETION, GEMINI, "gemini",
     NULL, "Gemini: a stream, as events (alt=sse) or one JSON array"},
    {HTTP_POST, "/v1beta/models/*:countTokens", SURFACE_NATIVE, PERM_COMPLETION, &dialect_gemini_count,
     "gemini_count", NULL, "Gemini: how many tokens a request has"},
    {HTTP_POST, "/v1/models/*:generateContent", SURFACE_NATIVE, PERM_COMPLETION, GEMINI, "gemini", NULL,
     "Gemini: an answer, whole"},
    {HTTP_POST, "/v1/models/*:streamGenerateContent", SURFACE_NATIVE, PERM_COMPLETION, GEMINI, "gemini", NULL,
     "Gemini: a stream, as events (alt=sse) or one JSON array"},
    {HTTP_POST, "/v1/models/*:countTokens", SURFACE_NATIVE, PERM_COMPLETION, &dialect_gemini_count,
     "gemini_count", NULL, "Gemini: how many tokens a request has"},
    {HTTP_POST, "/v1/completions", SURFACE_NATIVE | S2, PERM_COMPLETION, &dialect_openai_completions,
     "completions", NULL, "OpenAI's legacy completions; with `messages` a chat"},
    {HTTP_POST, "/v1/completions/stream", S2, PERM_COMPLETION, &dialect_openai_completions, "completions",
     NULL, "The same as a stream"},
    {HTTP_GET, "/v1/providers", S2, ANY, CHAT, NULL, surface_s2_providers, "Providers and their models"},
    {HTTP_GET, "/v1/providers/*/health", S2, ANY, CHAT, NULL, surface_s2_provider, "How one provider does"},
    {HTTP_GET, "/v1/cache/stats", S2, ANY, CHAT, NULL, surface_cache_stats, "Entries, hits, misses"},
    {HTTP_POST, "/v1/embeddings", SURFACE_NATIVE, PERM_EMBEDDING, &dialect_openai_embeddings, "embeddings",
     NULL, "Embeddings of texts or token ids"},
    {HTTP_POST, "/v1/messages", SURFACE_NATIVE, PERM_COMPLETION, MESSAGES, "messages", NULL,
     "Anthropic's Messages, whole or streamed"},
    {HTTP_POST, "/v1/messages/count_tokens", SURFACE_NATIVE, PERM_COMPLETION, &dialect_anthropic_count,
     "count_tokens", NULL, "Anthropic's count of a request's tokens"},
    {HTTP_POST, "/v1beta/models/*:embedContent", SURFACE_NATIVE, PERM_EMBEDDING, &dialect_gemini_embed,
     "gemini_embed", NULL, "Gemini: embeddings of one text"},
    {HTTP_POST, "/v1beta/models/*:batchEmbedContents", SURFACE_NATIVE, PERM_EMBEDDING,
     &dialect_gemini_batch_embed, "gemini_batch_embed", NULL, "Gemini: embeddings of several texts"},
    {HTTP_POST, "/v1/models/*:embedContent", SURFACE_NATIVE, PERM_EMBEDDING, &dialect_gemini_embed,
     "gemini_embed", NULL, "Gemini: embeddings of one text"},
    {HTTP_POST, "/v1/models/*:batchEmbedContents", SURFACE_NATIVE, PERM_EMBEDDING,
     &dialect_gemini_batch_embed, "gemini_batch_embed", NULL, "Gemini: embeddings of several texts"},
    {HTTP_POST, "/v1/moderations", SURFACE_NATIVE, PERM_COMPLETION, &dialect_moderations, "moderations", NULL,
     "Moderation; passes through"},
    {HTTP_POST, "/v1/images/*", SURFACE_NATIVE, PERM_COMPLETION, &dialect_images, "images", NULL,
     "Images made, edited, varied; passes through"},
    {HTTP_POST, "/v1/audio/*", SURFACE_NATIVE, PERM_COMPLETION, &dialect_audio, "audio", NULL,
     "Speech, transcriptions, translations; passes through"},
    {HTTP_POST, "/v1/rerank", SURFACE_NATIVE, PERM_COMPLETION, &dialect_rerank, "rerank", NULL,
     "Documents by relevance; passes through"},
    {HTTP_POST, "/v2/rerank", SURFACE_NATIVE, PERM_COMPLETION, &dialect_rerank, "rerank", NULL,
     "The same, where Cohere's programs look for it"},
    {HTTP_POST, "/v1/files", SURFACE_NATIVE, PERM_COMPLETION, &dialect_files, "files", NULL,
     "Upload of a file; passes through"},
    {HTTP_GET, "/v1/files", SURFACE_NATIVE, PERM_COMPLETION, &dialect_files, "files", NULL,
     "Files; passes through"},
    {HTTP_GET, "/v1/files/*", SURFACE_NATIVE, PERM_COMPLETION, &dialect_files, "files", NULL,
     "One file, or its content; passes through"},
    {HTTP_DELETE, "/v1/files/*", SURFACE_NATIVE, PERM_COMPLETION, &dialect_files, "files", NULL,
     "A file's end; passes through"},
    {HTTP_POST, "/v1/uploads", SURFACE_NATIVE, PERM_COMPLETION, &dialect_files, "files", NULL,
     "Upload of a file in parts; passes through"},
    {HTTP_POST, "/v1/uploads/*", SURFACE_NATIVE, PERM_COMPLETION, &dialect_files, "files", NULL,
     "Its parts, completion, cancellation; passes through"},
    {HTTP_POST, "/v1/batches", SURFACE_NATIVE, PERM_COMPLETION, &dialect_batches, "batches", NULL,
     "A new batch; passes through"},
    {HTTP_GET, "/v1/batches", SURFACE_NATIVE, PERM_COMPLETION, &dialect_batches, "batches", NULL,
     "Batches; passes through"},
    {HTTP_GET, "/v1/batches/*", SURFACE_NATIVE, PERM_COMPLETION, &dialect_batches, "batches", NULL,
     "One batch; passes through"},
    {HTTP_POST, "/v1/batches/*", SURFACE_NATIVE, PERM_COMPLETION, &dialect_batches, "batches", NULL,
     "Its cancellation; passes through"},
    {HTTP_GET, "/v1/responses/*", SURFACE_NATIVE, PERM_COMPLETION, &dialect_stored_responses,
     "stored_responses", NULL, "A stored response; passes through"},
    {HTTP_POST, "/v1/responses/*", SURFACE_NATIVE, PERM_COMPLETION, &dialect_stored_responses,
     "stored_responses", NULL, "Its cancellation; passes through"},
    {HTTP_DELETE, "/v1/responses/*", SURFACE_NATIVE, PERM_COMPLETION, &dialect_stored_responses,
     "stored_responses", NULL, "Its end; passes through"},
    {HTTP_POST, "/api/v1/completion", SURFACE_S3, PERM_COMPLETION, &dialect_openai_completions,
     "s3_completion", NULL, "S3: chat completion; the model as provider.model or a mapping's id"},
    {HTTP_POST, "/api/v1/completion/stream", SURFACE_S3, PERM_COMPLETION, &dialect_openai_completions,
     "s3_completion", NULL, "S3: the same, streamed"},
    {HTTP_POST, "/api/v1/embedding", SURFACE_S3, PERM_EMBEDDING, &dialect_openai_embeddings, "s3_embedding",
     NULL, "S3: embeddings"},
    {HTTP_GET, "/api/v1/models", SURFACE_S3, ANY, CHAT, NULL, surface_s3_models,
     "S3: models this key may use"},
    {HTTP_GET, "/api/v1/models/provider/*", SURFACE_S3, ANY, CHAT, NULL, surface_s3_provider_models,
     "S3: those of one provider"},
    {HTTP_GET, "/api/v1/models/*", SURFACE_S3, ANY, CHAT, NULL, surface_s3_model, "S3: one model"},
    {HTTP_GET, "/api/v1/admin/usage", SURFACE_S3, ADMIN, CHAT, NULL, surface_s3_usage,
     "S3: usage of some days by provider, model, user and day"},
    {HTTP_POST, "/api/query", SURFACE_S4, PERM_COMPLETION, QUERY, "s4_query", NULL,
     "S4: a question and its answer, with tokens and cost"},
    {HTTP_GET, "/api/status", SURFACE_S4, ANY, QUERY, NULL, surface_s4_status,
     "S4: which providers can be asked, and why not"},
    {HTTP_POST, "/v1/gateway/query", SURFACE_S4, PERM_COMPLETION, QUERY, "s4_gateway", NULL,
     "S4: the same with a ceiling of cost, a dry run, a tenant"},
    {HTTP_POST, "/v1/gateway/cost-estimate", SURFACE_S4, PERM_COMPLETION, QUERY, NULL, surface_s4_estimate,
     "S4: what a question would cost, here and at the alternatives"},
    {HTTP_GET, "/v1beta/models", SURFACE_NATIVE, ANY, GEMINI, NULL, surface_gemini_models,
     "Gemini: models this key may use"},
    {HTTP_GET, "/v1beta/models/*", SURFACE_NATIVE, ANY, GEMINI, NULL, surface_gemini_model,
     "Gemini: one model"},
    {HTTP_GET, "/v1/models", SURFACE_NATIVE, ANY, CHAT, NULL, surface_models, "Models this key may use"},
    {HTTP_GET, "/v1/capabilities", SURFACE_NATIVE, ANY, CHAT, NULL, surface_capabilities,
     "What each model can be asked for"},
    {HTTP_GET, "/v1/models/*", SURFACE_NATIVE, ANY, CHAT, NULL, surface_model, "One model"},
    {HTTP_GET, "/", PAGE, OPEN, CHAT, NULL, surface_ui, "The web page"},
    {HTTP_GET, "/ui/", PAGE, OPEN, CHAT, NULL, surface_ui, "The web page, too"},
    {HTTP_GET, "/ui/session", PAGE, OPEN, CHAT, NULL, surface_ui_session,
     "What the web page can do here, with this key"},
    {HTTP_GET, "/ui/*", PAGE, OPEN, CHAT, NULL, surface_ui_file, "Its files"},
    {HTTP_GET, "/docs", PAGE, OPEN, CHAT, NULL, surface_docs, "This description, to read and to try"},
    {HTTP_GET, "/openapi.json", SURFACE_ALL, OPEN, CHAT, NULL, surface_openapi,
     "The description of the whole API"},
    {HTTP_GET, "/health", SURFACE_ALL, OPEN, CHAT, NULL, surface_health, "Can it serve"},
    {HTTP_GET, "/livez", SURFACE_ALL, OPEN, CHAT, NULL, surface_livez, "The process is up"},
    {HTTP_GET, "/readyz", SURFACE_ALL, OPEN, CHAT, NULL, surface_readyz, "A worker accepts"},
    {HTTP_POST, "/api/v1/llm/chat/completions", S1, PERM_COMPLETION, LLM, "s1", NULL,
     "Chat completion, whole or streamed, with its cost"},
    {HTTP_GET, "/api/v1/llm/status", S1, ANY, LLM, NULL, surface_s1_status, "Version, workers, features"},
    {HTTP_GET, "/api/v1/llm/health", S1, ANY, LLM, NULL, surface_s1_health, "Can it serve, and who"},
    {HTTP_GET, "/api/v1/llm/metrics", S1, ANY, LLM, NULL, surface_s1_metrics,
     "Requests, times and cost of a past hour, day, week or month"},
    {HTTP_POST, "/api/v1/llm/test", S1, ADMIN, LLM, NULL, surface_s1_test,
     "A small real message to each provider, or to one"},
    {HTTP_POST, "/api/v1/llm/cache/clear", S1, ADMIN, LLM, NULL, surface_s1_cache_clear, "Clear the cache"},
    {HTTP_GET, "/api/v1/llm/logs", S1, ADMIN, LLM, NULL, surface_s1_logs,
     "Requests, responses and errors, newest first"},
    {HTTP_POST, "/chat/completions", S0, PERM_COMPLETION, CHAT, "s0", NULL,
     "Chat completion, as under /v1; the model may be left out"},
    {HTTP_GET, "/providers/status", S0, ANY, CHAT, NULL, surface_s0_providers,
     "Providers, their state and what they did"},
    {HTTP_GET, "/models/available", S0, ANY, CHAT, NULL, surface_s0_models,
     "Models, and whether they can answer now"},
    {HTTP_GET, "/metrics", SURFACE_METRICS, ANY, CHAT, NULL, surface_metrics,
     "Prometheus text, of all workers together"},
    {HTTP_GET, "/admin/v1/usage", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_usage,
     "Requests, tokens and money, grouped"},
    {HTTP_POST, "/admin/v1/usage/reprice", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_reprice,
     "Costs of a time by today's prices"},
    {HTTP_GET, "/admin/v1/usage/reprice/*", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_reprice_state,
     "How far that is"},
    {HTTP_GET, "/admin/v1/ledger", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_ledger,
     "The ledger's records, oldest first"},
    {HTTP_GET, "/admin/v1/ledger/verify", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_ledger_verify,
     "Is it all as it was written"},
    {HTTP_GET, "/admin/v1/budgets", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_budgets,
     "What budgets have left"},
    {HTTP_GET, "/admin/v1/logs", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_logs,
     "Requests and events, newest first"},
    {HTTP_DELETE, "/admin/v1/cache", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_cache_clear,
     "Clear the cache, or a part of it"},
    {HTTP_GET, "/admin/v1/cache/stats", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_cache_stats,
     "Entries, hits, misses"},
    {HTTP_GET, "/admin/v1/workers", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_workers, "Processes"},
    {HTTP_GET, "/admin/v1/providers", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_providers,
     "Providers, targets, keys and their state"},
    {HTTP_POST, "/admin/v1/providers/*/drain", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_provider_drain,
     "No new requests go there"},
    {HTTP_POST, "/admin/v1/providers/*/enable", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_provider_enable,
     "They do again"},
    {HTTP_POST, "/admin/v1/providers/*/reset", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_provider_reset,
     "Breakers closed, keys rested"},
    {HTTP_POST, "/admin/v1/providers/*/weight", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_provider_weight,
     "A key's share of the requests"},
    {HTTP_GET, "/admin/v1/keys", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_keys, "Gateway keys"},
    {HTTP_POST, "/admin/v1/keys", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_key_create,
     "A new one; its secret is in the answer, and nowhere else"},
    {HTTP_POST, "/admin/v1/keys/*/rotate", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_key_rotate,
     "A new secret; the old one stays good for the grace"},
    {HTTP_GET, "/admin/v1/keys/*", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_key, "One gateway key"},
    {HTTP_PATCH, "/admin/v1/keys/*", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_key_change,
     "What the key may do, and how long"},
    {HTTP_DELETE, "/admin/v1/keys/*", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_key_revoke,
     "It is good no more"},
    {HTTP_GET, "/admin/v1/alerts", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_alerts,
     "What is wrong now, and what was lately"},
    {HTTP_GET, "/admin/v1/config", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_config,
     "The running configuration, redacted"},
    {HTTP_POST, "/admin/v1/explain", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_explain,
     "Where a request would go, and why; nothing is sent"},
    {HTTP_POST, "/admin/v1/reload", SURFACE_ADMIN, ADMIN, CHAT, NULL, surface_reload,
     "What SIGHUP does, with its result"},
};
const size_t surface_routes_n = sizeof(surface_routes) / sizeof(*surface_routes);

bool surface_streams(const struct surface_route *r) {
    return strstr(r->path, ":stream") != NULL || str_ends(str_of(r->path), "/stream");
}

static bool path_matches(const char *pattern, struct str path, struct str *rest) {
    const char *star = strchr(pattern, '*');
    *rest = STR_NONE;
    if (!star)
        return str_is(path, pattern);
    size_t before = (size_t)(star - pattern), behind = strlen(star + 1);
    if (path.n <= before + behind || memcmp(path.p, pattern, before) != 0 || !str_ends(path, star + 1))
        return false;
    *rest = str_make(path.p + before, path.n - before - behind);
    return true;
}

static void allow_add(char allow[64], const char *method) {
    size_t n = strlen(allow);
    struct str both[2] = {n ? STR(", ") : STR(""), str_of(method)};
    for (size_t i = 0; i < 2; i++) {
        str_copy(allow + n, 64 - n, both[i]);
        n = strlen(allow);
    }
}

static const char *method_name(enum http_method m) {
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", ""};
    return names[m];
}

enum route_result surface_find(enum http_method m, struct str path, unsigned surfaces,
                               const struct surface_route **r, struct str *rest, char allow[64]) {
    enum http_method want = m == HTTP_HEAD ? HTTP_GET : m;
    allow[0] = '\0';
    for (size_t i = 0; i < surface_routes_n; i++) {
        const struct surface_route *row = &surface_routes[i];
        if (!(row->surface & surfaces) || !path_matches(row->path, path, rest))
            continue;
        if (row->method == want) {
            *r = row;
            return ROUTE_FOUND;
        }
        allow_add(allow, method_name(row->method));
        if (row->method == HTTP_GET)
            allow_add(allow, "HEAD");
    }
    return allow[0] ? ROUTE_NO_METHOD : ROUTE_NO_PATH;
}

unsigned surface_permission(const struct surface_route *r, const struct conf *c, const struct exchange *x) {
    return r->permission | (r->surface & x->surfaces & c->auth.open_surfaces ? PERM_OPEN : 0);
}

bool surface_is_admin(struct str path) {
    struct str rest;
    for (size_t i = 0; i < surface_routes_n; i++)
        if ((surface_routes[i].permission & PERM_ADMIN) && path_matches(surface_routes[i].path, path, &rest))
            return true;
    return false;
}

/* Whose shape errors have, also those of paths that nobody knows. */
struct base {
    const char *path;
    const struct dialect *dialect;
};
static const struct base bases[] = {{"/api/v1/llm", LLM}, {"/v1/gateway", QUERY}},
                         fallbacks[] = {{"/v1beta", GEMINI},
                                        {"/v1/messages", MESSAGES}}; /* behind the routes */

static const struct dialect *below(const struct base *list, size_t n, struct str path) {
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(list[i].path);
        if (str_starts(path, list[i].path) && (path.n == len || path.p[len] == '/'))
            return list[i].dialect;
    }
    return NULL;
}

const struct dialect *surface_dialect(struct str path) {
    struct str rest;
    const struct dialect *d = below(bases, sizeof bases / sizeof *bases, path);
    for (size_t i = 0; i < surface_routes_n && !d; i++)
        if (path_matches(surface_routes[i].path, path, &rest))
            d = surface_routes[i].dialect;
    if (!d)
        d = below(fallbacks, sizeof fallbacks / sizeof *fallbacks, path);
    return d ? d : CHAT;
}
