/* What the files of this room share. */
#ifndef PENSTOCK_SRC_CLUSTER_INNER_H
#define PENSTOCK_SRC_CLUSTER_INNER_H
#include "base/buf.h"
#include "cluster/cluster.h"

#define CLUSTER_MAGIC 0x636c7573u
struct cluster {
    unsigned magic;
    struct loop *loop;
    struct shm *shm;
    const struct conf *conf;
    const struct conf_redis *redis;
    struct link *link;
    struct timer tick;
    struct roll *roll; /* the scribe's, roll.c */
    struct news *news; /* likewise; NULL: none is heard */
    struct {
        struct limits_call *first; /* that somebody waits for, in the order of their deadlines */
        struct timer timer;
    } limits;
    struct {
        struct purse_call *first; /* in the order of their deadlines */
        struct timer timer;
    } purse;
    uint64_t complained_ms;
    bool refused; /* the scribe: the server takes no writes */
};

bool cluster_linked(const struct cluster *c); /* it answers; whether decisions are made there or not */
bool cluster_near(const struct cluster *c);   /* it is there, be it late: what it said lately is true */
/* It is there (again), or has begun to refuse what it is told. */
void cluster_is_up(struct cluster *c);
void cluster_is_refused(struct cluster *c, bool refused);
/* What hosts listen to: of this database, which channels do not know of. */
void cluster_channel(const struct cluster *c, struct buf *out);
/* "prefix{c}:what" */
void cluster_key(const struct cluster *c, struct buf *out, const char *what);
/* EVAL of a script. keys first, then arguments, `n` in all. As link_send(). */
bool cluster_eval(struct cluster *c, const char *script, const struct str *arg, size_t keys, size_t n,
                  link_done *done, void *done_arg);

/* How many ms a question may be waited for, from now on; 0: not at all. Ends when it is answered, or too
 * late. */
uint64_t patience_begin(const struct cluster *c, struct patience *p);
void patience_end(struct patience *p);
/* It was: of a server that has not answered in the whole of cluster.timeout nobody waits until it has. */
void cluster_late(struct cluster *c, uint64_t asked_ms);

/* It answers, and does not do it: told of now and then. */
void cluster_complain(struct cluster *c, const struct resp *r);

/* news.c */
void news_linked(struct news *n); /* the link is up (again) */

/* limits.c */
void limits_time(struct cluster *c);
void limits_sweep(struct cluster *c);    /* the scribe: what lies unused goes back */
void limits_catch_up(struct cluster *c); /* it is there again: what was used without it */

/* purse.c */
void purse_time(struct cluster *c);
void purse_sweep(struct cluster *c); /* the scribe */
void purse_catch_up(struct cluster *c);

/* roll.c: who is part of the cluster */
struct roll *roll_new(struct cluster *c);
void roll_free(struct roll *r);
void roll_call(struct roll *r); /* about once a second */
void roll_state(struct roll *r, bool up);
#endif
