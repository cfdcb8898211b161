/* Checks across options: names that must exist, names that must differ, circles, and an open door. */
#include "base/die.h"
#include "base/pattern.h"
#include "schema.h"

/* ---- names ---- */

static const char *provider_hint(const struct conf *c, struct str name, char hint[96]) {
    struct nearest n;
    nearest_init(&n, name);
    for (size_t i = 0; i < c->nproviders; i++)
        nearest_offer(&n, str_of(c->providers[i].name));
    return nearest_hint(&n, hint);
}

static ptrdiff_t find_model(const struct conf *c, struct str name) {
    for (size_t i = 0; i < c->nmodels; i++)
        if (str_is(name, c->models[i].name))
            return (ptrdiff_t)i;
    return -1;
}

/* The length of the configured provider's name (or alias) in front of "provider/model" or "provider.model",
 * or 0. */
static size_t provider_prefix(const struct conf *c, struct str id) {
    for (size_t i = 1; i + 1 < id.n; i++)
        if ((id.p[i] == '/' || id.p[i] == '.') && conf_provider(c, str_make(id.p, i)))
            return i;
    return 0;
}

/* ---- providers ---- */

static void check_key_of(struct load *l, const struct conf_provider *p, const struct at *at) {
    const struct provider_kind *k = p->kind;
    bool unset = p->nkeys == 0;
    if (!k || !p->enabled)
        return;
    if (k->needs_key && unset) {
        const char *names = k->env_keys ? k->env_keys : "";
        load_error(l, at, "a provider of kind %s needs a key: give keys%s%s", k->name,
                   *names ? ", or set one of " : "", names);
    }
    const struct node *url = node_get(at->node, "base_url"); /* one that was wrong has been said to be */
    if (!*p->base_url && (!url || url->text.n == 0) && !k->builtin && !(k->base_url && *k->base_url))
        load_error(l, at, "a provider of kind %s needs a base_url", k->name);
}

static void check_providers(struct load *l, const struct at *list) {
    const struct conf *c = l->c;
    bool any = false;
    for (size_t i = 0; i < c->nproviders; i++) {
        struct at at = at_item(list, i), name = at_child(&at, "name");
        const struct conf_provider *p = &c->providers[i], *same = conf_provider(c, str_of(p->name));
        if (same && same != p)
            load_error(l, name.node ? &name : &at, "the name %s is taken by providers[%zu]", p->name,
                       (size_t)(same - c->providers));
        check_key_of(l, p, &at);
        if (p->nkeys > CONF_MAX_KEYS)
            load_error(l, &at, "a provider has at most %d keys; here are %zu", CONF_MAX_KEYS, p->nkeys);
        any = any || p->enabled;
    }
    if (c->nproviders && !any)
        load_warn(l, list, "no provider is enabled");
}

/* ---- models ---- */

static void check_target(struct load *l, struct conf_target *t, const struct at *at) {
    const struct conf_provider *p = conf_provider(l->c, str_of(t->provider));
    struct at name = at_child(at, "provider");
    char hint[96];
    if (p) {
        t->provider = p->name;
        t->provider_index = (size_t)(p - l->c->providers);
    } else if (*t->provider) {
        load_error(l, &name, "there is no provider %s%s", t->provider,
                   provider_hint(l->c, str_of(t->provider), hint));
    }
}

/* A pattern among their names counts, too: "gpt-*". */
static bool matches_model(const struct conf *c, struct str id) {
    for (size_t i = 0; i < c->nmodels; i++)
        if (strchr(c->models[i].name, '*') && str_glob(str_of(c->models[i].name), id))
            return true;
    return false;
}

static bool inferred(const struct conf *c, struct str id) {
    for (size_t i = 0; c->routing.infer_provider && i < c->nproviders; i++)
        if (c->providers[i].kind && kind_infers(c->providers[i].kind, id))
            return true;
    return false;
}

static bool known_model(const struct conf *c, struct str id) {
    return find_model(c, id) >= 0 || matches_model(c, id) || provider_prefix(c, id) > 0 ||
           conf_provider(c, id) || inferred(c, id);
}

static void check_model_name(struct load *l, const struct at *at, struct str id) {
    struct nearest n;
    char hint[96];
    if (id.n == 0 || known_model(l->c, id))
        return;
    nearest_init(&n, id);
    for (size_t i = 0; i < l->c->nmodels; i++)
        nearest_offer(&n, str_of(l->c->models[i].name));
    load_error(l, at, "there is no model %.100s, nor a provider of that name before a / or .%s", id.p,
               nearest_hint(&n, hint));
}

static void check_fallbacks(struct load *l, const struct at *at, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct at here = at->node && at->node->kind == NODE_LIST ? at_item(at, i) : *at;
        check_model_name(l, &here, str_of(list[i]));
    }
}

static void check_models(struct load *l, const struct at *list) {
    struct conf *c = l->c;
    for (size_t i = 0; i < c->nmodels; i++) {
        struct conf_model *m = &c->models[i];
        struct at at = at_item(list, i), targets = at_child(&at, "targets"),
                  fall = at_child(&at, "fallbacks");
        struct at name = at_child(&at, "name");
        ptrdiff_t first = find_model(c, str_of(m->name));
        if (*m->name && (size_t)first != i)
            load_error(l, name.node ? &name : &at, "the name %s is taken by models[%td]", m->name, first);
        if (!node_get(at.node, "strategy"))
            m->strategy = c->routing.default_strategy;
        for (size_t t = 0; t < m->ntargets; t++) {
            struct at target =
                targets.node && targets.node->kind == NODE_LIST ? at_item(&targets, t) : targets;
            check_target(l, &m->targets[t], &target);
        }
        check_fallbacks(l, &fall, m->fallbacks, m->nfallbacks);
    }
}

static void check_rules(struct load *l, const struct at *list) {
    for (size_t i = 0; i < l->c->nfallback_rules; i++) {
        const struct conf_fallback_rule *r = &l->c->fallback_rules[i];
        struct at at = at_item(list, i), model = at_child(&at, "model"),
                  to = at_child(&at, "fallback_models");
        if (!to.node)
            to = at_child(&at, "fallbacks");
        check_model_name(l, &model, str_of(r->model));
        check_fallbacks(l, &to, r->fallbacks, r->nfallbacks);
    }
}

/* ---- circles of fallbacks ---- */

/* Model ids as numbers: models first, then each other id that some fallback names. Edges come from models and
 * from rules. A walk in depth with an explicit stack; an edge back into the stack is a circle. */
struct graph {
    struct load *l;
    const char **name;
    unsigned char *state; /* 0 new, 1 on the stack, 2 done */
    size_t n, max;
};

/* "openai.gpt-4" and "OpenAI/gpt-4" are one. */
static const char *canonical(struct load *l, const char *id) {
    struct str s = str_of(id);
    size_t prefix = find_model(l->c, s) >= 0 ? 0 : provider_prefix(l->c, s);
    if (!prefix)
        return id;
    const struct conf_provider *p = conf_provider(l->c, str_make(s.p, prefix));
    return arena_printf(l->scratch, "%s/%s", p->name, id + prefix + 1).p;
}

static size_t graph_node(struct graph *g, const char *id) {
    const char *name = canonical(g->l, id);
    for (size_t i = 0; i < g->n; i++)
        if (strcmp(g->name[i], name) == 0)
            return i;
    MUST(g->n < g->max);
    g->name[g->n] = name;
    return g->n++;
}

/* The stack from `again` on, and back to it. */
static void report_circle(struct graph *g, const size_t *stack, size_t depth, size_t again) {
    struct load *l = g->l;
    struct buf path;
    size_t i = depth;
    while (stack[i] != again)
        i--;
    buf_init(&path, 0);
    for (; i <= depth; i++)
        buf_printf(&path, "%s -> ", g->name[stack[i]]);
    ptrdiff_t model = find_model(l->c, str_of(g->name[again]));
    struct at root = {NULL, NULL, 0, l->root},
              list = at_child(&root, model < 0 ? "fallback_rules" : "models");
    struct at item = at_item(&list, model < 0 ? 0 : (size_t)model), fall = at_child(&item, "fallbacks");
    load_error(l,
               model < 0   ? &list
               : fall.node ? &fall
                           : &item,
               "fallbacks go in a circle: " STR_FMT "%s", STR_ARG(buf_str(&path)), g->name[again]);
    buf_free(&path);
}

static void graph_walk(struct graph *g, const size_t *from, const size_t *to, size_t edges, size_t start,
                       size_t *stack, size_t *next) {
    size_t depth = 0;
    stack[0] = start;
    next[0] = 0;
    g->state[start] = 1;
    for (;;) {
        size_t here = stack[depth], e = next[depth];
        while (e < edges && from[e] != here)
            e++;
        next[depth] = e + 1;
        if (e == edges) {
            g->state[here] = 2;
            if (depth == 0)
                return;
            depth--;
        } else if (g->state[to[e]] == 0) {
            stack[++depth] = to[e];
            next[depth] = 0;
            g->state[to[e]] = 1;
        } else if (g->state[to[e]] == 1) {
            report_circle(g, stack, depth, to[e]);
        }
    }
}

static size_t count_edges(const struct conf *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->nmodels; i++)
        n += c->models[i].nfallbacks;
    for (size_t i = 0; i < c->nfallback_rules; i++)
        n += c->fallback_rules[i].nfallbacks;
    return n;
}

static void check_circles(struct load *l) {
    const struct conf *c = l->c;
    size_t edges = count_edges(c), e = 0, max = edges + c->nmodels + c->nfallback_rules + 1;
    enum { EDGES_MAX = 10000 }; /* the search is quadratic */
    if (edges > EDGES_MAX) {
        load_error(l, NULL, "more than %d fallbacks in all", EDGES_MAX);
        return;
    }
    struct graph g = {l, arena_array(l->scratch, max, sizeof *g.name), arena_alloc(l->scratch, max), 0, max};
    size_t *from = arena_array(l->scratch, edges + 1, sizeof *from),
           *to = arena_array(l->scratch, edges + 1, sizeof *to);
    size_t *stack = arena_array(l->scratch, max, sizeof *stack),
           *next = arena_array(l->scratch, max, sizeof *next);
    for (size_t i = 0; i < c->nmodels; i++)
        for (size_t j = 0; j < c->models[i].nfallbacks; j++, e++) {
            from[e] = graph_node(&g, c->models[i].name);
            to[e] = graph_node(&g, c->models[i].fallbacks[j]);
        }
    for (size_t i = 0; i < c->nfallback_rules; i++)
        for (size_t j = 0; j < c->fallback_rules[i].nfallbacks; j++, e++) {
            from[e] = graph_node(&g, c->fallback_rules[i].model);
            to[e] = graph_node(&g, c->fallback_rules[i].fallbacks[j]);
        }
    for (size_t i = 0; i < g.n; i++)
        if (g.state[i] == 0)
            graph_walk(&g, from, to, edges, i, stack, next);
}

/* ---- routing, keys, listeners ---- */

/* By its name, or the name or alias of its kind: LLM_PROVIDER=claude. */
static const struct conf_provider *provider_or_kind(const struct load *l, struct str name) {
    const struct conf_provider *p = conf_provider(l->c, name);
    const struct provider_kind *k = p ? NULL : kind_find(l->kinds, name);
    for (size_t i = 0; k && !p && i < l->c->nproviders; i++)
        if (l->c->providers[i].kind == k)
            p = &l->c->providers[i];
    return p;
}

static void check_routing(struct load *l, const struct at *root) {
    struct conf *c = l->c;
    struct at at = at_child(root, "routing.default_provider");
    struct str name = str_of(c->routing.default_provider);
    char hint[96];
    c->routing.default_provider_said = name.n > 0;
    if (!name.n)
        return;
    const struct conf_provider *p = provider_or_kind(l, name);
    const struct provider_kind *k = kind_find(l->kinds, name);
    if (p)
        c->routing.default_provider = p->name;
    else if (k && at.node && at.node->env && k->env_keys && *k->env_keys)
        load_error(l, &at, "there is no provider %s: its key is not set (%s)", name.p, k->env_keys);
    else
        load_error(l, &at, "there is no provider %s%s", name.p, provider_hint(c, name, hint));
}

/* What has no other meaning is the default provider's; where no model is configured, that of the first one.
 */
static void check_tasks(struct load *l, const struct at *list) {
    const struct conf *c = l->c;
    for (size_t i = 0; i < c->routing.ntasks && c->nmodels && !c->routing.default_provider_said; i++) {
        const struct conf_task *t = &c->routing.tasks[i];
        struct at at = list->node && list->node->kind == NODE_LIST ? at_item(list, i)
                                                                   : at_child(list, t->name),
                  models = at_child(&at, "models");
        check_fallbacks(l, models.node ? &models : &at, t->models, t->nmodels);
    }
}

static void fill_limits(struct load *l, struct conf_rates *r, const struct at *at) {
    static const char *const names[CONF_RATES_N] = {
#define X(option) "limits." #option,
        CONF_RATES(X)
#undef X
    };
    const struct conf_rates *d = &l->c->auth.default_limits;
    for (size_t i = 0; i < CONF_RATES_N; i++)
        if (!node_get(at->node, names[i]))
            r->rate[i] = d->rate[i];
    if (!node_get(at->node, "limits.concurrent"))
        r->concurrent = d->concurrent;
}

static void check_keys(struct load *l, const struct at *list) {
    struct conf *c = l->c;
    static const uint8_t none[32];
    for (size_t i = 0; i < c->auth.nkeys; i++) {
        struct conf_gateway_key *k = &c->auth.keys[i];
        struct at at = at_item(list, i);
        fill_limits(l, &k->limits, &at);
        for (size_t j = 0; j < i; j++) {
            const struct conf_gateway_key *other = &c->auth.keys[j];
            if (*k->id && strcmp(k->id, other->id) == 0)
                load_error(l, &at, "the id %s is taken by auth.keys[%zu]", k->id, j);
            if (memcmp(k->hash, other->hash, sizeof k->hash) == 0 && memcmp(k->hash, none, sizeof none) != 0)
                load_error(l, &at, "the same key as auth.keys[%zu]", j);
        }
    }
}

static void check_tenants(struct load *l, const struct at *list) {
    const struct conf *c = l->c;
    for (size_t i = 0; i < c->ntenants; i++)
        for (size_t j = 0; j < i; j++)
            if (*c->tenants[i].id && strcmp(c->tenants[i].id, c->tenants[j].id) == 0) {
                struct at at = list->node && list->node->kind == NODE_LIST ? at_item(list, i) : *list;
                load_error(l, &at, "the id %s is taken by tenants[%zu]", c->tenants[i].id, j);
            }
}

static void check_endpoints(struct load *l, const struct at *list) {
    const struct conf *c = l->c;
    for (size_t i = 0; i < c->nendpoint_limits; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(c->endpoint_limits[i].endpoint, c->endpoint_limits[j].endpoint) == 0)
                load_error(l, list, "%.100s is given twice", c->endpoint_limits[i].endpoint);
}

static bool same_address(const struct conf_listen *a, const struct conf_listen *b) {
    if (a->is_unix || b->is_unix)
        return a->is_unix && b->is_unix && strcmp(a->path, b->path) == 0;
    return a->port && a->port == b->port && strcmp(a->host, b->host) == 0; /* port 0: any free one */
}

static void check_listen(struct load *l, const struct conf_listen *e, size_t i, const struct at *at) {
    struct conf *c = l->c;
    for (size_t j = 0; j < i; j++)
        if (same_address(e, &c->listen[j]))
            load_error(l, at, "the address %s is given twice", e->address);
    if (e->loopback || (!*e->address))
        return;
    if (c->auth.mode == AUTH_NONE && !c->auth.said)
        load_error(l, at,
                   "%s can be reached from other machines, but there is no authentication: configure "
                   "auth.keys (or set API_KEY), or say auth: {mode: none}",
                   e->address);
    if (l->mock_implied)
        load_error(l, at,
                   "%s can be reached from other machines, but no provider is configured, and the built-in "
                   "mock answers this machine alone unless it is configured itself",
                   e->address);
}

/* admin_listen is one more listener for all who come after. */
static void join_listeners(struct conf *c) {
    struct conf_listen *all = arena_array(c->arena, c->nlisten + c->nadmin_listen + 1, sizeof *all);
    for (size_t i = 0; i < c->nlisten; i++)
        all[i] = c->listen[i];
    for (size_t i = 0; i < c->nadmin_listen; i++)
        all[c->nlisten + i] = c->admin_listen[i];
    c->listen = all;
    c->nlisten += c->nadmin_listen;
}

static void check_listeners(struct load *l, const struct at *root) {
    struct conf *c = l->c;
    size_t own = c->nlisten;
    struct at listen = at_child(root, "listen"), admin = at_child(root, "admin_listen");
    join_listeners(c);
    if (c->nadmin_listen > 1)
        load_error(l, &admin, "only one address may be given");
    if (c->nlisten == 0)
        load_error(l, &listen, "at least one address is needed");
    for (size_t i = 0; i < c->nlisten; i++) {
        const struct at *list = i < own ? &listen : &admin;
        bool many = list->node && list->node->kind == NODE_LIST;
        struct at at = many ? at_item(list, i < own ? i : i - own) : *list;
        check_listen(l, &c->listen[i], i, &at);
    }
}

static void check_alerts(struct load *l, const struct at *secret) {
    l->c->alerts.secret = (struct conf_secret){"", ""};
    if (secret->node)
        secret_read_only(l, secret, &l->c->alerts.secret);
}

/* ---- tokens ---- */

static void read_jwt_secret(struct load *l, const struct at *root) {
    enum { SHORTEST = 32 }; /* RFC 7518, 3.2 */
    struct conf_secret *s = &l->c->auth.jwt.secret;
    struct at at = at_child(root, "auth.jwt.secret");
    *s = (struct conf_secret){"", ""};
    if (at.node && secret_read_only(l, &at, s) && strlen(s->text) < SHORTEST)
        load_warn(l, &at, "shorter than 32 bytes: whoever has a token can try what it is");
}

static void read_jwt_keys(struct load *l, const struct at *root) {
    struct conf *c = l->c;
    struct at list = at_child(root, "auth.jwt.public_keys");
    c->auth.jwt.keys = arena_array(c->arena, c->auth.jwt.nkey_files + 1, sizeof *c->auth.jwt.keys);
    for (size_t i = 0; i < c->auth.jwt.nkey_files; i++) {
        struct at here = list.node->kind == NODE_LIST ? at_item(&list, i) : list;
        const char *path = c->auth.jwt.key_files[i];
        if (*path)
            c->auth.jwt.key_files[i] = path = file_path(c->arena, here.node->file, str_of(path));
        secret_pem(l, &here, path, false, &c->auth.jwt.keys[i]);
    }
}

static void read_jwks(struct load *l, const struct at *root) {
    struct conf *c = l->c;
    struct at at = at_child(root, "auth.jwt.jwks_file");
    struct buf text;
    char why[80];
    if (!*c->auth.jwt.jwks_file || l->no_files)
        return;
    int error = file_read(c->auth.jwt.jwks_file, FILE_PEM_MAX, false, &text);
    if (error)
        load_error(l, &at, "%.200s: %s", c->auth.jwt.jwks_file, file_why(error, FILE_PEM_MAX, why));
    else
        c->auth.jwt.jwks = str_make(arena_secret(c->arena, buf_str(&text)), buf_len(&text));
    buf_wipe(&text);
}

static void check_jwt(struct load *l, const struct at *root) {
    struct conf *c = l->c;
    struct at mode = at_child(root, "auth.mode"), jwt = at_child(root, "auth.jwt");
    read_jwt_secret(l, root);
    read_jwt_keys(l, root);
    read_jwks(l, root);
    bool any = *c->auth.jwt.secret.source || c->auth.jwt.nkey_files || *c->auth.jwt.jwks_file ||
               *c->auth.jwt.jwks_url;
    if (!c->auth.said && any)
        c->auth.mode = c->auth.nkeys ? AUTH_KEYS_JWT : AUTH_JWT;
    bool on = c->auth.mode == AUTH_JWT || c->auth.mode == AUTH_KEYS_JWT;
    if (on && !any)
        load_error(
            l, &mode,
            "needs one of auth.jwt.secret, auth.jwt.public_keys, auth.jwt.jwks_file and auth.jwt.jwks_url");
    if (on && c->auth.jwt.algorithms == 0)
        load_error(l, &jwt, "algorithms: at least one is needed");
    if (!on && any)
        load_warn(l, &jwt, "not used: auth.mode takes no tokens");
}

static void check_open_surfaces(struct load *l, const struct at *at) {
    if (l->c->auth.open_surfaces & (SURFACE_ADMIN | SURFACE_S1 | SURFACE_S3))
        load_error(l, at, "admin, s1 and s3 are never open");
}

/* ---- programs in browsers ---- */

static bool is_origin(struct str s) {
    ptrdiff_t at = str_find(s, STR("://"));
    if (str_is(s, "*") || str_is(s, "null"))
        return true;
    struct str host = at > 0 ? str_skip(s, (size_t)at + 3) : STR_NONE;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return false;
    return host.n && !memchr(host.p, '/', host.n) && !memchr(s.p, '*', s.n);
}

static void check_cors(struct load *l, const struct at *at) {
    const struct conf *c = l->c;
    for (size_t i = 0; i < c->cors.norigins; i++)
        if (!is_origin(str_of(c->cors.origins[i])))
            load_error(l, at, "\"%.100s\" is no origin; one is *, or such as https://app.example.com:8443",
                       c->cors.origins[i]);
}

/* ---- the semantic cache ---- */

static void check_threshold(struct load *l, const struct at *at, double v, bool may_be_unset) {
    const double least = 0.5; /* below it nothing means the same */
    if (at->node && v < least && !(may_be_unset && v <= 0))
        load_error(l, at, "expected a number from 0.5 to 1");
}

static void check_embedder(struct load *l, const struct at *at) {
    struct conf_embedder *e = l->c->cache.semantic.embedder;
    char hint[96];
    if (l->c->cache.semantic.nembedder > 1)
        load_error(l, at, "only one embedder may be given");
    if (l->c->cache.semantic.nembedder == 0)
        return;
    if (!*e->provider != !*e->model) {
        load_error(l, at, "provider and model are needed, both");
        return;
    }
    const struct conf_provider *p = conf_provider(l->c, str_of(e->provider));
    if (!*e->provider)
        return;
    if (!p || !p->enabled)
        load_error(l, at, "there is no provider %s%s", e->provider,
                   p ? " that is enabled" : provider_hint(l->c, str_of(e->provider), hint));
    else
        e->provider = p->name;
}

static void check_semantic(struct load *l, const struct at *root, const struct at *models) {
    struct conf *c = l->c;
    struct at threshold = at_child(root, "cache.semantic.threshold"),
              embedder = at_child(root, "cache.semantic.embedder"),
              enabled = at_child(root, "cache.semantic.enabled");
    check_threshold(l, &threshold, c->cache.semantic.threshold, false);
    check_embedder(l, &embedder);
    for (size_t i = 0; i < c->nmodels; i++) {
        struct at model = at_item(models, i), own = at_child(&model, "cache.threshold");
        check_threshold(l, &own, c->models[i].cache_threshold, true);
    }
    if (c->cache.semantic.enabled && !c->cache.enabled)
        load_warn(l, &enabled, "without cache.enabled this does nothing");
}

static void check_masks(struct load *l, const struct at *root) {
    const struct conf *c = l->c;
    struct at at = at_child(root, "log.mask.patterns");
    if (c->log.mask.npatterns > CONF_MAX_PATTERNS)
        load_error(l, &at, "at most %d patterns; here are %zu", CONF_MAX_PATTERNS, c->log.mask.npatterns);
    for (size_t i = 0; i < c->log.mask.npatterns; i++) {
        struct at one = at_item(&at, i);
        char err[256];
        regex_t re;
        if (pattern_compile(&re, c->log.mask.patterns[i], err))
            regfree(&re);
        else
            load_error(l, one.node ? &one : &at, "%s", err);
    }
}

void check_conf(struct load *l) {
    struct at root = {NULL, NULL, 0, l->root};
    struct conf *c = l->c;
    struct at providers = at_child(&root, "providers"), models = at_child(&root, "models"),
              rules = at_child(&root, "fallback_rules"), keys = at_child(&root, "auth.keys"),
              tenants = at_child(&root, "tenants"), endpoints = at_child(&root, "endpoint_limits");
    c->auth.said = node_get(l->root, "auth.mode") != NULL;
    if (!c->auth.said)
        c->auth.mode = c->auth.nkeys ? AUTH_KEYS : AUTH_NONE;
    check_jwt(l, &root);
    check_providers(l, &providers);
    check_models(l, &models);
    check_rules(l, &rules);
    check_circles(l);
    check_routing(l, &root);
    struct at tasks = at_child(&root, "routing.tasks");
    check_tasks(l, &tasks);
    check_keys(l, &keys);
    check_tenants(l, &tenants);
    check_endpoints(l, &endpoints);
    struct at secret = at_child(&root, "alerts.secret");
    check_alerts(l, &secret);
    struct at redis = at_child(&root, "cluster.redis");
    if (c->cluster.nredis > 1)
        load_error(l, &redis, "only one may be given; its further servers are its addresses");
    check_budgets(l, &root);
    check_semantic(l, &root, &models);
    struct at open = at_child(&root, "auth.open_surfaces"), origins = at_child(&root, "cors.origins");
    check_open_surfaces(l, &open);
    check_cors(l, &origins);
    check_masks(l, &root);
    check_listeners(l, &root);
}
