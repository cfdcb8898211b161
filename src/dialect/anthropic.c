/* The Anthropic Messages dialect, API version 2023-06-01. This file is its row; the work is in anthropic_*.c.
 */
#include "anthropic.h"

static const struct provider_face provider = {
    .path = "/v1/messages",
    .write_request = an_write_request,
    .read_reply = an_read_reply,
    .tap_reply = an_tap_reply,
    .read_fault = an_read_fault,
    .reader_new = an_reader_new,
    .read_event = an_read_event,
    .reader_end = an_reader_end,
    .tap_event = an_tap_event,
};

const struct dialect dialect_anthropic = {"anthropic", OP_CHAT, NULL, &provider};
