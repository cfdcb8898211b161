/* A Responses stream into events. Items may come mixed; each part (a text of a message, a call, the
 * reasoning of an item) has a slot, in the order of their beginning, and one whose turn has not come is
 * collected until the one before it is done. Some hosts give an item another id in each event, so items are
 * known by output_index. */
#include "answer.h"
#include "base/die.h"
#include "free_text.h"
#include "openai_chat.h"
#include "openai_responses.h"

#define READER_MAGIC 0x52535244U
#define MAX_SLOTS    1024
#define WAITING_MAX  ((size_t)16 << 20)

struct slot {
    int64_t item, part; /* output_index, content_index; part 0 of calls and reasoning */
    enum part_kind kind;
    struct str id, name, sealed, annotations, logprobs;
    struct buf waiting; /* what came before its turn */
    int64_t paragraph;  /* of reasoning: the last summary_index */
    bool has_text, opened, done;
    bool custom, framed; /* a free-text call; its text is inside of an object */
};

struct reader {
    unsigned magic;
    struct arena *a;
    struct event_source out;
    struct slot *slots[MAX_SLOTS];
    size_t nslots, current; /* current: the first that is not closed */
    size_t waiting;
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

struct stream_reader *rs_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg) {
    (void)quirks;
    struct reader *r = arena_alloc(a, sizeof *r);
    r->magic = READER_MAGIC;
    r->a = a;
    r->out = (struct event_source){.fn = fn, .arg = arg, .arena = a};
    arena_cleanup(a, release, r);
    return (struct stream_reader *)(void *)r;
}

/* --- slots --- */

static enum event_kind text_event(enum part_kind k) {
    return k == PART_TOOL_CALL ? EV_ARGS : k == PART_THINKING ? EV_THINK : EV_TEXT;
}

static struct slot *find(struct reader *r, int64_t item, int64_t part) {
    for (size_t i = r->nslots; i-- > 0;)
        if (r->slots[i]->item == item && r->slots[i]->part == part)
            return r->slots[i];
    return NULL;
}

static struct slot *slot_of(struct reader *r, int64_t item, int64_t part, enum part_kind kind) {
    struct slot *s = find(r, item, part);
    if (s)
        return s->kind == kind ? s : NULL;
    if (r->nslots == MAX_SLOTS) {
        event_fail(&r->out, "the provider's answer has too many items");
        return NULL;
    }
    s = arena_alloc(r->a, sizeof *s);
    s->item = item;
    s->part = part;
    s->kind = kind;
    buf_init(&s->waiting, WAITING_MAX);
    r->slots[r->nslots++] = s;
    return s;
}

/* A free-text call's input as the arguments of a function. */
static void free_args(struct reader *r, struct slot *s, struct str text, bool end) {
    struct buf b;
    buf_init(&b, 0);
    if (!s->framed)
        BUF_ADD(&b, FREE_TEXT_OPEN);
    s->framed = true;
    json_escape(&b, text);
    if (end)
        BUF_ADD(&b, FREE_TEXT_CLOSE);
    event_text(&r->out, EV_ARGS, buf_str(&b));
    buf_free(&b);
}

static void tell(struct reader *r, struct slot *s, struct str text) {
    if (s->custom && text.n > 0)
        free_args(r, s, text, false);
    else
        event_text(&r->out, text_event(s->kind), text);
}

static void open_slot(struct reader *r, struct slot *s) {
    if (s->kind == PART_TOOL_CALL && s->id.n == 0)
        s->id = arena_printf(r->a, "call_%zu", r->current);
    event_open(&r->out, (struct event_item){.part = s->kind, .id = s->id, .name = s->name});
    s->opened = true;
    tell(r, s, buf_str(&s->waiting));
    r->waiting -= buf_len(&s->waiting);
    buf_free(&s->waiting);
}

static void close_slot(struct reader *r, struct slot *s) {
    if (!s->opened && (s->kind == PART_TOOL_CALL || s->has_text || s->sealed.n > 0))
        open_slot(r, s);
    if (s->opened) {
        if (s->custom)
            free_args(r, s, STR_NONE, true);
        if (s->sealed.n > 0)
            event_signature(&r->out, s->sealed, STR(RS_NAME));
        if (s->logprobs.n > 0)
            event_text(&r->out, EV_LOGPROBS, s->logprobs);
        if (s->annotations.n > 0)
            event_annotations(&r->out, s->annotations);
        event_close(&r->out);
    }
    r->current++;
}

static void advance(struct reader *r, bool all) {
    while (!r->out.done && r->current < r->nslots) {
        struct slot *s = r->slots[r->current];
        if (all || s->done) {
            close_slot(r, s);
            continue;
        }
        if (!s->opened && (s->has_text || s->kind == PART_TOOL_CALL))
            open_slot(r, s);
        return;
    }
}

static void give(struct reader *r, struct slot *s, struct str text) {
    if (!s || s->done || text.n == 0 || r->out.done)
        return;
    s->has_text = true;
    if (s->opened) {
        tell(r, s, text);
        return;
    }
    if (text.n > WAITING_MAX - r->waiting) {
        event_fail(&r->out, "the provider mixed too many items");
        return;
    }
    r->waiting += text.n;
    buf_adds(&s->waiting, text);
    advance(r, false);
}

static void whole(struct reader *r, struct slot *s, struct str text) {
    if (s && !s->has_text)
        give(r, s, text);
}

/* --- items --- */

static void finish_text(struct reader *r, struct slot *s, struct json_object *part) {
    struct json_object *logprobs = jo_arr(part, "logprobs");
    if (!s || s->done)
        return;
    whole(r, s, jo_str(part, s->kind == PART_REFUSAL ? "refusal" : "text"));
    s->annotations = rs_annotations(r->a, jo_arr(part, "annotations"), true);
    if (logprobs && json_object_array_length(logprobs) > 0)
        s->logprobs = tree_text(r->a, logprobs);
    s->done = true;
}

static enum part_kind part_kind_of(struct json_object *part) {
    return str_is(jo_str(part, "type"), "refusal") ? PART_REFUSAL : PART_TEXT;
}

static void message_done(struct reader *r, int64_t index, struct json_object *item) {
    struct json_object *list = jo_arr(item, "content");
    size_t n = list ? json_object_array_length(list) : 0;
    for (size_t k = 0; k < n && !r->out.done; k++) {
        struct json_object *part = json_object_array_get_idx(list, k);
        struct str type = jo_str(part, "type");
        if (str_is(type, "output_text") || str_is(type, "refusal") || str_is(type, "text"))
            finish_text(r, slot_of(r, index, (int64_t)k, part_kind_of(part)), part);
    }
    for (size_t i = 0; i < r->nslots; i++)
        if (r->slots[i]->item == index)
            r->slots[i]->done = true;
}

static void item_event(struct reader *r, int64_t index, struct json_object *item, bool done) {
    struct str type = jo_str(item, "type");
    bool custom = str_is(type, "custom_tool_call");
    struct slot *s = NULL;
    if (custom || str_is(type, "function_call")) {
        s = slot_of(r, index, 0, PART_TOOL_CALL);
        if (!s)
            return;
        if (!s->opened && s->name.n == 0) {
            struct str id = jo_str(item, "call_id");
            s->id = arena_dup(r->a, id.n > 0 ? id : jo_str(item, "id"));
            s->name = arena_dup(r->a, jo_str(item, "name"));
            s->custom = custom;
        }
        if (done)
            whole(r, s, jo_str(item, custom ? "input" : "arguments"));
    } else if (str_is(type, "reasoning")) {
        s = slot_of(r, index, 0, PART_THINKING);
        if (s && done && !s->done) {
            whole(r, s, rs_reasoning_text(r->a, item));
            s->sealed = arena_dup(r->a, jo_str(item, "encrypted_content"));
        }
    } else if (str_is(type, "message") && done) {
        message_done(r, index, item);
    }
    if (s && done)
        s->done = true;
    advance(r, false);
}

/* --- one kind of event each --- */

static void reasoning_delta(struct reader *r, struct json_object *o, int64_t item, const char *by) {
    struct slot *s = slot_of(r, item, 0, PART_THINKING);
    int64_t paragraph = jo_int(o, by, 0);
    struct str text = jo_str(o, "delta");
    if (!s || text.n == 0)
        return;
    if (s->has_text && s->paragraph != paragraph)
        give(r, s, STR("\n\n"));
    s->paragraph = paragraph;
    give(r, s, text);
}

static void delta(struct reader *r, struct str type, struct json_object *o, int64_t item) {
    int64_t part = jo_int(o, "content_index", 0);
    if (str_is(type, "response.output_text.delta"))
        give(r, slot_of(r, item, part, PART_TEXT), jo_str(o, "delta"));
    else if (str_is(type, "response.refusal.delta"))
        give(r, slot_of(r, item, part, PART_REFUSAL), jo_str(o, "delta"));
    else if (str_is(type, "response.function_call_arguments.delta") ||
             str_is(type, "response.custom_tool_call_input.delta"))
        give(r, find(r, item, 0) ? slot_of(r, item, 0, PART_TOOL_CALL) : NULL, jo_str(o, "delta"));
    else if (str_is(type, "response.reasoning_summary_text.delta"))
        reasoning_delta(r, o, item, "summary_index");
    else if (str_is(type, "response.reasoning_text.delta"))
        reasoning_delta(r, o, item, "content_index");
}

static void usage(struct reader *r, struct json_object *response) {
    struct usage u;
    if (!jo_obj(response, "usage"))
        return;
    oc_usage(tree_text(r->a, jo_obj(response, "usage")), &u);
    if (u.known)
        event_usage(&r->out, &u);
}

static void start(struct reader *r, struct json_object *response) {
    event_start(&r->out, jo_str(response, "id"), jo_str(response, "model"),
                jo_int(response, "created_at", 0));
}

static void finish(struct reader *r, struct json_object *response, const char *status) {
    struct str reason = jo_str(jo_obj(response, "incomplete_details"), "reason");
    struct json_object *items = jo_arr(response, "output");
    size_t n = items && r->nslots == 0 ? json_object_array_length(items) : 0;
    start(r, response);
    for (size_t i = 0; i < n && !r->out.done; i++) /* some tell it all at the end only */
        item_event(r, (int64_t)i, json_object_array_get_idx(items, i), true);
    advance(r, true);
    if (r->out.done)
        return;
    usage(r, response);
    event_end(&r->out, rs_stop(str_of(status), reason), reason.n > 0 ? reason : str_of(status), STR_NONE);
}

static void dispatch(struct reader *r, struct str type, struct json_object *o, struct str data) {
    struct json_object *response = jo_obj(o, "response");
    int64_t item = jo_int(o, "output_index", 0);
    struct json_value v = {JSON_OBJECT, data};
    struct fault f;
    if (str_is(type, "error") || str_is(type, "response.failed")) {
        if (response)
            json_member(data, "response", &v);
        rs_error(r->a, v.raw, &f);
        event_fault(&r->out, &f);
    } else if (str_is(type, "response.completed")) {
        finish(r, response, "completed");
    } else if (str_is(type, "response.incomplete")) {
        finish(r, response, "incomplete");
    } else if (response) {
        start(r, response);
    } else if (str_starts(type, "response.")) {
        start(r, NULL);
        if (str_is(type, "response.output_item.added") || str_is(type, "response.output_item.done"))
            item_event(r, item, jo_obj(o, "item"), str_ends(type, ".done"));
        else if (str_is(type, "response.content_part.done") && jo_obj(o, "part")) {
            struct slot *s = find(r, item, jo_int(o, "content_index", 0));
            if (s && (s->kind == PART_TEXT || s->kind == PART_REFUSAL))
                finish_text(r, s, jo_obj(o, "part"));
            advance(r, false);
        } else {
            delta(r, type, o, item);
        }
    } /* keepalive, and what may be added */
}

void rs_read_event(struct stream_reader *sr, struct str name, struct str data) {
    struct reader *r = reader_of(sr);
    struct json_error err;
    data = str_trim(data);
    if (r->out.done || !str_starts(data, "{")) /* [DONE] of imitators too */
        return;
    struct json_object *tree = json_tree(data, &err);
    if (!tree) {
        event_fail(&r->out, "the provider sent an event that is not JSON");
        return;
    }
    struct str type = jo_str(tree, "type");
    dispatch(r, type.n > 0 ? type : name, tree, data);
    json_object_put(tree);
}

void rs_reader_end(struct stream_reader *sr) {
    struct reader *r = reader_of(sr);
    if (!r->out.done)
        event_fail(&r->out, r->out.started ? "the provider's stream ended too early"
                                           : "the provider's answer is empty");
}
