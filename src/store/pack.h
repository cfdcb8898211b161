/* Fixed integers and counted strings in little-endian bytes. The reader never passes its end: it turns `bad`
 * and gives zeros, and the caller asks once. */
#ifndef PENSTOCK_SRC_STORE_PACK_H
#define PENSTOCK_SRC_STORE_PACK_H
#include "base/str.h"
#include <endian.h>

#define PACK_STRING_MAX 256 /* bytes of a string; longer ones are cut */

/* --- writing into room that was measured before --- */

static inline char *pack_u8(char *to, unsigned v) {
    *to = (char)(unsigned char)v;
    return to + 1;
}
static inline char *pack_u16(char *to, unsigned v) {
    uint16_t x = htole16((uint16_t)v);
    memcpy(to, &x, sizeof x);
    return to + sizeof x;
}
static inline char *pack_u32(char *to, uint32_t v) {
    v = htole32(v);
    memcpy(to, &v, sizeof v);
    return to + sizeof v;
}
static inline char *pack_u64(char *to, uint64_t v) {
    v = htole64(v);
    memcpy(to, &v, sizeof v);
    return to + sizeof v;
}
static inline char *pack_bytes(char *to, const void *p, size_t n) {
    if (n)
        memcpy(to, p, n);
    return to + n;
}
/* At most `most` bytes, not ending inside a UTF-8 character. */
static inline struct str pack_cut(struct str s, size_t most) {
    if (s.n <= most)
        return s;
    size_t n = most;
    while (n > 0 && ((unsigned char)s.p[n] & 0xC0) == 0x80)
        n--;
    return str_make(s.p, n ? n : most);
}
static inline size_t pack_str_size(struct str s) {
    return 2 + pack_cut(s, PACK_STRING_MAX).n;
}
static inline char *pack_str(char *to, struct str s) {
    s = pack_cut(s, PACK_STRING_MAX);
    return pack_bytes(pack_u16(to, (unsigned)s.n), s.p, s.n);
}

/* --- reading --- */

struct unpack {
    const char *p;
    size_t n; /* left */
    bool bad;
};
static inline const char *unpack_bytes(struct unpack *u, size_t n) {
    static const char zeros[8];
    if (u->bad || n > u->n) {
        u->bad = true;
        return n <= sizeof zeros ? zeros : NULL;
    }
    const char *p = u->p;
    u->p += n;
    u->n -= n;
    return p;
}
static inline unsigned unpack_u8(struct unpack *u) {
    return (unsigned char)*unpack_bytes(u, 1);
}
static inline unsigned unpack_u16(struct unpack *u) {
    uint16_t v;
    memcpy(&v, unpack_bytes(u, sizeof v), sizeof v);
    return le16toh(v);
}
static inline uint32_t unpack_u32(struct unpack *u) {
    uint32_t v;
    memcpy(&v, unpack_bytes(u, sizeof v), sizeof v);
    return le32toh(v);
}
static inline uint64_t unpack_u64(struct unpack *u) {
    uint64_t v;
    memcpy(&v, unpack_bytes(u, sizeof v), sizeof v);
    return le64toh(v);
}
static inline struct str unpack_str(struct unpack *u) {
    size_t n = unpack_u16(u);
    if (n > PACK_STRING_MAX)
        u->bad = true;
    const char *p = u->bad ? NULL : unpack_bytes(u, n);
    return u->bad ? STR_NONE : str_make(p, n);
}

/* --- keys: big-endian, so that byte order is number order --- */

static inline void key_u64(unsigned char *to, uint64_t v) {
    v = htobe64(v);
    memcpy(to, &v, sizeof v);
}
static inline void key_u32(unsigned char *to, uint32_t v) {
    v = htobe32(v);
    memcpy(to, &v, sizeof v);
}
static inline uint64_t key_read_u64(const char *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return be64toh(v);
}
static inline uint32_t key_read_u32(const char *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}

/* --- usage, as rows and replies carry it --- */

struct usage;
#define PACK_USAGE_SIZE (8 * 8 + 8 + 1)
char *pack_usage(char *to, const struct usage *u);
void unpack_usage(struct unpack *from, struct usage *u);
#endif
