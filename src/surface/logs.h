/* The cursors of the log's pages, for every surface that shows them. Private to surface/. */
#ifndef PENSTOCK_SRC_SURFACE_LOGS_H
#define PENSTOCK_SRC_SURFACE_LOGS_H
#include "store/logs.h"

struct str logs_cursor_text(struct arena *a,
                            const struct logs_cursor *c); /* for clients nothing but a word */
bool logs_cursor_read(struct str s, struct logs_cursor *c);
#endif
