/* AWS Signature Version 4 of a request (IAM User Guide, "Create a signed AWS API request"). Pure: no clock,
 * no libcurl, whose own signing (7.88) neither encodes the path twice nor sees a body that is read in pieces.
 */
#ifndef PENSTOCK_SRC_UPSTREAM_SIGN_H
#define PENSTOCK_SRC_UPSTREAM_SIGN_H
#include "base/buf.h"
#include "conf/conf.h"

struct sign_request {
    struct str method, host; /* host as the Host header has it, with its port where that is said */
    struct str path, query;  /* as sent: percent-encoded once; query without '?' */
    struct str body;
    struct str region, service;
    int64_t wall_ms;
};
/* The headers to add, each as "Name: value" with a NUL behind it; gives their number. */
size_t sign_v4(const struct conf_key *k, const struct sign_request *r, struct buf *out);
#endif
