/* The gateway behind a real server on loopback, and its client, in one loop. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/server.h"
#include "relay/gateway.h"
#include "surface_cases.h"
#include "under_valgrind.h"

enum { PATIENCE_MS = 10000 };

static struct gateway *gateway;
static struct http_server *server;
static int listener = -1, port;

void (*reload_done)(void *arg, bool ok, unsigned generation, struct str text);
void *reload_arg;

static void take_reload(void *arg,
                        void (*done)(void *done_arg, bool ok, unsigned generation, struct str text),
                        void *done_arg) {
    (void)arg;
    reload_done = done;
    reload_arg = done_arg;
}

static void site_stop(void) {
    if (server)
        http_server_free(server);
    gateway_free(gateway);
    if (listener >= 0)
        close(listener);
    server = NULL;
    gateway = NULL;
    listener = -1;
}

void site_open(void) {
    signal(SIGPIPE, SIG_IGN);
    world_open();
}

void site_close(void) {
    site_stop();
    world_close();
}

static void listen_anywhere(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert(listener >= 0 && bind(listener, (struct sockaddr *)&a, n) == 0 && listen(listener, 16) == 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&a, &n), 0);
    port = ntohs(a.sin_port);
}

void site_load(const char *yaml) {
    char err[256] = "";
    site_stop();
    world_load(yaml);
    struct gateway_env env = {
        .loop = w.loop, .multi = w.multi, .shm = w.shm, .conf = w.conf, .reload = take_reload};
    gateway = gateway_new(&env, err);
    ck_assert_msg(gateway != NULL, "%s", err);
    struct http_handler h = {gateway_request, gateway_error_body, gateway};
    server = http_server_new(w.loop, &(struct http_limits){0}, &h);
    listen_anywhere();
    http_server_listen(server, listener, NULL, SURFACE_ALL);
}

static int start_to(const char *host, const char *method, const char *target, const char *headers) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    struct str s = arena_printf(w.a, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", method,
                                target, host, headers);
    ck_assert_int_eq(send(fd, s.p, s.n, MSG_NOSIGNAL), (ssize_t)s.n);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

int talk_start(const char *method, const char *target, const char *headers) {
    return start_to("a", method, target, headers);
}

/* Turns of the loop until the server has closed. */
static struct str hear(int fd) {
    struct buf b;
    buf_init(&b, 0);
    ssize_t n;
    for (uint64_t since = clock_ms();;) {
        loop_turn(w.loop, false);
        while ((n = recv(fd, buf_room(&b, 65536), 65536, 0)) > 0)
            buf_commit(&b, (size_t)n);
        if (n == 0)
            break;
        ck_assert(errno == EAGAIN && clock_ms() - since < eased(PATIENCE_MS));
    }
    close(fd);
    struct str s = arena_dup(w.a, buf_str(&b));
    buf_free(&b);
    return s;
}

struct answer talk_end(int fd) {
    struct str all = hear(fd);
    ptrdiff_t end = str_find(all, STR("\r\n\r\n"));
    uint64_t status;
    ck_assert_msg(end > 12 && str_starts(all, "HTTP/1.1 "), STR_FMT, STR_ARG(all));
    ck_assert(str_u64(str_make(all.p + 9, 3), &status));
    return (struct answer){(int)status, str_make(all.p, (size_t)end + 2), str_skip(all, (size_t)end + 4)};
}

struct answer talk(const char *method, const char *target, const char *headers) {
    return talk_end(talk_start(method, target, headers));
}

struct answer talk_to(const char *host, const char *method, const char *target, const char *headers) {
    return talk_end(start_to(host, method, target, headers));
}

struct answer get(const char *target, const char *key) {
    return talk("GET", target, *key ? arena_printf(w.a, "Authorization: Bearer %s\r\n", key).p : "");
}

struct str header_of(const struct answer *a, const char *name) {
    struct str rest = a->head, line;
    while (str_next(&rest, '\n', &line)) {
        size_t n = strlen(name);
        if (str_startsi(line, name) && line.n > n && line.p[n] == ':')
            return str_trim(str_make(line.p + n + 1, line.n - n - 2));
    }
    return STR_NONE;
}

struct json_object *json_of(const struct answer *a) {
    struct json_error e;
    ck_str(header_of(a, "content-type"), "application/json");
    struct json_object *o = json_tree(a->body, &e);
    ck_assert_msg(o != NULL, STR_FMT, STR_ARG(a->body));
    return chat_hold(w.a, o);
}

void has_members(struct json_object *o, const char *names) {
    struct str rest = str_of(names), one;
    size_t n = 0;
    while (str_next(&rest, ' ', &one)) {
        ck_assert_msg(json_object_object_get_ex(o, arena_dupz(w.a, one), NULL), "no %.*s in %s", STR_ARG(one),
                      json_object_to_json_string(o));
        n++;
    }
    ck_assert_msg((size_t)json_object_object_length(o) == n, "%s: %s", names, json_object_to_json_string(o));
}

void is_error(const struct answer *a, int status, const char *type, const char *says) {
    ck_assert_msg(a->status == status, "%d: " STR_FMT, a->status, STR_ARG(a->body));
    struct json_object *o = json_of(a);
    has_members(o, "error");
    has_members(jo_obj(o, "error"), "message type param code");
    ck_str(jo_str(jo_obj(o, "error"), "type"), type);
    ck_assert_msg(str_find(jo_str(jo_obj(o, "error"), "message"), str_of(says)) >= 0, STR_FMT,
                  STR_ARG(a->body));
}

uint32_t entity(enum entity_kind kind, const char *name) {
    return shm_entity(w.shm, kind, str_of(name));
}
