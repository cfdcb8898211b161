/* Rewriting a JSON Schema for a provider that knows a part of it. References are put in place within bounds
 * (a small schema can unfold into a huge one); const, exclusive bounds, oneOf, allOf and tuples are said in
 * other words; limits that have no word are left out and told of; what changes the meaning is refused. */
#include "schema_down.h"

#include <json-c/linkhash.h>

enum { DEPTH_MAX = 48, NODES_MAX = 20000 };

struct place { /* where we are, for the words of a fault */
    const struct place *up;
    const char *key;
};
struct unfolding { /* the references that we are inside of */
    const struct unfolding *up;
    struct json_object *target;
};
struct down {
    struct encoder *e;
    struct json_object *root;
    struct str where, of;
    size_t nodes;
    bool failed;
};

static void print_place(struct buf *b, const struct place *p) {
    if (!p)
        return;
    print_place(b, p->up);
    buf_addc(b, '.');
    buf_addz(b, p->key);
}

static struct str place_text(struct down *d, const struct place *p) {
    struct buf b;
    buf_init(&b, FAULT_MESSAGE_MAX / 2);
    buf_adds(&b, d->where);
    print_place(&b, p);
    struct str s = arena_dup(d->e->a, buf_str(&b));
    buf_free(&b);
    return s;
}

/* NULL; under the policy to drop, the place of what is gone is without a rule. */
static struct json_object *refuse(struct down *d, const struct place *p, const char *why) {
    const char *text = arena_printf(d->e->a, "(of " STR_FMT ") %s", STR_ARG(d->of), why).p;
    if (!d->failed && !encode_unsupported(d->e, place_text(d, p), text))
        d->failed = true;
    return NULL;
}

static bool among(const char *key, const char *const *list) {
    for (; *list; list++)
        if (strcmp(key, *list) == 0)
            return true;
    return false;
}

static const char *const kept[] = {"type",
                                   "format",
                                   "title",
                                   "description",
                                   "enum",
                                   "minItems",
                                   "maxItems",
                                   "minimum",
                                   "maximum",
                                   "required",
                                   "nullable",
                                   "default",
                                   "propertyOrdering",
                                   "minLength",
                                   "maxLength",
                                   "pattern",
                                   "minProperties",
                                   "maxProperties",
                                   "example",
                                   NULL};
/* Notes to readers; references are followed, not copied. */
static const char *const notes[] = {"$schema", "$id",        "$defs",       "definitions",      "$comment",
                                    "$anchor", "$ref",       "examples",    "readOnly",         "writeOnly",
                                    "strict",  "deprecated", "$vocabulary", "$recursiveAnchor", NULL};
/* Limits of what may come: without them the model is held to less. */
static const char *const limits[] = {"uniqueItems",      "multipleOf",      "contentEncoding",
                                     "contentMediaType", "propertyNames",   "unevaluatedProperties",
                                     "unevaluatedItems", "contains",        "minContains",
                                     "maxContains",      "additionalItems", NULL};

static struct json_object *node(struct down *d, struct json_object *o, const struct place *p,
                                const struct unfolding *u, unsigned depth);

static void put(struct json_object *out, const char *key, struct json_object *v) {
    json_object_object_add(out, key, v);
}

static struct json_object *each_of_object(struct down *d, struct json_object *o, const struct place *p,
                                          const struct unfolding *u, unsigned depth) {
    struct json_object *out = json_object_new_object();
    json_object_object_foreach(o, key, v) {
        struct place here = {p, key};
        struct json_object *x = node(d, v, &here, u, depth + 1);
        put(out, key, x ? x : json_object_new_object());
    }
    return out;
}

static struct json_object *each_of_array(struct down *d, struct json_object *o, const struct place *p,
                                         const struct unfolding *u, unsigned depth) {
    struct json_object *out = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(o); i++) {
        char number[24];
        str_copy(number, sizeof number, arena_u64(d->e->a, i));
        struct place here = {p, number};
        struct json_object *x = node(d, json_object_array_get_idx(o, i), &here, u, depth + 1);
        json_object_array_add(out, x ? x : json_object_new_object());
    }
    return out;
}

/* --- references --- */

static struct json_object *pointed(struct down *d, struct str ref) {
    struct json_object *o = d->root;
    struct str piece;
    if (!str_starts(ref, "#"))
        return NULL;
    ref = str_skip(ref, 1);
    if (ref.n == 0)
        return o;
    for (ref = str_skip(ref, 1); o && str_next(&ref, '/', &piece);) {
        char *key = arena_dupz(d->e->a, piece), *to = key;
        for (const char *from = key; *from; from++) {
            bool escape = *from == '~' && (from[1] == '0' || from[1] == '1');
            *to++ = !escape ? *from : from[1] == '0' ? '~' : '/';
            from += escape;
        }
        *to = '\0';
        o = jo_get(o, key);
    }
    return o;
}

static void merge(struct json_object *into, struct json_object *more);

/* What it points at, in its place. */
static void unfold(struct down *d, struct json_object *out, struct str ref, const struct place *p,
                   const struct unfolding *u, unsigned depth) {
    struct place here = {p, "$ref"};
    struct unfolding inside = {u, pointed(d, ref)};
    if (!json_object_is_type(inside.target, json_type_object)) {
        refuse(d, &here, "points at nothing in this schema");
        return;
    }
    for (const struct unfolding *x = u; x; x = x->up)
        if (x->target == inside.target) {
            refuse(d, &here, "is recursive, which has no equivalent at this provider");
            return;
        }
    struct json_object *x = node(d, inside.target, p, &inside, depth + 1);
    if (x)
        merge(out, x);
    json_object_put(x);
}

/* --- allOf --- */

static bool has_text(struct json_object *array, struct json_object *text) {
    for (size_t i = 0; i < json_object_array_length(array); i++)
        if (json_object_equal(json_object_array_get_idx(array, i), text))
            return true;
    return false;
}

static void merge_required(struct json_object *into, struct json_object *more) {
    for (size_t i = 0; i < json_object_array_length(more); i++) {
        struct json_object *x = json_object_array_get_idx(more, i);
        if (!has_text(into, x))
            json_object_array_add(into, json_object_get(x));
    }
}

static void merge(struct json_object *into, struct json_object *more) {
    json_object_object_foreach(more, key, v) {
        struct json_object *old = jo_get(into, key);
        if (!old)
            put(into, key, json_object_get(v));
        else if (strcmp(key, "properties") == 0 && json_object_is_type(old, json_type_object) &&
                 json_object_is_type(v, json_type_object))
            merge(old, v);
        else if (strcmp(key, "required") == 0 && json_object_is_type(old, json_type_array) &&
                 json_object_is_type(v, json_type_array))
            merge_required(old, v);
    }
}

static void all_of(struct down *d, struct json_object *out, struct json_object *list, const struct place *p,
                   const struct unfolding *u, unsigned depth) {
    struct json_object *parts = each_of_array(d, list, p, u, depth);
    for (size_t i = 0; i < json_object_array_length(parts); i++)
        merge(out, json_object_array_get_idx(parts, i));
    json_object_put(parts);
}

/* --- one keyword each --- */

static void exclusive(struct down *d, struct json_object *out, struct json_object *o, const char *key,
                      struct json_object *v, const struct place *p) {
    bool low = strcmp(key, "exclusiveMinimum") == 0;
    const char *word = low ? "minimum" : "maximum";
    if (json_object_is_type(v, json_type_int) && str_is(jo_str(o, "type"), "integer")) {
        put(out, word, json_object_new_int64(json_object_get_int64(v) + (low ? 1 : -1)));
        return;
    }
    encode_report(d->e, place_text(d, p)); /* the bound itself is let in */
    if (json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double))
        put(out, word, json_object_get(v));
}

static void keyword(struct down *d, struct json_object *out, struct json_object *o, const char *key,
                    struct json_object *v, const struct place *p, const struct unfolding *u, unsigned depth) {
    bool object = json_object_is_type(v, json_type_object), array = json_object_is_type(v, json_type_array);
    struct json_object *x;
    if (among(key, kept)) {
        put(out, key, json_object_get(v));
    } else if (among(key, notes) || strncmp(key, "x-", 2) == 0) {
        return;
    } else if (strcmp(key, "properties") == 0 && object) {
        x = each_of_object(d, v, p, u, depth);
        struct json_object *old = jo_obj(out, key);
        if (old)
            merge(old, x);
        else
            put(out, key, json_object_get(x));
        json_object_put(x);
    } else if ((strcmp(key, "items") == 0 || strcmp(key, "additionalProperties") == 0) && !array) {
        if (!object)
            put(out, key, json_object_get(v));
        else if ((x = node(d, v, p, u, depth + 1)))
            put(out, key, x);
    } else if (array && (strcmp(key, "items") == 0 || strcmp(key, "prefixItems") == 0)) {
        put(out, "prefixItems", each_of_array(d, v, p, u, depth));
    } else if (array && (strcmp(key, "anyOf") == 0 || (strcmp(key, "oneOf") == 0 && !jo_get(o, "anyOf")))) {
        put(out, "anyOf", each_of_array(d, v, p, u, depth));
    } else if (array && strcmp(key, "allOf") == 0) {
        all_of(d, out, v, p, u, depth);
    } else if (strcmp(key, "const") == 0) {
        x = json_object_new_array();
        json_object_array_add(x, json_object_get(v));
        put(out, "enum", x);
    } else if (strcmp(key, "exclusiveMinimum") == 0 || strcmp(key, "exclusiveMaximum") == 0) {
        exclusive(d, out, o, key, v, p);
    } else if (among(key, limits)) {
        encode_report(d->e, place_text(d, p));
    } else {
        refuse(d, p, NO_EQUIVALENT);
    }
}

static struct json_object *node(struct down *d, struct json_object *o, const struct place *p,
                                const struct unfolding *u, unsigned depth) {
    if (d->failed)
        return NULL;
    if (depth > DEPTH_MAX || ++d->nodes > NODES_MAX)
        return refuse(d, p, "is too deep or, with its references in place, too large");
    if (json_object_is_type(o, json_type_boolean))
        return json_object_get_boolean(o) ? json_object_new_object()
                                          : refuse(d, p, "allows nothing, which " NO_EQUIVALENT);
    if (!json_object_is_type(o, json_type_object))
        return refuse(d, p, "is no schema");
    struct json_object *out = json_object_new_object();
    json_object_object_foreach(o, key, v) {
        struct place here = {p, key};
        keyword(d, out, o, key, v, &here, u, depth);
    }
    struct str ref = jo_str(o, "$ref");
    if (ref.n > 0)
        unfold(d, out, ref, p, u, depth);
    return out;
}

bool schema_down(struct encoder *e, struct json_object *schema, struct str where, struct str of,
                 struct json_object **out) {
    struct down d = {.e = e, .root = schema, .where = where, .of = of};
    struct unfolding whole = {NULL, schema};
    *out = chat_hold(e->a, node(&d, schema, NULL, &whole, 0));
    return !d.failed;
}
