#include "cluster/stream.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/die.h"
#include "inner.h"
#include "shm/hosts.h"

enum { TICK_MS = 200, LOOK_MS = 2000, BATCH_MOST = 4 << 20 };

/* Moves from where it is known to be, or tells where it is. */
static const char script[] =
    "local is = redis.call('GET', KEYS[2]) or '0'\n"
    "if is ~= ARGV[1] then return is end\n"
    "for i = 4, #ARGV, 2 do\n"
    "  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'id', ARGV[i], 'record', ARGV[i + 1])\n"
    "end\n"
    "redis.call('SET', KEYS[2], ARGV[2])\n"
    "return ARGV[2]";

/* Lives on until the server has answered. */
struct stream {
    struct cluster *c;
    uint64_t most, from, said_ms;
    void (*fetch)(void *arg, uint64_t from, struct stream_batch *b);
    void *arg;
    bool asking, stopped;
    struct timer tick;
};

static void finish(struct stream *s) {
    timer_free(&s->tick);
    mem_free(s);
}

static void moved(void *arg, const struct resp *r) {
    struct stream *s = arg;
    uint64_t at;
    s->asking = false;
    if (s->stopped) {
        finish(s);
        return;
    }
    bool ok = resp_type(r) == RESP_TEXT && str_u64(resp_text(r), &at), new = ok &&at != s->from;
    s->said_ms = clock_ms();
    if (resp_type(r) == RESP_ERROR)
        cluster_complain(s->c, r);
    if (ok)
        s->from = at;
    timer_set(&s->tick, new ? 0 : TICK_MS); /* more at once */
}

static bool send(struct stream *s, const struct stream_batch *b) {
    enum { FIXED = 5 };
    struct str part[FIXED + 2 * STREAM_AT_ONCE];
    char ids[STREAM_AT_ONCE][48], from[STR_DIGITS], next[STR_DIGITS], most[STR_DIGITS], what[40];
    struct buf stream, cursor;
    buf_init(&stream, 0);
    buf_init(&cursor, 0);
    snprintf(what, sizeof what, "exported:%016" PRIx64, hosts_me(s->c->shm));
    cluster_key(s->c, &stream, "ledger");
    cluster_key(s->c, &cursor, what);
    part[0] = buf_str(&stream);
    part[1] = buf_str(&cursor);
    part[2] = str_from_u64(from, s->from);
    part[3] = str_from_u64(next, b->next);
    part[4] = str_from_u64(most, s->most);
    for (size_t i = 0, at = 0; i < b->n; at = b->end[i++]) {
        snprintf(ids[i], sizeof ids[i], "%016" PRIx64 "-%" PRIu64, hosts_me(s->c->shm), b->number[i]);
        part[FIXED + 2 * i] = str_of(ids[i]);
        part[FIXED + 2 * i + 1] = str_make(buf_at(&b->text) + at, b->end[i] - at);
    }
    bool ok = cluster_eval(s->c, script, part, 2, FIXED + 2 * b->n, moved, s);
    buf_free(&stream);
    buf_free(&cursor);
    return ok;
}

static void tick(void *arg) {
    struct stream *s = arg;
    struct stream_batch b = {.next = s->from};
    buf_init(&b.text, BATCH_MOST);
    if (!s->asking && cluster_linked(s->c)) {
        s->fetch(s->arg, s->from, &b);
        bool look = b.n == 0 && clock_ms() - s->said_ms > LOOK_MS; /* has it lost its memory? */
        s->asking = (b.n > 0 || look) && buf_ok(&b.text) && send(s, &b);
    }
    buf_free(&b.text);
    timer_set(&s->tick, TICK_MS);
}

struct stream *stream_start(struct cluster *c, uint64_t most,
                            void (*fetch)(void *arg, uint64_t from, struct stream_batch *b), void *arg) {
    if (!c || most == 0)
        return NULL;
    struct stream *s = mem_alloc(sizeof *s);
    *s = (struct stream){.c = c, .most = most, .fetch = fetch, .arg = arg};
    timer_init(&s->tick, c->loop, tick, s);
    timer_set(&s->tick, TICK_MS);
    return s;
}

void stream_stop(struct stream *s) {
    if (!s)
        return;
    s->stopped = true;
    timer_clear(&s->tick);
    if (!s->asking)
        finish(s);
}
