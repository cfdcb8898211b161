/* What the pages of /api/v1/llm share. Private to surface/. */
#ifndef PENSTOCK_SRC_SURFACE_S1_H
#define PENSTOCK_SRC_SURFACE_S1_H
#include "base/json.h"
#include "surface/surface.h"

/* {"success":true,"data": is written; the page writes its value, and end sends it and frees b. */
void s1_begin(struct jw *w, struct buf *b);
void s1_end(struct surface_call *c, struct jw *w, struct buf *b);
#endif
