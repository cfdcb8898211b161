#include "shm/hosts.h"

#include "layout.h"

void hosts_set_link(struct shm *s, enum hosts_link l) {
    MUST(s->slot != SHM_NONE);
    atomic_store_explicit(&s->slots[s->slot].link, (uint32_t)l, memory_order_relaxed);
}

void hosts_set(struct shm *s, uint64_t me, uint32_t n) {
    atomic_store(&s->head->hosts, n ? n : 1);
    atomic_store(&s->head->host, me);
}

uint64_t hosts_me(const struct shm *s) {
    return atomic_load_explicit(&s->head->host, memory_order_relaxed);
}

uint32_t hosts_n(const struct shm *s) {
    uint32_t n = atomic_load_explicit(&s->head->hosts, memory_order_relaxed);
    return n ? n : 1;
}

void hosts_set_apart(struct shm *s, enum hosts_apart why) {
    atomic_store(&s->head->apart, (uint32_t)why);
}

enum hosts_apart hosts_apart(const struct shm *s) {
    uint32_t why = atomic_load_explicit(&s->head->apart, memory_order_relaxed);
    return why <= HOSTS_REFUSED ? (enum hosts_apart)why : HOSTS_TOGETHER;
}

void hosts_set_cleared(struct shm *s, uint64_t server_ms) {
    uint64_t is = atomic_load(&s->head->cleared_ms);
    while (is < server_ms && !atomic_compare_exchange_weak(&s->head->cleared_ms, &is, server_ms))
        ;
}

uint64_t hosts_cleared(const struct shm *s) {
    return atomic_load(&s->head->cleared_ms);
}

void hosts_look(const struct shm *s, struct hosts *out) {
    *out = (struct hosts){.me = hosts_me(s), .n = hosts_n(s), .apart = hosts_apart(s)};
    for (uint32_t i = 0, high = slot_high(s); i < high; i++) {
        struct shm_slot *p = &s->slots[i];
        uint32_t link = atomic_load(&p->role) == SLOT_FREE ? LINK_OFF : atomic_load(&p->link);
        out->processes += link != LINK_OFF;
        out->linked += link == LINK_THERE;
    }
}
