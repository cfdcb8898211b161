/* Whole answers of Anthropic, its usage, stop reasons and errors. Its input_tokens leave the cache out, ours
 * do not: the conversion is here and nowhere else. */
#include "anthropic.h"

#include "answer.h"
#include "cite.h"

/* --- usage --- */

static void take(struct str object, const char *key, uint64_t *into, bool *any) {
    struct json_value v;
    uint64_t n;
    if (!json_member(object, key, &v) || !usage_count(v, &n))
        return;
    *any = true;
    if (n != 0)
        *into = n;
}

static void take_all(struct str u, struct an_counts *c) {
    struct json_value v;
    take(u, "input_tokens", &c->input, &c->any);
    take(u, "cache_read_input_tokens", &c->cache_read, &c->any);
    take(u, "cache_creation_input_tokens", &c->cache_write, &c->any);
    take(u, "output_tokens", &c->output, &c->any);
    if (json_member(u, "cache_creation", &v) && v.kind == JSON_OBJECT) {
        take(v.raw, "ephemeral_5m_input_tokens", &c->write_5m, &c->any);
        take(v.raw, "ephemeral_1h_input_tokens", &c->write_1h, &c->any);
    }
    if (json_member(u, "output_tokens_details", &v) && v.kind == JSON_OBJECT)
        take(v.raw, "thinking_tokens", &c->thinking, &c->any);
}

static bool one_pass(void *arg, struct str key, struct json_value v) {
    (void)key;
    struct an_counts *sum = arg, c = {.any = false};
    if (v.kind != JSON_OBJECT)
        return true;
    take_all(v.raw, &c);
    sum->input += c.input;
    sum->cache_read += c.cache_read;
    sum->cache_write += c.cache_write;
    sum->write_5m += c.write_5m;
    sum->write_1h += c.write_1h;
    sum->output += c.output;
    sum->thinking += c.thinking;
    return true;
}

static void at_least(uint64_t *n, uint64_t least) {
    if (*n < least)
        *n = least;
}

void an_counts_take(struct str u, struct an_counts *c) {
    struct json_value v;
    take_all(u, c);
    if (!json_member(u, "iterations", &v) || v.kind != JSON_ARRAY)
        return;
    /* Compaction and fallback passes are billed, but the counts at the top leave them out (recorded). */
    struct an_counts sum = {.any = false};
    json_each(v.raw, one_pass, &sum);
    at_least(&c->input, sum.input);
    at_least(&c->cache_read, sum.cache_read);
    at_least(&c->cache_write, sum.cache_write);
    at_least(&c->write_5m, sum.write_5m);
    at_least(&c->write_1h, sum.write_1h);
    at_least(&c->output, sum.output);
    at_least(&c->thinking, sum.thinking);
}

struct usage an_usage(const struct an_counts *c) {
    struct usage u = USAGE_NONE;
    u.known = c->any;
    u.cache_read = c->cache_read;
    u.cache_write = c->cache_write ? c->cache_write : c->write_5m + c->write_1h;
    u.cache_write_1h = c->write_1h < u.cache_write ? c->write_1h : u.cache_write;
    u.input = c->input + u.cache_read + u.cache_write;
    u.output = c->output;
    u.reasoning = c->thinking < c->output ? c->thinking : c->output;
    return u;
}

/* What was merged so far, as it came. */
static struct an_counts counts_of(const struct usage *u) {
    return (struct an_counts){
        .input = u->input - u->cache_read - u->cache_write,
        .cache_read = u->cache_read,
        .cache_write = u->cache_write,
        .write_1h = u->cache_write_1h,
        .output = u->output,
        .thinking = u->reasoning,
        .any = u->known,
    };
}

/* --- words --- */

static const struct {
    const char *word;
    enum stop_reason stop;
} stops[] = {
    {"end_turn", STOP_END},     {"max_tokens", STOP_LENGTH},
    {"tool_use", STOP_TOOLS},   {"stop_sequence", STOP_SEQUENCE},
    {"pause_turn", STOP_PAUSE}, {"model_context_window_exceeded", STOP_CONTEXT},
    {"refusal", STOP_FILTER},   {"compaction", STOP_OTHER},
};

enum stop_reason an_stop(struct str s) {
    if (s.n == 0)
        return STOP_UNSET;
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
        if (str_is(s, stops[i].word))
            return stops[i].stop;
    return STOP_UNKNOWN;
}

/* --- errors --- */

/* The provider's type and code words are its own dialect's: the class says all that other dialects can use,
 * but of one that no table knows. */
static void own_words_off(struct fault *f) {
    f->code = f->param = STR_NONE;
    f->type = f->unknown;
}

void an_error(struct arena *a, struct str checked, struct fault *f) {
    struct json_value error = {JSON_OBJECT, checked};
    struct said said;
    json_member(checked, "error", &error);
    said_error(a, error, &said);
    said_fault(a, 0, &said, f);
    own_words_off(f);
}

void an_read_fault(struct arena *a, int status, struct str body,
                   struct str (*header)(void *arg, const char *name), void *arg, struct fault *f) {
    struct said said;
    said_body(a, body, &said);
    said_fault(a, status, &said, f);
    own_words_off(f);
    retry_hints(header, arg, f);
}

/* --- whole replies --- */

static bool is_url(struct str s) {
    return str_startsi(s, "https://") || str_startsi(s, "http://");
}

struct str an_annotations(struct arena *a, struct json_object *citations, uint64_t chars) {
    size_t n = citations ? json_object_array_length(citations) : 0, found = 0;
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_arr(&w);
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(citations, i);
        struct str url = jo_str(o, "url"); /* web_search_result_location */
        if (url.n == 0)
            url = jo_str(o, "source"); /* search_result_location: whatever the client called it */
        if (!is_url(url))
            continue;
        cite_write(&w, url, jo_str(o, "title"), 0, chars);
        found++;
    }
    jw_arr_end(&w);
    struct str s = found ? arena_dup(a, buf_str(&b)) : STR_NONE;
    buf_free(&b);
    return s;
}

static void read_text(struct arena *a, struct chat *c, struct message *m, struct json_object *o) {
    struct part *p = message_part(c, m, PART_TEXT);
    p->text = jo_str(o, "text");
    p->annotations = an_annotations(a, jo_arr(o, "citations"), cite_chars(p->text));
}

static void read_block(struct arena *a, struct chat *c, struct message *m, struct json_object *o) {
    struct str type = jo_str(o, "type");
    struct part *p;
    if (str_is(type, "text")) {
        if (jo_str(o, "text").n > 0)
            read_text(a, c, m, o);
    } else if (str_is(type, "thinking")) {
        p = message_part(c, m, PART_THINKING);
        p->text = jo_str(o, "thinking");
        p->signature = jo_str(o, "signature");
        p->origin = STR("anthropic");
    } else if (str_is(type, "redacted_thinking")) {
        p = message_part(c, m, PART_THINKING_REDACTED);
        p->data = jo_str(o, "data");
        p->origin = STR("anthropic");
    } else if (str_is(type, "tool_use")) {
        p = message_part(c, m, PART_TOOL_CALL);
        p->id = jo_str(o, "id");
        p->name = jo_str(o, "name");
        p->text = jo_obj(o, "input") ? tree_text(a, jo_obj(o, "input")) : STR("{}");
    }
    /* Server tools and their results, fallback marks and whatever comes later: nothing a client must act on.
     */
}

/* A message, and no error: checked before either reader goes on. */
static bool is_message(struct arena *a, struct str body, struct fault *f) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    struct json_value v;
    if (str_trim(body).n == 0)
        return said_garbage(a, f, "is empty");
    if (json_scan(body, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT)
        return said_garbage(a, f, "is not a JSON object");
    if (json_member(body, "error", &v) && v.kind != JSON_NULL) {
        an_error(a, body, f);
        return false;
    }
    if (!json_member(body, "content", &v) || v.kind != JSON_ARRAY)
        return said_garbage(a, f, "has no content");
    return true;
}

struct reply *an_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    (void)quirks;
    struct json_error err;
    struct json_value v;
    if (!is_message(a, body, f))
        return NULL;
    struct json_object *tree = chat_hold(a, json_tree(body, &err)), *content = jo_arr(tree, "content");
    struct chat *c = chat_new(a);
    struct reply *r = arena_alloc(a, sizeof *r);
    r->message = chat_message(c, ROLE_ASSISTANT);
    for (size_t i = 0; content && i < json_object_array_length(content); i++)
        read_block(a, c, r->message, json_object_array_get_idx(content, i));
    r->id = jo_str(tree, "id");
    r->model = jo_str(tree, "model");
    r->stop_native = jo_str(tree, "stop_reason");
    r->stop = an_stop(r->stop_native);
    r->stop_sequence = jo_str(tree, "stop_sequence");
    struct an_counts counts = {.any = false};
    if (json_member(body, "usage", &v) && v.kind == JSON_OBJECT)
        an_counts_take(v.raw, &counts);
    r->usage = an_usage(&counts);
    return r;
}

/* --- taps --- */

static struct str text_member(struct arena *a, struct str object, const char *key) {
    struct json_value v;
    return json_member(object, key, &v) && v.kind == JSON_STRING ? json_text(a, v) : STR_NONE;
}

static void note_usage(struct str holder, struct observed *o) {
    struct json_value v;
    if (!json_member(holder, "usage", &v) || v.kind != JSON_OBJECT)
        return;
    struct an_counts c = counts_of(&o->usage);
    an_counts_take(v.raw, &c);
    o->usage = an_usage(&c);
}

static bool count_text(void *arg, struct str key, struct json_value v) {
    static const char *const texts[] = {"text", "thinking", "partial_json"};
    uint64_t *n = arg;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (v.kind == JSON_STRING && json_key_is(key, texts[i]))
            *n += v.raw.n - 2;
    return true;
}

static bool count_block(void *arg, struct str key, struct json_value v) {
    (void)key;
    if (v.kind == JSON_OBJECT)
        json_each(v.raw, count_text, arg);
    return true;
}

bool an_tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o, struct fault *f) {
    (void)quirks;
    struct json_value v;
    if (!is_message(a, body, f)) {
        o->fault = *f;
        return false;
    }
    o->id = arena_dup(a, text_member(a, body, "id"));
    o->model = arena_dup(a, text_member(a, body, "model"));
    struct str word = text_member(a, body, "stop_reason");
    note_stop(a, o, an_stop(word), word);
    note_usage(body, o);
    if (json_member(body, "content", &v))
        json_each(v.raw, count_block, &o->output_bytes);
    o->output = o->ended = true;
    return true;
}

static void tap_typed(struct arena *a, struct str type, struct str data, struct observed *o) {
    struct json_value v;
    if (str_is(type, "content_block_delta")) {
        if (json_member(data, "delta", &v) && v.kind == JSON_OBJECT)
            json_each(v.raw, count_text, &o->output_bytes);
        o->output = true;
    } else if (str_is(type, "content_block_start")) {
        o->output = true;
    } else if (str_is(type, "message_start") && json_member(data, "message", &v) && v.kind == JSON_OBJECT) {
        o->id = arena_dup(a, text_member(a, v.raw, "id"));
        o->model = arena_dup(a, text_member(a, v.raw, "model"));
        note_usage(v.raw, o);
    } else if (str_is(type, "message_delta")) {
        note_usage(data, o);
        o->output = true;
        if (json_path(data, &v, "delta", "stop_reason", NULL) && v.kind == JSON_STRING)
            note_stop(a, o, an_stop(json_text(a, v)), json_text(a, v));
    } else if (str_is(type, "message_stop")) {
        o->ended = true;
    } else if (str_is(type, "error") && !o->ended) {
        an_error(a, data, &o->fault);
    }
}

bool an_tap_event(struct arena *a, struct str name, struct str data, unsigned quirks, bool hide_usage,
                  struct observed *o) {
    (void)quirks;
    (void)hide_usage; /* usage is part of the grammar here */
    enum json_kind kind;
    struct json_error err;
    struct json_value v;
    if (json_scan(data, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT)
        return true;
    struct str type = name;
    if (json_member(data, "type", &v) && v.kind == JSON_STRING && v.raw.n > 2)
        type = str_make(v.raw.p + 1, v.raw.n - 2); /* the types have no escapes */
    tap_typed(a, type, data, o);
    return true;
}
