/* By the prices of this scribe's configuration: the one that was in force when it was asked for, or a later
 * one. A job that is interrupted goes on with the hour it was at. */
#include "reprice.h"
#include "base/clock.h"
#include "base/log.h"
#include "drain.h"
#include "policy/price.h"
#include "shm/slot.h"

enum { STEP_RECORDS = 4000, PAUSE_MS = 1000 };

/* --- what a row costs today --- */

static const struct conf_provider *provider_of(const struct conf *c, struct str name) {
    for (size_t i = 0; i < c->nproviders; i++)
        if (str_is(name, c->providers[i].name))
            return &c->providers[i];
    return NULL;
}

static const struct conf_model *model_of(const struct conf *c, struct str name) {
    for (size_t i = 0; i < c->nmodels; i++)
        if (str_is(name, c->models[i].name))
            return &c->models[i];
    return NULL;
}

/* What was free is, what the provider itself has said stays, and so does what nobody knows a price of now, as
 * of a model or a provider that is configured no more. */
static int64_t price_row(void *arg, const struct ledger_row *row) {
    const struct drain *d = arg;
    const struct usage *u = &row->usage;
    const struct conf_provider *pr = provider_of(d->conf, row->provider);
    const struct conf_model *m = row->configured.n ? model_of(d->conf, row->configured) : NULL;
    if (!pr || (row->configured.n && !m) || u->cost_nano >= 0 || (u->input == 0 && u->output == 0))
        return row->cost_nano;
    int64_t nano =
        price_bill(d->reprice.prices, str_of(pr->kind->price_vendor), row->model, m ? &m->prices : NULL, u);
    return nano >= 0 ? nano : row->cost_nano;
}

/* --- jobs --- */

void reprice_stop(struct reprice *r) {
    price_table_free(r->prices);
    ledger_reprice_free(r->walk);
    r->prices = NULL;
    r->walk = NULL;
}

static void wait_a_little(struct reprice *r, uint64_t now_ms, const char *why) {
    if (!r->told)
        log_event(LVL_ERROR, "store", "the costs cannot be made anew for the moment: %s", why);
    r->told = true;
    reprice_stop(r);
    r->look = true;
    r->retry_ms = now_ms + PAUSE_MS;
}

/* A worker of a newer configuration serves: its prices are meant, and its scribe comes in a moment. */
static bool is_succeeded(const struct drain *d) {
    struct slot_info info;
    uint32_t high = slot_high(d->shm);
    for (uint32_t i = 0; i < high; i++)
        if (slot_at(d->shm, i, &info) && info.role == SLOT_WORKER && info.state == SLOT_READY &&
            info.generation > d->conf->generation)
            return true;
    return false;
}

static bool find_job(struct drain *d) {
    struct reprice *r = &d->reprice;
    struct db_txn *t = db_begin(d->ledger, false);
    r->look = ledger_job_pending(t, &r->job);
    if (r->look) {
        str_copy(r->by, sizeof r->by, r->job.by);
        r->job.by = str_of(r->by);
        r->job.error = STR_NONE;
    }
    db_end(t);
    return r->look && !is_succeeded(d);
}

static void start(struct drain *d, uint64_t now_ms) {
    struct reprice *r = &d->reprice;
    char err[256], end_err[256];
    if (!find_job(d))
        return;
    r->prices = price_table_new(d->conf->prices_file, err);
    if (r->prices) {
        r->walk = ledger_reprice_new(price_row, d);
        return;
    }
    struct db_txn *t = db_begin(d->ledger, true);
    ledger_reprice_end(t, &r->job, str_of(err));
    if (db_commit(t, end_err) != 0)
        wait_a_little(r, now_ms, end_err);
}

static void tell(const struct ledger_job *j) {
    log_event(LVL_INFO, "audit",
              "costs were made anew for key " STR_FMT ": %llu hours, %llu corrections, from %lld to %lld "
              "nano-dollars",
              STR_ARG(j->by), (unsigned long long)j->hours, (unsigned long long)j->corrections,
              (long long)j->was_nano, (long long)j->is_nano);
}

static void end(struct drain *d) {
    struct reprice *r = &d->reprice;
    tell(&r->job);
    reprice_stop(r);
    r->told = false;
    spend_count(&d->spend, d->ledger, true);
    spend_alert(&d->spend);
}

static void step(struct drain *d, uint64_t now_ms) {
    struct reprice *r = &d->reprice;
    char err[256];
    struct db_txn *t = db_begin(d->ledger, true);
    enum ledger_step s = ledger_reprice_walk(r->walk, t, &r->job, STEP_RECORDS);
    if (s == LEDGER_STEP_HOUR)
        ledger_reprice_hour(r->walk, t, &r->job, clock_wall_ms());
    else if (s == LEDGER_STEP_END)
        ledger_reprice_end(t, &r->job, STR_NONE);
    if (db_commit(t, err) != 0) /* what the job says is read anew */
        wait_a_little(r, now_ms, err);
    else if (s == LEDGER_STEP_END)
        end(d);
}

bool reprice_step(struct drain *d, uint64_t now_ms) {
    struct reprice *r = &d->reprice;
    if (now_ms < r->retry_ms)
        return false;
    if (!r->prices && r->look)
        start(d, now_ms);
    if (r->prices)
        step(d, now_ms);
    return r->prices != NULL;
}
