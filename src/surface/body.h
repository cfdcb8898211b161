/* Bodies of requests to handlers: small JSON objects. */
#ifndef PENSTOCK_SURFACE_BODY_H
#define PENSTOCK_SURFACE_BODY_H
#include "base/json.h"
#include "surface/surface.h"

/* Reads the body, then calls fn with a copy of the call that lives as long as the exchange. json: an object
 * that the scanner has passed; "{}" when there was no body. What is none is answered here. The handler
 * returns after this. */
typedef void body_fn(struct surface_call *c, struct str json);
void body_read(struct surface_call *c, body_fn *fn);
/* The first member that is not among the names (NULL at the end), or one that is given twice: answered with a
 * 400, false. */
bool body_names(struct surface_call *c, struct str json, const char *const *names);
/* 400: "<param>: <why>" */
void body_wrong(struct surface_call *c, struct str param, const char *why);
#endif
