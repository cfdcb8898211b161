/* Which dialect a recorded exchange is in, and which call no model. Of check_pairs.c. */
#ifndef PENSTOCK_TESTS_PAIRS_PLACES_H
#define PENSTOCK_TESTS_PAIRS_PLACES_H
#include "dialect/dialect.h"

/* By the recording's own name of its endpoint. A new dialect is a line here. */
static const struct {
    const char *endpoint, *provider, *dialect; /* provider NULL: any */
} places[] = {
    {"chat/completions", NULL, "openai_chat"},
    {"v1/chat", NULL, "openai_chat"},
    {"responses", NULL, "openai_responses"},
    {"responses/input_tokens", NULL, "openai_responses_count"},
    {"completions", NULL, "openai_completions"},
    {"embeddings", "ollama", "ollama_embed"}, /* its own, older API */
    {"embeddings", NULL, "openai_embeddings"},
    {"messages", NULL, "anthropic"},
    {"messages/count_tokens", NULL, "anthropic_count"},
    {"generateContent", NULL, "gemini"},
    {"streamGenerateContent", NULL, "gemini"},
    {"interactions", NULL, "gemini_interactions"},
    {"countTokens", NULL, "gemini_count"},
    {"v2/chat", NULL, "cohere"},
    {"embed", "cohere", "cohere_embed"},
    {"converse", NULL, "bedrock"},
    {"converse-stream", NULL, "bedrock"},
    {"invoke", NULL, "bedrock_invoke"},
    {"invoke-with-response-stream", NULL, "bedrock_invoke"},
    {"api/chat", NULL, "ollama"},
    {"api/generate", NULL, "ollama"}, /* the same answers, with the text under another name */
    {"generate", "huggingface", "tgi"},
    {"moderations", NULL, "moderations"},
    {"rerank", NULL, "rerank"},
};

/* Where no model is called, so that no dialect is for it. */
static const char *const no_calls[] = {
    "models",     /* a list of them: the gateway tells its own */
    "models/get", /* one, a deleted one, or a job */
};

static inline bool is_no_call(struct str endpoint) {
    for (size_t i = 0; i < sizeof no_calls / sizeof *no_calls; i++)
        if (str_is(endpoint, no_calls[i]))
            return true;
    return false;
}

static inline const struct dialect *dialect_of(struct str endpoint, struct str provider) {
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (str_is(endpoint, places[i].endpoint) &&
            (!places[i].provider || str_is(provider, places[i].provider)))
            return dialect_by_name(str_of(places[i].dialect));
    return NULL;
}
#endif
