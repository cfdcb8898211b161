/* Cohere's v2 chat. This file is its row; the work is in cohere_*.c. */
#include "cohere.h"

#include "answer.h"

static const struct provider_face provider = {
    .path = "/v2/chat",
    .write_request = co_write_request,
    .read_reply = co_read_reply,
    .read_fault = said_read_fault,
    .reader_new = co_reader_new,
    .read_event = co_read_event,
    .reader_end = co_reader_end,
};

const struct dialect dialect_cohere = {"cohere", OP_CHAT, NULL, &provider};
