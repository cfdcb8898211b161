/* The Anthropic Messages dialect, API versions 2023-06-01 and later, and its count of tokens. This file is
 * their rows; the work is in anthropic_*.c. */
#include "anthropic.h"

#include "answer.h"
#include "count.h"
#include "question.h"

static const char *const renamed[][2] = {
    {"parallel_tool_calls", "tool_choice.disable_parallel_tool_use"},
    {"reasoning_effort", "thinking"},
    {"response_format", "output_config.format"},
    {"stop", "stop_sequences"},
    {"user", "metadata.user_id"},
    {NULL, NULL},
};

static const struct client_names names = {"messages", "content", "system", "tool_use_id", renamed};

static const struct client_face client = {
    .peek = an_peek,
    .question = question_of_messages,
    .read_request = an_read_request,
    .write_reply = an_write_reply,
    .write_fault = an_write_fault,
    .write_stream_fault = an_write_stream_fault,
    .writer_new = an_writer_new,
    .write_event = an_write_event,
    .stream_type = "text/event-stream; charset=utf-8",
    .turns = "messages",
    .names = &names,
};

static const struct provider_face provider = {
    .early_usage = true, /* message_start */
    .path = "/v1/messages",
    .splice = an_splice,
    .write_request = an_write_request,
    .read_reply = an_read_reply,
    .tap_reply = an_tap_reply,
    .read_fault = an_read_fault,
    .reader_new = an_reader_new,
    .read_event = an_read_event,
    .reader_end = an_reader_end,
    .tap_event = an_tap_event,
};

const struct dialect dialect_anthropic = {"anthropic", OP_CHAT, &client, &provider};

/* --- the count --- */

static const struct count_shape shape = {"input_tokens", NULL};

static struct reply *read_count(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    (void)quirks;
    return count_reply(a, body, &shape, f);
}

static bool tap_count(struct arena *a, struct str body, unsigned quirks, struct observed *o,
                      struct fault *f) {
    (void)quirks;
    return count_tap(a, body, &shape, o, f);
}

static const struct client_face count_client = {
    .peek = an_count_peek,
    .read_request = an_read_request,
    .write_reply = an_write_count,
    .write_fault = an_write_fault,
    .write_stream_fault = an_write_stream_fault,
    .stream_type = "application/json",
    .names = &names,
};

static const struct provider_face count_provider = {
    .path = "/v1/messages/count_tokens",
    .splice = an_splice,
    .write_request = an_write_count_request,
    .read_reply = read_count,
    .tap_reply = tap_count,
    .read_fault = an_read_fault,
};

const struct dialect dialect_anthropic_count = {"anthropic_count", OP_COUNT, &count_client, &count_provider};
