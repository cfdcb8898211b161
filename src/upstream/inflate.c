#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "base/die.h"
#include "inflate.h"

#ifdef PENSTOCK_ZLIB
#include <zlib.h>

enum {
    EITHER = 15 + 32,
    OUT_STEP = 16 * 1024
}; /* zlib.h, inflateInit2: the largest window, which of both is found out */

struct inflate {
    z_stream z;
    bool begun, whole;
};

struct inflate *inflate_new(void) {
    struct inflate *i = mem_alloc(sizeof *i);
    if (inflateInit2(&i->z, EITHER) != Z_OK)
        die("zlib: out of memory");
    return i;
}

void inflate_free(struct inflate *i) {
    if (!i)
        return;
    inflateEnd(&i->z);
    mem_free(i);
}

/* Another member may follow the one that ended (RFC 1952, 2.2). */
static bool next_member(struct inflate *i) {
    if (i->whole && inflateReset(&i->z) != Z_OK)
        return false;
    i->whole = false;
    return true;
}

bool inflate_more(struct inflate *i, struct str in, struct buf *out) {
    MUST(in.n <= INFLATE_STEP);
    i->z.next_in = (Bytef *)(uintptr_t)in.p; /* only read; zlib's interface has no const */
    i->z.avail_in = (uInt)in.n;
    bool more = in.n > 0;
    while (more) {
        char *to = buf_room(out, OUT_STEP);
        if (!to || !next_member(i))
            return false;
        i->begun = true;
        i->z.next_out = (Bytef *)to;
        i->z.avail_out = OUT_STEP;
        int rc = inflate(&i->z, Z_NO_FLUSH);
        buf_commit(out, OUT_STEP - i->z.avail_out);
        if (rc != Z_OK && rc != Z_BUF_ERROR && rc != Z_STREAM_END)
            return false;
        i->whole = rc == Z_STREAM_END;
        more = i->z.avail_in > 0 || (rc == Z_OK && i->z.avail_out == 0);
    }
    return true;
}

bool inflate_whole(const struct inflate *i) {
    return i->whole || !i->begun;
}

#else

struct inflate *inflate_new(void) {
    return NULL;
}

void inflate_free(struct inflate *i) {
    MUST(!i);
}

bool inflate_more(struct inflate *i, struct str in, struct buf *out) {
    (void)i, (void)in, (void)out;
    return false;
}

bool inflate_whole(const struct inflate *i) {
    (void)i;
    return false;
}
#endif
