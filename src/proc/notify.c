/* sd_notify in a few lines of our own: one datagram per message to the socket that systemd names. No library
 * that would have to be found, loaded and trusted is worth that. */
#include "notify.h"
#include "base/clock.h"
#include "base/str.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int fd = -1;
static struct sockaddr_un to;
static socklen_t to_len;
static uint64_t watchdog_ms;

static void read_watchdog(void) {
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t n;
    if (pid && (!str_u64(str_of(pid), &n) || n != (uint64_t)getpid()))
        return;
    if (usec && str_u64(str_of(usec), &n))
        watchdog_ms = n / 2000 > 0 ? n / 2000 : 1; /* twice as often as asked */
}

void notify_init(void) {
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path ? strlen(path) : 0;
    if (n >= 2 && n < sizeof to.sun_path && (path[0] == '/' || path[0] == '@')) {
        to.sun_family = AF_UNIX;
        memcpy(to.sun_path, path, n);
        if (path[0] == '@')
            to.sun_path[0] = '\0'; /* the abstract name space */
        to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        read_watchdog();
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

/* The manager may be slow or gone: what cannot be sent at once is not sent. */
static void notify_send(const char *text) {
    if (fd >= 0)
        (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to, to_len);
}

static void send_with_status(const char *head, const char *status) {
    char text[512];
    snprintf(text, sizeof text, "%s%sSTATUS=%s\n", head, *head ? "\n" : "", status);
    notify_send(text);
}

void notify_ready(const char *status) {
    char head[64];
    snprintf(head, sizeof head, "READY=1\nMAINPID=%ld", (long)getpid());
    send_with_status(head, status);
}

void notify_reloading(void) {
    char text[128];
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reloading\n",
             (unsigned long long)(clock_ns() / 1000));
    notify_send(text);
}

void notify_stopping(const char *status) {
    send_with_status("STOPPING=1", status);
}

void notify_status(const char *status) {
    send_with_status("", status);
}

uint64_t notify_watchdog_ms(void) {
    return fd >= 0 ? watchdog_ms : 0;
}

void notify_alive(void) {
    notify_send("WATCHDOG=1\n");
}

void notify_close(void) {
    if (fd >= 0)
        close(fd);
    fd = -1;
}
