#include "policy/conversation.h"

#include "base/hash.h"
#include "base/json.h"

struct turns {
    uint64_t hash;
    bool begun, answered; /* the first question is in the hash; somebody has answered it */
};

static bool is_answer(struct json_value turn) {
    struct json_value v;
    if (json_member(turn.raw, "role", &v))
        return json_string_is(v, "assistant") || json_string_is(v, "model");
    return json_member(turn.raw, "type", &v) &&
           (json_string_is(v, "function_call") || json_string_is(v, "reasoning"));
}

static bool is_question(struct json_value turn) {
    struct json_value v;
    return !json_member(turn.raw, "role", &v) || json_string_is(v, "user");
}

static bool each_turn(void *arg, struct str key, struct json_value v) {
    struct turns *t = arg;
    (void)key;
    if (v.kind != JSON_OBJECT)
        return false;
    t->answered = is_answer(v);
    if (!t->begun)
        t->hash = hash64_more(t->hash, v.raw.p, v.raw.n);
    t->begun = t->begun || (!t->answered && is_question(v));
    return !(t->begun && t->answered);
}

/* What tells conversations apart in a request, found in one scan. */
enum look_part { SESSION, METADATA, BEFORE, BEFORE_LAST = BEFORE + 2, TURNS, PARTS };

struct look {
    const char *turns;
    struct json_value part[PARTS]; /* raw.p NULL: absent */
};

static bool each_member(void *arg, struct str key, struct json_value v) {
    static const char *const names[TURNS] = {"prompt_cache_key", "metadata", "system", "instructions",
                                             "systemInstruction"};
    struct look *l = arg;
    if (l->turns && json_key_is(key, l->turns)) {
        l->part[TURNS] = v;
        return true;
    }
    for (int i = 0; i < TURNS; i++)
        if (json_key_is(key, names[i]))
            l->part[i] = v;
    return true;
}

static struct str named(const struct exchange *x, const struct look *l) {
    struct json_value v;
    struct str s = exchange_header(x, "x-penstock-session");
    if (s.n)
        return s;
    if (l->part[SESSION].raw.p && l->part[SESSION].kind == JSON_STRING)
        return l->part[SESSION].raw;
    return l->part[METADATA].raw.p && l->part[METADATA].kind == JSON_OBJECT &&
                   json_member(l->part[METADATA].raw, "user_id", &v) && v.kind == JSON_STRING
               ? v.raw
               : STR_NONE;
}

struct conversation conversation_of(const struct exchange *x, const struct caller *c,
                                    const struct dialect *client, const struct ask *ask, struct str model) {
    struct turns t = {.hash = hash64(c->key->id, strlen(c->key->id))};
    struct look l = {.turns = client->client->turns};
    json_each(ask->body, each_member, &l);
    t.hash = hash64_more(t.hash, model.p, model.n);
    struct str name = named(x, &l);
    if (name.n)
        return (struct conversation){hash64_more(t.hash, name.p, name.n) | 1, true};
    if (!l.part[TURNS].raw.p || l.part[TURNS].kind != JSON_ARRAY)
        return (struct conversation){0, false};
    for (int i = BEFORE; i <= BEFORE_LAST; i++)
        if (l.part[i].raw.p)
            t.hash = hash64_more(t.hash, l.part[i].raw.p, l.part[i].raw.n);
    json_each(l.part[TURNS].raw, each_turn, &t);
    return (struct conversation){t.begun ? t.hash | 1 : 0, t.answered};
}
