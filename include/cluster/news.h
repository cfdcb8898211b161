/* What hosts tell each other at once: gateway keys that were made, changed or revoked, and caches that were cleared. Keys lie
 * at the server too, the newest of each id, those that are gone as well; clears for as long as an answer may be cached. Who
 * was away is told all of it when he is back. One for a host: its scribe's. */
#ifndef PENSTOCK_CLUSTER_NEWS_H
#define PENSTOCK_CLUSTER_NEWS_H
#include "cluster/cluster.h"

/* A key as hosts tell it: which of two is the newer is decided by the text's first NEWS_STAMP bytes. */
enum { NEWS_STAMP = 41 };
struct news_key {
    struct str id, line;
};
struct news_events {
    /* all: every key that the cluster has, in the order of news_by_id(); those that are missing or older there are
     * to be told, those that are long gone to be forgotten. */
    void (*keys)(void *arg, const struct news_key *k, size_t n, bool all);
    void (*clear)(void *arg, struct str text, int64_t before_wall_ms); /* 0: whatever is there */
    void (*breaker)(void *arg, struct str target);                   /* it has opened elsewhere */
    void (*ask)(void *arg, struct str question, struct buf *answer); /* of a survey (survey.h) */
};
struct news;
struct news *news_start(struct cluster *c, const struct news_events *e, void *arg); /* c NULL: NULL */
void news_stop(struct news *n);                                                    /* before the cluster; NULL is fine */
void news_tell_key(struct news *n, const struct news_key *k); /* lost while the server is away: all are asked for then */
int news_by_id(const void *a, const void *b);                 /* two struct news_key, for qsort() and bsearch() */
void news_forget_key(struct news *n, const struct news_key *k); /* at the server, unless it is another by now */
void news_breaker(struct cluster *c, struct str target);      /* any process; lost while the server is away; c may be NULL */
/* Kept in state_dir until the server has it, over restarts and kills. */
void news_tell_clear(struct news *n, struct str text);
void news_keep(struct news *n); /* now: before what they came from is let go */
void news_keep_clear(const struct conf *c, struct str text); /* for the next scribe's news; this one's have ended, or not begun */
#endif
