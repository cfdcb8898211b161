#include "jwks.h"

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "courier.h"
#include "policy/jwks_store.h"

#define JWKS_MAGIC 0x6a776b73u
enum { LOOK_MS = 250, LEAST_MS = 60000, PAUSE_MS = 2000 };

struct jwks {
    unsigned magic;
    struct shm *shm;
    const struct conf *conf;
    struct courier *courier;
    struct timer timer;
    uint64_t due_ms, asked_ms;
    unsigned failures; /* in a row */
    enum jwks_state state;
    bool told; /* the workers know of this process's first: the one before may have been killed with it half
                  told */
};

static uint64_t pause_after(const struct jwks *j) {
    uint64_t every = j->conf->auth.jwt.jwks_every, pause = PAUSE_MS;
    for (unsigned i = 1; i < j->failures && pause < every; i++)
        pause *= 2;
    if (j->failures == 0 || pause > every)
        pause = every;
    return pause - pause / 10 + random_u64() % (pause / 10 + 1);
}

static void on_answer(void *arg, const struct courier_answer *a) {
    struct jwks *j = arg;
    MAGIC_CHECK(j, JWKS_MAGIC);
    const char *why = call_error_text(a->error);
    bool changed = false,
         ok = a->error == CALL_OK && a->status == 200 && jwks_store(j->conf, a->body, &changed, &why);
    if (ok && (changed || !j->told))
        shm_jwks_changed(j->shm);
    j->told = j->told || ok;
    j->failures = ok ? 0 : j->failures + 1;
    if (!ok && j->state != JWKS_FAILING)
        log_event(LVL_WARN, "jwks", "auth.jwt.jwks_url: %s (status %d); what was fetched before stays", why,
                  a->status);
    if (ok && (changed || j->state == JWKS_FAILING))
        log_event(LVL_INFO, "jwks", "auth.jwt.jwks_url: fetched%s", changed ? ", it has changed" : "");
    j->state = ok ? JWKS_GOOD : JWKS_FAILING;
    j->due_ms = clock_ms() + pause_after(j);
}

static void look(void *arg) {
    struct jwks *j = arg;
    MAGIC_CHECK(j, JWKS_MAGIC);
    uint64_t now = clock_ms(), every = j->conf->auth.jwt.jwks_every,
             least = every < LEAST_MS ? every : LEAST_MS;
    bool wanted = (j->asked_ms == 0 || now - j->asked_ms >= least) && shm_jwks_wanted(j->shm);
    if (!courier_busy(j->courier) && (wanted || now >= j->due_ms)) {
        j->asked_ms = now;
        courier_send(j->courier, STR_NONE, NULL, 0, on_answer, j);
    }
    timer_set(&j->timer, LOOK_MS);
}

struct jwks *jwks_start(struct loop *l, struct multi *m, struct shm *s, const struct conf *c) {
    char err[256];
    if (!c->auth.jwt.jwks_url || !*c->auth.jwt.jwks_url)
        return NULL;
    struct courier *courier = courier_new(m, c->auth.jwt.jwks_url, JWKS_MOST, err);
    if (!courier) {
        log_event(LVL_ERROR, "jwks", "auth.jwt.jwks_url: %s", err);
        return NULL;
    }
    struct jwks *j = mem_alloc(sizeof(*j));
    *j = (struct jwks){.magic = JWKS_MAGIC, .shm = s, .conf = c, .courier = courier};
    timer_init(&j->timer, l, look, j);
    timer_set(&j->timer, 0);
    return j;
}

void jwks_stop(struct jwks *j) {
    if (!j)
        return;
    courier_free(j->courier);
    timer_free(&j->timer);
    j->magic = 0;
    mem_free(j);
}

enum jwks_state jwks_state(const struct jwks *j) {
    return j ? j->state : JWKS_GOOD;
}
