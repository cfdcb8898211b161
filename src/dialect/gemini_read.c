/* A generateContent request into the canonical form, for providers that speak something else. Names are read
 * in both spellings, camelCase and snake_case. What the form does not know is kept by name in `extra`, so
 * that the other side can refuse it by that name. */
#include "gemini_read.h"

#include "answer.h"
#include "opaque.h"

#include <json-c/linkhash.h>
#include <stddef.h>

bool gm_refuse(struct gm_rd *r, struct str param, const char *what) {
    fault_set(r->f, r->a, FAULT_BAD_REQUEST, "Invalid value at '" STR_FMT "': %s", STR_ARG(param), what);
    r->f->param = param;
    return false;
}

static struct str at(struct gm_rd *r, const char *more) {
    return arena_printf(r->a, "contents[%zu].parts[%zu]%s", r->i, r->j, more);
}

void gm_keep(struct gm_rd *r, struct str name, struct json_object *v) {
    if (!r->c->extra)
        r->c->extra = chat_hold(r->a, json_object_new_object());
    json_object_object_add(r->c->extra, arena_dupz(r->a, name), json_object_get(v));
}

/* "fooBar" and "foo_bar" */
bool gm_same_name(const char *key, const char *camel) {
    for (; *camel; camel++, key++) {
        if (*camel >= 'A' && *camel <= 'Z' && *key == '_')
            key++;
        else if (*key != *camel)
            return false;
        else
            continue;
        if (*key != *camel + ('a' - 'A'))
            return false;
    }
    return *key == '\0';
}

struct json_object *gm_get(struct json_object *o, const char *camel) {
    struct json_object *v = jo_get(o, camel);
    if (v || !json_object_is_type(o, json_type_object))
        return v;
    json_object_object_foreach(o, key, x) {
        if (gm_same_name(key, camel))
            return x;
    }
    return NULL;
}

struct str gm_get_str(struct json_object *o, const char *camel) {
    struct json_object *v = gm_get(o, camel);
    return json_object_is_type(v, json_type_string) ? jo_text(v) : STR_NONE;
}

static struct json_object *get_obj(struct json_object *o, const char *camel) {
    struct json_object *v = gm_get(o, camel);
    return json_object_is_type(v, json_type_object) ? v : NULL;
}

static struct json_object *get_arr(struct json_object *o, const char *camel) {
    struct json_object *v = gm_get(o, camel);
    return json_object_is_type(v, json_type_array) ? v : NULL;
}

size_t gm_length(struct json_object *array) {
    return array ? json_object_array_length(array) : 0;
}

/* --- parts --- */

static void take_signature(struct gm_rd *r, struct part *p, struct json_object *o) {
    struct str s = gm_get_str(o, "thoughtSignature");
    if (s.n > 0 && !str_is(s, "skip_thought_signature_validator"))
        p->signature = opaque_unwrap(r->a, s, GM_ORIGIN, &p->origin);
}

static enum part_kind kind_of_media(struct str media) {
    return str_starts(media, "image/") ? PART_IMAGE : str_starts(media, "audio/") ? PART_AUDIO : PART_FILE;
}

typedef struct part *make_fn(struct gm_rd *r, void *where, enum part_kind kind);

static struct part *in_message(struct gm_rd *r, void *where, enum part_kind kind) {
    return message_part(r->c, where, kind);
}

static struct part *in_result(struct gm_rd *r, void *where, enum part_kind kind) {
    return part_inner(r->c, where, kind);
}

/* inlineData and fileData; false: there is none. */
static bool take_media(struct gm_rd *r, struct json_object *o, make_fn *make, void *where) {
    struct json_object *in = get_obj(o, "inlineData"), *file = get_obj(o, "fileData");
    if (!in && !file)
        return false;
    struct str media = gm_get_str(in ? in : file, "mimeType");
    struct part *p = make(r, where, kind_of_media(media));
    p->media = media;
    p->name = gm_get_str(in ? in : file, "displayName");
    if (in)
        p->data = gm_get_str(in, "data");
    else
        p->url = gm_get_str(file, "fileUri");
    return true;
}

static bool read_call(struct gm_rd *r, struct message *m, struct json_object *call, struct json_object *o) {
    struct str name = gm_get_str(call, "name");
    struct json_object *args = gm_get(call, "args");
    if (name.n == 0)
        return gm_refuse(r, at(r, ".functionCall.name"), "a function call needs a name");
    if (args && !json_object_is_type(args, json_type_object))
        return gm_refuse(r, at(r, ".functionCall.args"), "expected an object");
    struct part *p = message_part(r->c, m, PART_TOOL_CALL);
    p->name = name;
    p->id = gm_get_str(call, "id");
    if (p->id.n == 0)
        p->id = arena_printf(r->a, GM_MINTED "h%u", r->calls++);
    p->text = args ? tree_text(r->a, args) : STR("{}");
    take_signature(r, p, o);
    r->said = m;
    return true;
}

/* --- results --- */

static bool answered(struct gm_rd *r, struct str id) {
    for (struct message *m = r->said->next; m; m = m->next)
        for (struct part *p = m->parts; p; p = p->next)
            if (p->kind == PART_TOOL_RESULT && str_eq(p->id, id))
                return true;
    return false;
}

/* The call that a result without a (known) id answers: the first of its name that has none yet. */
static struct str id_of_call(struct gm_rd *r, struct str id, struct str name) {
    struct part *p = r->said ? r->said->parts : NULL;
    for (; p && id.n > 0; p = p->next)
        if (p->kind == PART_TOOL_CALL && str_eq(p->id, id))
            return id;
    for (p = r->said ? r->said->parts : NULL; p; p = p->next)
        if (p->kind == PART_TOOL_CALL && str_eq(p->name, name) && !answered(r, p->id))
            return p->id;
    return id.n > 0 ? id : arena_printf(r->a, GM_MINTED "r%u", r->calls++);
}

/* {"result": X}, {"output": X} and {"error": X} say no more than X. */
static struct str response_text(struct gm_rd *r, struct json_object *response, bool *is_error) {
    static const char *const wraps[] = {"result", "output", "error"};
    if (json_object_is_type(response, json_type_object) && json_object_object_length(response) == 1)
        for (size_t i = 0; i < 3; i++) {
            struct json_object *v = jo_get(response, wraps[i]);
            if (!v)
                continue;
            *is_error = i == 2;
            return json_object_is_type(v, json_type_string) ? jo_text(v) : tree_text(r->a, v);
        }
    return response ? tree_text(r->a, response) : STR("");
}

static bool read_result(struct gm_rd *r, struct json_object *o) {
    struct str name = gm_get_str(o, "name");
    struct json_object *parts = get_arr(o, "parts");
    if (name.n == 0)
        return gm_refuse(r, at(r, ".functionResponse.name"), "a function response needs the function's name");
    struct message *m = chat_message(r->c, ROLE_TOOL);
    struct str id = id_of_call(r, gm_get_str(o, "id"), name);
    struct part *p = message_part(r->c, m, PART_TOOL_RESULT);
    p->name = name;
    p->id = id;
    part_inner(r->c, p, PART_TEXT)->text = response_text(r, gm_get(o, "response"), &p->is_error);
    for (size_t k = 0; k < gm_length(parts); k++)
        take_media(r, json_object_array_get_idx(parts, k), in_result, p);
    return true;
}

/* --- contents --- */

/* Clients give back the chunks of a stream as they came: what was thought is one part, up to its signature.
 */
static struct part *goes_on(const struct message *m, bool thinks) {
    struct part *last = m->last;
    return thinks && last && last->kind == PART_THINKING && last->signature.n == 0 ? last : NULL;
}

static struct str join(struct arena *a, struct str one, struct str two) {
    return one.n == 0 ? two : two.n == 0 ? one : arena_printf(a, STR_FMT STR_FMT, STR_ARG(one), STR_ARG(two));
}

static bool read_part(struct gm_rd *r, struct json_object *o, enum chat_role role, struct message **m) {
    struct json_object *call = get_obj(o, "functionCall"), *result = get_obj(o, "functionResponse");
    struct json_object *text = jo_get(o, "text"), *thought = jo_get(o, "thought");
    if (result) {
        *m = NULL; /* what follows it is a message of its own */
        return read_result(r, result);
    }
    if (!*m)
        *m = chat_message(r->c, role);
    if (call)
        return read_call(r, *m, call, o);
    if (text && !json_object_is_type(text, json_type_string))
        return gm_refuse(r, at(r, ".text"), "expected a string");
    if (take_media(r, o, in_message, *m))
        return true;
    if (text || gm_get(o, "thoughtSignature")) {
        bool thinks = json_object_is_type(thought, json_type_boolean) && json_object_get_boolean(thought);
        struct part *p = goes_on(*m, thinks);
        if (!p)
            p = message_part(r->c, *m, thinks ? PART_THINKING : PART_TEXT);
        p->text = join(r->a, p->text, text ? jo_text(text) : STR(""));
        take_signature(r, p, o);
        return true;
    }
    if (role == ROLE_ASSISTANT)
        return true; /* the echo of an answer: code that Gemini ran */
    gm_keep(r, at(r, ""), o);
    return true;
}

static bool read_parts(struct gm_rd *r, struct json_object *parts, enum chat_role role) {
    struct message *last = r->c->last; /* each chunk of a stream may come back as a content of its own */
    struct message *m = role == ROLE_ASSISTANT && last && last->role == role ? last : NULL;
    for (r->j = 0; r->j < gm_length(parts); r->j++) {
        struct json_object *o = json_object_array_get_idx(parts, r->j);
        if (!json_object_is_type(o, json_type_object))
            return gm_refuse(r, at(r, ""), "expected an object");
        if (!read_part(r, o, role, &m))
            return false;
    }
    return true;
}

static bool read_content(struct gm_rd *r, struct json_object *o) {
    struct str role = gm_get_str(o, "role");
    struct str where = arena_printf(r->a, "contents[%zu]", r->i);
    bool model = str_is(role, "model");
    if (!json_object_is_type(o, json_type_object))
        return gm_refuse(r, where, "expected an object");
    if (!model && role.n > 0 && !str_is(role, "user") && !str_is(role, "function"))
        return gm_refuse(r, arena_printf(r->a, STR_FMT ".role", STR_ARG(where)),
                         "please use a valid role: user, model");
    if (gm_get(o, "parts") && !get_arr(o, "parts"))
        return gm_refuse(r, arena_printf(r->a, STR_FMT ".parts", STR_ARG(where)), "expected an array");
    return read_parts(r, get_arr(o, "parts"), model ? ROLE_ASSISTANT : ROLE_USER);
}

static void read_system(struct gm_rd *r, struct json_object *o) {
    struct json_object *parts = get_arr(o, "parts");
    if (json_object_is_type(o, json_type_string)) {
        message_part(r->c, chat_message(r->c, ROLE_SYSTEM), PART_TEXT)->text = jo_text(o);
        return;
    }
    struct message *m = gm_length(parts) ? chat_message(r->c, ROLE_SYSTEM) : NULL;
    for (size_t k = 0; k < gm_length(parts); k++)
        message_part(r->c, m, PART_TEXT)->text = jo_str(json_object_array_get_idx(parts, k), "text");
}

/* --- tools --- */

bool gm_integer(struct arena *a, struct json_object *v, int64_t *n) {
    struct str text = json_object_is_type(v, json_type_string) ? jo_text(v) : tree_text(a, v);
    return json_i64(gm_number(text), n);
}

static bool read_declarations(struct gm_rd *r, struct json_object *list, size_t k) {
    for (size_t i = 0; i < gm_length(list); i++) {
        struct json_object *o = json_object_array_get_idx(list, i);
        struct str name = gm_get_str(o, "name");
        if (name.n == 0)
            return gm_refuse(r, arena_printf(r->a, "tools[%zu].functionDeclarations[%zu].name", k, i),
                             "a function needs a name");
        struct tool *t = chat_tool(r->c, name);
        t->description = gm_get_str(o, "description");
        t->schema = gm_schema_of(r, o, "parameters", "parametersJsonSchema");
    }
    return true;
}

static bool read_tools(struct gm_rd *r, struct json_object *tools) {
    for (size_t k = 0; k < gm_length(tools); k++) {
        struct json_object *o = json_object_array_get_idx(tools, k);
        if (!json_object_is_type(o, json_type_object))
            return gm_refuse(r, arena_printf(r->a, "tools[%zu]", k), "expected an object");
        json_object_object_foreach(o, key, v) {
            if (gm_same_name(key, "functionDeclarations")) {
                if (!read_declarations(r, json_object_is_type(v, json_type_array) ? v : NULL, k))
                    return false;
                continue;
            }
            struct tool *t = chat_tool(r->c, arena_dup(r->a, str_of(key)));
            t->raw = chat_hold(r->a, json_object_new_object());
            json_object_object_add(t->raw, key, json_object_get(v));
        }
    }
    return true;
}

static void read_choice(struct gm_rd *r, struct json_object *config) {
    struct json_object *calling = get_obj(config, "functionCallingConfig");
    struct json_object *names = get_arr(calling, "allowedFunctionNames");
    struct str mode = gm_get_str(calling, "mode");
    if (str_isi(mode, "NONE"))
        r->c->choice = CHOICE_NONE;
    else if (str_isi(mode, "ANY"))
        r->c->choice = CHOICE_REQUIRED;
    else if (str_isi(mode, "AUTO") || str_isi(mode, "VALIDATED"))
        r->c->choice = CHOICE_AUTO;
    if (gm_length(names) == 1 && r->c->choice == CHOICE_REQUIRED) {
        r->c->choice = CHOICE_NAMED;
        r->c->choice_name = jo_text(json_object_array_get_idx(names, 0));
    } else if (gm_length(names) > 1) {
        gm_keep(r, STR("toolConfig.functionCallingConfig.allowedFunctionNames"), names);
    }
}

/* --- the request --- */

static bool read_member(struct gm_rd *r, const char *key, struct json_object *v) {
    if (!v || strcmp(key, "contents") == 0 || gm_same_name(key, "systemInstruction") ||
        strcmp(key, "model") == 0 || strcmp(key, "routing") == 0)
        return true;
    if (strcmp(key, "tools") == 0)
        return read_tools(r, json_object_is_type(v, json_type_array) ? v : NULL);
    if (gm_same_name(key, "toolConfig"))
        read_choice(r, v);
    else if (gm_same_name(key, "generationConfig"))
        return gm_read_config(r, v);
    else if (gm_same_name(key, "safetySettings") &&
             gm_length(json_object_is_type(v, json_type_array) ? v : NULL) == 0)
        return true;
    else
        gm_keep(r, str_of(key), v);
    return true;
}

bool gm_read_tree(struct arena *a, struct json_object *tree, const struct ask *ask, struct chat **out,
                  struct fault *f) {
    struct gm_rd r = {.a = a, .c = chat_new(a), .f = f};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    struct json_object *contents = get_arr(tree, "contents");
    if (!contents)
        return gm_refuse(&r, STR("contents"), "contents are required");
    r.c->model = ask->model;
    r.c->stream = ask->stream;
    r.c->include_usage = true;
    r.c->max_tokens = ask->max_tokens;
    r.c->n = ask->n;
    json_object_object_foreach(tree, key, v) {
        if (!read_member(&r, key, v))
            return false;
    }
    read_system(&r, gm_get(tree, "systemInstruction"));
    for (r.i = 0; r.i < gm_length(contents); r.i++) {
        r.c->turn = r.i + 1;
        if (!read_content(&r, json_object_array_get_idx(contents, r.i)))
            return false;
    }
    r.c->turn = 0;
    *out = r.c;
    return true;
}

bool gm_read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f) {
    struct json_error err;
    return gm_read_tree(a, chat_hold(a, json_tree(ask->body, &err)), ask, out, f);
}
