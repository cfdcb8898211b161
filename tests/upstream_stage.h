/* The stage of check_upstream: a scripted server on raw sockets, one thread a connection, each script saying
 * byte by byte what a provider (or something that is none) does; and a caller that records what its sink is
 * told. Nothing outside this machine is asked. */
#ifndef PENSTOCK_TESTS_UPSTREAM_STAGE_H
#define PENSTOCK_TESTS_UPSTREAM_STAGE_H
#include "base/buf.h"
#include "base/loop.h"
#include "upstream/call.h"
#include "upstream/provider.h"
#include <check.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

TCase *case_table(void);
void add_calls(TCase *t); /* over either transport */
void add_flow(TCase *t);
void add_plain(TCase *t); /* what only plain.c does so */
TCase *case_tls(void);
TCase *case_mock(void);

struct server {
    int fd;
    int port;
    void (*script)(struct server *s, int fd, int nth);
    atomic_int accepted, requests, gone; /* gone: the peer closed while a script waited for it */
    SSL_CTX *tls;
    pthread_t thread;
    pthread_mutex_t lock;
    struct buf last;   /* the last request, under lock */
    atomic_int active; /* connections' threads */
    struct server *next;
};

#define OK_HEAD           "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define SCRIPT(name, ...) /* hears one request and does the rest */                                          \
    static void name(struct server *s, int fd, int nth) {                                                    \
        (void)nth;                                                                                           \
        if (!hear(s, fd))                                                                                    \
            return;                                                                                          \
        __VA_ARGS__;                                                                                         \
    }

extern struct loop *loop;
extern struct multi *multi;
extern struct upstream *up;
extern struct conf_provider conf;
extern struct conf_key keys[2];
extern char url[128];
extern const struct call_sink sink;

struct rec {
    struct call *call;
    int heads, datas, dones, status;
    struct buf body, headers;
    struct call_result r;
    size_t full_each; /* say FLOW_FULL after so many bytes, each time */
    size_t since;
    bool stop_head, stop_data, cancel_head, cancel_data;
    struct rec *cancel_other;
    bool was_full;
    void (*then)(void *arg); /* at its end */
    void *then_arg;
};

enum { BIG = 5 * 1024 * 1024 };

void say_n(int fd, const void *p, size_t n);
void say(int fd, const char *z);
bool hear(struct server *s, int fd);
void wait_gone(struct server *s, int fd);
void rst(int fd);
int listen_on(int *port, int backlog);
struct server *server_start(void (*script)(struct server *, int, int), SSL_CTX *ctx);
struct server *server_new(void (*script)(struct server *, int, int));
void servers_free(void);
bool heard(struct server *s, const char *text);
void setup(void);
void teardown(void);
void use_url(const char *scheme, int port);
void use(struct server *s);
struct call_spec spec_of(const char *body);
struct rec *rec_new(void);
void rec_free(struct rec *r);
void begin(struct rec *r, const struct call_spec *s);
void finish(struct rec *r);
struct rec *ask(const struct call_spec *s);
struct rec *ask_body(const char *body);
void expect(void (*script)(struct server *, int, int), enum call_error want);
void until(atomic_int *counter, int want);
char *big_text(void);
const struct provider_kind *kind_of(const char *name);
void use_name(const char *name);
void script_plain(struct server *s, int fd, int nth);
void script_early_401(struct server *s, int fd, int nth);
#endif
