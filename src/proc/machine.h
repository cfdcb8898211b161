/* The master's state, shared by master.c (the machine and its loop), children.c (fork, words, ends) and
 * reload.c. */
#ifndef PENSTOCK_PROC_MACHINE_H
#define PENSTOCK_PROC_MACHINE_H
#include "base/buf.h"
#include "conf/conf.h"
#include "listen.h"
#include "privilege.h"
#include "proc/master.h"
#include "shm/shm.h"
#include "shm/slot.h"

/* START_SCRIBE -> START_WORKERS -> RUN <-> RELOAD; from any of them STOP_WORKERS -> STOP_SCRIBE -> END. */
enum phase {
    PHASE_START_SCRIBE,
    PHASE_START_WORKERS,
    PHASE_RUN,
    PHASE_RELOAD,
    PHASE_STOP_WORKERS,
    PHASE_STOP_SCRIBE,
    PHASE_END,
};

enum child_state {
    CHILD_STARTING,
    CHILD_READY,
    CHILD_RETIRING, /* its seat is given up: it still empties its sockets, then it is asked to leave */
    CHILD_LEAVING,  /* asked to finish and leave */
    CHILD_CUT,      /* asked to leave at once */
    CHILD_KILLED,
};
struct child {
    pid_t pid; /* 0: the entry is free */
    int fd;    /* our end of the socketpair; -1 once it said end of file */
    enum slot_role role;
    enum child_state state;
    uint32_t slot;
    unsigned number, generation;
    uint64_t started_ms;
    uint64_t deadline_ms;         /* of the state; 0: none */
    unsigned asks_now, asks_next; /* reload requests that the running reload answers, or the one after it */
    struct buf in;
    char why[512]; /* its 'E': why it could not start */
};
struct seat { /* back-off of one worker number, or of the scribe */
    uint64_t delay_ms, not_before_ms;
};

struct master {
    enum phase phase;
    struct conf_source source;
    struct conf *conf;
    struct conf *next; /* PHASE_RELOAD: the one that is being tried */
    struct identity id;
    struct shm *shm;
    struct listeners listeners;
    unsigned workers; /* seats to be filled */
    struct child child[SHM_MAX_SLOTS];
    struct seat seat[SHM_MAX_SLOTS], scribe_seat;
    int signal_fd, pid_fd, ready_fd;
    int exit_status;
    bool daemon;
    bool reload_wanted;
    bool stop_now; /* a second TERM */
    uint64_t phase_deadline_ms;
    uint64_t watch_at_ms, alive_at_ms;
    uint64_t hang_ms;
    struct buf reload_text;
};

enum {
    READY_MS = 10 * 1000,   /* a first or a new generation has so long to be ready */
    SCRIBE_READY_MS = 3000, /* a first scribe; one that lives may still wait for a predecessor */
    RETIRE_MS = 1000,       /* a seat's sockets get no new connections; after this they are empty */
    CUT_MS = 2000,          /* a worker that was cut settles its accounts */
    SCRIBE_MS = 10 * 1000,  /* the scribe's last commits */
    QUICK_DEATH_MS = 1000,
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 5000,
    WATCH_MS = 2000,
    HANG_MS = 60 * 1000,
};

/* children.c */
struct child *child_spawn(struct master *m, enum slot_role role, unsigned number,
                          struct conf *c); /* NULL: logged */
bool child_serves(const struct child *c);  /* it was not asked to leave */
bool child_tell(struct child *c, char word);
void child_answer(struct child *c, struct str text); /* all its asks_now */
void child_leave(struct child *c, uint64_t within_ms);
void child_cut(struct child *c);
void child_kill(struct child *c, int sig);
void child_retire(struct child *c);
void child_read(struct master *m, struct child *c); /* its socket is readable */
void children_reap(struct master *m);
void children_timeouts(struct master *m, uint64_t now);
void children_fill(struct master *m, uint64_t now); /* forks for empty seats whose back-off is over */
void children_watch(struct master *m, uint64_t now);
void children_tell(struct master *m, char word); /* all of them */
void master_note(void *master, enum log_level level, const char *event, const struct log_fields *fields,
                 struct str message); /* a log_tap_fn */
struct child *master_scribe(struct master *m);
unsigned children_of(const struct master *m, enum slot_role role);
unsigned workers_ready(const struct master *m, unsigned generation);
void leave_terminal(void); /* a daemon: 1 and 2 to /dev/null, unless they are files */
void logs_open(const struct master *m, const struct conf *c);

/* reload.c */
void reload_ask(struct master *m, struct child *from); /* NULL: the signal */
void reload_begin(struct master *m);
void reload_fail(struct master *m); /* why: m->reload_text */
void reload_commit(struct master *m);

/* master.c */
void master_start_failed(struct master *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t earlier(uint64_t a, uint64_t b); /* of two deadlines; 0 is none */
#endif
