/* What a provider's key may be: a secret, an AWS access key or a Google service account; and what the URLs of
 * a kind want to be told. */
#include "base/die.h"
#include "base/json.h"
#include "schema.h"

/* ---- a key ---- */

static bool given(const struct at *at, const char *name) {
    return at->node->kind == NODE_MAP && node_get(at->node, name) != NULL;
}

/* One of the key's members that are secrets themselves. */
static void part(struct load *l, const struct at *at, const char *name, struct conf_secret *out) {
    *out = (struct conf_secret){"", ""};
    if (!given(at, name))
        return;
    struct at here = at_child(at, name);
    secret_read_only(l, &here, out);
}

static void access_key(struct load *l, const struct at *at, struct conf_key *k) {
    part(l, at, "access_key_id", &k->access_key_id);
    part(l, at, "secret_access_key", &k->secret_access_key);
    part(l, at, "session_token", &k->session_token);
    bool id = given(at, "access_key_id"), secret = given(at, "secret_access_key");
    if (id != secret)
        load_error(l, at, "%s is missing", id ? "secret_access_key" : "access_key_id");
    else if (!id && given(at, "session_token"))
        load_error(l, at, "session_token is given without access_key_id");
}

static void account_wrong(struct load *l, const struct at *at, const char *why) {
    load_error(l, at, "the service account: %s", why);
}

/* Members of its JSON are looked at where they stand: a tree would leave copies of the private key behind. */
static struct str account_member(struct load *l, struct str json, const char *name) {
    struct json_value v;
    return json_member(json, name, &v) && v.kind == JSON_STRING ? json_text(l->scratch, v) : STR_NONE;
}

static bool account_is(struct load *l, struct str json, const char *type) {
    return str_is(account_member(l, json, "type"), type);
}

static bool has_text(struct str json, const char *name, struct str part) {
    struct json_value v;
    return json_member(json, name, &v) && v.kind == JSON_STRING && v.raw.n > 2 && str_find(v.raw, part) >= 0;
}

/* What "gcloud auth application-default login" leaves. */
static void check_user(struct load *l, const struct at *at, struct str json) {
    static const char *const names[] = {"client_id", "client_secret", "refresh_token"};
    for (size_t i = 0; i < 3; i++)
        if (!has_text(json, names[i], STR("")))
            load_error(l, at, "the service account: %s is missing", names[i]);
}

static bool is_account(struct str json) {
    enum json_kind kind;
    return json_scan(json, &kind, NULL, NULL, NULL) == 0 && kind == JSON_OBJECT;
}

/* The members that are needed later are asked for now, so that -t says it. */
static void check_account(struct load *l, const struct at *at, struct str json) {
    if (!is_account(json))
        account_wrong(l, at, "not a JSON object");
    else if (account_is(l, json, "authorized_user"))
        check_user(l, at, json);
    else if (!account_is(l, json, "service_account"))
        account_wrong(l, at, "its type is neither service_account nor authorized_user");
    else if (account_member(l, json, "client_email").n == 0)
        account_wrong(l, at, "client_email is missing");
    else if (!has_text(json, "private_key", STR("-----BEGIN ")))
        account_wrong(l, at, "private_key is missing, or no PEM");
    else if (!str_startsi(account_member(l, json, "token_uri"), "http"))
        account_wrong(l, at, "token_uri is missing, or no URL");
}

static void service_account(struct load *l, const struct at *at, struct conf_key *k) {
    struct at here = at_child(at, "service_account");
    k->service_account = (struct conf_secret){"", ""};
    if (!given(at, "service_account"))
        return;
    bool ok = here.node->kind == NODE_MAP
                  ? secret_names(l, &here) && secret_document(l, &here, here.node, &k->service_account)
                  : secret_document(l, &here, here.node, &k->service_account);
    if (ok && *k->service_account.text)
        check_account(l, &here, str_of(k->service_account.text));
}

void finish_provider_key(struct load *l, void *element, const struct at *at) {
    struct conf_key *k = element;
    k->secret = (struct conf_secret){"", ""};
    if (!at->node)
        return;
    access_key(l, at, k);
    service_account(l, at, k);
    bool access = given(at, "access_key_id") || given(at, "secret_access_key"),
         account = given(at, "service_account"),
         plain = given(at, "env") || given(at, "file") || given(at, "value");
    if (access + account + plain > 1)
        load_error(l, at, "a key is one of a secret, an access key and a service account");
    else if (!access && !account)
        secret_read(l, at, at->node, &k->secret);
}

/* ---- the provider of it ---- */

static void check_fits(struct load *l, const struct conf_provider *p, const struct at *at) {
    for (size_t i = 0; i < p->nkeys; i++) {
        const struct conf_key *k = &p->keys[i];
        const char *what = *k->access_key_id.source     ? "an access key"
                           : *k->service_account.source ? "a service account"
                                                        : NULL;
        enum auth_kind want = *k->access_key_id.source ? AUTH_KIND_SIGV4 : AUTH_KIND_SERVICE_ACCOUNT;
        if (what && conf_auth_of(p) != want)
            load_error(l, at, "keys[%zu] is %s, which a provider of kind %s does not take", i, what,
                       p->kind->name);
    }
}

/* The project is the service account's own, unless another is configured. */
static const char *account_project(struct load *l, const struct conf_provider *p) {
    for (size_t i = 0; i < p->nkeys; i++) {
        struct str json = str_of(p->keys[i].service_account.text);
        struct str id = is_account(json) ? account_member(l, json, "project_id") : STR_NONE;
        if (id.n)
            return arena_dupz(l->c->arena, id);
    }
    return "";
}

/* They stand in host names and paths. */
static void check_word(struct load *l, const struct at *at, const char *name, const char *value) {
    struct at here = at_child(at, name);
    for (const char *c = value; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
              strchr("-_.:", *c))) {
            load_error(l, here.node ? &here : at, "%s: only letters, digits, '-', '_', '.' and ':'", name);
            return;
        }
}

static bool uses(const struct conf_provider *p, const char *variable) {
    const char *url = *p->base_url ? p->base_url : p->kind->base_url;
    if (url && strstr(url, variable))
        return true;
    for (const struct kind_endpoint *e = p->kind->endpoints; e && e->dialect; e++)
        if ((e->path && strstr(e->path, variable)) || (e->stream_path && strstr(e->stream_path, variable)))
            return true;
    return false;
}

void finish_provider_cloud(struct load *l, struct conf_provider *p, const struct at *at) {
    const struct provider_kind *k = p->kind;
    if (!k)
        return;
    check_fits(l, p, at);
    if (!*p->api_version && k->api_version)
        p->api_version = k->api_version;
    if (!*p->location && k->location)
        p->location = k->location;
    if (!*p->project && k->auth == AUTH_KIND_SERVICE_ACCOUNT)
        p->project = account_project(l, p);
    const struct {
        const char *name, *variable, *value;
        bool wanted;
    } words[] = {
        {"api_version", "{api_version}", p->api_version, false},
        {"region", "{region}", p->region, conf_auth_of(p) == AUTH_KIND_SIGV4},
        {"project", "{project}", p->project, false},
        {"location", "{location}", p->location, false},
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        check_word(l, at, words[i].name, words[i].value);
        if (p->enabled && !*words[i].value && (words[i].wanted || uses(p, words[i].variable)))
            load_error(l, at, "a provider of kind %s needs a %s", k->name, words[i].name);
    }
}
