/* A chunked body (RFC 9112, 7.1), of a request as of an answer, without I/O: bytes go in, cut anywhere, and its data
 * comes out. Strict: what may be read in two ways is refused. */
#ifndef PENSTOCK_HTTP_CHUNKED_H
#define PENSTOCK_HTTP_CHUNKED_H
#include "base/str.h"

enum parse {
    PARSE_MORE, /* all that could be used has been; more bytes are needed */
    PARSE_DONE, /* the head, or the body, is complete */
    PARSE_BAD,  /* see status and why (of the grammar's state); must not be fed again */
};

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

enum { CHUNK_MAX_DIGITS = 15, CHUNK_MAX_EXTENSION = 256 /* of a request */ };

struct chunks {
    enum chunk_state state;
    uint64_t left;       /* of the chunk; while its size is read: the size */
    unsigned digits;     /* of the size */
    size_t extension;    /* bytes of it */
    size_t max_extension;
    size_t max_trailers; /* bytes of all trailer fields */
    size_t trailers;
    bool lenient;
    int status;
    const char *why;
};

void chunks_init(struct chunks *c, size_t max_trailers);
/* Of an answer: its extensions may be as long as its trailers; blanks behind a size and before a trailer's colon, and
 * lines without CR are accepted, as clients do. */
void chunks_init_answer(struct chunks *c, size_t max_trailers);
/* Uses bytes until there is a piece of data (PARSE_MORE with data->n > 0: call again with the rest), all are
 * used (PARSE_MORE, data->n == 0), or the end. *data lies inside p. */
enum parse chunks_feed(struct chunks *c, const char *p, size_t n, size_t *used, struct str *data);

bool http_token(struct str s);       /* a legal field name or method */
bool http_field_value(struct str s); /* no control bytes but HTAB */
#endif
