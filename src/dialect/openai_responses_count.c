/* OpenAI's count of a Responses request's tokens: the body of a request, without what only steers an answer.
 */
#include "answer.h"
#include "count.h"
#include "openai_chat.h"
#include "openai_responses.h"

static bool peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    if (!rs_peek(a, body, ask, f))
        return false;
    ask->stream = false;
    ask->max_tokens = 0;
    return true;
}

static void write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask) {
    struct jw w;
    (void)m, (void)ask;
    jw_init(&w, out);
    jw_obj(&w);
    jw_kz(&w, "object", "response.input_tokens");
    jw_ku64(&w, "input_tokens", r->usage.input);
    jw_obj_end(&w);
}

/* All that the counter takes; what else a request of ours has (store, include) it refuses. */
static bool counted(void *arg, struct str key, struct json_value v) {
    static const char *const members[] = {
        "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text"};
    struct jw *w = arg;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (json_key_is(key, members[i])) {
            jw_key(w, members[i]);
            jw_raw(w, v.raw);
        }
    return true;
}

/* How the answer is to be made counts for nothing, and is nothing to refuse the request for. */
static struct chat without_steering(const struct chat *c) {
    struct chat plain = *c;
    plain.stream = plain.logprobs = plain.seed_set = false;
    plain.max_tokens = plain.n = plain.nstop = 0;
    plain.temperature = plain.top_p = plain.top_k = (struct opt_num){.set = false};
    plain.frequency_penalty = plain.presence_penalty = (struct opt_num){.set = false};
    plain.logit_bias = plain.metadata = plain.extra = NULL;
    return plain;
}

static bool write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                          struct buf *dropped, struct fault *f) {
    struct chat plain = without_steering(c);
    struct buf whole;
    struct jw w;
    buf_init(&whole, out->max);
    bool ok = rs_write_request(a, &plain, o, &whole, dropped, f);
    if (ok && buf_ok(&whole)) {
        jw_init(&w, out);
        jw_obj(&w);
        json_each(buf_str(&whole), counted, &w);
        jw_obj_end(&w);
    } else if (ok) {
        fault_set(f, a, FAULT_TOO_LARGE, "the request is too large");
        ok = false;
    }
    buf_free(&whole);
    return ok;
}

static bool error_in(struct arena *a, struct str body, struct fault *f) {
    struct json_value v;
    if (!json_member(body, "error", &v) || v.kind == JSON_NULL)
        return false;
    rs_error(a, body, f);
    return true;
}

static const struct count_shape shape = {"input_tokens", error_in};

static struct reply *read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    (void)quirks;
    return count_reply(a, body, &shape, f);
}

static bool tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o,
                      struct fault *f) {
    (void)quirks;
    return count_tap(a, body, &shape, o, f);
}

static const struct client_face client = {
    .peek = peek,
    .read_request = rs_read_request,
    .write_reply = write_reply,
    .write_fault = oc_write_fault,
    .write_stream_fault = oc_write_stream_fault,
    .stream_type = "application/json",
    .names = &rs_names,
};
static const struct provider_face provider = {
    .path = "/responses/input_tokens",
    .splice = rs_splice,
    .write_request = write_request,
    .read_reply = read_reply,
    .tap_reply = tap_reply,
    .read_fault = said_read_fault,
};
const struct dialect dialect_openai_responses_count = {RS_NAME "_count", OP_COUNT, &client, &provider};
