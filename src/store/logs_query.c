/* What the log tells: a walk backwards over the rows, or, for a request id, over the arrays of ids. */
#include "base/clock.h"
#include "base/hash.h"
#include "logs_row.h"
#include "pack.h"

/* A worker answers other requests as well: so much of the store is looked at for one page. */
enum { ROWS_MOST = 20000, ARRAYS_MOST = 20000, BYTES_MOST = 4 << 20 };

struct query {
    struct db_txn *t;
    const struct logs_filter *f;
    struct jw *w;
    size_t limit, bytes; /* bytes: written before */
    unsigned steps;
    struct logs_page *page;
    struct logs_cursor from;
    uint64_t id; /* hash of the request id that is looked for */
};

/* --- filters --- */

static bool is(struct str wanted, struct str have) {
    return wanted.n == 0 || str_eq(wanted, have);
}

static bool status_is(const struct logs_filter *f, int status) {
    return f->status_to == 0 || (status >= f->status_from && status <= f->status_to);
}

static bool tried(const struct logs_filter *f, const struct ledger_row *r) {
    if (is(f->provider, r->provider) && (is(f->model, r->model_asked) || is(f->model, r->model)))
        return true;
    for (unsigned i = 0; i < r->attempts; i++)
        if (is(f->provider, r->attempt[i].provider) &&
            (is(f->model, r->attempt[i].model) || is(f->model, r->model_asked)))
            return true;
    return false;
}

static bool row_is(const struct logs_filter *f, const struct ledger_row *r) {
    return is(f->request_id, r->request_id) && is(f->key, r->key) && is(f->tenant, r->tenant) &&
           status_is(f, r->status) && tried(f, r);
}

static bool event_is(const struct logs_filter *f, const struct log_fields *e) {
    return is(f->request_id, e->request_id) && is(f->key, e->key) && is(f->tenant, e->tenant) &&
           is(f->provider, e->provider) && is(f->model, e->model) && status_is(f, e->status);
}

static bool type_is(const struct logs_filter *f, enum logs_type t) {
    return (f->types == 0 && f->errors == 0) || (f->types & (1u << t));
}

static bool answer_is(const struct logs_filter *f, const struct ledger_row *r) {
    return type_is(f, ledger_failed(r) ? LOGS_ERROR : LOGS_RESPONSE) ||
           (f->errors & UINT64_C(1) << ledger_error(r));
}

/* --- one record --- */

static void write_event(struct jw *w, const struct logs_event *e) {
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    char when[CLOCK_RFC3339_SIZE];
    const struct log_fields *f = &e->fields;
    const struct {
        const char *name;
        struct str value;
    } fields[] = {{"request_id", f->request_id}, {"key", f->key},     {"tenant", f->tenant},
                  {"provider", f->provider},     {"model", f->model}, {"peer", f->peer}};
    clock_rfc3339(when, e->wall_ms);
    jw_obj(w);
    jw_kz(w, "time", when);
    jw_kz(w, "level", levels[e->level]);
    jw_kz(w, "event", logs_type_name(e->type));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value.n)
            jw_kstr(w, fields[i].name, fields[i].value);
    if (f->status)
        jw_kint(w, "status", f->status);
    jw_kstr(w, "message", e->message);
    jw_obj_end(w);
}

static void write_texts(struct jw *w, const struct logs_talk *t, unsigned first, unsigned last) {
    bool cut = false;
    for (unsigned i = first; i <= last; i++) {
        if (t->text[i].n)
            jw_kstr(w, logs_text_name(i), t->text[i]);
        cut |= t->cut[i];
    }
    if (cut)
        jw_kbool(w, "truncated", true);
    if (t->left_out)
        jw_kz(w, "content", "left out");
}

static void write_request(struct jw *w, const struct ledger_row *r, const struct logs_talk *t) {
    char when[CLOCK_RFC3339_SIZE];
    clock_rfc3339(when, r->wall_ms - r->ms);
    jw_obj(w);
    jw_kz(w, "time", when);
    jw_kz(w, "level", "info");
    jw_kz(w, "event", "request");
    jw_kstr(w, "request_id", r->request_id);
    jw_kstr(w, "key", r->key);
    jw_kstr(w, "tenant", r->tenant);
    jw_kstr(w, "surface", r->surface);
    jw_kstr(w, "model", r->model_asked);
    jw_kbool(w, "stream", r->stream);
    jw_ku64(w, "max_tokens", r->max_tokens);
    jw_ku64(w, "estimated_tokens", r->estimated_tokens);
    jw_ku64(w, "bytes_in", r->bytes_in);
    jw_kstr(w, "peer", r->peer);
    write_texts(w, t, LOGS_TEXT_prompt, LOGS_TEXT_prompt);
    jw_obj_end(w);
}

static void write_response(struct jw *w, const struct ledger_row *r, const struct logs_talk *t) {
    jw_obj(w);
    ledger_log_members(w, r);
    write_texts(w, t, LOGS_TEXT_answer, LOGS_TEXT_error);
    jw_obj_end(w);
}

/* --- the walk --- */

/* Of a record of this key, parts up to and with `part` are told. False: the page is full. */
static bool told(struct query *q, struct str key, unsigned part) {
    struct logs_page *p = q->page;
    p->next = (struct logs_cursor){key_read_u64(key.p), key_read_u64(key.p + 8), part};
    p->records++;
    return p->records < q->limit && buf_len(q->w->out) - q->bytes < BYTES_MOST;
}

static bool tell_talk(struct query *q, struct str key, unsigned from, const struct logs_talk *talk) {
    struct ledger_row r;
    if (!ledger_unpack(NULL, talk->row, &r) || !row_is(q->f, &r))
        return true;
    if (from <= 1 && answer_is(q->f, &r)) {
        write_response(q->w, &r, talk);
        if (!told(q, key, 1))
            return false;
    }
    if (!type_is(q->f, LOGS_REQUEST))
        return true;
    write_request(q->w, &r, talk);
    return told(q, key, 2);
}

/* from: the first part that has not been told. */
static bool tell(struct query *q, struct str key, unsigned from, struct str value) {
    struct logs_talk talk;
    struct logs_event e;
    if (logs_unpack_talk(value, &talk))
        return tell_talk(q, key, from, &talk);
    if (from > 1 || !logs_unpack_event(value, &e) || !type_is(q->f, e.type) || !event_is(q->f, &e.fields))
        return true;
    write_event(q->w, &e);
    return told(q, key, 2);
}

static bool is_same(const struct logs_cursor *c, struct str key) {
    return key_read_u64(key.p) == c->wall_ms && key_read_u64(key.p + 8) == c->sequence;
}

static unsigned part_from(const struct query *q, struct str key) {
    return is_same(&q->from, key) ? q->from.part + 1 : 1;
}

static bool take_row(void *arg, struct str key, struct str value) {
    struct query *q = arg;
    if (key.n != LOGS_KEY)
        return true;
    if ((int64_t)key_read_u64(key.p) < q->f->from)
        return false;
    if (q->steps-- == 0) {
        q->page->more = true;
        return false;
    }
    unsigned from = part_from(q, key);
    q->page->next = (struct logs_cursor){key_read_u64(key.p), key_read_u64(key.p + 8), from - 1};
    bool on = from > 2 || tell(q, key, from, value);
    if (on)
        q->page->next.part = 2;
    q->page->more |= !on;
    return on;
}

/* An array may reach over what a page has told already: its rows are compared one by one. */
static bool take_ids(void *arg, struct str first, struct str ids) {
    struct query *q = arg;
    if (first.n != LOGS_KEY || ids.n % LOGS_ID)
        return true;
    if (q->steps-- == 0) {
        q->page->more = true;
        return false;
    }
    for (size_t at = ids.n; at >= LOGS_ID; at -= LOGS_ID) {
        struct str id = str_make(ids.p + at - LOGS_ID, LOGS_ID), key = str_skip(id, 8), value;
        uint64_t ms = key_read_u64(key.p);
        bool seen =
            ms > q->from.wall_ms || (ms == q->from.wall_ms && key_read_u64(key.p + 8) > q->from.sequence);
        if (key_read_u64(id.p) != q->id || seen || (int64_t)ms < q->f->from || (int64_t)ms >= q->f->to)
            continue;
        unsigned from = part_from(q, key);
        if (from <= 2 && db_get(q->t, LOGS_ROWS, key, &value) && !tell(q, key, from, value)) {
            q->page->more = true;
            return false;
        }
    }
    q->page->next = (struct logs_cursor){key_read_u64(first.p), key_read_u64(first.p + 8), 2};
    return (int64_t)key_read_u64(first.p) >= q->f->from;
}

void logs_query(struct db_txn *t, const struct logs_filter *f, struct logs_cursor from, size_t limit,
                struct jw *w, struct logs_page *page) {
    struct query q = {.t = t,
                      .f = f,
                      .w = w,
                      .limit = limit,
                      .bytes = buf_len(w->out),
                      .steps = f->request_id.n ? ARRAYS_MOST : ROWS_MOST,
                      .page = page,
                      .from = from,
                      .id = hash64(f->request_id.p, f->request_id.n)};
    unsigned char before[LOGS_KEY];
    *page = (struct logs_page){.next = from};
    if ((int64_t)from.wall_ms >= f->to || from.wall_ms > INT64_MAX) {
        key_u64(before, (uint64_t)f->to);
        key_u64(before + 8, 0);
    } else { /* the record itself may have a part that was not told */
        key_u64(before, from.wall_ms);
        key_u64(before + 8, from.sequence < UINT64_MAX ? from.sequence + 1 : UINT64_MAX);
    }
    db_each_back(t, f->request_id.n ? LOGS_IDS : LOGS_ROWS, str_make((const char *)before, sizeof before),
                 f->request_id.n ? take_ids : take_row, &q);
}
