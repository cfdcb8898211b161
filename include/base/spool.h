/* Bytes in unknown number that are wanted again: in memory as long as they are few, then in a file without a
 * name, which is gone with its descriptor however the process ends. Blocking: the page cache takes and gives,
 * as for any server that spools uploads. */
#ifndef PENSTOCK_BASE_SPOOL_H
#define PENSTOCK_BASE_SPOOL_H
#include "base/buf.h"
#include <sys/types.h>

struct spool {
    const char *dir;  /* where the file is made; borrowed */
    size_t in_memory; /* bytes before there is one */
    struct buf head;  /* all of them while there is none */
    int fd;           /* -1: none */
    uint64_t n;
};
void spool_init(struct spool *s, const char *dir, size_t in_memory);
void spool_free(struct spool *s); /* may be used again after spool_init */
/* 0, or an errno (ENOSPC, EACCES ...): then the bytes are lost and so is the rest. */
int spool_add(struct spool *s, struct str bytes);
/* Bytes from `at` on, at most n; fewer only at the end. -1: the file cannot be read. */
ssize_t spool_read(const struct spool *s, uint64_t at, void *to, size_t n);
#endif
