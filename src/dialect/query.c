/* The cost-aware gateway's clients: one question as plain text in, one answer as plain text out, with what it
 * took in tokens, money and time. Errors are sentences that a person can act on. Answers are whole: a request
 * for a stream is told where to go. */
#include "encode.h"

#include <inttypes.h>

enum { TENANT_MOST = 128, REQUEST_ID_MOST = 128 };

enum field {
    F_QUERY,
    F_MODEL,
    F_MODEL_VERSION,
    F_TASK_TYPE,
    F_REQUEST_ID,
    F_MAX_COST,
    F_DRY_RUN,
    F_TENANT,
    F_EXPECTED,
    F_MAX_TOKENS,
    F_TEMPERATURE,
    F_USER,
    F_ROUTING,
    F_STREAM,
    FIELDS
};
static const struct {
    const char *name;
    enum json_kind kind;
    const char *want;
} fields[FIELDS] = {
    [F_QUERY] = {"query", JSON_STRING, "a text"},
    [F_MODEL] = {"model", JSON_STRING, "a text, such as openai, gemini, mistral or claude"},
    [F_MODEL_VERSION] = {"model_version", JSON_STRING, "a text, the provider's own name of the model"},
    [F_TASK_TYPE] = {"task_type", JSON_STRING, "a text, such as summarization"},
    [F_REQUEST_ID] = {"request_id", JSON_STRING, "a text"},
    [F_MAX_COST] = {"max_cost_usd", JSON_NUMBER, "a number of dollars, 0 or more"},
    [F_DRY_RUN] = {"dry_run", JSON_BOOL, "true or false"},
    [F_TENANT] = {"tenant", JSON_STRING, "a text"},
    [F_EXPECTED] = {"expected_response_tokens", JSON_NUMBER, "a whole number from 0 to 100000000"},
    [F_MAX_TOKENS] = {"max_tokens", JSON_NUMBER, "a whole number from 1 to 100000000"},
    [F_TEMPERATURE] = {"temperature", JSON_NUMBER, "a number"},
    [F_USER] = {"user", JSON_STRING, "a text"},
    [F_ROUTING] = {"routing", JSON_OBJECT, "an object"},
    [F_STREAM] = {"stream", JSON_BOOL, "true or false"},
};

/* --- reading --- */

struct reading {
    struct arena *a;
    struct fault *f;
    struct buf *ignored;
    struct json_value v[FIELDS];
};

static bool wrong(struct reading *r, enum field i) {
    fault_set(r->f, r->a, FAULT_BAD_REQUEST, "`%s` must be %s.", fields[i].name, fields[i].want);
    r->f->param = str_of(fields[i].name);
    return false;
}

static bool refuse(struct reading *r, enum field i, const char *why) {
    fault_set(r->f, r->a, FAULT_BAD_REQUEST, "%s", why);
    r->f->param = str_of(fields[i].name);
    return false;
}

/* A name that nobody knows changes nothing, and that is said. */
static void ignore(struct reading *r, struct str name) {
    if (buf_len(r->ignored) > 0)
        BUF_ADD(r->ignored, ",");
    buf_adds(r->ignored, encode_listed(r->a, name));
}

static bool member(void *arg, struct str key, struct json_value v) {
    struct reading *r = arg;
    size_t i = 0;
    while (i < FIELDS && !json_key_is(key, fields[i].name))
        i++;
    if (i == FIELDS) {
        ignore(r, key);
        return true;
    }
    if (r->v[i].raw.p) {
        fault_set(r->f, r->a, FAULT_BAD_REQUEST, "`%s` is given twice. Give it once.", fields[i].name);
        r->f->param = str_of(fields[i].name);
        return false;
    }
    if (v.kind == JSON_NULL)
        return true;
    if (v.kind != fields[i].kind)
        return wrong(r, (enum field)i);
    r->v[i] = v;
    return true;
}

static bool scan(struct reading *r, struct str body) {
    enum json_kind kind = JSON_NULL;
    struct json_error err = {0, NULL};
    int rc = json_scan(body, &kind, NULL, NULL, &err);
    if (rc != 0)
        fault_set(r->f, r->a, FAULT_BAD_REQUEST, "The body of the request is not JSON: %s at byte %zu.",
                  err.why ? err.why : "malformed", err.offset);
    else if (kind != JSON_OBJECT)
        fault_set(r->f, r->a, FAULT_BAD_REQUEST,
                  "The body of the request must be a JSON object with a `query`.");
    else
        json_each(body, member, r);
    return !fault_is(r->f);
}

static struct str text(const struct reading *r, enum field i) {
    return r->v[i].raw.p ? json_text(r->a, r->v[i]) : STR_NONE;
}

static bool blank(struct str s) {
    size_t i = 0;
    while (i < s.n && (unsigned char)s.p[i] <= ' ')
        i++;
    return i == s.n;
}

static bool id_char(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool take_request_id(struct reading *r, struct ask *ask) {
    struct str id = text(r, F_REQUEST_ID);
    bool ok = id.n <= REQUEST_ID_MOST && (id.n || !id.p);
    for (size_t i = 0; i < id.n; i++)
        ok = ok && id_char(id.p[i]);
    ask->request_id = ok ? id : STR_NONE;
    return ok || refuse(r, F_REQUEST_ID,
                        "`request_id` must have 1 to 128 letters, digits, dots, underscores or dashes.");
}

static bool take_tenant(struct reading *r, struct ask *ask) {
    struct str t = text(r, F_TENANT);
    bool ok = t.n <= TENANT_MOST && str_plain(t);
    ask->tenant = t;
    return ok || refuse(r, F_TENANT, "`tenant` must have at most 128 bytes and no control characters.");
}

static bool take_count(struct reading *r, enum field i, uint64_t least, uint64_t *out) {
    *out = 0;
    if (!r->v[i].raw.p)
        return true;
    return (json_u64(r->v[i], out) && *out >= least && *out <= USAGE_COUNT_MAX) || wrong(r, i);
}

static bool take_money(struct reading *r, struct ask *ask) {
    const double most = 1e9;
    ask->max_cost_said = r->v[F_MAX_COST].raw.p != NULL;
    if (!ask->max_cost_said)
        return true;
    return (json_double(r->v[F_MAX_COST], &ask->max_cost_usd) && ask->max_cost_usd >= 0 &&
            ask->max_cost_usd <= most) ||
           wrong(r, F_MAX_COST);
}

/* A provider and its own name of the model, or either alone. */
static void take_model(struct reading *r, struct ask *ask) {
    struct str model = text(r, F_MODEL), version = text(r, F_MODEL_VERSION);
    ask->model = model.n ? model : version;
    if (model.n && version.n)
        ask->model = arena_printf(r->a, STR_FMT "/" STR_FMT, STR_ARG(model), STR_ARG(version));
}

static bool take_query(struct reading *r, struct ask *ask) {
    if (!r->v[F_QUERY].raw.p)
        return refuse(r, F_QUERY, "The request has no `query`. Put your question into it, as a text.");
    if (blank(text(r, F_QUERY)))
        return refuse(r, F_QUERY, "The `query` is empty. Put your question into it.");
    ask->input_bytes = r->v[F_QUERY].raw.n - 2;
    return true;
}

static bool take(struct reading *r, struct ask *ask) {
    if (!take_request_id(r, ask) || !take_query(r, ask) || !take_tenant(r, ask) || !take_money(r, ask) ||
        !take_count(r, F_EXPECTED, 0, &ask->expected_output) ||
        !take_count(r, F_MAX_TOKENS, 1, &ask->max_tokens))
        return false;
    if (json_true(r->v[F_STREAM]))
        return refuse(r, F_STREAM,
                      "Answers come whole here. For a stream ask POST /v1/chat/completions with `stream`.");
    take_model(r, ask);
    ask->known_model = true;
    ask->task = text(r, F_TASK_TYPE);
    ask->user = text(r, F_USER);
    ask->dry_run = json_true(r->v[F_DRY_RUN]);
    ask->routing_span = r->v[F_ROUTING];
    ask->routing = r->v[F_ROUTING].raw;
    return true;
}

static bool read_body(struct arena *a, struct str body, struct ask *ask, struct reading *r, struct fault *f) {
    struct buf ignored;
    buf_init(&ignored, 1024);
    *ask = (struct ask){.rest = ask->rest, .query = ask->query, .body = body, .n = 1};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    *r = (struct reading){.a = a, .f = f, .ignored = &ignored};
    bool ok = scan(r, body) && take(r, ask);
    ask->ignored = buf_ok(&ignored) ? arena_dup(a, buf_str(&ignored)) : STR("...");
    buf_free(&ignored);
    return ok;
}

static bool peek(struct arena *a, struct str body, struct ask *ask, struct fault *f) {
    struct reading r;
    return read_body(a, body, ask, &r, f);
}

static bool read_request(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f) {
    struct ask again = *ask;
    struct reading r;
    if (!read_body(a, ask->body, &again, &r, f))
        return false;
    struct chat *c = chat_new(a);
    c->model = ask->model;
    c->max_tokens = again.max_tokens;
    c->user = again.user;
    message_part(c, chat_message(c, ROLE_USER), PART_TEXT)->text = text(&r, F_QUERY);
    if (r.v[F_TEMPERATURE].raw.p && json_double(r.v[F_TEMPERATURE], &c->temperature.v)) {
        c->temperature.set = true;
        c->temperature.text = r.v[F_TEMPERATURE].raw;
    }
    *out = c;
    return true;
}

static struct json_value question(struct str body) {
    struct json_value v;
    if (json_member(body, "query", &v) && v.kind == JSON_STRING)
        return v;
    return (struct json_value){JSON_NULL, STR_NONE};
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

/* What the cache keeps; the rest is added by write_receipt. */
static void write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask) {
    struct buf all;
    struct jw w;
    (void)m;
    buf_init(&all, 0);
    for (const struct part *p = r->message ? r->message->parts : NULL; p; p = p->next)
        if (p->kind == PART_TEXT || p->kind == PART_REFUSAL)
            buf_adds(&all, p->text);
    jw_init(&w, out);
    jw_obj(&w);
    if (ask->dry_run)
        jw_knull(&w, "response");
    else
        jw_kstr(&w, "response", buf_str(&all));
    if (!ask->dry_run)
        jw_kz(&w, "finish_reason", finish_word(r->stop));
    jw_obj_end(&w);
    buf_free(&all);
}

static void write_nano(struct jw *w, const char *key, int64_t nano) {
    jw_key(w, key);
    if (nano < 0)
        jw_null(w);
    else
        jw_nano(w, nano);
}

static void write_costs(struct jw *w, const struct receipt *o) {
    jw_key(w, "cost");
    jw_obj(w);
    write_nano(w, "estimated_usd", o->expected_nano);
    write_nano(w, "actual_usd", o->cost_nano);
    write_nano(w, "input_usd", o->input_nano);
    write_nano(w, "output_usd", o->output_nano);
    jw_obj_end(w);
    jw_key(w, "metrics");
    jw_obj(w);
    jw_ku64(w, "latency_ms", o->ms);
    jw_ku64(w, "attempts", o->attempts);
    jw_kbool(w, "fallback_used", o->fallback);
    jw_kz(w, "cache", o->cache);
    jw_obj_end(w);
}

static void write_tokens(struct jw *w, const struct usage *u) {
    jw_ku64(w, "input_tokens", u->input);
    jw_ku64(w, "output_tokens", u->output);
    jw_ku64(w, "total_tokens", usage_total(u));
    jw_ku64(w, "num_tokens", usage_total(u));
    jw_kbool(w, "tokens_estimated", u->estimated);
}

static void write_text(struct jw *w, const char *key, struct str s) {
    if (s.n)
        jw_kstr(w, key, s);
    else
        jw_knull(w, key);
}

static void write_receipt(struct buf *out, struct str written, const struct ask *ask,
                          const struct receipt *o) {
    struct buf more;
    struct jw w;
    buf_init(&more, 0);
    jw_init(&w, &more);
    jw_obj(&w);
    jw_kstr(&w, "model", o->model);
    jw_kstr(&w, "provider", o->provider);
    write_text(&w, "task_type", ask->task);
    jw_kstr(&w, "request_id", o->request_id);
    write_text(&w, "tenant", o->tenant);
    jw_ku64(&w, "response_time_ms", o->ms);
    jw_kbool(&w, "cached", o->cached);
    jw_kbool(&w, "dry_run", ask->dry_run);
    write_tokens(&w, &o->usage);
    write_nano(&w, "cost_usd", o->cost_nano);
    write_costs(&w, o);
    jw_obj_end(&w);
    buf_add(out, written.p, written.n - 1); /* two objects become one */
    BUF_ADD(out, ",");
    buf_add(out, buf_at(&more) + 1, buf_len(&more) - 1);
    buf_free(&more);
}

/* --- errors --- */

/* What the person who asked can do about it. */
static const char *advice(enum fault_class c) {
    switch (c) {
    case FAULT_AUTH:
        return "Send your key in the header X-API-Key, or as Authorization: Bearer KEY.";
    case FAULT_PERMISSION:
        return "Ask whoever runs this gateway for a key that may.";
    case FAULT_MODEL_NOT_FOUND:
        return "GET /api/status tells which there are; without `model` one is chosen for you.";
    case FAULT_CONTEXT_LENGTH:
        return "Shorten the query, or name a model with a larger context window.";
    case FAULT_TOO_LARGE:
        return "Shorten the query.";
    case FAULT_CONTENT_FILTER:
        return "Put the query in other words.";
    case FAULT_COST_LIMIT:
        return "Raise max_cost_usd, shorten the query, or name a cheaper model: POST "
               "/v1/gateway/cost-estimate "
               "compares them.";
    case FAULT_QUOTA:
    case FAULT_PROVIDER_AUTH:
        return "Name another model, or tell whoever runs this gateway.";
    case FAULT_BUDGET:
        return "Wait until it is renewed, or ask whoever runs this gateway to raise it.";
    case FAULT_SERVER:
    case FAULT_OVERLOADED:
    case FAULT_TIMEOUT:
    case FAULT_CONNECTION:
    case FAULT_NO_TARGET:
        return "Try again in a moment, or name another model.";
    default:
        return "";
    }
}

static void write_sentence(struct buf *out, const struct fault *f) {
    const char *hint = f->cls == FAULT_RATE_LIMIT || f->retry_after_ms >= 0 ? "" : advice(f->cls);
    struct str said = f->message.n ? f->message : str_of(fault_rule(f->cls)->name);
    if (f->param.n && str_find(said, f->param) == 0) /* "max_tokens: ..." */
        BUF_ADD(out, "The request is wrong: ");
    else if (said.p[0] >= 'a' && said.p[0] <= 'z')
        buf_addc(out, (char)(said.p[0] - 'a' + 'A'));
    buf_adds(out, buf_len(out) == 1 ? str_skip(said, 1) : said);
    if (!str_ends(buf_str(out), ".") && !str_ends(buf_str(out), "!") && !str_ends(buf_str(out), "?"))
        BUF_ADD(out, ".");
    if (f->retry_after_ms >= 0)
        buf_printf(out, " Try again in %" PRId64 " s.", (f->retry_after_ms + 999) / 1000);
    else if (f->cls == FAULT_RATE_LIMIT)
        BUF_ADD(out, " Try again in a moment.");
    if (*hint)
        buf_printf(out, " %s", hint);
}

/* Routing calls it otherwise. */
static struct str own_name(struct str param) {
    if (str_is(param, "routing.task"))
        return STR("task_type");
    return str_is(param, "routing.max_cost_usd") ? STR("max_cost_usd") : param;
}

static void write_fault(struct buf *out, const struct fault *f, struct str request_id) {
    struct buf sentence;
    struct jw w;
    buf_init(&sentence, 0);
    write_sentence(&sentence, f);
    jw_init(&w, out);
    jw_obj(&w);
    jw_kstr(&w, "error", buf_str(&sentence));
    jw_kz(&w, "type", fault_rule(f->cls)->name);
    if (f->param.n)
        jw_kstr(&w, "param", own_name(f->param));
    if (request_id.n)
        jw_kstr(&w, "request_id", request_id);
    jw_obj_end(&w);
    buf_free(&sentence);
}

static const struct client_face client = {
    .peek = peek,
    .question = question,
    .read_request = read_request,
    .write_reply = write_reply,
    .write_receipt = write_receipt,
    .write_fault = write_fault,
    .silent = "request_id,task_type,tenant,max_cost_usd,expected_response_tokens,dry_run,stream",
};

const struct dialect dialect_query = {"query", OP_CHAT, &client, NULL};
