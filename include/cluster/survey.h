/* A question of one worker to all other hosts of the cluster, answered by their scribes (news.h). */
#ifndef PENSTOCK_CLUSTER_SURVEY_H
#define PENSTOCK_CLUSTER_SURVEY_H
#include "base/arena.h"
#include "cluster/cluster.h"

struct survey;
/* done: once, from the loop, when all that are known have answered, or a second is over: what came, and how many hosts have
 * not answered. Everything lives in the arena. NULL: the server is away. */
typedef void survey_done(void *arg, const struct str *answers, size_t n, size_t missing);
struct survey *survey_start(struct cluster *c, struct arena *a, struct str question, survey_done *done, void *arg);
void survey_drop(struct survey *s); /* before the arena goes, unless done was called; NULL is fine */
#endif
