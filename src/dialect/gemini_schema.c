/* Gemini's schemas, which are OpenAPI's, as JSON Schema: types in lower case, nullable as a type of two,
 * lengths as numbers (they are 64 bits wide, and proto3 writes those as strings). */
#include "gemini_read.h"

#include "answer.h"

#include <json-c/linkhash.h>

static struct json_object *lower(struct arena *a, struct json_object *o, unsigned depth);

static struct json_object *lower_word(struct json_object *o) {
    char word[16];
    str_copy(word, sizeof word, jo_text(o));
    for (char *c = word; *c; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    return json_object_new_string(word);
}

/* The name among them that the key is, in either spelling, or NULL. */
static const char *one_of(const char *key, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (gm_same_name(key, names[i]))
            return names[i];
    return NULL;
}

static const char *length_of(const char *key) {
    static const char *const names[] = {"minLength", "maxLength",     "minItems",
                                        "maxItems",  "minProperties", "maxProperties"};
    return one_of(key, names, sizeof names / sizeof *names);
}

/* Data, in which nothing is a schema. */
static const char *data_of(const char *key) {
    static const char *const names[] = {"enum", "default", "example", "required"};
    return one_of(key, names, sizeof names / sizeof *names);
}

static void lower_list(struct arena *a, struct json_object *out, const char *key, struct json_object *list,
                       unsigned depth) {
    struct json_object *to = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(list); i++)
        json_object_array_add(to, lower(a, json_object_array_get_idx(list, i), depth));
    json_object_object_add(out, key, to);
}

/* Any name may be a property's: none of them is a keyword. */
static void lower_properties(struct arena *a, struct json_object *out, const char *key,
                             struct json_object *properties, unsigned depth) {
    struct json_object *to = json_object_new_object();
    json_object_object_foreach(properties, name, v) {
        json_object_object_add(to, name, lower(a, v, depth));
    }
    json_object_object_add(out, key, to);
}

static struct json_object *with(struct json_object *list, struct json_object *one) {
    struct json_object *out = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(list); i++)
        json_object_array_add(out, json_object_get(json_object_array_get_idx(list, i)));
    json_object_array_add(out, one);
    return out;
}

static void allow_null(struct json_object *schema) {
    struct json_object *type = jo_get(schema, "type"), *any = jo_get(schema, "anyOf"),
                       *values = jo_get(schema, "enum");
    if (json_object_is_type(type, json_type_string)) {
        struct json_object *two = json_object_new_array();
        json_object_array_add(two, json_object_get(type));
        json_object_array_add(two, json_object_new_string("null"));
        json_object_object_add(schema, "type", two);
    }
    if (json_object_is_type(any, json_type_array)) {
        struct json_object *null = json_object_new_object();
        json_object_object_add(null, "type", json_object_new_string("null"));
        json_object_object_add(schema, "anyOf", with(any, null));
    }
    if (json_object_is_type(values, json_type_array))
        json_object_object_add(schema, "enum", with(values, NULL));
}

static void lower_member(struct arena *a, struct json_object *out, const char *key, struct json_object *v,
                         unsigned depth) {
    int64_t n;
    const char *length = length_of(key), *data = data_of(key);
    if (strcmp(key, "type") == 0 && json_object_is_type(v, json_type_string))
        json_object_object_add(out, key, lower_word(v));
    else if (length && gm_integer(a, v, &n))
        json_object_object_add(out, length, json_object_new_int64(n));
    else if (data)
        json_object_object_add(out, data, json_object_get(v));
    else if (strcmp(key, "properties") == 0 && json_object_is_type(v, json_type_object))
        lower_properties(a, out, key, v, depth);
    else if (json_object_is_type(v, json_type_array))
        lower_list(a, out, gm_same_name(key, "anyOf") ? "anyOf" : key, v, depth);
    else if (strcmp(key, "nullable") != 0)
        json_object_object_add(out, key, lower(a, v, depth));
}

/* A copy. */
static struct json_object *lower(struct arena *a, struct json_object *o, unsigned depth) {
    if (depth > JSON_MAX_DEPTH)
        return NULL;
    if (!json_object_is_type(o, json_type_object))
        return json_object_get(o);
    struct json_object *out = json_object_new_object();
    json_object_object_foreach(o, key, v) {
        if (!gm_same_name(key, "propertyOrdering"))
            lower_member(a, out, key, v, depth + 1);
    }
    if (json_object_get_boolean(jo_get(o, "nullable")))
        allow_null(out);
    return out;
}

struct json_object *gm_schema_of(struct gm_rd *r, struct json_object *o, const char *plain,
                                 const char *json) {
    struct json_object *whole = gm_get(o, json), *openapi = gm_get(o, plain);
    if (json_object_is_type(whole, json_type_object))
        return whole;
    return json_object_is_type(openapi, json_type_object) ? chat_hold(r->a, lower(r->a, openapi, 0)) : NULL;
}
