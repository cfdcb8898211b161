/* A conversation of another dialect as a Responses request. A message of an assistant becomes items: its
 * reasoning (only what this dialect has sealed itself), its texts, its calls. Nothing is stored, so sealed
 * reasoning is asked for where the model has it. */
#include "encode.h"
#include "free_text.h"
#include "openai_responses.h"

#include <json-c/linkhash.h>

struct wr {
    struct encoder e;
    size_t i; /* of the message */
};

static void open_typed(struct wr *r, const char *type) {
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", type);
}

static struct str url_of(struct wr *r, const struct part *p) {
    if (p->data.n == 0)
        return p->url;
    return arena_printf(r->e.a, "data:" STR_FMT ";base64," STR_FMT, STR_ARG(p->media), STR_ARG(p->data));
}

/* --- parts --- */

static void write_file(struct wr *r, const struct part *p) {
    open_typed(r, "input_file");
    if (p->data.n > 0) {
        jw_kstr(&r->e.w, "filename", p->name.n > 0 ? p->name : STR("document"));
        jw_kstr(&r->e.w, "file_data", url_of(r, p));
    } else if (p->url.n > 0) {
        jw_kstr(&r->e.w, "file_url", p->url);
    } else {
        jw_kstr(&r->e.w, "file_id", p->id);
    }
    jw_obj_end(&r->e.w);
}

static bool write_input(struct wr *r, const struct part *p) {
    switch (p->kind) {
    case PART_TEXT:
        open_typed(r, "input_text");
        jw_kstr(&r->e.w, "text", p->text);
        jw_obj_end(&r->e.w);
        return true;
    case PART_IMAGE:
        open_typed(r, "input_image");
        if (p->url.n > 0 || p->data.n > 0)
            jw_kstr(&r->e.w, "image_url", url_of(r, p));
        else
            jw_kstr(&r->e.w, "file_id", p->id);
        if (p->detail.n > 0)
            jw_kstr(&r->e.w, "detail", p->detail);
        jw_obj_end(&r->e.w);
        return true;
    case PART_FILE:
        write_file(r, p);
        return true;
    case PART_AUDIO:
        return encode_unsupported(&r->e, arena_printf(r->e.a, "messages[%zu].content", r->i),
                                  "holds audio, which " NO_EQUIVALENT);
    default:
        return true;
    }
}

static bool is_input(const struct part *p) {
    return p->kind == PART_TEXT || p->kind == PART_IMAGE || p->kind == PART_FILE || p->kind == PART_AUDIO;
}

static bool only_text(const struct part *p) {
    for (; p; p = p->next)
        if (is_input(p) && p->kind != PART_TEXT)
            return false;
    return true;
}

/* --- items --- */

static bool was_custom(struct wr *r, struct str id) {
    for (const struct message *m = r->e.c->messages; m; m = m->next)
        for (const struct part *p = m->parts; p; p = p->next)
            if (p->kind == PART_TOOL_CALL && p->custom && str_eq(p->id, id))
                return true;
    return false;
}

static bool write_result(struct wr *r, const struct part *p) {
    if (p->is_error)
        encode_report(&r->e, STR("is_error")); /* its text says so to the model */
    open_typed(r, was_custom(r, p->id) ? "custom_tool_call_output" : "function_call_output");
    jw_kstr(&r->e.w, "call_id", p->id);
    jw_key(&r->e.w, "output");
    if (!p->inner || (!p->inner->next && p->inner->kind == PART_TEXT)) {
        jw_str(&r->e.w, p->inner ? p->inner->text : STR(""));
    } else {
        jw_arr(&r->e.w);
        for (const struct part *in = p->inner; in; in = in->next)
            if (!write_input(r, in))
                return false;
        jw_arr_end(&r->e.w);
    }
    jw_obj_end(&r->e.w);
    return true;
}

static void write_call(struct wr *r, const struct part *p) {
    open_typed(r, p->custom ? "custom_tool_call" : "function_call");
    jw_kstr(&r->e.w, "call_id", p->id);
    jw_kstr(&r->e.w, "name", p->name);
    if (p->custom)
        jw_kstr(&r->e.w, "input", free_text_of(r->e.a, p->text));
    else
        jw_kstr(&r->e.w, "arguments", p->text.n > 0 ? p->text : STR("{}"));
    jw_obj_end(&r->e.w);
}

static bool is_own(const struct part *p) {
    return p->kind == PART_THINKING && p->signature.n > 0 && str_is(p->origin, RS_NAME);
}

static void write_reasoning(struct wr *r, const struct part *p) {
    open_typed(r, "reasoning");
    jw_key(&r->e.w, "summary");
    jw_arr(&r->e.w);
    if (p->text.n > 0) {
        open_typed(r, "summary_text");
        jw_kstr(&r->e.w, "text", p->text);
        jw_obj_end(&r->e.w);
    }
    jw_arr_end(&r->e.w);
    jw_kstr(&r->e.w, "encrypted_content", p->signature);
    jw_obj_end(&r->e.w);
}

static void write_said(struct wr *r, const struct part *p) {
    bool refusal = p->kind == PART_REFUSAL;
    open_typed(r, "message");
    jw_kz(&r->e.w, "role", "assistant");
    jw_key(&r->e.w, "content");
    jw_arr(&r->e.w);
    open_typed(r, refusal ? "refusal" : "output_text");
    jw_kstr(&r->e.w, refusal ? "refusal" : "text", p->text);
    jw_obj_end(&r->e.w);
    jw_arr_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

static bool write_assistant(struct wr *r, const struct message *m) {
    for (const struct part *p = m->parts; p; p = p->next) {
        if (p->kind == PART_TEXT || p->kind == PART_REFUSAL)
            write_said(r, p);
        else if (p->kind == PART_TOOL_CALL)
            write_call(r, p);
        else if (is_own(p))
            write_reasoning(r, p);
        else if (is_input(p) &&
                 !encode_unsupported(&r->e, arena_printf(r->e.a, "messages[%zu].content", r->i),
                                     "holds media of an assistant, which " NO_EQUIVALENT))
            return false;
    }
    return true;
}

static bool write_parts(struct wr *r, const struct message *m, const char *role) {
    bool any = false;
    for (const struct part *p = m->parts; p; p = p->next)
        any = any || is_input(p);
    if (!any)
        return true;
    open_typed(r, "message");
    jw_kz(&r->e.w, "role", role);
    jw_key(&r->e.w, "content");
    if (only_text(m->parts) && m->parts == m->last) {
        jw_str(&r->e.w, m->parts->text);
    } else {
        jw_arr(&r->e.w);
        for (const struct part *p = m->parts; p; p = p->next)
            if (!write_input(r, p))
                return false;
        jw_arr_end(&r->e.w);
    }
    jw_obj_end(&r->e.w);
    return true;
}

static bool write_message(struct wr *r, const struct message *m) {
    if (m->role == ROLE_ASSISTANT)
        return write_assistant(r, m);
    for (const struct part *p = m->parts; p; p = p->next)
        if (p->kind == PART_TOOL_RESULT && !write_result(r, p))
            return false;
    return write_parts(r, m,
                       m->role == ROLE_SYSTEM      ? "system"
                       : m->role == ROLE_DEVELOPER ? "developer"
                                                   : "user");
}

/* A single system text at the head is what "instructions" is for. */
static bool is_instructions(const struct message *m) {
    return m && m->role == ROLE_SYSTEM && m->parts && m->parts == m->last && m->parts->kind == PART_TEXT &&
           m->next;
}

static bool write_input_items(struct wr *r) {
    const struct message *m = r->e.c->messages;
    if (is_instructions(m)) {
        jw_kstr(&r->e.w, "instructions", m->parts->text);
        m = m->next;
        r->i++;
    }
    jw_key(&r->e.w, "input");
    jw_arr(&r->e.w);
    for (; m; m = m->next, r->i++)
        if (!write_message(r, m))
            return false;
    jw_arr_end(&r->e.w);
    return true;
}

/* --- tools --- */

/* Kinds of tools that this dialect names; those of other dialects have no form here. */
static bool is_ours(struct json_object *raw) {
    static const char *const types[] = {
        "web_search", "web_search_preview", "file_search", "code_interpreter", "computer_use_preview",
        "computer",   "image_generation",   "mcp",         "local_shell",      "shell",
        "namespace",  "tool_search",        "apply_patch", "custom",
    };
    struct str type = jo_str(raw, "type");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (str_is(type, types[i]))
            return true;
    return false;
}

static void write_raw(struct wr *r, struct json_object *raw) {
    struct json_object *custom = jo_obj(raw, "custom"); /* chat nests it */
    if (!custom) {
        jw_tree(&r->e.w, raw);
        return;
    }
    open_typed(r, "custom");
    json_object_object_foreach(custom, key, v) {
        struct json_object *grammar = strcmp(key, "format") == 0 ? jo_obj(v, "grammar") : NULL;
        jw_keys(&r->e.w, str_of(key));
        if (!grammar) {
            jw_tree(&r->e.w, v);
            continue;
        }
        open_typed(r, "grammar");
        json_object_object_foreach(grammar, inner, value) {
            jw_keys(&r->e.w, str_of(inner));
            jw_tree(&r->e.w, value);
        }
        jw_obj_end(&r->e.w);
    }
    jw_obj_end(&r->e.w);
}

static void write_function(struct wr *r, const struct tool *t) {
    open_typed(r, "function");
    jw_kstr(&r->e.w, "name", t->name);
    if (t->description.n > 0)
        jw_kstr(&r->e.w, "description", t->description);
    jw_key(&r->e.w, "parameters");
    if (t->schema) {
        jw_tree(&r->e.w, t->schema);
    } else {
        jw_raw(&r->e.w, STR("{\"type\":\"object\",\"properties\":{}}"));
    }
    jw_kbool(&r->e.w, "strict", t->strict == 1); /* not said, it would be strict here and nowhere else */
    jw_obj_end(&r->e.w);
}

static void write_choice(struct wr *r) {
    const struct chat *c = r->e.c;
    static const char *const words[] = {
        [CHOICE_AUTO] = "auto", [CHOICE_NONE] = "none", [CHOICE_REQUIRED] = "required"};
    if (c->parallel_calls >= 0)
        jw_kbool(&r->e.w, "parallel_tool_calls", c->parallel_calls == 1);
    if (c->choice == CHOICE_UNSET)
        return;
    if (c->choice != CHOICE_NAMED) {
        jw_kz(&r->e.w, "tool_choice", words[c->choice]);
        return;
    }
    const char *type = "function";
    for (const struct tool *t = c->tools; t; t = t->next)
        if (t->raw && str_eq(t->name, c->choice_name))
            type = arena_dupz(r->e.a, jo_str(t->raw, "type"));
    jw_key(&r->e.w, "tool_choice");
    open_typed(r, type);
    if (strcmp(type, "function") == 0 || strcmp(type, "custom") == 0)
        jw_kstr(&r->e.w, "name", c->choice_name);
    jw_obj_end(&r->e.w);
}

static bool write_tools(struct wr *r) {
    size_t n = 0;
    for (const struct tool *t = r->e.c->tools; t; t = t->next) {
        if (t->raw && !is_ours(t->raw)) {
            if (!encode_unsupported(&r->e, arena_printf(r->e.a, "tools[%zu]", t->at),
                                    "is a tool of a kind that " NO_EQUIVALENT))
                return false;
            continue;
        }
        if (n++ == 0) {
            jw_key(&r->e.w, "tools");
            jw_arr(&r->e.w);
        }
        if (t->raw)
            write_raw(r, t->raw);
        else
            write_function(r, t);
    }
    if (n == 0)
        return true;
    jw_arr_end(&r->e.w);
    write_choice(r);
    return true;
}

/* --- parameters --- */

static void write_text(struct wr *r) {
    const struct chat *c = r->e.c;
    struct json_object *verbosity = jo_get(c->extra, "text.verbosity");
    if (!verbosity)
        verbosity = jo_get(c->extra, "verbosity");
    if (c->format == FORMAT_UNSET && !verbosity)
        return;
    jw_key(&r->e.w, "text");
    jw_obj(&r->e.w);
    if (c->format != FORMAT_UNSET) {
        jw_key(&r->e.w, "format");
        open_typed(r, c->format == FORMAT_SCHEMA ? "json_schema"
                      : c->format == FORMAT_JSON ? "json_object"
                                                 : "text");
        if (c->format == FORMAT_SCHEMA) {
            jw_kstr(&r->e.w, "name", c->format_name.n > 0 ? c->format_name : STR("answer"));
            if (c->format_description.n > 0)
                jw_kstr(&r->e.w, "description", c->format_description);
            jw_key(&r->e.w, "schema");
            if (c->format_schema)
                jw_tree(&r->e.w, c->format_schema);
            else
                jw_raw(&r->e.w, STR("{\"type\":\"object\"}"));
            jw_kbool(&r->e.w, "strict", c->format_strict == 1);
        }
        jw_obj_end(&r->e.w);
    }
    if (verbosity) {
        jw_key(&r->e.w, "verbosity");
        jw_tree(&r->e.w, verbosity);
    }
    jw_obj_end(&r->e.w);
}

/* Models without reasoning refuse to be asked for its sealed form. */
static bool reasons(struct wr *r) {
    static const char *const names[] = {"o1", "o3", "o4", "gpt-5", "gpt-6", "codex", "grok"};
    const struct chat *c = r->e.c;
    struct str model = r->e.o->model, piece, rest = model;
    if (c->effort.n > 0 || c->thinking == THINKING_BUDGET || c->thinking == THINKING_ADAPTIVE)
        return true;
    while (str_next(&rest, '/', &piece))
        model = piece;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_starts(model, names[i]))
            return str_find(model, STR("-chat")) < 0;
    for (const struct message *m = c->messages; m; m = m->next)
        for (const struct part *p = m->parts; p; p = p->next)
            if (is_own(p))
                return true;
    return false;
}

static void write_reasoning_options(struct wr *r) {
    const struct chat *c = r->e.c;
    bool sealed = reasons(r);
    if (c->effort.n > 0 || c->thinking == THINKING_BUDGET) {
        jw_key(&r->e.w, "reasoning");
        jw_obj(&r->e.w);
        jw_kstr(&r->e.w, "effort",
                str_is(c->effort, "max")      ? STR("xhigh") /* its most */
                : c->effort.n > 0             ? c->effort
                : c->thinking_budget <= 2048  ? STR("low")
                : c->thinking_budget <= 10000 ? STR("medium")
                                              : STR("high"));
        if (!str_is(c->effort, "none"))
            jw_kz(&r->e.w, "summary", "auto"); /* what is thought is shown by all other dialects */
        jw_obj_end(&r->e.w);
    }
    jw_kbool(&r->e.w, "store", false);
    if (!sealed && !c->logprobs)
        return;
    jw_key(&r->e.w, "include");
    jw_arr(&r->e.w);
    if (sealed)
        jw_z(&r->e.w, "reasoning.encrypted_content");
    if (c->logprobs)
        jw_z(&r->e.w, "message.output_text.logprobs");
    jw_arr_end(&r->e.w);
    if (c->logprobs && c->top_logprobs >= 0)
        jw_kint(&r->e.w, "top_logprobs", c->top_logprobs);
}

static bool write_extra(struct wr *r) {
    static const char *const ours[] = {"max_tool_calls", "context_management", "prompt_cache_key",
                                       "moderation", "prompt_cache_retention"};
    if (!r->e.c->extra)
        return true;
    json_object_object_foreach(r->e.c->extra, key, v) {
        bool known = strcmp(key, "text.verbosity") == 0 || strcmp(key, "verbosity") == 0, pass = false;
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
            pass = pass || strcmp(key, ours[i]) == 0;
        if (known)
            continue;
        if (pass || (r->e.o->pass_unsupported && !strpbrk(key, "[."))) {
            jw_keys(&r->e.w, str_of(key));
            jw_tree(&r->e.w, v);
        } else if (!encode_unsupported(&r->e, str_of(key), NO_EQUIVALENT)) {
            return false;
        }
    }
    return true;
}

static bool check_unsupported(struct wr *r) {
    const struct chat *c = r->e.c;
    const struct {
        bool set;
        const char *name;
    } rows[] = {{c->nstop > 0, "stop"},
                {c->n > 1, "n"},
                {c->seed_set, "seed"},
                {c->top_k.set, "top_k"},
                {c->frequency_penalty.set && c->frequency_penalty.v != 0, "frequency_penalty"},
                {c->presence_penalty.set && c->presence_penalty.v != 0, "presence_penalty"},
                {c->logit_bias != NULL, "logit_bias"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].set && !encode_unsupported(&r->e, str_of(rows[i].name), NO_EQUIVALENT))
            return false;
    return true;
}

bool rs_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f) {
    struct wr r = {.e = {.a = a, .c = c, .o = o, .dropped = dropped, .f = f}};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    jw_init(&r.e.w, out);
    jw_obj(&r.e.w);
    jw_kstr(&r.e.w, "model", o->model);
    if (!check_unsupported(&r) || !write_input_items(&r) || !write_tools(&r))
        return false;
    if (c->stream)
        jw_kbool(&r.e.w, "stream", true);
    if (c->max_tokens)
        jw_ku64(&r.e.w, "max_output_tokens", c->max_tokens);
    encode_number(&r.e, "temperature", &c->temperature);
    encode_number(&r.e, "top_p", &c->top_p);
    write_text(&r);
    write_reasoning_options(&r);
    if (c->user.n > 0)
        jw_kstr(&r.e.w, "user", c->user);
    if (c->metadata) {
        jw_key(&r.e.w, "metadata");
        jw_tree(&r.e.w, c->metadata);
    }
    if (c->service_tier.n > 0)
        jw_kstr(&r.e.w, "service_tier", c->service_tier);
    if (!write_extra(&r))
        return false;
    jw_obj_end(&r.e.w);
    return true;
}
