/* POST /api/v1/llm/test: a small real message to each provider, all at once; what it costs is accounted for
 * as any other request of whoever asks. */
#include "s1.h"

#include "body.h"
#include "providers.h"

struct trial;
struct one {
    struct trial *trial;
    const struct plane_provider *pr;
    void *chat; /* NULL: over, or not begun */
    bool over, ok;
    uint64_t ms;
    struct str model, why;
};
struct trial { /* in the exchange's arena: whoever leaves cancels what is open */
    struct surface_call *call;
    struct one *list;
    size_t n, left;
};

/* --- what came of it --- */

static void answer(struct trial *t) {
    struct buf b;
    struct jw w;
    s1_begin(&w, &b);
    jw_obj(&w);
    jw_key(&w, "results");
    jw_arr(&w);
    for (size_t i = 0; i < t->n; i++) {
        const struct one *o = &t->list[i];
        jw_obj(&w);
        jw_kz(&w, "provider", o->pr->conf->name);
        jw_kbool(&w, "ok", o->ok);
        jw_ku64(&w, "latency", o->ms);
        if (o->ok)
            jw_kstr(&w, "model", o->model);
        else
            jw_kstr(&w, "error", o->why);
        jw_obj_end(&w);
    }
    jw_arr_end(&w);
    jw_obj_end(&w);
    t->call->x->on_gone = NULL;
    s1_end(t->call, &w, &b);
}

static void over(struct one *o) {
    struct trial *t = o->trial;
    o->over = true;
    if (--t->left == 0)
        answer(t);
}

static void done(void *arg, const struct fault *fault, struct str model, uint64_t ms) {
    struct one *o = arg;
    struct arena *a = o->trial->call->x->arena;
    o->ok = !fault_is(fault);
    o->ms = ms;
    o->model = arena_dup(a, model);
    o->why = arena_dup(a, fault->message);
    over(o);
}

/* Whoever asked has left: nothing is answered any more. */
static void gone(struct exchange *x) {
    struct surface_call *c = x->owner;
    struct trial *t = c->state;
    t->left++; /* never the last */
    for (size_t i = 0; i < t->n; i++)
        if (!t->list[i].over)
            c->chat_cancel(t->list[i].chat);
}

/* --- asking --- */

static struct str message(struct arena *a, const char *provider) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kz(&w, "provider", provider);
    jw_ku64(&w, "maxTokens", 16);
    jw_key(&w, "routing");
    jw_raw(&w, STR("{\"fallbacks\":[],\"timeout_ms\":30000}"));
    jw_key(&w, "messages");
    jw_raw(&w, STR("[{\"role\":\"user\",\"content\":\"Reply with the word OK.\"}]"));
    jw_obj_end(&w);
    struct str s = arena_dup(a, buf_str(&b));
    buf_free(&b);
    return s;
}

static void ask(struct surface_call *c, struct one *o) {
    if (!o->pr->upstream) {
        o->why = STR("The provider is disabled.");
        over(o);
        return;
    }
    const struct surface_chat q = {
        .route = c->route,
        .name = "s1_test",
        .caller = c->caller,
        .peer = c->x->peer,
        .request_id = c->request_id,
        .body = message(c->x->arena, o->pr->conf->name),
        .done = done,
        .arg = o,
    };
    o->chat = c->chat(c->chat_arg, &q);
}

/* The provider that the body names, or all that are enabled. */
static bool choose(struct surface_call *c, struct str json, struct trial *t) {
    struct plane *p = c->plane;
    struct json_value v;
    bool named = json_member(json, "provider", &v) && v.kind != JSON_NULL;
    if (named && v.kind != JSON_STRING) {
        body_wrong(c, STR("provider"), "expected a string");
        return false;
    }
    const struct plane_provider *one = named ? provider_named(p, json_text(c->x->arena, v)) : NULL;
    if (named && !one) {
        body_wrong(c, STR("provider"), "there is no provider of this name");
        return false;
    }
    t->list = arena_array(c->x->arena, p->nproviders + 1, sizeof *t->list);
    for (size_t i = 0; i < p->nproviders; i++)
        if (named ? &p->providers[i] == one : p->providers[i].upstream != NULL)
            t->list[t->n++] = (struct one){.trial = t, .pr = &p->providers[i]};
    return true;
}

static void run(struct surface_call *c, struct str json) {
    static const char *const names[] = {"provider", NULL};
    struct trial *t = arena_alloc(c->x->arena, sizeof *t);
    t->call = c;
    if (!body_names(c, json, names) || !choose(c, json, t))
        return;
    c->state = t;
    c->x->on_gone = gone;
    t->left = t->n + 1; /* what is over at once does not answer before all are begun */
    for (size_t i = 0; i < t->n; i++)
        ask(c, &t->list[i]);
    if (--t->left == 0)
        answer(t);
}

void surface_s1_test(struct surface_call *c) {
    body_read(c, run);
}
