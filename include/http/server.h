/* The HTTP/1.1 server: a strict parser and a connection machine of our own on libevent's loop (evhttp accepts
 * what smuggles requests, cannot bound a slow header, and does not see a client leave while a request waits).
 * One per worker. */
#ifndef PENSTOCK_HTTP_SERVER_H
#define PENSTOCK_HTTP_SERVER_H
#include "base/buf.h"
#include "base/loop.h"
#include "http/exchange.h"

struct http_limits {               /* 0 is a default, where nothing else is said */
    size_t max_head;             /* request line and headers, bytes (431; a too long request line 414); 0: 32 KiB */
    unsigned max_headers;        /* fields (431); 0: 100 */
    uint64_t header_timeout_ms;  /* whole head, from its first byte (408); also from accept, with the TLS handshake, to
                                  * the first byte (closed silently); 0: 10 s */
    uint64_t idle_timeout_ms;    /* keep-alive between requests, then closed silently; 0: 75 s */
    uint64_t body_rate;          /* bytes a second a body must keep up (408), counted from exchange_read_body;
                                  * 0: no rate */
    uint64_t body_grace_ms;      /* so far it may be behind; what comes early does not count later; 0: 5 s */
    uint64_t write_timeout_ms;   /* a client that takes nothing for so long while bytes wait is cut; 0: 5 min */
    unsigned max_connections;    /* 0: no bound; above it new ones get 503 and are closed */
};

struct http_handler {
    void (*request)(struct exchange *x, void *arg);
    /* Writes the body of an error that the server itself answers (400, 408, 413, 414, 431, 501, 503, 505 ...), as
     * JSON of the dialect that `path` belongs to (path may be empty when it was not understood). Gives one header
     * to go with it, which need live until the next call only; without a name: none. */
    struct http_header (*error_body)(struct buf *out, int status, const char *why, struct str path, void *arg);
    void *arg;
};

struct http_server;
struct http_tls; /* a listener's TLS context */

/* PEM texts; client_ca may be empty (else client certificates are demanded). NULL and a text in err. */
struct http_tls *http_tls_new(struct str certificate, struct str key, struct str client_ca, char err[256]);
void http_tls_free(struct http_tls *t);

struct http_server *http_server_new(struct loop *l, const struct http_limits *lim, const struct http_handler *h);
/* fd: a listening socket, not owned (the master keeps it; it is non-blocking). tls: NULL for plain; not owned. */
void http_server_listen(struct http_server *s, int fd, struct http_tls *tls, unsigned surfaces);
/* Stops accepting, answers what is under way with Connection: close, closes idle connections when they have been
 * quiet for a grace of 300 ms (bytes of a request may be on their way), then calls done once, with all gone. */
void http_server_drain(struct http_server *s, void (*done)(void *arg), void *arg);
void http_server_free(struct http_server *s); /* cuts what is left; on_gone is called for open exchanges */
unsigned http_server_connections(const struct http_server *s);
unsigned http_server_exchanges(const struct http_server *s);
uint64_t http_server_accepted(const struct http_server *s);

const char *http_reason(int status);
/* Decoded value of a query parameter; STR_NONE (p NULL) when absent. "+" is a space. */
struct str http_query(struct arena *a, struct str query, const char *name);
/* Percent-decoding of a path segment; STR_NONE when malformed. */
struct str http_unescape(struct arena *a, struct str s);
#endif
