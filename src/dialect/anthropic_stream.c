/* A Messages stream into events. The grammar of events is kept whatever comes: a block that was never closed
 * is closed, a delta without its block opens one, and what is unknown is passed over, as Anthropic asks of
 * readers. */
#include "anthropic.h"

#include "base/die.h"
#include "cite.h"

#define READER_MAGIC 0x414E5244U
#define NOTES_MAX    ((size_t)1 << 20) /* of one block's citations; more are left out */

struct reader {
    unsigned magic;
    struct arena *a;
    struct event_source out;
    struct arena *tmp; /* texts of the event in hand; NULL when none had an escape */
    bool has_call, args_seen;
    uint64_t block;   /* Anthropic's number of the open one */
    uint64_t chars;   /* of its text */
    struct buf notes; /* its citations: a JSON array without its end */
    struct str input; /* of a tool_use that came whole in its start */
    struct an_counts counts;
    enum stop_reason stop;
    struct str stop_native, stop_sequence;
};

/* The members of one event. */
struct frame {
    struct json_value type, index, message, block, delta, usage, error;
};

static struct reader *reader_of(struct stream_reader *r) {
    struct reader *self = (struct reader *)(void *)r;
    MAGIC_CHECK(self, READER_MAGIC);
    return self;
}

static void release(void *reader) {
    buf_free(&((struct reader *)reader)->notes);
}

struct stream_reader *an_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg) {
    (void)quirks;
    struct reader *r = arena_alloc(a, sizeof *r);
    r->magic = READER_MAGIC;
    r->a = a;
    r->out = (struct event_source){.fn = fn, .arg = arg, .arena = a};
    buf_init(&r->notes, NOTES_MAX);
    arena_cleanup(a, release, r);
    return (struct stream_reader *)(void *)r;
}

/* --- texts: valid until the event has been handled, so that a long stream does not fill the arena --- */

static struct str text(struct reader *r, struct json_value v) {
    if (v.kind != JSON_STRING || v.raw.n <= 2)
        return STR_NONE;
    if (!memchr(v.raw.p, '\\', v.raw.n))
        return str_make(v.raw.p + 1, v.raw.n - 2);
    if (!r->tmp)
        r->tmp = arena_new(0);
    return json_text(r->tmp, v);
}

static struct str member(struct reader *r, struct json_value o, const char *key) {
    struct json_value v;
    return o.kind == JSON_OBJECT && json_member(o.raw, key, &v) ? text(r, v) : STR_NONE;
}

/* --- events --- */

/* Citations speak of the whole text of their block, and come in front of it. */
static void tell_notes(struct reader *r) {
    struct json_error err;
    if (buf_len(&r->notes) == 0)
        return;
    buf_addc(&r->notes, ']');
    if (buf_ok(&r->notes) && r->out.open && r->out.part == PART_TEXT) {
        struct arena *tmp = arena_new(0);
        struct json_object *list = json_tree(buf_str(&r->notes), &err);
        event_annotations(&r->out, an_annotations(tmp, list, r->chars));
        json_object_put(list);
        arena_free(tmp);
    }
    buf_clear(&r->notes);
}

static void add_note(struct reader *r, struct json_value delta) {
    struct json_value v;
    if (!json_member(delta.raw, "citation", &v) || v.kind != JSON_OBJECT)
        return;
    buf_addc(&r->notes, buf_len(&r->notes) ? ',' : '[');
    buf_adds(&r->notes, v.raw);
}

static void close_part(struct reader *r) {
    tell_notes(r);
    if (r->out.open && r->out.part == PART_TOOL_CALL && !r->args_seen)
        event_text(&r->out, EV_ARGS, r->input);
    event_close(&r->out);
}

static void open_part(struct reader *r, uint64_t block, struct event_item ev) {
    event_start(&r->out, STR_NONE, STR_NONE, 0);
    close_part(r);
    r->block = block;
    r->args_seen = false;
    r->chars = 0;
    r->input = STR_NONE;
    event_open(&r->out, ev);
}

static void emit_usage(struct reader *r, struct json_value usage) {
    if (usage.kind != JSON_OBJECT)
        return;
    an_counts_take(usage.raw, &r->counts);
    struct usage u = an_usage(&r->counts);
    if (r->out.started && u.known)
        event_usage(&r->out, &u);
}

/* --- one kind of event each --- */

static void message_start(struct reader *r, const struct frame *f) {
    struct json_value usage;
    if (r->out.started && r->has_call) {
        /* Anthropic may begin anew midway (a fallback model). Calls that went out cannot be taken back, and
         * acting on half of one is worse than an error. */
        event_fail(&r->out, "the provider began its answer anew after a tool call");
        return;
    }
    close_part(r);
    event_start(&r->out, member(r, f->message, "id"), member(r, f->message, "model"), 0);
    if (f->message.kind == JSON_OBJECT && json_member(f->message.raw, "usage", &usage))
        emit_usage(r, usage);
}

static bool empty_object(struct str raw) {
    for (size_t i = 1; i + 1 < raw.n; i++)
        if (!memchr(" \t\r\n", raw.p[i], 4))
            return false;
    return true;
}

static void say(struct reader *r, struct str s) {
    r->chars += cite_chars(s);
    event_text(&r->out, EV_TEXT, s);
}

static void block_start(struct reader *r, const struct frame *f, uint64_t index) {
    struct str type = member(r, f->block, "type");
    struct json_value input;
    close_part(r);
    if (str_is(type, "text")) {
        open_part(r, index, (struct event_item){.part = PART_TEXT});
        say(r, member(r, f->block, "text"));
    } else if (str_is(type, "thinking")) {
        open_part(r, index, (struct event_item){.part = PART_THINKING});
        event_text(&r->out, EV_THINK, member(r, f->block, "thinking"));
        event_signature(&r->out, member(r, f->block, "signature"), STR("anthropic"));
    } else if (str_is(type, "redacted_thinking")) {
        open_part(r, index,
                  (struct event_item){.part = PART_THINKING_REDACTED,
                                      .name = STR("anthropic"),
                                      .text = member(r, f->block, "data")});
    } else if (str_is(type, "tool_use")) {
        open_part(r, index,
                  (struct event_item){.part = PART_TOOL_CALL,
                                      .id = member(r, f->block, "id"),
                                      .name = member(r, f->block, "name")});
        r->has_call = true;
        if (json_member(f->block.raw, "input", &input) && input.kind == JSON_OBJECT &&
            !empty_object(input.raw))
            r->input = arena_dup(r->a, input.raw);
    }
}

static void block_delta(struct reader *r, const struct frame *f, uint64_t index) {
    struct str type = member(r, f->delta, "type");
    bool ours = r->out.open && r->block == index;
    if (str_is(type, "text_delta")) {
        if (!ours || r->out.part != PART_TEXT)
            open_part(r, index, (struct event_item){.part = PART_TEXT});
        say(r, member(r, f->delta, "text"));
    } else if (str_is(type, "thinking_delta")) {
        if (!ours || r->out.part != PART_THINKING)
            open_part(r, index, (struct event_item){.part = PART_THINKING});
        event_text(&r->out, EV_THINK, member(r, f->delta, "thinking"));
    } else if (str_is(type, "signature_delta") && ours && r->out.part == PART_THINKING) {
        event_signature(&r->out, member(r, f->delta, "signature"), STR("anthropic"));
    } else if (str_is(type, "input_json_delta") && ours && r->out.part == PART_TOOL_CALL) {
        struct str piece = member(r, f->delta, "partial_json");
        r->args_seen = r->args_seen || piece.n > 0;
        event_text(&r->out, EV_ARGS, piece);
    } else if (str_is(type, "citations_delta") && ours && r->out.part == PART_TEXT) {
        add_note(r, f->delta);
    } /* server tools' arguments have no open part */
}

static void message_delta(struct reader *r, const struct frame *f) {
    struct str native = member(r, f->delta, "stop_reason");
    if (native.n > 0) {
        r->stop = an_stop(native);
        r->stop_native = arena_dup(r->a, native);
        r->stop_sequence = arena_dup(r->a, member(r, f->delta, "stop_sequence"));
    }
    emit_usage(r, f->usage);
}

static void message_stop(struct reader *r) {
    if (!r->out.started) {
        event_fail(&r->out, "the provider's answer is empty");
        return;
    }
    close_part(r);
    event_end(&r->out, r->stop == STOP_UNSET ? STOP_END : r->stop, r->stop_native, r->stop_sequence);
}

static void dispatch(struct reader *r, struct str type, const struct frame *f, struct str data) {
    uint64_t index = UINT64_MAX;
    struct fault fault;
    json_u64(f->index, &index);
    if (str_is(type, "content_block_delta"))
        block_delta(r, f, index);
    else if (str_is(type, "content_block_start"))
        block_start(r, f, index);
    else if (str_is(type, "content_block_stop"))
        close_part(r);
    else if (str_is(type, "message_start"))
        message_start(r, f);
    else if (str_is(type, "message_delta"))
        message_delta(r, f);
    else if (str_is(type, "message_stop"))
        message_stop(r);
    else if (str_is(type, "error")) {
        an_error(r->a, data, &fault);
        event_fault(&r->out, &fault);
    } /* ping, and what may be added */
}

static bool frame_member(void *arg, struct str key, struct json_value v) {
    struct frame *f = arg;
    if (json_key_is(key, "type"))
        f->type = v;
    else if (json_key_is(key, "index"))
        f->index = v;
    else if (json_key_is(key, "delta"))
        f->delta = v;
    else if (json_key_is(key, "content_block"))
        f->block = v;
    else if (json_key_is(key, "message"))
        f->message = v;
    else if (json_key_is(key, "usage"))
        f->usage = v;
    return true;
}

void an_read_event(struct stream_reader *sr, struct str name, struct str data) {
    struct reader *r = reader_of(sr);
    enum json_kind kind;
    struct json_error err;
    struct frame f = {.type = {JSON_NULL, STR_NONE}};
    data = str_trim(data);
    if (r->out.done || !str_starts(data, "{"))
        return;
    if (json_scan(data, &kind, frame_member, &f, &err) != 0) {
        event_fail(&r->out, "the provider sent an event that is not JSON");
        return;
    }
    struct str type = text(r, f.type);
    dispatch(r, type.n > 0 ? type : name, &f, data);
    arena_free(r->tmp);
    r->tmp = NULL;
}

void an_reader_end(struct stream_reader *sr) {
    struct reader *r = reader_of(sr);
    if (!r->out.done)
        event_fail(&r->out, r->out.started ? "the provider's stream ended too early"
                                           : "the provider's answer is empty");
}
