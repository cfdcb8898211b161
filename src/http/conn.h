/* What server.c, conn.c and exchange.c share. */
#ifndef PENSTOCK_SRC_HTTP_CONN_H
#define PENSTOCK_SRC_HTTP_CONN_H
#include "base/buf.h"
#include "http/server.h"
#include "io.h"
#include "parse.h"
#include "text.h"
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>

enum {
    SCRATCH_SIZE = 64 << 10, /* most bytes of one read */
    HELD_MAX = 64 << 10,     /* bytes kept of a client that sends what nobody asked for yet */
    DRAIN_MAX = 64 << 10,    /* rest of a body that is read away to keep the connection */
    LINGER_MAX = 256 << 10,  /* bytes read away before a close */
    LINGER_MS = 2000,
    PROBE_MS = 500,      /* while reading is paused: how often to look whether the client left */
    BODY_TICK_MS = 1000, /* how often a body's rate is checked */
    QUIET_MS = 300,      /* an idle connection's grace, and the least time of a drain */
    REJECT_MAX = 64,     /* connections over the bound that get a proper 503 at one time */
};

enum conn_state {
    CONN_TLS,    /* handshake */
    CONN_IDLE,   /* between requests, or before the first: no byte of one has come */
    CONN_HEAD,   /* part of a head has come */
    CONN_BUSY,   /* an exchange is open: its owner has it */
    CONN_FLUSH,  /* the answer is complete, bytes of it still wait for the client */
    CONN_DRAIN,  /* the answer is sent, a small rest of the request's body is read away */
    CONN_LINGER, /* all is said: reading away until the client closes, so that it sees the answer and no reset
                  */
    CONN_DEAD,   /* the descriptor is closed; freed by the task */
};

enum body_state {
    BODY_UNREAD,  /* nobody asked for it yet (or there is none) */
    BODY_READING, /* the owner waits for it */
    BODY_DONE,    /* complete, handed over */
    BODY_FAILED,  /* refused (413, 408, 400): what comes is thrown away, the connection closes */
};

enum answer_state {
    ANSWER_NONE,
    ANSWER_BEGUN,   /* the head is written (or queued) */
    ANSWER_NO_BODY, /* begun, and what the owner writes is dropped: HEAD, 204, 304 */
};

/* How long an answer is. Values >= 0 are a content-length. */
enum { LENGTH_CHUNKED = -1, LENGTH_UNTIL_CLOSE = -2, LENGTH_NONE = -3 /* 204, 304: nothing is said */ };

struct conn;

#define XCHG_MAGIC 0x65786368u
struct xchg {
    struct exchange x; /* first: the rooms above hold a pointer to it */
    uint32_t magic;
    struct conn *conn;
    enum body_state body_state;
    enum answer_state answer;
    bool http10;
    bool client_keeps; /* the client would go on with the connection */
    bool expects_continue;
    bool chunked_in;
    bool chunked_out;
    bool until_close;      /* HTTP/1.0, length unknown */
    bool full;             /* FLOW_FULL was said: on_drain is owed */
    bool over;             /* on_gone is being called: nothing is taken any more */
    bool kept;             /* the client is gone, the owner goes on: all that it writes is dropped */
    uint64_t out_left;     /* of a declared length, if neither chunked nor until_close */
    uint64_t in_left;      /* of a declared request body */
    uint64_t in_bytes;     /* of the body on the wire since body_from_ms, for its rate */
    uint64_t body_from_ms; /* when the owner began to wait, or the body was last in time */
    uint64_t body_tick_ms; /* when its rate is looked at next */
    uint64_t body_n, body_max;
    struct buf body; /* unless it goes out in pieces */
    struct chunks chunks;
    int (*body_piece)(struct exchange *x, struct str bytes);
    void (*body_done)(struct exchange *x, int status);
};

#define CONN_MAGIC 0x636f6e6eu
struct conn {
    uint32_t magic;
    enum conn_state state;
    struct http_server *server;
    struct conn *next, *prev;
    struct io io;
    struct event ev_read, ev_write;
    struct timer timer;
    struct task task;
    struct arena *arena; /* of the head being read, then of the exchange */
    struct head *head;
    struct xchg *x;
    struct buf in;        /* bytes that came and could not be used yet */
    struct buf out;       /* bytes that the socket did not take yet, or a head held back for its body */
    struct str window;    /* while pumping: what is left of the bytes at hand */
    uint64_t deadline_ms; /* of the state (TLS, IDLE, HEAD, DRAIN, LINGER) */
    uint64_t blocked_ms;  /* since when the socket takes nothing */
    uint64_t probe_ms;    /* while reading is paused: when to look whether the client left */
    uint64_t started_ns;  /* of the head */
    uint64_t rest;        /* of the request's body when its answer was complete; UINT64_MAX: unknown */
    size_t discarded;     /* bytes thrown away in this state */
    unsigned surfaces;
    char peer[INET6_ADDRSTRLEN];
    bool loopback;
    bool reading;    /* ev_read is on */
    bool blocked;    /* ev_write is on: the socket is full */
    bool read_waits; /* TLS must write before it can read */
    bool pumping;    /* conn_pump is on the stack */
    bool keep;       /* the connection goes on after this answer */
    bool linger;     /* it does not, and the client may still be sending */
    bool cut;        /* close at once after the flush: the answer is broken on purpose */
    bool reset;      /* HTTP/1.0 without a length, not complete yet: only RST tells that it is cut */
    bool eof;        /* the client sent its last byte */
    bool rejected;   /* over max_connections */
};

struct listener {
    struct listener *next;
    struct http_server *server;
    int fd;
    struct http_tls *tls;
    unsigned surfaces;
    struct event ev;
};

struct http_server {
    struct loop *loop;
    struct http_limits lim;
    struct http_handler handler;
    struct listener *listeners;
    struct conn conns; /* the list's head */
    unsigned nconns, nrejected, nexchanges;
    uint64_t accepted;
    uint64_t starved_ms; /* when descriptors were last exhausted */
    struct timer accept_timer;
    bool draining;
    bool drain_waited; /* QUIET_MS have passed */
    void (*drained)(void *arg);
    void *drained_arg;
    struct timer drain_timer;
    struct buf text; /* scratch: the head of an answer */
    int64_t date_s;
    char date[HTTP_DATE_BYTES]; /* of that second */
    char *scratch;              /* SCRATCH_SIZE */
};

/* conn.c */
struct conn *conn_new(struct http_server *s, int fd, const struct listener *l, bool rejected);
void conn_free(struct conn *c);
void conn_close(struct conn *c); /* at once; freed by its task, after on_gone if an exchange is open */
void conn_error(struct conn *c, int status, const char *why); /* an answer of the server itself, then close */
void conn_send(struct conn *c, const struct iovec *iov, int n);
void conn_hold(struct conn *c,
               struct str text);    /* goes with the next conn_send, or at the end of this turn */
void conn_let_go(struct conn *c);   /* of a kept exchange, which is over: frees both */
void conn_answered(struct conn *c); /* the owner is done with the exchange: frees it */
void conn_pump(struct conn *c, struct str fresh);
void conn_settle(struct conn *c);  /* read interest and timer as the state wants them */
void conn_quiet(struct conn *c);   /* a drain began */
void conn_end_now(struct conn *c); /* the server ends: on_gone at once, and freed */

/* exchange.c */
void xchg_open(struct conn *c);                /* of c->head, which is complete */
uint64_t xchg_body_rest(const struct xchg *x); /* UINT64_MAX: unknown */
bool xchg_body_step(struct xchg *x);           /* feeds the window to the body; false: needs more */
void xchg_body_fail(struct xchg *x, int status);
void xchg_body_tick(struct xchg *x, uint64_t now_ms);
/* connection: NULL or the field's value */
void answer_head(struct http_server *s, int status, const struct http_header *h, size_t n, int64_t length,
                 const char *connection);

/* server.c */
void server_conn_gone(struct http_server *s);
#endif
