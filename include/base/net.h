/* Networks of addresses, as "192.0.2.0/24" or "2001:db8::/32"; a bare address is a network of one. IPv4 is kept in its
 * mapped form (RFC 4291, 2.5.5.2), so that an address of a dual-stack socket is the same one. */
#ifndef PENSTOCK_BASE_NET_H
#define PENSTOCK_BASE_NET_H
#include "base/str.h"

struct net {
    uint8_t address[16];
    unsigned bits; /* 0 to 128, of the mapped form */
};
/* false: no network, or one with bits set behind its length (10.0.0.1/8 is a mistake more often than not). */
bool net_parse(struct str text, struct net *out);
/* A numeric address; a zone ("%eth0") is left out. false: none. */
bool net_address(struct str text, uint8_t out[16]);
bool net_has(const struct net *n, const uint8_t address[16]);
#endif
