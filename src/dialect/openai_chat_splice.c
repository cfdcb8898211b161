/* A client's own bytes on their way to a provider of the same dialect: what is put into them. Nothing is
 * printed anew, so unknown members, their order and big numbers stay as the client wrote them. */
#include "openai_chat.h"
#include "splice.h"

/* --- usage in streams --- */

struct option_scan {
    struct json_value usage;
    size_t members;
    bool found;
};

static bool option_find(void *arg, struct str key, struct json_value v) {
    struct option_scan *o = arg;
    o->members++;
    if (json_key_is(key, "include_usage")) {
        o->usage = v;
        o->found = true;
    }
    return true;
}

static void edit_include_usage(struct splice *es, const struct ask *ask, size_t open) {
    struct json_value so = ask->stream_options_span;
    if (!so.raw.p) {
        splice_put(es, open, 0, STR("\"stream_options\":{\"include_usage\":true},"));
        return;
    }
    size_t at = (size_t)(so.raw.p - ask->body.p);
    if (so.kind != JSON_OBJECT) {
        splice_put(es, at, so.raw.n, STR("{\"include_usage\":true}"));
        return;
    }
    struct option_scan o = {.members = 0};
    json_each(so.raw, option_find, &o);
    if (o.found)
        splice_put(es, (size_t)(o.usage.raw.p - ask->body.p), o.usage.raw.n, STR("true"));
    else if (o.members)
        splice_put(es, at + 1, 0, STR("\"include_usage\":true,"));
    else
        splice_put(es, at + 1, 0, STR("\"include_usage\":true"));
}

/* --- reasoning that the client did not give back --- */

/* The calls that are asked for in one request. */
enum { LOOKUPS_MAX = 512 };

struct loop {
    struct arena *a;
    struct splice *es;
    const struct encode_opt *o;
    size_t looked;
    struct str found; /* for the message at hand */
};

/* What of a message is looked at. */
struct said {
    const char *member; /* of the reasoning */
    bool assistant;
    struct json_value calls, reasoning;
};

static bool wants_details(const struct encode_opt *o) {
    return o->quirks & QUIRK_DETAILS;
}

static bool said_member(void *arg, struct str key, struct json_value v) {
    struct said *s = arg;
    if (json_key_is(key, "role"))
        s->assistant = json_string_is(v, "assistant");
    else if (json_key_is(key, "tool_calls"))
        s->calls = v;
    else if (json_key_is(key, s->member))
        s->reasoning = v;
    return true;
}

static bool one_call(void *arg, struct str key, struct json_value v) {
    struct loop *l = arg;
    struct json_value id;
    (void)key;
    if (v.kind != JSON_OBJECT || !json_member(v.raw, "id", &id) || id.kind != JSON_STRING)
        return true;
    if (l->looked++ >= LOOKUPS_MAX)
        return false;
    l->found =
        l->o->reasoning(l->o->reasoning_arg, json_text(l->a, id), wants_details(l->o) ? OC_DETAILS : NULL);
    return l->found.n == 0;
}

static bool stop_at_once(void *arg, struct str key, struct json_value v) {
    (void)key;
    (void)v;
    *(bool *)arg = false;
    return false;
}

/* null, "" and [] say no more than nothing. */
static bool is_bare(const struct said *s) {
    bool empty = s->reasoning.kind == JSON_ARRAY;
    if (!s->reasoning.raw.p || s->reasoning.kind == JSON_NULL || json_string_is(s->reasoning, ""))
        return true;
    if (empty)
        json_each(s->reasoning.raw, stop_at_once, &empty);
    return empty;
}

/* What was found, as the value of the member. */
static struct str found_value(const struct loop *l) {
    return wants_details(l->o) ? oc_details_array(l->a, l->found) : splice_quoted(l->a, "", l->found, "");
}

static bool one_message(void *arg, struct str key, struct json_value v) {
    struct loop *l = arg;
    struct said s = {.member = wants_details(l->o) ? "reasoning_details" : "reasoning_content"};
    (void)key;
    if (v.kind != JSON_OBJECT)
        return true;
    json_each(v.raw, said_member, &s);
    if (!s.assistant || s.calls.kind != JSON_ARRAY || !is_bare(&s))
        return true;
    l->found = STR_NONE;
    json_each(s.calls.raw, one_call, l);
    struct str value = l->found.n > 0 ? found_value(l) : STR_NONE;
    if (value.n == 0)
        return l->looked < LOOKUPS_MAX;
    if (s.reasoning.raw.p)
        splice_value(l->es, s.reasoning.raw, value);
    else
        splice_put(l->es, (size_t)(v.raw.p - l->es->body.p) + 1, 0,
                   arena_printf(l->a, "\"%s\":" STR_FMT ",", s.member, STR_ARG(value)));
    return true;
}

static void put_reasoning_back(struct arena *a, struct splice *es, const struct encode_opt *o) {
    struct loop l = {.a = a, .es = es, .o = o};
    struct json_value messages;
    if (!(o->quirks & (QUIRK_REASONING | QUIRK_DETAILS)) || !o->reasoning ||
        !json_member(es->body, "messages", &messages) || messages.kind != JSON_ARRAY)
        return;
    splice_grow(a, es, LOOKUPS_MAX);
    json_each(messages.raw, one_message, &l);
}

/* Where the path has asked for it. */
static void edit_stream(struct splice *es, const struct ask *ask) {
    if (!ask->stream_span.raw.p)
        splice_put(es, splice_open(es), 0, STR("\"stream\":true,"));
    else if (!json_true(ask->stream_span))
        splice_value(es, ask->stream_span.raw, STR("true"));
}

bool oc_splice(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
               struct fault *f) {
    struct splice es = {.body = ask->body};
    splice_model(a, &es, ask, o->model);
    if (ask->routing_span.raw.p)
        splice_remove(&es, ask->routing_span.raw);
    if (ask->stream)
        edit_stream(&es, ask);
    if (ask->stream && !ask->include_usage && !(o->quirks & QUIRK_NO_STREAM_OPTIONS))
        edit_include_usage(&es, ask, splice_open(&es));
    put_reasoning_back(a, &es, o);
    return splice_write(a, &es, out, f);
}
