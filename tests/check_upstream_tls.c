/* TLS and proxies. */
#include "upstream_stage.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

/* --- TLS --- */

static void certificate(SSL_CTX *ctx, const char *file) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    ck_assert(key && x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"penstock test", -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    ck_assert(X509_add_ext(x, san, -1) && X509_add_ext(x, ca, -1) && X509_sign(x, key, EVP_sha256()));
    ck_assert(SSL_CTX_use_certificate(ctx, x) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
    FILE *f = fopen(file, "w");
    ck_assert(f && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
    X509_EXTENSION_free(san);
    X509_EXTENSION_free(ca);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void script_tls(struct server *s, int fd, int nth) {
    (void)nth;
    SSL *ssl = SSL_new(s->tls);
    SSL_set_fd(ssl, fd);
    struct buf b;
    buf_init(&b, 0);
    if (SSL_accept(ssl) == 1) {
        for (;;) { /* one request at a time: the body ends in '}' */
            int n = SSL_read(ssl, buf_room(&b, 16384), 16384);
            if (n <= 0)
                break;
            buf_commit(&b, (size_t)n);
            if (!str_ends(buf_str(&b), "}"))
                continue;
            char out[128];
            snprintf(out, sizeof out, OK_HEAD "Content-Length: 8\r\n\r\n%08zu", buf_len(&b));
            SSL_write(ssl, out, (int)strlen(out));
            buf_clear(&b);
        }
    }
    buf_free(&b);
    SSL_free(ssl);
}

START_TEST(tls) {
    char file[] = "/tmp/check_upstream.XXXXXX";
    ck_assert(mkstemp(file) >= 0);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    certificate(ctx, file);
    struct server *s = server_start(script_tls, ctx);
    char *large = big_text();
    large[BIG - 1] = '}';
    for (size_t i = 0; i + 1 < BIG; i++)
        if (large[i] == '}')
            large[i] = '{';
    for (int how = 0; how < 4;
         how++) { /* unknown issuer; not verified; its CA; HTTP/2 wanted, HTTP/1.1 spoken */
        conf.tls.verify = how != 1;
        conf.tls.ca = how >= 2 ? file : "";
        conf.http2 = how == 3 ? HTTP2_ON : HTTP2_AUTO;
        use_url("https", s->port);
        struct rec *r = ask_body("{}");
        ck_assert_msg(r->r.error == (how ? CALL_OK : CALL_TLS), "%d: %s", how, call_error_text(r->r.error));
        rec_free(r);
        if (how) {
            r = ask_body(large);
            ck_assert_int_eq(r->r.error, CALL_OK);
            ck_assert(r->r.reused);
            rec_free(r);
        }
        upstream_free(up);
        up = NULL;
    }
    char err[256];
    conf.tls.ca = "/nonexistent/ca.pem";
    ck_assert(upstream_new(multi, &conf, err) == NULL && strstr(err, "tls.ca"));
    free(large);
    unlink(file);
}
END_TEST

START_TEST(not_tls) { /* a plain server behind https:// */
    struct server *s = server_new(script_early_401);
    use_url("https", s->port);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_TLS);
    rec_free(r);
}
END_TEST

/* --- proxies --- */

START_TEST(proxy) {
    struct server *s = server_new(script_plain);
    char via[64];
    snprintf(via, sizeof via, "http://127.0.0.1:%d", s->port);
    conf.proxy = via;
    use_name("provider.invalid"); /* the proxy's to resolve */
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    ck_assert(heard(s, "POST http://provider.invalid/v1/chat/completions HTTP/1.1\r\n"));
    rec_free(r);
}
END_TEST

SCRIPT(script_no_connect, say(fd, "HTTP/1.1 502 Bad Gateway\r\nX-Proxy: 1\r\nContent-Length: 4\r\n\r\nnope"))

START_TEST(proxy_refuses) {
    struct server *s = server_new(script_no_connect);
    char via[64], err[256];
    snprintf(via, sizeof via, "http://127.0.0.1:%d", s->port);
    conf.proxy = via;
    conf.base_url = "https://provider.invalid/v1";
    up = upstream_new(multi, &conf, err);
    ck_assert(up != NULL);
    struct rec *r = ask_body("{}");
    ck_assert_msg(r->r.error == CALL_CONNECT, "%s", call_error_text(r->r.error));
    ck_assert_int_eq(r->heads, 0);
    ck_assert(heard(s, "CONNECT provider.invalid:443") && !heard(s, "sk-one"));
    rec_free(r);
}
END_TEST

START_TEST(environment_proxies_are_ignored) {
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    struct server *s = server_new(script_plain);
    use(s);
    struct rec *r = ask_body("{}");
    ck_assert_int_eq(r->r.error, CALL_OK);
    rec_free(r);
}
END_TEST

TCase *case_tls(void) {
    TCase *t = tcase_create("TLS and proxies");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, tls);
    tcase_add_test(t, not_tls);
    tcase_add_test(t, proxy);
    tcase_add_test(t, proxy_refuses);
    tcase_add_test(t, environment_proxies_are_ignored);
    return t;
}
