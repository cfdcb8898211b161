#include "shm/lease.h"

#include "layout.h"

enum {
    SPENT_AT_ONCE_MS = 100, /* asked again within: take more */
    LASTED_MS = 400,        /* not within: take less */
    DRY_MS = 50,            /* how long a refusal is believed: others may give back */
};

static struct shm_lease *of(const struct shm *s, uint32_t entity, enum bucket kind) {
    return entity < SHM_MAX_ENTITIES ? s->leases + (size_t)entity * BUCKET_KINDS + kind : NULL;
}

uint64_t lease_cost(const struct bucket_ask *a) {
    return a->cost < a->limit ? a->cost : a->limit;
}

/* Signed numbers in words without a sign: sums wrap as they should. */
static int64_t held(struct shm_lease *l) {
    return (int64_t)atomic_load_explicit(&l->units, memory_order_relaxed);
}

bool lease_take(struct shm *s, const struct bucket_ask *a) {
    struct shm_lease *l = of(s, a->entity, a->kind);
    uint64_t cost = lease_cost(a), is;
    if (!l)
        return true;
    is = atomic_load_explicit(&l->units, memory_order_relaxed);
    do {
        if ((int64_t)is < 0 || is < cost)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&l->units, &is, is - cost, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

void lease_add(struct shm *s, uint32_t entity, enum bucket kind, int64_t units) {
    struct shm_lease *l = of(s, entity, kind);
    if (l)
        atomic_fetch_add_explicit(&l->units, (uint64_t)units, memory_order_relaxed);
}

void lease_owe(struct shm *s, const struct bucket_ask *a) {
    struct shm_lease *l = of(s, a->entity, a->kind);
    if (!l)
        return;
    atomic_store_explicit(&l->limit, a->limit, memory_order_relaxed);
    atomic_fetch_sub_explicit(&l->units, lease_cost(a), memory_order_relaxed);
}

int64_t lease_held(const struct shm *s, uint32_t entity, enum bucket kind) {
    struct shm_lease *l = of(s, entity, kind);
    return l ? held(l) : 0;
}

int64_t lease_empty(struct shm *s, uint32_t entity, enum bucket kind) {
    struct shm_lease *l = of(s, entity, kind);
    return l ? (int64_t)atomic_exchange_explicit(&l->units, 0, memory_order_relaxed) : 0;
}

uint64_t lease_debt(struct shm *s, const struct bucket_ask *a, uint64_t share, uint64_t now_ns) {
    struct shm_lease *l = of(s, a->entity, a->kind);
    uint64_t is = l ? atomic_load_explicit(&l->units, memory_order_relaxed) : 0, left, full_in_ns;
    do {
        if ((int64_t)is >= 0)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&l->units, &is, 0, memory_order_relaxed,
                                                    memory_order_relaxed));
    uint64_t debt = (uint64_t)0 - is;
    bucket_look(s, a->entity, a->kind, share, now_ns, &left, &full_in_ns);
    uint64_t used = (uint64_t)((unsigned __int128)full_in_ns * share / bucket_rows[a->kind].period_ns) + 1;
    return debt < used ? debt : used;
}

/* --- how much --- */

uint64_t lease_size(struct shm *s, const struct bucket_ask *a, uint64_t most, uint64_t now_ms) {
    struct shm_lease *l = of(s, a->entity, a->kind);
    if (!l)
        return 0;
    uint64_t size = atomic_load_explicit(&l->size, memory_order_relaxed),
             age = now_ms - atomic_load_explicit(&l->asked_ms, memory_order_relaxed);
    if (age <= SPENT_AT_ONCE_MS)
        size = size < most / 2 ? 2 * size + lease_cost(a) : most;
    else if (age > LASTED_MS)
        size = age > 4 * LASTED_MS ? 0 : size / 2;
    if (size > most)
        size = most;
    atomic_store_explicit(&l->size, size, memory_order_relaxed);
    return size;
}

void lease_seen(struct shm *s, const struct bucket_ask *a, uint64_t left, uint64_t wait_us, uint64_t now_ms) {
    struct shm_lease *l = of(s, a->entity, a->kind);
    if (!l)
        return;
    atomic_store_explicit(&l->asked_ms, now_ms, memory_order_relaxed);
    atomic_store_explicit(&l->limit, a->limit, memory_order_relaxed);
    atomic_store_explicit(&l->left, left, memory_order_relaxed);
    atomic_store_explicit(&l->open_ms, wait_us ? now_ms + wait_us / 1000 + 1 : 0, memory_order_relaxed);
    atomic_store_explicit(&l->dry_until_ms, wait_us ? now_ms + DRY_MS : 0, memory_order_relaxed);
}

uint64_t lease_dry_ms(const struct shm *s, const struct bucket_ask *a, uint64_t now_ms) {
    struct shm_lease *l = of(s, a->entity, a->kind);
    if (!l || now_ms >= atomic_load_explicit(&l->dry_until_ms, memory_order_relaxed))
        return 0;
    uint64_t open = atomic_load_explicit(&l->open_ms, memory_order_relaxed);
    return open > now_ms ? open - now_ms : 0;
}

void lease_look(const struct shm *s, uint32_t entity, enum bucket kind, uint64_t limit, uint64_t now_ms,
                uint64_t *remaining, uint64_t *full_in_ns) {
    struct shm_lease *l = of(s, entity, kind);
    uint64_t period = bucket_rows[kind].period_ns, left = limit;
    uint64_t asked = l ? atomic_load_explicit(&l->asked_ms, memory_order_relaxed) : 0;
    if (asked) {
        unsigned __int128 refilled = (unsigned __int128)(now_ms - asked) * 1000000 * limit / period;
        int64_t here = held(l);
        left = atomic_load_explicit(&l->left, memory_order_relaxed);
        left = refilled >= limit - (left < limit ? left : limit) ? limit : left + (uint64_t)refilled;
        if (here < 0)
            left = (uint64_t)-here < left ? left - (uint64_t)-here : 0;
        else
            left = (uint64_t)here < limit - left ? left + (uint64_t)here : limit;
    }
    *remaining = left;
    *full_in_ns = limit ? (uint64_t)((unsigned __int128)(limit - left) * period / limit) : 0;
}

uint64_t lease_idle(const struct shm *s, uint32_t entity, enum bucket kind, uint64_t idle_ms,
                    uint64_t now_ms) {
    struct shm_lease *l = of(s, entity, kind);
    if (!l || held(l) == 0 || now_ms - atomic_load_explicit(&l->asked_ms, memory_order_relaxed) < idle_ms)
        return 0;
    return atomic_load_explicit(&l->limit, memory_order_relaxed);
}

/* --- the part of what is left --- */

bool lease_part(const struct shm *s, const struct bucket_ask *a, uint32_t hosts, uint64_t fresh_ms,
                uint64_t now_ms, uint64_t *part) {
    struct shm_lease *l = of(s, a->entity, a->kind);
    uint64_t asked = l ? atomic_load_explicit(&l->asked_ms, memory_order_relaxed) : 0, left;
    if (asked == 0 || now_ms - asked >= fresh_ms ||
        atomic_load_explicit(&l->limit, memory_order_relaxed) != a->limit)
        return false;
    left = atomic_load_explicit(&l->left, memory_order_relaxed);
    left +=
        (uint64_t)((unsigned __int128)(now_ms - asked) * 1000000 * a->limit / bucket_rows[a->kind].period_ns);
    *part = left / hosts + (left % hosts != 0);
    if (*part < lease_cost(a))
        *part = left < lease_cost(a) ? left : lease_cost(a);
    return true;
}

bool lease_owe_within(struct shm *s, const struct bucket_ask *a, uint64_t part, uint64_t *wait_ns) {
    struct shm_lease *l = of(s, a->entity, a->kind);
    uint64_t cost = lease_cost(a), is = l ? atomic_load_explicit(&l->units, memory_order_relaxed) : 0;
    if (!l)
        return true;
    do {
        __int128 over = (__int128)cost - (int64_t)is - part;
        if (over > 0) {
            *wait_ns = (uint64_t)((unsigned __int128)over * bucket_rows[a->kind].period_ns / a->limit);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&l->units, &is, is - cost, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* --- the share --- */

struct bucket_ask lease_share(const struct bucket_ask *a, uint32_t hosts) {
    struct bucket_ask share = *a;
    share.limit = a->limit / (hosts ? hosts : 1);
    if (share.limit == 0 && a->limit > 0)
        share.limit = 1; /* a host that let nothing through would be one whose requests fail */
    if (share.cost > share.limit)
        share.cost = share.limit;
    return share;
}

/* Not beyond empty: who had more than his share while all was well does not starve when it is not. */
void lease_note(struct shm *s, const struct bucket_ask *share, uint64_t now_ns) {
    uint64_t left, full_in_ns;
    bucket_look(s, share->entity, share->kind, share->limit, now_ns, &left, &full_in_ns);
    uint64_t cost = share->cost < left ? share->cost : left;
    if (cost > 0 && cost <= INT64_MAX && share->limit > 0)
        bucket_settle(s, share, (int64_t)cost, now_ns);
}
