/* What the fuzz targets of dialect/ share: streams fed whole and cut, readers held to the grammar of events,
 * and written bytes that must be JSON. */
#ifndef PENSTOCK_TESTS_FUZZ_DIALECT_H
#define PENSTOCK_TESTS_FUZZ_DIALECT_H
#include "../dialect_feed.h"
#include "base/die.h"
#include "llm/fold.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct mint fuzz_mint = {
    .id = STR("abcdefghijklmnopqrstuvwx"), .created = 1700000000, .model = STR("told")};

static inline void fuzz_must_be_json(struct str s) {
    enum json_kind kind;
    struct json_error err;
    MUST(json_scan(s, &kind, NULL, NULL, &err) == 0 && kind == JSON_OBJECT);
}

/* --- streams --- */

static inline bool fuzz_feed(struct arena *a, const struct dialect *provider, struct str in, size_t step,
                             const struct pipe_opt *o, struct buf *out, struct observed *seen) {
    struct pipe *p = pipe_new(a, &dialect_openai_chat, provider, o);
    bool ok = true;
    for (size_t at = 0; ok && at < in.n; at += step)
        ok = pipe_push(p, in.p + at, step < in.n - at ? step : in.n - at, out);
    ok = pipe_finish(p, out) && ok;
    *seen = *pipe_seen(p);
    MUST(ok == !fault_is(&seen->fault));
    pipe_free(p);
    return ok;
}

static inline void fuzz_stream(const struct dialect *provider, struct str in, size_t step, bool usage) {
    struct arena *a = arena_new(0);
    struct ask ask = {.include_usage = usage};
    struct pipe_opt o = {.hide_usage = !usage, .mint = &fuzz_mint, .ask = &ask};
    struct buf whole, cut;
    struct observed one, other;
    buf_init(&whole, 0);
    buf_init(&cut, 0);
    bool a_ok = fuzz_feed(a, provider, in, in.n ? in.n : 1, &o, &whole, &one);
    bool b_ok = fuzz_feed(a, provider, in, step, &o, &cut, &other);
    MUST(a_ok == b_ok && one.fault.cls == other.fault.cls && str_eq(buf_str(&whole), buf_str(&cut)));
    MUST(one.usage.input == other.usage.input && one.stop == other.stop);
    buf_free(&whole);
    buf_free(&cut);
    arena_free(a);
}

struct fuzz_reading {
    struct event_check check;
    struct fold *fold;
    bool ended;
};

static inline void fuzz_event(void *arg, const struct event_item *ev) {
    struct fuzz_reading *rd = arg;
    MUST(event_check(&rd->check, ev));
    fold_event(rd->fold, ev);
    rd->ended = rd->ended || ev->kind == EV_END || ev->kind == EV_FAULT;
}

static inline void fuzz_read(const struct dialect *provider, struct str in) {
    struct arena *a = arena_new(0);
    struct fuzz_reading rd = {.fold = fold_new(a, 1 << 20)};
    const struct fault *f;
    struct buf out;
    buf_init(&out, 0);
    feed_reader(a, provider, in, fuzz_event, &rd);
    MUST(rd.ended);
    struct reply *r = fold_reply(rd.fold, &f);
    if (r) {
        dialect_openai_chat.client->write_reply(&out, r, &fuzz_mint, &(struct ask){0});
        fuzz_must_be_json(buf_str(&out));
    }
    buf_free(&out);
    arena_free(a);
}

/* --- whole answers and errors --- */

static inline void fuzz_reply(const struct dialect *provider, struct str in) {
    struct arena *a = arena_new(0);
    struct observed tapped = {.usage = USAGE_NONE};
    struct fault f = {.cls = FAULT_NONE}, g = {.cls = FAULT_NONE};
    struct buf out;
    buf_init(&out, 0);
    bool taps = provider->provider->tap_reply(a, in, 0, &tapped, &f);
    struct reply *r = provider->provider->read_reply(a, in, 0, &g);
    MUST(taps == (r != NULL) && taps == !fault_is(&f) && f.cls == g.cls);
    if (r) {
        MUST(r->usage.input == tapped.usage.input && r->usage.output == tapped.usage.output);
        dialect_openai_chat.client->write_reply(&out, r, &fuzz_mint, &(struct ask){0});
        fuzz_must_be_json(buf_str(&out));
    }
    buf_free(&out);
    arena_free(a);
}

static inline struct str fuzz_header(void *arg, const char *name) {
    struct str in = *(struct str *)arg;
    if (in.n > 24)
        in.n = 24;
    return name[0] == 'r' ? in : STR_NONE;
}

static inline void fuzz_fault(const struct dialect *provider, int status, struct str in) {
    struct arena *a = arena_new(0);
    struct fault f;
    struct buf out;
    buf_init(&out, 0);
    provider->provider->read_fault(a, status, in, fuzz_header, &in, &f);
    MUST(fault_is(&f) && f.message.n > 0 && f.message.n < FAULT_MESSAGE_MAX);
    MUST(fault_status(&f) >= 400 && fault_status(&f) < 600 && f.retry_after_ms >= -1);
    dialect_openai_chat.client->write_fault(&out, &f, STR_NONE);
    fuzz_must_be_json(buf_str(&out));
    buf_free(&out);
    arena_free(a);
}

/* --- taps --- */

struct fuzz_tapping {
    const struct dialect *provider;
    struct observed seen;
};

static inline bool fuzz_tap_event(void *arg, const struct sse_event *ev) {
    struct fuzz_tapping *t = arg;
    struct arena *a = arena_new(0);
    struct observed seen = t->seen;
    MUST(t->provider->provider->tap_event(a, ev->name, ev->data, 0, false, &seen));
    t->seen.usage = seen.usage; /* the texts went with the arena */
    t->seen.ended = seen.ended;
    arena_free(a);
    return true;
}

static inline void fuzz_tap(const struct dialect *provider, struct str in) {
    struct fuzz_tapping t = {provider, {.usage = USAGE_NONE}};
    struct sse s;
    sse_init(&s, 0);
    if (sse_push(&s, in.p, in.n, fuzz_tap_event, &t) == 0)
        sse_finish(&s, fuzz_tap_event, &t);
    sse_free(&s);
}

/* What an answer is, by a target's first byte. */
static inline void fuzz_answer(const struct dialect *provider, uint8_t how, struct str in) {
    switch (how % 4) {
    case 2:
        fuzz_reply(provider, in);
        break;
    case 3:
        fuzz_fault(provider, 300 + how, in);
        break;
    default:
        fuzz_stream(provider, in, 1 + how / 8, how & 4);
        fuzz_read(provider, in);
        fuzz_tap(provider, in);
        break;
    }
}
#endif
