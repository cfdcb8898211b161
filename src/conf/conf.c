/* From files and environment to the immutable configuration: read, complete, check, keep. */
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "schema.h"
#include <unistd.h>

#ifndef PENSTOCK_SYSCONFDIR
#define PENSTOCK_SYSCONFDIR "/etc"
#endif
#ifndef PENSTOCK_STATEDIR
#define PENSTOCK_STATEDIR "/var/lib/penstock"
#endif
#ifndef PENSTOCK_RUNDIR
#define PENSTOCK_RUNDIR "/run/penstock"
#endif

/* An open-addressed table: a power of two of slots, at most half full, each the number of a model plus one.
 */
struct conf_index {
    size_t mask;
    size_t slot[];
};

static void index_models(struct conf *c) {
    size_t slots = 8;
    while (slots < c->nmodels * 2)
        slots *= 2;
    c->index = arena_alloc(c->arena, sizeof *c->index + slots * sizeof c->index->slot[0]);
    c->index->mask = slots - 1;
    for (size_t i = 0; i < c->nmodels; i++) {
        size_t at = hash64(c->models[i].name, strlen(c->models[i].name)) & c->index->mask;
        while (c->index->slot[at])
            at = (at + 1) & c->index->mask;
        c->index->slot[at] = i + 1;
    }
}

const struct conf_model *conf_model(const struct conf *c, struct str name) {
    size_t at = hash64(name.p ? name.p : "", name.n) & c->index->mask;
    for (; c->index->slot[at]; at = (at + 1) & c->index->mask) {
        const struct conf_model *m = &c->models[c->index->slot[at] - 1];
        if (str_is(name, m->name))
            return m;
    }
    return NULL;
}

const struct conf_provider *conf_provider(const struct conf *c, struct str name) {
    const struct conf_provider *aliased = NULL;
    for (size_t i = 0; name.n && i < c->nproviders; i++) {
        const struct conf_provider *p = &c->providers[i];
        if (kind_name_eq(str_of(p->name), name))
            return p;
        if (p->kind && p->kind->alias && kind_name_eq(str_of(p->kind->alias), name) &&
            (!aliased || (p->enabled && !aliased->enabled)))
            aliased = p;
    }
    return aliased;
}

/* Somebody who is not root keeps what is theirs at home. */
static void home_defaults(struct load *l) {
    const char *state = env_value(l->env, "XDG_STATE_HOME"), *home = env_value(l->env, "HOME");
    const char *dir = PENSTOCK_STATEDIR;
    bool root = geteuid() == 0;
    if (!root && state && *state == '/')
        dir = arena_printf(l->scratch, "%s/penstock", state).p;
    else if (!root && home && *home == '/')
        dir = arena_printf(l->scratch, "%s/.local/state/penstock", home).p;
    if (!node_get(l->root, "state_dir"))
        node_put(l, l->root, "state_dir", dir, NULL);
    if (root && !node_get(l->root, "pid_file"))
        node_put(l, l->root, "pid_file", PENSTOCK_RUNDIR "/penstock.pid", NULL);
    if (!node_get(l->root, "listen"))
        node_put(l, l->root, "listen", "127.0.0.1:8080", NULL);
}

static void read_sources(struct load *l, const struct conf_source *src) {
    const char *file = src->file ? src->file : PENSTOCK_SYSCONFDIR "/penstock/penstock.yaml";
    bool found = false;
    if (src->env_file) /* before the file, which may name its variables */
        env_file(l, src->env_file, true);
    else if (src->foreground && access(file, F_OK) < 0 && !src->file_required)
        env_file(l, ".env", false);
    yaml_read_file(l, file_path(l->scratch, NULL, str_of(file)), src->file_required, &found);
    l->c->file = found ? file_path(l->c->arena, NULL, str_of(file)) : "";
}

static struct load *load_new(const struct provider_kinds *kinds, struct conf_errors *errors) {
    struct arena *scratch = arena_new(0), *arena = arena_new(0);
    struct load *l = arena_alloc(scratch, sizeof *l);
    l->scratch = scratch;
    l->kinds = kinds;
    l->errors = errors;
    l->c = arena_alloc(arena, sizeof *l->c);
    l->c->arena = arena;
    l->c->file = "";
    l->env = env_new(l);
    l->root = node_new(l, NODE_MAP);
    return l;
}

/* Scalars may be secrets, or hold one. */
static void load_free(struct load *l) {
    for (struct node *n = l->nodes; n; n = n->all) {
        mem_wipe((char *)(uintptr_t)n->text.p, n->text.n);
        mem_wipe((char *)(uintptr_t)n->raw.p, n->raw.n);
    }
    env_free(l->env);
    arena_free(l->scratch);
}

/* The second half, once the tree stands. */
static struct conf *load_finish(struct load *l) {
    struct conf *c = l->c;
    const struct conf_errors *errors = l->errors;
    /* a file that is not YAML says nothing of its options: what follows from their absence would be noise */
    if (errors->n == 0 || l->root->first) {
        env_provide(l);
        home_defaults(l);
        read_conf(l);
        check_conf(l);
    }
    load_free(l);
    for (size_t i = 0; i < c->nwarnings; i++)
        log_event(LVL_WARN, "config", "%s", c->warnings[i]);
    if (errors->n == 0) {
        index_models(c);
        c->loaded_ms = clock_wall_ms();
        return c;
    }
    conf_free(c);
    return NULL;
}

struct conf *conf_load(const struct conf_source *src, struct conf_errors *errors) {
    *errors = (struct conf_errors){0};
    struct load *l = load_new(src->kinds, errors);
    read_sources(l, src);
    return load_finish(l);
}

struct conf *conf_load_text(const struct provider_kinds *kinds, const char *file, struct str text,
                            struct conf_errors *errors) {
    *errors = (struct conf_errors){0};
    struct load *l = load_new(kinds, errors);
    l->no_files = true;
    yaml_read(l, file, text);
    return load_finish(l);
}

void conf_free(struct conf *c) {
    if (c)
        arena_free(c->arena); /* secrets hang on it with their wipes */
}
