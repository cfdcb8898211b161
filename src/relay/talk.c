#include "talk.h"

#include "dialect/excerpt.h"
#include "policy/mask.h"
#include "request.h"
#include "shm/ring.h"
#include "shm/stat.h"
#include "store/logs.h"

enum { CHARACTER = 4, PIECE = 4 << 10 };

/* Who listens to a stream. */
struct hearing {
    struct turn *turn;    /* NULL: the vault does not */
    struct excerpt *said; /* NULL: the log does not */
};

static bool is_on(const struct request *r) {
    return r->p->conf->log.content != LOG_CONTENT_OFF;
}

/* The bytes that the scribe must see to be able to keep log.truncate of them: what the masks hold back, and
 * where there are patterns a line. */
static size_t most_of(const struct request *r) {
    const struct conf *c = r->p->conf;
    size_t more = c->log.content == LOG_CONTENT_FULL ? CHARACTER : MASK_SIGHT + MASK_BACK;
    return c->log.truncate + more + (c->log.mask.npatterns ? MASK_LINE : 0);
}

static struct excerpt *excerpt_new(struct request *r) {
    struct excerpt *e = arena_alloc(r->a, sizeof *e);
    excerpt_init(e, r->a, most_of(r));
    return e;
}

/* --- streams --- */

static void hear(void *arg, const struct event_item *ev) {
    struct hearing *h = arg;
    if (h->turn)
        turn_event(h->turn, ev);
    if (h->said && !h->said->cut)
        excerpt_event(h->said, ev);
}

void talk_hear(struct request *r, struct pipe_opt *o) {
    r->now.said = is_on(r) && r->now.sse ? excerpt_new(r) : NULL;
    if (!r->now.turn && !r->now.said)
        return;
    struct hearing *h = arena_alloc(r->a, sizeof *h);
    *h = (struct hearing){r->now.turn, r->now.said};
    o->watch = hear;
    o->watch_arg = h;
}

void talk_heard(struct request *r) {
    if (r->now.said && r->now.said->cut && !r->now.turn)
        pipe_unwatch(r->now.pipe);
}

/* --- the record --- */

/* A stream that was replayed. */
static void hear_replayed(struct request *r, struct excerpt *e) {
    struct hearing h = {.said = e};
    struct pipe_opt o = {.ask = &r->ask, .watch = hear, .watch_arg = &h};
    struct str rest = r->reply;
    struct buf nowhere;
    if (!r->client->provider || !r->client->provider->reader_new || r->ask.array)
        return;
    struct pipe *p = pipe_new(r->a, r->client, r->client, &o);
    buf_init(&nowhere, 0);
    while (rest.n && !e->cut) {
        size_t n = rest.n < PIECE ? rest.n : PIECE;
        buf_clear(&nowhere);
        pipe_push(p, rest.p, n, &nowhere);
        rest = str_skip(rest, n);
    }
    buf_free(&nowhere);
    pipe_free(p);
}

static const struct excerpt *answer_of(struct request *r) {
    if (r->now.said)
        return r->now.said;
    if (!r->reply.n || r->client->op == OP_EMBED || r->client->op == OP_COUNT)
        return NULL;
    struct excerpt *e = excerpt_new(r);
    if (r->ask.stream)
        hear_replayed(r, e);
    else
        excerpt_json(e, r->reply, false);
    return e;
}

static const struct excerpt *prompt_of(struct request *r) {
    if (!r->readable)
        return NULL;
    struct excerpt *e = excerpt_new(r);
    excerpt_json(e, r->x->body, true);
    return e;
}

static void put(struct logs_talk *t, unsigned text, const struct excerpt *e) {
    if (!e)
        return;
    t->text[text] = buf_str(&e->text);
    t->cut[text] = e->cut;
}

/* What is said shall never take the place of what is billed. */
bool talk_pack(struct request *r, struct str row, bool spent, struct buf *out) {
    struct logs_talk t = {.row = row, .spent = spent};
    if (!is_on(r))
        return false;
    t.left_out = ring_room(r->p->shm) < ring_max(r->p->shm) / 2;
    if (t.left_out) {
        stat_add(r->p->shm, STAT_CONTENT_LEFT_OUT, 1);
    } else {
        put(&t, LOGS_TEXT_prompt, prompt_of(r));
        put(&t, LOGS_TEXT_answer, answer_of(r));
        if (fault_is(&r->fault))
            t.text[LOGS_TEXT_error] = r->fault.message;
    }
    logs_pack_talk(out, &t);
    return buf_ok(out);
}
