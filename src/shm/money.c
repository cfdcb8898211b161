/* Budgets: the sum of what was spent and of what is on its way. Reserving is like taking a gauge (slot.c):
 * look, add to my own word, look again; over the limit, withdraw and begin anew. Of those that hold at one
 * time the one that added last saw all the others, so they never hold more than the limit together.
 *
 * The scribe books a record by adding to what was spent, and then to what it has booked of the slot; a sum
 * read from right to left - what is on its way first - may have a record twice, never not at all. Those who
 * would be refused for it look again: the scribe says by an odd number that it is between the two. */
#include "shm/money.h"

#include "layout.h"
#include "shm/slot.h"

#define MONEY_TRIES 1000

static struct shm_share *share(const struct shm *s, uint32_t slot, uint32_t entity) {
    return s->shares + (size_t)slot * SHM_MAX_ENTITIES + entity;
}

static uint64_t add(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* --- periods: kind + 1 above the hour, so that 0 is none --- */

static uint64_t pack(struct money_period p) {
    return ((uint64_t)p.kind + 1) << 32 | p.from_hour;
}

struct money_period money_period(const struct shm *s, uint32_t entity) {
    struct shm_state *e = state_of(s, entity);
    uint64_t w = e ? atomic_load(&e->money_period) : 0;
    return (struct money_period){(uint32_t)(w >> 32) - 1, (uint32_t)w};
}

/* A period that has just begun has not been spent from, whether the scribe has come to say so or not. Of one
 * before that which it counted last (the clock was set back) nothing is known until it has counted anew. */
static bool spent_in(struct shm_state *e, struct money_period now, uint64_t *spent) {
    uint64_t want = pack(now), is;
    do {
        is = atomic_load(&e->money_period);
        *spent = atomic_load(&e->money_spent);
    } while (atomic_load(&e->money_period) != is);
    if (is >> 32 != want >> 32 || is > want)
        return false;
    if (is < want)
        *spent = 0;
    return true;
}

/* --- sums --- */

/* What a slot's last process left is of no more account when all that it told of is booked. */
static bool over(const struct shm *s, uint32_t slot) {
    struct shm_slot *p = &s->slots[slot];
    return atomic_load(&p->role) == SLOT_FREE && atomic_load(&p->ring_head) == atomic_load(&p->ring_done);
}

static uint64_t on_way(const struct shm *s, uint32_t entity) {
    uint64_t sum = 0;
    for (uint32_t i = 0, n = slot_high(s); i < n; i++) {
        if (over(s, i))
            continue;
        struct shm_share *w = share(s, i, entity);
        uint64_t in = atomic_load(&w->in), booked = atomic_load(&w->booked);
        sum = add(sum, in > booked ? in - booked : 0);
    }
    return sum;
}

void money_look(const struct shm *s, uint32_t entity, struct money_period now, struct money *out) {
    struct shm_state *e = state_of(s, entity);
    *out = (struct money){.known = false};
    for (unsigned tries = 0; e && tries < MONEY_TRIES; tries++) {
        uint32_t booking = atomic_load(&s->head->booking);
        out->on_way = on_way(s, entity);
        out->known = spent_in(e, now, &out->spent);
        if (booking % 2 == 0 && atomic_load(&s->head->booking) == booking)
            return;
        shm_backoff(tries);
    }
}

/* --- reserving --- */

/* Does it fit? `mine`: it is in the sum already. */
static enum money_verdict fits(const struct shm *s, const struct money_ask *a, uint64_t amount, bool mine) {
    struct shm_state *e = state_of(s, a->entity);
    if (!e)
        return MONEY_OK;
    uint64_t all = on_way(s, a->entity), spent;
    if (!spent_in(e, a->period, &spent))
        return MONEY_UNKNOWN;
    all = add(all, spent);
    if (mine)
        return all <= a->limit ? MONEY_OK : MONEY_OVER;
    return all < a->limit && amount <= a->limit - all ? MONEY_OK : MONEY_OVER;
}

static enum money_verdict all_fit(const struct shm *s, const struct money_ask *asks, size_t n,
                                  uint64_t amount, bool mine, size_t *refused) {
    for (size_t i = 0; i < n; i++) {
        enum money_verdict v = fits(s, &asks[i], amount, mine);
        *refused = i;
        if (v != MONEY_OK)
            return v;
    }
    return MONEY_OK;
}

static void change(struct shm *s, uint32_t entity, uint64_t was, uint64_t is) {
    if (entity >= SHM_MAX_ENTITIES)
        return;
    MUST(s->slot != SHM_NONE);
    word *in = &share(s, s->slot, entity)->in;
    atomic_store(in, atomic_load_explicit(in, memory_order_relaxed) - was + is);
}

void money_change(struct shm *s, const uint32_t *entity, size_t n, uint64_t was, uint64_t is) {
    for (size_t i = 0; i < n && was != is; i++)
        change(s, entity[i], was, is);
}

enum money_verdict money_reserve(struct shm *s, const struct money_ask *asks, size_t n, uint64_t amount,
                                 size_t *refused) {
    enum money_verdict v = MONEY_OVER;
    *refused = 0;
    for (unsigned tries = 0; tries < MONEY_TRIES; tries++) {
        uint32_t booking = atomic_load(&s->head->booking);
        v = all_fit(s, asks, n, amount, false, refused);
        if (v == MONEY_UNKNOWN)
            return v;
        if (v == MONEY_OVER && booking % 2 == 0 && atomic_load(&s->head->booking) == booking)
            return v;
        if (v == MONEY_OK) {
            for (size_t i = 0; i < n; i++)
                change(s, asks[i].entity, 0, amount);
            v = all_fit(s, asks, n, amount, true, refused);
            if (v == MONEY_OK)
                return v;
            for (size_t i = 0; i < n; i++)
                change(s, asks[i].entity, amount, 0);
            if (v == MONEY_UNKNOWN)
                return v;
        }
        shm_backoff(tries);
    }
    return v;
}

/* --- allowances ---
 *
 * The period is written last, and what is added for one that is over by then is taken away: an allowance may
 * be forgotten for a moment (then it is asked for again), and is never that of another period. */

void money_allowance(const struct shm *s, uint32_t entity, struct money_period now,
                     struct money_allowance *out) {
    struct shm_state *e = state_of(s, entity);
    *out = (struct money_allowance){.known = false};
    if (!e || atomic_load(&e->allow_period) != pack(now))
        return;
    struct money_allowance a = {true, atomic_load(&e->allowed), atomic_load(&e->allow_others),
                                atomic_load(&e->allow_keep)};
    if (atomic_load(&e->allow_period) == pack(now))
        *out = a;
}

void money_allow(struct shm *s, uint32_t entity, struct money_period period,
                 const struct money_allowance *a) {
    struct shm_state *e = state_of(s, entity);
    uint64_t want = pack(period), is;
    if (!e)
        return;
    is = atomic_load(&e->allow_period);
    if (is > want && is >> 32 == want >> 32)
        return; /* of a period that is over */
    if (is != want) {
        atomic_store(&e->allowed, 0);
        atomic_compare_exchange_strong(&e->allow_period, &is, want);
    }
    atomic_store(&e->allow_others, a->others);
    atomic_store(&e->allow_keep, a->keep);
    uint64_t has = atomic_load(&e->allowed);
    while (has < a->allowed && !atomic_compare_exchange_weak(&e->allowed, &has, a->allowed))
        ;
    if (atomic_load(&e->allow_period) != want)
        atomic_store(&e->allowed, 0);
}

/* Whoever asks now has an answer under way that may be older than what is told of here. Whoever reserves
 * between the two looks has seen the old allowance: it is put back as far as that needs. */
bool money_give_up(struct shm *s, uint32_t entity, struct money_period *period, uint64_t *was, uint64_t *is) {
    struct shm_state *e = state_of(s, entity);
    uint64_t p = e ? atomic_load(&e->allow_period) : 0, spent;
    *period = (struct money_period){(uint32_t)(p >> 32) - 1, (uint32_t)p};
    if (p == 0 || gauge_sum(s, entity, GAUGE_ASKING) > 0 || !spent_in(e, *period, &spent))
        return false;
    uint64_t keep = atomic_load(&e->allow_keep), has = atomic_load(&e->allowed);
    uint64_t used = add(on_way(s, entity), spent), to = add(used, keep);
    if (has <= add(to, keep))
        return false;
    *was = has;
    if (!atomic_compare_exchange_strong(&e->allowed, &has, to))
        return false;
    bool asked = gauge_sum(s, entity, GAUGE_ASKING) > 0;
    if (!spent_in(e, *period, &spent))
        spent = 0;
    used = asked ? *was : add(on_way(s, entity), spent);
    has = to;
    while (has < used && has < *was &&
           !atomic_compare_exchange_weak(&e->allowed, &has, used < *was ? used : *was))
        ;
    *is = used > to ? used : to;
    return !asked && *is < *was;
}

/* --- the scribe --- */

void money_set(struct shm *s, uint32_t entity, struct money_period period, uint64_t spent) {
    struct shm_state *e = state_of(s, entity);
    if (!e)
        return;
    if (atomic_load(&e->money_period) != pack(period))
        atomic_store(&e->money_period, 0);
    atomic_store(&e->money_spent, spent);
    atomic_store(&e->money_period, pack(period));
}

void money_forget(struct shm *s, uint32_t entity) {
    struct shm_state *e = state_of(s, entity);
    if (e && atomic_load(&e->money_period) != 0)
        atomic_store(&e->money_period, 0);
}

/* What is going to be written is said first, in absolute numbers: it can be written again. */
static void intend(struct shm *s, uint32_t slot, uint64_t upto, const struct money_list *held,
                   uint64_t amount) {
    struct shm_intent *t = &s->head->intent;
    for (size_t i = 0; i < held->n; i++) {
        atomic_store(&t->entity[i], held->entity[i]);
        atomic_store(&t->booked[i], atomic_load(&share(s, slot, held->entity[i])->booked) + amount);
    }
    atomic_store(&t->n, (uint32_t)held->n);
    atomic_store(&t->upto, upto);
    atomic_store(&t->slot, slot + 1);
}

static void carry_out(struct shm *s) {
    struct shm_intent *t = &s->head->intent;
    uint32_t slot = atomic_load(&t->slot) - 1, n = atomic_load(&t->n);
    for (uint32_t i = 0; i < n && i < MONEY_MOST; i++)
        atomic_store(&share(s, slot, atomic_load(&t->entity[i]))->booked, atomic_load(&t->booked[i]));
    atomic_store(&s->slots[slot].booked, atomic_load(&t->upto));
    atomic_store(&t->slot, 0);
}

static void say_booking(struct shm *s, bool now) {
    uint32_t is = atomic_load(&s->head->booking);
    if ((is % 2 != 0) != now)
        atomic_store(&s->head->booking, is + 1);
}

void money_recover(struct shm *s) {
    if (atomic_load(&s->head->intent.slot))
        carry_out(s);
    say_booking(s, false);
}

static void spend(struct shm *s, const struct money_list *spenders, uint64_t amount) {
    for (size_t i = 0; i < spenders->n; i++) {
        struct shm_state *e = state_of(s, spenders->entity[i]);
        if (e)
            atomic_store(&e->money_spent, add(atomic_load(&e->money_spent), amount));
    }
}

void money_book(struct shm *s, uint32_t slot, uint64_t upto, const struct money_list *spenders,
                const struct money_list *held, uint64_t amount) {
    struct money_list own = {.n = 0};
    MUST(slot < SHM_MAX_SLOTS && held->n <= MONEY_MOST);
    for (size_t i = 0; i < held->n; i++)
        if (held->entity[i] < SHM_MAX_ENTITIES) /* from a ring: believed, but not blindly */
            own.entity[own.n++] = held->entity[i];
    say_booking(s, true);
    spend(s, spenders, amount);
    if (atomic_load(&s->slots[slot].booked) < upto) {
        intend(s, slot, upto, &own, amount);
        carry_out(s);
    }
    say_booking(s, false);
}

/* --- told of once --- */

bool money_tell_unpriced(struct shm *s, uint32_t entity) {
    struct shm_state *e = state_of(s, entity);
    uint32_t was = 0;
    return e && atomic_compare_exchange_strong(&e->unpriced_told, &was, 1);
}

uint32_t money_told(const struct shm *s, uint32_t entity) {
    struct shm_state *e = state_of(s, entity);
    return e ? atomic_load(&e->money_told) : 0;
}

void money_set_told(struct shm *s, uint32_t entity, uint32_t n) {
    struct shm_state *e = state_of(s, entity);
    if (e)
        atomic_store(&e->money_told, n);
}
