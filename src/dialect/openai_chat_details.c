/* OpenRouter's reasoning_details: what the model behind it wants back in the next turn of a loop of tools. In
 * a stream an element comes in fragments: its texts are joined, its signature comes with a later one. Source:
 * OpenRouter's guide to reasoning tokens, "Preserving reasoning". */
#include "answer.h"
#include "base/die.h"
#include "openai_chat.h"

#include <json-c/json_object_iterator.h>

enum { DETAILS_MAX = 256, BYTES_MAX = 1 << 20 };

struct detail {
    struct json_object *o; /* the members but the text */
    const char *key;       /* of the text: "text", "summary"; NULL: none yet */
    struct buf text;
};

struct oc_details {
    struct arena *a;
    struct detail rows[DETAILS_MAX];
    size_t n, bytes;
    bool full; /* then nothing is told: a part of it would be refused */
};

static void clear(struct oc_details *d) {
    for (size_t i = 0; i < d->n; i++) {
        json_object_put(d->rows[i].o);
        buf_free(&d->rows[i].text);
    }
    d->n = d->bytes = 0;
}

static void release(void *details) {
    clear(details);
}

struct oc_details *oc_details_new(struct arena *a) {
    struct oc_details *d = arena_alloc(a, sizeof *d);
    d->a = a;
    arena_cleanup(a, release, d);
    return d;
}

/* Encrypted elements come whole, and several of them may have one index. */
static bool is_one(const struct detail *have, struct json_object *more) {
    struct str type = jo_str(more, "type"), a = jo_str(have->o, "id"), b = jo_str(more, "id");
    return !str_is(type, "reasoning.encrypted") && str_eq(type, jo_str(have->o, "type")) &&
           jo_int(have->o, "index", 0) == jo_int(more, "index", 0) && (a.n == 0 || b.n == 0 || str_eq(a, b));
}

static struct detail *row_of(struct oc_details *d, struct json_object *o) {
    for (size_t i = d->n; i-- > 0;)
        if (is_one(&d->rows[i], o))
            return &d->rows[i];
    if (d->n == DETAILS_MAX)
        return NULL;
    struct detail *row = &d->rows[d->n++];
    *row = (struct detail){.o = json_object_new_object()};
    MUST(row->o != NULL);
    buf_init(&row->text, BYTES_MAX);
    return row;
}

static void take_member(struct detail *row, const char *key, struct json_object *v) {
    bool text = strcmp(key, "text") == 0 || strcmp(key, "summary") == 0;
    if (text && json_object_is_type(v, json_type_string)) {
        row->key = strcmp(key, "text") == 0 ? "text" : "summary";
        buf_adds(&row->text, jo_text(v));
    } else if (v || !json_object_object_get_ex(row->o, key, NULL)) {
        json_object_object_add(row->o, key, json_object_get(v));
    }
}

static void take(struct oc_details *d, struct json_object *o) {
    size_t bytes;
    MUST(json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN, &bytes) != NULL);
    d->bytes += bytes; /* each is within max_response_body, and the first beyond ends it */
    struct detail *row = d->bytes > BYTES_MAX ? NULL : row_of(d, o);
    if (!row) {
        d->full = true;
        return;
    }
    struct json_object_iterator it = json_object_iter_begin(o), end = json_object_iter_end(o);
    for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
        take_member(row, json_object_iter_peek_name(&it), json_object_iter_peek_value(&it));
}

void oc_details_add(struct oc_details *d, struct json_object *list) {
    size_t n = list ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n && !d->full; i++)
        if (json_object_is_type(json_object_array_get_idx(list, i), json_type_object))
            take(d, json_object_array_get_idx(list, i));
}

struct str oc_details_take(struct oc_details *d) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    for (size_t i = 0; i < d->n && !d->full; i++) {
        struct detail *row = &d->rows[i];
        struct str text = buf_str(&row->text);
        if (row->key)
            json_object_object_add(row->o, row->key,
                                   json_object_new_string_len(text.n ? text.p : "", (int)text.n));
        if (i > 0)
            buf_addc(&b, ',');
        jw_init(&w, &b);
        jw_tree(&w, row->o);
    }
    struct str s = buf_len(&b) ? arena_dup(d->a, buf_str(&b)) : STR_NONE;
    buf_free(&b);
    clear(d);
    return s;
}

struct str oc_details_array(struct arena *a, struct str signatures) {
    enum json_kind kind;
    struct json_error err;
    struct str s = arena_printf(a, "[" STR_FMT "]", STR_ARG(signatures));
    return signatures.n && json_scan(s, &kind, NULL, NULL, &err) == 0 ? s : STR_NONE;
}
