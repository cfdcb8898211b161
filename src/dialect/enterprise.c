/* The enterprise gateway's chat, a client face only: OpenAI's messages with the rest in camelCase, answers in
 * an envelope with what they cost. The request is put into OpenAI's words and read as such. What only the
 * account knows is put behind by write_receipt, so that the cache keeps what the model said alone. */
#include "openai_chat_write.h"
#include "peek.h"
#include "question.h"

#include "base/die.h"
#include "llm/fold.h"

enum { F_MODEL, F_MESSAGES, F_MAX_TOKENS, F_TEMPERATURE, F_PROVIDER, F_STREAM, F_N, FIELDS };

static const struct peek_field fields[FIELDS] = {
    [F_MODEL] = {"model", PEEK_KIND(STRING), "a string", false, false},
    [F_MESSAGES] = {"messages", PEEK_KIND(ARRAY), "an array of messages", true, false},
    [F_MAX_TOKENS] = {"maxTokens", PEEK_KIND(NUMBER), "an integer", false, false},
    [F_TEMPERATURE] = {"temperature", PEEK_KIND(NUMBER), "a number", false, false},
    [F_PROVIDER] = {"provider", PEEK_KIND(STRING), "a string", false, false},
    [F_STREAM] = {"stream", PEEK_KIND(BOOL), "a boolean", false, false},
    [F_N] = {"n", PEEK_KIND(NUMBER), "an integer", false, false},
};

/* --- requests --- */

static bool refuse(struct arena *a, struct fault *f, const char *param, const char *why) {
    fault_set(f, a, FAULT_BAD_REQUEST, "'%s': %s", param, why);
    f->param = str_of(param);
    return false;
}

static bool check(struct arena *a, const struct json_value *v, struct fault *f) {
    const double hottest = 2;
    uint64_t n = 1;
    double t = 0;
    if (v[F_MAX_TOKENS].raw.p && (!json_u64(v[F_MAX_TOKENS], &n) || n == 0))
        return refuse(a, f, "maxTokens", "expected an integer above 0");
    if (v[F_TEMPERATURE].raw.p && (!json_double(v[F_TEMPERATURE], &t) || t < 0 || t > hottest))
        return refuse(a, f, "temperature", "expected a number from 0 to 2");
    if (v[F_N].raw.p && (!json_u64(v[F_N], &n) || n != 1))
        return refuse(a, f, "n", "an answer here has one choice");
    if (v[F_PROVIDER].raw.p && v[F_PROVIDER].raw.n <= 2)
        return refuse(a, f, "provider", "expected a name");
    return true;
}

/* OpenAI's members of more than one word. */
static const char *const names[] = {
    "max_tokens",         "max_completion_tokens", "top_p",        "top_logprobs",        "frequency_penalty",
    "presence_penalty",   "response_format",       "tool_choice",  "parallel_tool_calls", "stream_options",
    "logit_bias",         "reasoning_effort",      "service_tier", "prompt_cache_key",    "safety_identifier",
    "web_search_options",
};

/* Is it max_tokens in camelCase? */
static bool is_camel(struct str key, const char *name) {
    size_t i = 0;
    for (; *name && i < key.n; name++, i++) {
        bool up = *name == '_';
        name += up;
        if (key.p[i] != (up ? (char)(*name - 'a' + 'A') : *name))
            return false;
    }
    return !*name && i == key.n;
}

static void put_name(struct buf *out, struct str key) {
    struct str name = key;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_camel(key, names[i]))
            name = str_of(names[i]);
    buf_addc(out, '"');
    buf_adds(out, name);
    buf_add(out, "\":", 2);
}

static bool put_member(void *arg, struct str key, struct json_value v) {
    struct buf *out = arg;
    if (json_key_is(key, "provider") || v.kind == JSON_NULL)
        return true;
    if (buf_len(out) > 1)
        buf_addc(out, ',');
    put_name(out, key);
    buf_adds(out, v.raw);
    return true;
}

/* The same request in OpenAI's words. */
static struct str translated(struct arena *a, struct str body) {
    struct buf b;
    buf_init(&b, 0);
    buf_addc(&b, '{');
    json_each(body, put_member, &b);
    buf_addc(&b, '}');
    struct str out = arena_dup(a, buf_str(&b));
    buf_free(&b);
    return out;
}

static bool peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    struct json_value v[FIELDS];
    bool stream = ask->stream;
    if (!peek_object(a, body, fields, FIELDS, v, ask, f) || !check(a, v, f))
        return false;
    struct str provider = v[F_PROVIDER].raw.p ? json_text(a, v[F_PROVIDER]) : STR_NONE;
    ask->stream = stream;
    if (!oc_peek(a, translated(a, body), ask, f))
        return false;
    ask->provider = provider;
    return true;
}

/* --- answers --- */

static void write_calls(struct jw *w, const struct message *m) {
    bool any = false;
    for (const struct part *p = m ? m->parts : NULL; p; p = p->next) {
        if (p->kind != PART_TOOL_CALL)
            continue;
        if (!any) {
            jw_key(w, "toolCalls");
            jw_arr(w);
        }
        any = true;
        jw_obj(w);
        oc_write_call(w, p);
        jw_obj_end(w);
    }
    if (any)
        jw_arr_end(w);
}

static void write_content(struct jw *w, const struct message *m) {
    struct buf text;
    buf_init(&text, 0);
    for (const struct part *p = m ? m->parts : NULL; p; p = p->next)
        if (p->kind == PART_TEXT || p->kind == PART_REFUSAL)
            buf_adds(&text, p->text);
    jw_kstr(w, "content", buf_str(&text));
    buf_free(&text);
}

/* What the model said, into an object that is open. */
static void write_said(struct jw *w, const struct reply *r, const struct mint *m) {
    struct buf id;
    buf_init(&id, 0);
    BUF_ADD(&id, "chatcmpl-");
    buf_adds(&id, m->id);
    jw_kstr(w, "id", buf_str(&id));
    buf_free(&id);
    write_content(w, r->message);
    write_calls(w, r->message);
    jw_kz(w, "finishReason", oc_finish_word(r->stop));
}

static void write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask) {
    struct jw w;
    (void)ask;
    jw_init(&w, out);
    jw_obj(&w);
    write_said(&w, r, m);
    jw_obj_end(&w);
}

static void dollars(struct jw *w, const char *key, int64_t nano) {
    jw_key(w, key);
    if (nano < 0)
        jw_null(w);
    else
        jw_nano(w, nano);
}

static void write_took(struct jw *w, const struct receipt *o) {
    jw_kstr(w, "model", o->model);
    jw_kstr(w, "provider", o->provider);
    jw_key(w, "usage");
    jw_obj(w);
    jw_ku64(w, "promptTokens", o->usage.input);
    jw_ku64(w, "completionTokens", o->usage.output);
    jw_ku64(w, "totalTokens", usage_total(&o->usage));
    if (o->usage.estimated)
        jw_kbool(w, "estimated", true);
    jw_obj_end(w);
    jw_key(w, "cost");
    jw_obj(w);
    dollars(w, "promptCost", o->input_nano);
    dollars(w, "completionCost", o->output_nano);
    dollars(w, "totalCost", o->cost_nano);
    jw_kz(w, "currency", "USD");
    jw_obj_end(w);
    jw_ku64(w, "latency", o->ms);
    jw_kbool(w, "cached", o->cached);
    jw_kstr(w, "requestId", o->request_id);
}

/* The members of the receipt behind those of the object that `written` ends with. */
static void append(struct buf *out, struct str written, struct str end, const struct receipt *o) {
    struct buf b;
    struct jw w;
    if (written.n <= end.n + 1)
        return;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    write_took(&w, o);
    buf_add(out, written.p, written.n - end.n - 1);
    buf_addc(out, ',');
    buf_adds(out, str_skip(buf_str(&b), 1));
    buf_addc(out, '}');
    buf_adds(out, end);
    buf_free(&b);
}

#define BLANK_LINE "\n\n"

static void write_receipt(struct buf *out, struct str written, const struct ask *ask,
                          const struct receipt *o) {
    if (ask->stream) {
        append(out, written, STR(BLANK_LINE), o);
        BUF_ADD(out, "data: [DONE]\n\n");
        return;
    }
    BUF_ADD(out, "{\"success\":true,\"data\":");
    append(out, written, STR(""), o);
    buf_addc(out, '}');
}

/* --- errors --- */

static const struct error {
    const char *type;
    bool retryable;
} errors[FAULT_CLASSES] = {
    [FAULT_NONE] = {"service_unavailable", true},
    [FAULT_BAD_REQUEST] = {"invalid_request_error", false},
    [FAULT_UNSUPPORTED] = {"invalid_request_error", false},
    [FAULT_CONTEXT_LENGTH] = {"context_length_error", false},
    [FAULT_CONTENT_FILTER] = {"invalid_request_error", false},
    [FAULT_TOO_LARGE] = {"invalid_request_error", false},
    [FAULT_AUTH] = {"authentication_error", false},
    [FAULT_PERMISSION] = {"permission_error", false},
    [FAULT_MODEL_NOT_FOUND] = {"model_not_found", false},
    [FAULT_RATE_LIMIT] = {"rate_limit_error", true},
    [FAULT_COST_LIMIT] = {"invalid_request_error", false},
    [FAULT_QUOTA] = {"rate_limit_error", true},
    [FAULT_BUDGET] = {"rate_limit_error", true},
    [FAULT_PROVIDER_AUTH] = {"service_unavailable", true},
    [FAULT_SERVER] = {"service_unavailable", true},
    [FAULT_OVERLOADED] = {"service_unavailable", true},
    [FAULT_TIMEOUT] = {"timeout_error", true},
    [FAULT_CONNECTION] = {"service_unavailable", true},
    [FAULT_NO_TARGET] = {"service_unavailable", true},
    [FAULT_CANCELLED] = {"timeout_error", true},
    [FAULT_INTERNAL] = {"service_unavailable", true},
};

static void write_error(struct jw *w, const struct fault *f, struct str request_id) {
    const struct error *e = &errors[f->cls];
    jw_key(w, "error");
    jw_obj(w);
    jw_kz(w, "type", e->type);
    jw_kstr(w, "message", f->message);
    jw_kbool(w, "retryable", e->retryable);
    if (f->provider.n)
        jw_kstr(w, "provider", f->provider);
    jw_kstr(w, "requestId", request_id);
    jw_obj_end(w);
}

static void write_fault(struct buf *out, const struct fault *f, struct str request_id) {
    struct jw w;
    jw_init(&w, out);
    jw_obj(&w);
    jw_kbool(&w, "success", false);
    write_error(&w, f, request_id);
    jw_obj_end(&w);
}

/* --- streams --- */

static void event_begin(struct jw *w, struct buf *out, const char *type) {
    BUF_ADD(out, "data: ");
    jw_init(w, out);
    jw_obj(w);
    jw_kz(w, "type", type);
}

static void event_done(struct jw *w, struct buf *out) {
    jw_obj_end(w);
    BUF_ADD(out, BLANK_LINE);
}

static void write_stream_fault(struct stream_writer *sw, struct buf *out, const struct fault *f,
                               struct str request_id) {
    struct jw w;
    (void)sw;
    event_begin(&w, out, "error");
    write_error(&w, f, request_id);
    event_done(&w, out);
}

#define WRITER_MAGIC 0x45535457U
enum {
    KEPT_MAX = 16 << 20
}; /* of an answer whose last event has all of it once more; of a longer one nothing */

struct writer {
    unsigned magic;
    struct mint mint;
    struct fold *fold;
    enum stop_reason stop;
};

static struct stream_writer *writer_new(struct arena *a, const struct mint *m, const struct ask *ask) {
    struct writer *w = arena_alloc(a, sizeof *w);
    (void)ask;
    w->magic = WRITER_MAGIC;
    w->mint = *m;
    w->fold = fold_new(a, KEPT_MAX);
    return (struct stream_writer *)(void *)w;
}

static void write_done(struct writer *w, struct buf *out) {
    const struct fault *ignored;
    const struct reply *r = fold_reply(w->fold, &ignored);
    const struct reply longer = {.stop = w->stop};
    struct jw j;
    event_begin(&j, out, "done");
    write_said(&j, r ? r : &longer, &w->mint);
    event_done(&j, out);
}

static void write_event(struct stream_writer *sw, const struct event_item *ev, struct buf *out) {
    struct writer *w = (struct writer *)(void *)sw;
    struct jw j;
    MAGIC_CHECK(w, WRITER_MAGIC);
    fold_event(w->fold, ev);
    if (ev->kind == EV_TEXT) {
        event_begin(&j, out, "chunk");
        jw_kstr(&j, "content", ev->text);
        event_done(&j, out);
    } else if (ev->kind == EV_STOP) {
        w->stop = ev->stop;
    } else if (ev->kind == EV_END) {
        write_done(w, out);
    }
}

static const struct client_face client = {
    .peek = peek,
    .question = question_of_messages,
    .read_request = oc_read_request,
    .write_reply = write_reply,
    .write_receipt = write_receipt,
    .write_fault = write_fault,
    .write_stream_fault = write_stream_fault,
    .writer_new = writer_new,
    .write_event = write_event,
    .stream_type = "text/event-stream; charset=utf-8",
    .turns = "messages",
    .provider_rates = true,
};

const struct dialect dialect_enterprise = {"enterprise", OP_CHAT, &client, NULL};
