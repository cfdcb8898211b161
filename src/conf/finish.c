/* What the table cannot say of one element: members that follow from several options, or from the kind of
 * provider. Runs after the element's rows; those that were wrong have their defaults. */
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "schema.h"
#include <unistd.h>

void start_listen(struct load *l, void *element, const struct at *at) {
    struct conf_listen *e = element;
    (void)l, (void)at;
    e->path = e->host = "";
}

void finish_listen(struct load *l, void *element, const struct at *at) {
    struct conf_listen *e = element;
    struct conf_tls *t = &e->tls;
    const char *why;
    struct at address = at_child(at, "address");
    if (*e->address && !address_parse(l->c->arena, str_of(e->address), e, &why))
        load_error(l, address.node ? &address : at, "%s", why);
    e->has_tls = *t->certificate_file || *t->key_file || *t->client_ca_file;
    struct at certificate = at_child(at, "tls.certificate"), key = at_child(at, "tls.key"),
              ca = at_child(at, "tls.client_ca");
    if (e->has_tls && !*t->certificate_file)
        load_error(l, key.node ? &key : &ca, "given without tls.certificate");
    else if (e->has_tls && !*t->key_file)
        load_error(l, &certificate, "given without tls.key");
    secret_pem(l, &certificate, t->certificate_file, false, &t->certificate);
    secret_pem(l, &key, t->key_file, true, &t->key);
    secret_pem(l, &ca, t->client_ca_file, false, &t->client_ca);
    if (e->surfaces == 0)
        load_error(l, at, "surfaces: at least one is needed");
}

void start_provider(struct load *l, void *element, const struct at *at) {
    bool enabled = true;
    const struct node *n = node_get(at->node, "enabled");
    (void)element;
    if (n && n->kind == NODE_SCALAR)
        value_bool(n->text, &enabled);
    l->lenient = !enabled;
}

static void name_keys(struct load *l, struct conf_provider *p, const struct at *at) {
    for (size_t i = 0; i < p->nkeys; i++) {
        if (!*p->keys[i].id)
            p->keys[i].id = arena_printf(l->c->arena, "%s/%zu", p->name, i).p;
        for (size_t j = 0; j < i; j++)
            if (strcmp(p->keys[i].id, p->keys[j].id) == 0)
                load_error(l, at, "keys[%zu] and keys[%zu] have the same id", j, i);
    }
}

/* The kind by the name, the name by the kind. */
static void name_provider(struct load *l, struct conf_provider *p, const struct at *at) {
    struct at kind = at_child(at, "kind"), name = at_child(at, "name");
    if (!p->kind && !kind.node && *p->name)
        p->kind = kind_find(l->kinds, str_of(p->name));
    if (!p->kind && !kind.node)
        load_error(l, at, "kind is missing%s", name.node ? ", and the name is not that of a kind" : "");
    if (!*p->name && p->kind && !name.node)
        p->name = p->kind->name;
}

void check_file(struct load *l, const struct at *at, const char *path) {
    if (*path && !l->no_files && access(path, R_OK) < 0)
        load_error(l, at, "%.200s cannot be read", path);
}

static void check_provider_tls(struct load *l, const struct conf_provider *p, const struct at *at) {
    struct at ca = at_child(at, "tls.ca"), cert = at_child(at, "tls.client_certificate"),
              key = at_child(at, "tls.client_key");
    check_file(l, &ca, p->tls.ca);
    check_file(l, &cert, p->tls.client_certificate);
    check_file(l, &key, p->tls.client_key);
    if (*p->tls.client_key && !*p->tls.client_certificate)
        load_error(l, &key, "given without tls.client_certificate");
}

static void check_backoffs(struct load *l, const struct conf_provider *p, const struct at *at) {
    struct at retry = at_child(at, "retry.initial_backoff"), open = at_child(at, "breaker.open_for");
    if (p->retry.initial_backoff > p->retry.max_backoff)
        load_error(l, retry.node ? &retry : at, "retry.initial_backoff is longer than retry.max_backoff");
    if (p->breaker.open_for > p->breaker.max_open_for)
        load_error(l, open.node ? &open : at, "breaker.open_for is longer than breaker.max_open_for");
}

void finish_provider(struct load *l, void *element, const struct at *at) {
    struct conf_provider *p = element;
    l->lenient = false;
    p->where = (struct conf_where){at->node && at->node->file ? at->node->file : "", 0, 0};
    p->where.file = arena_dupz(l->c->arena, str_of(p->where.file));
    p->where.line = at->node ? at->node->line : 0;
    p->where.column = at->node ? at->node->column : 0;
    p->from_environment = at->node && at->node->env;
    name_provider(l, p, at);
    name_keys(l, p, at);
    finish_provider_cloud(l, p, at);
    check_provider_tls(l, p, at);
    check_backoffs(l, p, at);
    struct at path = at_child(at, "health_check.path");
    if (!*p->health_path && !path.node && p->kind)
        p->health_path = p->kind->health_path ? p->kind->health_path : "";
    if (*p->health_path && p->health_path[0] != '/')
        load_error(l, &path, "a path must begin with /");
    if (strchr(p->health_path, ' '))
        load_error(l, &path, "a path must not contain spaces");
}

void finish_model(struct load *l, void *element, const struct at *at) {
    struct conf_model *m = element;
    struct at strategy = at_child(at, "strategy"), targets = at_child(at, "targets");
    m->where = (struct conf_where){arena_dupz(l->c->arena, str_of(at->node ? at->node->file : NULL)),
                                   at->node ? at->node->line : 0, at->node ? at->node->column : 0};
    if (!strategy.node) /* routing is read after models; check.c puts its strategy here */
        m->strategy = STRATEGY_FALLBACK;
    if (targets.node && m->ntargets == 0)
        load_error(l, &targets, "at least one target is needed");
    for (size_t i = 0; i < m->ntargets; i++)
        if (!*m->targets[i].model)
            m->targets[i].model = m->name;
}

static void read_nets(struct load *l, struct conf_gateway_key *k, const struct at *at) {
    struct at list = at_child(at, "addresses");
    k->nets = arena_array(l->c->arena, k->naddresses + 1, sizeof *k->nets);
    for (size_t i = 0; i < k->naddresses; i++) {
        struct at here = list.node->kind == NODE_LIST ? at_item(&list, i) : list;
        if (*k->addresses[i] && !net_parse(str_of(k->addresses[i]), &k->nets[i]))
            load_error(l, &here, "expected an address or a network such as 192.0.2.0/24 or 2001:db8::/32");
    }
}

void finish_gateway_key(struct load *l, void *element, const struct at *at) {
    struct conf_gateway_key *k = element;
    struct at hash = at_child(at, "hash"), key = at_child(at, "key");
    struct conf_secret secret = {"", ""};
    k->source = "hash";
    if ((hash.node != NULL) == (key.node != NULL))
        load_error(l, at, "%s",
                   hash.node ? "only one of hash and key may be given" : "hash or key is needed");
    else if (key.node && secret_read_only(l, &key, &secret)) {
        sha256(secret.text, strlen(secret.text), k->hash);
        k->source = secret.source;
    }
    mem_wipe((char *)(uintptr_t)secret.text, strlen(secret.text)); /* only its hash is needed from here on */
    read_nets(l, k, at);
    if (k->permissions == 0)
        load_error(l, at, "permissions: at least one is needed");
    if (k->expires && k->expires <= clock_wall_ms())
        load_warn(l, at, "the key %s has expired", k->id);
}
