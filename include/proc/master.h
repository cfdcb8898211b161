/* The master: reads the configuration, owns the sockets and the shared memory, forks and reaps. One thread for ever. */
#ifndef PENSTOCK_PROC_MASTER_H
#define PENSTOCK_PROC_MASTER_H
#include "conf/conf.h"

struct master_args {
    struct conf_source source; /* read again at each reload; its strings live as long as the process */
    struct conf *conf;         /* loaded already; the master's from here on */
    int ready_fd;              /* daemonised: a byte is written when the first workers are ready; else -1 */
};
/* Runs until stopped. The exit status; what failed was logged, and said on stderr while starting. */
int master_run(const struct master_args *args);
#endif
