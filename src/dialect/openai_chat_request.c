/* A chat request into the canonical form, for providers that speak something else. What the form has a place
 * for is put there, what it does not know is kept by name in `extra`, so that the other side can refuse it by
 * that name. Every message of the client becomes one message here: an index in a fault is the client's own.
 */
#include "openai_chat.h"

#include "answer.h"
#include "free_text.h"
#include "opaque.h"

#include <json-c/linkhash.h>
#include <stddef.h>

struct rd {
    struct arena *a;
    struct chat *c;
    struct fault *f;
    size_t i;             /* of the message */
    size_t calls;         /* legacy function calls so far */
    struct str last_call; /* the id we gave to the last of them */
    bool lenient;         /* an answer of a provider: what is wrong with it is passed over */
};

static bool refuse(struct rd *r, enum fault_class c, struct str param, const char *what) {
    fault_set(r->f, r->a, c, "'" STR_FMT "': %s", STR_ARG(param), what);
    r->f->param = param;
    return r->lenient;
}

static struct str at(struct rd *r, const char *rest) {
    return arena_printf(r->a, "messages[%zu]%s", r->i, rest);
}

static struct str at_part(struct rd *r, size_t j) {
    return arena_printf(r->a, "messages[%zu].content[%zu]", r->i, j);
}

static void keep(struct rd *r, struct str name, struct json_object *v) {
    if (!r->c->extra)
        r->c->extra = chat_hold(r->a, json_object_new_object());
    json_object_object_add(r->c->extra, arena_dupz(r->a, name), json_object_get(v));
}

static bool is_str(struct json_object *v) {
    return json_object_is_type(v, json_type_string);
}

/* --- parts --- */

/* cache_control as OpenRouter and others let it pass in OpenAI's form; prompt_cache_breakpoint is OpenAI's
 * own. */
static void take_cache_point(struct json_object *o, bool *point, struct str *ttl) {
    struct json_object *cc = jo_obj(o, "cache_control");
    if (cc || jo_obj(o, "prompt_cache_breakpoint"))
        *point = true;
    if (cc)
        *ttl = jo_str(cc, "ttl");
}

/* "data:image/png;base64,iVBOR..." in two; false when it is no such URL. */
bool oc_split_data_url(struct str url, struct str *media, struct str *data) {
    if (!str_startsi(url, "data:"))
        return false;
    struct str rest = str_skip(url, 5), head, piece;
    if (!str_next(&rest, ',', &head))
        return false;
    bool base64 = false, first = true;
    *data = rest;
    *media = STR_NONE;
    while (str_next(&head, ';', &piece)) {
        if (first)
            *media = piece;
        base64 = base64 || str_isi(str_trim(piece), "base64");
        first = false;
    }
    return base64;
}

static void take_url(struct part *p, struct str url) {
    if (!oc_split_data_url(url, &p->media, &p->data))
        p->url = url;
}

typedef struct part *new_part(struct rd *r, void *where, enum part_kind kind);

static struct part *in_message(struct rd *r, void *where, enum part_kind kind) {
    return message_part(r->c, where, kind);
}

static struct part *in_result(struct rd *r, void *where, enum part_kind kind) {
    return part_inner(r->c, where, kind);
}

static bool read_image(struct rd *r, struct part *p, struct json_object *o, size_t j) {
    struct json_object *image = jo_get(o, "image_url");
    struct str url = is_str(image) ? jo_text(image) : jo_str(image, "url");
    if (url.n == 0)
        return refuse(r, FAULT_BAD_REQUEST, at_part(r, j), "an image_url without a url");
    take_url(p, url);
    if (!is_str(image))
        p->detail = jo_str(image, "detail");
    return true;
}

static bool read_audio(struct rd *r, struct part *p, struct json_object *o, size_t j) {
    struct json_object *audio = jo_obj(o, "input_audio");
    struct str format = jo_str(audio, "format");
    p->data = jo_str(audio, "data");
    if (!audio || p->data.n == 0 || format.n == 0)
        return refuse(r, FAULT_BAD_REQUEST, at_part(r, j), "input_audio needs data and format");
    p->media = arena_printf(r->a, "audio/" STR_FMT, STR_ARG(format));
    return true;
}

static bool read_file(struct rd *r, struct part *p, struct json_object *o, size_t j) {
    struct json_object *file = jo_obj(o, "file");
    if (!file)
        return refuse(r, FAULT_BAD_REQUEST, at_part(r, j), "a file part needs a file object");
    p->id = jo_str(file, "file_id");
    p->name = jo_str(file, "filename");
    take_url(p, jo_str(file, "file_data"));
    return true;
}

static bool read_part(struct rd *r, struct json_object *o, size_t j, new_part *make, void *where) {
    struct str type = jo_str(o, "type");
    struct part *p = NULL;
    bool ok = true;
    if (str_is(type, "text") || (type.n == 0 && is_str(jo_get(o, "text")))) {
        p = make(r, where, PART_TEXT);
        p->text = jo_str(o, "text");
    } else if (str_is(type, "image_url")) {
        p = make(r, where, PART_IMAGE);
        ok = read_image(r, p, o, j);
    } else if (str_is(type, "input_audio")) {
        p = make(r, where, PART_AUDIO);
        ok = read_audio(r, p, o, j);
    } else if (str_is(type, "file")) {
        p = make(r, where, PART_FILE);
        ok = read_file(r, p, o, j);
    } else if (str_is(type, "thinking") && jo_arr(o, "thinking")) { /* Mistral's */
        struct json_object *list = jo_arr(o, "thinking");
        p = make(r, where, PART_THINKING);
        for (size_t i = 0; i < json_object_array_length(list); i++)
            p->text = arena_printf(r->a, STR_FMT STR_FMT, STR_ARG(p->text),
                                   STR_ARG(jo_str(json_object_array_get_idx(list, i), "text")));
    } else if (str_is(type, "refusal")) {
        p = make(r, where, PART_REFUSAL);
        p->text = jo_str(o, "refusal");
    } else {
        keep(r, at_part(r, j), o); /* what becomes of it is the other side's to say */
        return true;
    }
    take_cache_point(o, &p->cache_point, &p->cache_ttl);
    return ok;
}

static bool read_content(struct rd *r, struct json_object *content, new_part *make, void *where) {
    if (is_str(content)) {
        make(r, where, PART_TEXT)->text = jo_text(content);
        return true;
    }
    if (!json_object_is_type(content, json_type_array))
        return true;
    size_t n = json_object_array_length(content);
    for (size_t j = 0; j < n; j++) {
        struct json_object *o = json_object_array_get_idx(content, j);
        if (!json_object_is_type(o, json_type_object))
            return refuse(r, FAULT_BAD_REQUEST, at_part(r, j), "not an object");
        if (!read_part(r, o, j, make, where))
            return false;
    }
    return true;
}

/* --- what an assistant said before --- */

/* Whose a state is: what we gave out is marked. What is not is of an unknown origin in a request. */
static struct str unwrap(struct rd *r, struct str state, struct str *origin) {
    struct str s = opaque_unwrap(r->a, state, OC_NAME, origin);
    if (state.n == 0 || (!r->lenient && str_is(*origin, OC_NAME)))
        *origin = STR_NONE;
    return s;
}

static void thinking(struct rd *r, struct message *m, struct str text, struct str signature) {
    struct part *p = message_part(r->c, m, PART_THINKING);
    p->text = text;
    p->signature = unwrap(r, signature, &p->origin);
}

static void redacted(struct rd *r, struct message *m, struct str data) {
    if (data.n == 0)
        return;
    struct part *p = message_part(r->c, m, PART_THINKING_REDACTED);
    p->data = unwrap(r, data, &p->origin);
}

/* As Google's own endpoint of this dialect has it. */
static void read_call_signature(struct rd *r, struct part *p, struct json_object *o) {
    struct str s = oc_call_signature(o);
    if (s.n > 0)
        p->signature = opaque_unwrap(r->a, s, OC_FOR_GOOGLE, &p->origin);
}

/* OpenRouter's reasoning_details: reasoning.text with a signature, reasoning.encrypted. Only Anthropic's are
 * ever handed on as blocks. */
static bool read_details(struct rd *r, struct message *m, struct json_object *list) {
    size_t n = json_object_array_length(list), found = 0;
    for (size_t k = 0; k < n; k++) {
        struct json_object *o = json_object_array_get_idx(list, k);
        struct str type = jo_str(o, "type"), signature = jo_str(o, "signature"), format = jo_str(o, "format");
        if (format.n > 0 && !str_starts(format, "anthropic"))
            continue; /* "openai-responses-v1": signed for another vendor's eyes only */
        if (str_is(type, "reasoning.text") && signature.n > 0)
            thinking(r, m, jo_str(o, "text"), signature);
        else if (str_is(type, "reasoning.encrypted"))
            redacted(r, m, jo_str(o, "data"));
        else
            continue;
        found++;
    }
    return found > 0;
}

static bool read_blocks(struct rd *r, struct message *m, struct json_object *list) {
    size_t n = json_object_array_length(list);
    for (size_t k = 0; k < n; k++) {
        struct json_object *o = json_object_array_get_idx(list, k);
        struct str type = jo_str(o, "type");
        if (str_is(type, "thinking"))
            thinking(r, m, jo_str(o, "thinking"), jo_str(o, "signature"));
        else if (str_is(type, "redacted_thinking"))
            redacted(r, m, jo_str(o, "data"));
    }
    return n > 0;
}

static void read_thinking(struct rd *r, struct message *m, struct json_object *o) {
    struct json_object *blocks = jo_arr(o, "thinking_blocks"), *details = jo_arr(o, "reasoning_details");
    if (blocks && read_blocks(r, m, blocks))
        return;
    if (details && read_details(r, m, details))
        return;
    struct str text = jo_str(o, "reasoning_content");
    if (text.n == 0)
        text = jo_str(o, "reasoning");
    if (text.n > 0)
        thinking(r, m, text, STR_NONE);
}

static struct str arguments_of(struct rd *r, struct json_object *v) {
    if (is_str(v))
        return jo_text(v);
    if (!v)
        return STR_NONE;
    return tree_text(r->a, v);
}

static bool read_call(struct rd *r, struct message *m, struct json_object *o, size_t k) {
    struct json_object *fn = jo_obj(o, "function"), *custom = jo_obj(o, "custom");
    struct str where = arena_printf(r->a, "messages[%zu].tool_calls[%zu]", r->i, k);
    struct part *p = message_part(r->c, m, PART_TOOL_CALL);
    p->id = jo_str(o, "id");
    read_call_signature(r, p, o);
    if (fn) {
        p->name = jo_str(fn, "name");
        p->text = arguments_of(r, jo_get(fn, "arguments"));
    } else if (custom) {
        p->custom = true;
        p->name = jo_str(custom, "name");
        p->text = free_text_wrap(r->a, jo_str(custom, "input"));
    }
    if (p->id.n == 0 || p->name.n == 0)
        return refuse(r, FAULT_BAD_REQUEST, where, "a tool call needs an id and a function with a name");
    return true;
}

static bool read_calls(struct rd *r, struct message *m, struct json_object *o) {
    struct json_object *calls = jo_arr(o, "tool_calls"), *legacy = jo_obj(o, "function_call");
    size_t n = calls ? json_object_array_length(calls) : 0;
    for (size_t k = 0; k < n; k++)
        if (!read_call(r, m, json_object_array_get_idx(calls, k), k))
            return false;
    if (legacy && n == 0 && jo_str(legacy, "name").n > 0) {
        struct part *p = message_part(r->c, m, PART_TOOL_CALL);
        p->name = jo_str(legacy, "name");
        p->text = arguments_of(r, jo_get(legacy, "arguments"));
        p->id = r->last_call = arena_printf(r->a, "call_legacy_%zu", r->calls++);
    }
    return true;
}

static bool read_assistant(struct rd *r, struct message *m, struct json_object *o) {
    read_thinking(r, m, o);
    if (!read_content(r, jo_get(o, "content"), in_message, m))
        return false;
    struct str refusal = jo_str(o, "refusal");
    if (refusal.n > 0)
        message_part(r->c, m, PART_REFUSAL)->text = refusal;
    return read_calls(r, m, o);
}

/* An answer's call may lack what a request's must have. */
static void mend_calls(struct rd *r, struct message *m) {
    for (struct part *p = m->parts; p; p = p->next)
        if (p->kind == PART_TOOL_CALL && p->id.n == 0)
            p->id = arena_printf(r->a, "call_%zu", r->calls++);
}

void oc_read_message(struct arena *a, struct chat *c, struct message *m, struct json_object *o) {
    struct fault ignored;
    struct rd r = {.a = a, .c = c, .f = &ignored, .lenient = true};
    read_assistant(&r, m, o);
    mend_calls(&r, m);
}

static bool read_result(struct rd *r, struct message *m, struct json_object *o, bool legacy) {
    struct part *p = message_part(r->c, m, PART_TOOL_RESULT);
    p->id = legacy ? r->last_call : jo_str(o, "tool_call_id");
    p->name = jo_str(o, "name");
    p->is_error = jo_bool(o, "is_error", false);
    if (p->id.n == 0)
        return refuse(r, FAULT_BAD_REQUEST, at(r, legacy ? ".name" : ".tool_call_id"),
                      "a tool result must name the call that it answers");
    return read_content(r, jo_get(o, "content"), in_result, p);
}

/* --- messages --- */

/* Members that a message may have besides those that are read. An assistant's message is mostly the echo of
 * an answer, with whatever its server added: only what would be missed is kept (and so refused where it has
 * no place). */
static bool member_known(enum chat_role role, const char *key) {
    static const char *const all[] = {"role", "content", "cache_control"};
    static const char *const tool[] = {"tool_call_id", "name", "is_error"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(key, all[i]) == 0)
            return true;
    if (role == ROLE_ASSISTANT)
        return strcmp(key, "audio") != 0 && strcmp(key, "name") != 0;
    if (role != ROLE_TOOL)
        return false;
    for (size_t i = 0; i < sizeof tool / sizeof *tool; i++)
        if (strcmp(key, tool[i]) == 0)
            return true;
    return false;
}

static void keep_unknown(struct rd *r, enum chat_role role, struct json_object *o) {
    json_object_object_foreach(o, key, v) {
        if (v && !member_known(role, key))
            keep(r, arena_printf(r->a, "messages[%zu].%s", r->i, key), v);
    }
}

static bool role_of(struct str s, enum chat_role *out) {
    static const struct {
        const char *name;
        enum chat_role role;
    } roles[] = {
        {"user", ROLE_USER},           {"assistant", ROLE_ASSISTANT}, {"system", ROLE_SYSTEM},
        {"developer", ROLE_DEVELOPER}, {"tool", ROLE_TOOL},           {"function", ROLE_TOOL},
    };
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (str_is(s, roles[i].name)) {
            *out = roles[i].role;
            return true;
        }
    return false;
}

static bool read_message(struct rd *r, struct json_object *o) {
    enum chat_role role;
    struct str said = jo_str(o, "role");
    if (!role_of(said, &role))
        return refuse(r, FAULT_BAD_REQUEST, at(r, ".role"), "unknown role");
    struct message *m = chat_message(r->c, role);
    bool ok;
    m->name = role == ROLE_TOOL ? STR_NONE : jo_str(o, "name");
    if (role == ROLE_ASSISTANT)
        ok = read_assistant(r, m, o);
    else if (role == ROLE_TOOL)
        ok = read_result(r, m, o, str_is(said, "function"));
    else
        ok = read_content(r, jo_get(o, "content"), in_message, m);
    if (ok && m->last)
        take_cache_point(o, &m->last->cache_point, &m->last->cache_ttl);
    keep_unknown(r, role, o);
    return ok;
}

static bool read_messages(struct rd *r, struct json_object *v) {
    size_t n = json_object_array_length(v);
    for (r->i = 0; r->i < n; r->i++)
        if (!read_message(r, json_object_array_get_idx(v, r->i)))
            return false;
    return true;
}

/* --- tools --- */

static bool read_function(struct rd *r, struct json_object *fn, struct tool **out, struct str where) {
    struct str name = jo_str(fn, "name");
    if (name.n == 0)
        return refuse(r, FAULT_BAD_REQUEST, where, "a function needs a name");
    struct tool *t = *out = chat_tool(r->c, name);
    struct json_object *strict = jo_get(fn, "strict");
    t->description = jo_str(fn, "description");
    t->schema = jo_obj(fn, "parameters");
    if (json_object_is_type(strict, json_type_boolean))
        t->strict = json_object_get_boolean(strict);
    return true;
}

static bool read_tool(struct rd *r, struct json_object *o, size_t k) {
    struct str where = arena_printf(r->a, "tools[%zu]", k), type = jo_str(o, "type");
    struct json_object *fn = jo_obj(o, "function");
    struct tool *t;
    if (!json_object_is_type(o, json_type_object))
        return refuse(r, FAULT_BAD_REQUEST, where, "not an object");
    if (fn && (type.n == 0 || str_is(type, "function"))) {
        if (!read_function(r, fn, &t, where))
            return false;
        take_cache_point(fn, &t->cache_point, &t->cache_ttl);
    } else {
        struct json_object *custom = jo_obj(o, "custom");
        t = chat_tool(r->c, custom ? jo_str(custom, "name") : type);
        t->raw = o;
        if (custom)
            free_text_tool(r->a, t, custom, jo_obj(jo_obj(custom, "format"), "grammar"));
    }
    take_cache_point(o, &t->cache_point, &t->cache_ttl);
    return true;
}

static bool take_tools(struct rd *r, struct json_object *v, const char *name) {
    (void)name;
    size_t n = json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
    for (size_t k = 0; k < n; k++)
        if (!read_tool(r, json_object_array_get_idx(v, k), k))
            return false;
    return true;
}

static bool take_functions(struct rd *r, struct json_object *v, const char *name) {
    (void)name;
    struct tool *t;
    size_t n = json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
    for (size_t k = 0; k < n; k++)
        if (!read_function(r, json_object_array_get_idx(v, k), &t, arena_printf(r->a, "functions[%zu]", k)))
            return false;
    return true;
}

static bool take_choice(struct rd *r, struct json_object *v, const char *name) {
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
            return refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected none, auto, required or an object");
        return true;
    }
    struct json_object *of = jo_obj(v, "function");
    if (!of)
        of = jo_obj(v, "custom");
    s = of ? jo_str(of, "name") : type.n == 0 ? jo_str(v, "name") : STR_NONE; /* legacy: {"name":...} */
    if (s.n == 0) {
        keep(r, str_of(name), v); /* allowed_tools */
        return true;
    }
    c->choice = CHOICE_NAMED;
    c->choice_name = s;
    return true;
}

/* --- parameters --- */

static struct str text_of_number(struct rd *r, struct json_object *v) {
    return tree_text(r->a, v);
}

static bool is_number(struct json_object *v) {
    return json_object_is_type(v, json_type_double) || json_object_is_type(v, json_type_int);
}

static bool take_number(struct rd *r, struct json_object *v, const char *name) {
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
        return refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected a number");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(name, rows[i].name) == 0) {
            struct opt_num *n = (struct opt_num *)(void *)((char *)r->c + rows[i].offset);
            *n = (struct opt_num){true, json_object_get_double(v), text_of_number(r, v)};
        }
    return true;
}

static bool take_seed(struct rd *r, struct json_object *v, const char *name) {
    if (!json_object_is_type(v, json_type_int))
        return refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected an integer");
    r->c->seed_set = true;
    r->c->seed = json_object_get_int64(v);
    return true;
}

static bool take_stop(struct rd *r, struct json_object *v, const char *name) {
    struct chat *c = r->c;
    bool one = is_str(v);
    if (!one && !json_object_is_type(v, json_type_array))
        return refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected a string or an array of strings");
    c->nstop = one ? 1 : json_object_array_length(v);
    c->stop = arena_array(r->a, c->nstop ? c->nstop : 1, sizeof *c->stop);
    for (size_t i = 0; i < c->nstop; i++) {
        struct json_object *s = one ? v : json_object_array_get_idx(v, i);
        if (!is_str(s))
            return refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected a string or an array of strings");
        c->stop[i] = jo_text(s);
    }
    return true;
}

static bool take_format(struct rd *r, struct json_object *v, const char *name) {
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
        keep(r, str_of(name), v);
    }
    return true;
}

static bool take_effort(struct rd *r, struct json_object *v, const char *name) {
    if (!is_str(v))
        return refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected a string");
    r->c->effort = jo_text(v);
    return true;
}

static void take_budget(struct rd *r, int64_t budget) {
    if (budget <= 0)
        return;
    r->c->thinking = THINKING_BUDGET;
    r->c->thinking_budget = (uint64_t)budget;
}

/* OpenRouter: reasoning{effort, max_tokens, enabled}. */
static bool take_reasoning(struct rd *r, struct json_object *v, const char *name) {
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
static bool take_thinking(struct rd *r, struct json_object *v, const char *name) {
    struct str type = jo_str(v, "type");
    if (str_is(type, "enabled"))
        take_budget(r, jo_int(v, "budget_tokens", 0));
    else if (str_is(type, "disabled"))
        r->c->thinking = THINKING_OFF;
    else if (str_is(type, "adaptive"))
        r->c->thinking = THINKING_ADAPTIVE;
    else
        keep(r, str_of(name), v);
    return true;
}

static bool take_logit_bias(struct rd *r, struct json_object *v, const char *name) {
    if (!json_object_is_type(v, json_type_object))
        return refuse(r, FAULT_BAD_REQUEST, str_of(name), "expected an object");
    r->c->logit_bias = v;
    return true;
}

static bool take_simple(struct rd *r, struct json_object *v, const char *name) {
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
static bool take_nothing(struct rd *r, struct json_object *v, const char *name) {
    (void)r;
    (void)v;
    (void)name;
    return true;
}

static const struct {
    const char *name;
    bool (*take)(struct rd *r, struct json_object *v, const char *name);
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

static bool take_member(struct rd *r, const char *key, struct json_object *v) {
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (strcmp(key, members[i].name) == 0)
            return members[i].take(r, v, members[i].name);
    keep(r, str_of(key), v);
    return true;
}

bool oc_read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f) {
    struct json_error err;
    struct json_object *tree = chat_hold(a, json_tree(ask->body, &err));
    struct rd r = {.a = a, .c = chat_new(a), .f = f};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    struct json_object *messages = jo_arr(tree, "messages");
    if (!messages)
        return refuse(&r, FAULT_BAD_REQUEST, STR("messages"), "expected an array of objects");
    r.c->model = ask->model;
    r.c->stream = ask->stream;
    r.c->include_usage = ask->include_usage;
    r.c->max_tokens = ask->max_tokens;
    r.c->n = ask->n;
    json_object_object_foreach(tree, key, v) {
        if (v && !take_member(&r, key, v))
            return false;
    }
    if (!read_messages(&r, messages))
        return false;
    *out = r.c;
    return true;
}
