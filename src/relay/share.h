/* Equal requests in flight, on whatever worker, share one call of a provider (cache.coalesce).
 *
 * Who comes first claims the cache's key (shm/claim.h) and asks: it leads. The others wait: a whole answer
 * they find in the cache when the claim is gone; of a stream they follow the bytes while it comes, through a
 * file in state_dir that the leader writes from the moment somebody waits. When the claim is gone and there
 * is no answer (it failed, may not be stored, its worker was killed), one of those who waited claims the key
 * and the others wait once more. A leader whose client leaves goes on while anybody waits. */
#ifndef PENSTOCK_RELAY_SHARE_H
#define PENSTOCK_RELAY_SHARE_H
#include <stdbool.h>

struct plane;
struct request;
struct share;
enum verdict step_join(struct request *r);
/* Removes the files of leaders that were killed. */
void share_sweep(const struct plane *p);
/* For the leader: r->held_bytes are about to go to its client, and are in r->capture. */
void share_tell(struct request *r);
bool share_wanted(const struct request *r); /* it leads, and somebody waits */
/* In on_gone: true, and the exchange is kept. */
bool share_goes_on(struct request *r);
void share_pipe(struct request *r); /* r->now.pipe, for the last words of a follower */
/* The answer is complete, or there is none: nobody waits for it, or is waited for, any more. */
void share_end(struct request *r);
#endif
