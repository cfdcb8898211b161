/* One call to a provider: the only door to plain connections (src/upstream/plain.c), to libcurl (call*.c, multi.c) and to
 * the built-in mock.
 * All from the worker's one thread; nothing here is ever called back from inside call_start or call_cancel. */
#ifndef PENSTOCK_UPSTREAM_CALL_H
#define PENSTOCK_UPSTREAM_CALL_H
#include "base/flow.h"
#include "base/loop.h"
#include "base/str.h"
#include "conf/conf.h"

enum call_error {
    CALL_OK,              /* the answer is whole as HTTP goes; its status may still be an error */
    CALL_RESOLVE,
    CALL_CONNECT,         /* refused, unreachable */
    CALL_TLS,
    CALL_RESET,           /* the connection broke before the answer was whole */
    CALL_PROTOCOL,        /* not HTTP, endless headers, a wrong content-length */
    CALL_TOO_LARGE,       /* headers over their bound */
    CALL_AUTH,            /* the token endpoint refused the provider's key */
    CALL_TIMEOUT_CONNECT,
    CALL_TIMEOUT_FIRST_BYTE, /* no byte of the answer's body (or head, when it has no body) in time */
    CALL_TIMEOUT_IDLE,    /* between two bytes, while not paused by us */
    CALL_TIMEOUT_TOTAL,
    CALL_STOPPED,         /* the sink said FLOW_STOP */
    CALL_ERRORS
};
const char *call_error_text(enum call_error e); /* for clients and records: names no host, no key */
bool call_error_is_timeout(enum call_error e);

struct call_header {
    struct str name, value; /* name in lower case */
};
struct call_result {
    enum call_error error;
    int status;                    /* 0: none came */
    uint64_t first_byte_ms, total_ms; /* since call_start; first_byte 0: none came */
    uint64_t bytes_in, bytes_out;
    bool reused;                   /* the connection was kept from before */
};
struct call_sink {
    /* The head of the final answer (not 1xx). Slices live during the call. FLOW_STOP ends it (CALL_STOPPED). */
    enum flow (*head)(void *arg, int status, const struct call_header *headers, size_t n);
    /* FLOW_OK: taken. FLOW_FULL: NOT taken; the same bytes come again after call_resume. FLOW_STOP: end it. */
    enum flow (*data)(void *arg, const char *p, size_t n);
    /* Exactly once, unless cancelled before; from the loop. The call is freed after it returns. */
    void (*done)(void *arg, const struct call_result *r);
};

#define CALL_BODY_COPIED ((size_t)32 << 10) /* libcurl copies what is shorter than 64 KiB before it sends (its lib/http.c), plain.c what is not sent by then */

/* A body that is read when it is sent, and perhaps once more from the beginning. */
struct call_source {
    /* n bytes from `at` on, all of them; false: they cannot be had (the call ends with CALL_RESET). */
    bool (*read)(void *arg, uint64_t at, void *to, size_t n);
    void *arg;
    uint64_t n; /* of all */
};

struct upstream; /* one configured provider: connections, TLS, proxy, URL prefix. Made per worker after the fork */
struct call_spec {
    struct upstream *upstream;
    const char *path;           /* behind the base URL: "/chat/completions" */
    const struct conf_key *key; /* NULL: none */
    const struct call_header *headers; /* besides the provider's own; checked against CR and LF */
    size_t nheaders;
    struct str body;            /* must live until done or cancel, or if it is not longer than CALL_BODY_COPIED until
                                 * head is called; empty and get: a GET */
    const struct call_source *source; /* in place of body; lives as long */
    bool get, stream;           /* stream: Accept: text/event-stream, identity coding */
    const char *method;         /* NULL: GET or POST; static */
    bool rare;                  /* the path is hardly asked for again: nothing is kept for it */
    uint64_t total_ms;          /* 0: the provider's; the smaller of both counts */
    uint64_t first_byte_ms;     /* 0: the provider's */
    struct str mock;            /* the client's x-penstock-mock header, for the mock */
};
struct call;
struct multi; /* all calls of a worker, and its curl multi on its loop */
struct multi *multi_new(struct loop *l);
void multi_free(struct multi *m); /* cancels what is left */
unsigned multi_calls(const struct multi *m);

struct upstream *upstream_new(struct multi *m, const struct conf_provider *p, char err[256]);
void upstream_free(struct upstream *u);
const struct conf_provider *upstream_conf(const struct upstream *u);

/* Never NULL: what cannot be started ends in done with an error. */
struct call *call_start(struct multi *m, const struct call_spec *spec, const struct call_sink *sink, void *arg);
void call_cancel(struct call *c); /* done is not called; the connection is closed within this turn of the loop */
void call_resume(struct call *c); /* after FLOW_FULL; deferred */
#endif
