/* The cases of conf/, and what they share: a directory of their own, and a table of provider kinds. */
#ifndef PENSTOCK_TESTS_CONF_CASES_H
#define PENSTOCK_TESTS_CONF_CASES_H
#include "conf/conf.h"
#include <check.h>

TCase *case_conf_file(void);
TCase *case_conf_errors(void);
TCase *case_conf_secret(void);
TCase *case_conf_env(void);
TCase *case_conf_listen(void);
TCase *case_conf_doc(void);

extern const struct provider_kinds test_kinds;
extern struct conf_errors errors; /* of the last load */
extern char test_dir[64];

void test_file(const char *name, const char *text); /* in test_dir */
void test_file_bytes(const char *name, const void *p, size_t n);
const char *test_path(const char *name); /* static */
struct conf *load_file(const char *name);
struct conf *load_text(const char *yaml);    /* as test_dir/penstock.yaml */
struct conf *load_ok(const char *yaml);      /* fails the test with the first error */
struct conf *load_env(const char *env_file); /* no configuration file at all */
/* One error must be FILE:`want`..., of penstock.yaml; "..." for an error without a file when `want` begins
 * so. */
void refused(const char *yaml, const char *want);
void must_say(const char *want); /* some error begins so */
bool warned(const struct conf *c, const char *part);
void done(struct conf *c);
/* For main: writes the documents. */
int write_docs(void);
#endif
