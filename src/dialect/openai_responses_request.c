/* A Responses request into the canonical form, for providers that speak something else. What refers to state
 * that only OpenAI holds is refused by name; what the form does not know is kept by name in `extra`. */
#include "answer.h"
#include "free_text.h"
#include "openai_responses.h"

#include <json-c/linkhash.h>
#include <stddef.h>

bool rs_refuse(struct rs_read *r, enum fault_class c, struct str param, const char *what) {
    fault_set(r->f, r->a, c, "'" STR_FMT "': %s", STR_ARG(param), what);
    r->f->param = param;
    return false;
}

void rs_keep(struct rs_read *r, struct str name, struct json_object *v) {
    if (!r->c->extra)
        r->c->extra = chat_hold(r->a, json_object_new_object());
    json_object_object_add(r->c->extra, arena_dupz(r->a, name), json_object_get(v));
}

static bool wrong(struct rs_read *r, const char *name, const char *want) {
    return rs_refuse(r, FAULT_BAD_REQUEST, str_of(name), want);
}

typedef bool take_fn(struct rs_read *r, struct json_object *v, const char *name);

static bool is_str(struct json_object *v) {
    return json_object_is_type(v, json_type_string);
}

/* --- tools --- */

static void read_function(struct tool *t, struct json_object *o) {
    struct json_object *strict = jo_get(o, "strict");
    t->description = jo_str(o, "description");
    t->schema = jo_obj(o, "parameters");
    if (json_object_is_type(strict, json_type_boolean))
        t->strict = json_object_get_boolean(strict);
}

/* k: its place in the client's list, or that of its namespace. */
static bool read_tool(struct rs_read *r, struct json_object *o, struct str space, size_t k) {
    struct str where = arena_printf(r->a, "tools[%zu]", k), type = jo_str(o, "type"),
               name = jo_str(o, "name");
    if (!json_object_is_type(o, json_type_object))
        return rs_refuse(r, FAULT_BAD_REQUEST, where, "expected an object");
    if (type.n == 0)
        return rs_refuse(r, FAULT_BAD_REQUEST, where, "a tool needs a type");
    bool function = str_is(type, "function"), custom = str_is(type, "custom");
    if ((function || custom) && name.n == 0)
        return rs_refuse(r, FAULT_BAD_REQUEST, where, "a function needs a name");
    struct tool *t = chat_tool(r->c, name.n > 0 ? rs_tool_flat(&r->tools, space, name) : type);
    t->at = k;
    if (function) {
        read_function(t, o);
        return true;
    }
    if (custom)
        free_text_tool(r->a, t, o, jo_obj(o, "format"));
    if (!custom || space.n == 0) /* OpenAI knows no other name for those in a namespace */
        t->raw = o;
    return true;
}

static bool read_namespace(struct rs_read *r, struct json_object *o, size_t k) {
    struct json_object *list = jo_arr(o, "tools");
    size_t n = list ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++)
        if (!read_tool(r, json_object_array_get_idx(list, i), jo_str(o, "name"), k))
            return false;
    return true;
}

static bool take_tools(struct rs_read *r, struct json_object *v, const char *name) {
    if (!json_object_is_type(v, json_type_array))
        return wrong(r, name, "expected an array of objects");
    rs_tools_init(&r->tools, r->a, v);
    size_t n = json_object_array_length(v);
    for (size_t k = 0; k < n; k++) {
        struct json_object *o = json_object_array_get_idx(v, k);
        if (!(rs_is_namespace(o) ? read_namespace(r, o, k) : read_tool(r, o, STR_NONE, k)))
            return false;
    }
    return true;
}

/* Does an entry of allowed_tools mean this tool? */
static bool is_meant(struct rs_read *r, struct json_object *o, const struct tool *t) {
    struct str name = jo_str(o, "name");
    const struct rs_tool *of = rs_tool_by_flat(&r->tools, t->name);
    if (rs_is_namespace(o))
        return of && str_eq(of->space, name);
    return str_eq(name.n > 0 ? rs_tool_flat(&r->tools, jo_str(o, "namespace"), name) : jo_str(o, "type"),
                  t->name);
}

static bool choice_word(struct rs_read *r, struct str s, const char *name) {
    struct chat *c = r->c;
    if (str_is(s, "auto"))
        c->choice = CHOICE_AUTO;
    else if (str_is(s, "none"))
        c->choice = CHOICE_NONE;
    else if (str_is(s, "required"))
        c->choice = CHOICE_REQUIRED;
    else
        return wrong(r, name, "expected none, auto, required or an object");
    return true;
}

/* One allowed tool that must be called is that tool by name; tools that may be called are those that are
 * left, so the others are taken off the list. */
static bool take_allowed(struct rs_read *r, struct json_object *v, const char *name) {
    struct json_object *list = jo_arr(v, "tools");
    struct str mode = jo_str(v, "mode");
    size_t n = list ? json_object_array_length(list) : 0;
    struct tool *keep = NULL, *last = NULL, *next;
    if (n == 0)
        return wrong(r, name, "allowed_tools needs tools");
    for (struct tool *t = r->c->tools; t; t = next) {
        next = t->next;
        bool allowed = false;
        for (size_t k = 0; k < n && !allowed; k++)
            allowed = is_meant(r, json_object_array_get_idx(list, k), t);
        if (!allowed)
            continue;
        t->next = NULL;
        if (last)
            last->next = t;
        else
            keep = t;
        last = t;
    }
    r->c->tools = keep;
    r->c->last_tool = last;
    return choice_word(r, mode.n > 0 ? mode : STR("auto"), name);
}

static bool take_choice(struct rs_read *r, struct json_object *v, const char *name) {
    struct str type = jo_str(v, "type"), tool = jo_str(v, "name");
    if (is_str(v))
        return choice_word(r, jo_text(v), name);
    if (!json_object_is_type(v, json_type_object))
        return wrong(r, name, "expected a string or an object");
    if (str_is(type, "allowed_tools"))
        return take_allowed(r, v, name);
    if (tool.n == 0 && (str_is(type, "function") || str_is(type, "custom")))
        return wrong(r, name, "expected the name of a tool");
    r->c->choice = CHOICE_NAMED;
    r->c->choice_name = tool.n > 0 ? rs_tool_flat(&r->tools, jo_str(v, "namespace"), tool) : type;
    return true;
}

/* --- parameters --- */

static bool take_number(struct rs_read *r, struct json_object *v, const char *name) {
    struct opt_num *n = strcmp(name, "temperature") == 0 ? &r->c->temperature : &r->c->top_p;
    if (!json_object_is_type(v, json_type_double) && !json_object_is_type(v, json_type_int))
        return wrong(r, name, "expected a number");
    *n = (struct opt_num){true, json_object_get_double(v), tree_text(r->a, v)};
    return true;
}

static bool take_format(struct rs_read *r, struct json_object *f) {
    struct chat *c = r->c;
    struct str type = jo_str(f, "type");
    struct json_object *strict = jo_get(f, "strict");
    if (str_is(type, "text")) {
        c->format = FORMAT_TEXT;
    } else if (str_is(type, "json_object")) {
        c->format = FORMAT_JSON;
    } else if (str_is(type, "json_schema") && jo_obj(f, "schema")) {
        c->format = FORMAT_SCHEMA;
        c->format_name = jo_str(f, "name");
        c->format_description = jo_str(f, "description");
        c->format_schema = jo_obj(f, "schema");
        if (json_object_is_type(strict, json_type_boolean))
            c->format_strict = json_object_get_boolean(strict);
    } else if (str_is(type, "json_schema") || type.n == 0) {
        return wrong(r, "text.format", "expected a type, and for json_schema a schema");
    } else {
        rs_keep(r, STR("text.format"), f);
    }
    return true;
}

static bool take_text(struct rs_read *r, struct json_object *v, const char *name) {
    struct json_object *format = jo_get(v, "format"), *verbosity = jo_get(v, "verbosity");
    if (!json_object_is_type(v, json_type_object))
        return wrong(r, name, "expected an object");
    if (format && !take_format(r, format))
        return false;
    if (verbosity && !str_is(jo_text(verbosity), "medium")) /* medium is what all others do */
        rs_keep(r, STR("text.verbosity"), verbosity);
    return true;
}

/* summary: how it is shown is not asked for elsewhere; what there is, is shown. */
static bool take_reasoning(struct rs_read *r, struct json_object *v, const char *name) {
    struct json_object *effort = jo_get(v, "effort");
    if (!json_object_is_type(v, json_type_object))
        return wrong(r, name, "expected an object");
    if (effort && !is_str(effort))
        return wrong(r, "reasoning.effort", "expected a string");
    r->c->effort = jo_text(effort);
    return true;
}

/* Extra parts of an answer. The opaque state of reasoning is given out by the writer; the others ask for
 * what hosted tools do, and without those there is nothing of it. */
static bool take_include(struct rs_read *r, struct json_object *v, const char *name) {
    if (!json_object_is_type(v, json_type_array))
        return wrong(r, name, "expected an array of strings");
    size_t n = json_object_array_length(v);
    for (size_t k = 0; k < n; k++)
        if (str_is(jo_text(json_object_array_get_idx(v, k)), "message.output_text.logprobs"))
            r->c->logprobs = true;
    return true;
}

static bool take_bool(struct rs_read *r, struct json_object *v, const char *name) {
    if (!json_object_is_type(v, json_type_boolean))
        return wrong(r, name, "expected a boolean");
    r->c->parallel_calls = json_object_get_boolean(v);
    return true;
}

static bool take_string(struct rs_read *r, struct json_object *v, const char *name) {
    if (!is_str(v))
        return wrong(r, name, "expected a string");
    if (strcmp(name, "service_tier") == 0)
        r->c->service_tier = jo_text(v);
    else
        r->c->user = jo_text(v);
    return true;
}

static bool take_top_logprobs(struct rs_read *r, struct json_object *v, const char *name) {
    if (!json_object_is_type(v, json_type_int))
        return wrong(r, name, "expected an integer");
    r->c->top_logprobs = json_object_get_int64(v);
    return true;
}

static bool take_metadata(struct rs_read *r, struct json_object *v, const char *name) {
    if (!json_object_is_type(v, json_type_object))
        return wrong(r, name, "expected an object");
    if (json_object_object_length(v) > 0)
        r->c->metadata = v;
    return true;
}

/* State that OpenAI holds, or a manner of answering that only it has. */
static bool take_stateful(struct rs_read *r, struct json_object *v, const char *name) {
    (void)v;
    return rs_refuse(r, FAULT_UNSUPPORTED, str_of(name),
                     "needs state that only the OpenAI API keeps: send the whole conversation as input");
}

static bool take_background(struct rs_read *r, struct json_object *v, const char *name) {
    if (!json_object_get_boolean(v))
        return true;
    return rs_refuse(r, FAULT_UNSUPPORTED, str_of(name), "answers in the background are not kept here");
}

static bool take_truncation(struct rs_read *r, struct json_object *v, const char *name) {
    if (!str_is(jo_text(v), "disabled") && !str_is(jo_text(v), "auto"))
        rs_keep(r, str_of(name), v);
    return true;
}

/* Read elsewhere, or a hint that changes nothing in the answer. */
static bool take_nothing(struct rs_read *r, struct json_object *v, const char *name) {
    (void)r;
    (void)v;
    (void)name;
    return true;
}

static const struct {
    const char *name;
    take_fn *take;
} members[] = {
    {"model", take_nothing},
    {"input", take_nothing},
    {"instructions", take_nothing},
    {"stream", take_nothing},
    {"stream_options", take_nothing},
    {"routing", take_nothing},
    {"max_output_tokens", take_nothing},
    {"store", take_nothing},
    {"tools", take_nothing},
    {"tool_choice", take_nothing}, /* these two in order */
    {"prompt_cache_key", take_nothing},
    {"prompt_cache_retention", take_nothing},
    {"prompt_cache_options", take_nothing},
    {"client_metadata", take_nothing},
    {"temperature", take_number},
    {"top_p", take_number},
    {"text", take_text},
    {"reasoning", take_reasoning},
    {"include", take_include},
    {"parallel_tool_calls", take_bool},
    {"user", take_string},
    {"safety_identifier", take_string},
    {"service_tier", take_string},
    {"top_logprobs", take_top_logprobs},
    {"metadata", take_metadata},
    {"previous_response_id", take_stateful},
    {"conversation", take_stateful},
    {"prompt", take_stateful},
    {"background", take_background},
    {"truncation", take_truncation},
};

static bool take_member(struct rs_read *r, const char *key, struct json_object *v) {
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (strcmp(key, members[i].name) == 0)
            return members[i].take(r, v, members[i].name);
    rs_keep(r, str_of(key), v);
    return true;
}

static bool read_all(struct rs_read *r, struct json_object *tree) {
    struct json_object *instructions = jo_get(tree, "instructions"), *v;
    json_object_object_foreach(tree, key, member) {
        if (member && !take_member(r, key, member))
            return false;
    }
    if ((v = jo_get(tree, "tools")) && !take_tools(r, v, "tools"))
        return false;
    if ((v = jo_get(tree, "tool_choice")) && !take_choice(r, v, "tool_choice"))
        return false;
    if (is_str(instructions))
        message_part(r->c, chat_message(r->c, ROLE_SYSTEM), PART_TEXT)->text = jo_text(instructions);
    else if (instructions)
        return wrong(r, "instructions", "expected a string");
    v = jo_get(tree, "input");
    if (!v || (json_object_is_type(v, json_type_array) && json_object_array_length(v) == 0))
        return wrong(r, "input", "is required: a string or an array of items");
    return rs_read_input(r, v);
}

bool rs_read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f) {
    struct json_error err;
    struct json_object *tree = chat_hold(a, json_tree(ask->body, &err));
    struct rs_read r = {.a = a, .c = chat_new(a), .f = f};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    r.c->model = ask->model;
    r.c->stream = ask->stream;
    r.c->include_usage = true;
    r.c->max_tokens = ask->max_tokens;
    rs_tools_init(&r.tools, a, NULL);
    if (!read_all(&r, tree))
        return false;
    *out = r.c;
    return true;
}
