/* The table of dialects. A new wire format is a new file and a row here. */
#include "dialect/dialect.h"

/* clang-format off */
static const struct dialect *const table[] = {
    &dialect_openai_chat,
    &dialect_mistral_chat,
    &dialect_openai_responses,
    &dialect_openai_responses_count,
    &dialect_openai_completions,
    &dialect_enterprise,
    &dialect_openai_embeddings,
    &dialect_anthropic,
    &dialect_anthropic_count,
    &dialect_gemini,
    &dialect_gemini_interactions,
    &dialect_gemini_count,
    &dialect_gemini_embed,
    &dialect_gemini_batch_embed,
    &dialect_cohere,
    &dialect_cohere_embed,
    &dialect_bedrock,
    &dialect_bedrock_invoke,
    &dialect_ollama,
    &dialect_ollama_embed,
    &dialect_tgi,
    &dialect_query,
    &dialect_moderations,
    &dialect_images,
    &dialect_audio,
    &dialect_rerank,
    &dialect_files,
    &dialect_batches,
    &dialect_stored_responses,
};
/* clang-format on */

const struct dialect *dialect_by_name(struct str name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (str_is(name, table[i]->name))
            return table[i];
    return NULL;
}

const struct dialect *dialect_really(const struct dialect *client, struct str body, struct str agent) {
    return client->client->really ? client->client->really(body, agent) : client;
}

const struct dialect *dialect_at(size_t i) {
    return i < sizeof table / sizeof *table ? table[i] : NULL;
}
