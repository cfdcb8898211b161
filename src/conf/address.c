/* Addresses to listen on, as people write them: 127.0.0.1:8080, [::1]:8080, localhost:8080, *:8080, :8080,
 * 8080, unix:/path. No name is ever looked up: a resolver that is slow must not hold up a start or a reload.
 */
#include "load.h"
#include <arpa/inet.h>
#include <sys/un.h>

/* Numeric, in the one way inet_ntop writes it, so that equal addresses are equal texts. */
static bool canonical_host(struct arena *a, struct str host, struct conf_listen *out) {
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    if (host.n >= sizeof text)
        return false;
    str_copy(text, sizeof text, host);
    if (inet_pton(AF_INET, text, &v4) == 1) {
        out->loopback = (ntohl(v4.s_addr) >> 24) == 127;
        out->host = arena_dupz(a, str_of(inet_ntop(AF_INET, &v4, text, sizeof text)));
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6) == 1) {
        out->loopback = IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
        out->host = arena_dupz(a, str_of(inet_ntop(AF_INET6, &v6, text, sizeof text)));
        return true;
    }
    return false;
}

static bool parse_unix(struct arena *a, struct str path, struct conf_listen *out, const char **why) {
    if (path.n < 2 || path.p[0] != '/')
        *why = "the path of a unix: socket must begin with /";
    else if (path.n >= sizeof((struct sockaddr_un *)0)->sun_path)
        *why = "the path of a unix: socket is too long for the system (107 bytes)";
    else {
        out->is_unix = out->loopback = true;
        out->path = arena_dupz(a, path);
        return true;
    }
    return false;
}

bool address_parse(struct arena *a, struct str text, struct conf_listen *out, const char **why) {
    *why = "expected 127.0.0.1:8080, [::1]:8080, localhost:8080, *:8080 (all addresses) or unix:/path";
    out->address = arena_dupz(a, text);
    out->path = out->host = "";
    out->is_unix = out->loopback = false;
    if (str_startsi(text, "unix:"))
        return parse_unix(a, str_skip(text, 5), out, why);
    size_t colon = text.n;
    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    uint64_t port;
    if (!str_u64(str_skip(text, colon), &port) || port > UINT16_MAX)
        return false;
    out->port = (uint16_t)port;
    struct str host = str_make(text.p, colon ? colon - 1 : 0);
    if (colon == 0 || str_isi(host, "localhost"))
        host = STR("127.0.0.1");
    if (host.n == 0 || str_is(host, "*"))
        return true;
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = str_make(host.p + 1, host.n - 2);
    else if (memchr(host.p, ':', host.n)) /* ::1:8080 could mean two things */
        return false;
    return canonical_host(a, host, out);
}
