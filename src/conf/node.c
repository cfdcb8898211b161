/* The tree that configuration is read from. Files and the environment both end up in it, so that there is one
 * reader, one order of precedence and one way to say what is wrong. */
#include "base/die.h"
#include "load.h"

struct node *node_new(struct load *l, enum node_kind kind) {
    struct node *n = arena_alloc(l->scratch, sizeof *n);
    n->kind = kind;
    n->all = l->nodes;
    l->nodes = n;
    l->node_count++;
    return n;
}

void node_append(struct node *parent, struct node *child) {
    child->next = NULL;
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

static struct node *member(const struct node *map, struct str key) {
    if (!map || map->kind != NODE_MAP)
        return NULL;
    for (struct node *n = map->first; n; n = n->next)
        if (str_is(key, n->key))
            return n;
    return NULL;
}

struct node *node_get(const struct node *map, const char *path) {
    struct str rest = str_of(path), key;
    const struct node *n = map;
    while (n && str_next(&rest, '.', &key))
        n = member(n, key);
    return n && n->kind != NODE_NULL ? (struct node *)(uintptr_t)n : NULL;
}

struct node *node_put(struct load *l, struct node *map, const char *path, const char *text, const char *env) {
    struct str rest = str_of(path), key;
    struct node *n = map;
    while (str_next(&rest, '.', &key)) {
        struct node *child = member(n, key);
        if (!child) {
            child = node_new(l, NODE_NULL);
            child->key = arena_dupz(l->scratch, key);
            child->env = env;
            node_append(n, child);
        }
        if (rest.n && child->kind == NODE_NULL)
            child->kind = NODE_MAP;
        if (child->kind != (rest.n ? NODE_MAP : NODE_NULL))
            return NULL; /* written by a person, perhaps wrongly: the reader will say so */
        n = child;
    }
    n->kind = NODE_SCALAR;
    n->text = n->raw = arena_dup(l->scratch, str_of(text));
    n->env = env;
    return n;
}

size_t node_count(const struct node *list) {
    size_t n = 0;
    for (const struct node *i = list ? list->first : NULL; i; i = i->next)
        n++;
    return n;
}

struct at at_child(const struct at *up, const char *path) {
    return (struct at){up, path, 0, node_get(up->node, path)};
}

struct at at_item(const struct at *list, size_t index) {
    const struct node *n = list->node;
    if (n && n->kind == NODE_LIST) {
        n = n->first;
        for (size_t i = 0; i < index && n; i++)
            n = n->next;
    }
    return (struct at){list, NULL, index, n};
}

struct wipe {
    char *p;
    size_t n;
};

static void wipe_one(void *arg) {
    struct wipe *w = arg;
    mem_wipe(w->p, w->n);
}

const char *arena_secret(struct arena *a, struct str s) {
    if (s.n == 0)
        return "";
    struct wipe *w = arena_alloc(a, sizeof *w);
    *w = (struct wipe){arena_dupz(a, s), s.n};
    arena_cleanup(a, wipe_one, w);
    return w->p;
}
