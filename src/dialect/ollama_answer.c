/* Answers of Ollama's native API into the canonical form, whole and as lines. Calls come whole, each in one
 * line, their arguments as an object. */
#include "ollama.h"

#include "answer.h"
#include "base/die.h"
#include "base/hash.h"

/* A stop is a stop of the model or at a sequence: it does not say which. */
static enum stop_reason stop_of(struct str s) {
    if (str_is(s, "length"))
        return STOP_LENGTH;
    return s.n == 0 || str_is(s, "stop") || str_is(s, "load") || str_is(s, "unload") ? STOP_END
                                                                                     : STOP_UNKNOWN;
}

/* prompt_eval_count was left out by older servers when the prompt was cached. */
struct usage ol_usage(struct str checked) {
    struct usage u = USAGE_NONE;
    struct json_value v;
    if (json_member(checked, "prompt_eval_count", &v) && usage_count(v, &u.input))
        u.known = true;
    if (json_member(checked, "eval_count", &v) && usage_count(v, &u.output))
        u.known = true;
    return u;
}

/* Old servers give no ids. The line has the time in it, so that its hash is not met again in the next turn.
 */
static struct str call_id(struct arena *a, struct json_object *call, struct str line, size_t i) {
    struct str id = jo_str(call, "id");
    return call_id_is_none(id) ? call_id_minted(a, hash64(line.p, line.n), i) : id;
}

static struct str arguments(struct arena *a, struct json_object *call) {
    struct json_object *fn = jo_obj(call, "function"), *object = jo_obj(fn, "arguments");
    struct str text = str_trim(jo_str(fn, "arguments"));
    return object ? tree_text(a, object) : text.n ? text : STR("{}");
}

static struct str text_of(struct json_object *tree, struct json_object *message) {
    return message ? jo_str(message, "content") : jo_str(tree, "response");
}

static struct str thinking_of(struct json_object *tree, struct json_object *message) {
    return jo_str(message ? message : tree, "thinking");
}

/* --- whole --- */

static struct reply *failed(struct arena *a, struct str body, const char *why, struct fault *f) {
    struct said said;
    said_body(a, body, &said);
    if (said.message.n == 0)
        said.message = str_of(why);
    said_fault(a, 0, &said, f);
    f->from_provider = true;
    return NULL;
}

static void read_calls(struct arena *a, struct chat *c, struct message *m, struct json_object *calls,
                       struct str body) {
    size_t n = calls ? json_object_array_length(calls) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *call = json_object_array_get_idx(calls, i);
        struct part *p = message_part(c, m, PART_TOOL_CALL);
        p->id = call_id(a, call, body, i);
        p->name = jo_str(jo_obj(call, "function"), "name");
        p->text = arguments(a, call);
    }
}

struct reply *ol_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    struct json_error err;
    (void)quirks;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    struct json_object *tree = chat_hold(a, json_tree(body, &err)), *message = jo_obj(tree, "message");
    if (!json_object_is_type(tree, json_type_object))
        return failed(a, STR_NONE,
                      str_trim(body).n ? "the provider's answer is not a JSON object"
                                       : "the provider's answer is empty",
                      f);
    if (jo_get(tree, "error") || (!message && !jo_get(tree, "response")))
        return failed(a, body, "the provider's answer has no message", f);
    struct chat *c = chat_new(a);
    struct reply *r = arena_alloc(a, sizeof *r);
    struct str text = text_of(tree, message), thinking = thinking_of(tree, message);
    r->message = chat_message(c, ROLE_ASSISTANT);
    r->model = jo_str(tree, "model");
    if (thinking.n)
        message_part(c, r->message, PART_THINKING)->text = thinking;
    if (text.n)
        message_part(c, r->message, PART_TEXT)->text = text;
    read_calls(a, c, r->message, jo_arr(message, "tool_calls"), body);
    r->stop_native = jo_str(tree, "done_reason");
    r->stop = stop_of(r->stop_native);
    r->usage = ol_usage(body);
    return r;
}

/* --- lines --- */

#define READER_MAGIC 0x4F4C5244U
struct reader {
    unsigned magic;
    struct arena *a;
    struct event_source out;
    struct arena *tmp; /* of the line in hand */
};

static struct reader *reader_of(struct stream_reader *r) {
    struct reader *self = (struct reader *)(void *)r;
    MAGIC_CHECK(self, READER_MAGIC);
    return self;
}

struct stream_reader *ol_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg) {
    struct reader *r = arena_alloc(a, sizeof *r);
    (void)quirks;
    r->magic = READER_MAGIC;
    r->a = a;
    r->out = (struct event_source){.fn = fn, .arg = arg, .arena = a};
    return (struct stream_reader *)(void *)r;
}

static void say(struct reader *r, enum part_kind kind, struct str text) {
    if (text.n == 0)
        return;
    if (!r->out.open || r->out.part != kind) {
        event_close(&r->out);
        event_open(&r->out, (struct event_item){.part = kind});
    }
    event_text(&r->out, kind == PART_THINKING ? EV_THINK : EV_TEXT, text);
}

static void calls(struct reader *r, struct json_object *list, struct str line) {
    size_t n = list ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *call = json_object_array_get_idx(list, i);
        event_close(&r->out);
        event_open(&r->out, (struct event_item){.part = PART_TOOL_CALL,
                                                .id = call_id(r->tmp, call, line, i),
                                                .name = jo_str(jo_obj(call, "function"), "name")});
        event_text(&r->out, EV_ARGS, arguments(r->tmp, call));
        event_close(&r->out);
    }
}

static void over(struct reader *r, struct json_object *tree, struct str line) {
    struct usage u = ol_usage(line);
    struct str word = jo_str(tree, "done_reason");
    event_close(&r->out);
    if (u.known)
        event_usage(&r->out, &u);
    event_end(&r->out, stop_of(word), word, STR_NONE);
}

static void read_line(struct reader *r, struct json_object *tree, struct str line) {
    struct json_object *message = jo_obj(tree, "message");
    struct fault f;
    if (jo_get(tree, "error")) {
        failed(r->a, line, "the provider could not finish its answer", &f);
        event_fault(&r->out, &f);
        return;
    }
    event_start(&r->out, STR_NONE, jo_str(tree, "model"), 0);
    say(r, PART_THINKING, thinking_of(tree, message));
    say(r, PART_TEXT, text_of(tree, message));
    calls(r, jo_arr(message, "tool_calls"), line);
    if (jo_bool(tree, "done", false))
        over(r, tree, line);
}

void ol_read_event(struct stream_reader *sr, struct str name, struct str data) {
    struct reader *r = reader_of(sr);
    struct json_error err;
    (void)name;
    if (r->out.done)
        return;
    r->tmp = arena_new(0);
    struct json_object *tree = chat_hold(r->tmp, json_tree(data, &err));
    if (json_object_is_type(tree, json_type_object))
        read_line(r, tree, data);
    else
        event_fail(&r->out, "the provider sent a line that is not a JSON object");
    arena_free(r->tmp);
    r->tmp = NULL;
}

void ol_reader_end(struct stream_reader *sr) {
    struct reader *r = reader_of(sr);
    if (!r->out.done)
        event_fail(&r->out, r->out.started ? "the provider's stream ended too early"
                                           : "the provider's answer is empty");
}
