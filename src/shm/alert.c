/* Places of one alert each. The id is the word that says whether the others are to be believed: zero while
 * they are written. One writer at a time, so nothing here waits or swaps. */
#include "shm/alert.h"

#include "layout.h"

static const struct {
    const char *name, *unit;
} rows[ALERT_KINDS] = {
#define X(n, w, u) {w, u},
    ALERTS(X)
#undef X
};

const char *alert_name(enum alert_kind k) {
    return rows[k].name;
}

const char *alert_unit(enum alert_kind k) {
    return rows[k].unit;
}

static uint64_t bits_of(double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static double load_real(word *w) {
    uint64_t bits = atomic_load_explicit(w, memory_order_relaxed);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static struct shm_alert *place_of(const struct shm *s, uint32_t i) {
    return &s->head->alert[i];
}

bool alert_at(const struct shm *s, uint32_t i, struct alert *out) {
    struct shm_alert *a = i < ALERT_PLACES ? place_of(s, i) : NULL;
    uint64_t id = a ? atomic_load_explicit(&a->id, memory_order_acquire) : 0, kind, text;
    if (id == 0)
        return false;
    kind = atomic_load_explicit(&a->kind, memory_order_relaxed);
    *out = (struct alert){
        .id = id,
        .kind = kind < ALERT_KINDS ? (enum alert_kind)kind : ALERT_ERROR_RATE,
        .value = load_real(&a->value),
        .threshold = load_real(&a->threshold),
        .raised_ms = (int64_t)atomic_load_explicit(&a->raised_ms, memory_order_relaxed),
        .recovered_ms = (int64_t)atomic_load_explicit(&a->recovered_ms, memory_order_relaxed),
        .told = (unsigned)atomic_load_explicit(&a->told, memory_order_relaxed),
    };
    for (size_t k = 0; k < ALERT_SUBJECT / sizeof text; k++) {
        text = atomic_load_explicit(&a->subject[k], memory_order_relaxed);
        memcpy(out->subject + k * sizeof text, &text, sizeof text);
    }
    out->subject[ALERT_SUBJECT - 1] = '\0';
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&a->id, memory_order_relaxed) == id; /* else it was replaced meanwhile */
}

uint32_t alert_active(const struct shm *s, enum alert_kind k, struct str subject) {
    struct alert a;
    char cut[ALERT_SUBJECT];
    str_copy(cut, sizeof cut, subject);
    for (uint32_t i = 0; i < ALERT_PLACES; i++)
        if (alert_at(s, i, &a) && a.recovered_ms == 0 && a.kind == k && strcmp(a.subject, cut) == 0)
            return i;
    return SHM_NONE;
}

/* An empty place, else the one that recovered first. */
static uint32_t place_for_new(struct shm *s) {
    const unsigned all =
        ALERT_LOGGED_RAISED | ALERT_LOGGED_RECOVERED | ALERT_SENT_RAISED | ALERT_SENT_RECOVERED;
    struct alert a, oldest = {.recovered_ms = INT64_MAX};
    uint32_t best = SHM_NONE;
    for (uint32_t i = 0; i < ALERT_PLACES; i++) {
        if (!alert_at(s, i, &a))
            return i;
        if (a.recovered_ms == 0 || a.recovered_ms > oldest.recovered_ms ||
            (a.recovered_ms == oldest.recovered_ms && a.id > oldest.id))
            continue;
        best = i;
        oldest = a;
    }
    if (best != SHM_NONE && oldest.told != all)
        stat_add(s, STAT_WEBHOOK_LOST, 1);
    return best;
}

static void put_subject(struct shm_alert *a, struct str subject) {
    union {
        char z[ALERT_SUBJECT];
        uint64_t word[ALERT_SUBJECT / sizeof(uint64_t)];
    } text = {.word = {0}};
    str_copy(text.z, sizeof text.z, subject);
    for (size_t i = 0; i < sizeof text.word / sizeof text.word[0]; i++)
        atomic_store_explicit(&a->subject[i], text.word[i], memory_order_relaxed);
}

uint32_t alert_raise(struct shm *s, enum alert_kind k, struct str subject, double value, double threshold,
                     int64_t now_ms) {
    uint32_t i = alert_active(s, k, subject);
    if (i != SHM_NONE) {
        atomic_store_explicit(&place_of(s, i)->value, bits_of(value), memory_order_relaxed);
        return i;
    }
    i = place_for_new(s);
    if (i == SHM_NONE)
        return i;
    struct shm_alert *a = place_of(s, i);
    uint64_t id = atomic_load(&s->head->alert_ids) + 1;
    atomic_store(&s->head->alert_ids, id);
    atomic_store_explicit(&a->id, 0, memory_order_relaxed);
    atomic_thread_fence(
        memory_order_seq_cst); /* a reader that sees a new word sees that the old id is gone */
    put_subject(a, subject);
    atomic_store_explicit(&a->kind, k, memory_order_relaxed);
    atomic_store_explicit(&a->value, bits_of(value), memory_order_relaxed);
    atomic_store_explicit(&a->threshold, bits_of(threshold), memory_order_relaxed);
    atomic_store_explicit(&a->raised_ms, (uint64_t)now_ms, memory_order_relaxed);
    atomic_store_explicit(&a->recovered_ms, 0, memory_order_relaxed);
    atomic_store_explicit(&a->told, 0, memory_order_relaxed);
    atomic_store_explicit(&a->id, id, memory_order_release);
    stat_add(s, STAT_ALERTS, 1);
    return i;
}

void alert_recover(struct shm *s, uint32_t place, double value, int64_t now_ms) {
    struct shm_alert *a = place_of(s, place);
    atomic_store_explicit(&a->value, bits_of(value), memory_order_relaxed);
    atomic_store_explicit(&a->recovered_ms, now_ms > 0 ? (uint64_t)now_ms : 1, memory_order_release);
}

void alert_told(struct shm *s, uint64_t id, unsigned what) {
    for (uint32_t i = 0; i < ALERT_PLACES; i++) {
        struct shm_alert *a = place_of(s, i);
        if (atomic_load(&a->id) == id)
            atomic_store(&a->told, atomic_load(&a->told) | what);
    }
}

/* --- what the last hour cost: the total at the beginning of each minute --- */

uint64_t alert_hour_cost(struct shm *s, uint64_t total_nano, uint64_t now_ms) {
    uint64_t minute = now_ms / 60000 + 1; /* 0: never written */
    struct shm_spent *now = &s->head->spent[minute % SPENT_MINUTES];
    if (atomic_load(&now->minute) != minute) {
        atomic_store(&now->minute, 0);
        atomic_store(&now->total, total_nano);
        atomic_store(&now->minute, minute);
    }
    uint64_t first = UINT64_MAX, then = 0;
    for (size_t i = 0; i < SPENT_MINUTES; i++) {
        uint64_t m = atomic_load(&s->head->spent[i].minute);
        if (m && m + SPENT_MINUTES > minute && m < first) {
            first = m;
            then = atomic_load(&s->head->spent[i].total);
        }
    }
    if (atomic_load(&s->head->spent_first) == 0)
        atomic_store(&s->head->spent_first, minute);
    if (atomic_load(&s->head->spent_first) + SPENT_MINUTES > minute) /* all there was is of this hour */
        then = 0;
    return total_nano > then ? total_nano - then : 0;
}
