/* Redis' protocol by hiredis: commands to bytes, bytes to replies. Without hiredis nothing of it is ever
 * called (an option that would want it is refused). */
#ifndef PENSTOCK_SRC_CLUSTER_RESP_H
#define PENSTOCK_SRC_CLUSTER_RESP_H
#include "base/buf.h"
#include "cluster/link.h"

/* Arguments are counted, not quoted: any bytes may be in them. */
void resp_command(struct buf *out, const struct str *arg, size_t n);

struct resp_reader;
struct resp_reader *resp_reader_new(void);
void resp_reader_free(struct resp_reader *r);
void resp_reader_feed(struct resp_reader *r, const char *p, size_t n);
/* 1: *out, to be given back with resp_free(); 0: not all there yet; -1: that is not Redis' protocol. */
int resp_reader_next(struct resp_reader *r, struct resp **out);
void resp_free(struct resp *r);
#endif
