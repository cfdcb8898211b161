/* JSON. On the hot path a text is scanned once, strictly, and cut into spans of its own bytes; trees (json-c)
 * are for translation, configuration and admin, and are only ever built of text that the scanner has passed.
 * Strict is RFC 8259: UTF-8 checked (no surrogates, no overlong), number grammar, no control characters in
 * strings, no NaN, no trailing bytes, and a bound on depth. */
#ifndef PENSTOCK_BASE_JSON_H
#define PENSTOCK_BASE_JSON_H
#include <json-c/json_object.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

#define JSON_MAX_DEPTH 128

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_error {
    size_t offset;   /* of the first wrong byte */
    const char *why; /* static text: "unexpected end", "too deep", "invalid UTF-8" ... */
};
struct json_value {
    enum json_kind kind;
    struct str raw; /* the value's own bytes; a string's with its quotes */
};
/* Called for each member (or element, key.n == 0) of the outermost object (or array), in order, after it was
 * checked. `key` is raw, without its quotes, escapes not undone. Return false to stop (json_scan gives -2). */
typedef bool json_member_fn(void *arg, struct str key, struct json_value v);

/* Scans the whole text. `kind` and `err` may be NULL. 0; -1 and *err when malformed; -2 when fn said stop. *kind of the outermost value
 * (known from its first byte: also set before fn is first called). fn may be NULL. One pass: fn has been called for members before an error further on is found. */
int json_scan(struct str text, enum json_kind *kind, json_member_fn *fn, void *arg, struct json_error *err);
/* The same over a span that has been scanned already (v.raw of a member): no checks, only the cut. */
void json_each(struct str checked, json_member_fn *fn, void *arg);
/* A member by path in a checked object, e.g. "usage", "prompt_tokens": false if absent. Of members with the same
 * name the last one, as in trees. */
bool json_member(struct str checked, const char *key, struct json_value *out);
bool json_path(struct str checked, struct json_value *out, ...) __attribute__((sentinel)); /* keys ..., NULL */

/* A key or a string value as text, escapes undone. A lone surrogate escape becomes three bytes that are no UTF-8 (WTF-8),
 * so that two halves that came apart can be joined (llm/event.h); writers make U+FFFD of one that stays alone. */
struct str json_text(struct arena *a, struct json_value v);  /* of JSON_STRING; no copy when it has no escape */
bool json_key_is(struct str raw_key, const char *name);      /* escapes in the key are undone for the comparison */
bool json_string_is(struct json_value v, const char *text);
bool json_u64(struct json_value v, uint64_t *out);           /* an integer >= 0 that fits ("3", "3.0", "3e2") */
bool json_i64(struct json_value v, int64_t *out);
bool json_double(struct json_value v, double *out);
bool json_true(struct json_value v);                         /* the literal true */

/* Feeds a digest-like consumer with a canonical form: no white space, members in byte order of their keys
 * (escapes undone), strings re-escaped one way, numbers as they stand. skip(arg, depth, key): leave a member
 * of an object out; key is raw (json_key_is), depth is 1 in the outermost value; skip may be NULL. Checked text
 * only. */
void json_canonical(struct str checked, struct buf *out, bool (*skip)(void *arg, unsigned depth, struct str key),
                    void *arg);

/* A tree of any text, which is scanned first, or NULL and *err. Numbers keep their text when printed back by
 * jw_tree. The text "null" gives NULL as well (json-c has no other null): then *err is {0, NULL}. Of members with
 * the same name the last wins; a NUL in a key, which json-c cannot hold, becomes U+FFFD (in values it stays). */
struct json_object *json_tree(struct str text, struct json_error *err);
/* Reading trees: NULL, or the default, when absent or of another type. Borrowed, never to be put. */
struct json_object *jo_get(struct json_object *o, const char *key);
struct json_object *jo_obj(struct json_object *o, const char *key);
struct json_object *jo_arr(struct json_object *o, const char *key);
struct str jo_str(struct json_object *o, const char *key);  /* STR_NONE when absent; lives as long as the tree */
struct str jo_text(struct json_object *string);
int64_t jo_int(struct json_object *o, const char *key, int64_t otherwise);
bool jo_bool(struct json_object *o, const char *key, bool otherwise);

/* Writing. Commas are put by the writer; nesting is bounded by JSON_MAX_DEPTH + 8. Errors stick in the buf. */
struct jw {
    struct buf *out;
    unsigned depth;
    bool after_key;
    bool first[JSON_MAX_DEPTH + 8];
};
void jw_init(struct jw *w, struct buf *out);
void jw_obj(struct jw *w);
void jw_obj_end(struct jw *w);
void jw_arr(struct jw *w);
void jw_arr_end(struct jw *w);
void jw_key(struct jw *w, const char *key); /* a literal that needs no escape */
void jw_keys(struct jw *w, struct str key);
void jw_str(struct jw *w, struct str s);    /* escaped; invalid UTF-8 becomes U+FFFD */
void jw_z(struct jw *w, const char *z);     /* NULL is null */
void jw_int(struct jw *w, int64_t v);
void jw_u64(struct jw *w, uint64_t v);
void jw_bool(struct jw *w, bool v);
void jw_null(struct jw *w);
void jw_real(struct jw *w, double v);       /* shortest that reads back the same; not finite is null */
void jw_nano(struct jw *w, int64_t nano);   /* nano-dollars as a decimal of dollars: 1500000 -> 0.0015 */
void jw_raw(struct jw *w, struct str json); /* bytes that are JSON already */
void jw_tree(struct jw *w, struct json_object *tree);
/* key and value in one */
void jw_kstr(struct jw *w, const char *key, struct str s);
void jw_kz(struct jw *w, const char *key, const char *z);
void jw_kint(struct jw *w, const char *key, int64_t v);
void jw_ku64(struct jw *w, const char *key, uint64_t v);
void jw_kbool(struct jw *w, const char *key, bool v);
void jw_knull(struct jw *w, const char *key);

void json_quote(struct buf *out, struct str s);  /* "..." */
void json_escape(struct buf *out, struct str s); /* the same without the quotes */
#endif
