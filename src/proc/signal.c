/* The master reads its signals like any other input, between two steps of its machine: no handler, no race.
 */
#include "signal.h"
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int obeyed[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGCHLD};

static void fill(sigset_t *set) {
    sigemptyset(set);
    for (size_t i = 0; i < sizeof obeyed / sizeof *obeyed; i++)
        sigaddset(set, obeyed[i]);
}

int signals_open(void) {
    sigset_t set;
    fill(&set);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* an inherited SIG_IGN would hide the children's ends */
    if (sigprocmask(SIG_SETMASK, &set, NULL) != 0)
        return -1;
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int signals_next(int fd) {
    struct signalfd_siginfo info;
    ssize_t n = read(fd, &info, sizeof info);
    return n == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

/* A terminal sends INT, QUIT and HUP to the whole process group, a supervisor perhaps TERM: what happens to a
 * child is the master's decision. (A worker takes TERM and QUIT as a wish to leave: worker.c.) */
void signals_child(void) {
    sigset_t set;
    for (size_t i = 0; i < sizeof obeyed / sizeof *obeyed; i++)
        if (obeyed[i] != SIGCHLD)
            signal(obeyed[i], SIG_IGN);
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
}
