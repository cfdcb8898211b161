/* GET /api/v1/llm/logs: requests, responses and errors of the log store, newest first, in camelCase. */
#include "s1.h"

#include <stdlib.h>

#include "base/clock.h"
#include "logs.h"
#include "query.h"

enum { LIMIT = 100, LIMIT_MOST = 1000, DAY_MS = 86400000 };

enum name { START, END, TYPE, MOST, CURSOR, NAMES };
static const char *const names[NAMES] = {"startTime", "endTime", "type", "limit", "cursor"};

/* A plus of an offset that was not escaped has become a space; without any offset it is UTC. */
static bool read_time(struct arena *a, struct str s, int64_t *ms) {
    struct str copy = arena_dup(a, s);
    for (size_t i = 0; i < copy.n; i++)
        if (copy.p[i] == ' ')
            ((char *)(uintptr_t)copy.p)[i] = '+';
    return clock_parse(copy, ms) || clock_parse(arena_printf(a, STR_FMT "Z", STR_ARG(copy)), ms);
}

static bool read_times(struct surface_call *c, const struct str *v, struct logs_filter *f,
                       struct fault *fault) {
    static const char want[] = "expected an ISO 8601 time (2026-01-31T12:00:00Z) or a date";
    f->to = INT64_MAX;
    if (v[END].n && !read_time(c->x->arena, v[END], &f->to))
        return query_wrong(c, fault, STR("endTime"), want);
    if (v[END].n == 10) /* a date means its whole day */
        f->to += DAY_MS;
    if (v[START].n && !read_time(c->x->arena, v[START], &f->from))
        return query_wrong(c, fault, STR("startTime"), want);
    if (f->from < 0)
        f->from = 0;
    return f->from < f->to || query_wrong(c, fault, STR("startTime"), "must lie before endTime");
}

static bool read_type(struct str s, struct logs_filter *f) {
    static const enum logs_type types[] = {LOGS_REQUEST, LOGS_RESPONSE, LOGS_ERROR};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (s.n == 0 || str_isi(s, logs_type_name(types[i])))
            f->types |= 1u << types[i];
    return f->types != 0;
}

static bool read_filter(struct surface_call *c, struct logs_filter *f, struct logs_cursor *at,
                        uint64_t *limit, struct fault *fault) {
    struct str v[NAMES];
    *f = (struct logs_filter){.from = 0};
    *at = LOGS_CURSOR_FIRST;
    *limit = LIMIT;
    if (!query_read(c, names, v, NAMES, fault) || !read_times(c, v, f, fault))
        return false;
    if (!read_type(v[TYPE], f))
        return query_wrong(c, fault, STR("type"), "expected request, response or error");
    if (v[MOST].n && (!str_u64(v[MOST], limit) || *limit < 1 || *limit > LIMIT_MOST))
        return query_wrong(c, fault, STR("limit"), "expected a number from 1 to 1000");
    if (v[CURSOR].n && !logs_cursor_read(v[CURSOR], at))
        return query_wrong(c, fault, STR("cursor"), "expected what nextCursor of an earlier page said");
    return true;
}

/* --- request_id: requestId --- */

static bool camel_member(void *arg, struct str key, struct json_value v);

static void camel_value(struct jw *w, struct json_value v) {
    bool object = v.kind == JSON_OBJECT;
    if (!object && v.kind != JSON_ARRAY) {
        jw_raw(w, v.raw);
        return;
    }
    (object ? jw_obj : jw_arr)(w);
    json_each(v.raw, camel_member, w);
    (object ? jw_obj_end : jw_arr_end)(w);
}

static bool camel_member(void *arg, struct str key, struct json_value v) {
    struct jw *w = arg;
    char name[64];
    size_t n = 0;
    bool up = false;
    for (size_t i = 0; i < key.n && n < sizeof name; i++) {
        char c = key.p[i];
        if (c != '_')
            name[n++] = up && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        up = c == '_';
    }
    if (key.n)
        jw_keys(w, str_make(name, n));
    camel_value(w, v);
    return true;
}

/* --- the page --- */

struct record {
    struct json_value all;
    struct str time; /* RFC 3339, all of one length */
    size_t at;
};
struct records {
    struct record *list;
    size_t n, max;
};

static bool take_record(void *arg, struct str key, struct json_value v) {
    struct records *r = arg;
    struct json_value time;
    (void)key;
    bool told = v.kind == JSON_OBJECT && json_member(v.raw, "time", &time) && time.kind == JSON_STRING;
    r->list[r->n] = (struct record){v, told ? time.raw : STR_NONE, r->n};
    return ++r->n < r->max;
}

static int newest_first(const void *va, const void *vb) {
    const struct record *a = va, *b = vb;
    int c = a->time.n == b->time.n && a->time.n ? memcmp(b->time.p, a->time.p, a->time.n) : 0;
    return c ? c : (a->at > b->at) - (a->at < b->at);
}

/* The store has them in the order that they were written in; what several workers do at a time is a moment
 * off. */
static void write_records(struct arena *a, struct jw *w, struct str json, size_t n) {
    struct records r = {.list = arena_array(a, n + 1, sizeof *r.list), .max = n + 1};
    json_each(json, take_record, &r);
    qsort(r.list, r.n, sizeof *r.list, newest_first);
    jw_arr(w);
    for (size_t i = 0; i < r.n; i++)
        camel_value(w, r.list[i].all);
    jw_arr_end(w);
}

static void write_page(struct surface_call *c, struct jw *w, const struct buf *records,
                       const struct logs_page *page) {
    jw_obj(w);
    jw_key(w, "logs");
    write_records(c->x->arena, w, buf_str(records), page->records);
    jw_kbool(w, "hasMore", page->more);
    jw_key(w, "nextCursor");
    if (page->more)
        jw_str(w, logs_cursor_text(c->x->arena, &page->next));
    else
        jw_null(w);
    jw_obj_end(w);
}

void surface_s1_logs(struct surface_call *c) {
    struct fault fault = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct logs_filter f;
    struct logs_cursor at;
    uint64_t limit;
    bool ok = read_filter(c, &f, &at, &limit, &fault);
    struct db *d = ok ? plane_logs(c->plane) : NULL;
    if (ok && !d)
        fault_set(&fault, c->x->arena, FAULT_OVERLOADED, "The log store cannot be read at the moment.");
    if (!d) {
        surface_fault(c, &fault);
        return;
    }
    struct logs_page page = {.records = 0};
    struct buf b, records;
    struct jw w;
    buf_init(&records, 0);
    jw_init(&w, &records);
    jw_arr(&w);
    struct db_txn *t = db_begin(d, false);
    logs_query(t, &f, at, (size_t)limit, &w, &page);
    db_end(t);
    jw_arr_end(&w);
    s1_begin(&w, &b);
    write_page(c, &w, &records, &page);
    s1_end(c, &w, &b);
    buf_free(&records);
}
