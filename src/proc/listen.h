/* The listening sockets. The master owns them all and hands them to whoever lives in a worker's seat: a
 * connection that waits in one outlives the worker. TCP: one SO_REUSEPORT socket per address and seat, so
 * that the kernel spreads the load; unix: one per address, shared by all. */
#ifndef PENSTOCK_PROC_LISTEN_H
#define PENSTOCK_PROC_LISTEN_H
#include "base/buf.h"
#include "conf/conf.h"

struct listener;
struct listeners {
    struct listener *list;
    size_t n;
};
/* Opens what the configuration wants for that many seats and is not open yet. What is new gets no connection
 * of an address that older seats serve until listen_spread(); `serving`: how many these are. 0: at the start,
 * when an address in use is tried again for a second. False, nothing changed, and lines added to *why. */
bool listen_prepare(struct listeners *l, const struct conf *c, unsigned seats, unsigned serving,
                    struct buf *why);
void listen_abort(struct listeners *l);  /* closes what the last prepare opened */
void listen_commit(struct listeners *l); /* closes addresses that the last prepare did not want */

/* New connections go to the seats below `seats` only. */
void listen_spread(struct listeners *l, unsigned seats);
void listen_close_seat(struct listeners *l, unsigned seat); /* and those above it */
unsigned listen_seats(const struct listeners *l);           /* most that are open at any address */

/* In a child: gives the sockets of its seat (one per c->listen) and closes all others. c NULL: closes all. */
void listen_hand_over(struct listeners *l, const struct conf *c, unsigned seat, int *fds);
void listen_free(struct listeners *l); /* the master's end: unix sockets are removed */
#endif
