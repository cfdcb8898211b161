/* An answer of another dialect as a Responses answer, whole and as the full sequence of its events. Each part
 * is an item of its own. */
#include "base/die.h"
#include "free_text.h"
#include "opaque.h"
#include "openai_responses.h"

#define WRITER_MAGIC 0x52535757U
#define ITEMS_MAX    ((size_t)64 << 20) /* of the answer that is told again at the end */

/* --- whole --- */

static struct part shown(const struct rs_object *o, const struct part *p) {
    struct part copy = *p;
    struct json_error err;
    if (p->kind == PART_TOOL_CALL)
        copy.custom = rs_is_custom(o, p->name);
    if (copy.custom)
        copy.text = free_text_of(o->a, p->text);
    if (p->annotations.n > 0)
        copy.annotations = rs_annotations(o->a, chat_hold(o->a, json_tree(p->annotations, &err)), false);
    return copy;
}

static void items_add(struct buf *items, const struct rs_object *o, const struct part *p, struct str id) {
    struct jw w;
    if (buf_len(items) > 0)
        BUF_ADD(items, ",");
    jw_init(&w, items);
    rs_write_item(&w, o, p, id, false);
}

static bool is_item(enum part_kind k) {
    return k == PART_TEXT || k == PART_REFUSAL || k == PART_TOOL_CALL || k == PART_THINKING ||
           k == PART_THINKING_REDACTED || k == PART_IMAGE;
}

/* Opaque state that was not asked for leaves nothing to be shown of redacted thinking. */
static bool has_form(const struct rs_object *o, const struct part *p) {
    if (p->kind == PART_THINKING_REDACTED)
        return o->encrypted;
    return is_item(p->kind);
}

void rs_write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask) {
    struct arena *a = arena_new(0);
    struct rs_object o;
    struct buf items;
    struct jw w;
    unsigned n = 0;
    buf_init(&items, 0);
    rs_object_init(&o, a, m, ask);
    for (const struct part *p = r->message ? r->message->parts : NULL; p; p = p->next) {
        if (!has_form(&o, p))
            continue;
        struct part copy = shown(&o, p);
        items_add(&items, &o, &copy, rs_item_id(&o, &copy, n++));
    }
    jw_init(&w, out);
    rs_write_object(&w, &o, NULL, r->stop, r->stop_native, buf_str(&items), &r->usage, NULL);
    buf_free(&items);
    arena_free(a);
}

/* --- streams --- */

struct writer {
    unsigned magic;
    struct arena *a;
    struct rs_object o;
    struct buf items, text;
    struct buf notes, logprobs; /* JSON arrays, without their closing bracket */
    struct free_text free;      /* of a free-text call */
    struct part part;           /* the open one */
    struct str item;            /* its id */
    unsigned n, said;           /* items before it; annotations of it */
    uint64_t sequence;
    bool started, ended, skipped, summary, text_seen;
    enum stop_reason stop;
    struct str native;
    struct usage usage;
};

static struct writer *writer_of(struct stream_writer *w) {
    struct writer *self = (struct writer *)(void *)w;
    MAGIC_CHECK(self, WRITER_MAGIC);
    return self;
}

static void release(void *arg) {
    struct writer *w = arg;
    buf_free(&w->items);
    buf_free(&w->text);
    buf_free(&w->notes);
    buf_free(&w->logprobs);
    free_text_free(&w->free);
}

struct stream_writer *rs_writer_new(struct arena *a, const struct mint *m, const struct ask *ask) {
    struct writer *w = arena_alloc(a, sizeof *w);
    w->magic = WRITER_MAGIC;
    w->a = a;
    rs_object_init(&w->o, a, m, ask);
    w->usage = USAGE_NONE;
    buf_init(&w->items, ITEMS_MAX);
    buf_init(&w->text, ITEMS_MAX);
    buf_init(&w->notes, ITEMS_MAX);
    buf_init(&w->logprobs, ITEMS_MAX);
    arena_cleanup(a, release, w);
    return (struct stream_writer *)(void *)w;
}

static void event_begin(struct writer *w, struct jw *j, struct buf *out, const char *type) {
    BUF_ADD(out, "event: ");
    buf_addz(out, type);
    BUF_ADD(out, "\ndata: ");
    jw_init(j, out);
    jw_obj(j);
    jw_kz(j, "type", type);
    jw_ku64(j, "sequence_number", w->sequence++);
}

static void event_finish(struct jw *j, struct buf *out) {
    jw_obj_end(j);
    BUF_ADD(out, "\n\n");
}

static void response_event(struct writer *w, struct buf *out, const char *type, const char *status,
                           const struct fault *f) {
    struct jw j;
    bool begun = status && !f;
    event_begin(w, &j, out, type);
    jw_key(&j, "response");
    rs_write_object(&j, &w->o, status, w->stop, w->native, buf_str(&w->items), begun ? NULL : &w->usage, f);
    event_finish(&j, out);
}

/* An event of the open item; index: of what is inside it, or NULL. */
static void item_event(struct writer *w, struct jw *j, struct buf *out, const char *type, const char *index) {
    event_begin(w, j, out, type);
    jw_kstr(j, "item_id", w->item);
    jw_ku64(j, "output_index", w->n);
    if (index)
        jw_kint(j, index, 0);
}

static void whole_item(struct writer *w, struct buf *out, const char *type, bool begun) {
    struct jw j;
    event_begin(w, &j, out, type);
    jw_ku64(&j, "output_index", w->n);
    jw_key(&j, "item");
    rs_write_item(&j, &w->o, &w->part, w->item, begun);
    event_finish(&j, out);
}

static bool is_content(const struct writer *w) {
    return w->part.kind == PART_TEXT || w->part.kind == PART_REFUSAL;
}

static void content_part(struct writer *w, struct buf *out, bool begun) {
    struct jw j;
    item_event(w, &j, out, begun ? "response.content_part.added" : "response.content_part.done",
               "content_index");
    jw_key(&j, "part");
    rs_write_content(&j, &w->part, begun);
    event_finish(&j, out);
}

static void summary_part(struct writer *w, struct buf *out, bool begun) {
    struct jw j;
    item_event(w, &j, out,
               begun ? "response.reasoning_summary_part.added" : "response.reasoning_summary_part.done",
               "summary_index");
    jw_key(&j, "part");
    jw_obj(&j);
    jw_kz(&j, "type", "summary_text");
    jw_kstr(&j, "text", begun ? STR("") : w->part.text);
    jw_obj_end(&j);
    event_finish(&j, out);
}

static void image_done(struct writer *w, struct buf *out) {
    struct jw j;
    item_event(w, &j, out, "response.image_generation_call.completed", NULL);
    event_finish(&j, out);
}

static void part_open(struct writer *w, struct buf *out, const struct event_item *ev) {
    w->part = (struct part){.kind = ev->part};
    w->skipped = !has_form(&w->o, &w->part);
    w->summary = w->text_seen = false;
    w->said = 0;
    buf_clear(&w->text);
    buf_clear(&w->notes);
    buf_clear(&w->logprobs);
    if (w->skipped)
        return;
    if (ev->part == PART_TOOL_CALL) {
        w->part.id = arena_dup(w->a, ev->id);
        w->part.name = arena_dup(w->a, ev->name);
        w->part.custom = rs_is_custom(&w->o, ev->name);
        if (w->part.custom)
            free_text_begin(&w->free);
    } else if (ev->part == PART_THINKING_REDACTED) {
        w->part.data = arena_dup(w->a, ev->text);
        w->part.origin = arena_dup(w->a, ev->name);
    }
    if (ev->part == PART_IMAGE)
        w->part.data = arena_dup(w->a, ev->text);
    w->item = rs_item_id(&w->o, &w->part, w->n);
    whole_item(w, out, "response.output_item.added", true);
    if (ev->part == PART_IMAGE)
        image_done(w, out);
    if (is_content(w))
        content_part(w, out, true);
}

struct words {
    const char *delta, *done, *member, *index;
};

static struct words words_of(const struct part *p) {
    if (p->kind == PART_REFUSAL)
        return (struct words){"response.refusal.delta", "response.refusal.done", "refusal", "content_index"};
    if (p->kind == PART_THINKING)
        return (struct words){"response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
                              "text", "summary_index"};
    if (p->kind != PART_TOOL_CALL)
        return (struct words){"response.output_text.delta", "response.output_text.done", "text",
                              "content_index"};
    if (p->custom)
        return (struct words){"response.custom_tool_call_input.delta", "response.custom_tool_call_input.done",
                              "input", NULL};
    return (struct words){"response.function_call_arguments.delta", "response.function_call_arguments.done",
                          "arguments", NULL};
}

static void logprobs_member(struct writer *w, struct jw *j, struct str array) {
    if (w->part.kind != PART_TEXT)
        return;
    jw_key(j, "logprobs");
    jw_raw(j, array.n > 0 ? array : STR("[]"));
}

static void part_delta(struct writer *w, struct buf *out, struct str text) {
    struct words words = words_of(&w->part);
    struct jw j;
    if (w->skipped || text.n == 0)
        return;
    if (w->part.kind == PART_THINKING && !w->summary) {
        w->summary = true;
        summary_part(w, out, true);
    }
    w->text_seen = true;
    buf_adds(&w->text, text);
    item_event(w, &j, out, words.delta, words.index);
    jw_kstr(&j, "delta", text);
    logprobs_member(w, &j, STR_NONE);
    event_finish(&j, out);
}

/* Further items onto an array that is kept open. */
static void array_add(struct buf *b, struct str items) {
    buf_addz(b, buf_len(b) > 0 ? "," : "[");
    buf_adds(b, items);
}

static void take_logprobs(struct writer *w, struct str array) {
    array = str_trim(array);
    if (array.n > 2 && array.p[0] == '[')
        array_add(&w->logprobs, str_make(array.p + 1, array.n - 2));
}

static void take_annotation(struct writer *w, struct buf *out, struct str text) {
    struct json_error err;
    struct jw j;
    struct json_object *list =
        chat_hold(w->a, json_tree(arena_printf(w->a, "[" STR_FMT "]", STR_ARG(text)), &err));
    struct str array = rs_annotations(w->a, list, false);
    if (w->skipped || array.n <= 2)
        return;
    struct str one = str_make(array.p + 1, array.n - 2);
    array_add(&w->notes, one);
    item_event(w, &j, out, "response.output_text.annotation.added", "content_index");
    jw_ku64(&j, "annotation_index", w->said++);
    jw_key(&j, "annotation");
    jw_raw(&j, one);
    event_finish(&j, out);
}

static struct str array_close(struct buf *b) {
    if (buf_len(b) == 0)
        return STR_NONE;
    BUF_ADD(b, "]");
    return buf_ok(b) ? buf_str(b) : STR_NONE;
}

static struct str plain_name(const struct writer *w) {
    const struct rs_tool *t = rs_tool_by_flat(&w->o.tools, w->part.name);
    return t ? t->name : w->part.name;
}

static void text_done(struct writer *w, struct buf *out) {
    struct words words = words_of(&w->part);
    struct jw j;
    item_event(w, &j, out, words.done, words.index);
    if (w->part.kind == PART_TOOL_CALL && !w->part.custom)
        jw_kstr(&j, "name", plain_name(w));
    jw_kstr(&j, words.member, w->part.text);
    logprobs_member(w, &j, w->part.logprobs);
    event_finish(&j, out);
}

/* What a free-text call's arguments say, as far as it is known; piece empty: all of it. */
static void free_delta(struct writer *w, struct buf *out, struct str piece) {
    struct buf text;
    buf_init(&text, 0);
    free_text_more(&w->free, piece, &text);
    part_delta(w, out, buf_str(&text));
    buf_free(&text);
}

static void part_close(struct writer *w, struct buf *out) {
    if (w->skipped)
        return;
    bool call = w->part.kind == PART_TOOL_CALL;
    if (w->part.custom)
        free_delta(w, out, STR_NONE);
    if (call && !w->part.custom && !w->text_seen)
        part_delta(w, out, STR("{}")); /* SDKs parse the joined arguments: "" would not parse */
    w->part.text = buf_str(&w->text);
    w->part.annotations = array_close(&w->notes);
    w->part.logprobs = array_close(&w->logprobs);
    if (call || is_content(w) || w->summary)
        text_done(w, out);
    if (is_content(w))
        content_part(w, out, false);
    else if (w->summary)
        summary_part(w, out, false);
    whole_item(w, out, "response.output_item.done", false);
    items_add(&w->items, &w->o, &w->part, w->item);
    w->n++;
}

static void end(struct writer *w, struct buf *out) {
    bool cut = w->stop == STOP_LENGTH || w->stop == STOP_CONTEXT || w->stop == STOP_FILTER;
    w->ended = true;
    response_event(w, out, cut ? "response.incomplete" : "response.completed", NULL, NULL);
}

static void begin(struct writer *w, struct buf *out) {
    w->started = true;
    response_event(w, out, "response.created", "in_progress", NULL);
    response_event(w, out, "response.in_progress", "in_progress", NULL);
}

void rs_write_event(struct stream_writer *sw, const struct event_item *ev, struct buf *out) {
    struct writer *w = writer_of(sw);
    switch (ev->kind) {
    case EV_START:
        begin(w, out);
        break;
    case EV_PART_OPEN:
        part_open(w, out, ev);
        break;
    case EV_ARGS:
        if (w->part.custom && ev->text.n > 0)
            free_delta(w, out, ev->text);
        else
            part_delta(w, out, ev->text);
        break;
    case EV_TEXT:
    case EV_THINK:
        part_delta(w, out, ev->text);
        break;
    case EV_SIGNATURE:
        w->part.signature = arena_dup(w->a, ev->text);
        w->part.origin = arena_dup(w->a, ev->name);
        break;
    case EV_LOGPROBS:
        take_logprobs(w, ev->text);
        break;
    case EV_ANNOTATION:
        take_annotation(w, out, ev->text);
        break;
    case EV_PART_CLOSE:
        part_close(w, out);
        break;
    case EV_USAGE:
        usage_merge(&w->usage, &ev->usage);
        break;
    case EV_STOP:
        w->stop = ev->stop;
        w->native = arena_dup(w->a, ev->text);
        break;
    case EV_END:
        end(w, out);
        break;
    case EV_FAULT: /* the pipe's owner decides what the client is told */
        break;
    }
}

/* --- the last words of a stream that failed --- */

static void write_error(struct jw *j, const struct fault *f) {
    jw_kstr(j, "code", rs_error_code(f));
    jw_kstr(j, "message", f->message.n > 0 ? f->message : str_of(fault_rule(f->cls)->name));
    jw_key(j, "param");
    if (f->param.n > 0)
        jw_str(j, f->param);
    else
        jw_null(j);
}

/* One terminal event: "error", and where we have begun a response ourselves, its end as failed. */
void rs_write_stream_fault(struct stream_writer *sw, struct buf *out, const struct fault *f,
                           struct str request_id) {
    struct writer *w = sw ? writer_of(sw) : NULL, bare = {.magic = WRITER_MAGIC};
    struct jw j;
    (void)request_id;
    if (w && w->ended)
        return;
    event_begin(w ? w : &bare, &j, out, "error");
    write_error(&j, f);
    event_finish(&j, out);
    if (!w || !w->started)
        return;
    w->ended = true;
    response_event(w, out, "response.failed", "failed", f);
}
