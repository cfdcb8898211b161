/* Asks providers whether they are there, without spending a token. Any answer below 500 says that they are: a
 * 401 is the key's matter, a 404 the path's. */
#include "probe.h"

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "shm/health.h"
#include "shm/slot.h"
#include "upstream/provider.h"

#define PROBE_MAGIC 0x70726f62u
enum { PROBE_MOST_MS = 10000 };

struct probe {
    unsigned magic;
    struct plane *plane;
    struct plane_provider *provider;
    struct timer timer;
    const char *path;
    struct call *call;
    bool failing; /* as of the last check */
};
struct probes {
    size_t n;
    struct probe probe[];
};

static const char *path_of(const struct conf_provider *c) {
    return *c->health_path ? c->health_path : c->kind->health_path;
}

static bool wanted(const struct plane_provider *pr) {
    return pr->upstream && pr->conf->health_every > 0 && *path_of(pr->conf);
}

static void again(struct probe *b) { /* a tenth of jitter: many gateways shall not ask in step */
    timer_set(&b->timer,
              b->provider->conf->health_every + random_u64() % (b->provider->conf->health_every / 10 + 1));
}

static enum flow on_head(void *arg, int status, const struct call_header *h, size_t n) {
    (void)arg, (void)status, (void)h, (void)n;
    return FLOW_OK;
}

static enum flow on_data(void *arg, const char *p, size_t n) {
    (void)arg, (void)p, (void)n;
    return FLOW_OK;
}

static void on_done(void *arg, const struct call_result *r) {
    struct probe *b = arg;
    MAGIC_CHECK(b, PROBE_MAGIC);
    bool failed = r->error != CALL_OK || r->status >= 500;
    b->call = NULL;
    health_record(b->plane->shm, b->provider->entity, failed ? OUTCOME_FAILED : OUTCOME_OK, r->total_ms,
                  r->first_byte_ms, clock_ns());
    if (failed != b->failing)
        log_event(failed ? LVL_WARN : LVL_INFO, "health", "%s: the check %s (%s, status %d)",
                  b->provider->conf->name, failed ? "fails" : "is good again", call_error_text(r->error),
                  r->status);
    b->failing = failed;
    again(b);
}

static void ask(void *arg) {
    static const struct call_sink sink = {on_head, on_data, on_done};
    struct probe *b = arg;
    MAGIC_CHECK(b, PROBE_MAGIC);
    uint64_t most =
        b->provider->conf->health_every < PROBE_MOST_MS ? b->provider->conf->health_every : PROBE_MOST_MS;
    struct call_spec spec = {
        .upstream = b->provider->upstream,
        .path = b->path,
        .key = b->provider->nkeys ? b->provider->keys[0].conf : NULL,
        .get = true,
        .total_ms = most,
        .first_byte_ms = most,
    };
    b->call = call_start(b->plane->multi, &spec, &sink, b);
}

static void probe_init(struct plane *p, struct plane_provider *pr, struct probe *b) {
    *b = (struct probe){.magic = PROBE_MAGIC,
                        .plane = p,
                        .provider = pr,
                        .path = provider_path(p->arena, pr->conf, path_of(pr->conf), STR_NONE, STR_NONE)};
    timer_init(&b->timer, p->loop, ask, b);
    again(b);
}

struct probes *probes_start(struct plane *p) {
    struct slot_info me;
    size_t n = 0;
    for (size_t i = 0; i < p->nproviders; i++)
        n += wanted(&p->providers[i]);
    if (n == 0 || !slot_at(p->shm, slot_mine(p->shm), &me) || me.number != 0)
        return NULL;
    struct probes *s = mem_alloc(sizeof(*s) + n * sizeof(s->probe[0]));
    for (size_t i = 0; i < p->nproviders; i++)
        if (wanted(&p->providers[i]))
            probe_init(p, &p->providers[i], &s->probe[s->n++]);
    return s;
}

void probes_stop(struct probes *s) {
    for (size_t i = 0; s && i < s->n; i++) {
        struct probe *b = &s->probe[i];
        if (b->call)
            call_cancel(b->call);
        timer_clear(&b->timer);
        timer_free(&b->timer);
        b->magic = 0;
    }
    mem_free(s);
}
