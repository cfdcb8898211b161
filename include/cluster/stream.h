/* The ledger's records for other programs: a Redis stream that each host's scribe adds its own to. How far it has come lies
 * beside the stream and is moved by the same script, so a record is there at least once, and again only where the server has
 * lost its memory of it: with the same id. */
#ifndef PENSTOCK_CLUSTER_STREAM_H
#define PENSTOCK_CLUSTER_STREAM_H
#include "base/buf.h"
#include "cluster/cluster.h"

enum { STREAM_AT_ONCE = 64 };
struct stream_batch {
    size_t n;
    uint64_t number[STREAM_AT_ONCE]; /* ascending, from 1 on */
    size_t end[STREAM_AT_ONCE];      /* of its text in `text` */
    struct buf text;
    uint64_t next;                   /* where the next batch begins */
};
struct stream;
/* fetch: records from a number on. most: about so many entries are kept. c NULL or most 0: NULL. The scribe's. */
struct stream *stream_start(struct cluster *c, uint64_t most, void (*fetch)(void *arg, uint64_t from, struct stream_batch *b),
                            void *arg);
void stream_stop(struct stream *s); /* before cluster_free; NULL is fine */
#endif
