/* Building the canonical form. Everything is in the arena; fields that tell "not said" from zero start as not
 * said, so that a translation never invents a parameter. */
#include "llm/chat.h"

struct chat *chat_new(struct arena *a) {
    struct chat *c = arena_alloc(a, sizeof *c);
    c->arena = a;
    c->parallel_calls = -1;
    c->format_strict = -1;
    c->top_logprobs = -1;
    return c;
}

struct message *chat_message(struct chat *c, enum chat_role role) {
    struct message *m = arena_alloc(c->arena, sizeof *m);
    m->role = role;
    m->turn = c->turn;
    if (c->last)
        c->last->next = m;
    else
        c->messages = m;
    c->last = m;
    return m;
}

struct part *message_part(struct chat *c, struct message *m, enum part_kind kind) {
    struct part *p = arena_alloc(c->arena, sizeof *p);
    p->kind = kind;
    if (m->last)
        m->last->next = p;
    else
        m->parts = p;
    m->last = p;
    return p;
}

struct part *part_inner(struct chat *c, struct part *result, enum part_kind kind) {
    struct part *p = arena_alloc(c->arena, sizeof *p);
    p->kind = kind;
    if (result->inner_last)
        result->inner_last->next = p;
    else
        result->inner = p;
    result->inner_last = p;
    return p;
}

struct tool *chat_tool(struct chat *c, struct str name) {
    struct tool *t = arena_alloc(c->arena, sizeof *t);
    t->name = name;
    t->strict = -1;
    t->at = c->last_tool ? c->last_tool->at + 1 : 0;
    if (c->last_tool)
        c->last_tool->next = t;
    else
        c->tools = t;
    c->last_tool = t;
    return t;
}

static void put(void *tree) {
    json_object_put(tree);
}

struct json_object *chat_hold(struct arena *a, struct json_object *tree) {
    if (tree)
        arena_cleanup(a, put, tree);
    return tree;
}

enum stop_reason stop_effective(enum stop_reason said, bool has_calls) {
    if (has_calls && said != STOP_ERROR)
        return STOP_TOOLS;
    return said;
}
