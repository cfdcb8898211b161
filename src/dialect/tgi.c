/* The native API of text-generation-inference, /generate and /generate_stream: the reader of its answers.
 * There is no writer of requests: the same servers speak OpenAI's chat, with the model's template and its
 * tools, so that no kind asks by this face.
 *
 * Sources: docs/openapi.json of TGI, its conceptual guide on streaming, and one recording. */
#include "answer.h"
#include "base/die.h"

/* --- usage and words --- */

static bool count_one(void *arg, struct str key, struct json_value v) {
    (void)key;
    (void)v;
    ++*(uint64_t *)arg;
    return true;
}

/* The prompt's tokens are counted where they were asked for (prefill), and at the end of newer streams.
 * Without them the whole is an estimate: what is missing is the gateway's to say. */
static struct usage usage_of(struct str details) {
    struct usage u = USAGE_NONE;
    struct json_value v;
    bool input = json_member(details, "input_length", &v) && usage_count(v, &u.input);
    if (!input && json_member(details, "prefill", &v) && v.kind == JSON_ARRAY) {
        json_each(v.raw, count_one, &u.input);
        input = u.input > 0;
    }
    bool output = json_member(details, "generated_tokens", &v) && usage_count(v, &u.output);
    u.known = input && output;
    u.estimated = !u.known && (input || output);
    return u;
}

static enum stop_reason stop_of(struct str word) {
    if (str_is(word, "length"))
        return STOP_LENGTH;
    if (str_is(word, "stop_sequence"))
        return STOP_SEQUENCE;
    return word.n == 0 || str_is(word, "eos_token") ? STOP_END : STOP_UNKNOWN;
}

/* --- errors --- */

/* {"error", "error_type"}. The types go with a status; inside a stream they alone say it. */
static void fault_of(struct arena *a, int status, struct str body, const char *otherwise, struct fault *f) {
    static const struct {
        const char *type;
        int status;
    } rows[] = {{"validation", 422},
                {"generation", 424},
                {"overloaded", 429},
                {"incomplete_generation", 500},
                {"unhealthy", 503}};
    struct said said;
    said_body(a, body, &said);
    if (said.message.n == 0)
        said.message = str_of(otherwise);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_is(said.type, rows[i].type)) {
            said.status = rows[i].status;
            said.type = STR_NONE; /* it says no more than that */
        }
    said_fault(a, status, &said, f);
    f->from_provider = true;
}

static void read_fault(struct arena *a, int status, struct str body,
                       struct str (*header)(void *arg, const char *name), void *arg, struct fault *f) {
    fault_of(a, status, body, "", f);
    retry_hints(header, arg, f);
}

static bool has_error(struct str checked) {
    struct json_value v;
    return json_member(checked, "error", &v) && v.kind != JSON_NULL;
}

/* --- whole --- */

static bool take_first(void *arg, struct str key, struct json_value v) {
    (void)key;
    *(struct json_value *)arg = v;
    return false;
}

/* The object, alone or in the array that "/" gives. Empty: there is none. */
static struct str object_in(struct str body) {
    struct json_value v = {JSON_NULL, body};
    struct json_error err;
    if (json_scan(body, &v.kind, NULL, NULL, &err) != 0)
        return STR_NONE;
    if (v.kind == JSON_ARRAY) {
        v.kind = JSON_NULL;
        json_each(body, take_first, &v);
    }
    return v.kind == JSON_OBJECT ? v.raw : STR_NONE;
}

static struct reply *read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    struct json_value v;
    struct str o = object_in(body);
    (void)quirks;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    if (o.n == 0) {
        said_garbage(a, f, str_trim(body).n ? "is not a JSON object" : "is empty");
        return NULL;
    }
    if (has_error(o) || !json_member(o, "generated_text", &v) || v.kind != JSON_STRING) {
        fault_of(a, 0, o, "the provider's answer has no text", f);
        return NULL;
    }
    struct chat *c = chat_new(a);
    struct reply *r = arena_alloc(a, sizeof *r);
    struct str text = json_text(a, v);
    r->message = chat_message(c, ROLE_ASSISTANT);
    if (text.n)
        message_part(c, r->message, PART_TEXT)->text = text;
    r->usage = USAGE_NONE;
    if (json_member(o, "details", &v) && v.kind == JSON_OBJECT) {
        r->usage = usage_of(v.raw);
        if (json_member(v.raw, "finish_reason", &v) && v.kind == JSON_STRING)
            r->stop_native = json_text(a, v);
    }
    r->stop = stop_of(r->stop_native);
    return r;
}

/* --- streams --- */

#define READER_MAGIC 0x54475244U
struct reader {
    unsigned magic;
    struct arena *a;
    struct event_source out;
    struct arena *tmp; /* texts of the event in hand */
};

static struct reader *reader_of(struct stream_reader *r) {
    struct reader *self = (struct reader *)(void *)r;
    MAGIC_CHECK(self, READER_MAGIC);
    return self;
}

static struct stream_reader *reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg) {
    struct reader *r = arena_alloc(a, sizeof *r);
    (void)quirks;
    r->magic = READER_MAGIC;
    r->a = a;
    r->out = (struct event_source){.fn = fn, .arg = arg, .arena = a};
    return (struct stream_reader *)(void *)r;
}

static void say(struct reader *r, struct str text) {
    if (text.n == 0)
        return;
    if (!r->out.open)
        event_open(&r->out, (struct event_item){.part = PART_TEXT});
    event_text(&r->out, EV_TEXT, text);
}

/* Those that mark a text's end and the like are no text. */
static void on_token(struct reader *r, struct str event) {
    struct json_value special, v;
    if (json_path(event, &special, "token", "special", NULL) && json_true(special))
        return;
    if (json_path(event, &v, "token", "text", NULL) && v.kind == JSON_STRING)
        say(r, json_text(r->tmp, v));
}

/* The last event has the whole text, and the details if they were asked for. */
static void on_last(struct reader *r, struct str event) {
    struct json_value text, details, v;
    struct str word = STR_NONE;
    bool whole = json_member(event, "generated_text", &text) && text.kind == JSON_STRING;
    bool told = json_member(event, "details", &details) && details.kind == JSON_OBJECT;
    if (!whole && !told)
        return;
    if (whole && !r->out.open)
        say(r, json_text(r->tmp, text));
    event_close(&r->out);
    if (told) {
        struct usage u = usage_of(details.raw);
        if (u.known || u.estimated)
            event_usage(&r->out, &u);
        if (json_member(details.raw, "finish_reason", &v) && v.kind == JSON_STRING)
            word = json_text(r->tmp, v);
    }
    event_end(&r->out, stop_of(word), word, STR_NONE);
}

static void read_event(struct stream_reader *sr, struct str name, struct str data) {
    struct reader *r = reader_of(sr);
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    struct fault f;
    (void)name;
    if (r->out.done || data.n == 0)
        return;
    if (json_scan(data, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT) {
        event_fail(&r->out, "the provider sent an event that is not a JSON object");
        return;
    }
    if (has_error(data)) {
        fault_of(r->a, 0, data, "the provider could not finish its answer", &f);
        event_fault(&r->out, &f);
        return;
    }
    r->tmp = arena_new(0);
    event_start(&r->out, STR_NONE, STR_NONE, 0);
    on_token(r, data);
    on_last(r, data);
    arena_free(r->tmp);
    r->tmp = NULL;
}

static void reader_end(struct stream_reader *sr) {
    struct reader *r = reader_of(sr);
    if (!r->out.done)
        event_fail(&r->out, r->out.started ? "the provider's stream ended too early"
                                           : "the provider's answer is empty");
}

static const struct provider_face provider = {
    .path = "/generate",
    .stream_path = "/generate_stream",
    .read_reply = read_reply,
    .read_fault = read_fault,
    .reader_new = reader_new,
    .read_event = read_event,
    .reader_end = reader_end,
};

const struct dialect dialect_tgi = {"tgi", OP_CHAT, NULL, &provider};
