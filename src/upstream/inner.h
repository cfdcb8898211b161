/* What the files of this room know of each other. A call is common life (life.c: timers, cancelling, the one
 * end) over one of three transports: libcurl (call.c and call_*.c, on multi.c), plain HTTP/1.1 over a
 * connection that libcurl made (plain.c), or the built-in provider (mock.c). No curl types in here. */
#ifndef PENSTOCK_UPSTREAM_INNER_H
#define PENSTOCK_UPSTREAM_INNER_H
#include "upstream/call.h"

#define CALL_MAGIC     0x63616c6cU
#define UPSTREAM_MAGIC 0x75707374U
#define MULTI_MAGIC    0x6d756c74U

struct link { /* of a ring with a head; next is NULL when in none */
    struct link *next, *prev;
};
static inline void link_head(struct link *h) {
    h->next = h->prev = h;
}
static inline void link_add(struct link *h, struct link *n) {
    n->next = h;
    n->prev = h->prev;
    n->prev->next = n;
    h->prev = n;
}
static inline void link_cut(struct link *n) {
    if (!n->next)
        return;
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = NULL;
}
#define LINK_OWNER(l, type, member) ((type *)(void *)((char *)(l)-offsetof(type, member)))

struct call_ops {
    void (*start)(struct call *c);   /* from the loop, never inside curl */
    void (*resume)(struct call *c);  /* likewise; c->paused says what is still wanted */
    void (*abort)(struct call *c);   /* likewise; nothing is delivered any more, the connection is closed */
    void (*release)(struct call *c); /* the memory goes back; aborted or ended before */
};

enum call_state { CALL_IDLE, CALL_RUNNING, CALL_DONE };
enum { WORK_START = 1, WORK_RESUME = 2, WORK_UPLOAD = 4, WORK_FAIL = 8 };
struct call {
    unsigned magic;
    enum call_state state;
    unsigned todo;           /* WORK_...: what multi_work() shall do with it; then on multi->work */
    enum call_error verdict; /* ours, over anything the transport says */
    bool doomed;             /* cancelled inside a callback: no sink function is called any more */
    bool connected, paused, first_byte;
    const struct call_ops *ops;
    struct multi *multi;
    struct upstream *upstream;
    struct link in_multi, in_upstream, in_work, in_doomed;
    struct call_sink sink;
    void *arg;
    struct call_result result;
    uint64_t start_ms, last_ms;                           /* of the loop's clock */
    uint64_t limit_first_ms, limit_idle_ms, limit_all_ms; /* 0: none */
    struct timer timer;
};

/* life.c, for the transports */
void call_init(struct call *c, struct multi *m,
               const struct call_ops *ops); /* once, when its memory is new */
void call_fini(struct call *c);             /* once, before its memory goes */
void call_begin(struct call *c, const struct call_spec *spec, const struct call_sink *sink, void *arg);
void call_finish(struct call *c, enum call_error e); /* from the loop only: done, then release */
void call_todo(struct call *c);                      /* for multi_work: does what was asked */
void call_doomed(struct call *c);                    /* for multi_leave: ends it without a word */
/* To the sink, also from inside curl (between multi_enter and multi_leave). Only FLOW_OK means "taken" or "go
 * on"; FLOW_STOP: stop delivering, the end comes by itself or by call_finish(c, c->verdict). */
enum flow call_head(struct call *c, int status, const struct call_header *headers, size_t n);
enum flow call_data(struct call *c, const char *p, size_t n);

/* multi.c */
struct loop *multi_loop(struct multi *m);
void multi_enter(struct multi *m); /* sink functions may be called: cancelling is put off */
void multi_leave(struct multi *m); /* what was cancelled meanwhile is ended */
bool multi_inside(const struct multi *m);
void multi_add(struct multi *m, struct call *c); /* counted as running */
void multi_remove(struct multi *m, struct call *c);
void multi_work(struct multi *m, struct call *c, unsigned todo); /* at the end of this turn */
void multi_doom(struct multi *m, struct call *c);
int multi_current_fd(const struct multi *m);      /* the descriptor that libcurl is being driven for, or -1 */
void *multi_curl(struct multi *m);                /* CURLM */
void multi_opt_easy(struct multi *m, void *easy); /* the socket callbacks */
void multi_broken(struct multi *m); /* libcurl has lost itself: a new multi handle at the end of this turn */

void multi_uploading(struct multi *m, int fd,
                     struct call *c); /* wire_closing(c, fd) when it closes; NULL: no more */

/* Whose an easy handle is, as its CURLOPT_PRIVATE: told of its CURLMSG_DONE, from the loop. */
struct easy_owner {
    void (*ended)(struct easy_owner *o, int curl_code);
};
void multi_give_up(struct multi *m, int fd); /* the next "close" of fd leaves it open: it is the caller's */

/* call_upload.c, for multi.c */
void wire_closing(struct call *c, int fd); /* before the connection under an upload is closed */

/* call_connect.c: a connection to an upstream's address and nothing more: names, several addresses, the time
 * that it may take are libcurl's business. */
struct connect;
typedef void connect_fn(void *arg, int fd,
                        enum call_error e); /* from the loop, once; fd, or why there is none */
struct connect *connect_begin(struct upstream *u, connect_fn *done, void *arg);
void connect_cancel(struct connect *k); /* done is not called */

/* plain.c */
struct plain; /* the kept connections of one upstream */
struct plain *plain_new(struct multi *m, struct upstream *u);
void plain_free(struct plain *p);
/* target: path and query. lines: all header lines but Content-Length, and the empty one; they live as long as
 * the upstream, or are given away with `own` (NULL: they are not), which is wiped in the end. */
struct call *plain_call(struct plain *p, const struct call_spec *s, struct str target, struct str lines,
                        struct buf *own);
bool plain_fits(const struct plain *p); /* false once its answers came in a coding that only libcurl undoes */

/* mock.c */
struct mock_memory; /* of one upstream: what "fail=N" counts */
struct mock_memory *mock_memory_new(void);
void mock_memory_free(struct mock_memory *m);
struct call *mock_call(struct multi *m, struct mock_memory *memory, const struct call_spec *spec);

/* call.c and call_upstream.c, for life.c */
/* A call of the right transport with the request in it, not begun. */
struct call *upstream_call(struct multi *m, const struct call_spec *spec);
struct link *upstream_calls(struct upstream *u);
#endif
