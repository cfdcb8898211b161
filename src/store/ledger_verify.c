/* Goes over the chain from its base to its tip, and beside that adds up what the records of each hour are,
 * to compare it with the sums that are kept of it. The ledger goes on meanwhile: a step first walks to the
 * tip as it is now, and what it then compares is of the same moment. */
#include "base/die.h"
#include "ledger_walk.h"
#include "pack.h"
#include "sums.h"

struct hour_check {
    uint32_t hour;
    uint64_t check; /* sums_check() of its records */
};
struct ledger_verify {
    struct ledger_verdict out;
    struct chain chain; /* as of this step */
    bool begun, over, more;
    unsigned left; /* of this step */
    uint64_t next; /* record */
    uint8_t hash[SHA256_SIZE];
    struct hour_check *hours;
    size_t n, cap;
    uint64_t from_hour; /* the first whose sums have not been compared */
    bool note;
    uint64_t note_number;
    uint8_t note_hash[SHA256_SIZE];
};

struct ledger_verify *ledger_verify_new(void) {
    return mem_alloc(sizeof(struct ledger_verify));
}

void ledger_verify_note(struct ledger_verify *v, uint64_t number, const uint8_t hash[SHA256_SIZE]) {
    v->note = true;
    v->note_number = number;
    memcpy(v->note_hash, hash, SHA256_SIZE);
}

const struct ledger_verdict *ledger_verify_verdict(const struct ledger_verify *v) {
    return &v->out;
}

void ledger_verify_free(struct ledger_verify *v) {
    if (v)
        mem_free(v->hours);
    mem_free(v);
}

static bool broken(struct ledger_verify *v, uint64_t number, const char *why) {
    v->over = true;
    v->out.at_record = true;
    v->out.number = number;
    v->out.why = why;
    return false;
}

/* --- records --- */

static struct hour_check *check_of(struct ledger_verify *v, uint32_t hour, bool make) {
    for (size_t i = v->n; i-- > 0;)
        if (v->hours[i].hour == hour)
            return &v->hours[i];
    if (!make)
        return NULL;
    if (v->n == v->cap) {
        v->cap = v->cap ? 2 * v->cap : 64;
        v->hours = mem_grow(v->hours, v->cap * sizeof *v->hours);
    }
    v->hours[v->n] = (struct hour_check){hour, 0};
    return &v->hours[v->n++];
}

static void add_up(struct ledger_verify *v, struct str key, const struct sums *s) {
    check_of(v, key_read_u32(key.p), true)->check += sums_check(key, s);
}

static bool take_usage(struct ledger_verify *v, struct str payload) {
    unsigned char key[SUMS_KEY_MAX];
    struct ledger_row row;
    struct sums s = {.requests = 0};
    if (!ledger_unpack(NULL, payload, &row))
        return false;
    size_t n = sums_key(key, &row);
    sums_of_row(&s, &row);
    add_up(v, str_make((const char *)key, n), &s);
    return true;
}

static bool take_correction(struct ledger_verify *v, struct str payload) {
    struct correction c;
    if (!correction_unpack(payload, &c))
        return false;
    struct sums change = correction_change(&c);
    add_up(v, c.key, &change);
    v->out.corrections++;
    return true;
}

static void take_hash(struct ledger_verify *v, const uint8_t hash[SHA256_SIZE]) {
    memcpy(v->hash, hash, sizeof v->hash);
    if (v->note && v->next == v->note_number) {
        v->out.noted = memcmp(hash, v->note_hash, sizeof v->hash) == 0;
        if (!v->out.noted)
            broken(v, v->next, "has not the hash that was noted");
    }
}

static bool take_record(void *arg, struct str key, struct str value) {
    struct ledger_verify *v = arg;
    struct chain_record r;
    v->more = v->left == 0;
    if (v->more)
        return false;
    v->left--;
    if (!chain_unpack(key, value, &r))
        return broken(v, v->next, "is followed, or replaced, by something that is no record");
    if (r.number < v->next)
        return broken(v, r.number, "was put in by hand");
    if (v->next >= v->chain.next)
        return broken(v, r.number, "was put in by hand");
    if (r.number > v->next)
        return broken(v, v->next, "is missing");
    if (!chain_follows(value, v->hash))
        return broken(v, r.number, "is not what was written, or what stood before it is not");
    if (r.type == RECORD_IS_USAGE ? !take_usage(v, r.payload)
                                  : r.type != RECORD_IS_CORRECTION || !take_correction(v, r.payload))
        return broken(v, r.number, "is of a kind that is not known");
    take_hash(v, r.hash);
    v->out.records++;
    v->next++;
    return !v->over;
}

static void walk(struct ledger_verify *v, struct db_txn *t) {
    unsigned char key[CHAIN_KEY];
    struct str from = STR_NONE;
    if (v->begun && v->next >= v->chain.first) {
        from = chain_key(key, v->next);
    } else { /* or what was next has gone with its age */
        v->next = v->chain.first;
        memcpy(v->hash, v->chain.base, sizeof v->hash);
        memcpy(v->out.base, v->chain.base, sizeof v->hash);
        v->out.first = v->chain.first;
    }
    v->begun = true;
    v->more = false;
    db_each(t, TABLE_ROWS, from, take_record, v);
    if (v->over || v->more)
        return;
    if (v->next != v->chain.next)
        broken(v, v->next, "is missing");
    else if (memcmp(v->hash, v->chain.tip, sizeof v->hash) != 0)
        broken(v, v->next - (v->next > 0), "is not the last one that was written");
}

/* --- sums --- */

static bool bad_hour(struct ledger_verify *v, uint64_t hour) {
    v->over = true;
    v->out.hour_ms = (int64_t)hour * HOUR_MS;
    v->out.why = "the sums of an hour are not those of its records";
    return false;
}

struct hour_sums {
    bool any;
    uint32_t hour;
    uint64_t check, n;
    bool damaged;
};

static bool take_sums(void *arg, struct str key, struct str value) {
    struct hour_sums *h = arg;
    struct sums s;
    if (key.n < 4) {
        h->damaged = true;
        return false;
    }
    uint32_t hour = key_read_u32(key.p);
    if (h->any && hour != h->hour)
        return false;
    h->any = true;
    h->hour = hour;
    h->n++;
    if (!sums_unpack(value, &s))
        h->damaged = true;
    h->check += sums_check(key, &s);
    return true;
}

/* Are all records that there were of it still there? Of an hour without any: yes. */
static bool is_whole(const struct ledger_verify *v, struct db_txn *t, uint32_t hour) {
    struct ledger_hour h;
    return hour >= ledger_whole_from(t) && (!ledger_hour(t, hour, &h) || h.first >= v->chain.first);
}

/* Hours [from, to) have no sums. */
static bool none_expected(struct ledger_verify *v, struct db_txn *t, uint64_t from, uint64_t to) {
    for (size_t i = 0; i < v->n; i++)
        if (v->hours[i].hour >= from && v->hours[i].hour < to && is_whole(v, t, v->hours[i].hour))
            return bad_hour(v, v->hours[i].hour);
    return true;
}

/* False: there are no more. */
static bool compare_hour(struct ledger_verify *v, struct db_txn *t) {
    unsigned char key[4];
    struct hour_sums h = {.any = false};
    key_u32(key, (uint32_t)v->from_hour);
    db_each(t, TABLE_SUMS, str_make((const char *)key, sizeof key), take_sums, &h);
    if (!h.any && h.damaged)
        return bad_hour(v, v->from_hour);
    uint64_t hour = h.any ? h.hour : (uint64_t)UINT32_MAX + 1;
    if (!none_expected(v, t, v->from_hour, hour) || !h.any)
        return false;
    v->from_hour = hour + 1;
    v->left = h.n < v->left ? v->left - (unsigned)h.n : 0;
    if (!is_whole(v, t, h.hour))
        return h.hour < UINT32_MAX;
    const struct hour_check *c = check_of(v, h.hour, false);
    if (h.damaged || !c || c->check != h.check)
        return bad_hour(v, hour);
    v->out.hours++;
    return h.hour < UINT32_MAX;
}

static void compare(struct ledger_verify *v, struct db_txn *t) {
    bool more = true;
    while (more && v->left > 0 && !v->over)
        more = compare_hour(v, t);
    v->more = more;
}

/* --- steps --- */

bool ledger_verify_step(struct ledger_verify *v, struct db_txn *t, unsigned at_most) {
    v->left = at_most > 2 ? at_most : 2;
    if (!chain_read(t, &v->chain)) {
        v->over = true;
        v->out.ok = db_entries(t, TABLE_ROWS) == 0 && db_entries(t, TABLE_SUMS) == 0;
        v->out.why = v->out.ok ? NULL : "the ledger does not know its chain of records any more";
        return false;
    }
    walk(v, t);
    if (!v->over && !v->more)
        compare(v, t);
    if (!v->over && v->more)
        return true;
    if (!v->over && v->note && !v->out.noted && v->note_number >= v->out.first)
        broken(v, v->note_number, "was noted, and is missing");
    v->over = true;
    v->out.ok = !v->out.why;
    v->out.last = v->next - 1;
    memcpy(v->out.hash, v->hash, sizeof v->hash);
    return false;
}
