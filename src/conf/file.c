/* Reading whole files: the configuration, secrets, certificates. Bounded, never blocking on a pipe, and never
 * through anything but plain files, so that a reload cannot hang the master. */
#include "base/die.h"
#include "load.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, size_t max, struct buf *out) {
    enum { STEP = 16384 };
    for (;;) {
        size_t room = max + 1 - buf_len(out), left = out->cap - out->end;
        size_t want = left ? left : STEP; /* what was made in one piece first */
        want = want < room ? want : room;
        char *p = buf_room(out, want);
        if (!p)
            return EFBIG;
        ssize_t n = read(fd, p, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : 0;
        buf_commit(out, (size_t)n);
        if (buf_len(out) > max)
            return EFBIG;
    }
}

int file_read(const char *path, size_t max, bool allow_null, struct buf *out) {
    buf_init(out, max + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno;
    struct stat st;
    int error = fstat(fd, &st) < 0 ? errno : 0;
    if (!error && !S_ISREG(st.st_mode) && !(allow_null && S_ISCHR(st.st_mode)))
        error = EINVAL;
    if (!error) {
        size_t least = st.st_size > 0 && (uintmax_t)st.st_size <= max ? (size_t)st.st_size + 1 : 1;
        buf_room(out, least); /* in one piece: a buffer that grows leaves copies of a secret behind */
        error = read_all(fd, max, out);
    }
    close(fd);
    return error;
}

const char *file_why(int error, size_t max, char out[80]) {
    if (error == EFBIG)
        snprintf(out, 80, "larger than %zu KiB", max >> 10);
    else if (error == EINVAL)
        snprintf(out, 80, "not a regular file");
    else
        snprintf(out, 80, "%s", strerror(error));
    return out;
}

const char *file_path(struct arena *a, const char *file, struct str path) {
    if (path.n == 0 || path.p[0] == '/')
        return arena_dupz(a, path);
    const char *slash = file ? strrchr(file, '/') : NULL;
    struct str dir = slash ? str_make(file, (size_t)(slash - file) + 1) : STR("");
    char cwd[4096] = "";
    if ((dir.n == 0 || dir.p[0] != '/') && !getcwd(cwd, sizeof cwd))
        cwd[0] = '\0'; /* nowhere: the path stays as it was written */
    while (str_starts(path, "./"))
        path = str_skip(path, 2);
    while (str_starts(dir, "./"))
        dir = str_skip(dir, 2);
    return arena_printf(a, "%s%s" STR_FMT STR_FMT, cwd, *cwd && cwd[1] ? "/" : "", STR_ARG(dir),
                        STR_ARG(path))
        .p;
}
