/* One request and its answer on a connection, as the rooms above see it.
 *
 * Life: the server calls handler.request() when a head is complete and legal; from then on the owner has the
 * exchange until it answers to the end (exchange_reply, exchange_end, exchange_abort) or until on_gone is called.
 * After any of these the exchange must not be touched. All calls come from the worker's one thread.
 * RFC 9110, RFC 9112. */
#ifndef PENSTOCK_HTTP_EXCHANGE_H
#define PENSTOCK_HTTP_EXCHANGE_H
#include "base/arena.h"
#include "base/flow.h"
#include "base/str.h"

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER };

struct http_header {
    struct str name, value; /* value without the white space around it */
};

struct exchange {
    /* Read-only for the owner. Slices live as long as the exchange. */
    struct arena *arena; /* of the exchange: freed with it */
    enum http_method method;
    struct str method_name;
    struct str target;         /* as sent, origin-form (absolute-form is cut down to it) */
    struct str path, query;    /* target cut at '?'; path with percent-escapes as sent */
    const struct http_header *headers;
    size_t nheaders;
    int64_t content_length;    /* -1: chunked; 0: none */
    struct str body;           /* whole, after exchange_read_body called back with 0 */
    struct str peer;           /* "192.0.2.1", "unix" */
    bool peer_loopback;        /* true for a unix socket */
    unsigned surfaces;         /* the listener's mask */
    uint64_t started_ns;       /* clock_ns() of the first byte of the head */
    uint64_t bytes_in, bytes_out; /* so far, heads included; out: handed over, not yet received */

    /* Set by the owner; may be NULL. */
    void *owner;
    /* The client left before the answer was complete: the last call (the done of exchange_read_body does not come
     * after it). Never from inside a call of the owner. A client that half-closes has left too, as for nginx. Must
     * be set by an owner that does not answer before it returns. */
    void (*on_gone)(struct exchange *x);
    void (*on_drain)(struct exchange *x); /* after FLOW_FULL: there is room again (below EXCHANGE_LOW) */
    /* Further headers of the answer, whichever it is; headers: those it has. At most EXCHANGE_MORE. NULL: none. */
    size_t (*more)(struct exchange *x, const struct http_header *headers, size_t n, struct http_header *out);
    const void *more_arg;
};
enum { EXCHANGE_MORE = 4 };

/* Bytes queued for a slow client: exchange_write says FLOW_FULL above HIGH, on_drain comes below LOW. */
#define EXCHANGE_HIGH (64u << 10)
#define EXCHANGE_LOW  (16u << 10)

struct str exchange_header(const struct exchange *x, const char *name); /* first of that name, or STR_NONE (p NULL) */
/* All lines of that name as one list (RFC 9110, 5.3). */
struct str exchange_header_list(const struct exchange *x, struct arena *a, const char *name);

/* Reads the body whole into x->body, at most `max` bytes. Calls back once, perhaps before it returns: status 0,
 * or 413, 408, 400 with the body dropped; the owner then answers with that status and the connection closes.
 * Sends 100 Continue if it was expected. Without this call a body that comes is drained (a little) or the
 * connection is closed after the answer: bytes of a refused request are never kept. */
void exchange_read_body(struct exchange *x, size_t max, void (*done)(struct exchange *x, int status));
/* The same in pieces as they come, none of which is kept; x->body stays empty. piece: 0, or the status with which done
 * is called in place of the rest. */
void exchange_take_body(struct exchange *x, uint64_t max, int (*piece)(struct exchange *x, struct str bytes),
                        void (*done)(struct exchange *x, int status));

/* A whole answer. content-length, date and connection are added here; never pass them. A HEAD request gets the
 * headers only. Slices need to live during the call only. */
void exchange_reply(struct exchange *x, int status, const struct http_header *headers, size_t n, struct str body);

/* From inside on_gone, once: the owner goes on without its client, and what it answers is dropped. The exchange, which
 * counts as a connection, is there until it has answered to the end, or until on_gone is called once more because the
 * server ends. */
void exchange_keep(struct exchange *x);

/* An answer in pieces. length >= 0: content-length; -1: chunked (HTTP/1.0: until close). */
void exchange_begin(struct exchange *x, int status, const struct http_header *headers, size_t n, int64_t length);
/* Always takes all of it, at once to the socket as far as it goes. FLOW_FULL: taken, but stop until on_drain.
 * FLOW_STOP: the client is gone; on_gone has been deferred and will still be called. */
enum flow exchange_write(struct exchange *x, const void *p, size_t n);
void exchange_end(struct exchange *x);
/* Cuts the connection so that the client sees a broken answer (no final chunk); what was written goes out before. */
void exchange_abort(struct exchange *x);
bool exchange_begun(const struct exchange *x);
size_t exchange_queued(const struct exchange *x);
void exchange_close_after(struct exchange *x); /* answer with Connection: close */
#endif
