/* GET /api/status: of each provider that S4's programs name, and of the others there are, whether it can be
 * asked, and if not, why, in a sentence. */
#include "providers.h"
#include "surface/surface.h"

static const char *const known[] = {"openai", "gemini", "mistral", "claude"};
enum { KNOWN = sizeof known / sizeof *known };

static const struct conf_provider *configured(struct plane *p, const char *name) {
    return conf_provider(p->conf, str_of(name));
}

static const char *reason(const struct provider_view *v) {
    static const struct {
        const char *status, *why;
    } rows[] = {
        {"healthy", "It answers."},
        {"degraded", "It answers, but many requests fail: another provider may be the better choice."},
        {"drained", "An administrator has taken it out; it comes back when it is enabled."},
        {"disabled", "It is switched off in the configuration."},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(v->status, rows[i].status) == 0)
            return rows[i].why;
    return "Its last requests failed, or it refused the gateway's key: try another provider, or again in a "
           "moment.";
}

static void write_row(struct jw *w, const char *name, const struct plane_provider *pr,
                      const struct provider_view *v) {
    const char *model = *pr->conf->default_model ? pr->conf->default_model : pr->conf->kind->default_model;
    jw_obj(w);
    jw_kz(w, "name", name);
    jw_kz(w, "provider", pr->conf->name);
    jw_kbool(w, "available", v->serves);
    jw_kz(w, "status", v->status);
    jw_kz(w, "reason", reason(v));
    jw_kz(w, "model", model && *model ? model : NULL);
    jw_obj_end(w);
}

static void write_missing(struct jw *w, const char *name) {
    jw_obj(w);
    jw_kz(w, "name", name);
    jw_knull(w, "provider");
    jw_kbool(w, "available", false);
    jw_kz(w, "status", "not_configured");
    jw_kz(w, "reason", "The gateway has no key for it: whoever runs the gateway can give it one.");
    jw_knull(w, "model");
    jw_obj_end(w);
}

static bool is_known(struct plane *p, const struct plane_provider *pr) {
    for (size_t i = 0; i < KNOWN; i++)
        if (configured(p, known[i]) == pr->conf)
            return true;
    return false;
}

void surface_s4_status(struct surface_call *c) {
    struct plane *p = c->plane;
    struct provider_view v;
    size_t up = 0, down = 0;
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_key(&w, "providers");
    jw_arr(&w);
    for (size_t i = 0; i < KNOWN; i++) {
        const struct conf_provider *conf = configured(p, known[i]);
        if (!conf) {
            write_missing(&w, known[i]);
            continue;
        }
        const struct plane_provider *pr = &p->providers[conf - p->conf->providers];
        provider_look(p, pr, &v);
        write_row(&w, known[i], pr, &v);
    }
    for (size_t i = 0; i < p->nproviders; i++) {
        const struct plane_provider *pr = &p->providers[i];
        provider_look(p, pr, &v);
        *(v.serves ? &up : &down) += pr->upstream != NULL;
        if (!is_known(p, pr))
            write_row(&w, pr->conf->name, pr, &v);
    }
    jw_arr_end(&w);
    jw_kz(&w, "status", up == 0 ? "unhealthy" : down ? "degraded" : "healthy");
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}
