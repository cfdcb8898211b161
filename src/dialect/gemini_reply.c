/* Whole answers of Gemini, its usage, finish reasons and errors. Its candidatesTokenCount leaves the thoughts
 * out, its promptTokenCount the tokens of its own tools: the conversion is here and nowhere else. */
#include "gemini.h"

#include "answer.h"
#include "llm/fold.h"

enum { CHOICES_MAX = 64 };

/* --- usage --- */

struct counts {
    uint64_t prompt, tools, candidates, thoughts, cached, audio_in, audio_cached, audio_out;
    uint64_t *audio; /* of the details in hand */
    bool any;
};

static bool is_audio(struct json_value modality) {
    uint64_t n;
    return json_string_is(modality, "AUDIO") || (json_u64(modality, &n) && n == 4); /* Vertex, at times */
}

static bool audio_detail(void *arg, struct str key, struct json_value v) {
    struct counts *c = arg;
    struct json_value modality, count;
    (void)key;
    if (v.kind == JSON_OBJECT && json_member(v.raw, "modality", &modality) && is_audio(modality) &&
        json_member(v.raw, "tokenCount", &count))
        usage_count(count, c->audio);
    return true;
}

static bool usage_member(void *arg, struct str key, struct json_value v) {
    struct counts *c = arg;
    const struct {
        const char *name;
        uint64_t *into;
    } rows[] = {
        {"promptTokenCount", &c->prompt},         {"toolUsePromptTokenCount", &c->tools},
        {"candidatesTokenCount", &c->candidates}, {"thoughtsTokenCount", &c->thoughts},
        {"cachedContentTokenCount", &c->cached},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (json_key_is(key, rows[i].name) && usage_count(v, rows[i].into))
            c->any = true;
    c->audio = json_key_is(key, "promptTokensDetails")       ? &c->audio_in
               : json_key_is(key, "cacheTokensDetails")      ? &c->audio_cached
               : json_key_is(key, "candidatesTokensDetails") ? &c->audio_out
                                                             : NULL;
    if (v.kind == JSON_ARRAY && c->audio)
        json_each(v.raw, audio_detail, c);
    return true;
}

struct usage gm_usage(struct str checked) {
    struct counts c = {.any = false};
    struct usage u = USAGE_NONE;
    json_each(checked, usage_member, &c);
    u.known = c.any;
    u.input = c.prompt + c.tools;
    u.output = c.candidates + c.thoughts;
    u.reasoning = c.thoughts;
    u.cache_read = c.cached < u.input ? c.cached : u.input;
    u.audio_in = c.audio_in > c.audio_cached ? c.audio_in - c.audio_cached : 0;
    u.audio_out = c.audio_out;
    return u;
}

/* --- words --- */

static const struct {
    const char *word;
    enum stop_reason stop;
} stops[] = {
    {"STOP", STOP_END},
    {"MAX_TOKENS", STOP_LENGTH},
    {"SAFETY", STOP_FILTER},
    {"RECITATION", STOP_FILTER},
    {"BLOCKLIST", STOP_FILTER},
    {"PROHIBITED_CONTENT", STOP_FILTER},
    {"SPII", STOP_FILTER},
    {"LANGUAGE", STOP_FILTER},
    {"IMAGE_SAFETY", STOP_FILTER},
    {"IMAGE_PROHIBITED_CONTENT", STOP_FILTER},
    {"IMAGE_RECITATION", STOP_FILTER},
    {"MODEL_ARMOR", STOP_FILTER},
    {"JAILBREAK", STOP_FILTER},
    {"1", STOP_END},
    {"2", STOP_LENGTH},
    {"3", STOP_FILTER},
    {"4", STOP_FILTER},
    {"5", STOP_OTHER},
    {"6", STOP_FILTER},
    {"7", STOP_FILTER},
    {"8", STOP_FILTER},
    {"9", STOP_OTHER},
    /* The model's own faults: with the word beside it. */
    {"MALFORMED_FUNCTION_CALL", STOP_OTHER},
    {"MALFORMED_RESPONSE", STOP_OTHER},
    {"MISSING_THOUGHT_SIGNATURE", STOP_OTHER},
    {"UNEXPECTED_TOOL_CALL", STOP_OTHER},
    {"TOO_MANY_TOOL_CALLS", STOP_OTHER},
    {"FINISH_REASON_UNSPECIFIED", STOP_OTHER},
    {"OTHER", STOP_OTHER},
    {"NO_IMAGE", STOP_OTHER},
    {"IMAGE_OTHER", STOP_OTHER},
    {"CONTINUATION", STOP_OTHER},
};

enum stop_reason gm_stop(struct str s) {
    if (s.n == 0)
        return STOP_UNSET;
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
        if (str_is(s, stops[i].word))
            return stops[i].stop;
    return STOP_UNKNOWN;
}

/* --- errors --- */

/* The provider's own words are its dialect's: the class says all that other dialects can use. */
static void own_words_off(struct fault *f) {
    f->code = f->param = STR_NONE;
    f->type = f->unknown;
}

struct details {
    int64_t retry_ms;
    bool retry, bad_key;
};

static bool one_detail(void *arg, struct str key, struct json_value v) {
    struct details *d = arg;
    struct json_value m;
    int64_t nano;
    (void)key;
    if (v.kind != JSON_OBJECT)
        return true;
    if (json_member(v.raw, "retryDelay", &m) && m.kind == JSON_STRING && m.raw.n > 3 &&
        m.raw.p[m.raw.n - 2] == 's' && decimal_nano(str_make(m.raw.p + 1, m.raw.n - 3), &nano)) {
        d->retry = true;
        d->retry_ms = nano / 1000000;
    }
    if (json_member(v.raw, "reason", &m) && json_string_is(m, "API_KEY_INVALID"))
        d->bad_key = true;
    return true;
}

/* RetryInfo and ErrorInfo. A limit that tells when to come back is no empty account, whatever its text says
 * of a quota. */
static void take_details(struct arena *a, struct json_value error, struct fault *f) {
    struct details d = {.retry = false};
    struct json_value v;
    if (error.kind != JSON_OBJECT || !json_member(error.raw, "details", &v) || v.kind != JSON_ARRAY)
        return;
    json_each(v.raw, one_detail, &d);
    if (d.bad_key && f->cls == FAULT_BAD_REQUEST) {
        fault_set(f, a, FAULT_PROVIDER_AUTH, "the provider refused the gateway's credentials");
        f->from_provider = true;
    }
    if (d.retry && (f->cls == FAULT_RATE_LIMIT || f->cls == FAULT_QUOTA)) {
        f->cls = FAULT_RATE_LIMIT;
        f->retry_after_ms = d.retry_ms;
    }
}

void gm_error(struct arena *a, struct json_value error, struct fault *f) {
    struct said said;
    said_error(a, error, &said);
    said_fault(a, 0, &said, f);
    own_words_off(f);
    take_details(a, error, f);
}

static bool first_element(void *arg, struct str key, struct json_value v) {
    (void)key;
    *(struct json_value *)arg = v;
    return false;
}

void gm_read_fault(struct arena *a, int status, struct str body,
                   struct str (*header)(void *arg, const char *name), void *arg, struct fault *f) {
    struct said said;
    struct json_error err;
    struct json_value whole = {JSON_NULL, body}, error;
    said_body(a, body, &said);
    said_fault(a, status, &said, f);
    own_words_off(f);
    if (json_scan(body, &whole.kind, NULL, NULL, &err) == 0) {
        if (whole.kind == JSON_ARRAY) { /* streams without alt=sse wrap their errors */
            whole.kind = JSON_NULL;
            json_each(body, first_element, &whole);
        }
        if (whole.kind == JSON_OBJECT && json_member(whole.raw, "error", &error))
            take_details(a, error, f);
    }
    retry_hints(header, arg, f);
}

/* --- whole replies --- */

struct look {
    struct arena *a;
    struct fault *f;
    bool answer, error;
};

static bool look_at(void *arg, struct str key, struct json_value v) {
    struct look *l = arg;
    struct json_value m;
    (void)key;
    if (v.kind != JSON_OBJECT)
        return true;
    if (json_member(v.raw, "error", &m) && m.kind != JSON_NULL && !l->error) {
        gm_error(l->a, m, l->f);
        l->error = true;
    }
    if (json_member(v.raw, "candidates", &m) && m.kind == JSON_ARRAY && m.raw.n > 2)
        l->answer = true;
    if (json_path(v.raw, &m, "promptFeedback", "blockReason", NULL))
        l->answer = true;
    return true;
}

/* An answer (an object, or an array of chunks), and no error: checked before either reader goes on. */
static bool is_answer(struct arena *a, struct str body, enum json_kind *kind, struct fault *f) {
    struct json_error err;
    struct look l = {.a = a, .f = f};
    *kind = JSON_NULL;
    if (str_trim(body).n == 0)
        return said_garbage(a, f, "is empty");
    if (json_scan(body, kind, NULL, NULL, &err) != 0 || (*kind != JSON_OBJECT && *kind != JSON_ARRAY))
        return said_garbage(a, f, "is not a JSON object");
    if (*kind == JSON_ARRAY)
        json_each(body, look_at, &l);
    else
        look_at(&l, STR_NONE, (struct json_value){*kind, body});
    if (l.error)
        return false;
    return l.answer || said_garbage(a, f, "has no candidates");
}

static struct reply *read_choice(struct arena *a, struct str body, uint64_t choice, struct fault *f) {
    struct fold *fold = fold_new(a, 2 * body.n + 4096);
    const struct fault *why = NULL;
    struct stream_reader *r = gm_reader_new(a, 0, fold_event, fold);
    gm_reader_choose(r, choice);
    if (!gm_reader_whole(r, body))
        return NULL;
    struct reply *reply = fold_reply(fold, &why);
    if (why)
        *f = *why;
    return reply;
}

struct reply *gm_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    enum json_kind kind;
    (void)quirks;
    if (!is_answer(a, body, &kind, f))
        return NULL;
    struct reply *first = read_choice(a, body, 0, f), *last = first;
    for (uint64_t i = 1; last && i < CHOICES_MAX; i++) {
        struct fault ignored;
        last->next = read_choice(a, body, i, &ignored);
        last = last->next;
    }
    if (!first && !fault_is(f))
        said_garbage(a, f, "cannot be read");
    return first;
}

/* --- taps --- */

static struct str small(struct arena *a, struct str object, const char *key) {
    struct json_value v;
    struct str s = json_member(object, key, &v) && v.kind == JSON_STRING ? json_text(a, v) : STR_NONE;
    if (s.n > 256)
        s.n = 256;
    return arena_dup(a, s);
}

static bool count_part(void *arg, struct str key, struct json_value v) {
    struct observed *o = arg;
    struct json_value m;
    (void)key;
    if (v.kind != JSON_OBJECT)
        return true;
    if (json_member(v.raw, "text", &m) && m.kind == JSON_STRING)
        o->output_bytes += m.raw.n - 2;
    if (json_member(v.raw, "functionCall", &m))
        o->output_bytes += m.raw.n;
    o->output = true;
    return true;
}

struct tap {
    struct arena *a;
    struct observed *o;
};

static bool tap_candidate(void *arg, struct str key, struct json_value v) {
    struct tap *t = arg;
    struct observed *o = t->o;
    struct json_value m;
    (void)key;
    if (v.kind != JSON_OBJECT)
        return true;
    if (json_path(v.raw, &m, "content", "parts", NULL) && m.kind == JSON_ARRAY)
        json_each(m.raw, count_part, o);
    if (json_member(v.raw, "finishReason", &m) && (m.kind == JSON_STRING || m.kind == JSON_NUMBER)) {
        struct str word = m.kind == JSON_STRING ? str_make(m.raw.p + 1, m.raw.n - 2) : m.raw;
        if (word.n) {
            note_stop(t->a, o, gm_stop(word), word);
            o->output = true;
        }
    }
    return true;
}

static void tap_object(struct arena *a, struct str object, struct observed *o) {
    struct json_value v;
    if (o->id.n == 0)
        o->id = small(a, object, "responseId");
    if (o->model.n == 0)
        o->model = small(a, object, "modelVersion");
    if (json_member(object, "candidates", &v) && v.kind == JSON_ARRAY)
        json_each(v.raw, tap_candidate, &(struct tap){a, o});
    if (json_path(object, &v, "promptFeedback", "blockReason", NULL) && o->stop == STOP_UNSET) {
        o->stop = STOP_FILTER;
        o->output = true;
    }
    if (json_member(object, "usageMetadata", &v) && v.kind == JSON_OBJECT) {
        struct usage u = gm_usage(v.raw);
        usage_merge(&o->usage, &u);
    }
}

static bool tap_element(void *arg, struct str key, struct json_value v) {
    struct tap *t = arg;
    (void)key;
    if (v.kind == JSON_OBJECT)
        tap_object(t->a, v.raw, t->o);
    return true;
}

bool gm_tap_reply(struct arena *a, struct str body, unsigned quirks, struct observed *o, struct fault *f) {
    enum json_kind kind;
    struct tap t = {a, o};
    (void)quirks;
    if (!is_answer(a, body, &kind, f)) {
        o->fault = *f;
        return false;
    }
    if (kind == JSON_ARRAY)
        json_each(body, tap_element, &t);
    else
        tap_object(a, body, o);
    o->output = o->ended = true;
    return true;
}

bool gm_tap_event(struct arena *a, struct str name, struct str data, unsigned quirks, bool hide_usage,
                  struct observed *o) {
    enum json_kind kind;
    struct json_error err;
    struct json_value v;
    (void)name;
    (void)quirks;
    (void)hide_usage; /* usage is part of every chunk here */
    if (json_scan(data, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT)
        return true;
    if (json_member(data, "error", &v) && v.kind != JSON_NULL)
        gm_error(a, v, &o->fault);
    else
        tap_object(a, data, o);
    return true;
}
