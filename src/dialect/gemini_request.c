/* A conversation as a generateContent request: its tools, its parameters, and what of them cannot be said
 * there. That is refused by the client's name for it, or dropped and told of, as the route is configured. */
#include "gemini_encode.h"
#include "schema_down.h"

#include <json-c/linkhash.h>

enum { STOPS_MAX = 5 };

/* 3 of "gemini-3.1-pro-preview"; 0: none of Gemini's names. */
static unsigned major_of(struct str model) {
    ptrdiff_t at = str_find(model, STR("gemini-"));
    struct str rest = at < 0 ? STR_NONE : str_skip(model, (size_t)at + 7);
    unsigned n = 0;
    for (size_t i = 0; i < rest.n && i < 2 && rest.p[i] >= '0' && rest.p[i] <= '9'; i++)
        n = n * 10 + (unsigned)(rest.p[i] - '0');
    return n;
}

/* --- tools --- */

/* A tool of Gemini's own, as its clients name it: {"googleSearch":{}}. */
static bool is_builtin(const struct tool *t) {
    return t->raw && !t->custom && !jo_get(t->raw, "type") && !jo_get(t->raw, "function");
}

static bool is_function(const struct tool *t) {
    return t->custom || !t->raw;
}

static bool write_declaration(struct gm_wr *r, const struct tool *t) {
    struct json_object *schema = NULL;
    if (t->schema && json_object_object_length(t->schema) > 0 &&
        !schema_down(&r->e, t->schema, arena_printf(r->e.a, "tools[%zu].parameters", t->at),
                     arena_printf(r->e.a, "the tool \"" STR_FMT "\"", STR_ARG(t->name)), &schema))
        return false;
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "name", t->name);
    if (t->description.n > 0)
        jw_kstr(&r->e.w, "description", t->description);
    if (schema) {
        jw_key(&r->e.w, "parametersJsonSchema");
        jw_tree(&r->e.w, schema);
    }
    jw_obj_end(&r->e.w);
    return true;
}

static bool write_declarations(struct gm_wr *r, size_t *n) {
    for (const struct tool *t = r->e.c->tools; t; t = t->next) {
        if (!is_function(t))
            continue;
        if ((*n)++ == 0) {
            jw_obj(&r->e.w);
            jw_key(&r->e.w, "functionDeclarations");
            jw_arr(&r->e.w);
        }
        if (!write_declaration(r, t))
            return false;
    }
    if (*n) {
        jw_arr_end(&r->e.w);
        jw_obj_end(&r->e.w);
    }
    return true;
}

static bool check_tools(struct gm_wr *r, size_t *written) {
    for (const struct tool *t = r->e.c->tools; t; t = t->next) {
        bool can = is_builtin(t) || is_function(t);
        *written += can;
        if (!can && !encode_unsupported(&r->e, arena_printf(r->e.a, "tools[%zu]", t->at),
                                        "is a tool of a kind that " NO_EQUIVALENT))
            return false;
    }
    return true;
}

static bool write_tools(struct gm_wr *r, size_t *functions) {
    size_t any = 0;
    if (!check_tools(r, &any))
        return false;
    if (any == 0)
        return true;
    jw_key(&r->e.w, "tools");
    jw_arr(&r->e.w);
    if (!write_declarations(r, functions))
        return false;
    for (const struct tool *t = r->e.c->tools; t; t = t->next)
        if (is_builtin(t))
            jw_tree(&r->e.w, t->raw);
    jw_arr_end(&r->e.w);
    return true;
}

static bool named_stands(const struct chat *c) {
    for (const struct tool *t = c->tools; t; t = t->next)
        if (is_function(t) && str_eq(t->name, c->choice_name))
            return true;
    return false;
}

static bool write_choice(struct gm_wr *r, size_t functions) {
    const struct chat *c = r->e.c;
    static const char *const modes[] = {[CHOICE_UNSET] = "AUTO",
                                        [CHOICE_AUTO] = "AUTO",
                                        [CHOICE_NONE] = "NONE",
                                        [CHOICE_REQUIRED] = "ANY",
                                        [CHOICE_NAMED] = "ANY"};
    if (functions > 0 && !encode_one_call(&r->e))
        return false;
    bool forced = c->choice == CHOICE_REQUIRED || c->choice == CHOICE_NAMED;
    if (forced && (functions == 0 || (c->choice == CHOICE_NAMED && !named_stands(c))))
        return c->tools ? encode_unsupported(&r->e, STR("tool_choice"),
                                             "forces a tool of a kind that " NO_EQUIVALENT)
                        : encode_bad(&r->e, STR("tool_choice"), "there is no such tool to choose");
    if (c->choice == CHOICE_UNSET || functions == 0)
        return true;
    jw_key(&r->e.w, "toolConfig");
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "functionCallingConfig");
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "mode", modes[c->choice]);
    if (c->choice == CHOICE_NAMED) {
        jw_key(&r->e.w, "allowedFunctionNames");
        jw_arr(&r->e.w);
        jw_str(&r->e.w, c->choice_name);
        jw_arr_end(&r->e.w);
    }
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    return true;
}

/* --- thinking --- */

static const struct {
    const char *effort, *level;
    int64_t budget;
} efforts[] = {
    {"none", "MINIMAL", 0},  {"minimal", "MINIMAL", 512}, {"low", "LOW", 1024},   {"medium", "MEDIUM", 8192},
    {"high", "HIGH", 24576}, {"xhigh", "HIGH", 24576},    {"max", "HIGH", 24576},
};

static const char *level_of(uint64_t budget) {
    return budget <= 4096 ? "LOW" : budget <= 16384 ? "MEDIUM" : "HIGH";
}

/* The Pro models cannot but think; each has its most, above which a budget is refused. */
static bool is_pro(const struct gm_wr *r) {
    return str_find(r->e.o->model, STR("-pro")) >= 0;
}

static int64_t fitting_budget(const struct gm_wr *r, int64_t budget) {
    int64_t most = is_pro(r) ? 32768 : 24576;
    return budget < most ? budget : most;
}

static void write_thinking(struct gm_wr *r, const char *level, int64_t budget, bool shown) {
    if (level && is_pro(r) && strcmp(level, "MINIMAL") == 0)
        level = "LOW";
    jw_key(&r->e.w, "thinkingConfig");
    jw_obj(&r->e.w);
    if (shown)
        jw_kbool(&r->e.w, "includeThoughts", true);
    if (r->major >= 3 && level)
        jw_kz(&r->e.w, "thinkingLevel", level);
    else if (r->major < 3)
        jw_kint(&r->e.w, "thinkingBudget", fitting_budget(r, budget));
    jw_obj_end(&r->e.w);
}

static bool thinking(struct gm_wr *r) {
    const struct chat *c = r->e.c;
    size_t i = 0, n = sizeof efforts / sizeof *efforts;
    while (c->effort.n > 0 && i < n && !str_is(c->effort, efforts[i].effort))
        i++;
    if (c->effort.n > 0 && i == n)
        return encode_bad(&r->e, STR("reasoning_effort"),
                          "expected none, minimal, low, medium, high, xhigh or max");
    bool asked = c->effort.n > 0 || c->thinking != THINKING_UNSET;
    bool off = c->thinking == THINKING_OFF || (c->effort.n > 0 && i == 0);
    if (!asked)
        return true;
    if (r->major == 1 || r->major == 2) {
        bool knows = str_find(r->e.o->model, STR("gemini-2.5")) >= 0;
        if (!knows && !off) /* older ones do not think */
            encode_report(&r->e, STR("reasoning_effort"));
        if (!knows)
            return true;
    }
    if (off && is_pro(r))
        encode_report(&r->e, STR("reasoning_effort"));
    if (off)
        write_thinking(r, "MINIMAL", is_pro(r) ? 128 : 0, false);
    else if (c->thinking == THINKING_BUDGET)
        write_thinking(r, level_of(c->thinking_budget), (int64_t)c->thinking_budget, true);
    else if (c->effort.n > 0)
        write_thinking(r, efforts[i].level, efforts[i].budget, true);
    else
        write_thinking(r, NULL, -1, true);
    return true;
}

/* --- parameters --- */

static bool format(struct gm_wr *r) {
    const struct chat *c = r->e.c;
    struct json_object *schema = NULL;
    if (c->format != FORMAT_JSON && c->format != FORMAT_SCHEMA)
        return true;
    if (c->format == FORMAT_SCHEMA && c->format_schema &&
        !schema_down(&r->e, c->format_schema, STR("response_format.schema"), STR("the response format"),
                     &schema))
        return false;
    jw_kz(&r->e.w, "responseMimeType", "application/json");
    if (schema) {
        jw_key(&r->e.w, "responseJsonSchema");
        jw_tree(&r->e.w, schema);
    }
    return true;
}

static bool stops(struct gm_wr *r) {
    const struct chat *c = r->e.c;
    size_t n = 0;
    for (size_t i = 0; i < c->nstop; i++) {
        if (c->stop[i].n == 0)
            continue;
        if (n == STOPS_MAX)
            return encode_unsupported(&r->e, STR("stop"), "has more sequences than this provider takes");
        n++;
    }
    return true;
}

static void write_stops(struct gm_wr *r) {
    const struct chat *c = r->e.c;
    size_t n = 0;
    for (size_t i = 0; i < c->nstop && n < STOPS_MAX; i++) {
        if (c->stop[i].n == 0)
            continue;
        if (n++ == 0) {
            jw_key(&r->e.w, "stopSequences");
            jw_arr(&r->e.w);
        }
        jw_str(&r->e.w, c->stop[i]);
    }
    if (n)
        jw_arr_end(&r->e.w);
}

static bool check_known(struct gm_wr *r) {
    const struct chat *c = r->e.c;
    if (c->n > 1 && c->stream && !encode_unsupported(&r->e, STR("n"), "can only be one in a stream here"))
        return false;
    if (c->logit_bias && json_object_is_type(c->logit_bias, json_type_object) &&
        json_object_object_length(c->logit_bias) > 0 &&
        !encode_unsupported(&r->e, STR("logit_bias"), NO_EQUIVALENT))
        return false;
    return stops(r);
}

static void write_numbers(struct gm_wr *r) {
    const struct chat *c = r->e.c;
    encode_number(&r->e, "temperature", &c->temperature);
    encode_number(&r->e, "topP", &c->top_p);
    encode_number(&r->e, "topK", &c->top_k);
    if (c->max_tokens)
        jw_ku64(&r->e.w, "maxOutputTokens", c->max_tokens);
    write_stops(r);
    if (c->n > 1 && !c->stream)
        jw_ku64(&r->e.w, "candidateCount", c->n);
    if (c->seed_set)
        jw_kint(&r->e.w, "seed", c->seed);
    encode_number(&r->e, "presencePenalty", &c->presence_penalty);
    encode_number(&r->e, "frequencyPenalty", &c->frequency_penalty);
    if (c->logprobs) {
        jw_kbool(&r->e.w, "responseLogprobs", true);
        if (c->top_logprobs > 0)
            jw_kint(&r->e.w, "logprobs", c->top_logprobs);
    }
}

#define CONFIG "generationConfig."

/* What a client of this dialect has said beyond the canonical form. */
static void write_own_config(struct gm_wr *r) {
    if (!r->e.c->extra)
        return;
    json_object_object_foreach(r->e.c->extra, key, v) {
        if (strncmp(key, CONFIG, strlen(CONFIG)) == 0) {
            jw_keys(&r->e.w, str_of(key + strlen(CONFIG)));
            jw_tree(&r->e.w, v);
        }
    }
}

/* Printed apart: where nothing was said no empty object is sent. */
static bool write_config(struct gm_wr *r) {
    struct jw outer = r->e.w;
    struct buf b;
    buf_init(&b, 0);
    jw_init(&r->e.w, &b);
    jw_obj(&r->e.w);
    write_numbers(r);
    bool ok = format(r) && thinking(r);
    write_own_config(r);
    jw_obj_end(&r->e.w);
    r->e.w = outer;
    if (ok && buf_len(&b) > 2) {
        jw_key(&r->e.w, "generationConfig");
        jw_raw(&r->e.w, buf_str(&b));
    }
    buf_free(&b);
    return ok;
}

/* --- what is left --- */

static bool write_extra(struct gm_wr *r) {
    return encode_extra(&r->e, "safetySettings cachedContent labels serviceTier modelArmorConfig",
                        CONFIG "* cache_control");
}

bool gm_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f) {
    struct gm_wr r = {.e = {.a = a, .c = c, .o = o, .dropped = dropped, .f = f}};
    size_t functions = 0;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    r.major = major_of(o->model);
    if (!gm_make_turns(&r) || !check_known(&r))
        return false;
    jw_init(&r.e.w, out);
    jw_obj(&r.e.w);
    if (!gm_write_system(&r) || !gm_write_contents(&r) || !write_tools(&r, &functions) ||
        !write_choice(&r, functions) || !write_config(&r) || !write_extra(&r))
        return false;
    jw_obj_end(&r.e.w);
    return true;
}
