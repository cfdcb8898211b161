/* The grammar of HTTP/1.1 requests, without I/O: bytes go in, cut anywhere, and a head or the data of a
 * chunked body comes out, or the status that refuses them. RFC 9110, RFC 9112.
 *
 * What may be read in two ways is refused, not repaired: a front that reads it the other way would be
 * smuggled past. */
#ifndef PENSTOCK_SRC_HTTP_PARSE_H
#define PENSTOCK_SRC_HTTP_PARSE_H
#include "http/exchange.h"

enum parse {
    PARSE_MORE, /* all that could be used has been; more bytes are needed */
    PARSE_DONE, /* the head, or the body, is complete */
    PARSE_BAD,  /* see status and why; must not be fed again */
};

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

enum chunk_state {
    CHUNK_SIZE,      /* hex digits of a chunk's size */
    CHUNK_EXTENSION, /* behind the size, skipped up to CR */
    CHUNK_SIZE_LF,   /* the LF behind the size */
    CHUNK_DATA,      /* `left` bytes of data */
    CHUNK_DATA_CR,   /* the CRLF behind the data */
    CHUNK_DATA_LF,
    CHUNK_TRAILER,      /* the first byte of a trailer line, or of the empty line */
    CHUNK_TRAILER_NAME, /* in the name of a trailer field */
    CHUNK_TRAILER_VALUE,
    CHUNK_TRAILER_LF,
    CHUNK_LAST_LF, /* the LF of the empty line */
    CHUNK_END,
};

enum { CHUNK_MAX_DIGITS = 15, CHUNK_MAX_EXTENSION = 256 };

struct chunks {
    enum chunk_state state;
    uint64_t left;       /* of the chunk; while its size is read: the size */
    unsigned digits;     /* of the size */
    unsigned extension;  /* bytes of it */
    size_t max_trailers; /* bytes of all trailer fields */
    size_t trailers;
    int status;
    const char *why;
};

void chunks_init(struct chunks *c, size_t max_trailers);
/* Uses bytes until there is a piece of data (PARSE_MORE with data->n > 0: call again with the rest), all are
 * used (PARSE_MORE, data->n == 0), or the end. *data lies inside p. */
enum parse chunks_feed(struct chunks *c, const char *p, size_t n, size_t *used, struct str *data);

bool http_token(struct str s);       /* a legal field name or method */
bool http_field_value(struct str s); /* no control bytes but HTAB */
#endif
