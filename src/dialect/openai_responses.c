/* The OpenAI Responses dialect. This file is its rows; the work is in openai_responses_*.c. */
#include "openai_responses.h"

#include "answer.h"
#include "openai_chat.h"
#include "question.h"

static const char *const renamed[][2] = {
    {"messages", "input"},
    {"max_tokens", "max_output_tokens"},
    {"logprobs", "include"}, /* message.output_text.logprobs */
    {"reasoning_effort", "reasoning.effort"},
    {"response_format", "text.format"},
    {NULL, NULL},
};

const struct client_names rs_names = {"input", "content", "instructions", "call_id", renamed};

static const struct client_face client = {
    .peek = rs_peek,
    .question = question_of_input,
    .read_request = rs_read_request,
    .write_reply = rs_write_reply,
    .write_fault = oc_write_fault, /* errors are those of chat */
    .write_stream_fault = rs_write_stream_fault,
    .writer_new = rs_writer_new,
    .write_event = rs_write_event,
    .stream_type = "text/event-stream; charset=utf-8",
    .turns = "input",
    .names = &rs_names,
};

static const struct provider_face provider = {
    .path = "/responses",
    .splice = rs_splice,
    .write_request = rs_write_request,
    .read_reply = rs_read_reply,
    .tap_reply = rs_tap_reply,
    .read_fault = said_read_fault,
    .reader_new = rs_reader_new,
    .read_event = rs_read_event,
    .reader_end = rs_reader_end,
    .tap_event = rs_tap_event,
};

const struct dialect dialect_openai_responses = {RS_NAME, OP_CHAT, &client, &provider};
