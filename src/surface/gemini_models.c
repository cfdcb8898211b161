/* GET /v1beta/models and /v1beta/models/{id}: what this key may name, in Gemini's shape. */
#include "http/server.h"
#include "models.h"

struct writing {
    struct plane *p;
    struct jw w;
    struct str only; /* p NULL: all */
    bool found;
};

static void write_model(struct plane *p, struct jw *w, struct str id, const struct conf_model *m,
                        const struct plane_provider *pr, struct str model) {
    const struct price *list = models_price(p, pr, model);
    uint64_t window = m && m->context_window ? m->context_window : list ? list->context : 0;
    uint64_t most = m && m->max_output ? m->max_output : list ? list->max_output : 0;
    static const char *const methods[] = {"generateContent", "streamGenerateContent", "countTokens"};
    struct buf name;
    buf_init(&name, 0);
    BUF_ADD(&name, "models/");
    buf_adds(&name, id);
    jw_obj(w);
    jw_kstr(w, "name", buf_str(&name));
    jw_kstr(w, "baseModelId", id);
    jw_kz(w, "version", "1");
    jw_kstr(w, "displayName", m && m->display_name && *m->display_name ? str_of(m->display_name) : id);
    if (window)
        jw_ku64(w, "inputTokenLimit", window);
    if (most)
        jw_ku64(w, "outputTokenLimit", most);
    jw_key(w, "supportedGenerationMethods");
    jw_arr(w);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        jw_z(w, methods[i]);
    jw_arr_end(w);
    jw_obj_end(w);
    buf_free(&name);
}

static bool write_each(void *arg, struct str id, const struct conf_model *m, const struct plane_provider *pr,
                       struct str model) {
    struct writing *s = arg;
    if (s->only.p && !str_eq(s->only, id))
        return true;
    s->found = true;
    write_model(s->p, &s->w, id, m, pr, model);
    return !s->only.p;
}

void surface_gemini_models(struct surface_call *c) {
    struct buf b;
    struct writing s = {.p = c->plane};
    buf_init(&b, 0);
    jw_init(&s.w, &b);
    jw_obj(&s.w);
    jw_key(&s.w, "models");
    jw_arr(&s.w);
    models_each(c->plane, &c->caller, write_each, &s);
    jw_arr_end(&s.w);
    jw_obj_end(&s.w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

static bool write_loose(struct surface_call *c, struct writing *s) {
    struct plan plan;
    if (!models_loose(c->plane, c->x->arena, &c->caller, s->only, &plan))
        return false;
    write_model(c->plane, &s->w, s->only, NULL, plan.list[0]->provider, plan.list[0]->model);
    return true;
}

void surface_gemini_model(struct surface_call *c) {
    struct buf b;
    struct fault f;
    struct writing s = {.p = c->plane, .only = http_unescape(c->x->arena, c->rest)};
    buf_init(&b, 0);
    jw_init(&s.w, &b);
    if (s.only.p)
        models_each(c->plane, &c->caller, write_each, &s);
    if (s.found || (s.only.n && write_loose(c, &s))) {
        surface_json(c, 200, buf_str(&b));
    } else {
        fault_set(&f, c->x->arena, FAULT_MODEL_NOT_FOUND,
                  "The model does not exist or you do not have access to it.");
        surface_fault(c, &f);
    }
    buf_free(&b);
}
