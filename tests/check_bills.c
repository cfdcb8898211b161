/* Golden bills: for every provider the usage it sends, the counts of each class we take from it, and the
 * exact nano-dollars. Each goes whole and streamed through the dialect's reader and through its tap. What is
 * said to be recorded is read from the recording too, where the recordings are at hand (PENSTOCK_SHARED names
 * the folder that holds wire/recorded). */
#include "base/eventstream.h"
#include "base/hash.h"
#include "dialect_feed.h"
#include "policy/price.h"
#include "upstream/provider.h"

#include <check.h>

struct bill {
    const char *kind, *dialect, *model;
    const char *usage;    /* as on the wire */
    const char *recorded; /* below wire/recorded, or NULL */
    struct usage want;
    const struct conf_prices *own;
    int64_t nano; /* -1: no price is known */
};

/* In nano-dollars a token: 2.5, 1.25, 10, 40, 80 dollars per million. */
static const struct conf_prices audio_openai = {2500000000, 1250000000,  -1,         10000000000,
                                                -1,         40000000000, 80000000000};
static const struct conf_prices audio_google = {300000000, 30000000,   -1,         2500000000,
                                                -1,        1000000000, 10000000000};
/* Reasoning dearer than text. */
static const struct conf_prices thinker = {1000000000, -1, -1, 2000000000, 3000000000, -1, -1};
static const struct conf_prices own_machine = {0, -1, -1, 0, -1, -1, -1};

/* clang-format off */
#define COUNT(...) {.known = true, .cost_nano = -1, __VA_ARGS__}
#define TOLD(nano, ...) {.known = true, .cost_nano = nano, __VA_ARGS__}
static const struct bill bills[] = {
    /* --- OpenAI: cached, written, audio inside the input; reasoning inside the output --- */
    {"openai", "openai_chat", "gpt-5-nano-2025-08-07",
     "{\"completion_tokens\":280,\"completion_tokens_details\":{\"accepted_prediction_tokens\":0,\"audio_tokens\":0,\"reasoning_tokens\":256,\"rejected_prediction_tokens\":0},"
     "\"prompt_tokens\":21,\"prompt_tokens_details\":{\"audio_tokens\":0,\"cached_tokens\":0},\"total_tokens\":301}",
     "openai/chat-completions__chat-json-mode__0.json",
     COUNT(.input = 21, .output = 280, .reasoning = 256), NULL,
     113050}, /* 21 * 50 + 280 * 400 */
    {"openai", "openai_chat", "gpt-5.6-sol",
     "{\"prompt_tokens\":1220,\"completion_tokens\":100,\"total_tokens\":1320,\"prompt_tokens_details\":{\"cached_tokens\":0,\"cache_write_tokens\":1217,\"audio_tokens\":0},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":100,\"audio_tokens\":0}}",
     "openai/chat-completions__completion-prompt-caching-5-6-cache-write__0.json",
     COUNT(.input = 1220, .cache_write = 1217, .output = 100, .reasoning = 100), NULL,
     8097000}, /* 3 * 4000 + 1217 * 5000 + 100 * 20000 */
    {"openai", "openai_chat", "gpt-4o-audio-preview",
     "{\"prompt_tokens\":170,\"completion_tokens\":90,\"total_tokens\":260,\"prompt_tokens_details\":{\"cached_tokens\":20,\"audio_tokens\":100},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":60}}",
     NULL, COUNT(.input = 170, .cache_read = 20, .audio_in = 100, .output = 90, .audio_out = 60), &audio_openai,
     9250000}, /* 50 * 2500 + 20 * 1250 + 100 * 40000 + 30 * 10000 + 60 * 80000 */
    {"openai", "openai_chat", "gpt-4o", /* the list has no prices of audio: as text */
     "{\"prompt_tokens\":170,\"completion_tokens\":90,\"total_tokens\":260,\"prompt_tokens_details\":{\"cached_tokens\":20,\"audio_tokens\":100},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":60}}",
     NULL, COUNT(.input = 170, .cache_read = 20, .audio_in = 100, .output = 90, .audio_out = 60), NULL,
     1300000}, /* 150 * 2500 + 20 * 1250 + 90 * 10000 */
    {"openai", "openai_chat", "gpt-5.4", /* above 271999: the tier's prices for all */
     "{\"prompt_tokens\":300000,\"completion_tokens\":1000,\"total_tokens\":301000,\"prompt_tokens_details\":{\"cached_tokens\":100000},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":600}}",
     NULL, COUNT(.input = 300000, .cache_read = 100000, .output = 1000, .reasoning = 600), NULL,
     1072500000}, /* 200000 * 5000 + 100000 * 500 + 1000 * 22500 */
    {"openai", "openai_chat", "gpt-5.4", /* the last token below it */
     "{\"prompt_tokens\":271999,\"completion_tokens\":1000,\"total_tokens\":272999}",
     NULL, COUNT(.input = 271999, .output = 1000), NULL,
     694997500}, /* 271999 * 2500 + 1000 * 15000 */
    {"openai", "openai_responses", "gpt-5-mini",
     "{\"input_tokens\":422,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":104,\"output_tokens_details\":{\"reasoning_tokens\":64},\"total_tokens\":526}",
     "openai/responses__openai-mcp-tool-approval-1.json",
     COUNT(.input = 422, .output = 104, .reasoning = 64), NULL,
     313500}, /* 422 * 250 + 104 * 2000 */
    {"openai", "openai_responses", "gpt-5.6-luna",
     "{\"input_tokens\":158,\"input_tokens_details\":{\"cache_write_tokens\":43,\"cached_tokens\":0},\"output_tokens\":32,\"output_tokens_details\":{\"reasoning_tokens\":10},\"total_tokens\":190}",
     "bedrock-mantle/responses__reused-tool-call-ids-stream__2.json",
     COUNT(.input = 158, .cache_write = 43, .output = 32, .reasoning = 10), NULL,
     72150}, /* 115 * 200 + 43 * 250 + 32 * 1200 */
    {"openai", "openai_responses", "gpt-5.4",
     "{\"input_tokens\":7112,\"input_tokens_details\":{\"cached_tokens\":3072},\"output_tokens\":463,\"output_tokens_details\":{\"reasoning_tokens\":64},\"total_tokens\":7575}",
     "openai/responses__openai-phase-1-stream.json", /* of another model, which the list does not have */
     COUNT(.input = 7112, .cache_read = 3072, .output = 463, .reasoning = 64), NULL,
     17813000}, /* 4040 * 2500 + 3072 * 250 + 463 * 15000 */
    {"openai", "openai_embeddings", "text-embedding-3-small", "{\"prompt_tokens\":5,\"total_tokens\":5}",
     "openai/embeddings__embeddings-dimensions__0.json", COUNT(.input = 5), NULL, 100}, /* 5 * 20 */
    {"openai", "openai_completions", "gpt-3.5-turbo", "{\"completion_tokens\":30,\"prompt_tokens\":25,\"total_tokens\":55}",
     "openai/completions__completion-suffix__0.json", COUNT(.input = 25, .output = 30), NULL,
     57500}, /* 25 * 500 + 30 * 1500 */

    /* --- Azure --- */
    {"azure", "openai_chat", "gpt-5-nano",
     "{\"completion_tokens\":78,\"completion_tokens_details\":{\"audio_tokens\":0,\"reasoning_tokens\":64},\"prompt_tokens\":15,"
     "\"prompt_tokens_details\":{\"audio_tokens\":0,\"cached_tokens\":0},\"total_tokens\":93}",
     "azure/chat-completions__azure-model-router-1-stream.json",
     COUNT(.input = 15, .output = 78, .reasoning = 64), NULL,
     31950}, /* 15 * 50 + 78 * 400 */
    {"azure", "openai_responses", "gpt-5-nano",
     "{\"input_tokens\":40,\"input_tokens_details\":{\"cache_write_tokens\":0,\"cached_tokens\":0},\"output_tokens\":171,\"output_tokens_details\":{\"reasoning_tokens\":128},\"total_tokens\":211}",
     "azure/responses__responses-protocol-dialects-with-azure-gpt-5-nano-chats-on-the-openai__1.json",
     COUNT(.input = 40, .output = 171, .reasoning = 128), NULL,
     70400}, /* 40 * 50 + 171 * 400 */
    {"azure", "openai_chat", "grok-4-1-fast-reasoning", /* more cached than read: xAI's cache stands beside the input then */
     "{\"prompt_tokens\":29,\"completion_tokens\":6,\"total_tokens\":35,\"audio_prompt_tokens\":0,\"prompt_tokens_details\":{\"cached_tokens\":157,\"audio_tokens\":0,\"text_tokens\":29,\"image_tokens\":0},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0},\"num_sources_used\":0}",
     "azure/chat-completions__with-params-azure-grok-4-1-fast-non-reasoning-supports-response-format__0.json",
     COUNT(.input = 186, .cache_read = 157, .output = 6), NULL,
     16650}, /* 29 * 200 + 157 * 50 + 6 * 500 */
    {"azure", "openai_chat", "grok-4-1-fast-reasoning", /* it says no cost here, not that it was for nothing */
     "{\"prompt_tokens\":205,\"completion_tokens\":18,\"total_tokens\":223,\"prompt_tokens_details\":{\"text_tokens\":205,\"audio_tokens\":0,\"image_tokens\":0,\"cached_tokens\":159},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":0},\"num_sources_used\":0,\"cost_in_usd_ticks\":0}",
     "azure/chat-completions__function-calling-azure-grok-4-1-fast-non-reasoning-can-use-tools-witho__0.json",
     COUNT(.input = 205, .cache_read = 159, .output = 18), NULL,
     26150}, /* 46 * 200 + 159 * 50 + 18 * 500 */

    {"azure", "openai_chat", "gpt-4o", /* the same of another is not believed */
     "{\"prompt_tokens\":29,\"completion_tokens\":6,\"total_tokens\":35,\"prompt_tokens_details\":{\"cached_tokens\":157}}",
     NULL, COUNT(.input = 29, .cache_read = 29, .output = 6), NULL,
     96250}, /* 29 * 1250 + 6 * 10000 */

    /* --- OpenRouter says the cost itself; of an account of one's own at the provider it leaves that part out --- */
    {"openrouter", "openai_chat", "google/gemini-2.5-flash",
     "{\"completion_tokens\":100,\"completion_tokens_details\":{\"audio_tokens\":0,\"image_tokens\":0,\"reasoning_tokens\":0},\"cost\":0.0004970133333333333,"
     "\"cost_details\":{\"upstream_inference_completions_cost\":0.00025,\"upstream_inference_cost\":0.0004970133333333333,\"upstream_inference_prompt_cost\":0.00024701333333333335},"
     "\"is_byok\":false,\"prompt_tokens\":2168,\"prompt_tokens_details\":{\"audio_tokens\":0,\"cache_write_tokens\":2161,\"cached_tokens\":2161,\"video_tokens\":0},\"total_tokens\":2268}",
     "openrouter/chat-completions__openrouter-cache-instructions-gemini-real-api__0.json",
     TOLD(497013, .input = 2168, .cache_read = 2161, .cache_write = 2161, .output = 100), NULL, 497013},
    {"openrouter", "openai_chat", "google/gemini-2.5-flash",
     "{\"completion_tokens\":33,\"completion_tokens_details\":{\"image_tokens\":0,\"reasoning_tokens\":0},\"cost\":0,"
     "\"cost_details\":{\"upstream_inference_completions_cost\":8.25e-05,\"upstream_inference_cost\":0.0002265,\"upstream_inference_prompt_cost\":0.000144},"
     "\"is_byok\":true,\"prompt_tokens\":480,\"prompt_tokens_details\":{\"audio_tokens\":0,\"cached_tokens\":0,\"video_tokens\":0},\"total_tokens\":513}",
     "openrouter/chat-completions__openrouter-google-nested-schema__1.json",
     TOLD(226500, .input = 480, .output = 33), NULL,
     226500}, /* 480 * 300 + 33 * 2500, and nothing for OpenRouter */
    {"openrouter", "openai_chat", "x-ai/grok-4",
     "{\"prompt_tokens\":687,\"completion_tokens\":187,\"total_tokens\":874,\"cost\":0.00333825,\"is_byok\":false,\"prompt_tokens_details\":{\"cached_tokens\":679,\"audio_tokens\":0},"
     "\"cost_details\":{\"upstream_inference_cost\":null,\"upstream_inference_prompt_cost\":0.00053325,\"upstream_inference_completions_cost\":0.002805},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":118,\"image_tokens\":0}}",
     "openrouter/chat-completions__openrouter-stream-with-native-options__0.json",
     TOLD(3338250, .input = 687, .cache_read = 679, .output = 187, .reasoning = 118), NULL, 3338250},
    {"openrouter", "openai_chat", "minimax/minimax-m2:free", /* more reasoning than output, and free */
     "{\"prompt_tokens\":43,\"completion_tokens\":10,\"total_tokens\":53,\"cost\":0,\"is_byok\":false,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
     "\"cost_details\":{\"upstream_inference_cost\":null},\"completion_tokens_details\":{\"reasoning_tokens\":11,\"image_tokens\":0}}",
     NULL, TOLD(0, .input = 43, .output = 10, .reasoning = 10), NULL, 0},
    {"openrouter", "openai_responses", "openai/gpt-oss-20b",
     "{\"input_tokens\":78,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":37,\"output_tokens_details\":{\"reasoning_tokens\":22},\"total_tokens\":115,\"cost\":0.0000113,\"is_byok\":false}",
     "openrouter/responses__openai-responses-raw-cot-stream-openrouter__0.json",
     TOLD(11300, .input = 78, .output = 37, .reasoning = 22), NULL, 11300},
    {"openrouter", "openai_embeddings", "openai/text-embedding-3-small",
     "{\"prompt_tokens\":7,\"total_tokens\":7,\"cost\":1.4e-7,\"is_byok\":false}",
     "openrouter/embeddings__embedding-basic-functionality-openrouter-openai-text-embedding-3-small__0.json",
     TOLD(140, .input = 7), NULL, 140},

    /* --- Anthropic: cached and written beside the input --- */
    {"anthropic", "anthropic", "claude-opus-5",
     "{\"input_tokens\":51,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"cache_creation\":{\"ephemeral_5m_input_tokens\":0,\"ephemeral_1h_input_tokens\":0},"
     "\"output_tokens\":1699,\"output_tokens_details\":{\"thinking_tokens\":139},\"service_tier\":\"standard\"}",
     "anthropic/messages__anthropic-claude-opus-5-reasoning-high-1.json",
     COUNT(.input = 51, .output = 1699, .reasoning = 139), NULL,
     42730000}, /* 51 * 5000 + 1699 * 25000 */
    {"anthropic", "anthropic", "claude-sonnet-5",
     "{\"cache_creation\":{\"ephemeral_1h_input_tokens\":0,\"ephemeral_5m_input_tokens\":426},\"cache_creation_input_tokens\":426,\"cache_read_input_tokens\":14210,"
     "\"input_tokens\":4,\"output_tokens\":290,\"output_tokens_details\":{\"thinking_tokens\":15}}",
     "anthropic/messages__anthropic-code-execution-files-cache-prefix-stable-messages-sonnet-5__2.json",
     COUNT(.input = 14640, .cache_read = 14210, .cache_write = 426, .output = 290, .reasoning = 15), NULL,
     6815000}, /* 4 * 2000 + 14210 * 200 + 426 * 2500 + 290 * 10000 */
    {"anthropic", "anthropic", "claude-sonnet-5",
     "{\"input_tokens\":6,\"cache_creation_input_tokens\":3337,\"cache_read_input_tokens\":6289,\"output_tokens\":198,\"output_tokens_details\":{\"thinking_tokens\":0}}",
     "anthropic/messages__anthropic-code-execution-20260120-prompt-cache-1-stream.json",
     COUNT(.input = 9632, .cache_read = 6289, .cache_write = 3337, .output = 198), NULL,
     11592300}, /* 6 * 2000 + 6289 * 200 + 3337 * 2500 + 198 * 10000 */
    {"anthropic", "anthropic", "claude-sonnet-4-6", /* recorded of one that the list does not have */
     "{\"input_tokens\":17,\"cache_creation_input_tokens\":2056,\"cache_read_input_tokens\":0,\"cache_creation\":{\"ephemeral_5m_input_tokens\":0,\"ephemeral_1h_input_tokens\":2056},\"output_tokens\":100}",
     "anthropic/messages__anthropic-completion-cache-write-1h-ttl__0.json",
     COUNT(.input = 2073, .cache_write = 2056, .cache_write_1h = 2056, .output = 100), NULL,
     13887000}, /* 17 * 3000 + 2056 * 2 * 3000 + 100 * 15000 */
    {"anthropic", "anthropic", "claude-haiku-4-5-20251001", /* written for five minutes and for an hour */
     "{\"input_tokens\":10,\"cache_creation_input_tokens\":3000,\"cache_read_input_tokens\":2000,\"cache_creation\":{\"ephemeral_5m_input_tokens\":1000,\"ephemeral_1h_input_tokens\":2000},"
     "\"output_tokens\":50,\"output_tokens_details\":{\"thinking_tokens\":20}}",
     NULL, COUNT(.input = 5010, .cache_read = 2000, .cache_write = 3000, .cache_write_1h = 2000, .output = 50, .reasoning = 20), NULL,
     5710000}, /* 10 * 1000 + 2000 * 100 + 1000 * 1250 + 2000 * 2 * 1000 + 50 * 5000 */
    {"anthropic", "anthropic", "claude-sonnet-4-5-20250929",
     "{\"input_tokens\":404500,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":943,\"output_tokens_details\":{\"thinking_tokens\":261}}",
     "anthropic/messages__pause-turn-web-search-streaming-vcr__0.json",
     COUNT(.input = 404500, .output = 943, .reasoning = 261), NULL,
     2448217500}, /* above 200000: 404500 * 6000 + 943 * 22500 */
    {"anthropic", "anthropic", "claude-sonnet-4-5", /* what is cached counts for the tier, and has prices there */
     "{\"input_tokens\":1000,\"cache_creation_input_tokens\":20000,\"cache_read_input_tokens\":190000,\"cache_creation\":{\"ephemeral_5m_input_tokens\":15000,\"ephemeral_1h_input_tokens\":5000},\"output_tokens\":100}",
     NULL, COUNT(.input = 211000, .cache_read = 190000, .cache_write = 20000, .cache_write_1h = 5000, .output = 100), NULL,
     294750000}, /* 1000 * 6000 + 190000 * 600 + 15000 * 7500 + 5000 * 2 * 6000 + 100 * 22500 */
    {"anthropic", "anthropic", "claude-sonnet-4-6", /* a pass that the counts at the top leave out */
     "{\"input_tokens\":181,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":8,\"iterations\":["
     "{\"input_tokens\":100,\"output_tokens\":83,\"cache_read_input_tokens\":55096,\"cache_creation_input_tokens\":0,\"type\":\"compaction\"},"
     "{\"input_tokens\":181,\"output_tokens\":8,\"cache_read_input_tokens\":0,\"cache_creation_input_tokens\":0,\"type\":\"message\"}]}",
     "anthropic/messages__anthropic-compaction-usage-with-cache-streaming__0.json",
     COUNT(.input = 55377, .cache_read = 55096, .output = 91), NULL,
     18736800}, /* 281 * 3000 + 55096 * 300 + 91 * 15000 */

    /* --- Gemini: thoughts beside the candidates, its tools' tokens beside the prompt --- */
    {"gemini", "gemini", "gemini-3.1-pro-preview",
     "{\"promptTokenCount\":339,\"candidatesTokenCount\":23,\"totalTokenCount\":413,\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":339}],\"thoughtsTokenCount\":51}",
     "gemini/generateContent__function-calling-thought-signatures-gemini-gemini-3-1-pro-preview-incl__1.json",
     COUNT(.input = 339, .output = 74, .reasoning = 51), NULL,
     1566000}, /* 339 * 2000 + 74 * 12000 */
    {"gemini", "gemini", "gemini-2.5-pro",
     "{\"promptTokenCount\":147,\"candidatesTokenCount\":108,\"totalTokenCount\":783,\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":147}],"
     "\"toolUsePromptTokenCount\":360,\"toolUsePromptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":360}],\"thoughtsTokenCount\":168}",
     "gemini/streamGenerateContent__code-execution-stream__0.json",
     COUNT(.input = 507, .output = 276, .reasoning = 168), NULL,
     3393750}, /* 507 * 1250 + 276 * 10000 */
    {"gemini", "gemini", "gemini-2.5-flash", /* half of the audio from the cache: it is paid as cached */
     "{\"promptTokenCount\":1000,\"cachedContentTokenCount\":500,\"candidatesTokenCount\":40,\"thoughtsTokenCount\":60,\"totalTokenCount\":1100,"
     "\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":200},{\"modality\":\"AUDIO\",\"tokenCount\":800}],"
     "\"cacheTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":100},{\"modality\":\"AUDIO\",\"tokenCount\":400}],"
     "\"candidatesTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":10},{\"modality\":\"AUDIO\",\"tokenCount\":30}]}",
     NULL, COUNT(.input = 1000, .cache_read = 500, .audio_in = 400, .output = 100, .reasoning = 60, .audio_out = 30), &audio_google,
     920000}, /* 100 * 300 + 500 * 30 + 400 * 1000 + 70 * 2500 + 30 * 10000 */
    {"gemini", "gemini", "gemini-3.1-pro-preview",
     "{\"promptTokenCount\":250000,\"cachedContentTokenCount\":50000,\"candidatesTokenCount\":1000,\"thoughtsTokenCount\":500,\"totalTokenCount\":251500}",
     NULL, COUNT(.input = 250000, .cache_read = 50000, .output = 1500, .reasoning = 500), NULL,
     847000000}, /* above 200000: 200000 * 4000 + 50000 * 400 + 1500 * 18000 */
    {"gemini", "gemini", "gemini-x", /* thoughts at a price of their own */
     "{\"promptTokenCount\":10,\"candidatesTokenCount\":5,\"thoughtsTokenCount\":7,\"totalTokenCount\":22}",
     NULL, COUNT(.input = 10, .output = 12, .reasoning = 7), &thinker,
     41000}, /* 10 * 1000 + 5 * 2000 + 7 * 3000 */

    /* --- Vertex --- */
    {"vertex", "gemini", "gemini-3.1-pro-preview",
     "{\"promptTokenCount\":310,\"candidatesTokenCount\":23,\"totalTokenCount\":417,\"trafficType\":\"ON_DEMAND\",\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":310}],"
     "\"candidatesTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":23}],\"thoughtsTokenCount\":84}",
     "vertex/generateContent__function-calling-thought-signatures-vertexai-gemini-3-1-pro-preview-in__2.json",
     COUNT(.input = 310, .output = 107, .reasoning = 84), NULL,
     1904000}, /* 310 * 2000 + 107 * 12000 */
    {"vertex", "gemini", "gemini-2.5-flash",
     "{\"promptTokenCount\":76,\"candidatesTokenCount\":7,\"totalTokenCount\":140,\"trafficType\":\"ON_DEMAND\",\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":76}],"
     "\"candidatesTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":7}],\"thoughtsTokenCount\":57}",
     "vertex/streamGenerateContent__function-calling-vertexai-gemini-2-5-flash-can-use-tools-without-param__3.json",
     COUNT(.input = 76, .output = 64, .reasoning = 57), NULL,
     182800}, /* 76 * 300 + 64 * 2500 */
    {"vertex", "gemini", "gemini-2.5-flash", /* modalities by number: 4 is audio */
     "{\"promptTokenCount\":75,\"candidatesTokenCount\":10,\"totalTokenCount\":85,\"trafficType\":1,\"promptTokensDetails\":[{\"modality\":1,\"tokenCount\":11},{\"modality\":4,\"tokenCount\":64}],"
     "\"candidatesTokensDetails\":[{\"modality\":1,\"tokenCount\":10}]}",
     NULL, COUNT(.input = 75, .audio_in = 64, .output = 10), &audio_google,
     92300}, /* 11 * 300 + 64 * 1000 + 10 * 2500 */
    {"vertex", "anthropic", "claude-haiku-4-5@20251001",
     "{\"cache_creation\":{\"ephemeral_1h_input_tokens\":0,\"ephemeral_5m_input_tokens\":1956},\"cache_creation_input_tokens\":1956,\"cache_read_input_tokens\":9511,\"input_tokens\":3,\"output_tokens\":44}",
     NULL, COUNT(.input = 11470, .cache_read = 9511, .cache_write = 1956, .output = 44), NULL,
     3619100}, /* 3 * 1000 + 9511 * 100 + 1956 * 1250 + 44 * 5000 */

    /* --- Mistral: audio beside the prompt --- */
    {"mistral", "openai_chat", "mistral-small-2603",
     "{\"prompt_tokens\":159,\"total_tokens\":187,\"completion_tokens\":28,\"prompt_tokens_details\":{\"cached_tokens\":128},\"service_tier\":\"standard\"}",
     "mistral/chat-completions__function-calling-mistral-mistral-small-latest-can-use-tools-with-multi__0.json",
     COUNT(.input = 159, .cache_read = 128, .output = 28), NULL,
     23370}, /* 31 * 150 + 128 * 15 + 28 * 600 */
    {"mistral", "openai_chat", "mistral-medium-3-5",
     "{\"completion_tokens\":104,\"num_cached_tokens\":32,\"prompt_tokens\":273,\"total_tokens\":377}",
     "mistral/chat-completions__multimodal-tool-return-matrix-direct-url-image-mistral__1.json",
     COUNT(.input = 273, .cache_read = 32, .output = 104), NULL,
     1146300}, /* 241 * 1500 + 32 * 150 + 104 * 7500 */
    {"mistral", "openai_chat", "mistral-small-2603",
     "{\"prompt_tokens\":9,\"total_tokens\":585,\"completion_tokens\":201,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":375}}",
     NULL, COUNT(.input = 384, .audio_in = 375, .output = 201), NULL,
     178200}, /* 384 * 150 + 201 * 600 */

    /* --- Groq --- */
    {"groq", "openai_chat", "openai/gpt-oss-120b",
     "{\"queue_time\":0.005354561,\"prompt_tokens\":343,\"prompt_time\":0.016828877,\"completion_tokens\":180,\"completion_time\":0.379143995,\"total_tokens\":523,"
     "\"total_time\":0.395972872,\"completion_tokens_details\":{\"reasoning_tokens\":153}}",
     "groq/chat-completions__tool-use-failed-error-streaming-with-text__1.json",
     COUNT(.input = 343, .output = 180, .reasoning = 153), NULL,
     159450}, /* 343 * 150 + 180 * 600 */
    {"groq", "openai_chat", "openai/gpt-oss-120b",
     "{\"prompt_tokens\":2000,\"completion_tokens\":100,\"total_tokens\":2100,\"prompt_tokens_details\":{\"cached_tokens\":1536},\"completion_tokens_details\":{\"reasoning_tokens\":40}}",
     NULL, COUNT(.input = 2000, .cache_read = 1536, .output = 100, .reasoning = 40), NULL,
     244800}, /* 464 * 150 + 1536 * 75 + 100 * 600 */

    /* --- DeepSeek --- */
    {"deepseek", "openai_chat", "deepseek-v4-flash",
     "{\"prompt_tokens\":495,\"completion_tokens\":65,\"total_tokens\":560,\"prompt_tokens_details\":{\"cached_tokens\":384},\"prompt_cache_hit_tokens\":384,\"prompt_cache_miss_tokens\":111}",
     "deepseek/chat-completions__function-calling-deepseek-deepseek-chat-can-use-tools-with-multi-turn__2.json",
     COUNT(.input = 495, .cache_read = 384, .output = 65), NULL,
     70008}, /* 111 * 220 + 384 * 7 + 65 * 660 */
    {"deepseek", "openai_chat", "deepseek-v4-pro",
     "{\"prompt_tokens\":1000,\"completion_tokens\":50,\"total_tokens\":1050,\"prompt_cache_hit_tokens\":896,\"prompt_cache_miss_tokens\":104,\"completion_tokens_details\":{\"reasoning_tokens\":30}}",
     NULL, COUNT(.input = 1000, .cache_read = 896, .output = 50, .reasoning = 30), NULL,
     187352}, /* 104 * 660 + 896 * 22 + 50 * 1980 */

    /* --- xAI: its chat counts reasoning beside the completion, its Responses inside; it says the cost in 10^-10 dollars --- */
    {"xai", "openai_chat", "grok-3-mini",
     "{\"prompt_tokens\":291,\"completion_tokens\":26,\"total_tokens\":506,\"prompt_tokens_details\":{\"text_tokens\":291,\"audio_tokens\":0,\"image_tokens\":0,\"cached_tokens\":244},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":189,\"audio_tokens\":0},\"num_sources_used\":0,\"cost_in_usd_ticks\":1399000}",
     "xai/chat-completions__xai-tool-call.json",
     TOLD(139900, .input = 291, .cache_read = 244, .output = 215, .reasoning = 189), NULL,
     139900}, /* 47 * 300 + 244 * 75 + 215 * 500 */
    {"xai", "openai_chat", "grok-3-mini",
     "{\"prompt_tokens\":12,\"completion_tokens\":1,\"total_tokens\":303,\"prompt_tokens_details\":{\"text_tokens\":12,\"audio_tokens\":0,\"image_tokens\":0,\"cached_tokens\":11},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":290,\"audio_tokens\":0},\"num_sources_used\":0,\"cost_in_usd_ticks\":1466250}",
     "xai/chat-completions__xai-text-stream.json",
     TOLD(146625, .input = 12, .cache_read = 11, .output = 291, .reasoning = 290), NULL, 146625},
    {"xai", "openai_chat", "grok-4.3", /* no cost said */
     "{\"prompt_tokens\":291,\"completion_tokens\":26,\"total_tokens\":506,\"prompt_tokens_details\":{\"cached_tokens\":244},\"completion_tokens_details\":{\"reasoning_tokens\":189}}",
     NULL, COUNT(.input = 291, .cache_read = 244, .output = 215, .reasoning = 189), NULL,
     645050}, /* 47 * 1250 + 244 * 200 + 215 * 2500 */
    {"xai", "openai_chat", "grok-4.5", /* above 199999 */
     "{\"prompt_tokens\":200000,\"completion_tokens\":10,\"total_tokens\":200010}",
     NULL, COUNT(.input = 200000, .output = 10), NULL,
     800120000}, /* 200000 * 4000 + 10 * 12000 */
    {"xai", "openai_responses", "grok-4.3",
     "{\"input_tokens\":303,\"input_tokens_details\":{\"cached_tokens\":128},\"output_tokens\":272,\"output_tokens_details\":{\"reasoning_tokens\":257},\"total_tokens\":575,"
     "\"num_sources_used\":0,\"num_server_side_tools_used\":0,\"cost_in_usd_ticks\":9243500,\"context_details\":{\"input_tokens\":303,\"output_tokens\":272}}",
     "xai/responses__function-calling-xai-grok-4-1-fast-non-reasoning-can-handle-multiple-t__0.json",
     TOLD(924350, .input = 303, .cache_read = 128, .output = 272, .reasoning = 257), NULL, 924350},
    {"xai", "openai_responses", "grok-4.3", /* the same by the list */
     "{\"input_tokens\":303,\"input_tokens_details\":{\"cached_tokens\":128},\"output_tokens\":272,\"output_tokens_details\":{\"reasoning_tokens\":257},\"total_tokens\":575}",
     NULL, COUNT(.input = 303, .cache_read = 128, .output = 272, .reasoning = 257), NULL,
     924350}, /* 175 * 1250 + 128 * 200 + 272 * 2500 */

    /* --- who resells: the list's price of the model --- */
    {"together", "openai_chat", "openai/gpt-oss-20b",
     "{\"prompt_tokens\":100,\"completion_tokens\":50,\"total_tokens\":150,\"cached_tokens\":40}",
     NULL, COUNT(.input = 100, .cache_read = 40, .output = 50), NULL,
     21000}, /* 60 * 75 + 40 * 37.5 + 50 * 300 */
    {"huggingface", "openai_chat", "meta-llama/Llama-3.1-8B-Instruct",
     "{\"completion_tokens\":3,\"completion_tokens_details\":null,\"prompt_tokens\":39,\"prompt_tokens_details\":null,\"total_tokens\":42}",
     "huggingface/chat-completions__tgi-chat-openai-usage.json", COUNT(.input = 39, .output = 3), NULL, -1},
    {"ollama", "openai_chat", "gpt-oss:120b", "{\"prompt_tokens\":300,\"completion_tokens\":44,\"total_tokens\":344}",
     "ollama/chat-completions__function-calling-ollama-cloud-gpt-oss-120b-can-use-tools-in-multi-turn__2.json",
     COUNT(.input = 300, .output = 44), NULL, -1},
    {"ollama", "ollama", "qwen3.6:latest", "\"prompt_eval_count\":21,\"eval_count\":369", "ollama/api-chat__async-chat__0.json",
     COUNT(.input = 21, .output = 369), &thinker,
     759000}, /* 21 * 1000 + 369 * 2000 */
    {"vllm", "openai_chat", "m", "{\"prompt_tokens\":30,\"completion_tokens\":12,\"total_tokens\":42,\"prompt_tokens_details\":{\"cached_tokens\":16}}",
     NULL, COUNT(.input = 30, .cache_read = 16, .output = 12), &own_machine, 0},

    /* --- Cohere charges for less than went through the model --- */
    {"cohere", "cohere", "command-a-03-2025",
     "{\"billed_units\":{\"input_tokens\":39,\"output_tokens\":27},\"tokens\":{\"input_tokens\":1683,\"output_tokens\":62},\"cached_tokens\":992}",
     "cohere/v2-chat__cohere-citations.json",
     COUNT(.input = 1683, .cache_read = 992, .output = 62, .billed = true, .billed_input = 39, .billed_output = 27), NULL,
     367500}, /* 39 * 2500 + 27 * 10000 */
    {"cohere", "cohere", "command-a-03-2025",
     "{\"billed_units\":{\"input_tokens\":46,\"output_tokens\":14},\"tokens\":{\"input_tokens\":1445,\"output_tokens\":43},\"cached_tokens\":704}",
     "cohere/v2-chat__cohere-empty-tool-call-stream.json",
     COUNT(.input = 1445, .cache_read = 704, .output = 43, .billed = true, .billed_input = 46, .billed_output = 14), NULL,
     255000}, /* 46 * 2500 + 14 * 10000 */
    {"cohere", "cohere", "command-a-03-2025",
     "{\"billed_units\":{\"input_tokens\":83,\"output_tokens\":109},\"tokens\":{\"input_tokens\":379,\"output_tokens\":164,\"reasoning_tokens\":54},\"cached_tokens\":144}",
     "cohere/v2-chat__citations-with-cohere-command-a-plus-05-2026-cites-tool-results-return__1.json",
     COUNT(.input = 379, .cache_read = 144, .output = 164, .reasoning = 54, .billed = true, .billed_input = 83, .billed_output = 109), NULL,
     1297500}, /* 83 * 2500 + 109 * 10000 */
    {"cohere", "cohere", "command-r7b-12-2024", "{\"tokens\":{\"input_tokens\":100,\"output_tokens\":10}}",
     NULL, COUNT(.input = 100, .output = 10), NULL,
     5250}, /* 100 * 37.5 + 10 * 150 */

    {"cohere", "cohere_embed", "embed-v4.0", "{\"billed_units\":{\"input_tokens\":3}}", NULL,
     COUNT(.input = 3, .billed = true, .billed_input = 3), NULL, 360}, /* 3 * 120 */

    /* --- Bedrock: cached and written beside the input --- */
    {"bedrock", "bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0",
     "{\"cacheDetails\":[{\"inputTokens\":236,\"ttl\":\"5m\"}],\"cacheReadInputTokenCount\":1712,\"cacheReadInputTokens\":1712,\"cacheWriteInputTokenCount\":236,\"cacheWriteInputTokens\":236,"
     "\"inputTokens\":3,\"outputTokens\":121,\"serverToolUsage\":{},\"totalTokens\":2072}",
     "bedrock/converse__bedrock-cache-messages-with-document-as-last-content__1.json",
     COUNT(.input = 1951, .cache_read = 1712, .cache_write = 236, .output = 121), NULL,
     1074200}, /* 3 * 1000 + 1712 * 100 + 236 * 1250 + 121 * 5000 */
    {"bedrock", "bedrock", "anthropic.claude-haiku-4-5-20251001-v1:0",
     "{\"cacheDetails\":[{\"inputTokens\":100,\"ttl\":\"5m\"},{\"inputTokens\":136,\"ttl\":\"1h\"}],\"cacheReadInputTokens\":1712,\"cacheWriteInputTokens\":236,"
     "\"inputTokens\":3,\"outputTokens\":121,\"totalTokens\":2072}",
     NULL, COUNT(.input = 1951, .cache_read = 1712, .cache_write = 236, .cache_write_1h = 136, .output = 121), NULL,
     1176200}, /* 3 * 1000 + 1712 * 100 + 100 * 1250 + 136 * 2 * 1000 + 121 * 5000 */
    {"bedrock", "bedrock", "global.amazon.nova-2-lite-v1:0",
     "{\"inputTokens\":1133,\"outputTokens\":42,\"serverToolUsage\":{},\"totalTokens\":1175}",
     "bedrock/converse-stream__function-calling-bedrock-amazon-nova-2-lite-v1-0-can-use-tools-with-mu__2.json",
     COUNT(.input = 1133, .output = 42), NULL,
     444900}, /* 1133 * 300 + 42 * 2500 */
    {"bedrock", "bedrock", "eu.amazon.nova-pro-v1:0",
     "{\"inputTokens\":100,\"outputTokens\":10,\"cacheReadInputTokens\":50,\"cacheWriteInputTokens\":0,\"totalTokens\":160}",
     NULL, COUNT(.input = 150, .cache_read = 50, .output = 10), NULL,
     122000}, /* 100 * 800 + 50 * 200 + 10 * 3200 */

    {"bedrock_invoke", "bedrock_invoke", "global.anthropic.claude-haiku-4-5-20251001-v1:0",
     "{\"cache_creation\":{\"ephemeral_1h_input_tokens\":0,\"ephemeral_5m_input_tokens\":1956},\"cache_creation_input_tokens\":1956,\"cache_read_input_tokens\":9511,\"input_tokens\":3,\"output_tokens\":44}",
     "bedrock/invoke__anthropic-cache-bedrock-real-api__1.json",
     COUNT(.input = 11470, .cache_read = 9511, .cache_write = 1956, .output = 44), NULL,
     3619100}, /* 3 * 1000 + 9511 * 100 + 1956 * 1250 + 44 * 5000 */

    /* --- others that speak OpenAI's --- */
    {"openai_compatible", "openai_chat", "sonar", /* Perplexity: the search is in the cost */
     "{\"prompt_tokens\":8,\"completion_tokens\":5,\"total_tokens\":13,\"search_context_size\":\"low\",\"cost\":{\"input_tokens_cost\":0.00001,\"output_tokens_cost\":0.0,\"request_cost\":0.005,\"total_cost\":0.00501}}",
     "openai-compatible/chat-completions__streaming-responses-perplexity-sonar-supports-streaming-responses__0.json",
     TOLD(5010000, .input = 8, .output = 5), NULL, 5010000},
    {"openai_compatible", "openai_chat", "zai/GLM-5.2",
     "{\"completion_tokens\":54,\"completion_tokens_details\":{\"reasoning_tokens\":20},\"prompt_tokens\":214,\"prompt_tokens_details\":{\"cached_tokens\":64,\"multimodal_tokens\":null},\"total_tokens\":268}",
     "openai-compatible/chat-completions__crusoe-tool-calling__1.json",
     COUNT(.input = 214, .cache_read = 64, .output = 54, .reasoning = 20), NULL, -1},
    {"openai_compatible", "openai_chat", "gemini-2.5-pro", /* Gemini's own imitation: thoughts are in the total only */
     "{\"completion_tokens\":12,\"prompt_tokens\":35,\"total_tokens\":109}",
     "gemini/chat-completions__compatible-api-with-tool-calls-without-id__0.json",
     COUNT(.input = 35, .output = 74, .reasoning = 62), NULL,
     783750}, /* 35 * 1250 + 74 * 10000 */
};
/* clang-format on */
enum { BILLS = sizeof bills / sizeof *bills };

/* --- answers around a usage; $ stands for it --- */

#define CHUNK                                                                                                \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":"
#define TEXT_CHUNK                                                                                           \
    "data: {\"id\":\"c1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":"
#define RESPONSE(status, output, usage)                                                                      \
    "{\"id\":\"resp_1\",\"object\":\"response\",\"created_at\":1,\"status\":\"" status "\",\"model\":\"m\"," \
    "\"output\":" output ",\"usage\":" usage "}"
#define MESSAGE_ITEM                                                                                         \
    "{\"id\":\"msg_1\",\"type\":\"message\",\"status\":\"completed\",\"role\":\"assistant\","                \
    "\"content\":[{\"type\":\"output_text\",\"text\":\"ok\",\"annotations\":[]}]}"
#define ITEM              "\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0"
#define EVENT(name, rest) "event: " name "\ndata: {\"type\":\"" name "\"" rest "}\n\n"

static const struct {
    const char *dialect, *whole, *stream; /* stream NULL: it has none of its own text */
} shapes[] = {
    {"openai_chat",
     "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,"
     "\"message\":{\"role\":\"assistant\",\"content\":\"ok\"},\"finish_reason\":\"stop\"}],\"usage\":$}",
     CHUNK
     "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"ok\"},\"finish_reason\":null}]}\n\n" CHUNK
     "[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n" CHUNK
     "[],\"usage\":$}\n\ndata: [DONE]\n\n"},
    {"openai_completions",
     "{\"id\":\"c1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,"
     "\"text\":\"ok\",\"finish_reason\":\"stop\"}],\"usage\":$}",
     TEXT_CHUNK "[{\"index\":0,\"text\":\"ok\",\"finish_reason\":\"stop\"}]}\n\n" TEXT_CHUNK
                "[],\"usage\":$}\n\ndata: [DONE]\n\n"},
    {"openai_embeddings",
     "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.5]}],"
     "\"model\":\"m\",\"usage\":$}",
     NULL},
    {"openai_responses", RESPONSE("completed", "[" MESSAGE_ITEM "]", "$"),
     EVENT("response.created", ",\"response\":" RESPONSE("in_progress", "[]", "null"))
         EVENT("response.output_item.added",
               ",\"output_index\":0,\"item\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\","
               "\"content\":[]}") EVENT("response.content_part.added",
                                        "," ITEM ",\"part\":{\"type\":\"output_text\",\"text\":\"\"}")
             EVENT("response.output_text.delta", "," ITEM ",\"delta\":\"ok\"")
                 EVENT("response.output_text.done", "," ITEM ",\"text\":\"ok\"")
                     EVENT("response.output_item.done", ",\"output_index\":0,\"item\":" MESSAGE_ITEM)
                         EVENT("response.completed",
                               ",\"response\":" RESPONSE("completed", "[" MESSAGE_ITEM "]", "$"))},
    {"anthropic",
     "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[{\"type\":"
     "\"text\",\"text\":\"ok\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":$}",
     EVENT("message_start",
           ",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\","
           "\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}")
         EVENT("content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}")
             EVENT("content_block_delta", ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"ok\"}")
                 EVENT("content_block_stop", ",\"index\":0")
                     EVENT("message_delta", ",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":$")
                         EVENT("message_stop", "")},
    {"gemini",
     "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"ok\"}],\"role\":\"model\"},\"finishReason\":"
     "\"STOP\",\"index\":0}],\"usageMetadata\":$,\"modelVersion\":\"m\",\"responseId\":\"r1\"}",
     "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"o\"}],\"role\":\"model\"},\"index\":0}],"
     "\"usageMetadata\":{\"promptTokenCount\":1,\"totalTokenCount\":1},\"modelVersion\":\"m\"}\r\n\r\n"
     "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"k\"}],\"role\":\"model\"},\"finishReason\":"
     "\"STOP\",\"index\":0}],\"usageMetadata\":$,\"modelVersion\":\"m\"}\r\n\r\n"},
    {"cohere",
     "{\"id\":\"1\",\"finish_reason\":\"COMPLETE\",\"message\":{\"role\":\"assistant\",\"content\":[{"
     "\"type\":"
     "\"text\",\"text\":\"ok\"}]},\"usage\":$}",
     EVENT("message-start", ",\"id\":\"1\",\"delta\":{\"message\":{\"role\":\"assistant\",\"content\":[]}}")
         EVENT("content-start",
               ",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":\"text\",\"text\":\"\"}}}")
             EVENT("content-delta", ",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"ok\"}}}")
                 EVENT("content-end", ",\"index\":0")
                     EVENT("message-end", ",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":$}")},
    {"bedrock_invoke",
     "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[{\"type\":"
     "\"text\",\"text\":\"ok\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":$}",
     NULL},
    {"ollama",
     "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"ok\"},\"done\":true,\"done_reason\":"
     "\"stop\",$}",
     "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"ok\"},\"done\":false}\n"
     "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":"
     "\"stop\",$}\n"},
    {"cohere_embed", "{\"id\":\"1\",\"embeddings\":{\"float\":[[0.5]]},\"texts\":[\"a\"],\"meta\":$}", NULL},
    {"bedrock",
     "{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[{\"text\":\"ok\"}]}},\"stopReason\":"
     "\"end_turn\",\"usage\":$}",
     NULL},
};

static struct str filled(struct arena *a, const char *shape, const char *usage) {
    struct str s = str_of(shape);
    ptrdiff_t at = str_find(s, STR("$"));
    ck_assert(at >= 0);
    return arena_printf(a, "%.*s%s" STR_FMT, (int)at, shape, usage, STR_ARG(str_skip(s, (size_t)at + 1)));
}

/* --- frames of AWS --- */

static void put_u32(struct buf *b, uint32_t v) {
    for (int i = 24; i >= 0; i -= 8)
        buf_addc(b, (char)(v >> i));
}

static void put_header(struct buf *b, struct str name, struct str value) {
    buf_addc(b, (char)name.n);
    buf_add(b, name.p, name.n);
    buf_addc(b, 7);
    buf_addc(b, (char)(value.n >> 8));
    buf_addc(b, (char)value.n);
    buf_add(b, value.p, value.n);
}

static void put_frame(struct buf *out, const char *event, struct str payload) {
    struct buf heads, frame;
    buf_init(&heads, 0);
    buf_init(&frame, 0);
    put_header(&heads, STR(":event-type"), str_of(event));
    put_header(&heads, STR(":message-type"), STR("event"));
    put_u32(&frame, (uint32_t)(16 + buf_len(&heads) + payload.n));
    put_u32(&frame, (uint32_t)buf_len(&heads));
    put_u32(&frame, crc32_of(buf_at(&frame), 8));
    buf_add(&frame, buf_at(&heads), buf_len(&heads));
    buf_add(&frame, payload.p, payload.n);
    put_u32(&frame, crc32_of(buf_at(&frame), buf_len(&frame)));
    buf_add(out, buf_at(&frame), buf_len(&frame));
    buf_free(&heads);
    buf_free(&frame);
}

static struct str bedrock_stream(struct arena *a, const char *usage) {
    struct buf out;
    buf_init(&out, 0);
    put_frame(&out, "messageStart", STR("{\"role\":\"assistant\"}"));
    put_frame(&out, "contentBlockDelta", STR("{\"contentBlockIndex\":0,\"delta\":{\"text\":\"ok\"}}"));
    put_frame(&out, "contentBlockStop", STR("{\"contentBlockIndex\":0}"));
    put_frame(&out, "messageStop", STR("{\"stopReason\":\"end_turn\"}"));
    put_frame(&out, "metadata", filled(a, "{\"usage\":$}", usage));
    struct str s = arena_dup(a, buf_str(&out));
    buf_free(&out);
    return s;
}

/* --- one bill --- */

static struct price_table *prices;

static void want(const struct bill *b, const char *how, const char *what, uint64_t got, uint64_t wanted) {
    ck_assert_msg(got == wanted, "%s %s %s, %s: %s is %llu, not %llu", b->kind, b->dialect, b->model, how,
                  what, (unsigned long long)got, (unsigned long long)wanted);
}

static void check_bill(const struct bill *b, const char *how, const struct usage *u) {
    const struct usage *w = &b->want;
    const struct provider_kind *k = kind_find(&provider_table, str_of(b->kind));
    want(b, how, "known", u->known, w->known);
    want(b, how, "input", u->input, w->input);
    want(b, how, "cache_read", u->cache_read, w->cache_read);
    want(b, how, "cache_write", u->cache_write, w->cache_write);
    want(b, how, "cache_write_1h", u->cache_write_1h, w->cache_write_1h);
    want(b, how, "output", u->output, w->output);
    want(b, how, "reasoning", u->reasoning, w->reasoning);
    want(b, how, "audio_in", u->audio_in, w->audio_in);
    want(b, how, "audio_out", u->audio_out, w->audio_out);
    want(b, how, "billed", u->billed, w->billed);
    want(b, how, "billed_input", u->billed_input, w->billed_input);
    want(b, how, "billed_output", u->billed_output, w->billed_output);
    want(b, how, "cost_nano", (uint64_t)u->cost_nano, (uint64_t)w->cost_nano);
    int64_t nano = price_bill(prices, str_of(k->price_vendor), str_of(b->model), b->own, u);
    ck_assert_msg(nano == b->nano, "%s %s, %s: %lld nano-dollars, not %lld", b->kind, b->model, how,
                  (long long)nano, (long long)b->nano);
}

static unsigned quirks_of(const struct bill *b) {
    const struct provider_kind *k = kind_find(&provider_table, str_of(b->kind));
    ck_assert_msg(k != NULL, "%s", b->kind);
    for (const struct kind_endpoint *e = k->endpoints; e->dialect; e++)
        if (strcmp(e->dialect, b->dialect) == 0)
            return k->quirks | e->quirks;
    return k->quirks;
}

static const struct mint mint = {
    .id = STR("abcdefghijklmnopqrstuvwx"), .created = 1700000000, .model = STR("told")};

static void pass(struct arena *a, const struct bill *b, const struct dialect *client, struct str body,
                 bool stream, unsigned quirks, const char *how) {
    struct ask ask = {.n = 1, .stream = stream, .include_usage = true};
    struct pipe_opt o = {.quirks = quirks, .mint = &mint, .ask = &ask};
    const struct dialect *provider = dialect_by_name(str_of(b->dialect));
    struct observed seen;
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct str text;
    struct buf out;
    buf_init(&out, 0);
    bool ok = stream ? feed_stream(a, client, provider, body, &o, FEED_RANDOM, 7, &out, &seen)
                     : pipe_reply(a, client, provider, body, &o, &out, &text, &seen, &f);
    ck_assert_msg(ok, "%s %s, %s: " STR_FMT, b->kind, b->model, how, STR_ARG(seen.fault.message));
    check_bill(b, how, &seen.usage);
    buf_free(&out);
}

/* By the reader, for a client of another dialect and for one of the same; and by the tap. */
static void ways(struct arena *a, const struct bill *b, struct str body, bool stream, const char *what) {
    const struct dialect *d = dialect_by_name(str_of(b->dialect));
    unsigned quirks = quirks_of(b);
    const char *other = d->op == OP_EMBED                   ? "gemini_batch_embed"
                        : strcmp(d->name, "anthropic") == 0 ? "openai_chat"
                                                            : "anthropic";
    if (d->op == OP_EMBED || d->provider->read_reply)
        pass(a, b, dialect_by_name(str_of(other)), body, stream, quirks, arena_printf(a, "%s, read", what).p);
    if (!d->client)
        return;
    if (d->op == OP_CHAT && d->provider->read_reply)
        pass(a, b, d, body, stream, quirks | QUIRK_REBUILD, arena_printf(a, "%s, rebuilt", what).p);
    pass(a, b, d, body, stream, quirks & ~(unsigned)QUIRK_REBUILD, arena_printf(a, "%s, tapped", what).p);
}

START_TEST(bill_of_its_own_body) {
    const struct bill *b = &bills[_i];
    struct arena *a = arena_new(0);
    size_t i = 0;
    while (strcmp(shapes[i].dialect, b->dialect) != 0)
        i++;
    ways(a, b, filled(a, shapes[i].whole, b->usage), false, "whole");
    if (shapes[i].stream)
        ways(a, b, filled(a, shapes[i].stream, b->usage), true, "streamed");
    else if (strcmp(b->dialect, "bedrock") == 0)
        ways(a, b, bedrock_stream(a, b->usage), true, "streamed");
    arena_free(a);
}
END_TEST

static struct str recorded_body(struct arena *a, const char *path) {
    struct buf text, plain;
    struct json_error err;
    buf_init(&text, 0);
    buf_init(&plain, 0);
    struct json_object *tree = read_file(path, &text) ? chat_hold(a, json_tree(buf_str(&text), &err)) : NULL;
    struct json_object *response = jo_obj(tree, "response");
    struct str body = jo_str(response, "body");
    if (str_is(jo_str(response, "body_encoding"), "base64") && base64_decode(&plain, body))
        body = arena_dup(a, buf_str(&plain));
    buf_free(&text);
    buf_free(&plain);
    return body;
}

START_TEST(bill_of_the_recording) {
    const struct bill *b = &bills[_i];
    const char *shared = getenv("PENSTOCK_SHARED"), *srcdir = getenv("srcdir");
    struct arena *a = arena_new(0);
    if (b->recorded) {
        if (!shared || !*shared)
            shared = arena_printf(a, "%s/../shared", srcdir && *srcdir ? srcdir : ".").p;
        struct str body = recorded_body(a, arena_printf(a, "%s/wire/recorded/%s", shared, b->recorded).p);
        const struct dialect *d = dialect_by_name(str_of(b->dialect));
        bool aws = d->provider->framing == FRAMING_AWS && !str_starts(body, "{");
        if (body.n > 0)
            ways(a, b, body, aws || !(str_starts(str_trim(body), "{") || str_starts(str_trim(body), "[")),
                 b->recorded);
    }
    arena_free(a);
}
END_TEST

static void setup(void) {
    char err[256];
    prices = price_table_new("", err);
    ck_assert_ptr_nonnull(prices);
}

static void teardown(void) {
    price_table_free(prices);
}

int main(void) {
    Suite *s = suite_create("bills");
    TCase *t = tcase_create("bills");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, bill_of_its_own_body, 0, BILLS);
    tcase_add_loop_test(t, bill_of_the_recording, 0, BILLS);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
