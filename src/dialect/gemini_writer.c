/* Answers in Gemini's words: whole replies, streams of them (as events, or as one JSON array), errors. Every
 * chunk is a whole response object; a call goes out in one piece, usage and the finish reason at the end. */
#include "gemini.h"

#include "base/die.h"
#include "opaque.h"

#define CALL_MAX ((size_t)16 << 20)

/* --- words --- */

static const char *finish_word(enum stop_reason stop) {
    switch (stop) {
    case STOP_LENGTH:
    case STOP_CONTEXT:
        return "MAX_TOKENS";
    case STOP_FILTER:
        return "SAFETY";
    case STOP_ERROR:
    case STOP_OTHER:
    case STOP_UNKNOWN:
        return "OTHER";
    default: /* END, SEQUENCE, TOOLS, PAUSE, UNSET */
        return "STOP";
    }
}

static void write_finish(struct jw *w, enum stop_reason stop, struct str native) {
    jw_kz(w, "finishReason", finish_word(stop));
    if (native.n > 0 &&
        (stop == STOP_OTHER || stop == STOP_UNKNOWN || stop == STOP_PAUSE || stop == STOP_CONTEXT))
        jw_kstr(w, "finishMessage", native);
}

static void write_usage(struct jw *w, const struct usage *u) {
    if (!u->known && !u->estimated)
        return;
    jw_key(w, "usageMetadata");
    jw_obj(w);
    jw_ku64(w, "promptTokenCount", u->input);
    jw_ku64(w, "candidatesTokenCount", u->output - (u->reasoning < u->output ? u->reasoning : u->output));
    jw_ku64(w, "totalTokenCount", u->input + u->output);
    if (u->cache_read)
        jw_ku64(w, "cachedContentTokenCount", u->cache_read);
    if (u->reasoning)
        jw_ku64(w, "thoughtsTokenCount", u->reasoning < u->output ? u->reasoning : u->output);
    jw_obj_end(w);
}

static void write_ids(struct jw *w, const struct mint *m) {
    jw_kstr(w, "modelVersion", m->model);
    jw_kstr(w, "responseId", m->id);
}

/* It must be base64 for the client's library, whoever made it. */
static void write_signature(struct jw *w, struct str signature, struct str origin) {
    if (signature.n == 0)
        return;
    struct arena *tmp = arena_new(0);
    jw_kstr(w, "thoughtSignature", opaque_wrap(tmp, signature, origin, GM_ORIGIN));
    arena_free(tmp);
}

static void write_text_part(struct jw *w, struct str text, bool thought, struct str signature,
                            struct str origin) {
    jw_obj(w);
    jw_kstr(w, "text", text);
    if (thought)
        jw_kbool(w, "thought", true);
    write_signature(w, signature, origin);
    jw_obj_end(w);
}

/* Models break the lines of their arguments; a line end within an event's data would end it. In JSON it is
 * only white space. */
static void write_one_line(struct jw *w, struct str json) {
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < json.n; i++)
        buf_addc(&b, json.p[i] == '\n' || json.p[i] == '\r' ? ' ' : json.p[i]);
    jw_raw(w, buf_str(&b));
    buf_free(&b);
}

static void write_call_part(struct jw *w, struct str id, struct str name, struct str args,
                            struct str signature, struct str origin) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    jw_obj(w);
    jw_key(w, "functionCall");
    jw_obj(w);
    if (id.n > 0)
        jw_kstr(w, "id", id);
    jw_kstr(w, "name", name);
    jw_key(w, "args");
    if (json_scan(args, &kind, NULL, NULL, &err) == 0 && kind == JSON_OBJECT) {
        write_one_line(w, args);
    } else {
        jw_obj(w);
        if (str_trim(args).n > 0)
            jw_kstr(w, "_raw", args); /* broken JSON of the model's: shown, not lost */
        jw_obj_end(w);
    }
    jw_obj_end(w);
    write_signature(w, signature, origin);
    jw_obj_end(w);
}

static void write_image_part(struct jw *w, struct str media, struct str data) {
    jw_obj(w);
    jw_key(w, "inlineData");
    jw_obj(w);
    jw_kstr(w, "mimeType", media);
    jw_kstr(w, "data", data);
    jw_obj_end(w);
    jw_obj_end(w);
}

/* --- whole --- */

static void write_part(struct jw *w, const struct part *p) {
    switch (p->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
        if (p->text.n > 0 || p->signature.n > 0)
            write_text_part(w, p->text, false, p->signature, p->origin);
        break;
    case PART_THINKING:
        if (p->text.n > 0 || p->signature.n > 0)
            write_text_part(w, p->text, true, p->signature, p->origin);
        break;
    case PART_TOOL_CALL:
        write_call_part(w, p->id, p->name, p->text, p->signature, p->origin);
        break;
    case PART_IMAGE:
        write_image_part(w, p->media, p->data);
        break;
    default: /* redacted thinking has no place: it is kept beside */
        break;
    }
}

static void write_candidate(struct jw *w, const struct reply *r, unsigned index) {
    bool calls = false;
    jw_obj(w);
    jw_key(w, "content");
    jw_obj(w);
    jw_key(w, "parts");
    jw_arr(w);
    for (const struct part *p = r->message ? r->message->parts : NULL; p; p = p->next) {
        write_part(w, p);
        calls = calls || p->kind == PART_TOOL_CALL;
    }
    jw_arr_end(w);
    jw_kz(w, "role", "model");
    jw_obj_end(w);
    write_finish(w, stop_effective(r->stop, calls), r->stop_native);
    jw_kint(w, "index", index);
    jw_obj_end(w);
}

void gm_write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask) {
    struct jw w;
    unsigned index = 0;
    (void)ask;
    jw_init(&w, out);
    jw_obj(&w);
    jw_key(&w, "candidates");
    jw_arr(&w);
    for (const struct reply *x = r; x; x = x->next)
        write_candidate(&w, x, index++);
    jw_arr_end(&w);
    write_usage(&w, &r->usage);
    write_ids(&w, m);
    jw_obj_end(&w);
}

/* --- errors --- */

static const char *status_word(const struct fault *f) {
    static const char *const table[FAULT_CLASSES] = {
        [FAULT_BAD_REQUEST] = "INVALID_ARGUMENT",
        [FAULT_UNSUPPORTED] = "INVALID_ARGUMENT",
        [FAULT_CONTEXT_LENGTH] = "INVALID_ARGUMENT",
        [FAULT_CONTENT_FILTER] = "INVALID_ARGUMENT",
        [FAULT_TOO_LARGE] = "INVALID_ARGUMENT",
        [FAULT_AUTH] = "UNAUTHENTICATED",
        [FAULT_PERMISSION] = "PERMISSION_DENIED",
        [FAULT_MODEL_NOT_FOUND] = "NOT_FOUND",
        [FAULT_RATE_LIMIT] = "RESOURCE_EXHAUSTED",
        [FAULT_COST_LIMIT] = "FAILED_PRECONDITION",
        [FAULT_QUOTA] = "RESOURCE_EXHAUSTED",
        [FAULT_BUDGET] = "RESOURCE_EXHAUSTED",
        [FAULT_PROVIDER_AUTH] = "INTERNAL",
        [FAULT_SERVER] = "INTERNAL",
        [FAULT_OVERLOADED] = "UNAVAILABLE",
        [FAULT_TIMEOUT] = "DEADLINE_EXCEEDED",
        [FAULT_CONNECTION] = "UNAVAILABLE",
        [FAULT_NO_TARGET] = "UNAVAILABLE",
        [FAULT_CANCELLED] = "CANCELLED",
        [FAULT_INTERNAL] = "INTERNAL",
    };
    if (f->cls == FAULT_BAD_REQUEST && (f->status == 404 || f->status == 409))
        return f->status == 404 ? "NOT_FOUND" : "ABORTED";
    return (unsigned)f->cls < FAULT_CLASSES && table[f->cls] ? table[f->cls] : "UNKNOWN";
}

static void write_details(struct jw *w, const struct fault *f, struct str request_id) {
    jw_key(w, "details");
    jw_arr(w);
    if (request_id.n > 0) {
        jw_obj(w);
        jw_kz(w, "@type", "type.googleapis.com/google.rpc.RequestInfo");
        jw_kstr(w, "requestId", request_id);
        jw_obj_end(w);
    }
    if (f->unknown.n > 0) { /* the provider's own word */
        jw_obj(w);
        jw_kz(w, "@type", "type.googleapis.com/google.rpc.ErrorInfo");
        jw_kstr(w, "reason", f->unknown);
        jw_obj_end(w);
    }
    if (f->param.n > 0) {
        jw_obj(w);
        jw_kz(w, "@type", "type.googleapis.com/google.rpc.BadRequest");
        jw_key(w, "fieldViolations");
        jw_arr(w);
        jw_obj(w);
        jw_kstr(w, "field", f->param);
        jw_obj_end(w);
        jw_arr_end(w);
        jw_obj_end(w);
    }
    if (f->retry_after_ms >= 0) {
        struct arena *tmp = arena_new(0);
        uint64_t seconds = ((uint64_t)f->retry_after_ms + 999) / 1000;
        jw_obj(w);
        jw_kz(w, "@type", "type.googleapis.com/google.rpc.RetryInfo");
        jw_kstr(w, "retryDelay", arena_printf(tmp, "%llus", (unsigned long long)seconds));
        arena_free(tmp);
        jw_obj_end(w);
    }
    jw_arr_end(w);
}

void gm_write_fault(struct buf *out, const struct fault *f, struct str request_id) {
    struct jw w;
    jw_init(&w, out);
    jw_obj(&w);
    jw_key(&w, "error");
    jw_obj(&w);
    jw_kint(&w, "code", fault_status(f));
    jw_kstr(&w, "message", f->message.n > 0 ? f->message : str_of(fault_rule(f->cls)->name));
    jw_kz(&w, "status", status_word(f));
    if (request_id.n > 0 || f->unknown.n > 0 || f->param.n > 0 || f->retry_after_ms >= 0)
        write_details(&w, f, request_id);
    jw_obj_end(&w);
    jw_obj_end(&w);
}

/* --- streams --- */

#define WRITER_MAGIC 0x474D5757U

struct writer {
    unsigned magic;
    struct arena *a;
    const struct mint *mint;
    bool array, any, has_call;
    enum part_kind open;

    struct buf id, name, args, signature, origin; /* of the open part */
    struct usage usage;
    enum stop_reason stop;
    struct buf native;
};

static struct writer *writer_of(struct stream_writer *w) {
    struct writer *self = (struct writer *)(void *)w;
    MAGIC_CHECK(self, WRITER_MAGIC);
    return self;
}

static void release(void *arg) {
    struct writer *w = arg;
    buf_free(&w->id);
    buf_free(&w->name);
    buf_free(&w->args);
    buf_free(&w->signature);
    buf_free(&w->origin);
    buf_free(&w->native);
}

struct stream_writer *gm_writer_new(struct arena *a, const struct mint *m, const struct ask *ask) {
    struct writer *w = arena_alloc(a, sizeof *w);
    w->magic = WRITER_MAGIC;
    w->a = a;
    w->mint = m;
    w->array = ask && ask->array;
    w->usage = USAGE_NONE;
    buf_init(&w->id, 4096);
    buf_init(&w->name, 4096);
    buf_init(&w->args, CALL_MAX);
    buf_init(&w->signature, CALL_MAX);
    buf_init(&w->origin, 256);
    buf_init(&w->native, 4096);
    arena_cleanup(a, release, w);
    return (struct stream_writer *)(void *)w;
}

static void frame_open(struct writer *w, struct buf *out) {
    if (w->array)
        buf_addz(out, w->any ? ",\r\n" : "[");
    else
        BUF_ADD(out, "data: ");
    w->any = true;
}

static void frame_close(struct writer *w, struct buf *out) {
    if (!w->array)
        BUF_ADD(out, "\r\n\r\n");
}

/* {"candidates":[{"content":{"parts":[ */
static void chunk_open(struct writer *w, struct buf *out, struct jw *j) {
    frame_open(w, out);
    jw_init(j, out);
    jw_obj(j);
    jw_key(j, "candidates");
    jw_arr(j);
    jw_obj(j);
    jw_key(j, "content");
    jw_obj(j);
    jw_key(j, "parts");
    jw_arr(j);
}

static void content_close(struct jw *j) {
    jw_arr_end(j);
    jw_kz(j, "role", "model");
    jw_obj_end(j);
}

static void chunk_close(struct writer *w, struct buf *out, struct jw *j) {
    content_close(j);
    jw_kint(j, "index", 0);
    jw_obj_end(j);
    jw_arr_end(j);
    write_ids(j, w->mint);
    jw_obj_end(j);
    frame_close(w, out);
}

static void part_open(struct writer *w, struct buf *out, const struct event_item *ev) {
    struct jw j;
    w->open = ev->part;
    if (ev->part == PART_IMAGE) {
        chunk_open(w, out, &j);
        write_image_part(&j, ev->name, ev->text);
        chunk_close(w, out, &j);
    }
    buf_clear(&w->args);
    buf_clear(&w->signature);
    buf_clear(&w->origin);
    buf_clear(&w->id);
    buf_clear(&w->name);
    buf_adds(&w->id, ev->id);
    buf_adds(&w->name, ev->name);
    w->has_call = w->has_call || ev->part == PART_TOOL_CALL;
}

static void chunk_text(struct writer *w, struct buf *out, struct str text) {
    struct jw j;
    chunk_open(w, out, &j);
    write_text_part(&j, text, w->open == PART_THINKING, STR_NONE, STR_NONE);
    chunk_close(w, out, &j);
}

/* A signature comes last; with no words of its own it goes on an empty text, as Gemini does it. */
static void part_close(struct writer *w, struct buf *out) {
    struct jw j;
    bool call = w->open == PART_TOOL_CALL;
    if (!call && buf_len(&w->signature) == 0)
        return;
    chunk_open(w, out, &j);
    if (call)
        write_call_part(&j, buf_str(&w->id), buf_str(&w->name), buf_str(&w->args), buf_str(&w->signature),
                        buf_str(&w->origin));
    else
        write_text_part(&j, STR(""), w->open == PART_THINKING, buf_str(&w->signature), buf_str(&w->origin));
    chunk_close(w, out, &j);
}

static void last_chunk(struct writer *w, struct buf *out) {
    struct jw j;
    chunk_open(w, out, &j);
    jw_obj(&j);
    jw_kz(&j, "text", "");
    jw_obj_end(&j);
    content_close(&j);
    write_finish(&j, stop_effective(w->stop, w->has_call), buf_str(&w->native));
    jw_kint(&j, "index", 0);
    jw_obj_end(&j);
    jw_arr_end(&j);
    write_usage(&j, &w->usage);
    write_ids(&j, w->mint);
    jw_obj_end(&j);
    frame_close(w, out);
    if (w->array)
        BUF_ADD(out, "]");
}

void gm_write_event(struct stream_writer *sw, const struct event_item *ev, struct buf *out) {
    struct writer *w = writer_of(sw);
    switch (ev->kind) {
    case EV_PART_OPEN:
        part_open(w, out, ev);
        break;
    case EV_TEXT:
    case EV_THINK:
        chunk_text(w, out, ev->text);
        break;
    case EV_ARGS:
        buf_adds(&w->args, ev->text);
        break;
    case EV_SIGNATURE:
        buf_clear(&w->signature);
        buf_clear(&w->origin);
        buf_adds(&w->signature, ev->text);
        buf_adds(&w->origin, ev->name);
        break;
    case EV_PART_CLOSE:
        part_close(w, out);
        break;
    case EV_USAGE:
        usage_merge(&w->usage, &ev->usage);
        break;
    case EV_STOP:
        w->stop = ev->stop;
        buf_adds(&w->native, ev->text);
        break;
    case EV_END:
        last_chunk(w, out);
        break;
    case EV_START:
    case EV_LOGPROBS:
    case EV_ANNOTATION:
    case EV_FAULT: /* the pipe's owner decides what the client is told */
        break;
    }
}

void gm_write_stream_fault(struct stream_writer *sw, struct buf *out, const struct fault *f,
                           struct str request_id) {
    struct writer none = {.array = false}, *w = sw ? writer_of(sw) : &none;
    frame_open(w, out);
    gm_write_fault(out, f, request_id);
    frame_close(w, out);
    if (w->array)
        BUF_ADD(out, "]");
}
