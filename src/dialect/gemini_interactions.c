/* Gemini's Interactions API, as of its revision 2026-05-20: the reader of its answers, whole and streamed. An
 * answer is a list of steps; those of other tools than functions are passed over. There is no writer of
 * requests: the same models speak generateContent, which keeps no conversations on Google's side, so that no
 * kind asks by this face.
 *
 * Sources: ai.google.dev/gemini-api/docs/interactions/streaming, its page of errors, the types of Google's
 * own libraries, and two recordings. */
#include "answer.h"
#include "base/die.h"
#include "base/hash.h"
#include "gemini.h"
#include "llm/fold.h"

/* Its signatures are of steps: generateContent is not told of them. */
#define ORIGIN "gemini_interactions"

/* --- usage --- */

static bool one_modality(void *arg, struct str key, struct json_value v) {
    struct json_value modality, tokens;
    (void)key;
    if (v.kind == JSON_OBJECT && json_member(v.raw, "modality", &modality) &&
        json_string_is(modality, "audio") && json_member(v.raw, "tokens", &tokens))
        usage_count(tokens, arg);
    return true;
}

static uint64_t audio_of(struct str usage, const char *list) {
    struct json_value v;
    uint64_t n = 0;
    if (json_member(usage, list, &v) && v.kind == JSON_ARRAY)
        json_each(v.raw, one_modality, &n);
    return n;
}

/* As in generateContent: thoughts and the prompts of its own tools are beside the totals. */
static struct usage usage_of(struct str usage) {
    struct usage u = USAGE_NONE;
    uint64_t tools = 0, said = 0, cached = 0;
    struct json_value v;
    const struct {
        const char *name;
        uint64_t *into;
    } rows[] = {{"total_input_tokens", &u.input},
                {"total_tool_use_tokens", &tools},
                {"total_output_tokens", &said},
                {"total_thought_tokens", &u.reasoning},
                {"total_cached_tokens", &cached}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (json_member(usage, rows[i].name, &v) && usage_count(v, rows[i].into))
            u.known = true;
    u.input += tools;
    u.output = said + u.reasoning;
    u.cache_read = cached < u.input ? cached : u.input;
    uint64_t audio = audio_of(usage, "input_tokens_by_modality");
    uint64_t audio_cached = audio_of(usage, "cached_tokens_by_modality");
    u.audio_in = audio > audio_cached ? audio - audio_cached : 0;
    u.audio_out = audio_of(usage, "output_tokens_by_modality");
    return u;
}

/* --- words --- */

static enum stop_reason stop_of(struct str status, bool has_call) {
    if (str_is(status, "completed"))
        return has_call ? STOP_TOOLS : STOP_END;
    if (str_is(status, "requires_action"))
        return has_call ? STOP_TOOLS : STOP_OTHER;
    if (str_is(status, "incomplete") || str_is(status, "budget_exceeded"))
        return STOP_LENGTH;
    return STOP_UNKNOWN;
}

static bool goes_on(struct str status) {
    return status.n == 0 || str_is(status, "in_progress") || str_is(status, "queued");
}

/* {"code": a word, "message"} inside what began well: its words by the status that they go with elsewhere. */
static void failed(struct arena *a, struct json_value error, struct fault *f) {
    static const struct {
        const char *code;
        int status;
    } rows[] = {{"failed_precondition", 400}, {"out_of_range", 400},     {"parameter_unknown", 400},
                {"authentication", 401},      {"payment_required", 402}, {"permission_denied", 403},
                {"quota_exceeded", 429}};
    struct said said;
    said_error(a, error, &said);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_is(said.code, rows[i].code)) {
            said.status = rows[i].status;
            said.code = STR_NONE; /* it says no more than that */
        }
    said_fault(a, 0, &said, f);
    f->type = f->code = f->param = STR_NONE; /* the class says all that other dialects can use */
}

/* --- the reader --- */

#define READER_MAGIC 0x47495244U
enum step { STEP_NONE, STEP_OUTPUT, STEP_THOUGHT, STEP_CALL, STEP_OTHER };
struct reader {
    unsigned magic;
    struct arena *a;
    struct event_source out;
    struct arena *tmp; /* texts of the event in hand */
    enum step step;    /* the one in hand, and its number */
    uint64_t index;
    bool is_signed;             /* the open part */
    bool args_seen, args_whole; /* of the open call */
    bool has_call;
};

static struct reader *reader_of(struct stream_reader *r) {
    struct reader *self = (struct reader *)(void *)r;
    MAGIC_CHECK(self, READER_MAGIC);
    return self;
}

static struct reader *new_reader(struct arena *a, event_fn *fn, void *arg) {
    struct reader *r = arena_alloc(a, sizeof *r);
    r->magic = READER_MAGIC;
    r->a = a;
    r->out = (struct event_source){.fn = fn, .arg = arg, .arena = a};
    return r;
}

static struct str text(struct reader *r, struct str object, const char *key) {
    struct json_value v;
    return json_member(object, key, &v) && v.kind == JSON_STRING ? json_text(r->tmp, v) : STR_NONE;
}

static bool object_at(struct str object, const char *key, struct str *out) {
    struct json_value v;
    if (!json_member(object, key, &v) || v.kind != JSON_OBJECT)
        return false;
    *out = v.raw;
    return true;
}

static void each_in(struct reader *r, struct str object, const char *key, json_member_fn *fn) {
    struct json_value v;
    if (json_member(object, key, &v) && v.kind == JSON_ARRAY)
        json_each(v.raw, fn, r);
}

/* --- parts --- */

static void close_part(struct reader *r) {
    if (r->out.open && r->out.part == PART_TOOL_CALL && !r->args_seen)
        event_text(&r->out, EV_ARGS, STR("{}"));
    event_close(&r->out);
    r->is_signed = false;
}

static void open_part(struct reader *r, enum part_kind kind) {
    if (r->out.open && r->out.part == kind && !r->is_signed)
        return;
    close_part(r);
    event_open(&r->out, (struct event_item){.part = kind});
}

static void say(struct reader *r, enum part_kind kind, struct str said) {
    if (said.n == 0)
        return;
    open_part(r, kind);
    event_text(&r->out, kind == PART_THINKING ? EV_THINK : EV_TEXT, said);
}

static void sign(struct reader *r, struct str signature) {
    if (signature.n == 0 || r->is_signed)
        return;
    event_signature(&r->out, signature, STR(ORIGIN));
    r->is_signed = true;
}

static void sign_thought(struct reader *r, struct str signature) {
    if (signature.n == 0)
        return;
    open_part(r, PART_THINKING);
    sign(r, signature);
}

static void picture(struct reader *r, struct str o) {
    struct str data = text(r, o, "data"), media = text(r, o, "mime_type");
    if (data.n == 0)
        return;
    close_part(r);
    event_open(&r->out, (struct event_item){
                            .part = PART_IMAGE, .name = media.n ? media : STR("image/png"), .text = data});
    close_part(r);
}

/* --- calls --- */

static bool is_there(void *arg, struct str key, struct json_value v) {
    (void)key;
    (void)v;
    *(bool *)arg = true;
    return false;
}

/* Whole, as an object, or pieces of its text. An empty object at the beginning announces pieces, whose index
 * may be that of an earlier step: they are of the call that is open. */
static void take_arguments(struct reader *r, struct str o) {
    struct str whole, piece = text(r, o, "arguments");
    bool any = false;
    if (!r->out.open || r->out.part != PART_TOOL_CALL || r->args_whole)
        return;
    if (object_at(o, "arguments", &whole)) {
        json_each(whole, is_there, &any);
        if (r->args_seen || !any)
            return;
        r->args_whole = true;
        piece = whole;
    } else if (piece.n == 0) {
        piece = text(r, o, "partial_arguments"); /* as the documentation has it */
    }
    r->args_seen = r->args_seen || piece.n > 0;
    event_text(&r->out, EV_ARGS, piece);
}

static void start_call(struct reader *r, struct str step) {
    struct str id = text(r, step, "id");
    if (id.n == 0)
        id = arena_printf(r->tmp, "call_%016llx%u", (unsigned long long)hash64(step.p, step.n),
                          r->out.next_index);
    event_open(&r->out, (struct event_item){.part = PART_TOOL_CALL, .id = id, .name = text(r, step, "name")});
    r->args_seen = r->args_whole = false;
    r->has_call = true;
    sign(r, text(r, step, "signature"));
    take_arguments(r, step);
}

/* --- steps --- */

/* What a step holds, whole or as a delta. */
static bool on_content(void *arg, struct str key, struct json_value v) {
    struct reader *r = arg;
    struct str inner;
    (void)key;
    if (v.kind != JSON_OBJECT || r->step == STEP_OTHER)
        return true;
    struct str type = text(r, v.raw, "type");
    bool thinks = r->step == STEP_THOUGHT;
    if (str_is(type, "text") && r->step != STEP_CALL)
        say(r, thinks ? PART_THINKING : PART_TEXT, text(r, v.raw, "text"));
    else if (str_is(type, "image") && !thinks && r->step != STEP_CALL)
        picture(r, v.raw);
    else if (str_is(type, "thought_summary") && thinks && object_at(v.raw, "content", &inner))
        say(r, PART_THINKING, text(r, inner, "text"));
    else if (str_is(type, "thought_signature") && thinks)
        sign_thought(r, text(r, v.raw, "signature"));
    else if (str_starts(type, "arguments") && r->step == STEP_CALL)
        take_arguments(r, v.raw);
    return true;
}

static enum step step_of(struct str type) {
    return str_is(type, "model_output")    ? STEP_OUTPUT
           : str_is(type, "thought")       ? STEP_THOUGHT
           : str_is(type, "function_call") ? STEP_CALL
                                           : STEP_OTHER;
}

static void start_step(struct reader *r, struct str step) {
    close_part(r);
    r->step = step_of(text(r, step, "type"));
    if (r->step == STEP_OUTPUT) {
        each_in(r, step, "content", on_content);
    } else if (r->step == STEP_THOUGHT) {
        each_in(r, step, "summary", on_content);
        sign_thought(r, text(r, step, "signature"));
    } else if (r->step == STEP_CALL) {
        start_call(r, step);
    }
}

static void stop_step(struct reader *r) {
    close_part(r);
    r->step = STEP_NONE;
}

static bool whole_step(void *arg, struct str key, struct json_value v) {
    struct reader *r = arg;
    (void)key;
    if (v.kind == JSON_OBJECT) {
        start_step(r, v.raw);
        stop_step(r);
    }
    return true;
}

/* --- the interaction --- */

static void begin(struct reader *r, struct str interaction) {
    event_start(&r->out, text(r, interaction, "id"), text(r, interaction, "model"), 0);
}

/* Its last state: usage and how it ended. false: it has not. */
static bool over(struct reader *r, struct str interaction) {
    struct str status = text(r, interaction, "status"), usage;
    struct json_value error;
    struct fault f;
    if (goes_on(status))
        return false;
    stop_step(r);
    if (object_at(interaction, "usage", &usage)) {
        struct usage u = usage_of(usage);
        if (u.known)
            event_usage(&r->out, &u);
    }
    if (!str_is(status, "failed") && !str_is(status, "cancelled")) {
        event_end(&r->out, stop_of(status, r->has_call), status, STR_NONE);
    } else if (json_member(interaction, "error", &error) && error.kind != JSON_NULL) {
        failed(r->a, error, &f);
        event_fault(&r->out, &f);
    } else {
        event_fail(&r->out, "the provider could not finish its answer");
    }
    return true;
}

/* --- whole --- */

static bool is_answer(struct arena *a, struct str body, struct fault *f) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    struct json_value v;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    if (json_scan(body, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT)
        return said_garbage(a, f, str_trim(body).n ? "is not a JSON object" : "is empty");
    if (json_member(body, "error", &v) && v.kind != JSON_NULL) {
        failed(a, v, f);
        return false;
    }
    return json_member(body, "status", &v) || said_garbage(a, f, "is no interaction");
}

static struct reply *read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    const struct fault *why = NULL;
    (void)quirks;
    if (!is_answer(a, body, f))
        return NULL;
    struct fold *fold = fold_new(a, 2 * body.n + 4096);
    struct reader *r = new_reader(a, fold_event, fold);
    r->tmp = arena_new(0);
    begin(r, body);
    each_in(r, body, "steps", whole_step);
    if (!over(r, body))
        event_fail(&r->out, "the provider has not finished its answer");
    arena_free(r->tmp);
    struct reply *reply = fold_reply(fold, &why);
    if (why)
        *f = *why;
    return reply;
}

/* --- streams --- */

static struct stream_reader *reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg) {
    (void)quirks;
    return (struct stream_reader *)(void *)new_reader(a, fn, arg);
}

static uint64_t index_of(struct str event, uint64_t otherwise) {
    struct json_value v;
    uint64_t n;
    return json_member(event, "index", &v) && json_u64(v, &n) ? n : otherwise;
}

static void dispatch(struct reader *r, struct str type, struct str event) {
    struct str o;
    struct json_value v;
    struct fault f;
    if (str_starts(type, "interaction.")) {
        if (!object_at(event, "interaction", &o))
            return; /* status_update: the state itself follows */
        begin(r, o);
        if (!str_is(type, "interaction.created"))
            over(r, o);
    } else if (str_is(type, "step.start")) {
        begin(r, STR("{}"));
        r->index = index_of(event, 0);
        if (object_at(event, "step", &o))
            start_step(r, o);
    } else if (str_is(type, "step.delta")) {
        begin(r, STR("{}"));
        if (json_member(event, "delta", &v))
            on_content(r, STR_NONE, v);
    } else if (str_is(type, "step.stop")) {
        if (index_of(event, r->index) == r->index)
            stop_step(r);
    } else if (json_member(event, "error", &v) && v.kind != JSON_NULL) {
        failed(r->a, v, &f);
        event_fault(&r->out, &f);
    } else if (str_is(type, "error")) {
        event_fail(&r->out, "the provider could not finish its answer");
    } /* what may be added is passed over */
}

static void read_event(struct stream_reader *sr, struct str name, struct str data) {
    struct reader *r = reader_of(sr);
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    if (r->out.done || data.n == 0 || str_is(data, "[DONE]"))
        return;
    if (json_scan(data, &kind, NULL, NULL, &err) != 0) {
        event_fail(&r->out, "the provider sent an event that is not JSON");
        return;
    }
    if (kind != JSON_OBJECT)
        return;
    r->tmp = arena_new(0);
    struct str type = text(r, data, "event_type");
    dispatch(r, type.n ? type : name, data);
    arena_free(r->tmp);
    r->tmp = NULL;
}

static void reader_end(struct stream_reader *sr) {
    struct reader *r = reader_of(sr);
    if (!r->out.done)
        event_fail(&r->out, r->out.started ? "the provider's stream ended too early"
                                           : "the provider's answer is empty");
}

static const struct provider_face provider = {
    .path = "/interactions",
    .read_reply = read_reply,
    .read_fault = gm_read_fault,
    .reader_new = reader_new,
    .read_event = read_event,
    .reader_end = reader_end,
};

const struct dialect dialect_gemini_interactions = {"gemini_interactions", OP_CHAT, NULL, &provider};
