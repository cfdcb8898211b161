/* The pid file. Its lock tells a live master from a file that a crash left behind: the number alone could
 * belong to anybody by now. Children close the descriptor, so the lock dies with the master although they
 * live on. */
#include "proc/pidfile.h"
#include "base/str.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static pid_t read_pid(int fd) {
    char text[32];
    ssize_t n = pread(fd, text, sizeof text, 0);
    struct str s = str_make(text, n > 0 ? (size_t)n : 0);
    uint64_t pid;
    while (s.n > 0 && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == ' '))
        s.n--;
    return str_u64(s, &pid) && pid > 0 && pid < INT32_MAX ? (pid_t)pid : 0;
}

/* The file that was locked may have been removed meanwhile by a master that was just leaving. */
static bool still_there(int fd, const char *path) {
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_dev == there.st_dev &&
           mine.st_ino == there.st_ino;
}

static bool write_pid(int fd) {
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    return fchmod(fd, 0644) == 0 && ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) == n;
}

int pidfile_take(const char *path, char err[256]) {
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0) {
            snprintf(err, 256, "pid file %.160s: %s", path, strerror(errno));
            return -1;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            snprintf(err, 256, "pid file %.160s: already running as pid %ld", path, (long)read_pid(fd));
            close(fd);
            return -1;
        }
        if (!still_there(fd, path)) {
            close(fd);
            continue;
        }
        if (write_pid(fd))
            return fd;
        snprintf(err, 256, "pid file %.160s: %s", path, strerror(errno));
        close(fd);
        return -1;
    }
}

void pidfile_drop(int fd, const char *path) {
    if (fd < 0)
        return;
    if (still_there(fd, path))
        unlink(path);
    close(fd);
}

/* /proc/PID/exe of a process that is not dumpable is root's alone to read; comm is everybody's. */
static bool is_penstock(pid_t pid) {
    char path[64], name[32];
    snprintf(path, sizeof path, "/proc/%ld/comm", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, name, sizeof name);
    close(fd);
    return n > 0 && str_starts(str_make(name, (size_t)n), "penstock");
}

pid_t pidfile_master(const char *path, char err[256]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(err, 256, "pid file %.160s: %s", path, strerror(errno));
        return 0;
    }
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    pid_t pid = read_pid(fd);
    close(fd);
    if (held && pid > 0 && is_penstock(pid))
        return pid;
    snprintf(err, 256, "pid file %.160s: no running penstock has it", path);
    return 0;
}
