/* Slots and gauges. A gauge is a count per slot, written by the slot's process alone and added up by whoever
 * asks: when a process dies its share is known to the last one and taken back whole. */
#include "base/clock.h"
#include "layout.h"

/* --- life of a slot --- */

static bool drained(struct shm_slot *p) {
    return atomic_load(&p->ring_head) == atomic_load(&p->ring_done);
}

/* The lowest free one, so that few slots are ever looked at; one with records waiting only when all have. */
static uint32_t slot_choose(const struct shm *s) {
    uint32_t waiting = SHM_NONE;
    for (uint32_t i = 0; i < SHM_MAX_SLOTS; i++) {
        if (atomic_load(&s->slots[i].role) != SLOT_FREE)
            continue;
        if (drained(&s->slots[i]))
            return i;
        if (waiting == SHM_NONE)
            waiting = i;
    }
    return waiting;
}

/* Nobody counts them while the slot is free and drained. In one that is not, what the last owner had reserved
 * stays until its next one. */
static void clear_shares(struct shm *s, uint32_t slot) {
    struct shm_share *w = s->shares + (size_t)slot * SHM_MAX_ENTITIES;
    for (uint32_t i = 0, n = shm_entities(s); i < n; i++) {
        if (atomic_load_explicit(&w[i].in, memory_order_relaxed))
            atomic_store(&w[i].in, 0);
        if (atomic_load_explicit(&w[i].booked, memory_order_relaxed))
            atomic_store(&w[i].booked, 0);
    }
}

uint32_t slot_claim(struct shm *s, enum slot_role role, unsigned number, unsigned generation) {
    MUST(role != SLOT_FREE);
    uint32_t slot = slot_choose(s);
    if (slot == SHM_NONE)
        return SHM_NONE;
    struct shm_slot *p = &s->slots[slot];
    if (drained(p))
        clear_shares(s, slot);
    ring_give_back(s, slot); /* drained since its last owner died, perhaps */
    atomic_fetch_add(&p->life, 1);
    atomic_store(&p->pid, 0);
    atomic_store(&p->number, number);
    atomic_store(&p->generation, generation);
    atomic_store(&p->started_ms, clock_ms());
    atomic_store(&p->requests_before, atomic_load(&p->stats.counter[STAT_REQUESTS]));
    atomic_store(&p->state, SLOT_STARTING);
    atomic_store(&p->connections, 0);
    atomic_store(&p->exchanges, 0);
    atomic_store(&p->link, LINK_OFF);
    atomic_store(&p->heartbeat_ms, clock_ms());
    if (atomic_load(&s->head->slot_high) <= slot)
        atomic_store(&s->head->slot_high, slot + 1);
    atomic_store(&p->role, (uint32_t)role);
    return slot;
}

void slot_started(struct shm *s, uint32_t slot, pid_t pid) {
    MUST(slot < SHM_MAX_SLOTS);
    atomic_store(&s->slots[slot].pid, (uint32_t)pid);
}

static half *gauge_word(const struct shm *s, uint32_t slot, uint32_t entity, enum gauge g) {
    return s->gauges + ((size_t)slot * SHM_MAX_ENTITIES + entity) * GAUGE_KINDS + g;
}

void slot_release(struct shm *s, uint32_t slot) {
    MUST(slot < SHM_MAX_SLOTS);
    struct shm_slot *p = &s->slots[slot];
    if (atomic_load(&p->role) == SLOT_FREE)
        return;
    half *gauge = gauge_word(s, slot, 0, 0);
    for (size_t i = 0, n = (size_t)shm_entities(s) * GAUGE_KINDS; i < n; i++) {
        if (atomic_load_explicit(&gauge[i], memory_order_relaxed))
            atomic_store(&gauge[i], 0);
    }
    atomic_store(&p->pid, 0);
    atomic_store(&p->connections, 0);
    atomic_store(&p->exchanges, 0);
    ring_give_back(s, slot);
    atomic_fetch_add(&p->life, 1); /* whatever it was writing is now known to be left */
    atomic_store(&p->role, SLOT_FREE);
}

/* --- the process itself --- */

void slot_enter(struct shm *s, uint32_t slot) {
    MUST(slot < SHM_MAX_SLOTS);
    s->slot = slot;
    s->life = atomic_load(&s->slots[slot].life);
    s->trimmed = 0;
}

uint32_t slot_mine(const struct shm *s) {
    return s->slot;
}

void slot_set_state(struct shm *s, enum slot_state st) {
    MUST(s->slot != SHM_NONE);
    atomic_store(&s->slots[s->slot].state, (uint32_t)st);
}

void slot_beat(struct shm *s, uint64_t now_ms, uint32_t connections, uint32_t exchanges) {
    MUST(s->slot != SHM_NONE);
    struct shm_slot *p = &s->slots[s->slot];
    atomic_store_explicit(&p->connections, connections, memory_order_relaxed);
    atomic_store_explicit(&p->exchanges, exchanges, memory_order_relaxed);
    atomic_store_explicit(&p->heartbeat_ms, now_ms, memory_order_relaxed);
    if (exchanges == 0)
        ring_trim(s);
}

/* --- looking --- */

static void slot_copy(struct shm_slot *p, struct slot_info *info) {
    info->role = (enum slot_role)atomic_load(&p->role);
    info->state = (enum slot_state)atomic_load(&p->state);
    info->pid = (pid_t)atomic_load(&p->pid);
    info->number = atomic_load(&p->number);
    info->generation = atomic_load(&p->generation);
    info->started_ms = atomic_load(&p->started_ms);
    info->heartbeat_ms = atomic_load(&p->heartbeat_ms);
    info->connections = atomic_load(&p->connections);
    info->exchanges = atomic_load(&p->exchanges);
    info->requests = atomic_load(&p->stats.counter[STAT_REQUESTS]) - atomic_load(&p->requests_before);
}

bool slot_at(const struct shm *s, uint32_t slot, struct slot_info *info) {
    *info = (struct slot_info){.role = SLOT_FREE};
    if (slot >= slot_high(s))
        return false;
    struct shm_slot *p = &s->slots[slot];
    for (unsigned tries = 0; tries < 16; tries++) { /* the slot of two owners in a row makes no sense */
        uint32_t life = atomic_load(&p->life);
        slot_copy(p, info);
        if (atomic_load(&p->life) == life)
            break;
        shm_backoff(tries);
    }
    return info->role != SLOT_FREE;
}

uint32_t slot_high(const struct shm *s) {
    return atomic_load(&s->head->slot_high);
}

/* --- gauges ---
 *
 * Taking: look, add one to my own count, look again; over the cap, withdraw and begin anew. All of it is
 * seq_cst, so there is one order of all these reads and writes.
 *
 * Never more than cap: of cap + 1 that hold at one time, the one that added last read all counts after that,
 * and the others' were in them: it saw cap + 1 and did not pass.
 *
 * Never fewer (while none is dropped): a call that is refused saw cap in its first look, perhaps of others
 * that withdrew later. But take, of all refused calls, the one whose last withdrawal came last (or any, if
 * none of them ever added). In its last look no refused call has a count any more, so what it saw were calls
 * that pass in the end, and there were cap of them.
 *
 * A call that collides again and again waits a little longer each time. After TAKE_TRIES (a second or so of
 * bad luck; it has not been seen) it is refused: better one refused too many than a worker that spins. */

#define TAKE_TRIES 1000

uint64_t gauge_sum(const struct shm *s, uint32_t entity, enum gauge g) {
    if (entity >= SHM_MAX_ENTITIES)
        return 0;
    uint64_t sum = 0;
    for (uint32_t i = 0, n = slot_high(s); i < n; i++)
        sum += atomic_load(gauge_word(s, i, entity, g));
    return sum;
}

/* Only this process writes the word: no read-modify-write is needed, but the store must be seen before the
 * loads that follow it. */
static void gauge_move(half *mine, int by) {
    uint32_t v = atomic_load_explicit(mine, memory_order_relaxed);
    MUST(by > 0 || v > 0);
    atomic_store(mine, v + (uint32_t)by);
}

bool gauge_take(struct shm *s, uint32_t entity, enum gauge g, uint64_t cap) {
    if (entity >= SHM_MAX_ENTITIES)
        return true;
    MUST(s->slot != SHM_NONE);
    half *mine = gauge_word(s, s->slot, entity, g);
    if (cap == UINT64_MAX) {
        gauge_move(mine, 1);
        return true;
    }
    for (unsigned tries = 0; tries < TAKE_TRIES; tries++) {
        if (gauge_sum(s, entity, g) >= cap)
            return false;
        gauge_move(mine, 1);
        if (gauge_sum(s, entity, g) <= cap)
            return true;
        gauge_move(mine, -1);
        shm_backoff(tries);
    }
    return false;
}

void gauge_drop(struct shm *s, uint32_t entity, enum gauge g) {
    if (entity >= SHM_MAX_ENTITIES)
        return;
    MUST(s->slot != SHM_NONE);
    gauge_move(gauge_word(s, s->slot, entity, g), -1);
}
