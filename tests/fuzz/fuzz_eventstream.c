/* Frames of AWS: in any pieces the same comes of them. */
#include "base/die.h"
#include "base/eventstream.h"
#include "base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    uint64_t hash;
    unsigned n;
};

static bool on_frame(void *arg, struct str name, struct str payload) {
    struct seen *s = arg;
    s->hash = hash64_more(hash64_more(s->hash, name.p, name.n), payload.p, payload.n);
    return ++s->n < 1000;
}

static int feed(const uint8_t *data, size_t size, size_t step, struct seen *s) {
    struct eventstream e;
    int rc = 0;
    *s = (struct seen){0, 0};
    eventstream_init(&e, 1 << 16);
    for (size_t at = 0; at < size && rc == 0; at += step)
        rc = eventstream_push(&e, data + at, step < size - at ? step : size - at, on_frame, s);
    eventstream_free(&e);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct seen whole, bytes;
    int a = feed(data, size, size ? size : 1, &whole), b = feed(data, size, 1, &bytes);
    MUST(a == b && whole.n == bytes.n && whole.hash == bytes.hash);
    return 0;
}
