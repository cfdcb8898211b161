/* Reading a query by a table of the names it may have. */
#include "query.h"

#include "http/server.h"

bool query_wrong(struct surface_call *c, struct fault *f, struct str param, const char *why) {
    fault_set(f, c->x->arena, FAULT_BAD_REQUEST, STR_FMT ": %s", STR_ARG(param), why);
    f->param = param;
    return false;
}

bool query_read(struct surface_call *c, const char *const *names, struct str *values, size_t n,
                struct fault *f) {
    struct str rest = c->x->query, pair;
    for (size_t i = 0; i < n; i++)
        values[i] = STR_NONE;
    while (str_next(&rest, '&', &pair)) {
        struct str tail = pair, name = STR_NONE, value = STR_NONE;
        size_t i = 0;
        str_next(&tail, '=', &name);
        while (i < n && !(value = http_query(c->x->arena, pair, names[i])).p)
            i++;
        if (name.n > 64)
            name.n = 64;
        if (i == n)
            return query_wrong(c, f, name, "no such parameter here, or its encoding is wrong");
        if (value.n == 0)
            return query_wrong(c, f, name, "must not be empty");
        if (values[i].p)
            return query_wrong(c, f, name, "given twice");
        values[i] = value;
    }
    return true;
}

bool query_age(struct str s, uint64_t *ms) {
    static const struct {
        char unit;
        uint64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    uint64_t n, factor = 1000;
    for (size_t i = 0; s.n && i < 4; i++)
        if (s.p[s.n - 1] == units[i].unit) {
            factor = units[i].ms;
            s.n--;
            break;
        }
    if (!str_u64(s, &n) || n > UINT64_MAX / 86400000 / 2)
        return false;
    *ms = n * factor;
    return true;
}
