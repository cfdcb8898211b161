/* From the provider to the client. A whole answer is collected and checked before a byte of it goes out. A
 * stream is held until its first real output (the pre-commit window), so that an error inside a 200 can still
 * fail over; from then on bytes go through as they come, and a slow client pauses the provider. */
#include "base/clock.h"
#include "base/die.h"
#include "hedge.h"
#include "policy/vault.h"
#include "request.h"
#include "shm/stat.h"

enum {
    ERROR_BODY_MAX = 64 << 10, /* of a provider's error */
    WINDOW_MAX = 64 << 10,     /* bytes held before the commit */
    KEPT_HEADERS = 32,
    KEEP_BUFFER = 4 << 10, /* an emptied stream buffer larger than this gives its memory back */
    END_GRACE_MS = 100,    /* between the dialect's end and the end of the provider's bytes */
};

/* --- the head --- */

/* Those that somebody looks at later: here, in read_fault, or the client. */
static bool of_interest(struct str name) {
    static const char *const prefixes[] = {"content-",         "retry-after",     "x-should-retry",
                                           "openai-",          "x-ratelimit-",    "x-request-id",
                                           "request-id",       "anthropic-",      "date",
                                           "x-amzn-requestid", "apim-request-id", "mistral-correlation-id",
                                           "x-generation-id"};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
        if (str_starts(name, prefixes[i]))
            return true;
    return false;
}

static struct str kept_header(void *arg, const char *name) {
    const struct attempt *t = arg;
    for (size_t i = 0; i < t->nheaders; i++)
        if (str_is(t->headers[i].name, name))
            return t->headers[i].value;
    return STR_NONE;
}

static struct str clock_text(struct arena *a) {
    char text[CLOCK_RFC3339_SIZE];
    clock_rfc3339(text, clock_wall_ms());
    return arena_dup(a, str_of(text));
}

static void keep_headers(struct request *r, const struct call_header *h, size_t n) {
    struct attempt *t = &r->now;
    size_t most = 0;
    for (size_t i = 0; i < n && most < KEPT_HEADERS; i++)
        most += of_interest(h[i].name);
    t->headers = arena_array(r->a, most + 1, sizeof(*h));
    t->nheaders = 0;
    for (size_t i = 0; i < n && t->nheaders < most; i++)
        if (of_interest(h[i].name))
            t->headers[t->nheaders++] =
                (struct call_header){arena_dup(r->a, h[i].name), arena_dup(r->a, h[i].value)};
    if (kept_header(t, "date").n == 0) /* what a retry-after is reckoned from */
        t->headers[t->nheaders++] = (struct call_header){STR("date"), clock_text(r->a)};
}

static struct pipe_opt *pipe_options(struct request *r) {
    struct pipe_opt *o = arena_alloc(r->a, sizeof(*o));
    *o = (struct pipe_opt){.quirks = attempt_quirks(&r->now),
                           .hide_usage = !r->ask.include_usage,
                           .mint = &r->mint,
                           .ask = &r->ask,
                           .max_frame = r->p->conf->max_response_body};
    const struct dialect *d = r->now.endpoint->dialect;
    bool forgets = !pipe_same(r->client, d, o->quirks) || o->quirks & (QUIRK_REASONING | QUIRK_DETAILS);
    if (d->op == OP_CHAT && vault_on(r->p) && forgets) {
        r->now.turn = turn_new(r->a, d->name);
    }
    talk_hear(r, o);
    return o;
}

static void pipe_start(struct request *r) {
    struct pipe_opt *o = pipe_options(r);
    r->now.pipe = pipe_new(r->a, r->client, r->now.endpoint->dialect, o);
}

bool answer_is_good(const struct request *r) {
    return r->now.status >= 200 && r->now.status < 300;
}

struct str answer_header(struct request *r, const char *name) {
    return kept_header(&r->now, name);
}

void answer_begins(struct request *r, int status, const struct call_header *h, size_t n) {
    r->now.status = status;
    keep_headers(r, h, n);
    buf_init(&r->now.body, answer_is_good(r) ? r->p->conf->max_response_body : ERROR_BODY_MAX);
}

static enum flow on_head(void *arg, int status, const struct call_header *h, size_t n) {
    struct request *r = arg;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    answer_begins(r, status, h, n);
    bool json = str_startsi(kept_header(&r->now, "content-type"), "application/json");
    r->now.sse = answer_is_good(r) && r->ask.stream && !json;
    if (r->now.sse)
        pipe_start(r);
    return FLOW_OK;
}

/* --- the bytes --- */

enum flow answer_collect(struct request *r, const char *p, size_t n) {
    size_t room = r->now.body.max - buf_len(&r->now.body);
    if (answer_is_good(r)) {
        buf_add(&r->now.body, p, n);
        return buf_ok(&r->now.body) ? FLOW_OK : FLOW_STOP;
    }
    buf_add(&r->now.body, p, n < room ? n : room); /* the rest of a long error page tells nothing more */
    return FLOW_OK;
}

static void capture(struct request *r) {
    if (!r->capturing)
        return;
    buf_adds(&r->capture, buf_str(&r->held_bytes));
    if (buf_ok(&r->capture))
        return;
    r->capturing = false;
    buf_free(&r->capture);
}

void answer_commit(struct request *r) {
    struct http_header h[ANSWER_HEADERS];
    hedge_won(r);
    size_t n = answer_headers(r, h, false);
    r->committed = true;
    r->first_byte_ms = (clock_ns() - r->x->started_ns) / 1000000;
    timer_clear(&r->timer);
    stat_add(r->p->shm, STAT_STREAMS, 1);
    exchange_begin(r->x, 200, h, n, -1);
    if (buf_len(&r->out) <= CALL_BODY_COPIED) /* an open stream shall not hold its request as well */
        buf_free(&r->out);
}

enum flow answer_write(struct request *r, const char *p, size_t n) {
    enum flow fl = exchange_write(r->x, p, n);
    if (fl == FLOW_FULL)
        r->full = true;
    if (fl != FLOW_STOP || share_wanted(r)) /* on_gone will find out what becomes of it */
        return FLOW_OK;
    r->client_lost = true;
    return FLOW_STOP;
}

static enum flow write_held(struct request *r) {
    if (buf_len(&r->held_bytes) == 0)
        return FLOW_OK;
    capture(r);
    share_tell(r);
    enum flow fl = answer_write(r, buf_at(&r->held_bytes), buf_len(&r->held_bytes));
    if (r->held_bytes.cap > KEEP_BUFFER)
        buf_free(&r->held_bytes);
    else
        buf_clear(&r->held_bytes);
    return fl;
}

static enum flow stream(struct request *r, const char *p, size_t n) {
    if (r->full)
        return FLOW_FULL;
    if (r->ended) /* behind the end: nobody's */
        return FLOW_OK;
    bool ok = pipe_push(r->now.pipe, p, n, &r->held_bytes);
    talk_heard(r);
    const struct observed *seen = pipe_seen(r->now.pipe);
    if (!ok || fault_is(&seen->fault))
        return FLOW_STOP;
    if (seen->ended) { /* its last bytes go out when the account is made */
        r->ended = true;
        hedge_won(r);
        timer_set(&r->timer, END_GRACE_MS);
        return FLOW_OK;
    }
    if (!r->committed) {
        if (!seen->output && buf_len(&r->held_bytes) < WINDOW_MAX)
            return FLOW_OK;
        answer_commit(r);
    }
    return write_held(r);
}

static enum flow on_data(void *arg, const char *p, size_t n) {
    struct request *r = arg;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    return r->now.sse ? stream(r, p, n) : answer_collect(r, p, n);
}

void answer_drained(struct request *r) {
    r->full = false;
    if (r->now.call)
        call_resume(r->now.call);
    else if (r->step == STEP_JOIN)
        request_resume(r, STEP_JOIN);
}

/* --- the end --- */

static bool is_before_sending(enum call_error e) {
    return e == CALL_RESOLVE || e == CALL_CONNECT || e == CALL_TLS || e == CALL_AUTH ||
           e == CALL_TIMEOUT_CONNECT;
}

static void fault_of_call(struct request *r, const struct call_result *res, struct fault *f) {
    if (res->error == CALL_STOPPED && !buf_ok(&r->now.body))
        fault_set(f, r->a, FAULT_SERVER, "The provider's answer is larger than this gateway takes.");
    else
        fault_set(f, r->a,
                  res->error == CALL_AUTH             ? FAULT_PROVIDER_AUTH
                  : call_error_is_timeout(res->error) ? FAULT_TIMEOUT
                                                      : FAULT_CONNECTION,
                  "%s", call_error_text(res->error));
    f->from_provider = true;
    r->now.unsent = is_before_sending(res->error);
}

/* A fallback's answer is not the asked model's, nor is that of another provider's default: its place in the
 * cache is that of the first. */
bool answer_is_for_others(const struct request *r) {
    return r->ticket.store && r->now.target && r->plan.next <= r->plan.own && buf_len(&r->dropped) == 0 &&
           (!r->plan.defaults || r->now.target->entity == r->cached_as);
}

static void store(struct request *r, struct str body, struct str type, bool is_stream) {
    if (!answer_is_for_others(r))
        return;
    struct reply_head h = {
        .provider = str_of(r->now.target->provider->conf->name),
        .model = r->now.target->model,
        .content_type = type,
        .stream = is_stream,
        .usage = r->usage,
        .cost_nano = r->cost_nano,
    };
    cache_store(r->p, &r->ticket, &h, body);
}

void answer_succeeded(struct request *r, uint64_t first_byte_ms) {
    const struct message *turn = r->now.turn ? turn_message(r->now.turn) : NULL;
    if (turn)
        vault_keep(r->p, r->a, &r->caller, turn);
    account_attempt(r, NULL, first_byte_ms);
    attempt_done(r);
}

/* Some providers quote the key that they refuse: neither the client nor the log is to have it. */
static void hide_keys(struct request *r, struct str *text) {
    enum { LEAST = 6 }; /* what is shorter is in many words */
    const struct conf_provider *c = r->now.target->provider->conf;
    for (size_t i = 0; i < c->nkeys; i++) {
        struct str key = str_of(c->keys[i].secret.text), word = STR("[SECRET]");
        size_t from = 0;
        ptrdiff_t at;
        while (key.n >= LEAST && (at = str_find(str_skip(*text, from), key)) >= 0) {
            struct str before = str_make(text->p, from + (size_t)at),
                       behind = str_skip(*text, before.n + key.n);
            *text =
                arena_printf(r->a, STR_FMT STR_FMT STR_FMT, STR_ARG(before), STR_ARG(word), STR_ARG(behind));
            from = before.n + word.n; /* the word may be the key */
        }
    }
}

void answer_failed(struct request *r, struct fault *f) {
    f->from_provider = true;
    f->provider = str_of(r->now.target->provider->conf->name);
    hide_keys(r, &f->message);
    r->ended = false;
    if (!r->committed)
        buf_clear(&r->held_bytes);
    attempt_failed(r, f);
}

/* What is no answer is not kept as one: nobody looked at all of it, and it goes with its attempt. */
static bool whole(struct request *r, struct fault *f) {
    struct observed seen = {.usage = USAGE_NONE};
    struct str reply = STR_NONE;
    buf_clear(&r->scratch);
    if (!pipe_reply(r->a, r->client, r->now.endpoint->dialect, buf_str(&r->now.body), pipe_options(r),
                    &r->scratch, &reply, &seen, f))
        return false;
    if (r->ask.stream) {
        fault_set(f, r->a, FAULT_SERVER, "The provider answered a request for a stream with something else.");
        return false;
    }
    r->reply = reply;
    account_stop(r, &seen);
    r->usage = r->client->op == OP_COUNT ? NOTHING_USED : seen.usage;
    r->reply_type = STR("application/json");
    return true;
}

bool answer_arrived(struct request *r, const struct call_result *res, struct fault *f) {
    if (res->error != CALL_OK)
        fault_of_call(r, res, f);
    else if (!answer_is_good(r))
        r->now.endpoint->dialect->provider->read_fault(r->a, r->now.status, buf_str(&r->now.body),
                                                       kept_header, &r->now, f);
    return !fault_is(f);
}

/* The bytes are over: a stream that has not come to its end by its dialect is a broken one. */
static void stream_over(struct request *r, struct fault *f) {
    const struct observed *seen = pipe_seen(r->now.pipe);
    if (!pipe_finish(r->now.pipe, &r->held_bytes)) {
        *f = seen->fault;
        return;
    }
    account_stop(r, seen);
    r->usage = seen->usage;
}

static void on_done(void *arg, const struct call_result *res) {
    struct request *r = arg;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    r->now.call = NULL;
    if (r->client_lost) /* on_gone follows and makes the account */
        return;
    const struct observed *seen = r->now.pipe ? pipe_seen(r->now.pipe) : NULL;
    if (seen && fault_is(&seen->fault))
        f = seen->fault;
    else if (seen && r->ended)
        stream_over(r, &f);
    else if (answer_arrived(r, res, &f) && seen)
        stream_over(r, &f);
    else if (!fault_is(&f))
        whole(r, &f);
    if (!fault_is(&f)) {
        r->ended = true;
        hedge_won(r);
        answer_succeeded(r, res->first_byte_ms);
        return;
    }
    answer_failed(r, &f);
}

/* The first output did not come in time, or the provider keeps its connection open behind the end. */
void answer_timed_out(struct request *r) {
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    call_cancel(r->now.call);
    r->now.call = NULL;
    if (r->ended)
        stream_over(r, &f);
    if (r->ended && !fault_is(&f)) {
        answer_succeeded(r, (clock_ns() - r->now.started_ns) / 1000000);
        return;
    }
    if (!fault_is(&f))
        fault_set(&f, r->a, FAULT_TIMEOUT, "%s", call_error_text(CALL_TIMEOUT_FIRST_BYTE));
    answer_failed(r, &f);
}

const struct call_sink answer_sink = {on_head, on_data, on_done};

/* --- out to the client --- */

/* Without a cache as without its leave. */
static const char *const cache_words[] = {[LEDGER_CACHE_OFF] = "bypass",
                                          [LEDGER_CACHE_MISS] = "miss",
                                          [LEDGER_CACHE_HIT] = "hit",
                                          [LEDGER_CACHE_BYPASS] = "bypass",
                                          [LEDGER_CACHE_SEMANTIC] = "semantic"};

const char *answer_cache_word(const struct request *r) {
    return cache_words[r->cache];
}

/* Does the client know this header of the provider's? Of the same dialect's; x-ratelimit-* are ours where we
 * have limits of our own, and so is retry-after of an error. */
static bool goes_through(struct str name, bool same, bool rates, bool error) {
    if (str_is(name, "retry-after"))
        return !error;
    if (str_is(name, "content-disposition") || str_is(name, "content-range"))
        return same && !error;
    if (str_is(name, "openai-processing-ms") || str_is(name, "openai-version") ||
        str_is(name, "x-should-retry") || str_is(name, "x-amzn-requestid") ||
        str_is(name, "apim-request-id") || str_is(name, "mistral-correlation-id") ||
        str_is(name, "x-generation-id"))
        return true;
    if (str_starts(name, "x-ratelimit-"))
        return rates;
    return same && (str_is(name, "request-id") || str_is(name, "openai-organization") ||
                    str_starts(name, "anthropic-ratelimit-") || str_is(name, "anthropic-organization-id"));
}

/* The provider's headers that programs look at go through under their names; its x-request-id, for which we
 * have one of our own, under another. */
static size_t provider_headers(struct request *r, struct http_header *h, size_t max, bool rates, bool error) {
    bool same = r->now.endpoint && r->now.endpoint->dialect == r->client;
    size_t n = 0;
    for (size_t i = 0; i < r->now.nheaders && n < max; i++) {
        struct str name = r->now.headers[i].name, value = r->now.headers[i].value;
        if (str_is(name, "x-request-id") || (str_is(name, "request-id") && !same))
            h[n++] = (struct http_header){STR("x-penstock-upstream-request-id"), value};
        else if (goes_through(name, same, rates, error))
            h[n++] = (struct http_header){name, value};
    }
    return n;
}

static void put(struct http_header *h, size_t *n, struct str name, struct str value) {
    h[(*n)++] = (struct http_header){name, value};
}

static struct str nano_text(struct arena *a, int64_t nano) {
    struct buf b;
    struct jw w;
    buf_init(&b, 64);
    jw_init(&w, &b);
    jw_nano(&w, nano);
    struct str s = arena_dup(a, buf_str(&b));
    buf_free(&b);
    return s;
}

static void served_by(struct request *r, struct http_header *h, size_t *n) {
    struct str provider = r->row.provider, model = r->row.model;
    if (!from_cache(r) && r->now.target) {
        provider = str_of(r->now.target->provider->conf->name);
        model = r->now.target->model;
    }
    if (provider.n) {
        put(h, n, STR("x-penstock-provider"), provider);
        put(h, n, STR("x-penstock-model"), model);
    }
}

static struct str stream_type(const struct request *r) {
    return r->ask.array ? STR("application/json") : str_of(r->client->client->stream_type);
}

/* The limits of the provider that answered, also once; of one without, what was met elsewhere. */
static size_t provider_rates(struct request *r, struct str name, struct http_header *h) {
    size_t n = 0;
    const struct plane_provider *pr = plane_provider(r->p, name);
    if (pr)
        n = admit_provider_headers(r->p, pr, r->a, h);
    if (n == 0)
        n = admit_headers(r->p, &r->held, r->a, h);
    if (name.n)
        put(h, &n, STR("X-RateLimit-Provider"), name);
    return n;
}

size_t answer_headers(struct request *r, struct http_header *h, bool is_whole) {
    size_t n = 0;
    put(h, &n, STR("content-type"), is_whole ? r->reply_type : stream_type(r));
    if (!is_whole) {
        put(h, &n, STR("cache-control"), STR("no-cache"));
        put(h, &n, STR("x-accel-buffering"), STR("no"));
    }
    put(h, &n, STR("x-request-id"), r->request_id);
    served_by(r, h, &n);
    put(h, &n, STR("x-penstock-cache"), str_of(answer_cache_word(r)));
    if (r->cache == LEDGER_CACHE_SEMANTIC)
        put(h, &n, STR("x-penstock-cache-similarity"), arena_printf(r->a, "%.3f", r->similarity));
    /* On a stream's head the attempt that is under way is not in the row yet. */
    unsigned attempts = r->row.attempts + (r->now.call != NULL);
    put(h, &n, STR("x-penstock-attempts"), arena_u64(r->a, attempts));
    if (is_whole && r->cost_nano >= 0)
        put(h, &n, STR("x-penstock-cost-usd"), nano_text(r->a, r->cost_nano));
    struct str dropped = buf_str(&r->dropped), ignored = r->ask.ignored;
    if (dropped.n + ignored.n > 0)
        put(h, &n, STR("x-penstock-dropped"),
            arena_printf(r->a, STR_FMT "%s" STR_FMT, STR_ARG(ignored), dropped.n && ignored.n ? "," : "",
                         STR_ARG(dropped)));
    if (r->estimated)
        put(h, &n, STR("x-penstock-estimated"), STR("true"));
    struct str name = from_cache(r)   ? r->row.provider
                      : r->now.target ? str_of(r->now.target->provider->conf->name)
                                      : STR_NONE;
    size_t rates = r->client->client->provider_rates ? provider_rates(r, name, h + n)
                                                     : admit_headers(r->p, &r->held, r->a, h + n);
    n += rates;
    return n + provider_headers(r, h + n, ANSWER_HEADERS - n, rates == 0, false);
}

static void reply_fault(struct request *r, struct buf *body) {
    struct http_header h[ANSWER_HEADERS];
    size_t n = 0;
    put(h, &n, STR("content-type"), STR("application/json"));
    put(h, &n, STR("x-request-id"), r->request_id);
    if (r->row.attempts > 0) { /* who was asked last, not who would have been next */
        const struct ledger_attempt *last = &r->row.attempt[r->row.attempts - 1];
        put(h, &n, STR("x-penstock-provider"), last->provider);
        put(h, &n, STR("x-penstock-model"), last->model);
        put(h, &n, STR("x-penstock-attempts"), arena_u64(r->a, r->row.attempts));
    }
    if (r->fault.retry_after_ms >= 0)
        put(h, &n, STR("retry-after"), arena_u64(r->a, ((uint64_t)r->fault.retry_after_ms + 999) / 1000));
    if (r->status == 401)
        put(h, &n, STR("www-authenticate"), STR("Bearer"));
    /* Refused by our limit of a provider: that one's are told, not those of the caller that it met. */
    bool limit = r->fault.cls == FAULT_RATE_LIMIT && !r->fault.from_provider;
    bool its = r->fault.provider.n && (limit || r->client->client->provider_rates);
    size_t rates =
        its ? provider_rates(r, r->fault.provider, h + n) : admit_headers(r->p, &r->held, r->a, h + n);
    n += rates;
    if (r->fault.from_provider)
        n += provider_headers(r, h + n, ANSWER_HEADERS - n, rates == 0, true);
    r->client->client->write_fault(body, &r->fault, r->request_id);
    exchange_reply(r->x, r->status, h, n, buf_str(body));
}

static void finish_stream(struct request *r, struct buf *tail) {
    if (!r->committed) {
        struct http_header h[ANSWER_HEADERS];
        size_t n = answer_headers(r, h, false);
        exchange_begin(r->x, 200, h, n, -1);
    }
    if (fault_is(&r->fault)) {
        if (!r->now.pipe)
            share_pipe(r);
        pipe_fault(r->now.pipe, &r->fault, r->request_id, tail);
    }
    bool stored = from_cache(r) && !fault_is(&r->fault);
    struct str last = buf_len(&r->told) ? buf_str(&r->told) : stored ? r->reply : buf_str(tail);
    if (last.n > 0)
        exchange_write(r->x, last.p, last.n);
    if (r->now.pipe)
        pipe_free(r->now.pipe);
    exchange_end(r->x);
}

static void finish_whole(struct request *r) {
    struct http_header h[ANSWER_HEADERS];
    size_t n = answer_headers(r, h, true);
    exchange_reply(r->x, 200, h, n, buf_len(&r->told) ? buf_str(&r->told) : r->reply);
}

/* An answer that is complete: what the client got is what the next one may get. */
static void store_answer(struct request *r) {
    if (!r->ended || fault_is(&r->fault) || from_cache(r))
        return;
    if (!r->ask.stream) {
        store(r, r->reply, r->reply_type, false);
        return;
    }
    if (r->capturing)
        capture(r);
    if (r->capturing)
        store(r, buf_str(&r->capture), stream_type(r), true);
}

/* Nobody may come back to it any more. Its memory goes with the exchange. */
static void retire(struct request *r) {
    r->x->on_gone = NULL;
    r->x->on_drain = NULL;
    timer_free(&r->timer);
    task_cancel(&r->go);
    request_unlink(r);
    r->magic = 0;
}

static void tell_own(struct request *r) {
    const struct surface_chat *q = r->own;
    q->done(q->arg, &r->fault, r->row.model, (clock_ns() - r->x->started_ns) / 1000000);
}

/* The exchange's end frees its arena, and the request in it: the buffers are moved out first. */
enum verdict step_finish(struct request *r) {
    store_answer(r);
    share_end(r);
    hedge_free(r);
    retire(r);
    struct buf tail = r->held_bytes, fault_body;
    struct buf others[] = {r->out, r->dropped, r->capture, r->scratch, r->told, r->now.body};
    struct arena *own = r->own ? r->a : NULL;
    buf_init(&fault_body, 0);
    if (r->own) {
        tell_own(r);
    } else if (r->gone) {
        if (r->now.pipe)
            pipe_free(r->now.pipe);
        if (r->left)
            exchange_abort(r->x);
    } else if (r->pass && (r->committed || !fault_is(&r->fault))) {
        pass_finish(r, &tail);
    } else if (r->committed || (r->ask.stream && !fault_is(&r->fault))) {
        finish_stream(r, &tail);
    } else if (fault_is(&r->fault)) {
        reply_fault(r, &fault_body);
    } else {
        finish_whole(r);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        buf_free(&others[i]);
    buf_free(&tail);
    buf_free(&fault_body);
    if (own)
        arena_free(own);
    return OVER;
}
