/* Bedrock's Converse and ConverseStream. This file is their row; the work is in bedrock_*.c. */
#include "bedrock.h"

static const struct provider_face provider = {
    .path = "/model/{model}/converse",
    .stream_path = "/model/{model}/converse-stream",
    .framing = FRAMING_AWS,
    .write_request = br_write_request,
    .read_reply = br_read_reply,
    .read_fault = br_read_fault,
    .reader_new = br_reader_new,
    .read_event = br_read_event,
    .reader_end = br_reader_end,
};

const struct dialect dialect_bedrock = {"bedrock", OP_CHAT, NULL, &provider};
