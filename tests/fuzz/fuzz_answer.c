/* Answers of providers: fed whole, byte by byte, and in pieces to a sink that is often full, the same head
 * and body come out, and the same end. The first byte of the input chooses the pieces, and whether the
 * request was a HEAD. clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Iinclude
 * tests/fuzz/fuzz_answer.c src/upstream/x.c ... */
#include "../../src/upstream/answer.h"
#include "base/die.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct buf head, body;
    bool hesitates, full; /* says "full" to every piece, once */
    enum answer_state end;
    enum call_error error;
};

static enum flow on_head(void *arg, int status, const struct call_header *headers, size_t n) {
    struct seen *s = arg;
    MUST(buf_len(&s->head) == 0 && status >= 200 && status <= 999);
    buf_printf(&s->head, "%d", status);
    for (size_t i = 0; i < n; i++) {
        buf_addc(&s->head, '\n');
        buf_adds(&s->head, headers[i].name);
        buf_addc(&s->head, ':');
        buf_adds(&s->head, headers[i].value);
    }
    return FLOW_OK;
}

static enum flow on_data(void *arg, const char *p, size_t n) {
    struct seen *s = arg;
    MUST(buf_len(&s->head) > 0 && n > 0);
    s->full = s->hesitates && !s->full;
    if (s->full)
        return FLOW_FULL;
    buf_add(&s->body, p, n);
    return FLOW_OK;
}

static const struct answer_sink sink = {on_head, on_data};

static void run(struct str in, bool bodiless, size_t step, bool hesitates, struct seen *s) {
    struct answer a;
    *s = (struct seen){.hesitates = hesitates};
    buf_init(&s->head, 0);
    buf_init(&s->body, 0);
    answer_init(&a, &sink, s);
    answer_reset(&a, bodiless, hesitates ? step : SIZE_MAX);
    s->end = ANSWER_MORE;
    while (s->end == ANSWER_MORE && in.n > 0) {
        size_t n = step < in.n ? step : in.n;
        s->end = answer_feed(&a, in.p, n);
        in = str_skip(in, n);
        while (s->end == ANSWER_FULL)
            s->end = answer_go_on(&a);
    }
    if (s->end == ANSWER_MORE)
        s->end = answer_eof(&a);
    MUST(s->end == ANSWER_WHOLE || s->end == ANSWER_BAD);
    MUST((s->end == ANSWER_BAD) == (a.error != CALL_OK));
    s->error = a.error;
    answer_free(&a);
}

static void done(struct seen *s) {
    buf_free(&s->head);
    buf_free(&s->body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    struct str in = {(const char *)data + 1, size - 1};
    bool bodiless = data[0] & 0x80;
    size_t steps[] = {1, 1 + data[0] % 64};
    struct seen whole, cut;
    run(in, bodiless, in.n, false, &whole);
    for (size_t i = 0; i < 2; i++) {
        run(in, bodiless, steps[i], i == 1, &cut);
        MUST(cut.end == whole.end && cut.error == whole.error &&
             str_eq(buf_str(&cut.head), buf_str(&whole.head)));
        MUST(whole.end == ANSWER_BAD || str_eq(buf_str(&cut.body), buf_str(&whole.body)));
        done(&cut);
    }
    done(&whole);
    return 0;
}
