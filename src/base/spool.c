#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_TMPFILE */
#endif
#include "base/spool.h"

#include "base/die.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void spool_init(struct spool *s, const char *dir, size_t in_memory) {
    *s = (struct spool){.dir = dir, .in_memory = in_memory, .fd = -1};
    buf_init(&s->head, in_memory);
}

void spool_free(struct spool *s) {
    buf_free(&s->head);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->n = 0;
}

/* Not every file system has O_TMPFILE. */
static int nameless_file(const char *dir) {
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL))
        return fd;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/.upload.XXXXXX", dir);
    if (n < 0 || (size_t)n >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static int write_all(int fd, struct str bytes) {
    while (bytes.n) {
        ssize_t w = write(fd, bytes.p, bytes.n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return w < 0 ? errno : EIO;
        bytes = str_skip(bytes, (size_t)w);
    }
    return 0;
}

/* What was in memory becomes the file's beginning. */
static int open_file(struct spool *s) {
    s->fd = nameless_file(s->dir);
    int e = s->fd < 0 ? errno : write_all(s->fd, buf_str(&s->head));
    buf_free(&s->head);
    return e;
}

int spool_add(struct spool *s, struct str bytes) {
    int e = 0;
    if (bytes.n == 0)
        return 0;
    if (s->fd < 0 && bytes.n <= s->in_memory - buf_len(&s->head)) {
        buf_adds(&s->head, bytes);
    } else {
        if (s->fd < 0)
            e = open_file(s);
        if (!e)
            e = write_all(s->fd, bytes);
    }
    if (!e)
        s->n += bytes.n;
    return e;
}

ssize_t spool_read(const struct spool *s, uint64_t at, void *to, size_t n) {
    if (at >= s->n)
        return 0;
    if (n > s->n - at)
        n = (size_t)(s->n - at);
    if (s->fd < 0) {
        memcpy(to, buf_at(&s->head) + at, n);
        return (ssize_t)n;
    }
    for (size_t had = 0; had < n;) {
        ssize_t r = pread(s->fd, (char *)to + had, n - had, (off_t)(at + had));
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) /* the file is ours alone: it cannot have become shorter */
            return -1;
        had += (size_t)r;
    }
    return (ssize_t)n;
}
