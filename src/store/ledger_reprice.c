/* What a time cost by other prices: the rows of each of its hours are priced anew, and where the sum of a
 * group is another now, a correction says so and the sum is changed, in one transaction. The rows stay. */
#include "base/die.h"
#include "base/log.h"
#include "ledger_walk.h"
#include "pack.h"

/* --- corrections --- */

enum { CORRECTION_VERSION = 1 };

void correction_pack(struct buf *out, const struct correction *c) {
    size_t n = 1 + 6 * 8 + pack_str_size(c->by) + c->key.n;
    char *to = buf_room(out, n);
    if (!to)
        return;
    to = pack_u8(to, CORRECTION_VERSION);
    to = pack_u64(to, c->job);
    to = pack_u64(to, (uint64_t)c->was_nano);
    to = pack_u64(to, (uint64_t)c->is_nano);
    to = pack_u64(to, c->was_unpriced);
    to = pack_u64(to, c->is_unpriced);
    to = pack_u64(to, c->records);
    to = pack_str(to, c->by);
    pack_bytes(to, c->key.p, c->key.n);
    buf_commit(out, n);
}

bool correction_unpack(struct str packed, struct correction *c) {
    struct sums_names names;
    struct unpack u = {.p = packed.p, .n = packed.n};
    unsigned version = unpack_u8(&u);
    c->job = unpack_u64(&u);
    c->was_nano = (int64_t)unpack_u64(&u);
    c->is_nano = (int64_t)unpack_u64(&u);
    c->was_unpriced = unpack_u64(&u);
    c->is_unpriced = unpack_u64(&u);
    c->records = unpack_u64(&u);
    c->by = unpack_str(&u);
    c->key = str_make(u.p, u.n);
    return version == CORRECTION_VERSION && !u.bad && u.n <= SUMS_KEY_MAX && sums_read_key(c->key, &names);
}

struct sums correction_change(const struct correction *c) {
    return (struct sums){.unpriced = c->is_unpriced - c->was_unpriced,
                         .cost_nano = (int64_t)((uint64_t)c->is_nano - (uint64_t)c->was_nano)};
}

/* --- jobs --- */

enum { JOB_KEY = 16, JOB_VERSION = 1, JOBS_KEPT = 1000 };

static struct str job_key(unsigned char out[JOB_KEY], int64_t asked_ms, uint64_t number) {
    key_u64(out, (uint64_t)asked_ms);
    key_u64(out + 8, number);
    return str_make((const char *)out, JOB_KEY);
}

void ledger_job_name(char out[2 * JOB_KEY + 1], int64_t asked_ms, uint64_t number) {
    unsigned char key[JOB_KEY];
    job_key(key, asked_ms, number);
    hex_encode(out, key, sizeof key);
}

bool ledger_job_read_name(struct str name, int64_t *asked_ms, uint64_t *number) {
    char key[JOB_KEY];
    if (!hex_decode((uint8_t *)key, sizeof key, name))
        return false;
    *asked_ms = (int64_t)key_read_u64(key);
    *number = key_read_u64(key + 8);
    return true;
}

void ledger_job_pack(struct buf *out, const struct ledger_job *j) {
    size_t n = 1 + 1 + 3 * 4 + 8 * 8 + pack_str_size(j->by) + pack_str_size(j->error);
    char *to = buf_room(out, n);
    if (!to)
        return;
    to = pack_u8(to, JOB_VERSION);
    to = pack_u8(to, j->done);
    to = pack_u32(to, j->from_hour);
    to = pack_u32(to, j->until_hour);
    to = pack_u32(to, j->next_hour);
    const uint64_t v[] = {(uint64_t)j->asked_ms, j->number,           j->hours,
                          j->left_out,           j->records,          j->corrections,
                          (uint64_t)j->was_nano, (uint64_t)j->is_nano};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        to = pack_u64(to, v[i]);
    to = pack_str(to, j->by);
    pack_str(to, j->error);
    buf_commit(out, n);
}

bool ledger_job_unpack(struct str packed, struct ledger_job *j) {
    struct unpack u = {.p = packed.p, .n = packed.n};
    unsigned version = unpack_u8(&u), done = unpack_u8(&u);
    *j = (struct ledger_job){.done = done};
    j->from_hour = unpack_u32(&u);
    j->until_hour = unpack_u32(&u);
    j->next_hour = unpack_u32(&u);
    j->asked_ms = (int64_t)unpack_u64(&u);
    j->number = unpack_u64(&u);
    j->hours = unpack_u64(&u);
    j->left_out = unpack_u64(&u);
    j->records = unpack_u64(&u);
    j->corrections = unpack_u64(&u);
    j->was_nano = (int64_t)unpack_u64(&u);
    j->is_nano = (int64_t)unpack_u64(&u);
    j->by = unpack_str(&u);
    j->error = unpack_str(&u);
    return version == JOB_VERSION && done <= 1 && !u.bad && u.n == 0;
}

static void put_job(struct db_txn *t, const struct ledger_job *j) {
    unsigned char key[JOB_KEY];
    struct buf b;
    buf_init(&b, 4096);
    ledger_job_pack(&b, j);
    db_put(t, TABLE_JOBS, job_key(key, j->asked_ms, j->number), buf_str(&b));
    buf_free(&b);
}

static unsigned drop_one(void *arg, struct str key, struct str value) {
    struct ledger_job j;
    (void)arg, (void)key;
    return (!ledger_job_unpack(value, &j) || j.done ? DB_DELETE : DB_KEEP) | DB_STOP;
}

void ledger_job_add(struct db_txn *t, const struct ledger_job *j) {
    struct ledger_job is;
    if (ledger_job_get(t, j->asked_ms, j->number, &is))
        return; /* a batch that is taken again */
    if (db_entries(t, TABLE_JOBS) >= JOBS_KEPT)
        db_each_delete(t, TABLE_JOBS, STR_NONE, drop_one, NULL);
    put_job(t, j);
}

bool ledger_job_get(struct db_txn *t, int64_t asked_ms, uint64_t number, struct ledger_job *j) {
    unsigned char key[JOB_KEY];
    struct str v;
    return db_get(t, TABLE_JOBS, job_key(key, asked_ms, number), &v) && ledger_job_unpack(v, j);
}

struct pending {
    struct ledger_job *job;
    bool any;
};

static bool take_pending(void *arg, struct str key, struct str value) {
    struct pending *p = arg;
    (void)key;
    p->any = ledger_job_unpack(value, p->job) && !p->job->done;
    return !p->any;
}

bool ledger_job_pending(struct db_txn *t, struct ledger_job *j) {
    struct pending p = {.job = j};
    db_each(t, TABLE_JOBS, STR_NONE, take_pending, &p);
    return p.any;
}

/* --- an hour --- */

struct ledger_reprice {
    ledger_price_fn *price;
    void *arg;
    struct ledger_hour hour;
    uint64_t next; /* record */
    unsigned left;
    bool more;
    struct groups groups;
};

struct ledger_reprice *ledger_reprice_new(ledger_price_fn *price, void *arg) {
    struct ledger_reprice *r = mem_alloc(sizeof *r);
    r->price = price;
    r->arg = arg;
    return r;
}

void ledger_reprice_free(struct ledger_reprice *r) {
    if (r)
        groups_free(&r->groups);
    mem_free(r);
}

static bool take_row(void *arg, struct str key, struct str value) {
    struct ledger_reprice *p = arg;
    unsigned char group[SUMS_KEY_MAX];
    struct chain_record rec;
    struct ledger_row row;
    if (!chain_unpack(key, value, &rec))
        return true; /* what is wrong is for those to tell who verify */
    p->more = p->left == 0 && rec.number <= p->hour.last;
    if (p->more || rec.number > p->hour.last)
        return false;
    p->left--;
    p->next = rec.number + 1;
    if (rec.type != RECORD_IS_USAGE || !ledger_unpack(NULL, rec.payload, &row) ||
        sums_hour(row.wall_ms) != p->hour.hour)
        return true;
    row.cost_nano = p->price(p->arg, &row);
    size_t n = sums_key(group, &row);
    sums_of_row(groups_sums(&p->groups, str_make((const char *)group, n)), &row);
    return true;
}

static void walk(struct ledger_reprice *p, struct db_txn *t, unsigned at_most) {
    unsigned char key[CHAIN_KEY];
    p->left = at_most;
    db_each(t, TABLE_ROWS, chain_key(key, p->next), take_row, p);
}

struct hour_search {
    struct ledger_hour *hour;
    uint32_t until;
    bool any;
};

static bool take_hour(void *arg, struct str key, struct str value) {
    struct hour_search *s = arg;
    s->any = ledger_read_hour(key, value, s->hour) && s->hour->hour < s->until;
    return false;
}

/* The job's next hour that has records. */
static bool find_hour(struct db_txn *t, const struct ledger_job *j, struct ledger_hour *h) {
    unsigned char key[4];
    struct hour_search s = {.hour = h, .until = j->until_hour};
    key_u32(key, j->next_hour);
    if (j->next_hour < j->until_hour)
        db_each(t, TABLE_HOURS, str_make((const char *)key, sizeof key), take_hour, &s);
    return s.any;
}

static bool is_whole(struct db_txn *t, const struct ledger_hour *h) {
    struct chain c;
    return chain_read(t, &c) && h->first >= c.first && h->hour >= ledger_whole_from(t);
}

enum ledger_step ledger_reprice_walk(struct ledger_reprice *p, struct db_txn *t, const struct ledger_job *j,
                                     unsigned at_most) {
    struct ledger_hour h;
    if (!find_hour(t, j, &h))
        return LEDGER_STEP_END;
    if (p->hour.hour != h.hour || p->next == 0) { /* a new one */
        groups_clear(&p->groups);
        p->next = h.first;
    }
    p->hour = h; /* its end may have moved */
    p->more = false;
    if (is_whole(t, &h))
        walk(p, t, at_most);
    return p->more ? LEDGER_STEP_MORE : LEDGER_STEP_HOUR;
}

static void correct(struct db_txn *t, struct ledger_job *j, const struct group *g, int64_t now_ms) {
    struct sums is;
    struct str key = group_key(g), was;
    if (!db_get(t, TABLE_SUMS, key, &was) || !sums_unpack(was, &is) || is.requests != g->sums.requests) {
        log_event(LVL_ERROR, "store",
                  "a sum of the ledger is not that of its records, and is not priced anew");
        j->left_out++;
        return;
    }
    j->records += is.requests;
    j->was_nano += is.cost_nano;
    j->is_nano += g->sums.cost_nano;
    if (is.cost_nano == g->sums.cost_nano && is.unpriced == g->sums.unpriced)
        return;
    struct correction c = {.job = j->number,
                           .by = j->by,
                           .key = key,
                           .was_nano = is.cost_nano,
                           .is_nano = g->sums.cost_nano,
                           .was_unpriced = is.unpriced,
                           .is_unpriced = g->sums.unpriced,
                           .records = is.requests};
    struct buf b;
    buf_init(&b, 4096);
    correction_pack(&b, &c);
    chain_append(t, ledger_batch(t), RECORD_IS_CORRECTION, now_ms, buf_str(&b));
    buf_free(&b);
    is.cost_nano = c.is_nano;
    is.unpriced = c.is_unpriced;
    ledger_put_sums(t, key, &is);
    j->corrections++;
}

void ledger_reprice_hour(struct ledger_reprice *p, struct db_txn *t, struct ledger_job *j, int64_t now_ms) {
    if (is_whole(t, &p->hour)) {
        for (size_t i = 0; i < p->groups.n; i++)
            correct(t, j, &p->groups.list[i], now_ms);
        j->hours++;
    } else {
        j->left_out++;
    }
    j->next_hour = p->hour.hour + 1;
    put_job(t, j);
    groups_clear(&p->groups);
    p->next = 0;
}

void ledger_reprice_end(struct db_txn *t, struct ledger_job *j, struct str error) {
    j->done = true;
    j->error = error;
    put_job(t, j);
}
