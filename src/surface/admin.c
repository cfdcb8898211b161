/* The rest of /admin/v1: workers, config, reload. */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/die.h"
#include "shm/slot.h"
#include "surface/surface.h"

/* Resident bytes of a process of ours; 0 when it cannot be read. */
static uint64_t resident(pid_t pid) {
    char path[64], line[128];
    uint64_t pages = 0;
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    if (fgets(line, sizeof(line), f)) {
        struct str rest = str_of(line), one;
        if (str_next(&rest, ' ', &one) && str_next(&rest, ' ', &one) && !str_u64(one, &pages))
            pages = 0;
    }
    fclose(f);
    long size = sysconf(_SC_PAGESIZE);
    return pages * (uint64_t)(size > 0 ? size : 4096);
}

static void write_slot(struct jw *w, const struct slot_info *s) {
    static const char *const states[] = {
        [SLOT_STARTING] = "starting", [SLOT_READY] = "ready", [SLOT_DRAINING] = "draining"};
    jw_obj(w);
    jw_kz(w, "role", s->role == SLOT_WORKER ? "worker" : "scribe");
    jw_kint(w, "number", s->number);
    jw_kint(w, "pid", s->pid);
    jw_kint(w, "generation", s->generation);
    jw_kz(w, "state", states[s->state]);
    jw_ku64(w, "uptime_seconds", (clock_ms() - s->started_ms) / 1000);
    jw_ku64(w, "connections", s->connections);
    jw_ku64(w, "in_flight", s->exchanges);
    jw_ku64(w, "requests", s->requests);
    jw_ku64(w, "resident_bytes", resident(s->pid));
    jw_obj_end(w);
}

void surface_workers(struct surface_call *c) {
    struct slot_info s;
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kint(&w, "generation", c->plane->conf->generation);
    jw_key(&w, "workers");
    jw_arr(&w);
    for (int role = SLOT_WORKER; role <= SLOT_SCRIBE; role++) {
        for (uint32_t i = 0; i < slot_high(c->plane->shm); i++)
            if (slot_at(c->plane->shm, i, &s) && (int)s.role == role)
                write_slot(&w, &s);
        if (role == SLOT_WORKER) {
            jw_arr_end(&w);
            jw_key(&w, "scribe");
            jw_arr(&w);
        }
    }
    jw_arr_end(&w);
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

void surface_config(struct surface_call *c) {
    struct buf b;
    struct jw w;
    char loaded[CLOCK_RFC3339_SIZE];
    buf_init(&b, 0);
    clock_rfc3339(loaded, c->plane->conf->loaded_ms);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kz(&w, "file", c->plane->conf->file);
    jw_kint(&w, "generation", c->plane->conf->generation);
    jw_kz(&w, "loaded_at", loaded);
    jw_key(&w, "config");
    struct buf dump;
    buf_init(&dump, 0);
    conf_dump_json(c->plane->conf, &dump);
    jw_raw(&w, buf_str(&dump));
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&dump);
    buf_free(&b);
}

/* --- reload --- */

/* Waits for the master; outlives the exchange when the client does not wait. */
static void reload_gone(struct exchange *x) {
    struct surface_call *c = x->owner;
    surface_audit(c, 499);
    c->x = NULL;
}

static void reload_done(void *arg, bool ok, unsigned generation, struct str text) {
    struct surface_call *c = arg;
    if (c->x) {
        struct buf b;
        struct jw w;
        buf_init(&b, 0);
        jw_init(&w, &b);
        jw_obj(&w);
        jw_kbool(&w, "reloaded", ok);
        jw_kint(&w, "generation", generation);
        if (!ok) {
            jw_key(&w, "error");
            jw_obj(&w);
            jw_kstr(&w, "message", text);
            jw_kz(&w, "type", "invalid_configuration");
            jw_knull(&w, "param");
            jw_kz(&w, "code", "invalid_configuration");
            jw_obj_end(&w);
        }
        jw_obj_end(&w);
        c->x->on_gone = NULL;
        surface_json(c, ok ? 200 : 422, buf_str(&b));
        buf_free(&b);
    }
    mem_free((void *)c->request_id.p);
    mem_free(c);
}

void surface_reload(struct surface_call *c) {
    struct surface_call *kept = mem_alloc(sizeof(*kept));
    *kept = *c;
    char *id = mem_alloc(c->request_id.n + 1);
    memcpy(id, c->request_id.p, c->request_id.n);
    kept->request_id = str_make(id, c->request_id.n);
    c->x->owner = kept;
    c->x->on_gone = reload_gone;
    kept->reload(kept->reload_arg, reload_done, kept);
}
