/* A conversation of another dialect as a chat request: all but its messages. */
#include "openai_chat_encode.h"

#include <json-c/linkhash.h>
#include <stdio.h>

/* --- tools --- */

static void write_tool(struct oc_wr *r, const struct tool *t) {
    oc_open_typed(r, "function");
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

static void write_choice(struct oc_wr *r) {
    const struct chat *c = r->e.c;
    if (c->choice == CHOICE_NAMED) {
        jw_key(&r->e.w, "tool_choice");
        oc_open_typed(r, "function");
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

static bool write_tools(struct oc_wr *r) {
    size_t n = 0;
    for (const struct tool *t = r->e.c->tools; t; t = t->next) {
        if (t->raw && !t->custom) {
            if (!encode_unsupported(&r->e, arena_printf(r->e.a, "tools[%zu]", t->at),
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

static void write_stop(struct oc_wr *r) {
    if (r->e.c->nstop == 0)
        return;
    jw_key(&r->e.w, "stop");
    jw_arr(&r->e.w);
    for (size_t i = 0; i < r->e.c->nstop; i++)
        jw_str(&r->e.w, r->e.c->stop[i]);
    jw_arr_end(&r->e.w);
}

static void write_format(struct oc_wr *r) {
    const struct chat *c = r->e.c;
    if (c->format == FORMAT_UNSET)
        return;
    jw_key(&r->e.w, "response_format");
    if (c->format != FORMAT_SCHEMA) {
        oc_open_typed(r, c->format == FORMAT_JSON ? "json_object" : "text");
        jw_obj_end(&r->e.w);
        return;
    }
    oc_open_typed(r, "json_schema");
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

/* The most is "max" for some (OpenRouter, DeepSeek), "xhigh" for OpenAI and Mistral, "high" for who only
 * knows three. */
static struct str effort_word(const struct oc_wr *r) {
    struct str effort = r->e.c->effort;
    unsigned quirks = r->e.o->quirks;
    if (quirks & (QUIRK_DETAILS | QUIRK_REASONING) || (!str_is(effort, "max") && !str_is(effort, "xhigh")))
        return effort;
    return quirks & (QUIRK_MAX_COMPLETION_TOKENS | QUIRK_MISTRAL) ? STR("xhigh") : STR("high");
}

/* A budget as one of OpenAI's words: the table that Anthropic's face uses, read backwards. */
static void write_effort(struct oc_wr *r) {
    const struct chat *c = r->e.c;
    if (c->effort.n > 0)
        jw_kstr(&r->e.w, "reasoning_effort", effort_word(r));
    else if (c->thinking == THINKING_BUDGET)
        jw_kz(&r->e.w, "reasoning_effort",
              c->thinking_budget <= 2048    ? "low"
              : c->thinking_budget <= 10000 ? "medium"
                                            : "high");
}

/* What of the limits Mistral does not know; the user is only for accounts, and told as left out. */
static bool check_mistral(struct oc_wr *r) {
    const struct chat *c = r->e.c;
    if (!oc_mistral(r))
        return true;
    if (c->user.n > 0)
        encode_report(&r->e, STR("user"));
    if (c->logprobs && !encode_unsupported(&r->e, STR("logprobs"), NO_EQUIVALENT))
        return false;
    return !c->logit_bias || json_object_object_length(c->logit_bias) == 0 ||
           encode_unsupported(&r->e, STR("logit_bias"), NO_EQUIVALENT);
}

static void write_limits(struct oc_wr *r) {
    const struct chat *c = r->e.c;
    if (c->max_tokens)
        jw_ku64(&r->e.w,
                r->e.o->quirks & QUIRK_MAX_COMPLETION_TOKENS ? "max_completion_tokens" : "max_tokens",
                c->max_tokens);
    if (c->n > 1 && !c->stream)
        jw_ku64(&r->e.w, "n", c->n);
    if (c->seed_set)
        jw_kint(&r->e.w, oc_mistral(r) ? "random_seed" : "seed", c->seed);
    if (oc_mistral(r))
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
static bool check_n(struct oc_wr *r) {
    return r->e.c->n <= 1 || !r->e.c->stream ||
           encode_unsupported(&r->e, STR("n"), "cannot be more than 1 in a stream that is translated");
}

static void write_stream(struct oc_wr *r) {
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

/* Mistral's own members come from its own clients, whose requests are only made anew for a quirk. */
static bool write_extra(struct oc_wr *r) {
    if (r->e.o->pass_unsupported)
        encode_number(&r->e, "top_k", &r->e.c->top_k);
    else if (r->e.c->top_k.set && !encode_unsupported(&r->e, STR("top_k"), NO_EQUIVALENT))
        return false;
    return encode_extra(
        &r->e, oc_mistral(r) ? "random_seed safe_prompt prompt_mode guardrails prediction service_tier" : "",
        "");
}

bool oc_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f) {
    struct oc_wr r = {.e = {.a = a, .c = c, .o = o, .dropped = dropped, .f = f}};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    jw_init(&r.e.w, out);
    jw_obj(&r.e.w);
    jw_kstr(&r.e.w, "model", o->model);
    if (!oc_write_messages(&r) || !write_tools(&r))
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
