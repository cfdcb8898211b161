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

static struct str named(const struct exchange *x, struct str body) {
    struct json_value v;
    struct str s = exchange_header(x, "x-penstock-session");
    if (s.n)
        return s;
    if (json_member(body, "prompt_cache_key", &v) && v.kind == JSON_STRING)
        return v.raw;
    return json_path(body, &v, "metadata", "user_id", NULL) && v.kind == JSON_STRING ? v.raw : STR_NONE;
}

struct conversation conversation_of(const struct exchange *x, const struct caller *c,
                                    const struct dialect *client, const struct ask *ask, struct str model) {
    static const char *const before[] = {"system", "instructions", "systemInstruction"};
    struct turns t = {.hash = hash64(c->key->id, strlen(c->key->id))};
    struct json_value v;
    t.hash = hash64_more(t.hash, model.p, model.n);
    struct str name = named(x, ask->body);
    if (name.n)
        return (struct conversation){hash64_more(t.hash, name.p, name.n) | 1, true};
    const char *turns = client->client->turns;
    if (!turns || !json_member(ask->body, turns, &v) || v.kind != JSON_ARRAY)
        return (struct conversation){0, false};
    struct json_value list = v;
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        if (json_member(ask->body, before[i], &v))
            t.hash = hash64_more(t.hash, v.raw.p, v.raw.n);
    json_each(list.raw, each_turn, &t);
    return (struct conversation){t.begun ? t.hash | 1 : 0, t.answered};
}
