/* What this host shares with the others of its cluster beside limits: stored gateway keys, and the clearing
 * of the cache. */
#ifndef PENSTOCK_PROC_SHARE_H
#define PENSTOCK_PROC_SHARE_H
#include "base/str.h"
#include "cluster/cluster.h"

struct drain;
struct share;
struct share *share_start(struct cluster *c, struct drain *d); /* NULL: no cluster */
void share_stop(struct share *s);
/* It was changed here, and that is committed. */
void share_key(struct share *s, struct str id);
/* text: of RECORD_CLEAR. s NULL: it waits for the next scribe. */
void share_clear(struct share *s, const struct conf *c, struct str text);
void share_keep(struct share *s); /* behind those of a batch, before its records are released */
#endif
