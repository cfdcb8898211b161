/* The life of a call, whatever carries it: begun, paused, resumed, timed, cancelled, and ended exactly once.
 * One timer a call, moved only forwards: a byte costs a store, not a timer, and a pooled call keeps its timer
 * armed (a timer that finds nothing to do is cheaper than two heap operations a call). */
#include "base/die.h"
#include "inner.h"

static const char *const texts[CALL_ERRORS] = {
    [CALL_OK] = "ok",
    [CALL_RESOLVE] = "the provider's name could not be resolved",
    [CALL_CONNECT] = "the provider could not be reached",
    [CALL_TLS] = "the TLS handshake with the provider failed",
    [CALL_RESET] = "the provider broke the connection",
    [CALL_PROTOCOL] = "the provider's answer is not valid HTTP",
    [CALL_TOO_LARGE] = "the provider's header is too large",
    [CALL_AUTH] = "the provider refused the gateway's credentials",
    [CALL_TIMEOUT_CONNECT] = "connecting to the provider took too long",
    [CALL_TIMEOUT_FIRST_BYTE] = "the provider did not begin to answer in time",
    [CALL_TIMEOUT_IDLE] = "the provider stopped in the middle of its answer",
    [CALL_TIMEOUT_TOTAL] = "the provider's answer took too long",
    [CALL_STOPPED] = "stopped",
};

const char *call_error_text(enum call_error e) {
    return (unsigned)e < CALL_ERRORS ? texts[e] : "unknown";
}

bool call_error_is_timeout(enum call_error e) {
    return e >= CALL_TIMEOUT_CONNECT && e <= CALL_TIMEOUT_TOTAL;
}

/* --- timers --- */

static uint64_t now_of(const struct call *c) {
    return loop_ms(multi_loop(c->multi));
}

/* The next deadline (0: none) and what passing it means. */
static uint64_t deadline(const struct call *c, enum call_error *why) {
    uint64_t due = 0;
    if (c->limit_all_ms) {
        due = c->start_ms + c->limit_all_ms;
        *why = CALL_TIMEOUT_TOTAL;
    }
    uint64_t phase = 0;
    enum call_error phase_why = CALL_TIMEOUT_IDLE;
    if (!c->first_byte && c->limit_first_ms) {
        phase = c->start_ms + c->limit_first_ms;
        phase_why = c->connected ? CALL_TIMEOUT_FIRST_BYTE : CALL_TIMEOUT_CONNECT;
    } else if (c->first_byte && !c->paused && c->limit_idle_ms) {
        phase = c->last_ms + c->limit_idle_ms;
    }
    if (phase && (!due || phase < due)) {
        due = phase;
        *why = phase_why;
    }
    return due;
}

static void watch(struct call *c) {
    enum call_error why;
    uint64_t due = deadline(c, &why), now = now_of(c);
    if (due)
        timer_set(&c->timer, due > now ? due - now : 0);
}

static void on_timer(void *arg) {
    struct call *c = arg;
    MAGIC_CHECK(c, CALL_MAGIC);
    if (c->state != CALL_RUNNING || c->doomed)
        return;
    enum call_error why = CALL_OK;
    uint64_t due = deadline(c, &why);
    if (due && now_of(c) >= due)
        call_finish(c, why);
    else
        watch(c);
}

/* --- begin and end --- */

void call_init(struct call *c, struct multi *m, const struct call_ops *ops) {
    c->magic = CALL_MAGIC;
    c->multi = m;
    c->ops = ops;
    timer_init(&c->timer, multi_loop(m), on_timer, c);
}

void call_fini(struct call *c) {
    MUST(c->state == CALL_IDLE);
    timer_free(&c->timer);
    c->magic = 0;
}

void call_begin(struct call *c, const struct call_spec *spec, const struct call_sink *sink, void *arg) {
    const struct conf_provider *p = upstream_conf(spec->upstream);
    MUST(c->state == CALL_IDLE);
    c->state = CALL_RUNNING;
    c->verdict = CALL_OK;
    c->doomed = c->connected = c->paused = c->first_byte = false;
    c->upstream = spec->upstream;
    c->sink = *sink;
    c->arg = arg;
    c->result = (struct call_result){.error = CALL_OK};
    c->start_ms = c->last_ms = now_of(c);
    c->limit_first_ms = spec->first_byte_ms ? spec->first_byte_ms : p->first_byte;
    c->limit_idle_ms = p->idle;
    c->limit_all_ms = p->total;
    if (spec->total_ms && (!c->limit_all_ms || spec->total_ms < c->limit_all_ms))
        c->limit_all_ms = spec->total_ms;
    multi_add(c->multi, c);
    link_add(upstream_calls(c->upstream), &c->in_upstream);
    watch(c);
}

/* Out of every list: nothing that happens from here on can reach the sink again. */
static void leave(struct call *c) {
    c->state = CALL_DONE;
    c->todo = 0;
    link_cut(&c->in_work);
    link_cut(&c->in_doomed);
    link_cut(&c->in_upstream);
    multi_remove(c->multi, c);
    c->ops->abort(c);
}

static void release(struct call *c) {
    c->state = CALL_IDLE;
    c->upstream = NULL;
    c->ops->release(c);
}

void call_finish(struct call *c, enum call_error e) {
    MUST(c->state == CALL_RUNNING && !multi_inside(c->multi));
    c->result.error = e;
    c->result.total_ms = now_of(c) - c->start_ms;
    leave(c);
    c->sink.done(c->arg, &c->result);
    release(c);
}

void call_cancel(struct call *c) {
    MAGIC_CHECK(c, CALL_MAGIC);
    if (c->state != CALL_RUNNING || c->doomed) /* also: cancelled from its own done */
        return;
    c->doomed = true;
    if (multi_inside(c->multi)) {
        multi_doom(c->multi, c);
        return;
    }
    leave(c);
    release(c);
}

void call_resume(struct call *c) {
    MAGIC_CHECK(c, CALL_MAGIC);
    if (c->state == CALL_RUNNING && !c->doomed)
        multi_work(c->multi, c, WORK_RESUME);
}

void call_todo(struct call *c) {
    unsigned todo = c->todo;
    c->todo = 0;
    if (todo & WORK_FAIL) {
        call_finish(c, c->verdict);
        return;
    }
    if (todo & WORK_START)
        c->ops->start(c);
    /* start may have put the call to work again, but never ends it */
    bool resumed = todo & WORK_RESUME && c->paused;
    if (resumed) {
        c->paused = false;
        c->last_ms = now_of(c);
        watch(c); /* the idle deadline may now be the next one */
    }
    if (resumed || todo & WORK_UPLOAD)
        c->ops->resume(c);
}

void call_doomed(struct call *c) {
    MUST(c->doomed);
    leave(c);
    release(c);
}

struct call *call_start(struct multi *m, const struct call_spec *spec, const struct call_sink *sink,
                        void *arg) {
    struct call *c = upstream_call(m, spec);
    call_begin(c, spec, sink, arg);
    multi_work(m, c, WORK_START);
    return c;
}

/* --- to the sink --- */

enum flow call_head(struct call *c, int status, const struct call_header *headers, size_t n) {
    if (c->doomed || c->verdict != CALL_OK)
        return FLOW_STOP;
    c->result.status = status;
    enum flow f = c->sink.head(c->arg, status, headers, n);
    if (f == FLOW_STOP && !c->doomed)
        c->verdict = CALL_STOPPED;
    return c->doomed || f == FLOW_STOP ? FLOW_STOP : FLOW_OK;
}

enum flow call_data(struct call *c, const char *p, size_t n) {
    if (c->doomed || c->verdict != CALL_OK)
        return FLOW_STOP;
    c->last_ms = now_of(c);
    if (!c->first_byte) {
        c->first_byte = true;
        c->result.first_byte_ms =
            c->last_ms > c->start_ms ? c->last_ms - c->start_ms : 1; /* 0 means none came */
        watch(c);
    }
    enum flow f = c->sink.data(c->arg, p, n);
    if (c->doomed)
        return FLOW_STOP;
    if (f == FLOW_OK)
        c->result.bytes_in += n;
    else if (f == FLOW_FULL)
        c->paused = true;
    else
        c->verdict = CALL_STOPPED;
    return f;
}
