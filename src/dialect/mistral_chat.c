/* Chats of Mistral's own SDKs, which ask as OpenAI's do, on the same path, and are known by their User-Agent.
 * They insist on what Mistral's streams do: a tool's call is whole in one chunk, and the usage comes unasked
 * in the chunk that has the finish_reason. A provider that is Mistral gets and gives the bytes as they are.
 */
#include "openai_chat.h"
#include "question.h"

static bool peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    if (!oc_peek(a, body, ask, f))
        return false;
    ask->include_usage = true;
    return true;
}

static struct stream_writer *writer_new(struct arena *a, const struct mint *m, const struct ask *ask) {
    struct stream_writer *w = oc_writer_new(a, m, ask);
    oc_writer_mistral(w);
    return w;
}

static const struct client_face client = {
    .peek = peek,
    .question = question_of_messages,
    .read_request = oc_read_request,
    .write_reply = oc_write_reply,
    .write_fault = oc_write_fault,
    .write_stream_fault = oc_write_stream_fault,
    .writer_new = writer_new,
    .write_event = oc_write_event,
    .stream_type = "text/event-stream; charset=utf-8",
    .turns = "messages",
};
const struct dialect dialect_mistral_chat = {"mistral_chat", OP_CHAT, &client, NULL};
