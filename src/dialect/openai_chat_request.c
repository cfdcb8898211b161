/* A chat request into the canonical form, for providers that speak something else. What the form has a place
 * for is put there, what it does not know is kept by name in `extra`, so that the other side can refuse it by
 * that name. Every message of the client becomes one message here: an index in a fault is the client's own.
 */
#include "answer.h"
#include "free_text.h"
#include "openai_chat_read.h"

#include <json-c/linkhash.h>
#include <stddef.h>

static bool is_str(struct json_object *v) {
    return json_object_is_type(v, json_type_string);
}

/* --- tools --- */

static bool read_function(struct oc_rd *r, struct json_object *fn, struct tool **out, struct str where) {
    struct str name = jo_str(fn, "name");
    if (name.n == 0)
        return oc_refuse(r, FAULT_BAD_REQUEST, where, "a function needs a name");
    struct tool *t = *out = chat_tool(r->c, name);
    struct json_object *strict = jo_get(fn, "strict");
    t->description = jo_str(fn, "description");
    t->schema = jo_obj(fn, "parameters");
    if (json_object_is_type(strict, json_type_boolean))
        t->strict = json_object_get_boolean(strict);
    return true;
}

static bool read_tool(struct oc_rd *r, struct json_object *o, size_t k) {
    struct str where = arena_printf(r->a, "tools[%zu]", k), type = jo_str(o, "type");
    struct json_object *fn = jo_obj(o, "function");
    struct tool *t;
    if (!json_object_is_type(o, json_type_object))
        return oc_refuse(r, FAULT_BAD_REQUEST, where, "not an object");
    if (fn && (type.n == 0 || str_is(type, "function"))) {
        if (!read_function(r, fn, &t, where))
            return false;
        oc_take_cache_point(fn, &t->cache_point, &t->cache_ttl);
    } else {
        struct json_object *custom = jo_obj(o, "custom");
        t = chat_tool(r->c, custom ? jo_str(custom, "name") : type);
        t->raw = o;
        if (custom)
            free_text_tool(r->a, t, custom, jo_obj(jo_obj(custom, "format"), "grammar"));
    }
    oc_take_cache_point(o, &t->cache_point, &t->cache_ttl);
    return true;
}

static bool take_tools(struct oc_rd *r, struct json_object *v, const char *name) {
    (void)name;
    size_t n = json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
    for (size_t k = 0; k < n; k++)
        if (!read_tool(r, json_object_array_get_idx(v, k), k))
            return false;
    return true;
}

static bool take_functions(struct oc_rd *r, struct json_object *v, const char *name) {
    (void)name;
    struct tool *t;
    size_t n = json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
    for (size_t k = 0; k < n; k++)
        if (!read_function(r, json_object_array_get_idx(v, k), &t, arena_printf(r->a, "functions[%zu]", k)))
            return false;
    return true;
}

static bool take_choice(struct oc_rd *r, struct json_object *v, const char *name) {
    struct chat *c = r->c;
    struct str s = jo_text(v), type = jo_str(v, "type");
    if (is_str(v)) {
        if (str_is(s, "auto"))
            c->choice = CHOICE_AUTO;
        else if (str_is(s, "none"))
            c->choice = CHOICE_NONE;
        else if (str_is(s, "required") || str_is(s, "any"))
            c->choice = CHOICE_REQUIRED;
        else
            return oc_refuse(r, FAULT_BAD_REQUEST, str_of(name),
                             "expected none, auto, required or an object");
        return true;
    }
    struct json_object *of = jo_obj(v, "function");
    if (!of)
        of = jo_obj(v, "custom");
    s = of ? jo_str(of, "name") : type.n == 0 ? jo_str(v, "name") : STR_NONE; /* legacy: {"name":...} */
    if (s.n == 0) {
        oc_keep(r, str_of(name), v); /* allowed_tools */
        return true;
    }
    c->choice = CHOICE_NAMED;
    c->choice_name = s;
    return true;
}

/* --- parameters --- */

static struct str text_of_number(struct oc_rd *r, struct json_object *v) {
    return tree_text(r->a, v);
}

static bool is_number(struct json_object *v) {
    return json_object_is_type(v, json_type_double) || json_object_is_type(v, json_type_int);
}

static bool take_number(struct oc_rd *r, struct json_object *v, const char *name) {
    static const struct {
        const char *name;
        size_t offset;
    } rows[] = {
        {"temperature", offsetof(struct chat, temperature)},
        {"top_p", offsetof(struct chat, top_p)},
        {"top_k", offsetof(struct chat, top_k)},
        {"frequency_penalty", offsetof(struct chat, frequency_penalty)},
        {"presence_penalty", offsetof(struct chat, presence_penalty)},
    };
    if (!is_number(v))
        return oc_refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected a number");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(name, rows[i].name) == 0) {
            struct opt_num *n = (struct opt_num *)(void *)((char *)r->c + rows[i].offset);
            *n = (struct opt_num){true, json_object_get_double(v), text_of_number(r, v)};
        }
    return true;
}

static bool take_seed(struct oc_rd *r, struct json_object *v, const char *name) {
    if (!json_object_is_type(v, json_type_int))
        return oc_refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected an integer");
    r->c->seed_set = true;
    r->c->seed = json_object_get_int64(v);
    return true;
}

static bool take_stop(struct oc_rd *r, struct json_object *v, const char *name) {
    struct chat *c = r->c;
    bool one = is_str(v);
    if (!one && !json_object_is_type(v, json_type_array))
        return oc_refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected a string or an array of strings");
    c->nstop = one ? 1 : json_object_array_length(v);
    c->stop = arena_array(r->a, c->nstop ? c->nstop : 1, sizeof *c->stop);
    for (size_t i = 0; i < c->nstop; i++) {
        struct json_object *s = one ? v : json_object_array_get_idx(v, i);
        if (!is_str(s))
            return oc_refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected a string or an array of strings");
        c->stop[i] = jo_text(s);
    }
    return true;
}

static bool take_format(struct oc_rd *r, struct json_object *v, const char *name) {
    struct chat *c = r->c;
    struct str type = jo_str(v, "type");
    struct json_object *schema = jo_obj(v, "json_schema"), *strict = jo_get(schema, "strict");
    if (str_is(type, "text")) {
        c->format = FORMAT_TEXT;
    } else if (str_is(type, "json_object")) {
        c->format = FORMAT_JSON;
    } else if (str_is(type, "json_schema") && schema) {
        c->format = FORMAT_SCHEMA;
        c->format_name = jo_str(schema, "name");
        c->format_description = jo_str(schema, "description");
        c->format_schema = jo_obj(schema, "schema");
        if (json_object_is_type(strict, json_type_boolean))
            c->format_strict = json_object_get_boolean(strict);
    } else {
        oc_keep(r, str_of(name), v);
    }
    return true;
}

static bool take_effort(struct oc_rd *r, struct json_object *v, const char *name) {
    if (!is_str(v))
        return oc_refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected a string");
    r->c->effort = jo_text(v);
    return true;
}

static void take_budget(struct oc_rd *r, int64_t budget) {
    if (budget <= 0)
        return;
    r->c->thinking = THINKING_BUDGET;
    r->c->thinking_budget = (uint64_t)budget;
}

/* OpenRouter: reasoning{effort, max_tokens, enabled}. */
static bool take_reasoning(struct oc_rd *r, struct json_object *v, const char *name) {
    (void)name;
    struct str effort = jo_str(v, "effort");
    if (effort.n > 0)
        r->c->effort = effort;
    take_budget(r, jo_int(v, "max_tokens", 0));
    if (!jo_bool(v, "enabled", true))
        r->c->thinking = THINKING_OFF;
    else if (jo_bool(v, "enabled", false) && r->c->thinking == THINKING_UNSET && effort.n == 0)
        r->c->thinking = THINKING_ADAPTIVE;
    return true;
}

/* Anthropic's member, which many OpenAI-shaped clients send along. */
static bool take_thinking(struct oc_rd *r, struct json_object *v, const char *name) {
    struct str type = jo_str(v, "type");
    if (str_is(type, "enabled"))
        take_budget(r, jo_int(v, "budget_tokens", 0));
    else if (str_is(type, "disabled"))
        r->c->thinking = THINKING_OFF;
    else if (str_is(type, "adaptive"))
        r->c->thinking = THINKING_ADAPTIVE;
    else
        oc_keep(r, str_of(name), v);
    return true;
}

static bool take_logit_bias(struct oc_rd *r, struct json_object *v, const char *name) {
    if (!json_object_is_type(v, json_type_object))
        return oc_refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected an object");
    r->c->logit_bias = v;
    return true;
}

static bool take_simple(struct oc_rd *r, struct json_object *v, const char *name) {
    struct chat *c = r->c;
    if (strcmp(name, "user") == 0)
        c->user = jo_text(v);
    else if (strcmp(name, "service_tier") == 0)
        c->service_tier = jo_text(v);
    else if (strcmp(name, "logprobs") == 0)
        c->logprobs = json_object_get_boolean(v);
    else if (strcmp(name, "top_logprobs") == 0)
        c->top_logprobs = json_object_get_int64(v);
    else if (strcmp(name, "metadata") == 0)
        c->metadata = v;
    else if (strcmp(name, "parallel_tool_calls") == 0)
        c->parallel_calls = json_object_get_boolean(v);
    return true;
}

/* Read by peek already, or of no concern to a provider. */
static bool take_nothing(struct oc_rd *r, struct json_object *v, const char *name) {
    (void)r;
    (void)v;
    (void)name;
    return true;
}

static const struct {
    const char *name;
    bool (*take)(struct oc_rd *r, struct json_object *v, const char *name);
} members[] = {
    {"model", take_nothing},
    {"messages", take_nothing}, /* read last */
    {"stream", take_nothing},
    {"stream_options", take_nothing},
    {"routing", take_nothing},
    {"max_tokens", take_nothing},
    {"max_completion_tokens", take_nothing},
    {"n", take_nothing},
    {"tools", take_tools},
    {"functions", take_functions},
    {"tool_choice", take_choice},
    {"function_call", take_choice},
    {"temperature", take_number},
    {"top_p", take_number},
    {"top_k", take_number},
    {"frequency_penalty", take_number},
    {"presence_penalty", take_number},
    {"seed", take_seed},
    {"stop", take_stop},
    {"response_format", take_format},
    {"reasoning_effort", take_effort},
    {"reasoning", take_reasoning},
    {"thinking", take_thinking},
    {"user", take_simple},
    {"service_tier", take_simple},
    {"logprobs", take_simple},
    {"top_logprobs", take_simple},
    {"logit_bias", take_logit_bias},
    {"metadata", take_simple},
    {"parallel_tool_calls", take_simple},
};

static bool take_member(struct oc_rd *r, const char *key, struct json_object *v) {
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (strcmp(key, members[i].name) == 0)
            return members[i].take(r, v, members[i].name);
    oc_keep(r, str_of(key), v);
    return true;
}

bool oc_read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f) {
    struct json_error err;
    struct json_object *tree = chat_hold(a, json_tree(ask->body, &err));
    struct oc_rd r = {.a = a, .c = chat_new(a), .f = f};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    struct json_object *messages = jo_arr(tree, "messages");
    if (!messages)
        return oc_refuse(&r, FAULT_BAD_REQUEST, STR("messages"), "expected an array of objects");
    r.c->model = ask->model;
    r.c->stream = ask->stream;
    r.c->include_usage = ask->include_usage;
    r.c->max_tokens = ask->max_tokens;
    r.c->n = ask->n;
    json_object_object_foreach(tree, key, v) {
        if (v && !take_member(&r, key, v))
            return false;
    }
    if (!oc_read_messages(&r, messages))
        return false;
    *out = r.c;
    return true;
}
