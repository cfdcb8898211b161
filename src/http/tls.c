/* The transport: direct system calls on a non-blocking socket, or OpenSSL over it, behind one small
 * interface. Contexts are made from PEM texts, for the configuration is read before privileges are dropped.
 */
#include "base/die.h"
#include "http/server.h"
#include "io.h"
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct http_tls {
    SSL_CTX *ctx;
};

/* --- contexts --- */

static bool fail(char err[256], const char *what) {
    unsigned long e = ERR_peek_last_error();
    const char *why = e ? ERR_reason_error_string(e) : NULL;
    snprintf(err, 256, "%s%s%s", what, why ? ": " : "", why ? why : "");
    ERR_clear_error();
    return false;
}

/* An encrypted key is an error, never a question on the terminal. */
static int no_passphrase(char *buf, int size, int rw, void *arg) {
    (void)buf;
    (void)size;
    (void)rw;
    (void)arg;
    return -1;
}

static BIO *pem_open(struct str pem) {
    if (pem.n == 0 || pem.n > INT_MAX)
        return NULL;
    return BIO_new_mem_buf(pem.p, (int)pem.n);
}

/* At the end of a PEM text the reader says "no start line"; anything else is an error in it. */
static bool pem_ended(void) {
    unsigned long e = ERR_peek_last_error();
    bool end = ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
    if (end)
        ERR_clear_error();
    return end;
}

static bool use_certificate(SSL_CTX *ctx, struct str pem, char err[256]) {
    BIO *in = pem_open(pem);
    X509 *leaf = in ? PEM_read_bio_X509(in, NULL, no_passphrase, NULL) : NULL;
    bool ok = leaf && SSL_CTX_use_certificate(ctx, leaf) == 1;
    X509 *more;
    while (ok && (more = PEM_read_bio_X509(in, NULL, no_passphrase, NULL))) {
        ok = SSL_CTX_add1_chain_cert(ctx, more) == 1;
        X509_free(more);
    }
    ok = ok && pem_ended();
    X509_free(leaf);
    BIO_free(in);
    return ok || fail(err, "certificate not usable");
}

static bool use_key(SSL_CTX *ctx, struct str pem, char err[256]) {
    BIO *in = pem_open(pem);
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL) : NULL;
    bool ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;
    EVP_PKEY_free(key);
    BIO_free(in);
    return ok || fail(err, "private key not usable");
}

static bool demand_clients(SSL_CTX *ctx, struct str pem, char err[256]) {
    BIO *in = pem_open(pem);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509 *ca;
    bool ok = in != NULL;
    unsigned found = 0;
    while (ok && (ca = PEM_read_bio_X509(in, NULL, no_passphrase, NULL))) {
        ok = X509_STORE_add_cert(store, ca) == 1 && SSL_CTX_add_client_CA(ctx, ca) == 1;
        X509_free(ca);
        found++;
    }
    ok = ok && found > 0 && pem_ended();
    BIO_free(in);
    if (!ok)
        return fail(err, "client CA not usable");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return true;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg) {
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301, 3.2 */
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool set_up(SSL_CTX *ctx, char err[256]) {
    static const unsigned char id[] = "penstock";
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1) != 1)
        return fail(err, "TLS cannot be set up");
    SSL_CTX_set_options(ctx,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* RELEASE_BUFFERS: an idle connection gives back its 2 x 16 KiB. The other two: what the socket did not
     * take is sent again from another place, see io_writev. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets do it without memory here */
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    return true;
}

struct http_tls *http_tls_new(struct str certificate, struct str key, struct str client_ca, char err[256]) {
    ERR_clear_error();
    err[0] = '\0';
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        fail(err, "TLS cannot be set up");
        return NULL;
    }
    if (!set_up(ctx, err) || !use_certificate(ctx, certificate, err) || !use_key(ctx, key, err) ||
        (client_ca.n && !demand_clients(ctx, client_ca, err))) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    struct http_tls *t = mem_alloc(sizeof *t);
    t->ctx = ctx;
    return t;
}

void http_tls_free(struct http_tls *t) {
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    mem_free(t);
}

/* --- TLS connections --- */

bool io_start_tls(struct io *io, struct http_tls *t) {
    ERR_clear_error();
    io->ssl = SSL_new(t->ctx);
    if (!io->ssl || SSL_set_fd(io->ssl, io->fd) != 1) {
        SSL_free(io->ssl);
        io->ssl = NULL;
        ERR_clear_error();
        return false;
    }
    SSL_set_accept_state(io->ssl);
    return true;
}

static int tls_result(SSL *ssl, int rc) {
    int result = IO_ERROR;
    switch (SSL_get_error(ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return IO_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return IO_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return IO_EOF;
    case SSL_ERROR_SSL:
    case SSL_ERROR_SYSCALL:
        SSL_set_quiet_shutdown(ssl, 1); /* after these SSL_shutdown must not be called */
        break;
    default:
        break;
    }
    ERR_clear_error();
    return result;
}

int io_handshake(struct io *io) {
    ERR_clear_error();
    int rc = SSL_accept(io->ssl);
    if (rc == 1)
        return 0;
    int result = tls_result(io->ssl, rc);
    return result == IO_EOF ? IO_ERROR : result;
}

/* Fills p as far as records are there: what stays inside OpenSSL wakes nobody. */
static ssize_t tls_read(SSL *ssl, char *p, size_t n) {
    size_t got = 0;
    ERR_clear_error();
    while (got < n) {
        size_t one = 0;
        int rc = SSL_read_ex(ssl, p + got, n - got, &one);
        if (rc != 1) {
            int result = tls_result(ssl, rc);
            return got ? (ssize_t)got : result; /* an end or an error comes again at the next call */
        }
        got += one;
    }
    return (ssize_t)got;
}

enum { TLS_RECORD = 16384 };

/* One record of the first bytes. When it does not go, the same bytes, perhaps with more behind them, must
 * come again: as the rest is queued in order, they do, and min(all, TLS_RECORD) never gets less. */
static ssize_t tls_write_record(SSL *ssl, const struct iovec *iov, int n, size_t skip) {
    static char record[TLS_RECORD]; /* one thread */
    size_t len = 0;
    const char *from = NULL;
    for (int i = 0; i < n && len < TLS_RECORD; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        const char *p = (const char *)iov[i].iov_base + skip;
        size_t take = iov[i].iov_len - skip;
        skip = 0;
        if (take > TLS_RECORD - len)
            take = TLS_RECORD - len;
        if (take == TLS_RECORD) {
            from = p;
        } else {
            memcpy(record + len, p, take);
            from = record;
        }
        len += take;
    }
    size_t wrote = 0;
    int rc = SSL_write_ex(ssl, from, len, &wrote);
    return rc == 1 ? (ssize_t)wrote : tls_result(ssl, rc);
}

static ssize_t tls_writev(SSL *ssl, const struct iovec *iov, int n) {
    size_t total = 0, sent = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    ERR_clear_error();
    while (sent < total) {
        ssize_t r = tls_write_record(ssl, iov, n, sent);
        if (r == IO_WANT_WRITE && sent)
            return (ssize_t)sent;
        if (r <= 0)
            /* Without renegotiation no write waits for a read. */
            return r == IO_WANT_WRITE ? r : IO_ERROR;
        sent += (size_t)r;
    }
    return (ssize_t)sent;
}

bool io_pending(const struct io *io) {
    return io->ssl && SSL_pending(io->ssl) > 0;
}

/* --- both --- */

static ssize_t result_of_errno(ssize_t when_again) {
    return errno == EAGAIN || errno == EWOULDBLOCK ? when_again : IO_ERROR;
}

ssize_t io_read(struct io *io, void *p, size_t n) {
    if (io->ssl)
        return tls_read(io->ssl, p, n);
    ssize_t r;
    do
        r = recv(io->fd, p, n, 0);
    while (r < 0 && errno == EINTR);
    return r >= 0 ? r : result_of_errno(IO_WANT_READ);
}

ssize_t io_writev(struct io *io, const struct iovec *iov, int n) {
    if (io->ssl)
        return tls_writev(io->ssl, iov, n);
    struct iovec copy[IO_MAX_IOV]; /* sendmsg: the writev that can be told not to raise SIGPIPE */
    MUST(n <= IO_MAX_IOV);
    for (int i = 0; i < n; i++)
        copy[i] = iov[i];
    struct msghdr msg = {.msg_iov = copy, .msg_iovlen = (size_t)n};
    ssize_t r;
    do
        r = sendmsg(io->fd, &msg, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    return r >= 0 ? r : result_of_errno(IO_WANT_WRITE);
}

void io_shutdown(struct io *io) {
    if (io->ssl) {
        ERR_clear_error();
        SSL_shutdown(io->ssl); /* close_notify, as far as it goes */
        ERR_clear_error();
    }
    (void)shutdown(io->fd, SHUT_WR); /* ENOTCONN: the peer was faster */
}

void io_close(struct io *io) {
    SSL_free(io->ssl);
    io->ssl = NULL;
    if (io->fd >= 0)
        (void)close(io->fd); /* the descriptor is gone whatever close says */
    io->fd = -1;
}
