/* Answers of Gemini, for a client that speaks OpenAI chat. The first byte chooses what the rest is: a
 * stream, a whole answer, an error. */
#include "fuzz_dialect.h"

static bool tap(void *arg, const struct sse_event *ev) {
    struct observed *o = arg;
    struct arena *a = arena_new(0);
    struct observed seen = *o;
    MUST(dialect_gemini.provider->tap_event(a, ev->name, ev->data, 0, true, &seen));
    o->usage = seen.usage; /* the texts went with the arena */
    o->ended = seen.ended;
    arena_free(a);
    return true;
}

static void tapped(struct str in) {
    struct observed o = {.usage = USAGE_NONE};
    struct sse s;
    sse_init(&s, 0);
    if (sse_push(&s, in.p, in.n, tap, &o) == 0)
        sse_finish(&s, tap, &o);
    sse_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    struct str in = {(const char *)data + 1, size - 1};
    fuzz_answer(&dialect_gemini, data[0], in);
    if (data[0] % 4 < 2)
        tapped(in);
    return 0;
}
