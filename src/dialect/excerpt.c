/* Texts are found by the names that they have in all the wire formats: a table of names that mean text serves
 * them all, and where one means something else in a format we have not seen, the log has a line too many or
 * too few. */
#include "dialect/excerpt.h"

/* A string; one of a request (answers may repeat it); an object, as JSON (what a tool is given, or gives);
 * nothing in it. */
enum { TEXT = 1, ASKED = 2, TREE = 4, SKIP = 8 };
#define NAME(text, means)                                                                                    \
    { sizeof(text) - 1, means, text }
static const struct {
    uint8_t n, means;
    char text[18];
} names[] = {
    NAME("content", TEXT),
    NAME("text", TEXT),
    NAME("input", TEXT | TREE),
    NAME("prompt", ASKED),
    NAME("query", ASKED),
    NAME("instructions", ASKED),
    NAME("system", ASKED),
    NAME("preamble", ASKED),
    NAME("message", TEXT),
    NAME("texts", TEXT),
    NAME("output", TEXT),
    NAME("documents", ASKED),
    NAME("args", TREE),
    NAME("arguments", TEXT | TREE),
    NAME("response", TEXT | TREE),
    NAME("thinking", TEXT),
    NAME("reasoning", TEXT),
    NAME("reasoning_content", TEXT),
    NAME("refusal", TEXT),
    NAME("summary", TEXT),
    NAME("suffix", TEXT),
    NAME("tools", SKIP),
    NAME("functions", SKIP),
    NAME("tool_choice", SKIP),
    NAME("metadata", SKIP),
    NAME("response_format", SKIP),
    NAME("format", SKIP),
    NAME("json_schema", SKIP),
    NAME("schema", SKIP),
    NAME("logprobs", SKIP),
    NAME("annotations", SKIP),
    NAME("citations", SKIP),
    NAME("routing", SKIP),
    NAME("usage", SKIP),
    NAME("data", SKIP),
    NAME("source", SKIP),
    NAME("image_url", SKIP),
    NAME("inlineData", SKIP),
    NAME("input_audio", SKIP),
    NAME("generationConfig", SKIP),
    NAME("safetySettings", SKIP),
    NAME("toolConfig", SKIP),
};

static unsigned means(struct str name) {
    for (size_t i = 0; name.n && i < sizeof names / sizeof *names; i++)
        if (names[i].n == name.n && memcmp(names[i].text, name.p, name.n) == 0)
            return names[i].means;
    return 0;
}

static void release(void *excerpt) {
    buf_free(&((struct excerpt *)excerpt)->text);
}

void excerpt_init(struct excerpt *e, struct arena *a, size_t most) {
    *e = (struct excerpt){.a = a, .most = most};
    buf_init(&e->text, most);
    arena_cleanup(a, release, e);
}

static void add(struct excerpt *e, struct str s) {
    size_t room = e->most - buf_len(&e->text);
    if (s.n > room) {
        s.n = room;
        e->cut = true;
    }
    buf_adds(&e->text, s);
}

static void begin(struct excerpt *e) {
    if (buf_len(&e->text) > 0)
        add(e, STR("\n"));
    if (e->role.n) {
        add(e, e->role);
        add(e, STR(": "));
    }
    e->role = STR_NONE;
}

static void piece(struct excerpt *e, struct str s) {
    if (s.n == 0)
        return;
    begin(e);
    add(e, s);
}

/* --- JSON --- */

struct level {
    struct excerpt *e;
    struct str name; /* of the array whose elements these are */
    bool asked;
};

static bool take_member(void *arg, struct str key, struct json_value v);

static void walk(const struct level *of, struct str name, struct json_value v) {
    struct level l = {of->e, name, of->asked};
    struct json_value role;
    bool turn = v.kind == JSON_OBJECT && l.asked && name.n; /* the request itself has no role */
    if (turn && json_member(v.raw, "role", &role) && role.kind == JSON_STRING)
        l.e->role = json_text(l.e->a, role);
    json_each(v.raw, take_member, &l);
}

static bool take_member(void *arg, struct str key, struct json_value v) {
    const struct level *l = arg;
    struct str name = key.n ? key : l->name; /* an element is called what its array is */
    if (v.kind < JSON_STRING)
        return true;
    unsigned what = means(name);
    if (v.kind == JSON_STRING && (what & (l->asked ? TEXT | ASKED : TEXT)))
        piece(l->e, json_text(l->e->a, v));
    else if (v.kind == JSON_OBJECT && key.n && (what & TREE))
        piece(l->e, v.raw);
    else if (v.kind != JSON_STRING && !(what & SKIP))
        walk(l, name, v);
    return !l->e->cut;
}

void excerpt_json(struct excerpt *e, struct str checked, bool asked) {
    walk(&(struct level){e, STR_NONE, asked}, STR_NONE, (struct json_value){JSON_OBJECT, checked});
}

/* --- events --- */

void excerpt_event(void *excerpt, const struct event_item *ev) {
    struct excerpt *e = excerpt;
    switch (ev->kind) {
    case EV_PART_OPEN:
        e->open = false;
        if (ev->part == PART_TOOL_CALL)
            piece(e, ev->name);
        break;
    case EV_TEXT:
    case EV_THINK:
    case EV_ARGS:
        if (ev->text.n && !e->open)
            begin(e);
        e->open = e->open || ev->text.n > 0;
        add(e, ev->text);
        break;
    default:
        break;
    }
}
