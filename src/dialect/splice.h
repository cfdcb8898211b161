/* Edits of a client's JSON object by the byte spans of its values: all else stays as it was written. Private
 * to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_SPLICE_H
#define PENSTOCK_SRC_DIALECT_SPLICE_H
#include "dialect/dialect.h"

enum { SPLICE_MAX = 16 };
struct splice_edit {
    size_t at, cut; /* of the body */
    struct str put;
};
struct splice {
    struct str body; /* a JSON object that was scanned */
    struct splice_edit few[SPLICE_MAX];
    struct splice_edit *many; /* in place of few; NULL at first */
    size_t n;                 /* over the room there is: splice_write fails */
    size_t more;              /* room behind SPLICE_MAX */
};
void splice_grow(struct arena *a, struct splice *s, size_t more); /* room for so many more; once */
size_t splice_open(const struct splice *s);                       /* behind the opening brace */
void splice_put(struct splice *s, size_t at, size_t cut, struct str put);
void splice_value(struct splice *s, struct str value, struct str put); /* value: a span of the body */
void splice_remove(struct splice *s, struct str value);                /* the member with this value */
/* "model" is what the provider calls it: put, replaced, or as it is. */
void splice_model(struct arena *a, struct splice *s, const struct ask *ask, struct str model);
struct str splice_quoted(struct arena *a, const char *before, struct str text,
                         const char *after); /* text as a JSON string */
bool splice_write(struct arena *a, const struct splice *s, struct buf *out, struct fault *f);
#endif
