/* A request whose body goes through as it came, JSON or not, small or large: what is held for it. */
#ifndef PENSTOCK_SRC_RELAY_PASS_H
#define PENSTOCK_SRC_RELAY_PASS_H
#include "base/spool.h"
#include "http/multipart.h"
#include "upstream/call.h"

struct pass {
    bool json;             /* the body lies in the exchange, whole */
    struct spool spool;    /* else here */
    struct multipart form; /* its field "model", if it is a form */
    bool is_form;
    struct str rest;         /* of the path, behind its version */
    struct str put;          /* in place of the field's value, when the target calls the model otherwise */
    struct call_source body; /* what is sent */
    /* the answer */
    int64_t length;  /* -1: not said */
    uint64_t sent;   /* bytes of it */
    bool tells;      /* it is JSON or a stream of it: its end may say what was used */
    struct buf tail; /* its last bytes */
};
#endif
