/* A conversation of another dialect as a chat request. Results of tools become messages of their own, right
 * behind the calls; pictures in them, which a tool message cannot hold, follow in a message of the user. */
#include "base/hash.h"
#include "encode.h"
#include "openai_chat.h"

#include <json-c/linkhash.h>
#include <stdio.h>

struct wr {
    struct encoder e;
    size_t i; /* of the message */
};

/* --- parts --- */

static struct str url_of(struct wr *r, const struct part *p) {
    if (p->data.n == 0)
        return p->url;
    return arena_printf(r->e.a, "data:" STR_FMT ";base64," STR_FMT, STR_ARG(p->media), STR_ARG(p->data));
}

static void open_typed(struct wr *r, const char *type) {
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", type);
}

static void write_image(struct wr *r, const struct part *p) {
    open_typed(r, "image_url");
    jw_key(&r->e.w, "image_url");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "url", url_of(r, p));
    if (p->detail.n > 0)
        jw_kstr(&r->e.w, "detail", p->detail);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

static void write_audio(struct wr *r, const struct part *p) {
    open_typed(r, "input_audio");
    jw_key(&r->e.w, "input_audio");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "data", p->data);
    jw_kstr(&r->e.w, "format", str_skip(p->media, sizeof "audio/" - 1));
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

static bool write_file(struct wr *r, const struct part *p) {
    if (p->data.n == 0 && p->id.n == 0)
        return encode_unsupported(&r->e, arena_printf(r->e.a, "messages[%zu].content", r->i),
                                  "holds a file by URL, which " NO_EQUIVALENT);
    open_typed(r, "file");
    jw_key(&r->e.w, "file");
    jw_obj(&r->e.w);
    if (p->data.n > 0) {
        jw_kstr(&r->e.w, "filename", p->name.n > 0 ? p->name : STR("document"));
        jw_kstr(&r->e.w, "file_data", url_of(r, p));
    } else {
        jw_kstr(&r->e.w, "file_id", p->id);
    }
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    return true;
}

static bool write_part(struct wr *r, const struct part *p) {
    switch (p->kind) {
    case PART_TEXT:
        open_typed(r, "text");
        jw_kstr(&r->e.w, "text", p->text);
        jw_obj_end(&r->e.w);
        return true;
    case PART_IMAGE:
        write_image(r, p);
        return true;
    case PART_AUDIO:
        write_audio(r, p);
        return true;
    case PART_FILE:
        return write_file(r, p);
    default:
        return true;
    }
}

static bool is_media(const struct part *p) {
    return p->kind == PART_IMAGE || p->kind == PART_AUDIO || p->kind == PART_FILE;
}

static bool any_media(const struct part *p) {
    for (; p; p = p->next)
        if (is_media(p))
            return true;
    return false;
}

static size_t count_kind(const struct part *p, enum part_kind kind) {
    size_t n = 0;
    for (; p; p = p->next)
        n += p->kind == kind;
    return n;
}

static void write_texts(struct wr *r, const struct part *p, enum part_kind kind) {
    struct buf b;
    buf_init(&b, 0);
    for (; p; p = p->next)
        if (p->kind == kind)
            buf_adds(&b, p->text);
    jw_str(&r->e.w, buf_str(&b));
    buf_free(&b);
}

static bool mistral(const struct wr *r) {
    return r->e.o->quirks & QUIRK_MISTRAL;
}

/* Mistral wants nine letters and digits: another's id is made into some, always the same. */
static struct str call_id(struct wr *r, struct str id) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    bool fits = id.n == 9;
    for (size_t i = 0; i < id.n && fits; i++)
        fits = id.p[i] && memchr(digits, id.p[i], sizeof digits - 1);
    if (!mistral(r) || fits)
        return id;
    uint64_t h = hash64(id.p, id.n);
    char *nine = arena_alloc(r->e.a, 10);
    for (size_t i = 0; i < 9; i++, h /= 62)
        nine[i] = digits[h % 62];
    return str_make(nine, 9);
}

/* --- messages --- */

static void open_message(struct wr *r, const char *role) {
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "role", role);
}

static bool write_results(struct wr *r, const struct message *m) {
    for (const struct part *p = m->parts; p; p = p->next) {
        if (p->kind != PART_TOOL_RESULT)
            continue;
        if (p->is_error)
            encode_report(&r->e, STR("is_error")); /* its text says so to the model */
        open_message(r, "tool");
        jw_kstr(&r->e.w, "tool_call_id", call_id(r, p->id));
        if (mistral(r) && p->name.n > 0)
            jw_kstr(&r->e.w, "name", p->name);
        jw_key(&r->e.w, "content");
        write_texts(r, p->inner, PART_TEXT);
        jw_obj_end(&r->e.w);
    }
    return true;
}

static bool result_media(const struct message *m) {
    for (const struct part *p = m->parts; p; p = p->next)
        if (p->kind == PART_TOOL_RESULT && any_media(p->inner))
            return true;
    return false;
}

static bool write_result_media(struct wr *r, const struct message *m) {
    for (const struct part *p = m->parts; p; p = p->next)
        for (const struct part *in = p->kind == PART_TOOL_RESULT ? p->inner : NULL; in; in = in->next)
            if (is_media(in) && !write_part(r, in))
                return false;
    return true;
}

static bool write_user(struct wr *r, const struct message *m) {
    bool media = result_media(m);
    if (!write_results(r, m))
        return false;
    if (!media && !any_media(m->parts) && count_kind(m->parts, PART_TEXT) == 0)
        return true;
    open_message(r, "user");
    jw_key(&r->e.w, "content");
    if (!media && !any_media(m->parts)) {
        write_texts(r, m->parts, PART_TEXT);
    } else {
        jw_arr(&r->e.w);
        if (!write_result_media(r, m))
            return false;
        for (const struct part *p = m->parts; p; p = p->next)
            if (!write_part(r, p))
                return false;
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
        jw_kstr(&r->e.w, "id", call_id(r, p->id));
        jw_kz(&r->e.w, "type", "function");
        jw_key(&r->e.w, "function");
        jw_obj(&r->e.w);
        jw_kstr(&r->e.w, "name", p->name);
        jw_kstr(&r->e.w, "arguments", p->text.n > 0 ? p->text : STR("{}"));
        jw_obj_end(&r->e.w);
        jw_obj_end(&r->e.w);
    }
    jw_arr_end(&r->e.w);
}

static void write_assistant(struct wr *r, const struct message *m) {
    bool calls = count_kind(m->parts, PART_TOOL_CALL) > 0, refusal = count_kind(m->parts, PART_REFUSAL) > 0;
    bool text = count_kind(m->parts, PART_TEXT) > 0;
    if (!calls && !refusal && !text)
        return;
    open_message(r, "assistant");
    jw_key(&r->e.w, "content");
    if (text)
        write_texts(r, m->parts, PART_TEXT);
    else
        jw_null(&r->e.w);
    if (refusal) {
        jw_key(&r->e.w, "refusal");
        write_texts(r, m->parts, PART_REFUSAL);
    }
    if (calls && r->e.o->quirks & QUIRK_REASONING && count_kind(m->parts, PART_THINKING) > 0) {
        jw_key(&r->e.w, "reasoning_content");
        write_texts(r, m->parts, PART_THINKING);
    }
    if (calls)
        write_calls(r, m);
    jw_obj_end(&r->e.w);
}

static bool write_message(struct wr *r, const struct message *m) {
    switch (m->role) {
    case ROLE_SYSTEM:
    case ROLE_DEVELOPER:
        open_message(r, "system");
        jw_key(&r->e.w, "content");
        write_texts(r, m->parts, PART_TEXT);
        jw_obj_end(&r->e.w);
        return true;
    case ROLE_ASSISTANT:
        write_assistant(r, m);
        return true;
    case ROLE_USER:
    case ROLE_TOOL:
        return write_user(r, m);
    }
    return true;
}

static bool write_messages(struct wr *r) {
    jw_key(&r->e.w, "messages");
    jw_arr(&r->e.w);
    r->i = 0;
    for (const struct message *m = r->e.c->messages; m; m = m->next, r->i++)
        if (!write_message(r, m))
            return false;
    jw_arr_end(&r->e.w);
    return true;
}

/* --- tools --- */

static void write_tool(struct wr *r, const struct tool *t) {
    open_typed(r, "function");
    jw_key(&r->e.w, "function");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "name", t->name);
    if (t->description.n > 0)
        jw_kstr(&r->e.w, "description", t->description);
    if (t->schema) {
        jw_key(&r->e.w, "parameters");
        jw_tree(&r->e.w, t->schema);
    }
    if (t->strict >= 0)
        jw_kbool(&r->e.w, "strict", t->strict == 1);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

static void write_choice(struct wr *r) {
    const struct chat *c = r->e.c;
    if (c->choice == CHOICE_NAMED) {
        jw_key(&r->e.w, "tool_choice");
        open_typed(r, "function");
        jw_key(&r->e.w, "function");
        jw_obj(&r->e.w);
        jw_kstr(&r->e.w, "name", c->choice_name);
        jw_obj_end(&r->e.w);
        jw_obj_end(&r->e.w);
    } else if (c->choice != CHOICE_UNSET) {
        jw_kz(&r->e.w, "tool_choice",
              c->choice == CHOICE_AUTO   ? "auto"
              : c->choice == CHOICE_NONE ? "none"
                                         : "required");
    }
    if (c->parallel_calls >= 0)
        jw_kbool(&r->e.w, "parallel_tool_calls", c->parallel_calls == 1);
}

static bool write_tools(struct wr *r) {
    size_t n = 0, i = 0;
    for (const struct tool *t = r->e.c->tools; t; t = t->next, i++) {
        if (t->raw || t->custom) {
            if (!encode_unsupported(&r->e, arena_printf(r->e.a, "tools[%zu]", i),
                                    "is a tool of a kind that " NO_EQUIVALENT))
                return false;
            continue;
        }
        if (n++ == 0) {
            jw_key(&r->e.w, "tools");
            jw_arr(&r->e.w);
        }
        write_tool(r, t);
    }
    if (n == 0)
        return true;
    jw_arr_end(&r->e.w);
    write_choice(r);
    return true;
}

/* --- parameters --- */

static void write_stop(struct wr *r) {
    if (r->e.c->nstop == 0)
        return;
    jw_key(&r->e.w, "stop");
    jw_arr(&r->e.w);
    for (size_t i = 0; i < r->e.c->nstop; i++)
        jw_str(&r->e.w, r->e.c->stop[i]);
    jw_arr_end(&r->e.w);
}

static void write_format(struct wr *r) {
    const struct chat *c = r->e.c;
    if (c->format == FORMAT_UNSET)
        return;
    jw_key(&r->e.w, "response_format");
    if (c->format != FORMAT_SCHEMA) {
        open_typed(r, c->format == FORMAT_JSON ? "json_object" : "text");
        jw_obj_end(&r->e.w);
        return;
    }
    open_typed(r, "json_schema");
    jw_key(&r->e.w, "json_schema");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "name", c->format_name.n > 0 ? c->format_name : STR("answer"));
    if (c->format_description.n > 0)
        jw_kstr(&r->e.w, "description", c->format_description);
    if (c->format_schema) {
        jw_key(&r->e.w, "schema");
        jw_tree(&r->e.w, c->format_schema);
    }
    if (c->format_strict >= 0)
        jw_kbool(&r->e.w, "strict", c->format_strict == 1);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

/* A budget as one of OpenAI's words: the table that Anthropic's face uses, read backwards. */
static void write_effort(struct wr *r) {
    const struct chat *c = r->e.c;
    if (c->effort.n > 0)
        jw_kstr(&r->e.w, "reasoning_effort", c->effort);
    else if (c->thinking == THINKING_BUDGET)
        jw_kz(&r->e.w, "reasoning_effort",
              c->thinking_budget <= 2048    ? "low"
              : c->thinking_budget <= 10000 ? "medium"
                                            : "high");
}

/* What of the limits Mistral does not know; the user is only for accounts, and told as left out. */
static bool check_mistral(struct wr *r) {
    const struct chat *c = r->e.c;
    if (!mistral(r))
        return true;
    if (c->user.n > 0)
        encode_report(&r->e, STR("user"));
    if (c->logprobs && !encode_unsupported(&r->e, STR("logprobs"), NO_EQUIVALENT))
        return false;
    return !c->logit_bias || json_object_object_length(c->logit_bias) == 0 ||
           encode_unsupported(&r->e, STR("logit_bias"), NO_EQUIVALENT);
}

static void write_limits(struct wr *r) {
    const struct chat *c = r->e.c;
    if (c->max_tokens)
        jw_ku64(&r->e.w,
                r->e.o->quirks & QUIRK_MAX_COMPLETION_TOKENS ? "max_completion_tokens" : "max_tokens",
                c->max_tokens);
    if (c->n > 1 && !c->stream)
        jw_ku64(&r->e.w, "n", c->n);
    if (c->seed_set)
        jw_kint(&r->e.w, mistral(r) ? "random_seed" : "seed", c->seed);
    if (mistral(r))
        return;
    if (c->user.n > 0)
        jw_kstr(&r->e.w, "user", c->user);
    if (c->logprobs)
        jw_kbool(&r->e.w, "logprobs", true);
    if (c->top_logprobs >= 0)
        jw_kint(&r->e.w, "top_logprobs", c->top_logprobs);
    if (c->logit_bias) {
        jw_key(&r->e.w, "logit_bias");
        jw_tree(&r->e.w, c->logit_bias);
    }
}

/* Several answers are told apart in a whole answer only. */
static bool check_n(struct wr *r) {
    return r->e.c->n <= 1 || !r->e.c->stream ||
           encode_unsupported(&r->e, STR("n"), "cannot be more than 1 in a stream that is translated");
}

static void write_stream(struct wr *r) {
    if (!r->e.c->stream)
        return;
    jw_kbool(&r->e.w, "stream", true);
    if (r->e.o->quirks & QUIRK_NO_STREAM_OPTIONS)
        return;
    jw_key(&r->e.w, "stream_options"); /* always asked for: the account needs it */
    jw_obj(&r->e.w);
    jw_kbool(&r->e.w, "include_usage", true);
    jw_obj_end(&r->e.w);
}

/* Members that do not change what is answered. */
static bool is_hint(const char *key) {
    static const char *const hints[] = {"store", "prompt_cache_key", "prompt_cache_retention",
                                        "safety_identifier"};
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (strcmp(key, hints[i]) == 0)
            return true;
    return false;
}

/* A client of the same family, whose request was only made anew for a quirk: Mistral's own members. */
static bool akin(const struct wr *r, const char *key) {
    static const char *const own[] = {"random_seed", "safe_prompt", "prompt_mode",
                                      "guardrails",  "prediction",  "service_tier"};
    for (size_t i = 0; mistral(r) && i < sizeof own / sizeof *own; i++)
        if (strcmp(key, own[i]) == 0)
            return true;
    return false;
}

static bool write_extra(struct wr *r) {
    if (r->e.o->pass_unsupported)
        encode_number(&r->e, "top_k", &r->e.c->top_k);
    else if (r->e.c->top_k.set && !encode_unsupported(&r->e, STR("top_k"), NO_EQUIVALENT))
        return false;
    if (!r->e.c->extra)
        return true;
    json_object_object_foreach(r->e.c->extra, key, v) {
        if (is_hint(key))
            continue;
        if ((r->e.o->pass_unsupported || akin(r, key)) && !strchr(key, '[')) {
            jw_keys(&r->e.w, str_of(key));
            jw_tree(&r->e.w, v);
        } else if (!encode_unsupported(&r->e, str_of(key), NO_EQUIVALENT)) {
            return false;
        }
    }
    return true;
}

bool oc_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f) {
    struct wr r = {.e = {.a = a, .c = c, .o = o, .dropped = dropped, .f = f}};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    jw_init(&r.e.w, out);
    jw_obj(&r.e.w);
    jw_kstr(&r.e.w, "model", o->model);
    if (!write_messages(&r) || !write_tools(&r))
        return false;
    write_stream(&r);
    if (!check_n(&r) || !check_mistral(&r))
        return false;
    write_limits(&r);
    encode_number(&r.e, "temperature", &c->temperature);
    encode_number(&r.e, "top_p", &c->top_p);
    encode_number(&r.e, "frequency_penalty", &c->frequency_penalty);
    encode_number(&r.e, "presence_penalty", &c->presence_penalty);
    write_stop(&r);
    write_format(&r);
    write_effort(&r);
    if (!write_extra(&r))
        return false;
    jw_obj_end(&r.e.w);
    return true;
}
