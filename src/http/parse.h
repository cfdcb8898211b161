/* The grammar of HTTP/1.1 requests, without I/O: bytes go in, cut anywhere, and a head comes
 * out, or the status that refuses it. RFC 9110, RFC 9112.
 *
 * What may be read in two ways is refused, not repaired: a front that reads it the other way would be
 * smuggled past. */
#ifndef PENSTOCK_SRC_HTTP_PARSE_H
#define PENSTOCK_SRC_HTTP_PARSE_H
#include "http/chunked.h"
#include "http/exchange.h"

enum head_state {
    HEAD_START,  /* nothing, or one leading CRLF, so far: the next line is the request line */
    HEAD_FIELDS, /* the request line is read: header fields follow */
    HEAD_END,    /* the empty line has been read, and the whole was legal */
};

/* A head being read. Its slices point into the arena. */
struct head {
    struct arena *arena;
    size_t max_bytes; /* request line and fields with their line ends */
    unsigned max_fields;

    enum head_state state;
    bool led_by_crlf;
    size_t bytes;   /* used so far */
    size_t scanned; /* of the bytes not used yet: these hold no LF */
    size_t cap;     /* of headers */

    enum http_method method;
    struct str method_name, target, path, query;
    struct http_header *headers;
    size_t nheaders;
    unsigned minor; /* HTTP/1.minor */
    uint64_t content_length;
    bool has_length, has_coding, chunked, has_host;
    bool close, keep_alive; /* options of Connection */
    bool expects_continue, expects_other;

    int status;      /* of PARSE_BAD */
    const char *why; /* static text */
};

void head_init(struct head *h, struct arena *a, size_t max_bytes, unsigned max_fields);
/* Uses whole lines only: what lies behind *used is to be given again, with more behind it. */
enum parse head_feed(struct head *h, const char *p, size_t n, size_t *used);
bool head_persistent(const struct head *h); /* the client would go on with the connection */
#endif
