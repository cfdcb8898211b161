#include "answer_head.h"
#include "base/die.h"

void answer_head_init(struct answer_head *h) {
    *h = (struct answer_head){.length = -1};
    buf_init(&h->text, MAX_HEAD + 4 * MAX_HEAD_LINES);
}

static void begin(struct answer_head *h) {
    buf_clear(&h->text);
    h->nlines = 0;
    h->length = -1;
    h->status = 0;
}

void answer_head_reset(struct answer_head *h) {
    begin(h);
    h->bytes = 0;
    h->done = false;
}

void answer_head_free(struct answer_head *h) {
    buf_free(&h->text);
    mem_free(h->headers);
    h->headers = NULL;
}

/* "HTTP/1.1 200 OK", "HTTP/2 200" */
static int status_of(struct str line) {
    struct str word;
    uint64_t n = 0;
    if (!str_next(&line, ' ', &word) || !str_next(&line, ' ', &word) || word.n != 3 || !str_u64(word, &n))
        return 0;
    return (int)n;
}

/* RFC 9112, 6.3: the same length said twice is that length, two that differ are unrecoverable. */
static bool note_length(struct answer_head *h, struct str value) {
    struct str one;
    bool any = false;
    while (str_next(&value, ',', &one)) {
        int64_t n;
        if (!str_i64(str_trim(one), &n) || n < 0 || (h->length >= 0 && h->length != n))
            return false;
        h->length = n;
        any = true;
    }
    return any;
}

static void join(struct answer_head *h, struct str line) {
    if (h->nlines == 0)
        return;
    h->text.end--; /* its LF */
    buf_addc(&h->text, ' ');
    buf_adds(&h->text, str_trim(line));
    buf_addc(&h->text, '\n');
}

static bool field(struct answer_head *h, struct str line) {
    if (line.p[0] == ' ' || line.p[0] == '\t') {
        join(h, line);
        return true;
    }
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon || colon == line.p)
        return true;
    struct str name = str_trim(str_make(line.p, (size_t)(colon - line.p))),
               value = str_trim(str_skip(line, (size_t)(colon - line.p) + 1));
    char *to = buf_room(&h->text, name.n + value.n + 2);
    if (!to)
        return false;
    for (size_t i = 0; i < name.n; i++)
        to[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] + 32) : name.p[i];
    bool ok = !str_is(str_make(to, name.n), "content-length") || note_length(h, value);
    buf_commit(&h->text, name.n);
    buf_addc(&h->text, ':');
    buf_adds(&h->text, value);
    buf_addc(&h->text, '\n');
    h->nlines++;
    return ok;
}

static enum call_error end(struct answer_head *h) {
    if (h->status == 101) /* nobody asked for another protocol; an HTTP answer will not come */
        return CALL_PROTOCOL;
    if (h->status < 200) { /* 100, 102, 103: the answer is still to come */
        begin(h);
        return CALL_OK;
    }
    struct str rest = buf_str(&h->text), line;
    mem_free(h->headers);
    h->headers = mem_array(h->nlines, sizeof *h->headers);
    size_t count = 0;
    while (count < h->nlines && str_next(&rest, '\n', &line)) {
        size_t colon = (size_t)((const char *)memchr(line.p, ':', line.n) - line.p);
        h->headers[count].name = str_make(line.p, colon);
        h->headers[count++].value = str_skip(line, colon + 1);
    }
    h->nlines = count;
    h->done = true;
    return CALL_OK;
}

enum call_error answer_head_line(struct answer_head *h, struct str line) {
    h->bytes += line.n;
    if (h->bytes > MAX_HEAD || h->nlines >= MAX_HEAD_LINES)
        return CALL_TOO_LARGE;
    while (line.n && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    if (line.n == 0)
        return end(h);
    if (h->status == 0 && str_starts(line, "HTTP/")) {
        h->status = status_of(line);
        h->old = str_starts(line, "HTTP/1.0");
        return h->status ? CALL_OK : CALL_PROTOCOL;
    }
    return field(h, line) ? CALL_OK : CALL_PROTOCOL;
}
