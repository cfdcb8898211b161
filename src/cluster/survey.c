#include "cluster/survey.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "inner.h"
#include "shm/hosts.h"

enum { POLL_MS = 15, MOST_MS = 1000 };

/* Outlives its asker until the server has answered. */
struct survey {
    struct cluster *c;
    struct arena *arena; /* NULL: nobody wants it any more */
    survey_done *done;
    void *arg;
    char id[17];
    size_t others;
    uint64_t until_ms;
    bool asking; /* a command is under way */
    struct timer timer;
};

static void finish(struct survey *s) {
    timer_free(&s->timer);
    mem_free(s);
}

static void collected(void *arg, const struct resp *r) {
    struct survey *s = arg;
    size_t n = resp_n(r);
    s->asking = false;
    if (!s->arena) {
        finish(s);
        return;
    }
    struct str *answers = arena_array(s->arena, n + 1, sizeof *answers);
    for (size_t i = 0; i < n; i++)
        answers[i] = arena_dup(s->arena, resp_text(resp_at(r, i)));
    survey_done *done = s->done;
    void *to = s->arg;
    size_t others = s->others;
    finish(s);
    done(to, answers, n, n < others ? others - n : 0);
}

/* command: LLEN, or LRANGE of all. */
static void ask_list(struct survey *s, struct str command, link_done *done) {
    char what[32];
    struct buf key;
    snprintf(what, sizeof what, "u:%s", s->id);
    buf_init(&key, 0);
    cluster_key(s->c, &key, what);
    const struct str ask[] = {command, buf_str(&key), STR("0"), STR("-1")};
    s->asking = link_send(s->c->link, ask, done == collected ? 4 : 2, done, s);
    buf_free(&key);
    if (!s->asking)
        collected(s, NULL);
}

/* Answers are large: they are taken once, at the end. */
static void counted(void *arg, const struct resp *r) {
    struct survey *s = arg;
    int64_t n = resp_integer(r);
    s->asking = false;
    if (!s->arena)
        finish(s);
    else if (r && (n < 0 || (size_t)n < s->others) && clock_ms() < s->until_ms)
        timer_set(&s->timer, POLL_MS);
    else
        ask_list(s, STR("LRANGE"), collected);
}

static void look(void *arg) {
    ask_list(arg, STR("LLEN"), counted);
}

/* As many as have heard it, this host's own scribe but one; at one node of a Redis Cluster not all listen. */
static void heard(void *arg, const struct resp *r) {
    struct survey *s = arg;
    int64_t n = resp_integer(r);
    s->asking = false;
    if (!s->arena) {
        finish(s);
        return;
    }
    if (n > 1 && (size_t)n - 1 > s->others)
        s->others = (size_t)n - 1;
    timer_set(&s->timer, s->others ? POLL_MS : 0);
}

struct survey *survey_start(struct cluster *c, struct arena *a, struct str question, survey_done *done,
                            void *arg) {
    struct buf channel, text;
    uint64_t id = random_u64();
    if (!cluster_linked(c))
        return NULL;
    struct survey *s = mem_alloc(sizeof *s);
    *s = (struct survey){.c = c,
                         .arena = a,
                         .done = done,
                         .arg = arg,
                         .others = hosts_n(c->shm) - 1,
                         .until_ms = clock_ms() + MOST_MS};
    snprintf(s->id, sizeof s->id, "%016" PRIx64, id);
    buf_init(&channel, 0);
    buf_init(&text, 0);
    cluster_channel(c, &channel);
    buf_printf(&text, "%016" PRIx64 " ask %s " STR_FMT, hosts_me(c->shm), s->id, STR_ARG(question));
    const struct str publish[] = {STR("PUBLISH"), buf_str(&channel), buf_str(&text)};
    timer_init(&s->timer, c->loop, look, s);
    s->asking = link_send(c->link, publish, 3, heard, s);
    if (!s->asking) {
        finish(s);
        s = NULL;
    }
    buf_free(&channel);
    buf_free(&text);
    return s;
}

void survey_drop(struct survey *s) {
    if (!s)
        return;
    s->arena = NULL;
    timer_clear(&s->timer);
    if (!s->asking)
        finish(s);
}
