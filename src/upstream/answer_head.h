/* The head of a provider's answer, line by line, whoever reads the bytes: libcurl or answer.c. RFC 9112, 4
 * and 5; a folded field (5.2) is joined, what cannot be a field is left out. */
#ifndef PENSTOCK_SRC_UPSTREAM_ANSWER_HEAD_H
#define PENSTOCK_SRC_UPSTREAM_ANSWER_HEAD_H
#include "base/buf.h"
#include "upstream/call.h"

enum {
    MAX_HEAD = 64 * 1024, /* all header bytes of an answer, 1xx included */
    MAX_HEAD_LINES = 512,
};

struct answer_head {
    struct buf text;             /* "name:value\n" of the head that is coming in; names in lower case */
    struct call_header *headers; /* slices of it, once it is done */
    size_t nlines;
    size_t bytes; /* as they came, of all heads of this answer */
    int status;   /* 0: no status line yet */
    bool old;     /* HTTP/1.0 */
    bool done;
    int64_t length; /* content-length, -1: none */
};

void answer_head_init(struct answer_head *h);
void answer_head_reset(struct answer_head *h); /* before an answer's first byte; keeps the memory */
void answer_head_free(struct answer_head *h);
/* The next line, with its line end; not after h->done. CALL_OK: go on (look at h->done), else the call is
 * over. */
enum call_error answer_head_line(struct answer_head *h, struct str line);
#endif
