/* The worker never waits on the scribe: a record that finds the ring full waits here instead, in order. */
#include "outbox.h"

#include <inttypes.h>

#include "base/buf.h"
#include "base/die.h"
#include "base/log.h"
#include "shm/ring.h"
#include "shm/stat.h"

enum { OUTBOX_MAX = 16 << 20, RETRY_MS = 10 };

struct head {
    uint32_t type, n;
};
struct outbox {
    struct shm *shm;
    struct timer retry;
    struct buf waiting; /* heads and records */
    bool full;          /* some were lost: that was told */
};

static void flush(void *arg) {
    struct outbox *o = arg;
    while (buf_len(&o->waiting) > 0) {
        struct head h;
        uint64_t pos;
        memcpy(&h, buf_at(&o->waiting), sizeof(h));
        if (!ring_put(o->shm, h.type, str_make(buf_at(&o->waiting) + sizeof(h), h.n), STR_NONE, &pos))
            break;
        buf_consume(&o->waiting, sizeof(h) + h.n);
    }
    if (buf_len(&o->waiting) > 0)
        timer_set(&o->retry, RETRY_MS);
    else
        buf_free(&o->waiting);
    o->full &= buf_len(&o->waiting) > 0;
}

struct outbox *outbox_new(struct loop *l, struct shm *s) {
    struct outbox *o = mem_alloc(sizeof(*o));
    o->shm = s;
    timer_init(&o->retry, l, flush, o);
    buf_init(&o->waiting, OUTBOX_MAX);
    return o;
}

static void lose(struct outbox *o) {
    stat_add(o->shm, STAT_RING_DROPPED, 1);
    if (!o->full)
        log_event(LVL_ERROR, "store",
                  "records of usage are lost: the scribe has not taken any for long, and no more may wait");
    o->full = true;
}

bool outbox_put(struct outbox *o, uint32_t type, struct str record) {
    uint64_t pos;
    if (buf_len(&o->waiting) == 0 && ring_put(o->shm, type, record, STR_NONE, &pos))
        return true;
    struct head h = {type, (uint32_t)record.n};
    if (buf_len(&o->waiting) + sizeof(h) + record.n > OUTBOX_MAX) {
        lose(o);
        return false;
    }
    buf_add(&o->waiting, &h, sizeof(h));
    buf_adds(&o->waiting, record);
    timer_set(&o->retry, RETRY_MS);
    return true;
}

bool outbox_empty(const struct outbox *o) {
    return buf_len(&o->waiting) == 0;
}

static void lose_all(struct outbox *o) {
    uint64_t n = 0;
    for (struct head h; buf_len(&o->waiting) > 0; n++) {
        memcpy(&h, buf_at(&o->waiting), sizeof(h));
        buf_consume(&o->waiting, sizeof(h) + h.n);
    }
    if (n == 0)
        return;
    stat_add(o->shm, STAT_RING_DROPPED, n);
    log_event(LVL_ERROR, "store",
              "records of usage are lost, %" PRIu64 " of them: the scribe did not take them in time", n);
}

void outbox_free(struct outbox *o) {
    flush(o);
    lose_all(o);
    timer_clear(&o->retry);
    timer_free(&o->retry);
    buf_free(&o->waiting);
    mem_free(o);
}
