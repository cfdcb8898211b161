/* Answers for clients of the Messages API: whole, as a stream, and as errors. The order of a stream's events
 * is Anthropic's whatever the provider sent: message_start, blocks that open, grow and close one after the
 * other, and at the end message_delta with the counts and message_stop, or an error in their place. */
#include "anthropic.h"
#include "encode.h"

#include "base/die.h"
#include "opaque.h"

/* --- words --- */

static const char *stop_word(enum stop_reason stop) {
    switch (stop) {
    case STOP_SEQUENCE:
        return "stop_sequence";
    case STOP_LENGTH:
        return "max_tokens";
    case STOP_CONTEXT:
        return "model_context_window_exceeded";
    case STOP_TOOLS:
        return "tool_use";
    case STOP_FILTER:
        return "refusal";
    case STOP_PAUSE:
        return "pause_turn";
    case STOP_UNSET:
    case STOP_END:
    case STOP_ERROR:
    case STOP_OTHER:
    case STOP_UNKNOWN:
        break;
    }
    return "end_turn";
}

static void write_stop(struct jw *w, enum stop_reason stop, struct str sequence) {
    /* Without its text it would be no stop_sequence for a client. */
    if (stop == STOP_SEQUENCE && sequence.n == 0)
        stop = STOP_END;
    jw_kz(w, "stop_reason", stop_word(stop));
    if (stop == STOP_SEQUENCE)
        jw_kstr(w, "stop_sequence", sequence);
    else
        jw_knull(w, "stop_sequence");
}

/* Anthropic's input excludes what was cached. */
static void write_usage(struct jw *w, const struct usage *u) {
    /* More was recorded to be cached than was read. */
    uint64_t read = u->cache_read < u->input ? u->cache_read : u->input, left = u->input - read;
    uint64_t write = u->cache_write < left ? u->cache_write : left;
    uint64_t hour = u->cache_write_1h < write ? u->cache_write_1h : write;
    jw_key(w, "usage");
    jw_obj(w);
    jw_ku64(w, "input_tokens", left - write);
    jw_ku64(w, "cache_creation_input_tokens", write);
    jw_ku64(w, "cache_read_input_tokens", read);
    if (write) {
        jw_key(w, "cache_creation");
        jw_obj(w);
        jw_ku64(w, "ephemeral_5m_input_tokens", write - hour);
        jw_ku64(w, "ephemeral_1h_input_tokens", hour);
        jw_obj_end(w);
    }
    jw_ku64(w, "output_tokens", u->output);
    if (u->reasoning) {
        jw_key(w, "output_tokens_details");
        jw_obj(w);
        jw_ku64(w, "thinking_tokens", u->reasoning);
        jw_obj_end(w);
    }
    jw_obj_end(w);
}

static void write_head(struct jw *w, const struct mint *m) {
    struct str id[2] = {STR("msg_"), m->id};
    struct buf b;
    buf_init(&b, 0);
    buf_adds(&b, id[0]);
    buf_adds(&b, id[1]);
    jw_kstr(w, "id", buf_str(&b));
    buf_free(&b);
    jw_kz(w, "type", "message");
    jw_kz(w, "role", "assistant");
    jw_kstr(w, "model", m->model);
}

/* There is no block for a picture in an answer: that there was one is said. */
static struct str image_note(struct arena *a, struct str media, struct str data) {
    return arena_printf(a, "[" STR_FMT ", %zu bytes, which cannot be shown here]", STR_ARG(media),
                        data.n / 4 * 3);
}

/* A block as it begins; of an answer that is whole it is all there is. */
static void write_block(struct jw *w, struct arena *a, const struct part *p, bool whole) {
    jw_obj(w);
    switch (p->kind) {
    case PART_TOOL_CALL:
        jw_kz(w, "type", "tool_use");
        jw_kstr(w, "id", p->id);
        jw_kstr(w, "name", p->name);
        encode_arguments(w, "input", whole ? p->text : STR_NONE);
        break;
    case PART_THINKING:
        jw_kz(w, "type", "thinking");
        jw_kstr(w, "thinking", whole ? p->text : STR(""));
        jw_kstr(w, "signature",
                whole && p->signature.n ? opaque_wrap(a, p->signature, p->origin, "anthropic") : STR(""));
        break;
    case PART_THINKING_REDACTED:
        jw_kz(w, "type", "redacted_thinking");
        jw_kstr(w, "data", opaque_wrap(a, p->data, p->origin, "anthropic"));
        break;
    default:
        jw_kz(w, "type", "text");
        jw_kstr(w, "text", whole ? p->text : STR(""));
    }
    jw_obj_end(w);
}

/* --- whole answers --- */

static bool is_said(const struct part *p) {
    return (p->kind != PART_TEXT && p->kind != PART_REFUSAL) ||
           p->text.n > 0; /* no client takes an empty text back */
}

void an_write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask) {
    (void)ask;
    struct arena *a = arena_new(0);
    struct jw w;
    bool calls = false;
    jw_init(&w, out);
    jw_obj(&w);
    write_head(&w, m);
    jw_key(&w, "content");
    jw_arr(&w);
    for (const struct part *p = r->message ? r->message->parts : NULL; p; p = p->next) {
        struct part note = {.kind = PART_TEXT};
        calls = calls || p->kind == PART_TOOL_CALL;
        if (p->kind == PART_IMAGE)
            note.text = image_note(a, p->media, p->data);
        if (is_said(p))
            write_block(&w, a, p->kind == PART_IMAGE ? &note : p, true);
    }
    jw_arr_end(&w);
    write_stop(&w, stop_effective(r->stop, calls), r->stop_sequence);
    write_usage(&w, &r->usage);
    jw_obj_end(&w);
    arena_free(a);
}

void an_write_count(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask) {
    (void)m, (void)ask;
    struct jw w;
    jw_init(&w, out);
    jw_obj(&w);
    jw_ku64(&w, "input_tokens", r->usage.input);
    jw_obj_end(&w);
}

/* --- errors --- */

static const char *fault_word(const struct fault *f) {
    static const char *const words[FAULT_CLASSES] = {
        [FAULT_BAD_REQUEST] = "invalid_request_error",
        [FAULT_UNSUPPORTED] = "invalid_request_error",
        [FAULT_CONTEXT_LENGTH] = "invalid_request_error",
        [FAULT_CONTENT_FILTER] = "invalid_request_error",
        [FAULT_TOO_LARGE] = "request_too_large",
        [FAULT_AUTH] = "authentication_error",
        [FAULT_PERMISSION] = "permission_error",
        [FAULT_MODEL_NOT_FOUND] = "not_found_error",
        [FAULT_RATE_LIMIT] = "rate_limit_error",
        [FAULT_COST_LIMIT] = "billing_error",
        [FAULT_QUOTA] = "billing_error",
        [FAULT_BUDGET] = "billing_error",
        [FAULT_PROVIDER_AUTH] = "api_error",
        [FAULT_SERVER] = "api_error",
        [FAULT_OVERLOADED] = "overloaded_error",
        [FAULT_TIMEOUT] = "timeout_error",
        [FAULT_CONNECTION] = "api_error",
        [FAULT_NO_TARGET] = "overloaded_error",
        [FAULT_CANCELLED] = "api_error",
        [FAULT_INTERNAL] = "api_error",
    };
    if (f->cls == FAULT_BAD_REQUEST && (f->status == 404 || f->status == 409))
        return f->status == 404 ? "not_found_error" : "conflict_error";
    return (unsigned)f->cls < FAULT_CLASSES && words[f->cls] ? words[f->cls] : "api_error";
}

void an_write_fault(struct buf *out, const struct fault *f, struct str request_id) {
    struct str message = f->message.n ? f->message : str_of(fault_rule(f->cls)->name);
    struct buf text;
    struct jw w;
    buf_init(&text, 0);
    /* The words by which Anthropic's programs know that they must make their prompt shorter. */
    if (f->cls == FAULT_CONTEXT_LENGTH && str_find(message, STR("prompt is too long")) < 0)
        BUF_ADD(&text, "prompt is too long: ");
    buf_adds(&text, message);
    jw_init(&w, out);
    jw_obj(&w);
    jw_kz(&w, "type", "error");
    jw_key(&w, "error");
    jw_obj(&w);
    jw_kz(&w, "type", fault_word(f));
    jw_kstr(&w, "message", buf_str(&text));
    if (f->unknown.n) {
        jw_key(&w, "details");
        jw_obj(&w);
        jw_kstr(&w, "native_type", f->unknown);
        jw_obj_end(&w);
    }
    jw_obj_end(&w);
    if (request_id.n)
        jw_kstr(&w, "request_id", request_id);
    jw_obj_end(&w);
    buf_free(&text);
}

void an_write_stream_fault(struct stream_writer *w, struct buf *out, const struct fault *f,
                           struct str request_id) {
    (void)w;
    BUF_ADD(out, "event: error\ndata: ");
    an_write_fault(out, f, request_id);
    BUF_ADD(out, "\n\n");
}

/* --- streams --- */

#define WRITER_MAGIC 0x414E5757U

struct writer {
    unsigned magic;
    struct arena *a;
    struct mint mint;
    uint64_t input_bytes; /* of the request, for the count that message_start shows */
    unsigned blocks;      /* opened so far */
    bool has_call, opened;
    struct part open; /* what its block begins with; text is opened with its first byte */
    enum stop_reason stop;
    struct str sequence;
    struct usage usage;
};

static struct writer *writer_of(struct stream_writer *w) {
    struct writer *self = (struct writer *)(void *)w;
    MAGIC_CHECK(self, WRITER_MAGIC);
    return self;
}

struct stream_writer *an_writer_new(struct arena *a, const struct mint *m, const struct ask *ask) {
    struct writer *w = arena_alloc(a, sizeof *w);
    w->magic = WRITER_MAGIC;
    w->a = a;
    w->mint = *m;
    w->input_bytes = ask ? ask->input_bytes : 0;
    w->usage = USAGE_NONE;
    return (struct stream_writer *)(void *)w;
}

static void frame(struct buf *out, struct jw *w, const char *type) {
    BUF_ADD(out, "event: ");
    buf_addz(out, type);
    BUF_ADD(out, "\ndata: ");
    jw_init(w, out);
    jw_obj(w);
    jw_kz(w, "type", type);
}

static void frame_end(struct buf *out, struct jw *w) {
    jw_obj_end(w);
    BUF_ADD(out, "\n\n");
}

static void message_start(struct writer *w, struct buf *out) {
    struct usage u = w->usage;
    struct jw j;
    if (!u.known)
        u.input = usage_estimate(w->input_bytes);
    frame(out, &j, "message_start");
    jw_key(&j, "message");
    jw_obj(&j);
    write_head(&j, &w->mint);
    jw_key(&j, "content");
    jw_arr(&j);
    jw_arr_end(&j);
    jw_knull(&j, "stop_reason");
    jw_knull(&j, "stop_sequence");
    write_usage(&j, &u);
    jw_obj_end(&j);
    frame_end(out, &j);
}

static void block_start(struct writer *w, struct buf *out) {
    struct jw j;
    if (w->opened)
        return;
    w->opened = true;
    frame(out, &j, "content_block_start");
    jw_ku64(&j, "index", w->blocks++);
    jw_key(&j, "content_block");
    write_block(&j, w->a, &w->open, false);
    frame_end(out, &j);
}

static void delta(struct writer *w, struct buf *out, const char *type, const char *key, struct str text) {
    block_start(w, out);
    BUF_ADD(out, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
    buf_addu(out, w->blocks - 1);
    BUF_ADD(out, ",\"delta\":{\"type\":\"");
    buf_addz(out, type);
    BUF_ADD(out, "\",\"");
    buf_addz(out, key);
    BUF_ADD(out, "\":");
    json_quote(out, text);
    BUF_ADD(out, "}}\n\n");
}

static void part_open(struct writer *w, struct buf *out, const struct event_item *ev) {
    w->opened = false;
    w->open = (struct part){.kind = ev->part, .id = ev->id, .name = ev->name};
    if (ev->part == PART_THINKING_REDACTED) {
        w->open.data = ev->text;
        w->open.origin = ev->name;
    }
    w->has_call = w->has_call || ev->part == PART_TOOL_CALL;
    if (ev->part == PART_IMAGE) {
        w->open.kind = PART_TEXT;
        delta(w, out, "text_delta", "text", image_note(w->a, ev->name, ev->text));
    } else if (ev->part != PART_TEXT && ev->part != PART_REFUSAL) {
        block_start(w, out);
    }
}

static void part_close(struct writer *w, struct buf *out) {
    struct jw j;
    if (!w->opened) /* an empty text */
        return;
    frame(out, &j, "content_block_stop");
    jw_ku64(&j, "index", w->blocks - 1);
    frame_end(out, &j);
}

static void message_end(struct writer *w, struct buf *out) {
    struct jw j;
    frame(out, &j, "message_delta");
    jw_key(&j, "delta");
    jw_obj(&j);
    write_stop(&j, stop_effective(w->stop, w->has_call), w->sequence);
    jw_obj_end(&j);
    struct usage u = w->usage;
    if (!u.known)
        u.input = usage_estimate(w->input_bytes);
    write_usage(&j, &u);
    frame_end(out, &j);
    frame(out, &j, "message_stop");
    frame_end(out, &j);
}

void an_write_event(struct stream_writer *sw, const struct event_item *ev, struct buf *out) {
    struct writer *w = writer_of(sw);
    switch (ev->kind) {
    case EV_START:
        message_start(w, out);
        break;
    case EV_PART_OPEN:
        part_open(w, out, ev);
        break;
    case EV_TEXT:
        delta(w, out, "text_delta", "text", ev->text);
        break;
    case EV_ARGS:
        delta(w, out, "input_json_delta", "partial_json", ev->text);
        break;
    case EV_THINK:
        delta(w, out, "thinking_delta", "thinking", ev->text);
        break;
    case EV_SIGNATURE:
        if (ev->part == PART_THINKING)
            delta(w, out, "signature_delta", "signature", opaque_wrap(w->a, ev->text, ev->name, "anthropic"));
        break;
    case EV_PART_CLOSE:
        part_close(w, out);
        break;
    case EV_USAGE:
        usage_merge(&w->usage, &ev->usage);
        break;
    case EV_STOP:
        w->stop = ev->stop;
        w->sequence = arena_dup(w->a, ev->id);
        break;
    case EV_END:
        message_end(w, out);
        break;
    case EV_LOGPROBS:
    case EV_ANNOTATION:
    case EV_FAULT: /* the pipe writes it */
        break;
    }
}
