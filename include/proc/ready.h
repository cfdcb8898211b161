/* Is a gateway there? For those who watch over one and have no shell: penstock -H ADDRESS. */
#ifndef PENSTOCK_PROC_READY_H
#define PENSTOCK_PROC_READY_H
#include <stdbool.h>

/* Asks GET /readyz at the address (written as in listen, without TLS), at most 5 s. false and a text when a worker
 * does not say that it accepts. Reads no configuration: one that was broken since the start says nothing of what runs. */
bool ready_ask(const char *address, char err[256]);
#endif
