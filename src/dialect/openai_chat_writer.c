/* Answers in OpenAI's words: whole replies, streams of chunks, errors. The order of chunks is the one that
 * OpenAI's own streams were recorded with: role, deltas, a finish chunk with an empty delta, the usage chunk
 * for those who asked, [DONE]. */
#include "openai_chat.h"

#include "base/die.h"

/* What the client can hand back next turn is worth keeping whole, but not without a bound. */
#define THINKING_MAX ((size_t)4 << 20)

/* --- words --- */

static const char *finish_word(enum stop_reason stop) {
    switch (stop) {
    case STOP_LENGTH:
    case STOP_CONTEXT:
        return "length";
    case STOP_TOOLS:
        return "tool_calls";
    case STOP_FILTER:
        return "content_filter";
    default: /* END, SEQUENCE, PAUSE, OTHER, UNSET; the native word is told beside it */
        return "stop";
    }
}

/* The native reason is told where "finish_reason" says less than it. */
static bool tells_native(enum stop_reason stop, struct str native) {
    return native.n > 0 &&
           (stop == STOP_OTHER || stop == STOP_PAUSE || stop == STOP_CONTEXT || stop == STOP_FILTER);
}

static void write_usage(struct jw *w, const struct usage *u) {
    jw_key(w, "usage");
    jw_obj(w);
    jw_ku64(w, "prompt_tokens", u->input);
    jw_ku64(w, "completion_tokens", u->output);
    jw_ku64(w, "total_tokens", u->input + u->output);
    jw_key(w, "prompt_tokens_details");
    jw_obj(w);
    jw_ku64(w, "cached_tokens", u->cache_read);
    if (u->cache_write)
        jw_ku64(w, "cache_write_tokens", u->cache_write);
    if (u->audio_in)
        jw_ku64(w, "audio_tokens", u->audio_in);
    jw_obj_end(w);
    jw_key(w, "completion_tokens_details");
    jw_obj(w);
    jw_ku64(w, "reasoning_tokens", u->reasoning);
    if (u->audio_out)
        jw_ku64(w, "audio_tokens", u->audio_out);
    jw_obj_end(w);
    if (u->cost_nano >= 0) {
        jw_key(w, "cost");
        jw_nano(w, u->cost_nano);
    }
    jw_obj_end(w);
}

static bool has_usage(const struct usage *u) {
    return u->known || u->estimated;
}

/* --- whole --- */

static const struct part *find_part(const struct message *m, enum part_kind kind) {
    for (const struct part *p = m->parts; p; p = p->next)
        if (p->kind == kind)
            return p;
    return NULL;
}

/* All parts of one kind as one string; a single one is not copied. */
static void write_joined(struct jw *w, const char *key, const struct message *m, enum part_kind kind) {
    const struct part *first = find_part(m, kind), *p = first ? first->next : NULL;
    while (p && p->kind != kind)
        p = p->next;
    if (!p) {
        jw_kstr(w, key, first ? first->text : STR(""));
        return;
    }
    struct buf b;
    buf_init(&b, 0);
    for (p = first; p; p = p->next)
        if (p->kind == kind)
            buf_adds(&b, p->text);
    jw_kstr(w, key, buf_str(&b));
    buf_free(&b);
}

static void write_thinking_block(struct jw *w, const struct part *p) {
    jw_obj(w);
    if (p->kind == PART_THINKING) {
        jw_kz(w, "type", "thinking");
        jw_kstr(w, "thinking", p->text);
        jw_kstr(w, "signature", p->signature);
    } else {
        jw_kz(w, "type", "redacted_thinking");
        jw_kstr(w, "data", p->data);
    }
    jw_obj_end(w);
}

static bool is_block(const struct part *p) {
    return p->kind == PART_THINKING_REDACTED || (p->kind == PART_THINKING && p->signature.n > 0);
}

/* Signed or redacted thinking: whoever gives it back unchanged can go on with the same model. */
static void write_thinking_blocks(struct jw *w, const struct message *m) {
    bool any = false;
    for (const struct part *p = m->parts; p; p = p->next) {
        if (!is_block(p))
            continue;
        if (!any) {
            jw_key(w, "thinking_blocks");
            jw_arr(w);
        }
        any = true;
        write_thinking_block(w, p);
    }
    if (any)
        jw_arr_end(w);
}

static void write_call_name(struct jw *w, struct str id, struct str name) {
    jw_kstr(w, "id", id);
    jw_kz(w, "type", "function");
    jw_key(w, "function");
    jw_obj(w);
    jw_kstr(w, "name", name);
}

static void write_calls(struct jw *w, const struct message *m) {
    jw_key(w, "tool_calls");
    jw_arr(w);
    for (const struct part *p = m->parts; p; p = p->next) {
        if (p->kind != PART_TOOL_CALL)
            continue;
        jw_obj(w);
        write_call_name(w, p->id, p->name);
        jw_kstr(w, "arguments", p->text.n > 0 ? p->text : STR("{}"));
        jw_obj_end(w);
        jw_obj_end(w);
    }
    jw_arr_end(w);
}

static void write_message(struct jw *w, const struct message *m) {
    bool calls = find_part(m, PART_TOOL_CALL), refusal = find_part(m, PART_REFUSAL);
    jw_key(w, "message");
    jw_obj(w);
    jw_kz(w, "role", "assistant");
    if (!find_part(m, PART_TEXT) && (calls || refusal))
        jw_knull(w, "content");
    else
        write_joined(w, "content", m, PART_TEXT);
    if (refusal)
        write_joined(w, "refusal", m, PART_REFUSAL);
    else
        jw_knull(w, "refusal");
    if (find_part(m, PART_THINKING))
        write_joined(w, "reasoning_content", m, PART_THINKING);
    write_thinking_blocks(w, m);
    if (calls)
        write_calls(w, m);
    jw_obj_end(w);
}

static void write_id(struct buf *out, const struct mint *m) {
    BUF_ADD(out, "\"id\":");
    struct buf id;
    buf_init(&id, 0);
    BUF_ADD(&id, "chatcmpl-");
    buf_adds(&id, m->id);
    json_quote(out, buf_str(&id));
    buf_free(&id);
}

static void write_choice(struct buf *out, int64_t index, const struct reply *r) {
    enum stop_reason stop = stop_effective(r->stop, find_part(r->message, PART_TOOL_CALL) != NULL);
    struct jw w;
    jw_init(&w, out);
    jw_obj(&w);
    jw_kint(&w, "index", index);
    write_message(&w, r->message);
    jw_knull(&w, "logprobs");
    jw_kz(&w, "finish_reason", finish_word(stop));
    if (tells_native(r->stop, r->stop_native))
        jw_kstr(&w, "native_finish_reason", r->stop_native);
    jw_obj_end(&w);
}

void oc_write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask) {
    (void)ask;
    struct jw w;
    BUF_ADD(out, "{");
    write_id(out, m);
    BUF_ADD(out, ",\"object\":\"chat.completion\",\"created\":");
    buf_addi(out, m->created);
    BUF_ADD(out, ",\"model\":");
    json_quote(out, m->model);
    BUF_ADD(out, ",\"choices\":[");
    int64_t i = 0;
    for (const struct reply *c = r; c; c = c->next) {
        if (i > 0)
            BUF_ADD(out, ",");
        write_choice(out, i++, c);
    }
    BUF_ADD(out, "]");
    if (has_usage(&r->usage)) {
        /* The writer puts members into an object of its own: its braces are taken off again. */
        struct buf u;
        buf_init(&u, 0);
        jw_init(&w, &u);
        jw_obj(&w);
        write_usage(&w, &r->usage);
        jw_obj_end(&w);
        BUF_ADD(out, ",");
        buf_add(out, buf_at(&u) + 1, buf_len(&u) - 2);
        buf_free(&u);
    }
    BUF_ADD(out, "}");
}

/* --- errors --- */

struct words {
    const char *type, *code;
};

/* From OpenAI's recorded errors where it has the case; the others in the same manner. */
static struct words words_of(enum fault_class c) {
    static const struct words table[FAULT_CLASSES] = {
        [FAULT_BAD_REQUEST] = {"invalid_request_error", NULL},
        [FAULT_UNSUPPORTED] = {"invalid_request_error", "unsupported_parameter"},
        [FAULT_CONTEXT_LENGTH] = {"invalid_request_error", "context_length_exceeded"},
        [FAULT_CONTENT_FILTER] = {"invalid_request_error", "content_filter"},
        [FAULT_TOO_LARGE] = {"invalid_request_error", "request_too_large"},
        [FAULT_AUTH] = {"invalid_request_error", "invalid_api_key"},
        [FAULT_PERMISSION] = {"invalid_request_error", "permission_denied"},
        [FAULT_MODEL_NOT_FOUND] = {"invalid_request_error", "model_not_found"},
        [FAULT_RATE_LIMIT] = {"requests", "rate_limit_exceeded"},
        [FAULT_QUOTA] = {"insufficient_quota", "insufficient_quota"},
        [FAULT_PROVIDER_AUTH] = {"server_error", "provider_authentication"},
        [FAULT_SERVER] = {"server_error", NULL},
        [FAULT_OVERLOADED] = {"server_error", "overloaded"},
        [FAULT_TIMEOUT] = {"server_error", "timeout"},
        [FAULT_CONNECTION] = {"server_error", "connection_error"},
        [FAULT_NO_TARGET] = {"server_error", "no_target_available"},
        [FAULT_CANCELLED] = {"invalid_request_error", "cancelled"},
        [FAULT_INTERNAL] = {"server_error", "internal_error"},
    };
    return (unsigned)c < FAULT_CLASSES && table[c].type ? table[c] : table[FAULT_INTERNAL];
}

static void kstr_or_null(struct jw *w, const char *key, struct str s, const char *otherwise) {
    if (s.n > 0)
        jw_kstr(w, key, s);
    else
        jw_kz(w, key, otherwise);
}

void oc_write_fault(struct buf *out, const struct fault *f, struct str request_id) {
    (void)request_id; /* OpenAI tells it in a header only */
    struct words words = words_of(f->cls);
    struct jw w;
    jw_init(&w, out);
    jw_obj(&w);
    jw_key(&w, "error");
    jw_obj(&w);
    jw_kstr(&w, "message", f->message.n > 0 ? f->message : str_of(fault_rule(f->cls)->name));
    kstr_or_null(&w, "type", f->type, words.type);
    kstr_or_null(&w, "param", f->param, NULL);
    kstr_or_null(&w, "code", f->code, words.code);
    jw_obj_end(&w);
    jw_obj_end(&w);
}

void oc_write_stream_fault(struct stream_writer *w, struct buf *out, const struct fault *f,
                           struct str request_id) {
    (void)w;
    BUF_ADD(out, "data: ");
    oc_write_fault(out, f, request_id);
    BUF_ADD(out, "\n\n");
}

/* --- streams --- */

#define WRITER_MAGIC 0x4F435757U

struct writer {
    unsigned magic;
    bool include_usage, has_call, args_seen;
    enum part_kind open;
    unsigned calls;  /* opened so far */
    struct str head; /* everything of a chunk up to its delta */
    struct str tail; /* and behind the delta, without a finish_reason */
    struct buf thinking;
    struct usage usage;
};

static void release(void *arg) {
    struct writer *w = arg;
    buf_free(&w->thinking);
}

static struct writer *writer_of(struct stream_writer *w) {
    struct writer *self = (struct writer *)(void *)w;
    MAGIC_CHECK(self, WRITER_MAGIC);
    return self;
}

static struct str make_head(struct arena *a, const struct mint *m) {
    struct buf b;
    buf_init(&b, 0);
    BUF_ADD(&b, "data: {");
    write_id(&b, m);
    BUF_ADD(&b, ",\"object\":\"chat.completion.chunk\",\"created\":");
    buf_addi(&b, m->created);
    BUF_ADD(&b, ",\"model\":");
    json_quote(&b, m->model);
    BUF_ADD(&b, ",\"choices\":[");
    struct str s = arena_dup(a, buf_str(&b));
    buf_free(&b);
    return s;
}

struct stream_writer *oc_writer_new(struct arena *a, const struct mint *m, const struct ask *ask) {
    struct writer *w = arena_alloc(a, sizeof *w);
    w->magic = WRITER_MAGIC;
    w->include_usage = ask && ask->include_usage;
    w->head = make_head(a, m);
    w->tail = w->include_usage ? STR(",\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n")
                               : STR(",\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    w->usage = USAGE_NONE;
    buf_init(&w->thinking, THINKING_MAX);
    arena_cleanup(a, release, w);
    return (struct stream_writer *)(void *)w;
}

static void chunk_open(struct writer *w, struct buf *out) {
    buf_adds(out, w->head);
    BUF_ADD(out, "{\"index\":0,\"delta\":");
}

static void chunk_text(struct writer *w, struct buf *out, const char *key, struct str text) {
    if (text.n == 0)
        return;
    chunk_open(w, out);
    BUF_ADD(out, "{\"");
    buf_addz(out, key);
    BUF_ADD(out, "\":");
    json_quote(out, text);
    BUF_ADD(out, "}");
    buf_adds(out, w->tail);
}

static void chunk_call(struct writer *w, struct buf *out, const struct event_item *ev) {
    struct jw j;
    chunk_open(w, out);
    jw_init(&j, out);
    jw_obj(&j);
    jw_key(&j, "tool_calls");
    jw_arr(&j);
    jw_obj(&j);
    jw_ku64(&j, "index", w->calls);
    write_call_name(&j, ev->id, ev->name);
    jw_kz(&j, "arguments", "");
    jw_obj_end(&j);
    jw_obj_end(&j);
    jw_arr_end(&j);
    jw_obj_end(&j);
    buf_adds(out, w->tail);
    w->calls++;
    w->has_call = true;
    w->args_seen = false;
}

static void chunk_args(struct writer *w, struct buf *out, struct str text) {
    if (text.n == 0)
        return;
    w->args_seen = true;
    chunk_open(w, out);
    BUF_ADD(out, "{\"tool_calls\":[{\"index\":");
    buf_addu(out, w->calls - 1);
    BUF_ADD(out, ",\"function\":{\"arguments\":");
    json_quote(out, text);
    BUF_ADD(out, "}}]}");
    buf_adds(out, w->tail);
}

static void chunk_thinking_block(struct writer *w, struct buf *out, const struct part *p) {
    struct jw j;
    chunk_open(w, out);
    jw_init(&j, out);
    jw_obj(&j);
    jw_key(&j, "thinking_blocks");
    jw_arr(&j);
    write_thinking_block(&j, p);
    jw_arr_end(&j);
    jw_obj_end(&j);
    buf_adds(out, w->tail);
}

static void chunk_stop(struct writer *w, struct buf *out, const struct event_item *ev) {
    chunk_open(w, out);
    BUF_ADD(out, "{},\"logprobs\":null,\"finish_reason\":\"");
    buf_addz(out, finish_word(stop_effective(ev->stop, w->has_call)));
    BUF_ADD(out, "\"");
    if (tells_native(ev->stop, ev->text)) {
        BUF_ADD(out, ",\"native_finish_reason\":");
        json_quote(out, ev->text);
    }
    if (w->include_usage)
        BUF_ADD(out, "}],\"usage\":null}\n\n");
    else
        BUF_ADD(out, "}]}\n\n");
}

static void chunk_end(struct writer *w, struct buf *out) {
    if (w->include_usage && has_usage(&w->usage)) {
        struct buf u;
        struct jw j;
        buf_init(&u, 0);
        jw_init(&j, &u);
        jw_obj(&j);
        write_usage(&j, &w->usage);
        jw_obj_end(&j);
        buf_adds(out, w->head);
        BUF_ADD(out, "],");
        buf_add(out, buf_at(&u) + 1, buf_len(&u) - 1);
        BUF_ADD(out, "\n\n");
        buf_free(&u);
    }
    BUF_ADD(out, "data: [DONE]\n\n");
}

static void part_open(struct writer *w, struct buf *out, const struct event_item *ev) {
    w->open = ev->part;
    if (ev->part == PART_TOOL_CALL) {
        chunk_call(w, out, ev);
    } else if (ev->part == PART_THINKING_REDACTED) {
        struct part p = {.kind = PART_THINKING_REDACTED, .data = ev->text};
        chunk_thinking_block(w, out, &p);
    } else if (ev->part == PART_THINKING) {
        buf_clear(&w->thinking);
    }
}

static void part_close(struct writer *w, struct buf *out) {
    if (w->open == PART_TOOL_CALL && !w->args_seen)
        chunk_args(w, out, STR("{}")); /* SDKs parse the joined arguments: "" would not parse */
    if (w->open == PART_THINKING)
        buf_free(&w->thinking);
}

void oc_write_event(struct stream_writer *sw, const struct event_item *ev, struct buf *out) {
    struct writer *w = writer_of(sw);
    struct part p;
    switch (ev->kind) {
    case EV_START:
        chunk_open(w, out);
        BUF_ADD(out, "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}");
        buf_adds(out, w->tail);
        break;
    case EV_PART_OPEN:
        part_open(w, out, ev);
        break;
    case EV_TEXT:
        chunk_text(w, out, w->open == PART_REFUSAL ? "refusal" : "content", ev->text);
        break;
    case EV_ARGS:
        chunk_args(w, out, ev->text);
        break;
    case EV_THINK:
        chunk_text(w, out, "reasoning_content", ev->text);
        buf_adds(&w->thinking, ev->text);
        break;
    case EV_LOGPROBS:
    case EV_ANNOTATION:
        break;
    case EV_SIGNATURE:
        if (ev->part != PART_THINKING)
            break;
        p = (struct part){.kind = PART_THINKING, .text = buf_str(&w->thinking), .signature = ev->text};
        if (buf_ok(&w->thinking)) /* cut thinking would be refused when it is given back */
            chunk_thinking_block(w, out, &p);
        break;
    case EV_PART_CLOSE:
        part_close(w, out);
        break;
    case EV_USAGE:
        usage_merge(&w->usage, &ev->usage);
        break;
    case EV_STOP:
        chunk_stop(w, out, ev);
        break;
    case EV_END:
        chunk_end(w, out);
        break;
    case EV_FAULT: /* the pipe's owner decides what the client is told */
        break;
    }
}
