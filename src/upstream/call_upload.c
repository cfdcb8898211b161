/* A request on its way out, and the provider that answers before it has read all of it. */
#include "call_wire.h"
#include <sys/socket.h>

/* The last moment before a request is written, also on a second try: the caller's body may be gone when the
 * call was cancelled from inside a callback of another one. */
int wire_on_ready(void *arg, char *remote, char *local, int remote_port, int local_port) {
    struct wire *w = arg;
    (void)remote, (void)local, (void)remote_port, (void)local_port;
    w->c.connected = true;
    return w->c.doomed ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* A provider may answer (401, 413) and close before it has read the body. Were we to go on writing then, the
 * write's error would hide the answer: so before each piece we look whether there is something to read, and
 * read first. */
static bool answer_waits(struct wire *w) {
    char byte;
    curl_socket_t fd = multi_current_fd(w->c.multi);
    if (fd < 0) /* the first piece is asked for right behind the header */
        curl_easy_getinfo(w->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (fd < 0)
        return false;
    w->upload_fd = (int)fd;
    multi_uploading(w->c.multi, w->upload_fd, &w->c);
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

size_t wire_on_upload(char *to, size_t size, size_t count, void *arg) {
    struct wire *w = arg;
    size_t n = size * count;
    uint64_t left = w->source.n - w->sent;
    if (w->c.doomed)
        return CURL_READFUNC_ABORT;
    if (n > left)
        n = (size_t)left;
    if (!w->source.read)
        memcpy(to, w->body.p + w->sent, n);
    else if (!w->source.read(w->source.arg, w->sent, to, n))
        return CURL_READFUNC_ABORT;
    if (!w->peeked && answer_waits(w)) { /* looked at last: the write follows at once */
        w->peeked = true;                /* once a turn: it may be a TLS ticket and no answer */
        multi_work(w->c.multi, &w->c, WORK_UPLOAD);
        return CURL_READFUNC_PAUSE;
    }
    w->peeked = false;
    w->sent += n;
    return n;
}

int wire_on_rewind(void *arg, curl_off_t offset, int origin) {
    struct wire *w = arg;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > w->source.n)
        return CURL_SEEKFUNC_FAIL;
    w->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* --- an answer that was still unread when libcurl gave the connection up --- */

void wire_closing(struct call *c, int fd) {
    struct wire *w = LINK_OWNER(c, struct wire, c);
    ssize_t n;
    if (c->doomed || c->verdict != CALL_OK || w->head.done || str_startsi(w->upstream->base, "https:"))
        return;
    char *to = buf_room(&w->unread, MAX_UNREAD);
    if (to && (n = recv(fd, to, MAX_UNREAD, MSG_DONTWAIT)) > 0)
        buf_commit(&w->unread, (size_t)n);
}

void wire_unread_body(struct wire *w) {
    struct call *c = &w->c;
    multi_enter(c->multi);
    enum flow f = buf_len(&w->unread) ? call_data(c, buf_at(&w->unread), buf_len(&w->unread)) : FLOW_OK;
    bool gone = c->doomed;
    multi_leave(c->multi);
    if (!gone && f != FLOW_FULL)
        call_finish(c, c->verdict); /* CALL_OK unless the sink wants no more */
}

static bool unread_is_whole(struct wire *w) {
    struct buf *b = &w->unread;
    struct str all = buf_str(b), line;
    ptrdiff_t end = str_find(all, STR("\r\n\r\n"));
    if (end < 0 || !str_starts(all, "HTTP/1."))
        return false;
    struct str head = str_make(all.p, (size_t)end);
    size_t length = all.n - (size_t)end - 4;
    while (str_next(&head, '\n', &line)) {
        uint64_t n;
        if (str_startsi(line, "transfer-encoding:"))
            return false; /* an answer so small and hasty has a length, or ends with the connection */
        struct str value = str_trim(str_skip(line, 15));
        if (value.n && value.p[value.n - 1] == '\r')
            value.n--;
        if (str_startsi(line, "content-length:")) {
            if (!str_u64(value, &n) || n > length)
                return false;
            length = (size_t)n;
        }
    }
    b->end = b->off + (size_t)end + 4 + length;
    return true;
}

bool wire_last_words(struct wire *w) {
    struct buf *b = &w->unread;
    struct call *c = &w->c;
    if (w->head.done || !unread_is_whole(w))
        return false;
    answer_head_reset(&w->head);
    w->reading_unread = true;
    multi_enter(c->multi);
    bool ok = true;
    while (ok && !w->head.done) {
        size_t n = (size_t)((char *)memchr(buf_at(b), '\n', buf_len(b)) - buf_at(b)) + 1;
        ok = wire_on_header(buf_at(b), 1, n, w) == n && (n < buf_len(b) || w->head.done);
        buf_consume(b, n);
    }
    bool gone = c->doomed;
    multi_leave(c->multi);
    if (gone)
        return true;
    if (ok)
        wire_unread_body(w);
    else
        call_finish(c, c->verdict != CALL_OK ? c->verdict : CALL_RESET);
    return true;
}
