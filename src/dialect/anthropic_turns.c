/* A conversation as turns, the way Anthropic wants them: sides that alternate, the results of tools first in
 * the user's turn right behind their calls, and every call under an id of a small alphabet that is used once.
 */
#include "anthropic_encode.h"

#include "base/hash.h"

#define ID_MAX 64

/* --- places, by the client's names --- */

static struct str an_at_message(struct wr *r, size_t i) {
    return arena_printf(r->e.a, "messages[%zu]", i);
}

struct str an_at_part(struct wr *r, const struct part_ref *p) {
    return arena_printf(r->e.a, "messages[%zu].content[%zu]", p->message, p->index);
}

/* What may not stand at the end of a conversation that the assistant ends, and is nothing alone. */
struct str an_trim_end(struct str text) {
    while (text.n > 0 && memchr(" \t\r\n", text.p[text.n - 1], 4))
        text.n--;
    return text;
}

/* --- ids of tool calls --- */

static bool id_fits(struct str id) {
    if (id.n == 0 || id.n > ID_MAX)
        return false;
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              c == '-'))
            return false;
    }
    return true;
}

/* What fits of it, and a digest of the whole: the same id always gives the same, so that cached prompts stay
 * so. */
static struct str id_made_fit(struct arena *a, struct str id, unsigned again) {
    char head[41];
    size_t n = id.n < sizeof head - 1 ? id.n : sizeof head - 1;
    for (size_t i = 0; i < n; i++)
        head[i] = id_fits(str_make(id.p + i, 1)) ? id.p[i] : '_';
    head[n] = '\0';
    uint64_t h = hash64(id.p, id.n);
    if (again)
        h = hash64_more(h, &again, sizeof again);
    return arena_printf(a, "%s_%016llx", head, (unsigned long long)h);
}

/* false when it was in already. */
static bool use_id(struct wr *r, struct str out) {
    uint64_t h = hash64(out.p, out.n);
    size_t i = h % r->slots;
    for (; r->used[i]; i = (i + 1) % r->slots)
        if (r->used[i] == h)
            return false;
    r->used[i] = h;
    return true;
}

static size_t slot_of(const struct wr *r, struct str id) {
    size_t i = hash64(id.p, id.n) % r->slots;
    while (r->calls[i] && !str_eq(r->calls[i]->id, id))
        i = (i + 1) % r->slots;
    return i;
}

static struct call *add_call(struct wr *r, struct str id, size_t message) {
    struct call *k = arena_alloc(r->e.a, sizeof *k);
    k->id = id;
    k->message = message;
    k->turn = r->nturns;
    k->out = id_fits(id) ? id : id_made_fit(r->e.a, id, 0);
    /* Some providers number their calls anew in every turn: Anthropic wants each id once. */
    for (unsigned again = 1; !use_id(r, k->out); again++)
        k->out = id_made_fit(r->e.a, id, again);
    r->calls[slot_of(r, id)] = k;
    return k;
}

static void size_tables(struct wr *r) {
    size_t n = 0;
    for (const struct message *m = r->e.c->messages; m; m = m->next)
        for (const struct part *p = m->parts; p; p = p->next)
            n += p->kind == PART_TOOL_CALL;
    r->slots = 2 * n + 1;
    r->calls = arena_array(r->e.a, r->slots, sizeof(struct call *));
    r->used = arena_array(r->e.a, r->slots, sizeof(uint64_t));
}

/* --- turns --- */

static struct turn *turn_of(struct wr *r, bool assistant) {
    if (r->last && r->last->assistant == assistant)
        return r->last;
    struct turn *t = arena_alloc(r->e.a, sizeof *t);
    t->assistant = assistant;
    t->number = ++r->nturns;
    t->results_end = &t->results;
    t->rest_end = &t->rest;
    if (r->last)
        r->last->next = t;
    else
        r->turns = t;
    return r->last = t;
}

static struct part_ref *refer(struct wr *r, struct part_ref ***end, const struct part *p) {
    struct part_ref *ref = arena_alloc(r->e.a, sizeof *ref);
    ref->part = p;
    **end = ref;
    *end = &ref->next;
    return ref;
}

static bool unanswered(struct wr *r) {
    return encode_bad(
        &r->e, an_at_message(r, r->open_message),
        "an assistant message with tool calls must be followed by tool messages that answer each of them");
}

static bool place_result(struct wr *r, const struct part *p, size_t i) {
    struct call *k = r->calls[slot_of(r, p->id)];
    if (!k || k->answered || k->turn != r->open_turn)
        return encode_bad(&r->e, arena_printf(r->e.a, "messages[%zu].tool_call_id", i),
                          "this tool result answers no call of the assistant message before it");
    k->answered = true;
    r->open_calls--;
    struct turn *t = turn_of(r, false);
    struct part_ref *ref = refer(r, &t->results_end, p);
    ref->call = k;
    ref->message = i;
    return true;
}

static bool may_be_empty(const struct part *p) {
    return p->kind != PART_TEXT && p->kind != PART_REFUSAL;
}

static bool place_part(struct wr *r, const struct message *m, const struct part *p, size_t i, size_t j) {
    bool assistant = m->role == ROLE_ASSISTANT;
    if (p->kind == PART_TOOL_RESULT)
        return place_result(r, p, i);
    if (!may_be_empty(p) && an_trim_end(p->text).n == 0)
        return true; /* Anthropic refuses text of white space only */
    bool thinks = p->kind == PART_THINKING || p->kind == PART_THINKING_REDACTED;
    if ((p->kind == PART_THINKING && p->signature.n == 0) ||
        (thinks && p->origin.n > 0 && !str_is(p->origin, "anthropic")))
        return true; /* another model's: Anthropic takes only what it has signed */
    if (assistant && (!r->last || !r->last->assistant) && r->open_calls > 0)
        return unanswered(r);
    const char *why = an_no_place(p);
    if (why) /* before its turn is made, which could be left empty */
        return encode_unsupported(&r->e, an_at_part(r, &(struct part_ref){.message = i, .index = j}), why);
    struct turn *t = turn_of(r, assistant);
    struct part_ref *ref = refer(r, &t->rest_end, p);
    ref->message = i;
    ref->index = j;
    ref->wrap = m->role == ROLE_SYSTEM || m->role == ROLE_DEVELOPER;
    if (p->kind == PART_TOOL_CALL) {
        if (r->open_turn != t->number)
            r->open_calls = 0;
        ref->call = add_call(r, p->id, i);
        r->open_turn = t->number;
        r->open_message = i;
        r->open_calls++;
    }
    return true;
}

static bool is_system(const struct message *m) {
    return m->role == ROLE_SYSTEM || m->role == ROLE_DEVELOPER;
}

static bool has_text(const struct message *m) {
    for (const struct part *p = m->parts; p; p = p->next)
        if (p->kind != PART_TEXT || an_trim_end(p->text).n > 0)
            return true;
    return false;
}

/* Where the conversation begins. A request of system messages only is legal elsewhere: its last one is then
 * the user's. */
static void find_body(struct wr *r) {
    size_t i = 0, last_index = 0;
    const struct message *m = r->e.c->messages, *last = NULL;
    for (; m && is_system(m); m = m->next, i++)
        if (has_text(m)) {
            last = m;
            last_index = i;
        }
    r->body = m ? m : last;
    r->body_index = m ? i : last_index;
}

bool an_make_turns(struct wr *r) {
    size_tables(r);
    find_body(r);
    size_t i = r->body_index;
    bool only_system = r->body && is_system(r->body);
    for (const struct message *m = r->body; m; m = m->next, i++) {
        size_t j = 0;
        for (const struct part *p = m->parts; p; p = p->next, j++)
            if (!place_part(r, m, p, i, j))
                return false;
        if (only_system)
            for (struct part_ref *ref = r->turns ? r->turns->rest : NULL; ref; ref = ref->next)
                ref->wrap = false;
    }
    if (r->open_calls > 0)
        return unanswered(r);
    if (!r->turns)
        return encode_bad(&r->e, STR("messages"), "there is no text in them");
    if (r->turns->assistant)
        return encode_bad(&r->e, an_at_message(r, r->body_index),
                          "this provider wants the user to speak first");
    return true;
}
