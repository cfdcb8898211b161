/* Streams in OpenAI's words. The order of chunks is the one that OpenAI's own streams were recorded with:
 * role, deltas, a finish chunk with an empty delta, the usage chunk for those who asked, [DONE]. */
#include "base/die.h"
#include "cite.h"
#include "openai_chat_write.h"

/* What the client can hand back next turn is worth keeping whole, but not without a bound. */
#define THINKING_MAX ((size_t)4 << 20)
#define CALL_MAX     ((size_t)16 << 20) /* arguments of one call */

#define WRITER_MAGIC 0x4F435757U

struct writer {
    unsigned magic;
    bool include_usage, has_call, args_seen;
    bool mistral;         /* see oc_writer_mistral */
    struct buf call_args; /* its collected arguments */
    struct buf stop;      /* its last chunk, without the end */
    enum part_kind open;
    unsigned calls;                /* opened so far */
    struct str head;               /* everything of a chunk up to its delta */
    struct str tail;               /* and behind the delta, without a finish_reason */
    int64_t blocks, notes, images; /* told so far */
    uint64_t chars, before;        /* of the text so far, and when the open part began */
    struct buf thinking;
    /* A call is told with what comes first of it, for clients that read its signature there only. */
    struct buf call_id, call_name;
    bool call_waits;
    struct json_object *customs; /* names of free-text tools */
    bool custom;                 /* the open call is of one of them */
    struct free_text free;
    bool legacy; /* the first call is told as clients of `functions` know it, others as tool_calls */
    struct usage usage;
};

static void release(void *arg) {
    struct writer *w = arg;
    buf_free(&w->thinking);
    buf_free(&w->call_id);
    buf_free(&w->call_name);
    buf_free(&w->call_args);
    buf_free(&w->stop);
    free_text_free(&w->free);
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
    oc_write_id(&b, m);
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
    buf_init(&w->call_id, 0);
    buf_init(&w->call_name, 0);
    w->customs = oc_custom_names(a, ask);
    w->legacy = oc_is_legacy(ask);
    arena_cleanup(a, release, w);
    return (struct stream_writer *)(void *)w;
}

void oc_writer_mistral(struct stream_writer *sw) {
    struct writer *w = writer_of(sw);
    w->mistral = true;
    w->include_usage = true;
    w->tail = STR(",\"finish_reason\":null}]}\n\n");
    buf_init(&w->call_args, CALL_MAX);
    buf_init(&w->stop, 0);
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

static void call_open(struct writer *w, struct jw *j, struct buf *out) {
    chunk_open(w, out);
    jw_init(j, out);
    jw_obj(j);
    jw_key(j, "tool_calls");
    jw_arr(j);
    jw_obj(j);
    jw_ku64(j, "index", w->calls);
}

static void call_close(struct writer *w, struct jw *j, struct buf *out) {
    jw_obj_end(j);
    jw_arr_end(j);
    jw_obj_end(j);
    buf_adds(out, w->tail);
}

static void chunk_legacy_call(struct writer *w, struct buf *out) {
    chunk_open(w, out);
    BUF_ADD(out, "{\"function_call\":{\"name\":");
    json_quote(out, buf_str(&w->call_name));
    BUF_ADD(out, ",\"arguments\":\"\"}}");
    buf_adds(out, w->tail);
}

static void chunk_call(struct writer *w, struct buf *out, struct str signature, struct str origin) {
    struct jw j;
    struct part call = {.custom = w->custom,
                        .id = buf_str(&w->call_id),
                        .name = buf_str(&w->call_name),
                        .signature = signature,
                        .origin = origin};
    if (!w->call_waits)
        return;
    if (w->legacy && w->calls == 0) {
        chunk_legacy_call(w, out);
    } else {
        call_open(w, &j, out);
        oc_write_call(&j, &call);
        call_close(w, &j, out);
    }
    w->calls++;
    w->call_waits = false;
}

/* A signature behind the arguments. SDKs take a call's function for granted. */
static void chunk_call_signature(struct writer *w, struct buf *out, const struct event_item *ev) {
    struct jw j;
    if (w->legacy && w->calls == 1)
        return; /* it has no place there */
    w->calls--;
    call_open(w, &j, out);
    w->calls++;
    oc_write_call_signature(&j, ev->text, ev->name);
    jw_key(&j, "function");
    jw_obj(&j);
    jw_kz(&j, "arguments", "");
    jw_obj_end(&j);
    call_close(w, &j, out);
}

/* The open call with all its arguments. */
static void chunk_whole_call(struct writer *w, struct buf *out) {
    struct jw j;
    call_open(w, &j, out);
    jw_kstr(&j, "id", buf_str(&w->call_id));
    jw_kz(&j, "type", "function");
    jw_key(&j, "function");
    jw_obj(&j);
    jw_kstr(&j, "name", buf_str(&w->call_name));
    jw_kstr(&j, "arguments", buf_len(&w->call_args) ? buf_str(&w->call_args) : STR("{}"));
    jw_obj_end(&j);
    call_close(w, &j, out);
    w->calls++;
}

static void chunk_args(struct writer *w, struct buf *out, struct str text) {
    if (text.n == 0)
        return;
    w->args_seen = true;
    bool legacy = w->legacy && w->calls == 1;
    chunk_open(w, out);
    if (legacy) {
        BUF_ADD(out, "{\"function_call\":{\"arguments\":");
    } else {
        BUF_ADD(out, "{\"tool_calls\":[{\"index\":");
        buf_addu(out, w->calls - 1);
        buf_addz(out, w->custom ? ",\"custom\":{\"input\":" : ",\"function\":{\"arguments\":");
    }
    json_quote(out, text);
    buf_addz(out, legacy ? "}}" : "}}]}");
    buf_adds(out, w->tail);
}

/* What a free-text call's arguments say, as far as it is known; piece empty: all of it. */
static void chunk_free(struct writer *w, struct buf *out, struct str piece) {
    struct buf text;
    buf_init(&text, 0);
    free_text_more(&w->free, piece, &text);
    chunk_args(w, out, buf_str(&text));
    buf_free(&text);
}

static void chunk_thinking_block(struct writer *w, struct buf *out, const struct part *p) {
    struct jw j;
    chunk_open(w, out);
    jw_init(&j, out);
    jw_obj(&j);
    jw_key(&j, "thinking_blocks");
    jw_arr(&j);
    oc_write_thinking_block(&j, p, w->blocks++);
    jw_arr_end(&j);
    jw_obj_end(&j);
    buf_adds(out, w->tail);
}

static bool one_member(void *arg, struct str key, struct json_value v) {
    struct jw *j = arg;
    if (json_key_is(key, "index"))
        return true;
    buf_addz(j->out, ",\"");
    buf_adds(j->out, key);
    buf_addz(j->out, "\":");
    buf_adds(j->out, v.raw);
    return true;
}

static void chunk_annotation(struct writer *w, struct buf *out, struct str annotation) {
    struct jw j;
    struct buf moved;
    buf_init(&moved, 0);
    jw_init(&j, &moved);
    cite_moved(&j, annotation, w->before);
    chunk_open(w, out);
    BUF_ADD(out, "{\"annotations\":[{\"index\":");
    buf_addi(out, w->notes++);
    jw_init(&j, out);
    json_each(buf_str(&moved), one_member, &j);
    BUF_ADD(out, "}]}");
    buf_adds(out, w->tail);
    buf_free(&moved);
}

static void chunk_image(struct writer *w, struct buf *out, const struct event_item *ev) {
    struct part p = {.kind = PART_IMAGE, .media = ev->name, .data = ev->text};
    struct jw j;
    chunk_open(w, out);
    jw_init(&j, out);
    jw_obj(&j);
    jw_key(&j, "images");
    jw_arr(&j);
    oc_write_image(&j, &p, w->images++);
    jw_arr_end(&j);
    jw_obj_end(&j);
    buf_adds(out, w->tail);
}

static void chunk_logprobs(struct writer *w, struct buf *out, struct str array) {
    bool refusal = w->open == PART_REFUSAL;
    chunk_open(w, out);
    BUF_ADD(out, "{},\"logprobs\":{\"content\":");
    buf_adds(out, refusal ? STR("null") : array);
    BUF_ADD(out, ",\"refusal\":");
    buf_adds(out, refusal ? array : STR("null"));
    buf_addz(out, "},\"finish_reason\":null}]");
    buf_addz(out, w->include_usage ? ",\"usage\":null}\n\n" : "}\n\n");
}

/* Kept until the usage is there. */
static void mistral_stop(struct writer *w, const struct event_item *ev) {
    chunk_open(w, &w->stop);
    BUF_ADD(&w->stop, "{\"content\":\"\"},\"finish_reason\":\"");
    buf_addz(&w->stop, oc_finish_word(stop_effective(ev->stop, w->has_call)));
    BUF_ADD(&w->stop, "\"}]");
}

static void chunk_stop(struct writer *w, struct buf *out, const struct event_item *ev) {
    chunk_open(w, out);
    enum stop_reason stop = stop_effective(ev->stop, w->has_call);
    BUF_ADD(out, "{},\"logprobs\":null,\"finish_reason\":\"");
    buf_addz(out, stop == STOP_TOOLS && w->legacy && w->calls == 1 ? "function_call" : oc_finish_word(stop));
    BUF_ADD(out, "\"");
    if (oc_tells_native(ev->stop, ev->text)) {
        BUF_ADD(out, ",\"native_finish_reason\":");
        json_quote(out, ev->text);
    }
    if (w->include_usage)
        BUF_ADD(out, "}],\"usage\":null}\n\n");
    else
        BUF_ADD(out, "}]}\n\n");
}

/* "usage":{...}} */
static void add_usage(struct writer *w, struct buf *out) {
    struct buf u;
    struct jw j;
    buf_init(&u, 0);
    jw_init(&j, &u);
    jw_obj(&j);
    oc_write_usage(&j, &w->usage);
    jw_obj_end(&j);
    buf_add(out, buf_at(&u) + 1, buf_len(&u) - 1);
    buf_free(&u);
}

static void chunk_end(struct writer *w, struct buf *out) {
    bool usage = w->include_usage && oc_has_usage(&w->usage);
    buf_adds(out, w->mistral ? buf_str(&w->stop) : usage ? w->head : STR(""));
    if (usage) {
        buf_addz(out, w->mistral ? "," : "],");
        add_usage(w, out);
        BUF_ADD(out, "\n\n");
    } else if (w->mistral) {
        BUF_ADD(out, "}\n\n");
    }
    BUF_ADD(out, "data: [DONE]\n\n");
}

static void part_open(struct writer *w, struct buf *out, const struct event_item *ev) {
    w->open = ev->part;
    w->before = w->chars;
    if (ev->part == PART_TOOL_CALL) {
        buf_clear(&w->call_id);
        buf_clear(&w->call_name);
        buf_clear(&w->call_args);
        buf_adds(&w->call_id, ev->id);
        buf_adds(&w->call_name, ev->name);
        w->call_waits = w->has_call = true;
        w->args_seen = false;
        w->custom = oc_is_custom(w->customs, ev->name);
        if (w->custom)
            free_text_begin(&w->free);
    } else if (ev->part == PART_THINKING_REDACTED) {
        struct part p = {.kind = PART_THINKING_REDACTED, .data = ev->text, .origin = ev->name};
        chunk_thinking_block(w, out, &p);
    } else if (ev->part == PART_IMAGE) {
        chunk_image(w, out, ev);
    } else if (ev->part == PART_THINKING) {
        buf_clear(&w->thinking);
    }
}

static void part_close(struct writer *w, struct buf *out) {
    if (w->open == PART_TOOL_CALL && w->mistral) {
        chunk_whole_call(w, out);
        return;
    }
    if (w->open == PART_TOOL_CALL)
        chunk_call(w, out, STR_NONE, STR_NONE);
    if (w->open == PART_TOOL_CALL && w->custom)
        chunk_free(w, out, STR_NONE);
    else if (w->open == PART_TOOL_CALL && !w->args_seen)
        chunk_args(w, out, STR("{}")); /* SDKs parse the joined arguments: "" would not parse */
    if (w->open == PART_THINKING)
        buf_free(&w->thinking);
}

static void signature(struct writer *w, struct buf *out, const struct event_item *ev) {
    struct part p = {
        .kind = PART_THINKING, .text = buf_str(&w->thinking), .signature = ev->text, .origin = ev->name};
    if (w->mistral) /* has no place for it; the vault has one */
        return;
    if (ev->part == PART_TOOL_CALL && w->call_waits)
        chunk_call(w, out, ev->text, ev->name);
    else if (ev->part == PART_TOOL_CALL)
        chunk_call_signature(w, out, ev);
    else if (ev->part == PART_THINKING && buf_ok(&w->thinking)) /* cut thinking would be refused next turn */
        chunk_thinking_block(w, out, &p);
}

void oc_write_event(struct stream_writer *sw, const struct event_item *ev, struct buf *out) {
    struct writer *w = writer_of(sw);
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
        w->chars += w->open == PART_TEXT ? cite_chars(ev->text) : 0;
        break;
    case EV_ARGS:
        if (w->mistral) {
            buf_adds(&w->call_args, ev->text);
            break;
        }
        chunk_call(w, out, STR_NONE, STR_NONE);
        if (w->custom && ev->text.n > 0)
            chunk_free(w, out, ev->text);
        else
            chunk_args(w, out, ev->text);
        break;
    case EV_THINK:
        chunk_text(w, out, "reasoning_content", ev->text);
        buf_adds(&w->thinking, ev->text);
        break;
    case EV_LOGPROBS:
        chunk_logprobs(w, out, ev->text);
        break;
    case EV_ANNOTATION:
        chunk_annotation(w, out, ev->text);
        break;
    case EV_SIGNATURE:
        signature(w, out, ev);
        break;
    case EV_PART_CLOSE:
        part_close(w, out);
        break;
    case EV_USAGE:
        usage_merge(&w->usage, &ev->usage);
        break;
    case EV_STOP:
        if (w->mistral)
            mistral_stop(w, ev);
        else
            chunk_stop(w, out, ev);
        break;
    case EV_END:
        chunk_end(w, out);
        break;
    case EV_FAULT: /* the pipe's owner decides what the client is told */
        break;
    }
}
