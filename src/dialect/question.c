/* The last message, if it is one text of a user's. A second part, a picture, a call's result: no question. */
#include "question.h"

#define NO_QUESTION ((struct json_value){JSON_NULL, STR_NONE})

struct last {
    struct json_value v;
    size_t n;
};

static bool keep_last(void *arg, struct str key, struct json_value v) {
    struct last *l = arg;
    (void)key;
    l->v = v;
    l->n++;
    return true;
}

static struct last last_of(struct json_value array) {
    struct last l = {NO_QUESTION, 0};
    if (array.kind == JSON_ARRAY)
        json_each(array.raw, keep_last, &l);
    return l;
}

static bool member_is(struct str object, const char *key, const char *text) {
    struct json_value v;
    return json_member(object, key, &v) && json_string_is(v, text);
}

static struct json_value member_of(struct json_value object, const char *key) {
    struct json_value v;
    return object.kind == JSON_OBJECT && json_member(object.raw, key, &v) ? v : NO_QUESTION;
}

/* A string, or one part that is a text. */
static struct json_value only_text(struct json_value content, const char *type) {
    if (content.kind == JSON_STRING)
        return content;
    struct last part = last_of(content);
    if (part.n != 1 || part.v.kind != JSON_OBJECT || !member_is(part.v.raw, "type", type))
        return NO_QUESTION;
    struct json_value text = member_of(part.v, "text");
    return text.kind == JSON_STRING ? text : NO_QUESTION;
}

struct json_value question_of_messages(struct str body) {
    struct json_value messages;
    if (!json_member(body, "messages", &messages))
        return NO_QUESTION;
    struct json_value m = last_of(messages).v;
    if (m.kind != JSON_OBJECT || !member_is(m.raw, "role", "user"))
        return NO_QUESTION;
    return only_text(member_of(m, "content"), "text");
}

struct json_value question_of_input(struct str body) {
    struct json_value input, type;
    if (!json_member(body, "input", &input))
        return NO_QUESTION;
    if (input.kind == JSON_STRING)
        return input;
    struct json_value m = last_of(input).v;
    if (m.kind != JSON_OBJECT || !member_is(m.raw, "role", "user") ||
        (json_member(m.raw, "type", &type) && !json_string_is(type, "message")))
        return NO_QUESTION;
    return only_text(member_of(m, "content"), "input_text");
}

static bool one_text(void *arg, struct str key, struct json_value v) {
    struct last *l = arg;
    if (v.kind == JSON_STRING && json_key_is(key, "text"))
        l->v = v;
    l->n++;
    return true;
}

struct json_value question_of_contents(struct str body) {
    struct json_value contents, role;
    struct last text = {NO_QUESTION, 0};
    if (!json_member(body, "contents", &contents))
        return NO_QUESTION;
    struct json_value m = last_of(contents).v;
    if (m.kind != JSON_OBJECT || (json_member(m.raw, "role", &role) && !json_string_is(role, "user")))
        return NO_QUESTION;
    struct last part = last_of(member_of(m, "parts"));
    if (part.n != 1 || part.v.kind != JSON_OBJECT)
        return NO_QUESTION;
    json_each(part.v.raw, one_text, &text); /* and nothing beside it */
    return text.n == 1 ? text.v : NO_QUESTION;
}
