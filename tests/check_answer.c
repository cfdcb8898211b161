/* Answers of HTTP/1.1 as plain.c reads them, cut in every way, to a sink that may be full. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "../src/upstream/answer.h"
#include <check.h>
#include <stdlib.h>

#define OK_HEAD "HTTP/1.1 200 OK\r\n"

struct seen {
    int status, heads;
    struct buf body;
    bool hesitates, full;
    size_t stop_after; /* 0: never */
};

static enum flow on_head(void *arg, int status, const struct call_header *headers, size_t n) {
    struct seen *s = arg;
    (void)headers, (void)n;
    s->heads++;
    s->status = status;
    return FLOW_OK;
}

static enum flow on_data(void *arg, const char *p, size_t n) {
    struct seen *s = arg;
    ck_assert_int_eq(s->heads, 1);
    s->full = s->hesitates && !s->full;
    if (s->full)
        return FLOW_FULL;
    buf_add(&s->body, p, n);
    return s->stop_after && buf_len(&s->body) >= s->stop_after ? FLOW_STOP : FLOW_OK;
}

static const struct answer_sink sink = {on_head, on_data};

/* All of `in` in pieces of `step`, and the end of the connection when it wants more. */
static enum answer_state feed(struct answer *a, struct str in, size_t step) {
    enum answer_state r = ANSWER_MORE;
    for (size_t n; r == ANSWER_MORE && in.n > 0; in = str_skip(in, n)) {
        n = step < in.n ? step : in.n;
        r = answer_feed(a, in.p, n);
        while (r == ANSWER_FULL)
            r = answer_go_on(a);
    }
    return r == ANSWER_MORE ? answer_eof(a) : r;
}

struct row {
    const char *in, *body; /* body NULL: it is refused */
    int status;
    enum call_error error;
    bool keeps, bodiless;
};

static const struct row rows[] = {
    {OK_HEAD "Content-Length: 2\r\n\r\n{}", "{}", 200, CALL_OK, true, false},
    {OK_HEAD "Content-Length: 2, 2\r\nContent-Length: 2\r\n\r\n{}", "{}", 200, CALL_OK, true, false},
    {OK_HEAD "Content-Length: 0\r\n\r\n", "", 200, CALL_OK, true, false},
    {OK_HEAD "content-length: 2\r\nConnection: x, Close\r\n\r\n{}", "{}", 200, CALL_OK, false, false},
    {OK_HEAD "\r\nto the end", "to the end", 200, CALL_OK, false, false},
    {OK_HEAD "Transfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "{}", 200, CALL_OK, true, false},
    {OK_HEAD "Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "{}", 200,
     CALL_OK, false, false},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2  \r\n{}\r\n0 ;a=b\r\n\r\n", "{}", 200, CALL_OK, true,
     false},
    {OK_HEAD "Transfer-Encoding: identity, chunked\r\n\r\n2\n{}\n0\nX-A : b\n\n", "{}", 200, CALL_OK, true,
     false},
    {OK_HEAD "Content-Encoding: none\r\nContent-Length: 2\r\n\r\n{}", "{}", 200, CALL_OK, true, false},
    {OK_HEAD "Content-Encoding: br\r\nContent-Length: 0\r\n\r\n", "", 200, CALL_OK, true, false},
    {OK_HEAD "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n\r\n{}", NULL, 0, CALL_PROTOCOL, false,
     false},
    {OK_HEAD "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", "{}", 200, CALL_OK, true, false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", "{}", 200, CALL_OK, false, false},
    {"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n{}", "{}", 200, CALL_OK, true,
     false},
    {"HTTP/1.1 200\nContent-Length: 2\n\n{}", "{}", 200, CALL_OK, true, false},
    {"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "{}", 200, CALL_OK, true, false},
    {"HTTP/1.1 100 Continue\r\nContent-Length: 7\r\n\r\n" OK_HEAD "Content-Length: 2\r\n\r\n{}", "{}", 200,
     CALL_OK, true, false},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "", 204, CALL_OK, true, false},
    {"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "", 304, CALL_OK, true, false},
    {OK_HEAD "Content-Length: 500\r\n\r\n", "", 200, CALL_OK, true, true},
    {OK_HEAD "Content-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", "{}", 200, CALL_OK, true, false},
    {OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", "", 200, CALL_OK, true, false},
    {OK_HEAD "Content-Length: 3\r\n\r\n{}", NULL, 200, CALL_RESET, false, false},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", NULL, 200, CALL_RESET, false, false},
    {OK_HEAD "Content-Len", NULL, 0, CALL_RESET, false, false},
    {"", NULL, 0, CALL_RESET, false, false},
    {OK_HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n", NULL, 0, CALL_PROTOCOL, false, false},
    {OK_HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", NULL, 0, CALL_PROTOCOL,
     false, false},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n", NULL, 200, CALL_PROTOCOL, false, false},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}", NULL, 200, CALL_PROTOCOL, false,
     false},
    {OK_HEAD "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", NULL, 0, CALL_PROTOCOL, false, false},
    {OK_HEAD "Content-Length: -2\r\n\r\n{}", NULL, 0, CALL_PROTOCOL, false, false},
    {OK_HEAD "Content-Length: 99999999999999999999\r\n\r\n{}", NULL, 0, CALL_PROTOCOL, false, false},
    {OK_HEAD "Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}", NULL, 0, CALL_PROTOCOL, false, false},
    {OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\nnot gzip'ed!", NULL, 200, CALL_PROTOCOL,
     false, false},
    {"HTTP/1.1 101 Switching Protocols\r\n\r\n", NULL, 0, CALL_PROTOCOL, false, false},
    {"HTTP/2 200\r\n\r\n", NULL, 0, CALL_PROTOCOL, false, false},
    {"SSH-2.0-x", NULL, 0, CALL_PROTOCOL, false, false},
    {"HTTP/1.1 20 OK\r\n\r\n", NULL, 0, CALL_PROTOCOL, false, false},
};

START_TEST(answers) {
    const struct row *t = &rows[_i];
    for (size_t step = 1; step <= 64; step++) {
        struct seen s = {.hesitates = step % 2 == 0};
        struct answer a;
        answer_init(&a, &sink, &s);
        answer_reset(&a, t->bodiless, 4096);
        enum answer_state r = feed(&a, str_of(t->in), step);
        ck_assert_msg(r == (t->body ? ANSWER_WHOLE : ANSWER_BAD) && a.error == t->error, "%s, by %zu: %d, %d",
                      t->in, step, (int)r, (int)a.error);
        ck_assert_int_eq(s.status, t->status);
        if (t->body) {
            ck_assert(str_is(buf_str(&s.body), t->body));
            ck_assert_msg(answer_keeps(&a) == t->keeps, "%s", t->in);
        }
        buf_free(&s.body);
        answer_free(&a);
    }
}
END_TEST

/* What lies behind the answer belongs to no other one: such a connection is not kept. */
START_TEST(more_than_the_answer) {
    struct seen s = {0};
    struct answer a;
    answer_init(&a, &sink, &s);
    answer_reset(&a, false, 4096);
    ck_assert_int_eq(feed(&a, STR(OK_HEAD "Content-Length: 4\r\n\r\nfourGARBAGE"), 100), ANSWER_WHOLE);
    ck_assert(str_is(buf_str(&s.body), "four") && !answer_keeps(&a));
    buf_free(&s.body);
    answer_free(&a);
}
END_TEST

START_TEST(stopped_by_the_sink) {
    struct seen s = {.stop_after = 2};
    struct answer a;
    answer_init(&a, &sink, &s);
    answer_reset(&a, false, 4096);
    ck_assert_int_eq(feed(&a, STR(OK_HEAD "Content-Length: 8\r\n\r\n12345678"), 3), ANSWER_BAD);
    ck_assert_int_eq(a.error, CALL_STOPPED);
    buf_free(&s.body);
    answer_free(&a);
}
END_TEST

#ifdef PENSTOCK_ZLIB
#include <zlib.h>

static void gzip(struct buf *out, struct str text) {
    z_stream z = {0};
    ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    size_t most = deflateBound(&z, text.n);
    z.next_in = (Bytef *)(uintptr_t)text.p;
    z.avail_in = (uInt)text.n;
    z.next_out = (Bytef *)buf_room(out, most);
    z.avail_out = (uInt)most;
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_commit(out, most - z.avail_out);
    deflateEnd(&z);
}

/* In two members; cut: bytes that are missing at the end. */
static enum answer_state inflated(struct str text, size_t step, size_t cut, bool hesitates, struct seen *s) {
    struct buf in, packed;
    struct answer a;
    buf_init(&in, 0);
    buf_init(&packed, 0);
    *s = (struct seen){.hesitates = hesitates};
    gzip(&packed, str_make(text.p, text.n / 3));
    gzip(&packed, str_skip(text, text.n / 3));
    buf_printf(&in, OK_HEAD "Content-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n", buf_len(&packed) - cut);
    buf_add(&in, buf_at(&packed), buf_len(&packed) - cut);
    answer_init(&a, &sink, s);
    answer_reset(&a, false, 4096);
    enum answer_state r = feed(&a, buf_str(&in), step);
    ck_assert(r != ANSWER_BAD || a.error == CALL_RESET);
    answer_free(&a);
    buf_free(&in);
    buf_free(&packed);
    return r;
}

START_TEST(compressed) {
    struct seen s;
    struct buf text;
    buf_init(&text, 0);
    for (int i = 0; i < 20000; i++)
        buf_printf(&text, "%d ", i * i);
    for (size_t step = 1; step < 100000; step *= 7) {
        ck_assert_int_eq(inflated(buf_str(&text), step, 0, step % 2 == 0, &s), ANSWER_WHOLE);
        ck_assert(str_eq(buf_str(&s.body), buf_str(&text)));
        buf_free(&s.body);
        ck_assert_int_eq(inflated(buf_str(&text), step, 3, true, &s),
                         ANSWER_BAD); /* its checksum is not all there */
        buf_free(&s.body);
    }
    buf_free(&text);
}
END_TEST
#endif

static Suite *suite(void) {
    Suite *s = suite_create("answer");
    TCase *t = tcase_create("answer");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, answers, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(t, more_than_the_answer);
    tcase_add_test(t, stopped_by_the_sink);
#ifdef PENSTOCK_ZLIB
    tcase_add_test(t, compressed);
#endif
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
