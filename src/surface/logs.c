/* GET /admin/v1/logs: requests and events from the log store, newest first. */
#include "logs.h"
#include "base/clock.h"
#include "base/hash.h"
#include "query.h"
#include "surface/surface.h"

enum { DAY_MS = 86400000, LIMIT = 100, LIMIT_MOST = 1000 };

enum name { FROM, TO, KEY, TENANT, PROVIDER, MODEL, STATUS, TYPE, REQUEST_ID, MOST, CURSOR, NAMES };
static const char *const names[NAMES] = {"from",   "to",   "key",        "tenant", "provider", "model",
                                         "status", "type", "request_id", "limit",  "cursor"};

/* "429", or "4xx" for all of them. */
static bool read_status(struct str s, struct logs_filter *f) {
    uint64_t v;
    if (s.n == 3 && s.p[0] >= '1' && s.p[0] <= '5' && str_isi(str_skip(s, 1), "xx")) {
        f->status_from = (s.p[0] - '0') * 100;
        f->status_to = f->status_from + 99;
        return true;
    }
    if (s.n != 3 || !str_u64(s, &v) || v < 100 || v > 599)
        return false;
    f->status_from = f->status_to = (int)v;
    return true;
}

static bool read_types(struct str list, struct logs_filter *f) {
    struct str one;
    enum logs_type t;
    while (str_next(&list, ',', &one)) {
        uint64_t errors = error_types_by_name(str_trim(one));
        if (logs_type_by_name(str_trim(one), &t))
            f->types |= 1u << t;
        else if (!errors)
            return false;
        f->errors |= errors;
    }
    return true;
}

struct str logs_cursor_text(struct arena *a, const struct logs_cursor *c) {
    return arena_printf(a, "%016llx%016llx%u", (unsigned long long)c->wall_ms,
                        (unsigned long long)c->sequence, c->part);
}

bool logs_cursor_read(struct str s, struct logs_cursor *c) {
    uint8_t b[16];
    if (s.n != 33 || s.p[32] < '0' || s.p[32] > '2' || !hex_decode(b, sizeof b, str_make(s.p, 32)))
        return false;
    *c = (struct logs_cursor){.part = (unsigned)(s.p[32] - '0')};
    for (size_t i = 0; i < 8; i++) {
        c->wall_ms = c->wall_ms << 8 | b[i];
        c->sequence = c->sequence << 8 | b[8 + i];
    }
    return true;
}

static bool read_times(struct surface_call *c, const struct str *v, struct logs_filter *f,
                       struct fault *fault) {
    static const char expected[] = "expected a date (2026-01-31) or a time (2026-01-31T12:00:00Z)";
    f->to = INT64_MAX;
    if (v[TO].n && !clock_parse(v[TO], &f->to))
        return query_wrong(c, fault, STR("to"), expected);
    if (v[TO].n == 10) /* a date means its whole day */
        f->to += DAY_MS;
    if (v[FROM].n && !clock_parse(v[FROM], &f->from))
        return query_wrong(c, fault, STR("from"), expected);
    if (f->from < 0)
        f->from = 0;
    return f->from < f->to || query_wrong(c, fault, STR("from"), "must lie before `to`");
}

static bool read_filter(struct surface_call *c, struct logs_filter *f, struct logs_cursor *at,
                        uint64_t *limit, struct fault *fault) {
    struct str v[NAMES];
    *f = (struct logs_filter){.from = 0};
    *at = LOGS_CURSOR_FIRST;
    *limit = LIMIT;
    if (!query_read(c, names, v, NAMES, fault) || !read_times(c, v, f, fault))
        return false;
    f->key = v[KEY];
    f->tenant = v[TENANT];
    f->provider = v[PROVIDER];
    f->model = v[MODEL];
    f->request_id = v[REQUEST_ID];
    if (v[STATUS].n && !read_status(v[STATUS], f))
        return query_wrong(c, fault, STR("status"), "expected a status (429) or a class of them (4xx)");
    if (v[TYPE].n && !read_types(v[TYPE], f))
        return query_wrong(
            c, fault, STR("type"),
            "expected a list of request, response, error, audit, alert, breaker, reload, and of "
            "types of errors (provider_timeout, or provider for all of its)");
    if (v[MOST].n && (!str_u64(v[MOST], limit) || *limit < 1 || *limit > LIMIT_MOST))
        return query_wrong(c, fault, STR("limit"), "expected a number from 1 to 1000");
    if (v[CURSOR].n && !logs_cursor_read(v[CURSOR], at))
        return query_wrong(c, fault, STR("cursor"), "expected what next_cursor of an earlier page said");
    return true;
}

void surface_logs(struct surface_call *c) {
    struct fault fault = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct logs_filter f;
    struct logs_cursor at;
    uint64_t limit;
    if (!read_filter(c, &f, &at, &limit, &fault)) {
        surface_fault(c, &fault);
        return;
    }
    struct logs_page page = {.records = 0};
    struct db *d = plane_logs(c->plane);
    if (!d) {
        fault_set(&fault, c->x->arena, FAULT_OVERLOADED, "The log store cannot be read at the moment.");
        surface_fault(c, &fault);
        return;
    }
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kz(&w, "object", "list");
    jw_key(&w, "data");
    jw_arr(&w);
    struct db_txn *t = db_begin(d, false);
    logs_query(t, &f, at, (size_t)limit, &w, &page);
    db_end(t);
    jw_arr_end(&w);
    jw_kbool(&w, "has_more", page.more);
    jw_key(&w, "next_cursor");
    if (page.more)
        jw_str(&w, logs_cursor_text(c->x->arena, &page.next));
    else
        jw_null(&w);
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}
