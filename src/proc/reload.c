/* Reload: the new configuration is read, its addresses bound and its workers made ready while the old ones
 * serve; only then the old ones are asked to finish. Whatever fails before that leaves everything as it was.
 */
#include "base/clock.h"
#include "base/die.h"
#include "machine.h"
#include "notify.h"
#include "policy/plane.h"
#include "shm/stat.h"
#include <signal.h>
#include <stdio.h>

enum { ASKS_MAX = 1000 };

/* A wish that comes while a reload runs may be about a file that changed after it was read: it gets a reload
 * of its own afterwards, together with all others that come until then. */
void reload_ask(struct master *m, struct child *from) {
    if (from && from->asks_next < ASKS_MAX)
        from->asks_next++;
    m->reload_wanted = true;
}

static void answer_all(struct master *m, struct str text) {
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++)
        if (m->child[i].pid && m->child[i].asks_now)
            child_answer(&m->child[i], text);
}

static void status(char text[128], const struct master *m) {
    snprintf(text, 128, "generation %u, %u workers", m->conf->generation, m->workers);
}

static void log_each_line(struct str rest) {
    struct str line;
    while (str_next(&rest, '\n', &line))
        if (line.n > 0)
            log_event(LVL_ERROR, "reload", STR_FMT, STR_ARG(line));
}

static void drop_new_workers(struct master *m, unsigned generation) {
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++) {
        struct child *c = &m->child[i];
        if (!child_serves(c) || c->role != SLOT_WORKER || c->generation != generation)
            continue;
        if (c->state == CHILD_READY)
            child_leave(c, m->conf->drain_timeout); /* it may have a request already */
        else
            child_kill(c, SIGKILL);
    }
}

void reload_fail(struct master *m) {
    char text[128];
    log_each_line(buf_str(&m->reload_text));
    log_event(LVL_ERROR, "reload", "refused: generation %u goes on", m->conf->generation);
    if (m->next) {
        drop_new_workers(m, m->next->generation);
        listen_abort(&m->listeners);
        conf_free(m->next);
        m->next = NULL;
    }
    stat_add(m->shm, STAT_RELOAD_FAILURES, 1);
    struct buf answer;
    buf_init(&answer, 0);
    buf_addc(&answer, '1');
    buf_adds(&answer, buf_str(&m->reload_text));
    answer_all(m, buf_str(&answer));
    buf_free(&answer);
    m->phase = PHASE_RUN;
    m->phase_deadline_ms = 0;
    status(text, m);
    notify_ready(text);
}

static bool load(struct master *m) {
    struct conf_errors errors = {0};
    m->next = conf_load(&m->source, &errors);
    for (size_t i = 0; !m->next && i < errors.n; i++)
        buf_printf(&m->reload_text, "%s\n", errors.list[i].text);
    if (!m->next && errors.n == 0)
        buf_addz(&m->reload_text, "the configuration cannot be read\n");
    conf_errors_free(&errors);
    return m->next != NULL;
}

/* The shared memory's cache index speaks of the files in state_dir, whose owner is the user. */
static bool unchangeable(struct master *m) {
    const struct {
        const char *name, *now, *wanted;
    } fixed[] = {
        {"state_dir", m->conf->state_dir, m->next->state_dir},
        {"pid_file", m->conf->pid_file, m->next->pid_file},
        {"user", m->conf->user, m->next->user},
        {"group", m->conf->group, m->next->group},
    };
    bool ok = true;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        if (strcmp(fixed[i].now, fixed[i].wanted) == 0)
            continue;
        buf_printf(&m->reload_text, "%s: changes only with a restart\n", fixed[i].name);
        ok = false;
    }
    return ok;
}

static bool spawn_new(struct master *m) {
    for (unsigned n = 0; n < m->next->workers; n++)
        if (!child_spawn(m, SLOT_WORKER, n, m->next)) {
            buf_printf(&m->reload_text,
                       "worker %u cannot be started: %u processes of older generations live\n", n,
                       children_of(m, SLOT_WORKER));
            return false;
        }
    return true;
}

void reload_begin(struct master *m) {
    m->reload_wanted = false;
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++) {
        m->child[i].asks_now += m->child[i].asks_next;
        m->child[i].asks_next = 0;
    }
    buf_clear(&m->reload_text);
    notify_reloading();
    log_event(LVL_INFO, "reload", "reading %s", *m->conf->file ? m->conf->file : "the environment");
    if (!load(m) || !unchangeable(m)) {
        conf_free(m->next);
        m->next = NULL;
        reload_fail(m);
        return;
    }
    m->next->generation = m->conf->generation + 1;
    if (!listen_prepare(&m->listeners, m->next, m->next->workers, m->workers, &m->reload_text)) {
        conf_free(m->next);
        m->next = NULL;
        reload_fail(m);
        return;
    }
    m->phase = PHASE_RELOAD;
    m->phase_deadline_ms = clock_ms() + READY_MS;
    if (!spawn_new(m))
        reload_fail(m);
}

static void dismiss_old(struct master *m) {
    for (size_t i = 0; i < SHM_MAX_SLOTS; i++) {
        struct child *c = &m->child[i];
        if (!child_serves(c) || c->role != SLOT_WORKER || c->generation == m->conf->generation)
            continue;
        if (c->number < m->workers)
            child_leave(c, m->conf->drain_timeout);
        else
            child_retire(c);
    }
}

void reload_commit(struct master *m) {
    char text[128];
    struct conf *old = m->conf;
    m->conf = m->next;
    m->next = NULL;
    m->workers = m->conf->workers;
    plane_wake_keys(m->shm, m->conf);
    m->phase = PHASE_RUN;
    m->phase_deadline_ms = 0;
    memset(m->seat, 0, sizeof m->seat);
    logs_open(m, m->conf);
    listen_commit(&m->listeners);
    listen_spread(&m->listeners, m->workers);
    int n = snprintf(text, sizeof text, "0%u", m->conf->generation);
    stat_add(m->shm, STAT_RELOADS, 1);        /* before anybody is told of it */
    answer_all(m, str_make(text, (size_t)n)); /* before those who asked are told to leave */
    dismiss_old(m);
    log_event(LVL_INFO, "reload", "generation %u serves", m->conf->generation); /* the scribe hears of it */
    struct child *scribe = master_scribe(m);
    if (scribe)
        child_leave(scribe, SCRIBE_MS); /* its successor is forked when it has gone; the rings wait */
    conf_free(old);
    status(text, m);
    notify_ready(text);
}
