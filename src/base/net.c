#include "base/net.h"

#include <arpa/inet.h>

enum { V4_BEFORE = 96 }; /* bits of ::ffff:0:0/96 */

bool net_address(struct str text, uint8_t out[16]) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char z[INET6_ADDRSTRLEN];
    struct in_addr v4;
    const char *zone = text.n ? memchr(text.p, '%', text.n) : NULL;
    if (zone)
        text.n = (size_t)(zone - text.p);
    if (text.n == 0 || text.n >= sizeof z || memchr(text.p, '\0', text.n))
        return false;
    str_copy(z, sizeof z, text);
    if (inet_pton(AF_INET, z, &v4) == 1) {
        memcpy(out, mapped, sizeof mapped);
        memcpy(out + sizeof mapped, &v4, sizeof v4);
        return true;
    }
    return inet_pton(AF_INET6, z, out) == 1;
}

static bool bit(const uint8_t address[16], unsigned i) {
    return address[i / 8] >> (7 - i % 8) & 1;
}

bool net_parse(struct str text, struct net *out) {
    const char *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
    struct str host = slash ? str_make(text.p, (size_t)(slash - text.p)) : text;
    uint64_t bits = 128;
    if (host.n == 0 || memchr(host.p, '%', host.n) || !net_address(host, out->address))
        return false;
    unsigned before = memchr(host.p, ':', host.n) ? 0 : V4_BEFORE;
    if (slash && (!str_u64(str_skip(text, host.n + 1), &bits) || bits > 128 - before))
        return false;
    out->bits = slash ? before + (unsigned)bits : 128;
    for (unsigned i = out->bits; i < 128; i++)
        if (bit(out->address, i))
            return false;
    return true;
}

bool net_has(const struct net *n, const uint8_t address[16]) {
    size_t whole = n->bits / 8;
    if (memcmp(n->address, address, whole) != 0)
        return false;
    unsigned rest = n->bits % 8;
    return rest == 0 || (n->address[whole] ^ address[whole]) >> (8 - rest) == 0;
}
