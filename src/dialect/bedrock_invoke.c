/* Bedrock's InvokeModel: a model is asked in its maker's own words. Written are Claude's, Anthropic's
 * Messages without the model and the stream in the body. Read are Claude's answers, whose events come in
 * frames as base64, and the plain completions that other makers' models give, which all say a text, a reason
 * and counts under names of their own. */
#include "answer.h"
#include "anthropic.h"
#include "base/die.h"
#include "base/hash.h"
#include "bedrock.h"

static bool write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                          struct buf *dropped, struct fault *f) {
    struct encode_opt mine = *o;
    mine.quirks |= QUIRK_BEDROCK;
    return an_write_request(a, c, &mine, out, dropped, f);
}

/* --- plain completions --- */

static enum stop_reason stop_of(struct str s) {
    static const struct {
        const char *word;
        enum stop_reason stop;
    } rows[] = {{"stop", STOP_END},
                {"complete", STOP_END},
                {"finish", STOP_END},
                {"end_turn", STOP_END},
                {"stop_sequence", STOP_SEQUENCE},
                {"length", STOP_LENGTH},
                {"max_tokens", STOP_LENGTH},
                {"error", STOP_ERROR},
                {"error_limit", STOP_CONTEXT},
                {"error_toxic", STOP_FILTER},
                {"content_filter", STOP_FILTER},
                {"content_filtered", STOP_FILTER}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_isi(s, rows[i].word))
            return rows[i].stop;
    return s.n ? STOP_UNKNOWN : STOP_UNSET;
}

/* What is said first of the answer, or the answer itself: "outputs" (Mistral), "choices" (imported models),
 * "generations" (Cohere), "results" (Titan). */
static struct json_object *said_in(struct json_object *o) {
    static const char *const lists[] = {"outputs", "choices", "generations", "results"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct json_object *list = jo_arr(o, lists[i]);
        if (list && json_object_array_length(list) > 0)
            return json_object_array_get_idx(list, 0);
    }
    return o;
}

static bool text_member(struct json_object *o, const char *const *names, size_t n, struct str *out) {
    *out = STR_NONE;
    for (size_t i = 0; i < n; i++)
        if (json_object_is_type(jo_get(o, names[i]), json_type_string)) {
            *out = jo_str(o, names[i]);
            return true;
        }
    return false;
}

static bool text_of(struct json_object *o, struct str *text) {
    static const char *const names[] = {"text", "generation", "completion", "outputText"};
    return text_member(o, names, sizeof names / sizeof *names, text);
}

static struct str word_of(struct json_object *o) {
    static const char *const names[] = {"stop_reason", "finish_reason", "completionReason"};
    struct str word;
    text_member(o, names, sizeof names / sizeof *names, &word);
    return word;
}

static bool count_at(struct str checked, const char *in, const char *name, uint64_t *n) {
    struct json_value v;
    return (in ? json_path(checked, &v, in, name, NULL) : json_member(checked, name, &v)) &&
           usage_count(v, n);
}

static struct usage usage_of(struct str checked) {
    static const struct {
        const char *in, *input, *output;
    } rows[] = {{"amazon-bedrock-invocationMetrics", "inputTokenCount", "outputTokenCount"},
                {NULL, "prompt_token_count", "generation_token_count"},
                {"usage", "prompt_tokens", "completion_tokens"}};
    struct usage u = USAGE_NONE;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !u.known; i++) {
        bool input = count_at(checked, rows[i].in, rows[i].input, &u.input);
        u.known = count_at(checked, rows[i].in, rows[i].output, &u.output) || input;
    }
    return u;
}

/* --- whole --- */

static struct reply *failed(struct arena *a, struct str body, struct fault *f) {
    struct said said;
    said_body(a, body, &said);
    if (said.message.n == 0)
        said.message = STR("the provider's answer cannot be read");
    said_fault(a, 0, &said, f);
    return NULL;
}

static struct reply *read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    struct json_error err;
    struct str text;
    struct json_object *tree = chat_hold(a, json_tree(body, &err)), *said = said_in(tree);
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    if (jo_arr(tree, "content"))
        return an_read_reply(a, body, quirks, f);
    if (!text_of(said, &text))
        return failed(a, json_object_is_type(tree, json_type_object) ? body : STR_NONE, f);
    struct chat *c = chat_new(a);
    struct reply *r = arena_alloc(a, sizeof *r);
    r->message = chat_message(c, ROLE_ASSISTANT);
    if (text.n)
        message_part(c, r->message, PART_TEXT)->text = text;
    r->stop_native = word_of(said);
    r->stop = stop_of(r->stop_native);
    r->usage = usage_of(body);
    return r;
}

/* --- streams --- */

#define READER_MAGIC 0x42495244U
enum family { UNKNOWN, CLAUDE, PLAIN };
struct reader {
    unsigned magic;
    struct arena *a;
    event_fn *fn;
    void *arg;
    enum family family;
    struct stream_reader *claude;
    struct event_source plain;
    bool over;
};

static struct reader *reader_of(struct stream_reader *r) {
    struct reader *self = (struct reader *)(void *)r;
    MAGIC_CHECK(self, READER_MAGIC);
    return self;
}

static void pass_event(void *arg, const struct event_item *ev) {
    struct reader *r = arg;
    MAGIC_CHECK(r, READER_MAGIC);
    r->over = r->over || ev->kind == EV_END || ev->kind == EV_FAULT;
    r->fn(r->arg, ev);
}

static struct stream_reader *reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg) {
    struct reader *r = arena_alloc(a, sizeof *r);
    r->magic = READER_MAGIC;
    r->a = a;
    r->fn = fn;
    r->arg = arg;
    r->claude = an_reader_new(a, quirks, pass_event, r);
    r->plain = (struct event_source){.fn = pass_event, .arg = r, .arena = a};
    return (struct stream_reader *)(void *)r;
}

static void tell_fault(struct reader *r, const struct fault *f) {
    pass_event(r, &(struct event_item){.kind = EV_FAULT, .fault = f});
}

static void fail(struct reader *r, const char *why) {
    struct fault f;
    fault_set(&f, r->a, FAULT_SERVER, "%s", why);
    f.from_provider = true;
    tell_fault(r, &f);
}

static void plain_event(struct reader *r, struct str data) {
    struct json_error err;
    struct json_object *tree = json_tree(data, &err), *said = said_in(tree);
    struct usage u = usage_of(data);
    struct str text, word = word_of(said);
    event_start(&r->plain, STR_NONE, STR_NONE, 0);
    if (text_of(said, &text) && text.n) {
        if (!r->plain.open)
            event_open(&r->plain, (struct event_item){.part = PART_TEXT});
        event_text(&r->plain, EV_TEXT, text);
    }
    if (word.n) {
        event_close(&r->plain);
        if (u.known)
            event_usage(&r->plain, &u);
        if (stop_of(word) == STOP_ERROR)
            event_fail(&r->plain, "the provider could not finish its answer");
        else
            event_end(&r->plain, stop_of(word), word, STR_NONE);
    }
    json_object_put(tree);
}

/* An event of a model, out of its base64. Whose it is the first one shows: only Claude's have a type. */
static void model_event(struct reader *r, struct str data) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    struct json_value v;
    if (json_scan(data, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT) {
        fail(r, "the provider sent an event that is not JSON");
        return;
    }
    if (r->family == UNKNOWN)
        r->family = json_member(data, "type", &v) ? CLAUDE : PLAIN;
    if (r->family == CLAUDE)
        an_read_event(r->claude, STR_NONE, data);
    else
        plain_event(r, data);
}

static void chunk(struct reader *r, struct str data) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    struct json_value v;
    struct arena *tmp = arena_new(0);
    struct buf plain;
    buf_init(&plain, 0);
    bool ok = json_scan(data, &kind, NULL, NULL, &err) == 0 && kind == JSON_OBJECT &&
              json_member(data, "bytes", &v) && v.kind == JSON_STRING &&
              base64_decode(&plain, json_text(tmp, v));
    if (ok)
        model_event(r, buf_str(&plain));
    else
        fail(r, "the provider sent a frame that cannot be read");
    buf_free(&plain);
    arena_free(tmp);
}

static void read_event(struct stream_reader *sr, struct str name, struct str data) {
    struct reader *r = reader_of(sr);
    struct fault f;
    if (r->over)
        return;
    if (str_starts(name, "!")) {
        br_exception(r->a, str_skip(name, 1), data, &f);
        tell_fault(r, &f);
    } else if (str_is(name, "chunk")) {
        chunk(r, data);
    } /* what may be added */
}

static void reader_end(struct stream_reader *sr) {
    struct reader *r = reader_of(sr);
    if (r->over)
        return;
    if (r->family == CLAUDE)
        an_reader_end(r->claude);
    else
        fail(r,
             r->plain.started ? "the provider's stream ended too early" : "the provider's answer is empty");
}

static const struct provider_face provider = {
    .early_usage = true, /* Claude's */
    .path = "/model/{model}/invoke",
    .stream_path = "/model/{model}/invoke-with-response-stream",
    .framing = FRAMING_AWS,
    .write_request = write_request,
    .read_reply = read_reply,
    .read_fault = br_read_fault,
    .reader_new = reader_new,
    .read_event = read_event,
    .reader_end = reader_end,
};

const struct dialect dialect_bedrock_invoke = {"bedrock_invoke", OP_CHAT, NULL, &provider};
