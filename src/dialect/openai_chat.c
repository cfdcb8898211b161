/* The OpenAI chat completions dialect: what most programs and most providers speak. This file is its two
 * rows; the work is in openai_chat_*.c. */
#include "openai_chat.h"

#include "answer.h"
#include "question.h"

/* Mistral's own SDK has the same path, and other ideas of a stream. */
static const struct dialect *really(struct str body, struct str agent) {
    (void)body;
    return str_starts(agent, MISTRAL_AGENT) ? &dialect_mistral_chat : &dialect_openai_chat;
}

static const struct client_face client = {
    .really = really,
    .peek = oc_peek,
    .question = question_of_messages,
    .read_request = oc_read_request,
    .write_reply = oc_write_reply,
    .write_fault = oc_write_fault,
    .write_stream_fault = oc_write_stream_fault,
    .writer_new = oc_writer_new,
    .write_event = oc_write_event,
    .stream_type = "text/event-stream; charset=utf-8",
    .turns = "messages",
};

static const struct provider_face provider = {
    .stop_is_end = true, /* some providers forget their [DONE] */
    .path = "/chat/completions",
    .splice = oc_splice,
    .write_request = oc_write_request,
    .read_reply = oc_read_reply,
    .tap_reply = oc_tap_reply,
    .read_fault = said_read_fault,
    .reader_new = oc_reader_new,
    .read_event = oc_read_event,
    .reader_end = oc_reader_end,
    .tap_event = oc_tap_event,
};

const struct dialect dialect_openai_chat = {"openai_chat", OP_CHAT, &client, &provider};
