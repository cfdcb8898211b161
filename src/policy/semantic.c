/* What is asked, without the asking: the body with its last text taken out is the partition, the text is the
 * vector. */
#include "policy/semantic.h"

#include <math.h>

#include "base/clock.h"
#include "base/hash.h"
#include "cache_key.h"
#include "policy/lexical.h"
#include "shm/vectors.h"

static void add_embedder(const struct plane *p, struct buf *out) {
    BUF_ADD(out, "semantic ");
    if (p->embedder)
        buf_printf(out, "%s/", p->embedder->target.provider->conf->name);
    buf_adds(out, p->embedder ? p->embedder->target.model : STR("lexical"));
    buf_addc(out, '\0');
}

/* The body with an empty text where the question stood. */
static struct str without(struct arena *a, struct str body, struct str question) {
    size_t at = (size_t)(question.p - body.p), rest = body.n - at - question.n;
    char *out = arena_alloc(a, at + 2 + rest);
    memcpy(out, body.p, at);
    memcpy(out + at, "\"\"", 2);
    memcpy(out + at + 2, question.p + question.n, rest);
    return str_make(out, at + 2 + rest);
}

static bool partition(struct plane *p, struct arena *a, const struct exchange *x, const struct caller *c,
                      const struct dialect *client, const struct ask *ask, const struct plan *plan,
                      struct str question, struct semantic *s) {
    struct buf all;
    buf_init(&all, ask->body.n * 2 + 8 * SEMANTIC_TEXT_MAX);
    add_embedder(p, &all);
    cache_scope(p, a, x, c, client, ask, plan, &all);
    json_canonical(without(a, ask->body, question), &all, cache_silent, (void *)client);
    buf_addc(&all, '\0');
    lexical_guard(s->text, &all);
    if (buf_ok(&all))
        sha256(buf_at(&all), buf_len(&all), s->partition);
    bool ok = buf_ok(&all);
    buf_free(&all);
    return ok;
}

/* A request may only ask for more. */
static double threshold_of(const struct plane *p, const struct plan *plan) {
    const struct plane_model *m = plan->model;
    double v =
        m && m->conf->cache_threshold > 0 ? m->conf->cache_threshold : p->conf->cache.semantic.threshold;
    return fmax(v, plan->hints->cache.similarity);
}

static bool embed_here(struct semantic *s) {
    unsigned words;
    s->embedded = lexical_embed(s->text, &s->vector, &words);
    s->threshold = lexical_threshold(s->threshold, words);
    return s->embedded;
}

void semantic_ticket(struct plane *p, struct arena *a, const struct exchange *x, const struct caller *c,
                     const struct dialect *client, const struct ask *ask, const struct plan *plan,
                     struct cache_ticket *t) {
    t->semantic = NULL;
    if (!t->store || !p->conf->cache.semantic.enabled || plan->hints->cache.mode == CACHE_MODE_EXACT ||
        client->op != OP_CHAT || !client->client->question)
        return;
    struct json_value question = client->client->question(ask->body);
    if (!question.raw.p || question.raw.n > SEMANTIC_TEXT_MAX)
        return;
    struct semantic *s = arena_alloc(a, sizeof(*s));
    s->text = json_text(a, question);
    s->threshold = threshold_of(p, plan);
    if (s->text.n && (p->embedder || embed_here(s)) &&
        partition(p, a, x, c, client, ask, plan, question.raw, s))
        t->semantic = s;
}

void semantic_take(struct semantic *s, const float *v, size_t n) {
    s->embedded = vector_of(v, n, &s->vector);
}

/* An answer that has been evicted leaves its vector behind until somebody comes by. */
bool semantic_find(struct plane *p, struct arena *a, const struct cache_ticket *t, struct reply_head *h,
                   struct str *body, double *similarity) {
    const struct semantic *s = t->semantic;
    struct vector_hit hits[VECTORS_FOUND];
    if (!s || !s->embedded || !t->read)
        return false;
    size_t n = vectors_find(p->shm, s->partition, &s->vector, s->threshold, clock_wall_ms(), hits);
    for (size_t i = 0; i < n; i++) {
        if (cache_fetch(p, a, hits[i].e.key, h, body)) {
            vectors_used(p->shm, &hits[i]);
            *similarity = fmin(hits[i].similarity, 1);
            return true;
        }
        vectors_drop(p->shm, &hits[i]);
    }
    return false;
}

void semantic_store(struct plane *p, const struct cache_ticket *t, const struct reply_head *h) {
    const struct semantic *s = t->semantic;
    if (!s || !s->embedded)
        return;
    struct vector_entry e = {
        .expires_wall_ms = h->expires_wall_ms,
        .created_wall_ms = h->created_wall_ms,
        .model_hash = h->model_hash,
        .owner_hash = h->owner_hash,
    };
    memcpy(e.partition, s->partition, INDEX_KEY);
    memcpy(e.key, t->key, INDEX_KEY);
    vectors_put(p->shm, &e, &s->vector, (uint32_t)p->conf->cache.semantic.max_entries, t->epoch);
}
