/* Opaque state of one dialect that travels through another dialect's field for its own (Gemini's
 * thoughtSignature in Anthropic's signature): wrapped with its origin, so that it is known again when the
 * client sends it back. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_OPAQUE_H
#define PENSTOCK_SRC_DIALECT_OPAQUE_H
#include "base/arena.h"
#include "base/str.h"

/* What a client of dialect `own` is given: text itself when origin is own or unknown (empty), else base64. */
struct str opaque_wrap(struct arena *a, struct str text, struct str origin, const char *own);
/* What came back from a client of dialect `own`: *origin is own when it was not wrapped. */
struct str opaque_unwrap(struct arena *a, struct str text, const char *own, struct str *origin);
#endif
