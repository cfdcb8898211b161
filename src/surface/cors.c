/* CORS: which pages' programs may ask this gateway, and what they may see of its answers. A key is sent by
 * the program itself, so credentials of the browser are never asked for. */
#include "surface/surface.h"

/* What the answers to this exchange say: the origin, or "*"; p NULL: nothing. */
static struct str allowed(const struct exchange *x, const struct conf *c) {
    struct str origin = c->cors.norigins ? exchange_header(x, "origin") : STR_NONE;
    for (size_t i = 0; origin.n && i < c->cors.norigins; i++) {
        if (str_is(str_of(c->cors.origins[i]), "*"))
            return STR("*");
        if (str_isi(origin, c->cors.origins[i]))
            return origin;
    }
    return STR_NONE;
}

enum { NAME_MOST = 64 };

static struct str lower(char out[NAME_MOST], struct str s) {
    s.n = s.n < NAME_MOST ? s.n : NAME_MOST;
    for (size_t i = 0; i < s.n; i++)
        out[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] - 'A' + 'a') : s.p[i];
    return str_make(out, s.n);
}

static bool listed(const char *const *list, size_t n, struct str name) {
    char low[NAME_MOST], pattern[NAME_MOST];
    struct str of = lower(low, name);
    for (size_t i = 0; i < n; i++)
        if (str_glob(lower(pattern, str_of(list[i])), of))
            return true;
    return false;
}

static struct str with(struct arena *a, struct str list, struct str name) {
    return arena_printf(a, STR_FMT "%s" STR_FMT, STR_ARG(list), list.n ? ", " : "", STR_ARG(name));
}

/* The protocol knows no patterns: those of the names that there are. */
static struct str expose(struct arena *a, const struct conf *c, const struct http_header *h, size_t n) {
    struct str list = STR_NONE;
    for (size_t i = 0; i < n; i++)
        if (listed(c->cors.expose, c->cors.nexpose, h[i].name))
            list = with(a, list, h[i].name);
    return list;
}

static size_t more(struct exchange *x, const struct http_header *h, size_t n, struct http_header *out) {
    const struct conf *c = x->more_arg;
    struct str origin = allowed(x, c), seen = expose(x->arena, c, h, n);
    size_t k = 0;
    out[k++] = (struct http_header){STR("access-control-allow-origin"), origin};
    if (!str_is(origin, "*"))
        out[k++] = (struct http_header){STR("vary"), STR("Origin")};
    if (seen.n)
        out[k++] = (struct http_header){STR("access-control-expose-headers"), seen};
    return k;
}

static struct str joined(struct arena *a, const char *const *list, size_t n) {
    struct str all = STR_NONE;
    for (size_t i = 0; i < n; i++)
        all = with(a, all, str_of(list[i]));
    return all;
}

static bool is_pattern(const char *name) {
    return strchr(name, '*') != NULL;
}

static void add(struct buf *list, struct str name) {
    if (buf_len(list))
        BUF_ADD(list, ", ");
    buf_adds(list, name);
}

/* By a pattern, and not named besides. */
static bool by_pattern(const struct conf *c, struct str name) {
    bool may = false;
    for (size_t i = 0; i < c->cors.nheaders; i++) {
        const char *one = c->cors.headers[i];
        if (str_isi(name, one))
            return false;
        may = may || (is_pattern(one) && listed(&c->cors.headers[i], 1, name));
    }
    return may;
}

/* The names that are listed, and of those that are asked for what a pattern stands for: "*" in an answer
 * would not stand for Authorization (Fetch, 3.3.3). */
static struct str headers(const struct exchange *x, const struct conf *c) {
    struct str asked = exchange_header(x, "access-control-request-headers"), name;
    struct buf list;
    buf_init(&list, 0);
    for (size_t i = 0; i < c->cors.nheaders; i++)
        if (!is_pattern(c->cors.headers[i]))
            add(&list, str_of(c->cors.headers[i]));
    while (str_next(&asked, ',', &name)) {
        name = str_trim(name);
        if (name.n && by_pattern(c, name))
            add(&list, name);
    }
    struct str all = arena_dup(x->arena, buf_str(&list));
    buf_free(&list);
    return all;
}

static void preflight(struct exchange *x, const struct conf *c, struct str request_id) {
    const struct http_header h[] = {
        {STR("access-control-allow-methods"), joined(x->arena, c->cors.methods, c->cors.nmethods)},
        {STR("access-control-allow-headers"), headers(x, c)},
        {STR("access-control-max-age"), arena_u64(x->arena, c->cors.max_age / 1000)},
        {STR("x-request-id"), request_id},
    };
    exchange_reply(x, 204, h, sizeof h / sizeof *h, STR_NONE);
}

/* Without authentication the administration is for this machine's programs, not for whatever page its browser
 * shows. */
bool surface_cors(struct exchange *x, const struct conf *c, struct str request_id) {
    if (!allowed(x, c).p || (c->auth.mode == AUTH_NONE && surface_is_admin(x->path)))
        return false;
    x->more = more;
    x->more_arg = c;
    if (x->method != HTTP_OPTIONS || !exchange_header(x, "access-control-request-method").n)
        return false;
    preflight(x, c, request_id);
    return true;
}
