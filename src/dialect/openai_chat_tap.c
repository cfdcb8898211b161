/* Watching an OpenAI-shaped answer go by: usage, stop and errors are noted, the bytes are left alone. One
 * quick walk over an event decides whether it says anything; only then (twice or thrice a stream) it is
 * scanned strictly. */
#include "answer.h"
#include "base/json_walk.h"
#include "openai_chat.h"

/* --- words --- */

/* Besides OpenAI's own: Together "eos", TGI "eos_token", Mistral "model_length", Z.ai "sensitive", vLLM and
 * SGLang "abort", DeepSeek "insufficient_system_resource". */
static const struct {
    const char *word;
    enum stop_reason stop;
} stops[] = {
    {"stop", STOP_END},
    {"length", STOP_LENGTH},
    {"tool_calls", STOP_TOOLS},
    {"content_filter", STOP_FILTER},
    {"function_call", STOP_TOOLS},
    {"eos", STOP_END},
    {"eos_token", STOP_END},
    {"end_turn", STOP_END},
    {"stop_sequence", STOP_SEQUENCE},
    {"max_tokens", STOP_LENGTH},
    {"model_length", STOP_CONTEXT},
    {"sensitive", STOP_FILTER},
    {"error", STOP_ERROR},
    {"network_error", STOP_ERROR},
    {"abort", STOP_ERROR},
    {"insufficient_system_resource", STOP_ERROR},
};

enum stop_reason oc_stop(struct str finish_reason) {
    if (finish_reason.n == 0)
        return STOP_UNSET;
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
        if (str_is(finish_reason, stops[i].word))
            return stops[i].stop;
    return STOP_UNKNOWN;
}

/* --- usage --- */

struct counts {
    struct usage *u;
    uint64_t total, hit, miss;
    bool untrue; /* a count that is none: then the others are not believed either */
    bool has_output;
    bool byok; /* OpenRouter: its own cost leaves out what the provider takes from the client's account there
                */
    int64_t upstream_nano;
    bool xai;       /* wherever it is sold */
    uint64_t ticks; /* xAI: 10^-10 dollars */
};

static bool detail_member(void *arg, struct str key, struct json_value v) {
    struct usage *u = ((struct counts *)arg)->u;
    uint64_t n;
    if (!usage_count(v, &n))
        return true;
    if (json_key_is(key, "cached_tokens"))
        u->cache_read = n;
    else if (json_key_is(key, "cache_write_tokens") || json_key_is(key, "cache_creation_tokens"))
        u->cache_write = n;
    else if (json_key_is(key, "audio_tokens"))
        u->audio_in = n;
    return true;
}

static bool output_detail_member(void *arg, struct str key, struct json_value v) {
    struct usage *u = ((struct counts *)arg)->u;
    uint64_t n;
    if (!usage_count(v, &n))
        return true;
    if (json_key_is(key, "reasoning_tokens"))
        u->reasoning = n;
    else if (json_key_is(key, "audio_tokens"))
        u->audio_out = n;
    return true;
}

static void take_cost(struct usage *u, struct json_value v) {
    int64_t nano;
    struct json_value total;
    if (v.kind == JSON_OBJECT && json_member(v.raw, "total_cost", &total)) /* Perplexity */
        v = total;
    if (v.kind == JSON_NUMBER && decimal_nano(v.raw, &nano))
        u->cost_nano = nano;
}

static uint64_t *count_of(struct counts *c, struct str key) {
    if (json_key_is(key, "prompt_tokens") || json_key_is(key, "input_tokens"))
        return &c->u->input;
    if (json_key_is(key, "completion_tokens") || json_key_is(key, "output_tokens"))
        return &c->u->output;
    if (json_key_is(key, "total_tokens"))
        return &c->total;
    if (json_key_is(key, "prompt_cache_hit_tokens") || json_key_is(key, "cached_tokens") ||
        json_key_is(key, "num_cached_tokens"))
        return &c->hit; /* DeepSeek, Moonshot, Mistral */
    if (json_key_is(key, "reasoning_tokens"))
        return &c->miss; /* some put it beside the totals */
    return NULL;
}

static void usage_number(struct counts *c, struct str key, struct json_value v) {
    uint64_t *into = count_of(c, key);
    if (!into)
        return;
    if (!usage_count(v, into))
        c->untrue = true;
    else if (into == &c->u->input || into == &c->u->output)
        c->u->known = true;
    c->has_output = c->has_output || into == &c->u->output;
}

static bool cost_detail_member(void *arg, struct str key, struct json_value v) {
    struct counts *c = arg;
    if (json_key_is(key, "upstream_inference_cost") && v.kind == JSON_NUMBER)
        decimal_nano(v.raw, &c->upstream_nano);
    return true;
}

static bool is_input_detail(struct str key) {
    return json_key_is(key, "prompt_tokens_details") || json_key_is(key, "input_tokens_details") ||
           json_key_is(key, "input_token_details") || /* OpenAI's transcriptions */
           json_key_is(key, "prompt_token_details");  /* Mistral, Writer */
}

static bool usage_member(void *arg, struct str key, struct json_value v) {
    struct counts *c = arg;
    if (json_key_is(key, "cost"))
        take_cost(c->u, v);
    else if (json_key_is(key, "is_byok"))
        c->byok = json_true(v);
    else if (json_key_is(key, "cost_details") && v.kind == JSON_OBJECT)
        json_each(v.raw, cost_detail_member, c);
    else if (json_key_is(key, "num_sources_used"))
        c->xai = true;
    else if (json_key_is(key, "cost_in_usd_ticks"))
        json_u64(v, &c->ticks);
    else if (v.kind == JSON_NUMBER)
        usage_number(c, key, v);
    else if (v.kind == JSON_OBJECT && is_input_detail(key))
        json_each(v.raw, detail_member, c);
    else if (v.kind == JSON_OBJECT &&
             (json_key_is(key, "completion_tokens_details") || json_key_is(key, "output_tokens_details")))
        json_each(v.raw, output_detail_member, c);
    return true;
}

/* What stands beside the two counts is seen in the total only. */
static void settle_total(struct counts *c) {
    struct usage *u = c->u;
    uint64_t sum = u->input + u->output, more = c->total > sum ? c->total - sum : 0;
    if (more == 0)
        return;
    if (more == u->audio_in) { /* Mistral */
        u->input += more;
    } else if (more == u->reasoning) { /* xAI */
        u->output += more;
    } else if (c->has_output && u->reasoning == 0 && u->audio_in == 0) { /* Gemini's own imitation */
        u->output += more;
        u->reasoning = more;
    }
}

static void settle_cost(struct counts *c) {
    enum { TICKS_A_NANO = 10 };
    int64_t *cost = &c->u->cost_nano;
    if (c->byok && c->upstream_nano > 0 && *cost >= 0 &&
        __builtin_add_overflow(*cost, c->upstream_nano, cost))
        *cost = INT64_MAX;
    if (*cost < 0 && c->ticks > 0) /* 0 where another sells it (Azure) */
        *cost = (int64_t)(c->ticks / TICKS_A_NANO + (c->ticks % TICKS_A_NANO >= TICKS_A_NANO / 2));
}

void oc_usage(struct str checked, struct usage *u) {
    *u = USAGE_NONE;
    struct counts c = {.u = u};
    json_each(checked, usage_member, &c);
    if (u->cache_read == 0)
        u->cache_read = c.hit;
    if (u->reasoning == 0)
        u->reasoning = c.miss;
    settle_total(&c);
    if (u->cache_read > u->input && c.xai) /* on Azure: then it stands beside the input */
        u->input += u->cache_read;
    else if (u->cache_read > u->input)
        u->cache_read = u->input;
    if (u->reasoning > u->output)
        u->reasoning = u->output;
    settle_cost(&c);
    if (c.untrue)
        *u = (struct usage){.cost_nano = u->cost_nano};
}

static void note_usage(struct observed *o, struct json_value v) {
    struct usage u;
    if (v.kind != JSON_OBJECT)
        return;
    oc_usage(v.raw, &u);
    usage_merge(&o->usage, &u);
}

/* --- the members of a reply or chunk, strictly --- */

struct seen {
    struct arena *a;
    struct observed *o;
    struct json_value error;
    struct json_value usage;
    size_t choices;
    bool has_choices, has_error, has_usage;
    bool names_error; /* "object":"error" */
    bool message;     /* a choice has a message, or text */
};

static struct str small(struct arena *a, struct json_value v) {
    struct str s = v.kind == JSON_STRING ? json_text(a, v) : STR_NONE;
    if (s.n > 256)
        s.n = 256;
    return arena_dup(a, s);
}

static uint64_t text_bytes(struct json_value v);

static bool add_text(void *arg, struct str key, struct json_value v) {
    static const char *const texts[] = {"content", "reasoning_content", "reasoning", "refusal",
                                        "text",    "arguments",         "thinking"};
    uint64_t *n = arg;
    if (v.kind == JSON_STRING) {
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            if (json_key_is(key, texts[i]))
                *n += v.raw.n - 2;
    } else if (v.kind == JSON_OBJECT
                   ? key.n == 0 || json_key_is(key, "function") || json_key_is(key, "function_call")
                   : json_key_is(key, "content") || json_key_is(key, "tool_calls")) {
        *n += text_bytes(v);
    }
    return true;
}

/* Of a message: at most message, tool_calls, call, function deep, since only those keys are followed (an
 * array's elements have none, and nested arrays end at the scanner's depth). */
static uint64_t text_bytes(struct json_value v) {
    uint64_t n = 0;
    if (v.kind == JSON_OBJECT || v.kind == JSON_ARRAY)
        json_each(v.raw, add_text, &n);
    return n;
}

static bool choice_member(void *arg, struct str key, struct json_value v) {
    struct seen *s = arg;
    if (json_key_is(key, "finish_reason") && v.kind == JSON_STRING) {
        struct str word = small(s->a, v);
        enum stop_reason stop = oc_stop(word);
        if (stop != STOP_UNSET) {
            note_stop(s->a, s->o, stop, word);
            s->o->output = true;
        }
    } else if (json_key_is(key, "usage") && v.kind == JSON_OBJECT && !s->has_usage) {
        s->usage = v; /* Moonshot */
        s->has_usage = true;
    } else if (json_key_is(key, "error") && v.kind != JSON_NULL) {
        s->error = v; /* OpenRouter */
        s->has_error = true;
    } else if (json_key_is(key, "message") && v.kind == JSON_OBJECT) {
        s->message = true;
        s->o->output_bytes += text_bytes(v);
    }
    return true;
}

static bool one_choice(void *arg, struct str key, struct json_value v) {
    (void)key;
    struct seen *s = arg;
    s->choices++;
    if (v.kind == JSON_OBJECT)
        json_each(v.raw, choice_member, s);
    return true;
}

static bool top_member(void *arg, struct str key, struct json_value v) {
    struct seen *s = arg;
    struct json_value groq;
    if (json_key_is(key, "choices") && v.kind == JSON_ARRAY) {
        s->has_choices = true;
        json_each(v.raw, one_choice, s);
    } else if (json_key_is(key, "usage") && v.kind == JSON_OBJECT) {
        s->usage = v;
        s->has_usage = true;
    } else if (json_key_is(key, "x_groq") && v.kind == JSON_OBJECT && !s->has_usage) {
        if (json_member(v.raw, "usage", &groq) && groq.kind == JSON_OBJECT) {
            s->usage = groq;
            s->has_usage = true;
        }
    } else if (json_key_is(key, "error") && v.kind != JSON_NULL) {
        s->error = v;
        s->has_error = true;
    } else if (json_key_is(key, "object")) {
        s->names_error = json_string_is(v, "error");
    } else if (json_key_is(key, "id") && s->o->id.n == 0) {
        s->o->id = small(s->a, v);
    } else if (json_key_is(key, "model") && s->o->model.n == 0) {
        s->o->model = small(s->a, v);
    }
    return true;
}

/* Old vLLM, Mistral: the error's members at the top. */
static void find_bare_error(struct seen *s, struct str body) {
    if (!s->names_error || s->has_error || s->choices > 0)
        return;
    s->error = (struct json_value){JSON_OBJECT, body};
    s->has_error = true;
}

/* finish_reason "error", "abort": the model failed, even where no error object says so. */
static void note_failure(struct arena *a, struct observed *o) {
    fault_set(&o->fault, a, FAULT_SERVER, "the provider ended the answer with an error");
    o->fault.from_provider = true;
}

static void note_error(struct arena *a, struct json_value error, struct observed *o) {
    struct said said;
    said_error(a, error, &said);
    said_fault(a, 0, &said, &o->fault);
}

/* --- whole --- */

bool oc_tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o, struct fault *f) {
    (void)quirks;
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    if (str_trim(body).n == 0)
        return said_garbage(a, f, "is empty");
    struct seen s = {.a = a, .o = o};
    if (json_scan(body, &kind, top_member, &s, &err) != 0 || kind != JSON_OBJECT)
        return said_garbage(a, f, "is not a JSON object");
    find_bare_error(&s, body);
    if (s.has_error) {
        note_error(a, s.error, o);
        *f = o->fault;
        return false;
    }
    if (o->stop == STOP_ERROR) {
        note_failure(a, o);
        *f = o->fault;
        return false;
    }
    if (s.choices == 0)
        return said_garbage(a, f, "has no choices");
    if (s.has_usage)
        note_usage(o, s.usage);
    o->output = true;
    o->ended = true;
    return true;
}

/* --- events: the quick walk --- */

struct walk {
    unsigned depth, delta; /* delta: the depth of its members, or 0 outside */
    bool look;             /* worth a strict scan */
    bool output;
    uint64_t bytes;
};

static bool key_eq(const char *p, size_t n, const char *name, size_t len) {
    return n == len && memcmp(p, name, len) == 0;
}
#define KEY(name) key_eq(key, n, name, sizeof(name) - 1)

/* p is at the value's first byte. */
static void walk_key(struct walk *w, const char *key, size_t n, const char *p, const char *end) {
    bool null = *p == 'n';
    if (w->depth == 1) {
        if (!null && (KEY("error") || KEY("usage") || KEY("x_groq")))
            w->look = true;
        else if (KEY("object") && str_starts(str_make(p, (size_t)(end - p)), "\"error\""))
            w->look = true;
    } else if (w->depth == 3 && w->delta == 0) {
        if (KEY("delta") && *p == '{')
            w->delta = 4;
        else if (!null && (KEY("finish_reason") || KEY("usage") || KEY("error")))
            w->look = true;
    } else if (w->delta != 0) {
        if ((KEY("tool_calls") || KEY("function_call")) && end - p > 1 &&
            (*p == '{' || (*p == '[' && p[1] != ']')))
            w->output = true;
    }
}

static bool walk_is_text(const char *key, size_t n) {
    switch (n) {
    case 4:
        return KEY("text");
    case 7:
        return KEY("content") || KEY("refusal");
    case 8:
        return KEY("thinking");
    case 9:
        return KEY("arguments") || KEY("reasoning");
    case 17:
        return KEY("reasoning_content");
    default:
        return false;
    }
}

/* A string at p (behind its quote): a key, or a value of the key before it. Returns where to go on. */
static const char *walk_pair(struct walk *w, const char *p, const char *end) {
    const char *close = json_string_end(p, end);
    if (close == end)
        return end;
    const char *q = json_skip_space(close + 1, end);
    if (q == end || *q != ':')
        return q;
    q = json_skip_space(q + 1, end);
    if (q == end)
        return end;
    size_t n = (size_t)(close - p);
    walk_key(w, p, n, q, end);
    if (*q != '"')
        return q;
    const char *value = q + 1;
    q = json_string_end(value, end);
    if (w->delta != 0 && q > value && walk_is_text(p, n)) {
        w->output = true;
        w->bytes += (uint64_t)(q - value);
    }
    return q == end ? end : q + 1;
}

/* Tolerates anything: what is no JSON is only looked at wrongly, and a strict scan follows before it counts.
 */
static void walk_chunk(struct walk *w, struct str data) {
    const char *p = data.p, *end = data.p + data.n;
    while (p < end) {
        switch (*p) {
        case '"':
            p = walk_pair(w, p + 1, end);
            continue;
        case '{':
        case '[':
            w->depth++;
            break;
        case '}':
        case ']':
            if (w->depth > 0)
                w->depth--;
            if (w->depth < w->delta)
                w->delta = 0;
            break;
        default:
            break;
        }
        p++;
    }
}

bool oc_tap_event(struct arena *a, struct str name, struct str data, unsigned quirks, bool hide_usage,
                  struct observed *o) {
    (void)quirks;
    (void)name; /* Groq names its errors "error", but the data says so too */
    data = str_trim(data);
    if (data.n == 0)
        return true;
    if (data.p[0] != '{') {
        if (str_is(data, "[DONE]"))
            o->ended = true;
        return true;
    }
    struct walk w = {.depth = 0};
    walk_chunk(&w, data);
    o->output_bytes += w.bytes;
    o->output = o->output || w.output;
    if (!w.look && (o->output || o->id.n > 0 || o->model.n > 0))
        return true;
    enum json_kind kind;
    struct json_error err;
    if (json_scan(data, &kind, NULL, NULL, &err) != 0)
        return true;
    struct seen s = {.a = a, .o = o};
    json_each(data, top_member, &s);
    find_bare_error(&s, data);
    if (s.has_usage)
        note_usage(o, s.usage);
    if (s.has_error && !o->ended)
        note_error(a, s.error, o);
    else if (o->stop == STOP_ERROR && !o->ended)
        note_failure(a, o);
    return !(hide_usage && s.has_usage && s.choices == 0 && !s.has_error);
}
