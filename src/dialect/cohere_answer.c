/* Answers of Cohere's v2 chat into the canonical form, whole and as a stream. The plan that comes before tool
 * calls is text of the answer. */
#include "cohere.h"

#include "answer.h"
#include "base/die.h"
#include "base/hash.h"
#include "cite.h"

enum stop_reason co_stop(struct str s) {
    static const struct {
        const char *word;
        enum stop_reason stop;
    } rows[] = {{"COMPLETE", STOP_END},       {"STOP_SEQUENCE", STOP_SEQUENCE},
                {"MAX_TOKENS", STOP_LENGTH},  {"TOOL_CALL", STOP_TOOLS},
                {"ERROR", STOP_ERROR},        {"TIMEOUT", STOP_ERROR},
                {"ERROR_TOXIC", STOP_FILTER}, {"ERROR_LIMIT", STOP_CONTEXT},
                {"USER_CANCEL", STOP_OTHER}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_is(s, rows[i].word))
            return rows[i].stop;
    return s.n ? STOP_UNKNOWN : STOP_UNSET;
}

/* What went through the model; what is billed is less, and not what a client of another dialect expects. */
struct usage co_usage(struct str checked) {
    struct usage u = USAGE_NONE;
    struct json_value v;
    static const char *const places[] = {"tokens", "billed_units"};
    for (size_t i = 0; i < 2 && !u.known; i++) {
        if (json_path(checked, &v, places[i], "input_tokens", NULL) && usage_count(v, &u.input))
            u.known = true;
        if (json_path(checked, &v, places[i], "output_tokens", NULL) && usage_count(v, &u.output))
            u.known = true;
        if (json_path(checked, &v, places[i], "reasoning_tokens", NULL))
            usage_count(v, &u.reasoning);
    }
    if (json_member(checked, "cached_tokens", &v))
        usage_count(v, &u.cache_read);
    if (json_path(checked, &v, "billed_units", "input_tokens", NULL))
        u.billed = usage_count(v, &u.billed_input);
    if (json_path(checked, &v, "billed_units", "output_tokens", NULL))
        u.billed = usage_count(v, &u.billed_output) || u.billed;
    return u;
}

/* Of calls without arguments they are "null" or nothing. */
static struct str arguments(struct str s) {
    s = str_trim(s);
    return s.n == 0 || str_is(s, "null") ? STR("{}") : s;
}

static void finish_fault(struct arena *a, struct str why, struct fault *f) {
    fault_set(f, a, FAULT_SERVER, "the provider could not finish its answer" STR_FMT STR_FMT,
              STR_ARG(why.n ? STR(": ") : why), STR_ARG(why));
    f->from_provider = true;
}

/* --- whole --- */

struct notes {
    struct buf b; /* a JSON array of annotations */
    struct jw w;
    size_t n;
};

static void notes_begin(struct notes *t) {
    t->n = 0;
    buf_init(&t->b, 0);
    jw_init(&t->w, &t->b);
    jw_arr(&t->w);
}

/* Empty when there are none. */
static struct str notes_end(struct arena *a, struct notes *t) {
    jw_arr_end(&t->w);
    struct str s = t->n ? arena_dup(a, buf_str(&t->b)) : STR_NONE;
    buf_free(&t->b);
    return s;
}

/* {start, end, text, sources: [{type: "document", document: {url?, title?}}]}: those of the web. */
static void note_citation(struct notes *t, struct json_object *o) {
    struct json_object *sources = jo_arr(o, "sources");
    int64_t from = jo_int(o, "start", 0), to = jo_int(o, "end", 0);
    size_t n = sources ? json_object_array_length(sources) : 0;
    for (size_t i = 0; i < n && from >= 0 && to >= from; i++) {
        struct json_object *doc = jo_obj(json_object_array_get_idx(sources, i), "document");
        if (jo_str(doc, "url").n == 0)
            continue;
        cite_write(&t->w, jo_str(doc, "url"), jo_str(doc, "title"), (uint64_t)from, (uint64_t)to);
        t->n++;
    }
}

static void read_citations(struct arena *a, struct message *m, struct json_object *list) {
    size_t n = list ? json_object_array_length(list) : 0;
    struct part *last = NULL;
    struct notes t;
    for (struct part *p = m->parts; p; p = p->next)
        last = p->kind == PART_TEXT ? p : last;
    notes_begin(&t);
    for (size_t i = 0; i < n && last; i++)
        note_citation(&t, json_object_array_get_idx(list, i));
    struct str all = notes_end(a, &t);
    if (last)
        last->annotations = all;
}

static void read_content(struct chat *c, struct message *m, struct json_object *content) {
    size_t n = content ? json_object_array_length(content) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(content, i);
        bool thinks = str_is(jo_str(o, "type"), "thinking");
        struct str text = jo_str(o, thinks ? "thinking" : "text");
        if (text.n)
            message_part(c, m, thinks ? PART_THINKING : PART_TEXT)->text = text;
    }
}

static void read_message(struct arena *a, struct chat *c, struct message *m, struct json_object *o,
                         uint64_t seed) {
    struct json_object *calls = jo_arr(o, "tool_calls");
    size_t n = calls ? json_object_array_length(calls) : 0;
    struct str plan = jo_str(o, "tool_plan");
    if (plan.n)
        message_part(c, m, PART_TEXT)->text = plan;
    read_content(c, m, jo_arr(o, "content"));
    read_citations(a, m, jo_arr(o, "citations"));
    for (size_t i = 0; i < n; i++) {
        struct json_object *call = json_object_array_get_idx(calls, i), *fn = jo_obj(call, "function");
        struct part *p = message_part(c, m, PART_TOOL_CALL);
        p->id = jo_str(call, "id");
        if (call_id_is_none(p->id))
            p->id = call_id_minted(a, seed, i);
        p->name = jo_str(fn, "name");
        p->text = arguments(jo_str(fn, "arguments"));
    }
}

struct reply *co_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    struct json_error err;
    struct json_value usage;
    struct said said;
    (void)quirks;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    struct json_object *tree = chat_hold(a, json_tree(body, &err)), *message = jo_obj(tree, "message");
    if (!json_object_is_type(tree, json_type_object)) {
        said_garbage(a, f, str_trim(body).n ? "is not a JSON object" : "is empty");
        return NULL;
    }
    if (!message) { /* {"id", "message": "text"} is an error */
        said_body(a, body, &said);
        said_fault(a, 0, &said, f);
        return NULL;
    }
    struct chat *c = chat_new(a);
    struct reply *r = arena_alloc(a, sizeof *r);
    r->message = chat_message(c, ROLE_ASSISTANT);
    r->id = jo_str(tree, "id");
    r->stop_native = jo_str(tree, "finish_reason");
    r->stop = co_stop(r->stop_native);
    if (r->stop == STOP_ERROR) {
        finish_fault(a, jo_str(tree, "error"), f);
        return NULL;
    }
    read_message(a, c, r->message, message, hash64(body.p, body.n));
    r->usage =
        json_member(body, "usage", &usage) && usage.kind == JSON_OBJECT ? co_usage(usage.raw) : USAGE_NONE;
    return r;
}

/* --- streams --- */

#define READER_MAGIC 0x434F5244U
struct reader {
    unsigned magic;
    struct arena *a;
    struct event_source out;
    struct arena *tmp; /* texts of the event in hand */
    bool args_seen;
    uint64_t seed; /* for ids that we must make: of the first event */
};

static struct reader *reader_of(struct stream_reader *r) {
    struct reader *self = (struct reader *)(void *)r;
    MAGIC_CHECK(self, READER_MAGIC);
    return self;
}

struct stream_reader *co_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg) {
    struct reader *r = arena_alloc(a, sizeof *r);
    (void)quirks;
    r->magic = READER_MAGIC;
    r->a = a;
    r->out = (struct event_source){.fn = fn, .arg = arg, .arena = a};
    return (struct stream_reader *)(void *)r;
}

static struct str text_at(struct reader *r, struct str data, const char *a, const char *b, const char *c,
                          const char *d) {
    struct json_value v;
    bool found = d   ? json_path(data, &v, "delta", a, b, c, d, NULL)
                 : c ? json_path(data, &v, "delta", a, b, c, NULL)
                 : b ? json_path(data, &v, "delta", a, b, NULL)
                     : json_path(data, &v, "delta", a, NULL);
    return found && v.kind == JSON_STRING ? json_text(r->tmp, v) : STR_NONE;
}

static void close_part(struct reader *r) {
    if (r->out.open && r->out.part == PART_TOOL_CALL && !r->args_seen)
        event_text(&r->out, EV_ARGS, STR("{}"));
    event_close(&r->out);
}

static void say(struct reader *r, enum part_kind kind, struct str text) {
    if (text.n == 0)
        return;
    event_start(&r->out, STR_NONE, STR_NONE, 0);
    if (!r->out.open || r->out.part != kind) {
        close_part(r);
        event_open(&r->out, (struct event_item){.part = kind});
    }
    event_text(&r->out, kind == PART_THINKING ? EV_THINK : EV_TEXT, text);
}

static void content(struct reader *r, struct str data) {
    say(r, PART_THINKING, text_at(r, data, "message", "content", "thinking", NULL));
    say(r, PART_TEXT, text_at(r, data, "message", "content", "text", NULL));
}

static void give_args(struct reader *r, struct str text) {
    if (!r->out.open || r->out.part != PART_TOOL_CALL || text.n == 0)
        return;
    if (!r->args_seen && str_is(str_trim(text), "null"))
        return;
    r->args_seen = true;
    event_text(&r->out, EV_ARGS, text);
}

static void call_start(struct reader *r, struct str data) {
    struct str id = text_at(r, data, "message", "tool_calls", "id", NULL);
    struct str name = text_at(r, data, "message", "tool_calls", "function", "name");
    event_start(&r->out, STR_NONE, STR_NONE, 0);
    close_part(r);
    if (call_id_is_none(id))
        id = call_id_minted(r->tmp, r->seed, r->out.next_index);
    event_open(&r->out, (struct event_item){.part = PART_TOOL_CALL, .id = id, .name = name});
    r->args_seen = false;
    give_args(r, text_at(r, data, "message", "tool_calls", "function", "arguments"));
}

static void citation_start(struct reader *r, struct str data) {
    struct json_value v;
    struct json_error err;
    if (!r->out.open || r->out.part != PART_TEXT ||
        !json_path(data, &v, "delta", "message", "citations", NULL) || v.kind != JSON_OBJECT)
        return;
    struct json_object *o = json_tree(v.raw, &err);
    struct notes t;
    notes_begin(&t);
    note_citation(&t, o);
    event_annotations(&r->out, notes_end(r->tmp, &t));
    json_object_put(o);
}

static void message_end(struct reader *r, struct str data) {
    struct str word = text_at(r, data, "finish_reason", NULL, NULL, NULL);
    struct json_value v;
    struct fault f;
    event_start(&r->out, STR_NONE, STR_NONE, 0);
    if (json_path(data, &v, "delta", "usage", NULL) && v.kind == JSON_OBJECT) {
        struct usage u = co_usage(v.raw);
        if (u.known)
            event_usage(&r->out, &u);
    }
    if (co_stop(word) == STOP_ERROR) {
        finish_fault(r->a, text_at(r, data, "error", NULL, NULL, NULL), &f);
        event_fault(&r->out, &f);
        return;
    }
    close_part(r);
    enum stop_reason stop = co_stop(word);
    event_end(&r->out, stop == STOP_UNSET ? STOP_END : stop, word, STR_NONE);
}

static void dispatch(struct reader *r, struct str type, struct str data) {
    struct json_value v;
    struct fault f;
    struct said said;
    if (str_is(type, "message-start")) {
        r->seed = hash64(data.p, data.n);
        event_start(&r->out,
                    json_member(data, "id", &v) && v.kind == JSON_STRING ? json_text(r->tmp, v) : STR_NONE,
                    STR_NONE, 0);
    } else if (str_is(type, "tool-plan-delta")) {
        say(r, PART_TEXT, text_at(r, data, "message", "tool_plan", NULL, NULL));
    } else if (str_is(type, "content-start") || str_is(type, "content-delta")) {
        content(r, data);
    } else if (str_is(type, "content-end") || str_is(type, "tool-call-end")) {
        close_part(r);
    } else if (str_is(type, "tool-call-start")) {
        call_start(r, data);
    } else if (str_is(type, "tool-call-delta")) {
        give_args(r, text_at(r, data, "message", "tool_calls", "function", "arguments"));
    } else if (str_is(type, "message-end")) {
        message_end(r, data);
    } else if (type.n == 0 && json_member(data, "message", &v) && v.kind == JSON_STRING) {
        said_body(r->a, data, &said);
        said_fault(r->a, 0, &said, &f);
        event_fault(&r->out, &f);
    } else if (str_is(type, "citation-start")) {
        citation_start(r, data);
    } /* what may be added is passed over */
}

void co_read_event(struct stream_reader *sr, struct str name, struct str data) {
    struct reader *r = reader_of(sr);
    enum json_kind kind;
    struct json_error err;
    struct json_value v;
    data = str_trim(data);
    if (r->out.done || !str_starts(data, "{"))
        return;
    if (json_scan(data, &kind, NULL, NULL, &err) != 0) {
        event_fail(&r->out, "the provider sent an event that is not JSON");
        return;
    }
    r->tmp = arena_new(0);
    struct str type = json_member(data, "type", &v) && v.kind == JSON_STRING ? json_text(r->tmp, v) : name;
    dispatch(r, type, data);
    arena_free(r->tmp);
    r->tmp = NULL;
}

void co_reader_end(struct stream_reader *sr) {
    struct reader *r = reader_of(sr);
    if (!r->out.done)
        event_fail(&r->out, r->out.started ? "the provider's stream ended too early"
                                           : "the provider's answer is empty");
}
