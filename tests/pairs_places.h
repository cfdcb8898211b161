/* Which dialect a recorded exchange is in, and why some are in none. Of check_pairs.c. */
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
    {"countTokens", NULL, "gemini_count"},
    {"v2/chat", NULL, "cohere"},
    {"embed", "cohere", "cohere_embed"},
    {"converse", NULL, "bedrock"},
    {"converse-stream", NULL, "bedrock"},
    {"invoke", NULL, "bedrock_invoke"},
    {"invoke-with-response-stream", NULL, "bedrock_invoke"},
    {"api/chat", NULL, "ollama"},
    {"api/generate", NULL, "ollama"}, /* the same answers, with the text under another name */
    {"moderations", NULL, "moderations"},
    {"rerank", NULL, "rerank"},
};

/* What no dialect is for, and why. */
static const struct {
    const char *endpoint, *why;
} reasons[] = {
    {"models", "a list of models: the gateway tells its own"},
    {"models/get", "a model, a deleted one, or a job: no model is called"},
    {"generate", "TGI's older API: the same servers speak OpenAI's chat"},
    {"interactions",
     "Gemini's second API, which keeps its turns itself: the same models speak generateContent"},
};

static inline const char *reason_of(struct str endpoint) {
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (str_is(endpoint, reasons[i].endpoint))
            return reasons[i].why;
    return NULL;
}

static inline const struct dialect *dialect_of(struct str endpoint, struct str provider) {
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (str_is(endpoint, places[i].endpoint) &&
            (!places[i].provider || str_is(provider, places[i].provider)))
            return dialect_by_name(str_of(places[i].dialect));
    return NULL;
}
#endif
