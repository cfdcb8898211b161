/* The only file that knows hiredis. Of it the codec is used: sockets, TLS and times are ours (wire.c), for
 * older versions of it know neither TLS nor bounds. */
#include "config.h"

#include "resp.h"

#include "base/die.h"

#ifdef PENSTOCK_HIREDIS
#include <hiredis/hiredis.h>
#endif

void resp_command(struct buf *out, const struct str *arg, size_t n) {
    buf_addc(out, '*');
    buf_addu(out, n);
    for (size_t i = 0; i < n; i++) {
        BUF_ADD(out, "\r\n$");
        buf_addu(out, arg[i].n);
        BUF_ADD(out, "\r\n");
        buf_adds(out, arg[i]);
    }
    BUF_ADD(out, "\r\n");
}

#ifdef PENSTOCK_HIREDIS

struct resp_reader *resp_reader_new(void) {
    redisReader *r = redisReaderCreate();
    if (!r)
        die("out of memory");
    return (struct resp_reader *)(void *)r;
}

static redisReader *reader_of(struct resp_reader *r) {
    return (redisReader *)(void *)r;
}

void resp_reader_free(struct resp_reader *r) {
    if (r)
        redisReaderFree(reader_of(r));
}

void resp_reader_feed(struct resp_reader *r, const char *p, size_t n) {
    redisReaderFeed(reader_of(r), p, n); /* an error of it is told by the next reply */
}

int resp_reader_next(struct resp_reader *r, struct resp **out) {
    void *got = NULL;
    if (redisReaderGetReply(reader_of(r), &got) != REDIS_OK)
        return -1;
    *out = got;
    return got != NULL;
}

void resp_free(struct resp *r) {
    if (r)
        freeReplyObject(r);
}

static const redisReply *of(const struct resp *r) {
    return (const redisReply *)(const void *)r;
}

enum resp_type resp_type(const struct resp *r) {
    switch (r ? of(r)->type : REDIS_REPLY_NIL) {
    case REDIS_REPLY_INTEGER:
        return RESP_INTEGER;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        return RESP_TEXT;
    case REDIS_REPLY_ARRAY:
        return RESP_LIST;
    case REDIS_REPLY_ERROR:
        return RESP_ERROR;
    default:
        return RESP_NONE;
    }
}

int64_t resp_integer(const struct resp *r) {
    int64_t v = 0;
    if (resp_type(r) == RESP_INTEGER)
        return of(r)->integer;
    if (resp_type(r) == RESP_TEXT)
        str_i64(resp_text(r), &v);
    return v;
}

struct str resp_text(const struct resp *r) {
    enum resp_type t = resp_type(r);
    return t == RESP_TEXT || t == RESP_ERROR ? str_make(of(r)->str, (size_t)of(r)->len) : STR_NONE;
}

size_t resp_n(const struct resp *r) {
    return resp_type(r) == RESP_LIST ? (size_t)of(r)->elements : 0;
}

const struct resp *resp_at(const struct resp *r, size_t i) {
    return i < resp_n(r) ? (const struct resp *)(const void *)of(r)->element[i] : NULL;
}

#else

struct resp_reader *resp_reader_new(void) {
    return NULL;
}
void resp_reader_free(struct resp_reader *r) {
    (void)r;
}
void resp_reader_feed(struct resp_reader *r, const char *p, size_t n) {
    (void)r, (void)p, (void)n;
}
int resp_reader_next(struct resp_reader *r, struct resp **out) {
    (void)r, (void)out;
    return -1;
}
void resp_free(struct resp *r) {
    (void)r;
}
enum resp_type resp_type(const struct resp *r) {
    (void)r;
    return RESP_NONE;
}
int64_t resp_integer(const struct resp *r) {
    (void)r;
    return 0;
}
struct str resp_text(const struct resp *r) {
    (void)r;
    return STR_NONE;
}
size_t resp_n(const struct resp *r) {
    (void)r;
    return 0;
}
const struct resp *resp_at(const struct resp *r, size_t i) {
    (void)r, (void)i;
    return NULL;
}

#endif
