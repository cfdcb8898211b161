/* Server-sent events cut out of a byte stream. A frame that lies whole in what is pushed is read where it
 * lies; only a frame that is cut is collected. What the collected bytes end with (a line's end, a CR that may
 * have an LF to come) is read off their last two bytes, so that there is no other state. */
#include "base/sse.h"
#include "base/die.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { MAX_FRAME_DEFAULT = 16 << 20 };

void sse_init(struct sse *s, size_t max_frame) {
    size_t max = max_frame ? max_frame : MAX_FRAME_DEFAULT;
    *s = (struct sse){.scanned = 0};
    buf_init(&s->frame, max);
    buf_init(&s->joined, max);
}

void sse_free(struct sse *s) {
    buf_free(&s->frame);
    buf_free(&s->joined);
}

size_t sse_pending(const struct sse *s) {
    return buf_len(&s->frame);
}

/* The first CR or LF in [p, end), or end. */
static const char *line_end(const char *p, const char *end) {
#ifdef __SSE2__
    const __m128i lf = _mm_set1_epi8('\n'), cr = _mm_set1_epi8('\r');
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        unsigned mask =
            (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, lf), _mm_cmpeq_epi8(v, cr)));
        if (mask)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && *p != '\n' && *p != '\r')
        p++;
    return p;
}

/* Behind the blank line that ends the frame, or NULL when it is not in [p, end) or might go on behind it.
 * line_start: p is where a line begins. */
static const char *frame_end(const char *p, const char *end, bool line_start) {
    while (p < end) {
        const char *eol = line_end(p, end);
        bool blank = eol == p && line_start;
        if (eol == end || (*eol == '\r' && eol + 1 == end))
            return NULL;
        p = eol + (*eol == '\r' && eol[1] == '\n' ? 2 : 1);
        line_start = true;
        if (blank)
            return p;
    }
    return NULL;
}

/* The same when bytes of the frame were held back: may be `from` itself. */
static const char *rest_of_frame(const struct buf *held, const char *from, const char *end) {
    const char *tail = buf_at(held) + buf_len(held) - 1;
    if (*tail == '\n')
        return frame_end(from, end, true);
    if (*tail != '\r')
        return frame_end(from, end, false);
    const char *p = *from == '\n' ? from + 1 : from;
    bool blank = buf_len(held) == 1 || tail[-1] == '\n' || tail[-1] == '\r';
    return blank ? p : frame_end(p, end, true);
}

/* --- one frame --- */

/* The line's value when its field is `name`. */
static bool field_is(struct str line, const char *name, size_t n, struct str *value) {
    if (line.n < n || memcmp(line.p, name, n) != 0 || (line.n > n && line.p[n] != ':'))
        return false;
    *value = str_skip(line, n + 1);
    if (value->n > 0 && value->p[0] == ' ')
        *value = str_skip(*value, 1);
    return true;
}

static void read_lines(struct sse *s, struct str text, struct sse_event *ev) {
    const char *p = text.p, *end = text.p + text.n;
    unsigned data_lines = 0;
    struct str value;
    while (p < end) {
        const char *eol = line_end(p, end);
        struct str line = str_make(p, (size_t)(eol - p));
        p = eol < end ? eol + 1
                      : end; /* of CRLF the LF makes one more line, which is empty and means nothing */
        if (field_is(line, "data", 4, &value)) {
            if (data_lines++ == 0) {
                ev->data = value;
                continue;
            }
            if (data_lines == 2) {
                buf_clear(&s->joined);
                buf_adds(&s->joined, ev->data);
            }
            buf_addc(&s->joined, '\n');
            buf_adds(&s->joined, value);
        } else if (field_is(line, "event", 5, &value)) {
            ev->name = value;
            ev->comment = false;
        }
    }
    if (data_lines > 0)
        ev->comment = false;
    if (data_lines > 1)
        ev->data = buf_str(&s->joined);
}

static int deliver(struct sse *s, struct str raw, sse_fn *fn, void *arg) {
    struct sse_event ev = {.raw = raw, .comment = true};
    struct str text = raw;
    if (raw.n > s->frame.max) {
        s->frame.failed = true; /* as if it had been collected: the error sticks */
        return -1;
    }
    if (!s->started && raw.n >= 3 && memcmp(raw.p, "\xEF\xBB\xBF", 3) == 0)
        text = str_skip(raw, 3);
    s->started = true;
    read_lines(s, text, &ev);
    return fn(arg, &ev) ? 0 : -2;
}

/* --- the stream --- */

/* Adds to the frame that is held back; whole: it is complete with them. */
static int collect(struct sse *s, struct str more, bool whole, sse_fn *fn, void *arg) {
    buf_adds(&s->frame, more);
    if (!buf_ok(&s->frame))
        return -1;
    s->scanned = buf_len(&s->frame);
    if (!whole || s->scanned == 0)
        return 0;
    int rc = deliver(s, buf_str(&s->frame), fn, arg);
    buf_clear(&s->frame);
    s->scanned = 0;
    return rc;
}

int sse_push(struct sse *s, const char *p, size_t n, sse_fn *fn, void *arg) {
    const char *end = p + n;
    if (!buf_ok(&s->frame))
        return -1;
    if (n > 0 && buf_len(&s->frame) > 0) {
        const char *stop = rest_of_frame(&s->frame, p, end);
        const char *to = stop ? stop : end;
        int rc = collect(s, str_make(p, (size_t)(to - p)), stop != NULL, fn, arg);
        if (rc != 0)
            return rc;
        p = to;
    }
    while (p < end) {
        const char *stop = frame_end(p, end, true);
        struct str piece = str_make(p, (size_t)((stop ? stop : end) - p));
        int rc = stop ? deliver(s, piece, fn, arg) : collect(s, piece, false, fn, arg);
        if (rc != 0)
            return rc;
        p += piece.n;
    }
    return 0;
}

int sse_finish(struct sse *s, sse_fn *fn, void *arg) {
    return buf_ok(&s->frame) ? collect(s, STR_NONE, true, fn, arg) : -1;
}
