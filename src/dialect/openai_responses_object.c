/* The "response" object that we write, whole or inside of events: the answer's items, and an echo of what was
 * asked, as OpenAI gives it. */
#include "opaque.h"
#include "openai_responses.h"

#include <json-c/linkhash.h>

static bool wants_sealed(struct json_object *asked) {
    struct json_object *include = jo_arr(asked, "include");
    size_t n = include ? json_object_array_length(include) : 0;
    if (!jo_bool(asked, "store", true))
        return true;
    for (size_t i = 0; i < n; i++)
        if (str_is(jo_text(json_object_array_get_idx(include, i)), "reasoning.encrypted_content"))
            return true;
    return false;
}

void rs_object_init(struct rs_object *o, struct arena *a, const struct mint *m, const struct ask *ask) {
    struct json_error err;
    *o = (struct rs_object){.a = a, .id = m->id, .model = m->model, .created = m->created};
    if (ask && ask->body.n > 0)
        o->asked = json_tree(ask->body, &err);
    if (o->asked)
        chat_hold(a, o->asked);
    rs_tools_init(&o->tools, a, jo_arr(o->asked, "tools"));
    o->encrypted = wants_sealed(o->asked);
}

bool rs_is_custom(const struct rs_object *o, struct str flat) {
    const struct rs_tool *t = rs_tool_by_flat(&o->tools, flat);
    return t && t->custom;
}

/* OpenAI refuses items whose ids begin otherwise, when they come back. */
struct str rs_item_id(const struct rs_object *o, const struct part *p, unsigned n) {
    const char *prefix = "msg";
    if (p->kind == PART_TOOL_CALL)
        prefix = p->custom ? "ctc" : "fc";
    else if (p->kind == PART_IMAGE)
        prefix = "ig";
    else if (p->kind == PART_THINKING || p->kind == PART_THINKING_REDACTED)
        prefix = "rs";
    return arena_printf(o->a, "%s_" STR_FMT "%u", prefix, STR_ARG(o->id), n);
}

/* --- items --- */

void rs_write_content(struct jw *w, const struct part *p, bool begun) {
    bool refusal = p->kind == PART_REFUSAL;
    jw_obj(w);
    jw_kz(w, "type", refusal ? "refusal" : "output_text");
    if (refusal) {
        jw_kstr(w, "refusal", begun ? STR("") : p->text);
        jw_obj_end(w);
        return;
    }
    jw_kstr(w, "text", begun ? STR("") : p->text);
    jw_key(w, "annotations");
    jw_raw(w, begun || p->annotations.n == 0 ? STR("[]") : p->annotations);
    jw_key(w, "logprobs");
    jw_raw(w, begun || p->logprobs.n == 0 ? STR("[]") : p->logprobs);
    jw_obj_end(w);
}

static void write_reasoning(struct jw *w, const struct rs_object *o, const struct part *p, bool begun) {
    struct str sealed = p->signature, origin = p->origin.n > 0 ? p->origin : STR("unknown");
    jw_key(w, "summary");
    jw_arr(w);
    if (!begun && p->text.n > 0) {
        jw_obj(w);
        jw_kz(w, "type", "summary_text");
        jw_kstr(w, "text", p->text);
        jw_obj_end(w);
    }
    jw_arr_end(w);
    if (begun || !o->encrypted)
        return;
    if (p->kind == PART_THINKING_REDACTED)
        sealed = arena_printf(o->a, RS_REDACTED STR_FMT, STR_ARG(p->data));
    if (sealed.n > 0)
        jw_kstr(w, "encrypted_content", opaque_wrap(o->a, sealed, origin, RS_NAME));
}

static void write_call(struct jw *w, const struct rs_object *o, const struct part *p, bool begun) {
    const struct rs_tool *t = rs_tool_by_flat(&o->tools, p->name);
    jw_kz(w, "status", begun ? "in_progress" : "completed");
    jw_kstr(w, "call_id", p->id);
    jw_kstr(w, "name", t ? t->name : p->name);
    if (t && t->space.n > 0)
        jw_kstr(w, "namespace", t->space);
    if (p->custom)
        jw_kstr(w, "input", begun ? STR("") : p->text);
    else
        jw_kstr(w, "arguments", begun ? STR("") : p->text.n > 0 ? p->text : STR("{}"));
}

void rs_write_item(struct jw *w, const struct rs_object *o, const struct part *p, struct str id, bool begun) {
    jw_obj(w);
    jw_kstr(w, "id", id);
    switch (p->kind) {
    case PART_TOOL_CALL:
        jw_kz(w, "type", p->custom ? "custom_tool_call" : "function_call");
        write_call(w, o, p, begun);
        break;
    case PART_IMAGE:
        jw_kz(w, "type", "image_generation_call");
        jw_kz(w, "status", begun ? "in_progress" : "completed");
        if (begun)
            jw_knull(w, "result");
        else
            jw_kstr(w, "result", p->data);
        break;
    case PART_THINKING:
    case PART_THINKING_REDACTED:
        jw_kz(w, "type", "reasoning");
        write_reasoning(w, o, p, begun);
        break;
    default:
        jw_kz(w, "type", "message");
        jw_kz(w, "status", begun ? "in_progress" : "completed");
        jw_kz(w, "role", "assistant");
        jw_key(w, "content");
        jw_arr(w);
        if (!begun)
            rs_write_content(w, p, false);
        jw_arr_end(w);
        break;
    }
    jw_obj_end(w);
}

/* --- the object --- */

/* What was asked, or what OpenAI says where nothing was. */
static const struct {
    const char *name, *otherwise;
} echoes[] = {
    {"background", "false"},
    {"instructions", "null"},
    {"max_output_tokens", "null"},
    {"max_tool_calls", "null"},
    {"metadata", "{}"},
    {"parallel_tool_calls", "true"},
    {"previous_response_id", "null"},
    {"prompt_cache_key", "null"},
    {"safety_identifier", "null"},
    {"service_tier", "\"default\""},
    {"store", "true"},
    {"temperature", "1.0"},
    {"tool_choice", "\"auto\""},
    {"tools", "[]"},
    {"top_logprobs", "0"},
    {"top_p", "1.0"},
    {"truncation", "\"disabled\""},
    {"user", "null"},
};

static void write_echo(struct jw *w, const struct rs_object *o) {
    struct json_object *text = jo_obj(o->asked, "text"), *reasoning = jo_obj(o->asked, "reasoning"), *v;
    for (size_t i = 0; i < sizeof echoes / sizeof *echoes; i++) {
        v = jo_get(o->asked, echoes[i].name);
        jw_key(w, echoes[i].name);
        if (v)
            jw_tree(w, v);
        else
            jw_raw(w, str_of(echoes[i].otherwise));
    }
    jw_key(w, "reasoning");
    jw_obj(w);
    v = jo_get(reasoning, "effort");
    jw_key(w, "effort");
    jw_tree(w, v);
    jw_key(w, "summary");
    jw_tree(w, jo_get(reasoning, "summary"));
    jw_obj_end(w);
    jw_key(w, "text");
    jw_obj(w);
    jw_key(w, "format");
    if (jo_obj(text, "format"))
        jw_tree(w, jo_obj(text, "format"));
    else
        jw_raw(w, STR("{\"type\":\"text\"}"));
    jw_kstr(w, "verbosity", jo_get(text, "verbosity") ? jo_str(text, "verbosity") : STR("medium"));
    jw_obj_end(w);
}

static void write_usage(struct jw *w, const struct usage *u) {
    jw_key(w, "usage");
    if (!u || (!u->known && !u->estimated)) {
        jw_null(w);
        return;
    }
    jw_obj(w);
    jw_ku64(w, "input_tokens", u->input);
    jw_key(w, "input_tokens_details");
    jw_obj(w);
    jw_ku64(w, "cached_tokens", u->cache_read);
    if (u->cache_write)
        jw_ku64(w, "cache_write_tokens", u->cache_write);
    jw_obj_end(w);
    jw_ku64(w, "output_tokens", u->output);
    jw_key(w, "output_tokens_details");
    jw_obj(w);
    jw_ku64(w, "reasoning_tokens", u->reasoning);
    jw_obj_end(w);
    jw_ku64(w, "total_tokens", usage_total(u));
    if (u->cost_nano >= 0) {
        jw_key(w, "cost");
        jw_nano(w, u->cost_nano);
    }
    jw_obj_end(w);
}

/* The codes that clients look for; others by the class. */
struct str rs_error_code(const struct fault *f) {
    if (f->code.n > 0)
        return f->code;
    switch (f->cls) {
    case FAULT_RATE_LIMIT:
        return STR("rate_limit_exceeded");
    case FAULT_COST_LIMIT:
        return STR("cost_limit_exceeded");
    case FAULT_QUOTA:
    case FAULT_BUDGET:
        return STR("insufficient_quota");
    case FAULT_CONTEXT_LENGTH:
        return STR("context_length_exceeded");
    case FAULT_CONTENT_FILTER:
        return STR("content_filter");
    case FAULT_BAD_REQUEST:
    case FAULT_UNSUPPORTED:
        return STR("invalid_prompt");
    default:
        return STR("server_error");
    }
}

static const char *incomplete_reason(enum stop_reason stop) {
    if (stop == STOP_LENGTH || stop == STOP_CONTEXT)
        return "max_output_tokens";
    return stop == STOP_FILTER ? "content_filter" : NULL;
}

static void write_outcome(struct jw *w, const char *reason, const struct fault *error) {
    jw_key(w, "error");
    if (error) {
        jw_obj(w);
        jw_kstr(w, "code", rs_error_code(error));
        jw_kstr(w, "message", error->message.n > 0 ? error->message : str_of(fault_rule(error->cls)->name));
        jw_obj_end(w);
    } else {
        jw_null(w);
    }
    jw_key(w, "incomplete_details");
    if (reason) {
        jw_obj(w);
        jw_kz(w, "reason", reason);
        jw_obj_end(w);
    } else {
        jw_null(w);
    }
}

void rs_write_object(struct jw *w, const struct rs_object *o, const char *status, enum stop_reason stop,
                     struct str native, struct str items, const struct usage *u, const struct fault *error) {
    const char *reason = status ? NULL : incomplete_reason(stop);
    (void)native;
    if (!status)
        status = reason ? "incomplete" : "completed";
    jw_obj(w);
    jw_kstr(w, "id", arena_printf(o->a, "resp_" STR_FMT, STR_ARG(o->id)));
    jw_kz(w, "object", "response");
    jw_kint(w, "created_at", o->created);
    jw_kz(w, "status", status);
    write_outcome(w, reason, error);
    jw_kstr(w, "model", o->model);
    jw_key(w, "output");
    jw_arr(w);
    if (items.n > 0)
        jw_raw(w, items);
    jw_arr_end(w);
    write_echo(w, o);
    write_usage(w, u);
    jw_obj_end(w);
}
