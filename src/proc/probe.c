/* Asks providers whether they are there, without spending a token. Any answer below 500 says that they are: a
 * 401 is the key's matter, a 404 the path's. */
#include "probe.h"

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "shm/health.h"
#include "upstream/provider.h"

#define PROBE_MAGIC 0x70726f62u
enum { PROBE_MOST_MS = 10000, PROBE_WINDOW_MS = 60000 };

struct probe {
    unsigned magic;
    struct probes *all;
    const struct conf_provider *conf;
    struct upstream *upstream;
    uint32_t entity;
    struct timer timer;
    const char *path;
    struct call *call;
    bool failing; /* as of the last check */
};
struct probes {
    struct loop *loop;
    struct multi *multi;
    struct shm *shm;
    struct arena *arena;
    size_t n;
    struct probe probe[];
};

static const char *path_of(const struct conf_provider *c) {
    return *c->health_path ? c->health_path : c->kind->health_path;
}

static bool wanted(const struct conf_provider *c) {
    return c->enabled && c->health_every > 0 && *path_of(c);
}

static void again(struct probe *b) { /* a tenth of jitter: many gateways shall not ask in step */
    timer_set(&b->timer, b->conf->health_every + random_u64() % (b->conf->health_every / 10 + 1));
}

static enum flow on_head(void *arg, int status, const struct call_header *h, size_t n) {
    (void)arg, (void)status, (void)h, (void)n;
    return FLOW_OK;
}

static enum flow on_data(void *arg, const char *p, size_t n) {
    (void)arg, (void)p, (void)n;
    return FLOW_OK;
}

static enum fault_class fault_of(const struct call_result *r) {
    return r->error == CALL_OK               ? FAULT_SERVER
           : call_error_is_timeout(r->error) ? FAULT_TIMEOUT
                                             : FAULT_CONNECTION;
}

static void on_done(void *arg, const struct call_result *r) {
    struct probe *b = arg;
    MAGIC_CHECK(b, PROBE_MAGIC);
    bool failed = r->error != CALL_OK || r->status >= 500;
    b->call = NULL;
    health_record(b->all->shm, b->entity, failed ? OUTCOME_FAILED : OUTCOME_OK, r->total_ms, r->first_byte_ms,
                  clock_ns());
    if (failed)
        health_fault(b->all->shm, b->entity, fault_of(r), clock_wall_ms());
    if (failed != b->failing)
        log_event(failed ? LVL_WARN : LVL_INFO, "health", "%s: the check %s (%s, status %d)", b->conf->name,
                  failed ? "fails" : "is good again", call_error_text(r->error), r->status);
    b->failing = failed;
    again(b);
}

/* The check before this one ended at least an interval ago: what was recorded since is a real call's. A clock
 * that was set back makes a record of the future, which says nothing. */
static bool used_lately(const struct probe *b) {
    struct health h;
    health_look(b->all->shm, b->entity, PROBE_WINDOW_MS, clock_ns(), &h);
    int64_t ago = clock_wall_ms() - h.last_ms;
    return h.last_ms && h.failures_in_a_row == 0 && ago >= 0 && (uint64_t)ago < b->conf->health_every;
}

static void ask(void *arg) {
    static const struct call_sink sink = {on_head, on_data, on_done};
    struct probe *b = arg;
    MAGIC_CHECK(b, PROBE_MAGIC);
    if (!b->failing && used_lately(b)) {
        again(b);
        return;
    }
    uint64_t most = b->conf->health_every < PROBE_MOST_MS ? b->conf->health_every : PROBE_MOST_MS;
    struct call_spec spec = {
        .upstream = b->upstream,
        .path = b->path,
        .key = b->conf->nkeys ? &b->conf->keys[0] : NULL,
        .get = true,
        .total_ms = most,
        .first_byte_ms = most,
    };
    b->call = call_start(b->all->multi, &spec, &sink, b);
}

static void probe_add(struct probes *p, const struct conf_provider *c) {
    char err[256];
    struct upstream *u = upstream_new(p->multi, c, err);
    if (!u) { /* the workers have said so to whoever started or reloaded */
        log_event(LVL_WARN, "health", "%s", err);
        return;
    }
    struct probe *b = &p->probe[p->n++];
    *b = (struct probe){.magic = PROBE_MAGIC,
                        .all = p,
                        .conf = c,
                        .upstream = u,
                        .entity = shm_entity(p->shm, ENTITY_PROVIDER, str_of(c->name)),
                        .path = provider_path(p->arena, c, path_of(c), STR_NONE, STR_NONE)};
    timer_init(&b->timer, p->loop, ask, b);
    again(b);
}

struct probes *probes_start(struct loop *l, struct multi *m, struct shm *s, const struct conf *c) {
    struct probes *p = mem_alloc(sizeof(*p) + c->nproviders * sizeof(p->probe[0]));
    *p = (struct probes){.loop = l, .multi = m, .shm = s, .arena = arena_new(0)};
    for (size_t i = 0; i < c->nproviders; i++)
        if (wanted(&c->providers[i]))
            probe_add(p, &c->providers[i]);
    return p;
}

void probes_stop(struct probes *p) {
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++) {
        struct probe *b = &p->probe[i];
        if (b->call)
            call_cancel(b->call);
        timer_clear(&b->timer);
        timer_free(&b->timer);
        upstream_free(b->upstream);
        b->magic = 0;
    }
    arena_free(p->arena);
    mem_free(p);
}
