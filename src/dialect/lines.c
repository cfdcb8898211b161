/* Whole lines are given out of the caller's bytes; only what is cut off at their end is copied. */
#include "lines.h"

void lines_init(struct lines *l, size_t max) {
    l->max = max ? max : 16 << 20;
    buf_init(&l->held, l->max);
}

static bool give(struct str line, lines_fn *fn, void *arg) {
    if (str_ends(line, "\r"))
        line.n--;
    line = str_trim(line);
    return line.n == 0 || fn(arg, line);
}

/* The line that is held and what came of it now. */
static int give_held(struct lines *l, const char *p, size_t n, lines_fn *fn, void *arg) {
    buf_add(&l->held, p, n);
    if (!buf_ok(&l->held))
        return -1;
    bool on = give(buf_str(&l->held), fn, arg);
    buf_clear(&l->held);
    return on ? 0 : 1;
}

int lines_push(struct lines *l, const char *p, size_t n, lines_fn *fn, void *arg) {
    while (n > 0) {
        const char *end = memchr(p, '\n', n);
        size_t here = end ? (size_t)(end - p) : n;
        if (here > l->max - buf_len(&l->held))
            return -1;
        if (!end) {
            buf_add(&l->held, p, n);
            return buf_ok(&l->held) ? 0 : -1;
        }
        int rc = buf_len(&l->held) ? give_held(l, p, here, fn, arg) : !give(str_make(p, here), fn, arg);
        if (rc != 0)
            return rc;
        p += here + 1;
        n -= here + 1;
    }
    return 0;
}

int lines_finish(struct lines *l, lines_fn *fn, void *arg) {
    return give_held(l, "", 0, fn, arg);
}

void lines_free(struct lines *l) {
    buf_free(&l->held);
}
