/* The scribe: the only writer of LMDB. Takes what the workers put into their rings to the ledger and the cache, writes
 * the access log, and keeps both stores within their bounds.
 *
 * Words on the socketpair. To the scribe, a byte each: 'D' a process has died (its readers' slots are cleared); 'L'
 * reopen the log; 'Q' take what is in the rings, commit, leave with 0; and 'N', an event for the log store: u32 length, then
 * level (a byte), event, NUL, message. To the master: 'R' ready. End of file: the
 * master is gone; it stays until the workers are gone too, or nothing has come for 15 s. */
#ifndef PENSTOCK_PROC_SCRIBE_H
#define PENSTOCK_PROC_SCRIBE_H
#include "conf/conf.h"
#include "shm/shm.h"

struct scribe_env {
    struct shm *shm;
    const struct conf *conf;
    int master_fd;
    uint32_t slot;
    uint64_t ledger_map; /* bytes; 0: 16 GiB (tests want less) */
    uint64_t quit_ms;    /* how long it goes on writing when it is to end; 0: 10 s (slow machines want more) */
};
/* The child's main; privileges are dropped already. Waits up to 30 s for another scribe to leave state_dir. Signals
 * that end a foreground process group are ignored: it ends when the master says so, or is gone. */
_Noreturn void scribe_run(const struct scribe_env *env);
#endif
