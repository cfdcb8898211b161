#include "share.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "cluster/news.h"
#include "cluster/stream.h"
#include "drain.h"
#include "shm/breaker.h"
#include "shm/vectors.h"
#include "store/keys.h"
#include "store/ledger.h"

struct share {
    struct drain *d;
    struct news *news;
    struct stream *stream;
};

/* --- keys --- */

struct telling {
    struct share *s;
    const struct news_key *known;
    size_t n;
    int64_t now;
};

static bool tell(void *arg, struct str id, struct str line) {
    struct telling *t = arg;
    const struct news_key k = {id, line}, *is = bsearch(&k, t->known, t->n, sizeof k, news_by_id);
    if (line.n >= NEWS_STAMP &&
        (is ? memcmp(is->line.p, line.p, NEWS_STAMP) < 0 : !keys_long_gone(line, t->now)))
        news_tell_key(t->s->news, &k);
    return true;
}

static unsigned merge(struct share *s, const struct news_key *k, size_t n) {
    char err[256];
    unsigned changed = 0;
    struct db_txn *t = db_begin(s->d->keys, true);
    for (size_t i = 0; i < n; i++)
        changed += keys_merge(t, k[i].id, k[i].line);
    if (changed == 0) {
        db_end(t);
        return 0;
    }
    if (db_commit(t, err) == 0)
        return changed;
    log_event(LVL_ERROR, "store", "gateway keys of other hosts cannot be stored: %s", err);
    return 0;
}

static void on_keys(void *arg, const struct news_key *k, size_t n, bool all) {
    struct share *s = arg;
    if (!drain_keys(s->d))
        return;
    unsigned changed = merge(s, k, n);
    if (changed) {
        drain_keys_changed(s->d);
        log_event(LVL_INFO, "cluster", "%u gateway key%s changed by other hosts", changed,
                  changed == 1 ? " was" : "s were");
    }
    if (!all)
        return;
    struct telling t = {s, k, n, drain_too_old(s->d, 0)};
    for (size_t i = 0; i < n; i++)
        if (keys_long_gone(k[i].line, t.now))
            news_forget_key(s->news, &k[i]);
    struct db_txn *read = db_begin(s->d->keys, false);
    keys_lines(read, tell, &t);
    db_end(read);
}

void share_key(struct share *s, struct str id) {
    struct buf line;
    if (!s || !drain_keys(s->d))
        return;
    buf_init(&line, 0);
    struct db_txn *t = db_begin(s->d->keys, false);
    if (keys_line(t, id, &line))
        news_tell_key(s->news, &(struct news_key){id, buf_str(&line)});
    db_end(t);
    buf_free(&line);
}

/* --- the cache --- */

static bool number(struct str *rest, uint64_t *out) {
    struct str w = STR_NONE;
    return str_next(rest, ' ', &w) && str_u64(w, out);
}

static void on_clear(void *arg, struct str text, int64_t before_wall_ms) {
    struct share *s = arg;
    struct index_filter f = {0};
    if (!number(&text, &f.model_hash) || !number(&text, &f.owner_hash) ||
        !number(&text, &f.older_than_wall_ms))
        return;
    uint64_t before = (uint64_t)before_wall_ms;
    if (before && (f.older_than_wall_ms == 0 || before < f.older_than_wall_ms))
        f.older_than_wall_ms = before;
    index_clear(s->d->shm, &f);
    vectors_clear(s->d->shm, &f);
    drain_cleared(s->d);
}

void share_clear(struct share *s, const struct conf *c, struct str text) {
    if (s)
        news_tell_clear(s->news, text);
    else
        news_keep_clear(c, text);
}

void share_keep(struct share *s) {
    if (s)
        news_keep(s->news);
}

/* --- breakers --- */

static const struct conf_provider *provider_of(const struct conf *c, struct str target) {
    const char *slash = target.n ? memchr(target.p, '/', target.n) : NULL;
    return slash ? conf_provider(c, str_make(target.p, (size_t)(slash - target.p))) : NULL;
}

static void on_breaker(void *arg, struct str target) {
    struct share *s = arg;
    const struct conf_provider *p = provider_of(s->d->conf, target);
    enum entity_kind kind;
    struct str name;
    for (uint32_t e = 0; p && shm_entity_at(s->d->shm, e, &kind, &name); e++)
        if (kind == ENTITY_TARGET && str_eq(name, target) &&
            breaker_hint(s->d->shm, e, p->breaker.consecutive_failures))
            log_event(LVL_INFO, "breaker", STR_FMT ": opened at another host, the next failure opens it here",
                      STR_ARG(target));
}

/* --- usage --- */

/* "usage FROM TO GROUPS" */
static void on_ask(void *arg, struct str question, struct buf *answer) {
    enum { ROWS_MOST = 20000 };
    struct share *s = arg;
    struct str what = STR_NONE;
    uint64_t from, to, groups;
    if (!str_next(&question, ' ', &what) || !str_is(what, "usage") || !number(&question, &from) ||
        !number(&question, &to) || !number(&question, &groups) || to > INT64_MAX || from > to ||
        !s->d->ledger)
        return;
    struct arena *a = arena_new(0);
    struct ledger_sums sums = {0};
    struct db_txn *t = db_begin(s->d->ledger, false);
    sums.rows = ledger_query(a, t, (int64_t)from, (int64_t)to, (unsigned)groups, ROWS_MOST, &sums.n,
                             &sums.total, &sums.truncated);
    db_end(t);
    ledger_sums_pack(answer, &sums);
    arena_free(a);
}

/* --- records for others --- */

static void on_fetch(void *arg, uint64_t from, struct stream_batch *b) {
    struct share *s = arg;
    struct ledger_page page;
    if (!s->d->ledger)
        return;
    struct db_txn *t = db_begin(s->d->ledger, false);
    for (b->next = from; b->n < STREAM_AT_ONCE; b->next = page.next) {
        struct jw w;
        size_t before = buf_len(&b->text);
        jw_init(&w, &b->text);
        ledger_list(t, b->next, 1, &w, &page);
        if (page.next == b->next)
            break;
        if (buf_len(&b->text) == before)
            continue; /* it is damaged */
        b->number[b->n] = page.next - 1;
        b->end[b->n++] = buf_len(&b->text);
    }
    db_end(t);
}

/* --- life --- */

struct share *share_start(struct cluster *c, struct drain *d) {
    static const struct news_events events = {on_keys, on_clear, on_breaker, on_ask};
    if (!c)
        return NULL;
    struct share *s = mem_alloc(sizeof *s);
    s->d = d;
    s->news = news_start(c, &events, s);
    s->stream = stream_start(c, d->conf->cluster.export, on_fetch, s);
    return s;
}

void share_stop(struct share *s) {
    if (!s)
        return;
    stream_stop(s->stream);
    news_stop(s->news);
    mem_free(s);
}
