/* The frames of application/vnd.amazon.eventstream: lengths, headers and payload, each held by a CRC-32 (AWS SDKs'
 * "event stream encoding"). Fed in pieces of any size. */
#ifndef PENSTOCK_BASE_EVENTSTREAM_H
#define PENSTOCK_BASE_EVENTSTREAM_H
#include "base/buf.h"

struct eventstream {
    struct buf held; /* a frame that is not whole yet */
    size_t max;      /* bytes of a frame */
};
/* name: the :event-type; of an exception its :exception-type (or :error-code) behind a '!'. Slices live during the
 * call. false: stop. */
typedef bool eventstream_fn(void *arg, struct str name, struct str payload);
void eventstream_init(struct eventstream *e, size_t max); /* 0: 16 MiB */
/* 0: go on. 1: fn said stop. -1: a frame is corrupt or larger than max: nothing more can be read. */
int eventstream_push(struct eventstream *e, const void *bytes, size_t n, eventstream_fn *fn, void *arg);
bool eventstream_between(const struct eventstream *e); /* no part of a frame is held */
void eventstream_free(struct eventstream *e);
uint32_t crc32_of(const void *p, size_t n);
#endif
