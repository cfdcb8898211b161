/* The HTTP server room. The parser is fed tables of requests, whole and byte by byte; the connection machine
 * is a real server in a child process that a blocking client talks to over loopback. "check_http serve PORT"
 * is the same server in the foreground, for load tools. */
#include "../src/http/parse.h"
#include "../src/http/text.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/loop.h"
#include "http/server.h"
#include "under_valgrind.h"
#include <arpa/inet.h>
#include <check.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the parser --- */

enum { MAX_HEAD = 1024, MAX_FIELDS = 8 };

struct head_case {
    const char *text;
    size_t n;
    int status; /* 0: legal */
};
#define CASE(status, literal)                                                                                \
    { literal, sizeof(literal) - 1, status }
#define H11 " HTTP/1.1\r\nHost: a\r\n"

static const struct head_case heads[] = {
    CASE(0, "GET /" H11 "\r\n"),
    CASE(0, "\r\nGET /" H11 "\r\n"),
    CASE(0, "GET / HTTP/1.0\r\n\r\n"),
    CASE(0, "POST /a" H11 "Content-Length: 5\r\n\r\n"),
    CASE(0, "POST /a" H11 "content-LENGTH:\t 5 \t\r\n\r\n"),
    CASE(0, "POST /a" H11 "Transfer-Encoding: chunked\r\n\r\n"),
    CASE(0, "POST /a" H11 "Transfer-Encoding: Chunked\r\n\r\n"),
    CASE(0, "GET http://x.example:80/a?b" H11 "\r\n"),
    CASE(0, "GET HTTPS://x.example" H11 "\r\n"),
    CASE(0, "GET http://x.example?q=1" H11 "\r\n"),
    CASE(0, "OPTIONS *" H11 "\r\n"),
    CASE(0, "get /" H11 "\r\n"),
    CASE(0, "GET /" H11 "X: a\tb \xff\x80\r\n\r\n"),
    CASE(0, "GET /" H11 "X:\r\n\r\n"),
    CASE(0, "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    CASE(0, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    CASE(0, "POST /" H11 "Expect: 100-Continue\r\n\r\n"),
    CASE(0, "POST / HTTP/1.0\r\nExpect: miracles\r\n\r\n"),
    CASE(0, "GET /%00%zz\"<>{}|\\^`" H11 "\r\n"),
    /* request line */
    CASE(400, "GET\r\n\r\n"),
    CASE(400, "GET /\r\n\r\n"),
    CASE(400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    CASE(400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET /\x01" H11 "\r\n"),
    CASE(400, "GET /\0" H11 "\r\n"),
    CASE(400, "GET /\x7f" H11 "\r\n"),
    CASE(400, "GET /\xc3\xa4" H11 "\r\n"),
    CASE(400, "GET /#x" H11 "\r\n"),
    CASE(400, "GET a" H11 "\r\n"),
    CASE(400, "GET *" H11 "\r\n"),
    CASE(400, "GET  HTTP/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET ftp://a/" H11 "\r\n"),
    CASE(400, "GET http://" H11 "\r\n"),
    CASE(400, "GET http:///a" H11 "\r\n"),
    CASE(400, "GET http://u@h/a" H11 "\r\n"),
    CASE(400, "G(T /" H11 "\r\n"),
    CASE(400, "\r\n\r\nGET /" H11 "\r\n"),
    CASE(400, "\nGET /" H11 "\r\n"),
    CASE(400, "\x16\x03\x01"),
    CASE(400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/1\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/x.1\r\nHost: a\r\n\r\n"),
    CASE(505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    CASE(505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    CASE(505, "PRI * HTTP/2.0\r\n\r\n"),
    CASE(501, "CONNECT a:443" H11 "\r\n"),
    /* line ends and control bytes */
    CASE(400, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    CASE(400, "GET /" H11 "X: a\rb\r\n\r\n"),
    CASE(400, "GET /" H11 "X: a\r\r\n\r\n"),
    CASE(400, "GET /" H11 "\r\r\n\r\n"),
    CASE(400, "GET /" H11 "X: a\0b\r\n\r\n"),
    CASE(400, "GET /" H11 "X: \x0b\r\n\r\n"),
    CASE(400, "GET /" H11 "X: \x7f\r\n\r\n"),
    /* names */
    CASE(400, "GET /" H11 "X : a\r\n\r\n"),
    CASE(400, "GET /" H11 "Content-Length : 5\r\n\r\n"),
    CASE(400, "GET /" H11 "X: a\r\n folded\r\n\r\n"),
    CASE(400, "GET /" H11 "X: a\r\n\tfolded\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    CASE(400, "GET /" H11 ": a\r\n\r\n"),
    CASE(400, "GET /" H11 "X\r\n\r\n"),
    CASE(400, "GET /" H11 "X(: a\r\n\r\n"),
    CASE(400, "GET /" H11 "X\0: a\r\n\r\n"),
    CASE(400, "GET /" H11 "X\xc3: a\r\n\r\n"),
    /* Host */
    CASE(400, "GET / HTTP/1.1\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    CASE(400, "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    CASE(400, "GET / HTTP/1.1\r\nHost: \xff\r\n\r\n"),
    /* lengths */
    CASE(400, "POST /" H11 "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    CASE(400, "POST /" H11 "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    CASE(400, "POST /" H11 "Content-Length: 5, 5\r\n\r\n"),
    CASE(400, "POST /" H11 "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    CASE(400, "POST /" H11 "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
    CASE(400, "POST /" H11 "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\n"),
    CASE(400, "POST /" H11 "Content-Length: +5\r\n\r\n"),
    CASE(400, "POST /" H11 "Content-Length: -5\r\n\r\n"),
    CASE(400, "POST /" H11 "Content-Length: 5abc\r\n\r\n"),
    CASE(400, "POST /" H11 "Content-Length: 0x5\r\n\r\n"),
    CASE(400, "POST /" H11 "Content-Length: 5 5\r\n\r\n"),
    CASE(400, "POST /" H11 "Content-Length:\r\n\r\n"),
    CASE(400, "POST /" H11 "Content-Length: 18446744073709551617\r\n\r\n"),
    CASE(400, "POST /" H11 "Content-Length: 9223372036854775808\r\n\r\n"),
    CASE(400, "POST /" H11 "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    CASE(400, "POST /" H11 "Transfer-Encoding: \x0b"
              "chunked\r\n\r\n"),
    CASE(400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    CASE(501, "POST /" H11 "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    CASE(501, "POST /" H11 "Transfer-Encoding: chunked, identity\r\n\r\n"),
    CASE(501, "POST /" H11 "Transfer-Encoding: xchunked\r\n\r\n"),
    CASE(501, "POST /" H11 "Transfer-Encoding: \"chunked\"\r\n\r\n"),
    CASE(501, "POST /" H11 "Transfer-Encoding: chunked;q=1\r\n\r\n"),
    CASE(501, "POST /" H11 "Transfer-Encoding:\r\n\r\n"),
    CASE(417, "POST /" H11 "Expect: 200-ok\r\n\r\n"),
    CASE(417, "POST /" H11 "Expect: 100-continue, x\r\n\r\n"),
    CASE(431, "GET /" H11 "A: 1\r\nA: 2\r\nA: 3\r\nA: 4\r\nA: 5\r\nA: 6\r\nA: 7\r\nA: 8\r\n\r\n"),
};

/* Feeds `step` bytes more at a time, as a connection would: what was not used comes again. */
static enum parse feed_head(struct head *h, const char *text, size_t n, size_t step, size_t *used) {
    size_t start = 0, end = 0;
    enum parse r = PARSE_MORE;
    while (r == PARSE_MORE && end < n) {
        end = end + step < n ? end + step : n;
        /* A copy of its own size, so that reading past it is seen. */
        char *copy = malloc(end - start);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, text + start, end - start);
        size_t one;
        r = head_feed(h, copy, end - start, &one);
        free(copy);
        start += one;
    }
    *used = start;
    return r;
}

START_TEST(head_table) {
    const struct head_case *t = &heads[_i];
    static const size_t steps[] = {1, 2, 3, 7, 10000};
    for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
        struct arena *a = arena_new(0);
        struct head h;
        size_t used;
        head_init(&h, a, MAX_HEAD, MAX_FIELDS);
        enum parse r = feed_head(&h, t->text, t->n, steps[s], &used);
        ck_assert_msg(r == (t->status ? PARSE_BAD : PARSE_DONE), "%s: result %d (step %zu)", t->text, (int)r,
                      steps[s]);
        ck_assert_msg(r != PARSE_BAD || h.status == t->status, "%s: %d %s", t->text, h.status, h.why);
        ck_assert(r != PARSE_DONE || used == t->n);
        arena_free(a);
    }
}
END_TEST

static enum parse parse_whole(struct head *h, struct arena *a, struct str text, size_t *used) {
    head_init(h, a, MAX_HEAD, MAX_FIELDS);
    return head_feed(h, text.p, text.n, used);
}

static bool is(struct str s, const char *z) {
    return s.p && str_is(s, z);
}

START_TEST(head_results) {
    struct arena *a = arena_new(0);
    struct head h;
    size_t used;
    struct str text =
        STR("POST /v1/x?a=1&b HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nX-Y:  v w \r\n\r\nbody");
    ck_assert_int_eq(parse_whole(&h, a, text, &used), PARSE_DONE);
    ck_assert_uint_eq(used, text.n - 4);
    ck_assert(h.method == HTTP_POST && is(h.path, "/v1/x") && is(h.query, "a=1&b") &&
              is(h.target, "/v1/x?a=1&b"));
    ck_assert_uint_eq(h.nheaders, 3);
    ck_assert(is(h.headers[2].name, "X-Y") && is(h.headers[2].value, "v w"));
    ck_assert_uint_eq(h.content_length, 12);
    ck_assert(head_persistent(&h));

    ck_assert_int_eq(parse_whole(&h, a, STR("GET http://x?q" H11 "\r\n"), &used), PARSE_DONE);
    ck_assert(is(h.target, "/?q") && is(h.path, "/") && is(h.query, "q"));
    ck_assert_int_eq(parse_whole(&h, a, STR("GET https://x" H11 "\r\n"), &used), PARSE_DONE);
    ck_assert(is(h.target, "/") && is(h.path, "/"));
    ck_assert_int_eq(parse_whole(&h, a, STR("get /" H11 "\r\n"), &used), PARSE_DONE);
    ck_assert(h.method == HTTP_OTHER && is(h.method_name, "get"));
    ck_assert_int_eq(parse_whole(&h, a, STR("OPTIONS *" H11 "\r\n"), &used), PARSE_DONE);
    ck_assert(h.method == HTTP_OPTIONS && is(h.path, "*"));

    ck_assert_int_eq(parse_whole(&h, a, STR("GET /" H11 "Connection: x, Close\r\n\r\n"), &used), PARSE_DONE);
    ck_assert(!head_persistent(&h));
    ck_assert_int_eq(parse_whole(&h, a, STR("GET / HTTP/1.0\r\n\r\n"), &used), PARSE_DONE);
    ck_assert(!head_persistent(&h));
    ck_assert_int_eq(parse_whole(&h, a, STR("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), &used),
                     PARSE_DONE);
    ck_assert(head_persistent(&h));
    arena_free(a);
}
END_TEST

START_TEST(head_bounds) {
    static const size_t steps[] = {1, 5000};
    for (size_t s = 0; s < 2; s++) {
        struct arena *a = arena_new(0);
        struct head h;
        size_t used;
        struct buf b;
        buf_init(&b, 0);
        BUF_ADD(&b, "GET /");
        while (buf_len(&b) < 2000)
            buf_addc(&b, 'a');
        head_init(&h, a, MAX_HEAD, MAX_FIELDS);
        ck_assert_int_eq(feed_head(&h, buf_at(&b), buf_len(&b), steps[s], &used), PARSE_BAD);
        ck_assert_int_eq(h.status, 414);
        buf_clear(&b);
        BUF_ADD(&b, "GET /" H11 "X: ");
        while (buf_len(&b) < 2000)
            buf_addc(&b, 'a');
        head_init(&h, a, MAX_HEAD, MAX_FIELDS);
        ck_assert_int_eq(feed_head(&h, buf_at(&b), buf_len(&b), steps[s], &used), PARSE_BAD);
        ck_assert_int_eq(h.status, 431);
        /* exactly the bound is legal */
        buf_clear(&b);
        BUF_ADD(&b, "GET /" H11 "X: ");
        while (buf_len(&b) < MAX_HEAD - 4)
            buf_addc(&b, 'a');
        BUF_ADD(&b, "\r\n\r\n");
        head_init(&h, a, MAX_HEAD, MAX_FIELDS);
        ck_assert_int_eq(feed_head(&h, buf_at(&b), buf_len(&b), steps[s], &used), PARSE_DONE);
        buf_free(&b);
        arena_free(a);
    }
}
END_TEST

struct chunk_case {
    const char *text;
    size_t n;
    int status;
    const char *body;
    size_t left; /* bytes behind the end */
};
#define CHUNKS(status, body, left, literal)                                                                  \
    { literal, sizeof(literal) - 1, status, body, left }
#define D15 "00000000000000"

static const struct chunk_case chunk_cases[] = {
    CHUNKS(0, "", 0, "0\r\n\r\n"),
    CHUNKS(0, "hello", 0, "5\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(0, "hello world", 3, "5\r\nhello\r\n6;a=\"b c\"\r\n world\r\n000\r\n\r\nGET"),
    CHUNKS(0, "0123456789abcdef", 0, "10\r\n0123456789abcdef\r\n0\r\nX-T: v\r\nY:\r\n\r\n"),
    CHUNKS(0, "0123456789", 0, "A\r\n0123456789\r\n0\r\n\r\n"),
    CHUNKS(0, "hello", 0, D15 "5\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, D15 "05\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "0x5\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "+5\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "-5\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, " 5\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "5 \r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "5 ;a\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "\r\n5\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, ";a\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "5\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "5\r\nhello\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "5\r\nhello!\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "5\r\nhello\r\n0\n\r\n"),
    CHUNKS(400, NULL, 0, "5\r\nhello\r\n0\r\n\n"),
    CHUNKS(400, NULL, 0, "5;a\nb\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "5;a\0\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    CHUNKS(400, NULL, 0, "0\r\nX : v\r\n\r\n"),
    CHUNKS(400, NULL, 0, "0\r\n: v\r\n\r\n"),
    CHUNKS(400, NULL, 0, "0\r\nX: v\r\n fold\r\n\r\n"),
    CHUNKS(400, NULL, 0, "0\r\nX: v\nY: w\r\n\r\n"),
    CHUNKS(400, NULL, 0, "0\r\nX: \x01\r\n\r\n"),
    CHUNKS(400, NULL, 0, "0\r\nX\r\n\r\n"),
    CHUNKS(400, NULL, 0, "g\r\n"),
    CHUNKS(431, NULL, 0, "0\r\nX: 0123456789012345678901234567890123456789\r\n\r\n"),
};

static enum parse feed_chunks(struct chunks *c, const struct chunk_case *t, size_t step, struct buf *out,
                              size_t *at) {
    enum parse r = PARSE_MORE;
    *at = 0;
    size_t end = 0;
    while (r == PARSE_MORE && (end < t->n || *at < end)) {
        if (*at == end)
            end = end + step < t->n ? end + step : t->n;
        size_t used;
        struct str data;
        r = chunks_feed(c, t->text + *at, end - *at, &used, &data);
        buf_adds(out, data);
        *at += used;
    }
    return r;
}

START_TEST(chunk_table) {
    const struct chunk_case *t = &chunk_cases[_i];
    static const size_t steps[] = {1, 2, 5, 1000};
    for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
        struct chunks c;
        struct buf out;
        size_t at;
        buf_init(&out, 0);
        chunks_init(&c, 32);
        enum parse r = feed_chunks(&c, t, steps[s], &out, &at);
        ck_assert_msg(r == (t->status ? PARSE_BAD : PARSE_DONE), "%s: %d", t->text, (int)r);
        if (t->status) {
            ck_assert_int_eq(c.status, t->status);
        } else {
            ck_assert(str_is(buf_str(&out), t->body));
            ck_assert_uint_eq(t->n - at, t->left);
        }
        buf_free(&out);
    }
}
END_TEST

START_TEST(chunk_extension_bound) {
    struct buf b;
    for (size_t len = CHUNK_MAX_EXTENSION; len <= CHUNK_MAX_EXTENSION + 1; len++) {
        buf_init(&b, 0);
        BUF_ADD(&b, "1;");
        for (size_t i = 0; i < len; i++)
            buf_addc(&b, 'x');
        BUF_ADD(&b, "\r\na\r\n0\r\n\r\n");
        struct chunk_case t = {buf_at(&b), buf_len(&b), 0, "a", 0};
        struct chunks c;
        struct buf out;
        size_t at;
        buf_init(&out, 0);
        chunks_init(&c, 32);
        ck_assert_int_eq(feed_chunks(&c, &t, 10000, &out, &at),
                         len > CHUNK_MAX_EXTENSION ? PARSE_BAD : PARSE_DONE);
        buf_free(&out);
        buf_free(&b);
    }
}
END_TEST

START_TEST(small_texts) {
    struct arena *a = arena_new(0);
    char date[HTTP_DATE_BYTES];
    http_date(date, 784111777);
    ck_assert_str_eq(date, "Sun, 06 Nov 1994 08:49:37 GMT");
    ck_assert_str_eq(http_reason(404), "Not Found");
    ck_assert_ptr_nonnull(http_reason(999));
    ck_assert(is(http_query(a, STR("a=1&b=x%20y+z&c"), "b"), "x y z"));
    ck_assert(is(http_query(a, STR("a=1&b=x%20y+z&c"), "c"), ""));
    ck_assert(is(http_query(a, STR("a%5b%5D=1"), "a[]"), "1"));
    ck_assert_ptr_null(http_query(a, STR("a=1&b"), "x").p);
    ck_assert_ptr_null(http_query(a, STR(""), "x").p);
    ck_assert_ptr_null(http_query(a, STR("a=%4"), "a").p);
    ck_assert(is(http_unescape(a, STR("a%2Fb+c")), "a/b+c"));
    ck_assert(is(http_unescape(a, STR("")), ""));
    ck_assert_ptr_null(http_unescape(a, STR("%00")).p);
    ck_assert_ptr_null(http_unescape(a, STR("%g0")).p);
    ck_assert_ptr_null(http_unescape(a, STR("%")).p);
    arena_free(a);
}
END_TEST

/* --- a server in a child --- */

static struct http_limits quick(void) {
    return (struct http_limits){
        .max_head = 8192,
        .max_headers = 50,
        .header_timeout_ms = eased(300),
        .idle_timeout_ms = eased(300),
        .body_rate = 1000,
        .body_grace_ms = eased(500),
        .write_timeout_ms = eased(700),
        .max_connections = 0,
    };
}

struct world {
    struct loop *loop;
    struct http_server *server;
    unsigned gone, errors;
};
static struct world world; /* of the child */

/* A handler's own state for a request that is not answered at once. */
struct job {
    struct timer timer;
    struct exchange *x;
    size_t left;
    size_t piece;
};

static void job_free(void *arg) {
    struct job *j = arg;
    timer_free(&j->timer);
}

static void job_gone(struct exchange *x) {
    (void)x;
    world.gone++;
}

static struct job *job_new(struct exchange *x, void (*fn)(void *)) {
    struct job *j = arena_alloc(x->arena, sizeof *j);
    j->x = x;
    timer_init(&j->timer, world.loop, fn, j);
    arena_cleanup(x->arena, job_free, j);
    x->owner = j;
    x->on_gone = job_gone;
    return j;
}

static void reply_text(struct exchange *x, int status, struct str text) {
    static const struct http_header type = {{"Content-Type", 12}, {"text/plain", 10}};
    exchange_reply(x, status, &type, 1, text);
}

static void body_here(struct exchange *x, int status) {
    if (status)
        reply_text(x, status, STR("refused"));
    else
        reply_text(x, 200, x->body);
}

static void reply_late(void *arg) {
    struct job *j = arg;
    reply_text(j->x, 200, STR("late"));
}

static void read_late(void *arg) {
    struct job *j = arg;
    exchange_read_body(j->x, 1 << 20, body_here);
}

static const char zeros[65536];

static void stream_on(struct exchange *x) {
    struct job *j = x->owner;
    while (j->left) {
        size_t n = j->left < j->piece ? j->left : j->piece;
        j->left -= n;
        enum flow f = exchange_write(x, zeros, n);
        if (f == FLOW_STOP)
            return;
        if (f == FLOW_FULL && j->left)
            return; /* on_drain */
    }
    exchange_end(x);
}

static void drip(void *arg) {
    struct job *j = arg;
    if (exchange_write(j->x, "tick", 4) != FLOW_STOP)
        timer_set(&j->timer, 20);
}

static void go_on_alone(struct exchange *x) {
    struct job *j = x->owner;
    if (++world.gone < 100)
        exchange_keep(x);
    timer_set(&j->timer, 200);
}

static void end_alone(void *arg) {
    struct job *j = arg;
    struct exchange *x = j->x;
    switch (j->piece) {
    case 0:
        reply_text(x, 200, STR("nobody hears"));
        return;
    case 1:
        exchange_begin(x, 200, NULL, 0, -1);
        break;
    case 2:
        exchange_abort(x);
        return;
    default:
        break; /* begun */
    }
    MUST(exchange_write(x, zeros, sizeof zeros) == FLOW_OK);
    exchange_end(x);
}

static size_t number(struct exchange *x, const char *name, size_t otherwise) {
    uint64_t v;
    struct str s = http_query(x->arena, x->query, name);
    return s.p && str_u64(s, &v) ? (size_t)v : otherwise;
}

static void stats(struct exchange *x) {
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    reply_text(x, 200,
               arena_printf(x->arena, "gone=%u conns=%u exchanges=%u accepted=%llu cpu_ms=%ld", world.gone,
                            http_server_connections(world.server), http_server_exchanges(world.server),
                            (unsigned long long)http_server_accepted(world.server),
                            (long)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000 +
                                (long)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1000));
}

static void info(struct exchange *x) {
    struct str v = exchange_header(x, "x-test");
    reply_text(x, 200,
               arena_printf(x->arena, STR_FMT "|" STR_FMT "|" STR_FMT "|" STR_FMT "|" STR_FMT "|%d|%lld|%u",
                            STR_ARG(x->method_name), STR_ARG(x->path), STR_ARG(x->query), STR_ARG(v),
                            STR_ARG(x->peer), x->peer_loopback, (long long)x->content_length, x->surfaces));
}

static void odd_headers(struct exchange *x) {
    const struct http_header h[] = {
        {STR("X-Good"), STR("yes")}, {STR("X-Bad"), STR("a\r\nX-Injected: 1")},
        {STR("X Bad"), STR("b")},    {STR("Content-Length"), STR("999")},
        {STR("X-Nul"), STR("a\0b")}, {STR("Transfer-Encoding"), STR("chunked")},
        {STR("X-Empty"), STR_NONE},
    };
    exchange_reply(x, 200, h, sizeof h / sizeof h[0], STR("odd"));
}

static void huge(struct exchange *x) {
    size_t n = number(x, "n", 1);
    char *body = mem_alloc(n);
    reply_text(x, 200, str_make(body, n));
    mem_free(body);
}

static void handle_stream(struct exchange *x, bool declared) {
    struct job *j = job_new(x, reply_late);
    j->left = number(x, "n", 1000);
    j->piece = number(x, "piece", 100);
    MUST(j->piece <= sizeof zeros);
    x->on_drain = stream_on;
    exchange_begin(x, 200, NULL, 0, declared ? (int64_t)j->left : -1);
    stream_on(x);
}

static void begin_and(struct exchange *x, int64_t length, bool abort_it) {
    exchange_begin(x, 200, NULL, 0, length);
    exchange_write(x, "hello", 5);
    if (abort_it)
        exchange_abort(x);
    else
        exchange_end(x);
}

static void request(struct exchange *x, void *arg) {
    (void)arg;
    struct str p = x->path;
    if (str_is(p, "/"))
        reply_text(x, 200, STR("ok"));
    else if (str_is(p, "/echo"))
        exchange_read_body(x, number(x, "max", 1 << 20), body_here);
    else if (str_is(p, "/info"))
        info(x);
    else if (str_is(p, "/stats"))
        stats(x);
    else if (str_is(p, "/hang"))
        job_new(x, reply_late);
    else if (str_is(p, "/alone")) {
        struct job *j = job_new(x, end_alone);
        j->piece = number(x, "how", 0);
        x->on_gone = go_on_alone;
        if (j->piece == 3)
            exchange_begin(x, 200, NULL, 0, -1);
    } else if (str_is(p, "/late"))
        timer_set(&job_new(x, reply_late)->timer, number(x, "ms", 100));
    else if (str_is(p, "/readlate"))
        timer_set(&job_new(x, read_late)->timer, number(x, "ms", 100));
    else if (str_is(p, "/huge"))
        huge(x);
    else if (str_is(p, "/stream"))
        handle_stream(x, false);
    else if (str_is(p, "/declared"))
        handle_stream(x, true);
    else if (str_is(p, "/drip")) {
        exchange_begin(x, 200, NULL, 0, -1);
        timer_set(&job_new(x, drip)->timer, 20);
    } else if (str_is(p, "/open")) { /* a stream that says nothing further */
        job_new(x, reply_late);
        exchange_begin(x, 200, NULL, 0, -1);
    } else if (str_is(p, "/abort"))
        begin_and(x, -1, true);
    else if (str_is(p, "/short"))
        begin_and(x, 10, false);
    else if (str_is(p, "/long"))
        begin_and(x, 3, false);
    else if (str_is(p, "/cut"))
        exchange_abort(x);
    else if (str_is(p, "/odd"))
        odd_headers(x);
    else if (str_is(p, "/none"))
        reply_text(x, 204, STR("not to be seen"));
    else if (str_is(p, "/closing")) {
        exchange_close_after(x);
        reply_text(x, 200, STR("bye"));
    } else
        reply_text(x, 404, STR("no"));
}

static struct http_header error_body(struct buf *out, int status, const char *why, struct str path,
                                     void *arg) {
    (void)arg;
    world.errors++;
    buf_printf(out, "{\"error\":{\"code\":%d,\"message\":\"%s\",\"path\":%zu}}", status, why, path.n);
    return (struct http_header){STR("X-Error"), STR("here")};
}

static void stop(void *arg) {
    (void)arg;
    loop_stop(world.loop);
}

static void on_term(evutil_socket_t sig, short what, void *arg) {
    (void)sig;
    (void)what;
    stop(arg);
}

static void on_usr1(evutil_socket_t sig, short what, void *arg) {
    (void)sig;
    (void)what;
    http_server_drain(world.server, stop, arg);
}

static int listen_on(uint16_t *port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t n = sizeof a;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        die("no listening socket");
    *port = ntohs(a.sin_port);
    return fd;
}

/* They must not come before the handlers are there. */
static void our_signals(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    if (sigprocmask(how, &set, NULL) != 0)
        die("sigprocmask");
}

static int serve(int fd, const struct http_limits *lim, struct http_tls *tls) {
    static const struct http_handler handler = {.request = request, .error_body = error_body};
    world.loop = loop_new();
    world.server = http_server_new(world.loop, lim, &handler);
    http_server_listen(world.server, fd, tls, 5);
    struct event *term = evsignal_new(loop_base(world.loop), SIGTERM, on_term, NULL);
    struct event *usr1 = evsignal_new(loop_base(world.loop), SIGUSR1, on_usr1, NULL);
    if (!term || !usr1 || event_add(term, NULL) != 0 || event_add(usr1, NULL) != 0)
        die("no signals");
    our_signals(SIG_UNBLOCK);
    loop_run(world.loop);
    event_free(term);
    event_free(usr1);
    http_server_free(world.server);
    loop_free(world.loop);
    http_tls_free(tls);
    close(fd);
    return 0;
}

static uint16_t port;
static pid_t child;

static void start_on(int fd, const struct http_limits *lim, struct http_tls *tls, rlim_t files) {
    our_signals(SIG_BLOCK);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct rlimit r = {files, files};
        if (files && setrlimit(RLIMIT_NOFILE, &r) != 0)
            _exit(3);
        exit(serve(fd, lim, tls));
    }
    our_signals(SIG_UNBLOCK);
    signal(SIGPIPE, SIG_IGN); /* of the client only: the server must see to itself */
    close(fd);
    http_tls_free(tls);
}

static void start_with(const struct http_limits *lim, struct http_tls *tls, rlim_t files) {
    port = 0;
    start_on(listen_on(&port), lim, tls, files);
}

static void start(void) {
    struct http_limits lim = quick();
    start_with(&lim, NULL, 0);
}

/* The child must end by itself and cleanly: leaks are its exit status. */
static void wait_child(void) {
    int status = -1;
    for (uint64_t since = clock_ms(); clock_ms() - since < eased(10000);) {
        pid_t r = waitpid(child, &status, WNOHANG);
        ck_assert_int_ge(r, 0);
        if (r == child) {
            ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "server ended with %d", status);
            return;
        }
        poll(NULL, 0, 10);
    }
    ck_abort_msg("server does not end");
}

static void finish(void) {
    kill(child, SIGTERM);
    wait_child();
}

/* --- the client --- */

static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval tv = {40, 0};
    int on = 1;
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv), 0);
    ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const char *p, size_t n) {
    while (n) {
        ssize_t r = send(fd, p, n, MSG_NOSIGNAL);
        if (r <= 0)
            return; /* the server may have closed: its answer tells */
        p += r;
        n -= (size_t)r;
    }
}
#define SAY(fd, literal) say((fd), (literal), sizeof(literal) - 1)

static char got[32 << 20];
static size_t ngot;
static bool was_reset;

/* Reads until the end of the connection. */
static const char *hear(int fd) {
    ngot = 0;
    was_reset = false;
    for (;;) {
        ssize_t r = recv(fd, got + ngot, sizeof got - 1 - ngot, 0);
        if (r < 0)
            was_reset = true;
        if (r <= 0)
            break;
        ngot += (size_t)r;
    }
    got[ngot] = '\0';
    close(fd);
    return got;
}

/* Reads until `text` has come. */
static void hear_until(int fd, const char *text) {
    ngot = 0;
    do {
        ssize_t r = recv(fd, got + ngot, sizeof got - 1 - ngot, 0);
        ck_assert_msg(r > 0, "connection ended before \"%s\": %s", text, got);
        ngot += (size_t)r;
        got[ngot] = '\0';
    } while (!strstr(got, text));
}

static unsigned count(const char *text) {
    unsigned n = 0;
    for (const char *p = got; (p = strstr(p, text)); p++)
        n++;
    return n;
}

static const char *talk(const char *p, size_t n) {
    int fd = dial();
    say(fd, p, n);
    return hear(fd);
}
#define TALK(literal) talk((literal), sizeof(literal) - 1)
#define HAS(text)     ck_assert_msg(strstr(got, text), "no \"%s\" in: %.2000s", text, got)
#define HAS_NOT(text) ck_assert_msg(!strstr(got, text), "\"%s\" in: %.2000s", text, got)
#define STATUS(code)  ck_assert_msg(strncmp(got, "HTTP/1.1 " code " ", 13) == 0, "not " code ": %.2000s", got)

static unsigned stat_of(const char *name) {
    TALK("GET /stats HTTP/1.0\r\n\r\n");
    const char *p = strstr(got, name);
    ck_assert_ptr_nonnull(p);
    return (unsigned)strtoul(p + strlen(name) + 1, NULL, 10);
}

static void await_stat(const char *name, unsigned want) {
    unsigned v = 0;
    for (uint64_t since = clock_ms(); clock_ms() - since < eased(5000);) {
        v = stat_of(name);
        if (v == want)
            return;
        poll(NULL, 0, 5);
    }
    ck_abort_msg("%s is %u, not %u", name, v, want);
}

#define C "Connection: close\r\n"

START_TEST(plain_requests) {
    TALK("GET /" H11 C "\r\n");
    STATUS("200");
    HAS("\r\n\r\nok");
    HAS("Content-Length: 2\r\n");
    HAS("Connection: close\r\n");
    HAS("Date: ");
    TALK("HEAD /" H11 C "\r\n");
    STATUS("200");
    HAS("Content-Length: 2\r\n");
    HAS_NOT("\r\n\r\nok");
    TALK("OPTIONS *" H11 C "\r\n");
    STATUS("404");
    TALK("PATCH /info?a=b" H11 C "x-TEST: v\r\nContent-Length: 0\r\n\r\n");
    HAS("PATCH|/info|a=b|v|127.0.0.1|1|0|5");
    TALK("POST http://other/info" H11 C "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    HAS("POST|/info|||127.0.0.1|1|-1|5");
    TALK("GET /none" H11 C "\r\n");
    STATUS("204");
    HAS_NOT("Content-Length");
    HAS_NOT("seen");
    TALK("GET /odd" H11 C "\r\n");
    HAS("X-Good: yes\r\n");
    HAS("X-Empty: \r\n");
    HAS("Content-Length: 3\r\n");
    HAS_NOT("Injected");
    HAS_NOT("X Bad");
    HAS_NOT("X-Nul");
    HAS_NOT("Transfer-Encoding");
    HAS_NOT("999");
}
END_TEST

START_TEST(keep_alive) {
    TALK("GET / HTTP/1.0\r\n\r\n");
    STATUS("200");
    HAS("Connection: close\r\n");
    int fd = dial();
    for (int i = 0; i < 5; i++) {
        SAY(fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        hear_until(fd, "\r\n\r\nok");
        HAS("Connection: keep-alive\r\n");
        SAY(fd, "\r\nGET /late?ms=1" H11 "\r\n");
        hear_until(fd, "\r\n\r\nlate");
        HAS_NOT("Connection:");
        SAY(fd, "POST /echo" H11 "Content-Length: 3\r\n\r\nabc");
        hear_until(fd, "\r\n\r\nabc");
        SAY(fd, "POST /info" H11 "Content-Length: 3\r\n\r\nabc"); /* a body that nobody reads */
        hear_until(fd, "POST|/info|||");
    }
    uint64_t t = clock_ms();
    hear(fd); /* idle: closed without a word */
    ck_assert_uint_eq(ngot, 0);
    ck_assert(!was_reset);
    ck_assert_uint_ge(clock_ms() - t, 150);
    TALK("GET /closing" H11 "\r\n");
    HAS("Connection: close\r\n");
}
END_TEST

START_TEST(pipelining) {
    struct buf b;
    buf_init(&b, 0);
    for (int i = 0; i < 200; i++) {
        BUF_ADD(&b, "GET /" H11 "\r\n");
        if (i % 50 == 0)
            BUF_ADD(&b, "GET /late?ms=5" H11 "\r\n");
        BUF_ADD(&b, "POST /echo" H11 "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    }
    BUF_ADD(&b, "GET /closing" H11 "\r\nGET /" H11 "\r\n");
    talk(buf_at(&b), buf_len(&b));
    buf_free(&b);
    ck_assert_uint_eq(count("HTTP/1.1 200"), 405);
    ck_assert_uint_eq(count("\r\n\r\nlate"), 4);
    ck_assert(!was_reset);
    HAS("\r\n\r\nbye");
    ck_assert_str_eq(got + ngot - 3, "bye"); /* nothing behind it */
}
END_TEST

START_TEST(one_byte_at_a_time) {
    static const char text[] =
        "POST /echo" H11 C "Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nT: v\r\n\r\n";
    int fd = dial();
    for (size_t i = 0; i < sizeof text - 1; i++)
        say(fd, text + i, 1);
    hear(fd);
    STATUS("200");
    HAS("\r\n\r\nhello");
}
END_TEST

START_TEST(refusals) {
    const struct head_case *t = &heads[_i];
    if (t->status == 0 || t->status == 431)
        return;
    char want[16];
    snprintf(want, sizeof want, "HTTP/1.1 %d ", t->status);
    /* and the rest of a smuggler's request behind it, which must not be answered */
    struct buf b;
    buf_init(&b, 0);
    buf_add(&b, t->text, t->n);
    BUF_ADD(&b, "GET /" H11 "\r\n");
    talk(buf_at(&b), buf_len(&b));
    buf_free(&b);
    ck_assert_msg(strncmp(got, want, strlen(want)) == 0, "%s: %s", t->text, got);
    HAS("Connection: close\r\n");
    HAS("Content-Type: application/json\r\n");
    HAS("\r\n\r\n{\"error\"");
    ck_assert_uint_eq(count("HTTP/1.1"), 1);
    ck_assert(!was_reset);
}
END_TEST

START_TEST(bad_bodies) {
    TALK("POST /echo" H11 "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\nGET /" H11 "\r\n");
    STATUS("400");
    HAS("Connection: close\r\n");
    ck_assert_uint_eq(count("HTTP/1.1"), 1);
    TALK("POST /echo?max=4" H11 "Content-Length: 5\r\n\r\n");
    STATUS("413");
    HAS("Connection: close\r\n");
    TALK("POST /echo?max=4" H11 "Content-Length: 5\r\n\r\nhello");
    STATUS("413");
    TALK("POST /echo?max=5" H11 C "Content-Length: 5\r\n\r\nhello");
    STATUS("200");
    TALK("POST /echo?max=4" H11 "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n");
    STATUS("413");
    TALK("POST /echo?max=0" H11 "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n2\r\nd");
    STATUS("413");
    TALK("POST /echo?max=0" H11 C "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    STATUS("200");
    TALK("POST /echo?max=0" H11 C "\r\n");
    STATUS("200");
}
END_TEST

/* A large body meets an early answer: the answer must arrive, and no reset before it. */
START_TEST(early_answer) {
    static char body[200 << 10];
    memset(body, 'x', sizeof body);
    for (int i = 0; i < 5; i++) {
        int fd = dial();
        SAY(fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 204800\r\n\r\n");
        say(fd, body, sizeof body);
        hear(fd);
        STATUS("200");
        HAS("Connection: close\r\n");
        ck_assert(!was_reset);
    }
    /* a small rest is read away */
    int fd = dial();
    SAY(fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
    hear_until(fd, "\r\n\r\nok");
    HAS_NOT("Connection: close");
    say(fd, body, 60000);
    SAY(fd, "GET /" H11 C "\r\n");
    hear(fd);
    STATUS("200");
}
END_TEST

START_TEST(large_bodies) {
    enum { N = 900000 };
    char *body = malloc(N);
    ck_assert_ptr_nonnull(body);
    for (size_t i = 0; i < N; i++)
        body[i] = (char)('a' + i % 23);
    for (int chunked = 0; chunked < 2; chunked++) {
        for (int late = 0; late < 2; late++) {
            char head[256];
            int fd = dial();
            int n =
                snprintf(head, sizeof head, "POST %s" H11 C "%s%s\r\n", late ? "/readlate?ms=50" : "/echo",
                         chunked ? "Transfer-Encoding: chunked\r\n" : "Content-Length: 900000\r\n", "");
            say(fd, head, (size_t)n);
            for (size_t at = 0; at < N; at += 9000) {
                if (chunked)
                    SAY(fd, "2328\r\n"); /* 9000 */
                say(fd, body + at, 9000);
                if (chunked)
                    SAY(fd, "\r\n");
            }
            if (chunked)
                SAY(fd, "0\r\n\r\n");
            hear(fd);
            STATUS("200");
            const char *from = strstr(got, "\r\n\r\n") + 4;
            ck_assert_uint_eq(ngot - (size_t)(from - got), N);
            ck_assert(memcmp(from, body, N) == 0);
        }
    }
    free(body);
}
END_TEST

START_TEST(expect_continue) {
    int fd = dial();
    SAY(fd, "POST /echo" H11 "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    hear_until(fd, "\r\n\r\n");
    STATUS("100");
    SAY(fd, "hello");
    hear_until(fd, "hello");
    STATUS("200");
    SAY(fd, "POST /" H11 "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    hear(fd);
    STATUS("200"); /* no 100 when nobody reads, and the connection is over */
    HAS("Connection: close\r\n");
    TALK("POST /echo?max=1" H11 "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    STATUS("413");
    TALK("POST /echo" H11 C "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    STATUS("200");
}
END_TEST

START_TEST(streams) {
    TALK("GET /stream?n=1000&piece=100" H11 C "\r\n");
    HAS("Transfer-Encoding: chunked\r\n");
    HAS("\r\n\r\n64\r\n");
    ck_assert_str_eq(got + ngot - 7, "\r\n0\r\n\r\n");
    TALK("GET /stream?n=1000&piece=100 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    HAS("Connection: close\r\n");
    HAS_NOT("chunked");
    HAS_NOT("Content-Length");
    ck_assert_uint_eq(ngot - (size_t)(strstr(got, "\r\n\r\n") + 4 - got), 1000);
    TALK("HEAD /stream" H11 C "\r\n");
    HAS("Transfer-Encoding: chunked\r\n");
    ck_assert_str_eq(got + ngot - 4, "\r\n\r\n");
    TALK("GET /declared?n=3000000&piece=50000" H11 C "\r\n");
    HAS("Content-Length: 3000000\r\n");
    ck_assert_uint_eq(ngot - (size_t)(strstr(got, "\r\n\r\n") + 4 - got), 3000000);
    TALK("GET /abort" H11 "\r\n");
    HAS("5\r\nhello\r\n");
    HAS_NOT("\r\n0\r\n");
    TALK("GET /short" H11 "\r\n");
    HAS("Content-Length: 10\r\n");
    ck_assert_str_eq(got + ngot - 9, "\r\n\r\nhello");
    TALK("GET /long" H11 C "\r\n");
    ck_assert_str_eq(got + ngot - 7, "\r\n\r\nhel");
    TALK("GET /cut" H11 "\r\n");
    ck_assert_uint_eq(ngot, 0);
    TALK("GET /abort HTTP/1.0\r\n\r\n");
    ck_assert(was_reset);
    await_stat("conns", 1);
}
END_TEST

START_TEST(back_pressure) {
    int fd = dial();
    SAY(fd, "GET /stream?n=20000000&piece=20000" H11 C "\r\n");
    poll(NULL, 0, 100);
    ck_assert_uint_eq(stat_of("exchanges"), 2); /* it waits for us */
    hear(fd);
    ck_assert(!was_reset);
    ck_assert_uint_gt(ngot, 20000000);
    ck_assert(memcmp(got + ngot - 7, "\r\n0\r\n\r\n", 7) == 0);
}
END_TEST

static void leave_by_reset(int fd) {
    struct linger now = {1, 0};
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(fd);
}

START_TEST(client_leaves) {
    static const char *const asks[] = {
        "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /open HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
        "GET /hang HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    unsigned gone = 0;
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        for (int how = 0; how < 3; how++) {
            int fd = dial();
            say(fd, asks[i], strlen(asks[i]));
            await_stat("exchanges", 2);
            uint64_t t = clock_ms();
            if (how == 0)
                close(fd);
            else if (how == 1)
                leave_by_reset(fd);
            else
                shutdown(fd, SHUT_WR);
            await_stat("gone", ++gone);
            ck_assert_uint_lt(clock_ms() - t, eased(3000));
            if (how == 2)
                close(fd);
        }
    }
    await_stat("conns", 1);
}
END_TEST

START_TEST(owner_goes_on_alone) { /* and the server counts it as long */
    for (int how = 0; how < 4; how++) {
        char ask[64];
        int fd = dial();
        snprintf(ask, sizeof ask, "GET /alone?how=%d HTTP/1.1\r\nHost: a\r\n\r\n", how);
        say(fd, ask, strlen(ask));
        await_stat("exchanges", 2);
        close(fd);
        await_stat("gone", (unsigned)how + 1);
        await_stat("exchanges", 1);
        await_stat("conns", 1);
    }
    int fd = dial();
    SAY(fd, "GET /alone" H11 "\r\n");
    await_stat("exchanges", 2);
    close(fd);
    await_stat("gone", 5); /* kept when the server ends: told once more */
}
END_TEST

/* Reading is paused on a client that sends without end; its leaving is still seen, and the server does not
 * spin. (A FIN behind more bytes than the kernel takes cannot be seen by anybody.) */
START_TEST(client_floods_and_leaves) {
    static char junk[512 << 10];
    for (int how = 0; how < 2; how++) {
        int fd = dial();
        struct timeval tv = {0, 100000};
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv), 0);
        SAY(fd, "GET /hang" H11 "\r\n");
        await_stat("exchanges", 2);
        for (int i = 0; how && i < 200; i++)
            if (send(fd, junk, sizeof junk, MSG_NOSIGNAL) < 0)
                break;
        if (how == 0)
            say(fd, junk, 90000);
        unsigned before = stat_of("cpu_ms");
        poll(NULL, 0, 300);
        if (!under_valgrind())
            ck_assert_uint_lt(stat_of("cpu_ms") - before, 100);
        if (how)
            leave_by_reset(fd);
        else
            close(fd);
        await_stat("gone", (unsigned)how + 1);
    }
    await_stat("conns", 1);
}
END_TEST

START_TEST(slow_clients) {
    /* a byte each 50 ms does not help */
    int fd = dial();
    static const char head[] = "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    uint64_t t = clock_ms();
    for (size_t i = 0; i < sizeof head - 1 && clock_ms() - t < 500; i++) {
        say(fd, head + i, 1);
        poll(NULL, 0, 50);
    }
    hear(fd);
    STATUS("408");
    HAS("X-Error: here\r\n"); /* what the handler gave to go with it */
    ck_assert_uint_lt(clock_ms() - t, eased(5000));
    /* nothing at all: closed without a word */
    t = clock_ms();
    hear(dial());
    ck_assert_uint_eq(ngot, 0);
    ck_assert_uint_lt(clock_ms() - t, eased(5000));
    /* a body below the rate */
    fd = dial();
    t = clock_ms();
    SAY(fd, "POST /echo" H11 "Content-Length: 100000\r\n\r\n");
    for (int i = 0; i < 50; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        say(fd, "x", 1);
        if (poll(&p, 1, 50) > 0)
            break;
    }
    hear(fd);
    STATUS("408");
    ck_assert_uint_lt(clock_ms() - t, eased(8000));
    await_stat("conns", 1);
}
END_TEST

START_TEST(client_takes_nothing) {
    int fd = dial();
    SAY(fd, "GET /stream?n=100000000&piece=60000" H11 "\r\n");
    await_stat("gone", 1);
    close(fd);
    /* the same when the owner is done: the connection is cut */
    fd = dial();
    SAY(fd, "GET /huge?n=60000000" H11 "\r\n");
    await_stat("conns", 2);
    await_stat("conns", 1);
    close(fd);
}
END_TEST

START_TEST(drain) {
    int silent = dial(), idle = dial(), busy = dial(), typing = dial();
    SAY(idle, "GET /" H11 "\r\n");
    hear_until(idle, "ok");
    SAY(busy, "GET /late?ms=600" H11 "\r\n");
    SAY(typing, "GET /");
    await_stat("exchanges", 2);
    kill(child, SIGUSR1);
    poll(NULL, 0, 50);
    SAY(silent, "GET /" H11 "\r\n"); /* within the grace */
    SAY(typing, H11 "\r\n");
    hear(silent);
    STATUS("200");
    HAS("Connection: close\r\n");
    hear(typing);
    STATUS("200");
    HAS("Connection: close\r\n");
    hear(idle);
    ck_assert_uint_eq(ngot, 0);
    ck_assert(!was_reset);
    hear(busy);
    STATUS("200");
    HAS("late");
    HAS("Connection: close\r\n");
    wait_child();
}
END_TEST

START_TEST(drain_of_nothing) {
    uint64_t t = clock_ms();
    stat_of("conns");
    kill(child, SIGUSR1);
    wait_child();
    ck_assert_uint_ge(clock_ms() - t, 290);
}
END_TEST

START_TEST(freed_with_open_exchanges) {
    int a = dial(), b = dial(), c = dial();
    SAY(a, "GET /hang" H11 "\r\n");
    SAY(b, "GET /stream?n=100000000&piece=60000" H11 "\r\n");
    SAY(c, "POST /echo" H11 "Content-Length: 100\r\n\r\nabc");
    await_stat("exchanges", 4);
    finish();
    close(a);
    close(b);
    close(c);
}
END_TEST

START_TEST(connection_bound) {
    struct http_limits lim = quick();
    lim.max_connections = 3;
    lim.header_timeout_ms = eased(2000);
    start_with(&lim, NULL, 0);
    int fd[3];
    for (int i = 0; i < 3; i++) {
        fd[i] = dial();
        SAY(fd[i], "GET /hang" H11 "\r\n");
    }
    poll(NULL, 0, 100);
    for (int i = 0; i < 100; i++) {
        TALK("GET /" H11 "\r\n");
        STATUS("503");
        HAS("\"error\"");
        ck_assert(!was_reset);
    }
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    uint64_t since = clock_ms();
    do { /* until it has seen that they left */
        TALK("GET /" H11 C "\r\n");
    } while (memcmp(got, "HTTP/1.1 200", 12) != 0 && clock_ms() - since < eased(5000));
    STATUS("200");
    finish();
}
END_TEST

/* Without descriptors the server pauses, does not spin, and comes back. */
START_TEST(descriptors_exhausted) {
    struct http_limits lim = quick();
    lim.header_timeout_ms = 1500;
    start_with(&lim, NULL, 24);
    int fd[40];
    for (int i = 0; i < 40; i++)
        fd[i] = dial();
    poll(NULL, 0, 600);
    for (int i = 0; i < 40; i++)
        close(fd[i]);
    await_stat("conns", 1);
    ck_assert_uint_lt(stat_of("cpu_ms"), 300);
    finish();
}
END_TEST

/* --- unix sockets --- */

START_TEST(unix_socket) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "/tmp/check_http.%d", (int)getpid());
    (void)unlink(a.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(fd, 8), 0);
    struct http_limits lim = quick();
    start_on(fd, &lim, NULL, 0);
    int c = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(c, (struct sockaddr *)&a, sizeof a), 0);
    (void)unlink(a.sun_path);
    SAY(c, "GET /info" H11 C "\r\n");
    hear(c);
    HAS("|unix|1|0|5");
    finish();
}
END_TEST

/* --- TLS --- */

static void make_certificate(struct buf *cert, struct buf *key) {
    EVP_PKEY *k = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    MUST(k && x);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, k);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(x, name);
    MUST(X509_sign(x, k, EVP_sha256()) > 0);
    BIO *m = BIO_new(BIO_s_mem());
    char *p;
    PEM_write_bio_X509(m, x);
    long n = BIO_get_mem_data(m, &p);
    buf_add(cert, p, (size_t)n);
    BIO_free(m);
    m = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(m, k, NULL, NULL, 0, NULL, NULL);
    n = BIO_get_mem_data(m, &p);
    buf_add(key, p, (size_t)n);
    BIO_free(m);
    X509_free(x);
    EVP_PKEY_free(k);
}

static struct buf cert, key;

static void start_tls(bool ask_client) {
    char err[256];
    if (!cert.p)
        make_certificate(&cert, &key);
    struct http_tls *t =
        http_tls_new(buf_str(&cert), buf_str(&key), ask_client ? buf_str(&cert) : STR_NONE, err);
    ck_assert_msg(t != NULL, "%s", err);
    struct http_limits lim = quick();
    lim.header_timeout_ms = under_valgrind() ? 20000 : 5000; /* a handshake's, too */
    start_with(&lim, t, 0);
}

static SSL_CTX *client_ctx(int max_version, bool with_certificate) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    ck_assert_ptr_nonnull(ctx);
    ck_assert_int_eq(SSL_CTX_set_max_proto_version(ctx, max_version), 1);
    SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    SSL_CTX_set_security_level(ctx, 0);
    if (with_certificate) {
        BIO *m = BIO_new_mem_buf(buf_at(&cert), (int)buf_len(&cert));
        X509 *x = PEM_read_bio_X509(m, NULL, NULL, NULL);
        ck_assert_int_eq(SSL_CTX_use_certificate(ctx, x), 1);
        X509_free(x);
        BIO_free(m);
        m = BIO_new_mem_buf(buf_at(&key), (int)buf_len(&key));
        EVP_PKEY *k = PEM_read_bio_PrivateKey(m, NULL, NULL, NULL);
        ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, k), 1);
        EVP_PKEY_free(k);
        BIO_free(m);
    }
    return ctx;
}

/* One connection; false when no answer came. */
static bool talk_tls(SSL_CTX *ctx, const char *text) {
    int fd = dial();
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    bool ok = SSL_connect(ssl) == 1 && SSL_write(ssl, text, (int)strlen(text)) > 0;
    ngot = 0;
    while (ok && ngot < sizeof got - 1) {
        int r = SSL_read(ssl, got + ngot, (int)(sizeof got - 1 - ngot));
        if (r <= 0)
            break;
        ngot += (size_t)r;
    }
    got[ngot] = '\0';
    SSL_free(ssl);
    close(fd);
    return ok && ngot > 0;
}

START_TEST(tls_requests) {
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    start_tls(false);
    char *big = malloc(300000);
    ck_assert_ptr_nonnull(big);
    for (int i = 0; i < 2; i++) {
        SSL_CTX *ctx = client_ctx(versions[i], false);
        ck_assert(talk_tls(ctx, "GET /" H11 "\r\nGET /info" H11 C "\r\n"));
        HAS("\r\n\r\nokHTTP/1.1 200");
        HAS("GET|/info");
        ck_assert(talk_tls(ctx, "GET /declared?n=3000000&piece=65000" H11 C "\r\n"));
        ck_assert_uint_eq(ngot - (size_t)(strstr(got, "\r\n\r\n") + 4 - got), 3000000);
        ck_assert(talk_tls(ctx, "GET /stream?n=500000&piece=33" H11 C "\r\n"));
        ck_assert(memcmp(got + ngot - 7, "\r\n0\r\n\r\n", 7) == 0);
        int n = snprintf(big, 300000, "POST /echo" H11 C "Content-Length: 200000\r\n\r\n");
        memset(big + n, 'x', 200000);
        big[n + 200000] = '\0';
        ck_assert(talk_tls(ctx, big));
        STATUS("200");
        ck_assert_uint_eq(ngot - (size_t)(strstr(got, "\r\n\r\n") + 4 - got), 200000);
        ck_assert(talk_tls(ctx, "GET / HTTP/9\r\n\r\n"));
        STATUS("400");
        SSL_CTX_free(ctx);
    }
    free(big);
    SSL_CTX *old = client_ctx(TLS1_1_VERSION, false);
    ck_assert(!talk_tls(old, "GET /" H11 C "\r\n"));
    SSL_CTX_free(old);
    /* clear text at a TLS port, a stalled handshake, and a client that leaves in the middle of it */
    TALK("GET /" H11 "\r\n");
    HAS_NOT("HTTP/1.1");
    hear(dial());
    ck_assert_uint_eq(ngot, 0);
    leave_by_reset(dial());
    finish();
}
END_TEST

START_TEST(tls_client_certificates) {
    start_tls(true);
    SSL_CTX *with = client_ctx(TLS1_3_VERSION, true), *without = client_ctx(TLS1_3_VERSION, false);
    ck_assert(talk_tls(with, "GET /" H11 C "\r\n"));
    STATUS("200");
    ck_assert(!talk_tls(without, "GET /" H11 C "\r\n"));
    SSL_CTX_free(with);
    SSL_CTX_free(without);
    finish();
}
END_TEST

START_TEST(tls_bad_texts) {
    char err[256];
    struct buf c2 = {0}, k2 = {0};
    make_certificate(&cert, &key);
    make_certificate(&c2, &k2);
    ck_assert_ptr_null(http_tls_new(STR(""), STR(""), STR_NONE, err));
    ck_assert_str_ne(err, "");
    ck_assert_ptr_null(http_tls_new(buf_str(&cert), STR("junk"), STR_NONE, err));
    ck_assert_ptr_null(http_tls_new(buf_str(&cert), buf_str(&k2), STR_NONE, err));
    ck_assert_ptr_null(http_tls_new(buf_str(&cert), buf_str(&key), STR("junk"), err));
    ck_assert_str_ne(err, "");
    buf_free(&c2);
    buf_free(&k2);
}
END_TEST

/* --- */

static Suite *suite(void) {
    Suite *s = suite_create("http");
    TCase *t = tcase_create("parse");
    tcase_add_loop_test(t, head_table, 0, (int)(sizeof heads / sizeof heads[0]));
    tcase_add_test(t, head_results);
    tcase_add_test(t, head_bounds);
    tcase_add_loop_test(t, chunk_table, 0, (int)(sizeof chunk_cases / sizeof chunk_cases[0]));
    tcase_add_test(t, chunk_extension_bound);
    tcase_add_test(t, small_texts);
    suite_add_tcase(s, t);

    t = tcase_create("server");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, start, finish);
    tcase_add_test(t, plain_requests);
    tcase_add_test(t, keep_alive);
    tcase_add_test(t, pipelining);
    tcase_add_test(t, one_byte_at_a_time);
    tcase_add_loop_test(t, refusals, 0, (int)(sizeof heads / sizeof heads[0]));
    tcase_add_test(t, bad_bodies);
    tcase_add_test(t, early_answer);
    tcase_add_test(t, large_bodies);
    tcase_add_test(t, expect_continue);
    tcase_add_test(t, streams);
    tcase_add_test(t, back_pressure);
    tcase_add_test(t, client_leaves);
    tcase_add_test(t, owner_goes_on_alone);
    tcase_add_test(t, client_floods_and_leaves);
    tcase_add_test(t, slow_clients);
    tcase_add_test(t, client_takes_nothing);
    suite_add_tcase(s, t);

    t = tcase_create("ends");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, start, NULL);
    if (!under_valgrind()) /* the server waits 300 ms for what is on its way */
        tcase_add_test(t, drain);
    tcase_add_test(t, drain_of_nothing);
    tcase_add_test(t, freed_with_open_exchanges);
    suite_add_tcase(s, t);

    t = tcase_create("limits and TLS");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, connection_bound);
    if (!under_valgrind()) /* which keeps descriptors of its own within the limit */
        tcase_add_test(t, descriptors_exhausted);
    tcase_add_test(t, unix_socket);
    tcase_add_test(t, tls_requests);
    tcase_add_test(t, tls_client_certificates);
    tcase_add_test(t, tls_bad_texts);
    suite_add_tcase(s, t);
    return s;
}

static int serve_for_load(const char *port_text, bool with_tls) {
    struct http_limits lim = {.max_head = 32768,
                              .max_headers = 100,
                              .header_timeout_ms = 10000,
                              .idle_timeout_ms = 60000,
                              .body_rate = 500,
                              .body_grace_ms = 5000};
    char err[256];
    struct http_tls *t = NULL;
    uint64_t v = 0;
    if (!str_u64(str_of(port_text), &v))
        return 2;
    port = (uint16_t)v;
    if (with_tls) {
        make_certificate(&cert, &key);
        t = http_tls_new(buf_str(&cert), buf_str(&key), STR_NONE, err);
        buf_free(&cert);
        buf_free(&key);
    }
    return serve(listen_on(&port), &lim, t);
}

int main(int argc, char **argv) {
    if (argc >= 3 && strcmp(argv[1], "serve") == 0)
        return serve_for_load(argv[2], argc > 3);
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
