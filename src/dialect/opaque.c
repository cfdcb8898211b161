/* Wrapped opaque state: base64 of "penstock:ORIGIN:TEXT". */
#include "opaque.h"

#include "base/buf.h"
#include "base/hash.h"

#define MARK        "penstock:" /* nine bytes: its base64 stands alone at the beginning */
#define MARK_BASE64 "cGVuc3RvY2s6"

struct str opaque_wrap(struct arena *a, struct str text, struct str origin, const char *own) {
    if (text.n == 0 || origin.n == 0 || str_is(origin, own))
        return text;
    struct str plain = arena_printf(a, MARK STR_FMT ":", STR_ARG(origin));
    struct buf all, out;
    buf_init(&all, 0);
    buf_init(&out, 0);
    buf_adds(&all, plain);
    buf_adds(&all, text);
    base64_encode(&out, buf_at(&all), buf_len(&all));
    struct str s = arena_dup(a, buf_str(&out));
    buf_free(&all);
    buf_free(&out);
    return s;
}

struct str opaque_unwrap(struct arena *a, struct str text, const char *own, struct str *origin) {
    struct buf plain;
    *origin = str_of(own);
    if (!str_starts(text, MARK_BASE64))
        return text;
    buf_init(&plain, 0);
    struct str s = text;
    if (base64_decode(&plain, text)) {
        struct str rest = str_skip(buf_str(&plain), strlen(MARK)), from;
        if (str_next(&rest, ':', &from) && from.n) {
            *origin = arena_dup(a, from);
            s = arena_dup(a, rest);
        }
    }
    buf_free(&plain);
    return s;
}
