/* JSON trees, the canonical form, the writer. */
#include "base/json.h"
#include "base_cases.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct buf out;

static void setup(void) {
    buf_init(&out, 0);
}

static void teardown(void) {
    buf_free(&out);
}

static void ck_print(struct str text, const char *want) {
    struct json_error err = {0, NULL};
    struct json_object *o = json_tree(text, &err);
    ck_assert_msg(err.why == NULL, "%s", err.why);
    struct jw w;
    buf_clear(&out);
    jw_init(&w, &out);
    jw_tree(&w, o);
    ck_str_is(buf_str(&out), want);
    json_object_put(o);
}

START_TEST(trees_print_back) {
    static const char *const same[] = {
        "null",
        "true",
        "-0",
        "1.50",
        "1E5",
        "0.1e-7",
        "18446744073709551615",
        "-9223372036854775808",
        "123456789012345678901234567890",
        "-99999999999999999999",
        "1e999",
        "\"a/b\"",
        "\"\\u0000\\u001f\\\"\\\\\\n\"",
        "[]",
        "{}",
        "[null,[],{},[[{\"a\":{}}]],false,9223372036854775808]",
        "{\"z\":1,\"a\":[1,2.0,{\"b\":null}],\"\xC3\xA9\":\"\xE2\x82\xAC\"}",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        ck_print(str_of(same[i]), same[i]);
    ck_print(STR(" { \"a\\u0062\" : \"\\u00e9\\/\" , \"x\" : [ 1 , \"\" ] } "),
             "{\"ab\":\"\xC3\xA9/\",\"x\":[1,\"\"]}");
    ck_print(STR("{\"a\":1,\"b\":2,\"a\":3}"), "{\"a\":3,\"b\":2}");
    ck_print(STR("{\"a\\u0000b\":1,\"a\":2}"), "{\"a\xEF\xBF\xBD"
                                               "b\":1,\"a\":2}");
    ck_print(STR("\"\\ud800\""), "\"\xEF\xBF\xBD\"");
    ck_print(STR("{\"\\ud800\":1,\"\\udfff\":2,\"\\ufffd\":3}"), "{\"\xEF\xBF\xBD\":3}");
    char deep[2 * JSON_MAX_DEPTH + 1] = "";
    memset(deep, '[', JSON_MAX_DEPTH);
    memset(deep + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
    ck_print(str_of(deep), deep);
}
END_TEST

START_TEST(trees_are_read) {
    struct json_error err;
    ck_assert(json_tree(STR("{'a':1}"), &err) == NULL && err.why && err.offset == 1);
    ck_assert(json_tree(STR("null"), &err) == NULL && err.why == NULL);
    struct json_object *o =
        json_tree(STR("{\"s\":\"x\\u0000y\",\"i\":-5,\"f\":3e2,\"h\":1.5,\"big\":18446744073709551615,"
                      "\"m\":9223372036854775807,\"t\":true,\"o\":{\"k\":1},\"l\":[1],\"n\":null}"),
                  &err);
    ck_assert(str_eq(jo_str(o, "s"), STR("x\0y")));
    ck_assert(jo_str(o, "i").p == NULL && jo_str(o, "none").p == NULL && jo_str(NULL, "s").p == NULL);
    ck_assert_int_eq(jo_int(o, "i", 1), -5);
    ck_assert_int_eq(jo_int(o, "f", 1), 300);
    ck_assert_int_eq(jo_int(o, "h", 1), 1);
    ck_assert_int_eq(jo_int(o, "big", 1), 1);
    ck_assert(jo_int(o, "m", 1) == INT64_MAX);
    ck_assert_int_eq(jo_int(o, "s", 1), 1);
    ck_assert_int_eq(jo_int(o, "n", 1), 1);
    ck_assert(jo_bool(o, "t", false) && jo_bool(o, "i", true) && !jo_bool(o, "none", false));
    ck_assert(jo_obj(o, "o") && !jo_obj(o, "l") && !jo_obj(o, "n") && jo_arr(o, "l") && !jo_arr(o, "o"));
    ck_assert(jo_get(o, "n") == NULL && jo_get(jo_obj(o, "o"), "k") && jo_get(jo_arr(o, "l"), "k") == NULL);
    json_object_put(o);
}
END_TEST

static bool skip_user(void *arg, unsigned depth, struct str key) {
    ck_assert_str_eq(arg, "arg");
    return depth == 1 && json_key_is(key, "user");
}

static void ck_canonical(const char *text, const char *want) {
    ck_assert_int_eq(json_scan(str_of(text), NULL, NULL, NULL, NULL), 0);
    buf_clear(&out);
    json_canonical(str_of(text), &out, skip_user, "arg");
    ck_str_is(buf_str(&out), want);
}

START_TEST(canonical_form) {
    ck_canonical(" { \"b\" : 1.0 , \"a\" : [ 1 , { \"d\":1,\"c\":2 } ] } ",
                 "{\"a\":[1,{\"c\":2,\"d\":1}],\"b\":1.0}");
    ck_canonical("{\"user\":1,\"b\":{\"user\":2},\"\\u0075ser\":3}", "{\"b\":{\"user\":2}}");
    ck_canonical("[{\"user\":1}]", "[{\"user\":1}]");
    ck_canonical("{\"a\\u0062\":1,\"aa\":2,\"a\":3,\"ac\":4,\"\\u00e9\":5,\"\":6}",
                 "{\"\":6,\"a\":3,\"aa\":2,\"ab\":1,\"ac\":4,\"\xC3\xA9\":5}");
    ck_canonical("{\"a\":2,\"b\":0,\"a\":1}", "{\"a\":2,\"a\":1,\"b\":0}"); /* equal keys keep their order */
    ck_canonical("\"\\u0041\\/\\u000a\\u001F\\\"\\uD83D\\uDE00\\uD800\\u007f\"",
                 "\"A/\\n\\u001f\\\"\xF0\x9F\x98\x80\\ud800\x7f\"");
    ck_canonical(" -0.50e1 ", "-0.50e1");
    ck_canonical("{}", "{}");
    buf_clear(&out);
    json_canonical(STR("{\"user\":1}"), &out, NULL, NULL);
    ck_str_is(buf_str(&out), "{\"user\":1}");
}
END_TEST

START_TEST(canonical_holds_the_bound) {
    struct buf small;
    buf_init(&small, 10);
    json_canonical(STR("[1,2,3,4,5,6,7,8,{\"b\":[1,2,3],\"a\":4}]"), &small, NULL, NULL);
    ck_assert(!buf_ok(&small));
    buf_free(&small);
}
END_TEST

START_TEST(writes) {
    struct jw w;
    jw_init(&w, &out);
    jw_obj(&w);
    jw_kstr(&w, "s", STR("a\"b\\c\n\r\t\b\f\x01/\x7f\xC3\xA9\xFFz"));
    jw_kz(&w, "z", NULL);
    jw_kint(&w, "i", INT64_MIN);
    jw_ku64(&w, "u", UINT64_MAX);
    jw_kbool(&w, "t", true);
    jw_knull(&w, "n");
    jw_key(&w, "l");
    jw_arr(&w);
    jw_bool(&w, false);
    jw_arr(&w);
    jw_arr_end(&w);
    jw_obj(&w);
    jw_obj_end(&w);
    jw_raw(&w, STR("{\"raw\":1}"));
    jw_arr_end(&w);
    jw_keys(&w, STR("k\"\n"));
    jw_str(&w, STR_NONE);
    jw_obj_end(&w);
    ck_str_is(buf_str(&out),
              "{\"s\":\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001/\x7f\xC3\xA9\xEF\xBF\xBDz\",\"z\":null,"
              "\"i\":-9223372036854775808,\"u\":18446744073709551615,\"t\":true,\"n\":null,"
              "\"l\":[false,[],{},{\"raw\":1}],\"k\\\"\\n\":\"\"}");
    ck_assert_int_eq(json_scan(buf_str(&out), NULL, NULL, NULL, NULL), 0);
}
END_TEST

static void ck_nano(int64_t nano, const char *want) {
    struct jw w;
    buf_clear(&out);
    jw_init(&w, &out);
    jw_nano(&w, nano);
    ck_str_is(buf_str(&out), want);
}

START_TEST(writes_money) {
    ck_nano(0, "0");
    ck_nano(1500000, "0.0015");
    ck_nano(12000000000, "12");
    ck_nano(-1, "-0.000000001");
    ck_nano(-12500000000, "-12.5");
    ck_nano(1000000001, "1.000000001");
    ck_nano(INT64_MAX, "9223372036.854775807");
    ck_nano(INT64_MIN, "-9223372036.854775808");
}
END_TEST

START_TEST(writes_reals) {
    static const double some[] = {0.1, 1.0 / 3, 1e21, 5e-324, DBL_MAX, -2.5, 100, 0.30000000000000004};
    struct jw w;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        buf_clear(&out);
        jw_init(&w, &out);
        jw_real(&w, some[i]);
        double back = 0;
        ck_assert_int_eq(json_scan(buf_str(&out), NULL, NULL, NULL, NULL), 0);
        ck_assert(json_double((struct json_value){JSON_NUMBER, buf_str(&out)}, &back) && back == some[i]);
    }
    buf_clear(&out);
    jw_init(&w, &out);
    jw_arr(&w);
    jw_real(&w, 0.1);
    jw_real(&w, NAN);
    jw_real(&w, INFINITY);
    jw_arr_end(&w);
    ck_str_is(buf_str(&out), "[0.1,null,null]");
}
END_TEST

START_TEST(depth_of_the_writer_is_bounded) {
    struct jw w;
    jw_init(&w, &out);
    for (int i = 0; i < JSON_MAX_DEPTH + 8; i++)
        jw_arr(&w);
    ck_assert(buf_ok(&out));
    jw_arr(&w);
    ck_assert(!buf_ok(&out));
    for (int i = 0; i < JSON_MAX_DEPTH + 9; i++)
        jw_arr_end(&w);
    struct json_object *deep = json_object_new_array();
    for (int i = 0; i < 1000; i++) {
        struct json_object *o = json_object_new_array();
        json_object_array_add(o, deep);
        deep = o;
    }
    buf_clear(&out);
    jw_init(&w, &out);
    jw_tree(&w, deep);
    ck_assert(!buf_ok(&out));
    json_object_put(deep);
}
END_TEST

TCase *case_json_write(void) {
    TCase *t = tcase_create("json trees and writer");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, trees_print_back);
    tcase_add_test(t, trees_are_read);
    tcase_add_test(t, canonical_form);
    tcase_add_test(t, canonical_holds_the_bound);
    tcase_add_test(t, writes);
    tcase_add_test(t, writes_money);
    tcase_add_test(t, writes_reals);
    tcase_add_test(t, depth_of_the_writer_is_bounded);
    return t;
}
