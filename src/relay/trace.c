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
    uint64_t end_ns; /* of all */
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

static struct str hex_of(struct request *r, const uint8_t *id, size_t n) {
    char *text = arena_alloc(r->a, 2 * n + 1);
    hex_encode(text, id, n);
    return str_make(text, 2 * n);
}

struct str trace_parent(struct request *r) {
    if (!r->trace)
        return STR_NONE;
    if (!r->trace->exported)
        return r->trace->came;
    make_id(r->now.span, SPAN_ID);
    struct str id = hex_of(r, r->trace->id, TRACE_ID), span = hex_of(r, r->now.span, SPAN_ID);
    return arena_printf(r->a, "00-" STR_FMT "-" STR_FMT "-01", STR_ARG(id), STR_ARG(span));
}

void trace_attempt(struct request *r, uint64_t end_ns) {
    if (!r->trace || !r->trace->exported)
        return;
    struct trace_attempt *a = &r->trace->attempt[r->row.attempts];
    memcpy(a->span, r->now.span, SPAN_ID);
    a->start_ns = r->now.started_ns;
    a->end_ns = end_ns;
}

/* --- spans --- */

static void attr_str(struct jw *w, const char *key, struct str v) {
    if (v.n == 0)
        return;
    jw_obj(w);
    jw_kz(w, "key", key);
    jw_key(w, "value");
    jw_obj(w);
    jw_kstr(w, "stringValue", v);
    jw_obj_end(w);
    jw_obj_end(w);
}

static void attr_int(struct jw *w, const char *key, uint64_t v) {
    char digits[STR_DIGITS];
    jw_obj(w);
    jw_kz(w, "key", key);
    jw_key(w, "value");
    jw_obj(w);
    jw_kstr(w, "intValue", str_from_u64(digits, v));
    jw_obj_end(w);
    jw_obj_end(w);
}

static void put_time(struct jw *w, const struct trace *t, const char *key, uint64_t ns) {
    char digits[STR_DIGITS];
    uint64_t wall = (uint64_t)clock_wall_ms() * 1000000, ago = t->end_ns > ns ? t->end_ns - ns : 0;
    jw_kstr(w, key, str_from_u64(digits, wall - ago));
}

static void span_begin(struct jw *w, struct request *r, const uint8_t *span, const uint8_t *parent,
                       int kind) {
    static const uint8_t none[SPAN_ID];
    jw_obj(w);
    jw_kstr(w, "traceId", hex_of(r, r->trace->id, TRACE_ID));
    jw_kstr(w, "spanId", hex_of(r, span, SPAN_ID));
    if (memcmp(parent, none, SPAN_ID) != 0)
        jw_kstr(w, "parentSpanId", hex_of(r, parent, SPAN_ID));
    jw_kint(w, "kind", kind);
}

static void span_end(struct jw *w, bool failed) {
    jw_arr_end(w);
    jw_key(w, "status");
    jw_obj(w);
    if (failed)
        jw_kint(w, "code", STATUS_ERROR);
    jw_obj_end(w);
    jw_obj_end(w);
}

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

static struct str span_name(struct request *r, struct str model) {
    struct str op = operation(r);
    return model.n ? arena_printf(r->a, STR_FMT " " STR_FMT, STR_ARG(op), STR_ARG(model)) : op;
}

static void put_usage(struct jw *w, const struct request *r) {
    const struct usage *u = &r->row.usage;
    if (!u->known)
        return;
    attr_int(w, "gen_ai.usage.input_tokens", u->input);
    attr_int(w, "gen_ai.usage.output_tokens", u->output);
    if (u->cache_read)
        attr_int(w, "gen_ai.usage.cache_read.input_tokens", u->cache_read);
}

static void put_request(struct jw *w, struct request *r) {
    const struct ledger_row *row = &r->row;
    span_begin(w, r, r->trace->span, r->trace->parent, KIND_SERVER);
    jw_kstr(w, "name", span_name(r, row->model_asked));
    put_time(w, r->trace, "startTimeUnixNano", r->x->started_ns);
    put_time(w, r->trace, "endTimeUnixNano", r->trace->end_ns);
    jw_key(w, "attributes");
    jw_arr(w);
    attr_str(w, "gen_ai.operation.name", operation(r));
    attr_str(w, "gen_ai.request.model", row->model_asked);
    attr_str(w, "gen_ai.response.model", row->model);
    if (r->now.target && row->provider.n)
        attr_str(w, "gen_ai.provider.name", str_of(r->now.target->provider->conf->kind->name));
    put_usage(w, r);
    attr_int(w, "http.response.status_code", (uint64_t)row->status);
    attr_str(w, "error.type", row->fault);
    attr_str(w, "penstock.request_id", row->request_id);
    attr_str(w, "penstock.provider", row->provider);
    attr_str(w, "penstock.key", row->key);
    span_end(w, row->status >= 500 || row->fault.n);
}

static const char *kind_of(const struct request *r, struct str provider) {
    for (size_t i = 0; i < r->p->nproviders; i++)
        if (str_is(provider, r->p->providers[i].conf->name))
            return r->p->providers[i].conf->kind->name;
    return "";
}

static void put_attempt(struct jw *w, struct request *r, unsigned i) {
    const struct ledger_attempt *a = &r->row.attempt[i];
    const struct trace_attempt *t = &r->trace->attempt[i];
    bool failed = !str_is(a->reason, "ok");
    span_begin(w, r, t->span, r->trace->span, KIND_CLIENT);
    jw_kstr(w, "name", span_name(r, a->model));
    put_time(w, r->trace, "startTimeUnixNano", t->start_ns);
    put_time(w, r->trace, "endTimeUnixNano", t->end_ns);
    jw_key(w, "attributes");
    jw_arr(w);
    attr_str(w, "gen_ai.operation.name", operation(r));
    attr_str(w, "gen_ai.request.model", a->model);
    attr_str(w, "gen_ai.provider.name", str_of(kind_of(r, a->provider)));
    attr_str(w, "penstock.provider", a->provider);
    if (a->status)
        attr_int(w, "http.response.status_code", (uint64_t)a->status);
    if (failed)
        attr_str(w, "error.type", a->reason);
    span_end(w, failed);
}

/* Spans shall never take the place of what is billed: not by the outbox, and not into a ring that fills. */
void trace_end(struct request *r) {
    if (!r->trace || !r->trace->exported)
        return;
    struct buf b;
    struct jw w;
    uint64_t pos;
    r->trace->end_ns = clock_ns();
    buf_init(&b, SPANS_MOST);
    jw_init(&w, &b);
    put_request(&w, r);
    for (unsigned i = 0; i < r->row.attempts; i++) {
        buf_addc(&b, ',');
        jw_init(&w, &b);
        put_attempt(&w, r, i);
    }
    bool room = ring_room(r->p->shm) >= ring_max(r->p->shm) / 2;
    if (!room || !buf_ok(&b) || !ring_put(r->p->shm, RECORD_SPANS, buf_str(&b), STR_NONE, &pos))
        stat_add(r->p->shm, STAT_TRACES_DROPPED, 1);
    buf_free(&b);
}
