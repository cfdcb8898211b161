/* Patterns of the configuration: POSIX extended regular expressions, case as written. Back references are refused:
 * their matching can take for ever. */
#ifndef PENSTOCK_BASE_PATTERN_H
#define PENSTOCK_BASE_PATTERN_H
#include <regex.h>
#include <stdbool.h>

/* false and err: it is none, and *out is not to be freed. */
bool pattern_compile(regex_t *out, const char *pattern, char err[256]);
#endif
