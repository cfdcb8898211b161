/* JSON: what the scanner accepts, everything behind it must agree on.
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Iinclude tests/fuzz/fuzz_json.c
 * src/base/x.c ... */
#include "base/die.h"
#include "base/json.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct pair {
    struct json_value seen[64];
    struct str keys[64];
    size_t n;
};

static bool collect(void *arg, struct str key, struct json_value v) {
    struct pair *p = arg;
    if (p->n < 64) {
        p->keys[p->n] = key;
        p->seen[p->n] = v;
    }
    p->n++;
    return true;
}

static bool same(struct str a, struct str b) {
    return a.p == b.p && a.n == b.n;
}

/* The scan and the later walk cut the same members; every value among them is JSON itself. */
static void check_members(struct str text) {
    static struct pair a, b;
    a.n = b.n = 0;
    enum json_kind kind;
    MUST(json_scan(text, &kind, collect, &a, NULL) == 0);
    json_each(text, collect, &b);
    MUST(a.n == b.n);
    struct arena *arena = arena_new(0);
    for (size_t i = 0; i < a.n && i < 64; i++) {
        uint64_t u;
        int64_t n;
        double d;
        enum json_kind k;
        MUST(same(a.keys[i], b.keys[i]) && same(a.seen[i].raw, b.seen[i].raw) &&
             a.seen[i].kind == b.seen[i].kind);
        MUST(json_scan(a.seen[i].raw, &k, NULL, NULL, NULL) == 0 && k == a.seen[i].kind);
        json_text(arena, a.seen[i]);
        if (json_u64(a.seen[i], &u) && json_i64(a.seen[i], &n))
            MUST(u == (uint64_t)n && json_double(a.seen[i], &d) && d == (double)u);
    }
    arena_free(arena);
}

/* The canonical form is JSON, and its own canonical form. */
static void check_canonical(struct str text, struct buf *once) {
    struct buf twice;
    buf_init(&twice, 0);
    json_canonical(text, once, NULL, NULL);
    MUST(buf_ok(once) && json_scan(buf_str(once), NULL, NULL, NULL, NULL) == 0);
    json_canonical(buf_str(once), &twice, NULL, NULL);
    MUST(str_eq(buf_str(once), buf_str(&twice)));
    buf_free(&twice);
}

/* A tree is made, its print is JSON, and a tree of the print prints the same. */
static void check_tree(struct str text, struct buf *first) {
    struct json_error err;
    struct buf second;
    struct jw w;
    struct json_object *o = json_tree(text, &err);
    MUST(err.why == NULL);
    jw_init(&w, first);
    jw_tree(&w, o);
    json_object_put(o);
    o = json_tree(buf_str(first), &err);
    MUST(err.why == NULL);
    buf_init(&second, 0);
    jw_init(&w, &second);
    jw_tree(&w, o);
    json_object_put(o);
    MUST(str_eq(buf_str(first), buf_str(&second)));
    buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = {(const char *)data, size};
    struct json_error err = {0, NULL};
    if (json_scan(text, NULL, NULL, NULL, &err) != 0) {
        MUST(err.why && err.offset <= size && json_tree(text, NULL) == NULL);
        return 0;
    }
    struct buf canonical, printed;
    buf_init(&canonical, 0);
    buf_init(&printed, 0);
    check_members(text);
    check_canonical(text, &canonical);
    check_tree(text, &printed);
    buf_free(&canonical);
    buf_free(&printed);
    return 0;
}
