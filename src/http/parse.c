/* The strict parser. A head is taken line by line, each checked when it is complete, so that a wrong one is
 * refused at its first wrong line and not when the client gets round to the end. Lines are copied into the
 * exchange's arena in one piece and cut there: the connection's buffer may move under a half-read head. */
#include "parse.h"

enum { C_TOKEN = 1, C_VALUE = 2, C_TARGET = 4, C_HOST = 8, C_HEX = 16 };

/* What each byte may be part of. TARGET: printable ASCII without space and '#' (a fragment is never sent);
 * HOST: reg-name of RFC 3986, 3.2.2. */
static const uint8_t class_of[256] = {
    0,  0,  0,  0,  0,  0,  0,  0,  0,  2,  0,  0,  0,  0,  0,  0,  /* HTAB */
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* */
    2,  15, 6,  3,  15, 15, 15, 15, 14, 14, 15, 15, 14, 15, 15, 6,  /* SP ... / */
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 6,  14, 6,  14, 6,  6,  /* 0 ... ? */
    6,  31, 31, 31, 31, 31, 31, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* @ ... O */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 6,  6,  6,  7,  15, /* P ... _ */
    7,  31, 31, 31, 31, 31, 31, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* ` ... o */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 6,  7,  6,  15, 0,  /* p ... DEL */
    2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* obs-text */
    2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* */
    2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* */
    2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* */
    2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* */
    2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* */
    2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* */
    2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* */
};

static bool is(char c, unsigned class) {
    return (class_of[(uint8_t)c] & class) != 0;
}

static bool all(struct str s, unsigned class) {
    for (size_t i = 0; i < s.n; i++)
        if (!is(s.p[i], class))
            return false;
    return true;
}

bool http_token(struct str s) {
    return s.n > 0 && all(s, C_TOKEN);
}

bool http_field_value(struct str s) {
    return all(s, C_VALUE);
}

void head_init(struct head *h, struct arena *a, size_t max_bytes, unsigned max_fields) {
    *h = (struct head){.arena = a, .max_bytes = max_bytes, .max_fields = max_fields};
}

static bool bad(struct head *h, int status, const char *why) {
    h->status = status;
    h->why = why;
    return false;
}

/* --- the request line --- */

static enum http_method method_of(struct str m) {
    static const struct {
        struct str name;
        enum http_method method;
    } known[] = {
        {{"GET", 3}, HTTP_GET},         {{"POST", 4}, HTTP_POST},   {{"HEAD", 4}, HTTP_HEAD},
        {{"PUT", 3}, HTTP_PUT},         {{"PATCH", 5}, HTTP_PATCH}, {{"DELETE", 6}, HTTP_DELETE},
        {{"OPTIONS", 7}, HTTP_OPTIONS},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (str_eq(m, known[i].name))
            return known[i].method;
    return HTTP_OTHER;
}

static bool version_of(struct head *h, struct str v) {
    if (v.n != 8 || !str_starts(v, "HTTP/") || v.p[6] != '.' || v.p[5] < '0' || v.p[5] > '9' ||
        v.p[7] < '0' || v.p[7] > '9')
        return bad(h, 400, "malformed HTTP version");
    if (v.p[5] != '1' || v.p[7] > '1')
        return bad(h, 505, "HTTP version not supported");
    h->minor = (unsigned)(v.p[7] - '0');
    return true;
}

/* host [":" port]; an IP literal in brackets. May be empty (RFC 9112, 3.2). */
static bool host_legal(struct str s) {
    size_t i = 0;
    if (i < s.n && s.p[0] == '[') {
        for (i = 1; i < s.n && (is(s.p[i], C_HEX) || s.p[i] == ':' || s.p[i] == '.'); i++)
            ;
        if (i < 3 || i == s.n || s.p[i] != ']')
            return false;
        i++;
    } else {
        while (i < s.n && is(s.p[i], C_HOST))
            i++;
    }
    if (i < s.n && s.p[i] == ':')
        for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
            ;
    return i == s.n;
}

/* "http://host/path" becomes "/path": every origin is ours (RFC 9112, 3.2.2). */
static bool cut_absolute(struct head *h) {
    struct str t = h->target;
    if (!str_startsi(t, "http://") && !str_startsi(t, "https://"))
        return bad(h, 400, "malformed request target");
    t = str_skip(t, (t.p[4] == ':') ? 7 : 8);
    size_t n = 0;
    while (n < t.n && t.p[n] != '/' && t.p[n] != '?')
        n++;
    if (n == 0 || t.p[0] == ':' || !host_legal(str_make(t.p, n)))
        return bad(h, 400, "malformed request target");
    t = str_skip(t, n);
    if (t.n == 0)
        t = STR("/");
    else if (t.p[0] == '?')
        t = arena_printf(h->arena, "/" STR_FMT, STR_ARG(t));
    h->target = t;
    return true;
}

static bool target_of(struct head *h) {
    if (h->target.n == 0 || !all(h->target, C_TARGET))
        return bad(h, 400, "malformed request target");
    bool star = h->method == HTTP_OPTIONS && str_is(h->target, "*");
    if (h->target.p[0] != '/' && !star && !cut_absolute(h))
        return false;
    h->path = h->target;
    const char *mark = memchr(h->target.p, '?', h->target.n);
    if (mark) {
        h->path.n = (size_t)(mark - h->target.p);
        h->query = str_skip(h->target, h->path.n + 1);
    }
    return true;
}

static bool request_line(struct head *h, struct str line) {
    const char *end = line.p + line.n;
    const char *one = memchr(line.p, ' ', line.n);
    const char *two = one ? memchr(one + 1, ' ', (size_t)(end - one - 1)) : NULL;
    if (!two || memchr(two + 1, ' ', (size_t)(end - two - 1)))
        return bad(h, 400, "malformed request line");
    h->method_name = str_make(line.p, (size_t)(one - line.p));
    if (!http_token(h->method_name))
        return bad(h, 400, "malformed method");
    h->method = method_of(h->method_name);
    if (!version_of(h, str_make(two + 1, (size_t)(end - two - 1))))
        return false;
    if (str_is(h->method_name, "CONNECT"))
        return bad(h, 501, "CONNECT is not supported");
    h->target = str_make(one + 1, (size_t)(two - one - 1));
    return target_of(h);
}

/* --- the fields --- */

static bool length_field(struct head *h, struct str v) {
    if (h->has_length)
        return bad(h, 400, "repeated Content-Length");
    h->has_length = true;
    if (v.n > 18 || !str_u64(v, &h->content_length)) /* 18 digits fit an int64_t */
        return bad(h, 400, "malformed Content-Length");
    return true;
}

static bool coding_field(struct head *h, struct str v) {
    if (h->has_coding)
        return bad(h, 400, "repeated Transfer-Encoding");
    h->has_coding = true;
    h->chunked = str_isi(v, "chunked");
    return true;
}

static bool host_field(struct head *h, struct str v) {
    if (h->has_host)
        return bad(h, 400, "repeated Host");
    h->has_host = true;
    return host_legal(v) || bad(h, 400, "malformed Host");
}

static bool connection_field(struct head *h, struct str v) {
    struct str option;
    while (str_next(&v, ',', &option)) {
        option = str_trim(option);
        if (str_isi(option, "close"))
            h->close = true;
        else if (str_isi(option, "keep-alive"))
            h->keep_alive = true;
    }
    return true;
}

static bool expect_field(struct head *h, struct str v) {
    if (str_isi(v, "100-continue"))
        h->expects_continue = true;
    else
        h->expects_other = true;
    return true;
}

/* The few fields that the server itself must know, found by the length of their names first. */
static bool known_field(struct head *h, const struct http_header *f) {
    switch (f->name.n) {
    case 4:
        return !str_isi(f->name, "host") || host_field(h, f->value);
    case 6:
        return !str_isi(f->name, "expect") || expect_field(h, f->value);
    case 10:
        return !str_isi(f->name, "connection") || connection_field(h, f->value);
    case 14:
        return !str_isi(f->name, "content-length") || length_field(h, f->value);
    case 17:
        return !str_isi(f->name, "transfer-encoding") || coding_field(h, f->value);
    default:
        return true;
    }
}

static struct http_header *field_slot(struct head *h) {
    if (h->nheaders == h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 12;
        struct http_header *more = arena_array(h->arena, cap, sizeof *more);
        if (h->nheaders)
            memcpy(more, h->headers, h->nheaders * sizeof *more);
        h->headers = more;
        h->cap = cap;
    }
    return &h->headers[h->nheaders];
}

static bool field_line(struct head *h, struct str line) {
    if (h->nheaders == h->max_fields)
        return bad(h, 431, "too many header fields");
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return bad(h, 400, "folded header field");
    size_t n = 0;
    while (n < line.n && is(line.p[n], C_TOKEN))
        n++;
    if (n == 0 || n == line.n || line.p[n] != ':')
        return bad(h, 400, "malformed header field name");
    struct http_header *f = field_slot(h);
    f->name = str_make(line.p, n);
    f->value = str_trim(str_make(line.p + n + 1, line.n - n - 1));
    if (!all(f->value, C_VALUE))
        return bad(h, 400, "control character in a header field");
    h->nheaders++;
    return known_field(h, f);
}

/* What only the whole tells. RFC 9112, 3.2 and 6.1. */
static bool head_end(struct head *h) {
    if (h->minor == 1 && !h->has_host)
        return bad(h, 400, "no Host");
    if (h->has_coding && h->has_length)
        return bad(h, 400, "Content-Length together with Transfer-Encoding");
    if (h->has_coding && h->minor == 0)
        return bad(h, 400, "Transfer-Encoding in HTTP/1.0");
    if (h->has_coding && !h->chunked)
        return bad(h, 501, "Transfer-Encoding not supported");
    if (h->minor == 0) /* RFC 9110, 10.1.1: an expectation of HTTP/1.0 is ignored */
        h->expects_continue = h->expects_other = false;
    if (h->expects_other)
        return bad(h, 417, "expectation not supported");
    h->state = HEAD_END;
    return true;
}

static bool head_line(struct head *h, struct str line) {
    if (line.n == 0 || line.p[line.n - 1] != '\r')
        return bad(h, 400, "line end without CR");
    line.n--;
    if (h->state == HEAD_FIELDS)
        return line.n == 0 ? head_end(h) : field_line(h, line);
    if (line.n == 0 && !h->led_by_crlf) { /* RFC 9112, 2.2: one is tolerated */
        h->led_by_crlf = true;
        return true;
    }
    if (!request_line(h, line))
        return false;
    h->state = HEAD_FIELDS;
    return true;
}

/* How many of the n bytes are whole lines of this head: up to the empty line that ends it, or the last LF. */
static size_t whole_lines(struct head *h, const char *p, size_t n) {
    size_t whole = 0;
    const char *from = p + h->scanned;
    const char *lf;
    while ((lf = memchr(from, '\n', n - (size_t)(from - p)))) {
        size_t start = whole;
        whole = (size_t)(lf - p) + 1;
        bool empty = whole - start == 1 || (whole - start == 2 && p[start] == '\r');
        if (empty && (h->state == HEAD_FIELDS || start > 0))
            break; /* or a second empty line, or one after a leading CRLF: refused all the same */
        from = lf + 1;
    }
    return whole;
}

bool head_persistent(const struct head *h) {
    return !h->close && (h->minor == 1 || h->keep_alive);
}

static bool first_byte_legal(const struct head *h, const char *p, size_t n) {
    return n == 0 || h->state != HEAD_START || is(p[0], C_TOKEN) || p[0] == '\r';
}

enum parse head_feed(struct head *h, const char *p, size_t n, size_t *used) {
    *used = 0;
    size_t room = h->max_bytes - h->bytes;
    size_t seen = n < room ? n : room;
    size_t whole = h->scanned < seen ? whole_lines(h, p, seen) : 0;
    if (whole) {
        struct str text = arena_dup(h->arena, str_make(p, whole));
        *used = whole;
        h->bytes += whole;
        h->scanned = 0;
        while (text.n) {
            size_t len = (size_t)((const char *)memchr(text.p, '\n', text.n) - text.p);
            if (!head_line(h, str_make(text.p, len)))
                return PARSE_BAD;
            text = str_skip(text, len + 1);
        }
        if (h->state == HEAD_END)
            return PARSE_DONE;
    }
    if (!first_byte_legal(h, p + whole, n - whole))
        return bad(h, 400, "malformed request line"), PARSE_BAD;
    if (n > seen || h->bytes + (n - whole) >= h->max_bytes) {
        bool line = h->state == HEAD_START;
        return bad(h, line ? 414 : 431, line ? "request line too long" : "header too large"), PARSE_BAD;
    }
    h->scanned = n - whole;
    return PARSE_MORE;
}
