/* Rings of records: a worker writes into its slot's, the scribe reads them all. One word says how far was
 * written and is stored last, so a writer killed before it has written nothing; the other says how far was
 * released and is the scribe's alone. A ring that has been gone round has all its pages; they are given back
 * when the worker is idle, by itself, because only the writer may touch what is free (ring_trim). To give
 * back each page as soon as it is released costs a fault per page written: several times the price of the
 * record. */
#include "base/log.h"
#include "layout.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* Before each record. A record does not go over the end of the area: TYPE_SKIP sends the reader to its
 * beginning. All lengths are rounded up to 8, so there is always room for a head before the end. */
struct ring_record {
    uint32_t length, type;
};
#define TYPE_SKIP 0

static unsigned char *ring_at(const struct shm *s, uint32_t slot, uint64_t pos) {
    return s->rings + (size_t)slot * s->ring_bytes + (size_t)(pos % s->ring_bytes);
}

static size_t to_end(const struct shm *s, uint64_t pos) {
    return s->ring_bytes - (size_t)(pos % s->ring_bytes);
}

static size_t whole(size_t payload) {
    return sizeof(struct ring_record) + (payload + 7) / 8 * 8;
}

size_t ring_max(const struct shm *s) {
    return s->ring_bytes / 2 - sizeof(struct ring_record);
}

/* --- the writer --- */

static size_t room(const struct shm *s, struct shm_slot *p, uint64_t head) {
    return s->ring_bytes - (size_t)(head - atomic_load_explicit(&p->ring_done, memory_order_acquire));
}

size_t ring_room(const struct shm *s) {
    MUST(s->slot != SHM_NONE);
    struct shm_slot *p = &s->slots[s->slot];
    uint64_t head = atomic_load_explicit(&p->ring_head, memory_order_relaxed);
    size_t left = room(s, p, head), end = to_end(s, head);
    if (end < left) /* it is one of the two pieces */
        left = left - end > end ? left - end : end;
    left = left > sizeof(struct ring_record) ? left - sizeof(struct ring_record) : 0;
    return left < ring_max(s) ? left : ring_max(s);
}

/* The end of what a record of n bytes would take, and where it would begin behind a skip; 0: no room. */
static uint64_t place(const struct shm *s, size_t n, uint64_t *begin) {
    struct shm_slot *p = &s->slots[s->slot];
    uint64_t head = atomic_load_explicit(&p->ring_head, memory_order_relaxed);
    size_t need = whole(n), skip = to_end(s, head) < need ? to_end(s, head) : 0;
    if (n > ring_max(s) || skip + need > room(s, p, head))
        return 0;
    *begin = head + skip;
    return head + skip + need;
}

bool ring_where(const struct shm *s, size_t n, uint64_t *pos) {
    MUST(s->slot != SHM_NONE);
    if (!place(s, n, pos))
        return false;
    *pos += sizeof(struct ring_record);
    return true;
}

static void copy_piece(unsigned char *to, struct str piece) {
    if (piece.n)
        memcpy(to, piece.p, piece.n);
}

bool ring_put(struct shm *s, uint32_t type, struct str a, struct str b, uint64_t *pos) {
    MUST(s->slot != SHM_NONE && type != TYPE_SKIP);
    if (a.n > ring_max(s) || b.n > ring_max(s) - a.n)
        return false;
    struct shm_slot *p = &s->slots[s->slot];
    uint64_t head = atomic_load_explicit(&p->ring_head, memory_order_relaxed), begin,
             end = place(s, a.n + b.n, &begin);
    if (!end)
        return false;
    struct ring_record r = {.type = TYPE_SKIP};
    if (begin != head)
        memcpy(ring_at(s, s->slot, head), &r, sizeof r);
    unsigned char *to = ring_at(s, s->slot, begin);
    r = (struct ring_record){.length = (uint32_t)(a.n + b.n), .type = type};
    memcpy(to, &r, sizeof r);
    copy_piece(to + sizeof r, a);
    copy_piece(to + sizeof r + a.n, b);
    if (pos)
        *pos = begin + sizeof r;
    /* seq_cst: this store and the look at the sleeper must not pass each other, see ring_scribe_sleeps() */
    atomic_store(&p->ring_head, end);
    if (atomic_load(&s->head->scribe_asleep))
        ring_wake(s);
    return true;
}

#define TRIM_AFTER ((size_t)256 << 10)

/* All of it is free, so there is no page that is partly used. Kernels with larger pages than the ring's
 * alignment refuse, and it stays. */
void ring_give_back(struct shm *s, uint32_t slot) {
    struct shm_slot *p = &s->slots[slot];
    if (atomic_load(&p->ring_head) == atomic_load(&p->ring_done))
        (void)madvise(ring_at(s, slot, 0), s->ring_bytes, MADV_REMOVE);
}

void ring_trim(struct shm *s) {
    struct shm_slot *p = &s->slots[s->slot];
    uint64_t head = atomic_load_explicit(&p->ring_head, memory_order_relaxed);
    if (head - s->trimmed < TRIM_AFTER || head != atomic_load(&p->ring_done))
        return;
    ring_give_back(s, s->slot);
    s->trimmed = head;
}

/* --- the scribe --- */

uint64_t ring_head(const struct shm *s, uint32_t slot) {
    return slot < SHM_MAX_SLOTS ? atomic_load(&s->slots[slot].ring_head) : 0;
}

uint64_t ring_tail(const struct shm *s, uint32_t slot) {
    return slot < SHM_MAX_SLOTS ? atomic_load(&s->slots[slot].ring_done) : 0;
}

/* Only a stray write can make a record that reaches beyond what was written. Nothing behind it can be found
 * any more, and the scribe must not fall over it again and again. */
static bool broken(uint32_t slot, uint64_t *cursor, uint64_t head) {
    log_event(LVL_ERROR, "ring", "slot %u: the record at %llu makes no sense, %llu bytes are lost", slot,
              (unsigned long long)*cursor, (unsigned long long)(head - *cursor));
    *cursor = head;
    return false;
}

bool ring_next(struct shm *s, uint32_t slot, uint64_t *cursor, uint32_t *type, struct str *payload) {
    uint64_t head = ring_head(s, slot), done = ring_tail(s, slot);
    if (*cursor < done)
        *cursor = done;
    while (*cursor < head) {
        unsigned char *at = ring_at(s, slot, *cursor);
        struct ring_record r;
        memcpy(&r, at, sizeof r);
        if (r.type == TYPE_SKIP) {
            if (to_end(s, *cursor) > head - *cursor)
                return broken(slot, cursor, head);
            *cursor += to_end(s, *cursor);
            continue;
        }
        if (r.length > ring_max(s) || whole(r.length) > to_end(s, *cursor) ||
            whole(r.length) > head - *cursor)
            return broken(slot, cursor, head);
        *type = r.type;
        *payload = str_make((const char *)at + sizeof r, r.length);
        *cursor += whole(r.length);
        return true;
    }
    return false;
}

void ring_release(struct shm *s, uint32_t slot, uint64_t upto) {
    if (slot >= SHM_MAX_SLOTS)
        return;
    struct shm_slot *p = &s->slots[slot];
    if (upto > atomic_load_explicit(&p->ring_done, memory_order_relaxed) &&
        upto <= atomic_load(&p->ring_head))
        atomic_store(&p->ring_done, upto);
}

/* --- any process --- */

static bool waits(const struct shm *s, uint32_t slot, uint64_t pos, size_t n) {
    uint64_t head = ring_head(s, slot);
    return pos >= ring_tail(s, slot) && pos <= head && n <= head - pos && n <= to_end(s, pos);
}

/* The bytes may be given away under the copy; but they were only after ring_done had passed them, so whoever
 * has copied anything else sees it there. */
bool ring_copy(const struct shm *s, uint32_t slot, uint64_t pos, void *out, size_t n) {
    if (slot >= SHM_MAX_SLOTS || !waits(s, slot, pos, n))
        return false;
    if (n)
        memcpy(out, ring_at(s, slot, pos), n);
    atomic_thread_fence(memory_order_acquire);
    return ring_tail(s, slot) <= pos;
}

/* --- waking --- */

int ring_wake_fd(const struct shm *s) {
    return s->wake_fd;
}

/* Either the scribe, which says that it sleeps and then looks at the heads once more, sees the new head; or
 * the writer, which moves the head and then looks for a sleeper, sees it asleep. */
void ring_scribe_sleeps(struct shm *s, bool sleeps) {
    atomic_store(&s->head->scribe_asleep, sleeps);
    uint64_t n;
    if (!sleeps && read(s->wake_fd, &n, sizeof n) < 0 && errno != EAGAIN && errno != EINTR)
        log_event(LVL_ERROR, "ring", "eventfd: %s", strerror(errno));
}

void ring_wake(struct shm *s) {
    uint64_t one = 1;
    if (atomic_exchange(&s->head->scribe_asleep, 0) && write(s->wake_fd, &one, sizeof one) < 0 &&
        errno != EAGAIN)
        log_event(LVL_ERROR, "ring", "eventfd: %s", strerror(errno)); /* EAGAIN: it is awake all right */
}
