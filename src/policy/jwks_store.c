#include "policy/jwks_store.h"

#include "base/hash.h"
#include "policy/jwt.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static bool path_of(const struct conf *c, const char *suffix, char path[PATH_MAX]) {
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    sha256(c->auth.jwt.jwks_url, strlen(c->auth.jwt.jwks_url), digest);
    hex_encode(hex, digest, sizeof digest);
    int n = snprintf(path, PATH_MAX, "%s/jwks-%s%s", c->state_dir, hex, suffix);
    return n > 0 && n < PATH_MAX;
}

static bool read_all(int fd, struct buf *out) {
    for (;;) {
        char *to = buf_room(out, 4096);
        ssize_t n = to ? read(fd, to, 4096) : -1;
        if (n < 0 && to && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        buf_commit(out, (size_t)n);
    }
}

bool jwks_stored(const struct conf *c, struct buf *out) {
    char path[PATH_MAX];
    buf_init(out, JWKS_MOST + 4096);
    int fd = path_of(c, ".json", path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    bool ok = read_all(fd, out);
    close(fd);
    return ok;
}

static bool write_all(int fd, struct str s) {
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s = str_skip(s, (size_t)n);
    }
    return fsync(fd) == 0;
}

/* Whoever is killed in here leaves the old one, and a file that the next one overwrites. */
static bool replace(const struct conf *c, struct str json) {
    char path[PATH_MAX], made[PATH_MAX];
    if (!path_of(c, ".json", path) || !path_of(c, ".new", made))
        return false;
    int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write_all(fd, json);
    return close(fd) == 0 && ok && rename(made, path) == 0;
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
    *changed = false;
    if (!has_keys(json, why))
        return false;
    *changed = !jwks_stored(c, &old) || !str_eq(buf_str(&old), json);
    buf_wipe(&old);
    *why = "it cannot be written to state_dir";
    return !*changed || replace(c, json);
}
