/* GET /v1/models and /v1/models/{id}: what this key may name, in OpenAI's shape with the window and prices
 * besides; in Anthropic's for a client that says so with its version header. */
#include "models.h"

#include <time.h>

#include "http/server.h"
#include "policy/hints.h"

void models_write_price(struct jw *w, const struct price *p) {
    jw_obj(w);
    const struct {
        const char *name;
        int64_t nano;
    } rows[] = {{"input", p->input}, {"cached_input", p->cached_input}, {"output", p->output}};
    for (size_t i = 0; i < 3; i++) {
        if (rows[i].nano < 0)
            continue;
        jw_key(w, rows[i].name);
        jw_nano(w, rows[i].nano);
    }
    jw_kz(w, "unit", "USD per million tokens");
    jw_obj_end(w);
}

const struct price *models_price(struct plane *p, const struct plane_provider *pr, struct str model) {
    return price_find(p->prices, str_of(pr->conf->kind->price_vendor), model);
}

void models_sizes(struct plane *p, const struct conf_model *m, const struct plane_provider *pr,
                  struct str model, uint64_t *window, uint64_t *most) {
    const struct price *list = models_price(p, pr, model);
    *window = m && m->context_window ? m->context_window : list ? list->context : 0;
    *most = m && m->max_output ? m->max_output : list ? list->max_output : 0;
}

/* RFC 3339 */
static struct str time_text(int64_t wall_ms, char out[32]) {
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&t, &tm);
    return str_make(out, strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm));
}

static void write_size(struct jw *w, const char *key, uint64_t n) {
    if (n)
        jw_ku64(w, key, n);
    else
        jw_knull(w, key);
}

static void write_anthropic(struct plane *p, struct jw *w, struct str id, const struct conf_model *m,
                            const struct plane_provider *pr, struct str model) {
    char at[32];
    uint64_t window, most;
    models_sizes(p, m, pr, model, &window, &most);
    jw_obj(w);
    jw_kz(w, "type", "model");
    jw_kstr(w, "id", id);
    jw_kstr(w, "display_name", m && m->display_name && *m->display_name ? str_of(m->display_name) : id);
    jw_kstr(w, "created_at", time_text(p->conf->loaded_ms, at));
    write_size(w, "max_input_tokens", window);
    write_size(w, "max_tokens", most);
    jw_obj_end(w);
}

static void write_model(struct plane *p, struct jw *w, struct str id, const struct conf_model *m,
                        const struct plane_provider *pr, struct str model) {
    struct price price;
    uint64_t window, most;
    models_sizes(p, m, pr, model, &window, &most);
    jw_obj(w);
    jw_kstr(w, "id", id);
    jw_kz(w, "object", "model");
    jw_kint(w, "created", p->conf->loaded_ms / 1000);
    jw_kz(w, "owned_by", pr->conf->name);
    if (m && m->display_name && *m->display_name)
        jw_kz(w, "display_name", m->display_name);
    if (window)
        jw_ku64(w, "context_window", window);
    if (most)
        jw_ku64(w, "max_output_tokens", most);
    if (price_merge(models_price(p, pr, model), m ? &m->prices : NULL, &price)) {
        jw_key(w, "pricing");
        models_write_price(w, &price);
    }
    jw_obj_end(w);
}

struct str models_default(const struct plane_provider *pr) {
    return str_of(*pr->conf->default_model ? pr->conf->default_model : pr->conf->kind->default_model);
}

/* What is meant where no model is named, unless it is in the list anyway. false: it is enough. */
static bool each_default(struct plane *p, const struct caller *c, model_fn *fn, void *arg) {
    struct str id = str_of(p->conf->routing.default_model);
    struct arena *a = arena_new(0);
    struct plan plan;
    struct fault f;
    bool more = true;
    if (id.n && !plane_model(p, id) && auth_model(c, id) && route_resolve(p, a, id, NULL, &plan, &f)) {
        const struct target *t = plan.list[0];
        if (p->nmodels || !str_eq(t->model, models_default(t->provider)))
            more = fn(arg, id, NULL, t->provider, t->model);
    }
    arena_free(a);
    return more;
}

void models_each(struct plane *p, const struct caller *c, model_fn *fn, void *arg) {
    if (!each_default(p, c, fn, arg))
        return;
    for (size_t i = 0; i < p->nmodels; i++) {
        const struct plane_model *m = &p->models[i];
        if (m->ntargets && auth_model(c, str_of(m->conf->name)) &&
            !fn(arg, str_of(m->conf->name), m->conf, m->targets[0].provider, m->targets[0].model))
            return;
    }
    for (size_t i = 0; p->nmodels == 0 && i < p->nproviders; i++) {
        const struct plane_provider *pr = &p->providers[i];
        struct str d = models_default(pr);
        if (pr->upstream && d.n && auth_model(c, d) && !fn(arg, d, NULL, pr, d))
            return;
    }
}

bool models_loose(struct plane *p, struct arena *a, const struct caller *c, struct str id,
                  struct plan *plan) {
    static const struct hints known = {.known_model = true, .max_cost_nano = -1};
    struct fault f;
    return auth_model(c, id) && route_resolve(p, a, id, &known, plan, &f);
}

struct writing {
    struct plane *p;
    struct jw w;
    struct str only; /* p NULL: all */
    bool anthropic, found;
    struct str first, last;
};

static void write_one(struct writing *s, struct str id, const struct conf_model *m,
                      const struct plane_provider *pr, struct str model) {
    if (s->anthropic)
        write_anthropic(s->p, &s->w, id, m, pr, model);
    else
        write_model(s->p, &s->w, id, m, pr, model);
    if (!s->found)
        s->first = id;
    s->last = id;
    s->found = true;
}

static bool wants_anthropic(const struct surface_call *c) {
    return exchange_header(c->x, "anthropic-version").p != NULL;
}

static void write_id(struct jw *w, const char *key, struct str id) {
    if (id.p)
        jw_kstr(w, key, id);
    else
        jw_knull(w, key);
}

static bool write_each(void *arg, struct str id, const struct conf_model *m, const struct plane_provider *pr,
                       struct str model) {
    struct writing *s = arg;
    if (s->only.p && !str_eq(s->only, id))
        return true;
    write_one(s, id, m, pr, model);
    return !s->only.p;
}

void surface_models(struct surface_call *c) {
    struct buf b;
    struct writing s = {.p = c->plane, .anthropic = wants_anthropic(c)};
    buf_init(&b, 0);
    jw_init(&s.w, &b);
    jw_obj(&s.w);
    if (!s.anthropic)
        jw_kz(&s.w, "object", "list");
    jw_key(&s.w, "data");
    jw_arr(&s.w);
    models_each(c->plane, &c->caller, write_each, &s);
    jw_arr_end(&s.w);
    if (s.anthropic) {
        jw_kbool(&s.w, "has_more", false);
        write_id(&s.w, "first_id", s.first);
        write_id(&s.w, "last_id", s.last);
    }
    jw_obj_end(&s.w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

static bool write_loose(struct surface_call *c, struct writing *s) {
    struct plan plan;
    if (!models_loose(c->plane, c->x->arena, &c->caller, s->only, &plan))
        return false;
    write_one(s, s->only, NULL, plan.list[0]->provider, plan.list[0]->model);
    return true;
}

void surface_model(struct surface_call *c) {
    struct buf b;
    struct fault f;
    struct writing s = {
        .p = c->plane, .only = http_unescape(c->x->arena, c->rest), .anthropic = wants_anthropic(c)};
    buf_init(&b, 0);
    jw_init(&s.w, &b);
    if (s.only.p)
        models_each(c->plane, &c->caller, write_each, &s);
    if (s.found || (s.only.n && write_loose(c, &s))) {
        surface_json(c, 200, buf_str(&b));
    } else {
        fault_set(&f, c->x->arena, FAULT_MODEL_NOT_FOUND,
                  "The model does not exist or you do not have access to it.");
        f.param = STR("model");
        surface_fault_as(c, s.anthropic ? &dialect_anthropic : c->route->dialect, &f);
    }
    buf_free(&b);
}
