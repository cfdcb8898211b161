/* What is served to browsers. Private to surface/. */
#ifndef PENSTOCK_SRC_SURFACE_PAGE_H
#define PENSTOCK_SRC_SURFACE_PAGE_H
#include "surface/surface.h"

/* 200, or 304 to a client that has these bytes; with the headers that keep a page to itself. */
void page_send(struct surface_call *c, const char *type, struct str body);
#endif
