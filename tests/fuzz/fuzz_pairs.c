/* Every pair of dialects. The first two bytes choose the provider's, the next two the client's, the fifth
 * what the rest is: a stream, a whole answer, a request of the client, or an error. A new row of the table is
 * found by itself. The seeds have in these bytes the numbers that names give, so that they stay what they are
 * when rows come and go. */
#include "fuzz_dialect.h"

static uint16_t number_of(const char *name) {
    uint16_t n = 0;
    while (*name)
        n = (uint16_t)(n * 31 + (uint8_t)*name++);
    return n;
}

/* The one whose number comes next. */
static const struct dialect *pick(const uint8_t *at, bool client) {
    const struct dialect *best = NULL;
    uint16_t want = (uint16_t)(at[0] << 8 | at[1]), least = UINT16_MAX;
    for (size_t i = 0; dialect_at(i); i++) {
        const struct dialect *d = dialect_at(i);
        uint16_t away = (uint16_t)(number_of(d->name) - want);
        if ((client ? d->client != NULL : d->provider != NULL) && (!best || away < least)) {
            best = d;
            least = away;
        }
    }
    return best;
}

/* What clients told of their tools, in the manner of both of OpenAI's dialects. */
#define TOOLS                                                                                                \
    STR("{\"tools\":[{\"type\":\"custom\",\"name\":\"f\",\"custom\":{\"name\":\"f\"}},{\"type\":"            \
        "\"namespace\","                                                                                     \
        "\"name\":\"n\",\"tools\":[{\"type\":\"function\",\"name\":\"g\"}]}]}")

struct run {
    struct buf out;
    struct observed seen;
    bool ok;
};

static void run(struct arena *a, const struct dialect *client, const struct dialect *provider, struct str in,
                size_t step, struct run *r) {
    struct ask ask = {.n = 1, .stream = true, .include_usage = true, .array = in.n % 2, .body = TOOLS};
    struct pipe_opt o = {.quirks = QUIRK_REBUILD, .mint = &fuzz_mint, .ask = &ask};
    struct pipe *p = pipe_new(a, client, provider, &o);
    buf_init(&r->out, 1 << 26);
    r->ok = true;
    for (size_t at = 0; r->ok && at < in.n; at += step)
        r->ok = pipe_push(p, in.p + at, step < in.n - at ? step : in.n - at, &r->out);
    r->ok = pipe_finish(p, &r->out) && r->ok;
    r->seen = *pipe_seen(p);
    MUST(r->ok == !fault_is(&r->seen.fault));
    MUST(r->seen.fault.cls != FAULT_INTERNAL); /* the reader has left the grammar of events */
    if (!r->ok)
        pipe_fault(p, &r->seen.fault, STR("req_1"), &r->out);
    pipe_free(p);
}

static void stream(struct arena *a, const struct dialect *client, const struct dialect *provider,
                   struct str in) {
    struct run whole, cut;
    run(a, client, provider, in, in.n ? in.n : 1, &whole);
    run(a, client, provider, in, 1 + in.n % 7, &cut);
    MUST(whole.ok == cut.ok && str_eq(buf_str(&whole.out), buf_str(&cut.out)));
    MUST(whole.seen.usage.input == cut.seen.usage.input && whole.seen.stop == cut.seen.stop);
    buf_free(&whole.out);
    buf_free(&cut.out);
}

static void answer(struct arena *a, const struct dialect *client, const struct dialect *provider,
                   struct str in) {
    struct ask ask = {.n = 1, .body = TOOLS};
    struct pipe_opt o = {.quirks = QUIRK_REBUILD, .mint = &fuzz_mint, .ask = &ask};
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct observed seen;
    struct buf scratch;
    struct str out;
    buf_init(&scratch, 0);
    if (pipe_reply(a, client, provider, in, &o, &scratch, &out, &seen, &f))
        fuzz_must_be_json(out);
    else
        MUST(fault_is(&f) && f.cls != FAULT_INTERNAL);
    buf_free(&scratch);
}

static void error(struct arena *a, const struct dialect *client, const struct dialect *provider, int status,
                  struct str in) {
    struct fault f;
    struct buf out;
    buf_init(&out, 0);
    provider->provider->read_fault(a, status, in, fuzz_header, &in, &f);
    MUST(fault_is(&f) && f.message.n > 0 && fault_status(&f) >= 400 && fault_status(&f) < 600);
    client->client->write_fault(&out, &f, STR("req_1"));
    fuzz_must_be_json(buf_str(&out));
    buf_free(&out);
}

static void request(struct arena *a, const struct dialect *client, const struct dialect *provider,
                    uint8_t how, struct str in) {
    struct encode_opt o = {.model = STR("m"),
                           .default_max_tokens = 1000,
                           .quirks = QUIRK_REBUILD,
                           .drop_unsupported = how & 8,
                           .pass_unsupported = how & 16};
    struct ask ask = {.n = 1, .rest = how & 32 ? STR("models:streamGenerateContent") : STR("a-model")};
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct chat *chat = NULL;
    struct buf out, dropped;
    buf_init(&out, 1 << 26);
    buf_init(&dropped, 4096);
    if (!client->client->peek(a, in, &ask, &f))
        MUST(fault_is(&f) && f.message.n > 0);
    else if (pipe_request(a, client, provider, &ask, &o, &chat, &out, &dropped, &f))
        fuzz_must_be_json(buf_str(&out));
    else
        MUST(fault_is(&f) && f.cls != FAULT_INTERNAL);
    buf_free(&out);
    buf_free(&dropped);
}

/* Some are only spoken to clients of the same. */
static bool writes(const struct dialect *d) {
    return d->op == OP_EMBED ? d->provider->write_embed != NULL : d->provider->write_request != NULL;
}

static bool reads(const struct dialect *d) {
    return d->op == OP_EMBED ? d->provider->read_embed != NULL : d->provider->read_reply != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 5)
        return 0;
    const struct dialect *provider = pick(data, false), *client = pick(data + 2, true);
    struct arena *a = arena_new(0);
    struct str in = arena_dup(a, str_make((const char *)data + 5, size - 5));
    uint8_t how = data[4];
    if (how % 4 == 3)
        error(a, client, provider, 300 + how, in);
    else if (client->op == provider->op && how % 4 == 2 && writes(provider))
        request(a, client, provider, how, in);
    else if (client->op == provider->op && how % 4 == 1 && reads(provider))
        answer(a, client, provider, in);
    else if (how % 8 == 4 && provider->provider->reader_new)
        fuzz_read(provider,
                  in); /* events as SSE whatever their frames are, whose checksums no chance gets right */
    else if (client->op == provider->op && how % 4 == 0 && client->client->writer_new &&
             provider->provider->reader_new)
        stream(a, client, provider, in);
    arena_free(a);
    return 0;
}
