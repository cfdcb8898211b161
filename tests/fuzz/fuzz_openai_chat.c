/* The OpenAI chat dialect. The first byte chooses what the rest is: a request (spliced, and translated for
 * Anthropic), a stream, a whole answer, an error. */
#include "fuzz_dialect.h"

static void spliced(struct arena *a, const struct ask *ask) {
    struct encode_opt o = {.model = STR("up\"stream")};
    struct ask again = {.rest = STR_NONE};
    struct fault f;
    struct chat *chat = NULL;
    struct buf out, dropped;
    buf_init(&out, 0);
    buf_init(&dropped, 0);
    MUST(pipe_request(a, &dialect_openai_chat, &dialect_openai_chat, ask, &o, &chat, &out, &dropped, &f));
    /* What went upstream reads as it should there. */
    MUST(dialect_openai_chat.client->peek(a, buf_str(&out), &again, &f));
    MUST(str_eq(again.model, o.model) && again.routing.n == 0 && again.stream == ask->stream);
    MUST(!again.stream || again.include_usage);
    MUST(again.input_bytes == ask->input_bytes && again.max_tokens == ask->max_tokens && again.n == ask->n);
    buf_free(&out);
}

static void translated(struct arena *a, const struct ask *ask, const struct dialect *to, bool drop) {
    struct encode_opt o = {.model = STR("m"), .drop_unsupported = drop, .pass_unsupported = !drop};
    struct fault f;
    struct chat *chat = NULL;
    struct buf out, dropped;
    buf_init(&out, 0);
    buf_init(&dropped, 0);
    if (dialect_openai_chat.client->read_request(a, ask, &chat, &f)) {
        if (to->provider->write_request(a, chat, &o, &out, &dropped, &f))
            fuzz_must_be_json(buf_str(&out));
        else
            MUST(fault_is(&f));
    } else {
        MUST(fault_is(&f));
    }
    buf_free(&out);
    buf_free(&dropped);
}

static void request(struct str in, bool drop) {
    struct arena *a = arena_new(0);
    struct ask ask = {.rest = STR_NONE};
    struct fault f;
    struct buf error;
    buf_init(&error, 0);
    if (dialect_openai_chat.client->peek(a, in, &ask, &f)) {
        spliced(a, &ask);
        translated(a, &ask, &dialect_anthropic, drop);
        translated(a, &ask, &dialect_openai_chat, drop);
    } else {
        MUST(f.cls == FAULT_BAD_REQUEST && f.message.n > 0);
        dialect_openai_chat.client->write_fault(&error, &f, STR_NONE);
        fuzz_must_be_json(buf_str(&error));
    }
    buf_free(&error);
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    struct str in = {(const char *)data + 1, size - 1};
    if (data[0] % 4 == 0)
        request(in, data[0] & 4);
    else
        fuzz_answer(&dialect_openai_chat, data[0], in);
    return 0;
}
