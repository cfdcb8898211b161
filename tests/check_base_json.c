/* The JSON scanner, and reading what it has passed. */
#include "base/json.h"
#include "base_cases.h"
#include <stdio.h>
#include <stdlib.h>

static const char *const good[] = {
    "null",
    " true ",
    "\t\r\n false\n",
    "0",
    "-0",
    "-0.0e-0",
    "123456789012345678901234567890",
    "1.5E+10",
    "\"\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD83D\\uDE00\\ud800\"",
    "\"\x7f\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\"",
    "\"\xEE\x80\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\"",
    "[]",
    "[ ]",
    "{}",
    "{ }",
    "[[],{},[{}]]",
    "{\"a\":1,\"a\":2,\"\":{\"b\":[1,2,{\"c\":null}]}}",
    "[1 , 2\n,\t3]",
    "{ \"a\" : 1 , \"b\" : [ ] }",
    "[                                        1]",
};

static const struct {
    const char *text;
    size_t offset;
    const char *why; /* a part of it */
} bad[] = {
    {"", 0, "unexpected end"},
    {"  ", 2, "unexpected end"},
    {"\xEF\xBB\xBF{}", 0, "byte order mark"},
    {"{} x", 3, "more text"},
    {"{}{}", 2, "more text"},
    {"1 2", 2, "more text"},
    {"nul", 3, "unexpected end"},
    {"nulL", 3, "a value"},
    {"True", 0, "a value"},
    {"NaN", 0, "a value"},
    {"Infinity", 0, "a value"},
    {"-Infinity", 1, "digit"},
    {"+1", 0, "a value"},
    {"-", 1, "unexpected end"},
    {"01", 1, "leading zero"},
    {"-01", 2, "leading zero"},
    {"1.", 2, "unexpected end"},
    {"1.e5", 2, "digit"},
    {".5", 0, "a value"},
    {"1e", 2, "unexpected end"},
    {"1e+", 3, "unexpected end"},
    {"1e+x", 3, "digit"},
    {"0x10", 1, "more text"},
    {"'a'", 0, "a value"},
    {"\"a", 2, "unexpected end"},
    {"\"a\nb\"", 2, "control character"},
    {"\"a\x1F\"", 2, "control character"},
    {"\"\\x\"", 2, "invalid escape"},
    {"\"\\u12g4\"", 5, "\\u"},
    {"\"\\u123", 6, "unexpected end"},
    {"\"\\", 2, "unexpected end"},
    {"\"\x80\"", 1, "UTF-8"},
    {"\"\xC0\x80\"", 1, "UTF-8"},
    {"\"\xC1\xBF\"", 1, "UTF-8"},
    {"\"\xE0\x9F\xBF\"", 1, "UTF-8"},
    {"\"\xE0\x9F\xBFxxx\"", 1, "UTF-8"},
    {"\"\xED\xA0\x80xxx\"", 1, "UTF-8"},
    {"\"\xED\xBF\xBF\"", 1, "UTF-8"},
    {"\"\xF0\x8F\xBF\xBF\"", 1, "UTF-8"},
    {"\"\xF4\x90\x80\x80\"", 1, "UTF-8"},
    {"\"\xF5\x80\x80\x80\"", 1, "UTF-8"},
    {"\"\xFF\"", 1, "UTF-8"},
    {"\"\xC3\"", 1, "UTF-8"},
    {"\"\xE2\x82", 1, "UTF-8"},
    {"\"\xE6\x97\xA5\xE6\x97\"", 4, "UTF-8"},
    {"\xC2\xA0"
     "1",
     0, "a value"},
    {"[", 1, "unexpected end"},
    {"[1", 2, "unexpected end"},
    {"[1,]", 3, "a value"},
    {"[,1]", 1, "a value"},
    {"[1 2]", 3, "',' or ']'"},
    {"[1}", 2, "',' or ']'"},
    {"{1:2}", 1, "a key"},
    {"{a:2}", 1, "a key"},
    {"{\"a\"}", 4, "':'"},
    {"{\"a\":}", 5, "a value"},
    {"{\"a\":1,}", 7, "a key"},
    {"{\"a\":1 \"b\":2}", 7, "',' or '}'"},
    {"{\"a\":1]", 6, "',' or '}'"},
    {"[{]", 2, "a key"},
    {"]", 0, "a value"},
    {"/**/1", 0, "a value"},
    {"[1]//", 3, "more text"},
};

static int scan_copy(const char *text, size_t n, struct json_error *err) {
    char *exact = malloc(n ? n : 1); /* so that a sanitizer sees one byte too many */
    memcpy(exact, text, n);
    int rc = json_scan(str_make(exact, n), NULL, NULL, NULL, err);
    struct json_object *tree = json_tree(str_make(exact, n), NULL);
    ck_assert(rc == 0 || tree == NULL);
    json_object_put(tree);
    free(exact);
    return rc;
}

START_TEST(accepts) {
    struct json_error err = {0, NULL};
    const char *t = good[_i];
    ck_assert_msg(scan_copy(t, strlen(t), &err) == 0, "%s at %zu: %s", t, err.offset, err.why);
}
END_TEST

START_TEST(refuses) {
    struct json_error err = {99, NULL};
    const char *t = bad[_i].text;
    ck_assert_msg(scan_copy(t, strlen(t), &err) == -1, "%s", t);
    ck_assert_msg(err.offset == bad[_i].offset && strstr(err.why, bad[_i].why), "%s at %zu: %s", t,
                  err.offset, err.why);
}
END_TEST

/* What is wrong in a short text is wrong at every distance from a block's border. */
START_TEST(every_alignment) {
    static const char *const inner[] = {"\\n", "\xC3\xA9", "\xE6\x97\xA5", "\xF0\x9F\x98\x80"};
    static const char *const wrong[] = {"\x01", "\\q", "\xC3", "\xE6\x97", "\xED\xA0\x80", "\x80"};
    char text[128];
    struct json_error err;
    for (int pad = 0; pad < 40; pad++) {
        for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
            int n = snprintf(text, sizeof text, "[\"%.*s%s%.*s\"]", pad,
                             "........................................", inner[i], 39 - pad,
                             "........................................");
            ck_assert_int_eq(scan_copy(text, (size_t)n, &err), 0);
        }
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            int n = snprintf(text, sizeof text, "[\"%.*s%s\"]", pad,
                             "........................................", wrong[i]);
            ck_assert_int_eq(scan_copy(text, (size_t)n, &err), -1);
            ck_assert_uint_eq(err.offset, (size_t)pad + 2 + (wrong[i][0] == '\\'));
        }
    }
    ck_assert_int_eq(scan_copy("\"a\0b\"", 5, &err), -1);
    ck_assert_int_eq(scan_copy("1\0", 2, &err), -1);
    ck_assert_int_eq(scan_copy("\"\\\0\"", 4, &err), -1);
}
END_TEST

static int scan_nested(size_t depth, char open, char close, struct json_error *err) {
    char text[8 * JSON_MAX_DEPTH];
    size_t n = 0;
    for (size_t i = 0; i < depth; i++) {
        text[n++] = open;
        if (open == '{' && i + 1 < depth) {
            memcpy(text + n, "\"\":", 3);
            n += 3;
        }
    }
    memset(text + n, close, depth);
    return scan_copy(text, n + depth, err);
}

START_TEST(depth_is_bounded) {
    struct json_error err;
    ck_assert_int_eq(scan_nested(JSON_MAX_DEPTH, '[', ']', &err), 0);
    ck_assert_int_eq(scan_nested(JSON_MAX_DEPTH, '{', '}', &err), 0);
    ck_assert_int_eq(scan_nested(JSON_MAX_DEPTH + 1, '[', ']', &err), -1);
    ck_assert_str_eq(err.why, "too deep");
    ck_assert_uint_eq(err.offset, JSON_MAX_DEPTH);
    ck_assert_int_eq(scan_nested(JSON_MAX_DEPTH + 1, '{', '}', &err), -1);
    /* brackets of both kinds at every level are told apart on the way back */
    char text[2 * JSON_MAX_DEPTH * 4];
    size_t n = 0;
    for (int i = 0; i < JSON_MAX_DEPTH / 2; i++) {
        memcpy(text + n, "[{\"\":", 5);
        n += 5;
    }
    text[n++] = '1';
    for (int i = 0; i < JSON_MAX_DEPTH / 2; i++) {
        text[n++] = '}';
        text[n++] = ']';
    }
    ck_assert_int_eq(scan_copy(text, n, &err), 0);
    text[n - 2] = ']';
    ck_assert_int_eq(scan_copy(text, n, &err), -1);
}
END_TEST

struct seen {
    char text[256];
    int stop_after;
};

static bool see(void *arg, struct str key, struct json_value v) {
    struct seen *s = arg;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, STR_FMT "=%d" STR_FMT ";", STR_ARG(key), (int)v.kind,
             STR_ARG(v.raw));
    return --s->stop_after != 0;
}

START_TEST(members_are_cut) {
    struct str t = STR(
        " { \"a\" : [1, {\"x\":\"}\"}] , \"b\\n\":\"q\\\"\",\"c\":-1.5 ,\"d\":true,\"e\":null,\"f\":{ } } ");
    static const char want[] = "a=4[1, {\"x\":\"}\"}];b\\n=3\"q\\\"\";c=2-1.5;d=1true;e=0null;f=5{ };";
    struct seen s = {.stop_after = 0}, w = {.stop_after = 0};
    enum json_kind kind = JSON_NULL;
    ck_assert_int_eq(json_scan(t, &kind, see, &s, NULL), 0);
    ck_assert_int_eq(kind, JSON_OBJECT);
    ck_assert_str_eq(s.text, want);
    json_each(t, see, &w);
    ck_assert_str_eq(w.text, want);
    s = (struct seen){.stop_after = 2};
    ck_assert_int_eq(json_scan(t, NULL, see, &s, NULL), -2);
    ck_assert_str_eq(s.text, "a=4[1, {\"x\":\"}\"}];b\\n=3\"q\\\"\";");
    s = (struct seen){.stop_after = 0};
    ck_assert_int_eq(json_scan(STR("[1,\"\",[2]]"), &kind, see, &s, NULL), 0);
    ck_assert_str_eq(s.text, "=21;=3\"\";=4[2];");
    ck_assert_int_eq(kind, JSON_ARRAY);
    s = (struct seen){.stop_after = 0};
    ck_assert_int_eq(json_scan(STR("{\"a\":1,\"b\":[2}"), &kind, see, &s, NULL), -1);
    ck_assert_str_eq(s.text, "a=21;"); /* what came before the error */
    s = (struct seen){.stop_after = 0};
    ck_assert_int_eq(json_scan(STR("\"x\""), &kind, see, &s, NULL), 0);
    ck_assert(kind == JSON_STRING && s.text[0] == '\0');
}
END_TEST

TCase *case_json_scan(void) {
    TCase *t = tcase_create("json scanner");
    tcase_add_loop_test(t, accepts, 0, sizeof good / sizeof *good);
    tcase_add_loop_test(t, refuses, 0, sizeof bad / sizeof *bad);
    tcase_add_test(t, every_alignment);
    tcase_add_test(t, depth_is_bounded);
    tcase_add_test(t, members_are_cut);
    return t;
}

/* --- reading --- */

START_TEST(paths) {
    struct str t =
        STR("{\"usage\":{\"n\\u0061me\":7,\"deep\":{\"x\":[1]}},\"a\":1,\"a\":2,\"pad\":\"0123456789\\\\\"}");
    struct json_value v = {JSON_NULL, STR("untouched")};
    ck_assert(!json_member(t, "b", &v) && !json_path(t, &v, "usage", "nope", NULL) &&
              !json_path(t, &v, "a", "x", NULL) && !json_member(STR("[1]"), "a", &v));
    ck_str_is(v.raw, "untouched");
    ck_assert(json_path(t, &v, "usage", "name", NULL));
    ck_str_is(v.raw, "7");
    ck_assert(json_path(t, &v, "usage", "deep", "x", NULL));
    ck_str_is(v.raw, "[1]");
    ck_assert(json_member(t, "a", &v));
    ck_str_is(v.raw, "2"); /* the last of its name */
    ck_assert(json_member(t, "pad", &v));
    ck_str_is(v.raw, "\"0123456789\\\\\"");
}
END_TEST

/* Strings with brackets, quotes and backslashes before every block border are stepped over right. */
START_TEST(skipping_at_every_alignment) {
    static const char *const tricky[] = {"\"\\\\\"", "\"\\\"]\"", "\"}]{[\"", "[\"\\\\\\\"]\"]",
                                         "{\"\\\\\":[\"\"]}"};
    char text[256];
    for (int pad = 0; pad < 40; pad++) {
        for (size_t i = 0; i < sizeof tricky / sizeof *tricky; i++) {
            snprintf(text, sizeof text, "{\"p\":[%*s\"\",%s,%s,3],\"last\":%d}", pad, "", tricky[i],
                     tricky[i], pad);
            struct json_value v;
            int64_t n = -1;
            ck_assert_int_eq(json_scan(str_of(text), NULL, NULL, NULL, NULL), 0);
            ck_assert_msg(json_member(str_of(text), "last", &v) && json_i64(v, &n) && n == pad, "%s", text);
        }
    }
}
END_TEST

START_TEST(texts) {
    struct arena *a = arena_new(0);
    struct json_value v = {JSON_STRING, STR("\"plain\"")};
    ck_assert_ptr_eq(json_text(a, v).p, v.raw.p + 1); /* no copy */
    v.raw = STR("\"\"");
    ck_assert_uint_eq(json_text(a, v).n, 0);
    v.raw = STR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC\\uD83D\\uDE00\\uD83Dx\\uDE00\\uD800\\u0041\"");
    ck_str_is(json_text(a, v),
              "\"\\/\b\f\n\r\t\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xED\xA0\xBDx\xED\xB8\x80\xED\xA0\x80"
              "A");
    v.raw = STR("\"a\\u0000b\"");
    ck_assert(str_eq(json_text(a, v), STR("a\0b")));
    ck_assert_uint_eq(json_text(a, (struct json_value){JSON_NUMBER, STR("12")}).n, 0);
    ck_assert(json_key_is(STR("model"), "model") && !json_key_is(STR("mode"), "model") &&
              !json_key_is(STR("models"), "model"));
    ck_assert(json_key_is(STR("m\\u006fdel"), "model") && !json_key_is(STR("m\\u006fdels"), "model") &&
              !json_key_is(STR("m\\u006fde"), "model"));
    ck_assert(json_key_is(STR("a\\\\b"), "a\\b") && !json_key_is(STR("a\\b"), "a\\b"));
    ck_assert(!json_key_is(STR("a\\u0000"), "a") && json_key_is(STR_NONE, ""));
    ck_assert(json_string_is((struct json_value){JSON_STRING, STR("\"\\u0061uto\"")}, "auto"));
    ck_assert(!json_string_is((struct json_value){JSON_NUMBER, STR("1")}, "1"));
    ck_assert(json_true((struct json_value){JSON_BOOL, STR("true")}) &&
              !json_true((struct json_value){JSON_BOOL, STR("false")}));
    arena_free(a);
}
END_TEST

static const struct {
    const char *text;
    bool is_u, is_i;
    uint64_t u;
    int64_t i;
} ints[] = {
    {"0", true, true, 0, 0},
    {"-0", true, true, 0, 0},
    {"-0.0e5", true, true, 0, 0},
    {"3", true, true, 3, 3},
    {"3.0", true, true, 3, 3},
    {"3e2", true, true, 300, 300},
    {"300e-2", true, true, 3, 3},
    {"30.50e1", true, true, 305, 305},
    {"1.5", false, false, 0, 0},
    {"0.001e3", true, true, 1, 1},
    {"0.001e2", false, false, 0, 0},
    {"305e-1", false, false, 0, 0},
    {"-7", false, true, 0, -7},
    {"18446744073709551615", true, false, UINT64_MAX, 0},
    {"1844674407370955161.5e1", true, false, UINT64_MAX, 0},
    {"18446744073709551616", false, false, 0, 0},
    {"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
    {"-9223372036854775808", false, true, 0, INT64_MIN},
    {"-9223372036854775809", false, false, 0, 0},
    {"1e19", true, false, UINT64_C(10000000000000000000), 0},
    {"1e20", false, false, 0, 0},
    {"1e99999999999999999999", false, false, 0, 0},
    {"1e-99999999999999999999", false, false, 0, 0},
    {"0e99999999999999999999", true, true, 0, 0},
    {"1000000000000000000000000e-24", true, true, 1, 1},
};

START_TEST(integers) {
    struct json_value v = {JSON_NUMBER, str_of(ints[_i].text)};
    uint64_t u = 0;
    int64_t i = 0;
    ck_assert_int_eq(json_u64(v, &u), ints[_i].is_u);
    ck_assert_int_eq(json_i64(v, &i), ints[_i].is_i);
    ck_assert(u == ints[_i].u && i == ints[_i].i);
    v.kind = JSON_STRING;
    ck_assert(!json_u64(v, &u) && !json_i64(v, &i));
}
END_TEST

START_TEST(doubles) {
    double d = 0;
    ck_assert(json_double((struct json_value){JSON_NUMBER, STR("-1.5e2,")}, &d) == false);
    ck_assert(json_double((struct json_value){JSON_NUMBER, STR("-1.5e2")}, &d) && d == -150);
    ck_assert(!json_double((struct json_value){JSON_NUMBER, STR("1e999")}, &d));
    ck_assert(!json_double((struct json_value){JSON_STRING, STR("\"1\"")}, &d));
    char longer[200];
    memset(longer, '0', sizeof longer);
    memcpy(longer, "0.5", 3);
    ck_assert(json_double((struct json_value){JSON_NUMBER, str_make(longer, sizeof longer)}, &d) && d == 0.5);
}
END_TEST

TCase *case_json_read(void) {
    TCase *t = tcase_create("json reading");
    tcase_add_test(t, paths);
    tcase_add_test(t, skipping_at_every_alignment);
    tcase_add_test(t, texts);
    tcase_add_loop_test(t, integers, 0, sizeof ints / sizeof *ints);
    tcase_add_test(t, doubles);
    return t;
}
