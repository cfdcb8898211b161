/* OpenAI's legacy completions: to providers that have them the client's bytes go as they are; for all others
 * the prompt is the user's turn of a chat. */
#include "answer.h"
#include "openai_chat.h"
#include "peek.h"
#include "splice.h"

#include "base/die.h"

enum {
    F_MODEL,
    F_PROMPT,
    F_STREAM,
    F_STREAM_OPTIONS,
    F_MAX_TOKENS,
    F_N,
    F_USER,
    F_ROUTING,
    F_SUFFIX,
    F_ECHO,
    F_BEST_OF,
    F_LOGPROBS,
    F_STOP,
    F_TEMPERATURE,
    F_TOP_P,
    F_FREQUENCY,
    F_PRESENCE,
    F_SEED,
    F_LOGIT_BIAS,
    FIELDS
};

static const struct peek_field fields[FIELDS] = {
    [F_MODEL] = {"model", PEEK_KIND(STRING), "a string", false, false},
    [F_PROMPT] = {"prompt", PEEK_KIND(STRING) | PEEK_KIND(ARRAY), "a string or an array", false, true},
    [F_STREAM] = {"stream", PEEK_KIND(BOOL), "a boolean", false, false},
    [F_STREAM_OPTIONS] = {"stream_options", PEEK_KIND(OBJECT), "an object", false, false},
    [F_MAX_TOKENS] = {"max_tokens", PEEK_KIND(NUMBER), "an integer", false, false},
    [F_N] = {"n", PEEK_KIND(NUMBER), "an integer", false, false},
    [F_USER] = {"user", PEEK_KIND(STRING), "a string", false, false},
    [F_ROUTING] = {"routing", PEEK_KIND(OBJECT), "an object", false, false},
    [F_SUFFIX] = {"suffix", PEEK_KIND(STRING), "a string", false, true},
    [F_ECHO] = {"echo", PEEK_KIND(BOOL), "a boolean", false, false},
    [F_BEST_OF] = {"best_of", PEEK_KIND(NUMBER), "an integer", false, false},
    [F_LOGPROBS] = {"logprobs", PEEK_KIND(NUMBER), "an integer", false, false},
    [F_STOP] = {"stop", PEEK_KIND(STRING) | PEEK_KIND(ARRAY), "a string or an array of strings", false,
                false},
    [F_TEMPERATURE] = {"temperature", PEEK_KIND(NUMBER), "a number", false, false},
    [F_TOP_P] = {"top_p", PEEK_KIND(NUMBER), "a number", false, false},
    [F_FREQUENCY] = {"frequency_penalty", PEEK_KIND(NUMBER), "a number", false, false},
    [F_PRESENCE] = {"presence_penalty", PEEK_KIND(NUMBER), "a number", false, false},
    [F_SEED] = {"seed", PEEK_KIND(NUMBER), "an integer", false, false},
    [F_LOGIT_BIAS] = {"logit_bias", PEEK_KIND(OBJECT), "an object", false, false},
};

/* --- requests --- */

struct kind {
    bool prompt, messages;
};

static bool note(void *arg, struct str key, struct json_value v) {
    struct kind *k = arg;
    if (v.kind == JSON_NULL || key.n == 0)
        return true;
    k->prompt = k->prompt || json_key_is(key, "prompt");
    k->messages = k->messages || json_key_is(key, "messages");
    return true;
}

/* The routing gateway's clients send chats to this path. */
static const struct dialect *really(struct str body, struct str agent) {
    (void)agent;
    struct kind k = {false, false};
    enum json_kind kind;
    bool scanned = json_scan(body, &kind, note, &k, NULL) == 0;
    return scanned && k.messages && !k.prompt ? &dialect_openai_chat : &dialect_openai_completions;
}

static bool missing(struct arena *a, struct fault *f) {
    fault_set(f, a, FAULT_BAD_REQUEST, "'prompt': Field required, or 'messages' for a chat");
    f->param = STR("prompt");
    return false;
}

static bool peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    struct json_value v[FIELDS], usage;
    bool stream = ask->stream;
    if (!peek_object(a, body, fields, FIELDS, v, ask, f) ||
        !peek_count(a, "max_tokens", v[F_MAX_TOKENS], &ask->max_tokens, f) ||
        !peek_count(a, "n", v[F_N], &ask->n, f))
        return false;
    if (!v[F_PROMPT].raw.p)
        return missing(a, f);
    if (ask->n == 0)
        ask->n = 1;
    ask->model_span = v[F_MODEL];
    ask->model = v[F_MODEL].raw.p ? json_text(a, v[F_MODEL]) : STR_NONE;
    ask->stream_span = v[F_STREAM];
    ask->stream = stream || (v[F_STREAM].raw.p && json_true(v[F_STREAM]));
    ask->stream_options_span = v[F_STREAM_OPTIONS];
    ask->include_usage = v[F_STREAM_OPTIONS].raw.p &&
                         json_member(v[F_STREAM_OPTIONS].raw, "include_usage", &usage) && json_true(usage);
    ask->routing_span = v[F_ROUTING];
    ask->routing = v[F_ROUTING].raw;
    if (v[F_USER].raw.p)
        ask->user = json_text(a, v[F_USER]);
    return true;
}

static bool refuse(struct arena *a, struct fault *f, const char *param, const char *what) {
    fault_set(f, a, FAULT_UNSUPPORTED, "'%s' %s", param, what);
    f->param = str_of(param);
    return false;
}

/* What a chat cannot do. */
static bool can_chat(struct arena *a, const struct json_value *v, struct fault *f) {
    static const char no[] = "cannot be had of a chat model";
    if (v[F_SUFFIX].raw.p && v[F_SUFFIX].raw.n > 2)
        return refuse(a, f, "suffix", no);
    if (v[F_ECHO].raw.p && json_true(v[F_ECHO]))
        return refuse(a, f, "echo", no);
    uint64_t best = 1;
    if (v[F_BEST_OF].raw.p && (!json_u64(v[F_BEST_OF], &best) || best > 1))
        return refuse(a, f, "best_of", no);
    if (v[F_LOGPROBS].raw.p)
        return refuse(a, f, "logprobs",
                      "of a completion "
                      "cannot be had of a chat model");
    return true;
}

struct one_text {
    struct json_value text;
    size_t n;
};

static bool each_prompt(void *arg, struct str key, struct json_value v) {
    struct one_text *t = arg;
    (void)key;
    t->text = v;
    return ++t->n < 2;
}

static bool read_prompt(struct arena *a, struct json_value v, struct str *out, struct fault *f) {
    struct one_text t = {v, 1};
    if (v.kind == JSON_ARRAY) {
        t.n = 0;
        json_each(v.raw, each_prompt, &t);
    }
    if (t.n != 1 || t.text.kind != JSON_STRING)
        return refuse(a, f, "prompt", "must be one text for a chat model, not several or token ids");
    *out = json_text(a, t.text);
    return true;
}

static bool each_stop(void *arg, struct str key, struct json_value v) {
    struct chat *c = arg;
    (void)key;
    if (v.kind == JSON_STRING && c->nstop < 64)
        c->stop[c->nstop++] = json_text(c->arena, v);
    return true;
}

static void read_number(struct opt_num *n, struct json_value v) {
    if (v.raw.p && json_double(v, &n->v)) {
        n->set = true;
        n->text = v.raw;
    }
}

static void read_rest(struct chat *c, const struct json_value *v) {
    struct json_error err;
    read_number(&c->temperature, v[F_TEMPERATURE]);
    read_number(&c->top_p, v[F_TOP_P]);
    read_number(&c->frequency_penalty, v[F_FREQUENCY]);
    read_number(&c->presence_penalty, v[F_PRESENCE]);
    if (v[F_SEED].raw.p)
        c->seed_set = json_i64(v[F_SEED], &c->seed);
    if (v[F_LOGIT_BIAS].raw.p)
        c->logit_bias = chat_hold(c->arena, json_tree(v[F_LOGIT_BIAS].raw, &err));
    c->stop = arena_array(c->arena, 64, sizeof *c->stop);
    if (v[F_STOP].kind == JSON_STRING)
        each_stop(c, STR_NONE, v[F_STOP]);
    else if (v[F_STOP].raw.p)
        json_each(v[F_STOP].raw, each_stop, c);
}

static bool read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f) {
    struct json_value v[FIELDS];
    struct ask again = *ask;
    struct str prompt;
    if (!peek_object(a, ask->body, fields, FIELDS, v, &again, f) || !can_chat(a, v, f) ||
        !read_prompt(a, v[F_PROMPT], &prompt, f))
        return false;
    struct chat *c = chat_new(a);
    c->model = ask->model;
    c->stream = ask->stream;
    c->include_usage = ask->include_usage;
    c->max_tokens = ask->max_tokens;
    c->n = ask->n;
    c->user = ask->user;
    message_part(c, chat_message(c, ROLE_USER), PART_TEXT)->text = prompt;
    read_rest(c, v);
    *out = c;
    return true;
}

/* --- answers --- */

static const char *finish_word(enum stop_reason stop) {
    switch (stop) {
    case STOP_LENGTH:
    case STOP_CONTEXT:
        return "length";
    case STOP_FILTER:
        return "content_filter";
    default:
        return "stop";
    }
}

static void write_head(struct jw *w, const struct mint *m) {
    struct buf id;
    buf_init(&id, 0);
    BUF_ADD(&id, "cmpl-");
    buf_adds(&id, m->id);
    jw_kstr(w, "id", buf_str(&id));
    buf_free(&id);
    jw_kz(w, "object", "text_completion");
    jw_kint(w, "created", m->created);
    jw_kstr(w, "model", m->model);
}

static void write_usage(struct jw *w, const struct usage *u) {
    jw_key(w, "usage");
    jw_obj(w);
    jw_ku64(w, "prompt_tokens", u->input);
    jw_ku64(w, "completion_tokens", u->output);
    jw_ku64(w, "total_tokens", usage_total(u));
    jw_obj_end(w);
}

static void write_choice(struct jw *w, uint64_t index, struct str text, const char *finish) {
    jw_obj(w);
    jw_kstr(w, "text", text);
    jw_ku64(w, "index", index);
    jw_knull(w, "logprobs");
    jw_kz(w, "finish_reason", finish);
    jw_obj_end(w);
}

static void write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask) {
    struct jw w;
    uint64_t i = 0;
    (void)ask;
    jw_init(&w, out);
    jw_obj(&w);
    write_head(&w, m);
    jw_key(&w, "choices");
    jw_arr(&w);
    for (const struct reply *c = r; c; c = c->next) {
        struct buf text;
        buf_init(&text, 0);
        for (const struct part *p = c->message ? c->message->parts : NULL; p; p = p->next)
            if (p->kind == PART_TEXT || p->kind == PART_REFUSAL)
                buf_adds(&text, p->text);
        write_choice(&w, i++, buf_str(&text), finish_word(c->stop));
        buf_free(&text);
    }
    jw_arr_end(&w);
    if (r->usage.known || r->usage.estimated)
        write_usage(&w, &r->usage);
    jw_obj_end(&w);
}

#define WRITER_MAGIC 0x4F434C57U
struct writer {
    unsigned magic;
    bool include_usage;
    struct mint mint;
    struct usage usage;
};

static struct stream_writer *writer_new(struct arena *a, const struct mint *m, const struct ask *ask) {
    struct writer *w = arena_alloc(a, sizeof *w);
    w->magic = WRITER_MAGIC;
    w->mint = *m;
    w->include_usage = ask && ask->include_usage;
    w->usage = USAGE_NONE;
    return (struct stream_writer *)(void *)w;
}

static void chunk(const struct writer *w, struct buf *out, struct str text, const char *finish, bool usage) {
    struct jw j;
    BUF_ADD(out, "data: ");
    jw_init(&j, out);
    jw_obj(&j);
    write_head(&j, &w->mint);
    jw_key(&j, "choices");
    jw_arr(&j);
    if (!usage)
        write_choice(&j, 0, text, finish);
    jw_arr_end(&j);
    if (usage)
        write_usage(&j, &w->usage);
    jw_obj_end(&j);
    BUF_ADD(out, "\n\n");
}

static void write_event(struct stream_writer *sw, const struct event_item *ev, struct buf *out) {
    struct writer *w = (struct writer *)(void *)sw;
    MAGIC_CHECK(w, WRITER_MAGIC);
    if (ev->kind == EV_TEXT) {
        chunk(w, out, ev->text, NULL, false);
    } else if (ev->kind == EV_USAGE) {
        usage_merge(&w->usage, &ev->usage);
    } else if (ev->kind == EV_STOP) {
        chunk(w, out, STR(""), finish_word(ev->stop), false);
    } else if (ev->kind == EV_END) {
        if (w->include_usage && (w->usage.known || w->usage.estimated))
            chunk(w, out, STR_NONE, NULL, true);
        BUF_ADD(out, "data: [DONE]\n\n");
    }
}

static const char *const renamed[][2] = {{"messages", "prompt"}, {NULL, NULL}};
static const struct client_names names = {NULL, NULL, NULL, NULL, renamed};

static const struct client_face client = {
    .really = really,
    .peek = peek,
    .read_request = read_request,
    .write_reply = write_reply,
    .write_fault = oc_write_fault,
    .write_stream_fault = oc_write_stream_fault,
    .writer_new = writer_new,
    .write_event = write_event,
    .stream_type = "text/event-stream; charset=utf-8",
    .names = &names,
};

/* Of providers that have it; what others cannot say is never asked of it. */
static const struct provider_face provider = {
    .stop_is_end = true,
    .path = "/completions",
    .splice = oc_splice,
    .tap_reply = oc_tap_reply,
    .read_fault = said_read_fault,
    .tap_event = oc_tap_event,
};

const struct dialect dialect_openai_completions = {"openai_completions", OP_CHAT, &client, &provider};
