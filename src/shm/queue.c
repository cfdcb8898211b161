/* The queue's places: an array in which a place is claimed by putting its owner there, and valid when its
 * virtual time has been written behind that. Nothing is linked, so nothing can be torn; who asks for its turn
 * looks at all that wait, up to the last place in use. */
#include "shm/queue.h"

#include "layout.h"

#define COST_SCALE 1000000U /* virtual time of a token at weight 1: weights divide it without loss */

static uint64_t owner_of(const struct shm *s) {
    MUST(s->slot != SHM_NONE);
    return ((uint64_t)s->slot + 1) << 32 | s->life;
}

static bool lives(const struct shm *s, uint64_t owner) {
    uint32_t slot = (uint32_t)(owner >> 32) - 1;
    return owner != 0 && slot < SHM_MAX_SLOTS && atomic_load(&s->slots[slot].life) == (uint32_t)owner;
}

uint32_t queue_reach(const struct shm *s) {
    uint32_t n = atomic_load(&s->head->queue_high);
    return n < QUEUE_PLACES ? n : QUEUE_PLACES;
}

static void reach_at_least(struct shm *s, uint32_t least) {
    uint32_t n = atomic_load(&s->head->queue_high);
    while (n < least && !atomic_compare_exchange_weak(&s->head->queue_high, &n, least))
        ;
}

/* Behind the last place in use there is none to look at. One that is claimed at the same moment is seen by
 * this look at it once more, or its owner sees the lower bound; who is killed between the two leaves it to
 * the owner's next queue_turn(). */
static void reach_less(struct shm *s) {
    for (uint32_t n = queue_reach(s); n > 0; n = queue_reach(s)) {
        struct shm_place *last = &s->places[n - 1];
        uint32_t is = n;
        if (lives(s, atomic_load(&last->owner)))
            return;
        if (atomic_compare_exchange_strong(&s->head->queue_high, &is, n - 1) &&
            lives(s, atomic_load(&last->owner))) {
            reach_at_least(s, n);
            return;
        }
    }
}

/* --- virtual time --- */

static uint64_t sat_add(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t virtual_of(uint64_t tokens, unsigned weight) {
    uint64_t most = UINT64_MAX / 4 / COST_SCALE;
    return (tokens < most ? tokens : most) * COST_SCALE / (weight ? weight : 1);
}

/* Of a key. What is booked for it stands in times from which this moves all of them at once. */
static int64_t debt_of(const struct shm *s, uint32_t key) {
    struct shm_state *e = state_of(s, key);
    return e ? (int64_t)atomic_load_explicit(&e->queue_debt, memory_order_relaxed) : 0;
}

static uint64_t moved(uint64_t t, int64_t by) {
    uint64_t back = by < 0 ? (uint64_t)-by : 0;
    if (by >= 0)
        return sat_add(t, (uint64_t)by);
    return t > back ? t - back : 1;
}

/* --- who waits --- */

/* One that waits: its virtual end, or 0. */
static uint64_t waits(const struct shm *s, uint32_t i, uint32_t *blocked) {
    struct shm_place *p = &s->places[i];
    uint64_t owner = atomic_load(&p->owner);
    if (!lives(s, owner))
        return 0;
    uint64_t end = atomic_load(&p->end);
    uint32_t key = atomic_load(&p->key);
    *blocked = atomic_load(&p->blocked);
    return end && atomic_load(&p->owner) == owner ? moved(end, debt_of(s, key)) : 0;
}

uint32_t queue_depth(const struct shm *s) {
    uint32_t n = 0;
    for (uint32_t i = 0, m = queue_reach(s); i < m; i++)
        n += lives(s, atomic_load(&s->places[i].owner));
    return n;
}

/* One look at the places, whatever the number of entities; most are free. */
uint32_t queue_any(const struct shm *s, const uint32_t *entity, size_t n) {
    size_t first = n;
    for (uint32_t i = 0, m = queue_reach(s); i < m && first > 0; i++) {
        uint32_t blocked;
        if (atomic_load(&s->places[i].owner) == 0 || !waits(s, i, &blocked) || blocked == SHM_NONE)
            continue;
        for (size_t k = 0; k < first; k++)
            if (entity[k] == blocked)
                first = k;
    }
    return first < n ? entity[first] : SHM_NONE;
}

/* --- booking --- */

static void raise_to(word *w, uint64_t v) {
    uint64_t is = atomic_load(w);
    while (is < v && !atomic_compare_exchange_weak(w, &is, v))
        ;
}

/* A key begins where it ended last, or now when it has not waited for a while: nothing is saved up. */
static void book(struct shm *s, uint32_t key, uint64_t cost, unsigned weight, uint64_t *start,
                 uint64_t *end) {
    struct shm_state *e = state_of(s, key);
    uint64_t now = moved(atomic_load(&s->head->queue_now), -debt_of(s, key));
    uint64_t takes = virtual_of(cost, weight);
    uint64_t was = e ? atomic_load(&e->queue_end) : 0;
    do {
        *start = was > now ? was : now;
        *end = sat_add(*start, takes ? takes : 1);
    } while (e && !atomic_compare_exchange_weak(&e->queue_end, &was, *end));
}

void queue_settle(struct shm *s, uint32_t key, uint64_t cost, uint64_t used, unsigned weight) {
    const int64_t most = INT64_MAX / 2;
    struct shm_state *e = state_of(s, key);
    int64_t by = (int64_t)(virtual_of(used, weight)) - (int64_t)virtual_of(cost, weight), is;
    uint64_t was = e ? atomic_load(&e->queue_debt) : 0;
    do {
        is = (int64_t)was;
        is = by > 0 && is > most - by ? most : by < 0 && is < -most - by ? -most : is + by;
    } while (e && !atomic_compare_exchange_weak(&e->queue_debt, &was, (uint64_t)is));
}

/* --- places --- */

static uint32_t claim(struct shm *s) {
    for (uint32_t i = 0; i < QUEUE_PLACES; i++) {
        struct shm_place *p = &s->places[i];
        uint64_t was = atomic_load(&p->owner);
        if (lives(s, was) || !atomic_compare_exchange_strong(&p->owner, &was, owner_of(s)))
            continue;
        atomic_store(&p->end, 0); /* of a dead owner */
        reach_at_least(s, i + 1);
        return i;
    }
    return SHM_NONE;
}

uint32_t queue_join(struct shm *s, uint32_t key, uint64_t cost, unsigned weight, uint32_t blocked,
                    uint32_t at_most) {
    if (queue_depth(s) >= at_most)
        return SHM_NONE;
    uint32_t i = claim(s);
    if (i == SHM_NONE)
        return i;
    struct shm_place *p = &s->places[i];
    uint64_t start, end;
    book(s, key, cost, weight, &start, &end);
    atomic_store(&p->blocked, blocked);
    atomic_store(&p->key, key);
    atomic_store(&p->start, start);
    atomic_store(&p->end, end);
    return i;
}

static struct shm_place *mine(struct shm *s, uint32_t place) {
    MUST(place < QUEUE_PLACES && atomic_load(&s->places[place].owner) == owner_of(s));
    return &s->places[place];
}

void queue_blocked(struct shm *s, uint32_t place, uint32_t entity) {
    struct shm_place *p = mine(s, place);
    if (atomic_load(&p->blocked) != entity)
        atomic_store(&p->blocked, entity);
}

uint64_t queue_end(const struct shm *s, uint32_t place) {
    struct shm_place *p = &s->places[place];
    return moved(atomic_load(&p->end), debt_of(s, atomic_load(&p->key)));
}

bool queue_turn(struct shm *s, uint32_t place) {
    reach_at_least(s, place + 1);
    uint64_t end = queue_end(s, place);
    uint32_t entity = atomic_load(&s->places[place].blocked), blocked;
    for (uint32_t i = 0, m = queue_reach(s); i < m; i++) {
        uint64_t other = i != place ? waits(s, i, &blocked) : 0;
        if (other && blocked == entity && (other < end || (other == end && i < place)))
            return false;
    }
    return true;
}

/* Time goes on with those that are served. One that leaves gives back what it was booked for, unless its key
 * has booked more behind it. The end is 0 before the place is free: its next owner has none until it says. */
void queue_leave(struct shm *s, uint32_t place, bool served) {
    struct shm_place *p = mine(s, place);
    uint64_t start = atomic_load(&p->start), end = atomic_load(&p->end);
    uint32_t key = atomic_load(&p->key);
    struct shm_state *e = state_of(s, key);
    if (served)
        raise_to(&s->head->queue_now, moved(start, debt_of(s, key)));
    else if (e)
        atomic_compare_exchange_strong(&e->queue_end, &end, start);
    atomic_store(&p->end, 0);
    atomic_store(&p->owner, 0);
    reach_less(s);
}
