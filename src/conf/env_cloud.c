/* The environment as the clouds' own tools know it. A variable of theirs that is set for something else must
 * not make a provider by itself: bedrock wants the region said too, vertex the project. */
#include "load.h"

static const char *first_of(struct load *l, const char *a, const char *b) {
    return env_value(l->env, a) ? a : b && env_value(l->env, b) ? b : NULL;
}

static const char *region(struct load *l) {
    return first_of(l, "AWS_REGION", "AWS_DEFAULT_REGION");
}

const char *env_cloud_key(struct load *l, const struct provider_kind *k) {
    if (k->auth == AUTH_KIND_SERVICE_ACCOUNT && env_value(l->env, "GOOGLE_CLOUD_PROJECT"))
        return first_of(l, "GOOGLE_APPLICATION_CREDENTIALS", NULL);
    if (k->auth == AUTH_KIND_SIGV4 && env_value(l->env, "AWS_SECRET_ACCESS_KEY") && region(l))
        return first_of(l, "AWS_ACCESS_KEY_ID", NULL);
    return NULL;
}

/* Unless the file says something. */
static void put(struct load *l, struct node *map, const char *path, const char *name) {
    if (name && !node_get(map, path))
        node_put(l, map, path, env_value(l->env, name), name);
}

static void put_access_key(struct load *l, struct node *map) {
    static const struct {
        const char *path, *name;
    } parts[] = {{"keys.access_key_id.env", "AWS_ACCESS_KEY_ID"},
                 {"keys.secret_access_key.env", "AWS_SECRET_ACCESS_KEY"},
                 {"keys.session_token.env", "AWS_SESSION_TOKEN"}};
    if (!env_value(l->env, "AWS_ACCESS_KEY_ID") || !env_value(l->env, "AWS_SECRET_ACCESS_KEY"))
        return;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (env_value(l->env, parts[i].name))
            node_put(l, map, parts[i].path, parts[i].name, parts[i].name);
}

void env_cloud(struct load *l, struct node *map, const struct provider_kind *k) {
    bool keys = node_get(map, "keys") || node_get(map, "key");
    if (k->auth == AUTH_KIND_SIGV4) {
        put(l, map, "region", region(l));
        if (!keys)
            put_access_key(l, map);
    } else if (k->auth == AUTH_KIND_SERVICE_ACCOUNT) {
        put(l, map, "project", first_of(l, "GOOGLE_CLOUD_PROJECT", NULL));
        put(l, map, "location", first_of(l, "GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION"));
        if (!keys && env_value(l->env, "GOOGLE_APPLICATION_CREDENTIALS"))
            node_put(l, map, "keys.service_account.file", env_value(l->env, "GOOGLE_APPLICATION_CREDENTIALS"),
                     "GOOGLE_APPLICATION_CREDENTIALS");
    } else if (k->auth == AUTH_KIND_API_KEY) {
        put(l, map, "api_version", first_of(l, "AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"));
    }
}
