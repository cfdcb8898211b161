/* GET /api/v1/models, /models/{id}, /models/provider/{name}: what this key may name, in S3's shape. */
#include "http/server.h"
#include "models.h"

struct writing {
    struct plane *p;
    struct arena *a;
    struct jw w;
    struct str only; /* p NULL: all */
    bool found;
};

/* What a model is for: as the configuration says, else by its name. */
static void write_capabilities(struct jw *w, const struct conf_model *m, struct str model) {
    bool embeds = str_find(model, STR("embed")) >= 0;
    jw_key(w, "capabilities");
    jw_arr(w);
    for (size_t i = 0; m && i < m->ncapabilities; i++)
        jw_z(w, m->capabilities[i]);
    if (!m || m->ncapabilities == 0) {
        jw_z(w, embeds ? "embedding" : "completion");
        if (!embeds)
            jw_z(w, "streaming");
    }
    jw_arr_end(w);
}

static void write_model(struct plane *p, struct jw *w, struct str id, const struct conf_model *m,
                        const struct plane_provider *pr, struct str model) {
    uint64_t window, most;
    models_sizes(p, m, pr, model, &window, &most);
    jw_obj(w);
    jw_kstr(w, "id", id);
    jw_kstr(w, "displayName", m && *m->display_name ? str_of(m->display_name) : m ? id : model);
    jw_kz(w, "provider", pr->conf->name);
    jw_kstr(w, "providerModelId", model);
    if (window)
        jw_ku64(w, "contextWindow", window);
    else
        jw_knull(w, "contextWindow");
    write_capabilities(w, m, model);
    jw_obj_end(w);
}

/* What no model of the configuration names is called provider.model here. */
static struct str own_id(struct arena *a, const struct conf_model *m, const struct plane_provider *pr,
                         struct str id, struct str model) {
    return m ? id : arena_printf(a, "%s." STR_FMT, pr->conf->name, STR_ARG(model));
}

static bool write_each(void *arg, struct str id, const struct conf_model *m, const struct plane_provider *pr,
                       struct str model) {
    struct writing *s = arg;
    id = own_id(s->a, m, pr, id, model);
    if (s->only.p && !str_eq(s->only, id))
        return true;
    s->found = true;
    write_model(s->p, &s->w, id, m, pr, model);
    return !s->only.p;
}

static void begin_list(struct writing *s, struct buf *b) {
    buf_init(b, 0);
    jw_init(&s->w, b);
    jw_obj(&s->w);
    jw_key(&s->w, "models");
    jw_arr(&s->w);
}

static void end_list(struct surface_call *c, struct writing *s, struct buf *b) {
    jw_arr_end(&s->w);
    jw_obj_end(&s->w);
    surface_json(c, 200, buf_str(b));
    buf_free(b);
}

void surface_s3_models(struct surface_call *c) {
    struct buf b;
    struct writing s = {.p = c->plane, .a = c->x->arena};
    begin_list(&s, &b);
    models_each(c->plane, &c->caller, write_each, &s);
    end_list(c, &s, &b);
}

static void no_such(struct surface_call *c, const char *what, struct str name) {
    struct fault f;
    fault_set(&f, c->x->arena, FAULT_MODEL_NOT_FOUND,
              "The %s `%.*s` does not exist or you do not have access to it.", what,
              name.n > 128 ? 128 : (int)name.n, name.p);
    f.param = str_of(what);
    surface_fault(c, &f);
}

static bool write_loose(struct surface_call *c, struct writing *s) {
    struct plan plan;
    if (!models_loose(c->plane, s->a, &c->caller, s->only, &plan))
        return false;
    const struct target *t = plan.list[0];
    write_model(c->plane, &s->w, s->only, t->conf, t->provider, t->model);
    return true;
}

void surface_s3_model(struct surface_call *c) {
    struct buf b;
    struct writing s = {.p = c->plane, .a = c->x->arena, .only = http_unescape(c->x->arena, c->rest)};
    buf_init(&b, 0);
    jw_init(&s.w, &b);
    if (s.only.n)
        models_each(c->plane, &c->caller, write_each, &s);
    if (s.found || (s.only.n && write_loose(c, &s)))
        surface_json(c, 200, buf_str(&b));
    else
        no_such(c, "model", s.only);
    buf_free(&b);
}

/* A configured model is of each provider that it has a target at. Of one without any it is the default that
 * answers where it is named. */
static void write_of(struct surface_call *c, struct writing *s, const struct plane_provider *pr) {
    for (size_t i = 0; i < s->p->nmodels; i++) {
        const struct plane_model *m = &s->p->models[i];
        size_t k = 0;
        while (k < m->ntargets && m->targets[k].provider != pr)
            k++;
        if (k < m->ntargets && auth_model(&c->caller, str_of(m->conf->name)))
            write_each(s, str_of(m->conf->name), m->conf, pr, m->targets[k].model);
    }
    struct str d = models_default(pr);
    if (!s->found && pr->upstream && d.n && auth_model(&c->caller, d))
        write_each(s, d, NULL, pr, d);
}

struct of_one {
    struct writing *s;
    const struct plane_provider *pr;
};

static bool write_default(void *arg, struct str id, const struct conf_model *m,
                          const struct plane_provider *pr, struct str model) {
    struct of_one *o = arg;
    if (pr == o->pr)
        write_each(o->s, id, m, pr, model);
    return true;
}

void surface_s3_provider_models(struct surface_call *c) {
    struct buf b;
    struct writing s = {.p = c->plane, .a = c->x->arena};
    struct str name = http_unescape(c->x->arena, c->rest);
    const struct plane_provider *pr = name.n ? plane_provider(c->plane, name) : NULL;
    if (!pr) {
        no_such(c, "provider", name);
        return;
    }
    struct of_one one = {&s, pr};
    begin_list(&s, &b);
    if (c->plane->nmodels)
        write_of(c, &s, pr);
    else
        models_each(c->plane, &c->caller, write_default, &one);
    end_list(c, &s, &b);
}
