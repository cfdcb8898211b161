/* What systemd wants to hear, without its library: sd_notify(3). Does nothing when NOTIFY_SOCKET is not set.
 */
#ifndef PENSTOCK_PROC_NOTIFY_H
#define PENSTOCK_PROC_NOTIFY_H
#include <stdint.h>

void notify_init(void);                /* reads the environment and forgets the variables there */
void notify_ready(const char *status); /* READY=1 */
void notify_reloading(void);           /* RELOADING=1; notify_ready must follow */
void notify_stopping(const char *status);
void notify_status(const char *status);
uint64_t notify_watchdog_ms(void); /* how often notify_alive wants to be called; 0: never */
void notify_alive(void);
void notify_close(void); /* in children: only the master speaks */
#endif
