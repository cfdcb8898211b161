#include "http/chunked.h"
#include <ctype.h>

void chunks_init(struct chunks *c, size_t max_trailers) {
    *c = (struct chunks){.max_trailers = max_trailers, .max_extension = CHUNK_MAX_EXTENSION};
}

void chunks_init_answer(struct chunks *c, size_t max_trailers) {
    *c = (struct chunks){.max_trailers = max_trailers, .max_extension = max_trailers, .lenient = true};
}

static bool chunk_bad(struct chunks *c, int status, const char *why) {
    c->status = status;
    c->why = why;
    return false;
}

static unsigned hex_value(char c) {
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

static bool size_byte(struct chunks *c, char b) {
    if (isxdigit((unsigned char)b)) {
        if (++c->digits > CHUNK_MAX_DIGITS)
            return chunk_bad(c, 400, "chunk size too long");
        c->left = c->left << 4 | hex_value(b);
        return true;
    }
    bool blank = c->lenient && (b == ' ' || b == '\t');
    if (c->digits == 0 || (b != ';' && b != '\r' && !blank))
        return chunk_bad(c, 400, "malformed chunk size");
    c->state = b == '\r' ? CHUNK_SIZE_LF : CHUNK_EXTENSION;
    return true;
}

static bool extension_byte(struct chunks *c, char b) {
    if (b == '\r') {
        c->state = CHUNK_SIZE_LF;
        return true;
    }
    if (!http_field_value(str_make(&b, 1)))
        return chunk_bad(c, 400, "control character in a chunk extension");
    return ++c->extension <= c->max_extension || chunk_bad(c, 400, "chunk extension too long");
}

static bool trailer_byte(struct chunks *c, char b) {
    if (c->state == CHUNK_TRAILER && b == '\r') {
        c->state = CHUNK_LAST_LF;
        return true;
    }
    if (++c->trailers > c->max_trailers)
        return chunk_bad(c, 431, "trailers too large");
    if (c->state == CHUNK_TRAILER_VALUE) {
        if (b == '\r')
            c->state = CHUNK_TRAILER_LF;
        return b == '\r' || http_field_value(str_make(&b, 1)) ||
               chunk_bad(c, 400, "control character in a trailer field");
    }
    if (c->lenient && c->state == CHUNK_TRAILER_NAME && (b == ' ' || b == '\t'))
        return true;
    if (http_token(str_make(&b, 1)))
        c->state = CHUNK_TRAILER_NAME;
    else if (b == ':' && c->state == CHUNK_TRAILER_NAME)
        c->state = CHUNK_TRAILER_VALUE;
    else
        return chunk_bad(c, 400, "malformed trailer field name");
    return true;
}

static bool expect_byte(struct chunks *c, char b, char want, enum chunk_state next) {
    if (b != want)
        return chunk_bad(c, 400, "malformed line end in a chunked body");
    c->state = next;
    return true;
}

/* The line with the size is over. */
static void begin_chunk(struct chunks *c) {
    c->digits = c->extension = 0;
    c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER;
}

static bool wants_cr(const struct chunks *c) {
    return c->state == CHUNK_SIZE || c->state == CHUNK_EXTENSION || c->state == CHUNK_DATA_CR ||
           c->state == CHUNK_TRAILER || c->state == CHUNK_TRAILER_VALUE;
}

static bool chunk_byte(struct chunks *c, char b) {
    if (c->lenient && b == '\n' && wants_cr(c) && !chunk_byte(c, '\r'))
        return false;
    switch (c->state) {
    case CHUNK_SIZE:
        return size_byte(c, b);
    case CHUNK_EXTENSION:
        return extension_byte(c, b);
    case CHUNK_SIZE_LF:
        if (!expect_byte(c, b, '\n', CHUNK_DATA))
            return false;
        begin_chunk(c);
        return true;
    case CHUNK_DATA_CR:
        return expect_byte(c, b, '\r', CHUNK_DATA_LF);
    case CHUNK_DATA_LF:
        return expect_byte(c, b, '\n', CHUNK_SIZE);
    case CHUNK_TRAILER:
    case CHUNK_TRAILER_NAME:
    case CHUNK_TRAILER_VALUE:
        return trailer_byte(c, b);
    case CHUNK_TRAILER_LF:
        return expect_byte(c, b, '\n', CHUNK_TRAILER);
    case CHUNK_LAST_LF:
        return expect_byte(c, b, '\n', CHUNK_END);
    case CHUNK_DATA:
    case CHUNK_END:
        break;
    }
    return chunk_bad(c, 400, "malformed chunked body");
}

enum parse chunks_feed(struct chunks *c, const char *p, size_t n, size_t *used, struct str *data) {
    size_t i = 0;
    *data = STR_NONE;
    while (i < n && c->state != CHUNK_END) {
        if (c->state == CHUNK_DATA) {
            size_t take = n - i < c->left ? n - i : (size_t)c->left;
            *data = str_make(p + i, take);
            c->left -= take;
            if (c->left == 0)
                c->state = CHUNK_DATA_CR;
            *used = i + take;
            return PARSE_MORE;
        }
        if (!chunk_byte(c, p[i++])) {
            *used = i;
            return PARSE_BAD;
        }
    }
    *used = i;
    return c->state == CHUNK_END ? PARSE_DONE : PARSE_MORE;
}
