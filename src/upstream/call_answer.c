/* An answer as it comes in through libcurl: its head line by line, then its body to the sink. */
#include "call_wire.h"

#ifndef CURL_WRITEFUNC_ERROR /* 7.87 */
#define CURL_WRITEFUNC_ERROR 0xFFFFFFFF
#endif

/* Ends the call from inside a callback; libcurl then reports a write error, which the verdict stands over. */
static size_t refuse(struct wire *w, enum call_error e) {
    if (w->c.verdict == CALL_OK)
        w->c.verdict = e;
    return CURL_WRITEFUNC_ERROR;
}

size_t wire_on_header(char *p, size_t size, size_t count, void *arg) {
    struct wire *w = arg;
    size_t n = size * count;
    if (w->c.doomed || w->c.verdict != CALL_OK)
        return CURL_WRITEFUNC_ERROR;
    w->c.result.bytes_in += n;
    if (w->head.done) { /* trailers, */
        w->head.bytes += n;
        return w->head.bytes > MAX_HEAD ? refuse(w, CALL_TOO_LARGE) : n;
    }
    enum call_error e = answer_head_line(&w->head, str_make(p, n));
    if (e != CALL_OK)
        return refuse(w, e);
    if (w->head.done && call_head(&w->c, w->head.status, w->head.headers, w->head.nlines) != FLOW_OK)
        return CURL_WRITEFUNC_ERROR;
    return n;
}

size_t wire_on_body(char *p, size_t size, size_t count, void *arg) {
    struct wire *w = arg;
    size_t n = size * count;
    if (n == 0)
        return 0;
    switch (call_data(&w->c, p, n)) {
    case FLOW_OK:
        return n;
    case FLOW_FULL:
        return CURL_WRITEFUNC_PAUSE;
    default:
        return CURL_WRITEFUNC_ERROR;
    }
}
