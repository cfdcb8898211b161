/* POST /admin/v1/usage/reprice: the costs of some hours are made anew, from their records and by the prices
 * that are in force. The scribe does it; the answer comes when it is done, or says after a while where to
 * look.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "query.h"
#include "shm/ring.h"
#include "store/ledger.h"
#include "store/record.h"
#include "surface/surface.h"

enum { POLL_MS = 10, LATE_MS = 8000, PATIENCE_MS = 25000, HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS };

static void time_member(struct jw *w, const char *key, uint32_t hour) {
    char t[CLOCK_RFC3339_SIZE];
    clock_rfc3339(t, (int64_t)hour * HOUR_MS);
    jw_kz(w, key, t);
}

static void money(struct jw *w, const char *name, int64_t nano) {
    jw_key(w, name);
    jw_nano(w, nano);
}

static void answer(struct surface_call *c, int status, const struct ledger_job *j) {
    char id[32 + 1];
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    ledger_job_name(id, j->asked_ms, j->number);
    jw_obj(&w);
    jw_kz(&w, "id", id);
    jw_kbool(&w, "done", j->done);
    if (j->error.n)
        jw_kstr(&w, "error", j->error);
    time_member(&w, "from", j->from_hour);
    time_member(&w, "to", j->until_hour);
    jw_kstr(&w, "by", j->by);
    jw_ku64(&w, "hours", j->hours);
    jw_ku64(&w, "left_out", j->left_out);
    jw_ku64(&w, "requests", j->records);
    jw_ku64(&w, "corrections", j->corrections);
    money(&w, "old_usd", j->was_nano);
    money(&w, "new_usd", j->is_nano);
    jw_obj_end(&w);
    surface_json(c, status, buf_str(&b));
    buf_free(&b);
}

static void refuse(struct surface_call *c, int status, const char *why) {
    struct fault f;
    fault_set(&f, c->x->arena, status == 503 ? FAULT_OVERLOADED : FAULT_BAD_REQUEST, "%s", why);
    f.status = status;
    surface_fault(c, &f);
}

/* The job as it is now; its texts are copied. */
static bool look_up(struct surface_call *c, int64_t asked_ms, uint64_t number, struct ledger_job *j) {
    struct db *d = plane_ledger(c->plane);
    if (!d)
        return false;
    struct db_txn *t = db_begin(d, false);
    bool there = ledger_job_get(t, asked_ms, number, j);
    if (there) {
        j->by = arena_dup(c->x->arena, j->by);
        j->error = arena_dup(c->x->arena, j->error);
    }
    db_end(t);
    return there;
}

void surface_reprice_state(struct surface_call *c) {
    struct ledger_job j;
    int64_t asked_ms;
    uint64_t number;
    if (ledger_job_read_name(c->rest, &asked_ms, &number) && look_up(c, asked_ms, number, &j))
        answer(c, 200, &j);
    else
        refuse(c, 404, "There is no such job.");
}

/* --- asking, and waiting for it --- */

struct waiting {
    struct surface_call call;
    struct timer timer;
    struct ledger_job job;
    uint64_t since_ms;
};

static void drop_timer(void *arg) {
    timer_free(arg);
}

static void gone(struct exchange *x) {
    struct waiting *g = x->owner;
    timer_clear(&g->timer); /* the job goes its way */
}

static void look(void *arg) {
    struct waiting *g = arg;
    struct ledger_job j;
    uint64_t waited = clock_ms() - g->since_ms;
    bool there = look_up(&g->call, g->job.asked_ms, g->job.number, &j);
    if (there && j.done)
        answer(&g->call, j.error.n ? 422 : 200, &j);
    else if (waited >= PATIENCE_MS || (!there && waited >= LATE_MS))
        answer(&g->call, 202, there ? &j : &g->job);
    else
        timer_set(&g->timer, POLL_MS);
}

static bool send(struct surface_call *c, const struct ledger_job *j) {
    struct buf b;
    uint64_t pos;
    buf_init(&b, 4096);
    ledger_job_pack(&b, j);
    bool ok = buf_ok(&b) && ring_put(c->plane->shm, RECORD_REPRICE, buf_str(&b), STR_NONE, &pos);
    buf_free(&b);
    return ok;
}

/* Whole hours: those that [from, to) touches. */
static bool read_span(struct surface_call *c, struct ledger_job *j, struct fault *f) {
    static const char *const names[] = {"from", "to"};
    static const char expected[] = "expected a date (2026-01-31) or a time (2026-01-31T12:00:00Z)";
    struct str v[2];
    int64_t from, to = clock_wall_ms() + 1;
    if (!query_read(c, names, v, 2, f))
        return false;
    if (v[0].n == 0 || !clock_parse(v[0], &from) || from < 0)
        return query_wrong(c, f, STR("from"), expected);
    if (v[1].n && !clock_parse(v[1], &to))
        return query_wrong(c, f, STR("to"), expected);
    if (v[1].n == 10) /* a date means its whole day */
        to += DAY_MS;
    if (from >= to || to / HOUR_MS >= UINT32_MAX)
        return query_wrong(c, f, STR("from"), "must lie before `to`");
    j->from_hour = j->next_hour = (uint32_t)(from / HOUR_MS);
    j->until_hour = (uint32_t)((to - 1) / HOUR_MS) + 1;
    return true;
}

void surface_reprice(struct surface_call *c) {
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct waiting *g = arena_alloc(c->x->arena, sizeof *g);
    *g = (struct waiting){.call = *c, .since_ms = clock_ms()};
    struct ledger_job *j = &g->job;
    if (!read_span(c, j, &f)) {
        surface_fault(c, &f);
        return;
    }
    j->asked_ms = clock_wall_ms();
    j->by = str_of(c->caller.key->id);
    random_bytes(&j->number, sizeof j->number);
    if (!send(c, j)) {
        refuse(c, 503, "Nothing was done: too much waits for the scribe.");
        return;
    }
    c->x->owner = g;
    c->x->on_gone = gone;
    timer_init(&g->timer, c->plane->loop, look, g);
    arena_cleanup(c->x->arena, drop_timer, &g->timer);
    timer_set(&g->timer, POLL_MS);
}
