/* A Google service account: its signed word (a JWT, RFC 7523) against an access token at its token_uri, kept
 * as long as it is good and renewed before its end. One per key and worker. Facts:
 * developers.google.com/identity/protocols/ oauth2/service-account. */
#ifndef PENSTOCK_SRC_UPSTREAM_ACCOUNT_H
#define PENSTOCK_SRC_UPSTREAM_ACCOUNT_H
#include "inner.h"

struct account;
struct account_waiter { /* in a call that waits for a token */
    struct link link;
    void (*ready)(struct account_waiter *w, enum call_error e); /* from the loop; CALL_OK: ask again */
};
struct account *account_new(struct multi *m, const struct conf_provider *p, const struct conf_key *k);
void account_free(struct account *a); /* nobody waits any more */
/* The token and the number of it. None yet: STR_NONE, and w is told when that changes; account_leave()
 * before. */
struct str account_token(struct account *a, struct account_waiter *w, unsigned *number);
void account_leave(struct account_waiter *w);
/* The provider did not take it: the next call gets another. */
void account_refused(struct account *a, unsigned number);
#endif
