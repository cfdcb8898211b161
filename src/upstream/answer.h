/* A provider's answer by HTTP/1.1, without I/O: bytes go in, cut anywhere, and its head and its body come out
 * to a sink. RFC 9112, 6.3: where the body ends. What its grammar leaves open is refused. */
#ifndef PENSTOCK_SRC_UPSTREAM_ANSWER_H
#define PENSTOCK_SRC_UPSTREAM_ANSWER_H
#include "answer_head.h"
#include "http/chunked.h"
#include "inflate.h"

enum answer_phase {
    ANSWER_HEAD,   /* lines of a head, also of 1xx */
    ANSWER_LENGTH, /* `left` bytes of body */
    ANSWER_CHUNKS,
    ANSWER_CLOSE, /* the body ends with the connection */
    ANSWER_END,
};

enum answer_state {
    ANSWER_MORE,  /* all has been taken */
    ANSWER_FULL,  /* the sink takes no more now: answer_go_on() when it does, and nothing is fed until then */
    ANSWER_WHOLE, /* it is over; bytes behind it are kept from nobody */
    ANSWER_BAD,   /* see error; CALL_STOPPED: by the sink */
};

struct answer_sink { /* as in struct call_sink */
    enum flow (*head)(void *arg, int status, const struct call_header *headers, size_t n);
    enum flow (*data)(void *arg, const char *p, size_t n);
};

struct answer {
    const struct answer_sink *sink;
    void *arg;
    struct answer_head head;
    enum answer_phase phase;
    bool bodiless; /* whatever its head says: the request was a HEAD */
    bool close;    /* the connection is not to be kept */
    bool foreign;  /* in a coding that is not known here */
    size_t most;   /* of a piece of body */
    uint64_t left;
    struct chunks chunks;
    struct inflate *inflate; /* NULL: the body comes as it is */
    struct buf in;           /* bytes that could not be used yet */
    struct buf out;          /* of the body, and not taken yet */
    enum call_error error;
};

void answer_init(struct answer *a, const struct answer_sink *sink, void *arg);
/* Before the first byte of the next one. most: so many bytes of body go to the sink at once. */
void answer_reset(struct answer *a, bool bodiless, size_t most);
void answer_free(struct answer *a);
enum answer_state answer_feed(struct answer *a, const char *p, size_t n);
enum answer_state answer_go_on(struct answer *a);
enum answer_state answer_eof(struct answer *a); /* the connection ended: WHOLE or BAD */
static inline bool answer_begun(const struct answer *a) {
    return a->head.bytes > 0 || buf_len(&a->in) > 0;
}
bool answer_keeps(const struct answer *a); /* when WHOLE: the connection is good for another request */
#endif
