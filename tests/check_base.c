/* Unit tests of base/. */
#include "base_cases.h"
#include <stdlib.h>

int main(void) {
    Suite *s = suite_create("base");
    suite_add_tcase(s, case_str());
    suite_add_tcase(s, case_clock());
    suite_add_tcase(s, case_hash());
    suite_add_tcase(s, case_log());
    suite_add_tcase(s, case_loop());
    suite_add_tcase(s, case_json_scan());
    suite_add_tcase(s, case_json_read());
    suite_add_tcase(s, case_json_write());
    suite_add_tcase(s, case_sse());
    suite_add_tcase(s, case_vector());
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
