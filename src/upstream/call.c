/* A call over libcurl. Easy handles are pooled per upstream with everything that does not change set once: a
 * call that repeats the last one's shape sets its body and nothing else. */
#include "base/die.h"
#include "call_wire.h"

enum {
    MAX_IDLE = 256, /* pooled handles per upstream and kind */
    COPIED_BODY =
        64 * 1024, /* below it libcurl copies a POSTFIELDS body when it begins to send (lib/http.c) */
    RECEIVE_STREAM =
        2 * 1024 - 1, /* an open stream holds this buffer: one of 5,000 has 24 KiB for everything */
    RECEIVE_WHOLE = 16 * 1024 - 1, /* libcurl adds one to both */
    UPLOAD_SMALL = 16 * 1024,      /* libcurl's least; only TLS and large bodies use it */
    UPLOAD_LARGE = 64 * 1024,
    CONNECTION_AGE_S = 300
};

/* --- the easy handle --- */

static void opt_tls(CURL *e, const struct conf_provider *p) {
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, p->tls.verify ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, p->tls.verify ? 2L : 0L);
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (*p->tls.ca)
        curl_easy_setopt(e, CURLOPT_CAINFO, p->tls.ca);
    if (*p->tls.client_certificate)
        curl_easy_setopt(e, CURLOPT_SSLCERT, p->tls.client_certificate);
    if (*p->tls.client_key)
        curl_easy_setopt(e, CURLOPT_SSLKEY, p->tls.client_key);
}

void wire_opt_connection(CURL *e, const struct conf_provider *p) {
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* else ending a call waits for its getaddrinfo() thread */
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_PROXY, p->proxy); /* "" also keeps http_proxy and the like out */
    curl_easy_setopt(e, CURLOPT_NOPROXY, "");
    curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING,
                     "identity"); /* and what comes compressed all the same is undone */
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 60L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 15L);
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)CONNECTION_AGE_S);
    /* also shared out among a name's addresses, which a timer of ours could not do */
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, p->connect > 600000 ? 600000L : (long)p->connect);
    /* auto is HTTP/1.1: h2 saves no CPU and buffers up to a window of a paused stream; never h2c */
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION,
                     p->http2 == HTTP2_ON ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
}

static void opt_callbacks(struct wire *w) {
    CURL *e = w->easy;
    multi_opt_easy(w->c.multi, e);
    curl_easy_setopt(e, CURLOPT_PRIVATE, &w->owner);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, w->error);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, wire_on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, w);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, wire_on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, w);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, wire_on_upload);
    curl_easy_setopt(e, CURLOPT_READDATA, w);
    curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, wire_on_rewind);
    curl_easy_setopt(e, CURLOPT_SEEKDATA, w);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, wire_on_ready);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, w);
}

static const struct call_ops wire_ops;
static void wire_ended(struct easy_owner *o, int curl_code);

static struct wire *wire_new(struct upstream *u, bool stream) {
    struct wire *w = mem_alloc(sizeof *w);
    call_init(&w->c, u->multi, &wire_ops);
    w->owner.ended = wire_ended;
    w->upstream = u;
    w->stream = stream;
    answer_head_init(&w->head);
    buf_init(&w->unread, MAX_UNREAD);
    w->upload_fd = -1;
    w->easy = curl_easy_init();
    if (!w->easy)
        die("libcurl: out of memory");
    opt_callbacks(w);
    wire_opt_connection(w->easy, u->conf);
    opt_tls(w->easy, u->conf);
    curl_easy_setopt(w->easy, CURLOPT_BUFFERSIZE, stream ? (long)RECEIVE_STREAM : (long)RECEIVE_WHOLE);
    w->upload_set = UPLOAD_SMALL;
    curl_easy_setopt(w->easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_SMALL);
    return w;
}

void wire_free(struct wire *w) {
    curl_easy_cleanup(w->easy);
    curl_url_cleanup(w->own_url);
    header_list_free(&w->own);
    answer_head_free(&w->head);
    buf_free(&w->unread);
    call_fini(&w->c);
    mem_free(w);
}

static void set_url(struct wire *w, const struct call_spec *s) {
    CURLU *url = s->rare ? NULL : upstream_url(w->upstream, s->path);
    if (!url)
        url = w->own_url = url_parse(w->upstream->base, s->path);
    if (url && url != w->url_set)
        curl_easy_setopt(w->easy, CURLOPT_CURLU, url);
    w->url_set = url;
}

static void set_headers(struct wire *w, const struct call_spec *s) {
    struct header_list *l = s->nheaders ? NULL : upstream_list(w->upstream, s);
    if (!l) {
        l = &w->own;
        header_list_build(l, w->upstream->conf, s);
    }
    w->key = s->key;
    w->get = s->get;
    w->auth = auth_made_of(w->upstream->conf, s->key);
    w->prepared = l->nodes;
    if (l->nodes != w->headers_set)
        curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, l->nodes);
    w->headers_set = l->nodes;
}

static void set_body(struct wire *w, const struct call_spec *s) {
    CURL *e = w->easy;
    w->body = s->body;
    w->source = s->source ? *s->source : (struct call_source){.n = s->body.n};
    w->sent = 0;
    if (s->get) {
        curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
        return;
    }
    bool copied = !s->source && s->body.n < COPIED_BODY;
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, copied ? (s->body.n ? s->body.p : "") : NULL);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)w->source.n);
    size_t upload = copied ? UPLOAD_SMALL : UPLOAD_LARGE;
    if (upload != w->upload_set)
        curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, (long)upload);
    w->upload_set = upload;
}

/* Behind set_body(): what libcurl makes of a body's options is the method otherwise. */
static void set_method(struct wire *w, const struct call_spec *s) {
    if (s->method != w->method)
        curl_easy_setopt(w->easy, CURLOPT_CUSTOMREQUEST, s->method);
    w->method = s->method;
}

/* NULL: it is one for libcurl. */
static struct call *plain_way(struct upstream *u, const struct call_spec *s) {
    struct str target = STR_NONE;
    if (u->plain && plain_fits(u->plain) && auth_made_of(u->conf, s->key) == AUTH_FIXED && !s->rare)
        target = upstream_target(u, s->path);
    if (target.n == 0)
        return NULL;
    struct buf *prepared = s->nheaders ? NULL : upstream_lines(u, s), own;
    if (prepared)
        return plain_call(u->plain, s, target, buf_str(prepared), NULL);
    buf_init(&own, 0);
    header_lines_build(&own, u->host, u->conf, s);
    return plain_call(u->plain, s, target, buf_str(&own), &own);
}

static struct call *wire_call(struct upstream *u, const struct call_spec *s) {
    struct wire *w = u->idle[s->stream];
    if (w) {
        u->idle[s->stream] = w->next_idle;
        u->nidle[s->stream]--;
    } else {
        w = wire_new(u, s->stream);
    }
    answer_head_reset(&w->head);
    w->peeked = w->reading_unread = false;
    w->error[0] = '\0';
    set_url(w, s);
    set_headers(w, s);
    set_body(w, s);
    set_method(w, s);
    return &w->c;
}

struct call *upstream_call(struct multi *m, const struct call_spec *s) {
    struct upstream *u = s->upstream;
    MAGIC_CHECK(u, UPSTREAM_MAGIC);
    MUST(u->multi == m);
    if (u->mock)
        return mock_call(m, u->mock, s);
    struct call *c = plain_way(u, s);
    return c ? c : wire_call(u, s);
}

static void wire_start(struct call *c) {
    struct wire *w = LINK_OWNER(c, struct wire, c);
    enum call_error problem = CALL_PROTOCOL; /* a path that makes no URL */
    if (w->url_set) {
        if (!auth_make(w))
            return;
        if (curl_multi_add_handle(multi_curl(c->multi), w->easy) == CURLM_OK) {
            w->added = true;
            return;
        }
        problem = CALL_CONNECT;
    }
    c->verdict = problem;
    multi_work(c->multi, c, WORK_FAIL);
}

static void wire_abort(struct call *c) {
    struct wire *w = LINK_OWNER(c, struct wire, c);
    account_leave(&w->waiter);
    if (!w->added)
        return;
    auth_ended(w);
    long connects = 0, head = 0;
    curl_off_t body = 0;
    curl_easy_getinfo(w->easy, CURLINFO_NUM_CONNECTS, &connects);
    curl_easy_getinfo(w->easy, CURLINFO_REQUEST_SIZE, &head);
    curl_easy_getinfo(w->easy, CURLINFO_SIZE_UPLOAD_T, &body);
    c->result.reused = c->connected && connects == 0;
    c->result.bytes_out = (uint64_t)head + (uint64_t)body;
    w->added = false;
    if (w->upload_fd >= 0)
        multi_uploading(c->multi, w->upload_fd, NULL);
    w->upload_fd = -1;
    if (curl_multi_remove_handle(multi_curl(c->multi), w->easy) != CURLM_OK)
        multi_broken(c->multi);
}

static void wire_release(struct call *c) {
    struct wire *w = LINK_OWNER(c, struct wire, c);
    struct upstream *u = w->upstream;
    auth_drop(w);
    if (w->own.nodes) {
        curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, NULL);
        w->headers_set = NULL;
        header_list_free(&w->own);
    }
    if (w->own_url) {
        curl_easy_setopt(w->easy, CURLOPT_CURLU, NULL);
        w->url_set = NULL;
        curl_url_cleanup(w->own_url);
        w->own_url = NULL;
    }
    w->body = STR_NONE;
    w->source = (struct call_source){.n = 0};
    buf_free(&w->unread);
    if (u->nidle[w->stream] == MAX_IDLE) {
        wire_free(w);
        return;
    }
    w->next_idle = u->idle[w->stream];
    u->idle[w->stream] = w;
    u->nidle[w->stream]++;
}

/* --- the end --- */

/* Bytes that libcurl could not read as HTTP come as the same code as a broken connection (56). */
static enum call_error receive_error(struct wire *w) {
    long proxy_status = 0;
    curl_easy_getinfo(w->easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
    if (proxy_status >= 300 && w->head.status == 0)
        return CALL_CONNECT; /* the proxy refused to go there */
    return strstr(w->error, "chunk") ? CALL_PROTOCOL : CALL_RESET;
}

enum call_error wire_error(CURLcode code) {
    switch (code) {
    case CURLE_OK:
        return CALL_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return CALL_RESOLVE;
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
    case CURLE_INTERFACE_FAILED:
        return CALL_CONNECT;
    case CURLE_OPERATION_TIMEDOUT: /* CONNECTTIMEOUT_MS is the only one we set */
        return CALL_TIMEOUT_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_USE_SSL_FAILED:
        return CALL_TLS;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_ABORTED_BY_CALLBACK:
        return CALL_RESET;
    default:
        return CALL_PROTOCOL;
    }
}

static enum call_error error_of(struct wire *w, CURLcode code) {
    if (code == CURLE_OUT_OF_MEMORY) /* a header line over libcurl's own bound (CURL_MAX_HTTP_HEADER) */
        return w->head.done ? CALL_RESET : CALL_TOO_LARGE;
    return code == CURLE_RECV_ERROR ? receive_error(w) : wire_error(code);
}

/* A provider that answers before it has read the request may break the connection behind its answer (HTTP/2:
 * with RST_STREAM). The answer counts when all of it is there. */
static bool whole_anyway(const struct wire *w, CURLcode code) {
    return (code == CURLE_SEND_ERROR || code == CURLE_HTTP2_STREAM || code == CURLE_HTTP2) && w->head.done &&
           w->head.length >= 0 && w->c.result.bytes_in >= w->head.bytes &&
           w->c.result.bytes_in - w->head.bytes == (uint64_t)w->head.length;
}

static void wire_finish(struct wire *w, CURLcode code) {
    struct call *c = &w->c;
    enum call_error e = c->verdict;
    if (e == CALL_OK && code == CURLE_SEND_ERROR && buf_len(&w->unread) && wire_last_words(w))
        return;
    if (e == CALL_OK && !whole_anyway(w, code))
        e = error_of(w, code);
    if (e == CALL_OK && !w->head.done) /* libcurl takes an end within the header for the header's end */
        e = CALL_RESET;
    call_finish(c, e);
}

static void wire_ended(struct easy_owner *o, int curl_code) {
    struct wire *w = LINK_OWNER(o, struct wire, owner);
    MAGIC_CHECK(&w->c, CALL_MAGIC);
    if (w->c.state == CALL_RUNNING && !w->c.doomed)
        wire_finish(w, (CURLcode)curl_code);
}

/* curl_easy_pause() may call the sink before it returns, and may fail with what the sink said. */
static void wire_resume(struct call *c) {
    struct wire *w = LINK_OWNER(c, struct wire, c);
    if (!w->added)
        return;
    if (w->reading_unread) {
        wire_unread_body(w);
        return;
    }
    multi_enter(c->multi);
    CURLcode code = curl_easy_pause(w->easy, c->paused ? CURLPAUSE_RECV : CURLPAUSE_CONT);
    bool gone = c->doomed;
    multi_leave(c->multi);
    if (!gone && code != CURLE_OK)
        wire_finish(w, code);
}

static const struct call_ops wire_ops = {wire_start, wire_resume, wire_abort, wire_release};
