/* The dialects against cases as data: tests/wire/NAME.json is an array of cases. A member of a case is bytes
 * in one of three spellings: a string; an array of lines, each ended by a newline; or an object, printed
 * compactly. Bytes are compared exactly, and every stream is also fed byte by byte and cut at random places.
 *   client, provider      dialects (openai_chat and openai_chat when not said)
 *   request, options      -> sent, dropped; or refused {class, status, param, message}
 *   reply                 -> answer, seen; or fault; watched: the events beside it
 *   stream, options       -> received, seen, fault; watched; last_words (pipe_fault after it)
 *   status, body, headers -> fault, error (the client's body)
 *   read                  -> events: the provider's reader alone
 *   turn                  -> reprinted: read as a request, and written anew by the provider's face */
#include "dialect/excerpt.h"
#include "dialect_feed.h"

#include <check.h>
#include <dirent.h>

#define MAX_FILES 64
static char *names[MAX_FILES];
static size_t nfiles;

static const struct mint mint = {
    .id = STR("abcdefghijklmnopqrstuvwx"), .created = 1700000000, .model = STR("told")};

/* --- a case --- */

struct trial {
    struct arena *a;
    const char *file;
    struct str name;
    struct json_object *o;
    const struct dialect *client, *provider;
    struct encode_opt opt;
    struct ask ask;
};

static struct str bytes_of(struct arena *a, struct json_object *v) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    if (json_object_is_type(v, json_type_string)) {
        buf_adds(&b, jo_text(v));
    } else if (json_object_is_type(v, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(v); i++) {
            buf_adds(&b, jo_text(json_object_array_get_idx(v, i)));
            buf_addc(&b, '\n');
        }
    } else {
        jw_init(&w, &b);
        jw_tree(&w, v);
    }
    struct str s = arena_dup(a, buf_str(&b));
    buf_free(&b);
    return s;
}

static struct str case_bytes(struct trial *t, const char *key) {
    return bytes_of(t->a, jo_get(t->o, key));
}

enum { SHOWN = 1000 }; /* before and behind a difference; the test library bounds its messages */

static struct str piece(struct str s, size_t from) {
    s = str_skip(s, from);
    return str_make(s.p, s.n < 2 * (size_t)SHOWN ? s.n : 2 * (size_t)SHOWN);
}

static void want_bytes(struct trial *t, const char *what, struct str want, struct str got) {
    if (str_eq(want, got))
        return;
    size_t i = 0;
    while (i < want.n && i < got.n && want.p[i] == got.p[i])
        i++;
    size_t from = i > SHOWN ? i - SHOWN : 0;
    ck_abort_msg("%s, \"" STR_FMT "\": %s differs at byte %zu\nwanted: " STR_FMT "\n   got: " STR_FMT,
                 t->file, STR_ARG(t->name), what, i, STR_ARG(piece(want, from)), STR_ARG(piece(got, from)));
}

static void want_text(struct trial *t, const char *what, struct json_object *o, const char *key,
                      struct str got) {
    if (jo_get(o, key))
        want_bytes(t, what, jo_str(o, key), got);
}

static void want_number(struct trial *t, const char *what, struct json_object *o, const char *key,
                        int64_t got) {
    if (jo_get(o, key) && jo_int(o, key, -77) != got)
        ck_abort_msg("%s, \"" STR_FMT "\": %s.%s is %lld, wanted %lld", t->file, STR_ARG(t->name), what, key,
                     (long long)got, (long long)jo_int(o, key, -77));
}

/* "fault" or "refused": an object, or absent when there must be none. */
static void want_fault(struct trial *t, const char *key, const struct fault *f) {
    struct json_object *o = jo_obj(t->o, key);
    if (!o) {
        if (fault_is(f))
            ck_abort_msg("%s, \"" STR_FMT "\": unexpected %s %s: " STR_FMT, t->file, STR_ARG(t->name), key,
                         fault_rule(f->cls)->name, STR_ARG(f->message));
        return;
    }
    want_text(t, "class", o, "class", str_of(fault_rule(f->cls)->name));
    want_text(t, "message", o, "message", f->message);
    want_text(t, "param", o, "param", f->param);
    want_text(t, "unknown", o, "unknown", f->unknown);
    want_number(t, key, o, "status", fault_status(f));
    want_number(t, key, o, "retry_after_ms", f->retry_after_ms);
    want_number(t, key, o, "retry_said_no", f->retry_said_no);
}

static void want_seen(struct trial *t, const struct observed *s) {
    struct json_object *o = jo_obj(t->o, "seen");
    want_number(t, "seen", o, "input", (int64_t)s->usage.input);
    want_number(t, "seen", o, "output", (int64_t)s->usage.output);
    want_number(t, "seen", o, "cache_read", (int64_t)s->usage.cache_read);
    want_number(t, "seen", o, "cache_write", (int64_t)s->usage.cache_write);
    want_number(t, "seen", o, "cache_write_1h", (int64_t)s->usage.cache_write_1h);
    want_number(t, "seen", o, "reasoning", (int64_t)s->usage.reasoning);
    want_number(t, "seen", o, "cost_nano", s->usage.cost_nano);
    want_number(t, "seen", o, "known", s->usage.known);
    want_number(t, "seen", o, "stop", s->stop);
    want_number(t, "seen", o, "has_output", s->output);
    want_number(t, "seen", o, "ended", s->ended);
    want_number(t, "seen", o, "bytes", (int64_t)s->output_bytes);
    want_text(t, "seen.unknown", o, "unknown", s->unknown);
    want_text(t, "seen.id", o, "id", s->id);
    want_text(t, "seen.model", o, "model", s->model);
}

/* --- the directions --- */

static void try_request(struct trial *t) {
    struct fault f = {.cls = FAULT_NONE};
    struct chat *chat = NULL;
    struct buf out, dropped;
    struct str body = case_bytes(t, "request");
    buf_init(&out, 0);
    buf_init(&dropped, 0);
    bool ok = t->client->client->peek(t->a, body, &t->ask, &f);
    if (ok)
        ok = pipe_request(t->a, t->client, t->provider, &t->ask, &t->opt, &chat, &out, &dropped, &f);
    ck_assert_int_eq(ok, !fault_is(&f));
    want_fault(t, "refused", &f);
    want_number(t, "ask", t->o, "input_bytes", (int64_t)t->ask.input_bytes);
    want_number(t, "ask", t->o, "max_tokens", (int64_t)t->ask.max_tokens);
    if (ok && jo_get(t->o, "sent"))
        want_bytes(t, "sent", case_bytes(t, "sent"), buf_str(&out));
    if (ok)
        want_bytes(t, "dropped", jo_str(t->o, "dropped"), buf_str(&dropped));
    /* Once more with the cached conversation: the same bytes. */
    if (chat && ok) {
        struct buf again;
        buf_init(&again, 0);
        buf_clear(&dropped);
        ck_assert(pipe_request(t->a, t->client, t->provider, &t->ask, &t->opt, &chat, &again, &dropped, &f));
        want_bytes(t, "sent the second time", buf_str(&out), buf_str(&again));
        buf_free(&again);
    }
    buf_free(&out);
    buf_free(&dropped);
}

struct listing {
    struct event_check check;
    struct buf out;
    bool bad;
};

static void list_event(void *arg, const struct event_item *ev) {
    static const char *const kinds[] = {"start",     "open",     "text",       "args",  "think",
                                        "signature", "logprobs", "annotation", "close", "usage",
                                        "stop",      "fault",    "end"};
    static const char *const parts[] = {"text",   "image",    "audio",    "file",   "call",
                                        "result", "thinking", "redacted", "refusal"};
    struct listing *l = arg;
    struct buf *b = &l->out;
    l->bad = l->bad || !event_check(&l->check, ev);
    buf_addz(b, kinds[ev->kind]);
    if (ev->kind == EV_START)
        buf_printf(b, " " STR_FMT " " STR_FMT, STR_ARG(ev->id), STR_ARG(ev->model));
    if (ev->kind == EV_PART_OPEN)
        buf_printf(b, " %u %s " STR_FMT " " STR_FMT, ev->index, parts[ev->part], STR_ARG(ev->id),
                   STR_ARG(ev->name));
    if (ev->kind == EV_USAGE)
        buf_printf(b, " %llu %llu", (unsigned long long)ev->usage.input,
                   (unsigned long long)ev->usage.output);
    if (ev->kind == EV_STOP)
        buf_printf(b, " %d", (int)ev->stop);
    if (ev->kind == EV_FAULT)
        buf_printf(b, " %s", fault_rule(ev->fault->cls)->name);
    if (ev->text.n > 0)
        buf_printf(b, " " STR_FMT, STR_ARG(ev->text));
    buf_addc(b, '\n');
}

static void want_watched(struct trial *t, const struct pipe_opt *o, struct listing *l) {
    if (!o->watch)
        return;
    ck_assert(!l->bad);
    want_bytes(t, "watched", case_bytes(t, "watched"), buf_str(&l->out));
    buf_free(&l->out);
}

static void watch(struct trial *t, struct pipe_opt *o, struct listing *l) {
    *l = (struct listing){.bad = false};
    if (!jo_get(t->o, "watched"))
        return;
    buf_init(&l->out, 0);
    o->watch = list_event;
    o->watch_arg = l;
}

static void try_reply(struct trial *t) {
    struct fault f;
    struct observed seen;
    struct buf scratch;
    struct str out = STR_NONE;
    buf_init(&scratch, 0);
    struct pipe_opt po = {.quirks = t->opt.quirks, .mint = &mint, .ask = &t->ask};
    struct listing l;
    watch(t, &po, &l);
    bool ok =
        pipe_reply(t->a, t->client, t->provider, case_bytes(t, "reply"), &po, &scratch, &out, &seen, &f);
    want_watched(t, &po, &l);
    ck_assert_int_eq(ok, !fault_is(&f));
    want_fault(t, "fault", &f);
    want_seen(t, &seen);
    if (ok)
        want_bytes(t, "answer", case_bytes(t, jo_get(t->o, "answer") ? "answer" : "reply"), out);
    buf_free(&scratch);
}

static void try_stream_once(struct trial *t, enum feed how, uint32_t seed, const char *label) {
    struct json_object *o = jo_obj(t->o, "options");
    struct ask ask = t->ask; /* of a request beside it */
    ask.include_usage = jo_bool(o, "include_usage", false);
    ask.array = jo_bool(o, "array", false);
    struct pipe_opt po = {
        .quirks = t->opt.quirks, .hide_usage = jo_bool(o, "hide_usage", false), .mint = &mint, .ask = &ask};
    struct observed seen;
    struct buf out;
    struct listing l;
    po.max_frame = (size_t)jo_int(o, "max_frame", 0);
    buf_init(&out, 0);
    watch(t, &po, &l);
    bool ok = feed_stream(t->a, t->client, t->provider, case_bytes(t, "stream"), &po, how, seed, &out, &seen);
    want_watched(t, &po, &l);
    want_fault(t, "fault", &seen.fault);
    ck_assert_int_eq(ok, !fault_is(&seen.fault));
    want_seen(t, &seen);
    if (jo_get(t->o, "last_words")) {
        size_t n = buf_len(&out);
        struct pipe *p = pipe_new(t->a, t->client, t->provider, &po);
        pipe_fault(p, &seen.fault, STR_NONE, &out);
        want_bytes(t, "last_words", case_bytes(t, "last_words"), str_skip(buf_str(&out), n));
        out.end -= buf_len(&out) - n;
        pipe_free(p);
    }
    want_bytes(t, label, case_bytes(t, jo_get(t->o, "received") ? "received" : "stream"), buf_str(&out));
    buf_free(&out);
}

static void try_stream(struct trial *t) {
    try_stream_once(t, FEED_WHOLE, 0, "received");
    try_stream_once(t, FEED_BYTES, 0, "received (fed by the byte)");
    for (uint32_t seed = 1; seed <= 20; seed++)
        try_stream_once(t, FEED_RANDOM, seed, "received (cut at random)");
}

static struct str header(void *arg, const char *name) {
    return jo_str(jo_obj(((struct trial *)arg)->o, "headers"), name);
}

static void try_status(struct trial *t) {
    struct fault f;
    struct buf out;
    buf_init(&out, 0);
    t->provider->provider->read_fault(t->a, (int)jo_int(t->o, "status", 0), case_bytes(t, "body"), header, t,
                                      &f);
    want_fault(t, "fault", &f);
    t->client->client->write_fault(&out, &f, STR("req_1"));
    if (jo_get(t->o, "error"))
        want_bytes(t, "error", case_bytes(t, "error"), buf_str(&out));
    buf_free(&out);
}

static void try_read(struct trial *t) {
    struct listing l = {.bad = false};
    buf_init(&l.out, 0);
    feed_reader(t->a, t->provider, case_bytes(t, "read"), list_event, &l);
    if (l.bad)
        ck_abort_msg("%s, \"" STR_FMT "\": out of the grammar:\n" STR_FMT, t->file, STR_ARG(t->name),
                     STR_ARG(buf_str(&l.out)));
    want_bytes(t, "events", case_bytes(t, "events"), buf_str(&l.out));
    buf_free(&l.out);
}

static void try_turn(struct trial *t) {
    struct fault f = {.cls = FAULT_NONE};
    struct chat *chat = NULL;
    struct buf out, dropped;
    buf_init(&out, 0);
    buf_init(&dropped, 0);
    ck_assert(t->client->client->peek(t->a, case_bytes(t, "turn"), &t->ask, &f));
    bool ok = t->client->client->read_request(t->a, &t->ask, &chat, &f) &&
              t->provider->provider->write_request(t->a, chat, &t->opt, &out, &dropped, &f);
    want_fault(t, "refused", &f);
    if (ok) {
        want_bytes(t, "reprinted", case_bytes(t, "reprinted"), buf_str(&out));
        want_bytes(t, "dropped", jo_str(t->o, "dropped"), buf_str(&dropped));
    }
    buf_free(&out);
    buf_free(&dropped);
}

/* --- running --- */

static const struct dialect *dialect_of(struct json_object *o, const char *key) {
    struct str name = jo_str(o, key);
    const struct dialect *d = dialect_by_name(name.n > 0 ? name : STR("openai_chat"));
    ck_assert_msg(d != NULL, "unknown dialect");
    return d;
}

/* "reasoning": the texts by their calls. */
static struct str kept_reasoning(void *options, struct str call, const char *origin) {
    (void)origin;
    struct json_object *all = jo_obj(options, "reasoning"), *text = NULL;
    char key[64];
    str_copy(key, sizeof key, call);
    json_object_object_get_ex(all, key, &text);
    return jo_text(text);
}

static void run_case(const char *file, struct json_object *o) {
    struct trial t = {.a = arena_new(0), .file = file, .o = o, .name = jo_str(o, "name")};
    struct json_object *opt = jo_obj(o, "options");
    unsigned tried = 0;
    t.client = dialect_of(o, "client");
    t.provider = dialect_of(o, "provider");
    t.opt = (struct encode_opt){.model = jo_get(opt, "model") ? jo_str(opt, "model") : STR("upstream-model"),
                                .quirks = (unsigned)jo_int(opt, "quirks", 0),
                                .default_max_tokens = (uint64_t)jo_int(opt, "default_max_tokens", 0),
                                .reasoning = jo_obj(opt, "reasoning") ? kept_reasoning : NULL,
                                .reasoning_arg = opt,
                                .drop_unsupported = jo_bool(opt, "drop", false),
                                .pass_unsupported = jo_bool(opt, "pass", false)};
    static const struct {
        const char *key;
        void (*run)(struct trial *t);
    } ways[] = {{"request", try_request}, {"reply", try_reply}, {"stream", try_stream},
                {"status", try_status},   {"read", try_read},   {"turn", try_turn}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (jo_get(o, ways[i].key)) {
            ways[i].run(&t);
            tried++;
        }
    ck_assert_msg(tried > 0, "%s: a case without anything to try", file);
    arena_free(t.a);
}

static const char *folder(void) {
    static char path[4096];
    const char *srcdir = getenv("srcdir");
    snprintf(path, sizeof path, "%s/tests/wire", srcdir && *srcdir ? srcdir : ".");
    return path;
}

START_TEST(wire_file) {
    struct arena *a = arena_new(0);
    struct buf text;
    struct json_error err = {0, NULL};
    const char *path = arena_printf(a, "%s/%s", folder(), names[_i]).p;
    buf_init(&text, 0);
    ck_assert_msg(read_file(path, &text), "cannot read %s", path);
    struct json_object *cases = json_tree(buf_str(&text), &err);
    ck_assert_msg(cases != NULL, "%s: %s at byte %zu", path, err.why, err.offset);
    ck_assert_uint_gt(json_object_array_length(cases), 0);
    for (size_t i = 0; i < json_object_array_length(cases); i++)
        run_case(names[_i], json_object_array_get_idx(cases, i));
    json_object_put(cases);
    buf_free(&text);
    arena_free(a);
}
END_TEST

/* --- what data cannot say --- */

START_TEST(an_open_stream_grows_no_arena) {
    struct arena *a = arena_new(0);
    struct ask ask = {.include_usage = false};
    struct pipe_opt o = {.mint = &mint, .ask = &ask};
    struct buf out;
    const struct dialect *providers[] = {&dialect_openai_chat, &dialect_anthropic};
    static const char *const frames[] = {
        "data: {\"id\":\"x\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a "
        "\\\"b\\\"\"}}]}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a "
        "\\\"b\\\"\"}}\n\n"};
    buf_init(&out, 0);
    for (int i = 0; i < 2; i++) {
        struct pipe *p = pipe_new(a, &dialect_openai_chat, providers[i], &o);
        pipe_push(p, frames[i], strlen(frames[i]), &out);
        size_t before = arena_size(a);
        for (int k = 0; k < 5000; k++) {
            ck_assert(pipe_push(p, frames[i], strlen(frames[i]), &out));
            buf_clear(&out);
        }
        ck_assert_uint_eq(arena_size(a), before);
        ck_assert(!fault_is(&pipe_seen(p)->fault));
        pipe_free(p);
    }
    buf_free(&out);
    arena_free(a);
}
END_TEST

/* The words of requests and answers, and nothing else of them. */
START_TEST(excerpts) {
    static const struct {
        const char *json, *asked, *answered;
    } rows[] = {
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"a\"},{\"content\":[{\"type\":"
         "\"text\","
         "\"text\":\"b\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:text\"}},{\"type\":\"text\","
         "\"text\":\"c\"}],"
         "\"role\":\"user\"}],\"tools\":[{\"function\":{\"text\":\"no\"}}],\"user\":\"u\"}",
         "system: a\nuser: b\nc", "a\nb\nc"},
        {"{\"system\":[{\"type\":\"text\",\"text\":\"s\"}],\"messages\":[{\"role\":\"assistant\",\"content\":"
         "[{\"type\":"
         "\"tool_use\",\"id\":\"i\",\"name\":\"n\",\"input\":{\"x\":[1,\"y\"]}}]},{\"role\":\"user\","
         "\"content\":[{\"type\":"
         "\"tool_result\",\"content\":\"r\"},{\"type\":\"image\",\"source\":{\"data\":\"QUJD\",\"text\":"
         "\"no\"}}]}]}",
         "s\nassistant: {\"x\":[1,\"y\"]}\nuser: r", "s\n{\"x\":[1,\"y\"]}\nr"},
        {"{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"p\"},{\"inlineData\":{\"data\":\"no\"}},{"
         "\"functionResponse\":"
         "{\"name\":\"f\",\"response\":{\"a\":1}}}]}]}",
         "user: p\n{\"a\":1}", "p\n{\"a\":1}"},
        {"{\"instructions\":\"i\",\"input\":\"q\",\"metadata\":{\"text\":\"no\"}}", "i\nq", "q"},
        {"{\"input\":[\"one\",\"\\u00fc\\ud83d\\ude42\",[1,2]]}", "one\n\303\274\360\237\231\202",
         "one\n\303\274\360\237\231\202"},
        {"{\"prompt\":[\"a\",\"b\"],\"suffix\":\"c\"}", "a\nb\nc", "c"},
        {"{\"content\":\"\",\"text\":null,\"message\":7}", "", ""},
        {"{}", "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int asked = 0; asked < 2; asked++) {
            struct str json = str_of(rows[i].json), want = str_of(asked ? rows[i].asked : rows[i].answered);
            ck_assert_int_eq(json_scan(json, NULL, NULL, NULL, NULL), 0);
            for (size_t most = 0; most <= want.n + 1; most++) { /* however little there is room for */
                struct arena *a = arena_new(0);
                struct excerpt e;
                excerpt_init(&e, a, most ? most : 1);
                excerpt_json(&e, json, asked);
                struct str got = buf_str(&e.text), some = str_make(want.p, want.n < e.most ? want.n : e.most);
                ck_assert_msg(str_eq(got, some) && e.cut == (want.n > e.most), "%zu, %zu bytes: " STR_FMT, i,
                              most, STR_ARG(got));
                arena_free(a);
            }
        }
}
END_TEST

START_TEST(deep_and_long_bodies_end) {
    struct arena *a = arena_new(0);
    struct buf b;
    struct ask ask = {.rest = STR_NONE};
    struct fault f;
    buf_init(&b, 0);
    BUF_ADD(&b, "{\"messages\":");
    for (int i = 0; i < 100000; i++)
        buf_addc(&b, '[');
    ck_assert(!dialect_openai_chat.client->peek(a, buf_str(&b), &ask, &f));
    ck_assert_int_eq(f.cls, FAULT_BAD_REQUEST);
    buf_free(&b);
    arena_free(a);
}
END_TEST

/* Tens of thousands of calls and results, none of them with a fitting id: linear, or this test times out. */
START_TEST(many_calls_are_linear) {
    struct arena *a = arena_new(0);
    struct buf b, out, dropped;
    struct ask ask = {.rest = STR_NONE};
    struct fault f;
    struct chat *chat = NULL;
    struct encode_opt o = {.model = STR("m")};
    enum { CALLS = 20000 };
    buf_init(&b, 0);
    buf_init(&out, 0);
    buf_init(&dropped, 0);
    BUF_ADD(&b,
            "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"tool_calls\":[");
    for (int i = 0; i < CALLS; i++)
        buf_printf(&b, "%s{\"id\":\"f:%d\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}", i ? "," : "",
                   i);
    BUF_ADD(&b, "]}");
    for (int i = CALLS - 1; i >= 0; i--)
        buf_printf(&b, ",{\"role\":\"tool\",\"tool_call_id\":\"f:%d\",\"content\":\"r\"}", i);
    BUF_ADD(&b, "]}");
    ck_assert(dialect_openai_chat.client->peek(a, buf_str(&b), &ask, &f));
    ck_assert(pipe_request(a, &dialect_openai_chat, &dialect_anthropic, &ask, &o, &chat, &out, &dropped, &f));
    buf_free(&b);
    buf_free(&out);
    buf_free(&dropped);
    arena_free(a);
}
END_TEST

/* What costs nothing, what has no known price, and what nobody was asked. */
START_TEST(a_question_and_its_receipt) {
    struct buf out;
    struct ask ask = {.task = STR("summarization")};
    struct receipt o = {.request_id = STR("r-1"),
                        .provider = STR("openai"),
                        .model = STR("gpt"),
                        .usage = {.known = true, .input = 3, .output = 4, .cost_nano = -1},
                        .cost_nano = 1500000,
                        .input_nano = 500000,
                        .output_nano = 1000000,
                        .expected_nano = -1,
                        .tenant = STR("t"),
                        .cache = "miss",
                        .ms = 5,
                        .attempts = 2,
                        .fallback = true};
    buf_init(&out, 0);
    dialect_query.client->write_receipt(&out, STR("{\"response\":\"a\"}"), &ask, &o);
    ck_assert(str_is(
        buf_str(&out),
        "{\"response\":\"a\",\"model\":\"gpt\",\"provider\":\"openai\",\"task_type\":"
        "\"summarization\",\"request_id\":\"r-1\",\"tenant\":\"t\",\"response_time_ms\":5,\"cached\":"
        "false,\"dry_run\":false,\"input_tokens\":3,\"output_tokens\":4,\"total_tokens\":7,\"num_tokens\":"
        "7,\"tokens_estimated\":false,\"cost_usd\":0.0015,\"cost\":{\"estimated_usd\":null,\"actual_usd\":"
        "0.0015,\"input_usd\":0.0005,\"output_usd\":0.001},\"metrics\":{\"latency_ms\":5,\"attempts\":2,"
        "\"fallback_used\":true,\"cache\":\"miss\"}}"));
    buf_free(&out);
}
END_TEST

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void find_files(void) {
    DIR *d = opendir(folder());
    for (struct dirent *e; d && (e = readdir(d)) && nfiles < MAX_FILES;)
        if (str_ends(str_of(e->d_name), ".json"))
            names[nfiles++] = strdup(e->d_name);
    if (d)
        closedir(d);
    qsort(names, nfiles, sizeof *names, by_name);
}

int main(void) {
    find_files();
    if (nfiles == 0) {
        fprintf(stderr, "no cases in %s\n", folder());
        return 1;
    }
    Suite *s = suite_create("dialect");
    TCase *wire = tcase_create("wire"), *more = tcase_create("more");
    tcase_set_timeout(wire, 60);
    tcase_set_timeout(more, 60);
    tcase_add_loop_test(wire, wire_file, 0, (int)nfiles);
    tcase_add_test(more, an_open_stream_grows_no_arena);
    tcase_add_test(more, excerpts);
    tcase_add_test(more, deep_and_long_bodies_end);
    tcase_add_test(more, many_calls_are_linear);
    tcase_add_test(more, a_question_and_its_receipt);
    suite_add_tcase(s, wire);
    suite_add_tcase(s, more);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    for (size_t i = 0; i < nfiles; i++)
        free(names[i]);
    return failed != 0;
}
