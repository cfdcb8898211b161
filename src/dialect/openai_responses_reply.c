/* A whole Responses answer, and watching one go by: status, usage, errors. */
#include "answer.h"
#include "free_text.h"
#include "openai_chat.h"
#include "openai_responses.h"

enum stop_reason rs_stop(struct str status, struct str reason) {
    static const struct {
        const char *word;
        enum stop_reason stop;
    } ends[] = {{"completed", STOP_END}, {"complete", STOP_END}, {"in_progress", STOP_END},
                {"queued", STOP_END},    {"failed", STOP_END},   {"cancelled", STOP_ERROR},
                {"", STOP_END}},
      cuts[] = {{"max_output_tokens", STOP_LENGTH},
                {"max_tokens", STOP_LENGTH},
                {"content_filter", STOP_FILTER},
                {"", STOP_OTHER}};
    bool cut = str_is(status, "incomplete");
    for (size_t i = 0; !cut && i < sizeof ends / sizeof *ends; i++)
        if (str_is(status, ends[i].word))
            return ends[i].stop;
    for (size_t i = 0; cut && i < sizeof cuts / sizeof *cuts; i++)
        if (str_is(reason, cuts[i].word))
            return cuts[i].stop;
    return STOP_UNKNOWN;
}

static struct str text_of(struct arena *a, struct str object, const char *key) {
    struct json_value v;
    return json_member(object, key, &v) && v.kind == JSON_STRING ? json_text(a, v) : STR_NONE;
}

/* Errors come nested, as documented for bodies, or with their members at the top, as for events. */
void rs_error(struct arena *a, struct str body, struct fault *f) {
    struct json_value v = {JSON_OBJECT, body}, inner;
    struct said said;
    if (json_member(body, "error", &inner) && inner.kind != JSON_NULL)
        v = inner;
    said_error(a, v, &said);
    if (str_is(said.type, "error"))
        said.type = STR_NONE;
    said_fault(a, 0, &said, f);
}

/* --- reasoning and citations --- */

static void join(struct buf *b, struct json_object *list) {
    size_t n = list ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        struct str s = jo_str(json_object_array_get_idx(list, i), "text");
        if (s.n > 0 && buf_len(b) > 0)
            BUF_ADD(b, "\n\n");
        buf_adds(b, s);
    }
}

struct str rs_reasoning_text(struct arena *a, struct json_object *item) {
    struct buf b;
    buf_init(&b, 0);
    join(&b, jo_arr(item, "summary"));
    if (buf_len(&b) == 0)
        join(&b, jo_arr(item, "content"));
    struct str s = buf_len(&b) > 0 ? arena_dup(a, buf_str(&b)) : STR_NONE;
    buf_free(&b);
    return s;
}

static void annotation(struct jw *w, struct json_object *o, bool to_chat) {
    static const char *const members[] = {"url", "title", "start_index", "end_index"};
    struct json_object *from = to_chat ? o : jo_obj(o, "url_citation");
    jw_obj(w);
    jw_kz(w, "type", "url_citation");
    if (to_chat) {
        jw_key(w, "url_citation");
        jw_obj(w);
    }
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (jo_get(from, members[i])) {
            jw_key(w, members[i]);
            jw_tree(w, jo_get(from, members[i]));
        }
    if (to_chat)
        jw_obj_end(w);
    jw_obj_end(w);
}

/* Citations of the web, in the other's shape; chat has no others. Empty when there is none. */
struct str rs_annotations(struct arena *a, struct json_object *list, bool to_chat) {
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0, found = 0;
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_arr(&w);
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(list, i);
        if (!str_is(jo_str(o, "type"), "url_citation"))
            continue;
        annotation(&w, o, to_chat);
        found++;
    }
    jw_arr_end(&w);
    struct str s = found ? arena_dup(a, buf_str(&b)) : STR_NONE;
    buf_free(&b);
    return s;
}

/* --- taps --- */

static bool count_text(void *arg, struct str key, struct json_value v) {
    static const char *const texts[] = {"text", "arguments", "input", "refusal"};
    struct observed *o = arg;
    for (size_t i = 0; v.kind == JSON_STRING && i < sizeof texts / sizeof *texts; i++)
        if (json_key_is(key, texts[i]))
            o->output_bytes += v.raw.n - 2;
    if (v.kind == JSON_ARRAY && (json_key_is(key, "content") || json_key_is(key, "summary")))
        json_each(v.raw, count_text, o);
    else if (v.kind == JSON_OBJECT && key.n == 0)
        json_each(v.raw, count_text, o);
    return true;
}

/* id, model, usage, status of a "response" object that was checked. */
static void note(struct arena *a, struct str response, struct observed *o, struct str *status) {
    struct json_value v;
    struct str reason = STR_NONE;
    *status = text_of(a, response, "status");
    if (o->id.n == 0)
        o->id = arena_dup(a, text_of(a, response, "id"));
    if (o->model.n == 0)
        o->model = arena_dup(a, text_of(a, response, "model"));
    if (json_member(response, "usage", &v) && v.kind == JSON_OBJECT) {
        struct usage u;
        oc_usage(v.raw, &u);
        usage_merge(&o->usage, &u);
    }
    if (json_path(response, &v, "incomplete_details", "reason", NULL) && v.kind == JSON_STRING)
        reason = json_text(a, v);
    note_stop(a, o, rs_stop(*status, reason), reason.n ? reason : *status);
}

bool rs_tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o, struct fault *f) {
    enum json_kind kind;
    struct json_error err;
    struct json_value v;
    struct str status;
    (void)quirks;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    const char *why = NULL;
    if (str_trim(body).n == 0)
        why = "the provider's answer is empty";
    else if (json_scan(body, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT)
        why = "the provider's answer is not JSON";
    else if (json_member(body, "error", &v) && v.kind != JSON_NULL)
        rs_error(a, body, f);
    else if (!json_member(body, "output", &v) || v.kind != JSON_ARRAY)
        why = "the provider's answer has no output";
    if (!why && !fault_is(f)) {
        note(a, body, o, &status);
        if (str_is(status, "failed"))
            why = "the provider failed to answer";
    }
    if (why) {
        fault_set(f, a, FAULT_SERVER, "%s", why);
        f->from_provider = true;
    }
    if (fault_is(f)) {
        o->fault = *f;
        return false;
    }
    json_each(v.raw, count_text, o);
    o->output = o->ended = true;
    return true;
}

static void tap_typed(struct arena *a, struct str type, struct str data, struct observed *o) {
    struct json_value v;
    struct str status;
    bool failed = str_is(type, "response.failed");
    if (str_is(type, "error")) {
        rs_error(a, data, &o->fault);
        return;
    }
    if (json_member(data, "delta", &v)) {
        o->output = true;
        o->output_bytes += v.raw.n > 2 ? v.raw.n - 2 : 0;
        return;
    }
    if (str_is(type, "response.output_item.added")) {
        o->output = true;
        return;
    }
    if (!json_member(data, "response", &v) || v.kind != JSON_OBJECT)
        return;
    note(a, v.raw, o, &status);
    if (failed) {
        rs_error(a, v.raw, &o->fault);
    } else if (str_is(type, "response.completed") || str_is(type, "response.incomplete")) {
        o->output = o->ended = true;
    } else {
        o->stop = STOP_UNSET; /* in progress */
    }
}

bool rs_tap_event(struct arena *a, struct str name, struct str data, unsigned quirks, bool hide_usage,
                  struct observed *o) {
    enum json_kind kind;
    struct json_error err;
    (void)quirks;
    (void)hide_usage;
    /* Most are deltas, and their names say so. */
    if (str_ends(name, ".delta")) {
        o->output = true;
        o->output_bytes += data.n > 160 ? data.n - 160 : 1;
        return true;
    }
    if (!str_starts(str_trim(data), "{"))
        return true;
    if (json_scan(data, &kind, NULL, NULL, &err) != 0) {
        fault_set(&o->fault, a, FAULT_SERVER, "the provider sent an event that is not JSON");
        o->fault.from_provider = true;
        return true;
    }
    struct str type = text_of(a, data, "type");
    tap_typed(a, type.n > 0 ? type : name, data, o);
    return true;
}

/* --- whole --- */

static void read_message(struct arena *a, struct chat *c, struct message *m, struct json_object *item) {
    struct json_object *list = jo_arr(item, "content");
    size_t n = list ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(list, i), *logprobs = jo_arr(o, "logprobs");
        struct str type = jo_str(o, "type");
        if (str_is(type, "refusal")) {
            message_part(c, m, PART_REFUSAL)->text = jo_str(o, "refusal");
        } else if (str_is(type, "output_text") || str_is(type, "text")) {
            struct part *p = message_part(c, m, PART_TEXT);
            p->text = jo_str(o, "text");
            p->annotations = rs_annotations(a, jo_arr(o, "annotations"), true);
            if (logprobs && json_object_array_length(logprobs) > 0)
                p->logprobs = tree_text(a, logprobs);
        }
    }
}

static void read_item(struct arena *a, struct chat *c, struct message *m, struct json_object *o) {
    struct str type = jo_str(o, "type");
    bool custom = str_is(type, "custom_tool_call");
    if (str_is(type, "message")) {
        read_message(a, c, m, o);
    } else if (custom || str_is(type, "function_call")) {
        struct part *p = message_part(c, m, PART_TOOL_CALL);
        p->id = jo_str(o, "call_id");
        if (p->id.n == 0)
            p->id = jo_str(o, "id");
        p->name = jo_str(o, "name");
        p->text = custom ? free_text_wrap(a, jo_str(o, "input")) : jo_str(o, "arguments");
    } else if (str_is(type, "reasoning")) {
        struct str text = rs_reasoning_text(a, o), sealed = jo_str(o, "encrypted_content");
        if (text.n == 0 && sealed.n == 0)
            return;
        struct part *p = message_part(c, m, PART_THINKING);
        p->text = text;
        p->signature = sealed;
        p->origin = sealed.n > 0 ? STR(RS_NAME) : STR_NONE;
    } /* what hosted tools did has no place elsewhere */
}

struct reply *rs_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    struct observed o = {.usage = USAGE_NONE};
    struct json_error err;
    if (!rs_tap_reply(a, body, quirks, &o, f))
        return NULL;
    struct chat *c = chat_new(a);
    struct reply *r = arena_alloc(a, sizeof *r);
    struct json_object *tree = chat_hold(a, json_tree(body, &err)), *items = jo_arr(tree, "output");
    r->message = chat_message(c, ROLE_ASSISTANT);
    size_t n = items ? json_object_array_length(items) : 0;
    for (size_t i = 0; i < n; i++)
        read_item(a, c, r->message, json_object_array_get_idx(items, i));
    r->id = o.id;
    r->model = o.model;
    r->created = jo_int(tree, "created_at", 0);
    r->stop = o.stop;
    r->stop_native = jo_str(jo_obj(tree, "incomplete_details"), "reason");
    if (r->stop_native.n == 0)
        r->stop_native = jo_str(tree, "status");
    r->usage = o.usage;
    return r;
}
