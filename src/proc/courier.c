/* A URL is a provider of no kind: its scheme and host are the base, the rest is the path of every call. */
#include "courier.h"

#include "base/die.h"
#include "upstream/provider.h"

#define COURIER_MAGIC 0x636f7572u

struct courier {
    unsigned magic;
    struct multi *multi;
    struct conf_provider conf;
    struct upstream *upstream;
    char *base;
    char *path; /* and query */
    struct buf sent, got;
    struct call *call;
    int status;
    courier_done *done;
    void *arg;
};

static const struct provider_kind plain_kind = {
    .name = "courier",
    .base_url = "",
    .version_path = "",
    .auth = AUTH_KIND_NONE,
    .fixed_headers = "",
    .default_model = "",
    .env_keys = "",
    .env_url = "",
    .infer = "",
    .price_vendor = "",
    .health_path = "",
};

static void provider_of(struct conf_provider *p, const char *base) {
    *p = (struct conf_provider){
        .name = "courier",
        .kind = &plain_kind,
        .enabled = true,
        .base_url = base,
        .default_model = "",
        .organization = "",
        .api_version = "",
        .region = "",
        .project = "",
        .location = "",
        .connect = COURIER_MOST_MS / 2,
        .first_byte = COURIER_MOST_MS,
        .idle = COURIER_MOST_MS,
        .total = COURIER_MOST_MS,
        .health_path = "",
        .proxy = "",
        .tls = {.ca = "", .client_certificate = "", .client_key = "", .verify = true},
    };
}

/* How long the part before path and query is. */
static size_t base_of(const char *url) {
    const char *host = strstr(url, "://");
    return host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?") : strlen(url);
}

static char *path_of(const char *rest) {
    struct buf b;
    buf_init(&b, 0);
    if (*rest != '/')
        buf_addc(&b, '/');
    buf_addz(&b, rest);
    buf_addc(&b, '\0');
    char *path = mem_dupz(buf_at(&b));
    buf_free(&b);
    return path;
}

struct courier *courier_new(struct multi *m, const char *url, size_t most, char err[256]) {
    struct courier *c = mem_alloc(sizeof(*c));
    c->magic = COURIER_MAGIC;
    c->multi = m;
    size_t n = base_of(url);
    c->path = path_of(url + n);
    c->base = mem_dupz(url);
    c->base[n] = '\0';
    buf_init(&c->sent, 0);
    buf_init(&c->got, most);
    provider_of(&c->conf, c->base);
    c->upstream = upstream_new(m, &c->conf, err);
    if (c->upstream)
        return c;
    courier_free(c);
    return NULL;
}

void courier_free(struct courier *c) {
    if (!c)
        return;
    MAGIC_CHECK(c, COURIER_MAGIC);
    if (c->call)
        call_cancel(c->call);
    upstream_free(c->upstream);
    buf_wipe(&c->sent);
    buf_free(&c->got);
    mem_free(c->base);
    mem_free(c->path);
    c->magic = 0;
    mem_free(c);
}

bool courier_busy(const struct courier *c) {
    return c->call != NULL;
}

static enum flow on_head(void *arg, int status, const struct call_header *h, size_t n) {
    struct courier *c = arg;
    (void)h, (void)n;
    c->status = status;
    return FLOW_OK;
}

static enum flow on_data(void *arg, const char *p, size_t n) {
    struct courier *c = arg;
    MAGIC_CHECK(c, COURIER_MAGIC);
    buf_add(&c->got, p, n);
    return buf_ok(&c->got) ? FLOW_OK : FLOW_STOP;
}

static void on_done(void *arg, const struct call_result *r) {
    struct courier *c = arg;
    MAGIC_CHECK(c, COURIER_MAGIC);
    c->call = NULL;
    struct courier_answer a = {r->error, c->status, buf_str(&c->got)};
    c->done(c->arg, &a);
}

void courier_send(struct courier *c, struct str body, const struct call_header *headers, size_t n,
                  courier_done *done, void *arg) {
    static const struct call_sink sink = {on_head, on_data, on_done};
    MAGIC_CHECK(c, COURIER_MAGIC);
    MUST(!c->call);
    buf_clear(&c->got);
    buf_clear(&c->sent);
    buf_adds(&c->sent, body);
    c->status = 0;
    c->done = done;
    c->arg = arg;
    struct call_spec spec = {
        .upstream = c->upstream,
        .path = c->path,
        .headers = headers,
        .nheaders = n,
        .body = buf_str(&c->sent),
        .get = body.n == 0,
        .total_ms = COURIER_MOST_MS,
    };
    c->call = call_start(c->multi, &spec, &sink, c);
}
