/* The tools of a Responses request under the names that other providers know them by. */
#include "base/hash.h"
#include "free_text.h"
#include "openai_responses.h"

#include <json-c/linkhash.h>
#include <stdio.h>

enum { FLAT_MAX = 64, TAIL = 9 }; /* '_' and eight digits */

/* Cut, and with a digest of what it was. */
static struct str digested(struct arena *a, struct str space, struct str name, struct str joined) {
    struct str whole = arena_printf(a, STR_FMT "%c" STR_FMT, STR_ARG(space), '\x1f', STR_ARG(name));
    int n = joined.n < FLAT_MAX - TAIL ? (int)joined.n : FLAT_MAX - TAIL;
    return arena_printf(a, "%.*s_%08x", n, joined.p, (unsigned)(uint32_t)hash64(whole.p, whole.n));
}

static bool fits(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static struct str joined(struct arena *a, struct str space, struct str name, bool *exact) {
    struct str s = arena_printf(a, STR_FMT "%s" STR_FMT, STR_ARG(space), str_ends(space, "__") ? "" : "__",
                                STR_ARG(name));
    char *p = arena_alloc(a, s.n + 1);
    *exact = s.n <= FLAT_MAX;
    for (size_t i = 0; i < s.n; i++) {
        p[i] = fits(s.p[i]) ? s.p[i] : '_';
        *exact = *exact && p[i] == s.p[i];
    }
    return str_make(p, s.n);
}

static struct str flat_name(struct arena *a, struct str space, struct str name, bool apart) {
    bool exact;
    struct str s = joined(a, space, name, &exact);
    return exact && !apart ? s : digested(a, space, name, s);
}

static int64_t index_of(const struct rs_tools *t, struct json_object *map, struct str key) {
    struct json_object *v;
    return json_object_object_get_ex(map, arena_dupz(t->a, key), &v) ? json_object_get_int64(v) : -1;
}

static struct str own_key(const struct rs_tools *t, struct str space, struct str name) {
    return arena_printf(t->a, STR_FMT "%c" STR_FMT, STR_ARG(space), '\x1f', STR_ARG(name));
}

static void add(struct rs_tools *t, struct str space, struct json_object *o) {
    struct str name = jo_str(o, "name"), flat = name;
    bool custom = str_is(jo_str(o, "type"), "custom");
    struct str own = own_key(t, space, name);
    if (name.n == 0 || (!custom && !str_is(jo_str(o, "type"), "function")) ||
        index_of(t, t->by_own, own) >= 0)
        return;
    if (space.n > 0) {
        flat = flat_name(t->a, space, name, false);
        if (index_of(t, t->by_flat, flat) >= 0)
            flat = flat_name(t->a, space, name, true);
    }
    t->list[t->n] = (struct rs_tool){.flat = flat, .space = space, .name = name, .custom = custom};
    json_object_object_add(t->by_own, arena_dupz(t->a, own), json_object_new_int64((int64_t)t->n));
    if (index_of(t, t->by_flat, flat) < 0)
        json_object_object_add(t->by_flat, arena_dupz(t->a, flat), json_object_new_int64((int64_t)t->n));
    t->n++;
}

static size_t length(struct json_object *list) {
    return list ? json_object_array_length(list) : 0;
}

void rs_tools_init(struct rs_tools *t, struct arena *a, struct json_object *tools) {
    size_t n = length(tools), most = n;
    for (size_t i = 0; i < n; i++)
        most += length(jo_arr(json_object_array_get_idx(tools, i), "tools"));
    *t = (struct rs_tools){.a = a, .list = arena_array(a, most + 1, sizeof *t->list)};
    t->by_flat = chat_hold(a, json_object_new_object());
    t->by_own = chat_hold(a, json_object_new_object());
    for (size_t i = 0; i < n; i++) /* those that have their name already go first */
        add(t, STR_NONE, json_object_array_get_idx(tools, i));
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(tools, i);
        struct json_object *inner = rs_is_namespace(o) ? jo_arr(o, "tools") : NULL;
        for (size_t k = 0; k < length(inner); k++)
            add(t, jo_str(o, "name"), json_object_array_get_idx(inner, k));
    }
}

bool rs_is_namespace(struct json_object *tool) {
    return str_is(jo_str(tool, "type"), "namespace") && jo_str(tool, "name").n > 0;
}

const struct rs_tool *rs_tool_by_flat(const struct rs_tools *t, struct str flat) {
    int64_t i = t->by_flat ? index_of(t, t->by_flat, flat) : -1;
    return i < 0 ? NULL : &t->list[i];
}

struct str rs_tool_flat(const struct rs_tools *t, struct str space, struct str name) {
    int64_t i = space.n > 0 ? index_of(t, t->by_own, own_key(t, space, name)) : -1;
    if (space.n == 0)
        return name;
    return i < 0 ? flat_name(t->a, space, name, false) : t->list[i].flat;
}
