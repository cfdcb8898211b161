/* An answer as it comes in: its head line by line, then its body to the sink. */
#include "base/die.h"
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

void wire_head_reset(struct wire *w) {
    buf_clear(&w->head);
    w->nlines = 0;
    w->length = -1;
    w->status = 0;
}

/* "HTTP/1.1 200 OK", "HTTP/2 200" */
static int status_of(struct str line) {
    struct str word;
    uint64_t n = 0;
    if (!str_next(&line, ' ', &word) || !str_next(&line, ' ', &word) || word.n != 3 || !str_u64(word, &n))
        return 0;
    return (int)n;
}

static bool note_length(struct wire *w, struct str value) {
    int64_t n;
    if (!str_i64(value, &n) || n < 0)
        return true; /* libcurl refuses what it cannot read */
    if (w->length >= 0 && w->length != n)
        return false; /* RFC 9112, 6.3: two that differ are unrecoverable */
    w->length = n;
    return true;
}

static bool head_line(struct wire *w, struct str line) {
    if (line.p[0] == ' ' || line.p[0] == '\t') { /* folded: goes on with the one before (RFC 9112, 5.2) */
        if (w->nlines == 0)
            return true;
        w->head.end--; /* its LF */
        buf_addc(&w->head, ' ');
        buf_adds(&w->head, str_trim(line));
        buf_addc(&w->head, '\n');
        return true;
    }
    ptrdiff_t colon = str_find(line, STR(":"));
    if (colon <= 0)
        return true;
    struct str name = str_trim(str_make(line.p, (size_t)colon)),
               value = str_trim(str_skip(line, (size_t)colon + 1));
    char *to = buf_room(&w->head, name.n + value.n + 2);
    if (!to)
        return false;
    for (size_t i = 0; i < name.n; i++)
        to[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] + 32) : name.p[i];
    bool ok = !str_is(str_make(to, name.n), "content-length") || note_length(w, value);
    buf_commit(&w->head, name.n);
    buf_addc(&w->head, ':');
    buf_adds(&w->head, value);
    buf_addc(&w->head, '\n');
    w->nlines++;
    return ok;
}

static size_t head_end(struct wire *w, size_t n) {
    if (w->status == 101) /* nobody asked for another protocol; an HTTP answer will not come */
        return refuse(w, CALL_PROTOCOL);
    if (w->status < 200) { /* 100, 102, 103: the answer is still to come */
        wire_head_reset(w);
        return n;
    }
    struct str rest = buf_str(&w->head), line;
    mem_free(w->headers);
    w->headers = mem_array(w->nlines, sizeof *w->headers);
    size_t count = 0;
    while (count < w->nlines && str_next(&rest, '\n', &line)) {
        size_t colon = (size_t)((const char *)memchr(line.p, ':', line.n) - line.p);
        w->headers[count].name = str_make(line.p, colon);
        w->headers[count++].value = str_skip(line, colon + 1);
    }
    w->head_done = true;
    return call_head(&w->c, w->status, w->headers, count) == FLOW_OK ? n : CURL_WRITEFUNC_ERROR;
}

size_t wire_on_header(char *p, size_t size, size_t count, void *arg) {
    struct wire *w = arg;
    size_t n = size * count;
    if (w->c.doomed || w->c.verdict != CALL_OK)
        return CURL_WRITEFUNC_ERROR;
    w->head_bytes += n;
    w->c.result.bytes_in += n;
    if (w->head_bytes > MAX_HEAD || w->nlines >= MAX_HEAD_LINES)
        return refuse(w, CALL_TOO_LARGE);
    if (w->head_done) /* trailers */
        return n;
    struct str line = {p, n};
    while (line.n && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    if (line.n == 0)
        return head_end(w, n);
    if (w->status == 0 && str_starts(line, "HTTP/")) {
        w->status = status_of(line);
        return w->status ? n : refuse(w, CALL_PROTOCOL);
    }
    return head_line(w, line) ? n : refuse(w, CALL_PROTOCOL);
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
