/* A stream of bytes to a server: its name looked up beside the loop (a thread that ends by itself),
 * connected, over TLS if wanted. Never blocks. */
#ifndef PENSTOCK_SRC_CLUSTER_WIRE_H
#define PENSTOCK_SRC_CLUSTER_WIRE_H
#include "base/loop.h"
#include "base/str.h"

struct wire_to {      /* its strings live as long as the wire */
    const char *path; /* unix:, or "" */
    const char *host;
    uint16_t port;
    bool tls, verify;
    const char *ca;                /* a file, or "" : the system's */
    const char *certificate, *key; /* files, or "": none; the key: in the same file */
};
/* Each is the last thing that the wire does: wire_close() is allowed in all of them. */
struct wire_sink {
    void (*up)(void *arg);
    void (*data)(void *arg, const char *p, size_t n);
    void (*down)(void *arg, const char *why); /* once, also when it never came up; then only wire_close() */
};
struct wire;
struct wire *wire_open(struct loop *l, const struct wire_to *to, const struct wire_sink *sink, void *arg);
void wire_close(struct wire *w);              /* NULL is fine; no callback comes any more */
void wire_send(struct wire *w, struct str s); /* after up; written at the end of this turn */
size_t wire_waiting(const struct wire *w);    /* bytes that are not sent yet */
#endif
