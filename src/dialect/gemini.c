/* Google's generateContent dialect. This file is its row; the work is in gemini_*.c. */
#include "gemini.h"

#include "question.h"

static const char *const renamed[][2] = {
    {"messages", "contents"},
    {"max_tokens", "generationConfig.maxOutputTokens"},
    {"temperature", "generationConfig.temperature"},
    {"top_p", "generationConfig.topP"},
    {"top_k", "generationConfig.topK"},
    {"seed", "generationConfig.seed"},
    {"stop", "generationConfig.stopSequences"},
    {"n", "generationConfig.candidateCount"},
    {"presence_penalty", "generationConfig.presencePenalty"},
    {"frequency_penalty", "generationConfig.frequencyPenalty"},
    {"logprobs", "generationConfig.responseLogprobs"},
    {"top_logprobs", "generationConfig.logprobs"},
    {"reasoning_effort", "generationConfig.thinkingConfig"},
    {"response_format", "generationConfig.responseSchema"},
    {"tool_choice", "toolConfig.functionCallingConfig"},
    {"is_error", "functionResponse.response.error"},
    {NULL, NULL},
};

const struct client_names gm_names = {"contents", "parts", "systemInstruction", "functionResponse.id",
                                      renamed};

static const struct client_face client = {
    .peek = gm_peek,
    .question = question_of_contents,
    .read_request = gm_read_request,
    .write_reply = gm_write_reply,
    .write_fault = gm_write_fault,
    .write_stream_fault = gm_write_stream_fault,
    .writer_new = gm_writer_new,
    .write_event = gm_write_event,
    .stream_type = "text/event-stream",
    .turns = "contents",
    .names = &gm_names,
};

static const struct provider_face provider = {
    .stop_is_end = true, /* the end of the bytes is the end */
    .path = "/models/{model}:generateContent",
    .stream_path = "/models/{model}:streamGenerateContent?alt=sse",
    .splice = gm_splice,
    .write_request = gm_write_request,
    .read_reply = gm_read_reply,
    .tap_reply = gm_tap_reply,
    .read_fault = gm_read_fault,
    .reader_new = gm_reader_new,
    .read_event = gm_read_event,
    .reader_end = gm_reader_end,
    .tap_event = gm_tap_event,
};

const struct dialect dialect_gemini = {"gemini", OP_CHAT, &client, &provider};
