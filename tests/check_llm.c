/* The canonical form: usage, the table of faults, the grammar of events, folding. */
#include "base/eventstream.h"
#include "llm/fold.h"

#include <check.h>

START_TEST(counts_that_can_be_true) {
    static const struct {
        const char *text;
        enum json_kind kind;
        int64_t want; /* -1: none */
    } rows[] = {{"0", JSON_NUMBER, 0},          {"7", JSON_NUMBER, 7},
                {"3e3", JSON_NUMBER, 3000},     {"100000000", JSON_NUMBER, 100000000},
                {"100000001", JSON_NUMBER, -1}, {"4294967295", JSON_NUMBER, -1},
                {"-1", JSON_NUMBER, -1},        {"7.5", JSON_NUMBER, -1},
                {"\"7\"", JSON_STRING, 7},      {"\"\"", JSON_STRING, -1},
                {"\"7x\"", JSON_STRING, -1},    {"\"-7\"", JSON_STRING, -1},
                {"null", JSON_NULL, -1},        {"18446744073709551616", JSON_NUMBER, -1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t n = 5;
        struct json_value v = {rows[i].kind, str_of(rows[i].text)};
        ck_assert_msg(usage_count(v, &n) == (rows[i].want >= 0), "%s", rows[i].text);
        ck_assert_uint_eq(n, rows[i].want >= 0 ? (uint64_t)rows[i].want : 5);
    }
}
END_TEST

START_TEST(usage_is_cumulative) {
    struct usage u = USAGE_NONE;
    struct usage first = {.known = true, .input = 100, .cache_read = 40, .output = 1, .cost_nano = -1};
    struct usage last = {.known = true, .output = 50, .reasoning = 20, .cost_nano = 1500};
    usage_merge(&u, &first);
    usage_merge(&u, &last);
    ck_assert(u.known && !u.estimated);
    ck_assert_uint_eq(u.input, 100);
    ck_assert_uint_eq(u.cache_read, 40);
    ck_assert_uint_eq(u.output, 50);
    ck_assert_uint_eq(u.reasoning, 20);
    ck_assert_int_eq(u.cost_nano, 1500);
    usage_merge(&u, &USAGE_NONE);
    ck_assert_uint_eq(u.output, 50);
    ck_assert_int_eq(u.cost_nano, 1500);
}
END_TEST

START_TEST(real_numbers_replace_estimates) {
    struct usage u = USAGE_NONE, guess = {.estimated = true, .input = 999, .output = 9, .cost_nano = -1};
    struct usage real = {.known = true, .input = 10, .cost_nano = -1};
    usage_merge(&u, &guess);
    ck_assert(u.estimated && !u.known);
    usage_merge(&u, &real);
    ck_assert(u.known && !u.estimated);
    ck_assert_uint_eq(u.input, 10);
    ck_assert_uint_eq(u.output, 0);
    usage_merge(&u, &guess);
    ck_assert_uint_eq(u.output, 9); /* better than nothing, and still not marked as a guess of the whole */
}
END_TEST

START_TEST(estimates_are_never_nothing) {
    ck_assert_uint_eq(usage_estimate(0), 0);
    ck_assert_uint_eq(usage_estimate(1), 1);
    ck_assert_uint_eq(usage_estimate(4), 1);
    ck_assert_uint_eq(usage_estimate(5), 2);
    ck_assert_uint_eq(usage_estimate(UINT64_MAX), UINT64_MAX / 4 + 1);
}
END_TEST

START_TEST(fault_names) {
    static const struct {
        const char *name;
        enum fault_class cls;
    } names[] = {
        {"rate_limit_exceeded", FAULT_RATE_LIMIT},
        {"server_error", FAULT_SERVER},
        {"timeout", FAULT_TIMEOUT},
        {"connection", FAULT_CONNECTION},
        {"content_filter", FAULT_CONTENT_FILTER},
        {"context_length_exceeded", FAULT_CONTEXT_LENGTH},
        {"model_not_found", FAULT_MODEL_NOT_FOUND},
        {"Server-Error", FAULT_SERVER},
        {"RATE_LIMIT", FAULT_RATE_LIMIT},
    };
    enum fault_class c;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ck_assert(fault_by_name(str_of(names[i].name), &c));
        ck_assert_int_eq(c, names[i].cls);
    }
    ck_assert(!fault_by_name(STR("server_erro"), &c));
    ck_assert(!fault_by_name(STR("server_errors"), &c));
    ck_assert(!fault_by_name(STR(""), &c));
    ck_assert(!fault_by_name(STR("none"), &c));
    for (int i = 1; i < FAULT_CLASSES; i++) { /* every row has a name of its own that leads back */
        ck_assert(fault_by_name(str_of(fault_rule((enum fault_class)i)->name), &c));
        ck_assert_int_eq(c, i);
    }
}
END_TEST

/* Every class has a type, each way; every type's name leads back to it, and a family to all of its own. */
START_TEST(types_of_errors) {
    uint64_t used = 0, all = (UINT64_C(1) << ERROR_TYPES_N) - 2;
    for (int i = 1; i < FAULT_CLASSES; i++)
        for (int theirs = 0; theirs < 2; theirs++) {
            enum error_type t = fault_type((enum fault_class)i, theirs);
            ck_assert_int_ne(t, ERROR_NONE);
            used |= UINT64_C(1) << t;
        }
    ck_assert_uint_eq(used, all);
    for (int i = 1; i < ERROR_TYPES_N; i++)
        ck_assert_uint_eq(error_types_by_name(str_of(error_type_name((enum error_type)i))), UINT64_C(1) << i);
    static const char *const families[] = {"caller", "policy", "provider", "gateway"};
    uint64_t sum = 0;
    for (size_t i = 0; i < 4; i++) {
        uint64_t one = error_types_by_name(str_of(families[i]));
        ck_assert(one != 0 && (sum & one) == 0);
        sum |= one;
    }
    ck_assert_uint_eq(sum, all);
    static const char *const none[] = {"",     "_", "call", "caller_", "provider_time", "provider_timeouts",
                                       "error"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        ck_assert_uint_eq(error_types_by_name(str_of(none[i])), 0);
    ck_assert_int_eq(fault_type(FAULT_NONE, true), ERROR_NONE);
    ck_assert_str_eq(error_type_name(fault_type(FAULT_RATE_LIMIT, false)), "policy_rate_limit");
    ck_assert_str_eq(error_type_name(fault_type(FAULT_RATE_LIMIT, true)), "provider_rate_limit");
    ck_assert_str_eq(error_type_name(ERROR_TYPES_N), "");
}
END_TEST

START_TEST(whose_fault_it_is) {
    static const enum fault_class callers[] = {FAULT_BAD_REQUEST, FAULT_UNSUPPORTED,     FAULT_CONTEXT_LENGTH,
                                               FAULT_TOO_LARGE,   FAULT_MODEL_NOT_FOUND, FAULT_CANCELLED,
                                               FAULT_RATE_LIMIT,  FAULT_QUOTA,           FAULT_PROVIDER_AUTH};
    static const enum fault_class targets[] = {FAULT_SERVER, FAULT_OVERLOADED, FAULT_TIMEOUT,
                                               FAULT_CONNECTION};
    for (size_t i = 0; i < sizeof callers / sizeof *callers; i++)
        ck_assert_msg(!fault_rule(callers[i])->counts, "%s", fault_rule(callers[i])->name);
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        ck_assert(fault_rule(targets[i])->counts);
        ck_assert(fault_rule(targets[i])->tries & FAULT_TRY_SAME);
        ck_assert(fault_rule(targets[i])->tries & FAULT_TRY_TARGET);
    }
    ck_assert(fault_rule(FAULT_RATE_LIMIT)->rests_key && fault_rule(FAULT_PROVIDER_AUTH)->rests_key);
    ck_assert(!fault_rule(FAULT_SERVER)->rests_key);
    ck_assert_int_eq(fault_rule(FAULT_PROVIDER_AUTH)->status, 502);
    ck_assert_uint_eq(fault_rule(FAULT_BAD_REQUEST)->tries, 0);
    ck_assert_uint_eq(fault_rule(FAULT_CONTEXT_LENGTH)->tries, FAULT_TRY_MODEL);
}
END_TEST

START_TEST(coarse_names_cover_fine_classes) {
    ck_assert(fault_matches(FAULT_OVERLOADED, FAULT_SERVER));
    ck_assert(fault_matches(FAULT_PROVIDER_AUTH, FAULT_SERVER));
    ck_assert(fault_matches(FAULT_QUOTA, FAULT_RATE_LIMIT));
    ck_assert(fault_matches(FAULT_TIMEOUT, FAULT_TIMEOUT));
    ck_assert(!fault_matches(FAULT_SERVER, FAULT_OVERLOADED));
    ck_assert(!fault_matches(FAULT_TIMEOUT, FAULT_SERVER));
    ck_assert(!fault_matches(FAULT_BAD_REQUEST, FAULT_SERVER));
    ck_assert(!fault_matches(FAULT_NONE, FAULT_NONE));
}
END_TEST

START_TEST(fault_texts) {
    struct arena *a = arena_new(0);
    struct fault f;
    char longer[5000];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    for (int i = 2040; i < 2049; i += 3) /* a character of three bytes across the bound */
        memcpy(longer + i, "\xE2\x82\xAC", 3);
    fault_set(&f, a, FAULT_SERVER, "%s", longer);
    ck_assert_uint_lt(f.message.n, FAULT_MESSAGE_MAX);
    ck_assert_uint_ge(f.message.n, FAULT_MESSAGE_MAX - 8);
    ck_assert_int_ne((unsigned char)f.message.p[f.message.n - 1], 0xE2);
    ck_assert_int_eq((unsigned char)f.message.p[f.message.n - 1], 0xAC);
    ck_assert_int_eq(f.retry_after_ms, -1);
    ck_assert_int_eq(fault_status(&f), 502);
    f.status = 500;
    ck_assert_int_eq(fault_status(&f), 500);
    ck_assert(fault_text_is_context(STR("This model's Maximum Context Length is 8192 tokens")));
    ck_assert(fault_text_is_context(STR("prompt is too long: 3 tokens > 2 maximum")));
    ck_assert(fault_text_is_context(STR("Input validation error: `inputs` must have less than 1024 tokens. "
                                        "Given: 1168")));
    ck_assert(!fault_text_is_context(STR("max_tokens is too large: 99999")));
    ck_assert(!fault_text_is_context(STR("")));
    arena_free(a);
}
END_TEST

/* --- events --- */

#define EV(k, ...) ((struct event_item){.kind = EV_##k, __VA_ARGS__})

static const struct fault broken = {.cls = FAULT_SERVER};

START_TEST(grammar_holds) {
    const struct event_item good[] = {
        EV(START, .index = 0),
        EV(USAGE, .index = 0),
        EV(PART_OPEN, .index = 0, .part = PART_THINKING),
        EV(THINK, .index = 0),
        EV(SIGNATURE, .index = 0),
        EV(PART_CLOSE, .index = 0),
        EV(PART_OPEN, .index = 1, .part = PART_TEXT),
        EV(TEXT, .index = 1),
        EV(USAGE, .index = 0),
        EV(PART_CLOSE, .index = 1),
        EV(PART_OPEN, .index = 2, .part = PART_TOOL_CALL),
        EV(ARGS, .index = 2),
        EV(PART_CLOSE, .index = 2),
        EV(STOP, .index = 0),
        EV(USAGE, .index = 0),
        EV(END, .index = 0),
    };
    size_t n = sizeof good / sizeof *good;
    struct event_check c = {.state = 0};
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(event_check(&c, &good[i]), "event %zu", i);
    ck_assert(!event_check(&c, &good[0]));
    /* Leaving out any event but a piece of content or usage breaks it. */
    for (size_t skip = 0; skip < n; skip++) {
        enum event_kind k = good[skip].kind;
        bool ok = true, may = k == EV_USAGE || k == EV_THINK || k == EV_SIGNATURE || k == EV_TEXT ||
                              k == EV_ARGS || k == EV_END;
        c = (struct event_check){.state = 0};
        for (size_t i = 0; i < n; i++)
            ok = ok && (i == skip || event_check(&c, &good[i]));
        ck_assert_msg(ok == may, "without event %zu", skip);
    }
}
END_TEST

START_TEST(faults_end_a_stream) {
    struct event_check c = {.state = 0};
    struct event_item fault = EV(FAULT, .fault = &broken), start = EV(START, .index = 0),
                      end = EV(END, .index = 0);
    ck_assert(event_check(&c, &fault));
    ck_assert(!event_check(&c, &start));
    c = (struct event_check){.state = 0};
    ck_assert(event_check(&c, &start));
    ck_assert(!event_check(&c, &end));
    ck_assert(event_check(&c, &fault));
    ck_assert(!event_check(&c, &fault));
    c = (struct event_check){.state = 0};
    ck_assert(!event_check(&c, &EV(PART_OPEN, .index = 0, .part = PART_IMAGE)));
}
END_TEST

/* --- folding --- */

static struct part *add(struct chat *c, struct message *m, enum part_kind kind, struct str text) {
    struct part *p = message_part(c, m, kind);
    p->text = text;
    return p;
}

struct both {
    struct event_check check;
    struct fold *fold;
    bool bad;
};

static void to_both(void *arg, const struct event_item *ev) {
    struct both *b = arg;
    b->bad = b->bad || !event_check(&b->check, ev);
    fold_event(b->fold, ev);
}

START_TEST(there_and_back) {
    struct arena *a = arena_new(0);
    struct chat *c = chat_new(a);
    struct reply r = {.id = STR("id"),
                      .model = STR("m"),
                      .created = 7,
                      .stop = STOP_SEQUENCE,
                      .stop_native = STR("native"),
                      .stop_sequence = STR("END"),
                      .usage = {.known = true, .input = 3, .output = 4, .cost_nano = -1}};
    r.message = chat_message(c, ROLE_ASSISTANT);
    add(c, r.message, PART_THINKING, STR("hm"))->signature = STR("sig");
    message_part(c, r.message, PART_THINKING_REDACTED)->data = STR("blob");
    add(c, r.message, PART_TEXT, STR("hello"));
    struct part *image = message_part(c, r.message, PART_IMAGE);
    image->data = STR("aW1n");
    image->media = STR("image/png");
    struct part *call = add(c, r.message, PART_TOOL_CALL, STR("{\"a\":1}"));
    call->id = STR("c1");
    call->name = STR("f");
    add(c, r.message, PART_TOOL_CALL, STR_NONE)->id = STR("c2");
    add(c, r.message, PART_REFUSAL, STR("no"));
    struct both b = {.fold = fold_new(a, 1000)};
    const struct fault *f;
    fold_out(&r, to_both, &b);
    ck_assert(!b.bad);
    struct reply *back = fold_reply(b.fold, &f);
    ck_assert(back && !f);
    ck_assert(str_is(back->id, "id") && str_is(back->model, "m") && back->created == 7);
    ck_assert(back->stop == STOP_SEQUENCE && str_is(back->stop_native, "native") &&
              str_is(back->stop_sequence, "END"));
    ck_assert_uint_eq(back->usage.output, 4);
    const struct part *p = back->message->parts, *q = r.message->parts;
    for (; p && q; p = p->next, q = q->next) {
        ck_assert_int_eq(p->kind, q->kind);
        ck_assert(str_eq(p->text, q->text) && str_eq(p->id, q->id) && str_eq(p->name, q->name));
        ck_assert(str_eq(p->signature, q->signature) && str_eq(p->data, q->data) &&
                  str_eq(p->media, q->media));
    }
    ck_assert(!p && !q);
    arena_free(a);
}
END_TEST

START_TEST(folding_is_bounded) {
    struct arena *a = arena_new(0);
    struct fold *f = fold_new(a, 10);
    const struct fault *fault;
    fold_event(f, &EV(START, .index = 0));
    fold_event(f, &EV(PART_OPEN, .part = PART_TEXT));
    fold_event(f, &EV(TEXT, .text = STR("0123456789")));
    ck_assert(!fold_reply(f, &fault) && !fault);
    fold_event(f, &EV(TEXT, .text = STR("x")));
    ck_assert(!fold_reply(f, &fault) && fault);
    ck_assert_int_eq(fault->cls, FAULT_TOO_LARGE);
    arena_free(a);
}
END_TEST

START_TEST(a_fault_is_kept) {
    struct arena *a = arena_new(0);
    struct fold *f = fold_new(a, 100);
    const struct fault *fault;
    fold_event(f, &EV(START, .index = 0));
    fold_event(f, &EV(FAULT, .fault = &broken));
    fold_event(f, &EV(END, .index = 0));
    ck_assert(!fold_reply(f, &fault) && fault && fault->cls == FAULT_SERVER);
    arena_free(a);
}
END_TEST

static void join_text(void *arg, const struct event_item *ev) {
    if (ev->kind == EV_TEXT)
        buf_adds(arg, ev->text);
}

/* A character cut between two events is whole again; a half that stays alone stays, and is replaced when
 * written. */
START_TEST(halves_of_a_character) {
    struct buf b;
    buf_init(&b, 0);
    struct event_source s = {.fn = join_text, .arg = &b};
    event_start(&s, STR(""), STR(""), 0);
    event_open(&s, (struct event_item){.part = PART_TEXT});
    event_text(&s, EV_TEXT, STR("a\xED\xA0\xBD"));
    event_text(&s, EV_TEXT, STR("\xED\xB9\x82z\xED\xA0\xBD"));
    event_text(&s, EV_TEXT, STR("y"));
    event_text(&s, EV_TEXT, STR("\xED\xA0\xBD"));
    event_close(&s);
    ck_assert(str_eq(buf_str(&b), STR("a\xF0\x9F\x99\x82z\xED\xA0\xBDy\xED\xA0\xBD")));
    buf_free(&b);
}
END_TEST

static bool count_frame(void *arg, struct str name, struct str payload) {
    (void)payload;
    *(unsigned *)arg += str_is(name, "messageStop") ? 1 : 100;
    return true;
}

/* A frame of AWS in one piece and byte by byte; with any bit turned it is refused. */
START_TEST(frames_of_aws) {
    char frame[128];
    unsigned n = 0;
    static const char head[] = "\x0b:event-type\x07\x00\x0bmessageStop\x0d:message-type\x07\x00\x05"
                               "event";
    size_t heads = sizeof head - 1, total = 16 + heads + 2;
    memset(frame, 0, sizeof frame);
    frame[3] = (char)total;
    frame[7] = (char)heads;
    for (int i = 0; i < 4; i++)
        frame[8 + i] = (char)(crc32_of(frame, 8) >> (24 - 8 * i));
    memcpy(frame + 12, head, heads);
    memcpy(frame + 12 + heads, "{}", 2);
    uint32_t crc = crc32_of(frame, total - 4);
    for (int i = 0; i < 4; i++)
        frame[total - 4 + (size_t)i] = (char)(crc >> (24 - 8 * i));
    struct eventstream e;
    eventstream_init(&e, 0);
    ck_assert_int_eq(eventstream_push(&e, frame, total, count_frame, &n), 0);
    for (size_t i = 0; i < total; i++)
        ck_assert_int_eq(eventstream_push(&e, frame + i, 1, count_frame, &n), 0);
    ck_assert_uint_eq(n, 2);
    ck_assert(eventstream_between(&e));
    for (size_t i = 0; i < total; i++) {
        frame[i] ^= 4;
        eventstream_free(&e);
        eventstream_init(&e, 0);
        ck_assert_int_eq(eventstream_push(&e, frame, total, count_frame, &n), -1);
        frame[i] ^= 4;
    }
    ck_assert_uint_eq(n, 2);
    eventstream_free(&e);
}
END_TEST

START_TEST(calls_win) {
    ck_assert_int_eq(stop_effective(STOP_END, true), STOP_TOOLS);
    ck_assert_int_eq(stop_effective(STOP_TOOLS, false), STOP_TOOLS);
    ck_assert_int_eq(stop_effective(STOP_LENGTH, false), STOP_LENGTH);
    ck_assert_int_eq(stop_effective(STOP_ERROR, true), STOP_ERROR);
}
END_TEST

int main(void) {
    Suite *s = suite_create("llm");
    TCase *t = tcase_create("llm");
    tcase_add_test(t, counts_that_can_be_true);
    tcase_add_test(t, usage_is_cumulative);
    tcase_add_test(t, real_numbers_replace_estimates);
    tcase_add_test(t, estimates_are_never_nothing);
    tcase_add_test(t, fault_names);
    tcase_add_test(t, types_of_errors);
    tcase_add_test(t, whose_fault_it_is);
    tcase_add_test(t, coarse_names_cover_fine_classes);
    tcase_add_test(t, fault_texts);
    tcase_add_test(t, grammar_holds);
    tcase_add_test(t, faults_end_a_stream);
    tcase_add_test(t, there_and_back);
    tcase_add_test(t, folding_is_bounded);
    tcase_add_test(t, a_fault_is_kept);
    tcase_add_test(t, halves_of_a_character);
    tcase_add_test(t, frames_of_aws);
    tcase_add_test(t, calls_win);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
