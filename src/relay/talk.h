/* What is said in a request, on its way to the log: the worker takes the beginning of prompt and answer as it
 * is and puts it into the ring beside the row; the scribe masks it. Nothing is done where log.content is off.
 */
#ifndef PENSTOCK_SRC_RELAY_TALK_H
#define PENSTOCK_SRC_RELAY_TALK_H
#include "base/buf.h"

struct request;
struct pipe_opt;
/* The options of a stream's pipe, before it is made: its words are wanted. The vault may want its events too.
 */
void talk_hear(struct request *r, struct pipe_opt *o);
void talk_heard(struct request *r); /* behind each push: when there is enough, nobody listens any more */
/* The record of a finished request in place of its row (`spent`: with record_spent before it), and true;
 * false: there is nothing to be said. */
bool talk_pack(struct request *r, struct str row, bool spent, struct buf *out);
#endif
