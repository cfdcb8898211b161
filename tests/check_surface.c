/* Unit tests of surface/. */
#include <stdlib.h>

#include "surface_cases.h"

int main(void) {
    Suite *s = suite_create("surface");
    suite_add_tcase(s, case_pages());
    suite_add_tcase(s, case_metrics());
    suite_add_tcase(s, case_admin());
    suite_add_tcase(s, case_openapi());
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
