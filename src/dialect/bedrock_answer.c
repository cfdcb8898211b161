/* Answers of Converse and ConverseStream into the canonical form. */
#include "bedrock.h"

#include "answer.h"
#include "base/die.h"

static enum stop_reason stop_of(struct str s) {
    static const struct {
        const char *word;
        enum stop_reason stop;
    } rows[] = {{"end_turn", STOP_END},
                {"stop_sequence", STOP_SEQUENCE},
                {"max_tokens", STOP_LENGTH},
                {"model_context_window_exceeded", STOP_CONTEXT},
                {"tool_use", STOP_TOOLS},
                {"guardrail_intervened", STOP_FILTER},
                {"content_filtered", STOP_FILTER},
                {"malformed_model_output", STOP_ERROR},
                {"malformed_tool_use", STOP_ERROR}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_is(s, rows[i].word))
            return rows[i].stop;
    return s.n ? STOP_UNKNOWN : STOP_UNSET;
}

static uint64_t number(struct str checked, const char *key) {
    struct json_value v;
    uint64_t n = 0;
    if (json_member(checked, key, &v))
        usage_count(v, &n);
    return n;
}

/* {"ttl": "1h", "inputTokens": n}, of what was written. */
static bool cache_detail(void *arg, struct str key, struct json_value v) {
    struct json_value ttl;
    (void)key;
    if (v.kind == JSON_OBJECT && json_member(v.raw, "ttl", &ttl) && json_string_is(ttl, "1h"))
        *(uint64_t *)arg += number(v.raw, "inputTokens");
    return true;
}

/* Input excludes what was cached. */
static struct usage usage_of(struct str checked) {
    struct usage u = USAGE_NONE;
    struct json_value v;
    u.cache_read = number(checked, "cacheReadInputTokens");
    u.cache_write = number(checked, "cacheWriteInputTokens");
    if (json_member(checked, "cacheDetails", &v) && v.kind == JSON_ARRAY)
        json_each(v.raw, cache_detail, &u.cache_write_1h);
    if (u.cache_write_1h > u.cache_write)
        u.cache_write_1h = u.cache_write;
    u.input = number(checked, "inputTokens") + u.cache_read + u.cache_write;
    u.output = number(checked, "outputTokens");
    u.known = u.input > 0 || u.output > 0;
    return u;
}

/* --- errors --- */

/* The class is in a header, perhaps with ":http://..." behind it. */
static void name_fault(struct arena *a, int status, struct str name, struct said *said, struct fault *f) {
    static const struct {
        const char *name;
        int status;
    } rows[] = {{"validation", 400},    {"accessdenied", 403},  {"resourcenotfound", 404},
                {"modeltimeout", 408},  {"modelerror", 502},    {"modelstreamerror", 502},
                {"throttling", 429},    {"modelnotready", 503}, {"serviceunavailable", 503},
                {"internalserver", 500}};
    struct str first = name;
    str_next(&name, ':', &first);
    said->type = first;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && status == 0; i++)
        if (str_startsi(first, rows[i].name))
            status = rows[i].status;
    said_fault(a, status, said, f);
    f->from_provider = true;
}

void br_read_fault(struct arena *a, int status, struct str body,
                   struct str (*header)(void *arg, const char *name), void *arg, struct fault *f) {
    struct said said;
    struct str name = header(arg, "x-amzn-errortype");
    said_body(a, body, &said);
    name_fault(a, status, name.p ? name : STR_NONE, &said, f);
    retry_hints(header, arg, f);
}

/* --- whole --- */

static void read_reasoning(struct chat *c, struct message *m, struct json_object *o) {
    struct json_object *text = jo_obj(o, "reasoningText");
    struct str redacted = jo_str(o, "redactedContent");
    if (text) {
        struct part *p = message_part(c, m, PART_THINKING);
        p->text = jo_str(text, "text");
        p->signature = jo_str(text, "signature");
        p->origin = STR("bedrock");
    } else if (redacted.n) {
        struct part *p = message_part(c, m, PART_THINKING_REDACTED);
        p->data = redacted;
        p->origin = STR("bedrock");
    }
}

static void read_block(struct arena *a, struct chat *c, struct message *m, struct json_object *o) {
    struct json_object *use = jo_obj(o, "toolUse"), *reasoning = jo_obj(o, "reasoningContent");
    struct str text = jo_str(o, "text");
    if (text.n)
        message_part(c, m, PART_TEXT)->text = text;
    if (reasoning)
        read_reasoning(c, m, reasoning);
    if (use) {
        struct part *p = message_part(c, m, PART_TOOL_CALL);
        p->id = jo_str(use, "toolUseId");
        p->name = jo_str(use, "name");
        p->text = jo_obj(use, "input") ? tree_text(a, jo_obj(use, "input")) : STR("{}");
    }
}

struct reply *br_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    struct json_error err;
    struct json_value v;
    (void)quirks;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    struct json_object *tree = chat_hold(a, json_tree(body, &err));
    if (!json_object_is_type(tree, json_type_object)) {
        said_garbage(a, f, str_trim(body).n ? "is not a JSON object" : "is empty");
        return NULL;
    }
    struct json_object *message = jo_obj(jo_obj(tree, "output"), "message"),
                       *content = jo_arr(message, "content");
    if (!message) {
        said_garbage(a, f, "has no message");
        return NULL;
    }
    struct chat *c = chat_new(a);
    struct reply *r = arena_alloc(a, sizeof *r);
    r->message = chat_message(c, ROLE_ASSISTANT);
    for (size_t i = 0; content && i < json_object_array_length(content); i++)
        read_block(a, c, r->message, json_object_array_get_idx(content, i));
    r->stop_native = jo_str(tree, "stopReason");
    r->stop = stop_of(r->stop_native);
    if (r->stop == STOP_ERROR) {
        said_garbage(a, f, "is malformed, as it says itself");
        return NULL;
    }
    r->usage = json_member(body, "usage", &v) && v.kind == JSON_OBJECT ? usage_of(v.raw) : USAGE_NONE;
    return r;
}

/* --- streams --- */

#define READER_MAGIC 0x42525244U
struct reader {
    unsigned magic;
    struct arena *a;
    struct event_source out;
    struct arena *tmp; /* texts of the event in hand */
    uint64_t block;    /* its number at Bedrock */
    bool args_seen, stopped;
    enum stop_reason stop;
    struct str native;
};

static struct reader *reader_of(struct stream_reader *r) {
    struct reader *self = (struct reader *)(void *)r;
    MAGIC_CHECK(self, READER_MAGIC);
    return self;
}

struct stream_reader *br_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg) {
    struct reader *r = arena_alloc(a, sizeof *r);
    (void)quirks;
    r->magic = READER_MAGIC;
    r->a = a;
    r->out = (struct event_source){.fn = fn, .arg = arg, .arena = a};
    return (struct stream_reader *)(void *)r;
}

static void close_part(struct reader *r) {
    if (r->out.open && r->out.part == PART_TOOL_CALL && !r->args_seen)
        event_text(&r->out, EV_ARGS, STR("{}"));
    event_close(&r->out);
}

static void open_part(struct reader *r, uint64_t block, struct event_item ev) {
    event_start(&r->out, STR_NONE, STR_NONE, 0);
    if (r->out.open && r->block == block && r->out.part == ev.part)
        return;
    close_part(r);
    r->block = block;
    r->args_seen = false;
    event_open(&r->out, ev);
}

static struct str text_of(struct reader *r, struct json_value v) {
    return v.kind == JSON_STRING ? json_text(r->tmp, v) : STR_NONE;
}

static uint64_t block_of(struct str data) {
    struct json_value v;
    uint64_t n = 0;
    if (json_member(data, "contentBlockIndex", &v))
        json_u64(v, &n);
    return n;
}

static struct str at(struct reader *r, struct str data, const char *a, const char *b, const char *c) {
    struct json_value v;
    return json_path(data, &v, a, b, c, NULL) ? text_of(r, v) : STR_NONE;
}

static void block_start(struct reader *r, struct str data) {
    struct str id = at(r, data, "start", "toolUse", "toolUseId"),
               name = at(r, data, "start", "toolUse", "name");
    if (name.n == 0)
        return;
    event_start(&r->out, STR_NONE, STR_NONE, 0);
    close_part(r);
    if (id.n == 0)
        id = arena_printf(r->tmp, "tooluse_%u", r->out.next_index);
    open_part(r, block_of(data), (struct event_item){.part = PART_TOOL_CALL, .id = id, .name = name});
}

static void reasoning_delta(struct reader *r, uint64_t block, struct str data) {
    struct str text = at(r, data, "delta", "reasoningContent", "text");
    struct str signature = at(r, data, "delta", "reasoningContent", "signature");
    struct str redacted = at(r, data, "delta", "reasoningContent", "redactedContent");
    if (redacted.n) {
        event_start(&r->out, STR_NONE, STR_NONE, 0);
        close_part(r);
        event_open(&r->out, (struct event_item){
                                .part = PART_THINKING_REDACTED, .text = redacted, .name = STR("bedrock")});
        event_close(&r->out);
        return;
    }
    if (text.n == 0 && signature.n == 0)
        return;
    open_part(r, block, (struct event_item){.part = PART_THINKING});
    event_text(&r->out, EV_THINK, text);
    event_signature(&r->out, signature, STR("bedrock"));
}

static void block_delta(struct reader *r, struct str data) {
    struct json_value v;
    uint64_t block = block_of(data);
    if (json_path(data, &v, "delta", "text", NULL)) {
        struct str text = text_of(r, v);
        if (text.n == 0)
            return;
        open_part(r, block, (struct event_item){.part = PART_TEXT});
        event_text(&r->out, EV_TEXT, text);
    } else if (json_path(data, &v, "delta", "toolUse", "input", NULL)) {
        struct str piece = text_of(r, v);
        if (!r->out.open || r->out.part != PART_TOOL_CALL || piece.n == 0)
            return;
        r->args_seen = true;
        event_text(&r->out, EV_ARGS, piece);
    } else {
        reasoning_delta(r, block, data);
    }
}

static void message_stop(struct reader *r, struct str data) {
    struct json_value v;
    event_start(&r->out, STR_NONE, STR_NONE, 0);
    close_part(r);
    r->stopped = true;
    r->native = json_member(data, "stopReason", &v) ? arena_dup(r->a, text_of(r, v)) : STR_NONE;
    r->stop = stop_of(r->native);
}

/* The counts come last of all. */
static void metadata(struct reader *r, struct str data) {
    struct json_value v;
    event_start(&r->out, STR_NONE, STR_NONE, 0);
    if (json_member(data, "usage", &v) && v.kind == JSON_OBJECT) {
        struct usage u = usage_of(v.raw);
        if (u.known)
            event_usage(&r->out, &u);
    }
    if (!r->stopped)
        return;
    if (r->stop == STOP_ERROR)
        event_fail(&r->out, "the provider's answer is malformed, as it says itself");
    else
        event_end(&r->out, r->stop == STOP_UNSET ? STOP_END : r->stop, r->native, STR_NONE);
}

void br_exception(struct arena *a, struct str name, struct str data, struct fault *f) {
    struct said said;
    said_body(a, data, &said);
    name_fault(a, 0, name, &said, f);
}

static void exception(struct reader *r, struct str name, struct str data) {
    struct fault f;
    br_exception(r->a, name, data, &f);
    event_fault(&r->out, &f);
}

void br_read_event(struct stream_reader *sr, struct str name, struct str data) {
    struct reader *r = reader_of(sr);
    enum json_kind kind;
    struct json_error err;
    if (r->out.done)
        return;
    if (json_scan(data, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT) {
        event_fail(&r->out, "the provider sent an event that is not JSON");
        return;
    }
    r->tmp = arena_new(0);
    if (str_starts(name, "!"))
        exception(r, str_skip(name, 1), data);
    else if (str_is(name, "messageStart"))
        event_start(&r->out, STR_NONE, STR_NONE, 0);
    else if (str_is(name, "contentBlockStart") && !r->stopped)
        block_start(r, data);
    else if (str_is(name, "contentBlockDelta") && !r->stopped)
        block_delta(r, data);
    else if (str_is(name, "contentBlockStop"))
        close_part(r);
    else if (str_is(name, "messageStop"))
        message_stop(r, data);
    else if (str_is(name, "metadata"))
        metadata(r, data);
    arena_free(r->tmp);
    r->tmp = NULL;
}

void br_reader_end(struct stream_reader *sr) {
    struct reader *r = reader_of(sr);
    if (!r->out.done) /* without the counts, which come last, it is cut */
        event_fail(&r->out, r->out.started ? "the provider's stream ended too early"
                                           : "the provider's answer is empty");
}
