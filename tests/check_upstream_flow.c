/* Calls that are paused, cancelled and stopped, large bodies, early answers. */
#include "base/clock.h"
#include "base/hash.h"
#include "under_valgrind.h"
#include "upstream_stage.h"
#include <malloc.h>
#include <sched.h>
#include <sys/socket.h>

SCRIPT(script_big_chunked, {
    char *text = big_text(), size[32];
    say(fd, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0, n; at < BIG; at += n) {
        n = 1 + at * 7919 % 3001; /* chunks of all sizes, several to a buffer */
        if (n > BIG - at)
            n = BIG - at;
        snprintf(size, sizeof size, "%zx\r\n", n);
        say(fd, size);
        say_n(fd, text + at, n);
        say(fd, "\r\n");
    }
    say(fd, "0\r\n\r\n");
    free(text);
    wait_gone(s, fd);
})
SCRIPT(script_big, {
    char *text = big_text();
    say(fd, OK_HEAD "Content-Length: 5242880\r\n\r\n");
    say_n(fd, text, BIG);
    free(text);
    wait_gone(s, fd);
})

static void paused_exactly(void (*script)(struct server *, int, int), bool stream) {
    struct server *s = server_new(script);
    use(s);
    struct call_spec spec = spec_of("{}");
    spec.stream = stream;
    struct rec *r = rec_new();
    r->full_each = 50000;
    buf_room(&r->body, BIG + 1);
    begin(r, &spec);
    finish(r);
    ck_assert_int_eq(r->r.error, CALL_OK);
    char *text = big_text();
    ck_assert_uint_eq(buf_len(&r->body), BIG);
    ck_assert(memcmp(buf_at(&r->body), text, BIG) == 0);
    free(text);
    rec_free(r);
    upstream_free(up);
    up = NULL;
}

START_TEST(pause_and_resume) {
    paused_exactly(script_big_chunked, true);
    paused_exactly(script_big, true);
    paused_exactly(script_big, false);
}
END_TEST

static void sleep_ms(uint64_t ms) { /* turns of the loop for so long */
    struct timer t;
    timer_init(&t, loop, (void (*)(void *))loop_stop, loop);
    timer_set(&t, ms);
    loop_run(loop);
    timer_free(&t);
}

START_TEST(paused_holds_little_and_does_not_time_out) {
    struct server *s = server_new(script_big_chunked);
    conf.idle = eased(100);
    use(s);
    struct call_spec spec = spec_of("{}");
    spec.stream = true;
    struct rec *r = rec_new();
    r->full_each = 1000;
    begin(r, &spec);
    while (!r->was_full)
        loop_turn(loop, true);
    struct timespec before, after;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    size_t held = mallinfo2().uordblks, got = buf_len(&r->body);
    sleep_ms(eased(400)); /* four times the idle limit */
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    ck_assert_int_eq(r->dones, 0);
    ck_assert_uint_eq(buf_len(&r->body), got);
    ck_assert_uint_lt(mallinfo2().uordblks, held + 128 * 1024);
    if (!under_valgrind())
        ck_assert_int_lt((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000,
                         100);
    r->full_each = 0;
    finish(r); /* resumes */
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert_uint_eq(buf_len(&r->body), BIG);
    rec_free(r);
}
END_TEST

SCRIPT(script_stream, (say(fd, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), wait_gone(s, fd)))

START_TEST(cancel_closes_the_connection) {
    struct server *s = server_new(script_stream);
    use(s);
    struct call_spec spec = spec_of("{}");
    for (int how = 0; how < 5; how++) {
        struct rec *r = rec_new();
        r->cancel_head = how == 1;
        r->cancel_data = how == 2;
        begin(r, &spec);
        if (how == 0 || how == 3) { /* from outside; 3: before it was even begun */
            while (how == 0 && !r->datas)
                loop_turn(loop, true);
            call_cancel(r->call);
        } else if (how == 4) { /* while the request is under way */
            until(&s->requests, 4);
            call_cancel(r->call);
        }
        while (multi_calls(multi))
            loop_turn(loop, true);
        if (how != 3)
            until(&s->gone, how == 4 ? 4 : how + 1);
        ck_assert_int_eq(r->dones, 0);
        rec_free(r);
    }
}
END_TEST

START_TEST(cancel_of_another_from_a_sink) {
    struct server *s = server_new(script_stream);
    use(s);
    struct call_spec spec = spec_of("{}");
    for (int begun = 0; begun < 2; begun++) {
        struct rec *a = rec_new(), *b = rec_new();
        char *body = strdup("{\"mine\":1}");
        begin(a, &spec);
        struct call_spec other = spec_of(body);
        if (begun)
            begin(b, &other);
        a->cancel_other = begun ? b : NULL;
        a->cancel_data = true;
        while (!a->datas)
            loop_turn(loop, true);
        free(body); /* b was cancelled: its body is not read any more */
        ck_assert_uint_eq(multi_calls(multi), 0);
        sleep_ms(10);
        ck_assert_int_eq(a->dones + b->dones, 0);
        rec_free(a);
        rec_free(b);
    }
}
END_TEST

START_TEST(stop) {
    struct server *s = server_new(script_stream);
    use(s);
    for (int i = 0; i < 2; i++) {
        struct call_spec spec = spec_of("{}");
        struct rec *r = rec_new();
        r->stop_head = i == 0;
        r->stop_data = i == 1;
        begin(r, &spec);
        finish(r);
        ck_assert_int_eq(r->r.error, CALL_STOPPED);
        ck_assert_int_eq(r->datas, i);
        until(&s->gone, i + 1);
        rec_free(r);
    }
}
END_TEST

START_TEST(multi_free_cancels_what_is_left) {
    struct server *s = server_new(script_stream);
    use(s);
    struct call_spec spec = spec_of("{}");
    struct rec *r = rec_new();
    begin(r, &spec);
    while (!r->datas)
        loop_turn(loop, true);
    multi_free(multi);
    ck_assert_int_eq(r->dones, 0);
    upstream_free(up);
    up = NULL;
    multi = multi_new(loop);
    rec_free(r);
}
END_TEST

/* --- large requests --- */

static void script_digest(struct server *s, int fd, int nth) {
    (void)nth;
    while (hear(s, fd)) {
        char out[256];
        pthread_mutex_lock(&s->lock);
        struct str all = buf_str(&s->last);
        struct str body = str_skip(all, (size_t)str_find(all, STR("\r\n\r\n")) + 4);
        snprintf(out, sizeof out, OK_HEAD "Content-Length: 16\r\n\r\n%016llx",
                 (unsigned long long)hash64(body.p, body.n));
        pthread_mutex_unlock(&s->lock);
        say(fd, out);
    }
}

START_TEST(large_bodies) {
    struct server *s = server_new(script_digest);
    use(s);
    char *text = big_text();
    static const size_t sizes[] = {1, 16000, 65535, 65536, 65537, 1024 * 1024 + 1, BIG, 10};
    int late = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct call_spec spec = spec_of("");
        char want[32];
        spec.body = str_make(text, sizes[i]);
        struct rec *r = ask(&spec);
        snprintf(want, sizeof want, "%016llx", (unsigned long long)hash64(text, sizes[i]));
        ck_assert_int_eq(r->r.error, CALL_OK);
        ck_assert(str_is(buf_str(&r->body), want));
        ck_assert_uint_ge(r->r.bytes_out, sizes[i]);
        late += r->r.total_ms >= eased(900) && sizes[i] > 1024 * 1024;
        rec_free(r);
    }
    ck_assert_int_lt(late, 2); /* no waiting for "100 Continue"; one may be late on a busy machine */
    free(text);
}
END_TEST

START_TEST(early_answer) {
    struct server *s = server_new(script_early_401);
    use(s);
    char *text = big_text();
    for (int i = 0; i < 20; i++) {
        struct rec *r = ask_body(text);
        ck_assert_msg(r->r.error == CALL_OK, "%d: %s", i, call_error_text(r->r.error));
        ck_assert_int_eq(r->status, 401);
        ck_assert(str_is(buf_str(&r->body), "{\"error\": 1}"));
        rec_free(r);
    }
    free(text);
}
END_TEST

/* The head comes before the body has been read; by then the caller's short body may be gone (call.h). */
static void script_early_200(struct server *s, int fd, int nth) {
    (void)nth;
    int small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    char head[64];
    if (recv(fd, head, sizeof head, 0) <= 0)
        return;
    say(fd, OK_HEAD "Content-Length: 2\r\n\r\n");
    while (atomic_load(&s->gone) == 0) /* until the head has been heard of */
        sched_yield();
    char rest[4096], last = 0;
    for (size_t n = sizeof head; n < 30000;) {
        ssize_t did = recv(fd, rest, sizeof rest, 0);
        if (did <= 0)
            return;
        n += (size_t)did;
        last = rest[did - 1];
    }
    say(fd, last == 'x' ? "{}" : "??");
    wait_gone(s, fd);
}

START_TEST(early_answer_to_a_short_body) {
    struct server *s = server_new(script_early_200);
    use(s);
    char *body = malloc(CALL_BODY_COPIED + 1);
    ck_assert(body != NULL);
    memset(body, 'x', CALL_BODY_COPIED);
    body[CALL_BODY_COPIED] = '\0';
    struct call_spec spec = spec_of(body);
    struct rec *r = rec_new();
    begin(r, &spec);
    while (!r->heads)
        loop_turn(loop, true);
    memset(body, 'y', CALL_BODY_COPIED);
    atomic_fetch_add(&s->gone, 1);
    finish(r);
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert(str_is(buf_str(&r->body), "{}"));
    rec_free(r);
    free(body);
}
END_TEST

static bool read_piece(void *arg, uint64_t at, void *to, size_t n) {
    size_t *broken_at = arg;
    for (size_t i = 0; i < n; i++)
        ((char *)to)[i] = (char)('a' + (at + i) % 23);
    return !*broken_at || at + n < *broken_at;
}

START_TEST(read_when_sent) {
    struct server *s = server_new(script_digest);
    use(s);
    size_t broken_at = 0;
    char *text = malloc(BIG);
    ck_assert(text != NULL);
    read_piece(&broken_at, 0, text, BIG);
    const struct call_source source = {read_piece, &broken_at, BIG};
    struct call_spec spec = spec_of("");
    spec.source = &source;
    char want[32];
    snprintf(want, sizeof want, "%016llx", (unsigned long long)hash64(text, BIG));
    for (int i = 0; i < 2; i++) {
        struct rec *r = ask(&spec);
        ck_assert_int_eq(r->r.error, CALL_OK);
        ck_assert(str_is(buf_str(&r->body), want));
        rec_free(r);
    }
    broken_at = 1000000;
    struct rec *r = ask(&spec);
    ck_assert_int_eq(r->r.error, CALL_RESET);
    rec_free(r);
    free(text);
}
END_TEST

SCRIPT(script_zstd, { /* an empty frame, RFC 8878 */
                      static const char frame[] = "\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00";
                      say(fd, OK_HEAD "Content-Encoding: zstd\r\nContent-Length: 9\r\n\r\n");
                      say_n(fd, frame, 9);
})

/* The first such answer is lost, the next one is libcurl's, if it knows the coding. */
START_TEST(coding_that_only_libcurl_knows) {
    struct server *s = server_new(script_zstd);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_PROTOCOL);
    rec_free(r);
    r = ask_body("{}");
    ck_assert(r->r.error == CALL_OK || r->r.error == CALL_PROTOCOL);
    ck_assert_int_eq(r->heads, 1);
    rec_free(r);
}
END_TEST

/* --- kept connections --- */

static void script_stray(struct server *s, int fd, int nth) {
    if (!hear(s, fd))
        return;
    say(fd, OK_HEAD "Content-Length: 5\r\n\r\n");
    say(fd, nth ? "right" : "first");
    if (nth)
        return;
    while (atomic_load(&s->gone) == 0) /* until the answer is over: then one that nobody asked for */
        sched_yield();
    say(fd, OK_HEAD "Content-Length: 5\r\n\r\nstray");
    atomic_fetch_add(&s->gone, 1);
    hear(s, fd);
}

struct stray {
    struct server *server;
    struct rec *second;
    struct call_spec spec;
};

/* In the turn of the loop in which the first ends, so that it is not seen what has come meanwhile. */
static void ask_behind_the_stray(void *arg) {
    struct stray *t = arg;
    atomic_fetch_add(&t->server->gone, 1);
    while (atomic_load(&t->server->gone) < 2)
        sched_yield();
    begin(t->second, &t->spec);
}

START_TEST(what_nobody_asked_for_is_no_answer) {
    struct stray t = {.server = server_new(script_stray), .second = rec_new()};
    use(t.server);
    t.spec = spec_of("{}");
    struct rec *first = rec_new();
    first->then = ask_behind_the_stray;
    first->then_arg = &t;
    begin(first, &t.spec);
    finish(first);
    ck_assert(str_is(buf_str(&first->body), "first"));
    rec_free(first);
    finish(t.second);
    ck_assert_int_eq(t.second->r.error, CALL_OK);
    ck_assert(str_is(buf_str(&t.second->body), "right"));
    rec_free(t.second);
}
END_TEST

/* Answers each connection's first request and hears the second, which is carried out perhaps. */
static void script_dies_at_work(struct server *s, int fd, int nth) {
    (void)nth;
    if (!hear(s, fd))
        return;
    while (atomic_load(&s->requests) < 8) /* so that each call has a connection of its own */
        sched_yield();
    say(fd, OK_HEAD "Content-Length: 2\r\n\r\n{}");
    if (hear(s, fd))
        atomic_fetch_add(&s->gone, 1);
}

START_TEST(said_twice_at_most) {
    struct server *s = server_new(script_dies_at_work);
    use(s);
    struct rec *r[8];
    struct call_spec spec = spec_of("{}");
    for (int i = 0; i < 8; i++)
        begin(r[i] = rec_new(), &spec);
    for (int i = 0; i < 8; i++) {
        finish(r[i]);
        rec_free(r[i]);
    }
    ck_assert_int_eq(atomic_load(&s->accepted), 8);
    struct rec *again = ask(&spec);
    ck_assert_int_eq(again->r.error, CALL_OK);
    ck_assert_int_eq(atomic_load(&s->gone), 1); /* heard on one kept connection, answered on a new one */
    ck_assert_int_eq(atomic_load(&s->accepted), 9);
    ck_assert(!again->r.reused);
    rec_free(again);
}
END_TEST

/* As the one above, but nobody listens any more when it is said again. */
static void script_last(struct server *s, int fd, int nth) {
    (void)nth;
    if (!hear(s, fd))
        return;
    say(fd, OK_HEAD "Content-Length: 2\r\n\r\n{}");
    recv(fd, &nth, 1, MSG_PEEK);
    shutdown(s->fd, SHUT_RDWR);
    hear(s, fd);
}

START_TEST(sent_though_not_connected) {
    struct server *s = server_new(script_last);
    use(s);
    rec_free(ask_body("{}"));
    struct rec *r = ask_body("{}");
    ck_assert_msg(r->r.error == CALL_RESET, "%s", call_error_text(r->r.error));
    rec_free(r);
}
END_TEST

START_TEST(many_paths_before_the_first_connection) {
    static char paths[40][16];
    struct server *s = server_new(script_plain);
    use(s);
    struct rec *r[40];
    for (int i = 0; i < 40; i++) {
        struct call_spec spec = spec_of("{}");
        snprintf(paths[i], sizeof paths[i], "/m/%d", i);
        spec.path = paths[i];
        begin(r[i] = rec_new(), &spec);
    }
    for (int i = 0; i < 40; i++) {
        finish(r[i]);
        ck_assert_msg(r[i]->r.error == CALL_OK, "%d: %s", i, call_error_text(r[i]->r.error));
        rec_free(r[i]);
    }
}
END_TEST

void add_flow(TCase *t) {
    tcase_add_test(t, pause_and_resume);
    tcase_add_test(t, paused_holds_little_and_does_not_time_out);
    tcase_add_test(t, cancel_closes_the_connection);
    tcase_add_test(t, cancel_of_another_from_a_sink);
    tcase_add_test(t, stop);
    tcase_add_test(t, multi_free_cancels_what_is_left);
    tcase_add_test(t, large_bodies);
    tcase_add_test(t, early_answer);
    tcase_add_test(t, read_when_sent);
}

void add_plain(TCase *t) {
    tcase_add_test(t, early_answer_to_a_short_body);
    tcase_add_test(t, what_nobody_asked_for_is_no_answer);
    tcase_add_test(t, said_twice_at_most);
    tcase_add_test(t, sent_though_not_connected);
    tcase_add_test(t, many_paths_before_the_first_connection);
    tcase_add_test(t, coding_that_only_libcurl_knows);
}
