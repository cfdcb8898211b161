/* The environment. It never sets an option by itself: what it says and the files do not is added to the tree
 * as if a person had written it there, so that it is read, checked and dumped like everything else. Values
 * from .env are kept in a table of this load and never put into the process: what has vanished from the file
 * is gone after a reload. The real environment wins over .env. */
#include "base/die.h"
#include "schema.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct variable {
    struct variable *next;
    const char *name;
    char *value;
};
struct env {
    struct variable *first;
};

extern char **environ;

struct env *env_new(struct load *l) {
    return arena_alloc(l->scratch, sizeof(struct env));
}

void env_free(struct env *e) {
    for (struct variable *v = e->first; v; v = v->next)
        mem_wipe(v->value, strlen(v->value));
}

const char *env_get(const struct env *e, const char *name) {
    const char *value = getenv(name);
    for (const struct variable *v = e->first; v && !value; v = v->next)
        if (strcmp(v->name, name) == 0)
            value = v->value;
    return value;
}

const char *env_value(const struct env *e, const char *name) {
    const char *value = env_get(e, name);
    return value && *value ? value : NULL;
}

/* ---- .env ---- */

static bool name_char(char c, bool first) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || (!first && c >= '0' && c <= '9');
}

/* Behind the opening quote: the value up to the closing one, and what follows it. */
static const char *quoted(struct str *s, char quote, struct buf *out) {
    while (s->n && s->p[0] != quote) {
        char c = s->p[0];
        *s = str_skip(*s, 1);
        if (c == '\\' && quote == '"' && s->n) {
            c = s->p[0];
            *s = str_skip(*s, 1);
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
        buf_addc(out, c);
    }
    if (!s->n)
        return "a quote is not closed on its line";
    *s = str_trim(str_skip(*s, 1));
    return s->n && s->p[0] != '#' ? "something stands behind the closing quote" : NULL;
}

static void unquoted(struct str s, struct buf *out) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '#' && (i == 0 || s.p[i - 1] == ' ' || s.p[i - 1] == '\t'))
            s.n = i;
    buf_adds(out, str_trim(s));
}

static const char *assignment(struct load *l, struct str s) {
    if (str_starts(s, "export ") || str_starts(s, "export\t"))
        s = str_trim(str_skip(s, 7));
    size_t n = 0;
    while (n < s.n && name_char(s.p[n], n == 0))
        n++;
    struct str name = str_make(s.p, n);
    s = str_trim(str_skip(s, n));
    if (n == 0 || !s.n || s.p[0] != '=')
        return "expected NAME=value";
    s = str_trim(str_skip(s, 1));
    struct buf value;
    const char *wrong = NULL;
    buf_init(&value, FILE_SECRET_MAX);
    buf_room(&value, s.n + 1);
    if (s.n && (s.p[0] == '"' || s.p[0] == '\'')) {
        char quote = s.p[0];
        s = str_skip(s, 1);
        wrong = quoted(&s, quote, &value);
    } else {
        unquoted(s, &value);
    }
    if (buf_len(&value) && memchr(buf_at(&value), '\0', buf_len(&value)))
        wrong = "a NUL in a value";
    if (!wrong && buf_ok(&value)) {
        struct variable *v = arena_alloc(l->scratch, sizeof *v);
        *v = (struct variable){l->env->first, arena_dupz(l->scratch, name),
                               arena_dupz(l->scratch, buf_str(&value))};
        l->env->first = v; /* in front: the last of several wins */
    } else if (!wrong) {
        wrong = "longer than 64 KiB";
    }
    buf_wipe(&value);
    return wrong;
}

static void env_lines(struct load *l, const char *path, struct str text) {
    struct str line;
    if (str_starts(text, "\xef\xbb\xbf"))
        text = str_skip(text, 3);
    for (unsigned number = 1; str_next(&text, '\n', &line); number++) {
        if (str_ends(line, "\r"))
            line.n--;
        struct str s = str_trim(line);
        if (s.n == 0 || s.p[0] == '#')
            continue;
        const char *wrong = assignment(l, s);
        if (wrong)
            load_error_place(l, path, number, (unsigned)(s.p - line.p) + 1, NULL, "%s", wrong);
    }
}

void env_file(struct load *l, const char *path, bool required) {
    struct buf text;
    char why[80];
    int error = file_read(path, FILE_PEM_MAX, true, &text);
    if (error && (required || error != ENOENT))
        load_error_place(l, path, 0, 0, NULL, "%s", file_why(error, FILE_PEM_MAX, why));
    else if (!error)
        env_lines(l, path, buf_str(&text));
    buf_wipe(&text);
}

/* ---- variables of options ---- */

enum { ENV_NAME_MOST = 128 };

/* PENSTOCK_LIMITS_CONCURRENT of limits.concurrent */
static const char *option_name(const struct option *o, char out[ENV_NAME_MOST]) {
    snprintf(out, ENV_NAME_MOST, "PENSTOCK_%s", o->path);
    for (char *c = out; *c; c++)
        *c = *c == '.' ? '_' : *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    return out;
}

static bool only_digits(const char *s) {
    return *s && s[strspn(s, "0123456789")] == '\0';
}

static bool same_node_text(const struct node *n, const char *text) {
    return n->kind == NODE_SCALAR && str_eqi(n->text, str_of(text));
}

/* One variable of an option: adds it to the tree, or says that something else has been said already. */
static void offer(struct load *l, struct node *map, const char *path, const char *name, const char *unit) {
    const char *value = env_value(l->env, name);
    if (!value)
        return;
    if (*unit && only_digits(value))
        value = arena_printf(l->scratch, "%s%s", value, unit).p;
    const struct node *have = node_get(map, path);
    if (!have) {
        node_put(l, map, path, value, name);
    } else if (!same_node_text(have, value)) {
        if (have->env)
            load_warn_env(l, name, "is not used: %s says otherwise, and comes first", have->env);
        else
            load_warn_env(l, name, "is not used: %s is set at %s:%u", path, have->file ? have->file : "",
                          have->line);
    }
}

/* "LLM_PROVIDER,PRIMARY_LLM_PROVIDER", "CACHE_TTL@s" */
static void offer_names(struct load *l, struct node *map, const struct option *o) {
    struct str rest = str_of(o->env), one;
    while (str_next(&rest, ',', &one)) {
        struct str name = STR_NONE, unit = STR_NONE;
        str_next(&one, '@', &name);
        str_next(&one, '@', &unit);
        offer(l, map, o->path, arena_dupz(l->scratch, name), arena_dupz(l->scratch, unit));
    }
}

static bool settable(const struct option *o) {
    return type_is_scalar(o->type) || o->type == TYPE_FLAGS || o->type == TYPE_TEXTS ||
           (o->type == TYPE_LIST && o->table->scalar);
}

static void offer_options(struct load *l) {
    char name[ENV_NAME_MOST];
    for (size_t i = 0; i < conf_table.n; i++) {
        const struct option *o = &conf_table.row[i];
        if (settable(o))
            offer(l, l->root, o->path, arena_dupz(l->scratch, str_of(option_name(o, name))), "");
        if (o->env)
            offer_names(l, l->root, o);
    }
}

static void offer_debug(struct load *l) {
    const char *value = env_value(l->env, "DEBUG");
    bool on = false;
    if (!value)
        return;
    if (str_is(str_of(value), "1"))
        on = true;
    else if (!str_is(str_of(value), "0") && !value_bool(str_of(value), &on))
        load_error_env(l, "DEBUG", "expected true or false");
    const struct node *have = node_get(l->root, "log.level");
    if (on && !have)
        node_put(l, l->root, "log.level", "debug", "DEBUG");
    else if (on && !same_node_text(have, "debug"))
        load_warn_env(l, "DEBUG", "is not used: log.level is set otherwise");
}

/* ---- unknown PENSTOCK_ variables ---- */

static bool is_option(const char *name) {
    char own[ENV_NAME_MOST];
    for (size_t i = 0; i < conf_table.n; i++)
        if (settable(&conf_table.row[i]) && strcmp(option_name(&conf_table.row[i], own), name) == 0)
            return true;
    return false;
}

static void unknown_option(struct load *l, const char *name) {
    struct nearest n;
    char own[ENV_NAME_MOST], hint[96];
    /* a Kubernetes service called penstock sets these in every container */
    if (strncmp(name, "PENSTOCK_SERVICE_", 17) == 0 || strncmp(name, "PENSTOCK_PORT", 13) == 0)
        return;
    nearest_init(&n, str_of(name + 9));
    for (size_t i = 0; i < conf_table.n; i++)
        if (settable(&conf_table.row[i]))
            nearest_offer(&n, str_of(option_name(&conf_table.row[i], own) + 9));
    nearest_hint(&n, hint);
    if (*n.best)
        load_warn_env(l, name, "is no option of penstock, did you mean PENSTOCK_%s?", n.best);
    else
        load_warn_env(l, name, "is no option of penstock");
}

static void look_for_unknown(struct load *l) {
    for (char **e = environ; e && *e; e++) {
        const char *equals = strchr(*e, '=');
        if (!equals || equals - *e >= ENV_NAME_MOST || strncmp(*e, "PENSTOCK_", 9) != 0)
            continue;
        const char *name = arena_dupz(l->scratch, str_make(*e, (size_t)(equals - *e)));
        if (!is_option(name) && env_value(l->env, name))
            unknown_option(l, name);
    }
    for (const struct variable *v = l->env->first; v; v = v->next)
        if (strncmp(v->name, "PENSTOCK_", 9) == 0 && !getenv(v->name) && !is_option(v->name))
            unknown_option(l, v->name);
}

/* ---- providers ---- */

/* The first of a kind's variables that is set. */
static const char *kind_variable(struct load *l, const char *names, bool warn) {
    struct str rest = str_of(names), one;
    const char *first = NULL;
    while (str_next(&rest, ',', &one)) {
        const char *name = arena_dupz(l->scratch, str_trim(one)), *value = env_value(l->env, name);
        if (!value)
            continue;
        if (!first)
            first = name;
        else if (warn && strcmp(value, env_value(l->env, first)) != 0)
            load_warn_env(l, name, "is not used: %s has another value, and comes first", first);
    }
    return first;
}

static struct node *put_map(struct load *l, const char *env) {
    struct node *map = node_new(l, NODE_MAP);
    map->env = env;
    return map;
}

/* A kind whose address must be configured is there when its address is; any other when its key is. */
static void provide_kind(struct load *l, struct node *providers, const struct provider_kind *k) {
    const char *key = kind_variable(l, k->env_keys, true), *url = kind_variable(l, k->env_url, false);
    if (!key)
        key = env_cloud_key(l, k);
    bool no_url = !k->base_url || !*k->base_url;
    if (k->builtin || k->by_choice)
        return;
    if (no_url && key && !url) {
        load_warn_env(l, key, "is not used: %s is not set", k->env_url && *k->env_url ? k->env_url : "a URL");
        return;
    }
    const char *cause = no_url ? url : key ? key : k->needs_key ? NULL : url;
    if (!cause)
        return;
    struct node *map = put_map(l, cause);
    node_put(l, map, "name", k->name, cause);
    node_put(l, map, "kind", k->name, cause);
    node_append(providers, map);
}

/* Nothing at all is configured: the built-in provider, so that a bare machine can try the gateway. */
static void provide_builtin(struct load *l, struct node *providers) {
    for (size_t i = 0; i < l->kinds->n; i++) {
        const struct provider_kind *k = &l->kinds->row[i];
        if (!k->builtin)
            continue;
        struct node *map = put_map(l, NULL);
        node_put(l, map, "name", k->name, NULL);
        node_put(l, map, "kind", k->name, NULL);
        map->env = "no provider is configured";
        node_append(providers, map);
        l->mock_implied = true;
        return;
    }
}

static struct node *child_of_kind(struct load *l, struct node *map, const char *key, enum node_kind kind) {
    for (struct node *n = map->first; n; n = n->next) {
        if (strcmp(n->key, key) != 0)
            continue;
        if (n->kind == NODE_NULL)
            n->kind = kind;
        return n->kind == kind ? n : NULL;
    }
    struct node *n = node_new(l, kind);
    n->key = arena_dupz(l->scratch, str_of(key));
    node_append(map, n);
    return n;
}

static void put_header(struct load *l, struct node *provider, const char *header, const char *name) {
    const char *value = env_value(l->env, name);
    struct node *headers = value ? child_of_kind(l, provider, "headers", NODE_MAP) : NULL;
    if (!headers)
        return;
    for (const struct node *n = headers->first; n; n = n->next)
        if (str_isi(str_of(header), n->key))
            return;
    node_put(l, headers, header, value, name);
}

static const struct provider_kind *kind_of(struct load *l, const struct node *provider) {
    const struct node *kind = node_get(provider, "kind"), *name = node_get(provider, "name");
    const struct node *n = kind ? kind : name;
    return n && n->kind == NODE_SCALAR ? kind_find(l->kinds, n->text) : NULL;
}

/* What the environment says of any provider of a kind, and the file does not of this one. */
static void complete_provider(struct load *l, struct node *map) {
    const struct provider_kind *k = kind_of(l, map);
    for (size_t i = 0; i < provider_options.n; i++)
        if (provider_options.row[i].env)
            offer_names(l, map, &provider_options.row[i]);
    if (!k)
        return;
    const char *key = kind_variable(l, k->env_keys, false), *url = kind_variable(l, k->env_url, false);
    if (key && !node_get(map, "keys") && !node_get(map, "key"))
        node_put(l, map, "keys.env", key, key);
    if (url && !node_get(map, "base_url"))
        node_put(l, map, "base_url", env_value(l->env, url), url);
    env_cloud(l, map, k);
    if (str_is(str_of(k->name), "openai") && env_value(l->env, "OPENAI_ORGANIZATION") &&
        !node_get(map, "organization"))
        node_put(l, map, "organization", env_value(l->env, "OPENAI_ORGANIZATION"), "OPENAI_ORGANIZATION");
    if (str_is(str_of(k->name), "openrouter")) {
        put_header(l, map, "X-Title", "OPENROUTER_HEADERS_X_TITLE");
        put_header(l, map, "HTTP-Referer", "OPENROUTER_HEADERS_REFERER");
    }
}

static void provide_providers(struct load *l) {
    struct node *list = child_of_kind(l, l->root, "providers", NODE_LIST);
    if (!list) /* not a list: the reader refuses it */
        return;
    if (!list->first) {
        for (size_t i = 0; i < l->kinds->n; i++)
            provide_kind(l, list, &l->kinds->row[i]);
        if (!list->first)
            provide_builtin(l, list);
    }
    for (struct node *n = list->first; n; n = n->next)
        if (n->kind == NODE_MAP)
            complete_provider(l, n);
}

/* ---- the gateway's own key, and what is not used ---- */

static bool names_api_key(const struct node *keys) {
    for (const struct node *n = keys ? keys->first : NULL; n; n = n->next) {
        const struct node *env = node_get(n, "key.env");
        if (env && str_is(env->text, "API_KEY"))
            return true;
    }
    return false;
}

static void provide_api_key(struct load *l) {
    const char *name = "API_KEY";
    const struct node *have = node_get(l->root, "auth.keys"), *mode = node_get(l->root, "auth.mode");
    if (!env_value(l->env, name) || names_api_key(have))
        return;
    if (have && node_count(have)) {
        load_warn_env(l, name, "is not used: auth.keys is set in a file");
        return;
    }
    if (mode && same_node_text(mode, "none")) {
        load_warn_env(l, name, "is not used: auth.mode is none");
        return;
    }
    struct node *auth = child_of_kind(l, l->root, "auth", NODE_MAP);
    struct node *list = auth ? child_of_kind(l, auth, "keys", NODE_LIST) : NULL;
    if (!list)
        return;
    struct node *map = put_map(l, name);
    node_put(l, map, "id", "api-key", name);
    node_put(l, map, "key.env", name, name);
    node_put(l, map, "permissions", "completion embedding admin", name);
    node_append(list, map);
}

static void provide_jwt_secret(struct load *l) {
    const char *name = "JWT_SECRET";
    const struct node *mode = node_get(l->root, "auth.mode");
    const struct node *have = node_get(l->root, "auth.jwt.secret"),
                      *env = node_get(l->root, "auth.jwt.secret.env");
    if (!env_value(l->env, name) || (env && str_is(env->text, name)))
        return;
    if (have)
        load_warn_env(l, name, "is not used: auth.jwt.secret is set in a file");
    else if (mode && (same_node_text(mode, "none") || same_node_text(mode, "keys")))
        load_warn_env(l, name, "is not used: auth.mode takes no tokens");
    else
        node_put(l, l->root, "auth.jwt.secret.env", name, name);
}

/* Also where the file has the other options of it. */
static void provide_redis(struct load *l) {
    const char *name = "REDIS_URL", *value = env_value(l->env, name);
    const struct node *have = node_get(l->root, "cluster.redis");
    if (!value)
        return;
    if (!have)
        node_put(l, l->root, "cluster.redis", value, name);
    else if (have->kind == NODE_MAP && !node_get(have, "url"))
        node_put(l, l->root, "cluster.redis.url", value, name);
    else if (!same_node_text(have->kind == NODE_MAP ? node_get(have, "url") : have, value))
        load_warn_env(l, name, "is not used: cluster.redis is set otherwise");
}

/* Who names a similarity wants the semantic cache, unless something says otherwise. */
static void offer_semantic(struct load *l) {
    static const char name[] = "CACHE_SIMILARITY_THRESHOLD";
    const struct node *n = node_get(l->root, "cache.semantic.threshold");
    if (!n || !n->env || strcmp(n->env, name) != 0)
        return;
    if (!node_get(l->root, "cache.semantic.enabled"))
        node_put(l, l->root, "cache.semantic.enabled", "true", name);
    if (!node_get(l->root, "cache.enabled"))
        node_put(l, l->root, "cache.enabled", "true", name);
}

void env_provide(struct load *l) {
    offer_options(l);
    offer_semantic(l);
    offer_debug(l);
    provide_providers(l);
    provide_api_key(l);
    provide_jwt_secret(l);
    provide_redis(l);
    look_for_unknown(l);
}
