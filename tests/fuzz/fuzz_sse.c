/* Server-sent events: fed whole, byte by byte and in pieces of a length the input chooses, the same events
 * come out, and their raw bytes joined are the input. The first byte of the input chooses the pieces' length.
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Iinclude tests/fuzz/fuzz_sse.c
 * src/base/x.c ... */
#include "base/die.h"
#include "base/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct buf events, raws;
};

static bool see(void *arg, const struct sse_event *ev) {
    struct seen *s = arg;
    MUST(ev->raw.n > 0 && (!ev->comment || (ev->name.n == 0 && ev->data.n == 0)));
    buf_printf(&s->events, "%d %zu %zu %zu ", ev->comment, ev->name.n, ev->data.n, ev->raw.n);
    buf_adds(&s->events, ev->name);
    buf_adds(&s->events, ev->data);
    buf_adds(&s->raws, ev->raw);
    return true;
}

static int feed(struct str in, size_t step, size_t max, struct seen *seen) {
    struct sse s;
    int rc = 0;
    sse_init(&s, max);
    buf_init(&seen->events, 0);
    buf_init(&seen->raws, 0);
    for (size_t at = 0; rc == 0 && at < in.n; at += step)
        rc = sse_push(&s, in.p + at, step < in.n - at ? step : in.n - at, see, seen);
    if (rc == 0) {
        rc = sse_finish(&s, see, seen);
        MUST(rc == 0 && sse_pending(&s) == 0);
        MUST(str_eq(buf_str(&seen->raws), in));
    }
    sse_free(&s);
    return rc;
}

static void compare(struct str in, size_t step, size_t max) {
    struct seen whole, cut;
    int a = feed(in, in.n, max, &whole), b = feed(in, step, max, &cut);
    MUST(a == b && str_eq(buf_str(&whole.events), buf_str(&cut.events)));
    buf_free(&whole.events);
    buf_free(&whole.raws);
    buf_free(&cut.events);
    buf_free(&cut.raws);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    struct str in = {(const char *)data + 1, size - 1};
    size_t step = 1 + data[0] % 32;
    compare(in, 1, 0);
    compare(in, step, 0);
    compare(in, step, 24); /* a bound that is easily passed */
    return 0;
}
