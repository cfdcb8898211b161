/* Endpoints that only providers of the same API understand: files, audio, images and their like. A body that
 * is no JSON is spooled before a target is chosen: a form's model may stand behind its file, a slow client
 * holds no connection of a provider's, and a second try has all of it. Answers go through as they come. */
#include "base/die.h"
#include "base/log.h"
#include "request.h"

#include <string.h>

enum {
    IN_MEMORY = 64 << 10, /* of a body, before it goes to a file */
    TAIL_MAX = 16 << 10,  /* of an answer, to find its usage in */
    LAST_MAX = 64 << 10,  /* of an answer, kept until its account is made */
};

static void release(void *pass) {
    struct pass *p = pass;
    spool_free(&p->spool);
    buf_free(&p->tail);
}

struct pass *pass_new(struct request *r) {
    struct pass *p = arena_alloc(r->a, sizeof(*p));
    *p = (struct pass){.length = -1};
    spool_init(&p->spool, r->g->env.conf->state_dir, IN_MEMORY);
    buf_init(&p->tail, 2 * TAIL_MAX);
    arena_cleanup(r->a, release, p);
    return p;
}

/* --- in --- */

static int piece(struct exchange *x, struct str bytes) {
    struct request *r = x->owner;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    struct pass *p = r->pass;
    if (p->is_form)
        multipart_feed(&p->form, bytes);
    int e = spool_add(&p->spool, bytes);
    if (!e)
        return 0;
    log_event(LVL_ERROR, "alert", "state_dir takes no uploads: %s", strerror(e));
    return 503;
}

static bool has_body(const struct exchange *x) {
    return x->method == HTTP_POST && x->content_length != 0;
}

enum verdict pass_read(struct request *r) {
    struct pass *p = r->pass;
    struct str type = exchange_header(r->x, "content-type");
    if (!has_body(r->x))
        return NEXT;
    p->is_form = multipart_init(&p->form, type, "model");
    p->json = !type.n || str_startsi(type, "application/json");
    if (p->json)
        exchange_read_body(r->x, r->p->conf->max_request_body, steps_body_read);
    else
        exchange_take_body(r->x, r->p->conf->max_upload, piece, steps_body_read);
    return WAIT;
}

/* Behind "/v1": what goes to the provider must mean there what it meant to the table of routes. */
static bool take_path(struct request *r) {
    struct str path = r->x->path, rest, segment;
    const char *slash = memchr(path.p + 1, '/', path.n - 1);
    MUST(slash != NULL); /* all routes have a version */
    rest = str_skip(path, (size_t)(slash - path.p));
    r->pass->rest = rest;
    bool ok = rest.p[rest.n - 1] != '/';
    for (size_t i = 0; ok && i < rest.n; i++) {
        char c = rest.p[i];
        ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~/", c);
        ok = ok && !(c == '/' && i + 1 < rest.n && rest.p[i + 1] == '/');
    }
    while (ok && str_next(&rest, '/', &segment))
        ok = !str_is(segment, ".") && !str_is(segment, "..");
    if (ok)
        return true;
    fault_set(&r->fault, r->a, FAULT_BAD_REQUEST, "Unknown path.");
    r->fault.status = 404;
    return false;
}

static bool take_model(struct request *r) {
    struct pass *p = r->pass;
    if (p->json)
        return r->client->client->peek(r->a, r->x->body, &r->ask, &r->fault);
    if (p->form.bad) {
        fault_set(&r->fault, r->a, FAULT_BAD_REQUEST, "The body is not a legal form (multipart/form-data).");
        return false;
    }
    if (p->form.found)
        r->ask.model = arena_dup(r->a, p->form.value);
    return true;
}

bool pass_peek(struct request *r) {
    return take_path(r) && take_model(r);
}

/* --- out --- */

/* The spool's bytes, but the model's name where the client's stood. */
static bool read_body(void *arg, uint64_t at, void *to, size_t n) {
    const struct pass *p = arg;
    uint64_t name = p->put.p ? p->form.at : UINT64_MAX;
    for (char *out = to; n > 0;) {
        size_t take = n;
        if (at >= name && at - name < p->put.n) {
            size_t had = (size_t)(at - name);
            take = p->put.n - had < n ? p->put.n - had : n;
            memcpy(out, p->put.p + had, take);
        } else {
            uint64_t from = at < name ? at : at - p->put.n + p->form.value.n;
            if (at < name && name - at < take)
                take = (size_t)(name - at);
            if (spool_read(&p->spool, from, out, take) != (ssize_t)take)
                return false;
        }
        out += take;
        at += take;
        n -= take;
    }
    return true;
}

bool pass_encode(struct request *r, const struct encode_opt *o, struct fault *f) {
    struct pass *p = r->pass;
    if (p->json)
        return r->client->provider->splice(r->a, &r->ask, o, &r->out, f);
    p->put = STR_NONE;
    if (p->form.found && o->model.n && !str_eq(o->model, p->form.value))
        p->put = o->model;
    p->body = (struct call_source){.read = read_body, .arg = p, .n = p->spool.n};
    if (p->put.p)
        p->body.n += p->put.n - p->form.value.n; /* modulo 2^64: the sum is right */
    return true;
}

void pass_spec(const struct request *r, struct call_spec *s) {
    s->source = r->pass->spool.n ? &r->pass->body : NULL;
    s->get = r->x->method != HTTP_POST;
    s->method = r->x->method == HTTP_DELETE ? "DELETE" : NULL;
    s->rare = true;
    s->first_byte_ms = s->total_ms; /* an upload takes its time, and so does a picture */
}

/* --- back --- */

static enum flow on_head(void *arg, int status, const struct call_header *h, size_t n) {
    struct request *r = arg;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    struct pass *p = r->pass;
    uint64_t length;
    answer_begins(r, status, h, n);
    struct str type = answer_header(r, "content-type");
    p->tells = str_startsi(type, "application/json") || str_startsi(type, "text/event-stream");
    p->length = -1;
    if (!answer_header(r, "content-encoding").n && str_u64(answer_header(r, "content-length"), &length) &&
        length <= INT64_MAX)
        p->length = (int64_t)length;
    r->reply_type = type.n ? type : STR("application/octet-stream");
    return FLOW_OK;
}

/* A file may be a page, and comes from where the web page does: a browser that is led to it runs nothing. */
static void commit(struct request *r) {
    struct http_header h[ANSWER_HEADERS + 2];
    size_t n = answer_headers(r, h, true);
    h[n++] = (struct http_header){STR("content-security-policy"), STR("sandbox")};
    h[n++] = (struct http_header){STR("x-content-type-options"), STR("nosniff")};
    r->committed = true;
    exchange_begin(r->x, r->now.status, h, n, r->pass->length);
}

static void keep_tail(struct pass *p, const char *b, size_t n) {
    if (!p->tells)
        return;
    if (n > TAIL_MAX) {
        b += n - TAIL_MAX;
        n = TAIL_MAX;
    }
    if (buf_len(&p->tail) + n > TAIL_MAX)
        buf_consume(&p->tail, buf_len(&p->tail) + n - TAIL_MAX);
    buf_add(&p->tail, b, n);
}

/* The last bytes of an answer whose end the client can see wait until it is accounted for. */
static enum flow on_data(void *arg, const char *b, size_t n) {
    struct request *r = arg;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    struct pass *p = r->pass;
    if (!answer_is_good(r))
        return answer_collect(r, b, n);
    if (r->full)
        return FLOW_FULL;
    if (!r->committed)
        commit(r);
    keep_tail(p, b, n);
    p->sent += n;
    bool last = p->length >= 0 && p->sent >= (uint64_t)p->length && n <= LAST_MAX;
    if (!last)
        return answer_write(r, b, n);
    buf_add(&r->held_bytes, b, n);
    return FLOW_OK;
}

static void on_done(void *arg, const struct call_result *res) {
    struct request *r = arg;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct observed seen = {.usage = USAGE_NONE};
    r->now.call = NULL;
    if (r->client_lost) /* on_gone follows and makes the account */
        return;
    if (!answer_arrived(r, res, &f)) {
        answer_failed(r, &f);
        return;
    }
    if (r->client->provider->tap_reply)
        r->client->provider->tap_reply(r->a, buf_str(&r->pass->tail), 0, &seen, &f);
    r->untold = !seen.usage.known;
    r->usage = seen.usage.known ? seen.usage : NOTHING_USED;
    r->ended = true;
    answer_succeeded(r, res->first_byte_ms);
}

const struct call_sink pass_sink = {on_head, on_data, on_done};

void pass_finish(struct request *r, struct buf *last) {
    if (!r->committed) {
        r->pass->length = 0; /* an answer without a body */
        commit(r);
    }
    if (fault_is(&r->fault)) {
        exchange_abort(r->x);
        return;
    }
    if (buf_len(last) > 0)
        exchange_write(r->x, buf_at(last), buf_len(last));
    exchange_end(r->x);
}
