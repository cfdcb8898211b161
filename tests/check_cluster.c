/* Unit tests of cluster/: what no server shows. The rest is in the scenes. */
#include "../src/cluster/wire.h"
#include "base/clock.h"
#include <check.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- a name of two addresses, in place of the system's --- */

static struct sockaddr_in two[2];

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hint, struct addrinfo **list) {
    static struct addrinfo info[2];
    (void)host, (void)port;
    if (hint->ai_flags & AI_NUMERICHOST)
        return EAI_NONAME;
    for (int i = 0; i < 2; i++)
        info[i] = (struct addrinfo){.ai_family = AF_INET,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_addrlen = sizeof two[i],
                                    .ai_addr = (struct sockaddr *)(void *)&two[i],
                                    .ai_next = i == 0 ? &info[1] : NULL};
    *list = info;
    return 0;
}

void freeaddrinfo(struct addrinfo *list) {
    (void)list;
}

static int listen_at(struct sockaddr_in *at, int backlog) {
    socklen_t n = sizeof *at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)(void *)at, sizeof *at) == 0);
    ck_assert(listen(fd, backlog) == 0 && getsockname(fd, (struct sockaddr *)(void *)at, &n) == 0);
    return fd;
}

/* A backlog that is full swallows what comes. */
static void fill(const struct sockaddr_in *at, int fd[4]) {
    for (int i = 0; i < 4; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        ck_assert(fd[i] >= 0);
        int rc = connect(fd[i], (const struct sockaddr *)(const void *)at, sizeof *at);
        (void)rc;
    }
}

/* --- the wire --- */

static bool came_up, went_down;

static void up(void *arg) {
    (void)arg;
    came_up = true;
}
static void data(void *arg, const char *p, size_t n) {
    (void)arg, (void)p, (void)n;
}
static void down(void *arg, const char *why) {
    (void)arg, (void)why;
    went_down = true;
}
static void nothing(void *arg) {
    (void)arg;
}

START_TEST(test_an_address_that_swallows_hides_no_other) {
    static const struct wire_sink sink = {up, data, down};
    const struct wire_to to = {.path = "", .host = "two.example", .port = 6379, .ca = ""};
    int full[4], swallows = listen_at(&two[0], 0), takes = listen_at(&two[1], 8);
    fill(&two[0], full);
    struct loop *l = loop_new();
    struct timer turn;
    timer_init(&turn, l, nothing, NULL);
    struct wire *w = wire_open(l, &to, &sink, NULL);
    for (uint64_t until = clock_ms() + 20000; !came_up && !went_down && clock_ms() < until;) {
        timer_set(&turn, 20);
        loop_turn(l, true);
    }
    ck_assert(came_up && !went_down);
    wire_close(w);
    timer_free(&turn);
    loop_free(l);
    for (int i = 0; i < 4; i++)
        close(full[i]);
    close(swallows);
    close(takes);
}
END_TEST

int main(void) {
    Suite *s = suite_create("cluster");
    TCase *t = tcase_create("wire");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_an_address_that_swallows_hides_no_other);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
