/* A connection to the cluster's server, Redis or Valkey: one for each process that wants one, on its event loop. It comes
 * back by itself, after pauses that grow and are never in step with others' (50 ms to 5 s), at the URL's address or the next of
 * cluster.redis.addresses, or at the last primary's or its replicas', and ends where the primary is: a replica, a Sentinel and a node of a Redis Cluster say where
 * that is. Nothing of it blocks, names are looked up beside the loop. Neither user nor password gets into a log. */
#ifndef PENSTOCK_CLUSTER_LINK_H
#define PENSTOCK_CLUSTER_LINK_H
#include "base/loop.h"
#include "base/str.h"
#include "conf/conf.h"

/* A reply, valid until its callback returns. NULL is taken for RESP_NONE everywhere. */
struct resp;
enum resp_type { RESP_NONE, RESP_TEXT, RESP_INTEGER, RESP_LIST, RESP_ERROR };
enum resp_type resp_type(const struct resp *r);
int64_t resp_integer(const struct resp *r); /* also of a text of digits; else 0 */
struct str resp_text(const struct resp *r); /* of an error: its words */
size_t resp_n(const struct resp *r);
const struct resp *resp_at(const struct resp *r, size_t i);

struct link;
struct link_events { /* either may be NULL */
    void (*state)(void *arg, bool up);                /* it can be used now, or no more */
    void (*push)(void *arg, const struct resp *r);   /* of a subscription */
};
/* c: conf_cluster(), outlives it. says: its states are logged (one process of a host is enough). */
struct link *link_new(struct loop *l, const struct conf_redis *c, bool says, const struct link_events *e, void *arg);
void link_free(struct link *k); /* what was sent and has no reply gets its callback: r NULL */
bool link_up(const struct link *k);
bool link_failed(const struct link *k); /* since it was up last, or ever */
/* Nothing has been heard for a while although something was asked: who is in a hurry had better not ask. */
bool link_slow(const struct link *k);
void link_late(struct link *k); /* somebody waited in vain: slow, until a resp.comes */
/* Sends a command; callbacks come in this order, from the loop, each once. r NULL: the connection was lost, and nobody
 * knows whether it was done. The reply may be an error. false: not up, or too much is on its way; no callback comes.
 * done NULL: nobody wants to know. In a callback anything may be called but link_free. */
typedef void link_done(void *arg, const struct resp *r);
bool link_send(struct link *k, const struct str *arg, size_t n, link_done *done, void *done_arg);
#endif
