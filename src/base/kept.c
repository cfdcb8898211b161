#include "base/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static bool read_all(int fd, struct buf *out) {
    for (;;) {
        char *to = buf_room(out, 4096);
        ssize_t n = to ? read(fd, to, 4096) : -1;
        if (n < 0 && to && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        buf_commit(out, (size_t)n);
    }
}

bool kept_read(const char *path, struct buf *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && read_all(fd, out);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool write_all(int fd, struct str s) {
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s = str_skip(s, (size_t)n);
    }
    return fsync(fd) == 0;
}

bool kept_write(const char *path, struct str text) {
    char made[PATH_MAX];
    int n = snprintf(made, sizeof made, "%s.new", path);
    if (n <= 0 || (size_t)n >= sizeof made) {
        errno = ENAMETOOLONG;
        return false;
    }
    int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write_all(fd, text);
    return close(fd) == 0 && ok && rename(made, path) == 0;
}
