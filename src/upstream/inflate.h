/* A body that comes gzip'ed (RFC 1952) or deflated (RFC 1950) although nobody asked for it. */
#ifndef PENSTOCK_SRC_UPSTREAM_INFLATE_H
#define PENSTOCK_SRC_UPSTREAM_INFLATE_H
#include "base/buf.h"

enum { INFLATE_STEP = 64 }; /* bytes in at once: they cannot become more than some 64 KiB */

struct inflate;
struct inflate *inflate_new(void); /* NULL: built without zlib */
void inflate_free(struct inflate *i);
bool inflate_more(struct inflate *i, struct str in, struct buf *out); /* false: it is neither, or damaged */
bool inflate_whole(const struct inflate *i); /* its end, with the checksum, has been there; or nothing has */
#endif
