/* Requests of this worker that wait for a limit of their caller (shm/queue.h has all workers'). */
#ifndef PENSTOCK_RELAY_QUEUE_H
#define PENSTOCK_RELAY_QUEUE_H
#include "base/loop.h"
#include "policy/plane.h"

struct request;
struct queue;
struct waiter { /* in the request; zero-initialised waits for nothing */
    struct waiter *prev, *next;
    struct request *r;
    uint32_t place, blocked;
    uint64_t until_ms, next_try_ms;
    uint64_t booked; /* tokens, of one that was let in; 0: it did not wait */
    bool asking;     /* the cluster, whether it may go now */
};
struct queue *queue_new(struct plane *p);
void queue_free(struct queue *q); /* nobody waits any more */
/* Whoever comes while others wait for the limits that it meets waits too: the entity, or SHM_NONE. */
uint32_t queue_before(struct request *r);
/* Waits for its turn: STEP_LOOKUP comes when it was let in, STEP_SETTLE with a fault when it was not in time.
 * false: it is to be refused at once, since too many wait, or it could not be let in in time. */
bool queue_wait(struct request *r, uint32_t blocked);
void queue_known(struct request *r);                 /* the cluster has said so */
void queue_quit(struct request *r);                  /* it waits no more, if it did */
void queue_used(struct request *r, uint64_t tokens); /* what it has used, if it waited and was let in */
#endif
