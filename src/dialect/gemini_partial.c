/* A call's arguments that come in pieces (streamFunctionCallArguments): each is a value for a path like
 * "$.a.b[0]", strings may come in several. They are put together into one tree. */
#include "gemini.h"

#include "answer.h"

enum { STEPS_MAX = 32, INDEX_MAX = 1 << 20, BYTES_MAX = 16 << 20 };

struct step {
    struct str key; /* p NULL: an index */
    size_t index;
};

struct gm_partial {
    struct arena *a;
    struct json_object *root;
    size_t bytes;
};

struct gm_partial *gm_partial_new(struct arena *a) {
    struct gm_partial *p = arena_alloc(a, sizeof *p);
    p->a = a;
    p->root = chat_hold(a, json_object_new_object());
    return p;
}

struct json_object *gm_partial_tree(struct gm_partial *p) {
    return p->root;
}

static bool take_bracket(struct str *path, struct step *s) {
    const char *end = memchr(path->p, ']', path->n);
    if (!end)
        return false;
    struct str in = str_make(path->p + 1, (size_t)(end - path->p) - 1);
    *path = str_skip(*path, in.n + 2);
    uint64_t n;
    if (in.n >= 2 && (in.p[0] == '\'' || in.p[0] == '"')) {
        *s = (struct step){.key = str_make(in.p + 1, in.n - 2)};
        return true;
    }
    if (!str_u64(in, &n) || n > INDEX_MAX)
        return false;
    *s = (struct step){.index = (size_t)n};
    return true;
}

static bool take_name(struct str *path, struct step *s) {
    *path = str_skip(*path, 1);
    size_t n = 0;
    while (n < path->n && path->p[n] != '.' && path->p[n] != '[')
        n++;
    *s = (struct step){.key = str_make(path->p, n)};
    *path = str_skip(*path, n);
    return n > 0;
}

/* 0: no path that we can follow. */
static size_t split(struct str path, struct step steps[STEPS_MAX]) {
    size_t n = 0;
    if (!str_starts(path, "$"))
        return 0;
    for (path = str_skip(path, 1); path.n; n++) {
        if (n == STEPS_MAX)
            return 0;
        if (!(path.p[0] == '[' ? take_bracket(&path, &steps[n])
                               : path.p[0] == '.' && take_name(&path, &steps[n])))
            return 0;
    }
    return n > 0 && steps[0].key.p ? n : 0;
}

static struct json_object *child(struct gm_partial *p, struct json_object *o, const struct step *s) {
    if (s->key.p)
        return jo_get(o, arena_dupz(p->a, s->key));
    return s->index < json_object_array_length(o) ? json_object_array_get_idx(o, s->index) : NULL;
}

/* Arrays grow by one element at a time: a far index would be paid for in memory. */
static bool may_put(struct json_object *o, const struct step *s) {
    return s->key.p || s->index <= json_object_array_length(o);
}

/* Takes over v. */
static void put(struct gm_partial *p, struct json_object *o, const struct step *s, struct json_object *v) {
    if (s->key.p)
        json_object_object_add(o, arena_dupz(p->a, s->key), v);
    else
        json_object_array_put_idx(o, s->index, v);
}

static struct json_object *leaf(struct gm_partial *p, struct json_object *old, struct str partial) {
    struct json_value v;
    struct json_error err;
    if (json_member(partial, "stringValue", &v) && v.kind == JSON_STRING) {
        struct str text = json_text(p->a, v);
        if (json_object_is_type(old, json_type_string))
            text = arena_printf(p->a, STR_FMT STR_FMT, STR_ARG(jo_text(old)), STR_ARG(text));
        p->bytes += text.n;
        return json_object_new_string_len(text.p ? text.p : "", (int)text.n);
    }
    if ((json_member(partial, "numberValue", &v) && v.kind == JSON_NUMBER) ||
        (json_member(partial, "boolValue", &v) && v.kind == JSON_BOOL))
        return json_tree(v.raw, &err);
    return NULL; /* nullValue */
}

static void set(struct gm_partial *p, struct str path, struct str partial) {
    struct step steps[STEPS_MAX];
    size_t n = split(path, steps);
    struct json_object *o = p->root;
    if (n == 0)
        return;
    for (size_t i = 0; i + 1 < n; i++) {
        if (!may_put(o, &steps[i]))
            return;
        enum json_type want = steps[i + 1].key.p ? json_type_object : json_type_array;
        struct json_object *next = child(p, o, &steps[i]);
        if (!json_object_is_type(next, want)) {
            next = want == json_type_object ? json_object_new_object() : json_object_new_array();
            put(p, o, &steps[i], next);
        }
        o = next;
    }
    if (!may_put(o, &steps[n - 1]))
        return;
    struct json_object *old = child(p, o, &steps[n - 1]);
    put(p, o, &steps[n - 1], leaf(p, old, partial));
}

static bool one(void *arg, struct str key, struct json_value v) {
    struct gm_partial *p = arg;
    struct json_value path;
    (void)key;
    if (v.kind != JSON_OBJECT)
        return true;
    p->bytes += v.raw.n;
    if (p->bytes > BYTES_MAX)
        return false;
    if (json_member(v.raw, "jsonPath", &path) && path.kind == JSON_STRING)
        set(p, json_text(p->a, path), v.raw);
    return true;
}

bool gm_partial_add(struct gm_partial *p, struct json_value partial_args) {
    if (partial_args.kind == JSON_ARRAY)
        json_each(partial_args.raw, one, p);
    return p->bytes <= BYTES_MAX;
}
