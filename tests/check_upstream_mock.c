/* The built-in provider. */
#include "base/json.h"
#include "under_valgrind.h"
#include "upstream_stage.h"

static void use_mock(void) {
    char err[256];
    conf.kind = kind_of("mock");
    conf.base_url = "";
    up = upstream_new(multi, &conf, err);
    ck_assert(up != NULL);
}

static struct rec *mock_full(const char *body, const char *control, size_t full_each) {
    struct call_spec s = spec_of(body);
    s.mock = str_of(control);
    s.stream = strstr(body, "\"stream\":true") != NULL;
    struct rec *r = rec_new();
    r->full_each = full_each;
    begin(r, &s);
    finish(r);
    return r;
}

static struct rec *mock(const char *body, const char *control) {
    struct rec *r = mock_full(body, control, 0);
    buf_addc(&r->body, '\0');
    r->body.end--;
    return r;
}

#define ASK(model, more)                                                                                     \
    "{\"model\":\"" model "\",\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}]" more "}"
#define STREAM ",\"stream\":true"

static bool has(const struct rec *r, const char *text) {
    return str_find(buf_str(&r->body), str_of(text)) >= 0;
}

static int count(const struct rec *r, const char *text) {
    struct str s = buf_str(&r->body);
    int n = 0;
    for (ptrdiff_t at; (at = str_find(s, str_of(text))) >= 0; n++)
        s = str_skip(s, (size_t)at + 1);
    return n;
}

START_TEST(mock_answers) {
    use_mock();
    struct rec *a = mock(ASK("gpt-4o", ""), ""), *b = mock(ASK("gpt-4o", ""), "");
    ck_assert_int_eq(a->r.error, CALL_OK);
    ck_assert_int_eq(a->status, 200);
    ck_assert(str_eq(buf_str(&a->body), buf_str(&b->body))); /* deterministic */
    ck_assert(json_scan(buf_str(&a->body), NULL, NULL, NULL, NULL) == 0);
    ck_assert(has(a, "\"content\":\"You said: one two three\"") && has(a, "\"model\":\"gpt-4o\""));
    ck_assert(has(a, "\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":5,\"total_tokens\":9}"));
    ck_assert(has(a, "\"finish_reason\":\"stop\""));
    rec_free(a);
    rec_free(b);
    a = mock(ASK("mock", ",\"max_tokens\":3,\"n\":2"), "");
    ck_assert(has(a, "\"content\":\"You said: one\"") && has(a, "\"finish_reason\":\"length\""));
    ck_assert(has(a, "\"index\":1") && has(a, "\"completion_tokens\":6"));
    rec_free(a);
    a = mock(ASK("mock", ""), "tokens=50");
    ck_assert(has(a, "\"completion_tokens\":50"));
    rec_free(a);
    a = mock("{\"model\":\"mock\"}", "");
    ck_assert(a->status == 400 && has(a, "messages is required"));
    rec_free(a);
    a = mock("{nonsense", "");
    ck_assert_int_eq(a->status, 400);
    rec_free(a);
    struct call_spec s = spec_of("");
    s.get = true;
    s.path = "/models";
    a = ask(&s);
    ck_assert(a->status == 200 && has(a, "\"id\":\"mock\""));
    rec_free(a);
    s.path = "/nothing";
    a = ask(&s);
    ck_assert_int_eq(a->status, 404);
    rec_free(a);
}
END_TEST

START_TEST(mock_streams) {
    use_mock();
    struct rec *a = mock(ASK("mock", STREAM), "");
    ck_assert(has(a, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"") &&
              has(a, "\"delta\":{\"content\":\" three\"}"));
    ck_assert(str_ends(buf_str(&a->body), "data: [DONE]\n\n") && !has(a, "usage"));
    ck_assert_int_eq(count(a, "data: "), 1 + 5 + 1 + 1);
    ck_assert(str_find(buf_str(&a->headers), STR("content-type=text/event-stream")) >= 0);
    rec_free(a);
    a = mock(ASK("mock", STREAM ",\"n\":2,\"stream_options\":{\"include_usage\":true}"), "");
    ck_assert(has(a, "\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":10") &&
              has(a, "\"usage\":null"));
    ck_assert_int_eq(count(a, "data: "), 2 + 10 + 2 + 1 + 1);
    rec_free(a);
    a = mock(ASK("mock", STREAM), "tokens=20000");
    struct rec *b = mock_full(ASK("mock", STREAM), "tokens=20000", 3000); /* the same through a slow sink */
    ck_assert(buf_len(&a->body) > 1000000 && str_eq(buf_str(&a->body), buf_str(&b->body)));
    rec_free(a);
    rec_free(b);
    a = mock(ASK("mock", STREAM), "pace=20ms; delay=50ms");
    ck_assert_uint_ge(a->r.total_ms, 50 + 7 * 20);
    ck_assert_uint_ge(a->r.first_byte_ms, 50);
    ck_assert_int_eq(a->datas, 8);
    rec_free(a);
}
END_TEST

START_TEST(mock_errors) {
    use_mock();
    conf.first_byte = conf.idle = eased(100);
    struct rec *a = mock(ASK("mock-error-429", ""), "retry-after=2");
    ck_assert(a->status == 429 && a->r.error == CALL_OK && has(a, "rate_limit_exceeded"));
    ck_assert(str_find(buf_str(&a->headers), STR("retry-after=2\n")) >= 0);
    rec_free(a);
    for (int i = 0; i < 3; i++) {
        a = mock(ASK("mock", ""), "fail=2; status=503");
        ck_assert_int_eq(a->status, i < 2 ? 503 : 200);
        rec_free(a);
    }
    a = mock(ASK("mock-context", STREAM), "");
    ck_assert(a->status == 400 && has(a, "context_length_exceeded"));
    ck_assert(str_find(buf_str(&a->headers), STR("content-type=application/json")) >= 0);
    rec_free(a);
    a = mock(ASK("mock-timeout", ""), "");
    ck_assert(a->r.error == CALL_TIMEOUT_FIRST_BYTE && a->heads == 0);
    rec_free(a);
    a = mock(ASK("mock-hang-midway", STREAM), "");
    ck_assert(a->r.error == CALL_TIMEOUT_IDLE && a->datas > 0 && !has(a, "[DONE]"));
    rec_free(a);
    a = mock(ASK("mock-cut", STREAM), "");
    ck_assert(a->r.error == CALL_RESET && has(a, "\"You\"") && !has(a, "three"));
    rec_free(a);
    a = mock(ASK("mock", STREAM), "cut=4");
    ck_assert(a->r.error == CALL_RESET && has(a, " two") && !has(a, "three"));
    rec_free(a);
    a = mock(ASK("mock-cut", ""), "");
    ck_assert(a->r.error == CALL_RESET && a->datas > 0 && !has(a, "usage"));
    rec_free(a);
    a = mock(ASK("mock-stream-error", STREAM), "");
    ck_assert(a->r.error == CALL_OK && has(a, "\"error\":{\"message\":\"mock error in the stream\"") &&
              !has(a, "[DONE]"));
    rec_free(a);
    a = mock(ASK("mock-empty", ""), "");
    ck_assert(a->r.error == CALL_OK && a->status == 200 && a->datas == 0);
    rec_free(a);
    a = mock(ASK("mock-garbage", ""), "");
    ck_assert(a->status == 200 && json_scan(buf_str(&a->body), NULL, NULL, NULL, NULL) != 0);
    rec_free(a);
    a = mock(ASK("mock-delay-1500ms", ""), " ;; = ; nonsense=1; pace");
    ck_assert(a->r.error == CALL_TIMEOUT_FIRST_BYTE);
    rec_free(a);
}
END_TEST

#define TOOLS                                                                                                \
    ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":"    \
    "\"object\","                                                                                            \
    "\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},\"unit\":{\"enum\":["    \
    "\"C\",\"F\"]},"                                                                                         \
    "\"x\":{\"type\":\"string\"}},\"required\":[\"city\",\"days\",\"unit\"]}}},"                             \
    "{\"type\":\"function\",\"function\":{\"name\":\"get\"}}]"

START_TEST(mock_tools) {
    use_mock();
    struct rec *a = mock(ASK("mock", TOOLS), "");
    ck_assert(!has(a, "tool_calls"));
    rec_free(a);
    a = mock(ASK("mock", TOOLS ",\"tool_choice\":\"required\""), "");
    ck_assert(has(a, "\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\":\\\"text\\\",\\\"days\\\":1,"
                     "\\\"unit\\\":\\\"C\\\"}\""));
    ck_assert(has(a, "\"finish_reason\":\"tool_calls\"") && has(a, "\"content\":null") &&
              count(a, "call_mock") == 1);
    rec_free(a);
    a = mock(ASK("mock", TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"get\"}}"),
             "");
    ck_assert(has(a, "\"name\":\"get\",\"arguments\":\"{}\""));
    rec_free(a);
#define CALL_BOTH                                                                                            \
    "{\"model\":\"mock\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","  \
    "\"text\":"                                                                                              \
    "\"please call get_weather and call get.\"}]}"
    a = mock(CALL_BOTH "]" TOOLS "}", "");
    ck_assert(has(a, "\"index\":1,\"id\":\"call_mock") &&
              has(a, "\"name\":\"get_weather\",\"arguments\":\"\""));
    ck_assert_int_eq(count(a, "data: "), 1 + 6 + 1 + 1);
    rec_free(a);
    a = mock(CALL_BOTH ",{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"sunny\"}]" TOOLS "}", "");
    ck_assert(!has(a, "tool_calls") && has(a, " sunny"));
    rec_free(a);
}
END_TEST

START_TEST(mock_cancel_and_stop) {
    use_mock();
    struct call_spec s = spec_of(ASK("mock-slow", STREAM));
    for (int how = 0; how < 4; how++) {
        struct rec *r = rec_new();
        r->cancel_head = how == 0;
        r->cancel_data = how == 1;
        r->stop_data = how == 2;
        r->stop_head = how == 3;
        begin(r, &s);
        while (multi_calls(multi))
            loop_turn(loop, true);
        ck_assert_int_eq(r->dones, how >= 2);
        if (how >= 2)
            ck_assert_int_eq(r->r.error, CALL_STOPPED);
        rec_free(r);
    }
}
END_TEST

TCase *case_mock(void) {
    TCase *t = tcase_create("mock");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, mock_answers);
    tcase_add_test(t, mock_streams);
    tcase_add_test(t, mock_errors);
    tcase_add_test(t, mock_tools);
    tcase_add_test(t, mock_cancel_and_stop);
    return t;
}
