/* libFuzzer target for the request parser. The first byte says what the rest is: a head, or a chunked body.
 * Whatever it is, it must be understood the same whole and byte by byte, and what is accepted must keep the
 * promises that the rooms above rely on. */
#include "../../src/http/parse.h"
#include "base/buf.h"
#include "base/die.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_HEAD = 2048, MAX_FIELDS = 16, MAX_TRAILERS = 256 };

static bool clean(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] < 0x20 && s.p[i] != '\t')
            return false;
    return true;
}

static void check_head(const struct head *h) {
    MUST(h->nheaders <= MAX_FIELDS && h->bytes <= MAX_HEAD && h->minor <= 1);
    MUST(h->path.n > 0 && (h->path.p[0] == '/' || str_is(h->path, "*")));
    MUST(clean(h->target) && http_token(h->method_name));
    MUST(!(h->has_length && h->has_coding) && (h->has_coding == h->chunked));
    MUST(h->minor == 0 || h->has_host);
    for (size_t i = 0; i < h->nheaders; i++)
        MUST(http_token(h->headers[i].name) && clean(h->headers[i].value));
}

static enum parse feed(struct head *h, const char *p, size_t n, size_t step, size_t *used) {
    enum parse r = PARSE_MORE;
    *used = 0;
    for (size_t end = 0; r == PARSE_MORE && end < n;) {
        end = n - end > step ? end + step : n;
        size_t one;
        char *copy = malloc(end - *used + 1); /* of its own size: reading past it is seen */
        MUST(copy != NULL);
        memcpy(copy, p + *used, end - *used);
        char *exact = realloc(copy, end - *used ? end - *used : 1);
        r = head_feed(h, exact, end - *used, &one);
        MUST(one <= end - *used);
        *used += one;
        free(exact);
    }
    return r;
}

static void fuzz_head(const char *p, size_t n) {
    struct arena *a = arena_new(0), *b = arena_new(0);
    struct head whole, bytes;
    size_t used_whole, used_bytes;
    head_init(&whole, a, MAX_HEAD, MAX_FIELDS);
    head_init(&bytes, b, MAX_HEAD, MAX_FIELDS);
    enum parse r = feed(&whole, p, n, n, &used_whole);
    MUST(feed(&bytes, p, n, 1, &used_bytes) == r);
    if (r == PARSE_BAD)
        MUST(whole.status == bytes.status && whole.why && whole.status >= 400);
    if (r == PARSE_DONE) {
        check_head(&whole);
        MUST(used_whole == used_bytes && whole.nheaders == bytes.nheaders);
        MUST(whole.content_length == bytes.content_length && str_eq(whole.target, bytes.target));
    }
    arena_free(a);
    arena_free(b);
}

static enum parse feed_chunks(struct chunks *c, const char *p, size_t n, size_t step, struct buf *out,
                              size_t *at) {
    enum parse r = PARSE_MORE;
    *at = 0;
    for (size_t end = 0; r == PARSE_MORE && (end < n || *at < end);) {
        if (*at == end)
            end = n - end > step ? end + step : n;
        struct str data;
        size_t used;
        r = chunks_feed(c, p + *at, end - *at, &used, &data);
        MUST(used <= end - *at && (used > 0 || r != PARSE_MORE));
        buf_adds(out, data);
        *at += used;
    }
    return r;
}

static void fuzz_chunks(const char *p, size_t n) {
    struct chunks whole, bytes;
    struct buf a, b;
    size_t at_whole, at_bytes;
    buf_init(&a, 0);
    buf_init(&b, 0);
    chunks_init(&whole, MAX_TRAILERS);
    chunks_init(&bytes, MAX_TRAILERS);
    enum parse r = feed_chunks(&whole, p, n, n, &a, &at_whole);
    MUST(feed_chunks(&bytes, p, n, 1, &b, &at_bytes) == r);
    MUST(at_whole == at_bytes && whole.status == bytes.status);
    MUST(str_eq(buf_str(&a), buf_str(&b)) && buf_len(&a) <= n);
    buf_free(&a);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    const char *p = (const char *)data + 1;
    if (data[0] == 'C')
        fuzz_chunks(p, size - 1);
    else
        fuzz_head(p, size - 1);
    return 0;
}
