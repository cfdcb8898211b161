/* The writer: puts the commas and the escapes, into a buf whose errors stick. */
#include "base/die.h"
#include "base/json.h"
#include "json_bytes.h"
#include "utf8.h"
#include <json-c/json_object_iterator.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { LEVELS = JSON_MAX_DEPTH + 8 };

/* --- strings --- */

static void escape_ascii(struct buf *out, char c) {
    static const char codes[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    const char *at = c ? strchr(codes, c) : NULL;
    if (at) {
        char two[2] = {'\\', names[at - codes]};
        buf_add(out, two, 2);
    } else {
        static const char hex[] = "0123456789abcdef";
        char six[6] = {'\\', 'u', '0', '0', hex[(unsigned char)c >> 4], hex[c & 15]};
        buf_add(out, six, 6);
    }
}

void json_escape(struct buf *out, struct str s) {
    if (s.n == 0)
        return;
    const char *p = s.p, *end = s.p + s.n, *from = p;
    while ((p = json_skip_plain(p, end)) < end) {
        if ((signed char)*p < 0) {
            size_t n = utf8_length((const unsigned char *)p, (size_t)(end - p));
            if (n > 0) {
                p += n;
                continue;
            }
        }
        buf_add(out, from, (size_t)(p - from));
        size_t bad = utf8_half(p, (size_t)(end - p)) ? 3 : 1;
        if ((signed char)*p < 0)
            BUF_ADD(out, UTF8_REPLACEMENT);
        else
            escape_ascii(out, *p);
        from = p += bad;
    }
    buf_add(out, from, (size_t)(end - from));
}

/* Short, and nothing in it has to be escaped: most names and words. */
static bool bare(struct str s) {
    enum { SHORT = 256 };
    return s.n == 0 || (s.n <= SHORT && json_skip_plain(s.p, s.p + s.n) == s.p + s.n);
}

static char *put_quoted(char *to, struct str s) {
    *to++ = '"';
    if (s.n)
        memcpy(to, s.p, s.n);
    to += s.n;
    *to++ = '"';
    return to;
}

void json_quote(struct buf *out, struct str s) {
    char *to = bare(s) ? buf_room(out, s.n + 2) : NULL;
    if (to) {
        put_quoted(to, s);
        buf_commit(out, s.n + 2);
        return;
    }
    buf_addc(out, '"');
    json_escape(out, s);
    buf_addc(out, '"');
}

/* --- structure --- */

void jw_init(struct jw *w, struct buf *out) {
    memset(w, 0, sizeof *w);
    w->out = out;
}

/* Before every value and every key. */
static void separate(struct jw *w) {
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->depth == 0 || w->depth > LEVELS)
        return;
    if (w->first[w->depth - 1])
        w->first[w->depth - 1] = false;
    else
        buf_addc(w->out, ',');
}

static void enter(struct jw *w, char bracket) {
    separate(w);
    buf_addc(w->out, bracket);
    if (w->depth < LEVELS)
        w->first[w->depth] = true;
    else
        w->out->failed = true;
    w->depth++;
}

static void leave(struct jw *w, char bracket) {
    MUST(w->depth > 0 && !w->after_key);
    w->depth--;
    buf_addc(w->out, bracket);
}

void jw_obj(struct jw *w) {
    enter(w, '{');
}

void jw_obj_end(struct jw *w) {
    leave(w, '}');
}

void jw_arr(struct jw *w) {
    enter(w, '[');
}

void jw_arr_end(struct jw *w) {
    leave(w, ']');
}

void jw_key(struct jw *w, const char *key) {
    size_t n = strlen(key);
    separate(w);
    char *to = buf_room(w->out, n + 3);
    if (to) {
        to[0] = '"';
        memcpy(to + 1, key, n);
        to[n + 1] = '"';
        to[n + 2] = ':';
        buf_commit(w->out, n + 3);
    }
    w->after_key = true;
}

void jw_keys(struct jw *w, struct str key) {
    separate(w);
    json_quote(w->out, key);
    buf_addc(w->out, ':');
    w->after_key = true;
}

/* --- values --- */

void jw_str(struct jw *w, struct str s) {
    separate(w);
    json_quote(w->out, s);
}

void jw_z(struct jw *w, const char *z) {
    if (z)
        jw_str(w, str_of(z));
    else
        jw_null(w);
}

void jw_int(struct jw *w, int64_t v) {
    separate(w);
    buf_addi(w->out, v);
}

void jw_u64(struct jw *w, uint64_t v) {
    separate(w);
    buf_addu(w->out, v);
}

void jw_bool(struct jw *w, bool v) {
    separate(w);
    buf_addz(w->out, v ? "true" : "false");
}

void jw_null(struct jw *w) {
    separate(w);
    BUF_ADD(w->out, "null");
}

void jw_real(struct jw *w, double v) {
    char text[32];
    if (!isfinite(v)) {
        jw_null(w);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) { /* 17 always read back the same */
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    separate(w);
    buf_addz(w->out, text);
}

void jw_nano(struct jw *w, int64_t nano) {
    uint64_t m = nano < 0 ? 0 - (uint64_t)nano : (uint64_t)nano;
    uint32_t part = (uint32_t)(m % 1000000000U);
    separate(w);
    if (nano < 0)
        buf_addc(w->out, '-');
    buf_addu(w->out, m / 1000000000U);
    if (part == 0)
        return;
    char digits[10] = ".";
    size_t n = sizeof digits;
    for (size_t i = n; i-- > 1; part /= 10)
        digits[i] = (char)('0' + part % 10);
    while (digits[n - 1] == '0')
        n--;
    buf_add(w->out, digits, n);
}

void jw_raw(struct jw *w, struct str json) {
    separate(w);
    buf_adds(w->out, json);
}

/* --- trees --- */

static void tree_object(struct jw *w, struct json_object *o) {
    jw_obj(w);
    struct json_object_iterator it = json_object_iter_begin(o), end = json_object_iter_end(o);
    for (; buf_ok(w->out) && !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        jw_keys(w, str_of(json_object_iter_peek_name(&it)));
        jw_tree(w, json_object_iter_peek_value(&it));
    }
    jw_obj_end(w);
}

static void tree_array(struct jw *w, struct json_object *o) {
    size_t n = json_object_array_length(o);
    jw_arr(w);
    for (size_t i = 0; i < n && buf_ok(w->out); i++)
        jw_tree(w, json_object_array_get_idx(o, i));
    jw_arr_end(w);
}

static void tree_int(struct jw *w, struct json_object *o) {
    int64_t i = json_object_get_int64(o);
    if (i < 0)
        jw_int(w, i);
    else
        jw_u64(w, json_object_get_uint64(o)); /* may be beyond int64 */
}

/* A double of json_tree carries its text, which json-c prints. */
static void tree_double(struct jw *w, struct json_object *o) {
    if (json_object_get_userdata(o))
        jw_raw(w, str_of(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN)));
    else
        jw_real(w, json_object_get_double(o));
}

/* Recursion ends with the writer's depth: passing it fails the buf. */
void jw_tree(struct jw *w, struct json_object *tree) {
    switch (json_object_get_type(tree)) {
    case json_type_object:
        tree_object(w, tree);
        break;
    case json_type_array:
        tree_array(w, tree);
        break;
    case json_type_string:
        jw_str(w, jo_text(tree));
        break;
    case json_type_int:
        tree_int(w, tree);
        break;
    case json_type_double:
        tree_double(w, tree);
        break;
    case json_type_boolean:
        jw_bool(w, json_object_get_boolean(tree));
        break;
    default:
        jw_null(w);
    }
}

/* --- key and value in one --- */

void jw_kstr(struct jw *w, const char *key, struct str s) {
    jw_key(w, key);
    jw_str(w, s);
}

void jw_kz(struct jw *w, const char *key, const char *z) {
    jw_key(w, key);
    jw_z(w, z);
}

void jw_kint(struct jw *w, const char *key, int64_t v) {
    jw_key(w, key);
    jw_int(w, v);
}

void jw_ku64(struct jw *w, const char *key, uint64_t v) {
    jw_key(w, key);
    jw_u64(w, v);
}

void jw_kbool(struct jw *w, const char *key, bool v) {
    jw_key(w, key);
    jw_bool(w, v);
}

void jw_knull(struct jw *w, const char *key) {
    jw_key(w, key);
    jw_null(w);
}
