/* Files that are part of the binary: the web page, and what the description of the API is made of. The build
 * makes the table of the files that src/ui/room.am names. */
#ifndef PENSTOCK_SURFACE_ASSET_H
#define PENSTOCK_SURFACE_ASSET_H
#include "base/str.h"

struct asset {
    const char *name; /* "try.js" */
    struct str bytes;
};
extern const struct asset assets[];
extern const size_t assets_n;
#endif
