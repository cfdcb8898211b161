/* A conversation as a request of Cohere's v2 chat: OpenAI's shape with other names and fewer members. */
#include "cohere.h"
#include "encode.h"

#include <json-c/linkhash.h>

struct wr {
    struct encoder e;
    size_t i; /* of the message */
};

/* --- messages --- */

static bool any(const struct part *p, enum part_kind kind) {
    for (; p; p = p->next)
        if (p->kind == kind)
            return true;
    return false;
}

static void write_texts(struct wr *r, const struct part *p, bool apart) {
    encode_texts(&r->e.w, p, KIND_BIT(PART_TEXT) | KIND_BIT(PART_REFUSAL), apart);
}

static void open_message(struct wr *r, const char *role) {
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "role", role);
}

static void write_typed_text(struct wr *r, struct str text) {
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "text");
    jw_kstr(&r->e.w, "text", text);
    jw_obj_end(&r->e.w);
}

static void write_image(struct wr *r, const struct part *p) {
    struct str url = p->url;
    if (p->data.n)
        url = arena_printf(r->e.a, "data:" STR_FMT ";base64," STR_FMT, STR_ARG(p->media), STR_ARG(p->data));
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "image_url");
    jw_key(&r->e.w, "image_url");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "url", url);
    if (p->detail.n)
        jw_kstr(&r->e.w, "detail", p->detail);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

static bool check_parts(struct wr *r, const struct part *p) {
    for (size_t j = 0; p; p = p->next, j++) {
        bool file = p->kind == PART_AUDIO || p->kind == PART_FILE ||
                    (p->kind == PART_IMAGE && !p->data.n && !p->url.n);
        struct str at = arena_printf(r->e.a, "messages[%zu].content[%zu]", r->i, j);
        if (file && !encode_unsupported(&r->e, at, NO_EQUIVALENT))
            return false;
    }
    return true;
}

static bool write_results(struct wr *r, const struct message *m) {
    for (const struct part *p = m->parts; p; p = p->next) {
        if (p->kind != PART_TOOL_RESULT)
            continue;
        if (any(p->inner, PART_IMAGE) &&
            !encode_unsupported(&r->e, arena_printf(r->e.a, "messages[%zu].content", r->i),
                                "has an image in a tool's result, which " NO_EQUIVALENT))
            return false;
        if (p->is_error)
            encode_report(&r->e, STR("is_error")); /* its text says so to the model */
        open_message(r, "tool");
        jw_kstr(&r->e.w, "tool_call_id", p->id);
        jw_key(&r->e.w, "content");
        write_texts(r, p->inner, true);
        jw_obj_end(&r->e.w);
    }
    return true;
}

static bool write_user(struct wr *r, const struct message *m) {
    if (!write_results(r, m) || !check_parts(r, m->parts))
        return false;
    bool image = any(m->parts, PART_IMAGE);
    if (!image && !any(m->parts, PART_TEXT))
        return true;
    open_message(r, "user");
    jw_key(&r->e.w, "content");
    if (!image) {
        write_texts(r, m->parts, true);
    } else {
        jw_arr(&r->e.w);
        for (const struct part *p = m->parts; p; p = p->next) {
            if (p->kind == PART_TEXT)
                write_typed_text(r, p->text);
            else if (p->kind == PART_IMAGE && (p->data.n || p->url.n))
                write_image(r, p);
        }
        jw_arr_end(&r->e.w);
    }
    jw_obj_end(&r->e.w);
    return true;
}

static void write_calls(struct wr *r, const struct message *m) {
    jw_key(&r->e.w, "tool_calls");
    jw_arr(&r->e.w);
    for (const struct part *p = m->parts; p; p = p->next) {
        if (p->kind != PART_TOOL_CALL)
            continue;
        jw_obj(&r->e.w);
        jw_kstr(&r->e.w, "id", p->id);
        jw_kz(&r->e.w, "type", "function");
        jw_key(&r->e.w, "function");
        jw_obj(&r->e.w);
        jw_kstr(&r->e.w, "name", p->name);
        jw_kstr(&r->e.w, "arguments", p->text.n ? p->text : STR("{}"));
        jw_obj_end(&r->e.w);
        jw_obj_end(&r->e.w);
    }
    jw_arr_end(&r->e.w);
}

static void write_assistant(struct wr *r, const struct message *m) {
    bool calls = any(m->parts, PART_TOOL_CALL),
         text = any(m->parts, PART_TEXT) || any(m->parts, PART_REFUSAL);
    if (!calls && !text)
        return;
    open_message(r, "assistant");
    if (text) {
        jw_key(&r->e.w, calls ? "tool_plan" : "content"); /* what is said before calls is their plan */
        write_texts(r, m->parts, false);
    }
    if (calls)
        write_calls(r, m);
    jw_obj_end(&r->e.w);
}

static bool write_messages(struct wr *r) {
    jw_key(&r->e.w, "messages");
    jw_arr(&r->e.w);
    r->i = 0;
    for (const struct message *m = r->e.c->messages; m; m = m->next, r->i++) {
        if (m->role == ROLE_SYSTEM || m->role == ROLE_DEVELOPER) {
            open_message(r, "system");
            jw_key(&r->e.w, "content");
            write_texts(r, m->parts, true);
            jw_obj_end(&r->e.w);
        } else if (m->role == ROLE_ASSISTANT) {
            write_assistant(r, m);
        } else if (!write_user(r, m)) {
            return false;
        }
    }
    jw_arr_end(&r->e.w);
    return true;
}

/* --- tools --- */

/* There is no choice by name: that tool alone is offered then, and must be used. */
static bool write_tools(struct wr *r) {
    const struct chat *c = r->e.c;
    size_t n = 0;
    for (const struct tool *t = c->tools; t; t = t->next) {
        bool can = t->custom || !t->raw;
        if (!can && !encode_unsupported(&r->e, arena_printf(r->e.a, "tools[%zu]", t->at),
                                        "is a tool of a kind that " NO_EQUIVALENT))
            return false;
        if (!can || (c->choice == CHOICE_NAMED && !str_eq(t->name, c->choice_name)))
            continue;
        if (n++ == 0) {
            jw_key(&r->e.w, "tools");
            jw_arr(&r->e.w);
        }
        encode_function(&r->e.w, t);
    }
    if (n > 0)
        jw_arr_end(&r->e.w);
    if (n > 0 && (c->choice == CHOICE_REQUIRED || c->choice == CHOICE_NAMED))
        jw_kz(&r->e.w, "tool_choice", "REQUIRED");
    else if (n > 0 && c->choice == CHOICE_NONE)
        jw_kz(&r->e.w, "tool_choice", "NONE");
    return true;
}

/* --- parameters --- */

static bool check_unsupported(struct wr *r) {
    const struct chat *c = r->e.c;
    if (c->n > 1 && !encode_unsupported(&r->e, STR("n"), NO_EQUIVALENT))
        return false;
    if (!encode_one_call(&r->e))
        return false;
    if (c->logit_bias && json_object_object_length(c->logit_bias) > 0 &&
        !encode_unsupported(&r->e, STR("logit_bias"), NO_EQUIVALENT))
        return false;
    if (c->logprobs && !encode_unsupported(&r->e, STR("logprobs"), NO_EQUIVALENT))
        return false;
    if (c->format == FORMAT_SCHEMA && c->tools &&
        !encode_unsupported(&r->e, STR("response_format"),
                            "cannot be had together with tools at this provider"))
        return false;
    return true;
}

static void write_format(struct wr *r) {
    const struct chat *c = r->e.c;
    if ((c->format != FORMAT_JSON && c->format != FORMAT_SCHEMA) || c->tools)
        return;
    jw_key(&r->e.w, "response_format");
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "json_object");
    if (c->format == FORMAT_SCHEMA && c->format_schema) {
        jw_key(&r->e.w, "json_schema");
        jw_tree(&r->e.w, c->format_schema);
    }
    jw_obj_end(&r->e.w);
}

static uint64_t budget_of(const struct chat *c) {
    if (c->thinking == THINKING_BUDGET)
        return c->thinking_budget;
    return str_is(c->effort, "low") || str_is(c->effort, "minimal") ? 1024
           : str_is(c->effort, "medium")                            ? 8192
                                                                    : 24576;
}

/* Only models that reason know the member. */
static void write_thinking(struct wr *r) {
    const struct chat *c = r->e.c;
    bool off = c->thinking == THINKING_OFF || str_is(c->effort, "none");
    if (c->thinking == THINKING_UNSET && c->effort.n == 0)
        return;
    if (str_find(r->e.o->model, STR("reasoning")) < 0) {
        if (!off)
            encode_report(&r->e, STR("reasoning_effort"));
        return;
    }
    jw_key(&r->e.w, "thinking");
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", off ? "disabled" : "enabled");
    if (!off && c->thinking != THINKING_ADAPTIVE)
        jw_ku64(&r->e.w, "token_budget", budget_of(c));
    jw_obj_end(&r->e.w);
}

static void write_limits(struct wr *r) {
    const struct chat *c = r->e.c;
    if (c->stream)
        jw_kbool(&r->e.w, "stream", true);
    if (c->max_tokens)
        jw_ku64(&r->e.w, "max_tokens", c->max_tokens);
    if (c->seed_set)
        jw_kint(&r->e.w, "seed", c->seed);
    encode_number(&r->e, "temperature", &c->temperature);
    encode_number(&r->e, "p", &c->top_p);
    encode_number(&r->e, "k", &c->top_k);
    encode_number(&r->e, "frequency_penalty", &c->frequency_penalty);
    encode_number(&r->e, "presence_penalty", &c->presence_penalty);
    if (c->nstop == 0)
        return;
    jw_key(&r->e.w, "stop_sequences");
    jw_arr(&r->e.w);
    for (size_t i = 0; i < c->nstop; i++)
        jw_str(&r->e.w, c->stop[i]);
    jw_arr_end(&r->e.w);
}

static bool write_extra(struct wr *r) {
    return encode_extra(&r->e, "documents citation_options safety_mode strict_tools priority", "");
}

bool co_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f) {
    struct wr r = {.e = {.a = a, .c = c, .o = o, .dropped = dropped, .f = f}};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    jw_init(&r.e.w, out);
    jw_obj(&r.e.w);
    jw_kstr(&r.e.w, "model", o->model);
    if (!check_unsupported(&r) || !write_messages(&r) || !write_tools(&r))
        return false;
    write_limits(&r);
    write_format(&r);
    write_thinking(&r);
    if (!write_extra(&r))
        return false;
    jw_obj_end(&r.e.w);
    return true;
}
