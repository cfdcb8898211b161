/* Server-sent events, as the WHATWG HTML standard (9.2) reads them: LF, CRLF or CR line ends, comments, several
 * data lines, one optional space after the colon, a byte order mark at the start. Bytes may be cut anywhere. */
#ifndef PENSTOCK_BASE_SSE_H
#define PENSTOCK_BASE_SSE_H
#include "base/buf.h"
#include "base/str.h"

struct sse_event {
    struct str name; /* the event: field; empty when there was none */
    struct str data; /* data: lines joined with LF; empty for a frame of comments only */
    struct str raw;  /* the frame's own bytes with its blank line (a last one at the end of the input may lack it) */
    bool comment;    /* nothing but comments (or fields we ignore): data and name are empty */
};
/* Slices live only during the call. Return false to stop: sse_push then returns -2 and must not be called again. */
typedef bool sse_fn(void *arg, const struct sse_event *ev);

struct sse {
    struct buf frame;  /* bytes of a frame that is not whole yet */
    struct buf joined; /* scratch for several data lines */
    size_t scanned;    /* of `frame`, without a blank line in them */
    bool started;
};
void sse_init(struct sse *s, size_t max_frame); /* a larger frame is an error; 0: 16 MiB */
void sse_free(struct sse *s);
/* 0; -1 when a frame passes its bound; -2 when fn said stop. Whole frames inside p are not copied. */
int sse_push(struct sse *s, const char *p, size_t n, sse_fn *fn, void *arg);
/* The input is over: a last frame without its blank line is given too (providers forget it). */
int sse_finish(struct sse *s, sse_fn *fn, void *arg);
size_t sse_pending(const struct sse *s); /* bytes held back */
#endif
