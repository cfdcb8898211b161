/* Authentication of a request by its headers. Keys are looked up by the SHA-256 of what was sent and compared
 * in constant time over all of them, so that neither the answer nor its time tells which keys exist. */
#include "policy/auth.h"

#include "base/clock.h"
#include "base/hash.h"
#include "http/server.h"
#include "policy/jwt.h"
#include "policy/keyring.h"

static struct str bearer(struct str v) {
    if (!str_startsi(v, "bearer "))
        return STR_NONE;
    return str_trim(str_skip(v, 7));
}

/* Older clients of Gemini put it into the URL; on its paths only, since URLs end up in others' logs. */
static struct str query_key(const struct exchange *x) {
    bool gemini = str_starts(x->path, "/v1beta/") ||
                  (str_starts(x->path, "/v1/models/") && memchr(x->path.p, ':', x->path.n));
    return gemini ? http_query(x->arena, x->query, "key") : STR_NONE;
}

/* The one place where programs put a key; the first that is there. */
static struct str credential(const struct exchange *x) {
    static const char *const headers[] = {"x-api-key", "api-key", "x-goog-api-key"};
    struct str v = exchange_header(x, "authorization");
    if (v.p)
        return bearer(v).p ? bearer(v) : v;
    for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++) {
        v = exchange_header(x, headers[i]);
        if (v.p)
            return v;
    }
    return query_key(x);
}

enum { KEY_LONGEST = 4096 };

/* Those of the configuration. */
static void find_configured(const struct plane *p, const uint8_t digest[SHA256_SIZE], struct caller *c) {
    for (size_t i = 0; i < p->nkeys; i++)
        if (mem_equal_ct(p->keys[i].conf->hash, digest, SHA256_SIZE))
            *c = (struct caller){.key = p->keys[i].conf, .entity = p->keys[i].entity};
}

/* Those that administration has made. */
static void find_stored(const struct keyring *r, const struct exchange *x, const uint8_t digest[SHA256_SIZE],
                        struct caller *c) {
    const struct ring_key *k = keyring_find(r, digest, clock_wall_ms());
    if (!k)
        return;
    keyring_hold(r, x->arena);
    *c = (struct caller){.key = &k->effective, .entity = k->entity};
}

static enum fault_class identify_key(struct plane *p, const struct exchange *x, struct str given,
                                     struct caller *c) {
    uint8_t digest[SHA256_SIZE];
    if (given.n > KEY_LONGEST)
        return FAULT_AUTH;
    const struct keyring *ring = keyring_now(p);
    bool lost = !ring && shm_keys_generation(p->shm) > 0; /* it may be one of those that cannot be read */
    sha256(given.p, given.n, digest);
    find_configured(p, digest, c);
    if (!c->key)
        find_stored(ring, x, digest, c);
    if (!c->key)
        return lost ? FAULT_OVERLOADED : FAULT_AUTH;
    return c->key->expires && c->key->expires <= clock_wall_ms() ? FAULT_AUTH : FAULT_NONE;
}

bool auth_is_key(struct plane *p, const struct exchange *x, struct str text) {
    struct caller c = {.key = NULL};
    identify_key(p, x, text, &c);
    return c.key != NULL;
}

/* --- tokens --- */

static unsigned permissions_of(const struct conf *c, const struct jwt_claims *claims) {
    unsigned all = PERM_COMPLETION | PERM_EMBEDDING | PERM_ADMIN, mask = c->auth.jwt.permissions;
    for (size_t i = 0; i < c->auth.jwt.nadmin_roles; i++)
        if (jwt_has_role(claims, c->auth.jwt.admin_roles[i]))
            return all;
    mask |= jwt_has_role(claims, "completion") ? PERM_COMPLETION : 0;
    mask |= jwt_has_role(claims, "embedding") ? PERM_EMBEDDING : 0;
    return mask;
}

/* Whoever comes with a token is a key of its own, as long as the request lasts. No key has a colon in its id:
 * nobody is taken for one by the subject of a token. */
static void become(struct plane *p, struct arena *a, const struct jwt_claims *claims, struct caller *c) {
    struct conf_gateway_key *k = arena_alloc(a, sizeof *k);
    struct str id =
        claims->subject.n ? arena_printf(a, "jwt:" STR_FMT, STR_ARG(claims->subject)) : STR("jwt");
    *k = (struct conf_gateway_key){
        .id = id.p,
        .owner = "",
        .tenant = arena_dupz(a, claims->tenant),
        .permissions = permissions_of(p->conf, claims),
        .limits = p->conf->auth.default_limits,
        .source = "jwt",
    };
    c->key = k;
    c->entity = plane_subject(p, a, id);
    c->user = claims->subject;
}

static enum jwt_verdict identify_token(struct plane *p, const struct exchange *x, struct str given,
                                       struct caller *c) {
    const struct conf *conf = p->conf;
    const struct jwt_rules rules = {
        .algorithms = conf->auth.jwt.algorithms,
        .issuer = conf->auth.jwt.issuer,
        .audience = conf->auth.jwt.audience,
        .role_claim = conf->auth.jwt.role_claim,
        .tenant_claim = conf->auth.jwt.tenant_claim,
        .leeway_ms = conf->auth.jwt.leeway,
    };
    struct jwt_claims claims;
    enum jwt_verdict v = jwt_verify(plane_jwt(p), &rules, x->arena, given, clock_wall_ms(), &claims);
    if (v == JWT_UNSIGNED && *conf->auth.jwt.jwks_url) /* its key may be a new one */
        shm_jwks_want(p->shm);
    if (v == JWT_OK)
        become(p, x->arena, &claims, c);
    return v;
}

/* Whose it is; FAULT_NONE: c->key says who. */
static enum fault_class identify(struct plane *p, const struct exchange *x, struct str given,
                                 struct caller *c, const char **why) {
    enum fault_class no = FAULT_AUTH;
    *why = "Incorrect API key provided.";
    if (p->conf->auth.mode != AUTH_JWT)
        no = identify_key(p, x, given, c);
    if (no == FAULT_OVERLOADED)
        *why = "The gateway cannot read its keys at the moment.";
    if (!p->jwt || c->key || (p->conf->auth.mode != AUTH_JWT && !memchr(given.p, '.', given.n)))
        return no;
    enum jwt_verdict v = identify_token(p, x, given, c);
    if (v == JWT_UNSIGNED && p->jwt_waits) {
        *why = "The keys that tokens are checked with could not be fetched yet.";
        return FAULT_OVERLOADED;
    }
    if (no != FAULT_OVERLOADED && (v != JWT_MALFORMED || p->conf->auth.mode == AUTH_JWT))
        *why = jwt_verdict_text(v);
    return v == JWT_OK ? FAULT_NONE : no;
}

/* --- without authentication --- */

/* A name of the DNS, which may have been made to mean this machine by whoever owns it; an address, localhost
 * and names without a dot are nobody's. */
static bool is_foreign_host(struct str host) {
    bool letter = false, dot = false;
    if (host.n && host.p[0] == '[')
        return false;
    for (size_t i = 0; i < host.n && host.p[i] != ':'; i++) {
        dot = dot || host.p[i] == '.';
        letter = letter || !((host.p[i] >= '0' && host.p[i] <= '9') || host.p[i] == '.');
    }
    return letter && dot;
}

/* What a browser says of the page that asks: Sec-Fetch-Site (Fetch Metadata), Origin; and Host, for a page
 * whose own name leads here (DNS rebinding). Programs say none of it. */
static bool is_foreign_page(const struct exchange *x) {
    struct str site = exchange_header(x, "sec-fetch-site"), origin = exchange_header(x, "origin"),
               host = exchange_header(x, "host");
    ptrdiff_t at = str_find(origin, STR("://"));
    if (site.n && !str_is(site, "same-origin") && !str_is(site, "none"))
        return true;
    if (origin.n && (at < 0 || !str_eqi(str_skip(origin, (size_t)at + 3), host)))
        return true;
    return is_foreign_host(host);
}

bool auth_local(const struct exchange *x) {
    return x->peer_loopback && (str_is(x->peer, "unix") || !is_foreign_page(x));
}

/* The administration is for this machine only, and not for whatever page its browser shows. */
static bool anonymous(struct plane *p, const struct exchange *x, unsigned permission, struct caller *c,
                      struct fault *f) {
    if ((permission & PERM_ADMIN) && !auth_local(x)) {
        fault_set(f, x->arena, FAULT_PERMISSION,
                  x->peer_loopback
                      ? "Administration without authentication is not for pages of other sites."
                      : "Administration without authentication is only possible from this machine.");
        return false;
    }
    *c = (struct caller){.key = &p->anonymous, .entity = p->anonymous_entity};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    return true;
}

static bool is_here(const struct conf_gateway_key *k, const struct exchange *x) {
    uint8_t peer[16];
    bool local = x->peer_loopback && !net_address(x->peer, peer); /* a Unix socket */
    if (k->naddresses == 0)
        return true;
    if (!local && !net_address(x->peer, peer))
        return false;
    for (size_t i = 0; i < k->naddresses; i++) {
        static const uint8_t v4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1},
                             v6[16] = {[15] = 1};
        const struct net *n = &k->nets[i];
        if (local ? net_has(n, v4) || net_has(n, v6) : net_has(n, peer))
            return true;
    }
    return false;
}

static bool may_reach(const struct conf_gateway_key *k, struct str path, const char *surface) {
    for (size_t i = 0; i < k->nendpoints; i++) {
        struct str pattern = str_of(k->endpoints[i]);
        if (str_glob(pattern, path) || (surface && str_glob(pattern, str_of(surface))))
            return true;
    }
    return k->nendpoints == 0;
}

/* What a key that is right may not do all the same. NULL: nothing. */
static const char *forbidden(const struct conf_gateway_key *k, const struct exchange *x, unsigned permission,
                             const char *surface) {
    unsigned need = permission & ~(PERM_ANY | PERM_OPEN);
    if (!is_here(k, x))
        return "This API key may not be used from this address.";
    if ((k->permissions & need) != need)
        return "This API key has no permission for this endpoint.";
    if (permission != 0 && !may_reach(k, x->path, surface))
        return "This API key may not use this endpoint.";
    return NULL;
}

bool auth_caller(struct plane *p, const struct exchange *x, unsigned permission, const char *surface,
                 struct caller *c, struct fault *f) {
    *c = (struct caller){.entity = SHM_NONE};
    if (p->conf->auth.mode == AUTH_NONE)
        return anonymous(p, x, permission, c, f);
    if ((permission & PERM_OPEN) && !(permission & PERM_ADMIN))
        return auth_caller(p, x, permission & ~PERM_OPEN, surface, c, f) || anonymous(p, x, 0, c, f);
    struct str given = credential(x);
    if (!given.p || given.n == 0) {
        if (permission == 0)
            return true;
        fault_set(f, x->arena, FAULT_AUTH,
                  "You didn't provide an API key. Send it in the Authorization header: Authorization: Bearer "
                  "YOUR_KEY.");
        return false;
    }
    struct caller who = {.entity = SHM_NONE};
    const char *why;
    enum fault_class no = identify(p, x, given, &who, &why);
    if (no == FAULT_NONE && (why = forbidden(who.key, x, permission, surface)) != NULL)
        no = FAULT_PERMISSION;
    if (no == FAULT_PERMISSION)
        c->refused = who.key;
    if (no == FAULT_NONE)
        *c = who;
    else if (permission != 0) /* an open page is open, whatever else was sent */
        fault_set(f, x->arena, no, "%s", why);
    return no == FAULT_NONE || permission == 0;
}

bool auth_model(const struct caller *c, struct str model) {
    if (c->key->nmodels == 0)
        return true;
    for (size_t i = 0; i < c->key->nmodels; i++)
        if (str_glob(str_of(c->key->models[i]), model))
            return true;
    return false;
}

static bool lists_tenant(const struct conf_gateway_key *k, struct str tenant) {
    for (size_t i = 0; i < k->ntenants; i++)
        if (str_is(tenant, k->tenants[i]))
            return true;
    return false;
}

bool auth_tenant(const struct plane *p, struct arena *a, struct str tenant, struct caller *c) {
    bool nobody = c->key == &p->anonymous && p->conf->auth.mode != AUTH_NONE; /* on an open surface */
    bool free_to = !*c->key->tenant && c->key->ntenants == 0;
    if (str_is(tenant, c->key->tenant))
        return true;
    if (nobody || !(free_to || lists_tenant(c->key, tenant)))
        return false;
    struct conf_gateway_key *k = arena_alloc(a, sizeof *k);
    *k = *c->key;
    k->tenant = arena_dupz(a, tenant);
    c->key = k;
    c->names_tenant = true;
    return true;
}
