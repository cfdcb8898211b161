#include "policy/jwks_store.h"

#include "base/hash.h"
#include "base/kept.h"
#include "policy/jwt.h"
#include <limits.h>
#include <stdio.h>

static bool path_of(const struct conf *c, char path[PATH_MAX]) {
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    sha256(c->auth.jwt.jwks_url, strlen(c->auth.jwt.jwks_url), digest);
    hex_encode(hex, digest, sizeof digest);
    int n = snprintf(path, PATH_MAX, "%s/jwks-%s.json", c->state_dir, hex);
    return n > 0 && n < PATH_MAX;
}

bool jwks_stored(const struct conf *c, struct buf *out) {
    char path[PATH_MAX];
    buf_init(out, JWKS_MOST + 4096);
    return path_of(c, path) && kept_read(path, out);
}

static bool has_keys(struct str json, const char **why) {
    struct jwt_keys *k = jwt_keys_new();
    bool ok = jwks_parse(k, json, why);
    if (ok && jwt_keys_count(k) == 0) {
        *why = "it has no key that tokens could be checked with";
        ok = false;
    }
    jwt_keys_free(k);
    return ok;
}

bool jwks_store(const struct conf *c, struct str json, bool *changed, const char **why) {
    struct buf old;
    char path[PATH_MAX];
    *changed = false;
    if (!has_keys(json, why))
        return false;
    *changed = !jwks_stored(c, &old) || !str_eq(buf_str(&old), json);
    buf_wipe(&old);
    *why = "it cannot be written to state_dir";
    return !*changed || (path_of(c, path) && kept_write(path, json));
}
