/* Unit tests of policy/. */
#include <stdlib.h>

#include "policy_cases.h"

int main(void) {
    Suite *s = suite_create("policy");
    suite_add_tcase(s, case_price());
    suite_add_tcase(s, case_auth());
    suite_add_tcase(s, case_jwt());
    suite_add_tcase(s, case_admit());
    suite_add_tcase(s, case_budget());
    suite_add_tcase(s, case_route());
    suite_add_tcase(s, case_hints());
    suite_add_tcase(s, case_cache());
    suite_add_tcase(s, case_semantic());
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
