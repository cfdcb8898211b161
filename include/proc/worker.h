/* A worker: an event loop, the HTTP server on its sockets, and the gateway. It never sees another configuration.
 *
 * Words on the socketpair. To the worker: 'Q' stop accepting, finish, leave; 'X' leave now, what is open is cut;
 * 'L' reopen the log; 'A' u32 text: the answer to 'H', "0<generation>" or "1<errors>". To the master: 'R' ready;
 * 'H' please reload; 'E' u32 text: why I cannot start. End of file: the master is gone, finish and leave. */
#ifndef PENSTOCK_PROC_WORKER_H
#define PENSTOCK_PROC_WORKER_H
#include "conf/conf.h"
#include "shm/shm.h"

struct worker_env {
    struct shm *shm;
    struct conf *conf; /* the process's own since the fork: freed at the end */
    int master_fd;     /* non-blocking; owned */
    uint32_t slot;
    unsigned number;
    int *fds;          /* a listening socket per conf->listen; owned */
};
_Noreturn void worker_run(struct worker_env *env);
#endif
