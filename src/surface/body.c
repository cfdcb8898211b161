#include "body.h"

enum { BODY_MOST = 64 << 10, NAMES_MOST = 32 };

struct reading {
    struct surface_call call; /* first: it is the exchange's owner */
    body_fn *fn;
};

static void refuse(struct surface_call *c, int status, const char *why) {
    struct fault f;
    fault_set(&f, c->x->arena, status == 413 ? FAULT_TOO_LARGE : FAULT_BAD_REQUEST, "%s", why);
    f.status = status;
    surface_fault(c, &f);
}

static void whole(struct exchange *x, int status) {
    struct reading *r = x->owner;
    enum json_kind kind;
    struct json_error err;
    struct str json = x->body.n ? x->body : STR("{}");
    if (status == 413)
        refuse(&r->call, status, "The request body is larger than 64 KiB.");
    else if (status == 503)
        refuse(&r->call, status, "The gateway has no room for the request body.");
    else if (status)
        refuse(&r->call, status, "The request body is not legal HTTP, or came too slowly.");
    else if (json_scan(json, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT)
        refuse(&r->call, 400, "The request body must be a JSON object.");
    else
        r->fn(&r->call, json);
}

static void gone(struct exchange *x) {
    (void)x; /* all there is lies in its arena */
}

void body_read(struct surface_call *c, body_fn *fn) {
    struct reading *r = arena_alloc(c->x->arena, sizeof *r);
    *r = (struct reading){*c, fn};
    c->x->owner = r;
    c->x->on_gone = gone;
    exchange_read_body(c->x, BODY_MOST, whole);
}

void body_wrong(struct surface_call *c, struct str param, const char *why) {
    struct fault f;
    fault_set(&f, c->x->arena, FAULT_BAD_REQUEST, STR_FMT ": %s", STR_ARG(param), why);
    f.param = param;
    surface_fault(c, &f);
}

struct names {
    const char *const *name;
    bool seen[NAMES_MOST];
    struct str wrong;
    const char *why;
};

static bool known(void *arg, struct str key, struct json_value v) {
    struct names *n = arg;
    (void)v;
    size_t i = 0;
    while (n->name[i] && !json_key_is(key, n->name[i]))
        i++;
    n->why = !n->name[i] ? "no such member here" : n->seen[i] ? "given twice" : NULL;
    n->wrong = str_make(key.p, key.n < 64 ? key.n : 64);
    n->seen[i] = true;
    return !n->why;
}

bool body_names(struct surface_call *c, struct str json, const char *const *names) {
    struct names n = {.name = names};
    json_each(json, known, &n);
    if (n.why)
        body_wrong(c, n.wrong, n.why);
    return !n.why;
}
