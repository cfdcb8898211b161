/* An OpenAI-shaped answer into the canonical form, whole or in chunks. Providers that call themselves
 * compatible differ most in tool calls (no index, index always 0, no id, an id on every fragment, fragments
 * of parallel calls mixed), so each call has a row of its own, and one whose turn has not come is collected
 * until the one before it is complete. */
#include "answer.h"
#include "base/die.h"
#include "base/hash.h"
#include "openai_chat.h"

#define READER_MAGIC 0x4F435244U
#define MAX_CALLS    256
#define WAITING_MAX  ((size_t)16 << 20) /* of collected arguments */

struct slot {
    uint64_t index;
    bool has_index;
    uint64_t id_hash;    /* 0: it came without an id */
    struct str id, name; /* until it is opened */
    struct str signature;
    struct buf waiting; /* arguments before it is opened */
    bool opened, closed;
    bool any; /* of its arguments have come */
    /* How far its arguments are a whole JSON value. */
    unsigned depth;
    bool in_string, escaped, begun;
};

struct reader {
    unsigned magic;
    struct arena *a;
    struct event_source out;
    bool stopped;
    struct slot *slots[MAX_CALLS];
    size_t nslots, current; /* current: the first that is not closed */
    size_t waiting;
    uint64_t seed; /* for ids that we must make: of the first chunk */
    enum stop_reason stop;
    struct str stop_native;
    struct oc_details *details; /* NULL: none have come */
};

static struct reader *reader_of(struct stream_reader *r) {
    struct reader *self = (struct reader *)(void *)r;
    MAGIC_CHECK(self, READER_MAGIC);
    return self;
}

static void release(void *arg) {
    struct reader *r = arg;
    for (size_t i = 0; i < r->nslots; i++)
        buf_free(&r->slots[i]->waiting);
}

struct stream_reader *oc_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg) {
    (void)quirks;
    struct reader *r = arena_alloc(a, sizeof *r);
    r->magic = READER_MAGIC;
    r->a = a;
    r->out = (struct event_source){.fn = fn, .arg = arg, .arena = a};
    arena_cleanup(a, release, r);
    return (struct stream_reader *)(void *)r;
}

/* --- what is wanted back --- */

/* As the signature of the thinking that is open, or of some that is not shown. */
static void tell_details(struct reader *r) {
    struct str s = r->details ? oc_details_take(r->details) : STR_NONE;
    if (s.n == 0)
        return;
    if (!r->out.open || r->out.part != PART_THINKING) {
        event_close(&r->out);
        event_open(&r->out, (struct event_item){.part = PART_THINKING});
    }
    event_signature(&r->out, s, STR(OC_DETAILS));
    event_close(&r->out);
}

/* --- calls --- */

static void follow_json(struct slot *s, struct str text) {
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (s->in_string) {
            if (s->escaped)
                s->escaped = false;
            else if (c == '\\')
                s->escaped = true;
            else if (c == '"')
                s->in_string = false;
        } else if (c == '"') {
            s->in_string = true;
        } else if (c == '{' || c == '[') {
            s->depth++;
            s->begun = true;
        } else if ((c == '}' || c == ']') && s->depth > 0) {
            s->depth--;
        }
    }
}

static bool is_whole(const struct slot *s) {
    return s->begun && s->depth == 0;
}

static void close_call(struct reader *r) {
    r->slots[r->current]->closed = true;
    r->current++;
    event_close(&r->out);
}

static bool is_taken(const struct reader *r, struct str id) {
    for (size_t i = 0; i < r->current; i++)
        if (str_eq(r->slots[i]->id, id))
            return true;
    return false;
}

static void open_call(struct reader *r, struct slot *s) {
    if (call_id_is_none(s->id) || is_taken(r, s->id))
        s->id = call_id_minted(r->a, r->seed, r->current);
    event_close(&r->out);
    event_open(&r->out, (struct event_item){.part = PART_TOOL_CALL, .id = s->id, .name = s->name});
    s->opened = true;
    event_signature(&r->out, s->signature, STR(OC_FOR_GOOGLE));
    event_text(&r->out, EV_ARGS, buf_str(&s->waiting));
    r->waiting -= buf_len(&s->waiting);
    buf_free(&s->waiting);
}

/* Opens the calls whose turn has come; all of them at the end (or before text that follows them). */
static void advance(struct reader *r, bool all) {
    while (r->current < r->nslots) {
        struct slot *s = r->slots[r->current];
        if (!all && s->name.n == 0)
            return;
        if (!s->opened)
            open_call(r, s);
        if (!all && (!is_whole(s) || r->current + 1 == r->nslots))
            return;
        close_call(r);
    }
}

static void give_args(struct reader *r, struct slot *s, struct str text) {
    if (text.n == 0 || s->closed || (!s->any && str_is(str_trim(text), "null")))
        return;
    s->any = true;
    follow_json(s, text);
    if (s->opened) {
        event_text(&r->out, EV_ARGS, text);
        return;
    }
    if (text.n > WAITING_MAX - r->waiting) {
        event_fail(&r->out, "the provider mixed too many parallel tool calls");
        return;
    }
    r->waiting += text.n;
    buf_adds(&s->waiting, text);
}

static struct slot *new_slot(struct reader *r, struct str id, struct str name) {
    if (r->nslots == MAX_CALLS) {
        event_fail(&r->out, "the provider made too many tool calls");
        return NULL;
    }
    struct slot *s = arena_alloc(r->a, sizeof *s);
    s->id = arena_dup(r->a, id);
    s->name = arena_dup(r->a, name);
    s->id_hash = id.n > 0 ? hash64(id.p, id.n) : 0;
    buf_init(&s->waiting, WAITING_MAX);
    r->slots[r->nslots++] = s;
    return s;
}

/* Some number every call 0, and some of them call it "0" besides: what has a name and arguments of its own
 * behind whole ones is another call. */
static bool is_another(const struct slot *s, uint64_t id_hash, struct str name, struct str args) {
    if (name.n == 0)
        return false;
    return (id_hash && s->id_hash && id_hash != s->id_hash) ||
           (is_whole(s) && str_starts(str_trim(args), "{"));
}

/* Which call a fragment belongs to; NULL: a new one. */
static struct slot *find_slot(struct reader *r, bool has_index, uint64_t index, struct str id,
                              struct str name, struct str args) {
    uint64_t h = id.n > 0 ? hash64(id.p, id.n) : 0;
    struct slot *last = r->nslots ? r->slots[r->nslots - 1] : NULL;
    for (size_t i = r->nslots; has_index && i-- > 0;) {
        struct slot *s = r->slots[i];
        if (!s->has_index || s->index != index)
            continue;
        return is_another(s, h, name, args) ? NULL : s;
    }
    if (has_index)
        return NULL;
    for (size_t i = r->nslots; h && i-- > 0;)
        if (r->slots[i]->id_hash == h)
            return is_another(r->slots[i], h, name, args) ? NULL : r->slots[i];
    if (h || !last)
        return NULL;
    return name.n > 0 && is_whole(last) ? NULL : last;
}

static struct str arguments_of(struct reader *r, struct json_object *v, struct buf *scratch) {
    (void)r;
    struct jw w;
    if (!v || json_object_is_type(v, json_type_string))
        return jo_text(v);
    jw_init(&w, scratch);
    jw_tree(&w, v);
    return buf_str(scratch);
}

struct str oc_call_signature(struct json_object *call) {
    struct str s = jo_str(jo_obj(jo_obj(call, "extra_content"), "google"), "thought_signature");
    return str_is(s, "skip_thought_signature_validator") ? STR_NONE : s;
}

static void give_signature(struct reader *r, struct slot *s, struct str signature) {
    if (signature.n == 0 || s->closed)
        return;
    if (s->opened)
        event_signature(&r->out, signature, STR(OC_FOR_GOOGLE));
    else
        s->signature = arena_dup(r->a, signature);
}

static void read_call(struct reader *r, struct json_object *o, struct json_object *fn) {
    struct json_object *index = jo_get(o, "index");
    bool has_index = json_object_is_type(index, json_type_int);
    uint64_t n = has_index ? (uint64_t)json_object_get_int64(index) : 0;
    struct str id = jo_str(o, "id"), name = jo_str(fn, "name");
    struct buf scratch;
    buf_init(&scratch, WAITING_MAX);
    struct str args = arguments_of(r, jo_get(fn, "arguments"), &scratch);
    struct slot *s = find_slot(r, has_index, n, id, name, args);
    if (!s) {
        s = new_slot(r, id, name);
        if (!s) {
            buf_free(&scratch);
            return;
        }
        s->has_index = has_index;
        s->index = n;
    }
    if (!s->opened && s->name.n == 0)
        s->name = arena_dup(r->a, name);
    if (r->out.open && r->out.part != PART_TOOL_CALL) {
        tell_details(r);
        event_close(&r->out);
    }
    give_signature(r, s, oc_call_signature(o));
    if (r->current < r->nslots && s == r->slots[r->current] && !s->opened && s->name.n > 0)
        open_call(r, s);
    give_args(r, s, args);
    buf_free(&scratch);
    if (!r->out.done)
        advance(r, false);
}

static void read_calls(struct reader *r, struct json_object *delta) {
    struct json_object *calls = jo_arr(delta, "tool_calls"), *legacy = jo_obj(delta, "function_call");
    size_t n = calls ? json_object_array_length(calls) : 0;
    for (size_t i = 0; i < n && !r->out.done; i++) {
        struct json_object *o = json_object_array_get_idx(calls, i);
        if (jo_obj(o, "function"))
            read_call(r, o, jo_obj(o, "function"));
    }
    if (legacy && n == 0 && (jo_str(legacy, "name").n > 0 || jo_str(legacy, "arguments").n > 0))
        read_call(r, NULL, legacy);
}

/* --- texts --- */

static void read_text(struct reader *r, enum part_kind kind, struct str text) {
    if (text.n == 0)
        return;
    if (r->current < r->nslots)
        advance(r, true);
    if (!r->out.open || r->out.part != kind) {
        if (kind != PART_THINKING && r->out.open && r->out.part == PART_THINKING)
            tell_details(r);
        event_close(&r->out);
        event_open(&r->out, (struct event_item){.part = kind});
    }
    event_text(&r->out, kind == PART_THINKING ? EV_THINK : EV_TEXT, text);
}

static void read_content(struct reader *r, struct json_object *content) {
    if (json_object_is_type(content, json_type_string)) {
        read_text(r, PART_TEXT, jo_text(content));
        return;
    }
    size_t n = json_object_is_type(content, json_type_array) ? json_object_array_length(content) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *part = json_object_array_get_idx(content, i),
                           *thinking = jo_arr(part, "thinking");
        size_t m = thinking ? json_object_array_length(thinking) : 0; /* Mistral's */
        for (size_t j = 0; j < m; j++)
            read_text(r, PART_THINKING, jo_str(json_object_array_get_idx(thinking, j), "text"));
        read_text(r, PART_TEXT, jo_str(part, "text"));
    }
}

static void read_redacted(struct reader *r, struct str data) {
    if (data.n == 0)
        return;
    event_close(&r->out);
    event_open(&r->out,
               (struct event_item){.part = PART_THINKING_REDACTED, .text = data, .name = STR(OC_NAME)});
    event_close(&r->out);
}

static void read_signature(struct reader *r, struct str signature) {
    if (signature.n == 0)
        return;
    if (!r->out.open ||
        r->out.part != PART_THINKING) { /* thinking that is not shown is signed all the same */
        event_close(&r->out);
        event_open(&r->out, (struct event_item){.part = PART_THINKING});
    }
    event_signature(&r->out, signature, STR(OC_NAME));
    event_close(&r->out);
}

static bool is_text(struct json_object *v) {
    return json_object_is_type(v, json_type_string) && jo_text(v).n > 0;
}

static struct str words_of(struct json_object *o) {
    static const char *const keys[] = {"text", "thinking", "summary"};
    struct str s = STR_NONE;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && s.n == 0; i++)
        s = jo_str(o, keys[i]);
    return s;
}

/* The text comes as reasoning_content or reasoning; what is wanted back in the lists beside it (OpenRouter's
 * reasoning_details, thinking_blocks of gateways such as ourselves). */
static void read_thinking(struct reader *r, struct json_object *delta) {
    struct json_object *text = jo_get(delta, "reasoning_content"),
                       *details = jo_arr(delta, "reasoning_details"),
                       *list = details ? details : jo_arr(delta, "thinking_blocks");
    if (!is_text(text))
        text = jo_get(delta, "reasoning");
    read_text(r, PART_THINKING, jo_text(text));
    size_t n = list ? json_object_array_length(list) : 0;
    if (details && n > 0 && !r->details)
        r->details = oc_details_new(r->a);
    if (details && r->details)
        oc_details_add(r->details, details);
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(list, i);
        if (!is_text(text) && (details || !(r->out.open && r->out.part == PART_THINKING)))
            read_text(r, PART_THINKING, words_of(o));
        if (details)
            continue;
        read_signature(r, jo_str(o, "signature"));
        read_redacted(r, jo_str(o, "data"));
    }
}

/* --- beside the text --- */

static void tell_tree(struct reader *r, enum event_kind kind, struct json_object *o) {
    struct buf b;
    struct jw w;
    buf_init(&b, WAITING_MAX);
    jw_init(&w, &b);
    jw_tree(&w, o);
    if (buf_ok(&b))
        event_text(&r->out, kind, buf_str(&b));
    buf_free(&b);
}

/* logprobs.content, logprobs.refusal */
static void read_logprobs(struct reader *r, struct json_object *choice, const char *key,
                          enum part_kind kind) {
    struct json_object *list = jo_arr(jo_obj(choice, "logprobs"), key);
    if (list && json_object_array_length(list) > 0 && r->out.open && r->out.part == kind)
        tell_tree(r, EV_LOGPROBS, list);
}

static void read_images(struct reader *r, struct json_object *delta) {
    struct json_object *list = jo_arr(delta, "images");
    size_t n = list ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n && !r->out.done; i++) {
        struct str media, data, url;
        if (oc_image(json_object_array_get_idx(list, i), &media, &data, &url)) {
            advance(r, true);
            event_close(&r->out);
            event_open(&r->out, (struct event_item){.part = PART_IMAGE, .name = media, .text = data});
            event_close(&r->out);
        } else if (url.n > 0) {
            read_text(r, PART_TEXT, STR("![image]("));
            read_text(r, PART_TEXT, url);
            read_text(r, PART_TEXT, STR(")"));
        }
    }
}

static void read_annotations(struct reader *r, struct json_object *delta) {
    struct json_object *list = jo_arr(delta, "annotations");
    size_t n = list ? json_object_array_length(list) : 0;
    if (n > 0 && !r->out.open) /* before the text */
        event_open(&r->out, (struct event_item){.part = PART_TEXT});
    for (size_t i = 0; i < n && r->out.part == PART_TEXT; i++)
        if (json_object_is_type(json_object_array_get_idx(list, i), json_type_object))
            tell_tree(r, EV_ANNOTATION, json_object_array_get_idx(list, i));
}

/* --- chunks --- */

/* At the top, in x_groq, or in the choice (Moonshot). */
static void read_usage(struct reader *r, struct str data, struct json_object *tree) {
    struct json_object *choice = oc_first_choice(tree);
    struct json_value v;
    struct usage u = USAGE_NONE;
    if (jo_obj(tree, "usage") && json_member(data, "usage", &v)) {
        oc_usage(v.raw, &u);
    } else if (jo_obj(tree, "x_groq")) {
        if (json_path(data, &v, "x_groq", "usage", NULL) && v.kind == JSON_OBJECT)
            oc_usage(v.raw, &u);
    } else if (jo_obj(choice, "usage")) {
        oc_usage(tree_text(r->a, jo_obj(choice, "usage")), &u);
    }
    if (u.known)
        event_usage(&r->out, &u);
}

static void start(struct reader *r, struct str data, struct json_object *o) {
    if (r->out.started)
        return;
    struct str id = jo_str(o, "id");
    r->seed = hash64(data.p, data.n);
    event_start(&r->out, id, jo_str(o, "model"), jo_int(o, "created", 0));
}

static void read_choice(struct reader *r, struct json_object *choice) {
    struct json_object *delta = jo_obj(choice, "delta");
    struct str finish = jo_str(choice, "finish_reason");
    if (jo_int(choice, "index", 0) != 0)
        return; /* several choices are refused before it comes to this */
    if (!delta)
        delta = jo_obj(choice, "message");
    if (!r->stopped) {
        read_thinking(r, delta);
        read_content(r, jo_get(delta, "content"));
        read_logprobs(r, choice, "content", PART_TEXT);
        read_annotations(r, delta);
        read_images(r, delta);
        read_text(r, PART_REFUSAL, jo_str(delta, "refusal"));
        read_logprobs(r, choice, "refusal", PART_REFUSAL);
        read_calls(r, delta);
    }
    if (finish.n > 0 && oc_stop(finish) != STOP_UNSET && !r->stopped) {
        struct str native = jo_str(choice, "native_finish_reason");
        r->stopped = true;
        r->stop = oc_stop(finish);
        r->stop_native = arena_dup(r->a, native.n > 0 ? native : finish);
        if (r->stop == STOP_ERROR)
            event_fail(&r->out, "the provider ended the answer with an error");
    }
}

/* Usage may come after the finish: the stop is only told when nothing more can. */
static void finish(struct reader *r) {
    if (!r->out.started) {
        event_fail(&r->out, "the provider's answer is empty");
        return;
    }
    advance(r, true);
    tell_details(r);
    event_close(&r->out);
    event_end(&r->out, r->stop == STOP_UNSET ? STOP_END : r->stop, r->stop_native, STR_NONE);
}

static bool read_error(struct reader *r, struct str data, struct json_object *tree) {
    struct json_value v = {JSON_NULL, STR_NONE};
    struct json_object *choice = oc_first_choice(tree), *inner = jo_get(choice, "error");
    struct said said;
    struct fault f;
    json_member(data, "error", &v);
    if (v.kind == JSON_NULL && inner) {
        struct str text = tree_text(r->a, inner);
        v = (struct json_value){text.n && text.p[0] == '{' ? JSON_OBJECT : JSON_STRING, text};
    } else if (v.kind == JSON_NULL && !choice && str_is(jo_str(tree, "object"), "error")) {
        v = (struct json_value){JSON_OBJECT, data}; /* old vLLM: the error's members at the top */
    }
    if (v.kind == JSON_NULL)
        return false;
    said_error(r->a, v, &said);
    said_fault(r->a, 0, &said, &f);
    event_fault(&r->out, &f);
    return true;
}

void oc_read_event(struct stream_reader *sr, struct str name, struct str data) {
    (void)name;
    struct reader *r = reader_of(sr);
    struct json_error err;
    data = str_trim(data);
    if (r->out.done || data.n == 0)
        return;
    if (str_is(data, "[DONE]")) {
        finish(r);
        return;
    }
    struct json_object *tree = json_tree(data, &err);
    if (!tree) {
        event_fail(&r->out, "the provider sent an event that is not JSON");
        return;
    }
    if (json_object_is_type(tree, json_type_object) && !read_error(r, data, tree)) {
        struct json_object *choices = jo_arr(tree, "choices");
        start(r, data, tree);
        size_t n = choices ? json_object_array_length(choices) : 0;
        for (size_t i = 0; i < n && !r->out.done; i++)
            read_choice(r, json_object_array_get_idx(choices, i));
        if (!r->out.done)
            read_usage(r, data, tree);
    }
    json_object_put(tree);
}

void oc_reader_end(struct stream_reader *sr) {
    struct reader *r = reader_of(sr);
    if (r->out.done)
        return;
    if (r->stopped)
        finish(r); /* some forget their [DONE] */
    else
        event_fail(&r->out, r->out.started ? "the provider's stream ended too early"
                                           : "the provider's answer is empty");
}
