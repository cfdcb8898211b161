/* One spelling for every JSON text of the same meaning: the reply cache and deduplication compare digests of
 * it. Recursion is bounded by the depth that the scanner allows; the members of all objects that are open at
 * one time share one stack. */
#include "base/die.h"
#include "base/json.h"
#include "json_bytes.h"
#include "utf8.h"
#include <stdlib.h>

struct member {
    struct str key; /* raw */
    struct json_value value;
};

struct canon {
    struct buf *out;
    bool (*skip)(void *arg, unsigned depth, struct str key);
    void *arg;
    struct member *stack;
    size_t n, cap;
    unsigned depth;
};

static void put_value(struct canon *c, struct json_value v);

/* --- strings --- */

/* Escapes are undone and put again in one way. A lone surrogate has no UTF-8 and stays an escape. */
static void put_string(struct buf *out, struct str raw) {
    const char *p = raw.p, *end = raw.p + raw.n;
    buf_addc(out, '"');
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        buf_add(out, p, (size_t)((slash ? slash : end) - p));
        if (!slash)
            break;
        uint32_t code;
        p = json_take_escape(slash, end, &code);
        char text[4];
        size_t n = utf8_put(text, code);
        if (code >= 0xD800 && code < 0xE000)
            buf_printf(out, "\\u%04x", (unsigned)code);
        else
            json_escape(out, str_make(text, n));
    }
    buf_addc(out, '"');
}

/* The next byte of a key with its escapes undone; rest holds what is left of the last character. */
struct unescaped {
    const char *p, *end;
    char rest[4];
    size_t at, n;
};

static int next_byte(struct unescaped *u) {
    if (u->at < u->n)
        return (unsigned char)u->rest[u->at++];
    if (u->p >= u->end)
        return -1;
    if (*u->p != '\\')
        return (unsigned char)*u->p++;
    uint32_t code;
    u->p = json_take_escape(u->p, u->end, &code);
    u->n = utf8_put(u->rest, code);
    u->at = 1;
    return (unsigned char)u->rest[0];
}

static bool escaped(struct str raw) {
    return raw.n > 0 && memchr(raw.p, '\\', raw.n);
}

static int compare_keys(struct str a, struct str b) {
    if (!escaped(a) && !escaped(b)) {
        size_t n = a.n < b.n ? a.n : b.n;
        int c = n ? memcmp(a.p, b.p, n) : 0;
        return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
    }
    struct unescaped x = {.p = a.p, .end = a.p + a.n}, y = {.p = b.p, .end = b.p + b.n};
    for (;;) {
        int i = next_byte(&x), j = next_byte(&y);
        if (i != j)
            return i < j ? -1 : 1;
        if (i < 0)
            return 0;
    }
}

/* Members of one name stay in their order: qsort is not stable, but their places in the text are. */
static int compare_members(const void *va, const void *vb) {
    const struct member *a = va, *b = vb;
    int c = compare_keys(a->key, b->key);
    if (c == 0)
        c = a->key.p < b->key.p ? -1 : a->key.p > b->key.p;
    return c;
}

/* --- structure --- */

static bool push_member(void *arg, struct str key, struct json_value v) {
    struct canon *c = arg;
    if (c->skip && c->skip(c->arg, c->depth, key))
        return true;
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 32;
        c->stack = mem_grow(c->stack, c->cap * sizeof *c->stack);
    }
    c->stack[c->n++] = (struct member){key, v};
    return true;
}

static bool in_order(const struct member *m, size_t n) {
    for (size_t i = 1; i < n; i++) {
        if (compare_members(m + i - 1, m + i) > 0)
            return false;
    }
    return true;
}

static void put_object(struct canon *c, struct str raw) {
    size_t from = c->n;
    json_each(raw, push_member, c);
    size_t to = c->n;
    if (to - from > 1 && !in_order(c->stack + from, to - from))
        qsort(c->stack + from, to - from, sizeof *c->stack, compare_members);
    buf_addc(c->out, '{');
    for (size_t i = from; i < to && buf_ok(c->out); i++) {
        if (i > from)
            buf_addc(c->out, ',');
        put_string(c->out, c->stack[i].key);
        buf_addc(c->out, ':');
        put_value(c, c->stack[i].value); /* may move the stack */
    }
    buf_addc(c->out, '}');
    c->n = from;
}

struct elements {
    struct canon *c;
    bool any;
};

static bool put_element(void *arg, struct str key, struct json_value v) {
    struct elements *e = arg;
    (void)key;
    if (e->any)
        buf_addc(e->c->out, ',');
    e->any = true;
    put_value(e->c, v);
    return buf_ok(e->c->out);
}

static void put_array(struct canon *c, struct str raw) {
    struct elements e = {.c = c};
    buf_addc(c->out, '[');
    json_each(raw, put_element, &e);
    buf_addc(c->out, ']');
}

static void put_value(struct canon *c, struct json_value v) {
    MUST(c->depth <= JSON_MAX_DEPTH); /* deeper text has not been checked */
    c->depth++;
    if (v.kind == JSON_OBJECT)
        put_object(c, v.raw);
    else if (v.kind == JSON_ARRAY)
        put_array(c, v.raw);
    else if (v.kind == JSON_STRING && v.raw.n >= 2)
        put_string(c->out, str_make(v.raw.p + 1, v.raw.n - 2));
    else
        buf_adds(c->out, v.raw);
    c->depth--;
}

void json_canonical(struct str checked, struct buf *out,
                    bool (*skip)(void *arg, unsigned depth, struct str key), void *arg) {
    const char *end = checked.p + checked.n;
    const char *p = json_skip_space(checked.p, end);
    if (p == end)
        return;
    const char *stop = json_skip_value(p, end);
    struct canon c = {.out = out, .skip = skip, .arg = arg};
    put_value(&c, (struct json_value){json_kind_of(*p), str_make(p, (size_t)(stop - p))});
    mem_free(c.stack);
}
