/* Clears of the cache that hosts tell each other. The server lists them, each with a time of its own, for as
 * long as an answer may be cached: each host does each once, when it hears of it or finds it listed. What is
 * to be told lies in state_dir/clears until the server has it, so that no kill, restart or reload of a scribe
 * forgets one; it may be told twice. */
#ifndef PENSTOCK_SRC_CLUSTER_CLEARS_H
#define PENSTOCK_SRC_CLUSTER_CLEARS_H
#include "cluster/news.h"

struct clears;
struct clears *clears_new(struct cluster *c, const struct news_events *e, void *arg);
void clears_free(struct clears *k); /* before the link */
void clears_tell(struct clears *k, struct str text);
void clears_keep(struct clears *k);                      /* writes the file, if it is another by now */
void clears_heard(struct clears *k, uint64_t server_ms); /* of this one, which is done */
void clears_send(struct clears *k);                      /* those that the server does not have */
void clears_ask(struct clears *k);                       /* for all that it lists */
#endif
