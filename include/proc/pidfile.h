/* The pid file: locked by the master for as long as it lives, so that a stale one is known from a live one. */
#ifndef PENSTOCK_PROC_PIDFILE_H
#define PENSTOCK_PROC_PIDFILE_H
#include <stdbool.h>
#include <sys/types.h>

/* Locks and writes it (0644). The descriptor, to be kept open; or -1 and a text. */
int pidfile_take(const char *path, char err[256]);
void pidfile_drop(int fd, const char *path); /* removes and unlocks */
/* The living master that wrote it: its pid, or 0 and a text. */
pid_t pidfile_master(const char *path, char err[256]);
#endif
