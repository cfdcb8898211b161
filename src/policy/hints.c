/* A row for each member. */
#include "policy/hints.h"

#include "base/json.h"

struct reader {
    struct arena *a;
    struct hints *h;
    const char *wrong; /* what would have been right */
};

static bool strategy(struct reader *r, struct json_value v) {
    r->wrong = "one of fallback, health, cost, latency, round-robin, weighted, least-busy";
    if (v.kind != JSON_STRING)
        return false;
    r->h->strategy_said = true;
    return conf_strategy_of(json_text(r->a, v), &r->h->strategy);
}

struct listing {
    struct reader *r;
    struct hint_list *list;
    size_t text_max;
    bool ok;
};

static bool each_text(void *arg, struct str key, struct json_value v) {
    struct listing *l = arg;
    (void)key;
    l->ok = v.kind == JSON_STRING && l->list->n < HINTS_MAX;
    if (!l->ok)
        return false;
    struct str text = json_text(l->r->a, v);
    l->ok = text.n > 0 && text.n <= l->text_max;
    if (l->ok)
        l->list->at[l->list->n++] = text;
    return l->ok;
}

static bool texts(struct reader *r, struct json_value v, struct hint_list *list, size_t text_max) {
    struct listing l = {r, list, text_max, true};
    list->n = 0;
    if (v.kind == JSON_STRING)
        each_text(&l, STR_NONE, v);
    else if (v.kind == JSON_ARRAY)
        json_each(v.raw, each_text, &l);
    else
        l.ok = false;
    return l.ok;
}

static bool preferred(struct reader *r, struct json_value v) {
    r->wrong = "a list of at most 16 names of providers";
    return texts(r, v, &r->h->preferred, HINT_TEXT_MAX);
}

static bool excluded(struct reader *r, struct json_value v) {
    r->wrong = "a list of at most 16 names of providers";
    return texts(r, v, &r->h->excluded, HINT_TEXT_MAX);
}

static bool fallbacks(struct reader *r, struct json_value v) {
    r->wrong = "a list of at most 16 names of models";
    r->h->fallbacks_said = true;
    return texts(r, v, &r->h->fallbacks, HINT_TEXT_MAX);
}

static bool tags(struct reader *r, struct json_value v) {
    r->wrong = "a list of at most 16 texts of at most 64 bytes";
    return texts(r, v, &r->h->tags, HINT_TAG_MAX);
}

static bool task(struct reader *r, struct json_value v) {
    r->wrong = "the name of a task";
    if (v.kind != JSON_STRING)
        return false;
    r->h->task = json_text(r->a, v);
    return r->h->task.n > 0 && r->h->task.n <= HINT_TEXT_MAX;
}

/* At most 10^9 dollars. */
static int64_t nano_of(double usd) {
    const double nano = 1e9;
    return (int64_t)(usd * nano + 0.5);
}

static bool max_cost(struct reader *r, struct json_value v) {
    const double most = 1e9;
    double usd;
    r->wrong = "dollars, 0 or more";
    if (v.kind != JSON_NUMBER || !json_double(v, &usd) || usd < 0 || usd > most)
        return false;
    r->h->max_cost_nano = nano_of(usd);
    return true;
}

static bool timeout(struct reader *r, struct json_value v) {
    const uint64_t most = 24ULL * 3600 * 1000;
    r->wrong = "a number of milliseconds, 1 to a day";
    return v.kind == JSON_NUMBER && json_u64(v, &r->h->timeout_ms) && r->h->timeout_ms >= 1 &&
           r->h->timeout_ms <= most;
}

static bool each_of_cache(void *arg, struct str key, struct json_value v) {
    static const char *const modes[] = {"", "off", "exact", "semantic"};
    struct listing *l = arg;
    struct hints *h = l->r->h;
    uint64_t s;
    l->ok = false;
    if (json_key_is(key, "mode")) {
        for (unsigned i = 1; i < sizeof modes / sizeof *modes; i++)
            if (json_string_is(v, modes[i])) {
                h->cache.mode = (enum cache_mode)i;
                l->ok = true;
            }
    } else if (json_key_is(key, "ttl")) {
        l->ok = json_u64(v, &s) && s >= 1 && s <= UINT64_C(3650) * 86400;
        h->cache.ttl_ms = l->ok ? s * 1000 : 0;
    } else if (json_key_is(key, "similarity")) {
        l->ok = json_double(v, &h->cache.similarity) && h->cache.similarity > 0 && h->cache.similarity <= 1;
    }
    return l->ok;
}

static bool cache(struct reader *r, struct json_value v) {
    struct listing l = {r, NULL, 0, true};
    r->wrong =
        "an object with mode (off, exact or semantic), ttl (seconds) and similarity (above 0, up to 1)";
    if (v.kind != JSON_OBJECT)
        return false;
    json_each(v.raw, each_of_cache, &l);
    return l.ok;
}

static const struct {
    const char *name;
    bool (*read)(struct reader *r, struct json_value v);
} rows[] = {
    {"strategy", strategy},
    {"preferred_providers", preferred},
    {"exclude_providers", excluded},
    {"fallbacks", fallbacks},
    {"tags", tags},
    {"task", task},
    {"max_cost_usd", max_cost},
    {"timeout_ms", timeout},
    {"cache", cache},
};

struct member {
    struct reader r;
    struct fault *f;
    bool ok;
};

static bool each_member(void *arg, struct str key, struct json_value v) {
    struct member *m = arg;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!json_key_is(key, rows[i].name))
            continue;
        if (v.kind == JSON_NULL || rows[i].read(&m->r, v))
            return true;
        fault_set(m->f, m->r.a, FAULT_BAD_REQUEST, "routing.%s: expected %s.", rows[i].name, m->r.wrong);
        m->f->param = arena_printf(m->r.a, "routing.%s", rows[i].name);
        return m->ok = false;
    }
    struct str name = str_make(key.p, key.n < HINT_TAG_MAX ? key.n : HINT_TAG_MAX);
    fault_set(m->f, m->r.a, FAULT_BAD_REQUEST, "routing: there is no hint `" STR_FMT "`.", STR_ARG(name));
    m->f->param = STR("routing");
    return m->ok = false;
}

bool hints_read(struct arena *a, struct str routing, struct hints *out, struct fault *f) {
    struct member m = {{a, out, ""}, f, true};
    *out = HINTS_NONE;
    if (routing.n)
        json_each(routing, each_member, &m);
    return m.ok;
}

bool hints_header(struct arena *a, struct str header, struct ask *ask, struct fault *f) {
    enum json_kind kind;
    if (!header.p)
        return true;
    if (json_scan(header, &kind, NULL, NULL, NULL) != 0 || kind != JSON_OBJECT) {
        fault_set(f, a, FAULT_BAD_REQUEST, "The header x-penstock-routing must hold a JSON object.");
        f->param = STR("x-penstock-routing");
        return false;
    }
    ask->routing = header;
    return true;
}

/* It is preferred to those that were preferred. */
static void name_provider(struct hints *h, struct str provider) {
    struct hint_list *l = &h->preferred;
    h->provider = provider;
    l->n += l->n < HINTS_MAX;
    memmove(&l->at[1], &l->at[0], (l->n - 1) * sizeof l->at[0]);
    l->at[0] = provider;
}

bool hints_of(struct arena *a, const struct ask *ask, struct hints *out, struct fault *f) {
    if (!hints_read(a, ask->routing, out, f))
        return false;
    if (ask->provider.n)
        name_provider(out, ask->provider);
    out->known_model = ask->known_model;
    if (ask->task.n)
        out->task = ask->task;
    int64_t most = ask->max_cost_said ? nano_of(ask->max_cost_usd) : -1;
    if (most >= 0 && (out->max_cost_nano < 0 || most < out->max_cost_nano))
        out->max_cost_nano = most;
    return true;
}
