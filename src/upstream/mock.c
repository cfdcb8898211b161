/* The built-in provider, behind the same call interface as the real ones: it speaks the OpenAI chat dialect
 * (whole and streamed), answers from the request alone, and misbehaves on demand. What it says is
 * mock_answer.c; this is how.
 *
 * By the model's name, its parts joined with '-' behind "mock" (other names behave like "mock"):
 *   fast  slow (20 ms a word)  error-NNN  timeout (never answers)  delay-500ms  empty (200 without a body)
 *   garbage (a body that is no JSON)  cut (the connection breaks midway)  hang-midway (silence midway)
 *   stream-error (an error event midway)  context, quota, filter (the OpenAI errors of these names)
 * By the header x-penstock-mock, over the name; pairs separated by ';', what is not understood is ignored:
 *   status=429  code=context_length_exceeded  retry-after=2  delay=200ms  pace=10ms  tokens=50 (words of the
 * answer) cut=3  hang=3  error=3 (after so many words)  fail=2 (the first two such requests fail with status,
 * or 500; counted by header and body, per worker)  empty  garbage  timeout */
#include "base/buf.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/json.h"
#include "inner.h"
#include "mock_answer.h"
#include "upstream/provider.h"
#include <stdio.h>

enum { SLOW_PACE_MS = 20, MEMORY = 256, BATCH = 4096, PIECE = 16 * 1024, MAX_WAIT_MS = 3600 * 1000 };
#define MIDWAY UINT64_MAX

/* --- what is asked for --- */

enum break_kind { BREAK_NONE, BREAK_CUT, BREAK_HANG, BREAK_ERROR };
struct control {
    int status; /* 0: 200 */
    struct str code;
    uint64_t delay, pace, words, fail;
    enum break_kind breaks;
    uint64_t break_at; /* words, or MIDWAY */
    char retry_after[24];
    bool never, empty, garbage;
};

/* "200ms", "2s", "200" (ms); 0 for anything else. */
static uint64_t duration(struct str s) {
    uint64_t n = 0, unit = 1;
    if (str_ends(s, "ms")) {
        s.n -= 2;
    } else if (str_ends(s, "s")) {
        s.n -= 1;
        unit = 1000;
    }
    if (!str_u64(s, &n) || n > MAX_WAIT_MS / unit)
        return 0;
    return n * unit;
}

static uint64_t number(struct str s, uint64_t otherwise) {
    uint64_t n;
    return str_u64(s, &n) ? n : otherwise;
}

static void set_status(struct control *k, struct str s) {
    uint64_t n = number(s, 0);
    if (n >= 200 && n <= 599)
        k->status = (int)n;
}

static void set_code(struct control *k, int status, struct str code) {
    k->code = code;
    if (!k->status)
        k->status = status;
}

static void set_break(struct control *k, enum break_kind kind, uint64_t at) {
    k->breaks = kind;
    k->break_at = at;
}

/* A word that stands alone, in the model's name or in the header. */
static void take_word(struct control *k, struct str w) {
    if (str_is(w, "fast"))
        k->pace = 0;
    else if (str_is(w, "slow"))
        k->pace = SLOW_PACE_MS;
    else if (str_is(w, "timeout"))
        k->never = true;
    else if (str_is(w, "empty"))
        k->empty = true;
    else if (str_is(w, "garbage"))
        k->garbage = true;
    else if (str_is(w, "cut"))
        set_break(k, BREAK_CUT, MIDWAY);
    else if (str_is(w, "hang"))
        set_break(k, BREAK_HANG, MIDWAY);
    else if (str_is(w, "context"))
        set_code(k, 400, STR("context_length_exceeded"));
    else if (str_is(w, "quota"))
        set_code(k, 429, STR("insufficient_quota"));
    else if (str_is(w, "filter"))
        set_code(k, 400, STR("content_filter"));
}

static void take_model(struct control *k, struct str model) {
    struct str word, before = STR("");
    if (!str_starts(model, "mock-"))
        return;
    model = str_skip(model, 5);
    for (; str_next(&model, '-', &word); before = word) {
        if (str_is(word, "error") && str_is(before, "stream"))
            set_break(k, BREAK_ERROR, MIDWAY);
        else if (str_is(word, "error"))
            k->status = 500;
        else if (str_is(before, "error"))
            set_status(k, word);
        else if (str_is(before, "delay"))
            k->delay = duration(word);
        take_word(k, word);
    }
}

static void take_pair(struct control *k, struct str name, struct str value) {
    if (str_isi(name, "status"))
        set_status(k, value);
    else if (str_isi(name, "code"))
        set_code(k, str_is(value, "insufficient_quota") ? 429 : 400, value);
    else if (str_isi(name, "retry-after"))
        str_copy(k->retry_after, sizeof k->retry_after, value);
    else if (str_isi(name, "delay"))
        k->delay = duration(value);
    else if (str_isi(name, "pace"))
        k->pace = duration(value);
    else if (str_isi(name, "tokens"))
        k->words = number(value, 0);
    else if (str_isi(name, "fail"))
        k->fail = number(value, 0);
    else if (str_isi(name, "cut"))
        set_break(k, BREAK_CUT, number(value, MIDWAY));
    else if (str_isi(name, "hang"))
        set_break(k, BREAK_HANG, number(value, MIDWAY));
    else if (str_isi(name, "error"))
        set_break(k, BREAK_ERROR, number(value, MIDWAY));
}

static void take_header(struct control *k, struct str header) {
    struct str pair, name;
    while (str_next(&header, ';', &pair)) {
        struct str value = pair;
        if (str_find(pair, STR("=")) < 0)
            take_word(k, str_trim(pair));
        else if (str_next(&value, '=', &name))
            take_pair(k, str_trim(name), str_trim(value));
    }
}

/* --- requests that fail so many times --- */

struct mock_memory {
    struct {
        uint64_t hash, count;
    } seen[MEMORY];
};

struct mock_memory *mock_memory_new(void) {
    return mem_alloc(sizeof(struct mock_memory));
}

void mock_memory_free(struct mock_memory *m) {
    mem_free(m);
}

static bool still_fails(struct mock_memory *m, const struct call_spec *s, uint64_t times) {
    if (!times)
        return false;
    uint64_t h = hash64(s->mock.p, s->mock.n);
    h = hash64_more(h, s->body.p ? s->body.p : "", s->body.n);
    size_t i = (size_t)(h % MEMORY);
    if (m->seen[i].hash != h) {
        m->seen[i].hash = h;
        m->seen[i].count = 0;
    }
    return m->seen[i].count++ < times;
}

/* --- a call --- */

enum phase { PHASE_HEAD, PHASE_BODY, PHASE_LAST };
struct mock {
    struct call c;
    struct control k;
    struct mock_answer *answer; /* a stream's; else NULL */
    struct buf out;             /* bytes not taken yet; of a whole answer all that is left */
    enum phase phase;
    enum call_error end; /* when `out` is empty in PHASE_LAST */
    bool silent;         /* in place of an end */
    int status;
    struct timer tick;
    struct task again;
    struct call_header headers[3];
    size_t nheaders;
    char id[32];
    size_t sent;
};

static const struct call_ops mock_ops;
static void pump(void *arg);

static void error_body(struct mock *m, int status, struct str code, const char *message) {
    static const struct {
        int status;
        const char *type, *code;
    } rows[] = {{401, "invalid_request_error", "invalid_api_key"},
                {403, "permission_error", NULL},
                {404, "invalid_request_error", "model_not_found"},
                {429, "requests", "rate_limit_exceeded"}};
    const char *type = status >= 500 ? "server_error" : "invalid_request_error", *row_code = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].status == status)
            type = rows[i].type, row_code = rows[i].code;
    char text[64];
    snprintf(text, sizeof text, "mock error %d", status);
    if (str_is(code, "context_length_exceeded"))
        message = "This model's maximum context length is 8 tokens";
    if (str_is(code, "insufficient_quota"))
        type = "insufficient_quota";
    struct jw w;
    jw_init(&w, &m->out);
    jw_obj(&w);
    jw_key(&w, "error");
    jw_obj(&w);
    jw_kz(&w, "message", message ? message : text);
    jw_kz(&w, "type", type);
    jw_knull(&w, "param");
    if (code.n)
        jw_kstr(&w, "code", code);
    else
        jw_kz(&w, "code", row_code);
    jw_obj_end(&w);
    jw_obj_end(&w);
}

static void models_body(struct buf *out) {
    static const char *const names[] = {"mock", "mock-fast", "mock-slow"};
    struct jw w;
    jw_init(&w, out);
    jw_obj(&w);
    jw_kz(&w, "object", "list");
    jw_key(&w, "data");
    jw_arr(&w);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        jw_obj(&w);
        jw_kz(&w, "id", names[i]);
        jw_kz(&w, "object", "model");
        jw_kint(&w, "created", 1700000000);
        jw_kz(&w, "owned_by", "penstock");
        jw_obj_end(&w);
    }
    jw_arr_end(&w);
    jw_obj_end(&w);
}

/* Half of a whole body, and then nothing or the end. */
static void break_whole(struct mock *m) {
    if (m->k.breaks == BREAK_CUT || m->k.breaks == BREAK_HANG) {
        m->out.end = m->out.off + buf_len(&m->out) / 2;
        m->end = CALL_RESET;
        m->silent = m->k.breaks == BREAK_HANG;
    }
}

static void plan_answer(struct mock *m, struct mock_answer *a) {
    m->status = 200;
    memcpy(m->id, a->id, sizeof m->id);
    if (m->k.break_at == MIDWAY)
        m->k.break_at = a->units * a->n / 2;
    if (m->k.empty)
        return;
    if (m->k.garbage) {
        buf_addz(&m->out, a->stream ? "data: {\"id\": not json\n\ngarbage\n\n"
                                    : "<html><body>It works!</body></html>");
    } else if (a->stream) {
        m->answer = a;
    } else {
        mock_answer_whole(a, &m->out);
        break_whole(m);
    }
}

static void plan_chat(struct mock *m, struct mock_memory *memory, const struct call_spec *s) {
    struct json_value model;
    bool whole_json = json_scan(s->body, NULL, NULL, NULL, NULL) == 0;
    if (whole_json && json_member(s->body, "model", &model) && model.kind == JSON_STRING)
        take_model(&m->k,
                   str_make(model.raw.p + 1, model.raw.n - 2)); /* the names have nothing to unescape */
    take_header(&m->k, s->mock);
    if (still_fails(memory, s, m->k.fail))
        m->k.status = m->k.status ? m->k.status : 500;
    else if (m->k.fail)
        m->k.status = 0;
    struct mock_answer *a = mock_answer_new(s->body, m->k.words);
    if (a->bad && !m->k.status) {
        m->status = 400;
        error_body(m, 400, STR_NONE, a->bad);
    } else if (m->k.status >= 300) {
        m->status = m->k.status;
        if (!m->k.empty)
            error_body(m, m->status, m->k.code, NULL);
    } else {
        plan_answer(m, a);
    }
    if (m->answer != a)
        mock_answer_free(a);
    m->k.code = STR_NONE; /* it may lie in the client's header */
}

static bool path_is(const char *path, const char *want) {
    struct str p = str_of(path), head;
    return str_next(&p, '?', &head) && (str_is(head, want) || str_ends(head, want));
}

static void plan(struct mock *m, struct mock_memory *memory, const struct call_spec *s) {
    snprintf(m->id, sizeof m->id, "mock");
    if (s->get && path_is(s->path, "/models")) {
        m->status = 200;
        models_body(&m->out);
    } else if (!s->get && path_is(s->path, "/chat/completions")) {
        plan_chat(m, memory, s);
    } else {
        m->status = 404;
        error_body(m, 404, STR("unknown_url"), "the mock provider has no such endpoint");
    }
}

static void plan_headers(struct mock *m, bool stream) {
    m->headers[m->nheaders++] = (struct call_header){STR("content-type"), stream ? STR("text/event-stream")
                                                                                 : STR("application/json")};
    m->headers[m->nheaders++] = (struct call_header){STR("x-request-id"), str_of(m->id)};
    if (m->k.retry_after[0])
        m->headers[m->nheaders++] = (struct call_header){STR("retry-after"), str_of(m->k.retry_after)};
}

struct call *mock_call(struct multi *multi, struct mock_memory *memory, const struct call_spec *s) {
    struct mock *m = mem_alloc(sizeof *m);
    call_init(&m->c, multi, &mock_ops);
    timer_init(&m->tick, multi_loop(multi), pump, m);
    task_init(&m->again, pump, m);
    buf_init(&m->out, 0);
    plan(m, memory, s);
    plan_headers(m, m->answer != NULL || (s->stream && m->status == 200));
    m->sent = s->body.n;
    return &m->c;
}

/* --- its answer --- */

enum next { NEXT_TICK, NEXT_AGAIN, NEXT_WAIT, NEXT_END };

static void stream_error(struct mock *m) {
    BUF_ADD(&m->out, "data: ");
    error_body(m, 500, STR_NONE, "mock error in the stream");
    BUF_ADD(&m->out, "\n\n");
    m->phase = PHASE_LAST;
}

static void stream_fill(struct mock *m) {
    do {
        if (m->k.breaks != BREAK_NONE && mock_answer_given(m->answer) >= m->k.break_at) {
            m->phase = PHASE_LAST;
            if (m->k.breaks == BREAK_ERROR)
                stream_error(m);
            else
                m->end = CALL_RESET;
            m->silent = m->k.breaks == BREAK_HANG;
            return;
        }
        if (!mock_answer_next(m->answer, &m->out)) {
            m->phase = PHASE_LAST;
            return;
        }
    } while (m->k.pace == 0 && buf_len(&m->out) < BATCH);
}

/* One step: at most PIECE bytes to the sink. */
static enum next step(struct mock *m) {
    struct call *c = &m->c;
    if (m->phase == PHASE_HEAD) {
        m->phase = m->answer ? PHASE_BODY : PHASE_LAST;
        if (call_head(c, m->status, m->headers, m->nheaders) != FLOW_OK)
            return NEXT_END;
    }
    if (m->phase == PHASE_BODY && buf_len(&m->out) == 0)
        stream_fill(m);
    size_t n = buf_len(&m->out);
    if (n == 0)
        return m->silent ? NEXT_WAIT : NEXT_END;
    if (n > PIECE)
        n = PIECE;
    switch (call_data(c, buf_at(&m->out), n)) {
    case FLOW_OK:
        buf_consume(&m->out, n);
        return m->phase == PHASE_BODY && m->k.pace ? NEXT_TICK : NEXT_AGAIN;
    case FLOW_FULL:
        return NEXT_WAIT;
    default:
        return NEXT_END;
    }
}

static void pump(void *arg) {
    struct mock *m = arg;
    struct call *c = &m->c;
    MAGIC_CHECK(c, CALL_MAGIC);
    if (c->state != CALL_RUNNING || c->doomed || c->paused)
        return;
    multi_enter(c->multi);
    enum next next = step(m);
    bool gone = c->doomed;
    multi_leave(c->multi);
    if (gone)
        return;
    if (next == NEXT_TICK)
        timer_set(&m->tick, m->k.pace);
    else if (next == NEXT_AGAIN)
        task_defer(multi_loop(c->multi), &m->again);
    else if (next == NEXT_END)
        call_finish(c, c->verdict != CALL_OK ? c->verdict : m->end);
}

static void mock_start(struct call *c) {
    struct mock *m = LINK_OWNER(c, struct mock, c);
    c->connected = true;
    c->result.bytes_out = m->sent;
    if (m->k.never)
        return;
    if (m->k.delay)
        timer_set(&m->tick, m->k.delay);
    else
        task_defer(multi_loop(c->multi), &m->again);
}

static void mock_resume(struct call *c) {
    struct mock *m = LINK_OWNER(c, struct mock, c);
    task_defer(multi_loop(c->multi), &m->again);
}

static void mock_abort(struct call *c) {
    struct mock *m = LINK_OWNER(c, struct mock, c);
    timer_clear(&m->tick);
    task_cancel(&m->again);
}

static void mock_release(struct call *c) {
    struct mock *m = LINK_OWNER(c, struct mock, c);
    timer_free(&m->tick);
    mock_answer_free(m->answer);
    buf_free(&m->out);
    call_fini(c);
    mem_free(m);
}

static const struct call_ops mock_ops = {mock_start, mock_resume, mock_abort, mock_release};
