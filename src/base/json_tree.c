/* json-c trees of checked text, built here and not by json-c's tokener: that one accepts much that is not
 * JSON, cuts integers beyond 64 bits, and stops at its own depth. */
#include "base/die.h"
#include "base/json.h"
#include "json_bytes.h"
#include "utf8.h"
#include <math.h>
#include <stdlib.h>

struct build {
    const char *p, *end;
    struct buf scratch; /* a key or a string without its escapes, or a number, with a NUL behind */
    unsigned depth;
    struct json_object *open[JSON_MAX_DEPTH];
};

static struct json_object *made(struct json_object *o) {
    if (!o)
        die("out of memory (a JSON tree)");
    return o;
}

/* The string at b->p with its escapes undone, in the scratch; b->p moves behind it. */
static struct str take_string(struct build *b) {
    const char *from = b->p + 1, *close = json_string_end(from, b->end);
    struct str raw = str_make(from, (size_t)(close - from));
    b->p = close < b->end ? close + 1 : close;
    buf_clear(&b->scratch);
    char *to = buf_room(&b->scratch, raw.n + 1);
    MUST(to);
    size_t n = json_unescape(to, raw);
    to[n] = '\0';
    return str_make(to, n);
}

static struct json_object *take_text(struct build *b) {
    const char *from = b->p + 1, *close = json_string_end(from, b->end);
    struct str s = str_make(from, (size_t)(close - from));
    if (s.n && memchr(s.p, '\\', s.n))
        s = take_string(b);
    else
        b->p = close < b->end ? close + 1 : close;
    MUST(s.n <= INT32_MAX);
    return made(json_object_new_string_len(s.n ? s.p : "", (int)s.n));
}

/* An integer is kept as one when it is written as one and fits; json-c prints it back as it was. Everything
 * else is a double that carries its text. */
static struct json_object *take_number(struct build *b) {
    const char *from = b->p;
    b->p = json_skip_value(from, b->end);
    struct json_value v = {JSON_NUMBER, str_make(from, (size_t)(b->p - from))};
    bool plain = !str_is(v.raw, "-0");
    for (size_t i = 0; i < v.raw.n; i++)
        plain = plain && v.raw.p[i] != '.' && (v.raw.p[i] | 0x20) != 'e';
    int64_t i;
    uint64_t u;
    if (plain && json_i64(v, &i))
        return made(json_object_new_int64(i));
    if (plain && json_u64(v, &u))
        return made(json_object_new_uint64(u));
    buf_clear(&b->scratch);
    buf_adds(&b->scratch, v.raw);
    buf_addc(&b->scratch, '\0');
    MUST(buf_ok(&b->scratch));
    const char *text = buf_at(&b->scratch);
    return made(json_object_new_double_s(strtod(text, NULL), text));
}

/* A scalar, or a container that is still empty. JSON's null is a NULL in json-c. */
static struct json_object *take_value(struct build *b) {
    char c = *b->p;
    switch (json_kind_of(c)) {
    case JSON_OBJECT:
        b->p++;
        return made(json_object_new_object());
    case JSON_ARRAY:
        b->p++;
        return made(json_object_new_array_ext(4));
    case JSON_STRING:
        return take_text(b);
    case JSON_NUMBER:
        return take_number(b);
    case JSON_BOOL:
        b->p = json_skip_value(b->p, b->end);
        return made(json_object_new_boolean(c == 't'));
    default:
        b->p = json_skip_value(b->p, b->end);
        return NULL;
    }
}

/* json-c's keys are C strings: a NUL in one (only by \u0000) becomes U+FFFD, or two keys could be one. So
 * does half of a UTF-16 pair, as in print: two keys of a tree never print as the same one. */
static char *take_key(struct build *b) {
    struct str s = take_string(b);
    struct buf key;
    buf_init(&key, 0);
    for (size_t i = 0; i < s.n;) {
        size_t bad = !s.p[i] ? 1 : utf8_half(s.p + i, s.n - i) ? 3 : 0;
        if (bad)
            BUF_ADD(&key, UTF8_REPLACEMENT);
        else
            buf_addc(&key, s.p[i]);
        i += bad ? bad : 1;
    }
    buf_addc(&key, '\0');
    MUST(buf_ok(&key));
    return key.p;
}

/* The next member or element of the innermost container, or its end. */
static void step(struct build *b) {
    struct json_object *into = b->open[b->depth - 1];
    b->p = json_skip_space(b->p, b->end);
    if (*b->p == '}' || *b->p == ']') {
        b->p++;
        b->depth--;
        return;
    }
    if (*b->p == ',')
        b->p = json_skip_space(b->p + 1, b->end);
    bool object = json_object_is_type(into, json_type_object);
    char *key = NULL;
    if (object) {
        key = take_key(b);
        b->p = json_skip_space(b->p, b->end);
        b->p = json_skip_space(b->p + 1, b->end); /* the colon */
    }
    bool opens = *b->p == '{' || *b->p == '[';
    struct json_object *v = take_value(b);
    if ((object ? json_object_object_add(into, key, v) : json_object_array_add(into, v)) != 0)
        die("out of memory (a JSON tree)");
    mem_free(key);
    if (opens)
        b->open[b->depth++] = v;
}

struct json_object *json_tree(struct str text, struct json_error *err) {
    enum json_kind kind = JSON_NULL;
    struct json_error ignored;
    if (!err)
        err = &ignored;
    *err = (struct json_error){0, NULL};
    if (json_scan(text, &kind, NULL, NULL, err) != 0)
        return NULL;
    struct build b = {.end = text.p + text.n};
    b.p = json_skip_space(text.p, b.end);
    buf_init(&b.scratch, 0);
    struct json_object *root = take_value(&b);
    if (kind == JSON_OBJECT || kind == JSON_ARRAY)
        b.open[b.depth++] = root;
    while (b.depth > 0)
        step(&b);
    buf_free(&b.scratch);
    return root;
}

/* --- reading --- */

struct json_object *jo_get(struct json_object *o, const char *key) {
    struct json_object *v = NULL;
    if (json_object_is_type(o, json_type_object))
        json_object_object_get_ex(o, key, &v);
    return v;
}

static struct json_object *get_of_type(struct json_object *o, const char *key, enum json_type type) {
    struct json_object *v = jo_get(o, key);
    return v && json_object_is_type(v, type) ? v : NULL;
}

struct json_object *jo_obj(struct json_object *o, const char *key) {
    return get_of_type(o, key, json_type_object);
}

struct json_object *jo_arr(struct json_object *o, const char *key) {
    return get_of_type(o, key, json_type_array);
}

struct str jo_text(struct json_object *string) {
    if (!string || !json_object_is_type(string, json_type_string))
        return STR_NONE;
    return str_make(json_object_get_string(string), (size_t)json_object_get_string_len(string));
}

struct str jo_str(struct json_object *o, const char *key) {
    return jo_text(jo_get(o, key));
}

int64_t jo_int(struct json_object *o, const char *key, int64_t otherwise) {
    struct json_object *v = jo_get(o, key);
    if (json_object_is_type(v, json_type_int)) {
        int64_t i = json_object_get_int64(v);
        /* json-c answers with the nearest when it does not fit */
        return i == INT64_MAX && json_object_get_uint64(v) > INT64_MAX ? otherwise : i;
    }
    if (v && json_object_is_type(v, json_type_double)) { /* 3.0 and 3e2 are integers too */
        double d = json_object_get_double(v);
        if (fabs(d) <= 0x1p53 && trunc(d) == d)
            return (int64_t)d;
    }
    return otherwise;
}

bool jo_bool(struct json_object *o, const char *key, bool otherwise) {
    struct json_object *v = get_of_type(o, key, json_type_boolean);
    return v ? json_object_get_boolean(v) : otherwise;
}
