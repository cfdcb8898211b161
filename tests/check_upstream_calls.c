/* Calls: what is asked, what is an answer and what is none, connections that are kept, time. */
#include "base/clock.h"
#include "under_valgrind.h"
#include "upstream_stage.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

START_TEST(plain) {
    struct server *s = server_new(script_plain);
    static struct conf_pair pairs[] = {
        {"X-Title", "configured"}, {"X-Conf", "yes"}, {"Content-Length", "99"}};
    conf.headers = pairs;
    conf.nheaders = 3;
    conf.organization = "org-1";
    use(s);
    struct call_header own[] = {{STR("x-title"), STR("called")},
                                {STR("x-bad"), STR("a\r\nx-smuggled: 1")},
                                {STR("authorization"), STR("Bearer of-the-client")},
                                {STR("x-void"), STR("")}};
    struct call_spec spec = spec_of("{\"x\":1}");
    struct rec *r = ask(&spec); /* without headers of its own: the prepared list */
    ck_assert(heard(s, "X-Title: configured\r\n") && heard(s, "Authorization: Bearer sk-one\r\n"));
    rec_free(r);
    spec.headers = own;
    spec.nheaders = 4;
    spec.key = &keys[1];
    r = ask(&spec);
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert_int_eq(r->status, 200);
    ck_assert(str_is(buf_str(&r->body), "{\"a\": true}"));
    buf_addc(&r->headers, '\0');
    ck_assert_str_eq(buf_at(&r->headers),
                     "content-type=application/json\nx-folded=a b\nx-empty=\ncontent-length=11\n");
    ck_assert(heard(s, "POST /v1/chat/completions HTTP/1.1\r\n"));
    ck_assert(heard(s, "Authorization: Bearer sk-two\r\n") && !heard(s, "of-the-client"));
    ck_assert(heard(s, "\r\nx-title: called\r\n") && !heard(s, "configured") && heard(s, "X-Conf: yes\r\n"));
    ck_assert(heard(s, "x-void:\r\n") && !heard(s, "x-smuggled") && !heard(s, "x-bad"));
    ck_assert(heard(s, "OpenAI-Organization: org-1\r\n") && heard(s, "User-Agent: penstock/"));
    ck_assert(heard(s, "Content-Length: 7\r\n") && !heard(s, "Expect") &&
              heard(s, "Accept-Encoding: identity\r\n"));
    ck_assert(heard(s, "Accept: application/json\r\n") && heard(s, "\r\n\r\n{\"x\":1}"));
    ck_assert(r->r.reused && r->r.bytes_in > 11 && r->r.bytes_out > 7 && r->r.first_byte_ms > 0);
    rec_free(r);
    spec = spec_of("");
    spec.get = true;
    spec.path = "/models";
    spec.key = NULL;
    r = ask(&spec);
    ck_assert(heard(s, "GET /v1/models HTTP/1.1\r\n") && !heard(s, "Authorization") && !heard(s, "Content-"));
    rec_free(r);
    r = ask_body("{\"again\":1}"); /* the same handle goes back to a POST */
    ck_assert(heard(s, "POST /v1/chat/completions") && heard(s, "{\"again\":1}"));
    rec_free(r);
}
END_TEST

static void script_count(struct server *s, int fd, int nth) {
    (void)nth;
    while (hear(s, fd)) {
        char out[256], body[64] = "?";
        pthread_mutex_lock(&s->lock);
        struct str all = buf_str(&s->last);
        ptrdiff_t at = str_find(all, STR("\r\n\r\n"));
        str_copy(body, sizeof body, str_skip(all, (size_t)at + 4));
        pthread_mutex_unlock(&s->lock);
        snprintf(out, sizeof out, OK_HEAD "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
        say(fd, out);
    }
}

START_TEST(connections_are_reused) {
    struct server *s = server_new(script_count);
    use(s);
    for (int i = 0; i < 30; i++) {
        struct rec *r = ask_body("hello");
        ck_assert_int_eq(r->r.error, CALL_OK);
        ck_assert_int_eq(r->r.reused, i > 0);
        rec_free(r);
    }
    ck_assert_int_eq(atomic_load(&s->accepted), 1);
}
END_TEST

START_TEST(fifty_at_once) {
    struct server *s = server_new(script_plain);
    use(s);
    struct rec *r[50];
    for (int round = 0; round < 3; round++) {
        struct call_spec spec = spec_of("{}");
        spec.stream = round == 1;
        for (int i = 0; i < 50; i++) {
            r[i] = rec_new();
            begin(r[i], &spec);
        }
        ck_assert_uint_eq(multi_calls(multi), 50);
        for (int i = 0; i < 50; i++) {
            finish(r[i]);
            ck_assert_int_eq(r[i]->r.error, CALL_OK);
            ck_assert(str_is(buf_str(&r[i]->body), "{\"a\": true}"));
            rec_free(r[i]);
        }
    }
    ck_assert_int_le(atomic_load(&s->accepted), 50);
    ck_assert_uint_eq(multi_calls(multi), 0);
}
END_TEST

static void script_no_body(struct server *s, int fd, int nth) {
    (void)nth;
    while (hear(s, fd))
        say(fd, "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n");
}

START_TEST(no_body) {
    struct server *s = server_new(script_no_body);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert_int_eq(r->heads, 1);
    ck_assert_int_eq(r->datas, 0);
    ck_assert_int_eq(r->r.status, 204);
    ck_assert_uint_eq(r->r.first_byte_ms, 0);
    rec_free(r);
}
END_TEST

static void script_1xx(struct server *s, int fd, int nth) {
    (void)nth;
    while (hear(s, fd))
        say(fd, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK_HEAD
                "Content-Length: 2\r\n\r\n{}");
}

START_TEST(informational_heads_are_skipped) {
    struct server *s = server_new(script_1xx);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert_int_eq(r->status, 200);
    ck_assert(str_find(buf_str(&r->headers), STR("link")) < 0);
    rec_free(r);
}
END_TEST

/* --- what is not an answer --- */

START_TEST(refused) {
    int port, fd = listen_on(&port, 1);
    close(fd);
    use_url("http", port);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_CONNECT);
    ck_assert_int_eq(r->heads, 0);
    ck_assert_int_eq(r->r.status, 0);
    rec_free(r);
}
END_TEST

START_TEST(no_such_name) {
    use_name("penstock-test.invalid");
    conf.connect = 4000;
    struct rec *r = ask_body("{}");
    ck_assert_msg(r->r.error == CALL_RESOLVE, "%s", call_error_text(r->r.error));
    rec_free(r);
}
END_TEST

START_TEST(cancel_while_resolving) {
    use_name("penstock-test2.invalid");
    struct call_spec spec = spec_of("{}");
    struct rec *r = rec_new();
    begin(r, &spec);
    loop_turn(loop, false);
    if (!r->dones) {
        uint64_t before = clock_ms();
        call_cancel(r->call);
        ck_assert_uint_lt(clock_ms() - before, eased(1000)); /* the resolver's thread is not waited for */
    }
    ck_assert_uint_eq(multi_calls(multi), 0);
    rec_free(r);
}
END_TEST

SCRIPT(script_rst, (say(fd, OK_HEAD "Content-Length: 1000\r\n\r\nhalf"), rst(fd)))
SCRIPT(script_short, say(fd, OK_HEAD "Content-Length: 1000\r\n\r\nhalf"))
SCRIPT(script_nothing, (void)0)
SCRIPT(script_chunk_end, say(fd, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"))
SCRIPT(script_half_head, say(fd, "HTTP/1.1 200 OK\r\nContent-Le"))
SCRIPT(script_ssh, say(fd, "SSH-2.0-OpenSSH_9.2\r\nwhatever\r\n\r\n"))
SCRIPT(script_09, say(fd, "<html>hello</html>"))
SCRIPT(script_bad_status, say(fd, "HTTP/1.1 abc OK\r\n\r\n"))
SCRIPT(script_bad_chunk, say(fd, OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n0\r\n\r\n"))
SCRIPT(script_bad_length, say(fd, OK_HEAD "Content-Length: many\r\n\r\nhalf"))
SCRIPT(script_two_lengths, say(fd, OK_HEAD "Content-Length: 4\r\nContent-Length: 5\r\n\r\nhalf!"))

START_TEST(broken) {
    static const struct {
        void (*script)(struct server *, int, int);
        enum call_error want;
    } rows[] = {
        {script_rst, CALL_RESET},
        {script_short, CALL_RESET},
        {script_nothing, CALL_RESET},
        {script_chunk_end, CALL_RESET},
        {script_half_head, CALL_RESET},
        {script_ssh, CALL_PROTOCOL},
        {script_09, CALL_PROTOCOL},
        {script_bad_status, CALL_PROTOCOL},
        {script_bad_chunk, CALL_PROTOCOL},
        {script_bad_length, CALL_PROTOCOL},
        {script_two_lengths, CALL_PROTOCOL},
    };
    expect(rows[_i].script, rows[_i].want);
}
END_TEST
enum { BROKEN = 11 };

static void script_endless_headers(struct server *s, int fd, int nth) {
    (void)nth;
    if (!hear(s, fd))
        return;
    say(fd, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 100000 && atomic_load(&s->gone) == 0; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 0) > 0)
            return;
        say(fd, "X-Header: "
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
    }
}
static void script_endless_line(struct server *s, int fd, int nth) {
    (void)nth;
    if (!hear(s, fd))
        return;
    static char a[200000];
    memset(a, 'a', sizeof a);
    say(fd, "HTTP/1.1 200 OK\r\nX-Long: ");
    say_n(fd, a, sizeof a);
    wait_gone(s, fd);
}
static void script_flood_1xx(struct server *s, int fd, int nth) {
    (void)nth;
    if (!hear(s, fd))
        return;
    for (int i = 0; i < 20000; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 0) > 0)
            return;
        say(fd, "HTTP/1.1 102 Processing\r\n\r\n");
    }
}

START_TEST(endless_heads) {
    expect(script_endless_headers, CALL_TOO_LARGE);
    upstream_free(up);
    expect(script_endless_line, CALL_TOO_LARGE);
    upstream_free(up);
    expect(script_flood_1xx, CALL_TOO_LARGE);
}
END_TEST

SCRIPT(script_longer, say(fd, OK_HEAD "Content-Length: 4\r\n\r\nfourGARBAGE"))

START_TEST(longer_than_said) {
    struct server *s = server_new(script_longer);
    use(s);
    for (int i = 0; i < 2; i++) { /* and the rest is no answer to the next request */
        struct rec *r = ask_body("{}");
        ck_assert_int_eq(r->r.error, CALL_OK);
        ck_assert(str_is(buf_str(&r->body), "four"));
        rec_free(r);
    }
}
END_TEST

SCRIPT(script_bytewise, {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const char *all =
        OK_HEAD "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n1\r\n \r\n5;ext=1\r\n"
                "world\r\n0\r\nX-T: 1\r\n\r\n";
    for (const char *p = all; *p; p++)
        say_n(fd, p, 1);
    wait_gone(s, fd);
})

START_TEST(chunked_bytewise) {
    struct server *s = server_new(script_bytewise);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert(str_is(buf_str(&r->body), "hello world"));
    rec_free(r);
}
END_TEST

/* --- kept connections that die --- */

static void script_dies_kept(struct server *s, int fd,
                             int nth) { /* answers once; reads the next request and closes */
    (void)nth;
    if (hear(s, fd))
        say(fd, OK_HEAD "Content-Length: 2\r\n\r\n{}");
    hear(s, fd);
}

START_TEST(stale_connection_is_tried_again) {
    struct server *s = server_new(script_dies_kept);
    use(s);
    char *large = malloc(200001);
    memset(large, 'x', 200000);
    large[200000] = '\0';
    const char *const bodies[] = {"{}", "{}", large, large};
    for (int i = 0; i < 4; i++) {
        struct rec *r = ask_body(bodies[i]);
        ck_assert_msg(r->r.error == CALL_OK, "%d: %s", i, call_error_text(r->r.error));
        rec_free(r);
    }
    ck_assert_int_eq(atomic_load(&s->accepted), 4);
    free(large);
}
END_TEST

static void script_closes_idle(struct server *s, int fd, int nth) {
    (void)nth;
    if (hear(s, fd))
        say(fd, OK_HEAD "Content-Length: 2\r\n\r\n{}");
    shutdown(fd, SHUT_WR);
    atomic_fetch_add(&s->gone, 1);
}

START_TEST(idle_connection_closed_by_the_server_does_not_spin) {
    struct server *s = server_new(script_closes_idle);
    use(s);
    struct rec *r = ask_body("{}");
    rec_free(r);
    until(&s->gone, 1);
    struct timespec before, after;
    struct timer t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    timer_init(&t, loop, (void (*)(void *))loop_stop, loop);
    timer_set(&t, 300);
    loop_run(loop);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    timer_free(&t);
    if (!under_valgrind())
        ck_assert_int_lt((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000,
                         100);
    r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    rec_free(r);
}
END_TEST

/* --- time --- */

static void took(const struct rec *r, uint64_t least, uint64_t most) {
    ck_assert_uint_ge(r->r.total_ms, least);
    ck_assert_uint_le(r->r.total_ms, eased(most));
}

START_TEST(connect_timeout) {
    int port, fd = listen_on(&port, 0), fill[4];
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    for (int i = 0; i < 4; i++) { /* nobody accepts: the backlog is full and further SYNs are dropped */
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fill[i], (struct sockaddr *)&a, sizeof a);
    }
    conf.connect = eased(200);
    use_url("http", port);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_TIMEOUT_CONNECT);
    took(r, 190, 2000);
    rec_free(r);
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
}
END_TEST

SCRIPT(script_silent, wait_gone(s, fd))
SCRIPT(script_head_only, (say(fd, OK_HEAD "Content-Length: 9\r\n\r\n"), wait_gone(s, fd)))
SCRIPT(script_half, (say(fd, OK_HEAD "Content-Length: 9\r\n\r\nabc"), wait_gone(s, fd)))
SCRIPT(script_drip, {
    say(fd, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n");
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        say(fd, "1\r\nx\r\n");
        if (poll(&p, 1, 10) > 0)
            break;
    }
    atomic_fetch_add(&s->gone, 1);
})

START_TEST(timeouts) {
    static const struct {
        void (*script)(struct server *, int, int);
        uint64_t first, idle, total;
        enum call_error want;
    } rows[] = {
        {script_silent, 150, 50, 5000, CALL_TIMEOUT_FIRST_BYTE},
        {script_head_only, 150, 50, 5000, CALL_TIMEOUT_FIRST_BYTE},
        {script_half, 5000, 150, 6000, CALL_TIMEOUT_IDLE},
        {script_drip, 1000, 1000, 150, CALL_TIMEOUT_TOTAL},
        {script_silent, 5000, 5000, 150, CALL_TIMEOUT_TOTAL},
    };
    conf.first_byte = eased(rows[_i].first);
    conf.idle = eased(rows[_i].idle);
    conf.total = eased(rows[_i].total);
    struct server *s = server_new(rows[_i].script);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_msg(r->r.error == rows[_i].want, "%s", call_error_text(r->r.error));
    ck_assert(call_error_is_timeout(r->r.error));
    took(r, 150, 1500);
    until(&s->gone, 1); /* and the connection was closed */
    rec_free(r);
}
END_TEST

START_TEST(smaller_limit_of_the_call_counts) {
    struct server *s = server_new(script_silent);
    use(s);
    struct call_spec spec = spec_of("{}");
    spec.total_ms = eased(100);
    struct rec *r = ask(&spec);
    ck_assert_int_eq(r->r.error, CALL_TIMEOUT_TOTAL);
    rec_free(r);
    spec.total_ms = 1000000;
    spec.first_byte_ms = eased(120);
    r = ask(&spec);
    ck_assert_int_eq(r->r.error, CALL_TIMEOUT_FIRST_BYTE);
    rec_free(r);
}
END_TEST

void add_calls(TCase *t) {
    tcase_add_test(t, plain);
    tcase_add_test(t, connections_are_reused);
    tcase_add_test(t, fifty_at_once);
    tcase_add_test(t, no_body);
    tcase_add_test(t, informational_heads_are_skipped);
    tcase_add_test(t, refused);
    tcase_add_test(t, no_such_name);
    tcase_add_test(t, cancel_while_resolving);
    tcase_add_loop_test(t, broken, 0, BROKEN);
    tcase_add_test(t, endless_heads);
    tcase_add_test(t, longer_than_said);
    tcase_add_test(t, chunked_bytewise);
    tcase_add_test(t, stale_connection_is_tried_again);
    tcase_add_test(t, idle_connection_closed_by_the_server_does_not_spin);
    tcase_add_test(t, connect_timeout);
    tcase_add_loop_test(t, timeouts, 0, 5);
    tcase_add_test(t, smaller_limit_of_the_call_counts);
}
