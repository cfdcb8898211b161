/* DELETE /admin/v1/cache and GET /admin/v1/cache/stats. The index in shared memory is the truth: what is gone
 * from it is gone for all workers at once; the scribe sweeps the store afterwards. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"
#include "cache.h"
#include "query.h"
#include "shm/hosts.h"
#include "shm/index.h"
#include "shm/ring.h"
#include "shm/stat.h"
#include "shm/vectors.h"
#include "store/record.h"
#include "surface/surface.h"

static bool read_filter(struct surface_call *c, struct index_filter *out, struct fault *f) {
    static const char *const names[] = {"model", "key", "older_than"};
    struct str v[3];
    uint64_t ms, now = (uint64_t)clock_wall_ms();
    *out = (struct index_filter){0};
    if (!query_read(c, names, v, 3, f))
        return false;
    const struct str model = v[0], key = v[1], older = v[2];
    if (older.n && !query_age(older, &ms))
        return query_wrong(c, f, STR("older_than"), "expected an age such as 90s, 15m, 24h, 7d");
    if (older.n)
        out->older_than_wall_ms = ms < now ? now - ms : 1;
    out->model_hash = model.n ? hash64(model.p, model.n) : 0;
    out->owner_hash = key.n ? hash64(key.p, key.n) : 0;
    return true;
}

bool cache_clear_now(struct surface_call *c, const struct index_filter *f, uint64_t *gone) {
    struct plane *p = c->plane;
    struct fault fault;
    char text[96];
    *gone = index_clear(p->shm, f);
    vectors_clear(p->shm, f);
    if (p->cluster) /* the server's own time of it comes in a moment */
        hosts_set_cleared(p->shm, (uint64_t)clock_wall_ms());
    snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 " %" PRIu64, f->model_hash, f->owner_hash,
             f->older_than_wall_ms);
    if (ring_put(p->shm, RECORD_CLEAR, str_of(text), STR_NONE, NULL) || !p->cluster)
        return true; /* the scribe also sweeps without being told */
    fault_set(&fault, c->x->arena, FAULT_OVERLOADED,
              "Only this host's cache was cleared: too much waits for the scribe to tell the others.");
    surface_fault(c, &fault);
    return false;
}

void surface_cache_clear(struct surface_call *c) {
    struct index_filter filter;
    struct fault f;
    uint64_t gone;
    if (!read_filter(c, &filter, &f))
        surface_fault(c, &f);
    else if (cache_clear_now(c, &filter, &gone))
        surface_json(c, 200, arena_printf(c->x->arena, "{\"cleared\":%" PRIu64 "}", gone));
}

void surface_cache_stats(struct surface_call *c) {
    struct shm *s = c->plane->shm;
    struct index_totals t;
    struct buf b;
    struct jw w;
    uint64_t exact = stat_sum(s, STAT_CACHE_HITS), semantic = stat_sum(s, STAT_CACHE_SEMANTIC_HITS),
             hits = exact + semantic, misses = stat_sum(s, STAT_CACHE_MISSES);
    index_totals(s, &t);
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kbool(&w, "enabled", c->plane->conf->cache.enabled);
    jw_ku64(&w, "entries", t.entries);
    jw_ku64(&w, "bytes", t.bytes);
    jw_ku64(&w, "max_bytes", c->plane->conf->cache.max_size);
    jw_kbool(&w, "semantic", c->plane->conf->cache.enabled && c->plane->conf->cache.semantic.enabled);
    jw_ku64(&w, "semantic_entries", vectors_count(s));
    jw_ku64(&w, "hits", exact);
    jw_ku64(&w, "semantic_hits", semantic);
    jw_ku64(&w, "misses", misses);
    jw_key(&w, "hit_rate");
    jw_real(&w, hits + misses ? (double)hits / (double)(hits + misses) : 0);
    jw_ku64(&w, "tokens_saved", stat_sum(s, STAT_CACHE_TOKENS_SAVED));
    jw_key(&w, "usd_saved");
    jw_nano(&w, (int64_t)stat_sum(s, STAT_CACHE_NANO_SAVED));
    jw_ku64(&w, "stores", stat_sum(s, STAT_CACHE_STORES));
    jw_ku64(&w, "evictions", t.evictions);
    jw_ku64(&w, "expired", t.expired);
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}
