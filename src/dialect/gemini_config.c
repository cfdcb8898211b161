/* generationConfig of a generateContent request into the canonical form. */
#include "gemini_read.h"

#include "answer.h"

#include <json-c/linkhash.h>

static bool number(struct gm_rd *r, struct opt_num *n, struct json_object *v, const char *name) {
    struct json_value j =
        gm_number(json_object_is_type(v, json_type_string) ? jo_text(v) : tree_text(r->a, v));
    *n = (struct opt_num){.set = true, .text = j.raw};
    return json_double(j, &n->v) ||
           gm_refuse(r, arena_printf(r->a, "generationConfig.%s", name), "expected a number");
}

static bool integer(struct gm_rd *r, int64_t *n, struct json_object *v, const char *name) {
    return gm_integer(r->a, v, n) ||
           gm_refuse(r, arena_printf(r->a, "generationConfig.%s", name), "expected an integer");
}

/* "40.0" is an integer in other words here, and only here. */
static void whole_number(struct gm_rd *r, struct opt_num *n) {
    if (n->set && n->v >= 0 && n->v < 1e9 && n->v == (double)(uint64_t)n->v)
        n->text = arena_u64(r->a, (uint64_t)n->v);
}

static bool read_stops(struct gm_rd *r, struct json_object *v) {
    struct chat *c = r->c;
    c->nstop = gm_length(json_object_is_type(v, json_type_array) ? v : NULL);
    c->stop = arena_array(r->a, c->nstop ? c->nstop : 1, sizeof *c->stop);
    for (size_t i = 0; i < c->nstop; i++) {
        struct json_object *s = json_object_array_get_idx(v, i);
        if (!json_object_is_type(s, json_type_string))
            return gm_refuse(r, STR("generationConfig.stopSequences"), "expected strings");
        c->stop[i] = jo_text(s);
    }
    return true;
}

static bool read_thinking(struct gm_rd *r, struct json_object *o) {
    struct json_object *budget = gm_get(o, "thinkingBudget");
    int64_t n;
    struct str level = gm_get_str(o, "thinkingLevel");
    static const char *const levels[] = {"minimal", "low", "medium", "high"};
    for (size_t i = 0; i < 4; i++)
        if (str_isi(level, levels[i]))
            r->c->effort = str_of(levels[i]);
    if (!budget)
        return true;
    if (!integer(r, &n, budget, "thinkingConfig.thinkingBudget"))
        return false;
    r->c->thinking = n < 0 ? THINKING_ADAPTIVE : n == 0 ? THINKING_OFF : THINKING_BUDGET;
    r->c->thinking_budget = n > 0 ? (uint64_t)n : 0;
    return true;
}

static bool is_text_only(struct json_object *v) {
    return gm_length(json_object_is_type(v, json_type_array) ? v : NULL) == 1 &&
           str_isi(jo_text(json_object_array_get_idx(v, 0)), "text");
}

static bool config_number(struct gm_rd *r, const char *key, struct json_object *v, bool *ok) {
    struct chat *c = r->c;
    const struct {
        const char *name;
        struct opt_num *n;
    } rows[] = {{"temperature", &c->temperature},
                {"topP", &c->top_p},
                {"topK", &c->top_k},
                {"presencePenalty", &c->presence_penalty},
                {"frequencyPenalty", &c->frequency_penalty}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (gm_same_name(key, rows[i].name)) {
            *ok = number(r, rows[i].n, v, rows[i].name);
            return true;
        }
    return false;
}

static bool config_member(struct gm_rd *r, const char *key, struct json_object *v,
                          struct json_object *config) {
    struct chat *c = r->c;
    bool ok = true;
    if (!v || config_number(r, key, v, &ok))
        return ok;
    if (gm_same_name(key, "stopSequences"))
        return read_stops(r, v);
    if (gm_same_name(key, "seed")) {
        return c->seed_set = integer(r, &c->seed, v, "seed");
    } else if (gm_same_name(key, "responseLogprobs")) {
        c->logprobs = json_object_get_boolean(v);
    } else if (gm_same_name(key, "logprobs")) {
        return integer(r, &c->top_logprobs, v, "logprobs");
    } else if (gm_same_name(key, "thinkingConfig")) {
        return read_thinking(r, v);
    } else if (gm_same_name(key, "responseMimeType")) {
        if (str_is(jo_text(v), "application/json") && c->format == FORMAT_UNSET)
            c->format = FORMAT_JSON;
        else if (str_is(jo_text(v), "text/x.enum"))
            gm_keep(r, STR("generationConfig.responseMimeType"), v);
    } else if (gm_same_name(key, "responseSchema") || gm_same_name(key, "responseJsonSchema") ||
               strcmp(key, "_responseJsonSchema") == 0) {
        c->format = FORMAT_SCHEMA;
        c->format_name = STR("response");
        c->format_schema = gm_schema_of(r, config, "responseSchema", "responseJsonSchema");
        if (!c->format_schema && json_object_is_type(v, json_type_object))
            c->format_schema = v;
    } else if (!gm_same_name(key, "maxOutputTokens") && !gm_same_name(key, "candidateCount") &&
               !(gm_same_name(key, "responseModalities") && is_text_only(v))) {
        gm_keep(r, arena_printf(r->a, "generationConfig.%s", key), v);
    }
    return true;
}

bool gm_read_config(struct gm_rd *r, struct json_object *o) {
    if (!json_object_is_type(o, json_type_object))
        return true;
    json_object_object_foreach(o, key, v) {
        if (!config_member(r, key, v, o))
            return false;
    }
    whole_number(r, &r->c->top_k);
    return true;
}
