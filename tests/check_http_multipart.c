/* A form's field that passes by: found in one piece, byte by byte and cut in two at every place. And the
 * spool that such bodies wait in. */
#include "base/spool.h"
#include "http/multipart.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TYPE       "multipart/form-data; boundary=\"b1\""
#define LINE(more) "--b1\r\nContent-Disposition: form-data" more "\r\n\r\n"
#define PART(name) "--b1\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n"

static void look(const char *body, size_t cut, size_t step, struct multipart *m) {
    struct str rest = str_of(body);
    ck_assert(multipart_init(m, STR(TYPE), "model"));
    for (size_t n = cut; rest.n; n = step) {
        if (n > rest.n)
            n = rest.n;
        char *exact = malloc(n ? n : 1);
        memcpy(exact, rest.p, n);
        multipart_feed(m, str_make(exact, n));
        free(exact);
        rest = str_skip(rest, n);
    }
}

START_TEST(forms) {
    static const struct {
        const char *body, *value; /* NULL: none */
        bool bad;
    } rows[] = {
        {PART("model") "m-1\r\n--b1--\r\n", "m-1", false},
        {PART("file") "x\r\n" PART("model") "m-1\r\n--b1--\r\n", "m-1", false},
        {PART("model") "\r\n--b1--\r\n", "", false},
        {PART("model") "--b1--", "", false},
        {PART("model") "a\r\r\n-\r\n--b\r\n--b1--", "a\r\r\n-\r\n--b", false},
        {"preamble\r\n" PART(
             "model") "m\r\n--b1  \r\nContent-Disposition: form-data; name=x\r\n\r\nx\r\n--b1--",
         "m", false},
        {"--b1\nCONTENT-disposition:form-data;  NAME=model ; x=y\n\nm\r\n--b1--", "m", false},
        {"--b1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"; "
         "name=model\"\r\n\r\nm\r\n--b1--",
         NULL, false},
        {PART("file") PART("model") "m\r\n--b1--", "m", false},
        {PART("other") "model\r\n--b1--\r\n" PART("model") "m\r\n--b1--", NULL, false},
        {PART("model") "cut off", NULL, false},
        {"", NULL, false},
        {PART("model") "a\r\n" PART("model") "b\r\n--b1--", "a", true},
        {PART("model") "a\r\n--b1x\r\n\r\nb\r\n--b1--", "a", true},
        {"--b1\r\nContent-Disposition: form-data; name=model\r\nContent-Disposition: form-data; "
         "name=file\r\n\r\nx\r\n--b1--",
         NULL, true},
        {LINE("; name=file; filename=\"a\\\"b;c\"") "m\r\n--b1--", NULL, false},
        {LINE("; name=file; filename=\"C:\\\"") "m\r\n--b1--", NULL, false},
        {LINE("; name=file; filename*=utf-8''%e2") "m\r\n--b1--", NULL, false},
        {LINE("") "m\r\n--b1--", NULL, true},
        {"--b1\r\nX: y\r\n\r\nm\r\n--b1--", NULL, true},
        {"--b1\r\nContent-Disposition : form-data; name=model\r\n\r\nm\r\n--b1--", NULL, true},
        {LINE("; name=file; name=model") "m\r\n--b1--", NULL, true},
        {LINE("; name=file; name*=utf-8''model") "m\r\n--b1--", NULL, true},
        {LINE("; name*0=mo; name*1=del") "m\r\n--b1--", NULL, true},
        {LINE("; name = model") "m\r\n--b1--", NULL, true},
        {LINE("; name=\"mod\\el\"") "m\r\n--b1--", NULL, true},
        {LINE("; name=file; filename=\"a\\\"; name=model; x=\"") "m\r\n--b1--", NULL, true},
        {LINE("; name=file;\r\n name=model") "m\r\n--b1--", NULL, true},
        {LINE("; name=\"mo\rdel\"") "m\r\n--b1--", NULL, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t cut = 0; cut <= strlen(rows[i].body); cut++) {
            struct multipart m;
            look(rows[i].body, cut, cut ? strlen(rows[i].body) : 1, &m);
            ck_assert_msg(m.bad == rows[i].bad, "row %zu cut %zu: bad %d", i, cut, m.bad);
            ck_assert_msg(m.found == (rows[i].value != NULL), "row %zu cut %zu: found %d", i, cut, m.found);
            if (!m.found)
                continue;
            ck_assert(str_is(m.value, rows[i].value));
            ck_assert(memcmp(rows[i].body + m.at, m.value.p, m.value.n) == 0);
        }
}
END_TEST

START_TEST(content_types) {
    static const struct {
        const char *type;
        bool ok;
    } rows[] = {
        {"multipart/form-data; boundary=x", true},
        {"Multipart/Form-Data;charset=utf-8; BOUNDARY=\"a b;c\"", true},
        {"multipart/form-data", false},
        {"multipart/form-data; boundary=", false},
        {"multipart/mixed; boundary=x", false},
        {"application/json", false},
        {"multipart/form-data; boundary="
         "0123456789012345678901234567890123456789012345678901234567890123456789x",
         false},
    };
    struct multipart m;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(multipart_init(&m, str_of(rows[i].type), "model") == rows[i].ok, "row %zu", i);
    ck_assert(multipart_init(&m, STR("multipart/form-data; boundary=x; boundary=y"), "model") && m.bad);
    ck_assert(multipart_init(&m, STR("multipart/form-data; boundary=x; boundary*=us-ascii''y"), "model") &&
              m.bad);
    ck_assert(multipart_init(&m, STR(TYPE), "model") && !m.bad);
}
END_TEST

START_TEST(value_too_long) {
    struct multipart m;
    char body[2048];
    for (int n = 500; n < 530; n++) {
        snprintf(body, sizeof body, PART("model") "%0*d\r\n--b1--", n, 7);
        look(body, 0, 1, &m);
        ck_assert_int_eq(m.bad, n > MULTIPART_VALUE_MAX);
    }
    snprintf(body, sizeof body, "--b1\r\nX: %01100d\r\n\r\nx\r\n--b1--", 7);
    look(body, 0, 100, &m);
    ck_assert(m.bad);
}
END_TEST

/* In memory, over the border in one step and in several, and never written at all. */
START_TEST(spooled) {
    static const size_t sizes[] = {0, 1, 99, 100, 101, 250, 100000};
    char *want = malloc(100000), *got = malloc(100001);
    for (size_t i = 0; i < 100000; i++)
        want[i] = (char)(i * 7 + i / 251);
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
        for (size_t step = 30; step <= 100000; step = step * 100 + 1) {
            struct spool s;
            spool_init(&s, "/tmp", 100);
            for (size_t at = 0; at < sizes[k]; at += step)
                ck_assert_int_eq(
                    spool_add(&s, str_make(want + at, step < sizes[k] - at ? step : sizes[k] - at)), 0);
            ck_assert_uint_eq(s.n, sizes[k]);
            ck_assert_int_eq(s.fd >= 0, sizes[k] > 100);
            ck_assert_int_eq(spool_read(&s, 0, got, 100001), (ssize_t)sizes[k]);
            ck_assert_mem_eq(got, want, sizes[k]);
            size_t half = sizes[k] / 2;
            ck_assert_int_eq(spool_read(&s, half, got, 10),
                             (ssize_t)(sizes[k] - half < 10 ? sizes[k] - half : 10));
            ck_assert_mem_eq(got, want + half, sizes[k] - half < 10 ? sizes[k] - half : 10);
            ck_assert_int_eq(spool_read(&s, sizes[k], got, 10), 0);
            spool_free(&s);
        }
    free(want);
    free(got);
}
END_TEST

START_TEST(no_place_to_spool) {
    struct spool s;
    spool_init(&s, "/nonexistent/folder", 4);
    ck_assert_int_eq(spool_add(&s, STR("abcd")), 0);
    ck_assert_int_ne(spool_add(&s, STR("e")), 0);
    spool_free(&s);
}
END_TEST

int main(void) {
    Suite *s = suite_create("multipart");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, forms);
    tcase_add_test(t, content_types);
    tcase_add_test(t, value_too_long);
    tcase_add_test(t, spooled);
    tcase_add_test(t, no_place_to_spool);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
