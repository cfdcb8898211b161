/* The gateway inside a worker: requests come in from http/, answers go out. */
#ifndef PENSTOCK_RELAY_GATEWAY_H
#define PENSTOCK_RELAY_GATEWAY_H
#include "base/buf.h"
#include "base/loop.h"
#include "conf/conf.h"
#include "http/exchange.h"
#include "shm/shm.h"
#include "upstream/call.h"

struct gateway;
struct gateway_env { /* borrowed; must outlive the gateway */
    struct loop *loop;
    struct multi *multi;
    struct shm *shm;
    const struct conf *conf;
    /* Asks the master to reload; done is called once, from the loop. */
    void (*reload)(void *arg, void (*done)(void *done_arg, bool ok, unsigned generation, struct str text),
                   void *done_arg);
    void *reload_arg;
};
struct gateway *gateway_new(const struct gateway_env *env, char err[256]);
/* What it wants to know before its first request is known, or will not be soon. */
bool gateway_settled(const struct gateway *g);
void gateway_request(struct exchange *x, void *gateway); /* http_handler.request */
struct http_header gateway_error_body(struct buf *out, int status, const char *why, struct str path,
                                      void *gateway); /* http_handler.error_body */
/* Ends what is open: streams get their dialect's error event, others a 503. Before the server is freed. */
void gateway_stop(struct gateway *g);
/* No record waits in this process for the scribe. */
bool gateway_written(const struct gateway *g);
void gateway_free(struct gateway *g);   /* after the server: no request is open any more */
#endif
