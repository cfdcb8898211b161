/* Calls to providers. */
#include "upstream_stage.h"

/* Over http:// without a proxy, by plain.c; or, as HTTP/2 was asked for, by libcurl. */
static void setup_libcurl(void) {
    setup();
    conf.http2 = HTTP2_ON;
}

static TCase *case_calls(const char *name, void (*begin_with)(void)) {
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, begin_with, teardown);
    add_calls(t);
    add_flow(t);
    return t;
}

int main(void) {
    Suite *s = suite_create("upstream");
    TCase *plain = case_calls("plain", setup);
    add_plain(plain);
    suite_add_tcase(s, case_table());
    suite_add_tcase(s, plain);
    suite_add_tcase(s, case_calls("libcurl", setup_libcurl));
    suite_add_tcase(s, case_tls());
    suite_add_tcase(s, case_mock());
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
