/* A conversation as a Messages request: its tools, its parameters, and what of them cannot be said there.
 * That is refused by the client's name for it, or dropped and told of, as the route is configured. */
#include "anthropic_encode.h"
#include "claude.h"

#include <json-c/linkhash.h>
#include <strings.h>

#define MAX_TOKENS_DEFAULT 4096
#define USER_ID_MAX        256 /* metadata.user_id */

/* --- tools --- */

static void write_members(struct wr *r, struct json_object *o) {
    json_object_object_foreach(o, key, v) {
        jw_keys(&r->e.w, str_of(key));
        jw_tree(&r->e.w, v);
    }
}

/* input_schema must be an object's schema, and say so. */
static void write_schema(struct wr *r, struct json_object *schema) {
    jw_key(&r->e.w, "input_schema");
    if (schema && jo_get(schema, "type")) {
        jw_tree(&r->e.w, schema);
        return;
    }
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "object");
    if (!schema || !jo_get(schema, "properties")) {
        jw_key(&r->e.w, "properties");
        jw_obj(&r->e.w);
        jw_obj_end(&r->e.w);
    }
    if (schema)
        write_members(r, schema);
    jw_obj_end(&r->e.w);
}

static bool can_write(const struct tool *t) {
    return t->custom || !t->raw;
}

static bool write_tools(struct wr *r, size_t *written) {
    for (const struct tool *t = r->e.c->tools; t; t = t->next) {
        if (!can_write(t)) {
            if (!encode_unsupported(&r->e, arena_printf(r->e.a, "tools[%zu]", t->at),
                                    "is a tool of a kind that " NO_EQUIVALENT))
                return false;
            continue;
        }
        if ((*written)++ == 0) {
            jw_key(&r->e.w, "tools");
            jw_arr(&r->e.w);
        }
        jw_obj(&r->e.w);
        jw_kstr(&r->e.w, "name", t->name);
        if (t->description.n > 0)
            jw_kstr(&r->e.w, "description", t->description);
        write_schema(r, t->schema);
        if (t->strict == 1)
            jw_kbool(&r->e.w, "strict", true);
        an_write_cache_point(r, t->cache_point, t->cache_ttl);
        jw_obj_end(&r->e.w);
    }
    if (*written)
        jw_arr_end(&r->e.w);
    return true;
}

static void write_choice(struct wr *r) {
    const struct chat *c = r->e.c;
    static const char *const types[] = {[CHOICE_UNSET] = "auto",
                                        [CHOICE_AUTO] = "auto",
                                        [CHOICE_NONE] = "none",
                                        [CHOICE_REQUIRED] = "any",
                                        [CHOICE_NAMED] = "tool"};
    bool one = c->parallel_calls == 0 && c->choice != CHOICE_NONE;
    if (c->choice == CHOICE_UNSET && !one)
        return;
    jw_key(&r->e.w, "tool_choice");
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", types[c->choice]);
    if (c->choice == CHOICE_NAMED)
        jw_kstr(&r->e.w, "name", c->choice_name);
    if (one)
        jw_kbool(&r->e.w, "disable_parallel_tool_use", true);
    jw_obj_end(&r->e.w);
}

/* Is what the answer is forced to still there? What was left out takes the force with it. */
static bool check_choice(struct wr *r, bool *stands) {
    const struct chat *c = r->e.c;
    bool left_out = false;
    *stands = c->choice != CHOICE_REQUIRED && c->choice != CHOICE_NAMED;
    for (const struct tool *t = c->tools; t; t = t->next) {
        if (c->choice == CHOICE_NAMED && !str_eq(t->name, c->choice_name))
            continue;
        *stands = *stands || can_write(t);
        left_out = left_out || !can_write(t);
    }
    if (*stands)
        return true;
    if (left_out)
        return encode_unsupported(&r->e, STR("tool_choice"), "forces a tool of a kind that " NO_EQUIVALENT);
    return encode_bad(&r->e, STR("tool_choice"), "there is no such tool to choose");
}

static bool write_tools_and_choice(struct wr *r) {
    size_t n = 0;
    bool stands;
    if (!write_tools(r, &n) || !check_choice(r, &stands))
        return false;
    if (n > 0 && stands)
        write_choice(r);
    return true;
}

/* --- thinking and the form of the answer --- */

/* With a budget an answer in a tool loop must begin with its thinking; a client that has lost it cannot think
 * on. */
static bool loop_lacks_thinking(const struct wr *r) {
    const struct turn *said = NULL;
    for (const struct turn *t = r->turns; t; t = t->next)
        if (t->assistant)
            said = t;
    if (!said || !said->next || !said->next->results)
        return false;
    return said->rest->part->kind != PART_THINKING && said->rest->part->kind != PART_THINKING_REDACTED;
}

static void plan_budget(struct wr *r, uint64_t tokens) {
    if (claude_is_forced(r->e.c) || r->max_tokens <= 1024 || loop_lacks_thinking(r)) {
        encode_report(&r->e, STR("reasoning_effort")); /* Anthropic refuses the combination */
        return;
    }
    uint64_t most = r->max_tokens / 2 > 1024 ? r->max_tokens / 2 : 1024;
    r->budget = true;
    r->budget_tokens = tokens < 1024 ? 1024 : tokens < most ? tokens : most;
}

static bool plan_thinking(struct wr *r) {
    const struct chat *c = r->e.c;
    bool none = str_is(c->effort, "none");
    uint64_t tokens = c->thinking == THINKING_BUDGET ? c->thinking_budget : claude_budget(c->effort);
    if (c->effort.n > 0 && !none && claude_budget(c->effort) == 0)
        return encode_bad(&r->e, STR("reasoning_effort"),
                          "expected none, minimal, low, medium, high, xhigh or max");
    if (none || c->thinking == THINKING_OFF)
        r->no_thinking = true;
    else if (c->thinking == THINKING_BUDGET || (c->effort.n > 0 && claude_wants_budget(r->e.o->model)))
        plan_budget(r, tokens);
    else if (c->thinking == THINKING_ADAPTIVE || c->effort.n > 0)
        r->adaptive = true;
    return true;
}

static void write_thinking_mode(struct wr *r) {
    if (!r->budget && !r->adaptive && !r->no_thinking)
        return;
    jw_key(&r->e.w, "thinking");
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", r->budget ? "enabled" : r->adaptive ? "adaptive" : "disabled");
    if (r->budget)
        jw_ku64(&r->e.w, "budget_tokens", r->budget_tokens);
    jw_obj_end(&r->e.w);
}

static bool mentions_json(const struct chat *c) {
    for (const struct message *m = c->messages; m; m = m->next)
        for (const struct part *p = m->parts; p; p = p->next)
            for (size_t i = 0; i + 4 <= p->text.n; i++)
                if (strncasecmp(p->text.p + i, "json", 4) == 0)
                    return true;
    return false;
}

/* Anthropic has no mode for JSON without a schema. OpenAI demands that the prompt itself asks for JSON then,
 * so that nothing but the guarantee is lost: it is told as dropped. */
static bool check_format(struct wr *r) {
    if (r->e.c->format != FORMAT_JSON)
        return true;
    if (!mentions_json(r->e.c))
        return encode_unsupported(&r->e, STR("response_format"), "of type json_object " NO_EQUIVALENT);
    encode_report(&r->e, STR("response_format"));
    return true;
}

static void write_output_config(struct wr *r) {
    const struct chat *c = r->e.c;
    bool schema = c->format == FORMAT_SCHEMA && c->format_schema;
    bool effort = r->adaptive && c->effort.n > 0;
    if (!schema && !effort)
        return;
    jw_key(&r->e.w, "output_config");
    jw_obj(&r->e.w);
    if (effort)
        jw_kstr(&r->e.w, "effort", str_is(c->effort, "minimal") ? STR("low") : c->effort);
    if (schema) {
        jw_key(&r->e.w, "format");
        jw_obj(&r->e.w);
        jw_kz(&r->e.w, "type", "json_schema");
        jw_key(&r->e.w, "schema");
        jw_tree(&r->e.w, c->format_schema);
        jw_obj_end(&r->e.w);
    }
    jw_obj_end(&r->e.w);
}

/* --- parameters --- */

static void write_sample(struct wr *r, const char *name, const struct opt_num *n, bool taken) {
    if (taken)
        encode_number(&r->e, name, n);
    else if (n->set)
        encode_report(&r->e, str_of(name));
}

static void write_sampling(struct wr *r) {
    const struct chat *c = r->e.c;
    bool any = claude_takes_sampling(r->e.o->model), thinks = r->budget || r->adaptive;
    bool warmth = c->temperature.set && any && !thinks;
    if (warmth && c->temperature.v > 1) {
        encode_report(&r->e, STR("temperature")); /* OpenAI's go to 2, Anthropic's to 1 */
        jw_kint(&r->e.w, "temperature", 1);
    } else if (c->temperature.v != 1 || !thinks) { /* refused together with thinking, but for the default */
        write_sample(r, "temperature", &c->temperature, warmth);
    }
    bool second = warmth && !claude_takes_both(r->e.o->model);
    write_sample(r, "top_p", &c->top_p, any && !second && (!thinks || c->top_p.v >= 0.95));
    write_sample(r, "top_k", &c->top_k, any && !thinks);
}

static void write_stop(struct wr *r) {
    bool any = false;
    for (size_t i = 0; i < r->e.c->nstop; i++) {
        if (an_trim_end(r->e.c->stop[i]).n == 0) { /* white space only: refused */
            encode_report(&r->e, STR("stop"));
            continue;
        }
        if (!any) {
            jw_key(&r->e.w, "stop_sequences");
            jw_arr(&r->e.w);
        }
        any = true;
        jw_str(&r->e.w, r->e.c->stop[i]);
    }
    if (any)
        jw_arr_end(&r->e.w);
}

static void write_user(struct wr *r) {
    struct str user = r->e.c->user;
    if (user.n == 0)
        user = jo_str(r->e.c->extra, "safety_identifier"); /* what OpenAI has put in its place */
    if (user.n == 0)
        return;
    if (user.n > USER_ID_MAX) {
        encode_report(&r->e, STR("user"));
        return;
    }
    jw_key(&r->e.w, "metadata");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "user_id", user);
    jw_obj_end(&r->e.w);
}

static bool penalty(struct wr *r, const char *name, const struct opt_num *n) {
    return !n->set || n->v == 0 || encode_unsupported(&r->e, str_of(name), NO_EQUIVALENT);
}

/* What the canonical form knows and Anthropic does not. The seed only hopes for sameness: dropping it is
 * told. */
static bool check_known(struct wr *r) {
    const struct chat *c = r->e.c;
    if (r->e.o->pass_unsupported)
        return check_format(r);
    if (c->seed_set)
        encode_report(&r->e, STR("seed"));
    if (c->n > 1 && !encode_unsupported(&r->e, STR("n"), NO_EQUIVALENT))
        return false;
    if (c->logprobs && !encode_unsupported(&r->e, STR("logprobs"), NO_EQUIVALENT))
        return false;
    if (c->logit_bias && json_object_is_type(c->logit_bias, json_type_object) &&
        json_object_object_length(c->logit_bias) > 0 &&
        !encode_unsupported(&r->e, STR("logit_bias"), NO_EQUIVALENT))
        return false;
    return penalty(r, "frequency_penalty", &c->frequency_penalty) &&
           penalty(r, "presence_penalty", &c->presence_penalty) && check_format(r);
}

/* on_unsupported: pass. The provider is to say what it thinks of them, under the client's names. */
static void write_passed(struct wr *r) {
    const struct chat *c = r->e.c;
    if (!r->e.o->pass_unsupported)
        return;
    if (c->seed_set)
        jw_kint(&r->e.w, "seed", c->seed);
    if (c->n > 1)
        jw_ku64(&r->e.w, "n", c->n);
    if (c->logprobs)
        jw_kbool(&r->e.w, "logprobs", true);
    if (c->logit_bias) {
        jw_key(&r->e.w, "logit_bias");
        jw_tree(&r->e.w, c->logit_bias);
    }
    encode_number(&r->e, "frequency_penalty", &c->frequency_penalty);
    encode_number(&r->e, "presence_penalty", &c->presence_penalty);
}

static bool is_inner(const char *name) { /* of a message */
    return strchr(name, '[') != NULL;
}

/* First of all: a message may be nothing without it. */
static bool check_inner(struct wr *r) {
    if (!r->e.c->extra)
        return true;
    json_object_object_foreach(r->e.c->extra, key, v) {
        (void)v;
        if (is_inner(key) && !encode_unsupported(&r->e, str_of(key), NO_EQUIVALENT))
            return false;
    }
    return true;
}

static bool write_extra(struct wr *r) {
    return encode_extra(&r->e, "cache_control", "*[*");
}

static void write_head(struct wr *r) {
    if (r->e.o->quirks & QUIRK_VERTEX) /* the model is in the path */
        jw_kz(&r->e.w, "anthropic_version", "vertex-2023-10-16");
    else if (r->e.o->quirks & QUIRK_BEDROCK)
        jw_kz(&r->e.w, "anthropic_version", "bedrock-2023-05-31");
    else
        jw_kstr(&r->e.w, "model", r->e.o->model);
    if (r->count)
        return;
    jw_ku64(&r->e.w, "max_tokens", r->max_tokens);
    if (r->e.c->stream && !(r->e.o->quirks & QUIRK_BEDROCK))
        jw_kbool(&r->e.w, "stream", true);
}

static bool write_rest(struct wr *r) {
    write_sampling(r);
    write_stop(r);
    write_user(r);
    write_passed(r);
    return write_extra(r);
}

static bool write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, bool count,
                          struct buf *out, struct buf *dropped, struct fault *f) {
    struct wr r = {.e = {.a = a, .c = c, .o = o, .dropped = dropped, .f = f}, .count = count};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    r.max_tokens = c->max_tokens           ? c->max_tokens
                   : o->default_max_tokens ? o->default_max_tokens
                                           : MAX_TOKENS_DEFAULT;
    if (!check_inner(&r) || !an_make_turns(&r) || !check_known(&r) || !plan_thinking(&r))
        return false;
    jw_init(&r.e.w, out);
    jw_obj(&r.e.w);
    write_head(&r);
    if (!an_write_system(&r) || !an_write_messages(&r) || !write_tools_and_choice(&r))
        return false;
    write_thinking_mode(&r);
    write_output_config(&r);
    if (!count && !write_rest(&r))
        return false;
    jw_obj_end(&r.e.w);
    return true;
}

bool an_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f) {
    return write_request(a, c, o, false, out, dropped, f);
}

bool an_write_count_request(struct arena *a, const struct chat *c, const struct encode_opt *o,
                            struct buf *out, struct buf *dropped, struct fault *f) {
    return write_request(a, c, o, true, out, dropped, f);
}
