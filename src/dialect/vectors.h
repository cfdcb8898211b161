/* Embeddings as JSON, for the dialects that give them as arrays of numbers. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_VECTORS_H
#define PENSTOCK_SRC_DIALECT_VECTORS_H
#include "llm/embed.h"

void vector_write(struct jw *w, float v); /* the shortest digits that give the same float again */
enum { VECTOR_MAX = 1 << 20 /* numbers of one vector */ };

/* v: a checked array of numbers. false: something else is in it, or too much. */
bool vector_read(struct arena *a, struct json_value v, struct embedding *out);
/* v: a checked array of vectors, as many as there are; into r->list and r->n. false as above. */
bool vectors_read(struct arena *a, struct json_value v, struct embed_reply *r);
#endif
