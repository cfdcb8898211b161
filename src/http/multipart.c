/* The boundary has no CR in it: where a match breaks, only that byte can begin another one. */
#include "http/multipart.h"

/* The first parameter of that name in a header's value, and how many have it. With escapes a quote behind a
 * backslash ends nothing. */
static struct str first_of(struct str value, const char *name, bool escapes, unsigned *count) {
    struct str first = STR_NONE;
    size_t n = strlen(name);
    bool quoted = false;
    *count = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '"' && (!escapes || i == 0 || value.p[i - 1] != '\\'))
            quoted = !quoted;
        if (quoted || value.p[i] != ';')
            continue;
        struct str rest = str_trim(str_skip(value, i + 1));
        if (rest.n <= n || !str_startsi(rest, name) || !memchr("=* \t", rest.p[n], 4))
            continue;
        if ((*count)++ || rest.p[n] != '=')
            continue;
        rest = str_skip(rest, n + 1);
        bool in_quotes = rest.n && rest.p[0] == '"';
        rest = str_skip(rest, in_quotes);
        size_t end = 0;
        while (end < rest.n && rest.p[end] != (in_quotes ? '"' : ';'))
            end++;
        rest.n = end;
        first = in_quotes ? rest : str_trim(rest);
    }
    return first;
}

/* boundary="x", name=x. *sure: it is there once, and no other reader could find another one: one that knows
 * no escapes, or puts pieces together (RFC 2231). */
static struct str parameter(struct str value, const char *name, bool *sure) {
    unsigned one, two;
    struct str v = first_of(value, name, true, &one), w = first_of(value, name, false, &two);
    *sure = one == 1 && two == 1 && v.p && str_eq(v, w) && !memchr(v.p, '\\', v.n);
    return v;
}

bool multipart_init(struct multipart *m, struct str content_type, const char *field) {
    *m = (struct multipart){.field = field};
    if (!str_startsi(content_type, "multipart/form-data"))
        return false;
    bool sure;
    struct str boundary = parameter(content_type, "boundary", &sure);
    if (boundary.n < 1 || boundary.n > 70)
        return false;
    m->bad = !sure;
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary.p, boundary.n);
    m->ndelimiter = 4 + boundary.n;
    m->matched = 2; /* the first one is without its line end */
    return true;
}

static void header_line(struct multipart *m) {
    struct str line = str_make(m->line, m->nline);
    bool sure;
    m->bad = m->bad || *line.p == ' ' || *line.p == '\t'; /* the line before goes on */
    if (!str_startsi(line, "content-disposition:"))
        return;
    m->bad = m->bad || m->named || !str_plain(line);
    m->named = true;
    bool is_it = str_is(parameter(line, "name", &sure), m->field);
    m->bad = m->bad || !sure || (is_it && m->found);
    m->wanted = is_it && !m->found;
}

/* Of the field's data; the delimiter behind them is kept with them, as far as it has come. */
static void keep(struct multipart *m, const char *p, size_t n) {
    if (!m->wanted)
        return;
    size_t room = sizeof m->text - m->ntext;
    m->bad = m->bad || n > room; /* longer than any name of a model */
    n = n < room ? n : room;
    memcpy(m->text + m->ntext, p, n);
    m->ntext += n;
}

/* A part may be empty: the line end of its header is the delimiter's then. So there is always one in front.
 */
static void part_begins(struct multipart *m) {
    m->bad = m->bad || !m->named;
    m->state = MULTIPART_DATA;
    m->from = m->seen + 1;
    m->matched = m->ntext = 2;
    memcpy(m->text, m->delimiter, 2);
}

static void part_ends(struct multipart *m) {
    if (m->wanted) {
        size_t n = m->ntext > 2 + m->ndelimiter ? m->ntext - 2 - m->ndelimiter : 0;
        m->found = true;
        m->bad = m->bad || n > MULTIPART_VALUE_MAX;
        m->at = m->from;
        m->value = str_make(m->text + 2, n);
    }
    m->named = m->wanted = false;
    m->state = MULTIPART_TAIL;
    m->matched = m->nline = 0;
}

static void data_byte(struct multipart *m, char c) {
    keep(m, &c, 1);
    if (c == m->delimiter[m->matched])
        m->matched++;
    else
        m->matched = c == '\r';
    if (m->matched == m->ndelimiter)
        part_ends(m);
}

/* What is behind a delimiter in its line: nothing, or "--" at the end of it all. */
static void tail_line(struct multipart *m, struct str line) {
    m->state = str_starts(line, "--") ? MULTIPART_END : MULTIPART_HEADERS;
    m->bad = m->bad || (m->state == MULTIPART_HEADERS && str_trim(line).n > 0);
}

static void line_byte(struct multipart *m, char c) {
    if (c != '\n') {
        m->bad = m->bad || m->nline == sizeof m->line;
        if (m->nline < sizeof m->line)
            m->line[m->nline++] = c;
        return;
    }
    if (m->nline && m->line[m->nline - 1] == '\r')
        m->nline--;
    if (m->state == MULTIPART_TAIL)
        tail_line(m, str_make(m->line, m->nline));
    else if (m->nline == 0)
        part_begins(m);
    else
        header_line(m);
    m->nline = 0;
}

void multipart_feed(struct multipart *m, struct str piece) {
    while (piece.n && m->state != MULTIPART_END) {
        size_t n = 1;
        if (m->state != MULTIPART_DATA) {
            line_byte(m, *piece.p);
        } else if (m->matched) {
            data_byte(m, *piece.p);
        } else { /* nothing before the next CR can matter */
            const char *cr = memchr(piece.p, '\r', piece.n);
            n = cr ? (size_t)(cr - piece.p) : piece.n;
            keep(m, piece.p, n);
            if (n == 0)
                data_byte(m, *piece.p);
            n += n == 0;
        }
        m->seen += n;
        piece = str_skip(piece, n);
    }
}
