/* What the scribe fetches and posts besides providers' checks: one URL, one exchange at a time, a bounded
 * answer, bounded times; TLS as for providers (the system's authorities, at least 1.2). Never blocks. */
#ifndef PENSTOCK_PROC_COURIER_H
#define PENSTOCK_PROC_COURIER_H
#include "base/buf.h"
#include "upstream/call.h"

enum { COURIER_MOST_MS = 10000, COURIER_HEADERS = 32 };

struct courier_answer {
    enum call_error error; /* CALL_STOPPED: the answer was larger than `most` */
    int status;            /* 0: none */
    struct str body;       /* until done returns; with an error: as far as it came */
};
typedef void courier_done(void *arg, const struct courier_answer *a);

struct courier;
/* url: http or https, without a user; copied. most: bytes of an answer. NULL and a text if it is no URL. */
struct courier *courier_new(struct multi *m, const char *url, size_t most, char err[256]);
void courier_free(struct courier *c); /* cancels; NULL is fine */
bool courier_busy(const struct courier *c);
/* Not while busy. body: copied; empty: a GET. Headers live until done. done: once, from the loop; it may send
 * again, but not free c. */
void courier_send(struct courier *c, struct str body, const struct call_header *headers, size_t n,
                  courier_done *done, void *arg);
#endif
