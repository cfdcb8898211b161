/* Quick steps over JSON that was checked, or (in taps) over what may be none: nothing reads beyond the end,
 * and the worst that garbage gets is a wrong look. For the two hot paths, request peek and stream tap;
 * everything else uses base/json.h. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_WALK_H
#define PENSTOCK_SRC_DIALECT_WALK_H
#include "base/str.h"

static inline const char *walk_blank(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

/* p: behind the opening quote. The closing one, or end. */
static inline const char *walk_string(const char *p, const char *end) {
    for (;;) {
        const char *q = memchr(p, '"', (size_t)(end - p));
        if (!q)
            return end;
        const char *back = q;
        while (back > p && back[-1] == '\\')
            back--;
        if ((q - back) % 2 == 0)
            return q;
        p = q + 1; /* an escaped quote: what is before it does not count for the next */
    }
}

/* Behind the value that begins at p. */
static inline const char *walk_value(const char *p, const char *end) {
    size_t depth = 0;
    while (p < end) {
        switch (*p) {
        case '"':
            p = walk_string(p + 1, end);
            if (p == end)
                return end;
            break;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (depth == 0)
                return p;
            depth--;
            break;
        default:
            if (depth == 0 && (*p == ',' || *p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
                return p;
            p++;
            continue;
        }
        p++;
        if (depth == 0)
            return p;
    }
    return end;
}
#endif
