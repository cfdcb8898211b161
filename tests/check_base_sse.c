/* Server-sent events. Every case runs whole, byte by byte and cut in two at every place: the events and the
 * bytes they are made of must be the same each time. */
#include "base/sse.h"
#include "base_cases.h"
#include <stdlib.h>

struct seen {
    struct buf events, raws;
    int stop_after;
};

static bool see(void *arg, const struct sse_event *ev) {
    struct seen *s = arg;
    if (ev->comment) {
        ck_assert(ev->name.n == 0 && ev->data.n == 0);
        BUF_ADD(&s->events, "#");
    } else {
        buf_printf(&s->events, "<" STR_FMT "|" STR_FMT ">", STR_ARG(ev->name), STR_ARG(ev->data));
    }
    buf_adds(&s->raws, ev->raw);
    return --s->stop_after != 0;
}

/* Pushes n bytes from memory of just that size, so that a sanitizer sees one too many. */
static int push(struct sse *s, const char *p, size_t n, struct seen *seen) {
    char *exact = malloc(n ? n : 1);
    memcpy(exact, p, n);
    int rc = sse_push(s, exact, n, see, seen);
    free(exact);
    return rc;
}

static int feed(struct str in, size_t first, size_t step, size_t max, struct seen *seen) {
    struct sse s;
    int rc = 0;
    buf_init(&seen->events, 0);
    buf_init(&seen->raws, 0);
    sse_init(&s, max);
    for (size_t at = 0, n = first; rc == 0 && at < in.n; at += n, n = step)
        rc = push(&s, in.p + at, n < in.n - at ? n : in.n - at, seen);
    if (rc == 0)
        rc = sse_finish(&s, see, seen);
    if (rc == 0)
        ck_assert_uint_eq(sse_pending(&s), 0);
    sse_free(&s);
    return rc;
}

static void ck_feed(struct str in, size_t first, size_t step, const char *want) {
    struct seen seen = {.stop_after = 0};
    ck_assert_int_eq(feed(in, first, step, 0, &seen), 0);
    ck_str_is(buf_str(&seen.events), want);
    ck_assert(str_eq(buf_str(&seen.raws), in));
    buf_free(&seen.events);
    buf_free(&seen.raws);
}

static const struct {
    const char *in, *want;
} cases[] = {
    {"", ""},
    {"data: a\n\n", "<|a>"},
    {"data:a\n\ndata: b\n\n", "<|a><|b>"},
    {"data:  a\n\n", "<| a>"},
    {"data: a\r\n\r\n", "<|a>"},
    {"data: a\r\rdata: b\r\r", "<|a><|b>"},
    {"data: a\r\n\rdata: b\n\r\n", "<|a><|b>"},
    {"data: a\n\r\ndata: b\r\n\n", "<|a><|b>"},
    {"event: ping\ndata: {\"a\": 1}\n\n", "<ping|{\"a\": 1}>"},
    {"data: 1\nevent:x\r\ndata: 2\rdata:3\n\n", "<x|1\n2\n3>"},
    {"data\n\n", "<|>"},
    {"data\ndata\n\n", "<|\n>"},
    {"data:\ndata: \ndata:  \n\n", "<|\n\n >"},
    {"event: only\n\n", "<only|>"},
    {"event\n\n", "<|>"},
    {": comment\n\n", "#"},
    {": a\n: b\r\n\r\ndata: x\n\n", "#<|x>"},
    {"id: 7\nretry: 10\n\n", "#"},
    {": c\nid: 1\ndata: x\nother: y\n\n", "<|x>"},
    {"dataset: x\neventful: y\n data: z\nDATA: q\n\n", "#"},
    {"\n\n\ndata: a\n\n\n", "###<|a>#"},
    {"\r\n\r\ndata: a\r\n\r\n", "##<|a>"},
    {"\r\r\n\n", "###"},
    {"\xEF\xBB\xBF"
     "data: a\n\n\xEF\xBB\xBF"
     "data: b\n\n",
     "<|a>#"},
    {"data: [DONE]", "<|[DONE]>"},
    {"data: [DONE]\n", "<|[DONE]>"},
    {"data: [DONE]\r", "<|[DONE]>"},
    {"data: a\n\r", "<|a>"},
    {"data: \xE6\x97\xA5\xE6\x9C\xAC: x: y\n\n", "<|\xE6\x97\xA5\xE6\x9C\xAC: x: y>"},
    {"data: 0123456789abcdef0123456789abcdef\n\ndata: 0123456789abcdef0123456789abcdefX\r\n\r\n",
     "<|0123456789abcdef0123456789abcdef><|0123456789abcdef0123456789abcdefX>"},
};

START_TEST(every_cut) {
    struct str in = str_of(cases[_i].in);
    ck_feed(in, in.n + 1, 1, cases[_i].want);
    ck_feed(in, 1, 1, cases[_i].want);
    ck_feed(in, 2, 2, cases[_i].want);
    ck_feed(in, 3, 3, cases[_i].want);
    for (size_t cut = 1; cut < in.n; cut++)
        ck_feed(in, cut, in.n, cases[_i].want);
}
END_TEST

START_TEST(nul_bytes_are_data) {
    struct seen seen = {.stop_after = 0};
    ck_assert_int_eq(feed(STR("data: a\0b\n\n"), 1, 1, 0, &seen), 0);
    ck_assert(str_eq(buf_str(&seen.raws), STR("data: a\0b\n\n")));
    buf_free(&seen.events);
    buf_free(&seen.raws);
}
END_TEST

START_TEST(a_frame_is_bounded) {
    struct str fits = STR("data: 45\n\ndata: 45\n\n"), large = STR("data: 45\n\ndata: 456\n\n");
    for (size_t step = 1; step <= large.n; step++) {
        struct seen a = {.stop_after = 0}, b = {.stop_after = 0};
        ck_assert_int_eq(feed(fits, step, step, 10, &a), 0);
        ck_assert_int_eq(feed(large, step, step, 10, &b), -1);
        ck_str_is(buf_str(&b.events), "<|45>");
        buf_free(&a.events);
        buf_free(&a.raws);
        buf_free(&b.events);
        buf_free(&b.raws);
    }
    struct sse s;
    struct seen seen = {.stop_after = 0};
    sse_init(&s, 10);
    ck_assert_int_eq(push(&s, large.p, large.n, &seen), -1);
    ck_assert_int_eq(push(&s, "\n\n", 2, &seen), -1); /* it sticks */
    ck_assert_int_eq(sse_finish(&s, see, &seen), -1);
    sse_free(&s);
    buf_free(&seen.events);
    buf_free(&seen.raws);
}
END_TEST

START_TEST(stops_when_told) {
    struct str in = STR("data: 1\n\ndata: 2\n\ndata: 3\n\n");
    for (size_t step = 1; step <= in.n; step++) {
        struct seen seen = {.stop_after = 2};
        ck_assert_int_eq(feed(in, step, step, 0, &seen), -2);
        ck_str_is(buf_str(&seen.events), "<|1><|2>");
        buf_free(&seen.events);
        buf_free(&seen.raws);
    }
}
END_TEST

static bool where(void *arg, const struct sse_event *ev) {
    *(const char **)arg = ev->data.p;
    return true;
}

START_TEST(whole_frames_are_not_copied) {
    struct sse s;
    static const char in[] = "data: here\n\ndata: par";
    const char *at = NULL;
    sse_init(&s, 0);
    ck_assert_int_eq(sse_push(&s, in, sizeof in - 1, where, &at), 0);
    ck_assert_ptr_eq(at, in + 6);
    ck_assert_uint_eq(sse_pending(&s), 9);
    sse_free(&s);
}
END_TEST

TCase *case_sse(void) {
    TCase *t = tcase_create("sse");
    tcase_add_loop_test(t, every_cut, 0, sizeof cases / sizeof *cases);
    tcase_add_test(t, nul_bytes_are_data);
    tcase_add_test(t, a_frame_is_bounded);
    tcase_add_test(t, stops_when_told);
    tcase_add_test(t, whole_frames_are_not_copied);
    return t;
}
