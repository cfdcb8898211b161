/* Shared by the parts of check_store. */
#ifndef PENSTOCK_TESTS_STORE_CASES_H
#define PENSTOCK_TESTS_STORE_CASES_H
#include "store/ledger.h"
#include "store/replies.h"
#include <check.h>

extern char tmp_dir[64]; /* of this test; removed after it */
void make_tmp(void);
void drop_tmp(void);
const char *in_tmp(const char *name); /* one of four buffers in turn */
void put_file(const char *path, const char *text, size_t n);

struct ledger_row sample_row(void);
struct reply_head sample_head(uint8_t first, int64_t now);

TCase *scribe_cases(void);
TCase *keys_cases(void);
TCase *logs_cases(void);
TCase *ledger_cases(void);
TCase *times_cases(void);
#endif
