#include "hedge.h"

#include "base/clock.h"
#include "base/die.h"
#include "shm/extra.h"
#include "shm/stat.h"

enum {
    SAMPLES_LEAST = 20, /* before that nobody knows what is late */
    LATE_LEAST_MS = 10,
};

struct lane {
    struct request *r;
    unsigned number;
};

struct hedge {
    struct lane lane[2];
    unsigned at; /* the lane of request.now */
    bool both;   /* the other one is under way */
    struct attempt other;
    struct buf out, dropped, held; /* of the other one */
    struct timer late;
};

static void swap_buf(struct buf *a, struct buf *b) {
    struct buf c = *a;
    *a = *b;
    *b = c;
}

static void change_places(struct request *r) {
    struct hedge *h = r->hedge;
    struct attempt a = r->now;
    r->now = h->other;
    h->other = a;
    swap_buf(&r->out, &h->out);
    swap_buf(&r->dropped, &h->dropped);
    swap_buf(&r->held_bytes, &h->held);
    h->at = 1 - h->at;
}

static struct request *turn_to(void *arg) {
    struct lane *l = arg;
    MAGIC_CHECK(l->r, REQUEST_MAGIC);
    if (l->r->hedge->at != l->number)
        change_places(l->r);
    return l->r;
}

static enum flow on_head(void *arg, int status, const struct call_header *h, size_t n) {
    return answer_sink.head(turn_to(arg), status, h, n);
}

static enum flow on_data(void *arg, const char *p, size_t n) {
    return answer_sink.data(turn_to(arg), p, n);
}

static void on_done(void *arg, const struct call_result *res) {
    answer_sink.done(turn_to(arg), res);
}

static const struct call_sink hedge_sink = {on_head, on_data, on_done};

const struct call_sink *hedge_sink_of(struct request *r, void **arg) {
    *arg = r;
    if (r->pass)
        return &pass_sink;
    if (!r->hedge)
        return &answer_sink;
    *arg = &r->hedge->lane[r->hedge->at];
    return &hedge_sink;
}

/* --- the second one --- */

static bool may_hedge(struct request *r) {
    const struct conf *c = r->p->conf;
    return extra_take(r->p->shm, EXTRA_HEDGE, c->routing.hedge.budget, 1, clock_coarse_ns());
}

static void late(void *arg) {
    struct request *r = arg;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    struct hedge *h = r->hedge;
    if (r->step != STEP_SEND || r->committed || r->ended || h->both || !r->now.open || !r->now.call ||
        !route_has_more(r->p, r->a, &r->plan, FAULT_NONE) || !may_hedge(r))
        return;
    change_places(r);
    h->both = true;
    if (attempt_second(r)) {
        stat_add(r->p->shm, STAT_HEDGES, 1);
        return;
    }
    h->both = false;
    change_places(r);
}

void hedge_init(struct request *r) {
    if (!r->p->conf->routing.hedge.enabled || r->pass || r->hedge || r->plan.own < 2 ||
        r->client->op == OP_COUNT)
        return;
    struct hedge *h = arena_alloc(r->a, sizeof(*h));
    *h = (struct hedge){.lane = {{r, 0}, {r, 1}}};
    buf_init(&h->out, r->out.max);
    buf_init(&h->dropped, r->dropped.max);
    buf_init(&h->held, r->held_bytes.max);
    timer_init(&h->late, r->g->env.loop, late, r);
    r->hedge = h;
}

void hedge_watch(struct request *r) {
    static const double quantiles[] = {
        [HEDGE_P50] = 0.5, [HEDGE_P90] = 0.9, [HEDGE_P95] = 0.95, [HEDGE_P99] = 0.99};
    struct hist seen;
    if (!r->hedge || r->hedge->both || r->row.attempts > 0)
        return;
    hist_look(r->p->shm, r->now.target->entity, HIST_FIRST_BYTE, &seen);
    if (seen.n < SAMPLES_LEAST)
        return;
    double ms = 1000 * hist_quantile(&seen, quantiles[r->p->conf->routing.hedge.after]);
    timer_set(&r->hedge->late, ms < LATE_LEAST_MS ? LATE_LEAST_MS : (uint64_t)ms);
}

/* --- how it ends --- */

static void drop_other(struct request *r) {
    struct hedge *h = r->hedge;
    if (!h->both)
        return;
    h->both = false;
    change_places(r);
    attempt_cancel(r);
    change_places(r);
}

void hedge_won(struct request *r) {
    if (!r->hedge)
        return;
    timer_clear(&r->hedge->late);
    drop_other(r);
}

bool hedge_goes_on(struct request *r) {
    struct hedge *h = r->hedge;
    if (!h || !h->both)
        return false;
    h->both = false;
    change_places(r);
    buf_free(&h->other.body);
    if (r->ask.stream)
        timer_set(&r->timer, r->now.target->provider->conf->first_byte);
    return true;
}

void hedge_free(struct request *r) {
    struct hedge *h = r->hedge;
    if (!h)
        return;
    hedge_won(r);
    timer_free(&h->late);
    buf_free(&h->out);
    buf_free(&h->dropped);
    buf_free(&h->held);
    r->hedge = NULL;
}
