/* A Messages request into the canonical form, for providers that speak something else. What the form has no
 * place for is kept by name in `extra`, so that the other side can refuse it by that name. */
#include "anthropic.h"

#include "answer.h"
#include "opaque.h"

#include <json-c/linkhash.h>
#include <stddef.h>

struct rd {
    struct arena *a;
    struct chat *c;
    struct fault *f;
    size_t i, j; /* message and block */
};

static bool refuse(struct rd *r, struct str param, const char *what) {
    fault_set(r->f, r->a, FAULT_BAD_REQUEST, STR_FMT ": %s", STR_ARG(param), what);
    r->f->param = param;
    return false;
}

static void keep(struct rd *r, struct str name, struct json_object *v) {
    if (!r->c->extra)
        r->c->extra = chat_hold(r->a, json_object_new_object());
    json_object_object_add(r->c->extra, arena_dupz(r->a, name), json_object_get(v));
}

static bool is_str(struct json_object *v) {
    return json_object_is_type(v, json_type_string);
}

static struct str at_block(struct rd *r) {
    return arena_printf(r->a, "messages[%zu].content[%zu]", r->i, r->j);
}

static void take_cache_point(struct json_object *o, bool *point, struct str *ttl) {
    struct json_object *cc = jo_obj(o, "cache_control");
    if (!cc)
        return;
    *point = true;
    *ttl = jo_str(cc, "ttl");
}

/* --- blocks --- */

/* Where a block goes: into a message, or into the result of a tool. */
struct place {
    struct message *m;
    struct part *result;
};

static struct part *add(struct rd *r, const struct place *at, enum part_kind kind) {
    return at->result ? part_inner(r->c, at->result, kind) : message_part(r->c, at->m, kind);
}

static bool read_source(struct rd *r, struct part *p, struct json_object *source) {
    struct str type = jo_str(source, "type");
    if (str_is(type, "base64")) {
        p->media = jo_str(source, "media_type");
        p->data = jo_str(source, "data");
    } else if (str_is(type, "url")) {
        p->url = jo_str(source, "url");
    } else if (str_is(type, "file")) {
        p->id = jo_str(source, "file_id");
    }
    if (p->data.n == 0 && p->url.n == 0 && p->id.n == 0)
        return refuse(r, at_block(r), "a source needs data, a url or a file_id");
    return true;
}

/* A document that is text stays text, under its title. */
static bool read_text_document(struct rd *r, const struct place *at, struct json_object *o, struct str data) {
    struct str title = jo_str(o, "title");
    struct part *p = add(r, at, PART_TEXT);
    p->text = title.n ? arena_printf(r->a, STR_FMT "\n\n" STR_FMT, STR_ARG(title), STR_ARG(data)) : data;
    take_cache_point(o, &p->cache_point, &p->cache_ttl);
    return true;
}

static bool read_blocks(struct rd *r, const struct place *at, struct json_object *content);

static bool read_document(struct rd *r, const struct place *at, struct json_object *o) {
    struct json_object *source = jo_obj(o, "source");
    struct str type = jo_str(source, "type");
    if (str_is(type, "text"))
        return read_text_document(r, at, o, jo_str(source, "data"));
    if (str_is(type, "content"))
        return read_blocks(r, at, jo_get(source, "content"));
    struct part *p = add(r, at, PART_FILE);
    p->name = jo_str(o, "title");
    take_cache_point(o, &p->cache_point, &p->cache_ttl);
    return read_source(r, p, source);
}

static bool read_tool_use(struct rd *r, const struct place *at, struct json_object *o) {
    struct part *p = add(r, at, PART_TOOL_CALL);
    struct json_object *input = jo_obj(o, "input");
    p->id = jo_str(o, "id");
    p->name = jo_str(o, "name");
    p->text = input ? tree_text(r->a, input) : STR("{}");
    if (p->id.n == 0 || p->name.n == 0)
        return refuse(r, at_block(r), "a tool_use needs an id and a name");
    return true;
}

static bool read_tool_result(struct rd *r, const struct place *at, struct json_object *o) {
    struct part *p = add(r, at, PART_TOOL_RESULT);
    p->id = jo_str(o, "tool_use_id");
    p->is_error = jo_bool(o, "is_error", false);
    take_cache_point(o, &p->cache_point, &p->cache_ttl);
    if (p->id.n == 0)
        return refuse(r, at_block(r), "a tool_result needs a tool_use_id");
    struct place inside = {.result = p};
    return read_blocks(r, &inside, jo_get(o, "content"));
}

static void read_thinking(struct rd *r, const struct place *at, struct json_object *o) {
    struct part *p = add(r, at, PART_THINKING);
    p->text = jo_str(o, "thinking");
    p->signature = opaque_unwrap(r->a, jo_str(o, "signature"), "anthropic", &p->origin);
}

static void read_redacted(struct rd *r, const struct place *at, struct json_object *o) {
    struct part *p = add(r, at, PART_THINKING_REDACTED);
    p->data = opaque_unwrap(r->a, jo_str(o, "data"), "anthropic", &p->origin);
}

/* Found text of a search, for a model that knows no such block. */
static bool read_search_result(struct rd *r, const struct place *at, struct json_object *o) {
    struct part *p = add(r, at, PART_TEXT);
    p->text =
        arena_printf(r->a, STR_FMT "\n" STR_FMT, STR_ARG(jo_str(o, "title")), STR_ARG(jo_str(o, "source")));
    return read_blocks(r, at, jo_get(o, "content"));
}

static bool read_block(struct rd *r, const struct place *at, struct json_object *o) {
    struct str type = jo_str(o, "type");
    if (str_is(type, "text")) {
        struct part *p = add(r, at, PART_TEXT);
        p->text = jo_str(o, "text");
        take_cache_point(o, &p->cache_point, &p->cache_ttl);
    } else if (str_is(type, "image")) {
        struct part *p = add(r, at, PART_IMAGE);
        take_cache_point(o, &p->cache_point, &p->cache_ttl);
        return read_source(r, p, jo_obj(o, "source"));
    } else if (str_is(type, "document")) {
        return read_document(r, at, o);
    } else if (str_is(type, "search_result")) {
        return read_search_result(r, at, o);
    } else if (str_is(type, "tool_use") && at->m) {
        return read_tool_use(r, at, o);
    } else if (str_is(type, "tool_result") && at->m) {
        return read_tool_result(r, at, o);
    } else if (str_is(type, "thinking") && at->m) {
        read_thinking(r, at, o);
    } else if (str_is(type, "redacted_thinking") && at->m) {
        read_redacted(r, at, o);
    } else if (type.n == 0) {
        return refuse(r, at_block(r), "a block needs a type");
    } else {
        keep(r, at_block(r),
             o); /* server tools and their like: what becomes of it is the other side's to say */
    }
    return true;
}

static bool read_blocks(struct rd *r, const struct place *at, struct json_object *content) {
    if (is_str(content)) {
        add(r, at, PART_TEXT)->text = jo_text(content);
        return true;
    }
    if (!json_object_is_type(content, json_type_array))
        return !content || refuse(r, at_block(r), "expected a string or an array of blocks");
    size_t n = json_object_array_length(content), outer = r->j;
    for (size_t j = 0; j < n; j++) {
        struct json_object *o = json_object_array_get_idx(content, j);
        r->j = at->result ? outer : j;
        if (!json_object_is_type(o, json_type_object))
            return refuse(r, at_block(r), "not an object");
        if (!read_block(r, at, o))
            return false;
    }
    r->j = outer;
    return true;
}

/* --- messages --- */

static bool read_system(struct rd *r, struct json_object *v) {
    if (!v)
        return true;
    struct place at = {.m = chat_message(r->c, ROLE_SYSTEM)};
    return read_blocks(r, &at, v);
}

static bool read_message(struct rd *r, struct json_object *o) {
    struct str role = jo_str(o, "role");
    enum chat_role is = str_is(role, "assistant") ? ROLE_ASSISTANT
                        : str_is(role, "system")  ? ROLE_SYSTEM
                                                  : ROLE_USER;
    if (is == ROLE_USER && !str_is(role, "user"))
        return refuse(r, arena_printf(r->a, "messages[%zu].role", r->i),
                      "expected user, assistant or system");
    if (!jo_get(o, "content"))
        return refuse(r, arena_printf(r->a, "messages[%zu].content", r->i), "Field required");
    struct place at = {.m = chat_message(r->c, is)};
    return read_blocks(r, &at, jo_get(o, "content"));
}

static bool read_messages(struct rd *r, struct json_object *v) {
    size_t n = v ? json_object_array_length(v) : 0;
    if (n == 0)
        return refuse(r, STR("messages"), "at least one message is required");
    for (r->i = 0; r->i < n; r->i++) {
        r->j = 0;
        r->c->turn = r->i + 1;
        if (!read_message(r, json_object_array_get_idx(v, r->i)))
            return false;
    }
    r->c->turn = 0;
    return true;
}

/* --- tools --- */

static bool read_tool(struct rd *r, struct json_object *o, size_t k) {
    struct str type = jo_str(o, "type"), name = jo_str(o, "name");
    struct json_object *strict = jo_get(o, "strict");
    if (!json_object_is_type(o, json_type_object) || (name.n == 0 && type.n == 0))
        return refuse(r, arena_printf(r->a, "tools[%zu].name", k), "Field required");
    struct tool *t = chat_tool(r->c, name.n ? name : type);
    if (type.n && !str_is(type, "custom")) {
        t->raw = o;
        return true;
    }
    t->description = jo_str(o, "description");
    t->schema = jo_obj(o, "input_schema");
    if (json_object_is_type(strict, json_type_boolean))
        t->strict = json_object_get_boolean(strict);
    take_cache_point(o, &t->cache_point, &t->cache_ttl);
    return true;
}

static bool take_tools(struct rd *r, struct json_object *v) {
    size_t n = json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
    for (size_t k = 0; k < n; k++)
        if (!read_tool(r, json_object_array_get_idx(v, k), k))
            return false;
    return true;
}

static bool take_choice(struct rd *r, struct json_object *v) {
    static const struct {
        const char *type;
        enum tool_choice choice;
    } rows[] = {
        {"auto", CHOICE_AUTO}, {"any", CHOICE_REQUIRED}, {"none", CHOICE_NONE}, {"tool", CHOICE_NAMED}};
    struct str type = jo_str(v, "type");
    struct json_object *one = jo_get(v, "disable_parallel_tool_use");
    size_t i = 0;
    while (i < 4 && !str_is(type, rows[i].type))
        i++;
    if (i == 4)
        return refuse(r, STR("tool_choice.type"), "expected auto, any, none or tool");
    r->c->choice = rows[i].choice;
    r->c->choice_name = jo_str(v, "name");
    if (r->c->choice == CHOICE_NAMED && r->c->choice_name.n == 0)
        return refuse(r, STR("tool_choice.name"), "Field required");
    if (json_object_is_type(one, json_type_boolean))
        r->c->parallel_calls = !json_object_get_boolean(one);
    return true;
}

/* --- parameters --- */

static bool take_thinking(struct rd *r, struct json_object *v) {
    struct str type = jo_str(v, "type");
    int64_t budget = jo_int(v, "budget_tokens", 0);
    if (str_is(type, "disabled")) {
        r->c->thinking = THINKING_OFF;
    } else if (str_is(type, "enabled")) {
        r->c->thinking = THINKING_BUDGET;
        if (budget < 1)
            return refuse(r, STR("thinking.budget_tokens"), "expected a number of tokens");
        r->c->thinking_budget = (uint64_t)budget;
    } else if (type.n) {
        r->c->thinking = THINKING_ADAPTIVE;
    } else {
        return refuse(r, STR("thinking.type"), "Field required");
    }
    return true;
}

static bool take_format(struct rd *r, struct json_object *v) {
    if (!str_is(jo_str(v, "type"), "json_schema") || !jo_obj(v, "schema"))
        return refuse(r, STR("output_config.format"), "expected a json_schema with its schema");
    r->c->format = FORMAT_SCHEMA;
    r->c->format_schema = jo_obj(v, "schema");
    return true;
}

static bool take_output_config(struct rd *r, struct json_object *v) {
    struct json_object *format = jo_obj(v, "format");
    r->c->effort = jo_str(v, "effort");
    return !format || take_format(r, format);
}

static bool take_number(struct rd *r, struct json_object *v, const char *name, struct opt_num *n) {
    if (!json_object_is_type(v, json_type_double) && !json_object_is_type(v, json_type_int))
        return refuse(r, str_of(name), "expected a number");
    *n = (struct opt_num){true, json_object_get_double(v), tree_text(r->a, v)};
    return true;
}

static bool take_stop(struct rd *r, struct json_object *v) {
    size_t n = json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
    r->c->stop = arena_array(r->a, n + 1, sizeof *r->c->stop);
    for (size_t i = 0; i < n; i++) {
        if (!is_str(json_object_array_get_idx(v, i)))
            return refuse(r, STR("stop_sequences"), "expected an array of strings");
        r->c->stop[r->c->nstop++] = jo_text(json_object_array_get_idx(v, i));
    }
    return true;
}

/* Members that do not change what is answered by a provider that never heard of them: for accounts, caches
 * and the housekeeping of Anthropic's own servers. */
static bool is_hint(const char *key) {
    static const char *const hints[] = {
        "model",        "messages", "system",        "max_tokens",         "stream",
        "metadata",     "routing",  "betas",         "context_management", "diagnostics",
        "service_tier", "speed",    "cache_control", "user_profile_id",    "workspace_id"};
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (strcmp(key, hints[i]) == 0)
            return true;
    return false;
}

static bool take_member(struct rd *r, const char *key, struct json_object *v) {
    if (strcmp(key, "tools") == 0)
        return take_tools(r, v);
    if (strcmp(key, "tool_choice") == 0)
        return take_choice(r, v);
    if (strcmp(key, "thinking") == 0)
        return take_thinking(r, v);
    if (strcmp(key, "output_config") == 0)
        return take_output_config(r, v);
    if (strcmp(key, "output_format") == 0)
        return take_format(r, v);
    if (strcmp(key, "temperature") == 0)
        return take_number(r, v, key, &r->c->temperature);
    if (strcmp(key, "top_p") == 0)
        return take_number(r, v, key, &r->c->top_p);
    if (strcmp(key, "top_k") == 0)
        return take_number(r, v, key, &r->c->top_k);
    if (strcmp(key, "stop_sequences") == 0)
        return take_stop(r, v);
    if (!is_hint(key))
        keep(r, str_of(key), v);
    return true;
}

bool an_read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f) {
    struct json_error err;
    struct json_object *tree = chat_hold(a, json_tree(ask->body, &err));
    struct rd r = {.a = a, .c = chat_new(a), .f = f};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    r.c->model = ask->model;
    r.c->stream = r.c->include_usage = ask->stream;
    r.c->max_tokens = ask->max_tokens;
    r.c->user = ask->user;
    if (!read_system(&r, jo_get(tree, "system")) || !read_messages(&r, jo_arr(tree, "messages")))
        return false;
    json_object_object_foreach(tree, key, v) {
        if (v && !take_member(&r, key, v))
            return false;
    }
    *out = r.c;
    return true;
}
