/* Bytes in and out of one connection, plain or TLS: conn.c has one path for both. */
#ifndef PENSTOCK_SRC_HTTP_IO_H
#define PENSTOCK_SRC_HTTP_IO_H
#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

struct ssl_st;
struct http_tls;

struct io {
    int fd;
    struct ssl_st *ssl; /* NULL: plain */
};

/* Results other than a count. */
enum {
    IO_EOF = 0,         /* reading only: the peer sent its last byte */
    IO_WANT_READ = -1,  /* again when readable */
    IO_WANT_WRITE = -2, /* again when writable (TLS may say it to a reader) */
    IO_ERROR = -3,      /* reset, or broken TLS: only closing is left */
};

enum { IO_MAX_IOV = 4 };

/* True, or false when there is no memory. The handshake then goes by io_handshake. */
bool io_start_tls(struct io *io, struct http_tls *t);
int io_handshake(struct io *io); /* 0 when done, or one of the above */
ssize_t io_read(struct io *io, void *p, size_t n);
ssize_t io_writev(struct io *io, const struct iovec *iov, int n); /* n <= IO_MAX_IOV */
bool io_pending(const struct io *io); /* bytes are held that the descriptor will not announce */
void io_shutdown(struct io *io);      /* no more will be written */
void io_close(struct io *io);
#endif
