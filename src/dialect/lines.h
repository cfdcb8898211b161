/* Lines, as NDJSON has them: each ended by LF or CRLF, blank ones are nothing, the last may lack its end. Fed
 * in pieces of any size. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_LINES_H
#define PENSTOCK_SRC_DIALECT_LINES_H
#include "base/buf.h"

struct lines {
    struct buf held; /* a line that is not whole yet */
    size_t max;      /* bytes of a line */
};
/* The line without its end; it lives during the call. false: stop. */
typedef bool lines_fn(void *arg, struct str line);
void lines_init(struct lines *l, size_t max); /* 0: 16 MiB */
/* 0: go on. 1: fn said stop. -1: a line is longer than max: nothing more can be read. */
int lines_push(struct lines *l, const char *p, size_t n, lines_fn *fn, void *arg);
int lines_finish(struct lines *l, lines_fn *fn, void *arg); /* the input is over */
void lines_free(struct lines *l);
#endif
