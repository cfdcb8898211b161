/* Signals of the master arrive through a descriptor; children get plain dispositions again. */
#ifndef PENSTOCK_PROC_SIGNAL_H
#define PENSTOCK_PROC_SIGNAL_H
int signals_open(void);   /* blocks them, and the signalfd (non-blocking, close-on-exec); -1 and errno */
int signals_next(int fd); /* a signal number, or 0 when there is none left */
void signals_child(void); /* after the fork: nothing blocked; what the master alone obeys is ignored */
#endif
