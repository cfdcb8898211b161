/* Sources: W3C Trace Context (traceparent); OTLP's protobuf JSON mapping (ids in hex, 64-bit numbers as
 * texts, enums as numbers); OpenTelemetry's semantic conventions for GenAI spans. */
#include "trace.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "request.h"
#include "shm/ring.h"
#include "shm/stat.h"
#include "store/record.h"

enum { PARENT_CHARS = 55, SPANS_MOST = 64 << 10, KIND_SERVER = 2, KIND_CLIENT = 3, STATUS_ERROR = 2 };

struct trace {
    uint8_t id[TRACE_ID], parent[SPAN_ID], span[SPAN_ID];
    struct str came; /* the client's header, if it is one */
    bool exported;
    struct trace_attempt {
        uint8_t span[SPAN_ID];
        uint64_t start_ns, end_ns;
    } attempt[LEDGER_MAX_ATTEMPTS];
    uint64_t end_ns, end_wall_ns; /* of all */
};

/* --- the header --- */

static bool some_id(uint8_t *out, size_t n, const char *hex) {
    uint8_t any = 0;
    for (size_t i = 0; i < 2 * n; i++)
        if (hex[i] >= 'A' && hex[i] <= 'F') /* the standard has lower case alone */
            return false;
    if (!hex_decode(out, n, str_make(hex, 2 * n)))
        return false;
    for (size_t i = 0; i < n; i++)
        any |= out[i];
    return any != 0;
}

/* "00-<trace>-<span>-<flags>"; what a later version puts behind is not ours to read. */
static bool parent_read(struct str h, struct trace *t, bool *sampled) {
    uint8_t version, flags;
    if (h.n < PARENT_CHARS || h.p[2] != '-' || h.p[35] != '-' || h.p[52] != '-')
        return false;
    if (!hex_decode(&version, 1, str_make(h.p, 2)) || version == 0xff ||
        !hex_decode(&flags, 1, str_make(h.p + 53, 2)) ||
        (version == 0 ? h.n != PARENT_CHARS : h.n > PARENT_CHARS && h.p[PARENT_CHARS] != '-'))
        return false;
    *sampled = flags & 1;
    return some_id(t->id, TRACE_ID, h.p + 3) && some_id(t->parent, SPAN_ID, h.p + 36);
}

static void make_id(uint8_t *out, size_t n) {
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        uint64_t v = random_u64() | 1; /* never all zero */
        memcpy(out + i, &v, sizeof v);
    }
}

void trace_begin(struct request *r) {
    struct trace t = {.exported = false};
    const struct conf *c = r->p->conf;
    struct str h = str_trim(exchange_header(r->x, "traceparent"));
    bool sampled, on = *c->telemetry.endpoint != '\0', parent = parent_read(h, &t, &sampled);
    if (!parent) {
        sampled = on && random_unit() < c->telemetry.sample;
        if (!sampled)
            return;
        memset(t.parent, 0, sizeof t.parent);
        make_id(t.id, TRACE_ID);
    }
    t.came = parent ? h : STR_NONE;
    t.exported = on && sampled;
    make_id(t.span, SPAN_ID);
    r->trace = arena_alloc(r->a, sizeof(*r->trace));
    *r->trace = t;
}

static void add_hex(struct buf *b, const uint8_t *id, size_t n) {
    char text[2 * TRACE_ID + 1];
    hex_encode(text, id, n);
    buf_add(b, text, 2 * n);
}

struct str trace_parent(struct request *r) {
    if (!r->trace)
        return STR_NONE;
    if (!r->trace->exported)
        return r->trace->came;
    make_id(r->now.span, SPAN_ID);
    struct buf b;
    buf_init(&b, 0);
    BUF_ADD(&b, "00-");
    add_hex(&b, r->trace->id, TRACE_ID);
    BUF_ADD(&b, "-");
    add_hex(&b, r->now.span, SPAN_ID);
    BUF_ADD(&b, "-01");
    struct str parent = arena_dup(r->a, buf_str(&b));
    buf_free(&b);
    return parent;
}

void trace_attempt(struct request *r, uint64_t end_ns) {
    if (!r->trace || !r->trace->exported)
        return;
    struct trace_attempt *a = &r->trace->attempt[r->row.attempts];
    memcpy(a->span, r->now.span, SPAN_ID);
    a->start_ns = r->now.started_ns;
    a->end_ns = end_ns;
}

/* --- spans: some 1,200 bytes a request, so their fixed parts are whole --- */

#define ATTR(key, type) ",{\"key\":\"" key "\",\"value\":{\"" type "\":\""
#define ATTR_STR(b, key, v)                                                                                  \
    do {                                                                                                     \
        struct str value_ = (v);                                                                             \
        if (value_.n > 0) {                                                                                  \
            BUF_ADD((b), ATTR(key, "stringValue"));                                                          \
            json_escape((b), value_);                                                                        \
            BUF_ADD((b), "\"}}");                                                                            \
        }                                                                                                    \
    } while (0)
#define ATTR_INT(b, key, v)                                                                                  \
    do {                                                                                                     \
        BUF_ADD((b), ATTR(key, "intValue"));                                                                 \
        buf_addu((b), (v));                                                                                  \
        BUF_ADD((b), "\"}}");                                                                                \
    } while (0)

static struct str operation(const struct request *r) {
    switch (r->client->op) {
    case OP_CHAT:
        return STR("chat");
    case OP_EMBED:
        return STR("embeddings");
    default:
        return str_of(r->route->name);
    }
}

static uint64_t wall_ns(const struct trace *t, uint64_t ns) {
    return t->end_wall_ns - (t->end_ns > ns ? t->end_ns - ns : 0);
}

/* Up to the first attribute, which is the operation. */
static void span_begin(struct buf *b, struct request *r, const uint8_t *span, const uint8_t *parent,
                       int kind) {
    static const uint8_t none[SPAN_ID];
    BUF_ADD(b, "{\"traceId\":\"");
    add_hex(b, r->trace->id, TRACE_ID);
    BUF_ADD(b, "\",\"spanId\":\"");
    add_hex(b, span, SPAN_ID);
    if (memcmp(parent, none, SPAN_ID) != 0) {
        BUF_ADD(b, "\",\"parentSpanId\":\"");
        add_hex(b, parent, SPAN_ID);
    }
    BUF_ADD(b, "\",\"kind\":");
    buf_addi(b, kind);
}

static void span_head(struct buf *b, const struct request *r, struct str model, uint64_t start_ns,
                      uint64_t end_ns) {
    struct str op = operation(r);
    BUF_ADD(b, ",\"name\":\"");
    json_escape(b, op);
    if (model.n)
        BUF_ADD(b, " ");
    json_escape(b, model);
    BUF_ADD(b, "\",\"startTimeUnixNano\":\"");
    buf_addu(b, wall_ns(r->trace, start_ns));
    BUF_ADD(b, "\",\"endTimeUnixNano\":\"");
    buf_addu(b, wall_ns(r->trace, end_ns));
    BUF_ADD(b, "\",\"attributes\":[{\"key\":\"gen_ai.operation.name\",\"value\":{\"stringValue\":\"");
    json_escape(b, op);
    BUF_ADD(b, "\"}}");
}

static void span_end(struct buf *b, bool failed) {
    BUF_ADD(b, "],\"status\":{");
    if (failed) {
        BUF_ADD(b, "\"code\":");
        buf_addi(b, STATUS_ERROR);
    }
    BUF_ADD(b, "}}");
}

static void put_usage(struct buf *b, const struct request *r) {
    const struct usage *u = &r->row.usage;
    if (!u->known)
        return;
    ATTR_INT(b, "gen_ai.usage.input_tokens", u->input);
    ATTR_INT(b, "gen_ai.usage.output_tokens", u->output);
    if (u->cache_read)
        ATTR_INT(b, "gen_ai.usage.cache_read.input_tokens", u->cache_read);
}

static void put_request(struct buf *b, struct request *r) {
    const struct ledger_row *row = &r->row;
    span_begin(b, r, r->trace->span, r->trace->parent, KIND_SERVER);
    span_head(b, r, row->model_asked, r->x->started_ns, r->trace->end_ns);
    ATTR_STR(b, "gen_ai.request.model", row->model_asked);
    ATTR_STR(b, "gen_ai.response.model", row->model);
    if (r->now.target && row->provider.n)
        ATTR_STR(b, "gen_ai.provider.name", str_of(r->now.target->provider->conf->kind->name));
    put_usage(b, r);
    ATTR_INT(b, "http.response.status_code", (uint64_t)row->status);
    ATTR_STR(b, "error.type", row->fault);
    ATTR_STR(b, "penstock.request_id", row->request_id);
    ATTR_STR(b, "penstock.provider", row->provider);
    ATTR_STR(b, "penstock.key", row->key);
    span_end(b, row->status >= 500 || row->fault.n);
}

static const char *kind_of(const struct request *r, struct str provider) {
    for (size_t i = 0; i < r->p->nproviders; i++)
        if (str_is(provider, r->p->providers[i].conf->name))
            return r->p->providers[i].conf->kind->name;
    return "";
}

static void put_attempt(struct buf *b, struct request *r, unsigned i) {
    const struct ledger_attempt *a = &r->row.attempt[i];
    const struct trace_attempt *t = &r->trace->attempt[i];
    bool failed = !str_is(a->reason, "ok");
    span_begin(b, r, t->span, r->trace->span, KIND_CLIENT);
    span_head(b, r, a->model, t->start_ns, t->end_ns);
    ATTR_STR(b, "gen_ai.request.model", a->model);
    ATTR_STR(b, "gen_ai.provider.name", str_of(kind_of(r, a->provider)));
    ATTR_STR(b, "penstock.provider", a->provider);
    if (a->status)
        ATTR_INT(b, "http.response.status_code", (uint64_t)a->status);
    if (failed)
        ATTR_STR(b, "error.type", a->reason);
    span_end(b, failed);
}

/* Spans shall never take the place of what is billed: not by the outbox, and not into a ring that fills. */
void trace_end(struct request *r) {
    if (!r->trace || !r->trace->exported)
        return;
    struct buf b;
    uint64_t pos;
    r->trace->end_ns = clock_ns();
    r->trace->end_wall_ns = (uint64_t)clock_wall_ms() * 1000000;
    buf_init(&b, SPANS_MOST);
    (void)buf_room(&b, 2048);
    put_request(&b, r);
    for (unsigned i = 0; i < r->row.attempts; i++) {
        buf_addc(&b, ',');
        put_attempt(&b, r, i);
    }
    bool room = ring_room(r->p->shm) >= ring_max(r->p->shm) / 2;
    if (!room || !buf_ok(&b) || !ring_put(r->p->shm, RECORD_SPANS, buf_str(&b), STR_NONE, &pos))
        stat_add(r->p->shm, STAT_TRACES_DROPPED, 1);
    buf_free(&b);
}
