/* Binary frames of AWS: u32 length, u32 length of the headers, u32 CRC of these eight bytes, the headers (u8
 * length, name, u8 type, and of texts u16 length, value), the payload, u32 CRC of all before. Big-endian. */
#include "base/eventstream.h"

enum { PRELUDE = 12, TAIL = 4, TYPE_STRING = 7, FRAME_MAX = 16 << 20 };

/* CRC-32 of IEEE 802.3, four bits at a time. */
uint32_t crc32_of(const void *p, size_t n) {
    static const uint32_t table[16] = {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4,
                                       0x4DB26158, 0x5005713C, 0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
                                       0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    const unsigned char *b = p;
    uint32_t c = 0xFFFFFFFF;
    for (size_t i = 0; i < n; i++) {
        c = table[(c ^ b[i]) & 15] ^ c >> 4;
        c = table[(c ^ b[i] >> 4) & 15] ^ c >> 4;
    }
    return ~c;
}

void eventstream_init(struct eventstream *e, size_t max) {
    e->max = max ? max : FRAME_MAX;
    buf_init(&e->held, 0);
}

void eventstream_free(struct eventstream *e) {
    buf_free(&e->held);
}

bool eventstream_between(const struct eventstream *e) {
    return buf_len(&e->held) == 0;
}

static uint32_t u32(const char *p) {
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Bytes of a header's value by its type; -1: unknown. */
static int fixed_size(unsigned char type) {
    static const signed char sizes[] = {0, 0, 1, 2, 4, 8, -2, -2, 8, 16}; /* -2: u16 length */
    return type < sizeof sizes ? sizes[type] : -1;
}

struct names {
    struct str message, event, exception;
};

static void take(struct names *out, struct str name, unsigned char type, struct str value) {
    if (type != TYPE_STRING)
        return;
    if (str_is(name, ":message-type"))
        out->message = value;
    else if (str_is(name, ":event-type"))
        out->event = value;
    else if (str_is(name, ":exception-type") || str_is(name, ":error-code"))
        out->exception = value;
}

static bool read_headers(struct str h, struct names *out) {
    while (h.n > 0) {
        size_t n = (unsigned char)h.p[0];
        if (h.n < n + 2)
            return false;
        struct str name = str_make(h.p + 1, n);
        unsigned char type = (unsigned char)h.p[1 + n];
        h = str_skip(h, n + 2);
        int size = fixed_size(type);
        if (size == -1)
            return false;
        size_t len = size >= 0 ? (size_t)size : 0;
        if (size == -2) {
            if (h.n < 2)
                return false;
            len = (size_t)(unsigned char)h.p[0] << 8 | (unsigned char)h.p[1];
            h = str_skip(h, 2);
        }
        if (h.n < len)
            return false;
        take(out, name, type, str_make(h.p, len));
        h = str_skip(h, len);
    }
    return true;
}

/* One whole frame. 0, 1 or -1 as eventstream_push() gives it. */
static int deliver(struct str frame, size_t headers, eventstream_fn *fn, void *arg) {
    struct names names = {STR_NONE, STR_NONE, STR_NONE};
    char bang[80] = "!";
    if (crc32_of(frame.p, frame.n - TAIL) != u32(frame.p + frame.n - TAIL) ||
        !read_headers(str_make(frame.p + PRELUDE, headers), &names))
        return -1;
    struct str payload = str_make(frame.p + PRELUDE + headers, frame.n - PRELUDE - headers - TAIL);
    struct str name = names.event;
    if (!str_is(names.message, "event")) {
        str_copy(bang + 1, sizeof bang - 1, names.exception);
        name = str_of(bang);
    }
    return fn(arg, name, payload) ? 0 : 1;
}

int eventstream_push(struct eventstream *e, const void *bytes, size_t n, eventstream_fn *fn, void *arg) {
    buf_add(&e->held, bytes, n);
    while (buf_len(&e->held) >= PRELUDE) {
        const char *p = buf_at(&e->held);
        size_t total = u32(p), headers = u32(p + 4);
        if (crc32_of(p, 8) != u32(p + 8) || total > e->max || total < PRELUDE + TAIL ||
            headers > total - PRELUDE - TAIL)
            return -1;
        if (buf_len(&e->held) < total)
            return 0;
        int rc = deliver(str_make(p, total), headers, fn, arg);
        buf_consume(&e->held, total);
        if (rc != 0)
            return rc;
    }
    return 0;
}
