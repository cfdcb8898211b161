/* The suites of check_base; each file of it makes one test case. */
#ifndef PENSTOCK_TESTS_BASE_CASES_H
#define PENSTOCK_TESTS_BASE_CASES_H
#include "base/str.h"
#include <check.h>

TCase *case_str(void);
TCase *case_clock(void);
TCase *case_hash(void);
TCase *case_log(void);
TCase *case_loop(void);
TCase *case_json_scan(void);
TCase *case_json_read(void);
TCase *case_json_write(void);
TCase *case_sse(void);
TCase *case_vector(void);

#define ck_str_is(s, z)                                                                                      \
    do {                                                                                                     \
        struct str ck_s = (s);                                                                               \
        ck_assert_msg(str_is(ck_s, z), "\"" STR_FMT "\" is not \"%s\"", STR_ARG(ck_s), z);                   \
    } while (0)
#endif
