/* One field of a multipart/form-data body that passes by in pieces: where its value lies, and what it is.
 * Nothing of the body is kept but that value. RFC 7578, RFC 2046 5.1. Strict: what the provider could read
 * otherwise than we do (the field twice, a part without a name or with one in two forms, a line that only begins like the
 * boundary) is bad. */
#ifndef PENSTOCK_HTTP_MULTIPART_H
#define PENSTOCK_HTTP_MULTIPART_H
#include "base/str.h"
#include <stdint.h>

enum { MULTIPART_VALUE_MAX = 512, MULTIPART_LINE_MAX = 1024 };

struct multipart {
    const char *field;      /* the wanted one; borrowed */
    char delimiter[4 + 70]; /* "\r\n--boundary" */
    size_t ndelimiter, matched;
    enum multipart_state { MULTIPART_DATA, MULTIPART_TAIL, MULTIPART_HEADERS, MULTIPART_END } state;
    bool named, wanted; /* the part that is passing has said its name; it is the field */
    char line[MULTIPART_LINE_MAX];
    size_t nline;
    char text[2 + MULTIPART_VALUE_MAX + 4 + 70]; /* a line end, the field's value, a delimiter */
    size_t ntext;
    uint64_t seen, from; /* bytes of the body so far; where the part's data begin */
    /* The result: */
    bool found, bad;
    uint64_t at; /* of the value, in the body */
    struct str value;
};
/* false: content_type is no multipart/form-data with a boundary of 1 to 70 characters. */
bool multipart_init(struct multipart *m, struct str content_type, const char *field);
void multipart_feed(struct multipart *m, struct str piece);
#endif
